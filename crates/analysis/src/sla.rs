//! Service-level targets: whether the attempts of a point keep each term, and how sure that is.
//!
//! Every decision is over *attempts*: one that did not end ok counts as outside all limits, so a
//! server that sheds its slow requests gains nothing by it. Each term is judged by itself:
//!
//! - `_pNN`: the share of attempts that keep the limit against NN %, by exact binomial bounds on the
//!   independent observations that the attempts are worth;
//! - `itl_pNN`: the same over pooled gaps, where what is resampled is requests. An attempt that is
//!   not ok stands for as many gaps outside as an answer has in the mean;
//! - `_mean`: its interval over trials, or by the block bootstrap of a single one. With one attempt
//!   infinite the mean is, so any attempt that is not ok misses the term; only where the same target
//!   allows a share of them (`error_rate`) and that is kept, the mean is that of the others;
//! - `_max`: one attempt beyond the limit misses it for certain. That none ever is cannot be proven;
//!   it counts as met when more than 99.9 %, the highest level there is, are certainly inside;
//! - `error_rate`: the share of attempts that are not ok. A limit of 0 is a maximum in that sense;
//! - `output_tokens_per_s_per_user`: 1 / mean TPOT, so a mean.
//!
//! Answers that have nothing to limit (gaps of a single token, or of tokens that came in one event)
//! are left out of a term; where no ok answer has the latency, nothing is said.

use loadline_schema::sla::{Latency, Quantity, Sla, Statistic, Term};
use loadline_schema::verdict::{SlaResult, TermResult, Verdict};

use crate::attempt::{Attempt, Reading, TrialAttempts};
use crate::autocorrelation::{Correlation, correlation};
use crate::interval::{attempts_needed, proportion_bounds};

mod attainment;
mod gap_share;
mod mean;
mod share;

pub(crate) use attainment::{attainment, goodput};

/// Share inside that stands for "all": the highest level that any figure here is stated for.
const ALL_BUT: f64 = 0.999;

/// How sure a verdict must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    /// Probability of a wrong *met*, and of a wrong *missed*.
    pub(crate) each_side: f64,
    /// The same where all attempts are on one side of the limit.
    pub(crate) at_an_edge: f64,
}

impl Confidence {
    /// What reports use: two-sided 95 %. Where all attempts are on one side, the bound on that side
    /// cannot err, and the other one has the whole 5 %: 299 attempts without a miss prove a P99, as
    /// they bound it from above.
    pub const REPORT: Self = Self { each_side: 0.025, at_an_edge: 0.05 };

    /// Each verdict errs with probability `alpha` at most.
    pub const fn one_sided(alpha: f64) -> Self {
        Self { each_side: alpha, at_an_edge: alpha }
    }

    /// Bounds of a share of which `n` independent observations were made.
    fn bounds(self, share: f64, n: f64) -> (f64, f64) {
        let at_an_edge = share <= 0.0 || share >= 1.0;
        let alpha = if at_an_edge { self.at_an_edge } else { self.each_side };
        proportion_bounds(share * n, n, alpha)
    }
}

/// One trial of a point.
#[derive(Clone, Copy)]
pub(crate) struct JudgedTrial<'a> {
    /// Its attempts in order of their intended times.
    pub(crate) attempts: &'a [Attempt],
    /// Counts of gaps, and all gaps in units of 100 ns with the zeros that belong to them.
    pub(crate) gaps: Option<PooledGaps<'a>>,
}

/// The gaps of a trial.
#[derive(Clone, Copy)]
pub(crate) struct PooledGaps<'a> {
    pub(crate) counts: &'a TrialAttempts,
    pub(crate) values_100ns: &'a [u32],
    pub(crate) zeros: u64,
}

/// Judges the trials of a point.
pub(crate) struct Judge<'a> {
    trials: Vec<JudgedTrial<'a>>,
    /// The limits that gaps were counted against, ns.
    itl_limits: &'a [f64],
    /// Whether so many gaps were read late that the percentile with this level is not known.
    late_gaps: &'a dyn Fn(u32) -> bool,
    confidence: Confidence,
    e2e: Option<Correlation>,
}

/// How attempts that need no gaps (terms `itl_…` are left open) stand to a target: each trial in
/// order of the intended times.
pub fn judge(sla: &Sla, trials: &[&[Attempt]], confidence: Confidence) -> SlaResult {
    let trials = trials.iter().map(|attempts| JudgedTrial { attempts, gaps: None }).collect();
    Judge::new(trials, &[], &|_| false, confidence).sla(sla)
}

/// Attempts that each term needs for a test that may err with probability `alpha`, when not one of
/// them misses (for gaps: requests); `None` where that depends on how the values spread.
pub fn requirements(sla: &Sla, alpha: f64) -> Vec<(Term, Option<u64>)> {
    let level = |term: &Term| match term.quantity {
        Quantity::Latency(_, Statistic::Max) => Some(ALL_BUT),
        Quantity::Latency(_, statistic) => statistic.per_mille().map(|p| f64::from(p) / 1000.0),
        Quantity::ErrorRate => Some(allowed_inside(term.limit)),
        Quantity::OutputTokensPerSPerUser => None,
    };
    let needed = |term: &Term| level(term).and_then(|level| attempts_needed(level, alpha));
    sla.terms.iter().map(|term| (*term, needed(term))).collect()
}

