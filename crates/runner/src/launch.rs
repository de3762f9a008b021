//! What a plan needs beyond addresses: engines that are measured, and servers that are started. The
//! caller brings both, so that a run knows neither llama.cpp nor child processes.

use loadline_schema::engine::{
    EmbeddedServer, EngineCell, EngineFacts, EngineStage, EngineTrial, MemoryBandwidth,
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

    fn memory_bandwidth(&self) -> Result<MemoryBandwidth, RunError> {
        Err(RunError::Engine("nothing measures memory bandwidth".to_owned()))
    }
}
