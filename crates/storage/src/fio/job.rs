//! A job of fio becomes a cell and its trial.

use std::io;

use loadline_schema::outcome::Phase;
use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    CacheState, Direction, EndedBy, IoFailure, IoInterval, IoKind, IoLoad, Latencies,
    PercentilesNs, StorageTrial, SyncMode,
};
use serde_json::Value;

use super::document::{Document, Object};
use super::entry::{Entry, KINDS, MOST, Side};
use super::latency::{Reading, Stated, whole};
use super::options::Options;
use super::setting::{self, Figures, Setting};
use super::{ImportedFio, quoted};

/// Reads all jobs of a report. Jobs that are left out are told in `left_out`.
pub(super) fn read(
    document: &Document,
    imported: &mut Vec<ImportedFio>,
    left_out: &mut Vec<String>,
) {
    let before = imported.len();
    let mut groups: Vec<u64> = Vec::new();
    let mut rest = document.jobs.as_slice();
    while let Some(first) = rest.first() {
        let (entries, later) = rest.split_at(same_job(document, rest));
        rest = later;
        match read_job(document, entries) {
            Ok(job) => {
                imported.push(job);
                groups.push(first.get("groupid").map_or(0, whole));
            }
            Err(why) => left_out.push(format!("job {}: {why}", quoted(&name(first)))),
        }
    }
    for (job, group) in imported[before..].iter_mut().zip(&groups) {
        if groups.iter().filter(|other| *other == group).count() > 1 {
            job.notes.push(
                "Other jobs of its group ran at the same time: its figures are those of a share of \
                 the load."
                    .to_owned(),
            );
        }
        job.notes.extend(document.notes.iter().cloned());
    }
}

fn name(entry: &Object) -> String {
    entry.get("jobname").and_then(Value::as_str).unwrap_or("?").to_owned()
}

/// How many leading entries are jobs that `numjobs` made of one.
fn same_job(document: &Document, entries: &[Object]) -> usize {
    let first = &entries[0];
    let jobs = Options::new(&document.global, first).whole("numjobs").unwrap_or(1);
    let jobs = usize::try_from(jobs).unwrap_or(usize::MAX).clamp(1, usize::from(u16::MAX));
    let key = |entry: &Object| {
        ["jobname", "groupid", "job options", "hostname"].map(|name| entry.get(name).cloned())
    };
    let wanted = key(first);
    entries.iter().take(jobs).take_while(|entry| key(entry) == wanted).count()
}

/// A job of one or more entries, or why it is left out.
fn read_job(document: &Document, entries: &[Object]) -> Result<ImportedFio, String> {
    let options = Options::new(&document.global, &entries[0]);
    let only_mixed = |entry: &Object| entry.contains_key("mixed") && !entry.contains_key("read");
    if entries.iter().any(only_mixed) {
        return Err("it does not tell reads from writes (unified_rw_reporting)".to_owned());
    }
    let mut entries = entries.iter().map(Entry::of).collect::<Result<Vec<_>, _>>()?;
    let verified = without_verification(&mut entries, options);
    let figures = figures(&entries, options);
    let failed = entries.iter().any(|entry| entry.error() != 0);
    let Setting { cell, load, engine_note, mut notes } = setting::read(options, &figures)?;
    if figures.bytes == 0 && !failed {
        return Err("it did no I/O".to_owned());
    }
    let ramp_ns = load.ramp_ns.min(MOST);
    for entry in &mut entries {
        let limit_ns = (ramp_ns + entry.run_ns) / 100 * 101 + 100_000_000;
        entry.sides.iter_mut().for_each(|side| side.read_latencies(limit_ns));
    }
    let (imported, intervals) = latencies(&entries, ramp_ns, &mut notes);
    let cpu: Vec<(u64, u64)> = entries.iter().map(Entry::cpu_ns).collect();
    let trial = StorageTrial {
        start_ns: 0,
        measure_ns: ramp_ns,
        end_ns: ramp_ns + figures.run_ns,
        ended_by: ended_by(document, options, &figures, failed, &mut notes),
        failure: entries.iter().find_map(failure),
        engine: load.engine,
        engine_note,
        direct: load.direct,
        direct_note: None,
        cache: cache(&load),
        workers: entries.iter().map(|entry| entry.worker(ramp_ns)).collect(),
        cpu_user_ns: cpu.iter().map(|cpu| cpu.0).fold(0, u64::saturating_add),
        cpu_system_ns: cpu.iter().map(|cpu| cpu.1).fold(0, u64::saturating_add),
        lateness: None,
        verified: None,
        passes: Vec::new(),
        slow_left_out: 0,
        imported,
    };
    if verified {
        notes.push("The reads that verified what was written are not in the figures.".to_owned());
    }
    more_notes(&entries, options, &mut notes);
    Ok(ImportedFio {
        job: name(entries[0].object),
        version: document.version.clone(),
        written_unix_ms: document.written_unix_ms,
        cell,
        trial,
        intervals,
        notes,
    })
}

