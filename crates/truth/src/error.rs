//! What can go wrong with the truth server and the bare reader.

use rustix::io::Errno;
use thiserror::Error;

use crate::server::Listen;

/// An error of the server or of the reader.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TruthError {
    /// The socket cannot be opened there.
    #[error("cannot listen on {listen:?}: {source}; is another server running there?")]
    Bind {
        /// The address asked for.
        listen: Listen,
        /// The system's error.
        source: Errno,
    },
    /// epoll or an event descriptor cannot be had.
    #[error("cannot set up polling: {source}; is the limit on open files reached?")]
    Setup {
        /// The system's error.
        source: Errno,
    },
    /// Polling failed.
    #[error("polling failed: {source}; Linux 5.11 or later is needed")]
    Poll {
        /// The system's error.
        source: Errno,
    },
    /// A thread cannot be started.
    #[error("cannot start the server's thread: {source}")]
    Thread {
        /// The system's error.
        source: std::io::Error,
    },
    /// A parameter of a law is not one, or has a value it cannot have.
    #[error("law parameter {key}={value}: {reason}")]
    Parameter {
        /// Name as given.
        key: String,
        /// Value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The reader cannot connect.
    #[error("cannot connect to {address}: {source}; is the server running?")]
    Connect {
        /// The server.
        address: String,
        /// The system's error.
        source: Errno,
    },
    /// The server answered the reader with something that is not the plain stream it can read.
    #[error("the server at {address} answered {answer:?}; the bare reader reads 200 streams only")]
    Answer {
        /// The server.
        address: String,
        /// Begin of what came.
        answer: String,
    },
    /// The server closed a connection during an answer, or sending to it failed.
    #[error("the server at {address} ended a connection: {reason}")]
    Ended {
        /// The server.
        address: String,
        /// What happened.
        reason: String,
    },
}
