//! Which process writes a run, and whether it still lives.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::FlockOperation;

use loadline_schema::manifest::{HostFacts, Manifest, RunStatus};

/// State of a run as seen from this machine now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// Its writer lives.
    Running,
    /// Its writer is gone without having closed it.
    Killed,
    /// Not closed, and written on another machine: running or killed, only that machine knows.
    Elsewhere,
    /// Closed, everything planned was carried out.
    Sealed,
    /// Closed before the plan was fulfilled.
    Interrupted,
    /// The folder looks like a run, and its manifest cannot be read.
    Unreadable,
}

impl RunState {
    /// The word for tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Killed => "killed",
            Self::Elsewhere => "elsewhere",
            Self::Sealed => "sealed",
            Self::Interrupted => "interrupted",
            Self::Unreadable => "unreadable",
        }
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// This machine and this process, as the manifest keeps them. What the system does not tell is
/// absent.
pub fn this_process() -> HostFacts {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let pid = std::process::id();
    HostFacts {
        name: text(system.nodename()),
        kernel: Some(format!("{} {}", text(system.sysname()), text(system.release()))),
        cpu: first_value("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        memory_bytes: first_value("/proc/meminfo", "MemTotal")
            .and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map(|kib| kib * 1024),
        pid,
        pid_start_ticks: start_ticks(pid),
        boot_id: boot_id(),
    }
}

/// The value of the first line `key : value` of a file.
fn first_value(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().to_owned())
}

fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Start time of a process in clock ticks after boot: field 22 of `/proc/<pid>/stat`, see
/// proc_pid_stat(5). The command's name may hold blanks and brackets, so counting starts after the
/// last bracket, where field 3 follows.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Takes the lock that a writer holds on its event log while it lives. The kernel frees it with
/// the last descriptor, so that a kill frees it too.
///
/// # Errors
/// `WouldBlock` when another writer holds it; other errors where the file system has no locks.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)
}

/// Whether some process, this one included, holds the writer's lock. `None` where that cannot be
/// seen (no locks on this file system, no such file).
fn locked(log: &Path) -> Option<bool> {
    let file = File::open(log).ok()?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Some(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Some(true),
        Err(_) => None,
    }
}

/// State of a run with this manifest and event log.
///
/// A run that says *running* is running while its lock is held or its process (pid and start time)
/// lives on this boot of this host. A process that is this one counts by the lock alone: it may
/// have dropped its writer.
pub(crate) fn state(manifest: &Manifest, log: &Path) -> RunState {
    match manifest.status {
        RunStatus::Sealed => return RunState::Sealed,
        RunStatus::Interrupted => return RunState::Interrupted,
        RunStatus::Running => {}
    }
    let lock = locked(log);
    if lock == Some(true) {
        return RunState::Running;
    }
    let Some(writer) = manifest.hosts.first() else { return RunState::Elsewhere };
    let same_boot = writer.boot_id.is_some() && writer.boot_id == boot_id();
    if !same_boot {
        let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
        return if writer.name == here { RunState::Killed } else { RunState::Elsewhere };
    }
    let same_process = start_ticks(writer.pid)
        .is_some_and(|ticks| writer.pid_start_ticks.is_none_or(|known| known == ticks));
    let is_this = writer.pid == std::process::id();
    if same_process && !(is_this && lock == Some(false)) {
        RunState::Running
    } else {
        RunState::Killed
    }
}