/// Share of ok attempts that proves an error rate; see [`ALL_BUT`] for a limit of 0.
fn allowed_inside(error_rate: f64) -> f64 {
    if error_rate > 0.0 { 1.0 - error_rate } else { ALL_BUT }
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        trials: Vec<JudgedTrial<'a>>,
        itl_limits: &'a [f64],
        late_gaps: &'a dyn Fn(u32) -> bool,
        confidence: Confidence,
    ) -> Self {
        let trials: Vec<_> = trials.into_iter().filter(|t| !t.attempts.is_empty()).collect();
        let e2e = |trial: &JudgedTrial| -> Vec<f64> {
            let seen = trial.attempts.iter().filter_map(|a| match a.reading(Latency::E2e) {
                Reading::Ns(ns) => Some(ns),
                Reading::Never | Reading::Nothing => None,
            });
            seen.collect()
        };
        let series: Vec<Vec<f64>> = trials.iter().map(e2e).collect();
        let e2e = correlated(&series);
        Self { trials, itl_limits, late_gaps, confidence, e2e }
    }

    /// The memory of E2E over ok attempts.
    pub(crate) fn e2e(&self) -> Option<Correlation> {
        self.e2e
    }

    /// How the attempts stand to a target.
    pub(crate) fn sla(&self, sla: &Sla) -> SlaResult {
        let allowed = sla.terms.iter().find(|t| t.quantity == Quantity::ErrorRate);
        let allowed = allowed.map_or(0.0, |t| t.limit);
        let terms: Vec<TermResult> = sla.terms.iter().map(|t| self.term(t, allowed)).collect();
        let any = |verdict| terms.iter().any(|t| t.verdict == verdict);
        let verdict = if any(Verdict::Missed) {
            Verdict::Missed
        } else if any(Verdict::Open) {
            Verdict::Open
        } else {
            Verdict::Met
        };
        let likely = terms.iter().all(|t| t.likely);
        SlaResult { verdict, likely, binding: binding(&sla.terms, &terms), terms }
    }

    fn term(&self, term: &Term, allowed: f64) -> TermResult {
        match term.quantity {
            Quantity::Latency(Latency::Itl, statistic) => match statistic.per_mille() {
                Some(per_mille) => self.gap_share(term, per_mille),
                None if statistic == Statistic::Max => self.maximum(term, Latency::MaxGap),
                None => self.mean(term, allowed, mean::of_gaps),
            },
            Quantity::Latency(latency, statistic) => match statistic.per_mille() {
                Some(per_mille) => self.percentile(term, latency, per_mille),
                None if statistic == Statistic::Max => self.maximum(term, latency),
                None => self.mean(term, allowed, |a| mean::of_latency(a, latency)),
            },
            Quantity::ErrorRate => self.error_rate(term),
            Quantity::OutputTokensPerSPerUser => {
                self.mean(term, allowed, |a| mean::of_latency(a, Latency::Tpot))
            }
        }
    }

    /// Independent observations that a series of 0 and 1 is worth: by its own correlation or that of
    /// E2E, whichever is longer. Where neither can be told, each trial is one observation.
    ///
    /// A series' own correlation alone would not do, however many misses it has: misses come in
    /// clusters, and a trial that happens to hold few or small ones shows both a low share and a short
    /// memory, which would add up to a certainty that is not there. (On four exponential servers at
    /// their line, trials of 9,400 requests, it called 18 % of the points inside for certain at a
    /// level of 0.08 %.) E2E shows the memory of the target in every answer.
    fn n_effective(&self, series: &[Vec<f64>]) -> f64 {
        let n = series.iter().map(Vec::len).sum::<usize>() as f64;
        let taus = [correlated(series), self.e2e].into_iter().flatten().map(|c| c.tau);
        let tau = taus.reduce(f64::max);
        let trials = series.iter().filter(|s| !s.is_empty()).count() as f64;
        tau.map_or(trials, |tau| (n / tau).max(trials)).min(n)
    }
}

fn correlated(series: &[Vec<f64>]) -> Option<Correlation> {
    let segments: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    correlation(&segments)
}

/// A term of which nothing is known yet.
fn unknown(term: &Term) -> TermResult {
    TermResult {
        term: term.to_string(),
        limit: term.limit,
        value: None,
        inside: None,
        low: None,
        high: None,
        n: 0,
        n_effective: None,
        verdict: Verdict::Open,
        likely: false,
    }
}

/// The term that is missed, or would be first: the worst verdict, and among those the least room.
/// None where nothing could be judged.
fn binding(terms: &[Term], results: &[TermResult]) -> Option<String> {
    let rank = |verdict| match verdict {
        Verdict::Missed => 0,
        Verdict::Open => 1,
        Verdict::Met => 2,
    };
    let judged = terms.iter().zip(results).filter(|(_, r)| r.n > 0);
    let order = |a: &(f64, &TermResult), b: &(f64, &TermResult)| {
        (rank(a.1.verdict).cmp(&rank(b.1.verdict))).then(a.0.total_cmp(&b.0))
    };
    // `min_by` keeps the first of equals: the order of the target.
    let first = judged.map(|(term, result)| (room(term, result), result)).min_by(order)?;
    Some(first.1.term.clone())
}

/// How far inside its limit a term is, as a share of the limit; negative beyond it. A figure that is
/// infinite is judged by how many attempts it takes to make it so.
fn room(term: &Term, result: &TermResult) -> f64 {
    if let Some(value) = result.value {
        let unit = if term.limit > 0.0 { term.limit } else { 1.0 - ALL_BUT };
        let room = (term.limit - value) / unit;
        return if term.quantity.is_floor() { -room } else { room };
    }
    let level = match term.quantity {
        Quantity::Latency(_, statistic) => {
            statistic.per_mille().map_or(ALL_BUT, |p| f64::from(p) / 1000.0)
        }
        _ => ALL_BUT,
    };
    let inside = result.inside.unwrap_or(0.0);
    -1.0 + (inside - level) / (1.0 - level)
}
