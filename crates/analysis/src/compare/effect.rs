//! How far two sides lie apart, from their trials, with the error of that estimate.
//!
//! A ratio is compared on the logarithms of the trials' values, since noise of a server multiplies;
//! a difference on the values themselves. Trials are the units: requests of one trial share its
//! conditions, and are no independent evidence about another trial.

use crate::interval::incomplete_beta;
use crate::student::t_quantile;

/// The order in which the trials of both sides were carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrialOrder {
    /// One side after the other, or not known: what changed on the machine between them counts as
    /// a change of the candidate.
    #[default]
    Apart,
    /// In turns, a trial of the baseline first.
    BaselineFirst,
    /// In turns, a trial of the candidate first.
    CandidateFirst,
}

/// An estimate of candidate − baseline on the scale of the comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Effect {
    /// candidate − baseline.
    pub(crate) estimate: f64,
    /// Its standard error.
    error: f64,
    /// Degrees of freedom of the error, above 0.
    df: f64,
}

impl Effect {
    /// 95 % interval.
    pub(crate) fn interval(&self) -> (f64, f64) {
        let half = t_quantile(0.025, self.df) * self.error;
        (self.estimate - half, self.estimate + half)
    }

    /// Two-sided p-value of "no difference".
    pub(crate) fn p_value(&self) -> f64 {
        self.p_of(self.estimate)
    }

    /// One-sided p-value of "the difference is at most `limit`".
    pub(crate) fn p_above(&self, limit: f64) -> f64 {
        let beyond = self.estimate - limit;
        let half = self.p_of(beyond) / 2.0;
        if beyond > 0.0 { half } else { 1.0 - half }
    }

    fn p_of(&self, distance: f64) -> f64 {
        if distance == 0.0 { 1.0 } else { two_sided_p(distance / self.error, self.df) }
    }
}

/// The effect, from the trials in their order. `least` is the least standard deviation of a trial
/// of each side: values are rounded (a trial holds whole requests, a clock whole steps), so trials
/// that agree to the last digit are not for that reason certain. `None` with fewer than two trials
/// on a side.
pub(crate) fn effect(
    baseline: &[f64],
    candidate: &[f64],
    order: TrialOrder,
    least: (f64, f64),
) -> Option<Effect> {
    if baseline.len() < 2 || candidate.len() < 2 {
        return None;
    }
    match order {
        _ if baseline.len() != candidate.len() => Some(apart(baseline, candidate, least)),
        TrialOrder::Apart => Some(apart(baseline, candidate, least)),
        TrialOrder::BaselineFirst => Some(in_turns(baseline, candidate, least)),
        TrialOrder::CandidateFirst => {
            let effect = in_turns(candidate, baseline, (least.1, least.0));
            Some(Effect { estimate: -effect.estimate, ..effect })
        }
    }
}

/// `P(|T| ≥ |t|)` of Student's t (Abramowitz and Stegun, 26.7.1).
fn two_sided_p(t: f64, df: f64) -> f64 {
    if t.is_infinite() { 0.0 } else { incomplete_beta(df / (df + t * t), df / 2.0, 0.5) }
}

/// Welch's t (B. L. Welch, Biometrika 34 (1947) 28).
fn apart(baseline: &[f64], candidate: &[f64], least: (f64, f64)) -> Effect {
    let (a, b) = (Side::of(baseline, least.0), Side::of(candidate, least.1));
    let (of_a, of_b) = (a.variance / a.n, b.variance / b.n);
    let error2 = of_a + of_b;
    let df = if error2 > 0.0 {
        error2.powi(2) / (of_a.powi(2) / (a.n - 1.0) + of_b.powi(2) / (b.n - 1.0))
    } else {
        a.n + b.n - 2.0
    };
    Effect { estimate: b.mean - a.mean, error: error2.sqrt(), df }
}

/// Mean and variance of the trials of a side.
struct Side {
    n: f64,
    mean: f64,
    variance: f64,
}

impl Side {
    fn of(values: &[f64], least: f64) -> Self {
        // In order of size, so that the order of the trials does not matter to the last bit.
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Self { n, mean, variance: (squares / (n - 1.0)).max(least.powi(2)) }
    }
}

