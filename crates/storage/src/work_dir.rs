//! The directory that the work happens in: new, ours alone, flat, gone afterwards.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};

/// Why there is no working directory.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DirError {
    /// Why, and what to do.
    pub message: String,
}

/// A directory of ours, and the files in it.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    dir: OwnedFd,
}

impl WorkDir {
    /// Makes it.
    ///
    /// # Errors
    /// The system says no.
    pub fn create(parent: &Path) -> Result<Self, DirError> {
        let path = parent.join(format!("loadline-work-{}", std::process::id()));
        let failed = |error: &dyn std::fmt::Display| DirError {
            message: format!("cannot make {}: {error}", path.display()),
        };
        fs::create_dir(&path).map_err(|error| failed(&error))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = open(&path, flags, Mode::empty()).map_err(|error| failed(&error))?;
        Ok(Self { path, dir })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file that must not exist yet, open for reading and writing with these additional
    /// flags (`O_DIRECT`, `O_DSYNC`).
    ///
    /// # Errors
    /// The system says no.
    pub fn create_file(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let ours =
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDWR;
        openat(&self.dir, name, ours | flags, Mode::RUSR | Mode::WUSR)
    }

    /// Opens a file that it made, for reading and writing, with these additional flags.
    ///
    /// # Errors
    /// The system says no; `NOENT` for a file that it did not make.
    pub fn open_file(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        openat(
            &self.dir,
            name,
            OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDWR | flags,
            Mode::empty(),
        )
    }

    /// Removes a file that it made; one that is not there is no error.
    ///
    /// # Errors
    /// The system says no.
    pub fn remove_file(&self, name: &str) -> rustix::io::Result<()> {
        match rustix::fs::unlinkat(&self.dir, name, rustix::fs::AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            result => result,
        }
    }

    /// Removes everything that it made and itself. Returns what is left, each with its reason.
    pub fn remove(self) -> Vec<String> {
        fs::remove_dir_all(&self.path).err().map(|error| error.to_string()).into_iter().collect()
    }
}
