//! The file that makes a directory ours: who made it, on which machine, and whether that process
//! still lives.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::block_device::word;

/// Name of the marker.
pub(crate) const MARKER: &str = "loadline.marker";
/// What a marker says it is; a directory with another one is not ours.
const KIND: &str = "loadline storage work directory";
/// A marker has some hundred bytes; what is larger is none.
const MAX_BYTES: i64 = 64 << 10;
/// Number of the first pid namespace of every Linux kernel (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// A machine, as far as a process can tell one from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Its name.
    pub hostname: String,
    /// `/etc/machine-id`, where it has one.
    pub machine_id: Option<String>,
    /// Drawn by the kernel at each boot.
    pub boot_id: Option<String>,
    /// Number of the pid namespace; another one has other pids.
    pub pid_namespace: Option<u64>,
}

impl Host {
    /// This one.
    pub(crate) fn here() -> Self {
        let proc = Path::new("/proc");
        Self {
            hostname: word(proc, "sys/kernel/hostname").unwrap_or_default(),
            machine_id: word(Path::new("/etc"), "machine-id"),
            boot_id: word(proc, "sys/kernel/random/boot_id"),
            pid_namespace: rustix::fs::stat("/proc/self/ns/pid").ok().map(|entry| entry.st_ino),
        }
    }
}

/// What a marker holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// Always [`KIND`].
    pub kind: String,
    /// For a person who finds it.
    pub note: String,
    /// Version of Loadline.
    pub version: String,
    /// The machine.
    #[serde(flatten)]
    pub host: Host,
    /// The process.
    pub pid: u32,
    /// When that started, clock ticks since boot: pids are used again.
    pub pid_start: Option<u64>,
    /// Its effective user.
    pub uid: u32,
    /// When the directory was made, seconds since the Unix epoch.
    pub created_unix_s: u64,
}

impl Marker {
    /// That of this process.
    pub(crate) fn of_this_process() -> Self {
        let pid = std::process::id();
        Self {
            kind: KIND.to_owned(),
            note: "Loadline made this directory for a storage benchmark, and removes it at its \
                   end. When no loadline runs, it may be deleted."
                .to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: Host::here(),
            pid,
            pid_start: process(Path::new("/proc"), pid).map(|process| process.start),
            uid: rustix::process::geteuid().as_raw(),
            created_unix_s: loadline_clock::unix_ns() / 1_000_000_000,
        }
    }

    /// Reads the marker of a directory: `None` where it has none, the reason where what it has is
    /// not to be trusted.
    pub(crate) fn read(dir: impl AsFd, of_dir: &Stat) -> Option<Result<Self, String>> {
        match statat(&dir, MARKER, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            Err(error) => Some(Err(format!("its marker cannot be looked at: {error}"))),
            Ok(_) => Some(Self::read_existing(dir, of_dir)),
        }
    }

