//! Pooled values of all trials of a point, and the distribution they make.

use std::collections::BTreeMap;

use loadline_schema::document::{Distribution, Interval};

use crate::autocorrelation::correlation;
use crate::binomial::order_statistic_ranks;
use crate::quantile::{nearest_rank, select_ranks};
use crate::student::mean_interval;

/// The percentiles that are stated, in thousandths, with their names.
const PERCENTILES: [(u32, &str); 5] =
    [(500, "p50"), (900, "p90"), (950, "p95"), (990, "p99"), (999, "p999")];

/// Values of one metric, one for each request, ns.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    values: Vec<u64>,
    /// Values that are bounds only.
    pub(crate) flagged: u64,
    trial_means: Vec<f64>,
    trial_start: usize,
    trial_ends: Vec<usize>,
    trial_flagged: u64,
}

impl Pool {
    /// Adds a value, or nothing where there is none.
    pub(crate) fn push(&mut self, value: Option<u64>) {
        self.values.extend(value);
    }

    /// Number of values.
    pub(crate) fn n(&self) -> u64 {
        self.values.len() as u64
    }

    /// Values since the last trial was closed.
    pub(crate) fn of_trial(&self) -> &[u64] {
        &self.values[self.trial_start..]
    }

    /// Values since then that are bounds only.
    pub(crate) fn flagged_of_trial(&self) -> u64 {
        self.flagged - self.trial_flagged
    }

    /// Closes a trial: gives the mean of its values.
    pub(crate) fn end_trial(&mut self) -> Option<f64> {
        let of_trial = &self.values[self.trial_start..];
        self.trial_start = self.values.len();
        self.trial_ends.push(self.trial_start);
        self.trial_flagged = self.flagged;
        let mean = mean(sum(of_trial, 1), of_trial.len() as u64)?;
        self.trial_means.push(mean);
        Some(mean)
    }

    /// Autocorrelation time of the values in the order they came in, at least 1.
    fn tau(&self) -> f64 {
        let values: Vec<f64> = self.values.iter().map(|v| *v as f64).collect();
        let ends = self.trial_ends.iter().copied().chain([values.len()]);
        let mut start = 0;
        let mut segments = Vec::with_capacity(self.trial_ends.len() + 1);
        for end in ends {
            segments.push(&values[start..end]);
            start = end;
        }
        correlation(&segments).map_or(1.0, |c| c.tau)
    }

    /// The distribution, with `left_out` attempts that have no value; `None` when empty.
    pub(crate) fn distribution(&mut self, left_out: u64) -> Option<Described> {
        let shape = Shape {
            n: self.n(),
            tau: self.tau(),
            zeros: 0,
            unit_ns: 1,
            left_out,
            attempts: self.n() + left_out,
            flagged: self.flagged,
            certain_max: true,
        };
        describe(&mut self.values, &shape, &self.trial_means)
    }
}

/// What a pool of values is, beside the values.
pub(crate) struct Shape {
    /// Observations: values, or the requests that the gaps belong to.
    pub(crate) n: u64,
    /// Autocorrelation time of the observations: they are worth `n / tau` independent ones.
    pub(crate) tau: f64,
    /// Zeros that belong to the sample and are not stored.
    pub(crate) zeros: u64,
    /// Unit of a value, ns.
    pub(crate) unit_ns: u64,
    /// Attempts that have no value: they count as infinite.
    pub(crate) left_out: u64,
    /// Attempts, those left out included.
    pub(crate) attempts: u64,
    /// Values that are not certain.
    pub(crate) flagged: u64,
    /// Whether the largest value is certain.
    pub(crate) certain_max: bool,
}

/// A distribution, and why percentiles are missing from it.
#[derive(Debug)]
pub(crate) struct Described {
    /// The figures.
    pub(crate) distribution: Distribution,
    /// Percentiles withheld because they lie among the attempts left out.
    pub(crate) censored: Vec<&'static str>,
    /// Percentiles withheld because too many values are uncertain.
    pub(crate) uncertain: Vec<&'static str>,
}

