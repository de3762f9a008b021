//! What the reader must know about a cell.

use loadline_schema::event::Warning;
use loadline_schema::storage::{
    Buckets, EndedBy, FilesystemFacts, IoFailure, StorageLoad, StorageResult, StorageTrial,
};

use super::{Cell, NS_PER_S, rates};

/// Length of a trial below which caches and single I/Os decide, s.
const SHORT_S: f64 = 5.0;
/// I/Os below which a trial says little.
const FEW_IOS: u64 = 1_000;
/// Share of the time in which some workers were done already, beyond which bandwidth is not that
/// of all of them.
const LONG_TAIL: f64 = 0.1;
/// Share of I/Os that were late or never issued beyond which the rate was not kept.
const MUCH_LATE: f64 = 0.01;
/// Latency from which on an I/O is told of, ns.
const SLOW_NS: u64 = 1_000_000_000;

pub(super) fn of(cell: &Cell<'_>, result: &StorageResult) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for trial in &cell.trials {
        for warning in ends(trial.end).into_iter().chain(ways(cell, trial.end)) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings.extend(of_caches(cell, result));
    if let StorageLoad::Io(_) = &cell.planned.load {
        warnings.extend(too_short(cell));
        warnings.extend(not_steady(result));
        warnings.extend(tail(result));
        warnings.extend(late(cell));
        warnings.extend(slow(cell));
    }
    warnings
}

/// How a trial ended, where that was not its plan.
fn ends(trial: &StorageTrial) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut add = |code: &str, message: String, advice: &str| {
        warnings.push(Warning::new(code, message, advice));
    };
    match trial.ended_by {
        EndedBy::Runtime | EndedBy::Size | EndedBy::Failure => {}
        EndedBy::MaxWrite => add(
            "ended_by_max_write",
            "a trial ended when it had written as much as it may".to_owned(),
            "allow more with --max-write",
        ),
        EndedBy::Stalled => {
            let open: u64 = trial.workers.iter().map(|worker| worker.unknown).sum();
            let open = if open > 0 { format!(" ({open} in flight)") } else { String::new() };
            add(
                "stalled",
                format!("the file system hangs: no I/O ended for too long{open}"),
                "look at the server, the network and `dmesg`; what was measured before stands",
            );
        }
        EndedBy::Interrupted => {
            add("interrupted", "a trial was interrupted".to_owned(), "measure again to its end");
        }
    }
    if let Some(IoFailure { message, .. }) = &trial.failure {
        add("io_failure", message.clone(), "what was measured before stands");
    }
    if let Some(verified) = trial.verified.as_ref().filter(|verified| verified.bad > 0) {
        let first = verified.first_bad.as_ref().map(|bad| format!("; the first: {bad}"));
        add(
            "verify_failed",
            format!(
                "{} of {} blocks do not hold what was written{}",
                verified.bad,
                verified.blocks,
                first.unwrap_or_default()
            ),
            "do not trust this storage with data before the cause is found",
        );
    }
    warnings
}

/// Where I/Os went another way than asked for.
fn ways(cell: &Cell<'_>, trial: &StorageTrial) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(why) = &trial.direct_note {
        warnings.push(Warning::new(
            "direct_refused",
            format!("I/Os went through the page cache: {why}"),
            "read the figures as those of page cache and storage together",
        ));
    }
    if let Some(why) = trial.engine_note.as_ref().filter(|_| cell.stage.imported.is_none()) {
        warnings.push(Warning::new(
            "engine_fallback",
            format!("{} issued the I/Os: {why}", trial.engine),
            "compare only with figures of the same engine",
        ));
    }
    warnings
}

fn of_caches(cell: &Cell<'_>, result: &StorageResult) -> Option<Warning> {
    if let Some(facts) = cell.filesystem.filter(|facts| facts.in_memory) {
        return Some(Warning::new(
            "memory_filesystem",
            format!("{} lives in memory: these are figures of memory, not of storage", facts.kind),
            "choose a directory on the storage that you mean",
        ));
    }
    // A warm start is meant to come from memory.
    let is_warm = matches!(&cell.planned.load, StorageLoad::ModelLoad(load) if !load.cold);
    if result.cached && !is_warm {
        let why = result.cache_reason.as_deref().map(|why| format!(": {why}"));
        return Some(Warning::new(
            "cached",
            format!("figures may be those of memory{}", why.unwrap_or_default()),
            "read past the page cache (direct), take files larger than memory, or drop caches",
        ));
    }
    let is_shared = |facts: &&FilesystemFacts| facts.shared && reads(cell);
    cell.filesystem.filter(is_shared).map(|facts| {
        Warning::new(
            "server_cache",
            format!(
                "what was read may come from the memory of the {} server: nothing here can tell, or \
                 empty it",
                facts.kind
            ),
            "take more data than the server has memory to see its disks",
        )
    })
}

