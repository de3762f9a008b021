//! Blocks read and written: files, workers, and what the trial comes to.

use loadline_schema::storage::{
    CacheState, EndedBy, IoEngine, IoExtent, IoLoad, LatenessNs, StorageTrial, WorkerEnd,
};

mod crew;
mod failure;
mod files;
mod job;
mod ledger;
mod memory;
mod pace;
mod pattern;
mod permutation;
mod psync;
mod recorder;
mod ring;
mod ring_worker;
mod sequence;
mod setup;
mod shared;
#[cfg(test)]
mod tests;
mod verify;

use crate::{Trial, TrialError};
use crew::Outcome;
use files::Files;
use job::{Job, Parts};
use pattern::Pattern;
use permutation::random;
use setup::Setup;
use shared::{Shared, Times};

/// Carries out a trial.
///
/// Nothing is issued from the end of the runtime on; I/Os in flight then are waited for, and are in
/// the figures, as fio has it: bandwidth is bytes ÷ (`last_ns` − `first_ns`), and what ended after
/// the runtime has rows of its own, which begin there.
///
/// # Errors
/// The load does not fit this file system, the budget or the machine. What fails after the first
/// I/O is in the trial.
pub(crate) fn run(trial: &Trial<'_>, load: &IoLoad) -> Result<StorageTrial, TrialError> {
    let setup = Setup::new(trial, load)?;
    let Some(mut files) = files::prepare(trial, load, &setup)? else {
        return Ok(stopped_before(trial, setup));
    };
    let mut jobs = jobs(trial, load, &setup, &mut files);
    let shared = Shared::new(trial, load);
    let outcome = crew::run(&shared, &setup, &jobs)?;
    let cut_short = shared.why();
    let workers = workers(&outcome, load.numjobs);
    let lateness = lateness(&mut jobs, &outcome, cut_short.is_some(), trial);
    let (ended_by, failure) = cut_short.unwrap_or_else(|| (through(load, &outcome), None));
    note_written(trial, load, &setup, &workers);
    let verified = (load.verify && load.writes())
        .then(|| verify::verify(trial, &jobs, setup.file_bytes / load.bs_bytes, files.direct));
    let Times { start, measure, .. } = outcome.times;
    let since_origin = |ns: u64| ns.wrapping_sub(trial.origin_ns);
    let end_ns = workers.iter().map(|worker| worker.last_ns).max();
    Ok(StorageTrial {
        start_ns: since_origin(start),
        measure_ns: since_origin(measure),
        end_ns: end_ns.unwrap_or_default().max(since_origin(start)),
        ended_by,
        failure,
        engine: setup.engine,
        engine_note: engine_note(setup.engine_note, outcome.fixed),
        direct: files.direct,
        direct_note: files.direct_note,
        cache: cache(trial, load, files.cache, files.direct, &workers),
        workers,
        cpu_user_ns: outcome.cpu.0,
        cpu_system_ns: outcome.cpu.1,
        lateness,
        verified,
        passes: Vec::new(),
        slow_left_out: shared.slow_left_out(),
        imported: Vec::new(),
    })
}

/// The user stopped the trial before its first I/O.
fn stopped_before(trial: &Trial<'_>, setup: Setup) -> StorageTrial {
    let now = trial.now_ns();
    StorageTrial {
        start_ns: now,
        measure_ns: now,
        end_ns: now,
        ended_by: EndedBy::Interrupted,
        failure: None,
        engine: setup.engine,
        engine_note: setup.engine_note,
        direct: setup.direct,
        direct_note: setup.direct_note,
        cache: CacheState::default(),
        workers: Vec::new(),
        cpu_user_ns: 0,
        cpu_system_ns: 0,
        lateness: None,
        verified: None,
        passes: Vec::new(),
        slow_left_out: 0,
        imported: Vec::new(),
    }
}

fn jobs(trial: &Trial<'_>, load: &IoLoad, setup: &Setup, files: &mut Files) -> Vec<Job> {
    // Each trial has other contents, or a storage that compares would have nothing to write.
    let id = trial.id;
    let seed = [u64::from(id.stage), u64::from(id.point), u64::from(id.trial)]
        .into_iter()
        .fold(trial.seed, random);
    let pattern =
        load.writes().then(|| Pattern::new(load.bs_bytes as usize, load.data, trial.seed));
    let threads = if setup.engine == IoEngine::Psync { load.iodepth } else { 1 };
    let align = if files.direct { u64::from(trial.direct().offset_align.max(1)) } else { 1 };
    let files = std::mem::take(&mut files.open).into_iter().zip(0..);
    files
        .map(|(file, number)| {
            let pattern = pattern.as_ref();
            Job::new(Parts { number, file, load, seed, pattern, threads, align })
        })
        .collect()
}

