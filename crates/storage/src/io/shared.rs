//! What the workers of a trial share: when it begins and ends, and why.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use loadline_schema::storage::{EndedBy, IoFailure, IoLoad, SlowIo};

use crate::Trial;

/// Rows of slow I/Os that a trial keeps at most.
const SLOW_KEPT: u64 = 10_000;

/// When a trial begins and ends, ns of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// First I/O.
    pub(super) start: u64,
    /// Begin of the measured part.
    pub(super) measure: u64,
    /// From here on nothing is issued; `u64::MAX` without one.
    pub(super) deadline: u64,
}

/// State of a trial.
pub(super) struct Shared<'a> {
    /// What it may use.
    pub(super) trial: &'a Trial<'a>,
    /// What it does.
    pub(super) load: &'a IoLoad,
    over: AtomicBool,
    /// Why it ended: the first reason counts.
    why: Mutex<Option<(EndedBy, Option<IoFailure>)>>,
    slow: AtomicU64,
}

impl<'a> Shared<'a> {
    /// Nothing has happened yet.
    pub(super) fn new(trial: &'a Trial<'a>, load: &'a IoLoad) -> Self {
        let (over, why) = (AtomicBool::new(false), Mutex::new(None));
        Self { trial, load, over, why, slow: AtomicU64::new(0) }
    }

    /// Whether nothing more shall be issued, whatever the time.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.trial.is_stopped()
    }

    /// Ends the trial.
    pub(super) fn end(&self, why: EndedBy, failure: Option<IoFailure>) {
        let mut first = match self.why.lock() {
            Ok(first) => first,
            Err(poisoned) => poisoned.into_inner(),
        };
        first.get_or_insert((why, failure));
        self.over.store(true, Ordering::Relaxed);
    }

    /// Why it ended before its extent was through.
    pub(super) fn why(&self) -> Option<(EndedBy, Option<IoFailure>)> {
        let why = match self.why.lock() {
            Ok(why) => why.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        };
        why.or_else(|| self.trial.is_stopped().then_some((EndedBy::Interrupted, None)))
    }

    /// Whether files are synced at the end: not when the user waits, nor after a failure.
    pub(super) fn wants_end_fsync(&self) -> bool {
        let cut = || matches!(self.why(), Some((EndedBy::Interrupted | EndedBy::Failure, _)));
        self.load.end_fsync && !cut()
    }

    /// A slow I/O: its row goes out unless there were too many.
    pub(super) fn slow(&self, row: SlowIo) {
        if self.slow.fetch_add(1, Ordering::Relaxed) < SLOW_KEPT {
            self.trial.report.slow(row);
        }
    }

    /// Rows of slow I/Os that did not go out.
    pub(super) fn slow_left_out(&self) -> u64 {
        self.slow.load(Ordering::Relaxed).saturating_sub(SLOW_KEPT)
    }
}

/// Bytes that a thread may write: taken from the trial's budget in portions, so that threads do not
/// meet there for every write.
pub(super) struct Allowance<'a> {
    trial: &'a Trial<'a>,
    left: u64,
    portion: u64,
}

impl<'a> Allowance<'a> {
    /// An allowance for writes of so many bytes.
    pub(super) fn new(trial: &'a Trial<'a>, bs: u64) -> Self {
        Self { trial, left: 0, portion: bs * (PORTION / bs.max(1)).max(1) }
    }

    /// Takes the bytes of a write; `false`: the budget is used up.
    #[inline]
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        if self.left < bytes && !self.more(bytes) {
            return false;
        }
        self.left -= bytes;
        true
    }

    #[cold]
    fn more(&mut self, bytes: u64) -> bool {
        let missing = [self.portion.max(bytes) - self.left, bytes - self.left];
        let taken = missing.into_iter().find(|bytes| self.trial.budget.take(*bytes));
        self.left += taken.unwrap_or_default();
        taken.is_some()
    }
}

/// Bytes taken at once.
const PORTION: u64 = 1 << 20;

impl Drop for Allowance<'_> {
    fn drop(&mut self) {
        self.trial.budget.give_back(self.left);
    }
}
