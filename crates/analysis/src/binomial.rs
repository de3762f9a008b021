//! Distribution-free intervals of percentiles: which two order statistics of a sample enclose a
//! percentile with 95 % confidence, by the exact binomial law.

/// Probability that each side of a two-sided 95 % interval may miss.
const TAIL: f64 = 0.025;
/// Both sides together.
const BOTH: f64 = 0.05;
/// Widths of the binomial law that are summed on each side of its mode; what lies beyond has a
/// probability under 1e-20.
const WIDTHS: f64 = 12.0;

/// One-based ranks `(low, high)` of the order statistics that enclose the percentile
/// `per_mille / 1000` of `n` independent values with at least 95 % confidence. A missing rank means
/// that the sample is too small to bound the percentile on that side.
///
/// `P(X(low) ≤ ξ) = 1 − P(B < low)` and `P(ξ ≤ X(high)) = 1 − P(B ≥ high)` with
/// `B ~ Bin(n, q)` (H. A. David, *Order Statistics*, 7.1). Each side may miss with 2.5 %. Where
/// even the largest value misses with more than that, the upper side takes what it needs up to 5 %
/// and the lower side has the rest: so the 99th percentile is bounded from above from
/// `n = 299` on (`0.99^299 ≤ 5 %`), the 90th from 29, the 95th from 59, the 99.9th from 2,995.
pub fn order_statistic_ranks(n: u64, per_mille: u32) -> (Option<u64>, Option<u64>) {
    if n == 0 || per_mille == 0 || per_mille >= 1000 {
        return (None, None);
    }
    let q = f64::from(per_mille) / 1000.0;
    let (for_low, for_high) = budgets(n, q);
    let law = Law::new(n, q);
    (law.low_rank(for_low), law.high_rank(for_high))
}

/// How the 5 % are shared between the lower and the upper side.
fn budgets(n: u64, q: f64) -> (f64, f64) {
    let least_high = (n as f64 * q.ln()).exp();
    if least_high <= TAIL {
        (TAIL, TAIL)
    } else if least_high <= BOTH {
        (BOTH - least_high, least_high)
    } else {
        (BOTH, 0.0)
    }
}

/// The part of a binomial law that has weight: `P(B = first + i)` for each `i`.
struct Law {
    n: u64,
    first: u64,
    p: Vec<f64>,
}

impl Law {
    /// Probabilities from the ratios of neighbours, outwards from the mode, then normalised:
    /// no factorials and no cancellation, so that it holds for millions of trials.
    fn new(n: u64, q: f64) -> Self {
        let mode = (((n + 1) as f64) * q).floor().min(n as f64) as u64;
        let reach = (WIDTHS * (n as f64 * q * (1.0 - q)).sqrt() + 60.0) as u64;
        let (first, last) = (mode.saturating_sub(reach), (mode + reach).min(n));
        let odds = q / (1.0 - q);
        let mut p = vec![0.0; (last - first + 1) as usize];
        let middle = (mode - first) as usize;
        p[middle] = 1.0;
        for i in middle + 1..p.len() {
            let k = (first + i as u64) as f64;
            p[i] = p[i - 1] * ((n as f64 - k + 1.0) / k) * odds;
        }
        for i in (0..middle).rev() {
            let k = (first + i as u64) as f64;
            p[i] = p[i + 1] * ((k + 1.0) / (n as f64 - k)) / odds;
        }
        let sum: f64 = p.iter().sum();
        for w in &mut p {
            *w /= sum;
        }
        Self { n, first, p }
    }

    /// Largest rank `l ≥ 1` with `P(B ≤ l − 1) ≤ budget`.
    fn low_rank(&self, budget: f64) -> Option<u64> {
        let mut below = 0.0;
        let mut rank = self.first;
        for w in &self.p {
            below += w;
            if below > budget * (1.0 + 1e-9) {
                break;
            }
            rank += 1;
        }
        (rank >= 1).then_some(rank)
    }

    /// Smallest rank `u ≤ n` with `P(B ≥ u) ≤ budget`.
    fn high_rank(&self, budget: f64) -> Option<u64> {
        let mut above = 0.0;
        let mut rank = self.first + self.p.len() as u64;
        for w in self.p.iter().rev() {
            above += w;
            if above > budget * (1.0 + 1e-9) {
                break;
            }
            rank -= 1;
        }
        (rank <= self.n).then_some(rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The law itself, slowly and exactly enough for small n.
    fn cdf(n: u64, q: f64, k: i64) -> f64 {
        let choose = |k: u64| (1..=k).fold(1.0, |c, i| c * (n + 1 - i) as f64 / i as f64);
        (0..=k.max(-1))
            .map(|k| choose(k as u64) * q.powi(k as i32) * (1.0 - q).powi((n as i64 - k) as i32))
            .sum()
    }

    #[test]
    fn known_ranks_of_the_median() {
        // Classical tables: n = 10 gives the 2nd and the 9th, n = 20 the 6th and 15th, n = 100 the
        // 40th and 61st.
        assert_eq!(order_statistic_ranks(10, 500), (Some(2), Some(9)));
        assert_eq!(order_statistic_ranks(20, 500), (Some(6), Some(15)));
        assert_eq!(order_statistic_ranks(100, 500), (Some(40), Some(61)));
    }

    #[test]
    fn too_few_samples_leave_the_upper_side_open() {
        for (per_mille, needed) in [(900, 29), (950, 59), (990, 299), (999, 2995)] {
            assert_eq!(order_statistic_ranks(needed - 1, per_mille).1, None, "{per_mille}");
            assert_eq!(order_statistic_ranks(needed, per_mille).1, Some(needed), "{per_mille}");
        }
        assert_eq!(order_statistic_ranks(0, 990), (None, None));
        assert_eq!(order_statistic_ranks(1, 500), (None, None));
    }

    #[test]
    fn coverage_is_at_least_95_percent_and_not_wasteful() {
        for n in 6..160 {
            for per_mille in [500, 900, 950, 990] {
                let q = f64::from(per_mille) / 1000.0;
                let (low, high) = order_statistic_ranks(n, per_mille);
                let below = low.map_or(0.0, |l| cdf(n, q, l as i64 - 1));
                let above = high.map_or(0.0, |u| 1.0 - cdf(n, q, u as i64 - 1));
                assert!(below + above <= 0.05 + 1e-9, "n {n} q {q}: {below} + {above}");
                // One rank further in would miss too often.
                if let (Some(l), Some(_)) = (low, high) {
                    assert!(cdf(n, q, l as i64) > 0.0249 - above, "n {n} q {q}");
                }
            }
        }
    }

    #[test]
    fn a_million_values_are_no_trouble() {
        let (low, high) = order_statistic_ranks(1_000_000, 990);
        // Normal approximation: 990,000 ± 1.96 × sqrt(1e6 × 0.99 × 0.01) = ± 195.
        let (low, high) = (low.expect("low"), high.expect("high"));
        assert!((989_803..=989_807).contains(&low), "{low}");
        assert!((990_194..=990_198).contains(&high), "{high}");
    }
}