/// Why a trial ended that nothing cut short.
fn through(load: &IoLoad, outcome: &Outcome) -> EndedBy {
    let bs = load.bs_bytes;
    let done: u64 = outcome.ends.iter().map(|(_, end)| end.read_ios + end.write_ios).sum();
    let all = load.size_bytes / bs * u64::from(load.numjobs);
    match load.extent {
        IoExtent::Runtime { .. } => EndedBy::Runtime,
        IoExtent::Size { runtime_ns: None } => EndedBy::Size,
        // A ramp's I/Os are not in the figures, so that few may tell nothing; time does.
        IoExtent::Size { runtime_ns: Some(_) } => {
            let early = loadline_clock::monotonic_ns() < outcome.times.deadline;
            if done >= all || early { EndedBy::Size } else { EndedBy::Runtime }
        }
    }
}

fn workers(outcome: &Outcome, numjobs: u32) -> Vec<WorkerEnd> {
    let of = |job: u32| {
        let threads = outcome.ends.iter().filter(|(number, _)| u32::from(*number) == job);
        recorder::together(&threads.map(|(_, end)| end.clone()).collect::<Vec<_>>())
    };
    (0..numjobs).map(of).collect()
}

fn lateness(
    jobs: &mut [Job],
    outcome: &Outcome,
    cut_short: bool,
    trial: &Trial<'_>,
) -> Option<LatenessNs> {
    // Of a trial that was cut short only what was due until then counts.
    let last = outcome.ends.iter().map(|(_, end)| end.last_ns).max().unwrap_or_default();
    let cut = last.wrapping_add(trial.origin_ns);
    let end = if cut_short { cut } else { outcome.times.deadline };
    let all: Vec<LatenessNs> = jobs.iter_mut().filter_map(|job| job.lateness(end)).collect();
    (!all.is_empty()).then(|| pace::together(&all))
}

/// Later trials need not lay out what this one wrote from the beginning on.
fn note_written(trial: &Trial<'_>, load: &IoLoad, setup: &Setup, workers: &[WorkerEnd]) {
    if !load.writes() || load.reads() {
        return;
    }
    for (job, worker) in (0..).zip(workers) {
        // Writes in flight end in any order: only a pass that is complete is known.
        let whole =
            worker.write_bytes >= setup.file_bytes + load.bs_bytes * u64::from(load.iodepth);
        let once = worker.write_bytes == setup.file_bytes && worker.errors + worker.unknown == 0;
        let in_order = !load.is_random() && (whole || once);
        let each_once = matches!(load.extent, IoExtent::Size { .. }) && once;
        if in_order || each_once {
            files::note_written(trial, load, job, setup.file_bytes);
        }
    }
}

fn engine_note(note: Option<String>, fixed: bool) -> Option<String> {
    let unregistered = "buffers are not registered, since the limit of locked memory (ulimit -l) \
                        is too small: each I/O costs a little more CPU";
    match (note, fixed) {
        (note, true) => note,
        (None, false) => Some(unregistered.to_owned()),
        (Some(note), false) => Some(format!("{note}; {unregistered}")),
    }
}

/// What caches did to the figures, as far as is known.
fn cache(
    trial: &Trial<'_>,
    load: &IoLoad,
    mut cache: CacheState,
    direct: bool,
    workers: &[WorkerEnd],
) -> CacheState {
    if cache.cached || load.special_file.is_some() {
        return cache;
    }
    let files = load.size_bytes.saturating_mul(u64::from(load.numjobs));
    let read: u64 = workers.iter().map(|worker| worker.read_bytes).sum();
    let fits = trial.facts.memory_bytes.is_none_or(|memory| files <= memory);
    let synced = load.end_fsync || load.fsync_every > 0 || load.fdatasync_every > 0;
    let durable = synced || load.sync == loadline_schema::storage::SyncMode::Dsync;
    let reason = if trial.facts.in_memory {
        Some(format!("the file system ({}) lives in memory", trial.facts.kind))
    } else if direct {
        None
    } else if load.reads() && fits && read > files {
        Some("the files fit in memory and were read more than once through the page cache".into())
    } else if load.writes() && !durable {
        Some("writes ended in the page cache, and nothing waited for the storage".into())
    } else if load.reads() && load.direct {
        Some("reads went through the page cache, since O_DIRECT was not to be had".into())
    } else {
        None
    };
    cache.cached = reason.is_some();
    cache.reason = reason;
    cache
}
