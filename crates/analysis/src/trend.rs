//! Whether a series has a slope that its own fluctuation does not explain.

use crate::autocorrelation::correlation;
use crate::student::t_quantile;

/// A straight line through a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trend {
    /// Change from the beginning of the series to its end.
    pub(crate) change: f64,
    /// Standard error of that.
    pub(crate) error: f64,
    /// Degrees of freedom of the error.
    pub(crate) df: f64,
}

impl Trend {
    /// Whether the series grows, at the one-sided level `alpha`.
    pub(crate) fn grows(&self, alpha: f64) -> bool {
        self.change > self.error * t_quantile(alpha, self.df)
    }

    /// Whether it moves either way, at the two-sided level 2 × `alpha`.
    pub(crate) fn moves(&self, alpha: f64) -> bool {
        self.change.abs() > self.error * t_quantile(alpha, self.df)
    }
}

/// Least squares over equal steps. The error is that of independent deviations × √τ, where τ is
/// the autocorrelation time of what the line leaves over, and the degrees of freedom are n / τ − 2:
/// a queue that wanders is not a queue that grows. `None` with fewer than 20 values.
pub(crate) fn trend(values: &[f64]) -> Option<Trend> {
    let n = values.len() as f64;
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let at = |i: usize| i as f64 - middle;
    let squares = n * (n * n - 1.0) / 12.0;
    let products = values.iter().enumerate().map(|(i, v)| at(i) * (v - mean)).sum::<f64>();
    let slope = products / squares;
    let left: Vec<f64> = values.iter().enumerate().map(|(i, v)| v - mean - slope * at(i)).collect();
    let tau = correlation(&[&left])?.tau;
    let variance = left.iter().map(|v| v * v).sum::<f64>() / (n - 2.0);
    let error = (variance * tau / squares).sqrt();
    Some(Trend { change: slope * n, error: error * n, df: (n / tau - 2.0).max(1.0) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise::Noise;

    fn series(phi: f64, slope: f64, n: usize, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        let mut x = noise.normal() / (1.0 - phi * phi).sqrt();
        let step = |i| {
            x = phi * x + noise.normal();
            x + slope * i as f64
        };
        (0..n).map(step).collect()
    }

    #[test]
    fn a_series_without_slope_is_seldom_taken_for_one_with() {
        // 5 % of 400 are 20; strong correlation costs a little, since τ is estimated, too.
        for (phi, n, most) in [(0.0, 100, 32), (0.5, 300, 32), (0.9, 1_000, 40)] {
            let moves =
                |seed: &u64| trend(&series(phi, 0.0, n, *seed)).is_some_and(|t| t.moves(0.025));
            let alarms = (0..400).filter(moves).count();
            assert!(alarms <= most, "φ {phi}: {alarms} of 400");
        }
    }

    #[test]
    fn a_slope_is_found_and_measured() {
        let found = trend(&series(0.5, 0.05, 400, 1)).expect("long");
        assert!(found.grows(0.001) && found.moves(0.001));
        assert!((found.change - 20.0).abs() < 4.0 * found.error, "{found:?}");
        assert!(!trend(&series(0.5, -0.05, 400, 1)).expect("long").grows(0.5));
    }

    #[test]
    fn too_few_values_are_refused() {
        assert_eq!(trend(&[]), None);
        assert_eq!(trend(&series(0.0, 1.0, 19, 1)), None);
    }

    proptest! {
        #[test]
        fn backwards_it_falls_as_much(seed in 0u64..500, slope in -0.1..0.1f64) {
            let values = series(0.3, slope, 120, seed);
            let back: Vec<f64> = values.iter().rev().copied().collect();
            let (a, b) = (trend(&values).expect("long"), trend(&back).expect("long"));
            prop_assert!((a.change + b.change).abs() < 1e-9 * a.error.max(1.0));
            prop_assert!((a.error - b.error).abs() < 1e-9 * a.error);
        }
    }
}
