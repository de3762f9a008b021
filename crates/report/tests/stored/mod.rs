//! Storage documents written by hand: NFS with three workloads, a file system in memory, a scaled
//! checkpoint, ways to load a model, a trial that hung, figures of fio.

use std::collections::BTreeMap;

use loadline_schema::document::{Document, Estimate, RunSummary, StorageResult, StorageSummary};
use loadline_schema::event::Warning;
use loadline_schema::manifest::{HostFacts, RunStatus};
use loadline_schema::storage::{
    Checkpoint, CheckpointModel, CheckpointResult, DataShape, DirectIo, DirectionResult,
    FilesystemFacts, IoEngine, IoExtent, IoLatency, IoLoad, Leftover, LoadMethod, LoadSentence,
    MODELS, ModelFormat, ModelLoad, ModelLoadResult, RateProcess, Rw, Sharing, StorageCell,
    StorageLoad, StorageTarget, StorageTimeline, SyncMode, Workload,
};

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const NFS: &str = "/mnt/models";

fn run() -> RunSummary {
    RunSummary {
        id: "k3v7q2xa".into(),
        name: "storage".into(),
        directory: "./runs/storage-k3v7q2xa".into(),
        started: "2026-11-24T10:15:00Z".into(),
        status: RunStatus::Sealed,
        seed: 7,
        hosts: vec![HostFacts { name: "node1".into(), ..HostFacts::default() }],
    }
}

fn document(summary: StorageSummary, cells: Vec<StorageResult>) -> Document {
    Document {
        schema_version: 1,
        tool_version: "0.1.0".into(),
        run: Some(run()),
        storage: cells,
        storage_stages: vec![summary],
        ..Document::default()
    }
}

fn nfs() -> FilesystemFacts {
    FilesystemFacts {
        path: NFS.into(),
        kind: "nfs4".into(),
        mount_point: "/mnt".into(),
        source: "filer.lan:/export/ai".into(),
        options: ["rw", "relatime", "vers=4.2", "rsize=1048576", "wsize=1048576", "proto=tcp"]
            .map(str::to_owned)
            .to_vec(),
        shared: true,
        nfs_version: Some("4.2".into()),
        nfs_nconnect: Some(8),
        total_bytes: 20_000_000_000_000,
        free_bytes: 7_340_000_000_000,
        block_bytes: 1 << 20,
        read_ahead_bytes: Some(128 << 10),
        direct: DirectIo {
            supported: true,
            memory_align: 4096,
            offset_align: 4096,
            source: "assumed".into(),
        },
        ..FilesystemFacts::default()
    }
}

fn summary(facts: FilesystemFacts) -> StorageSummary {
    StorageSummary { stage: "storage".into(), filesystems: vec![facts], ..Default::default() }
}

fn of(value: f64, half: f64, n: u64) -> Estimate {
    Estimate { value, low: Some(value - half), high: Some(value + half), n }
}

fn cell(path: &str, workload: Workload, load: StorageLoad) -> StorageResult {
    let cell = StorageCell { path: path.into(), workload, load };
    let (bs_bytes, iodepth, numjobs) = match &cell.load {
        StorageLoad::Io(load) => (load.bs_bytes, load.iodepth, load.numjobs),
        StorageLoad::Checkpoint(load) => (load.bs_bytes, 1, load.ranks),
        StorageLoad::ModelLoad(load) => (load.bs_bytes, load.iodepth, load.readers),
    };
    StorageResult {
        stage: "storage".into(),
        path: path.into(),
        filesystem: "nfs4".into(),
        workload,
        setting: cell.in_words(),
        cell,
        bs_bytes,
        iodepth,
        numjobs,
        engine: "io_uring".into(),
        direct: true,
        trials: 3,
        trials_planned: 3,
        bytes_per_s: None,
        iops: None,
        directions: BTreeMap::new(),
        slat_ns: None,
        clat_ns: None,
        lat_ns: None,
        cpu_ns_per_io: None,
        steady: None,
        cached: false,
        cache_reason: None,
        target: None,
        timeline: Vec::new(),
        checkpoint: None,
        model_load: None,
        failed: None,
        per_trial: Vec::new(),
        warnings: Vec::new(),
    }
}

