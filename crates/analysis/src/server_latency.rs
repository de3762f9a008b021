//! Latencies by a server's own histograms over a window: series added up first, then quantiles,
//! exact means and shares within bounds.

use std::collections::{BTreeMap, BTreeSet};

use loadline_schema::event::Warning;
use loadline_schema::latency::{
    BucketCount, LatencyBound, LatencyResult, QuantileFlag, QuantileResult,
};
use loadline_schema::metric_window::{Family, Histogram, MetricWindow, Series, group_of};
use loadline_schema::server_metrics::{Known, MetricKind, known};

use crate::histogram_quantile::{Repaired, quantile_of, repaired};

mod bounds;
mod troubles;
mod unit;

/// The quantiles that are told if nothing else is asked for.
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// What is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencySettings {
    /// Where the window comes from, as the results are to name it.
    pub source: String,
    /// Quantiles, 0–1, ascending.
    pub quantiles: Vec<f64>,
    /// Labels to tell apart; over all others is summed.
    pub by: Vec<String>,
    /// One histogram by its name, or those of one meaning (`ttft`); absent: every latency.
    pub metric: Option<String>,
    /// Bounds to hold.
    pub bounds: Vec<LatencyBound>,
}

impl Default for LatencySettings {
    fn default() -> Self {
        Self {
            source: String::new(),
            quantiles: QUANTILES.to_vec(),
            by: Vec::new(),
            metric: None,
            bounds: Vec::new(),
        }
    }
}

/// What a server's histograms tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LatencyReport {
    /// Known meanings first, in the order of requests, then the others by name.
    pub results: Vec<LatencyResult>,
    /// Histograms that are no latencies, and were not asked for.
    pub others: Vec<String>,
    /// What the reader must know about the window as a whole.
    pub warnings: Vec<Warning>,
}

/// Every latency histogram of a window, or the one asked for: those of a time unit, and those whose
/// name is known.
///
/// Series are added up before anything else, over all labels but those in `by` and those that tell
/// different things apart (the `stage` of SGLang's stage times). A quantile is never averaged.
pub fn server_latency(window: &MetricWindow, settings: &LatencySettings) -> LatencyReport {
    let mut report = LatencyReport::default();
    for family in &window.histograms {
        let known = known(&family.name).filter(|k| k.metric.kind == MetricKind::Histogram);
        let unit = unit::of(family, known);
        let is_wanted = match &settings.metric {
            Some(wanted) => is_named(wanted, &family.name, known),
            None => known.is_some() || unit::is_time(&unit),
        };
        if is_wanted {
            of_family(&mut report, family, known, &unit, settings);
        } else {
            report.others.push(family.name.clone());
        }
    }
    let order = |result: &LatencyResult| {
        let meaning = known(&result.metric).map(|known| known.metric.meaning);
        (meaning.is_none(), meaning)
    };
    report.results.sort_by(|a, b| {
        let by_name = || (&a.metric, &a.labels).cmp(&(&b.metric, &b.labels));
        order(a).cmp(&order(b)).then_with(by_name)
    });
    let warnings = troubles::of(window, settings, &report);
    report.warnings.extend(warnings);
    report
}

/// Whether a metric is meant by its name or by its meaning.
fn is_named(wanted: &str, name: &str, known: Option<Known>) -> bool {
    wanted == name || known.is_some_and(|known| known.metric.meaning.as_str() == wanted)
}

fn of_family(
    report: &mut LatencyReport,
    family: &Family<Histogram>,
    known: Option<Known>,
    unit: &str,
    settings: &LatencySettings,
) {
    let apart = known.map_or(&[][..], |known| known.metric.apart);
    let by: Vec<&str> =
        settings.by.iter().map(String::as_str).chain(apart.iter().copied()).collect();
    let groups = match family.summed(&by) {
        Ok(groups) => groups,
        Err(differ) => {
            report.warnings.push(Warning::new(
                "bounds_differ",
                format!("{}: {differ}", family.name),
                "",
            ));
            return;
        }
    };
    for group in groups {
        let members: Vec<&Series<Histogram>> = family
            .series
            .iter()
            .filter(|series| group_of(&series.labels, &by) == group.labels)
            .collect();
        let mut result = of_histogram(&group.value, &settings.quantiles);
        result.source.clone_from(&settings.source);
        result.metric.clone_from(&family.name);
        unit.clone_into(&mut result.unit);
        result.meaning = known.map(|known| known.metric.meaning.to_string());
        result.engine = known.map(|known| known.engine_in_words());
        result.series = members.len() as u64;
        result.summed_over = differing(&members, &by);
        result.labels = group.labels;
        bounds::judge(&mut result, &group.value, known, &settings.bounds);
        report.results.push(result);
    }
}

