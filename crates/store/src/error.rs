//! What can go wrong with a run directory, in words for the person who has to mend it.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the store. Every variant names the file or folder and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused an operation on a file or folder.
    #[error("cannot {doing} {}: {source}{}", path.display(), way_out(doing, source))]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A stream or the log could not grow: disk full, quota, IO error.
    #[error(
        "cannot append to {}: {source}; the {kept_bytes} bytes before it are kept and readable; \
         free space or fix the disk, then continue the run with --resume", path.display()
    )]
    Append {
        /// The file.
        path: PathBuf,
        /// Length of the file after cutting the failed part off: whole batches or lines only.
        kept_bytes: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is there and cannot be understood.
    #[error("{} is damaged: {what}; {advice}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Written by a newer version of the program.
    #[error(
        "{} has schema version {found}, this program knows versions up to {known}: \
         read it with the version of loadline that wrote it, or a newer one", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version known here.
        known: u32,
    },
    /// The folder holds no run.
    #[error(
        "{} is not a run directory (it has no manifest.json): give the folder of one run, \
         `loadline list` shows them", path.display()
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process is still writing the run.
    #[error(
        "{} is still being written by process {pid} on {host}: wait for it to end, or stop it first",
        path.display()
    )]
    Alive {
        /// The run directory.
        path: PathBuf,
        /// Host of the writer.
        host: String,
        /// Its process id there.
        pid: u32,
    },
    /// Whether the writer lives cannot be seen from here.
    #[error(
        "{} was being written on host {host}; whether that goes on cannot be seen from here: \
         resume it on {host}", path.display()
    )]
    Elsewhere {
        /// The run directory.
        path: PathBuf,
        /// Host of the writer.
        host: String,
    },
    /// Nothing is left to be done in a run that should be resumed.
    #[error("{} is complete: nothing to resume, start a new run instead", path.display())]
    Complete {
        /// The run directory.
        path: PathBuf,
    },
    /// A run was to be resumed with another plan.
    #[error(
        "{} was begun with another plan (sha256 {stored}, now {given}): give the flags or the plan \
         file that it was begun with, headers and keys too, since the run does not keep them \
         (plan.resolved.json there shows the rest), or start a new run", path.display()
    )]
    OtherPlan {
        /// The run directory.
        path: PathBuf,
        /// Hash of the plan in the run.
        stored: String,
        /// Hash of the plan given.
        given: String,
    },
    /// A row names a stage that the plan does not have.
    #[error("a record names stage {stage}, but the plan has {stages} stages")]
    NoSuchStage {
        /// Zero-based stage of the row.
        stage: u16,
        /// Stages of the plan.
        stages: usize,
    },
    /// No run goes by this name.
    #[error(
        "no run \"{text}\" in {}: give a folder, an id or the unique beginning of one; \
         `loadline list` shows the {known} runs there", dir.display()
    )]
    NotFound {
        /// What was asked for.
        text: String,
        /// Where it was looked for.
        dir: PathBuf,
        /// How many runs there are.
        known: usize,
    },
    /// Several runs go by this name.
    #[error("\"{text}\" fits several runs: {}; give more letters", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// Folder names of the runs that fit.
        candidates: Vec<String>,
    },
    /// Rows could not be put into columns. Not caused by anything on disk.
    #[error("cannot encode rows for {}: {source}", path.display())]
    Encode {
        /// The file they were meant for.
        path: PathBuf,
        /// The encoder's reason.
        source: arrow_schema::ArrowError,
    },
    /// The sink of an export refused bytes.
    #[error("cannot write the export: {source}")]
    Export {
        /// The reason.
        source: io::Error,
    },
}

impl StoreError {
    /// An [`StoreError::Io`], for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// A [`StoreError::Damaged`].
    pub(crate) fn damaged(path: &Path, what: impl Into<String>, advice: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into(), advice }
    }

    /// Whether the reason was a full disk, a quota or a limit on file sizes.
    pub fn is_no_space(&self) -> bool {
        let (Self::Io { source, .. } | Self::Append { source, .. } | Self::Export { source }) =
            self
        else {
            return false;
        };
        is_no_space(source)
    }
}

/// What to do about a refusal, where that is clear.
fn way_out(doing: &str, source: &io::Error) -> &'static str {
    if is_no_space(source) {
        "; free space there, or name another folder with --out"
    } else if doing == "create" {
        "; name a folder that can be written with --out"
    } else {
        ""
    }
}

/// Whether the system's reason is a full disk, a quota or a limit on file sizes.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
