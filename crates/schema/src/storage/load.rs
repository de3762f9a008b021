//! Reads and writes of blocks: what fio calls a job.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size_words;
use crate::outcome::spelled;

/// Blocks that are read or written, in fio's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IoLoad {
    /// Pattern.
    pub rw: Rw,
    /// Share of reads where the pattern is mixed, 0–1 (`rwmixread` ÷ 100).
    pub read_share: f64,
    /// Bytes of each I/O (`bs`).
    pub bs_bytes: u64,
    /// Bytes of each job's file (`size`).
    pub size_bytes: u64,
    /// Jobs, each with a file and a worker of its own (`numjobs`).
    pub numjobs: u32,
    /// I/Os in flight of each job (`iodepth`).
    pub iodepth: u32,
    /// How I/Os are issued (`ioengine`).
    pub engine: IoEngine,
    /// Past the page cache (`direct`).
    pub direct: bool,
    /// Whether each write is durable before it ends (`sync`).
    pub sync: SyncMode,
    /// fsync after so many writes of a job (`fsync`); 0: never.
    pub fsync_every: u64,
    /// fdatasync after so many writes of a job (`fdatasync`); 0: never.
    pub fdatasync_every: u64,
    /// fsync each file at the end, inside the measured time (`end_fsync`).
    pub end_fsync: bool,
    /// Most I/Os per second of each job (`rate_iops`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_iops: Option<f64>,
    /// Law of the due times under a rate (`rate_process`).
    pub rate_process: RateProcess,
    /// When a trial ends.
    pub extent: IoExtent,
    /// Time before the measured part, ns (`ramp_time`).
    pub ramp_ns: u64,
    /// What is written.
    pub data: DataShape,
    /// Every written block is read back after the trial and compared byte by byte (`verify`).
    pub verify: bool,
    /// Internal: an existing special file that is only read instead of files of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_file: Option<String>,
}

impl IoLoad {
    /// Whether it reads.
    pub fn reads(&self) -> bool {
        !matches!(self.rw, Rw::Write | Rw::RandWrite)
    }

    /// Whether it writes.
    pub fn writes(&self) -> bool {
        !matches!(self.rw, Rw::Read | Rw::RandRead)
    }

    /// Whether offsets are random.
    pub fn is_random(&self) -> bool {
        matches!(self.rw, Rw::RandRead | Rw::RandWrite | Rw::RandRw)
    }

    /// "bs 4 KiB, iodepth 32, 4 jobs, buffered": the setting in words.
    pub(super) fn in_words(&self) -> String {
        let mut words =
            vec![format!("bs {}", size_words(self.bs_bytes)), format!("iodepth {}", self.iodepth)];
        match self.numjobs {
            1 => words.push("1 job".to_owned()),
            jobs => words.push(format!("{jobs} jobs")),
        }
        if !self.direct {
            words.push("buffered".to_owned());
        }
        match self.engine {
            IoEngine::Auto => {}
            engine => words.push(engine.to_string()),
        }
        if self.sync == SyncMode::Dsync {
            words.push("O_DSYNC".to_owned());
        }
        for (name, every) in [("fsync", self.fsync_every), ("fdatasync", self.fdatasync_every)] {
            if every > 0 {
                words.push(format!("{name} every {every}"));
            }
        }
        if let Some(rate) = self.rate_iops {
            words.push(format!("{rate} IOPS/job"));
        }
        words.join(", ")
    }
}

spelled! {
    /// Pattern of reads and writes, fio's words.
    Rw {
        /// Sequential reads.
        Read = "read",
        /// Sequential writes.
        Write = "write",
        /// Random reads.
        RandRead = "randread",
        /// Random writes.
        RandWrite = "randwrite",
        /// Sequential, mixed.
        Rw = "rw",
        /// Random, mixed.
        RandRw = "randrw",
    }
}

spelled! {
    /// How I/Os are issued.
    IoEngine {
        /// io_uring where the system allows it, else `psync`; the result says which.
        Auto = "auto",
        /// io_uring, or an error.
        IoUring = "io_uring",
        /// pread and pwrite, one thread for each I/O in flight.
        Psync = "psync",
    }
}

spelled! {
    /// Durability of each write.
    SyncMode {
        /// None.
        None = "none",
        /// O_DSYNC: data is durable when the write ends.
        Dsync = "dsync",
    }
}

spelled! {
    /// Law of the due times under a rate, fio's words.
    RateProcess {
        /// Even.
        Linear = "linear",
        /// Exponential gaps.
        Poisson = "poisson",
    }
}

/// When a trial ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum IoExtent {
    /// After this time; files are gone through again and again (fio `time_based`, `runtime`).
    Runtime {
        /// Length of the measured part, ns.
        runtime_ns: u64,
    },
    /// After each job has gone once through its file, and after this time at the latest.
    Size {
        /// Longest time, ns; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runtime_ns: Option<u64>,
    },
}

/// What is written: incompressible and unique unless shares say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DataShape {
    /// Share of each block that compresses away, % (`buffer_compress_percentage`).
    pub compress_percent: u8,
    /// Share of blocks that repeat an earlier one, % (`dedupe_percentage`).
    pub dedupe_percent: u8,
}
