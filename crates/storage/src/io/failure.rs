//! What an I/O that failed is called, and what can be done about it.

use loadline_schema::storage::{Direction, IoFailure, IoKind};
use rustix::io::Errno;

use crate::errno::kind_and_advice;

/// What can be done where an I/O moved too few bytes.
const SHORT: &str = "the file was shortened, or its storage is full";

/// What was being done.
#[derive(Debug, Clone, Copy)]
pub(super) struct What<'a> {
    /// Read, write or sync.
    pub(super) direction: Direction,
    /// Its bytes.
    pub(super) bytes: u64,
    /// Where.
    pub(super) offset: u64,
    /// The file.
    pub(super) path: &'a str,
}

impl What<'_> {
    fn in_words(&self) -> String {
        let Self { bytes, offset, path, .. } = self;
        match self.direction {
            Direction::Read => format!("read of {bytes} bytes at offset {offset} of {path}"),
            Direction::Write => format!("write of {bytes} bytes at offset {offset} of {path}"),
            Direction::Sync => format!("fsync of {path}"),
        }
    }

    /// It failed with this errno.
    pub(super) fn failed(&self, errno: Errno) -> IoFailure {
        let (kind, advice) = kind_and_advice(errno);
        let what = self.in_words();
        IoFailure { kind, message: format!("{what} failed: {errno}; {advice}") }
    }

    /// It moved fewer bytes and cannot go on.
    pub(super) fn short(&self, moved: u64) -> IoFailure {
        let what = self.in_words();
        IoFailure {
            kind: IoKind::Short,
            message: format!("{what} ended after {moved} bytes; {SHORT}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_what_where_and_why() {
        let what =
            What { direction: Direction::Write, bytes: 4096, offset: 8192, path: "/x/job-0" };
        let full = what.failed(Errno::NOSPC);
        assert_eq!(full.kind, IoKind::NoSpace);
        for part in ["write of 4096 bytes at offset 8192 of /x/job-0", "No space left", "smaller"] {
            assert!(full.message.contains(part), "{part} is missing in {}", full.message);
        }
        let short = what.short(100);
        assert_eq!(short.kind, IoKind::Short);
        assert!(short.message.contains("after 100 bytes"), "{}", short.message);
    }
}