fn io(rw: Rw, bs_bytes: u64, iodepth: u32, numjobs: u32) -> StorageLoad {
    StorageLoad::Io(IoLoad {
        rw,
        read_share: 0.5,
        bs_bytes,
        size_bytes: 16 << 30,
        numjobs,
        iodepth,
        engine: IoEngine::Auto,
        direct: true,
        sync: SyncMode::None,
        fsync_every: 0,
        fdatasync_every: 0,
        end_fsync: true,
        rate_iops: None,
        rate_process: RateProcess::Linear,
        extent: IoExtent::Runtime { runtime_ns: 60 * S },
        ramp_ns: 0,
        data: DataShape::default(),
        verify: false,
        special_file: None,
    })
}

fn clat(n: u64, p50: u64, p99: u64, max: u64) -> IoLatency {
    IoLatency {
        n,
        mean: p50 as f64 * 1.1,
        min: p50 / 3,
        p50: Some(p50),
        p90: Some(p50 * 2),
        p95: Some(u64::midpoint(p50, p99)),
        p99: Some(p99),
        p999: (n >= 1_000).then_some(u64::midpoint(p99, max)),
        p9999: None,
        max,
    }
}

/// A cell of blocks with its bandwidth, ± 2 %.
fn blocks(workload: Workload, load: StorageLoad, mb: f64, clat: IoLatency) -> StorageResult {
    let mut result = cell(NFS, workload, load);
    let rate = mb * 1e6;
    result.bytes_per_s = Some(of(rate, rate * 0.02, 3));
    let iops = rate / result.bs_bytes as f64;
    result.iops = Some(of(iops, iops * 0.02, 3));
    result.clat_ns = Some(clat);
    result.cpu_ns_per_io = Some(11_400.0);
    result.steady = Some(true);
    result
}

fn timeline(mb: &[u64], first_done_s: u64, last_done_s: u64) -> StorageTimeline {
    StorageTimeline {
        bytes: mb.iter().map(|mb| mb * 1_000_000).collect(),
        ios: mb.to_vec(),
        first_done_ns: first_done_s * S,
        last_done_ns: last_done_s * S,
        first_done_bytes_per_s: Some(mb[0] as f64 * 1e6),
        deviation: Some(0.041),
        slope: Some(0.02),
    }
}

fn server_cache() -> Warning {
    Warning::new(
        "server_cache",
        "what was read may come from the memory of the nfs4 server: nothing here can tell, or empty \
         it",
        "take more data than the server has memory to see its disks",
    )
}

/// Three workloads on NFS; the bandwidth of the writes misses its target.
pub(crate) fn on_nfs() -> Document {
    let mut writes = blocks(
        Workload::SeqWrite,
        io(Rw::Write, 1 << 20, 8, 4),
        480.0,
        clat(28_000, 62 * MS, 180 * MS, 1_400 * MS),
    );
    writes.target =
        Some(StorageTarget { bytes_per_s: 500e6, met: false, certain: true, assumed: false });
    let sync = DirectionResult {
        bytes_per_s: None,
        iops: of(0.07, 0.01, 3),
        slat_ns: None,
        clat_ns: Some(IoLatency { p99: None, ..clat(12, 900 * MS, 1_300 * MS, 1_400 * MS) }),
        lat_ns: None,
    };
    writes.directions.insert("sync".into(), sync);
    let mb: Vec<u64> = (0..60).map(|s| 440 + s * 37 % 80).collect();
    writes.timeline = vec![timeline(&mb, 51, 60)];
    writes.warnings = vec![Warning::new(
        "tail",
        "the first job was done after 51.0 s, the last after 60.0 s: for 15 % of the time not all of \
         them worked",
        "look at the bandwidth until the first was done, or measure by time (--runtime)",
    )];
    let mut reads = blocks(
        Workload::SeqRead,
        io(Rw::Read, 1 << 20, 8, 4),
        1_130.0,
        clat(66_000, 27 * MS, 55 * MS, 210 * MS),
    );
    reads.target =
        Some(StorageTarget { bytes_per_s: 1e9, met: true, certain: true, assumed: false });
    reads.warnings = vec![server_cache()];
    let mut random = blocks(
        Workload::RandRead,
        io(Rw::RandRead, 4096, 32, 4),
        151.0,
        clat(2_200_000, 3_350_000, 9_100_000, 74 * MS),
    );
    random.steady = Some(false);
    let mb: Vec<u64> = (0..8).map(|s| 100 + s * 15).collect();
    random.timeline =
        vec![StorageTimeline { deviation: Some(0.345), slope: Some(0.787), ..timeline(&mb, 8, 8) }];
    random.warnings =
        vec![server_cache(), Warning::new("not_steady", "bandwidth is not steady", "")];
    let leftover = Leftover {
        path: "/mnt/models/.loadline-x1".into(),
        host: "node2".into(),
        removed: false,
        why: Some("it is of another host, whose process may still run".into()),
    };
    let summary = StorageSummary { leftovers: vec![leftover], ..summary(nfs()) };
    document(summary, vec![writes, reads, random])
}

