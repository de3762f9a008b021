//! `[[storage]]`: every workload with every setting on every path.

use super::super::StorageFile;
use super::super::error::Fault;
use super::{at_least_one, check_name};
use crate::storage::{
    DataShape, IoEngine, IoExtent, IoLoad, RateProcess, Rw, StorageCell, StorageLimits,
    StorageLoad, StorageStage, SyncMode, Workload,
};
use crate::units::{Bytes, DurationNs};

mod shapes;

const GIB: u64 = 1 << 30;
const DEFAULT_SIZE: u64 = GIB;
const DEFAULT_MAX_WRITE: u64 = 64 * GIB;
const DEFAULT_RUNTIME: DurationNs = DurationNs(10_000_000_000);
const DEFAULT_STALL: DurationNs = DurationNs(120_000_000_000);
const DEFAULT_TRIALS: u32 = 3;
const DEFAULT_WORKLOADS: [Workload; 3] =
    [Workload::SeqWrite, Workload::SeqRead, Workload::RandRead];
/// Block size of sequential and of random workloads, bytes.
const DEFAULT_BS: (u64, u64) = (1 << 20, 4 << 10);
/// I/Os in flight of each job, likewise.
const DEFAULT_IODEPTH: (u64, u64) = (8, 32);
/// Largest iodepth, number of jobs and block size: beyond them lies a slip.
const MOST_IODEPTH: u64 = 4096;
const MOST_JOBS: u64 = 1024;
const MOST_BS: u64 = GIB;
/// Cells beyond which a grid is taken for a slip.
const MOST_CELLS: usize = 1000;

pub(super) fn stage(given: &StorageFile, index: usize) -> Result<StorageStage, Fault> {
    let fallback = if index == 0 { "storage".to_owned() } else { format!("storage-{}", index + 1) };
    let name = given.name.clone().unwrap_or(fallback);
    check_name(&name, "name")?;
    let paths = paths(given)?;
    let workloads = workloads(given)?;
    let mut cells = Vec::new();
    for path in &paths {
        for workload in &workloads {
            let loads = match workload {
                Workload::Checkpoint => vec![StorageLoad::Checkpoint(shapes::checkpoint(given)?)],
                Workload::ModelLoad => {
                    shapes::model_loads(given)?.into_iter().map(StorageLoad::ModelLoad).collect()
                }
                _ => io_loads(given, *workload)?.into_iter().map(StorageLoad::Io).collect(),
            };
            let cell = |load| StorageCell { path: path.clone(), workload: *workload, load };
            cells.extend(loads.into_iter().map(cell));
        }
    }
    if cells.len() > MOST_CELLS {
        let message = format!("the stage has {} cells", cells.len());
        let help = format!("name fewer values: at most {MOST_CELLS} combinations");
        return Err(Fault::at(&["bs"], message, help));
    }
    let trials = at_least_one("trials", given.trials.map(u64::from))?;
    let stage = StorageStage {
        name,
        cells,
        trials: trials.map_or(DEFAULT_TRIALS, |trials| trials as u32),
        target: targets(given, &workloads)?,
        limits: limits(given)?,
        imported: None,
    };
    Ok(stage)
}

fn paths(given: &StorageFile) -> Result<Vec<String>, Fault> {
    if given.path.is_empty() {
        let help = "write `path = \"/shared\"`: the directory whose storage is measured";
        return Err(Fault::at(&["path"], "the stage names no path", help));
    }
    for (index, path) in given.path.iter().enumerate() {
        let place = index.to_string();
        if path.trim().is_empty() {
            let help = "write a directory, as in `path = \"/shared\"`";
            return Err(Fault::at(&["path", &place], "a path is empty", help));
        }
        if given.path[..index].contains(path) {
            let message = format!("`{path}` stands there twice");
            return Err(Fault::at(&["path", &place], message, "`trials` repeats"));
        }
    }
    Ok(given.path.clone())
}

