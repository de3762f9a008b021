//! What is refused before anything is made, each with its reason and the way out.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use loadline_schema::storage::{StorageLimits, size_words};
use rustix::fs::{Access, AtFlags, StatVfsMountFlags, accessat};
use rustix::io::Errno;

use crate::facts::{Roots, Seen, memory};
use crate::mounts;
use crate::work_dir::DirError;

/// Largest reserve that is kept without being asked for, bytes.
const MAX_RESERVE: u64 = 10 << 30;

/// Refuses a directory that must not be worked in, or lacks the space for files of so many bytes
/// together. Nothing is made or changed.
///
/// # Errors
/// Why it is refused, and what to do.
pub fn check(
    path: &Path,
    limits: &StorageLimits,
    file_bytes: u64,
    roots: &Roots,
) -> Result<(), DirError> {
    refusal(path, limits, file_bytes, roots).map_err(|message| DirError { message })
}

/// The path without what would make the system follow a symbolic link at its end (`link/`,
/// `link/.`).
pub(crate) fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

fn refusal(
    path: &Path,
    limits: &StorageLimits,
    file_bytes: u64,
    roots: &Roots,
) -> Result<(), String> {
    kind_of_entry(path)?;
    let seen = Seen::open(path, roots).map_err(|error| error.message)?;
    let shown = path.display();
    system_directory(&seen, path)?;
    if seen.space.f_flag.contains(StatVfsMountFlags::RDONLY)
        || seen.mount.options.iter().any(|option| option == "ro")
    {
        return Err(format!(
            "{shown} is on a file system that is mounted read-only ({}): name a directory on one \
             that can be written",
            seen.mount.point.display()
        ));
    }
    if !limits.allow_mount_root && seen.is_mount_root {
        return Err(format!(
            "{shown} is the root of a mount: make a directory in it and name that, or give --yes \
             if the root itself is meant"
        ));
    }
    let access = accessat(&seen.dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    writable(path, access)?;
    space(path, &seen, limits, file_bytes, roots)
}

fn kind_of_entry(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let named = plain(path);
    let entry = match fs::symlink_metadata(&named) {
        Ok(entry) => entry.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(format!(
                "{shown} does not exist: make it first, or name another directory"
            ));
        }
        Err(error) => return Err(format!("cannot look at {shown}: {error}")),
    };
    if entry.is_symlink() {
        let to = fs::read_link(&named).map_err(|error| format!("cannot read {shown}: {error}"))?;
        return Err(format!(
            "{shown} is a symbolic link to {0}: name {0} itself if that is what you mean",
            to.display()
        ));
    }
    if entry.is_block_device() || entry.is_char_device() {
        return Err(format!(
            "{shown} is a raw device: Loadline works in directories of mounted file systems alone \
             and never on a device; name a directory on it"
        ));
    }
    if !entry.is_dir() {
        return Err(format!("{shown} is not a directory: name one"));
    }
    Ok(())
}

/// No flag lets work happen in these.
fn system_directory(seen: &Seen, path: &Path) -> Result<(), String> {
    let shown = path.display();
    if seen.path == Path::new("/") {
        return Err(format!("{shown} is the root of the whole system: name a directory in it"));
    }
    let in_kernel = ["/proc", "/sys"].iter().any(|top| seen.path.starts_with(top));
    if in_kernel || seen.path == Path::new("/dev") || mounts::is_pseudo(&seen.mount.kind) {
        return Err(format!(
            "{shown} is on {}, which is no storage for files: name a directory on a file system \
             that is",
            seen.mount.kind
        ));
    }
    Ok(())
}

fn writable(path: &Path, access: rustix::io::Result<()>) -> Result<(), String> {
    let shown = path.display();
    match access {
        // Where the system cannot tell, making the directory will.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(Errno::ACCESS | Errno::PERM) => Err(format!(
            "{shown} cannot be written by this user: name a directory that can, or change its \
             permissions"
        )),
        Err(Errno::ROFS) => Err(format!("{shown} is on a file system that is read-only")),
        Err(error) => Err(format!("cannot tell whether {shown} can be written: {error}")),
    }
}

/// Bytes that stay free: what was asked for, or 5 % of the size, at most 10 GiB.
fn reserve(limits: &StorageLimits, total: u64) -> u64 {
    limits.reserve_bytes.unwrap_or_else(|| (total / 20).min(MAX_RESERVE))
}

fn space(
    path: &Path,
    seen: &Seen,
    limits: &StorageLimits,
    file_bytes: u64,
    roots: &Roots,
) -> Result<(), String> {
    let (total, free) = seen.sizes();
    let reserve = reserve(limits, total);
    let need = file_bytes.saturating_add(reserve);
    let short = |free: u64, what: &str| {
        format!(
            "{} has {} of {what}, and {} are needed: {} of files and {} that stay free; ask for \
             smaller files (--size, --model-size, --scale of a checkpoint), or let less \
             stay free (--reserve)",
            path.display(),
            size_words(free),
            size_words(need),
            size_words(file_bytes),
            size_words(reserve)
        )
    };
    // Some file systems in user space, and ramfs, do not tell their size.
    if total > 0 && need > free {
        return Err(short(free, "free space"));
    }
    if mounts::is_in_memory(&seen.mount.kind) {
        // A tmpfs may be larger than the memory that is left.
        let available = memory(&roots.proc, "MemAvailable");
        if let Some(available) = available.filter(|available| need > *available) {
            return Err(short(available, &format!("memory for its {}", seen.mount.kind)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
