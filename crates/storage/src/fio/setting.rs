//! The setting of a job: fio's options, and what its figures say where these are silent or wrong.

use loadline_schema::storage::{
    DataShape, IoEngine, IoExtent, IoLoad, RateProcess, Rw, StorageCell, StorageLoad, SyncMode,
    Workload,
};

use super::options::Options;
use super::quoted;

/// fio's block size where none is stated.
const DEFAULT_BS: u64 = 4096;

/// What the figures of a job, or of all jobs of a group, say about its setting.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    /// Reads.
    pub(super) read_ios: u64,
    /// Writes.
    pub(super) write_ios: u64,
    /// Bytes of both.
    pub(super) bytes: u64,
    /// Time, ns.
    pub(super) run_ns: u64,
    /// Jobs that fio states apart.
    pub(super) apart: u32,
    /// CPU-accounted time of all jobs ÷ time of one, rounded: jobs that are in one entry, as far as
    /// that tells.
    pub(super) in_one: u32,
}

/// A setting.
pub(super) struct Setting {
    pub(super) cell: StorageCell,
    pub(super) load: IoLoad,
    /// What the engine is called, where it is none of ours.
    pub(super) engine_note: Option<String>,
    pub(super) notes: Vec<String>,
}

/// Reads the setting of a job.
///
/// # Errors
/// Why it is no workload of ours, as a phrase.
pub(super) fn read(options: Options<'_>, figures: &Figures) -> Result<Setting, String> {
    let mut notes = Vec::new();
    let rw = pattern(options, figures, &mut notes)?;
    let numjobs = jobs(options, figures, &mut notes);
    let bs_bytes = block(options, figures, rw, &mut notes);
    let (size_bytes, size_stated) = size(options, figures, numjobs, &mut notes);
    let (engine, engine_note) = engine(options);
    let iodepth = iodepth(options, &mut notes);
    let verify = options.text("verify").is_some_and(|how| !matches!(&*how, "0" | "none" | "null"));
    let mut load = IoLoad {
        rw,
        read_share: read_share(options, rw, figures),
        bs_bytes,
        size_bytes,
        numjobs,
        iodepth,
        engine,
        direct: direct(options),
        sync: sync(options, &mut notes),
        fsync_every: options.whole("fsync").unwrap_or(0),
        fdatasync_every: options.whole("fdatasync").unwrap_or(0),
        end_fsync: options.flag("end_fsync").unwrap_or(false),
        rate_iops: None,
        rate_process: RateProcess::Linear,
        extent: extent(options, figures, numjobs, size_stated),
        ramp_ns: options.time_ns("ramp_time").unwrap_or(0),
        data: data(options),
        verify,
        special_file: None,
    };
    rate(options, &mut load, &mut notes);
    notes.extend(options.others());
    let path = path(options, &mut notes);
    let workload = workload(rw);
    let cell = StorageCell { path, workload, load: StorageLoad::Io(load.clone()) };
    Ok(Setting { cell, load, engine_note, notes })
}

fn workload(rw: Rw) -> Workload {
    match rw {
        Rw::Read => Workload::SeqRead,
        Rw::Write => Workload::SeqWrite,
        Rw::RandRead => Workload::RandRead,
        Rw::RandWrite => Workload::RandWrite,
        Rw::Rw => Workload::SeqRw,
        Rw::RandRw => Workload::RandRw,
    }
}

/// The pattern. In a group of several sections fio states the options of the last one only, so the
/// figures decide what it did.
fn pattern(options: Options<'_>, figures: &Figures, notes: &mut Vec<String>) -> Result<Rw, String> {
    let (reads, writes) = (figures.read_ios > 0, figures.write_ios > 0);
    let Some(text) = options.text("rw") else {
        if reads && !writes && options.are_stated() {
            // fio's default.
            return Ok(Rw::Read);
        }
        notes.push(
            "Whether its offsets were random is not stated; it is shown as sequential.".into(),
        );
        return Ok(match (reads, writes) {
            (true, true) => Rw::Rw,
            (false, true) => Rw::Write,
            _ => Rw::Read,
        });
    };
    let word = text.split(':').next().unwrap_or("");
    let stated = match word {
        "readwrite" => Some(Rw::Rw),
        word => Rw::from_text(word),
    };
    let Some(stated) = stated else {
        return Err(format!("its rw={} is no workload of ours", quoted(word)));
    };
    let verifies = options.text("verify").is_some();
    let random = matches!(stated, Rw::RandRead | Rw::RandWrite | Rw::RandRw);
    let did = match (reads, writes && !matches!(stated, Rw::Rw | Rw::RandRw)) {
        (true, true) if !verifies => Some(if random { Rw::RandRw } else { Rw::Rw }),
        (true, false) if stated == Rw::Write && !writes => Some(Rw::Read),
        (true, false) if stated == Rw::RandWrite && !writes => Some(Rw::RandRead),
        (false, true) if stated == Rw::Read => Some(Rw::Write),
        (false, true) if stated == Rw::RandRead => Some(Rw::RandWrite),
        _ => None,
    };
    let Some(did) = did else { return Ok(stated) };
    notes.push(format!(
        "fio states rw={stated}, but the figures are those of {did}; in a group of several sections \
         it states the options of the last one."
    ));
    Ok(did)
}

