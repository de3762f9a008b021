//! The page cache of this machine: what it holds of a file, and how to empty or fill it.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use loadline_schema::storage::{CacheState, FilesystemFacts};
use memmap2::MmapOptions;
use rustix::fs::{Advice, OFlags, fadvise, fdatasync};
use rustix::io::Errno;

use crate::Trial;
use crate::course::Course;

/// Above this share of the files in the page cache, figures count as those of memory.
const RESIDENT_LIMIT: f64 = 0.05;
/// Residency is asked for in windows of this size, so that the answer takes little memory.
const WINDOW: u64 = 1 << 30;
const POPULATE_BLOCK: usize = 1 << 20;
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Writes back what is dirty of a file, and drops the file from the page cache. Pages that are mapped
/// or locked elsewhere stay; [`resident_share`] tells.
///
/// # Errors
/// The write-back failed.
pub(crate) fn evict(fd: impl AsFd) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| fdatasync(&fd))?;
    fadvise(fd, 0, None, Advice::DontNeed)
}

/// Share of a file's pages that the page cache holds, 0–1, from `mincore`; `None` where the system
/// does not tell. The kernel answers truthfully only for files that one may write.
pub(crate) fn resident_share(fd: impl AsFd, bytes: u64) -> Option<f64> {
    let page = rustix::param::page_size();
    let fd = fd.as_fd().as_raw_fd();
    let (mut resident, mut pages) = (0_usize, 0_usize);
    let mut offset = 0;
    while offset < bytes {
        let length = usize::try_from(WINDOW.min(bytes - offset)).ok()?;
        // SAFETY: the mapping is never read, so neither a change nor a truncation of the file
        // matters.
        #[expect(unsafe_code, reason = "maps a file")]
        let map = unsafe { MmapOptions::new().offset(offset).len(length).map(fd) }.ok()?;
        let mut states = vec![0_u8; length.div_ceil(page)];
        // SAFETY: the range is a live mapping that begins at a page, and there is one byte of
        // `states` for each page of it.
        #[expect(unsafe_code, reason = "neither rustix nor nix has mincore")]
        let result =
            unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), length, states.as_mut_ptr()) };
        if result != 0 {
            return None;
        }
        resident += states.iter().filter(|state| **state & 1 == 1).count();
        pages += states.len();
        offset += length as u64;
    }
    Some(if pages == 0 { 0.0 } else { resident as f64 / pages as f64 })
}

/// Drops the page cache, dentries and inodes of the whole machine.
///
/// # Errors
/// In words, with what to do: only root may.
pub(crate) fn drop_all() -> Result<(), String> {
    rustix::fs::sync();
    std::fs::write(DROP_CACHES, "3").map_err(|error| {
        format!(
            "cannot write {DROP_CACHES}: {error}; only root outside of containers may drop the \
                 caches of the machine: run as root, or leave --drop-caches out"
        )
    })
}

