//! Exit codes, the same for every verb.

use loadline_runner::RunError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As asked.
    Ok,
    /// A fault of ours or of the machine.
    Internal,
    /// The command line, the plan, or what they name.
    Usage,
    /// Nothing answers at the target, or it refuses everything (401 too).
    Unreachable,
    /// No load that was measured keeps an SLA.
    SlaMissed,
    /// A gate of a comparison failed.
    Regression,
    /// A trial ended short of its plan.
    Incomplete,
    /// A command that ran under this one ended so, or could not (125).
    Command(u8),
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::SlaMissed => 4,
            Self::Regression => 5,
            Self::Incomplete => 6,
            Self::Command(code) => code,
        }
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    /// The command line or the plan asks for something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// A fault of ours or of the machine.
    pub(crate) fn internal(message: impl std::fmt::Display) -> Self {
        Self { exit: Exit::Internal, message: message.to_string() }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        use loadline_serving::target::TargetError;
        let exit = match &error {
            RunError::Target(TargetError::Unreachable { .. })
            | RunError::Discovery { unreachable: true, .. } => Exit::Unreachable,
            RunError::Discovery { .. }
            | RunError::Target(_)
            | RunError::Limits(_)
            | RunError::Key(_)
            | RunError::Engine(_)
            | RunError::Storage(_)
            | RunError::Page(_)
            | RunError::Prompts(_) => Exit::Usage,
            RunError::Store(error) => store_exit(error),
            _ => Exit::Internal,
        };
        Self { exit, message: error.to_string() }
    }
}

impl From<loadline_store::StoreError> for Failure {
    fn from(error: loadline_store::StoreError) -> Self {
        Self { exit: store_exit(&error), message: error.to_string() }
    }
}

/// A name that means no run is a wrong command; a disk that refuses is a fault of the machine.
fn store_exit(error: &loadline_store::StoreError) -> Exit {
    use loadline_store::StoreError as E;
    match error {
        E::NotARun { .. }
        | E::NotFound { .. }
        | E::Ambiguous { .. }
        | E::Alive { .. }
        | E::Elsewhere { .. }
        | E::Complete { .. }
        | E::OtherPlan { .. }
        | E::Newer { .. } => Exit::Usage,
        _ => Exit::Internal,
    }
}
