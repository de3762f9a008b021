//! Terms on a mean over attempts.

use loadline_schema::sla::{Latency, Quantity, Term};
use loadline_schema::verdict::{TermResult, Verdict};

use super::{Judge, unknown};
use crate::attempt::{Attempt, Reading};
use crate::bootstrap::spread;
use crate::student::mean_interval_at;

/// What an attempt adds to a mean: a sum of so many values, or something infinite.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Of { sum: f64, values: f64 },
    Infinite,
}

/// A latency of which each attempt has one.
pub(super) fn of_latency(attempt: &Attempt, latency: Latency) -> Option<Part> {
    match attempt.reading(latency) {
        Reading::Ns(sum) => Some(Part::Of { sum, values: 1.0 }),
        Reading::Never => Some(Part::Infinite),
        Reading::Nothing => None,
    }
}

/// Gaps, all of a request together.
pub(super) fn of_gaps(attempt: &Attempt) -> Option<Part> {
    match (attempt.gaps, attempt.reading(Latency::Itl)) {
        (Some(gaps), _) => Some(Part::Of { sum: gaps.sum_ns as f64, values: gaps.n as f64 }),
        (None, Reading::Never) => Some(Part::Infinite),
        (None, _) => None,
    }
}

impl Judge<'_> {
    /// The mean against its limit; `allowed` is the share of attempts that may be infinite.
    pub(super) fn mean(
        &self,
        term: &Term,
        allowed: f64,
        of: impl Fn(&Attempt) -> Option<Part>,
    ) -> TermResult {
        if !self.is_recorded(|a| of(a).is_some()) {
            return unknown(term);
        }
        let parts = self.series(of);
        let n = parts.iter().map(Vec::len).sum::<usize>();
        if n == 0 {
            return unknown(term);
        }
        let found = TermResult { n: n as u64, ..unknown(term) };
        let finite: Vec<Vec<(f64, f64)>> = parts.iter().map(|trial| finite(trial)).collect();
        let infinite = n - finite.iter().map(Vec::len).sum::<usize>();
        let sums = finite.iter().flatten().fold((0.0, 0.0), |(s, v), (sum, n)| (s + sum, v + n));
        if infinite as f64 > allowed * n as f64 || sums.1 <= 0.0 {
            return TermResult { verdict: self.infinite(&parts, allowed), ..found };
        }
        let mean = sums.0 / sums.1;
        let half = self.half_width(&finite, mean);
        let (low, high) = (half.map(|h| (mean - h).max(0.0)), half.map(|h| mean + h));
        let per_user = matches!(term.quantity, Quantity::OutputTokensPerSPerUser);
        let (value, low, high) = if per_user {
            // A rate is the inverse: its bounds change sides, and one of 0 has none.
            let rate = |ns: f64| (ns > 0.0).then(|| 1e9 / ns);
            (rate(mean), high.and_then(rate), low.and_then(rate))
        } else {
            (Some(mean), low, high)
        };
        let likely = value.is_some_and(|value| term.is_kept_by(value));
        let kept = |bound: Option<f64>| bound.map(|b| term.is_kept_by(b));
        let verdict = match (kept(low), kept(high)) {
            (Some(true), Some(true)) => Verdict::Met,
            (Some(false), Some(false)) => Verdict::Missed,
            // A rate without an upper bound is met by its lower one.
            (Some(true), None) if per_user => Verdict::Met,
            _ => Verdict::Open,
        };
        TermResult { value, low, high, verdict, likely, ..found }
    }

    /// More attempts are infinite than the target allows: certain where it allows none.
    fn infinite(&self, parts: &[Vec<Part>], allowed: f64) -> Verdict {
        if allowed <= 0.0 {
            return Verdict::Missed;
        }
        let is_finite = |part: &Part| if matches!(part, Part::Of { .. }) { 1.0 } else { 0.0 };
        let series: Vec<Vec<f64>> =
            parts.iter().map(|trial| trial.iter().map(is_finite).collect()).collect();
        let n = series.iter().map(Vec::len).sum::<usize>() as f64;
        let share = series.iter().flatten().sum::<f64>() / n;
        let (_, high) = self.confidence.bounds(share, self.n_effective(&series));
        if 1.0 - high > allowed { Verdict::Missed } else { Verdict::Open }
    }

    /// Over trials by Student's t; of a single trial by the block bootstrap of the ratio's
    /// deviations.
    fn half_width(&self, trials: &[Vec<(f64, f64)>], mean: f64) -> Option<f64> {
        let alpha = self.confidence.each_side;
        let filled: Vec<&Vec<(f64, f64)>> = trials.iter().filter(|t| !t.is_empty()).collect();
        let [only] = filled.as_slice() else {
            let of_trial = |trial: &&Vec<(f64, f64)>| {
                let (sum, n) = trial.iter().fold((0.0, 0.0), |(s, v), (sum, n)| (s + sum, v + n));
                sum / n
            };
            let means: Vec<f64> = filled.iter().map(of_trial).collect();
            return mean_interval_at(&means, alpha)?.1;
        };
        let deviations: Vec<f64> = only.iter().map(|(sum, n)| sum - mean * n).collect();
        let values = only.iter().map(|(_, n)| n).sum::<f64>() / only.len() as f64;
        Some(spread(&[&deviations])?.half_width(alpha) / values)
    }
}

fn finite(parts: &[Part]) -> Vec<(f64, f64)> {
    let value = |part: &Part| match part {
        Part::Of { sum, values } => Some((*sum, *values)),
        Part::Infinite => None,
    };
    parts.iter().filter_map(value).collect()
}
