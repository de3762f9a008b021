//! Whole trials on the disk that the tests are built on.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use loadline_schema::outcome::Phase;
use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    DataShape, DirectIo, Direction, EndedBy, FilesystemFacts, IoEngine, IoExtent, IoInterval,
    IoKind, IoLoad, RateProcess, Rw, SlowIo, StorageTrial, SyncMode,
};

use crate::trial::WriteBudget;
use crate::{Report, Trial, TrialError, WorkDir};

mod ends;
mod figures;

const ENGINES: [IoEngine; 2] = [IoEngine::IoUring, IoEngine::Psync];
/// Long enough for any machine to end a trial earlier, for another reason.
const LONG: IoExtent = IoExtent::Runtime { runtime_ns: 600_000_000_000 };
const SHORT: IoExtent = IoExtent::Runtime { runtime_ns: 60_000_000 };

/// A small load: 64 blocks of one job, once.
pub(super) fn load(rw: Rw) -> IoLoad {
    IoLoad {
        rw,
        read_share: 0.5,
        bs_bytes: 4096,
        size_bytes: 256 << 10,
        numjobs: 1,
        iodepth: 4,
        engine: IoEngine::Auto,
        direct: true,
        sync: SyncMode::None,
        fsync_every: 0,
        fdatasync_every: 0,
        end_fsync: false,
        rate_iops: None,
        rate_process: RateProcess::Linear,
        extent: IoExtent::Size { runtime_ns: None },
        ramp_ns: 0,
        data: DataShape::default(),
        verify: false,
        special_file: None,
    }
}

/// What happens when a trial says that it does something.
type Hook = Box<dyn Fn(&Bench, &str) + Sync>;

/// Where trials of a test happen.
struct Bench {
    dir: Option<WorkDir>,
    _parent: tempfile::TempDir,
    facts: FilesystemFacts,
    budget: WriteBudget,
    stop: AtomicBool,
    ended: AtomicU64,
    ended_bytes: AtomicU64,
    trials: AtomicU64,
}

/// Keeps the rows of a trial.
struct Rows<'a> {
    bench: &'a Bench,
    hook: Option<&'a Hook>,
    kept: Mutex<Vec<IoInterval>>,
    slow: AtomicU64,
}

impl Report for Rows<'_> {
    fn interval(&self, row: IoInterval) {
        self.kept.lock().unwrap().push(row);
    }

    fn slow(&self, _row: SlowIo) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    fn doing(&self, what: &'static str, _done: Option<f64>) {
        if let Some(hook) = self.hook {
            hook(self.bench, what);
        }
    }
}

impl Bench {
    fn new() -> Self {
        // Not the folder for temporary files, which may be memory.
        let built = std::env::current_exe().unwrap();
        let parent = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
        let direct = DirectIo {
            supported: true,
            memory_align: 4096,
            offset_align: 4096,
            source: "assumed".to_owned(),
        };
        Self {
            dir: Some(WorkDir::create(parent.path()).unwrap()),
            _parent: parent,
            facts: FilesystemFacts { direct, ..FilesystemFacts::default() },
            budget: WriteBudget::new(1 << 30),
            stop: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            ended_bytes: AtomicU64::new(0),
            trials: AtomicU64::new(0),
        }
    }

    fn path(&self, job: u32) -> PathBuf {
        self.dir.as_ref().unwrap().path().join(format!("job-{job}"))
    }

    /// Runs a trial.
    fn try_run(
        &self,
        load: &IoLoad,
        hook: Option<&Hook>,
    ) -> Result<(StorageTrial, Vec<IoInterval>), TrialError> {
        let slow = AtomicU64::new(0);
        let rows = Rows { bench: self, hook, kept: Mutex::default(), slow };
        let trial = self.trial(&rows);
        let measured = super::run(&trial, load)?;
        Ok((measured, rows.kept.into_inner().unwrap()))
    }

    fn trial<'a>(&'a self, report: &'a dyn Report) -> Trial<'a> {
        let number = self.trials.fetch_add(1, Ordering::Relaxed) as u16;
        Trial {
            id: TrialId { stage: 0, point: 0, trial: number, part: 0 },
            origin_ns: 0,
            dir: self.dir.as_ref().unwrap(),
            facts: &self.facts,
            budget: &self.budget,
            stop: &self.stop,
            ended: &self.ended,
            ended_bytes: &self.ended_bytes,
            report,
            seed: 11,
            drop_caches: false,
        }
    }

    fn run(&self, load: &IoLoad) -> (StorageTrial, Vec<IoInterval>) {
        self.try_run(load, None).expect("the trial can be carried out")
    }

    fn refusal(&self, load: &IoLoad) -> String {
        self.try_run(load, None).expect_err("the trial cannot be carried out").message
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take() {
            dir.remove();
        }
    }
}

/// A trial for parts of the engine that is not run, with what was reported of it.
pub(super) fn with_trial<T>(
    use_it: impl Fn(&Trial<'_>, &dyn Fn() -> (Vec<IoInterval>, u64)) -> T,
) -> T {
    let bench = Bench::new();
    let rows = Rows { bench: &bench, hook: None, kept: Mutex::default(), slow: AtomicU64::new(0) };
    let trial = bench.trial(&rows);
    use_it(&trial, &|| (rows.kept.lock().unwrap().clone(), rows.slow.load(Ordering::Relaxed)))
}

/// I/Os and bytes of a direction in rows of the measured part.
fn in_rows(rows: &[IoInterval], direction: Direction) -> (u64, u64) {
    let rows = rows.iter().filter(|row| row.phase == Phase::Measure && row.direction == direction);
    rows.fold((0, 0), |(ios, bytes), row| (ios + row.ios, bytes + row.bytes))
}

/// I/Os and bytes of a direction in the workers' ends.
fn in_ends(trial: &StorageTrial, direction: Direction) -> (u64, u64) {
    trial.workers.iter().fold((0, 0), |(ios, bytes), worker| match direction {
        Direction::Read => (ios + worker.read_ios, bytes + worker.read_bytes),
        Direction::Write => (ios + worker.write_ios, bytes + worker.write_bytes),
        Direction::Sync => (ios + worker.sync_ios, 0),
    })
}
