//! The page cache of this machine.

use std::os::fd::AsFd;

use rustix::fs::{Advice, fadvise, fsync};

/// Drops a file's pages, after they were written back.
pub(crate) fn evict(fd: impl AsFd) -> rustix::io::Result<()> {
    fsync(&fd)?;
    fadvise(&fd, 0, None, Advice::DontNeed)
}

/// Share of a file's first bytes that is in memory, 0–1, where the system tells.
pub(crate) fn resident_share(_fd: impl AsFd, _bytes: u64) -> Option<f64> {
    None
}

/// Drops the page cache of the whole machine; root alone may.
pub(crate) fn drop_all() -> Result<(), String> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
        .map_err(|error| format!("/proc/sys/vm/drop_caches: {error}"))
}