fn read_share(options: Options<'_>, rw: Rw, figures: &Figures) -> f64 {
    match rw {
        Rw::Read | Rw::RandRead => 1.0,
        Rw::Write | Rw::RandWrite => 0.0,
        Rw::Rw | Rw::RandRw => {
            let mixed =
                options.text("rw").is_some_and(|rw| rw.ends_with("rw") || rw == "readwrite");
            let stated = options
                .number("rwmixread")
                .or_else(|| options.number("rwmixwrite").map(|percent| 100.0 - percent));
            match stated {
                _ if !mixed => {
                    let all = figures.read_ios as f64 + figures.write_ios as f64;
                    if all > 0.0 { figures.read_ios as f64 / all } else { 0.5 }
                }
                Some(percent) => (percent / 100.0).clamp(0.0, 1.0),
                None => 0.5,
            }
        }
    }
}

fn jobs(options: Options<'_>, figures: &Figures, notes: &mut Vec<String>) -> u32 {
    let stated = options.whole("numjobs").and_then(|jobs| u32::try_from(jobs).ok());
    let stated = stated.unwrap_or(1).max(1);
    let (apart, in_one) = (figures.apart, figures.in_one);
    if apart > 1 {
        if apart < stated {
            notes.push(format!("The figures are those of {apart} of {stated} jobs."));
        }
        return apart;
    }
    if stated > 1 {
        notes.push(format!("fio states the {stated} jobs as one (group_reporting)."));
        return stated;
    }
    if in_one > 1 {
        notes.push(format!(
            "By its run time this is the sum of about {in_one} jobs (group_reporting); the options \
             that fio states are those of the last one."
        ));
    }
    in_one.max(1)
}

/// Bytes of an I/O. Where the I/Os had another size on average, that one counts.
fn block(options: Options<'_>, figures: &Figures, rw: Rw, notes: &mut Vec<String>) -> u64 {
    let ios = figures.read_ios.saturating_add(figures.write_ios);
    let mean = figures.bytes.checked_div(ios).filter(|mean| *mean > 0);
    let ranges = ["bsrange", "bssplit"].into_iter().find(|name| options.text(name).is_some());
    if let (Some(name), Some(mean)) = (ranges, mean) {
        notes.push(format!("Blocks are of several sizes ({name}); shown is their mean, {mean} B."));
        return mean;
    }
    let stated = match options.sizes("bs") {
        Some((read, write)) => {
            if read != write && matches!(rw, Rw::Rw | Rw::RandRw) {
                notes.push("Reads and writes have blocks of different sizes.".into());
            }
            if matches!(rw, Rw::Write | Rw::RandWrite) { write.or(read) } else { read.or(write) }
        }
        None => Some(DEFAULT_BS),
    };
    let stated = stated.filter(|bytes| *bytes > 0).unwrap_or(DEFAULT_BS);
    match mean {
        Some(mean) if stated.abs_diff(mean) as f64 > stated as f64 * 0.05 => {
            notes.push(format!(
                "The I/Os had {mean} B on average, not the {stated} B of the options; shown is the mean."
            ));
            mean
        }
        _ => stated,
    }
}

/// Bytes of each job's file, and whether the options state them.
fn size(
    options: Options<'_>,
    figures: &Figures,
    numjobs: u32,
    notes: &mut Vec<String>,
) -> (u64, bool) {
    let stated = ["size", "filesize"].iter().find_map(|name| options.sizes(name)?.0);
    if let Some(bytes) = stated.filter(|bytes| *bytes > 0) {
        return (bytes, true);
    }
    let moved = figures.bytes / u64::from(numjobs);
    notes.push(format!(
        "The size of its files is not stated in bytes; shown are the {moved} B that each job moved."
    ));
    (moved, false)
}

