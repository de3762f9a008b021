//! Student's t: the interval of a mean over a few trials.

/// The 97.5 % quantile of Student's t with `df` degrees of freedom (two-sided 95 %).
/// `None` for `df = 0`.
///
/// Found by bisection of the exact distribution function for whole degrees of freedom
/// (Abramowitz and Stegun, 26.7.3 and 26.7.4).
pub fn t_quantile_975(df: u64) -> Option<f64> {
    if df == 0 {
        return None;
    }
    let df = df.min(100_000);
    let (mut low, mut high) = (1.0, 13.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if within(middle, df) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(f64::midpoint(low, high))
}

/// `P(|T| < t)` for `df` degrees of freedom.
fn within(t: f64, df: u64) -> f64 {
    let theta = (t / (df as f64).sqrt()).atan();
    let (sin, cos) = theta.sin_cos();
    let cos2 = cos * cos;
    let odd = df % 2 == 1;
    // 1 + ½cos² + (1·3)/(2·4)cos⁴ + … for even, cos + ⅔cos³ + (2·4)/(3·5)cos⁵ + … for odd.
    let mut term = if odd { cos } else { 1.0 };
    let mut sum = 0.0;
    let mut k = if odd { 3 } else { 2 };
    while k <= df {
        sum += term;
        term *= cos2 * (k - 1) as f64 / k as f64;
        k += 2;
    }
    if odd { (theta + sin * sum) * std::f64::consts::FRAC_2_PI } else { sin * sum }
}

/// Mean and 95 % half width of independent values by Student's t; the half width is absent with
/// fewer than two of them, and the whole with none.
pub fn mean_interval(values: &[f64]) -> Option<(f64, Option<f64>)> {
    if values.is_empty() {
        return None;
    }
    // In order of size, so that the order in which trials came does not matter to the last bit.
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let Some(t) = t_quantile_975(values.len() as u64 - 1) else { return Some((mean, None)) };
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((mean, Some(t * (squares / (n - 1.0) / n).sqrt())))
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
