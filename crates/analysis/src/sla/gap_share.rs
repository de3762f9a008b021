//! Terms on a percentile of pooled gaps between tokens. The gaps of a request are not independent
//! of each other, so the share inside is taken for what its variance between requests makes it.

use loadline_schema::sla::{Latency, Term};
use loadline_schema::verdict::{TermResult, Verdict};

use super::share::against;
use super::{Judge, JudgedTrial, PooledGaps, unknown};
use crate::attempt::{Attempt, Reading};
use crate::bootstrap::{block_spread, spread};
use crate::student::t_quantile;

/// Requests on either side of the limit from which their variance is known.
const TELLING: f64 = 10.0;
/// Degrees of freedom at which Student's t is the normal law for all purposes.
const MANY: f64 = 1e6;

/// The gaps of an attempt: how many, and how many keep the limit.
#[derive(Clone, Copy)]
struct Weighed {
    gaps: f64,
    kept: f64,
}

impl Judge<'_> {
    /// `share of gaps ≥ level`. The share's variance comes from the bootstrap that resamples
    /// requests, in blocks; the exact binomial interval is then that of the number of independent
    /// gaps that has this variance, p(1 − p) / error² (Korn and Graubard 1998, with their correction
    /// for the degrees of freedom of the error). With fewer than ten requests on either side the
    /// variance is not known: then each request is one observation, inside when all its gaps are.
    pub(super) fn gap_share(&self, term: &Term, per_mille: u32) -> TermResult {
        let at = self.itl_limits.iter().position(|limit| limit.total_cmp(&term.limit).is_eq());
        let (Some(at), true) = (at, self.is_recorded(|a| a.gaps.is_some())) else {
            return unknown(term);
        };
        let requests = self.weighed(at);
        let gaps = requests.iter().flatten().map(|w| w.gaps).sum::<f64>();
        let kept = requests.iter().flatten().map(|w| w.kept).sum::<f64>();
        let n = requests.iter().map(Vec::len).sum::<usize>() as u64;
        if n == 0 || gaps <= 0.0 {
            return unknown(term);
        }
        let level = f64::from(per_mille) / 1000.0;
        let share = kept / gaps;
        let n_effective = self.n_of_gaps(&requests, share, gaps);
        let (low, high) = self.confidence.bounds(share, n_effective);
        let value = self.gap_at((level * gaps).ceil().max(1.0));
        let certain = if (self.late_gaps)(per_mille) {
            // Late reads leave open which gap was how long.
            Verdict::Open
        } else {
            against(level, low, high)
        };
        TermResult {
            value,
            inside: Some(share),
            low: Some(low),
            high: Some(high),
            n,
            n_effective: Some(n_effective),
            verdict: certain,
            likely: share >= level,
            ..unknown(term)
        }
    }

    /// Requests with their gaps. One that is not ok has the mean number of gaps, none of them inside.
    fn weighed(&self, limit: usize) -> Vec<Vec<Weighed>> {
        let answers = self.trials.iter().flat_map(|t| t.attempts).filter_map(|a| a.gaps);
        let (n, sum) = answers.fold((0u64, 0u64), |(n, sum), gaps| (n + 1, sum + gaps.n));
        let mean = if n > 0 { sum as f64 / n as f64 } else { 1.0 };
        let of = |pooled: Option<PooledGaps>, attempt: &Attempt| match (attempt.gaps, pooled) {
            (Some(gaps), Some(pooled)) => {
                let kept = pooled.counts.inside(&gaps, limit);
                Some(Weighed { gaps: gaps.n as f64, kept })
            }
            _ if attempt.reading(Latency::Itl) == Reading::Never => {
                Some(Weighed { gaps: mean, kept: 0.0 })
            }
            _ => None,
        };
        let of_trial =
            |t: &JudgedTrial| t.attempts.iter().filter_map(|a| of(t.gaps, a)).collect::<Vec<_>>();
        self.trials.iter().map(of_trial).collect()
    }

    fn n_of_gaps(&self, requests: &[Vec<Weighed>], share: f64, gaps: f64) -> f64 {
        let series = |of: &dyn Fn(&Weighed) -> f64| -> Vec<Vec<f64>> {
            requests.iter().map(|trial| trial.iter().map(of).collect()).collect()
        };
        let all_inside = series(&|w| if w.kept >= w.gaps { 1.0 } else { 0.0 });
        let n = requests.iter().map(Vec::len).sum::<usize>() as f64;
        let by_request = self.n_effective(&all_inside);
        let all = requests.iter().flatten();
        let misses = all.clone().filter(|w| w.kept < w.gaps).count() as f64;
        let hits = all.filter(|w| w.kept > 0.0).count() as f64;
        if misses < TELLING || hits < TELLING {
            return by_request;
        }
        let deviations = series(&|w| w.kept - share * w.gaps);
        let segments: Vec<&[f64]> = deviations.iter().map(Vec::as_slice).collect();
        let Some(spread) = spread(&segments).filter(|s| s.error > 0.0) else { return by_request };
        // As for shares of attempts: a trial with few misses must not show a short memory for it.
        let memory = self.e2e.map_or(1.0, |c| c.tau.sqrt());
        let single = block_spread(&segments, 1).map_or(0.0, |s| s.error);
        let error = spread.error.max(single * memory) / (gaps / n);
        let alpha = self.confidence.each_side;
        let wider = t_quantile(alpha, spread.df) / t_quantile(alpha, MANY);
        let trials = requests.iter().filter(|t| !t.is_empty()).count() as f64;
        (share * (1.0 - share) / (error * wider).powi(2)).clamp(trials, gaps)
    }

    /// The gap with a rank among those of all attempts, ns; `None` where it is infinite. By halving
    /// the range of values, so that the largest table of a point is neither copied nor reordered.
    fn gap_at(&self, rank: f64) -> Option<f64> {
        let pooled: Vec<PooledGaps> = self.trials.iter().filter_map(|t| t.gaps).collect();
        let zeros = pooled.iter().map(|p| p.zeros).sum::<u64>() as f64;
        let up_to = |limit: u32| {
            let count = |p: &PooledGaps| p.values_100ns.iter().filter(|g| **g <= limit).count();
            zeros + pooled.iter().map(count).sum::<usize>() as f64
        };
        if up_to(u32::MAX) < rank {
            return None;
        }
        let (mut low, mut high) = (0u32, u32::MAX);
        while low < high {
            let middle = low + (high - low) / 2;
            if up_to(middle) >= rank {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Some(f64::from(low) * 100.0)
    }
}
