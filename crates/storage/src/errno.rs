//! What an errno is called in a result, and what can be done about it.

use loadline_schema::storage::IoKind;
use rustix::io::Errno;

/// The kind of failure that an errno is, and what can be done about it.
pub(crate) fn kind_and_advice(errno: Errno) -> (IoKind, &'static str) {
    match errno {
        Errno::NOSPC => (IoKind::NoSpace, "free space there, or ask for a smaller size"),
        Errno::DQUOT => (
            IoKind::Quota,
            "the quota on this file system is used up: raise it, ask for a smaller size, or use \
             another directory",
        ),
        Errno::ROFS => (
            IoKind::ReadOnly,
            "the file system is mounted read-only, or became so after an error: see the kernel's \
             log (dmesg)",
        ),
        Errno::IO => {
            (IoKind::Io, "the device or the server reported an error: see the kernel's log (dmesg)")
        }
        Errno::ACCESS | Errno::PERM => (
            IoKind::Permission,
            "the system forbids it: see the owner and the options of the mount, or use a directory \
             in which this user may make files",
        ),
        Errno::STALE => (
            IoKind::Stale,
            "the server no longer knows the file, often after a restart: mount it anew",
        ),
        Errno::MFILE | Errno::NFILE => (
            IoKind::Other,
            "raise the limit of open files (ulimit -n), or use fewer jobs, ranks or readers",
        ),
        _ => (
            IoKind::Other,
            "see the kernel's log (dmesg), and whether the file system supports this",
        ),
    }
}

/// What the system said, and what can be done about it.
pub(crate) fn in_words(errno: Errno) -> String {
    format!("{errno}; {}", kind_and_advice(errno).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_its_kind() {
        for (errno, wanted) in [
            (Errno::NOSPC, IoKind::NoSpace),
            (Errno::DQUOT, IoKind::Quota),
            (Errno::ROFS, IoKind::ReadOnly),
            (Errno::IO, IoKind::Io),
            (Errno::PERM, IoKind::Permission),
            (Errno::ACCESS, IoKind::Permission),
            (Errno::STALE, IoKind::Stale),
            (Errno::NODEV, IoKind::Other),
        ] {
            assert_eq!(kind_and_advice(errno).0, wanted, "{errno}");
        }
        assert!(in_words(Errno::MFILE).contains("ulimit -n"));
    }
}
