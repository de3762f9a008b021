//! The names of our files, in a file beside them: what may be removed when their process was killed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, pwrite};

use crate::marker::MARKER;

/// Name of the list.
pub(crate) const LISTING: &str = "loadline.files";
/// Most bytes of a list: a hundred thousand long names.
const MAX_BYTES: i64 = 16 << 20;
/// Most bytes of a name.
const MAX_NAME: usize = 200;

/// Whether a file of ours may have this name: letters, digits, `.`, `_` and `-`, the first one no
/// `.` or `-`, and none of the names that the directory needs itself.
pub(crate) fn is_valid(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !name.starts_with(['.', '-'])
        && ![MARKER, LISTING].contains(&name)
}

/// The list while its process lives. A line is a name, or `-` and a name that is not ours after all.
#[derive(Debug)]
pub(crate) struct Listing {
    file: OwnedFd,
    end: u64,
    names: BTreeSet<String>,
}

impl Listing {
    /// Makes it, empty.
    pub(crate) fn create(dir: impl AsFd) -> rustix::io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = openat(dir, LISTING, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
        Ok(Self { file, end: 0, names: BTreeSet::new() })
    }

    /// Adds names, in one write; those that it has cost nothing.
    pub(crate) fn add<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> rustix::io::Result<()> {
        let new: BTreeSet<&str> =
            names.into_iter().filter(|name| !self.names.contains(*name)).collect();
        self.append(new.iter().map(|name| format!("{name}\n")).collect())?;
        self.names.extend(new.into_iter().map(str::to_owned));
        Ok(())
    }

    /// Takes a name back.
    pub(crate) fn take_back(&mut self, name: &str) -> rustix::io::Result<()> {
        if self.names.remove(name) { self.append(format!("-{name}\n")) } else { Ok(()) }
    }

    /// What was written in part is written over by the next one: only whole lines count.
    fn append(&mut self, text: String) -> rustix::io::Result<()> {
        let mut rest = text.as_bytes();
        let mut at = self.end;
        while !rest.is_empty() {
            match pwrite(&self.file, rest, at) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(n) => {
                    rest = &rest[n..];
                    at += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.end = at;
        Ok(())
    }
}

/// The names in the list of a directory; none where it has no list.
///
/// # Errors
/// The list is not to be trusted.
pub(crate) fn read(dir: impl AsFd) -> Result<BTreeSet<String>, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(dir, LISTING, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(BTreeSet::new()),
        Err(error) => return Err(format!("its list of files cannot be opened: {error}")),
    };
    let entry = fstat(&file).map_err(|error| format!("its list of files: {error}"))?;
    if FileType::from_raw_mode(entry.st_mode) != FileType::RegularFile || entry.st_size > MAX_BYTES
    {
        return Err("its list of files is none of ours".to_owned());
    }
    let mut text = Vec::new();
    File::from(file)
        .take(MAX_BYTES as u64)
        .read_to_end(&mut text)
        .map_err(|error| format!("its list of files cannot be read: {error}"))?;
    Ok(names(&text))
}

fn names(text: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    for line in text[..whole].split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        match line.strip_prefix('-') {
            Some(name) => {
                names.remove(name);
            }
            None if is_valid(line) => {
                names.insert(line.to_owned());
            }
            None => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::fs::open;

    use super::*;

    #[test]
    fn names_are_flat_and_leave_ours_alone() {
        for name in ["job-0.1", "zero_pp_rank_0_mp_rank_00_model_states.pt", "a"] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "ü", MARKER, LISTING] {
            assert!(!is_valid(name), "{name}");
        }
        assert!(!is_valid(&"a".repeat(MAX_NAME + 1)));
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let fd = open(dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(read(&fd), Ok(BTreeSet::new()));
        let mut listing = Listing::create(&fd).unwrap();
        listing.add(["a", "b"]).unwrap();
        listing.add(["b", "c"]).unwrap();
        listing.take_back("a").unwrap();
        listing.take_back("never").unwrap();
        assert_eq!(read(&fd), Ok(["b", "c"].map(str::to_owned).into()));
        assert_eq!(std::fs::read(dir.path().join(LISTING)).unwrap(), b"a\nb\nc\n-a\n");
        assert_eq!(Listing::create(&fd).unwrap_err(), Errno::EXIST);
    }

    #[test]
    fn half_lines_and_names_that_lead_elsewhere_do_not_count() {
        let text = b"job-1\n../../etc/passwd\n/etc\n.x\n\nloadline.marker\njob-2\njob-";
        assert_eq!(names(text), ["job-1", "job-2"].map(str::to_owned).into());
        assert_eq!(names(b"job-1"), BTreeSet::new());
    }

    proptest! {
        #[test]
        fn any_list_yields_valid_names_alone(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(names(&text).iter().all(|name| is_valid(name)));
        }
    }
}
