//! The values of a metric in the trials of both sides, on the scale on which they are compared.

use loadline_schema::document::Point;
use loadline_schema::gate::TrialMetric;
use loadline_schema::sla::{Latency, Statistic};

use crate::compare::effect::{Effect, TrialOrder, effect};
use crate::compare::matching::Pair;
use crate::per_trial::ATTEMPTS;

/// Standard deviation of the rounding error of a value in units of its last digit: 1/√12.
const ROUNDING: f64 = 0.288_675_134_594_812_9;
/// Attempts that a trial needs for a P99: fewer have no value above it.
const ATTEMPTS_FOR_P99: u32 = 100;

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
pub(crate) struct Trials {
    baseline: Vec<Option<f64>>,
    candidate: Vec<Option<f64>>,
    attempts: (Vec<f64>, Vec<f64>),
}

/// The same on a scale; each trial of either side has a value.
pub(crate) struct Sides {
    pub(crate) baseline: Vec<f64>,
    pub(crate) candidate: Vec<f64>,
    /// Least standard deviation of a trial of each side.
    pub(crate) least: (f64, f64),
}

impl Trials {
    pub(crate) fn of(pair: &Pair<'_>, metric: TrialMetric) -> Self {
        let name = metric.to_string();
        let values =
            |point: &Point| point.per_trial.iter().map(|t| t.get(&name).copied()).collect();
        let attempts = |point: &Point| {
            point.per_trial.iter().filter_map(|t| t.get(ATTEMPTS).copied()).collect()
        };
        Self {
            baseline: values(pair.baseline),
            candidate: values(pair.candidate),
            attempts: (attempts(pair.baseline), attempts(pair.candidate)),
        }
    }

    /// Whether every trial of the baseline has a value.
    pub(crate) fn has_baseline(&self) -> bool {
        is_whole(&self.baseline)
    }

    /// Whether every trial of the candidate has a value.
    pub(crate) fn has_candidate(&self) -> bool {
        is_whole(&self.candidate)
    }

    /// Whether no trial of either side has a value other than 0.
    pub(crate) fn no_failures(&self) -> bool {
        self.baseline.iter().chain(&self.candidate).all(|value| *value == Some(0.0))
    }

    /// Both sides on a scale. `None` unless every trial has a value on it: a trial lacks one where
    /// it lies among the failed requests, so the others alone would look too good.
    pub(crate) fn on(&self, scale: Scale, metric: TrialMetric) -> Option<Sides> {
        if !self.has_baseline() || !self.has_candidate() {
            return None;
        }
        let taken = |values: &[Option<f64>]| -> Option<Vec<f64>> {
            values.iter().map(|value| scale.take((*value)?)).collect()
        };
        let least = |values: &[Option<f64>], attempts: &[f64]| {
            least(scale, metric, &values.iter().flatten().copied().collect::<Vec<_>>(), attempts)
        };
        Some(Sides {
            baseline: taken(&self.baseline)?,
            candidate: taken(&self.candidate)?,
            least: (
                least(&self.baseline, &self.attempts.0),
                least(&self.candidate, &self.attempts.1),
            ),
        })
    }

    /// Why there is no comparison.
    pub(crate) fn why_not(&self, metric: TrialMetric) -> String {
        let sides = [("baseline", &self.baseline), ("candidate", &self.candidate)];
        for (side, values) in sides {
            let have = values.iter().flatten().count();
            if values.is_empty() {
                return format!("the {side} has no complete trial");
            }
            if have < values.len() {
                let all = values.len();
                let reason = why_absent(metric);
                return format!("{} of {all} trials of the {side} lack it: {reason}", all - have);
            }
        }
        "it is 0 in a trial, so there is no ratio".to_owned()
    }
}

fn is_whole(values: &[Option<f64>]) -> bool {
    !values.is_empty() && values.iter().all(Option::is_some)
}

/// Why a trial may lack a metric.
fn why_absent(metric: TrialMetric) -> String {
    match metric {
        TrialMetric::Latency(_, Statistic::P99) => {
            format!("under {ATTEMPTS_FOR_P99} values, or it lies among failed requests")
        }
        TrialMetric::Latency(..) => "too few values, or it lies among failed requests".to_owned(),
        _ => "it could not be measured".to_owned(),
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