/// Trials in turns, `first` before `second`: least squares of value = level + side + slope × time,
/// with the place in the sequence as time. Against the t-test of pairs it takes out a drift as
/// well, half a step of which would otherwise count for one side, and keeps 2n − 3 degrees of
/// freedom instead of n − 1. Noise that neighbours share beyond a straight line is in the residuals
/// but, as sides take turns, hardly in the estimate: the interval is then too wide, not too narrow.
fn in_turns(first: &[f64], second: &[f64], least: (f64, f64)) -> Effect {
    let n = 2.0 * first.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let sequence: Vec<(f64, f64, f64)> = first
        .iter()
        .zip(second)
        .enumerate()
        .flat_map(|(pair, (a, b))| {
            let time = 2.0 * pair as f64 - middle;
            [(-0.5, time, *a), (0.5, time + 1.0, *b)]
        })
        .collect();
    let mean = sequence.iter().map(|(_, _, value)| value).sum::<f64>() / n;
    let sum = |of: &dyn Fn(f64, f64, f64) -> f64| -> f64 {
        sequence.iter().map(|(side, time, value)| of(*side, *time, value - mean)).sum()
    };
    let sides = sum(&|side, _, _| side * side);
    let times = sum(&|_, time, _| time * time);
    let both = sum(&|side, time, _| side * time);
    let with_side = sum(&|side, _, value| side * value);
    let with_time = sum(&|_, time, value| time * value);
    let determinant = sides * times - both * both;
    let estimate = (times * with_side - both * with_time) / determinant;
    let slope = (sides * with_time - both * with_side) / determinant;
    let squares = sum(&|side, time, value| (value - estimate * side - slope * time).powi(2));
    let floor = f64::midpoint(least.0.powi(2), least.1.powi(2));
    let variance = (squares / (n - 3.0)).max(floor);
    Effect { estimate, error: (variance * times / determinant).sqrt(), df: n - 3.0 }
}

/// Half width of the interval that two sides of the baseline's own spread would have: what an A/A
/// comparison of as many trials could not tell from nothing. In turns the spread is that around a
/// straight line. `None` with too few trials.
pub(crate) fn noise_floor(
    baseline: &[f64],
    candidate_trials: usize,
    order: TrialOrder,
    least: f64,
) -> Option<f64> {
    let n = baseline.len() as f64;
    let (variance, df) = match order {
        TrialOrder::Apart => (Side::of(baseline, least).variance, baseline.len().checked_sub(1)?),
        _ => {
            let df = baseline.len().checked_sub(2)?;
            (around_line(baseline, df as f64).max(least.powi(2)), df)
        }
    };
    if candidate_trials == 0 {
        return None;
    }
    (df > 0).then(|| {
        t_quantile(0.025, df as f64) * (variance * (1.0 / n + 1.0 / candidate_trials as f64)).sqrt()
    })
}

/// Variance around the straight line through the trials in their order.
fn around_line(values: &[f64], df: f64) -> f64 {
    let n = values.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / n;
    let of_time = || values.iter().enumerate().map(|(i, v)| (i as f64 - middle, v - mean));
    let times: f64 = of_time().map(|(time, _)| time * time).sum();
    let slope = of_time().map(|(time, value)| time * value).sum::<f64>() / times;
    of_time().map(|(time, value)| (value - slope * time).powi(2)).sum::<f64>() / df
}

