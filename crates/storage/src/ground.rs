//! What a trial needs around it, for tests.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    DirectIo, Direction, FilesystemFacts, IoInterval, SlowIo, StorageTrial,
};
use tempfile::TempDir;

use crate::trial::WriteBudget;
use crate::{Report, Trial, WorkDir};

/// A working directory in a temporary folder, and the rows that a trial reported.
pub(crate) struct Ground {
    _parent: TempDir,
    pub(crate) dir: WorkDir,
    pub(crate) facts: FilesystemFacts,
    pub(crate) budget: WriteBudget,
    pub(crate) stop: AtomicBool,
    pub(crate) ended: AtomicU64,
    pub(crate) ended_bytes: AtomicU64,
    pub(crate) rows: Rows,
    pub(crate) drop_caches: bool,
}

/// Rows that were reported.
#[derive(Default)]
pub(crate) struct Rows {
    intervals: Mutex<Vec<IoInterval>>,
    doings: Mutex<Vec<&'static str>>,
}

impl Report for Rows {
    fn interval(&self, row: IoInterval) {
        self.intervals.lock().expect("unharmed").push(row);
    }

    fn slow(&self, _row: SlowIo) {}

    fn doing(&self, what: &'static str, done: Option<f64>) {
        assert!(done.is_none_or(|done| (0.0..=1.0).contains(&done)), "{what}: {done:?}");
        self.doings.lock().expect("unharmed").push(what);
    }
}

/// A temporary folder on a disk; `None` where there is none, and a test of the page cache has nothing
/// to show.
pub(crate) fn on_disk() -> Option<TempDir> {
    const TMPFS: [u64; 2] = [0x0102_1994, 0x8584_58F6];
    let candidates = [std::env::temp_dir(), Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()];
    candidates.iter().find_map(|parent| {
        let kind = rustix::fs::statfs(parent).ok()?.f_type as u64;
        if TMPFS.contains(&kind) { None } else { TempDir::new_in(parent).ok() }
    })
}

impl Ground {
    pub(crate) fn new() -> Self {
        let parent = on_disk().unwrap_or_else(|| TempDir::new().expect("a folder"));
        let dir = WorkDir::create(parent.path()).expect("a working directory");
        let probe = dir.create_file("probe", rustix::fs::OFlags::DIRECT);
        let direct = DirectIo {
            supported: probe.is_ok(),
            memory_align: 4096,
            offset_align: 4096,
            source: "assumed".to_owned(),
        };
        dir.remove_file("probe").expect("removed");
        Self {
            _parent: parent,
            dir,
            facts: FilesystemFacts {
                direct,
                kind: "ext4".to_owned(),
                ..FilesystemFacts::default()
            },
            budget: WriteBudget::new(u64::MAX),
            stop: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            ended_bytes: AtomicU64::new(0),
            rows: Rows::default(),
            drop_caches: false,
        }
    }

    pub(crate) fn trial(&self) -> Trial<'_> {
        Trial {
            id: TrialId { stage: 0, point: 0, part: 0, trial: 0 },
            origin_ns: loadline_clock::monotonic_ns(),
            dir: &self.dir,
            facts: &self.facts,
            budget: &self.budget,
            stop: &self.stop,
            ended: &self.ended,
            ended_bytes: &self.ended_bytes,
            report: &self.rows,
            seed: 7,
            drop_caches: self.drop_caches,
        }
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("listed");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let names = entries.map(|entry| name(entry).into_string().expect("ours"));
        // The marker and the list of files belong to the directory itself.
        names.filter(|name| !name.starts_with("loadline.")).collect()
    }

    pub(crate) fn intervals(&self) -> Vec<IoInterval> {
        self.rows.intervals.lock().expect("unharmed").clone()
    }

    pub(crate) fn clear_rows(&self) {
        self.rows.intervals.lock().expect("unharmed").clear();
    }

    pub(crate) fn doings(&self) -> Vec<&'static str> {
        self.rows.doings.lock().expect("unharmed").clone()
    }

    /// Rows, workers and shared counters tell the same sums; returns bytes read and written.
    pub(crate) fn agrees_with(&self, trial: &StorageTrial) -> (u64, u64) {
        let rows = self.intervals();
        let sum = |direction: Direction, of: fn(&IoInterval) -> u64| -> u64 {
            rows.iter().filter(|row| row.direction == direction).map(of).sum()
        };
        let workers = |of: fn(&loadline_schema::storage::WorkerEnd) -> u64| -> u64 {
            trial.workers.iter().map(of).sum()
        };
        assert_eq!(sum(Direction::Read, |row| row.bytes), workers(|end| end.read_bytes));
        assert_eq!(sum(Direction::Write, |row| row.bytes), workers(|end| end.write_bytes));
        assert_eq!(sum(Direction::Read, |row| row.ios), workers(|end| end.read_ios));
        assert_eq!(sum(Direction::Write, |row| row.ios), workers(|end| end.write_ios));
        assert_eq!(sum(Direction::Sync, |row| row.ios), workers(|end| end.sync_ios));
        for row in &rows {
            assert_eq!(row.clat.buckets.n(), row.ios);
            assert!((1..=1_000_000_000).contains(&row.length_ns), "{row:?}");
            assert!(row.start_ns >= trial.measure_ns && row.start_ns <= trial.end_ns, "{row:?}");
        }
        (workers(|end| end.read_bytes), workers(|end| end.write_bytes))
    }
}