/// Takes the reads out that fio verifies writes by: they come after the writes, in a time of their
/// own. Returns whether there were any.
fn without_verification(entries: &mut [Entry<'_>], options: Options<'_>) -> bool {
    let writes = options.text("rw").is_some_and(|rw| rw.ends_with("write") && rw != "readwrite");
    if !writes || options.text("verify").is_none() {
        return false;
    }
    let mut any = false;
    for entry in entries {
        any |= entry.sides[0].ios > 0;
        entry.sides[0] = Side::empty(Direction::Read);
        let run_ms = entry.sides.iter().map(|side| side.run_ms).max().unwrap_or(0);
        entry.run_ns = run_ms.saturating_mul(1_000_000);
    }
    any
}

fn figures(entries: &[Entry<'_>], options: Options<'_>) -> Figures {
    let mut figures = Figures { apart: entries.len() as u32, in_one: 1, ..Figures::default() };
    for entry in entries {
        let [read, write, _] = &entry.sides;
        figures.read_ios = figures.read_ios.saturating_add(read.ios);
        figures.write_ios = figures.write_ios.saturating_add(write.ios);
        figures.bytes = figures.bytes.saturating_add(read.bytes).saturating_add(write.bytes);
        figures.run_ns = figures.run_ns.max(entry.run_ns);
    }
    // Reads that verify come after the writes, in a time of their own.
    if let ([entry], None) = (entries, options.text("verify"))
        && entry.run_ns > 0
    {
        let ratio = entry.job_runtime_ms() * 1e6 / entry.run_ns as f64;
        figures.in_one = if ratio >= 1.5 { ratio.round().min(65_535.0) as u32 } else { 1 };
    }
    figures
}

fn ended_by(
    document: &Document,
    options: Options<'_>,
    figures: &Figures,
    failed: bool,
    notes: &mut Vec<String>,
) -> EndedBy {
    if failed {
        return EndedBy::Failure;
    }
    let runtime_ns = options.time_ns("runtime").filter(|ns| *ns > 0);
    if runtime_ns.is_some_and(|ns| figures.run_ns as f64 >= ns as f64 * 0.99) {
        return EndedBy::Runtime;
    }
    if document.interrupted {
        notes.push("A signal ended fio before the job was over.".to_owned());
        return EndedBy::Interrupted;
    }
    if runtime_ns.is_some() && options.text("steadystate").is_some() {
        notes.push("fio ended it when its steady state was reached.".to_owned());
        return EndedBy::Runtime;
    }
    EndedBy::Size
}

fn failure(entry: &Entry<'_>) -> Option<IoFailure> {
    let errno = entry.error();
    if errno == 0 {
        return None;
    }
    let kind = match errno {
        28 => IoKind::NoSpace,
        122 => IoKind::Quota,
        30 => IoKind::ReadOnly,
        5 => IoKind::Io,
        1 | 13 => IoKind::Permission,
        116 => IoKind::Stale,
        _ => IoKind::Other,
    };
    let words = match i32::try_from(errno) {
        Ok(errno) if errno > 0 => io::Error::from_raw_os_error(errno).to_string(),
        _ => format!("error {errno}"),
    };
    let job = quoted(&name(entry.object));
    Some(IoFailure { kind, message: format!("fio ended job {job}: {words}") })
}

/// Whether the figures may be those of memory.
fn cache(load: &IoLoad) -> CacheState {
    let durable = load.sync != SyncMode::None
        || load.fsync_every > 0
        || load.fdatasync_every > 0
        || load.end_fsync;
    let reason = if load.direct {
        None
    } else if load.reads() {
        Some("fio read through the page cache (direct=0)")
    } else if !durable {
        Some("fio wrote into the page cache (direct=0) and did not sync")
    } else {
        None
    };
    CacheState {
        cached: reason.is_some(),
        reason: reason.map(str::to_owned),
        ..CacheState::default()
    }
}

/// Latencies of all entries: those with buckets as rows, the others as fio states them.
fn latencies(
    entries: &[Entry<'_>],
    ramp_ns: u64,
    notes: &mut Vec<String>,
) -> (Vec<PercentilesNs>, Vec<IoInterval>) {
    let mut imported = Vec::new();
    let mut rows: Vec<IoInterval> = Vec::new();
    let (mut beyond, mut apart) = (false, false);
    for side in 0..3 {
        let direction = entries[0].sides[side].direction;
        let mut of_side: Vec<IoInterval> = Vec::new();
        for (kind, (_, name)) in KINDS.iter().enumerate() {
            let readings = || entries.iter().map(|entry| &entry.sides[side].latencies[kind]);
            let wrong = readings().find_map(|reading| match reading {
                Reading::Wrong(why) => Some(why),
                _ => None,
            });
            if let Some(why) = wrong {
                notes
                    .push(format!("{name} of {direction} is left out, since it cannot be: {why}."));
                continue;
            }
            let stated: Vec<&Stated> = readings().filter_map(Reading::stated).collect();
            beyond |= stated.iter().any(|stated| stated.beyond);
            if stated.is_empty() {
                continue;
            }
            if stated.iter().all(|stated| !stated.bins.is_empty()) {
                if of_side.is_empty() {
                    of_side = side_rows(entries, side, ramp_ns);
                }
                for (row, reading) in of_side.iter_mut().zip(readings()) {
                    let found = reading.stated().and_then(Stated::latencies).unwrap_or_default();
                    *latency_of(row, kind) = found;
                }
                continue;
            }
            apart |= stated.len() > 1 && stated.iter().any(|one| !one.percentiles.is_empty());
            imported.push(pooled(direction, name, &stated));
        }
        rows.extend(of_side.into_iter().filter(|row| row.ios > 0));
    }
    if !rows.is_empty() {
        notes.push("Percentiles are from fio's buckets and off by up to 1.2 %.".to_owned());
    }
    if beyond {
        notes.push(
            "fio's buckets end at 17.1 s and longer I/Os count as that long; percentiles that lie \
             there are left out where fio states them."
                .to_owned(),
        );
    }
    if apart {
        notes.push(
            "Percentiles of jobs that fio states apart cannot be pooled and are left out; \
             --output-format=json+ or group_reporting has what is needed."
                .to_owned(),
        );
    }
    (imported, rows)
}

/// A row for each entry, without latencies.
fn side_rows(entries: &[Entry<'_>], side: usize, ramp_ns: u64) -> Vec<IoInterval> {
    let row = |(worker, entry): (usize, &Entry<'_>)| {
        let side = &entry.sides[side];
        IoInterval {
            trial: TrialId { stage: 0, point: 0, trial: 0, part: 0 },
            worker: u16::try_from(worker).unwrap_or(u16::MAX),
            direction: side.direction,
            phase: Phase::Measure,
            start_ns: ramp_ns,
            length_ns: entry.run_ns,
            ios: side.ios,
            bytes: side.bytes,
            errors: side.short,
            slat: Latencies::default(),
            clat: Latencies::default(),
            lat: Latencies::default(),
        }
    };
    entries.iter().enumerate().map(row).collect()
}

fn latency_of(row: &mut IoInterval, kind: usize) -> &mut Latencies {
    match kind {
        0 => &mut row.slat,
        1 => &mut row.clat,
        _ => &mut row.lat,
    }
}

/// Latencies of all jobs together. Percentiles are kept of a single one only.
fn pooled(direction: Direction, kind: &str, stated: &[&Stated]) -> PercentilesNs {
    let n: u64 = stated.iter().map(|one| one.n).fold(0, u64::saturating_add);
    let sum: f64 = stated.iter().map(|one| one.mean * one.n as f64).sum();
    PercentilesNs {
        direction,
        kind: kind.to_owned(),
        n,
        min: stated.iter().map(|one| one.min).min().unwrap_or(0),
        max: stated.iter().map(|one| one.max).max().unwrap_or(0),
        mean: sum / n as f64,
        percentiles: match stated {
            [one] => one.percentiles.clone(),
            _ => Vec::new(),
        },
    }
}

/// Notes about what has no place of its own.
fn more_notes(entries: &[Entry<'_>], options: Options<'_>, notes: &mut Vec<String>) {
    if let Some(host) = entries[0].object.get("hostname").and_then(Value::as_str) {
        notes.push(format!("It ran on host {}.", quoted(host)));
    }
    if options.own().is_none() {
        notes.push("fio did not state its options.".to_owned());
    }
    let failed = entries.iter().map(|entry| entry.object.get("total_err").map_or(0, whole));
    let failed = failed.fold(0, u64::saturating_add);
    if failed > 0 && entries.iter().all(|entry| entry.error() == 0) {
        notes.push(format!("{failed} I/Os failed, and fio went on (continue_on_error)."));
    }
    let trims = entries.iter().filter_map(|entry| entry.object.get("trim")?.as_object());
    let trims = trims.map(|trim| trim.get("total_ios").map_or(0, whole));
    if trims.fold(0, u64::saturating_add) > 0 {
        notes.push("It trimmed, too, which is not part of the figures.".to_owned());
    }
}
