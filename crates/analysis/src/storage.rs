//! The cells of a storage stage: bandwidth over trials, latencies pooled, whether figures are those
//! of a cache, how they stand to targets, and what checkpoints and model loads come to.

use std::collections::BTreeMap;

use loadline_schema::document::Estimate;
use loadline_schema::event::Warning;
use loadline_schema::outcome::Phase;
use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    EndedBy, FilesystemFacts, IoInterval, Leftover, LoadMethod, StorageCell, StorageLoad,
    StorageResult, StorageStage, StorageSummary, StorageTarget, StorageTrial, Workload,
};

use crate::input::latest_parts;

mod checkpoint;
mod flags;
mod latency;
mod model_load;
mod rates;
mod sentence;
mod timeline;
mod view;
mod warnings;

pub(crate) use view::{STORAGE, differences, has_paths, with_storage};

const NS_PER_S: f64 = 1e9;
/// What a checkpoint is held against where nobody states a target, bytes/s.
const CHECKPOINT_TARGET: f64 = 500e6;

/// All that is known of a storage stage.
#[derive(Debug, Clone, Copy)]
pub struct StorageInput<'a> {
    /// The stage as planned.
    pub stage: &'a StorageStage,
    /// The file systems of its paths.
    pub filesystems: &'a [FilesystemFacts],
    /// What earlier runs left.
    pub leftovers: &'a [Leftover],
    /// Its trials, in any order; the point of an id is the cell's index. Of a trial that several
    /// parts of a run carried out the latest counts.
    pub trials: &'a [(TrialId, StorageTrial)],
    /// Seconds of workers, in any order; those of trials that do not count are left out.
    pub intervals: &'a [IoInterval],
    /// Trials that could not be carried out, and why.
    pub failures: &'a [(TrialId, String)],
}

/// A trial with its seconds.
struct Trial<'a> {
    end: &'a StorageTrial,
    /// Rows of the measured part, by worker, direction and time.
    rows: Vec<&'a IoInterval>,
}

impl Trial<'_> {
    /// Whether it was carried out as planned.
    fn is_complete(&self) -> bool {
        matches!(self.end.ended_by, EndedBy::Runtime | EndedBy::Size | EndedBy::MaxWrite)
    }
}

/// A cell with all that is known of it.
struct Cell<'a> {
    stage: &'a StorageStage,
    planned: &'a StorageCell,
    filesystem: Option<&'a FilesystemFacts>,
    trials: Vec<Trial<'a>>,
    failures: Vec<&'a str>,
}

impl Cell<'_> {
    /// Why it could not be measured to its end: a trial that could not be carried out, or one that
    /// an I/O ended.
    fn failed(&self) -> Option<&str> {
        let ended = self.trials.iter().find_map(|trial| trial.end.failure.as_ref());
        let first = self.failures.first().copied();
        first.or(ended.map(|failure| failure.message.as_str()))
    }
}

/// The stage, and its cells in the order of the plan; cells without a trial and without a failure
/// (not reached) are left out.
pub fn storage(input: &StorageInput<'_>) -> (StorageSummary, Vec<StorageResult>) {
    let cells = by_cell(input);
    let results: Vec<StorageResult> = cells.iter().map(result).collect();
    let summary = StorageSummary {
        stage: input.stage.name.clone(),
        filesystems: input.filesystems.to_vec(),
        leftovers: input.leftovers.to_vec(),
        model_loads: sentence::sentences(&results, flags::of),
        imported: input.stage.imported.is_some(),
    };
    (summary, results)
}

fn by_cell<'a>(input: &StorageInput<'a>) -> Vec<Cell<'a>> {
    let ids = input.trials.iter().map(|(id, _)| *id);
    let ids = latest_parts(ids.chain(input.failures.iter().map(|(id, _)| *id)));
    let mut rows: BTreeMap<TrialId, Vec<&IoInterval>> = BTreeMap::new();
    for row in input.intervals.iter().filter(|row| row.phase == Phase::Measure) {
        rows.entry(row.trial).or_default().push(row);
    }
    let cells = (0..).zip(&input.stage.cells).map(|(point, cell)| {
        let mine = ids.iter().filter(|id| id.point == point);
        let trials = mine.clone().filter_map(|id| {
            let (_, end) = input.trials.iter().find(|(other, _)| other == id)?;
            let mut rows = rows.remove(id).unwrap_or_default();
            rows.sort_by_key(|row| (row.worker, row.direction, row.start_ns, row.ios));
            Some(Trial { end, rows })
        });
        let trials = trials.collect();
        let failures = mine.flat_map(|id| {
            let of_trial = input.failures.iter().filter(move |(other, _)| other == id);
            of_trial.map(|(_, why)| why.as_str())
        });
        Cell {
            stage: input.stage,
            planned: cell,
            filesystem: input.filesystems.iter().find(|facts| facts.path == cell.path),
            trials,
            failures: failures.collect(),
        }
    });
    cells.filter(|cell| !cell.trials.is_empty() || !cell.failures.is_empty()).collect()
}

