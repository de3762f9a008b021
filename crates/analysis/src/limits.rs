//! Whether the client was the limit of a point, and the warnings about the client itself.

use loadline_schema::event::Warning;
use loadline_schema::outcome::TimestampSource;
use loadline_schema::plan::Load;

use crate::tally::attempts;
use crate::warnings::{Evidence, ms, percent};

/// Share of the reactors' time at which the client has no reserve left.
const BUSY: f64 = 0.9;
/// The same where an open loop fell behind as well.
const BUSY_AND_BEHIND: f64 = 0.7;
/// Share of the target (in flight, or the offered rate) that must be reached.
const REACHED: f64 = 0.95;
/// Share of failures from which a missed target is the failures' doing and not the client's.
const FAILING: f64 = 0.05;
/// Least send lag at P99 that counts as the client's limit, ns.
const SEND_LAG_NS: f64 = 1e6;
/// Share of gaps split for lateness that takes the 99th percentile away: (1 − 0.99) / 10.
const LATE_GAPS: f64 = 0.001;

/// Reasons to take the client for the limit of the point; none is good.
pub(crate) fn limits(e: &Evidence) -> Vec<String> {
    let mut reasons = Vec::new();
    let busy = e.client.busy_ratio();
    if let Some(busy) = busy.filter(|b| *b > BUSY) {
        reasons.push(format!("its threads were busy {} of the time", percent(busy)));
    }
    let median = e.point.ttft_ns.as_ref().and_then(|d| d.p50).unwrap_or(0) as f64;
    let allowed = SEND_LAG_NS.max(median / 100.0);
    if let Some(lag) = e.own_lag_p99_ns.filter(|lag| *lag as f64 > allowed) {
        reasons.push(format!("it sent {} late at P99", ms(lag as f64)));
    }
    if let Some(late) = e.point.client.late_gaps.filter(|late| *late > LATE_GAPS) {
        reasons.push(format!("it read {} of the gaps late", percent(late)));
    }
    reasons.extend(match *e.load {
        Load::Closed { concurrency } => not_held(e, concurrency),
        Load::Open { .. } => behind(e, busy),
        Load::Burst { .. } => None,
    });
    reasons
}

/// Closed loop by duration: fewer in flight than slots, though nothing paused or failed.
fn not_held(e: &Evidence, concurrency: u64) -> Option<String> {
    let by_count = e.trials.iter().any(|t| t.by_count);
    let complete = e.point.incomplete.is_none();
    if by_count || !complete || e.input.stage.think_time_ns > 0 || failing(e) > FAILING {
        return None;
    }
    let mean = e.point.in_flight_mean.filter(|m| *m < REACHED * concurrency as f64)?;
    Some(format!("it kept {mean:.2} of {concurrency} requests in flight"))
}

/// Open loop: fewer sent than due while the client was busy.
fn behind(e: &Evidence, busy: Option<f64>) -> Option<String> {
    let due: u64 = e.trials.iter().map(|t| t.due).sum();
    let sent: u64 = e.trials.iter().map(|t| t.sent).sum();
    busy.filter(|b| *b > BUSY_AND_BEHIND)?;
    ((sent as f64) < REACHED * due as f64)
        .then(|| format!("it sent {sent} of {due} requests that were due"))
}

fn failing(e: &Evidence) -> f64 {
    let all = attempts(&e.point.requests);
    if all == 0 { 0.0 } else { (all - e.point.requests.ok) as f64 / all as f64 }
}

pub(crate) fn client_limited(limits: &[String]) -> Option<Warning> {
    (!limits.is_empty()).then(|| {
        let message = format!("the client was a limit of this point: {}", limits.join("; "));
        let advice = "give the client more or quieter cores, or offer less load";
        Warning::new("client_limited", message, advice)
    })
}

pub(crate) fn beyond_selftest(e: &Evidence) -> Option<Warning> {
    let selftest = e.input.selftest?;
    let (offered, proven) = match *e.load {
        Load::Closed { concurrency } => {
            let max = selftest.max_concurrency.filter(|max| concurrency > *max)?;
            (format!("{concurrency} requests in flight"), format!("{max}"))
        }
        Load::Open { rate_per_s, .. } => {
            let max = selftest.max_rate_per_s.filter(|max| rate_per_s > *max)?;
            (format!("{rate_per_s:.1} requests/s"), format!("{max:.1}"))
        }
        Load::Burst { .. } => return None,
    };
    let message = format!("{offered}: the selftest of this machine proved accuracy up to {proven}");
    let advice = "use a faster client machine, or repeat the selftest when it is quiet";
    Some(Warning::new("beyond_selftest", message, advice))
}

pub(crate) fn user_clock(e: &Evidence) -> Option<Warning> {
    // Sockets in the file system have no receive stamps; that is no fault.
    if e.input.stage.endpoints.iter().any(|url| url.starts_with("unix:")) {
        return None;
    }
    let all: u64 = e.tally.sources.values().sum();
    let kernel = e.tally.sources.get(&TimestampSource::KernelRx).copied().unwrap_or(0);
    let user = all - kernel;
    (user * 100 > all).then(|| {
        let message = format!("{user} of {all} answers have arrival times that are read times");
        let advice = "times include the client's own delay: use a kernel that stamps arrivals";
        Warning::new("user_clock", message, advice)
    })
}

pub(crate) fn slow_writes(e: &Evidence) -> Option<Warning> {
    let slow = e.point.client.slow_writes;
    let sent: u64 = e.trials.iter().map(|t| t.sent).sum();
    (slow > 0 && slow * 100 > sent).then(|| {
        let message = format!("{slow} requests took longer than 1 ms to write");
        let advice = "the network or the server took them slowly: TTFT holds that time";
        Warning::new("slow_writes", message, advice)
    })
}

pub(crate) fn clock_moved(e: &Evidence) -> Option<Warning> {
    let steps = e.client.clock_steps;
    (steps > 0).then(|| {
        let message = format!("the realtime clock was set {steps} times during the measurement");
        let advice = "read times stand in for the stamps of that moment: \
                      let the time service settle first";
        Warning::new("clock_moved", message, advice)
    })
}

pub(crate) fn store_slow(e: &Evidence) -> Option<Warning> {
    let waits = e.client.store_waits;
    (waits > 0).then(|| {
        let message = format!("the client waited {waits} times for its records to be stored");
        Warning::new("store_slow", message, "write the run directory to a faster disk")
    })
}
