//! Storage under workloads: blocks by io_uring or psync, checkpoints, loads of models, in a new
//! directory of its own that is gone afterwards. The I/O runs in a child process, since a file system
//! that hangs holds every thread that touches it.
//!
//! It measures and computes no statistic: seconds of workers in buckets and trials go to the caller.

mod at_once;
mod block_device;
mod bypass;
mod checkpoint;
mod child;
mod course;
mod cpu_time;
mod direct_io;
mod facts;
mod fio;
#[cfg(test)]
mod ground;
mod io;
mod leftovers;
mod listing;
mod marker;
mod model_load;
mod mounts;
mod page_cache;
mod pattern;
mod process;
mod rank_log;
mod refuse;
mod ring_reader;
mod take_down;
mod trial;
mod work_dir;

pub use child::child;
pub use facts::{Roots, look};
pub use fio::{FioError, ImportedFio, import_fio, looks_like_fio};
pub use leftovers::{leftovers, remove_work_dir};
use loadline_schema::storage::{IoLoad, StorageTrial};
pub use process::{Open, ProcessError, Row, StorageProcess};
pub use refuse::check;

pub use trial::{Report, Trial, TrialError, WriteBudget};
pub use work_dir::{DirError, WorkDir};

/// Reads and writes blocks: one trial of a job as fio has them.
///
/// # Errors
/// The load does not fit this file system, the budget or the machine. What fails after the first
/// I/O is in the trial.
pub fn run_io(trial: &Trial<'_>, load: &IoLoad) -> Result<StorageTrial, TrialError> {
    io::run(trial, load)
}
