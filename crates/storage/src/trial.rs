//! What every trial gets, and where its rows go.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use loadline_schema::record::TrialId;
use loadline_schema::storage::{DirectIo, FilesystemFacts, IoInterval, SlowIo};

use crate::WorkDir;

/// Takes the rows of a trial as they come, from any thread.
pub trait Report: Sync {
    /// A second of a worker.
    fn interval(&self, row: IoInterval);
    /// A slow I/O.
    fn slow(&self, row: SlowIo);
    /// What is done now: `laying out files`, `measuring`, `verifying`, …, and the share of it that
    /// is over, 0–1, where it is known.
    fn doing(&self, what: &'static str, done: Option<f64>);
}

/// What a trial may use.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    /// Which it is.
    pub id: TrialId,
    /// The run's origin on the monotonic clock, ns: rows have times since then.
    pub origin_ns: u64,
    /// Where files are made.
    pub dir: &'a WorkDir,
    /// The file system.
    pub facts: &'a FilesystemFacts,
    /// Bytes that may still be written.
    pub budget: &'a WriteBudget,
    /// Stop as soon as possible.
    pub stop: &'a AtomicBool,
    /// Grows with every I/O that ends, so that a watcher sees whether the file system answers. Each
    /// worker adds at least every 100 ms, not for each I/O.
    pub ended: &'a AtomicU64,
    /// Grows with the bytes of I/Os that end, likewise.
    pub ended_bytes: &'a AtomicU64,
    /// Takes the rows.
    pub report: &'a dyn Report,
    /// Seed of everything random.
    pub seed: u64,
    /// Drop the page cache of the machine before reads.
    pub drop_caches: bool,
}

impl Trial<'_> {
    /// Now, ns since the run's origin.
    pub fn now_ns(&self) -> u64 {
        loadline_clock::monotonic_ns().wrapping_sub(self.origin_ns)
    }

    /// Whether it shall stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What the file system says about O_DIRECT.
    pub fn direct(&self) -> &DirectIo {
        &self.facts.direct
    }
}

/// Why a trial could not be carried out at all. What goes wrong after I/O has begun is part of the
/// trial ([`loadline_schema::storage::IoFailure`]).
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TrialError {
    /// Why, and what to do.
    pub message: String,
}

/// Bytes that may still be written; workers take from it before they write.
#[derive(Debug)]
pub struct WriteBudget(AtomicU64);

impl WriteBudget {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        Self(AtomicU64::new(bytes))
    }

    /// Takes so many bytes, or none and `false` when fewer are left.
    pub fn take(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives back what was taken and not written.
    pub fn give_back(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes left.
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
