//! Words of a comparison that the terminal and Markdown share: its answer, values, and changes.

use loadline_schema::verdict::{Change, Comparison, MetricChange};

use crate::quantity::{self, ABSENT};
use crate::words::{self, counted, plain};

/// Findings that are named one by one; of more only the number is told.
const NAMED: usize = 6;

/// The answer in one or two sentences.
pub(crate) fn answer(comparison: &Comparison) -> String {
    let of = |verdict| comparison.metrics.iter().filter(|m| m.verdict == verdict).count() as u64;
    let all = comparison.metrics.len() as u64;
    let (worse, better) = (of(Change::Regressed), of(Change::Improved));
    let (same, open) = (of(Change::NoChange), of(Change::Inconclusive));
    let figures = counted(all, "figure", "figures");
    let n = quantity::count;
    let answer = match (worse, better) {
        (0, 0) if all == 0 => return "No verdict: there is no figure that both sides have.".into(),
        (0, 0) if open == 0 => {
            return format!("No change: none of {figures} moved by an amount that matters.");
        }
        (0, 0) if same == 0 => return format!("No verdict: {figures}, all inconclusive."),
        (0, 0) => format!("No change was proven in any of {figures}."),
        (_, 0) => {
            format!("The candidate is worse in {} of {figures} and better in none.", n(worse))
        }
        (0, _) => {
            format!("The candidate is better in {} of {figures} and worse in none.", n(better))
        }
        _ => {
            format!(
                "The candidate is worse in {} and better in {} of {figures}.",
                n(worse),
                n(better)
            )
        }
    };
    let is =
        |count: u64, one: &'static str, many: &'static str| if count == 1 { one } else { many };
    let steady = format!("{} certainly did not change by an amount that matters", n(same));
    let unclear = format!("{} {} inconclusive", n(open), is(open, "is", "are"));
    match (same, open) {
        (0, 0) => answer,
        (_, 0) => format!("{answer} {steady}."),
        (0, _) => format!("{answer} {unclear}."),
        _ => format!("{answer} {steady}, {unclear}."),
    }
}

/// What became worse, or better, the largest change first: "itl_p50 at concurrency 4: +5.1 %
/// (+4.2 to +6.0)". Empty where there is nothing.
pub(crate) fn findings(comparison: &Comparison, verdict: Change) -> Vec<String> {
    let mut found: Vec<&MetricChange> =
        comparison.metrics.iter().filter(|metric| metric.verdict == verdict).collect();
    let size = |metric: &MetricChange| {
        // A point of the error rate weighs as much as a percent of the others.
        if metric.absolute { metric.change.abs() } else { (1.0 + metric.change).ln().abs() }
    };
    found.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let several = has_several_stages(comparison);
    let mut told: Vec<String> = found
        .iter()
        .take(NAMED)
        .map(|metric| {
            format!("{} at {}: {}", metric.metric, place(metric, several), full_change(metric))
        })
        .collect();
    if found.len() > NAMED {
        told.push(format!("and {} more", quantity::count((found.len() - NAMED) as u64)));
    }
    told
}

/// Whether points need their stage's name.
pub(crate) fn has_several_stages(comparison: &Comparison) -> bool {
    comparison.metrics.windows(2).any(|pair| pair[0].stage != pair[1].stage)
}

/// "concurrency 4", with the stage where there are several.
pub(crate) fn place(metric: &MetricChange, several: bool) -> String {
    let load = words::load_long(&metric.point);
    if several { format!("{}, {load}", plain(&metric.stage)) } else { load }
}

/// Metrics of one point after the other.
pub(crate) fn points(comparison: &Comparison) -> impl Iterator<Item = &[MetricChange]> {
    comparison.metrics.chunk_by(|a, b| a.stage == b.stage && a.point == b.point)
}

/// "5 trials a side", "5 and 4 trials", over all metrics of a point.
pub(crate) fn trials(metrics: &[MetricChange]) -> String {
    match metrics.first().map(|metric| metric.trials) {
        Some((a, b)) if a == b => {
            format!("{} a side", counted(u64::from(a), "trial", "trials"))
        }
        Some((a, b)) => format!("{a} trials of the baseline, {b} of the candidate"),
        None => String::new(),
    }
}

/// A value in the metric's unit.
pub(crate) fn value(metric: &MetricChange, value: f64) -> String {
    if metric.absolute {
        quantity::percent(value)
    } else if is_duration(&metric.metric) {
        quantity::duration(value)
    } else if metric.metric == "bytes_per_s" {
        quantity::bandwidth(value)
    } else if matches!(metric.metric.as_str(), "save_s" | "restore_s" | "load_s") {
        quantity::duration(value * 1e9)
    } else {
        quantity::number(value)
    }
}

/// Latencies have a statistic at the end of their name; rates end in their unit.
fn is_duration(metric: &str) -> bool {
    ["_p50", "_p90", "_p95", "_p99", "_p999", "_mean"].iter().any(|end| metric.ends_with(end))
}

/// A change, or a bound of it, in percent (of an error rate in percentage points), without a unit.
pub(crate) fn percents(change: Option<f64>) -> String {
    change.map_or_else(|| ABSENT.to_owned(), quantity::signed_percent)
}

/// "+5.1 % (+4.2 to +6.0)".
pub(crate) fn full_change(metric: &MetricChange) -> String {
    let unit = if metric.absolute { "percentage points" } else { "%" };
    let change = percents(Some(metric.change));
    match (metric.low, metric.high) {
        (Some(low), Some(high)) => {
            format!("{change} {unit} ({} to {})", percents(Some(low)), percents(Some(high)))
        }
        _ => format!("{change} {unit}"),
    }
}

/// The verdict in words.
pub(crate) fn verdict(verdict: Change) -> &'static str {
    match verdict {
        Change::Improved => "improved",
        Change::Regressed => "regressed",
        Change::NoChange => "no change",
        Change::Inconclusive => "inconclusive",
    }
}

/// What a reader must know of the numbers.
pub(crate) fn explanation(comparison: &Comparison) -> String {
    let order = if comparison.interleaved {
        "The trials took turns; a drift over them is taken out. "
    } else {
        ""
    };
    let shares = if comparison.metrics.iter().any(|metric| metric.absolute) {
        "The error rate changes in percentage points. "
    } else {
        ""
    };
    format!(
        "{order}{shares}Each trial counts once. Intervals hold at 95 % for each figure by itself, \
         verdicts at 95 % for all together (Holm): a figure can lack a verdict though its interval \
         leaves 0 out."
    )
}
