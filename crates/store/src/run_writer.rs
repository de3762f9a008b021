//! Writes one run directory: one process, one part of the run.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use loadline_schema::SCHEMA_VERSION;
use loadline_schema::document::Selftest;
use loadline_schema::event::{Event, EventKind};
use loadline_schema::manifest::{HostFacts, Manifest, RunStatus};
use loadline_schema::plan::{Plan, Stage};
use loadline_schema::record::{RequestRow, Start};

use crate::durable;
use crate::error::StoreError;
use crate::identity::{self, RunState};
use crate::naming::{self, FileName, Form};
use crate::run_reader::read_manifest;
use crate::seal::{self, SealReport};
use crate::secrets::{masked_plan, masked_toml};
use crate::stream::{TableStream, WholePieces};
use crate::table::{Facts, Kind};
use crate::{chunk_table, request_table, start_table};

/// Names of files in a run directory.
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const PLAN_TOML: &str = "plan.toml";
pub(crate) const PLAN_RESOLVED: &str = "plan.resolved.json";
pub(crate) const EVENTS: &str = "events.jsonl";
pub(crate) const RECORDS: &str = "records";

/// Chunk gaps after which a part stores no further chunk times.
const CHUNK_LIMIT: u64 = 200_000_000;

/// Rows, chunk gaps and starts of one batch at most: bounds the memory of encoding and of sealing.
const BATCH_ROWS: usize = 1024;
const BATCH_GAPS: usize = 64 * 1024;
const BATCH_STARTS: usize = 4096;

/// What the writer cannot know by itself.
#[derive(Debug, Clone)]
pub struct RunStart {
    /// Version of the program.
    pub tool_version: String,
    /// Start on the realtime clock, ns since the epoch. For a new run this is its origin: every
    /// time of its records counts from here.
    pub unix_ns: u64,
    /// This machine and process, see [`crate::this_process`].
    pub host: HostFacts,
    /// The client's selftest on this machine, as known at the start.
    pub selftest: Option<Selftest>,
}

/// The writer of a run directory.
///
/// Dropping it leaves a run that reads as killed, with everything that was appended.
pub struct RunWriter {
    dir: PathBuf,
    manifest: Manifest,
    part: u16,
    /// Name in the plan and word in file names of each stage.
    stages: Vec<(String, String)>,
    host_word: String,
    /// Holds the writer's lock while it is open.
    log: WholePieces,
    streams: BTreeMap<(u16, Kind), TableStream>,
    line: Vec<u8>,
    gaps_stored: u64,
    gaps_limit: u64,
}

