//! One load by itself, and what it costs: IOPS, bandwidth, latencies and CPU time for each I/O, to
//! be laid beside fio's.
//!
//! `io_cpu DIR RW BS SIZE IODEPTH DIRECT SECONDS [FILE]`: sizes in bytes, DIRECT 0 or 1; FILE is
//! read instead of a file of its own. With AGAIN set, a trial runs for each line on stdin, always on
//! the same file, whose path is printed first: so another tool can take turns on it.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use loadline_schema::outcome::Phase;
use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    DataShape, DirectIo, FilesystemFacts, IoEngine, IoExtent, IoInterval, IoLoad, Latencies,
    RateProcess, Rw, SlowIo, StorageTrial, SyncMode,
};
use loadline_storage::{Report, Trial, WorkDir, WriteBudget, run_io};

/// Adds up what was measured.
#[derive(Default)]
struct Sum(Mutex<[Latencies; 3]>);

impl Report for Sum {
    fn interval(&self, row: IoInterval) {
        let mut sums = self.0.lock().expect("no other thread panics");
        if row.phase == Phase::Measure {
            sums[0].add(&row.slat);
            sums[1].add(&row.clat);
            sums[2].add(&row.lat);
        }
    }

    fn slow(&self, _row: SlowIo) {}

    fn doing(&self, _what: &'static str, _done: Option<f64>) {}
}

fn load(arguments: &[String]) -> Result<IoLoad, Box<dyn Error>> {
    let [rw, bs, size, iodepth, direct, seconds, rest @ ..] = arguments else {
        return Err("io_cpu DIR RW BS SIZE IODEPTH DIRECT SECONDS [FILE]".into());
    };
    Ok(IoLoad {
        rw: Rw::from_text(rw).ok_or("no such rw")?,
        read_share: 0.5,
        bs_bytes: bs.parse()?,
        size_bytes: size.parse()?,
        numjobs: 1,
        iodepth: iodepth.parse()?,
        engine: match std::env::var("ENGINE") {
            Ok(name) => IoEngine::from_text(&name).ok_or("no such engine")?,
            Err(_) => IoEngine::IoUring,
        },
        direct: direct == "1",
        sync: SyncMode::None,
        fsync_every: 0,
        fdatasync_every: 0,
        end_fsync: false,
        rate_iops: None,
        rate_process: RateProcess::Linear,
        extent: IoExtent::Runtime { runtime_ns: (seconds.parse::<f64>()? * 1e9) as u64 },
        ramp_ns: 0,
        data: DataShape::default(),
        verify: false,
        special_file: rest.first().cloned(),
    })
}

fn facts() -> FilesystemFacts {
    let direct = DirectIo {
        supported: true,
        memory_align: 512,
        offset_align: 512,
        source: "assumed".to_owned(),
    };
    FilesystemFacts { kind: "unknown".to_owned(), direct, ..FilesystemFacts::default() }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let load = load(arguments.get(1..).unwrap_or_default())?;
    let dir = WorkDir::create(Path::new(&arguments[0]))?;
    let result = if std::env::var_os("AGAIN").is_some() {
        writeln!(std::io::stdout(), "{}", dir.path().join("job-0").display())?;
        std::io::stdin().lines().try_for_each(|_| once(&dir, &load))
    } else {
        once(&dir, &load)
    };
    for why in dir.remove() {
        writeln!(std::io::stderr(), "{why}")?;
    }
    result
}

fn once(dir: &WorkDir, load: &IoLoad) -> Result<(), Box<dyn Error>> {
    let report = Sum::default();
    let trial = Trial {
        id: TrialId { stage: 0, point: 0, trial: 0, part: 0 },
        origin_ns: loadline_clock::monotonic_ns(),
        dir,
        facts: &facts(),
        budget: &WriteBudget::new(u64::MAX / 2),
        stop: &AtomicBool::new(false),
        ended: &AtomicU64::new(0),
        ended_bytes: &AtomicU64::new(0),
        report: &report,
        seed: 1,
        drop_caches: false,
    };
    print(&run_io(&trial, load)?, &report)
}

fn print(trial: &StorageTrial, report: &Sum) -> Result<(), Box<dyn Error>> {
    let (ios, bytes) = trial.workers.iter().fold((0, 0), |(ios, bytes), worker| {
        (ios + worker.read_ios + worker.write_ios, bytes + worker.read_bytes + worker.write_bytes)
    });
    let first = trial.workers.iter().map(|worker| worker.first_ns).min().unwrap_or_default();
    let s = (trial.end_ns - first) as f64 / 1e9;
    let each = |ns: u64| ns as f64 / ios as f64;
    let sums = report.0.lock().expect("no other thread panics");
    let mean = |which: usize| sums[which].mean_ns().unwrap_or_default();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "ios {ios} iops {:.0} MB/s {:.1} cpu_ns/io {:.1} user {:.1} sys {:.1} slat {:.0} clat {:.0} lat {:.0}",
        ios as f64 / s,
        bytes as f64 / s / 1e6,
        each(trial.cpu_user_ns + trial.cpu_system_ns),
        each(trial.cpu_user_ns),
        each(trial.cpu_system_ns),
        mean(0),
        mean(1),
        mean(2),
    )?;
    if let Some(failure) = &trial.failure {
        writeln!(out, "{}", failure.message)?;
    }
    Ok(())
}
