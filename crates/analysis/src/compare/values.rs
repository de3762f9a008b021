//! The values of a metric in the trials of both sides, on the scale on which they are compared.

use std::collections::BTreeMap;

use loadline_schema::document::Point;
use loadline_schema::gate::TrialMetric;
use loadline_schema::sla::{Latency, Statistic};

use crate::compare::effect::{Effect, TrialOrder, effect};
use crate::compare::matching::Pair;
use crate::per_trial::ATTEMPTS;

/// Standard deviation of the rounding error of a value in units of its last digit: 1/√12.
const ROUNDING: f64 = 0.288_675_134_594_812_9;

/// How a change is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As a ratio, on logarithms.
    Ratio,
    /// As a difference, in the metric's unit.
    Difference,
}

impl Scale {
    /// The scale that a metric is compared on.
    pub(crate) fn of(metric: TrialMetric) -> Self {
        if metric.is_share() { Self::Difference } else { Self::Ratio }
    }

    fn take(self, value: f64) -> Option<f64> {
        match self {
            Self::Ratio => (value > 0.0).then(|| value.ln()),
            Self::Difference => Some(value),
        }
    }

    /// From the scale back to the metric's unit.
    pub(crate) fn back(self, value: f64) -> f64 {
        match self {
            Self::Ratio => value.exp(),
            Self::Difference => value,
        }
    }

    /// A difference on the scale as people read it: a ratio − 1, or the difference itself.
    pub(crate) fn change(self, difference: f64) -> f64 {
        match self {
            Self::Ratio => difference.exp_m1(),
            Self::Difference => difference,
        }
    }
}

/// A metric in the trials of both sides, in their order, as measured.
pub(crate) struct Trials<'a> {
    metric: TrialMetric,
    baseline: Side<'a>,
    candidate: Side<'a>,
}

/// A metric in the trials of one side.
struct Side<'a> {
    trials: &'a [BTreeMap<String, f64>],
    values: Vec<Option<f64>>,
}

/// The same on a scale; each trial of either side has a value.
pub(crate) struct Sides {
    pub(crate) baseline: Vec<f64>,
    pub(crate) candidate: Vec<f64>,
    /// Least standard deviation of a trial of each side.
    pub(crate) least: (f64, f64),
}

impl<'a> Trials<'a> {
    pub(crate) fn of(pair: &Pair<'a>, metric: TrialMetric) -> Self {
        let name = metric.to_string();
        let side = |point: &'a Point| Side {
            trials: &point.per_trial,
            values: point.per_trial.iter().map(|trial| trial.get(&name).copied()).collect(),
        };
        Self { metric, baseline: side(pair.baseline), candidate: side(pair.candidate) }
    }

    /// Whether every trial of the baseline has a value.
    pub(crate) fn has_baseline(&self) -> bool {
        self.baseline.is_whole()
    }

    /// Whether a trial of the candidate lacks its value for the requests that failed.
    pub(crate) fn lost_to_failures(&self) -> bool {
        let absent = self.candidate.absent();
        absent.into_iter().any(|trial| lies_among_failures(trial, self.metric))
    }

    /// Whether no trial of either side has a value other than 0.
    pub(crate) fn no_failures(&self) -> bool {
        let all = self.baseline.values.iter().chain(&self.candidate.values);
        all.into_iter().all(|value| *value == Some(0.0))
    }

    /// Both sides on a scale. `None` unless every trial has a value on it: a trial may lack one
    /// because it lies among the failed requests, so the others alone would look too good.
    pub(crate) fn on(&self, scale: Scale) -> Option<Sides> {
        let taken = |side: &Side<'_>| -> Option<Vec<f64>> {
            side.is_whole().then_some(())?;
            side.values.iter().map(|value| scale.take((*value)?)).collect()
        };
        let least = |side: &Side<'_>| {
            let values: Vec<f64> = side.values.iter().flatten().copied().collect();
            least(scale, self.metric, &values, &side.attempts())
        };
        Some(Sides {
            baseline: taken(&self.baseline)?,
            candidate: taken(&self.candidate)?,
            least: (least(&self.baseline), least(&self.candidate)),
        })
    }

    /// Why there is no comparison.
    pub(crate) fn why_not(&self) -> String {
        for (name, side) in [("baseline", &self.baseline), ("candidate", &self.candidate)] {
            let absent = side.absent();
            if side.trials.is_empty() {
                return format!("the {name} has no complete trial");
            }
            if let Some(first) = absent.first() {
                let (n, all) = (absent.len(), side.trials.len());
                let why = why_absent(first, self.metric);
                return format!("{n} of {all} trials of the {name} lack it, since {why}");
            }
        }
        "it is 0 in a trial, so there is no ratio".to_owned()
    }
}