fn engine(options: Options<'_>) -> (IoEngine, Option<String>) {
    // fio's default on Linux is psync.
    let word = options.text("ioengine").unwrap_or_else(|| "psync".to_owned());
    match word.as_str() {
        "io_uring" => (IoEngine::IoUring, None),
        "psync" => (IoEngine::Psync, None),
        other => {
            let plain: String = other.chars().filter(|c| !c.is_control()).take(60).collect();
            (IoEngine::Auto, Some(format!("fio ioengine={plain}")))
        }
    }
}

fn iodepth(options: Options<'_>, notes: &mut Vec<String>) -> u32 {
    let stated = options.whole("iodepth").and_then(|depth| u32::try_from(depth).ok());
    let stated = stated.unwrap_or(1).max(1);
    let engine = options.text("ioengine").unwrap_or_else(|| "psync".to_owned());
    let one_at_a_time = ["psync", "sync", "vsync", "pvsync", "pvsync2", "mmap"];
    if stated > 1 && one_at_a_time.contains(&engine.as_str()) {
        notes.push(format!(
            "iodepth={stated} has no effect with ioengine={engine}: one I/O was in flight at a time."
        ));
        return 1;
    }
    stated
}

fn direct(options: Options<'_>) -> bool {
    let buffered = options.flag("buffered").map(|buffered| !buffered);
    options.flag("direct").or(buffered).unwrap_or(false)
}

fn sync(options: Options<'_>, notes: &mut Vec<String>) -> SyncMode {
    match options.text("sync").as_deref() {
        None | Some("0" | "none") => SyncMode::None,
        Some("dsync") => SyncMode::Dsync,
        Some(_) => {
            notes.push("Its files were open with O_SYNC, shown as O_DSYNC.".into());
            SyncMode::Dsync
        }
    }
}

fn extent(options: Options<'_>, figures: &Figures, numjobs: u32, size_stated: bool) -> IoExtent {
    let Some(runtime_ns) = options.time_ns("runtime").filter(|ns| *ns > 0) else {
        return IoExtent::Size { runtime_ns: None };
    };
    // Given as a bare flag, `time_based` is not in fio's output: what shows it is that files were
    // gone through more than once.
    let size = options.sizes("size").and_then(|sizes| sizes.0).unwrap_or(u64::MAX);
    let moved = figures.bytes / u64::from(numjobs);
    let again = size_stated && options.text("loops").is_none() && moved as f64 > size as f64 * 1.01;
    if options.flag("time_based").unwrap_or(again) {
        IoExtent::Runtime { runtime_ns }
    } else {
        IoExtent::Size { runtime_ns: Some(runtime_ns) }
    }
}

fn data(options: Options<'_>) -> DataShape {
    let percent = |name| options.whole(name).unwrap_or(0).min(100) as u8;
    let zeros = options.flag("zero_buffers").unwrap_or(false);
    let compress_percent = if zeros { 100 } else { percent("buffer_compress_percentage") };
    DataShape { compress_percent, dedupe_percent: percent("dedupe_percentage") }
}

/// The rate of both directions together: fio states it for each of them.
fn rate(options: Options<'_>, load: &mut IoLoad, notes: &mut Vec<String>) {
    let Some((read, write)) = options.read_write("rate_iops") else { return };
    let number =
        |text: String| text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    let (read, write) = (number(read), number(write));
    let both = load.reads() && load.writes();
    load.rate_iops = match (read, write) {
        (Some(read), Some(write)) if both => {
            notes.push(format!(
                "rate_iops holds for reads ({read}/s) and writes ({write}/s) apart."
            ));
            Some(read + write)
        }
        (read, write) if load.reads() => read.or(write),
        (_, write) => write,
    };
    if options.text("rate_process").as_deref() == Some("poisson") {
        load.rate_process = RateProcess::Poisson;
    }
}

fn path(options: Options<'_>, notes: &mut Vec<String>) -> String {
    let stated = ["directory", "filename"].iter().find_map(|name| options.text(name));
    stated.filter(|path| !path.is_empty()).unwrap_or_else(|| {
        notes.push("Where it read or wrote is not stated (directory, filename).".into());
        "?".to_owned()
    })
}
