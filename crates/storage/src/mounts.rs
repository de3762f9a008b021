//! The table of mounts (`/proc/self/mountinfo`), and what the types of file systems are known for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The kernel's number of it.
    pub id: u64,
    /// Device, major and minor.
    pub device: (u32, u32),
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type, with the subtype of FUSE (`fuse.sshfs`).
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Options of the mount, then those of the file system, each once.
    pub options: Vec<String>,
}

impl Mount {
    /// The value of an option `name=value`.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The mounts that a text in the form of `/proc/self/mountinfo` (proc_pid_mountinfo(5)) tells, in
/// its order. Lines of another form are left out.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/root rw,errors=continue`
fn line(text: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
    let [id, _parent, device, _root, point, options, rest @ ..] = fields.as_slice() else {
        return None;
    };
    // Any number of optional fields, none of which is a hyphen, come before the hyphen.
    let hyphen = rest.iter().position(|field| *field == b"-")?;
    let [kind, source, of_the_system @ ..] = rest.get(hyphen + 1..)? else { return None };
    let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
    let mut all: Vec<String> = Vec::new();
    for option in [*options, of_the_system.first().copied().unwrap_or_default()]
        .into_iter()
        .flat_map(|part| part.split(|byte| *byte == b','))
        .map(text_of)
    {
        if !option.is_empty() && !all.contains(&option) {
            all.push(option);
        }
    }
    // A mount may be read-only where its file system is not, and the other way round.
    if all.iter().any(|option| option == "ro") {
        all.retain(|option| option != "rw");
    }
    Some(Mount {
        id: std::str::from_utf8(id).ok()?.parse().ok()?,
        device: (major.parse().ok()?, minor.parse().ok()?),
        point: PathBuf::from(OsString::from_vec(unescape(point))),
        kind: text_of(kind),
        source: text_of(source),
        options: all,
    })
}

fn text_of(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// The kernel writes blanks, tabs, line ends and backslashes as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                plain.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = tail;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// The mount that a directory lies on. `path` has no symbolic links, `device` is its `st_dev` and
/// `id` the number of its mount where the kernel told it (Linux 5.8).
///
/// Without a number it is the longest mount point above the directory whose device is the
/// directory's, and of several on one point the last, which hides the others. Some file systems
/// (btrfs) have devices that are not in the table: then it is the longest of any device.
pub(crate) fn find<'a>(
    mounts: &'a [Mount],
    path: &Path,
    device: (u32, u32),
    id: Option<u64>,
) -> Option<&'a Mount> {
    let above = || mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let longest = |of_device: bool| {
        above()
            .filter(|mount| !of_device || mount.device == device)
            .max_by_key(|mount| mount.point.components().count())
    };
    above().find(|mount| Some(mount.id) == id).or_else(|| longest(true)).or_else(|| longest(false))
}

/// Whether files of this type live in memory.
pub(crate) fn is_in_memory(kind: &str) -> bool {
    ["tmpfs", "ramfs", "hugetlbfs"].contains(&kind)
}

/// Types that other machines, or the host of a virtual one, may share.
const SHARED: [&str; 25] = [
    "nfs",
    "nfs4",
    "ceph",
    "glusterfs",
    "lustre",
    "cifs",
    "smb3",
    "smbfs",
    "beegfs",
    "beeond",
    "gpfs",
    "9p",
    "virtiofs",
    "afs",
    "ocfs2",
    "gfs2",
    "orangefs",
    "pvfs2",
    "wekafs",
    "panfs",
    "coda",
    "vboxsf",
    "prl_fs",
    "mfs",
    "dfs",
];

/// Subtypes of FUSE that reach other machines.
const SHARED_FUSE: [&str; 25] = [
    "sshfs",
    "glusterfs",
    "ceph",
    "ceph-fuse",
    "juicefs",
    "s3fs",
    "mountpoint-s3",
    "rclone",
    "goofys",
    "geesefs",
    "gcsfuse",
    "blobfuse",
    "blobfuse2",
    "mfs",
    "moosefs",
    "lizardfs",
    "saunafs",
    "seaweedfs",
    "dfuse",
    "cubefs",
    "chubaofs",
    "quobyte",
    "hf3fs",
    "alluxio-fuse",
    "vmhgfs-fuse",
];

/// Whether other machines may share a file system of this type.
pub(crate) fn is_shared(kind: &str) -> bool {
    SHARED.contains(&kind)
        || kind.strip_prefix("fuse.").is_some_and(|subtype| SHARED_FUSE.contains(&subtype))
}

/// Types whose files are the kernel's state and no storage, and hugetlbfs, which has no `write`.
const PSEUDO: [&str; 24] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "cpuset",
    "debugfs",
    "tracefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "pstore",
    "bpf",
    "configfs",
    "efivarfs",
    "mqueue",
    "fusectl",
    "binfmt_misc",
    "nsfs",
    "resctrl",
    "autofs",
    "rpc_pipefs",
    "hugetlbfs",
];

/// Whether a file system of this type is no storage.
pub(crate) fn is_pseudo(kind: &str) -> bool {
    PSEUDO.contains(&kind)
}

#[cfg(test)]
mod tests;