    fn read_existing(dir: impl AsFd, of_dir: &Stat) -> Result<Self, String> {
        // Without NONBLOCK a pipe in its place would hold us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&dir, MARKER, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP => "its marker is a symbolic link".to_owned(),
            error => format!("its marker cannot be opened: {error}"),
        })?;
        let entry =
            fstat(&file).map_err(|error| format!("its marker cannot be looked at: {error}"))?;
        if FileType::from_raw_mode(entry.st_mode) != FileType::RegularFile {
            return Err("its marker is no regular file".to_owned());
        }
        if !(1..=MAX_BYTES).contains(&entry.st_size) {
            return Err(format!("its marker has {} bytes and so is none of ours", entry.st_size));
        }
        let mut text = Vec::new();
        std::io::Read::read_to_end(
            &mut std::io::Read::take(fs::File::from(file), MAX_BYTES as u64),
            &mut text,
        )
        .map_err(|error| format!("its marker cannot be read: {error}"))?;
        let marker: Self = serde_json::from_slice(&text)
            .map_err(|error| format!("its marker is not one of ours: {error}"))?;
        if marker.kind != KIND {
            return Err("its marker is of another kind".to_owned());
        }
        marker.owned(entry.st_uid, of_dir.st_uid)?;
        Ok(marker)
    }

    /// Ours is what belongs to this user. A network file system may show another owner than the one
    /// who made it (root as nobody): then the marker itself tells. That cannot be used against
    /// us, since nothing but the listed files of the directory's own owner is ever removed.
    fn owned(&self, of_marker: u32, of_dir: u32) -> Result<(), String> {
        let me = rustix::process::geteuid();
        if of_marker != of_dir {
            return Err(format!(
                "its marker belongs to user {of_marker}, the directory to user {of_dir}"
            ));
        }
        if me.is_root() || of_dir == me.as_raw() || self.uid == me.as_raw() {
            return Ok(());
        }
        Err(format!("it belongs to user {of_dir}"))
    }

    /// Whether the process that made the directory is dead for certain.
    ///
    /// # Errors
    /// It lives, or cannot be told from here.
    pub(crate) fn is_dead(&self, here: &Here) -> Result<(), String> {
        let host = &self.host;
        let same_name = host.hostname == here.host.hostname;
        let same_machine = same_name && host.machine_id == here.host.machine_id;
        let made_on = || {
            format!(
                "it was made on {}, and whether that still works in it cannot be told from here",
                self.host.hostname
            )
        };
        match (&host.boot_id, &here.host.boot_id) {
            (Some(theirs), Some(ours)) if same_machine && theirs == ours => {}
            (Some(_), Some(_)) if same_machine && self.is_of_an_earlier_boot(here) => return Ok(()),
            (Some(theirs), Some(ours)) if same_machine && theirs != ours => {
                return Err(
                    "it was made on a machine that is called as this one, at another boot, \
                            and it is not certain that the machine is this one"
                        .to_owned(),
                );
            }
            _ => return Err(made_on()),
        }
        if host.pid_namespace.is_none() || host.pid_namespace != here.host.pid_namespace {
            return Err(
                "it was made in another container of this machine (another pid namespace), \
                        and whether that still works in it cannot be told from here"
                    .to_owned(),
            );
        }
        process_is_dead(&here.proc, self.pid, self.pid_start)
    }

    /// Machines that start from one image may have one name and one id. So only what was made
    /// outside containers, on a machine with an id, and before this boot counts as left by a boot
    /// that is over: another living machine would hardly have made it before we booted.
    fn is_of_an_earlier_boot(&self, here: &Here) -> bool {
        self.host.boot_id != here.host.boot_id
            && self.host.machine_id.is_some()
            && self.host.pid_namespace == Some(FIRST_PID_NAMESPACE)
            && here.host.pid_namespace == Some(FIRST_PID_NAMESPACE)
            && here.booted_unix_s.is_some_and(|booted| self.created_unix_s < booted)
    }
}

/// What is needed to judge a marker.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    /// This machine.
    pub host: Host,
    /// When it booted, seconds since the Unix epoch.
    pub booted_unix_s: Option<u64>,
    /// `/proc`.
    pub proc: PathBuf,
}

impl Here {
    pub(crate) fn look() -> Self {
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
        });
        Self { host: Host::here(), booted_unix_s: booted, proc: PathBuf::from("/proc") }
    }
}

/// A process, from `/proc/PID/stat`.
struct Process {
    state: char,
    threads: u64,
    start: u64,
}

fn process(proc: &Path, pid: u32) -> Option<Process> {
    let text = fs::read(proc.join(format!("{pid}/stat"))).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name in parentheses may itself hold blanks and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Process {
        state: fields.first()?.chars().next()?,
        threads: fields.get(17)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

fn process_is_dead(proc: &Path, pid: u32, start: Option<u64>) -> Result<(), String> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or_else(|| format!("its marker names no process ({pid})"))?;
    let Some(process) = process(proc, pid) else {
        // Where /proc hides processes (hidepid), the kernel still knows them.
        return match test_kill_process(raw) {
            Err(Errno::SRCH) => Ok(()),
            _ => Err(format!("process {pid} that made it may still run")),
        };
    };
    let other = start.is_some_and(|start| start != process.start);
    // A killed process that its parent has not yet asked about; one with threads left still works.
    let ended = matches!(process.state, 'Z' | 'X') && process.threads <= 1;
    if other || ended { Ok(()) } else { Err(format!("process {pid} that made it still runs")) }
}
