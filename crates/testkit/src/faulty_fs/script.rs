//! What goes wrong on a faulty file system now, and the answers that are withheld.

use std::fmt;
use std::time::Duration;

use rustix::io::Errno;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FsFault {
    /// Nothing.
    #[default]
    None,
    /// Writes fail once so many more bytes were written.
    Write {
        /// Bytes that are still taken.
        after_bytes: u64,
        /// The error.
        errno: Errno,
    },
    /// Reads fail once so many more bytes were read.
    Read {
        /// Bytes that are still given.
        after_bytes: u64,
        /// The error.
        errno: Errno,
    },
    /// fsync and fdatasync fail.
    Fsync {
        /// The error.
        errno: Errno,
    },
    /// Every read, write and fsync takes at least so long.
    Slow(Duration),
    /// Nothing is answered any more, until the next fault is set; then everything that was withheld
    /// is.
    Hang,
}

/// The size that a faulty file system tells, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsSpace {
    /// All of it.
    pub total_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
}

impl Default for FsSpace {
    /// 16 TiB, all free.
    fn default() -> Self {
        Self { total_bytes: 16 << 40, free_bytes: 16 << 40 }
    }
}

/// What an I/O does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Io {
    Read(u64),
    Write(u64),
    Fsync,
}

/// An answer to the kernel.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// The fault now, and what it did.
#[derive(Default)]
pub(super) struct Script {
    pub(super) space: FsSpace,
    fault: FsFault,
    /// Of files alone whose name begins so.
    prefix: String,
    /// Bytes that the fault let through.
    passed: u64,
    withheld: Vec<Answer>,
}

impl Script {
    /// Another fault; returns what the last one withheld.
    pub(super) fn begin(&mut self, prefix: &str, fault: FsFault) -> Vec<Answer> {
        self.fault = fault;
        self.passed = 0;
        prefix.clone_into(&mut self.prefix);
        if fault == FsFault::Hang { Vec::new() } else { std::mem::take(&mut self.withheld) }
    }

    pub(super) fn withheld(&self) -> usize {
        self.withheld.len()
    }

    /// How long an I/O waits, and how it fails.
    pub(super) fn judge(&mut self, name: &str, io: Io) -> (Duration, Result<(), Errno>) {
        let free = (Duration::ZERO, Ok(()));
        if !name.starts_with(&self.prefix) {
            return free;
        }
        let (bytes, after_bytes, errno) = match (self.fault, io) {
            (FsFault::Slow(time), _) => return (time, Ok(())),
            (FsFault::Fsync { errno }, Io::Fsync) => return (Duration::ZERO, Err(errno)),
            (FsFault::Write { after_bytes, errno }, Io::Write(bytes))
            | (FsFault::Read { after_bytes, errno }, Io::Read(bytes)) => {
                (bytes, after_bytes, errno)
            }
            _ => return free,
        };
        self.passed = self.passed.saturating_add(bytes);
        if self.passed > after_bytes { (Duration::ZERO, Err(errno)) } else { free }
    }

    /// Gives the answer back when it may be given now, and keeps it in a hang.
    pub(super) fn may_answer(&mut self, answer: Answer) -> Option<Answer> {
        if self.fault == FsFault::Hang {
            self.withheld.push(answer);
            return None;
        }
        Some(answer)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Script");
        debug.field("fault", &self.fault).field("withheld", &self.withheld.len());
        debug.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_lets_its_bytes_through_and_then_none() {
        let mut script = Script::default();
        let errno = Errno::NOSPC;
        script.begin("job", FsFault::Write { after_bytes: 10, errno });
        let mut write = |name, bytes| script.judge(name, Io::Write(bytes)).1;
        assert_eq!(write("job0", 6), Ok(()));
        assert_eq!(write("other", 60), Ok(()), "another file's bytes do not count");
        assert_eq!(write("job0", 4), Ok(()));
        assert_eq!(write("job0", 1), Err(errno));
        assert_eq!(script.judge("job0", Io::Read(9)).1, Ok(()));
        assert_eq!(script.judge("job0", Io::Fsync).1, Ok(()));
        script.begin("", FsFault::Write { after_bytes: 10, errno });
        assert_eq!(script.judge("any", Io::Write(10)).1, Ok(()), "it begins anew");
    }

    #[test]
    fn a_hang_withholds_until_the_next_fault() {
        let mut script = Script::default();
        assert!(script.may_answer(Box::new(|| {})).is_some());
        script.begin("", FsFault::Hang);
        assert!(script.may_answer(Box::new(|| {})).is_none());
        assert!(script.begin("", FsFault::Hang).is_empty());
        assert_eq!(script.withheld(), 1);
        assert_eq!(script.begin("", FsFault::None).len(), 1);
        assert_eq!(script.withheld(), 0);
    }
}