impl<'a> Side<'a> {
    fn is_whole(&self) -> bool {
        !self.values.is_empty() && self.values.iter().all(Option::is_some)
    }

    /// The trials without a value.
    fn absent(&self) -> Vec<&'a BTreeMap<String, f64>> {
        let trials = self.trials.iter().zip(&self.values);
        trials.filter(|(_, value)| value.is_none()).map(|(trial, _)| trial).collect()
    }

    fn attempts(&self) -> Vec<f64> {
        self.trials.iter().filter_map(|trial| trial.get(ATTEMPTS).copied()).collect()
    }
}

/// Share of the attempts above a figure of a distribution: of all of them for a mean.
fn share_above(metric: TrialMetric) -> f64 {
    let TrialMetric::Latency(_, statistic) = metric else { return 1.0 };
    statistic.per_mille().map_or(1.0, |per_mille| f64::from(1_000 - per_mille) / 1_000.0)
}

/// Whether so many requests of the trial failed that the figure lies among them.
fn lies_among_failures(trial: &BTreeMap<String, f64>, metric: TrialMetric) -> bool {
    let failed = trial.get(&TrialMetric::ErrorRate.to_string());
    let above = share_above(metric);
    failed.is_some_and(|share| *share > above || *share >= 1.0)
}

/// Why a trial lacks a metric.
fn why_absent(trial: &BTreeMap<String, f64>, metric: TrialMetric) -> &'static str {
    let attempts = trial.get(ATTEMPTS).copied().unwrap_or(0.0);
    match metric {
        _ if lies_among_failures(trial, metric) => "it lies among the requests that failed",
        TrialMetric::Latency(Latency::Itl | Latency::MaxGap, _) => {
            "there are too few gaps, or the client read too many of them late"
        }
        TrialMetric::Latency(_, Statistic::P99) if attempts < 100.0 => {
            "a P99 needs 100 requests in each trial"
        }
        TrialMetric::Latency(_, Statistic::P90) if attempts < 10.0 => {
            "a P90 needs 10 requests in each trial"
        }
        TrialMetric::ClatP99 => "a P99 needs 100 I/Os in each trial",
        _ => "it could not be measured",
    }
}

impl Sides {
    /// The effect, where both sides have at least two trials.
    pub(crate) fn effect(&self, order: TrialOrder) -> Option<Effect> {
        effect(&self.baseline, &self.candidate, order, self.least)
    }

    /// Means of baseline and candidate on the scale.
    pub(crate) fn means(&self) -> (f64, f64) {
        let mean = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            values.iter().sum::<f64>() / values.len() as f64
        };
        (mean(&self.baseline), mean(&self.candidate))
    }
}

/// The standard deviation that a trial's value has at least on the scale: that of its rounding, and
/// for a share of failures that of counting them.
fn least(scale: Scale, metric: TrialMetric, values: &[f64], attempts: &[f64]) -> f64 {
    if metric.is_share() {
        return of_counting(values, attempts);
    }
    let n = values.len() as f64;
    let typical = values.iter().sum::<f64>() / n;
    let digit = match metric {
        // Gaps are stored in units of 100 ns.
        TrialMetric::Latency(Latency::Itl | Latency::MaxGap, _) => 100.0,
        TrialMetric::Latency(..) => 1.0,
        // Buckets are a 128th wide.
        TrialMetric::ClatP99 => typical / 128.0,
        // A window holds a whole number of answers.
        _ => {
            let mean = attempts.iter().sum::<f64>() / attempts.len().max(1) as f64;
            if metric == TrialMetric::RequestsPerS && mean > 0.0 { typical / mean } else { 0.0 }
        }
    };
    match scale {
        Scale::Ratio if typical > 0.0 => ROUNDING * digit / typical,
        Scale::Ratio => 0.0,
        Scale::Difference => ROUNDING * digit,
    }
}

/// Failures are counted: the share of a trial varies at least as the binomial law says, with one
/// failure and one success more on each side, so that no failure is no certainty (A. Agresti,
/// B. Caffo, The American Statistician 54 (2000) 280).
fn of_counting(shares: &[f64], attempts: &[f64]) -> f64 {
    let all: f64 = attempts.iter().sum();
    let failed: f64 = shares.iter().zip(attempts).map(|(share, n)| share * n).sum();
    let share = (failed + 1.0) / (all + 2.0);
    (share * (1.0 - share) / (all + 2.0) * shares.len() as f64).sqrt()
}
