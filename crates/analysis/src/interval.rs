//! Exact intervals of proportions, and the incomplete beta function that they and Student's t rest
//! on. The crates at hand stop its continued fraction after a fixed number of terms, which is wrong
//! without a word for a million attempts; this one goes on until it has converged.

/// Terms after which the continued fraction is given up; it needs about √max(a, b) of them.
const MOST_TERMS: u32 = 1_000_000;

/// Exact (Clopper–Pearson) bounds of a proportion of which `inside` of `n` were seen; each side may
/// miss with probability `alpha`. Both may be fractions, so that `n` can be an effective sample
/// size (E. L. Korn, B. I. Graubard, *Survey Methodology* 24, 1998).
///
/// The lower bound is the `alpha` quantile of Beta(inside, n − inside + 1), the upper one the
/// 1 − `alpha` quantile of Beta(inside + 1, n − inside). Without observations: (0, 1).
pub fn proportion_bounds(inside: f64, n: f64, alpha: f64) -> (f64, f64) {
    if n.is_nan() || n <= 0.0 {
        return (0.0, 1.0);
    }
    let inside = inside.clamp(0.0, n);
    let outside = n - inside;
    let low = if inside > 0.0 { beta_quantile(alpha, inside, outside + 1.0) } else { 0.0 };
    let high = if outside > 0.0 { 1.0 - beta_quantile(alpha, outside, inside + 1.0) } else { 1.0 };
    (low, high)
}

/// Attempts without a miss that prove a share inside of `level` (0–1, exclusive) when the test may
/// err with probability `alpha`: the least n with `levelⁿ ≤ alpha`. `None` for a level that no
/// number of attempts can prove.
pub fn attempts_needed(level: f64, alpha: f64) -> Option<u64> {
    let possible = level > 0.0 && level < 1.0 && alpha > 0.0 && alpha < 1.0;
    // The last digit of a quotient of logarithms must not cost an attempt.
    possible.then(|| ((alpha.ln() / level.ln()) * (1.0 - 1e-12)).ceil() as u64)
}

/// The `p` quantile of Beta(a, b), a, b > 0, by bisection of its distribution function.
pub(crate) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if incomplete_beta(middle, a, b) < p {
            low = middle;
        } else {
            high = middle;
        }
        // Below 1e-300 the bounds of a share are zero for all purposes.
        if high < 1e-300 {
            return high;
        }
    }
}

/// The regularised incomplete beta function I_x(a, b): continued fraction 26.5.8 of Abramowitz and
/// Stegun by Lentz's method, on the side where it converges fast.
pub(crate) fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let log_front =
        libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p();
    if x < (a + 1.0) / (a + b + 2.0) {
        (log_front.exp() * fraction(x, a, b) / a).min(1.0)
    } else {
        (1.0 - log_front.exp() * fraction(1.0 - x, b, a) / b).max(0.0)
    }
}

#[allow(clippy::many_single_char_names, reason = "the names of the formula")]
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for m in 1..=MOST_TERMS {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() < 1e-15 {
            break;
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(left: f64, right: f64, tolerance: f64) {
        assert!((left - right).abs() <= tolerance, "{left} is not {right}");
    }

    #[test]
    fn bounds_are_those_of_the_textbooks() {
        // Clopper and Pearson 1934 / Hald's tables: 10 of 100 give 4.90 % to 17.62 %, 1 of 10 gives
        // 0.25 % to 44.5 %, 5 of 10 gives 18.71 % to 81.29 %.
        for (k, n, low, high) in [
            (10.0, 100.0, 0.0490, 0.1762),
            (1.0, 10.0, 0.0025, 0.4450),
            (5.0, 10.0, 0.1871, 0.8129),
        ] {
            let found = proportion_bounds(k, n, 0.025);
            close(found.0, low, 5e-5);
            close(found.1, high, 5e-5);
        }
        // None of n: 1 − alpha^(1/n).
        close(proportion_bounds(0.0, 30.0, 0.05).1, 1.0 - 0.05_f64.powf(1.0 / 30.0), 1e-12);
        close(proportion_bounds(30.0, 30.0, 0.05).0, 0.05_f64.powf(1.0 / 30.0), 1e-12);
    }

    #[test]
    fn a_hundred_million_attempts_have_the_normal_interval() {
        let n = 1e8;
        let (low, high) = proportion_bounds(n / 2.0, n, 0.025);
        let half = 1.959_963_985 * (0.25 / n).sqrt();
        close(low, 0.5 - half, 1e-8);
        close(high, 0.5 + half, 1e-8);
    }

    #[test]
    fn numbers_of_attempts_are_the_known_ones() {
        for (level, needed) in [(0.9, 29), (0.95, 59), (0.99, 299), (0.999, 2995)] {
            assert_eq!(attempts_needed(level, 0.05), Some(needed), "{level}");
            let lower = |n: u64| proportion_bounds(n as f64, n as f64, 0.05).0;
            assert!(lower(needed) >= level && lower(needed - 1) < level, "{level}");
        }
        // Exactly at the limit: 0.5² = 0.25.
        assert_eq!(attempts_needed(0.5, 0.25), Some(2));
    }

    #[test]
    fn what_cannot_be_proven_is_refused() {
        assert_eq!(attempts_needed(1.0, 0.05), None);
        assert_eq!(attempts_needed(0.99, 0.0), None);
        assert_eq!(proportion_bounds(0.0, 0.0, 0.025), (0.0, 1.0));
    }

    /// P(B ≥ k) of a binomial law, by its recurrence.
    fn at_least(k: u64, n: u64, p: f64) -> f64 {
        let mut term = (1.0 - p).powi(n as i32);
        let mut below = 0.0;
        for i in 0..k {
            below += term;
            term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
        }
        1.0 - below
    }

    proptest! {
        #[test]
        fn bounds_solve_the_binomial_equations(n in 1u64..60, part in 0.0..=1.0f64, alpha in 0.001..0.2f64) {
            let k = (part * n as f64).round() as u64;
            let (low, high) = proportion_bounds(k as f64, n as f64, alpha);
            let share = k as f64 / n as f64;
            prop_assert!(low <= share && share <= high);
            if k > 0 {
                prop_assert!((at_least(k, n, low) - alpha).abs() < 1e-9);
            }
            if k < n {
                prop_assert!((1.0 - at_least(k + 1, n, high) - alpha).abs() < 1e-9);
            }
        }

        #[test]
        fn more_evidence_narrows(n in 1.0..1e6f64, share in 0.0..=1.0f64) {
            let (low, high) = proportion_bounds(share * n, n, 0.025);
            let (nearer_low, nearer_high) = proportion_bounds(share * n * 2.0, n * 2.0, 0.025);
            prop_assert!(nearer_low >= low - 1e-12 && nearer_high <= high + 1e-12);
        }
    }
}
