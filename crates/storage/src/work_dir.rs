//! The directory that the work happens in: new, ours alone, flat, gone afterwards.
//!
//! Everything is done relative to the open directory, and nothing is followed: who puts a link in
//! the place of a file of ours gets an error and no data.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use loadline_schema::storage::DirectIo;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::direct_io;
use crate::listing::{Listing, is_valid};
use crate::marker::{MARKER, Marker};
use crate::refuse::plain;
use crate::take_down::Doomed;

/// Every name of a working directory begins with it.
pub(crate) const PREFIX: &str = "loadline-work-";
/// Names that are drawn before it is given up.
const DRAWS: u32 = 16;

/// Why there is no working directory.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DirError {
    /// Why, and what to do.
    pub message: String,
}

/// A directory of ours, and the files in it. Dropped, it removes itself as [`WorkDir::remove`] does.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    name: String,
    parent: OwnedFd,
    dir: OwnedFd,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Files {
    /// Names of the files that are there.
    made: BTreeSet<String>,
    /// Their list for those who come after us; `None` once the directory is taken down.
    listing: Option<Listing>,
}

impl WorkDir {
    /// Makes `loadline-work-` and eight random characters in `parent`, which only this user may
    /// enter, with a marker that says whose it is.
    ///
    /// # Errors
    /// The system says no, or somebody meddles with the directory while it is made.
    pub fn create(parent: &Path) -> Result<Self, DirError> {
        let above = plain(parent);
        let above = std::path::absolute(&above).unwrap_or(above);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = open(&above, flags, Mode::empty()).map_err(|error| DirError {
            message: format!("cannot open the directory {}: {error}", above.display()),
        })?;
        let cannot = |error: &dyn std::fmt::Display| DirError {
            message: format!("cannot make a working directory in {}: {error}", above.display()),
        };
        let name = make(&parent).map_err(|error| cannot(&error))?;
        let path = above.join(&name);
        match furnish(&parent, &name) {
            Ok((dir, listing)) => {
                let files = Files { made: BTreeSet::new(), listing: Some(listing) };
                Ok(Self { path, name, parent, dir, files: Mutex::new(files) })
            }
            Err(why) => {
                // What is empty can go; anything else is not what was made here.
                let left = unlinkat(&parent, &name, AtFlags::REMOVEDIR).err();
                let left = left.map(|error| format!("; {name} is left there: {error}"));
                Err(cannot(&format!("{why}{}", left.unwrap_or_default())))
            }
        }
    }

    /// Where it lies; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file that must not exist yet, open for reading and writing with these additional
    /// flags (`O_DIRECT`, `O_DSYNC`). Any number of threads may.
    ///
    /// # Errors
    /// The system says no; `INVAL` for a name that is not plain (letters, digits, `.`, `_`, `-`) and
    /// for flags that make or empty files.
    pub fn create_file(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        acceptable(name, flags)?;
        self.files().listing()?.add([name])?;
        let ours =
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDWR;
        let opened = openat(&self.dir, name, ours | flags, Mode::RUSR | Mode::WUSR);
        let mut files = self.files();
        match &opened {
            Ok(_) => {
                files.made.insert(name.to_owned());
            }
            // With O_DIRECT the system makes the file and then may refuse to open it.
            Err(Errno::INVAL) if flags.contains(OFlags::DIRECT) => {
                files.made.insert(name.to_owned());
                drop(files);
                self.remove_file(name)?;
            }
            // A file that was there is not ours, unless it is.
            Err(_) if !files.made.contains(name) => files.listing()?.take_back(name)?,
            Err(_) => {}
        }
        opened
    }

    /// Tells the names of files that will be made: making them then costs no write for each.
    ///
    /// # Errors
    /// The system says no; `INVAL` for a name that is not plain.
    pub fn announce<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> rustix::io::Result<()> {
        let names: Vec<&str> = names.into_iter().collect();
        if !names.iter().all(|name| is_valid(name)) {
            return Err(Errno::INVAL);
        }
        self.files().listing()?.add(names)
    }

    /// Opens a file that it made, for reading and writing, with these additional flags.
    ///
    /// # Errors
    /// The system says no; `NOENT` for a file that it did not make, `LOOP` for a link in its place,
    /// `STALE` for anything else there that is no plain file with one name.
    pub fn open_file(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        acceptable(name, flags)?;
        if !self.files().made.contains(name) {
            return Err(Errno::NOENT);
        }
        let ours = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDWR;
        let file = openat(&self.dir, name, ours | flags, Mode::empty())?;
        let entry = fstat(&file)?;
        let is_file = FileType::from_raw_mode(entry.st_mode) == FileType::RegularFile;
        if is_file && entry.st_nlink <= 1 { Ok(file) } else { Err(Errno::STALE) }
    }

