//! Whether a trial goes on, and why not: stopped, out of budget, or an I/O failed. The first reason
//! counts, and ends all threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use loadline_schema::storage::{EndedBy, IoFailure, IoKind};
use rustix::io::Errno;

use crate::{Trial, TrialError};

/// Nothing more is done; the reason lies with the [`Course`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Halted;

/// The course of a trial.
pub(crate) struct Course<'a> {
    trial: &'a Trial<'a>,
    halted: AtomicBool,
    reason: Mutex<Option<(EndedBy, Option<IoFailure>)>>,
}

impl<'a> Course<'a> {
    pub(crate) fn new(trial: &'a Trial<'a>) -> Self {
        Self { trial, halted: AtomicBool::new(false), reason: Mutex::new(None) }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// The user stops it, or another thread has halted.
    pub(crate) fn check(&self) -> Result<(), Halted> {
        if self.trial.is_stopped() {
            return Err(self.halt(EndedBy::Interrupted, None));
        }
        if self.halted.load(Ordering::Relaxed) { Err(Halted) } else { Ok(()) }
    }

    /// The most bytes that may be written are written.
    pub(crate) fn out_of_budget(&self) -> Halted {
        self.halt(EndedBy::MaxWrite, None)
    }

    /// An I/O on this file failed; `doing` is a verb: "read", "fsync".
    pub(crate) fn fail(&self, doing: &str, file: &str, errno: Errno) -> Halted {
        self.halt(EndedBy::Failure, Some(failure(self.trial, doing, file, errno)))
    }

    /// A read or write of this file came to an end early.
    pub(crate) fn short(&self, doing: &str, file: &str, offset: u64, missing: u64) -> Halted {
        let path = self.trial.dir.path().join(file);
        let message = format!(
            "cannot {doing} {} at offset {offset}: {missing} bytes are missing; something else \
             changes the file, or the file system lost its end",
            path.display()
        );
        self.halt(EndedBy::Failure, Some(IoFailure { kind: IoKind::Short, message }))
    }

    /// How it ended; by its size where nothing halted it.
    pub(crate) fn ended_by(&self) -> (EndedBy, Option<IoFailure>) {
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clone().unwrap_or((EndedBy::Size, None))
    }

    fn halt(&self, ended_by: EndedBy, failure: Option<IoFailure>) -> Halted {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert((ended_by, failure));
        self.halted.store(true, Ordering::Relaxed);
        Halted
    }
}

/// A failed I/O in words: what was done to which file, what the system said, what to do.
pub(crate) fn failure(trial: &Trial<'_>, doing: &str, file: &str, errno: Errno) -> IoFailure {
    let (kind, advice) = kind_and_advice(errno);
    let path = trial.dir.path().join(file);
    IoFailure { kind, message: format!("cannot {doing} {}: {errno}; {advice}", path.display()) }
}

/// The same for what happens before the measured part.
pub(crate) fn refusal(trial: &Trial<'_>, doing: &str, file: &str, errno: Errno) -> TrialError {
    TrialError { message: failure(trial, doing, file, errno).message }
}

fn kind_and_advice(errno: Errno) -> (IoKind, &'static str) {
    match errno {
        Errno::NOSPC => (IoKind::NoSpace, "free space there, or make the files smaller"),
        Errno::DQUOT => (
            IoKind::Quota,
            "the quota on this file system is used up: raise it, or make the files smaller",
        ),
        Errno::ROFS => (
            IoKind::ReadOnly,
            "the file system is mounted read-only, or became so after an error: see the kernel's \
             log (dmesg)",
        ),
        Errno::IO => {
            (IoKind::Io, "the device or the server reported an error: see the kernel's log (dmesg)")
        }
        Errno::ACCESS | Errno::PERM => {
            (IoKind::Permission, "use a directory in which this user may make files")
        }
        Errno::STALE => (IoKind::Stale, "the server no longer knows the file: mount it anew"),
        Errno::MFILE | Errno::NFILE => {
            (IoKind::Other, "raise the limit of open files (ulimit -n), or use fewer readers")
        }
        _ => (IoKind::Other, "see the kernel's log (dmesg) for more"),
    }
}
