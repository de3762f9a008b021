//! What is known about a directory's file system and device before any I/O.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file system, its mount and its device.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FilesystemFacts {
    /// The directory as given.
    pub path: String,
    /// Type: `ext4`, `nfs4`, `fuse.glusterfs`, `tmpfs`, ….
    pub kind: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted: a device, `server:/export`, ….
    pub source: String,
    /// Mount options, those of the mount and of the file system.
    pub options: Vec<String>,
    /// Whether it lives in memory (tmpfs, ramfs).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_memory: bool,
    /// Whether other machines may share it (NFS, CephFS, GlusterFS, sshfs, …).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// NFS version (`vers=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs_version: Option<String>,
    /// Connections of an NFS mount (`nconnect=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs_nconnect: Option<u32>,
    /// Size, bytes.
    pub total_bytes: u64,
    /// Free for this user, bytes.
    pub free_bytes: u64,
    /// Block size, bytes.
    pub block_bytes: u64,
    /// Read-ahead, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ahead_bytes: Option<u64>,
    /// The block device below (`nvme0n1`), where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_model: Option<String>,
    /// Its I/O scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// Whether it has spinning platters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// Memory of the machine, bytes: what a page cache can hold at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// O_DIRECT.
    pub direct: DirectIo,
    /// Kernel version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

/// What a file system says about O_DIRECT, for a file in the working directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DirectIo {
    /// Whether a file could be opened with it.
    pub supported: bool,
    /// Alignment of buffers, bytes.
    pub memory_align: u32,
    /// Alignment of offsets and lengths, bytes.
    pub offset_align: u32,
    /// Where the alignments come from: `statx` (the kernel told them), `tried` (writes of 4096 and
    /// 512 bytes), `assumed`, or `not tried` and why.
    pub source: String,
}

/// A working directory that an earlier run left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leftover {
    /// The directory.
    pub path: String,
    /// The host that made it.
    pub host: String,
    /// Whether it was removed; one of another host, or of a living process, is not.
    pub removed: bool,
    /// Why it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
