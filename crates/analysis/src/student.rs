//! Student's t: the interval of a mean over a few trials.

use crate::interval::beta_quantile;

/// The 97.5 % quantile of Student's t with `df` degrees of freedom (two-sided 95 %).
/// `None` for `df = 0`.
pub fn t_quantile_975(df: u64) -> Option<f64> {
    (df > 0).then(|| t_quantile(0.025, df as f64))
}

/// The value that Student's t with `df > 0` degrees of freedom exceeds with probability `alpha`
/// (0 < `alpha` < ½), from the beta distribution of df / (df + t²) (Abramowitz and Stegun, 26.7.1).
pub fn t_quantile(alpha: f64, df: f64) -> f64 {
    // T² / (df + T²) is Beta(½, df/2); near 1 its complement has the digits.
    let share = beta_quantile(1.0 - 2.0 * alpha, 0.5, df / 2.0);
    if share < 0.5 {
        return (df * share / (1.0 - share)).sqrt();
    }
    let rest = beta_quantile(2.0 * alpha, df / 2.0, 0.5);
    (df * (1.0 - rest) / rest).sqrt()
}

/// Mean and 95 % half width of independent values by Student's t; the half width is absent with
/// fewer than two of them, and the whole with none.
pub fn mean_interval(values: &[f64]) -> Option<(f64, Option<f64>)> {
    mean_interval_at(values, 0.025)
}

/// The same with probability `alpha` to miss on each side.
pub fn mean_interval_at(values: &[f64], alpha: f64) -> Option<(f64, Option<f64>)> {
    if values.is_empty() {
        return None;
    }
    // In order of size, so that the order in which trials came does not matter to the last bit.
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return Some((mean, None));
    }
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((mean, Some(t_quantile(alpha, n - 1.0) * (squares / (n - 1.0) / n).sqrt())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Abramowitz and Stegun, table 26.10; NIST e-Handbook 1.3.6.7.2.
        let table = [
            (1, 12.706),
            (2, 4.303),
            (3, 3.182),
            (4, 2.776),
            (5, 2.571),
            (9, 2.262),
            (10, 2.228),
            (29, 2.045),
            (30, 2.042),
            (100, 1.984),
            (100_000, 1.960),
        ];
        for (df, t) in table {
            let ours = t_quantile_975(df).expect("df > 0");
            assert!((ours - t).abs() < 6e-4, "df {df}: {ours} against {t}");
        }
        assert_eq!(t_quantile_975(0), None);
    }

    #[test]
    fn quantiles_hold_far_out_and_for_broken_degrees_of_freedom() {
        // df = 1 is Cauchy's law: tan(π (½ − alpha)); df = 2: (1 − 2a) √(2 / (4a(1 − a))).
        for alpha in [0.2, 0.025, 8.3e-4, 1e-6] {
            let cauchy = (std::f64::consts::PI * (0.5 - alpha)).tan();
            assert!((t_quantile(alpha, 1.0) / cauchy - 1.0).abs() < 1e-6, "{alpha}");
            let two = (1.0 - 2.0 * alpha) * (2.0 / (4.0 * alpha * (1.0 - alpha))).sqrt();
            assert!((t_quantile(alpha, 2.0) / two - 1.0).abs() < 1e-6, "{alpha}");
        }
        let between = t_quantile(0.025, 4.5);
        assert!(between < t_quantile(0.025, 4.0) && between > t_quantile(0.025, 5.0));
    }

    #[test]
    fn interval_of_three_trials() {
        // Mean 10, standard deviation 1, half width 4.3027 / sqrt(3).
        let (mean, half) = mean_interval(&[9.0, 10.0, 11.0]).expect("values");
        assert!((mean - 10.0).abs() < 1e-12);
        assert!((half.expect("three trials") - 2.4841).abs() < 1e-3);
    }

    #[test]
    fn the_order_of_trials_does_not_matter_to_the_last_bit() {
        assert_eq!(mean_interval(&[0.1, 0.2, 0.3]), mean_interval(&[0.3, 0.2, 0.1]));
    }

    #[test]
    fn one_trial_has_no_interval_and_none_has_no_mean() {
        assert_eq!(mean_interval(&[5.0]), Some((5.0, None)));
        assert_eq!(mean_interval(&[]), None);
    }
}