/// Memory instead of storage.
pub(crate) fn in_memory() -> Document {
    let facts = FilesystemFacts {
        path: "/dev/shm".into(),
        kind: "tmpfs".into(),
        mount_point: "/dev/shm".into(),
        source: "tmpfs".into(),
        in_memory: true,
        total_bytes: 64_000_000_000,
        free_bytes: 63_900_000_000,
        ..FilesystemFacts::default()
    };
    let mut reads = blocks(
        Workload::RandRead,
        io(Rw::RandRead, 4096, 1, 1),
        2_410.0,
        clat(35_000_000, 1_100, 2_900, 310_000),
    );
    reads.path = "/dev/shm".into();
    reads.filesystem = "tmpfs".into();
    (reads.direct, reads.engine) = (false, "psync".into());
    (reads.cached, reads.cache_reason) = (true, Some("tmpfs lives in memory".into()));
    reads.target =
        Some(StorageTarget { bytes_per_s: 1e9, met: true, certain: true, assumed: false });
    reads.warnings = vec![
        Warning::new(
            "direct_refused",
            "I/Os went through the page cache: tmpfs takes no O_DIRECT (EINVAL)",
            "read the figures as those of page cache and storage together",
        ),
        Warning::new("memory_filesystem", "tmpfs lives in memory", "choose another directory"),
    ];
    document(summary(facts), vec![reads])
}

fn checkpoint(interval_ns: Option<u64>) -> Checkpoint {
    let (name, shape) = MODELS[1];
    Checkpoint {
        model: CheckpointModel::Shape { name: name.into(), shape },
        ranks: 8,
        tensor_parallel: 1,
        pipeline_parallel: 1,
        zero: 3,
        scale: 0.1,
        bs_bytes: 1 << 20,
        direct: false,
        restore: true,
        interval_ns,
        mtbf_ns: Some(86_400 * S),
    }
}

/// A checkpoint at a tenth of its size.
pub(crate) fn scaled_checkpoint() -> Document {
    let load = checkpoint(Some(1_800 * S));
    let (bytes, full_bytes) = (load.bytes(), load.full_bytes());
    let mut result = cell(NFS, Workload::Checkpoint, StorageLoad::Checkpoint(load.clone()));
    let rate = bytes as f64 / 26.7;
    result.direct = false;
    result.bytes_per_s = Some(of(rate, rate * 0.04, 3));
    result.target =
        Some(StorageTarget { bytes_per_s: 500e6, met: false, certain: true, assumed: true });
    result.checkpoint = Some(CheckpointResult {
        model: "llama3-8b".into(),
        parameters: load.parameters(),
        full_bytes,
        bytes,
        save_s: Some(of(26.7, 1.1, 3)),
        fsync_share: Some(0.612),
        slowest_rank: Some(5),
        slowest_ratio: Some(1.37),
        restore_s: Some(of(10.2, 0.4, 3)),
        restore_bytes_per_s: Some(of(1.1e9, 0.04e9, 3)),
        full_save_s: Some(267.0),
        interval_s: Some(1_800.0),
        time_share: Some(0.148),
        optimum_s: Some(6_792.0),
        optimum_loss: Some(0.0786),
    });
    result.warnings = vec![server_cache()];
    document(summary(nfs()), vec![result])
}

