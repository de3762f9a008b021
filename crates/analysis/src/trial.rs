//! One trial: its figures, and what it adds to the sums of its point.

use std::collections::BTreeMap;
use std::ops::Range;

use loadline_schema::event::EndedEarly;
use loadline_schema::outcome::Outcome;
use loadline_schema::plan::{Load, ServingStage};
use loadline_schema::record::{RequestRecord, RequestRow, Start, TrialId};
use loadline_schema::sla::Latency;

use crate::attempt::{Reading, TrialAttempts};
use crate::flight::{Flight, Residence, measure};
use crate::input::TrialInput;
use crate::per_trial;
use crate::rate::{Counted, Parts};
use crate::saturation::piles_up;
use crate::steady::{TrialSteady, trial_steady};
use crate::tally::{Tally, count};
use crate::window::{Extents, MICRO, Window, extents, micro_tokens_within};

/// The share of the target under which a trial by count is in its tail, percent.
const FULL_PERCENT: u64 = 95;

/// Figures of one trial.
#[derive(Debug, Clone)]
pub(crate) struct TrialFigures {
    pub(crate) id: TrialId,
    /// Whether the client wrote its end.
    pub(crate) ended: bool,
    /// Whether it was carried out as planned, and every operation is accounted for.
    pub(crate) complete: bool,
    pub(crate) ended_early: Option<EndedEarly>,
    pub(crate) by_count: bool,
    /// Operations without a record.
    pub(crate) unknown: u64,
    /// Records that named an operation a second time.
    pub(crate) repeated: u64,
    /// Time from the trial's start to its window, ns.
    pub(crate) warm_up_ns: Option<u64>,
    pub(crate) windowed: Option<Windowed>,
    /// Mean TPOT, ns.
    pub(crate) tpot_mean_ns: Option<f64>,
    /// Operations of the cohort, and those that were sent.
    pub(crate) due: u64,
    pub(crate) sent: u64,
    /// Its attempts.
    pub(crate) attempts: TrialAttempts,
    /// Where its gaps lie in the pool, and the zeros among them.
    pub(crate) gaps: (Range<usize>, u64),
    /// Whether it was steady; absent for a burst, which never is, and without a window.
    pub(crate) steady: Option<TrialSteady>,
    /// Figures of its single values, by metric.
    pub(crate) of_values: BTreeMap<String, f64>,
}

/// What needs a window.
#[derive(Debug, Clone)]
pub(crate) struct Windowed {
    pub(crate) window: Window,
    pub(crate) rates: Rates,
    pub(crate) without_tail: Option<Rates>,
    pub(crate) achieved_per_s: Option<f64>,
    pub(crate) counted: CountedRates,
    /// Open loop: whether requests in flight grew.
    pub(crate) piles_up: bool,
    pub(crate) flight: Flight,
    /// |L − λW| / L with the cohort's mean residence, and what it may be: max(2 %, W / T).
    pub(crate) stationarity: Option<(f64, f64)>,
}

/// Events in a window per second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) requests: f64,
    pub(crate) output_tokens: f64,
    /// Absent when an answer did not tell its prompt tokens.
    pub(crate) input_tokens: Option<f64>,
}

/// Rates with what happened in the parts of the window, for their intervals.
#[derive(Debug, Clone)]
pub(crate) struct CountedRates {
    pub(crate) requests: Counted,
    pub(crate) output_tokens: Counted,
}

