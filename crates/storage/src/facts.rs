//! What is known of a directory's file system, mount and device before any I/O.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use loadline_schema::storage::{DirectIo, FilesystemFacts};
use rustix::fs::{
    AtFlags, Mode, OFlags, Stat, StatVfs, StatxAttributes, StatxFlags, fstat, fstatvfs, major,
    minor, open, statat, statx,
};

use crate::block_device::{self, BlockDevice};
use crate::mounts::{self, Mount};
use crate::work_dir::DirError;

/// Where the kernel tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys") }
    }
}

/// Looks at a directory's file system. Nothing is written; [`FilesystemFacts::direct`] is left to
/// [`crate::WorkDir::direct_io`], since only a file can tell.
///
/// # Errors
/// The directory cannot be opened, or the table of mounts cannot be read. What else is not told is
/// absent.
pub fn look(path: &Path, roots: &Roots) -> Result<FilesystemFacts, DirError> {
    let seen = Seen::open(path, roots)?;
    let mount = &seen.mount;
    let device = seen.block_device(roots);
    let (total_bytes, free_bytes) = seen.sizes();
    let read_ahead_bytes =
        seen.read_ahead(roots).or(device.as_ref().and_then(|d| d.read_ahead_bytes));
    let device = device.unwrap_or_default();
    Ok(FilesystemFacts {
        path: path.display().to_string(),
        kind: mount.kind.clone(),
        mount_point: mount.point.display().to_string(),
        source: mount.source.clone(),
        options: mount.options.clone(),
        in_memory: mounts::is_in_memory(&mount.kind),
        shared: mounts::is_shared(&mount.kind),
        nfs_version: nfs_option(mount, "vers").map(str::to_owned),
        nfs_nconnect: nfs_option(mount, "nconnect").and_then(|text| text.parse().ok()),
        total_bytes,
        free_bytes,
        block_bytes: seen.space.f_bsize,
        read_ahead_bytes,
        device: Some(device.name).filter(|name| !name.is_empty()),
        device_model: device.model,
        scheduler: device.scheduler,
        rotational: device.rotational,
        memory_bytes: memory(&roots.proc, "MemTotal"),
        direct: DirectIo { source: "not tried".to_owned(), ..DirectIo::default() },
        kernel: block_device::word(&roots.proc, "sys/kernel/osrelease"),
    })
}

fn nfs_option<'a>(mount: &'a Mount, name: &str) -> Option<&'a str> {
    if mount.kind.starts_with("nfs") { mount.option(name) } else { None }
}

