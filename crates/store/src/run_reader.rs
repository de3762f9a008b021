//! Reads a run directory: closed, running, interrupted or killed.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use loadline_schema::SCHEMA_VERSION;
use loadline_schema::event::Event;
use loadline_schema::manifest::Manifest;
use loadline_schema::plan::Plan;
use loadline_schema::record::{ChunkTimes, RequestRow, Start, TrialId};

use crate::blocks::{Batches, TableFile};
use crate::chunk_table::{self, ChunkKey};
use crate::error::StoreError;
use crate::identity::{self, RunState};
use crate::naming::{FileName, Form};
use crate::run_writer::{EVENTS, MANIFEST, PLAN_RESOLVED, PLAN_TOML, RECORDS};
use crate::table::Kind;
use crate::token_counts::TokenCounts;
use crate::{request_table, start_table};

/// Rows of chunk times searched for a request whose own do not come next: the most that a failed
/// append can have left without request.
const ORPHANS: usize = 1024;

/// Bytes at the end of a stream that hold no whole batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The stream.
    pub path: PathBuf,
    /// How many bytes are not read.
    pub bytes: u64,
    /// What stands there, as a phrase.
    pub what: String,
}

/// The event log of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Events {
    /// The events in order.
    pub events: Vec<Event>,
    /// Bytes after the last whole line, which are not read.
    pub torn_bytes: u64,
    /// Numbers (from 1) of whole lines that are no events this version knows.
    pub unreadable_lines: Vec<u64>,
}

/// Rows stored for a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrialCounts {
    /// Requests: operations that have ended.
    pub requests: u64,
    /// Starts. Started minus ended are the unknown operations of a killed run.
    pub starts: u64,
}

/// Everything stored for a trial.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrialRows {
    /// Ended requests in the order of storing.
    pub requests: Vec<RequestRow>,
    /// Started operations in the order of storing.
    pub starts: Vec<Start>,
}

/// A run directory, opened for reading.
///
/// What was in the files when it was opened is what is read; to follow a run that goes on, open it
/// again.
pub struct RunReader {
    dir: PathBuf,
    manifest: Manifest,
    state: RunState,
    files: Vec<TableFile>,
    /// Read when the first record asks for it: most runs have none.
    token_counts: OnceLock<TokenCounts>,
}

impl RunReader {
    /// Opens a run directory.
    ///
    /// # Errors
    /// [`StoreError::NotARun`] without a manifest, [`StoreError::Newer`] for formats of newer
    /// versions, [`StoreError::Damaged`] for files that are there and cannot be understood. A torn
    /// end of a stream is no error, see [`Self::torn`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let manifest = read_manifest(dir)?;
        let state = identity::state(&manifest, &dir.join(EVENTS));
        let records = dir.join(RECORDS);
        let mut files = Vec::new();
        for (name, form) in record_files(&records)? {
            files.push(open_either(&records, name, form)?);
        }
        files.sort_by(|a, b| {
            let key = |file: &TableFile| (file.name.part, file.stage_index, file.name.clone());
            key(a).cmp(&key(b))
        });
        let token_counts = OnceLock::new();
        Ok(Self { dir: dir.to_owned(), manifest, state, files, token_counts })
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// State of the run when it was opened, a killed writer recognised.
    pub fn state(&self) -> RunState {
        self.state
    }

    /// The resolved plan, secrets masked.
    ///
    /// # Errors
    /// When `plan.resolved.json` is missing or not a plan.
    pub fn plan(&self) -> Result<Plan, StoreError> {
        read_plan(&self.dir)
    }