/// Holm's adjusted p-values (S. Holm, Scand. J. Statist. 6 (1979) 65), in the order given: each
/// under 0.05 may be called a finding, with at most 5 % for one or more false ones among all.
pub(crate) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]).then(a.cmp(b)));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let left = (p_values.len() - rank) as f64;
        largest = largest.max((left * p_values[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: (f64, f64) = (0.0, 0.0);

    #[track_caller]
    fn close(left: f64, right: f64, tolerance: f64) {
        assert!((left - right).abs() <= tolerance, "{left} is not {right}");
    }

    #[test]
    fn welch_by_hand() {
        // Means 3 and 8, variances 2.5 and 10, n = 5: error² = 0.5 + 2 = 2.5,
        // df = 2.5² / (0.5²/4 + 2²/4) = 6.25 / 1.0625 = 5.882.
        let found = effect(
            &[1.0, 2.0, 3.0, 4.0, 5.0],
            &[4.0, 6.0, 8.0, 10.0, 12.0],
            TrialOrder::Apart,
            NONE,
        )
        .expect("five trials");
        close(found.estimate, 5.0, 1e-12);
        close(found.error, 2.5_f64.sqrt(), 1e-12);
        close(found.df, 6.25 / 1.0625, 1e-12);
        // t = 3.1623: the tables have 2.447 at 5 % and 3.143 at 2 % for 6 degrees of freedom, 2.571
        // and 3.365 for 5.
        let p = found.p_value();
        assert!(p > 0.019 && p < 0.021, "{p}");
        let (low, high) = found.interval();
        close(high - 5.0, 5.0 - low, 1e-12);
        let t = (high - 5.0) / 2.5_f64.sqrt();
        assert!(t > 2.447 && t < 2.571, "{t}");
        close(two_sided_p(t, found.df), 0.05, 1e-9);
        close(found.p_above(0.0), p / 2.0, 1e-12);
        close(found.p_above(5.0), 0.5, 1e-12);
        close(found.p_above(10.0), 1.0 - p / 2.0, 1e-12);
    }

    #[test]
    fn turns_take_a_drift_out() {
        // Values 10 + 0.5 × place, and 3 more for the candidate: a drift is no change.
        let baseline: Vec<f64> = (0..5).map(|i| 10.0 + 0.5 * f64::from(2 * i)).collect();
        let candidate: Vec<f64> = (0..5).map(|i| 13.0 + 0.5 * f64::from(2 * i + 1)).collect();
        let found = effect(&baseline, &candidate, TrialOrder::BaselineFirst, NONE).expect("five");
        close(found.estimate, 3.0, 1e-9);
        close(found.df, 7.0, 1e-12);
        assert!(found.error < 1e-6, "{}", found.error);
        // One after the other the same drift is noise.
        let apart = effect(&baseline, &candidate, TrialOrder::Apart, NONE).expect("five");
        assert!(apart.error > 0.5, "{}", apart.error);
    }

    #[test]
    fn rounded_values_that_agree_are_not_certain() {
        let (low, high) = ([10.0; 5], [11.0; 5]);
        let sure = effect(&low, &high, TrialOrder::Apart, NONE).expect("five trials");
        assert_eq!(sure.p_value(), 0.0);
        for order in [TrialOrder::Apart, TrialOrder::BaselineFirst] {
            let found = effect(&low, &high, order, (1.0, 1.0)).expect("five trials");
            assert!(found.p_value() > 0.05, "{order:?}: {}", found.p_value());
        }
    }

    #[test]
    fn one_trial_on_a_side_has_no_effect() {
        for order in [TrialOrder::Apart, TrialOrder::BaselineFirst, TrialOrder::CandidateFirst] {
            assert_eq!(effect(&[1.0], &[2.0], order, NONE), None);
        }
        assert_eq!(effect(&[1.0, 2.0], &[2.0], TrialOrder::Apart, NONE), None);
        assert_eq!(noise_floor(&[1.0], 5, TrialOrder::Apart, 0.0), None);
        assert_eq!(noise_floor(&[1.0, 2.0], 5, TrialOrder::BaselineFirst, 0.0), None);
    }

    #[test]
    fn noise_floor_by_hand() {
        // Standard deviation √2.5 of five trials, t(4) = 2.7764: 2.7764 × √(2.5 × 2/5) = 2.7764.
        let values = [1.0, 2.0, 3.0, 4.0, 5.0];
        let apart = noise_floor(&values, 5, TrialOrder::Apart, 0.0).expect("five trials");
        close(apart, 2.7764, 1e-3);
        let turns = noise_floor(&values, 5, TrialOrder::BaselineFirst, 0.0).expect("five trials");
        close(turns, 0.0, 1e-9);
    }

    #[test]
    fn holm_by_hand() {
        // 0.01 × 4, 0.015 × 3, 0.03 × 2 and 0.04 × 1, which must not fall under the one before.
        let adjusted = holm(&[0.03, 0.01, 0.04, 0.015]);
        for (found, expected) in adjusted.into_iter().zip([0.06, 0.04, 0.06, 0.045]) {
            close(found, expected, 1e-12);
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn swapped_sides_flip_the_sign(
            pairs in prop::collection::vec((0.1..10.0_f64, 0.1..10.0_f64), 2..9),
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            for (order, swapped) in [
                (TrialOrder::Apart, TrialOrder::Apart),
                (TrialOrder::BaselineFirst, TrialOrder::CandidateFirst),
                (TrialOrder::CandidateFirst, TrialOrder::BaselineFirst),
            ] {
                let one = effect(&a, &b, order, (0.1, 0.2)).expect("two trials");
                let other = effect(&b, &a, swapped, (0.2, 0.1)).expect("two trials");
                prop_assert!((one.estimate + other.estimate).abs() < 1e-12);
                prop_assert!((one.error - other.error).abs() < 1e-12);
                prop_assert!((one.df - other.df).abs() < 1e-9);
            }
        }

        #[test]
        fn adjusted_p_values_are_no_smaller_and_keep_the_order(
            p_values in prop::collection::vec(0.0..1.0_f64, 1..40),
        ) {
            let adjusted = holm(&p_values);
            for (i, p) in p_values.iter().enumerate() {
                prop_assert!(adjusted[i] >= *p && adjusted[i] <= 1.0);
                for (j, q) in p_values.iter().enumerate() {
                    prop_assert!(p > q || adjusted[i] <= adjusted[j]);
                }
            }
        }
    }
}