    /// Removes a file that it made; one that it did not make, or that is not there, is no error and
    /// stays as it is.
    ///
    /// # Errors
    /// The system says no.
    pub fn remove_file(&self, name: &str) -> rustix::io::Result<()> {
        if !self.files().made.contains(name) {
            return Ok(());
        }
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {
                self.files().made.remove(name);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What this file system says about O_DIRECT, from a small file that is made for it and removed.
    pub fn direct_io(&self) -> DirectIo {
        direct_io::probe(self)
    }

    /// Removes everything that it made and itself. Returns what is left, each with its reason; what
    /// it did not make stays. Files of it that are still open should be closed before: NFS keeps
    /// them.
    pub fn remove(self) -> Vec<String> {
        self.take_down()
    }

    fn take_down(&self) -> Vec<String> {
        let (made, listing) = {
            let mut files = self.files();
            (files.made.clone(), files.listing.take())
        };
        if listing.is_none() {
            return Vec::new();
        }
        drop(listing);
        let doomed = Doomed {
            path: &self.path,
            parent: self.parent.as_fd(),
            name: &self.name,
            dir: self.dir.as_fd(),
        };
        doomed.take_down(&made)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // A thread that panicked leaves the set whole: nothing in it is changed in two steps.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // Nobody is there to be told what is left; its marker tells the next run.
        self.take_down();
    }
}

impl Files {
    fn listing(&mut self) -> rustix::io::Result<&mut Listing> {
        self.listing.as_mut().ok_or(Errno::NOENT)
    }
}

/// `INVAL` for what would lead out of the directory or change files that are there.
fn acceptable(name: &str, flags: OFlags) -> rustix::io::Result<()> {
    let changing = OFlags::CREATE | OFlags::TRUNC | OFlags::TMPFILE;
    if is_valid(name) && !flags.intersects(changing) { Ok(()) } else { Err(Errno::INVAL) }
}

/// Makes a directory with a new name, and returns the name.
fn make(parent: &OwnedFd) -> rustix::io::Result<String> {
    for _ in 0..DRAWS {
        let name = format!("{PREFIX}{}", random_characters()?);
        match mkdirat(parent, &name, Mode::RWXU) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST)
}

/// Eight characters of base32 (RFC 4648, small letters).
fn random_characters() -> rustix::io::Result<String> {
    let mut bytes = [0_u8; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let character =
        |byte: u8| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte % 32)]);
    Ok(bytes.into_iter().map(character).collect())
}

/// Opens the new directory and puts marker and list into it, in this order. On an error nothing of
/// ours is left in it.
fn furnish(parent: &OwnedFd, name: &str) -> Result<(OwnedFd, Listing), String> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(parent, name, flags, Mode::empty())
        .map_err(|error| format!("{name} cannot be opened: {error}"))?;
    let result = write_marker(parent, name, &dir).and_then(|()| {
        Listing::create(&dir).map_err(|error| {
            // The marker is ours: it was made with O_EXCL.
            let _ = unlinkat(&dir, MARKER, AtFlags::empty());
            format!("no list of files can be made in {name}: {error}")
        })
    });
    result.map(|listing| (dir, listing))
}

fn write_marker(parent: &OwnedFd, name: &str, dir: &OwnedFd) -> Result<(), String> {
    let cannot = |error: &dyn std::fmt::Display| format!("{name} cannot be marked: {error}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        openat(dir, MARKER, flags, Mode::RUSR | Mode::WUSR).map_err(|error| cannot(&error))?;
    let written = || -> Result<(), String> {
        let (above, own) = (fstat(parent), fstat(dir));
        let (above, own) = (above.map_err(|e| cannot(&e))?, own.map_err(|e| cannot(&e))?);
        let of_marker = fstat(&file).map_err(|error| cannot(&error))?.st_uid;
        // The owner of a file made just now is who this file system takes us for, which need not be
        // our user (NFS shows root as nobody).
        if own.st_uid != of_marker || own.st_dev != above.st_dev {
            return Err(format!(
                "{name} is not the directory that was made: somebody put another \
                                one in its place"
            ));
        }
        let mut text = serde_json::to_vec_pretty(&Marker::of_this_process())
            .map_err(|error| cannot(&error))?;
        text.push(b'\n');
        let mut file = File::from(file);
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(|error| cannot(&error))
    };
    written().inspect_err(|_| {
        // It was made with O_EXCL, so it is ours.
        let _ = unlinkat(dir, MARKER, AtFlags::empty());
    })
}

#[cfg(test)]
mod tests;
