//! Storage in the analysis document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FilesystemFacts, Leftover, StorageCell, Workload};
use crate::document::Estimate;
use crate::event::Warning;

/// A storage stage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StorageSummary {
    /// Name of the stage.
    pub stage: String,
    /// File systems, by path.
    pub filesystems: Vec<FilesystemFacts>,
    /// What earlier runs left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<Leftover>,
    /// What the ways to load a model come to, one for each path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_loads: Vec<LoadSentence>,
    /// Whether figures come from a file of another tool.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
}

/// A cell: trials averaged, latencies pooled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StorageResult {
    /// Name of the stage.
    pub stage: String,
    /// The directory.
    pub path: String,
    /// Type of its file system.
    pub filesystem: String,
    /// The workload.
    pub workload: Workload,
    /// The setting in words.
    pub setting: String,
    /// The setting.
    pub cell: StorageCell,
    /// Bytes of each I/O.
    pub bs_bytes: u64,
    /// I/Os in flight of each job.
    pub iodepth: u32,
    /// Jobs, ranks or readers.
    pub numjobs: u32,
    /// What issued the I/Os: `io_uring`, `psync`, `mmap`, or the other tool's word.
    pub engine: String,
    /// Whether they went past the page cache.
    pub direct: bool,
    /// Trials in the figures.
    pub trials: u32,
    /// Trials planned.
    pub trials_planned: u32,
    /// Bandwidth of reads and writes together, bytes/s, over the time from the first I/O to the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<Estimate>,
    /// I/Os per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<Estimate>,
    /// Reads, writes and syncs apart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub directions: BTreeMap<String, DirectionResult>,
    /// Submission latency of reads and writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slat_ns: Option<IoLatency>,
    /// Completion latency of reads and writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clat_ns: Option<IoLatency>,
    /// Both together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat_ns: Option<IoLatency>,
    /// CPU time (user and kernel) of the measuring process for each I/O, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ns_per_io: Option<f64>,
    /// Whether bandwidth is steady in every trial, by the limits of SNIA's Performance Test
    /// Specification: no second off the mean by more than 10 % of it, and the fitted line over the
    /// whole time rises or falls by at most 10 % of it. Absent: too short to say (under 5 s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<bool>,
    /// Whether figures may be those of memory; why, stands in `cache_reason`.
    pub cached: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_reason: Option<String>,
    /// Whether the target is met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<StorageTarget>,
    /// Bandwidth over time, first and last worker done; one entry for each trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<StorageTimeline>,
    /// Saves and restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointResult>,
    /// Loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_load: Option<ModelLoadResult>,
    /// Why it could not be measured to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Figures of single trials by metric (`bytes_per_s`, `iops`): what a comparison rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_trial: Vec<BTreeMap<String, f64>>,
    /// What the reader must know about this cell.
    pub warnings: Vec<Warning>,
}

/// One direction of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirectionResult {
    /// Bandwidth, bytes/s; absent for syncs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<Estimate>,
    /// I/Os per second.
    pub iops: Estimate,
    /// Submission latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slat_ns: Option<IoLatency>,
    /// Completion latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clat_ns: Option<IoLatency>,
    /// Both together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat_ns: Option<IoLatency>,
}

/// Latencies of I/Os, ns, from buckets (relative error ≤ 0.4 %; mean, least and largest are exact).
/// A percentile that too few I/Os lie beyond to be told (n < 1/(1 − q)) is absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct IoLatency {
    /// I/Os.
    pub n: u64,
    /// Mean.
    pub mean: f64,
    /// Least.
    pub min: u64,
    /// Median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<u64>,
    /// 90th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<u64>,
    /// 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<u64>,
    /// 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<u64>,
    /// 99.9th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p999: Option<u64>,
    /// 99.99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p9999: Option<u64>,
    /// Largest.
    pub max: u64,
}

/// A bandwidth that should be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StorageTarget {
    /// Bytes/s.
    pub bytes_per_s: f64,
    /// Whether the measured bandwidth reaches it. For a checkpoint: size ÷ time of the slowest rank.
    pub met: bool,
    /// Whether the interval of the measured bandwidth lies wholly on one side of it.
    pub certain: bool,
    /// Whether nobody stated it: 500 MB/s, which checkpoints are held against by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
}

/// A trial over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StorageTimeline {
    /// Bytes in each whole second of the measured part, all workers together.
    pub bytes: Vec<u64>,
    /// I/Os in each of them.
    pub ios: Vec<u64>,
    /// When the first worker was done, ns from the begin of the measured part.
    pub first_done_ns: u64,
    /// When the last one was.
    pub last_done_ns: u64,
    /// Bandwidth until the first was done, bytes/s: all workers still at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_done_bytes_per_s: Option<f64>,
    /// Largest |second − mean| ÷ mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Slope by least squares × length ÷ mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slope: Option<f64>,
}

/// Saves and restores of a checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointResult {
    /// What is trained.
    pub model: String,
    /// Parameters.
    pub parameters: u64,
    /// Bytes at the real size.
    pub full_bytes: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Time of a save (slowest rank, fsync included), as measured, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_s: Option<Estimate>,
    /// Share of it that was fsync, of the slowest rank, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsync_share: Option<f64>,
    /// The rank that was slowest in most trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_rank: Option<u32>,
    /// Time of the slowest rank ÷ median of the ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_ratio: Option<f64>,
    /// Time of a restore (slowest rank), as measured, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_s: Option<Estimate>,
    /// Bandwidth of the restore, bytes/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_bytes_per_s: Option<Estimate>,
    /// Time of a save at the real size, s: `full_bytes` ÷ bandwidth. The same as `save_s` where
    /// nothing was scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_save_s: Option<f64>,
    /// Time between two saves, s: stated, or the optimum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_s: Option<f64>,
    /// Share of training time that goes into saves at that interval, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_share: Option<f64>,
    /// Interval with the least loss (Young and Daly): √(2 · save · MTBF), s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimum_s: Option<f64>,
    /// Loss at the optimum: save ÷ T + T ÷ (2 · MTBF), 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimum_loss: Option<f64>,
}

/// One way to load a model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ModelLoadResult {
    /// Time until the last rank has everything, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_s: Option<Estimate>,
    /// The rank that was slowest in most trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_rank: Option<u32>,
}

/// What the ways to load a model on one path come to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LoadSentence {
    /// The directory.
    pub path: String,
    /// "A cold start takes 41 s by page faults; direct reads with 8 readers take 12 s."
    pub sentence: String,
    /// The settings and times that it rests on.
    pub evidence: Vec<String>,
    /// Engine and the flag that asks for the faster way; empty where the default is as good.
    pub flags: Vec<(String, String)>,
}