    /// The plan file as given, secrets masked; `None` for runs without one.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn plan_toml(&self) -> Result<Option<String>, StoreError> {
        let path = self.dir.join(PLAN_TOML);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    /// The events. Lines that are not understood are counted, not fatal.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn events(&self) -> Result<Events, StoreError> {
        let path = self.dir.join(EVENTS);
        let bytes = fs::read(&path).map_err(StoreError::io("read", &path))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut events = Events { torn_bytes: (bytes.len() - whole) as u64, ..Events::default() };
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        for (number, line) in (1..).zip(lines) {
            match serde_json::from_slice(line) {
                Ok(event) => events.events.push(event),
                Err(_) if line.is_empty() => {}
                Err(_) => events.unreadable_lines.push(number),
            }
        }
        Ok(events)
    }

    /// Streams whose end was lost, for example by a kill or a full disk.
    pub fn torn(&self) -> Vec<Torn> {
        let torn = |file: &TableFile| {
            let end = file.torn.as_ref()?;
            Some(Torn { path: file.path.clone(), bytes: end.bytes, what: end.what.clone() })
        };
        self.files.iter().filter_map(torn).collect()
    }

    /// Bytes of all torn ends.
    pub fn torn_bytes(&self) -> u64 {
        self.torn().iter().map(|torn| torn.bytes).sum()
    }

    /// Trials of which anything is stored, in plan order, parts of one trial after each other,
    /// with their numbers of rows.
    pub fn trial_counts(&self) -> BTreeMap<TrialId, TrialCounts> {
        let mut totals: BTreeMap<TrialId, TrialCounts> = BTreeMap::new();
        for file in &self.files {
            for (trial, rows) in file.trials() {
                let counts = totals.entry(trial).or_default();
                match file.name.kind {
                    Kind::Request => counts.requests += u64::from(rows),
                    Kind::Start => counts.starts += u64::from(rows),
                    Kind::Chunks | Kind::Interval | Kind::Slow | Kind::Sample => {}
                }
            }
        }
        totals.retain(|_, counts| *counts != TrialCounts::default());
        totals
    }

    /// Trials of which requests or starts are stored, in plan order.
    pub fn trials(&self) -> Vec<TrialId> {
        self.trial_counts().into_keys().collect()
    }

    /// Everything stored for a trial, of all hosts; empty when there is nothing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the file and the batch that cannot be read.
    pub fn read_trial(&self, trial: TrialId) -> Result<TrialRows, StoreError> {
        let mut rows = TrialRows::default();
        self.each_request(Some(trial), true, |_, row| {
            rows.requests.push(row);
            Ok::<(), StoreError>(())
        })?;
        for file in self.of_kind(Kind::Start) {
            for batch in file.batches(Some(trial))? {
                let starts = start_table::rows(&batch?, Some(trial));
                rows.starts.extend(starts.map_err(|what| file.wrong(what))?);
            }
        }
        Ok(rows)
    }

    /// Shows the requests of a trial (`None`: of all, parts and stages in order) one by one, with
    /// the host they ran on. Memory does not grow with their number. Without `with_chunks` the
    /// chunk times are left out, which is much faster. Where the server's tokenizer counted an
    /// answer's tokens after the trial, its count stands in the place of the number of chunks.
    ///
    /// # Errors
    /// The first error of `show`, or [`StoreError::Damaged`].
    pub fn each_request<E: From<StoreError>>(
        &self,
        trial: Option<TrialId>,
        with_chunks: bool,
        mut show: impl FnMut(&RequestOrigin<'_>, RequestRow) -> Result<(), E>,
    ) -> Result<(), E> {
        for file in self.of_kind(Kind::Request) {
            let chunks = FileName { kind: Kind::Chunks, ..file.name.clone() };
            let chunks = self.files.iter().find(|other| with_chunks && other.name == chunks);
            let mut chunks = chunks.map(|file| ChunkFeed::new(file, trial)).transpose()?;
            let origin = RequestOrigin { stage: &file.stage, host: &file.host };
            for batch in file.batches(trial)? {
                let rows = request_table::Rows::of(&batch?);
                let rows = rows.map_err(|what| file.wrong(what))?;
                let wanted = |row: &usize| trial.is_none_or(|trial| rows.trial(*row) == trial);
                for row in (0..rows.len()).filter(wanted) {
                    let (mut record, has_chunks) =
                        rows.get(row).map_err(|what| file.wrong(what))?;
                    if TokenCounts::may_concern(&record) {
                        self.token_counts()?.apply(&mut record);
                    }
                    let key = ChunkKey::new(record.op, record.trial);
                    let chunks = match &mut chunks {
                        Some(feed) if has_chunks => feed.take(key)?,
                        _ => None,
                    };
                    show(&origin, RequestRow { record, chunks })?;
                }
            }
        }
        Ok(())
    }

    /// Counts of the server's tokenizer; none where the event log is gone.
    fn token_counts(&self) -> Result<&TokenCounts, StoreError> {
        if let Some(known) = self.token_counts.get() {
            return Ok(known);
        }
        let events = match self.events() {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Vec::new()
            }
            other => other?.events,
        };
        Ok(self.token_counts.get_or_init(|| TokenCounts::new(events)))
    }

    /// The files of a table in order.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &TableFile> {
        self.files.iter().filter(move |file| file.name.kind == kind)
    }
}

