//! Results of fio, read from its JSON and json+ output (`fio --output-format=json+`).
//!
//! fio's own figures are kept as they are: I/Os, bytes and run time of each job, latencies as it
//! states them, and the buckets of json+ as histograms. What fio's format cannot tell, or tells in a
//! way that cannot be true, stands in notes.

use loadline_schema::storage::{IoInterval, StorageCell, StorageTrial};

mod document;
mod entry;
mod job;
mod latency;
mod options;
mod setting;
mod size;

#[cfg(test)]
mod tests;

/// What one job of fio, or one group of jobs, measured.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedFio {
    /// The job's name.
    pub job: String,
    /// Version of fio: `3.33`.
    pub version: String,
    /// When fio wrote the result, ms since 1970, where it says so.
    pub written_unix_ms: Option<u64>,
    /// What was measured: `filename` or `directory` (`?` where neither is stated), pattern, setting.
    pub cell: StorageCell,
    /// What came of it. It starts at 0; the time of `ramp_time` is before its measured part. A worker
    /// for each job, or one for all of them where fio states their sum (`group_reporting`).
    /// `imported` has the latencies that are not in `intervals`; percentiles of several jobs that
    /// fio states apart cannot be pooled and are left out.
    pub trial: StorageTrial,
    /// One row for each worker and direction, as long as its trial, where json+ has buckets. A
    /// latency whose buckets are missing is empty in it. Their [`IoInterval::trial`] is all zero: who
    /// stores them says which it is.
    pub intervals: Vec<IoInterval>,
    /// What a reader of the figures should know, each a sentence.
    pub notes: Vec<String>,
}

/// Why bytes are no results of fio.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FioError {
    /// No line begins an object.
    #[error("this is no JSON; expected what `fio --output-format=json+` writes")]
    NotJson,
    /// JSON that breaks off or is none.
    #[error(
        "line {line}: this is no JSON from here on ({what}); was fio stopped while it wrote, or the \
         file cut?"
    )]
    Broken {
        /// Line, from 1.
        line: u64,
        /// What the decoder says.
        what: String,
    },
    /// JSON of another program.
    #[error(
        "this is JSON, but not fio's: `fio version` is missing; expected what `fio \
         --output-format=json+` writes"
    )]
    NotFio,
    /// A version with other units.
    #[error(
        "fio {version} is too old: before version 3 it states latencies in whole µs and sizes in \
         KiB; measure again with fio 3"
    )]
    TooOld {
        /// Its version.
        version: String,
    },
    /// fio's output, and nothing in it that can be imported.
    #[error("fio's output holds no job that can be imported: {}", why.join("; "))]
    NoJob {
        /// Why not, for each job; at least one entry.
        why: Vec<String>,
    },
}

/// Whether bytes look like fio's JSON, by its key `fio version` near the beginning.
pub fn looks_like_fio(bytes: &[u8]) -> bool {
    const KEY: &[u8] = b"\"fio version\"";
    const NEAR: usize = 64 << 10;
    bytes[..bytes.len().min(NEAR)].windows(KEY.len()).any(|window| window == KEY)
}

/// Reads fio's JSON or json+ output, messages before and after it included: one entry for each job
/// in the order of the file. Jobs made by `numjobs` are workers of one entry. Of the reports of
/// `--status-interval` the last one counts, and of a client the jobs, not their sum.
///
/// # Errors
/// [`FioError`]: other bytes than fio's, a version before 3, or no job that did I/O.
pub fn import_fio(bytes: &[u8]) -> Result<Vec<ImportedFio>, FioError> {
    let mut imported = Vec::new();
    let mut left_out = Vec::new();
    for document in document::read(bytes)? {
        job::read(&document, &mut imported, &mut left_out);
    }
    match imported.first_mut() {
        Some(first) => first.notes.extend(left_out.iter().map(|why| format!("Left out: {why}."))),
        None => {
            if left_out.is_empty() {
                left_out.push("it has no jobs".to_owned());
            }
            return Err(FioError::NoJob { why: left_out });
        }
    }
    Ok(imported)
}

/// A text of fio's for a message: without control characters, not longer than 60 characters.
fn quoted(text: &str) -> String {
    const KEPT: usize = 60;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut kept: String = text.chars().take(KEPT).map(clean).collect();
    if text.chars().count() > KEPT {
        kept.push('…');
    }
    format!("`{kept}`")
}
