//! Working directories whose process was killed: found by their marker, and removed where that
//! process is dead for certain.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use loadline_schema::storage::Leftover;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, fstat, open, openat, statat};
use rustix::io::Errno;

use crate::listing;
use crate::marker::{Here, Marker};
use crate::refuse::plain;
use crate::take_down::Doomed;
use crate::work_dir::PREFIX;

/// Said of what the next run removes.
const TO_BE_REMOVED: &str = "the process that made it is dead: it is removed when a run begins";

/// Directories of ours in `parent` that another process made. Those whose process is dead for
/// certain are removed; the others are told with the reason and not touched. What merely has the
/// name and no marker is not ours and not told.
///
/// Certain is: made on this machine, in this pid namespace, by a process that is no more, or on this
/// machine before it booted.
pub fn leftovers(parent: &Path) -> Vec<Leftover> {
    leftovers_seen_from(parent, &Here::look(), true)
}

/// The same directories, and nothing is removed: of those that [`leftovers`] would remove it is said.
pub fn find_leftovers(parent: &Path) -> Vec<Leftover> {
    leftovers_seen_from(parent, &Here::look(), false)
}

/// Removes the working directory of a child that was killed, by the same rules.
pub fn remove_work_dir(path: &Path) -> Leftover {
    let kept = |why: String| Leftover {
        path: path.display().to_string(),
        host: Here::look().host.hostname,
        removed: false,
        why: Some(why),
    };
    let path = plain(path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return kept("it is no directory of ours".to_owned());
    };
    if !name.starts_with(PREFIX) {
        return kept(format!("its name does not begin with {PREFIX}"));
    }
    let above = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let opened = open(above, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let above = match opened {
        Ok(above) => above,
        Err(error) => return kept(format!("{} cannot be opened: {error}", parent.display())),
    };
    if let Err(Errno::NOENT) = statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
        return Leftover { removed: true, why: None, ..kept(String::new()) };
    }
    one(above.as_fd(), parent, name, &Here::look(), true)
        .unwrap_or_else(|| kept("it has no marker of ours".to_owned()))
}

fn leftovers_seen_from(parent: &Path, here: &Here, remove: bool) -> Vec<Leftover> {
    // A parent that cannot be opened is refused elsewhere, with its reason.
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(above) = open(parent, flags, Mode::empty()) else { return Vec::new() };
    let Ok(entries) = Dir::read_from(&above) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name.starts_with(PREFIX))
        .collect();
    names.sort();
    names.iter().filter_map(|name| one(above.as_fd(), parent, name, here, remove)).collect()
}

/// `None` for what is not ours.
fn one(
    above: BorrowedFd<'_>,
    parent: &Path,
    name: &str,
    here: &Here,
    remove: bool,
) -> Option<Leftover> {
    let path = parent.join(name);
    let found = |host: String, why: Option<String>| Leftover {
        path: path.display().to_string(),
        host,
        removed: why.is_none(),
        why,
    };
    let unknown = |why: String| Some(found("unknown".to_owned(), Some(why)));
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(above, name, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => return None,
        Err(error) => return unknown(format!("it cannot be opened: {error}")),
    };
    let entry = match fstat(&dir) {
        Ok(entry) => entry,
        Err(error) => return unknown(format!("it cannot be looked at: {error}")),
    };
    let marker = match Marker::read(&dir, &entry)? {
        Ok(marker) => marker,
        Err(why) => return unknown(why),
    };
    let kept = |why: String| Some(found(marker.host.hostname.clone(), Some(why)));
    if let Err(why) = marker.is_dead(here) {
        return kept(why);
    }
    if !remove {
        return kept(TO_BE_REMOVED.to_owned());
    }
    let ours = match listing::read(&dir) {
        Ok(ours) => ours,
        Err(why) => return kept(why),
    };
    let doomed = Doomed { path: &path, parent: above, name, dir: dir.as_fd() };
    let left = doomed.take_down(&ours);
    let why = (!left.is_empty()).then(|| left.join("; "));
    Some(found(marker.host.hostname.clone(), why))
}

#[cfg(test)]
mod tests;
