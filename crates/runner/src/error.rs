//! Why a run could not begin.

use loadline_serving::target::TargetError;
use loadline_store::StoreError;

/// A run that did not begin, or whose directory could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The target cannot be used as the plan says.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The target answered, but not as an LLM server that can be measured.
    #[error("{message}")]
    Discovery {
        /// What was found and what to do.
        message: String,
        /// Nothing answers, or it refuses everything: as opposed to a wrong name or server.
        unreachable: bool,
    },
    /// The plan asks for something that this machine cannot do.
    #[error("{0}")]
    Limits(String),
    /// A key could not be read.
    #[error("{0}")]
    Key(String),
    /// An engine or a server could not be started, or it refuses the model.
    #[error("{0}")]
    Engine(String),
    /// A directory is not measured.
    #[error("{0}")]
    Storage(String),
    /// A page of metrics that the plan names cannot be read.
    #[error("{0}; leave it out of [observe] (--metrics off, --gpu off) to measure without it")]
    Page(String),
    /// Prompts could not be read.
    #[error("{0}")]
    Prompts(String),
    /// The run directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused something else.
    #[error("cannot start the load: {0}")]
    System(#[from] std::io::Error),
}
