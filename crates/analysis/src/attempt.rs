//! Attempts as a service-level target sees them: each latency of each attempt, where one that never
//! came is infinite.

use loadline_schema::sla::{Latency, Quantity, Sla};

/// What an attempt shows of a latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    /// So long, ns.
    Ns(f64),
    /// It never came: the attempt was not ok, or its answer lacks what the latency ends at.
    Never,
    /// There is nothing to limit (gaps of an answer of one token), or it was not recorded.
    Nothing,
}

/// A reading in eight bytes, of which a point may hold six for each of a million attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Packed(u64);

impl Packed {
    const NEVER: Self = Self(u64::MAX);
    const NOTHING: Self = Self(u64::MAX - 1);

    fn reading(self) -> Reading {
        match self {
            Self::NEVER => Reading::Never,
            Self::NOTHING => Reading::Nothing,
            Self(ns) => Reading::Ns(ns as f64),
        }
    }
}

/// The gaps between the tokens of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Gaps {
    /// Number of them.
    pub(crate) n: u64,
    /// Their sum, ns.
    pub(crate) sum_ns: u64,
    /// Where in [`TrialAttempts::inside`] the counts begin of those that keep each limit.
    at: usize,
}

/// An attempt: an operation of the cohort that ended ok, failed, timed out, was cut short or
/// dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempt {
    pub(crate) intended_ns: u64,
    pub(crate) ok: bool,
    readings: [Packed; Latency::ALL.len()],
    pub(crate) gaps: Option<Gaps>,
}

impl Attempt {
    /// One that did not end ok: all its latencies are infinite.
    pub fn not_ok(intended_ns: u64) -> Self {
        let readings = [Packed::NEVER; Latency::ALL.len()];
        Self { intended_ns, ok: false, readings, gaps: None }
    }

    /// One that ended ok; of its latencies nothing is known yet.
    pub fn ok(intended_ns: u64) -> Self {
        let readings = [Packed::NOTHING; Latency::ALL.len()];
        Self { intended_ns, ok: true, readings, gaps: None }
    }

    /// With a latency, ns; `None` where it never came.
    #[must_use]
    pub fn with(mut self, latency: Latency, ns: Option<u64>) -> Self {
        let packed = ns.map_or(Packed::NEVER, |ns| Packed(ns.min(Packed::NOTHING.0 - 1)));
        self.readings[latency as usize] = packed;
        self
    }

    pub(crate) fn reading(&self, latency: Latency) -> Reading {
        self.readings[latency as usize].reading()
    }

    /// Whether it is ok and keeps these limits, ns. A latency that is not there keeps every limit.
    pub(crate) fn keeps(&self, limits: &[(Latency, f64)]) -> bool {
        let kept = |(latency, limit): &(Latency, f64)| match self.reading(*latency) {
            Reading::Ns(ns) => ns <= *limit,
            Reading::Never => false,
            Reading::Nothing => true,
        };
        self.ok && limits.iter().all(kept)
    }
}

/// The attempts of one trial, in order of their intended times once it is closed.
#[derive(Debug, Default, Clone)]
pub(crate) struct TrialAttempts {
    pub(crate) attempts: Vec<Attempt>,
    /// For each answer with gaps, and each of the limits: how many of its gaps keep it.
    inside: Vec<u32>,
}

impl TrialAttempts {
    /// Adds an attempt without gaps.
    pub(crate) fn push(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// Adds an attempt with its gaps in units of 100 ns, and zeros that belong to them.
    pub(crate) fn push_with_gaps(
        &mut self,
        attempt: Attempt,
        gaps_100ns: &[u32],
        zeros: u64,
        limits_ns: &[f64],
    ) {
        let n = gaps_100ns.len() as u64 + zeros;
        let sum_ns = gaps_100ns.iter().map(|g| u64::from(*g)).sum::<u64>() * 100;
        let gaps = Some(Gaps { n, sum_ns, at: self.inside.len() });
        for limit in limits_ns {
            let kept = gaps_100ns.iter().filter(|g| f64::from(**g) * 100.0 <= *limit).count();
            self.inside.push(u32::try_from(kept as u64 + zeros).unwrap_or(u32::MAX));
        }
        let mean = (sum_ns + n / 2) / n.max(1);
        self.attempts.push(Attempt { gaps, ..attempt.with(Latency::Itl, Some(mean)) });
    }

    /// Brings the attempts into order of time; those of one moment stay in the order they came in.
    pub(crate) fn close(&mut self) {
        self.attempts.sort_by_key(|a| a.intended_ns);
    }

    /// How many of these gaps keep the limit with this index.
    pub(crate) fn inside(&self, gaps: &Gaps, limit: usize) -> f64 {
        self.inside.get(gaps.at + limit).copied().map_or(0.0, f64::from)
    }
}

/// Every limit on pooled gaps, ns: they are counted while the gaps of a request stand together.
pub(crate) fn itl_limits(slas: &[Sla]) -> Vec<f64> {
    let terms = slas.iter().flat_map(|sla| &sla.terms);
    let of_gaps = terms.filter(|t| matches!(t.quantity, Quantity::Latency(Latency::Itl, _)));
    let mut limits: Vec<f64> = of_gaps.map(|t| t.limit).collect();
    limits.sort_by(f64::total_cmp);
    limits.dedup();
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_is_not_ok_keeps_no_limit_and_one_without_gaps_keeps_theirs() {
        let limits = [(Latency::Ttft, 10.0), (Latency::MaxGap, 5.0)];
        assert!(!Attempt::not_ok(0).keeps(&limits) && !Attempt::not_ok(0).keeps(&[]));
        let ok = Attempt::ok(0).with(Latency::Ttft, Some(10));
        assert!(ok.keeps(&limits));
        assert!(!ok.with(Latency::MaxGap, Some(6)).keeps(&limits));
        assert!(!ok.with(Latency::Ttft, None).keeps(&limits));
    }

    #[test]
    fn gaps_are_counted_against_each_limit_and_zeros_keep_all() {
        let sla: Sla = "itl_p99<=2us,itl_p50<=300ns,ttft_p99<=1s".parse().expect("an SLA");
        let limits = itl_limits(&[sla.clone(), sla]);
        assert_eq!(limits, [300.0, 2_000.0]);
        let mut trial = TrialAttempts::default();
        trial.push_with_gaps(Attempt::ok(7), &[3, 4, 20, 21], 2, &limits);
        trial.push_with_gaps(Attempt::ok(5), &[1], 0, &limits);
        trial.close();
        assert_eq!(trial.attempts[0].intended_ns, 5);
        let gaps = trial.attempts[1].gaps.expect("gaps");
        assert_eq!((gaps.n, gaps.sum_ns), (6, 4_800));
        assert_eq!((trial.inside(&gaps, 0), trial.inside(&gaps, 1)), (3.0, 5.0));
        assert_eq!(trial.attempts[1].reading(Latency::Itl), Reading::Ns(800.0));
    }
}