/// Reads a file through, so that the page cache holds it as far as it fits.
///
/// # Errors
/// The trial was stopped, or a read failed; the course has the reason.
pub(crate) fn populate(
    trial: &Trial<'_>,
    course: &Course<'_>,
    fd: impl AsFd,
    file: &str,
    bytes: u64,
) -> Result<(), crate::course::Halted> {
    use std::sync::atomic::Ordering;
    let mut buffer = vec![0; POPULATE_BLOCK];
    let mut at = 0;
    while at < bytes {
        course.check()?;
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(&fd, &mut buffer[..], at))
            .map_err(|errno| course.fail("read", file, errno))?;
        if read == 0 {
            return Err(course.short("read", file, at, bytes - at));
        }
        at += read as u64;
        trial.ended.fetch_add(1, Ordering::Relaxed);
        trial.ended_bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Makes the next reads of these files (name and bytes) come from the storage, and says how far that
/// went: the machine's page cache is dropped where the user asked for it, else file by file.
/// `direct`: the reads go past the page cache, so that what it holds does not matter.
///
/// # Errors
/// A file could not be opened or written back, with its name.
pub(crate) fn make_cold(
    trial: &Trial<'_>,
    files: &[(String, u64)],
    direct: bool,
) -> Result<CacheState, (String, Errno)> {
    let refused = if trial.drop_caches { drop_all().err() } else { None };
    let dropped = trial.drop_caches && refused.is_none();
    if !dropped {
        for (name, _) in files {
            let evicted = open(trial, name).and_then(evict);
            evicted.map_err(|errno| (name.clone(), errno))?;
        }
    }
    let resident = resident_of(trial, files);
    let mut reasons: Vec<String> = refused.into_iter().collect();
    let (cached, reason) = judge(trial.facts, resident, direct);
    reasons.extend(reason);
    let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    Ok(CacheState { cached, reason, resident_before: resident, dropped })
}

/// Share of all files together in the page cache.
pub(crate) fn resident_of(trial: &Trial<'_>, files: &[(String, u64)]) -> Option<f64> {
    let (mut resident, mut all) = (0.0, 0.0);
    for (name, bytes) in files {
        let share = resident_share(open(trial, name).ok()?, *bytes)?;
        resident += share * *bytes as f64;
        all += *bytes as f64;
    }
    Some(if all > 0.0 { resident / all } else { 0.0 })
}

/// Whether reads after an eviction may still come from memory, and why, or what else is to say.
fn judge(facts: &FilesystemFacts, resident: Option<f64>, direct: bool) -> (bool, Option<String>) {
    if let Some(reason) = in_memory(facts) {
        return (true, Some(reason));
    }
    if facts.kind == "zfs" {
        let reason = "ZFS keeps what was written in a cache of its own (ARC), which cannot be \
                      emptied file by file";
        return (true, Some(reason.to_owned()));
    }
    match resident {
        Some(share) if share > RESIDENT_LIMIT && !direct => {
            let reason = format!(
                "{:.0} % of the files stayed in this machine's page cache although they were to \
                 leave it",
                share * 100.0
            );
            (true, Some(reason))
        }
        _ if facts.shared => {
            let reason = "what the server keeps in its own memory cannot be dropped from here";
            (false, Some(reason.to_owned()))
        }
        None if !direct => {
            let reason = "the system does not tell what its page cache holds of the files";
            (false, Some(reason.to_owned()))
        }
        _ => (false, None),
    }
}

/// The reason where the file system lives in memory.
pub(crate) fn in_memory(facts: &FilesystemFacts) -> Option<String> {
    facts.in_memory.then(|| format!("the file system ({}) lives in memory", facts.kind))
}

fn open(trial: &Trial<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    trial.dir.open_file(name, OFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::ground::{Ground, on_disk};

    fn facts(kind: &str, in_memory: bool, shared: bool) -> FilesystemFacts {
        FilesystemFacts { kind: kind.to_owned(), in_memory, shared, ..FilesystemFacts::default() }
    }

    #[test]
    fn a_file_leaves_the_page_cache_and_comes_back() {
        let Some(disk) = on_disk() else { return };
        let path = disk.path().join("file");
        let bytes = 3 * (1 << 20) + 17;
        std::fs::write(&path, vec![7; bytes]).expect("written");
        let file = File::options().read(true).write(true).open(&path).expect("opened");
        assert_eq!(resident_share(&file, bytes as u64), Some(1.0), "it was just written");
        evict(&file).expect("evicted");
        assert_eq!(resident_share(&file, bytes as u64), Some(0.0));
        let ground = Ground::new();
        let trial = ground.trial();
        populate(&trial, &Course::new(&trial), &file, "file", bytes as u64).expect("read");
        assert_eq!(resident_share(&file, bytes as u64), Some(1.0));
    }

    #[test]
    fn an_empty_file_is_not_resident() {
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(resident_share(&file, 0), Some(0.0));
    }

    #[test]
    fn what_may_come_from_memory_is_marked_with_its_reason() {
        let (ext4, tmpfs) = (facts("ext4", false, false), facts("tmpfs", true, false));
        assert_eq!(judge(&ext4, Some(0.04), false), (false, None));
        let (cached, reason) = judge(&ext4, Some(0.5), false);
        assert!(cached && reason.expect("why").starts_with("50 %"));
        assert_eq!(judge(&ext4, Some(0.5), true), (false, None), "O_DIRECT does not care");
        assert!(judge(&tmpfs, Some(0.0), true).0);
        assert!(judge(&facts("zfs", false, false), Some(0.0), false).0);
        let (cached, reason) = judge(&facts("nfs4", false, true), Some(0.0), false);
        assert!(!cached && reason.expect("why").contains("server"));
        let (cached, reason) = judge(&ext4, None, false);
        assert!(!cached && reason.expect("why").contains("does not tell"));
    }

    #[test]
    fn a_short_file_fails_to_populate() {
        let ground = Ground::new();
        let trial = ground.trial();
        let file = tempfile::tempfile().expect("a file");
        let course = Course::new(&trial);
        assert!(populate(&trial, &course, &file, "file", 10).is_err());
        let failure = course.ended_by().1.expect("why");
        assert_eq!(failure.kind, loadline_schema::storage::IoKind::Short);
    }
}