fn result(cell: &Cell<'_>) -> StorageResult {
    let mut result = StorageResult { failed: cell.failed().map(str::to_owned), ..settings(cell) };
    match &cell.planned.load {
        StorageLoad::Io(_) => rates::fill(cell, &mut result),
        StorageLoad::Checkpoint(load) => checkpoint::fill(cell, load, &mut result),
        StorageLoad::ModelLoad(_) => model_load::fill(cell, &mut result),
    }
    latency::fill(cell, &mut result);
    if let StorageLoad::Io(_) = &cell.planned.load {
        timeline::fill(cell, &mut result);
    }
    result.target = target(cell, result.bytes_per_s.as_ref());
    let told = warnings::of(cell, &result);
    result.warnings.extend(told);
    result
}

/// What is known of a cell without any figure.
fn settings(cell: &Cell<'_>) -> StorageResult {
    let StorageCell { path, workload, load } = cell.planned;
    let (bs_bytes, iodepth, numjobs) = match load {
        StorageLoad::Io(load) => (load.bs_bytes, load.iodepth, load.numjobs),
        StorageLoad::Checkpoint(load) => (load.bs_bytes, 1, load.ranks),
        StorageLoad::ModelLoad(load) => {
            let depth = if load.method == LoadMethod::Direct { load.iodepth } else { 1 };
            (load.bs_bytes, depth, load.readers.saturating_mul(load.ranks.max(1)))
        }
    };
    let (cached, cache_reason) = cached(cell);
    StorageResult {
        stage: cell.stage.name.clone(),
        path: path.clone(),
        filesystem: cell.filesystem.map_or_else(String::new, |facts| facts.kind.clone()),
        workload: *workload,
        setting: cell.planned.in_words(),
        cell: cell.planned.clone(),
        bs_bytes,
        iodepth,
        numjobs,
        engine: engine(cell),
        direct: is_direct(cell),
        trials: 0,
        trials_planned: cell.stage.trials,
        bytes_per_s: None,
        iops: None,
        directions: BTreeMap::new(),
        slat_ns: None,
        clat_ns: None,
        lat_ns: None,
        cpu_ns_per_io: None,
        steady: None,
        cached,
        cache_reason,
        target: None,
        timeline: Vec::new(),
        checkpoint: None,
        model_load: None,
        failed: None,
        per_trial: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Whether figures may be those of memory, and why: as a trial says, or the file system.
fn cached(cell: &Cell<'_>) -> (bool, Option<String>) {
    if let Some(facts) = cell.filesystem.filter(|facts| facts.in_memory) {
        return (true, Some(format!("{} lives in memory", facts.kind)));
    }
    let mut cached = cell.trials.iter().map(|trial| &trial.end.cache).filter(|c| c.cached);
    let first = cached.next();
    (first.is_some(), first.and_then(|cache| cache.reason.clone()))
}

/// What issued the I/Os. The word of another tool stands in the trial's note.
fn engine(cell: &Cell<'_>) -> String {
    let trial = cell.trials.first().map(|trial| trial.end);
    let note = trial.and_then(|trial| trial.engine_note.clone());
    if let Some(word) = note.filter(|_| cell.stage.imported.is_some()) {
        return word;
    }
    let issued = trial.map_or("–", |trial| trial.engine.as_str());
    match &cell.planned.load {
        StorageLoad::ModelLoad(load) if load.method == LoadMethod::Mmap => "mmap".to_owned(),
        _ => issued.to_owned(),
    }
}

/// Whether every trial went past the page cache; without a trial, whether that was planned.
fn is_direct(cell: &Cell<'_>) -> bool {
    if !cell.trials.is_empty() {
        return cell.trials.iter().all(|trial| trial.end.direct);
    }
    match &cell.planned.load {
        StorageLoad::Io(load) => load.direct,
        StorageLoad::Checkpoint(load) => load.direct,
        StorageLoad::ModelLoad(load) => load.method == LoadMethod::Direct,
    }
}

/// How the bandwidth stands to the workload's target.
fn target(cell: &Cell<'_>, measured: Option<&Estimate>) -> Option<StorageTarget> {
    let workload = cell.planned.workload;
    let stated = cell.stage.target.get(&workload).copied();
    let assumed = stated.is_none();
    let usual = (workload == Workload::Checkpoint).then_some(CHECKPOINT_TARGET);
    let (bytes_per_s, measured) = (stated.or(usual)?, measured?);
    let met = measured.value >= bytes_per_s;
    let certain = match (measured.low, measured.high) {
        (Some(low), Some(high)) => (met && low >= bytes_per_s) || (!met && high < bytes_per_s),
        _ => false,
    };
    Some(StorageTarget { bytes_per_s, met, certain, assumed })
}

/// A warning that a cell's own module adds.
fn warn(result: &mut StorageResult, code: &str, message: String, advice: &str) {
    result.warnings.push(Warning::new(code, message, advice));
}

#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod made;
#[cfg(test)]
mod tests;
