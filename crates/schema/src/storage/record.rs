//! What a storage trial leaves: seconds of a worker in buckets, slow I/Os and passes over files one
//! by one, and the end of the trial. Every time is ns from the run's origin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IoEngine, Latencies};
use crate::outcome::{Phase, spelled};
use crate::record::TrialId;

spelled! {
    /// What an I/O does.
    Direction {
        /// Reads.
        Read = "read",
        /// Writes.
        Write = "write",
        /// fsync or fdatasync.
        Sync = "sync",
    }
}

/// One second (the last one may be shorter) of one worker in one direction. An I/O belongs to the
/// second in which its end was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IoInterval {
    /// The trial.
    pub trial: TrialId,
    /// The worker, from 0.
    pub worker: u16,
    /// What its I/Os did.
    pub direction: Direction,
    /// Ramp (`warmup`) or the measured part (`measure`).
    pub phase: Phase,
    /// Begin, ns.
    pub start_ns: u64,
    /// Length, ns.
    pub length_ns: u64,
    /// I/Os that ended well.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
    /// I/Os that failed or were short.
    pub errors: u64,
    /// From when the I/O was made ready to when it was handed to the kernel (fio's slat).
    pub slat: Latencies,
    /// From there to when its end was seen (fio's clat).
    pub clat: Latencies,
    /// Both together (fio's lat).
    pub lat: Latencies,
}

/// One I/O that took longer than the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowIo {
    /// The trial.
    pub trial: TrialId,
    /// The worker.
    pub worker: u16,
    /// What it did.
    pub direction: Direction,
    /// Where in the worker's file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// When it was made ready, ns.
    pub start_ns: u64,
    /// Submission latency, ns.
    pub slat_ns: u64,
    /// Completion latency, ns.
    pub clat_ns: u64,
}

/// A trial of a storage cell: everything but the rows of [`IoInterval`] and [`SlowIo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StorageTrial {
    /// Begin (ramp included), ns.
    pub start_ns: u64,
    /// Begin of the measured part, ns.
    pub measure_ns: u64,
    /// End: the last I/O (or fsync) of the last worker, ns.
    pub end_ns: u64,
    /// Why it ended.
    pub ended_by: EndedBy,
    /// What went wrong with an I/O; what was measured before stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<IoFailure>,
    /// What issued the I/Os.
    pub engine: IoEngine,
    /// Why not what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_note: Option<String>,
    /// Whether I/Os went past the page cache (the file system took O_DIRECT).
    pub direct: bool,
    /// Why not, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_note: Option<String>,
    /// What is known about caches.
    pub cache: CacheState,
    /// The workers.
    pub workers: Vec<WorkerEnd>,
    /// CPU time of the measuring process in the measured part, user, ns.
    pub cpu_user_ns: u64,
    /// The same in the kernel, ns.
    pub cpu_system_ns: u64,
    /// Under a rate: how late I/Os were issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness: Option<LatenessNs>,
    /// What verifying found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// Files saved, restored or loaded, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<FilePass>,
    /// Rows of slow I/Os that were not kept, since there were too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slow_left_out: u64,
    /// Percentiles as another tool states them, where the trial was imported without buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<PercentilesNs>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

spelled! {
    /// Why a trial ended.
    EndedBy {
        /// Its time was over.
        Runtime = "runtime",
        /// Everything was read or written once.
        Size = "size",
        /// The most bytes that may be written were written (`--max-write`).
        MaxWrite = "max_write",
        /// An I/O failed.
        Failure = "failure",
        /// The user stopped it.
        Interrupted = "interrupted",
        /// No I/O ended for too long; the measuring process was killed.
        Stalled = "stalled",
    }
}

/// An I/O that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IoFailure {
    /// What.
    pub kind: IoKind,
    /// What was done to which file, in words, and what the system said.
    pub message: String,
}

spelled! {
    /// What kind of failure.
    IoKind {
        /// ENOSPC.
        NoSpace = "no_space",
        /// EDQUOT.
        Quota = "quota",
        /// EROFS.
        ReadOnly = "read_only",
        /// EIO.
        Io = "io",
        /// EACCES, EPERM.
        Permission = "permission",
        /// ESTALE.
        Stale = "stale",
        /// Fewer bytes than asked for.
        Short = "short",
        /// Another errno.
        Other = "other",
    }
}

/// What is known about caches between the process and the storage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CacheState {
    /// Whether figures may be those of memory: a file system in memory, or data that the page cache
    /// of this machine held.
    pub cached: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Share of the files in the page cache before the reads, 0–1, as `mincore` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_before: Option<f64>,
    /// Whether the page cache of the machine was dropped (`--drop-caches`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

/// A worker at its end. Figures are of the measured part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WorkerEnd {
    /// First I/O made ready, ns.
    pub first_ns: u64,
    /// Its end, last fsync included, ns.
    pub last_ns: u64,
    /// Reads that ended well.
    pub read_ios: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Writes that ended well.
    pub write_ios: u64,
    /// Their bytes.
    pub write_bytes: u64,
    /// fsyncs and fdatasyncs.
    pub sync_ios: u64,
    /// I/Os that failed.
    pub errors: u64,
    /// I/Os in flight when it was stopped, whose end is not in the figures.
    pub unknown: u64,
    /// CPU time of the worker's thread, ns.
    pub cpu_ns: u64,
}

/// How late I/Os were issued under a rate.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LatenessNs {
    /// I/Os that were due in the measured part.
    pub due: u64,
    /// Those that were issued more than 1 ms after they were due.
    pub late: u64,
    /// Those that were never issued, since the trial ended.
    pub never: u64,
    /// Mean, ns.
    pub mean: f64,
    /// Largest, ns.
    pub max: u64,
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Blocks compared.
    pub blocks: u64,
    /// Blocks that were not what was written.
    pub bad: u64,
    /// The first of them: file, offset, and what was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<String>,
}

/// One file that a rank saved, restored or loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilePass {
    /// The rank (or reader).
    pub rank: u32,
    /// What was done.
    pub op: FileOp,
    /// The file's name.
    pub file: String,
    /// Bytes.
    pub bytes: u64,
    /// Begin, ns.
    pub start_ns: u64,
    /// End, fsync included, ns.
    pub end_ns: u64,
    /// Time of its fsync, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsync_ns: Option<u64>,
}

spelled! {
    /// What was done to a file as a whole.
    FileOp {
        /// A checkpoint was saved.
        Save = "save",
        /// A checkpoint was restored.
        Restore = "restore",
        /// Weights were read.
        Load = "load",
    }
}

/// Latencies as another tool states them, ns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PercentilesNs {
    /// What the I/Os did.
    pub direction: Direction,
    /// `slat`, `clat` or `lat`.
    pub kind: String,
    /// I/Os.
    pub n: u64,
    /// Least.
    pub min: u64,
    /// Largest.
    pub max: u64,
    /// Mean.
    pub mean: f64,
    /// Pairs of percentile (0–100) and value.
    pub percentiles: Vec<(f64, u64)>,
}
