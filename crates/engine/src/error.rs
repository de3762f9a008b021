//! What can go wrong: reading stored results, and running the tools.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Where in a file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1.
    Line(u64),
    /// A row of a JSON array, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

const EXPECTED: &str = "expected the output of `llama-bench -o jsonl` (or json, csv), or of \
                        `llama-batched-bench --output-format jsonl` (or its table)";

/// Why bytes are no results of llama-bench or llama-batched-bench.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Nothing in it.
    #[error("there is nothing in it; {EXPECTED}")]
    Empty,
    /// Bytes that are no UTF-8.
    #[error("line {line}: a character is not in UTF-8; {EXPECTED}")]
    NotText {
        /// Line, from 1.
        line: u64,
    },
    /// No line looks like any of the formats.
    #[error("no row of results, it begins with {start}; {EXPECTED}")]
    Unknown {
        /// Its beginning, quoted.
        start: String,
    },
    /// A format that does not keep what was measured.
    #[error(
        "this is the {format} output of llama-bench, which {why}; measure again with `-o \
             jsonl` (`-oe jsonl` writes it beside the table, to stderr)"
    )]
    Refused {
        /// `Markdown` or `SQL`.
        format: &'static str,
        /// Why it is not read.
        why: &'static str,
    },
    /// The beginning of results and no row.
    #[error("there are no rows of results; did the benchmark run to its end?")]
    NoRows,
    /// Every row was left out.
    #[error(
        "no row can be used: {skipped}; measure prompt processing (-p) and generation (-n) \
             apart"
    )]
    AllSkipped {
        /// How many, and why.
        skipped: String,
    },
    /// Something is wrong in a row.
    #[error("{place}: {what}; {expected}")]
    Row {
        /// Which row.
        place: Place,
        /// What is wrong.
        what: String,
        /// What should be there.
        expected: String,
    },
}

impl ImportError {
    pub(crate) fn row(place: Place, what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Row { place, what: what.into(), expected: expected.into() }
    }
}

/// A text from a file in an error: not too long, nothing that steers a terminal.
pub(crate) fn quoted(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut kept: String = text.chars().take(40).map(clean).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    format!("`{kept}`")
}

/// Why a cell was not measured.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A program is not where it was looked for.
    #[error(
        "no program {program} in {place}; build llama.cpp with `cmake --build build --target \
             llama-bench llama-batched-bench`, or name the folder of the two programs"
    )]
    NotFound {
        /// `llama-bench` or `llama-batched-bench`.
        program: &'static str,
        /// Where it was looked for.
        place: String,
    },
    /// A setting that the tools cannot take.
    #[error("{what}; {help}")]
    Setting {
        /// What is wrong.
        what: String,
        /// What to do.
        help: &'static str,
    },
    /// The program did not start.
    #[error("{} did not start", program.display())]
    Start {
        /// Its path.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its output could not be read, or its end not be waited for.
    #[error("the output of {} could not be read", program.display())]
    Read {
        /// Its path.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("{} ended with {status}{stderr}", program.display())]
    Ended {
        /// Its path.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its stderr after a colon, or nothing.
        stderr: String,
    },
    /// Its output is not what is expected.
    #[error("the output of {} is not understood", program.display())]
    Output {
        /// Its path.
        program: PathBuf,
        /// Why.
        source: ImportError,
    },
    /// It ended well without the figures that it was asked for.
    #[error("{} ended without {missing}{stderr}", program.display())]
    Missing {
        /// Its path.
        program: PathBuf,
        /// What is missing.
        missing: String,
        /// The last lines of its stderr after a colon, or nothing.
        stderr: String,
    },
    /// The caller's cancel flag was set; the program was killed.
    #[error("cancelled")]
    Cancelled,
}
