//! Why a ceiling could not be measured.

use std::io;
use std::path::PathBuf;

/// Why a ceiling could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum CeilingError {
    /// A setting that measures nothing.
    #[error("{setting} is 0; ask for at least one")]
    Zero {
        /// `threads` or `trials`.
        setting: &'static str,
    },
    /// More threads than anyone has processors.
    #[error("{threads} threads are more than the {most} that are measured")]
    TooManyThreads {
        /// Threads asked for.
        threads: usize,
        /// The most.
        most: usize,
    },
    /// The arrays would not fit beside what else the memory holds.
    #[error(
        "{asked} bytes of arrays are more than a quarter of the {available} bytes of memory that \
         are available; ask for less or end other programs"
    )]
    TooLittleMemory {
        /// Bytes of all arrays together.
        asked: u64,
        /// `MemAvailable`, bytes.
        available: u64,
    },
    /// The arrays are too small to be timed.
    #[error("{asked} bytes of arrays are too few for {threads} threads; ask for at least {least}")]
    TooSmall {
        /// Bytes of all arrays together.
        asked: u64,
        /// Threads asked for.
        threads: usize,
        /// The least, bytes.
        least: u64,
    },
    /// A file of the kernel could not be read.
    #[error("{} could not be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the kernel does not say what it should.
    #[error("{} has no line `{line}` with a number of kB", path.display())]
    NoLine {
        /// Which.
        path: PathBuf,
        /// The line's name.
        line: &'static str,
    },
    /// A thread did not start.
    #[error("a thread did not start")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// The memory was promised but not given.
    #[error("{bytes} bytes could not be allocated")]
    Allocate {
        /// Bytes of one thread's arrays.
        bytes: u64,
    },
    /// The arrays do not hold what the triad should have left in them.
    #[error("the arrays hold wrong sums after the trials: {found} instead of {expected}")]
    Wrong {
        /// What they hold.
        found: f64,
        /// What they should hold.
        expected: f64,
    },
}