/// Analyses a trial and adds its cohort to the tally of the point.
pub(crate) fn take(
    stage: &ServingStage,
    load: &Load,
    trial: &TrialInput,
    tally: &mut Tally,
) -> TrialFigures {
    let open = !matches!(load, Load::Closed { .. });
    let extents = extents(stage, load, trial);
    let (rows, repeated) = unique_rows(trial);
    let in_cohort = rows.iter().filter(|r| extents.cohort.holds(&r.record));
    let gaps = in_cohort.filter_map(|r| r.chunks.as_ref()).map(|c| c.gaps_100ns.len()).sum();
    tally.gaps.reserve(gaps);
    for row in &rows {
        if extents.cohort.holds(&row.record) {
            tally.cohort(row, open);
        } else {
            tally.outside(&row.record);
        }
    }
    let open_starts = unrecorded(trial, &rows);
    let unknown = count_unknown(trial, &extents, &rows, &open_starts, tally);
    let cohort: Vec<&RequestRecord> =
        rows.iter().map(|r| &r.record).filter(|r| extents.cohort.holds(r)).collect();
    let windowed =
        extents.window.map(|w| in_window(load, &extents, w, &rows, &cohort, &open_starts));
    let ended_early = trial.end.as_ref().and_then(|end| end.ended_early);
    let gaps = tally.gaps.extent_of_trial();
    let mut attempts = std::mem::take(&mut tally.attempts);
    attempts.close();
    let steady = windowed.as_ref().and_then(|w| steadiness(load, &extents, w, &rows, &attempts));
    let of_values = per_trial::of_values(tally, &cohort);
    tally.gaps.end_trial();
    TrialFigures {
        id: trial.id,
        ended: trial.end.is_some(),
        complete: trial.end.is_some() && ended_early.is_none() && unknown == 0,
        ended_early,
        by_count: extents.by_count,
        unknown,
        repeated,
        warm_up_ns: warm_up_ns(trial, &extents),
        windowed,
        tpot_mean_ns: end_pools(tally),
        due: cohort.len() as u64,
        sent: cohort.iter().filter(|r| r.write_begin_ns.is_some()).count() as u64,
        attempts,
        gaps,
        steady,
        of_values,
    }
}

/// Closes the trial in every pool; gives the mean TPOT.
fn end_pools(tally: &mut Tally) -> Option<f64> {
    let pools = &mut tally.pools;
    let tpot = pools.tpot.end_trial();
    for pool in [
        &mut pools.ttft,
        &mut pools.ttft_service,
        &mut pools.ttfo,
        &mut pools.ttfc,
        &mut pools.max_gap,
        &mut pools.e2e,
        &mut pools.send_lag,
        &mut pools.own_lag,
    ] {
        pool.end_trial();
    }
    tpot
}

/// The trial's rows in order of their operations, each operation once.
fn unique_rows(trial: &TrialInput) -> (Vec<&RequestRow>, u64) {
    let mut rows: Vec<&RequestRow> =
        trial.rows.iter().filter(|r| r.record.trial == trial.id).collect();
    rows.sort_unstable_by_key(|r| (r.record.op, r.record.ended_ns));
    let all = rows.len();
    rows.dedup_by_key(|r| r.record.op);
    let repeated = (all - rows.len()) as u64;
    (rows, repeated)
}

/// Starts that have no record, each operation once.
fn unrecorded<'a>(trial: &'a TrialInput, rows: &[&RequestRow]) -> Vec<&'a Start> {
    let mut starts: Vec<&Start> = trial
        .starts
        .iter()
        .filter(|s| s.trial == trial.id)
        .filter(|s| rows.binary_search_by_key(&s.op, |r| r.record.op).is_err())
        .collect();
    starts.sort_unstable_by_key(|s| (s.op, s.started_ns));
    starts.dedup_by_key(|s| s.op);
    starts
}

/// Unknown = started − recorded. What the trial's end counts beyond the stored starts was lost
/// with them; it is taken for the cohort's, which is the careful side.
fn count_unknown(
    trial: &TrialInput,
    extents: &Extents,
    rows: &[&RequestRow],
    open_starts: &[&Start],
    tally: &mut Tally,
) -> u64 {
    let known = (rows.len() + open_starts.len()) as u64;
    let lost = trial.end.as_ref().map_or(0, |end| end.started.saturating_sub(known));
    let inside =
        open_starts.iter().filter(|s| extents.cohort.holds_unrecorded(s.intended_ns)).count()
            as u64;
    let outside = open_starts.len() as u64 - inside;
    count(&mut tally.requests, Outcome::Unknown, inside + lost);
    count(&mut tally.outside, Outcome::Unknown, outside);
    open_starts.len() as u64 + lost
}