fn workloads(given: &StorageFile) -> Result<Vec<Workload>, Fault> {
    if given.workload.is_empty() {
        return Ok(DEFAULT_WORKLOADS.to_vec());
    }
    let mut workloads = Vec::new();
    for (index, text) in given.workload.iter().enumerate() {
        let at = |message: String, help: String| {
            Fault::at(&["workload", &index.to_string()], message, help)
        };
        let Some(workload) = Workload::from_any(text) else {
            let all: Vec<&str> = Workload::ALL.iter().map(|workload| workload.as_str()).collect();
            let help = format!("write {}, or fio's word for `rw`", all.join(", "));
            return Err(at(format!("`{text}` is no workload"), help));
        };
        if workloads.contains(&workload) {
            let message = format!("`{workload}` stands there twice");
            return Err(at(message, "`trials` repeats".to_owned()));
        }
        workloads.push(workload);
    }
    Ok(workloads)
}

fn targets(
    given: &StorageFile,
    workloads: &[Workload],
) -> Result<std::collections::BTreeMap<Workload, f64>, Fault> {
    let target = given.target.iter().map(|(name, bandwidth)| {
        let at = |message: String, help: &str| Fault::at(&["target", name], message, help);
        let workload = Workload::from_any(name).ok_or_else(|| {
            let help = "write the name of a workload, as in `{ seq_write = \"500MB/s\" }`";
            at(format!("`{name}` is no workload"), help)
        })?;
        if !workloads.contains(&workload) {
            let message = format!("a target for {workload}, which the stage does not measure");
            return Err(at(message, "add it to `workload`, or remove the target"));
        }
        if bandwidth.0 == 0 {
            return Err(at(format!("the target of {workload} is 0"), "as in `500MB/s`"));
        }
        Ok((workload, bandwidth.0 as f64))
    });
    target.collect()
}

fn limits(given: &StorageFile) -> Result<StorageLimits, Fault> {
    let stall = given.stall_timeout.unwrap_or(DEFAULT_STALL);
    Ok(StorageLimits {
        max_write_bytes: given.max_write.map_or(DEFAULT_MAX_WRITE, |bytes| bytes.0),
        reserve_bytes: given.reserve.map(|bytes| bytes.0),
        allow_mount_root: given.mount_root.unwrap_or(false),
        drop_caches: given.drop_caches.unwrap_or(false),
        stall_ns: super::not_zero(&["stall_timeout"], stall)?,
    })
}

const fn rw_of(workload: Workload) -> Rw {
    match workload {
        Workload::SeqWrite | Workload::Checkpoint => Rw::Write,
        Workload::SeqRead | Workload::ModelLoad => Rw::Read,
        Workload::RandWrite => Rw::RandWrite,
        Workload::RandRead => Rw::RandRead,
        Workload::SeqRw => Rw::Rw,
        Workload::RandRw => Rw::RandRw,
    }
}

/// Every combination: block sizes, then depths, then numbers of jobs.
fn io_loads(given: &StorageFile, workload: Workload) -> Result<Vec<IoLoad>, Fault> {
    let rw = rw_of(workload);
    let is_random = matches!(rw, Rw::RandRead | Rw::RandWrite | Rw::RandRw);
    let (bs, iodepth) = if is_random {
        (DEFAULT_BS.1, DEFAULT_IODEPTH.1)
    } else {
        (DEFAULT_BS.0, DEFAULT_IODEPTH.0)
    };
    let bs = match &given.bs {
        Some(list) => list.iter().map(|bytes| bytes.0).collect(),
        None => vec![bs],
    };
    let iodepth = given.iodepth.clone().unwrap_or_else(|| vec![iodepth]);
    let numjobs = given.numjobs.clone().unwrap_or_else(|| vec![1]);
    check_axis("bs", &bs, MOST_BS)?;
    check_axis("iodepth", &iodepth, MOST_IODEPTH)?;
    check_axis("numjobs", &numjobs, MOST_JOBS)?;
    let one = one(given, rw)?;
    let mut loads = Vec::new();
    for bs in &bs {
        check_size(given, one.size_bytes, *bs)?;
        for iodepth in &iodepth {
            loads.extend(numjobs.iter().map(|jobs| IoLoad {
                bs_bytes: *bs,
                iodepth: *iodepth as u32,
                numjobs: *jobs as u32,
                ..one.clone()
            }));
        }
    }
    Ok(loads)
}

