//! Storage under workloads: blocks by io_uring or psync, checkpoints, loads of models, in a new
//! directory of its own that is gone afterwards. The I/O runs in a child process, since a file system
//! that hangs holds every thread that touches it.
//!
//! It measures and computes no statistic: seconds of workers in buckets and trials go to the caller.

mod checkpoint;
mod fio;
mod io;
mod model_load;
mod page_cache;
mod trial;
mod work_dir;

pub use fio::{FioError, ImportedFio, import_fio, looks_like_fio};
pub use trial::{Report, Trial, TrialError};
pub use work_dir::{DirError, WorkDir};
