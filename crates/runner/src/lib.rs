//! Carries out a plan on one host: prepares every target, then point after point and trial after
//! trial, and keeps what happened in one run directory. It computes no statistic.

mod engine_stage;
mod error;
mod import;
mod key;
mod launch;
mod limits;
mod observers;
mod past;
mod recorder;
mod run;
mod serving_stage;
mod storage_stage;

pub use engine_stage::PreparedEngine;
pub use error::RunError;
pub use import::import;
pub use launch::{Engine, Launch, NoLaunch, Server, Storage, StorageRow};
pub use limits::{Limits, check_limits, reserve_files};
pub use observers::Hardware;
pub use run::{
    Asked, Choose, Finished, NoSearch, PreparedStage, Request, Resume, Session, prepare, run,
};
pub use serving_stage::Prepared;
pub use storage_stage::PreparedStorage;