/// A line of `/proc/meminfo` below this root, bytes.
pub(crate) fn memory(proc: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(proc.join("meminfo")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A directory that is open, and what the kernel says of it.
pub(crate) struct Seen {
    /// The directory.
    pub dir: OwnedFd,
    /// Its path without symbolic links.
    pub path: PathBuf,
    /// Its entry.
    pub entry: Stat,
    /// The file system's sizes.
    pub space: StatVfs,
    /// Its mount.
    pub mount: Mount,
    /// Whether it is the root of a mount.
    pub is_mount_root: bool,
}

impl Seen {
    pub(crate) fn open(path: &Path, roots: &Roots) -> Result<Self, DirError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| DirError {
            message: format!("cannot {what} {}: {error}", path.display()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(path, flags, Mode::empty()).map_err(|error| failed("open", &error))?;
        let entry = fstat(&dir).map_err(|error| failed("look at", &error))?;
        let space = fstatvfs(&dir).map_err(|error| failed("ask for the size of", &error))?;
        let canonical = fs::canonicalize(path).map_err(|error| failed("follow", &error))?;
        // An old kernel knows no number of a mount: then path and device find it.
        let told = statx(&dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok();
        let id = told
            .filter(|told| told.stx_mask & StatxFlags::MNT_ID.bits() != 0)
            .map(|told| told.stx_mnt_id);
        let table = roots.proc.join("self/mountinfo");
        let text = fs::read(&table).map_err(|error| DirError {
            message: format!(
                "cannot read {}: {error}; without the table of mounts it is unknown what {} lies on",
                table.display(),
                path.display()
            ),
        })?;
        let device = (major(entry.st_dev), minor(entry.st_dev));
        let mounts = mounts::parse(&text);
        // The table has bind mounts, too, which have the device of what is above them; the kernel's
        // word (Linux 5.8), and before that the device, count where the table is of another root.
        let is_mount_root = mounts.iter().any(|mount| mount.point == canonical)
            || told
                .filter(|told| told.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT))
                .map_or_else(
                    || is_on_another_device_than_its_parent(&dir, &entry),
                    |told| told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
                );
        let mount = mounts::find(&mounts, &canonical, device, id).cloned();
        let mount = mount.ok_or_else(|| DirError {
            message: format!("{} names no mount that holds {}", table.display(), path.display()),
        })?;
        Ok(Self { dir, path: canonical, entry, space, mount, is_mount_root })
    }

    /// Size of the file system, and what is free for this user, bytes.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let fragment = self.space.f_frsize;
        (self.space.f_blocks.saturating_mul(fragment), self.space.f_bavail.saturating_mul(fragment))
    }

    fn device(&self) -> (u32, u32) {
        (major(self.entry.st_dev), minor(self.entry.st_dev))
    }

    fn block_device(&self, roots: &Roots) -> Option<BlockDevice> {
        let found = block_device::look(&roots.sys, self.device());
        // btrfs has a device of its own that is none; what is mounted is one all the same.
        found.or_else(|| {
            let source = Path::new(&self.mount.source);
            let node =
                source.starts_with("/dev").then(|| rustix::fs::stat(source).ok()).flatten()?;
            block_device::look(&roots.sys, (major(node.st_rdev), minor(node.st_rdev)))
        })
    }

    /// The file system's own read-ahead, bytes. It goes before the device's: NFS and FUSE have no
    /// device.
    fn read_ahead(&self, roots: &Roots) -> Option<u64> {
        let (major, minor) = self.device();
        ["", "-fuseblk"].iter().find_map(|suffix| {
            let dir = roots.sys.join(format!("class/bdi/{major}:{minor}{suffix}"));
            block_device::kib(&dir, "read_ahead_kb")
        })
    }
}

fn is_on_another_device_than_its_parent(dir: &OwnedFd, entry: &Stat) -> bool {
    statat(dir, "..", AtFlags::empty()).is_ok_and(|parent| parent.st_dev != entry.st_dev)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Trees of files in place of `/proc` and `/sys`, and a directory that is "mounted".
    pub(crate) struct Fake {
        pub root: tempfile::TempDir,
        pub roots: Roots,
        pub path: PathBuf,
    }

    impl Fake {
        /// `tail` is the table's line from the options on; `below` lies on the mount.
        pub(crate) fn new(options: &str, tail: &str, below: &str) -> Self {
            let root = tempfile::tempdir().unwrap();
            let base = root.path().canonicalize().unwrap();
            let roots = Roots { proc: base.join("proc"), sys: base.join("sys") };
            let fake = Self { path: base.join("mnt").join(below), root, roots };
            fs::create_dir_all(&fake.path).unwrap();
            let (major, minor) = fake.device();
            let point = base.join("mnt");
            let line = format!(
                "9000001 1 0:1 / / rw - ext4 /dev/other rw\n\
                 9000002 1 {major}:{minor} / {} {options} shared:1 - {tail}\n",
                point.display()
            );
            fake.put("proc/self/mountinfo", &line);
            fake.put(
                "proc/meminfo",
                "MemTotal:       65536 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\n",
            );
            fake
        }

        pub(crate) fn device(&self) -> (u32, u32) {
            let entry = rustix::fs::stat(&self.path).unwrap();
            (major(entry.st_dev), minor(entry.st_dev))
        }

        pub(crate) fn put(&self, file: &str, text: &str) {
            let path = self.root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn nfs_tells_server_version_connections_and_read_ahead() {
        let tail = "nfs4 store:/export rw,vers=4.2,nconnect=8,proto=tcp";
        let fake = Fake::new("rw,noatime", tail, "work");
        let (major, minor) = fake.device();
        fake.put(&format!("sys/class/bdi/{major}:{minor}/read_ahead_kb"), "15360\n");
        fake.put("proc/sys/kernel/osrelease", "6.8.0-45-generic\n");
        let facts = look(&fake.path, &fake.roots).unwrap();
        assert_eq!((facts.kind.as_str(), facts.source.as_str()), ("nfs4", "store:/export"));
        assert_eq!(Path::new(&facts.mount_point), fake.root.path().join("mnt"));
        assert!(facts.shared && !facts.in_memory);
        assert_eq!((facts.nfs_version.as_deref(), facts.nfs_nconnect), (Some("4.2"), Some(8)));
        assert_eq!(facts.read_ahead_bytes, Some(15360 << 10));
        assert_eq!(facts.memory_bytes, Some(65536 << 10));
        assert_eq!(facts.kernel.as_deref(), Some("6.8.0-45-generic"));
        assert_eq!((facts.device, facts.rotational), (None, None));
        assert_eq!(facts.options[..3], ["rw", "noatime", "vers=4.2"]);
        assert!(facts.total_bytes >= facts.free_bytes && facts.block_bytes > 0);
    }

    #[test]
    fn a_disk_tells_model_and_the_devices_read_ahead() {
        let fake = Fake::new("rw", "ext4 /dev/nvme0n1 rw,vers=9", "");
        let (major, minor) = fake.device();
        let device = format!("sys/dev/block/{major}:{minor}");
        fake.put(&format!("{device}/device/model"), "Fast 1");
        fake.put(&format!("{device}/queue/read_ahead_kb"), "256");
        let facts = look(&fake.path, &fake.roots).unwrap();
        assert_eq!(facts.device, Some(format!("{major}:{minor}")));
        assert_eq!(facts.device_model.as_deref(), Some("Fast 1"));
        assert_eq!(facts.read_ahead_bytes, Some(256 << 10));
        assert_eq!(facts.nfs_version, None, "only NFS has a version");
        assert_eq!(facts.direct.source, "not tried");
    }

    #[test]
    fn tmpfs_lives_in_memory() {
        let fake = Fake::new("rw", "tmpfs tmpfs rw,size=1G", "");
        let facts = look(&fake.path, &fake.roots).unwrap();
        assert!(facts.in_memory && !facts.shared);
    }

    #[test]
    fn without_a_table_of_mounts_nothing_is_guessed() {
        let fake = Fake::new("rw", "ext4 /dev/sda rw", "");
        fs::remove_file(fake.roots.proc.join("self/mountinfo")).unwrap();
        let error = look(&fake.path, &fake.roots).unwrap_err().to_string();
        assert!(error.contains("mountinfo"), "{error}");
        fake.put("proc/self/mountinfo", "");
        let error = look(&fake.path, &fake.roots).unwrap_err().to_string();
        assert!(error.contains("names no mount"), "{error}");
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let facts = look(dir.path(), &Roots::default()).unwrap();
        assert!(dir.path().canonicalize().unwrap().starts_with(&facts.mount_point));
        assert!(!facts.kind.is_empty() && facts.memory_bytes > Some(1 << 20));
        assert!(facts.kernel.is_some());
        let missing = look(&dir.path().join("none"), &Roots::default()).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
    }
}
