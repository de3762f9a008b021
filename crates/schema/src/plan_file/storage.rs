//! `[[storage]]` as people write it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{is_default, value};
use crate::storage::{IoEngine, LoadMethod, ModelFormat, RateProcess, Sharing, SyncMode};
use crate::units::{Bytes, BytesPerS, DurationNs, Ratio};

/// One `[[storage]]` stage as given: every combination of its lists, on every path.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageFile {
    /// Name of the stage; default `storage`, or `storage-2`, … where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One directory or several. Required.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "value::one_or_many"
    )]
    pub path: Vec<String>,
    /// Workloads by name, or by fio's words for `rw`; default seq-write, seq-read, rand-read.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "value::one_or_many"
    )]
    pub workload: Vec<String>,
    /// Bandwidth that a workload should reach, by its name: `{ seq_write = "500MB/s" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target: BTreeMap<String, BytesPerS>,
    /// Bytes of each job's file; default 1 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// Bytes of each I/O; default 1 MiB, of random workloads 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value::some")]
    pub bs: Option<Vec<Bytes>>,
    /// I/Os in flight of each job; default 8, of random workloads 32.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub iodepth: Option<Vec<u64>>,
    /// Jobs, each with a file of its own; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub numjobs: Option<Vec<u64>>,
    /// Length of a trial; default 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<DurationNs>,
    /// Go through files again and again until `runtime` is over (default true), or end after once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_based: Option<bool>,
    /// Time before the measured part; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp_time: Option<DurationNs>,
    /// Repetitions of each cell; default 3.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub trials: Option<u32>,
    /// `auto` (default), `io_uring` or `psync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ioengine: Option<IoEngine>,
    /// Past the page cache; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<bool>,
    /// `none` (default) or `dsync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncMode>,
    /// fsync after so many writes; default never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub fsync: Option<u64>,
    /// fdatasync after so many writes; default never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub fdatasync: Option<u64>,
    /// fsync each file at the end, inside the measured time; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_fsync: Option<bool>,
    /// Most I/Os per second of each job; default no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_iops: Option<f64>,
    /// `linear` (default) or `poisson`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_process: Option<RateProcess>,
    /// Share of reads of mixed workloads, %; default 50.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub rwmixread: Option<u32>,
    /// Share of each block that compresses away, %; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub buffer_compress_percentage: Option<u32>,
    /// Share of blocks that repeat an earlier one, %; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub dedupe_percentage: Option<u32>,
    /// Read every written block back after the trial and compare it byte by byte; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// Most bytes that the stage may write on each path; default 64 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_write: Option<Bytes>,
    /// Bytes of the file system that stay free; default 5 % of its size, at most 10 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Bytes>,
    /// Work in the root of a mount, too; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_root: Option<bool>,
    /// Drop the page cache of the whole machine before reads (root alone may); default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_caches: Option<bool>,
    /// Without the end of a single I/O for so long the file system counts as hanging; default 120 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_timeout: Option<DurationNs>,
    /// Internal, for the benchmark of our own CPU time: /dev/zero is read instead of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_file: Option<String>,
    /// Shape of `checkpoint`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub checkpoint: CheckpointFileTable,
    /// Shape of `model-load`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub model_load: ModelLoadTable,
}

/// `checkpoint = { … }`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointFileTable {
    /// `llama3-8b` (default), `llama3-1b`, `llama3-70b`, `llama3-405b`, a number of parameters
    /// (`7B`), or `lora:MODEL:RANK`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Processes that save at once; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub ranks: Option<u32>,
    /// Tensor-parallel ranks; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub tensor_parallel: Option<u32>,
    /// Pipeline-parallel ranks; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub pipeline_parallel: Option<u32>,
    /// ZeRO stage, 0–3; default 3, of a single rank 0.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub zero: Option<u32>,
    /// Files are this share of their real size; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Ratio>,
    /// Bytes of each write and read; default 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bs: Option<Bytes>,
    /// Past the page cache; default false, as trainers do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<bool>,
    /// Read everything back, too; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<bool>,
    /// Time between two saves; default: the optimum, where `mtbf` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationNs>,
    /// Mean time between failures of the whole job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtbf: Option<DurationNs>,
}

/// `model_load = { … }`: every combination of methods and readers, cold; then the first one warm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelLoadTable {
    /// Bytes of the weights; default 4 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// `safetensors` (default) or `gguf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ModelFormat>,
    /// Bytes of a safetensors file at most; default 5 GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Bytes>,
    /// `mmap`, `pread`, `direct`; default all of them.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "value::one_or_many"
    )]
    pub method: Vec<LoadMethod>,
    /// Readers of each rank; default 1 and 8 (mmap: 1).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub readers: Option<Vec<u64>>,
    /// Ranks that load at the same time; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub ranks: Option<u32>,
    /// `one-file` (default) or `shards`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharing: Option<Sharing>,
    /// Measure the first way with a warm page cache, too; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<bool>,
    /// Bytes of each read; default 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bs: Option<Bytes>,
    /// Reads in flight of each reader, for `direct`; default 8.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub iodepth: Option<u32>,
}
