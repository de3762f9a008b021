//! Stages, trials and rows made up for tests.

use std::collections::BTreeMap;

use loadline_schema::document::{StorageResult, StorageSummary};
use loadline_schema::outcome::Phase;
use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    Buckets, CacheState, Checkpoint, CheckpointModel, DataShape, Direction, EndedBy, FileOp,
    FilePass, FilesystemFacts, IoEngine, IoExtent, IoInterval, IoLoad, Latencies, LoadMethod,
    ModelFormat, ModelLoad, RateProcess, Rw, Sharing, StorageCell, StorageLimits, StorageLoad,
    StorageStage, StorageTrial, SyncMode, WorkerEnd, Workload,
};

use super::{StorageInput, storage};

pub(super) const S: u64 = 1_000_000_000;
/// Where measured parts begin.
pub(super) const BEGIN: u64 = 7 * S;

pub(super) fn io(rw: Rw, numjobs: u32) -> StorageLoad {
    StorageLoad::Io(IoLoad {
        rw,
        read_share: 0.5,
        bs_bytes: 1 << 20,
        size_bytes: 1 << 30,
        numjobs,
        iodepth: 1,
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

pub(super) fn cell(path: &str, workload: Workload, load: StorageLoad) -> StorageCell {
    StorageCell { path: path.to_owned(), workload, load }
}

pub(super) fn checkpoint(scale: f64) -> Checkpoint {
    Checkpoint {
        model: CheckpointModel::Parameters { parameters: 1_000_000_000 },
        ranks: 3,
        tensor_parallel: 1,
        pipeline_parallel: 1,
        zero: 3,
        scale,
        bs_bytes: 1 << 20,
        direct: false,
        restore: true,
        interval_ns: None,
        mtbf_ns: None,
    }
}

pub(super) fn model_load(method: LoadMethod, readers: u32, cold: bool) -> StorageLoad {
    StorageLoad::ModelLoad(ModelLoad {
        format: ModelFormat::Safetensors,
        bytes: 16_000_000_000,
        shard_bytes: 5_000_000_000,
        method,
        readers,
        ranks: 1,
        sharing: Sharing::OneFile,
        cold,
        bs_bytes: 1 << 20,
        iodepth: 8,
    })
}

pub(super) fn stage(cells: Vec<StorageCell>) -> StorageStage {
    StorageStage {
        name: "storage".to_owned(),
        cells,
        trials: 3,
        target: BTreeMap::new(),
        limits: StorageLimits {
            max_write_bytes: u64::MAX,
            reserve_bytes: None,
            allow_mount_root: false,
            drop_caches: false,
            stall_ns: 30 * S,
        },
        imported: None,
    }
}

pub(super) fn id(point: u16, trial: u16, part: u16) -> TrialId {
    TrialId { stage: 0, point, trial, part }
}

/// A worker that wrote so much from the begin of the measured part on.
pub(super) fn writer(bytes: u64, ios: u64, ns: u64) -> WorkerEnd {
    WorkerEnd {
        first_ns: BEGIN,
        last_ns: BEGIN + ns,
        write_bytes: bytes,
        write_ios: ios,
        ..WorkerEnd::default()
    }
}

pub(super) fn trial(workers: Vec<WorkerEnd>) -> StorageTrial {
    StorageTrial {
        start_ns: BEGIN,
        measure_ns: BEGIN,
        end_ns: workers.iter().map(|worker| worker.last_ns).max().unwrap_or(BEGIN),
        ended_by: EndedBy::Runtime,
        failure: None,
        engine: IoEngine::IoUring,
        engine_note: None,
        direct: true,
        direct_note: None,
        cache: CacheState::default(),
        workers,
        cpu_user_ns: 0,
        cpu_system_ns: 0,
        lateness: None,
        verified: None,
        passes: Vec::new(),
        slow_left_out: 0,
        imported: Vec::new(),
    }
}

/// Latencies of these values.
pub(super) fn latencies(values: &[u64]) -> Latencies {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for value in values {
        *counts.entry(Buckets::index(*value) as u32).or_default() += 1;
    }
    Latencies {
        sum_ns: values.iter().sum(),
        min_ns: values.iter().copied().min().unwrap_or(0),
        max_ns: values.iter().copied().max().unwrap_or(0),
        buckets: Buckets(counts.into_iter().collect()),
    }
}

/// A second of writes.
pub(super) fn row(id: TrialId, worker: u16, second: u64, bytes: u64, clat: &[u64]) -> IoInterval {
    IoInterval {
        trial: id,
        worker,
        direction: Direction::Write,
        phase: Phase::Measure,
        start_ns: BEGIN + second * S,
        length_ns: S,
        ios: bytes >> 20,
        bytes,
        errors: 0,
        slat: Latencies::default(),
        clat: latencies(clat),
        lat: latencies(clat),
    }
}

/// A trial in which each rank passes one file of so many bytes, from 0 to its time, in seconds.
pub(super) fn passes(op: FileOp, bytes: u64, times: &[f64], fsync: f64) -> StorageTrial {
    let ns = |s: f64| (s * 1e9).round() as u64;
    let pass = |(rank, s): (u32, &f64)| FilePass {
        rank,
        op,
        file: format!("{rank}"),
        bytes,
        start_ns: BEGIN,
        end_ns: BEGIN + ns(*s),
        fsync_ns: (op == FileOp::Save).then(|| ns(fsync)),
    };
    let passes = (0..).zip(times).map(pass).collect();
    StorageTrial { ended_by: EndedBy::Size, passes, ..trial(Vec::new()) }
}

pub(super) fn filesystem(path: &str) -> FilesystemFacts {
    FilesystemFacts { path: path.to_owned(), kind: "ext4".to_owned(), ..Default::default() }
}

/// The analysis of a stage.
pub(super) fn analysed(
    stage: &StorageStage,
    filesystems: &[FilesystemFacts],
    trials: &[(TrialId, StorageTrial)],
    intervals: &[IoInterval],
) -> (StorageSummary, Vec<StorageResult>) {
    let input =
        StorageInput { stage, filesystems, leftovers: &[], trials, intervals, failures: &[] };
    storage(&input)
}