/// Labels in which series of a group differ.
fn differing(members: &[&Series<Histogram>], by: &[&str]) -> Vec<String> {
    let mut values: BTreeMap<&str, BTreeSet<Option<&String>>> = BTreeMap::new();
    let names: BTreeSet<&String> = members.iter().flat_map(|series| series.labels.keys()).collect();
    for name in names {
        values
            .entry(name)
            .or_default()
            .extend(members.iter().map(|series| series.labels.get(name)));
    }
    let differing =
        values.into_iter().filter(|(name, values)| values.len() > 1 && !by.contains(name));
    differing.map(|(name, _)| name.to_owned()).collect()
}

/// Figures of one histogram, without its name.
fn of_histogram(histogram: &Histogram, quantiles: &[f64]) -> LatencyResult {
    let mut result = LatencyResult::default();
    // A window's histograms have a +Inf bucket, or there would be none of them.
    let Some(repaired) = repaired(&histogram.buckets) else { return result };
    result.n = whole(repaired.buckets.last().map_or(0.0, |last| last.count));
    if result.n > 0 {
        let mean = histogram.sum.map(|sum| sum / histogram.count);
        result.mean = mean.filter(|mean| mean.is_finite());
        result.quantiles = quantiles.iter().map(|q| quantile(*q, &repaired)).collect();
        result.warnings = of_counts(histogram, &repaired, result.mean);
    }
    let mut below = 0.0;
    for bucket in &repaired.buckets {
        result.buckets.push(BucketCount { le: finite(bucket.le), n: whole(bucket.count - below) });
        below = bucket.count;
    }
    result
}

fn quantile(q: f64, repaired: &Repaired) -> QuantileResult {
    let found = quantile_of(q, repaired);
    let flags = [
        (found.first_bucket, QuantileFlag::FirstBucket),
        (found.inf_bucket, QuantileFlag::InfBucket),
        (found.too_few, QuantileFlag::TooFew),
        (found.forced_monotonic, QuantileFlag::ForcedMonotonic),
    ];
    QuantileResult {
        q,
        value: finite(found.value),
        low: finite(found.low),
        high: finite(found.high),
        n_in_bucket: whole(found.n_in_bucket),
        flags: flags.into_iter().filter_map(|(is_set, flag)| is_set.then_some(flag)).collect(),
    }
}

/// Counts that contradict each other.
fn of_counts(histogram: &Histogram, repaired: &Repaired, mean: Option<f64>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if repaired.forced_monotonic {
        warnings.push(Warning::new(
            "forced_monotonic",
            "cumulative counts fall from one bucket to the next; they were raised as Prometheus does",
            "the server's own counts contradict each other; take two later looks",
        ));
    }
    let in_buckets = repaired.buckets.last().map_or(0.0, |last| last.count);
    if in_buckets != histogram.count {
        warnings.push(Warning::new(
            "count_mismatch",
            format!(
                "the buckets hold {in_buckets} values, _count says {}: mean and quantiles are of \
                 different values",
                histogram.count
            ),
            "a server that counts while it answers does this; a longer window makes it small",
        ));
    }
    if mean.is_none() {
        let why = if histogram.sum.is_some() { "its sum is no number" } else { "it has no _sum" };
        warnings.push(Warning::new("no_mean", format!("there is no mean: {why}"), ""));
    }
    warnings
}

/// JSON has no infinite numbers: they are absent.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Counts are whole but for rounding.
fn whole(count: f64) -> u64 {
    count.round() as u64
}

#[cfg(test)]
mod tests;
