//! The lines between the program and the child that does the I/O: one JSON object each, requests
//! down, replies up. The child ends, and removes what it made, when its stdin closes.

use serde::{Deserialize, Serialize};

use super::{
    FilesystemFacts, IoInterval, Leftover, SlowIo, StorageCell, StorageLimits, StorageTrial,
};
use crate::record::TrialId;

/// What the parent asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Look at a directory, refuse what is unsafe, remove leftovers of dead processes of this host
    /// and make the working directory. Answered by `opened` or `refused`.
    Open {
        /// The directory.
        path: String,
        /// What may be done.
        limits: StorageLimits,
        /// Most bytes of files that will be there at once.
        file_bytes: u64,
        /// Seed of everything random.
        seed: u64,
        /// Only look: facts and refusals, no directory is made and no leftover removed.
        look_only: bool,
        /// Removes this working directory of a child that was killed, and nothing else is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remove: Option<String>,
    },
    /// Carry out a trial. Answered by any number of `interval`, `slow` and `progress`, then `trial`
    /// or `failed`.
    Measure {
        /// The trial.
        trial: TrialId,
        /// What to do.
        cell: StorageCell,
        /// The run's origin on the monotonic clock, ns.
        origin_ns: u64,
    },
    /// Stop the trial under way; it is answered by its `trial` as far as it went.
    Stop,
    /// Remove everything. Answered by `closed`, then the child ends.
    Close,
}

/// What the child answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The directory can be used.
    Opened {
        /// Its file system.
        facts: Box<FilesystemFacts>,
        /// The working directory that was made; absent where it was only looked.
        work_dir: Option<String>,
        /// What earlier runs left.
        leftovers: Vec<Leftover>,
    },
    /// The directory is not used.
    Refused {
        /// Why, and what to do.
        message: String,
    },
    /// A second of a worker.
    Interval(IoInterval),
    /// A slow I/O.
    Slow(SlowIo),
    /// The child lives; tells what it does, and how much it did.
    Progress {
        /// `laying out files`, `measuring`, `verifying`, ….
        doing: String,
        /// I/Os that ended since the child started: while this grows, the file system answers.
        ios: u64,
        /// Share of the trial that is over, 0–1, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        done: Option<f64>,
        /// Bandwidth of the last second, bytes/s.
        bytes_per_s: f64,
    },
    /// A trial ended.
    Trial {
        /// Which.
        trial: TrialId,
        /// What was measured.
        measured: Box<StorageTrial>,
    },
    /// A trial could not be carried out; the next one may be.
    Failed {
        /// Why, and what to do.
        message: String,
    },
    /// Everything is removed.
    Closed {
        /// What could not be removed, each with its reason.
        left: Vec<String>,
    },
}