fn warm_up_ns(trial: &TrialInput, extents: &Extents) -> Option<u64> {
    let start = trial.end.as_ref()?.start_ns;
    Some(extents.window?.from_ns.saturating_sub(start))
}

fn in_window(
    load: &Load,
    extents: &Extents,
    window: Window,
    rows: &[&RequestRow],
    cohort: &[&RequestRecord],
    open_starts: &[&Start],
) -> Windowed {
    let residences = residences(rows, open_starts, window.to_ns);
    let full = match load {
        Load::Closed { concurrency } if extents.by_count => Some(concurrency * FULL_PERCENT),
        _ => None,
    };
    let flight = measure(&residences, window.from_ns, window.to_ns, full);
    let tail = extents.by_count.then(|| tail_from_ns(load, &flight, cohort)).flatten();
    let rates_in_window = rates(rows, &window);
    let open = matches!(load, Load::Open { .. });
    let due_until = tail.map_or(window.to_ns, |tail| tail.min(window.to_ns));
    let due = cohort.len() as u64;
    Windowed {
        window,
        rates: rates_in_window,
        counted: counted(rows, &window, &rates_in_window),
        piles_up: open && piles_up(&residences, window.from_ns, due_until, due),
        without_tail: tail.and_then(|t| window.until(t)).map(|w| rates(rows, &w)),
        achieved_per_s: achieved_per_s(load, extents, &window, cohort),
        flight,
        stationarity: stationarity(&flight, &window, cohort),
    }
}

/// What happened in the parts of the window. The tokens of an answer are taken as evenly spread from
/// its first to its last: that is near enough for how a rate fluctuates.
fn counted(rows: &[&RequestRow], window: &Window, rates: &Rates) -> CountedRates {
    let done = ok_ends(rows, window);
    let mut tokens = Parts::new(window, done.len());
    for record in rows.iter().map(|r| &r.record) {
        if let (Some(first), Some(last)) = (record.first_token_ns, record.last_token_ns) {
            let n = record.output_tokens.unwrap_or(record.token_chunks);
            tokens.spread(first, last, f64::from(n));
        }
    }
    CountedRates {
        requests: Counted { per_s: rates.requests, ..Counted::of_times(window, &done) },
        output_tokens: Counted { per_s: rates.output_tokens, parts: tokens },
    }
}

/// When answers ended ok in the window, ns.
fn ok_ends(rows: &[&RequestRow], window: &Window) -> Vec<u64> {
    let records = rows.iter().map(|r| &r.record).filter(|r| r.outcome == Outcome::Ok);
    records.filter_map(|r| r.done_ns).filter(|at| window.contains(*at)).collect()
}

/// Steady state of a trial, up to its tail: in it fewer are in flight, so answers are faster.
fn steadiness(
    load: &Load,
    extents: &Extents,
    windowed: &Windowed,
    rows: &[&RequestRow],
    attempts: &TrialAttempts,
) -> Option<TrialSteady> {
    let closed = matches!(load, Load::Closed { .. });
    if matches!(load, Load::Burst { .. }) {
        return None;
    }
    let last = attempts.attempts.iter().map(|a| a.intended_ns).max().unwrap_or(0);
    let tail = if closed { windowed.flight.tail_from_ns } else { Some(last) };
    let tail = tail.filter(|_| extents.by_count);
    let window = tail.and_then(|t| windowed.window.until(t)).unwrap_or(windowed.window);
    let e2e = attempts.attempts.iter().filter_map(|a| match a.reading(Latency::E2e) {
        Reading::Ns(ns) => Some((a.intended_ns as f64 + ns, ns)),
        Reading::Never | Reading::Nothing => None,
    });
    let whole = |ended: f64| !extents.by_count || !closed || ended <= window.to_ns as f64;
    let e2e: Vec<f64> = e2e.filter(|(ended, _)| whole(*ended)).map(|(_, ns)| ns).collect();
    let completions = Counted::of_times(&window, &ok_ends(rows, &window));
    Some(trial_steady(&e2e, &completions.parts.counts, window.length_ns()))
}