/// Percentiles by nearest rank over the values; each is withheld where it would lie among the
/// attempts that have no value (`q × attempts > attempts − left_out`, the same as
/// `1 − q < left_out / attempts`), or where the share of uncertain values exceeds `(1 − q) / 10`.
/// Mean and maximum are those of the values there are.
pub(crate) fn describe<T: Copy + Ord + Into<u64>>(
    values: &mut [T],
    shape: &Shape,
    trial_means: &[f64],
) -> Option<Described> {
    let total = values.len() as u64 + shape.zeros;
    let mean = mean(sum(values, shape.unit_ns), total)?;
    let mut found = Described {
        distribution: Distribution {
            n: shape.n,
            values: (total != shape.n).then_some(total),
            left_out: shape.left_out,
            mean: Some(mean),
            ..Distribution::default()
        },
        censored: Vec::new(),
        uncertain: Vec::new(),
    };
    let mut stated = Vec::new();
    let worth = ((shape.n as f64 / shape.tau.max(1.0)) as u64).max(1);
    for (per_mille, name) in PERCENTILES {
        if is_censored(shape, per_mille) {
            found.censored.push(name);
        } else if is_uncertain(shape.flagged, per_mille, total) {
            found.uncertain.push(name);
        } else {
            stated.push((name, Ranks::of(worth, total, per_mille)));
        }
    }
    let sorted = Sorted::new(values, shape, &stated, total);
    for (name, ranks) in stated {
        *slot(&mut found.distribution, name) = Some(sorted.at(ranks.value));
        let bound = |rank: Option<u64>| rank.map(|r| sorted.at(r) as f64);
        let interval = Interval { low: bound(ranks.low), high: bound(ranks.high) };
        if interval != Interval::default() {
            found.distribution.intervals.insert(name.to_owned(), interval);
        }
    }
    if shape.certain_max {
        found.distribution.max = Some(sorted.at(total));
    } else {
        found.uncertain.push("max");
    }
    if let Some((_, Some(half))) = mean_interval(trial_means) {
        let interval = Interval { low: Some((mean - half).max(0.0)), high: Some(mean + half) };
        found.distribution.intervals.insert("mean".to_owned(), interval);
    }
    Some(found)
}

fn is_censored(shape: &Shape, per_mille: u32) -> bool {
    let have = shape.attempts - shape.left_out;
    u128::from(per_mille) * u128::from(shape.attempts) > 1000 * u128::from(have)
}

/// Whether `flagged` uncertain values of `total` are too many for a percentile.
pub(crate) fn is_uncertain(flagged: u64, per_mille: u32, total: u64) -> bool {
    let allowed = u128::from(1000 - per_mille) * u128::from(total);
    u128::from(flagged) * 10_000 > allowed
}

/// The field of a percentile.
fn slot<'a>(distribution: &'a mut Distribution, name: &str) -> &'a mut Option<u64> {
    match name {
        "p50" => &mut distribution.p50,
        "p90" => &mut distribution.p90,
        "p95" => &mut distribution.p95,
        "p99" => &mut distribution.p99,
        _ => &mut distribution.p999,
    }
}

/// One-based ranks of a percentile and of its interval in the whole sample.
struct Ranks {
    value: u64,
    low: Option<u64>,
    high: Option<u64>,
}

impl Ranks {
    /// `n` independent observations and `total ≥ n` values. Where an observation has several values
    /// (gaps of a request), or is worth less than one since they hang together, the interval is that
    /// of `n` values, widened outwards to the sample: as if the values of a request moved together,
    /// which can only be too wide.
    fn of(n: u64, total: u64, per_mille: u32) -> Self {
        let (low, high) = order_statistic_ranks(n, per_mille);
        let scaled = |rank: u64| u128::from(rank) * u128::from(total);
        Self {
            value: nearest_rank(total, per_mille),
            low: low.map(|r| (scaled(r) / u128::from(n)) as u64),
            high: high.map(|r| (scaled(r).div_ceil(u128::from(n)) as u64).min(total)),
        }
    }
}

/// The values at some ranks of the sorted sample, ns.
struct Sorted(BTreeMap<u64, u64>);

impl Sorted {
    fn new<T: Copy + Ord + Into<u64>>(
        values: &mut [T],
        shape: &Shape,
        stated: &[(&'static str, Ranks)],
        total: u64,
    ) -> Self {
        let mut ranks: Vec<u64> = stated
            .iter()
            .flat_map(|(_, r)| [Some(r.value), r.low, r.high])
            .flatten()
            .chain([total])
            .collect();
        ranks.sort_unstable();
        ranks.dedup();
        // The zeros that are not stored come first in the sorted sample.
        let zeros = ranks.partition_point(|r| *r <= shape.zeros);
        let stored: Vec<u64> = ranks[zeros..].iter().map(|r| r - shape.zeros).collect();
        let picked = select_ranks(values, &stored).into_iter().map(|v| v.into() * shape.unit_ns);
        let all = std::iter::repeat_n(0, zeros).chain(picked);
        Self(ranks.iter().copied().zip(all).collect())
    }

    fn at(&self, rank: u64) -> u64 {
        self.0[&rank]
    }
}

fn sum<T: Copy + Into<u64>>(values: &[T], unit_ns: u64) -> u128 {
    values.iter().map(|v| u128::from((*v).into())).sum::<u128>() * u128::from(unit_ns)
}

/// Exact up to the last division, so that the order of the values does not matter.
pub(crate) fn mean(sum: u128, n: u64) -> Option<f64> {
    (n > 0).then(|| sum as f64 / n as f64)
}