/// Where a request comes from, as far as its record does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOrigin<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    /// Host that sent it.
    pub host: &'a str,
}

/// Hands out chunk times in the order of the requests. Both tables have the same order, so this
/// never goes back; rows without a request (of a failed append) are passed over.
struct ChunkFeed<'a> {
    file: &'a TableFile,
    trial: Option<TrialId>,
    batches: Batches<'a>,
    /// Decoded batches with the next row of each.
    ahead: VecDeque<(chunk_table::Rows, usize)>,
}

impl<'a> ChunkFeed<'a> {
    fn new(file: &'a TableFile, trial: Option<TrialId>) -> Result<Self, StoreError> {
        let batches = file.batches(trial)?;
        Ok(Self { file, trial, batches, ahead: VecDeque::new() })
    }

    /// The chunk times of a request, `None` when they were lost.
    fn take(&mut self, key: ChunkKey) -> Result<Option<ChunkTimes>, StoreError> {
        let (mut batch, mut passed) = (0, 0);
        while passed <= ORPHANS {
            if batch == self.ahead.len() && !self.fetch()? {
                return Ok(None);
            }
            let (rows, next) = &self.ahead[batch];
            let found = (*next..rows.len()).find(|row| rows.key(*row) == key);
            if let Some(row) = found {
                let times = rows.get(row).map_err(|what| self.file.wrong(what))?;
                self.ahead.drain(..batch);
                self.ahead[0].1 = row + 1;
                return Ok(Some(times));
            }
            let trial = self.trial;
            let counts = |row: &usize| trial.is_none_or(|trial| rows.trial(*row) == trial);
            passed += (*next..rows.len()).filter(counts).count();
            batch += 1;
        }
        Ok(None)
    }

    /// Decodes one more batch; false at the end.
    fn fetch(&mut self) -> Result<bool, StoreError> {
        let Some(batch) = self.batches.next() else { return Ok(false) };
        let rows = chunk_table::Rows::of(&batch?).map_err(|what| self.file.wrong(what))?;
        self.ahead.push_back((rows, 0));
        Ok(true)
    }
}

/// The record files of a run in their better form: where both are there, Parquet wins. Others and
/// temporary files are passed over.
fn record_files(records: &Path) -> Result<BTreeMap<FileName, Form>, StoreError> {
    let mut files = BTreeMap::new();
    let entries = match fs::read_dir(records) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(StoreError::io("list", records)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", records))?;
        let Some((name, form)) = entry.file_name().to_str().and_then(FileName::parse) else {
            continue;
        };
        let best = files.entry(name).or_insert(form);
        *best = form.max(*best);
    }
    Ok(files)
}

/// Opens a record file; a stream that became Parquet since it was listed is found as such.
fn open_either(records: &Path, name: FileName, form: Form) -> Result<TableFile, StoreError> {
    match TableFile::open(records, name.clone(), form) {
        Err(StoreError::Io { source, .. })
            if form == Form::Stream && source.kind() == io::ErrorKind::NotFound =>
        {
            TableFile::open(records, name, Form::Parquet)
        }
        other => other,
    }
}

/// Reads and checks the manifest of a run directory.
pub(crate) fn read_manifest(dir: &Path) -> Result<Manifest, StoreError> {
    #[derive(serde::Deserialize)]
    struct Version {
        schema_version: u32,
    }
    const ADVICE: &str = "restore it from a copy; the record files can still be read with pandas, \
                          Polars or DuckDB";
    let path = dir.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Err(StoreError::NotARun { path: dir.to_owned() });
        }
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    let damaged = |error: serde_json::Error| StoreError::damaged(&path, error.to_string(), ADVICE);
    let Version { schema_version: found } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { path, found, known: SCHEMA_VERSION });
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

/// Reads the resolved plan of a run directory.
pub(crate) fn read_plan(dir: &Path) -> Result<Plan, StoreError> {
    const ADVICE: &str = "restore it from a copy; without it the run can be exported, not analysed";
    let path = dir.join(PLAN_RESOLVED);
    let bytes = fs::read(&path).map_err(StoreError::io("read", &path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| StoreError::damaged(&path, error.to_string(), ADVICE))
}
