//! Figures of single trials, which a comparison of two runs rests on.
//!
//! Percentiles are over the *attempts* of the trial: one that ended without a value counts as
//! infinite, so a percentile that lies among those is absent. A server that sheds its slow requests
//! does not look faster for it.

use std::collections::BTreeMap;

use loadline_schema::gate::TrialMetric;
use loadline_schema::outcome::Outcome;
use loadline_schema::record::RequestRecord;
use loadline_schema::sla::{Latency, Statistic};

use crate::pool::Pool;
use crate::quantile::{nearest_rank, select_ranks};
use crate::tally::Tally;
use crate::trial::TrialFigures;

/// Name of the number of attempts among the figures of a trial.
pub(crate) const ATTEMPTS: &str = "attempts";

/// Attempts of one trial, and those that ended ok.
#[derive(Debug, Clone, Copy, Default)]
struct Attempts {
    all: u64,
    ok: u64,
}

impl Attempts {
    fn of(cohort: &[&RequestRecord]) -> Self {
        let is_attempt =
            |r: &&&RequestRecord| !matches!(r.outcome, Outcome::Cancelled | Outcome::Unknown);
        let all = cohort.iter().filter(is_attempt).count() as u64;
        let ok = cohort.iter().filter(|r| r.outcome == Outcome::Ok).count() as u64;
        Self { all, ok }
    }
}

/// The figures that need the single values of a trial: latencies and the error rate. To be called
/// before the trial is closed in the pools of the tally.
pub(crate) fn of_values(tally: &mut Tally, cohort: &[&RequestRecord]) -> BTreeMap<String, f64> {
    let attempts = Attempts::of(cohort);
    let mut figures = BTreeMap::new();
    if attempts.all == 0 {
        return figures;
    }
    figures.insert(ATTEMPTS.to_owned(), attempts.all as f64);
    let failed = attempts.all - attempts.ok;
    let error_rate = failed as f64 / attempts.all as f64;
    figures.insert(TrialMetric::ErrorRate.to_string(), error_rate);
    let pools = &tally.pools;
    // Every attempt should have one of these; of the others an answer of a single token has none,
    // and is not missing for that.
    let of_all = |pool: &Pool| attempts.all.max(pool.of_trial().len() as u64);
    let of_several = |pool: &Pool| failed + pool.of_trial().len() as u64;
    for (latency, pool, wanted) in [
        (Latency::Ttft, &pools.ttft, of_all(&pools.ttft)),
        (Latency::Ttfo, &pools.ttfo, of_all(&pools.ttfo)),
        (Latency::E2e, &pools.e2e, of_all(&pools.e2e)),
        (Latency::Tpot, &pools.tpot, of_several(&pools.tpot)),
        (Latency::MaxGap, &pools.max_gap, of_several(&pools.max_gap)),
    ] {
        let mut values = pool.of_trial().to_vec();
        let sample = Sample {
            zeros: 0,
            unit_ns: 1,
            flagged: if latency == Latency::MaxGap { pool.flagged_of_trial() } else { 0 },
            wanted,
            values: &mut values,
        };
        describe(latency, sample, &mut figures);
    }
    let gaps = tally.gaps.of_trial();
    let mut sample = Sample {
        zeros: gaps.zeros,
        unit_ns: 100,
        flagged: gaps.flagged,
        wanted: 0,
        values: gaps.values,
    };
    // How many gaps a failed answer would have had is not known: as many as the others.
    let share = attempts.all as f64 / attempts.ok.max(1) as f64;
    sample.wanted = (sample.total() as f64 * share).ceil() as u64;
    describe(Latency::Itl, sample, &mut figures);
    figures
}

/// All figures of a trial: those of its values, and its rates.
pub(crate) fn all(trial: &TrialFigures) -> BTreeMap<String, f64> {
    let mut figures = trial.of_values.clone();
    let mut add = |metric: TrialMetric, value: Option<f64>| {
        figures.extend(value.map(|value| (metric.to_string(), value)));
    };
    let rates = trial.windowed.as_ref().map(|w| w.rates);
    add(TrialMetric::RequestsPerS, rates.map(|r| r.requests));
    add(TrialMetric::OutputTokensPerS, rates.map(|r| r.output_tokens));
    let tpot = trial.tpot_mean_ns.filter(|ns| *ns > 0.0);
    add(TrialMetric::OutputTokensPerSPerUser, tpot.map(|ns| 1e9 / ns));
    figures
}

/// Values of one latency in one trial.
struct Sample<'a, T> {
    /// Reordered while percentiles are looked for.
    values: &'a mut [T],
    /// Zeros that belong to the sample and are not stored.
    zeros: u64,
    /// Unit of a value, ns.
    unit_ns: u64,
    /// Values that are not certain.
    flagged: u64,
    /// Values that there would be had every attempt one.
    wanted: u64,
}