impl RunWriter {
    /// Makes the directory of a new run in `out_dir` (which is made where it is missing).
    ///
    /// `plan_toml` is the plan as given, where one was; secrets in it and in `plan` are masked.
    /// The directory appears whole, with its manifest, or not at all.
    ///
    /// # Errors
    /// When the system refuses to create a folder or file: [`StoreError::Io`].
    pub fn create(
        out_dir: &Path,
        name: &str,
        plan_toml: Option<&str>,
        plan: &Plan,
        start: &RunStart,
    ) -> Result<Self, StoreError> {
        let (resolved, plan_sha256) = resolved_plan(plan);
        let id = naming::fresh_id().map_err(StoreError::io("read", Path::new("/dev/urandom")))?;
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            tool_version: start.tool_version.clone(),
            id,
            name: name.to_owned(),
            started: naming::rfc3339(start.unix_ns),
            origin_unix_ns: start.unix_ns,
            ended: None,
            plan_sha256,
            seed: plan.seed,
            status: RunStatus::Running,
            parts: 1,
            hosts: vec![start.host.clone()],
            selftest: start.selftest.clone(),
        };
        fs::create_dir_all(out_dir).map_err(StoreError::io("create", out_dir))?;
        let dir = out_dir.join(naming::folder(start.unix_ns, name, &manifest.id));
        // Filled under a hidden name and then renamed, so that a kill in between leaves no run
        // without a manifest. Nothing is synced here: there is no older state to protect, and the
        // 5 to 20 ms that it takes would count against the time to the first request.
        let hidden = out_dir.join(format!(".new-{}", manifest.id));
        let filled = fill(&hidden, &manifest, plan_toml, &resolved);
        let renamed = filled.and_then(|log| {
            fs::rename(&hidden, &dir).map_err(StoreError::io("create", &dir)).map(|()| log)
        });
        let log = renamed.inspect_err(|_| {
            let _ = fs::remove_dir_all(&hidden);
        })?;
        let log = log.moved_to(dir.join(EVENTS));
        Ok(Self::open(dir, manifest, 0, plan, log, &start.host))
    }

    /// Goes on with a run that was killed or interrupted: starts its next part. What earlier parts
    /// wrote stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Alive`] while another process writes it, [`StoreError::Elsewhere`] when that
    /// cannot be seen from this machine, [`StoreError::OtherPlan`] when the plan (secrets masked)
    /// is not the one it was begun with, [`StoreError::Complete`] when nothing is left to do, and
    /// whatever reading or writing its files brings.
    pub fn resume(dir: &Path, plan: &Plan, start: &RunStart) -> Result<Self, StoreError> {
        let mut manifest = read_manifest(dir)?;
        let log_path = dir.join(EVENTS);
        refuse_unless_over(dir, &manifest, identity::state(&manifest, &log_path))?;
        let (_, given) = resolved_plan(plan);
        if given != manifest.plan_sha256 {
            let (path, stored) = (dir.to_owned(), manifest.plan_sha256);
            return Err(StoreError::OtherPlan { path, stored, given });
        }
        let mut log = WholePieces::go_on(&log_path)?;
        lock_for_writing(dir, &manifest, &log)?;
        // Two may have come this far at once; the one that got the lock later sees the other's
        // manifest now.
        manifest = read_manifest(dir)?;
        if manifest.status == RunStatus::Sealed {
            return Err(StoreError::Complete { path: dir.to_owned() });
        }
        if !ends_with_newline(&log_path)? {
            log.append(b"\n")?;
        }
        let part = manifest.parts.max(next_part(dir)?);
        manifest.parts = part + 1;
        manifest.status = RunStatus::Running;
        manifest.ended = None;
        manifest.hosts.retain(|host| host.name != start.host.name);
        manifest.hosts.insert(0, start.host.clone());
        write_manifest(dir, &manifest)?;
        Ok(Self::open(dir.to_owned(), manifest, part, plan, log, &start.host))
    }

    fn open(
        dir: PathBuf,
        manifest: Manifest,
        part: u16,
        plan: &Plan,
        log: WholePieces,
        host: &HostFacts,
    ) -> Self {
        let names = || plan.stages.iter().map(Stage::name);
        let words = naming::stage_words(names());
        Self {
            dir,
            manifest,
            part,
            stages: names().map(str::to_owned).zip(words).collect(),
            host_word: naming::plain(&host.name, true, "local"),
            log,
            streams: BTreeMap::new(),
            line: Vec::new(),
            gaps_stored: 0,
            gaps_limit: CHUNK_LIMIT,
        }
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The manifest as written last.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The part of the run that this writer writes; belongs into every [`Start`] and record.
    pub fn part(&self) -> u16 {
        self.part
    }

    /// Whether the limit of stored chunk times (200 million gaps in a part) was reached: later
    /// requests are stored without theirs.
    pub fn chunk_limit_reached(&self) -> bool {
        self.gaps_stored >= self.gaps_limit
    }

    /// Sets another limit of stored chunk gaps.
    pub fn set_chunk_limit(&mut self, gaps: u64) {
        self.gaps_limit = gaps;
    }

    /// Appends requests that have ended. All of them are in the file when this returns `Ok`.
    ///
    /// Chunk times are written before their requests: a kill in between leaves chunk rows without
    /// request, which the reader skips, and never a request without its chunk times.
    ///
    /// # Errors
    /// [`StoreError::Append`] when the disk is full or broken: the files are cut back to whole
    /// batches; of `rows`, a leading share may have been stored. [`StoreError::NoSuchStage`].
    pub fn append_requests(&mut self, rows: &[RequestRow]) -> Result<(), StoreError> {
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let (batch, later) = rest.split_at(batch_len(rest));
            self.append_request_batch(first.record.trial.stage, batch)?;
            rest = later;
        }
        Ok(())
    }

    /// One batch of requests of one stage.
    fn append_request_batch(&mut self, stage: u16, rows: &[RequestRow]) -> Result<(), StoreError> {
        let store_chunks = !self.chunk_limit_reached();
        let with_chunks = |row: &RequestRow| store_chunks && row.chunks.is_some();
        let chunks_before = if rows.iter().any(with_chunks) {
            let chunks = self.stream(stage, Kind::Chunks)?;
            let before = chunks.len();
            let batch = chunk_table::batch(chunks.schema(), rows, with_chunks)
                .map_err(|source| encoding(chunks, source))?;
            if let Some(batch) = batch {
                chunks.append(&batch)?;
            }
            Some(before)
        } else {
            None
        };
        let host = self.manifest.hosts[0].name.clone();
        let appended = self.stream(stage, Kind::Request).and_then(|requests| {
            let batch = request_table::batch(requests.schema(), &host, rows, with_chunks)
                .map_err(|source| encoding(requests, source))?;
            requests.append(&batch)
        });
        if appended.is_err() {
            if let Some(before) = chunks_before {
                // Best effort: the reader skips chunk rows without request in any case.
                let _ = self.stream(stage, Kind::Chunks)?.cut_back(before);
            }
            return appended;
        }
        if store_chunks {
            self.gaps_stored += rows.iter().map(|row| gaps(row) as u64).sum::<u64>();
        }
        Ok(())
    }

    /// Appends started operations. All of them are in the file when this returns `Ok`.
    ///
    /// # Errors
    /// As [`Self::append_requests`].
    pub fn append_starts(&mut self, starts: &[Start]) -> Result<(), StoreError> {
        for same_stage in starts.chunk_by(|a, b| a.trial.stage == b.trial.stage) {
            let stream = self.stream(same_stage[0].trial.stage, Kind::Start)?;
            for rows in same_stage.chunks(BATCH_STARTS) {
                let batch = start_table::batch(stream.schema(), rows)
                    .map_err(|source| encoding(stream, source))?;
                stream.append(&batch)?;
            }
        }
        Ok(())
    }

    /// Appends a line to the event log. Progress is for live views and not stored.
    ///
    /// # Errors
    /// [`StoreError::Append`] when the disk is full or broken.
    pub fn event(&mut self, event: &Event) -> Result<(), StoreError> {
        if matches!(event.kind, EventKind::Progress(_) | EventKind::StorageProgress(_)) {
            return Ok(());
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, event)
            .expect("invariant: events have string keys and a vector takes every byte");
        self.line.push(b'\n');
        self.log.append(&self.line)
    }

    /// Closes the run: every stream of this part becomes Parquet, then the manifest says `status`.
    ///
    /// A stream that cannot be converted (no space, an IO error) stays as it is, readable, and
    /// stands in the report. `ended_unix_ns` is the time now, ns since the epoch.
    ///
    /// # Errors
    /// When the manifest cannot be written; the run then reads as killed and is complete otherwise.
    pub fn seal(mut self, status: RunStatus, ended_unix_ns: u64) -> Result<SealReport, StoreError> {
        let mut report = SealReport::default();
        for (_, stream) in std::mem::take(&mut self.streams) {
            let path = stream.path().to_owned();
            drop(stream);
            seal::stream(&path, &mut report);
        }
        self.manifest.status = status;
        self.manifest.ended = Some(naming::rfc3339(ended_unix_ns));
        write_manifest(&self.dir, &self.manifest)?;
        Ok(report)
    }

    /// The stream of a stage's table, made where it is missing.
    pub(crate) fn stream(
        &mut self,
        stage: u16,
        kind: Kind,
    ) -> Result<&mut TableStream, StoreError> {
        use std::collections::btree_map::Entry;
        let vacant = match self.streams.entry((stage, kind)) {
            Entry::Occupied(stream) => return Ok(stream.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        let stages = self.stages.len();
        let (name, word) =
            self.stages.get(usize::from(stage)).ok_or(StoreError::NoSuchStage { stage, stages })?;
        let file =
            FileName { part: self.part, stage: word.clone(), host: self.host_word.clone(), kind };
        let facts = Facts {
            kind,
            stage_index: stage,
            stage: name.clone(),
            host: self.manifest.hosts[0].name.clone(),
            part: self.part,
        };
        let path = self.dir.join(RECORDS).join(file.with(Form::Stream));
        Ok(vacant.insert(TableStream::create(&path, facts.schema(kind.fields()))?))
    }
}

/// What an encoder says, with the stream's name.
pub(crate) fn encoding(stream: &TableStream, source: arrow_schema::ArrowError) -> StoreError {
    StoreError::Encode { path: stream.path().to_owned(), source }
}

/// Stored gaps of a row.
fn gaps(row: &RequestRow) -> usize {
    row.chunks.as_ref().map_or(0, |chunks| chunks.gaps_100ns.len())
}

/// How many leading rows make the next batch: of one stage, within the limits, at least one.
fn batch_len(rows: &[RequestRow]) -> usize {
    let stage = rows[0].record.trial.stage;
    let mut gaps_so_far = 0;
    rows.iter()
        .take(BATCH_ROWS)
        .take_while(|row| {
            let fits = gaps_so_far < BATCH_GAPS && row.record.trial.stage == stage;
            gaps_so_far += gaps(row);
            fits
        })
        .count()
}

/// The bytes of `plan.resolved.json`, secrets masked, and their SHA-256 in hexadecimal.
fn resolved_plan(plan: &Plan) -> (Vec<u8>, String) {
    let mut bytes = serde_json::to_vec_pretty(&masked_plan(plan))
        .expect("invariant: a plan has string keys and finite numbers");
    bytes.push(b'\n');
    let hex = hexadecimal(&Sha256::digest(&bytes));
    (bytes, hex)
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Makes the folder of a new run with everything that does not grow, and the empty log.
fn fill(
    dir: &Path,
    manifest: &Manifest,
    plan_toml: Option<&str>,
    resolved: &[u8],
) -> Result<WholePieces, StoreError> {
    let make = |path: &Path| {
        DirBuilder::new().mode(0o700).create(path).map_err(StoreError::io("create", path))
    };
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).map_err(StoreError::io("write", &path))
    };
    make(dir)?;
    make(&dir.join(RECORDS))?;
    if let Some(text) = plan_toml {
        put(PLAN_TOML, masked_toml(text).as_bytes())?;
    }
    put(PLAN_RESOLVED, resolved)?;
    let log = WholePieces::create(&dir.join(EVENTS))?;
    // Where the file system has no locks the process id has to do.
    let _ = identity::lock(log.file());
    put(MANIFEST, &manifest_bytes(manifest))?;
    Ok(log)
}

