//! What an I/O that failed is called, and what can be done about it.

use loadline_schema::storage::{Direction, IoFailure, IoKind};
use rustix::io::Errno;

/// What an errno is called in a result.
pub(super) fn kind(errno: Errno) -> IoKind {
    match errno {
        Errno::NOSPC => IoKind::NoSpace,
        Errno::DQUOT => IoKind::Quota,
        Errno::ROFS => IoKind::ReadOnly,
        Errno::IO => IoKind::Io,
        Errno::ACCESS | Errno::PERM => IoKind::Permission,
        Errno::STALE => IoKind::Stale,
        _ => IoKind::Other,
    }
}

fn advice(kind: IoKind) -> &'static str {
    match kind {
        IoKind::NoSpace => "free space there, or ask for a smaller size",
        IoKind::Quota => "the quota is used up: ask for a smaller size or another directory",
        IoKind::ReadOnly => {
            "the file system is read-only now, often after an error of its device: see dmesg"
        }
        IoKind::Io => "the device or the server failed: see dmesg",
        IoKind::Permission => "the system forbids it: see the owner and the options of the mount",
        IoKind::Stale => "the server forgot the file, often after a restart: mount again",
        IoKind::Short => "the file was shortened, or its storage is full",
        IoKind::Other => "see dmesg, and whether the file system supports this",
    }
}

/// What the system said, and what can be done about it.
pub(super) fn in_words(errno: Errno) -> String {
    format!("{errno}; {}", advice(kind(errno)))
}

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
        let kind = kind(errno);
        let what = self.in_words();
        IoFailure { kind, message: format!("{what} failed: {}", in_words(errno)) }
    }

    /// It moved fewer bytes and cannot go on.
    pub(super) fn short(&self, moved: u64) -> IoFailure {
        let (what, advice) = (self.in_words(), advice(IoKind::Short));
        IoFailure {
            kind: IoKind::Short,
            message: format!("{what} ended after {moved} bytes; {advice}"),
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

    #[test]
    fn each_errno_has_its_kind() {
        for (errno, wanted) in [
            (Errno::DQUOT, IoKind::Quota),
            (Errno::ROFS, IoKind::ReadOnly),
            (Errno::IO, IoKind::Io),
            (Errno::PERM, IoKind::Permission),
            (Errno::ACCESS, IoKind::Permission),
            (Errno::STALE, IoKind::Stale),
            (Errno::NODEV, IoKind::Other),
        ] {
            assert_eq!(kind(errno), wanted, "{errno}");
        }
    }
}