impl<T> Sample<'_, T> {
    fn total(&self) -> u64 {
        self.values.len() as u64 + self.zeros
    }
}

fn describe<T: Copy + Ord + Into<u64>>(
    latency: Latency,
    sample: Sample<'_, T>,
    figures: &mut BTreeMap<String, f64>,
) {
    if sample.values.is_empty() {
        return;
    }
    let total = sample.total();
    let sum: u128 = sample.values.iter().map(|v| u128::from((*v).into())).sum();
    let mut add = |statistic, value| {
        figures.insert(TrialMetric::Latency(latency, statistic).to_string(), value);
    };
    add(Statistic::Mean, (sum * u128::from(sample.unit_ns)) as f64 / total as f64);
    for statistic in TrialMetric::STATISTICS {
        let Some(rank) = statistic.per_mille().and_then(|per_mille| sample.rank(per_mille)) else {
            continue;
        };
        let value = match rank.checked_sub(sample.zeros).filter(|stored| *stored > 0) {
            None => 0,
            Some(stored) => select_ranks(sample.values, &[stored])[0].into() * sample.unit_ns,
        };
        add(statistic, value as f64);
    }
}

impl<T> Sample<'_, T> {
    /// Nearest rank of a percentile over all that should have a value. Absent where it lies among
    /// those that have none, where too many are uncertain (as in the distribution of a point), and
    /// where fewer than one value lies above it: it would be the largest value, which grows with
    /// the number of requests alone.
    fn rank(&self, per_mille: u32) -> Option<u64> {
        let wanted = self.wanted.max(self.total());
        let above = u128::from(1_000 - per_mille);
        let has_some_above = above * u128::from(wanted) >= 1_000;
        let is_certain = u128::from(self.flagged) * 10_000 <= above * u128::from(wanted);
        let rank = nearest_rank(wanted, per_mille);
        (has_some_above && is_certain && rank <= self.total()).then_some(rank)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn described(values: &mut [u64], zeros: u64, wanted: u64) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        let sample = Sample { values, zeros, unit_ns: 100, flagged: 0, wanted };
        describe(Latency::Itl, sample, &mut figures);
        figures
    }

    #[test]
    fn percentiles_are_over_attempts() {
        // 90 values and 10 attempts without one: P90 is the largest there is, P99 is infinite.
        let mut values: Vec<u64> = (1..=90).rev().collect();
        let figures = described(&mut values, 0, 100);
        assert_eq!(figures["itl_p50"], 5_000.0);
        assert_eq!(figures["itl_p90"], 9_000.0);
        assert_eq!(figures.get("itl_p99"), None);
        assert_eq!(figures["itl_mean"], 4_550.0);
    }

    #[test]
    fn a_percentile_needs_a_value_above_it() {
        let mut values: Vec<u64> = (1..=99).collect();
        assert_eq!(described(&mut values, 0, 99).get("itl_p99"), None);
        values.push(100);
        assert_eq!(described(&mut values, 0, 100)["itl_p99"], 9_900.0);
        assert!(described(&mut [], 5, 5).is_empty());
    }

    #[test]
    fn too_many_uncertain_values_take_a_percentile_away() {
        let mut values: Vec<u64> = (1..=1_000).collect();
        let mut figures = BTreeMap::new();
        let sample = Sample { values: &mut values, zeros: 0, unit_ns: 1, flagged: 2, wanted: 0 };
        describe(Latency::MaxGap, sample, &mut figures);
        // 2 of 1,000 is more than a tenth of the percent above P99, and less than that of P90.
        assert!(figures.contains_key("max_gap_p90") && !figures.contains_key("max_gap_p99"));
    }

    proptest! {
        #[test]
        fn the_same_as_sorting(
            values in prop::collection::vec(1u64..60, 1..300),
            zeros in 0u64..50,
            missing in 0u64..30,
        ) {
            let mut all = vec![0; zeros as usize];
            all.extend(&values);
            all.sort_unstable();
            let wanted = all.len() as u64 + missing;
            let figures = described(&mut values.clone(), zeros, wanted);
            for (name, per_mille) in [("itl_p50", 500), ("itl_p90", 900), ("itl_p99", 990)] {
                let rank = nearest_rank(wanted, per_mille) as usize;
                let can = (1_000 - u64::from(per_mille)) * wanted >= 1_000;
                let expected = all.get(rank - 1).filter(|_| can).map(|v| (v * 100) as f64);
                prop_assert_eq!(figures.get(name).copied(), expected, "{}", name);
            }
        }
    }
}
