//! Removes a working directory: the files on its list, its own two files, itself. Never anything
//! else, never below it, and nothing is followed.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, fstat, statat, unlinkat};
use rustix::io::Errno;

use crate::listing::LISTING;
use crate::marker::MARKER;

/// How FUSE names a file that was removed while a process had it open.
const FUSE_HIDDEN: &str = ".fuse_hidden";
/// How often, and how far apart, is looked whether such files have gone: half a second in all.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);
/// Of many files that are left, so many are named.
const MAX_NAMED: usize = 10;

/// A directory that shall go.
pub(crate) struct Doomed<'a> {
    /// Where it lies, for people.
    pub path: &'a Path,
    /// The directory above it.
    pub parent: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a str,
    /// Itself.
    pub dir: BorrowedFd<'a>,
}

impl Doomed<'_> {
    /// Removes it with the files of these names. Returns what is left, each with its reason; nothing
    /// when it is gone.
    ///
    /// The marker goes last, and stays as long as anything of ours does, so that a later run can go
    /// on.
    pub(crate) fn take_down(&self, ours: &BTreeSet<String>) -> Vec<String> {
        let shown = self.path.display();
        let mut left: Vec<String> = Vec::new();
        for name in ours {
            if let Err(error) = self.unlink(name) {
                left.push(format!("{shown}/{name} cannot be removed: {error}"));
            }
        }
        if !left.is_empty() {
            return left;
        }
        let rest = match self.settled_rest() {
            Ok(rest) => rest,
            Err(error) => return vec![format!("{shown} cannot be listed: {error}")],
        };
        // NFS and FUSE keep a removed file under such a name until the last process has closed it.
        let is_open = |name: &&String| name.starts_with(".nfs") || name.starts_with(FUSE_HIDDEN);
        if let Some(open) = rest.iter().find(is_open) {
            return vec![format!(
                "{shown} holds {open}: a file that was removed while a process had it open"
            )];
        }
        for name in [LISTING, MARKER] {
            if let Err(error) = self.unlink(name) {
                return vec![format!("{shown}/{name} cannot be removed: {error}")];
            }
        }
        if rest.is_empty() {
            return self.remove_itself().err().into_iter().collect();
        }
        let named = rest.iter().take(MAX_NAMED);
        left.extend(named.map(|name| format!("{shown} holds a file that is not ours: {name}")));
        if rest.len() > MAX_NAMED {
            let more = rest.len() - MAX_NAMED;
            left.push(format!("{shown} holds {more} more files that are not ours"));
        }
        left
    }

    fn unlink(&self, name: &str) -> rustix::io::Result<()> {
        match unlinkat(self.dir, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            result => result,
        }
    }

    /// What is in it beside its own two files, once what is closed already has gone: FUSE keeps a file
    /// that was removed while open under another name, and hears of its closing late.
    fn settled_rest(&self) -> rustix::io::Result<Vec<String>> {
        for _ in 0..LOOKS {
            let rest = self.rest()?;
            if !rest.iter().any(|name| name.starts_with(FUSE_HIDDEN)) {
                return Ok(rest);
            }
            std::thread::sleep(PAUSE);
        }
        self.rest()
    }

    /// What is in it beside its own two files.
    fn rest(&self) -> rustix::io::Result<Vec<String>> {
        let mut rest = Vec::new();
        for entry in Dir::read_from(self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if ![".", "..", LISTING, MARKER].contains(&name.as_str()) {
                rest.push(name);
            }
        }
        rest.sort();
        Ok(rest)
    }

    fn remove_itself(&self) -> Result<(), String> {
        let shown = self.path.display();
        let cannot = |error: Errno| format!("{shown} cannot be removed: {error}");
        let there = match statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => there,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(cannot(error)),
        };
        let own = fstat(self.dir).map_err(cannot)?;
        if (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino) {
            return Err(format!("{shown} is another directory now, and stays"));
        }
        for _ in 0..LOOKS {
            match unlinkat(self.parent, self.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // The marker and the list were closed a moment ago: see `settled_rest`.
                Err(Errno::NOTEMPTY) => std::thread::sleep(PAUSE),
                Err(error) => return Err(cannot(error)),
            }
        }
        Err(cannot(Errno::NOTEMPTY))
    }
}