/// Whether the cell reads from storage.
fn reads(cell: &Cell<'_>) -> bool {
    match &cell.planned.load {
        StorageLoad::Io(load) => load.reads(),
        StorageLoad::Checkpoint(load) => load.restore,
        StorageLoad::ModelLoad(load) => load.cold,
    }
}

fn too_short(cell: &Cell<'_>) -> Option<Warning> {
    let ios = |trial: &StorageTrial| trial.workers.iter().map(|w| w.read_ios + w.write_ios).sum();
    let ended = cell.trials.iter().filter(|trial| trial.is_complete());
    let short = ended.clone().filter_map(rates::elapsed_s).min_by(f64::total_cmp);
    let few: Option<u64> = ended.map(|trial| ios(trial.end)).min();
    let message = match (short.filter(|s| *s < SHORT_S), few.filter(|n| *n < FEW_IOS)) {
        (Some(s), _) => format!("the shortest trial lasted only {s:.1} s"),
        (None, Some(n)) => format!("a trial had only {n} I/Os"),
        (None, None) => return None,
    };
    Some(Warning::new("too_short", message, "measure longer (--runtime), or more (--size)"))
}

fn not_steady(result: &StorageResult) -> Option<Warning> {
    let most = |values: &mut dyn Iterator<Item = f64>| values.map(f64::abs).fold(0.0, f64::max);
    let deviation = most(&mut result.timeline.iter().filter_map(|t| t.deviation));
    let slope = most(&mut result.timeline.iter().filter_map(|t| t.slope));
    (result.steady == Some(false)).then(|| {
        Warning::new(
            "not_steady",
            format!(
                "bandwidth is not steady: single seconds are up to {:.0} % off the mean, and it moves \
                 by {:.0} % over a trial (SNIA allows 10 % each)",
                deviation * 100.0,
                slope * 100.0
            ),
            "measure longer, and leave out the begin (--ramp-time)",
        )
    })
}

fn tail(result: &StorageResult) -> Option<Warning> {
    let share = |first: u64, last: u64| (last - first.min(last)) as f64 / last.max(1) as f64;
    let longest = result
        .timeline
        .iter()
        .map(|t| (share(t.first_done_ns, t.last_done_ns), t))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (share, timeline) = longest;
    (share > LONG_TAIL).then(|| {
        Warning::new(
            "tail",
            format!(
                "the first job was done after {:.1} s, the last after {:.1} s: for {:.0} % of the time \
                 not all of them worked",
                timeline.first_done_ns as f64 / NS_PER_S,
                timeline.last_done_ns as f64 / NS_PER_S,
                share * 100.0
            ),
            "look at the bandwidth until the first was done, or measure by time (--runtime)",
        )
    })
}

fn late(cell: &Cell<'_>) -> Option<Warning> {
    let lateness = cell.trials.iter().filter_map(|trial| trial.end.lateness);
    let late = lateness.map(|l| ((l.late + l.never) as f64 / l.due.max(1) as f64, l));
    let (share, worst) = late.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (share > MUCH_LATE).then(|| {
        Warning::new(
            "late_rate",
            format!(
                "the rate was not kept: {:.0} % of the I/Os were issued more than 1 ms late or never \
                 ({} never)",
                share.min(1.0) * 100.0,
                worst.never
            ),
            "ask for a lower rate, or allow more in flight (--iodepth)",
        )
    })
}

/// I/Os of a second and longer.
fn slow(cell: &Cell<'_>) -> Option<Warning> {
    let rows = || cell.trials.iter().flat_map(|trial| &trial.rows);
    let is_slow = |index: u32| Buckets::low(index) >= SLOW_NS;
    let buckets = rows().flat_map(|row| &row.lat.buckets.0);
    let n: u64 = buckets.filter(|(index, _)| is_slow(*index)).map(|(_, count)| count).sum();
    let longest = rows().map(|row| row.lat.max_ns).max().unwrap_or(0);
    let left_out: u64 = cell.trials.iter().map(|trial| trial.end.slow_left_out).sum();
    let left_out = match left_out {
        0 => String::new(),
        n => format!("; {n} slow ones have no row of their own, since there were too many"),
    };
    (n > 0).then(|| {
        Warning::new(
            "slow_ios",
            format!(
                "{n} I/Os (or fsyncs) took a second or longer, the longest {:.1} s{left_out}",
                longest as f64 / NS_PER_S
            ),
            "their rows in the run directory say when, and where in which file",
        )
    })
}