/// By count: in closed loop from the moment in flight fell under 95 % of the slots for good; with
/// a rate from the last intended time, since nothing is offered after it; a burst is all tail.
fn tail_from_ns(load: &Load, flight: &Flight, cohort: &[&RequestRecord]) -> Option<u64> {
    match load {
        Load::Closed { .. } => flight.tail_from_ns,
        Load::Open { .. } => cohort.iter().map(|r| r.intended_ns).max(),
        Load::Burst { .. } => None,
    }
}

/// Sent to ended, of every operation that was sent; those without a record until the window's end.
fn residences(rows: &[&RequestRow], open_starts: &[&Start], until_ns: u64) -> Vec<Residence> {
    let recorded = rows.iter().filter_map(|r| Some((r.record.write_begin_ns?, r.record.ended_ns)));
    let open = open_starts.iter().map(|s| (s.started_ns, until_ns.max(s.started_ns)));
    recorded.chain(open).collect()
}

/// Rates count events in the window, whoever they belong to: ok answers by the time of their end,
/// tokens by their arrival.
fn rates(rows: &[&RequestRow], window: &Window) -> Rates {
    let (mut requests, mut micro_tokens, mut input) = (0u64, 0u64, Some(0u64));
    for row in rows {
        let record = &row.record;
        micro_tokens += micro_tokens_within(record, row.chunks.as_ref(), window);
        let done = record.done_ns.is_some_and(|at| window.contains(at));
        if done && record.outcome == Outcome::Ok {
            requests += 1;
            input = input.zip(record.input_tokens).map(|(sum, n)| sum + u64::from(n));
        }
    }
    let seconds = window.length_ns() as f64 / 1e9;
    Rates {
        requests: requests as f64 / seconds,
        output_tokens: micro_tokens as f64 / MICRO as f64 / seconds,
        input_tokens: input.map(|n| n as f64 / seconds),
    }
}

/// Open loop: operations of the cohort that were sent, per second of window. By count the window
/// has a tail in which nothing is due; there it is the rate between the first and the last sent.
fn achieved_per_s(
    load: &Load,
    extents: &Extents,
    window: &Window,
    cohort: &[&RequestRecord],
) -> Option<f64> {
    if !matches!(load, Load::Open { .. }) {
        return None;
    }
    let sent = || cohort.iter().filter_map(|r| r.write_begin_ns);
    let n = sent().count() as u64;
    if !extents.by_count {
        return Some(n as f64 * 1e9 / window.length_ns() as f64);
    }
    let span = sent().max()?.checked_sub(sent().min()?).filter(|span| *span > 0)?;
    Some((n - 1) as f64 * 1e9 / span as f64)
}

/// Little's law as a check of stationarity: λ of the cohort per second, each for W as long as it
/// took, against the measured mean in flight.
fn stationarity(flight: &Flight, window: &Window, cohort: &[&RequestRecord]) -> Option<(f64, f64)> {
    let stays = cohort.iter().filter_map(|r| Some(r.ended_ns.saturating_sub(r.write_begin_ns?)));
    let (n, sum) = stays.fold((0u64, 0u128), |(n, sum), stay| (n + 1, sum + u128::from(stay)));
    if flight.area == 0 || n == 0 {
        return None;
    }
    let residual = (flight.area as f64 - sum as f64).abs() / flight.area as f64;
    let share = sum as f64 / n as f64 / window.length_ns() as f64;
    Some((residual, share.max(0.02)))
}