/// Everything but block size, depth and jobs.
fn one(given: &StorageFile, rw: Rw) -> Result<IoLoad, Fault> {
    let percent = |key: &str, value: Option<u32>, most: u32| match value {
        Some(value) if value > most => {
            let message = format!("`{key}` is {value}");
            Err(Fault::at(&[key], message, format!("write 0 to {most}, in percent")))
        }
        value => Ok(value.unwrap_or(0)),
    };
    if let Some(rate) = given.rate_iops
        && !(rate > 0.0 && rate <= 1e9)
    {
        let message = format!("`rate_iops` is {rate}");
        return Err(Fault::at(&["rate_iops"], message, "write I/Os per second, above 0"));
    }
    if given.rate_process.is_some() && given.rate_iops.is_none() {
        let help = "write `rate_iops`, too, or remove it";
        return Err(Fault::at(&["rate_process"], "`rate_process` without a rate", help));
    }
    let runtime = super::not_zero(&["runtime"], given.runtime.unwrap_or(DEFAULT_RUNTIME))?;
    let extent = if given.time_based.unwrap_or(true) {
        IoExtent::Runtime { runtime_ns: runtime }
    } else {
        IoExtent::Size { runtime_ns: given.runtime.map(|runtime| runtime.0) }
    };
    let mix = percent("rwmixread", given.rwmixread, 100)?;
    let writes = !matches!(rw, Rw::Read | Rw::RandRead);
    Ok(IoLoad {
        rw,
        read_share: if given.rwmixread.is_some() { f64::from(mix) / 100.0 } else { 0.5 },
        bs_bytes: DEFAULT_BS.0,
        size_bytes: given.size.map_or(DEFAULT_SIZE, |Bytes(bytes)| bytes),
        numjobs: 1,
        iodepth: 1,
        engine: given.ioengine.unwrap_or(IoEngine::Auto),
        direct: given.direct.unwrap_or(true),
        sync: given.sync.unwrap_or(SyncMode::None),
        fsync_every: if writes { given.fsync.unwrap_or(0) } else { 0 },
        fdatasync_every: if writes { given.fdatasync.unwrap_or(0) } else { 0 },
        end_fsync: writes && given.end_fsync.unwrap_or(true),
        rate_iops: given.rate_iops,
        rate_process: given.rate_process.unwrap_or(RateProcess::Linear),
        extent,
        ramp_ns: given.ramp_time.map_or(0, |ramp| ramp.0),
        data: DataShape {
            compress_percent: percent(
                "buffer_compress_percentage",
                given.buffer_compress_percentage,
                100,
            )? as u8,
            dedupe_percent: percent("dedupe_percentage", given.dedupe_percentage, 99)? as u8,
        },
        verify: writes && given.verify.unwrap_or(false),
        special_file: special_file(given, rw)?,
    })
}

/// Reading it has no effect on anything: no other special file has that promise.
fn special_file(given: &StorageFile, rw: Rw) -> Result<Option<String>, Fault> {
    let Some(file) = &given.special_file else { return Ok(None) };
    if file != "/dev/zero" || !matches!(rw, Rw::Read | Rw::RandRead) {
        let message = format!("`{file}` as a special file of a {rw} workload");
        return Err(Fault::at(&["special_file"], message, "only /dev/zero is read like this"));
    }
    Ok(Some(file.clone()))
}

fn check_axis(key: &str, values: &[u64], most: u64) -> Result<(), Fault> {
    if values.is_empty() {
        let message = format!("`{key}` is an empty list");
        return Err(Fault::at(&[key], message, "write one value or more"));
    }
    for (index, value) in values.iter().enumerate() {
        if *value == 0 || *value > most {
            let message = format!("`{key}` is {value}");
            return Err(Fault::at(&[key], message, format!("write 1 to {most}")));
        }
        if values[..index].contains(value) {
            let message = format!("`{key}` has {value} twice");
            return Err(Fault::at(&[key], message, "name each value once; `trials` repeats"));
        }
    }
    Ok(())
}

/// A file is a whole number of blocks, at least one.
fn check_size(given: &StorageFile, size: u64, bs: u64) -> Result<(), Fault> {
    if !bs.is_multiple_of(512) {
        let message = format!("`bs` is {bs} bytes");
        return Err(Fault::at(&["bs"], message, "write a multiple of 512 bytes, as in 4KiB"));
    }
    if size >= bs && size.is_multiple_of(bs) {
        return Ok(());
    }
    let key = if given.size.is_some() { "size" } else { "bs" };
    let message =
        format!("a file of {} is no whole number of blocks of {}", Bytes(size), Bytes(bs));
    Err(Fault::at(&[key], message, "make `size` a multiple of `bs`"))
}