/// A way to load a model with its time.
fn load(method: LoadMethod, readers: u32, cold: bool, s: f64, half: f64) -> StorageResult {
    let load = ModelLoad {
        format: ModelFormat::Safetensors,
        bytes: 16_060_000_000,
        shard_bytes: 5_000_000_000,
        method,
        readers,
        ranks: 1,
        sharing: Sharing::OneFile,
        cold,
        bs_bytes: 1 << 20,
        iodepth: 8,
    };
    let mut result = cell(NFS, Workload::ModelLoad, StorageLoad::ModelLoad(load));
    result.model_load = Some(ModelLoadResult { load_s: Some(of(s, half, 3)), slowest_rank: None });
    result.bytes_per_s = Some(of(16.06e9 / s, 16.06e9 / s * 0.02, 3));
    if !cold {
        result.cached = true;
        result.cache_reason = Some("the files were just read".into());
    }
    result
}

/// Ways to load a model.
pub(crate) fn model_loads() -> Document {
    let cells = vec![
        load(LoadMethod::Mmap, 1, true, 41.2, 1.1),
        load(LoadMethod::Pread, 4, true, 18.4, 0.7),
        load(LoadMethod::Direct, 8, true, 12.1, 0.4),
        load(LoadMethod::Mmap, 1, false, 3.12, 0.05),
    ];
    let sentence = LoadSentence {
        path: NFS.into(),
        sentence:
            "A cold start takes 41 s by page faults; direct reads with 8 readers take 12 s. A \
                   warm start takes 3.1 s."
                .into(),
        evidence: cells.iter().map(|cell| cell.setting.clone()).collect(),
        flags: vec![
            (
                "vLLM".into(),
                "--load-format runai_streamer --model-loader-extra-config '{\"concurrency\":8}'"
                    .into(),
            ),
            ("SGLang".into(), "--weight-loader-disable-mmap".into()),
        ],
    };
    let summary = StorageSummary { model_loads: vec![sentence], ..summary(nfs()) };
    document(summary, cells)
}

/// A server that hung in the second trial, and a cell that could not start.
pub(crate) fn stalled() -> Document {
    let mut writes = blocks(
        Workload::SeqWrite,
        io(Rw::Write, 1 << 20, 8, 1),
        96.0,
        clat(412, 80 * MS, 900 * MS, 4_200 * MS),
    );
    (writes.trials, writes.steady) = (2, None);
    writes.warnings = vec![
        Warning::new(
            "stalled",
            "the file system hangs: no I/O ended for too long (8 in flight)",
            "look at the server, the network and `dmesg`; what was measured before stands",
        ),
        Warning::new(
            "slow_ios",
            "3 I/Os (or fsyncs) took a second or longer, the longest 4.2 s",
            "their rows in the run directory say when, and where in which file",
        ),
    ];
    let mut reads = cell(NFS, Workload::SeqRead, io(Rw::Read, 1 << 20, 8, 1));
    reads.trials = 0;
    reads.failed = Some("open /mnt/models/.loadline-x/job0: Stale file handle (ESTALE)".into());
    let mut document = document(summary(nfs()), vec![writes, reads]);
    if let Some(run) = &mut document.run {
        run.status = RunStatus::Interrupted;
    }
    document
}

/// What fio wrote: no intervals, percentiles of its own, two paths.
pub(crate) fn imported() -> Document {
    let mut cells = Vec::new();
    for (path, mb) in [("/data/a", 3_200.0), ("/data/b", 540.0)] {
        let mut reads = blocks(
            Workload::RandRead,
            io(Rw::RandRead, 4096, 32, 1),
            mb,
            clat(4_000_000, 41_000, 130_000, 2 * MS),
        );
        reads.path = path.into();
        reads.engine = "libaio".into();
        (reads.trials, reads.trials_planned) = (1, 1);
        for rate in [&mut reads.bytes_per_s, &mut reads.iops].into_iter().flatten() {
            (rate.low, rate.high, rate.n) = (None, None, 1);
        }
        reads.steady = None;
        cells.push(reads);
    }
    let summary =
        StorageSummary { stage: "storage".into(), imported: true, ..StorageSummary::default() };
    let document = document(summary, cells);
    Document { run: None, ..document }
}

/// All of them.
pub(crate) fn all() -> [Document; 6] {
    [on_nfs(), in_memory(), scaled_checkpoint(), model_loads(), stalled(), imported()]
}
