//! Terms on a share of attempts: percentiles, maxima, the error rate.

use loadline_schema::sla::{Latency, Term};
use loadline_schema::verdict::{TermResult, Verdict};

use super::{ALL_BUT, Judge, allowed_inside, unknown};
use crate::attempt::{Attempt, Reading};
use crate::quantile::nearest_rank;

/// The attempts that a term speaks about.
struct Seen {
    /// For each trial and attempt in order: 1 where it keeps the limit, else 0.
    inside: Vec<Vec<f64>>,
    /// Latencies that came, ns.
    values: Vec<f64>,
    n: u64,
    share: f64,
}

impl Judge<'_> {
    /// `share ≥ level`, where the level is that of the percentile.
    pub(super) fn percentile(&self, term: &Term, latency: Latency, per_mille: u32) -> TermResult {
        let Some(mut seen) = self.seen(term, latency) else { return unknown(term) };
        let level = f64::from(per_mille) / 1000.0;
        let value = ranked(&mut seen.values, nearest_rank(seen.n, per_mille));
        let likely = value.is_some_and(|value| term.is_kept_by(value));
        self.tested(term, &seen, level, value, likely)
    }

    /// One beyond the limit misses; none is [`ALL_BUT`].
    pub(super) fn maximum(&self, term: &Term, latency: Latency) -> TermResult {
        let Some(mut seen) = self.seen(term, latency) else { return unknown(term) };
        let value = ranked(&mut seen.values, seen.n);
        let all = seen.share >= 1.0;
        let found = self.tested(term, &seen, ALL_BUT, value, all);
        TermResult { verdict: if all { found.verdict } else { Verdict::Missed }, ..found }
    }

    /// Attempts that are not ok ÷ attempts, at most the limit.
    pub(super) fn error_rate(&self, term: &Term) -> TermResult {
        let ok = |a: &Attempt| Some(if a.ok { 1.0 } else { 0.0 });
        let inside = self.series(ok);
        let n = inside.iter().map(Vec::len).sum::<usize>();
        if n == 0 {
            return unknown(term);
        }
        let good = inside.iter().flatten().sum::<f64>();
        let bad = (n as f64 - good) / n as f64;
        let n_effective = self.n_effective(&inside);
        let (low_ok, high_ok) = self.confidence.bounds(good / n as f64, n_effective);
        let likely = term.is_kept_by(bad);
        let certain_miss = if term.limit > 0.0 { 1.0 - high_ok > term.limit } else { bad > 0.0 };
        let verdict = if certain_miss {
            Verdict::Missed
        } else if likely && low_ok >= allowed_inside(term.limit) {
            Verdict::Met
        } else {
            Verdict::Open
        };
        TermResult {
            value: Some(bad),
            low: Some(1.0 - high_ok),
            high: Some(1.0 - low_ok),
            n: n as u64,
            n_effective: Some(n_effective),
            verdict,
            likely,
            ..unknown(term)
        }
    }

    /// A value for each attempt that has one, trial by trial.
    pub(super) fn series<T>(&self, of: impl Fn(&Attempt) -> Option<T>) -> Vec<Vec<T>> {
        self.trials.iter().map(|t| t.attempts.iter().filter_map(&of).collect()).collect()
    }

    /// Whether ok answers show the latency, if there are any: else it was not recorded.
    pub(super) fn is_recorded(&self, shows: impl Fn(&Attempt) -> bool) -> bool {
        let attempts = || self.trials.iter().flat_map(|t| t.attempts);
        attempts().any(|a| a.ok && shows(a)) || !attempts().any(|a| a.ok)
    }

    fn seen(&self, term: &Term, latency: Latency) -> Option<Seen> {
        if !self.is_recorded(|a| a.reading(latency) != Reading::Nothing) {
            return None;
        }
        let mut values = Vec::new();
        for attempt in self.trials.iter().flat_map(|t| t.attempts) {
            if let Reading::Ns(ns) = attempt.reading(latency) {
                values.push(ns);
            }
        }
        let inside = self.series(|a| match a.reading(latency) {
            Reading::Ns(ns) => Some(if ns <= term.limit { 1.0 } else { 0.0 }),
            Reading::Never => Some(0.0),
            Reading::Nothing => None,
        });
        let n = inside.iter().map(Vec::len).sum::<usize>();
        let kept = inside.iter().flatten().sum::<f64>();
        (n > 0).then(|| Seen { inside, values, n: n as u64, share: kept / n as f64 })
    }

    fn tested(
        &self,
        term: &Term,
        seen: &Seen,
        level: f64,
        value: Option<f64>,
        likely: bool,
    ) -> TermResult {
        let n_effective = self.n_effective(&seen.inside);
        let (low, high) = self.confidence.bounds(seen.share, n_effective);
        TermResult {
            value,
            inside: Some(seen.share),
            low: Some(low),
            high: Some(high),
            n: seen.n,
            n_effective: Some(n_effective),
            verdict: against(level, low, high),
            likely,
            ..unknown(term)
        }
    }
}

/// Bounds of a share against its level.
pub(super) fn against(level: f64, low: f64, high: f64) -> Verdict {
    if low >= level {
        Verdict::Met
    } else if high < level {
        Verdict::Missed
    } else {
        Verdict::Open
    }
}

/// The value with a one-based rank among all attempts; `None` where it is infinite.
fn ranked(values: &mut [f64], rank: u64) -> Option<f64> {
    let index = usize::try_from(rank).ok()?.checked_sub(1).filter(|i| *i < values.len())?;
    Some(*values.select_nth_unstable_by(index, f64::total_cmp).1)
}
