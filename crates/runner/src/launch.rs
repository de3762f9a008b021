//! What a plan needs beyond addresses: engines that are measured, and servers that are started. The
//! caller brings both, so that a run knows neither llama.cpp nor child processes.

use loadline_clock::RunClock;
use loadline_schema::engine::{
    EmbeddedServer, EngineCell, EngineFacts, EngineStage, EngineTrial, MemoryBandwidth,
};
use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    FilesystemFacts, IoInterval, Leftover, SlowIo, StorageCell, StorageStage, StorageTrial,
};
use loadline_serving::trial::Stop;

use crate::RunError;

/// Opens engines and starts servers.
pub trait Launch {
    /// Opens the engine of a stage and loads its model.
    ///
    /// # Errors
    /// There is no such engine, or it cannot load the model.
    fn engine(&self, stage: &EngineStage) -> Result<Box<dyn Engine>, RunError>;

    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// There is no such server, or it does not get ready.
    fn server(&self, server: &EmbeddedServer) -> Result<Box<dyn Server>, RunError>;

    /// What measures the storage of a stage.
    ///
    /// # Errors
    /// There is no such thing.
    fn storage(&self, stage: &StorageStage, seed: u64) -> Result<Box<dyn Storage>, RunError>;

    /// Memory bandwidth of this machine over all its processors.
    ///
    /// # Errors
    /// Too little memory is free.
    fn memory_bandwidth(&self) -> Result<MemoryBandwidth, RunError>;
}

/// An engine with its model.
pub trait Engine {
    /// What it says about itself and the model.
    fn facts(&self) -> EngineFacts;

    /// Measures a cell so many times; `each` takes a trial as soon as it has ended. Ends early, as a
    /// failure, when `stop` says so. Returns what a reader of the cell should know.
    ///
    /// # Errors
    /// Why the cell cannot be measured; other cells may be asked for afterwards.
    fn measure(
        &mut self,
        cell: &EngineCell,
        trials: u32,
        stop: &Stop,
        each: &mut dyn FnMut(EngineTrial),
    ) -> Result<Vec<String>, String>;
}

/// Measures storage, in one directory at a time.
pub trait Storage {
    /// Looks at a directory; nothing is made or removed.
    ///
    /// # Errors
    /// Why it is refused, and what to do.
    fn look(&mut self, path: &str) -> Result<(FilesystemFacts, Vec<Leftover>), String>;

    /// Makes a directory of its own in it, after removing leftovers of dead processes.
    ///
    /// # Errors
    /// Why it is refused, and what to do.
    fn open(&mut self, path: &str, stop: &Stop)
    -> Result<(FilesystemFacts, Vec<Leftover>), String>;

    /// Carries out a trial; `each` takes rows as they come. A trial that `stop` ends, whose I/O fails
    /// or whose file system hangs comes back as far as it went.
    ///
    /// # Errors
    /// Why the trial cannot be carried out; others may be asked for afterwards.
    fn measure(
        &mut self,
        id: TrialId,
        cell: &StorageCell,
        clock: RunClock,
        stop: &Stop,
        each: &mut dyn FnMut(StorageRow),
    ) -> Result<StorageTrial, String>;

    /// Removes everything that was made, within two seconds where it must be quick. Returns what is
    /// left, each with its reason.
    fn close(&mut self, quick: bool) -> Vec<String>;
}

/// What comes while a storage trial is under way.
#[derive(Debug, Clone, PartialEq)]
pub enum StorageRow {
    /// A second of a worker.
    Interval(IoInterval),
    /// A slow I/O.
    Slow(SlowIo),
    /// What is done now.
    Progress {
        /// `laying out files`, `measuring`, ….
        doing: String,
        /// Share of it that is over, 0–1.
        done: Option<f64>,
        /// Bandwidth of the last moment, bytes/s.
        bytes_per_s: f64,
    },
}

/// A server that runs until it is dropped.
pub trait Server {
    /// Where it answers.
    fn url(&self) -> String;
}

/// For plans that bring everything themselves.
#[derive(Debug, Clone, Copy)]
pub struct NoLaunch;

impl Launch for NoLaunch {
    fn engine(&self, stage: &EngineStage) -> Result<Box<dyn Engine>, RunError> {
        Err(RunError::Engine(format!("nothing measures the engine of stage {}", stage.name)))
    }

    fn server(&self, server: &EmbeddedServer) -> Result<Box<dyn Server>, RunError> {
        Err(RunError::Engine(format!("nothing serves {}", server.model)))
    }

    fn storage(&self, stage: &StorageStage, _: u64) -> Result<Box<dyn Storage>, RunError> {
        Err(RunError::Storage(format!("nothing measures the storage of stage {}", stage.name)))
    }

    fn memory_bandwidth(&self) -> Result<MemoryBandwidth, RunError> {
        Err(RunError::Engine("nothing measures memory bandwidth".to_owned()))
    }
}