fn manifest_bytes(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(manifest)
        .expect("invariant: a manifest has string keys and finite numbers");
    bytes.push(b'\n');
    bytes
}

fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    durable::replace(&dir.join(MANIFEST), &manifest_bytes(manifest))
}

/// An error unless the run can be resumed from here.
fn refuse_unless_over(dir: &Path, manifest: &Manifest, state: RunState) -> Result<(), StoreError> {
    let path = dir.to_owned();
    match state {
        RunState::Killed | RunState::Interrupted => Ok(()),
        RunState::Running => Err(alive(dir, manifest)),
        RunState::Elsewhere => {
            let host = manifest.hosts.first().map(|host| host.name.clone()).unwrap_or_default();
            Err(StoreError::Elsewhere { path, host })
        }
        RunState::Sealed | RunState::Unreadable => Err(StoreError::Complete { path }),
    }
}

fn alive(dir: &Path, manifest: &Manifest) -> StoreError {
    let writer = manifest.hosts.first().cloned().unwrap_or_default();
    StoreError::Alive { path: dir.to_owned(), host: writer.name, pid: writer.pid }
}

/// Takes the writer's lock. A reader that looks whether it is held holds it for an instant, so a
/// few attempts are made.
fn lock_for_writing(dir: &Path, manifest: &Manifest, log: &WholePieces) -> Result<(), StoreError> {
    for _ in 0..10 {
        match identity::lock(log.file()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            // No locks on this file system: the process id, looked at before, has to do.
            Ok(()) | Err(_) => return Ok(()),
        }
    }
    Err(alive(dir, manifest))
}

/// Whether a log is empty or ends in a whole line.
fn ends_with_newline(path: &Path) -> Result<bool, StoreError> {
    use std::os::unix::fs::FileExt;
    let read = || -> io::Result<bool> {
        let file = fs::File::open(path)?;
        let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
        let mut byte = [0];
        file.read_exact_at(&mut byte, last)?;
        Ok(byte == *b"\n")
    };
    read().map_err(StoreError::io("read", path))
}

/// One more than the highest part among the record files.
fn next_part(dir: &Path) -> Result<u16, StoreError> {
    let records = dir.join(RECORDS);
    let entries = fs::read_dir(&records).map_err(StoreError::io("list", &records))?;
    let parts = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let (file, _) = FileName::parse(name.to_str()?)?;
        Some(file.part)
    });
    Ok(parts.max().map_or(0, |part| part + 1))
}
