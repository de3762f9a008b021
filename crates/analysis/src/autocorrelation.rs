//! How much the values of a series hang together: after how many of them the memory of one is
//! gone, and how many independent observations they are worth.

/// Values below which nothing is said: an autocorrelation of 20 values has a standard error of
/// 0.22, twice the level that is looked for.
const LEAST: usize = 20;
/// Lags that are looked at before the series is taken in blocks.
const MOST_LAGS: usize = 256;
/// Values that are taken together then.
const COARSER: usize = 4;
/// Level under which a value is taken to have been forgotten.
const FORGOTTEN: f64 = 0.1;
/// Standard deviation, as a share of the mean, under which memory has no consequence: the noise of a
/// constant server wanders slowly, and no figure hangs on it.
const CONSTANT: f64 = 0.01;
/// Standard errors (1/√n) by which τ may exceed 1 by chance: in nine of ten series without memory
/// the excess is below. More would hide weak memory, less would cost attempts.
const BY_CHANCE: f64 = 5.0;

/// The memory of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correlation {
    /// Integrated autocorrelation time τ = 1 + 2 Σ ρ(k), in values, at least 1: the mean of n values
    /// has the variance of the mean of n / τ independent ones.
    pub tau: f64,
    /// Smallest lag, in values, at which the autocorrelation is under 0.1; where none is, the length
    /// of the longest segment.
    pub lag: usize,
    /// Values.
    pub n: usize,
}

impl Correlation {
    /// Independent observations that the values are worth, n / τ, at least 1.
    pub fn n_effective(&self) -> f64 {
        (self.n as f64 / self.tau).max(1.0)
    }
}

/// The memory of a series that may consist of several segments (trials), each in order of time. Lags
/// do not cross segments; the mean is that of all, so that segments on different levels show as
/// correlation, which they are.
///
/// τ by the initial monotone sequence (C. J. Geyer, *Statistical Science* 7, 1992): sums of pairs
/// ρ(2m) + ρ(2m + 1), none larger than the one before, up to the first that is not positive; then
/// corrected for the mean that was estimated from the same values (U. Wolff, *Computer Physics Communications*
/// 156, 2004): × (1 + (2W + 1)/n) with W lags. A τ that chance alone explains (under 1 + 5/√n) is 1.
/// Where the memory reaches beyond 256 lags, the series is taken in means of 4, 16, … values, for
/// which n · Var(mean) is the same: the work grows with n alone.
///
/// `None` with fewer than 20 values: too few to see any correlation. Values that are nearly
/// equal (standard deviation under 1 % of the mean) are worth each by itself (τ = 1): what moves
/// together in them is too little to matter.
pub fn correlation(segments: &[&[f64]]) -> Option<Correlation> {
    let n = segments.iter().map(|s| s.len()).sum::<usize>();
    if n < LEAST {
        return None;
    }
    let segments = in_order(segments);
    let mean = segments.iter().flat_map(|s| s.iter()).sum::<f64>() / n as f64;
    let mut level = Level {
        size: 1,
        centred: segments.iter().map(|s| s.iter().map(|v| v - mean).collect()).collect(),
    };
    let variance = level.variance();
    if variance <= (mean * CONSTANT).powi(2) {
        return Some(Correlation { tau: 1.0, lag: 1, n });
    }
    let mut lag = None;
    loop {
        let sum = level.sum();
        lag = lag.or_else(|| sum.forgotten_at.map(|k| k * level.size));
        if sum.ended || level.longest() / COARSER < LEAST {
            let scale = level.size as f64 * level.variance() / variance;
            let tau = scale * sum.tau;
            let by_chance = tau < 1.0 + BY_CHANCE / (n as f64).sqrt();
            let window = ((2 * sum.lags + 1) * level.size) as f64 / n as f64;
            let tau = if by_chance { 1.0 } else { tau * (1.0 + window) };
            let lag = lag.unwrap_or_else(|| segments.iter().map(|s| s.len()).max().unwrap_or(1));
            return Some(Correlation { tau: tau.max(1.0), lag, n });
        }
        level = level.coarser();
    }
}

/// Segments by length and values: the order in which trials came must not matter to the last bit.
pub(crate) fn in_order<'a>(segments: &[&'a [f64]]) -> Vec<&'a [f64]> {
    let mut segments = segments.to_vec();
    segments.sort_by(|a, b| {
        let differ = a.iter().zip(*b).map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne());
        a.len().cmp(&b.len()).then(differ.unwrap_or(std::cmp::Ordering::Equal))
    });
    segments
}

/// The series in means of `size` values, less the mean of all.
struct Level {
    size: usize,
    centred: Vec<Vec<f64>>,
}

/// What the lags of a level add up to.
struct Sum {
    /// In values of the level.
    tau: f64,
    lags: usize,
    forgotten_at: Option<usize>,
    /// Whether the pairs stopped being positive, or the lags came to their end.
    ended: bool,
}

impl Level {
    fn longest(&self) -> usize {
        self.centred.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn variance(&self) -> f64 {
        let n = self.centred.iter().map(Vec::len).sum::<usize>();
        self.centred.iter().flatten().map(|v| v * v).sum::<f64>() / n.max(1) as f64
    }

    fn coarser(&self) -> Self {
        let mean = |block: &[f64]| block.iter().sum::<f64>() / COARSER as f64;
        let centred =
            self.centred.iter().map(|s| s.chunks_exact(COARSER).map(mean).collect()).collect();
        Self { size: self.size * COARSER, centred }
    }

    /// Mean product of values `lag` apart; `None` where no two are.
    fn covariance(&self, lag: usize) -> Option<f64> {
        let (mut sum, mut pairs) = (0.0, 0usize);
        for segment in &self.centred {
            let Some(later) = segment.get(lag..) else { continue };
            sum += products(segment, later);
            pairs += later.len();
        }
        (pairs > 0).then(|| sum / pairs as f64)
    }

    fn sum(&self) -> Sum {
        let variance = self.variance();
        let mut sum = Sum { tau: -1.0, lags: 0, forgotten_at: None, ended: true };
        let mut before = f64::INFINITY;
        for lag in (0..MOST_LAGS).step_by(2) {
            let (Some(even), Some(odd)) = (self.covariance(lag), self.covariance(lag + 1)) else {
                return sum;
            };
            for (at, covariance) in [(lag, even), (lag + 1, odd)] {
                if sum.forgotten_at.is_none() && covariance < FORGOTTEN * variance {
                    sum.forgotten_at = Some(at);
                }
            }
            let pair = ((even + odd) / variance).min(before);
            if pair <= 0.0 {
                return sum;
            }
            sum.tau += 2.0 * pair;
            sum.lags = lag + 1;
            before = pair;
        }
        sum.ended = false;
        sum
    }
}

/// Σ aᵢ bᵢ over the shorter of both. In eight sums side by side, since the compiler may not reorder
/// additions of floats by itself: this is where a search spends its time.
fn products(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let n = a.len().min(b.len());
    let (a, b) = (a[..n].chunks_exact(LANES), b[..n].chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum::<f64>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise::Noise;

    fn ar1(phi: f64, n: usize, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        let mut x = noise.normal() / (1.0 - phi * phi).sqrt();
        let step = |_| {
            let now = x;
            x = phi * x + noise.normal();
            now
        };
        (0..n).map(step).collect()
    }

    #[test]
    fn an_autoregression_has_its_known_time_and_lag() {
        // τ = (1 + φ) / (1 − φ); ρ(k) = φᵏ is under 0.1 from k = ln 0.1 / ln φ on.
        for (phi, n) in [(0.5, 100_000), (0.9, 200_000), (0.99, 1_000_000), (0.999, 1_000_000)] {
            let found = correlation(&[&ar1(phi, n, 1)]).expect("long");
            let truth = (1.0 + phi) / (1.0 - phi);
            assert!(
                (found.tau / truth - 1.0).abs() < 0.15,
                "φ {phi}: {} is not {truth}",
                found.tau
            );
            let lag = 0.1_f64.ln() / phi.ln();
            assert!((found.lag as f64 / lag - 1.0).abs() < 0.3, "φ {phi}: {} not {lag}", found.lag);
        }
    }

    #[test]
    fn series_without_memory_are_worth_what_they_have() {
        let times = |n: usize| (0..200).map(move |seed| correlation(&[&ar1(0.0, n, seed)]));
        for n in [50, 300, 2_000] {
            let above = times(n).filter(|c| c.is_none_or(|c| c.tau > 1.0)).count();
            assert!(above <= 32, "{above} of 200 series of {n}");
        }
        let alternating: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        assert_eq!(correlation(&[&alternating]).map(|c| c.tau), Some(1.0));
        let equal = correlation(&[&[0.1; 50]]).expect("long enough");
        assert_eq!((equal.tau, equal.n_effective()), (1.0, 50.0));
    }

    #[test]
    fn what_moves_by_less_than_a_percent_has_no_memory_that_matters() {
        let wander = ar1(0.95, 400, 7);
        let around = |level: f64| {
            let values: Vec<f64> = wander.iter().map(|v| v + level).collect();
            correlation(&[&values]).expect("long").tau
        };
        assert_eq!(around(10_000.0), 1.0);
        assert!(around(10.0) > 5.0);
    }

    #[test]
    fn too_few_values_are_refused() {
        assert_eq!(correlation(&[]), None);
        assert_eq!(correlation(&[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]]), None);
        let noise = ar1(0.0, 20, 3);
        assert_eq!(correlation(&[&noise[..19]]), None);
        assert!(correlation(&[&noise]).is_some());
    }

    #[test]
    fn a_ramp_and_segments_on_two_levels_are_worth_little() {
        let ramp: Vec<f64> = (0..1_000).map(f64::from).collect();
        assert!(correlation(&[&ramp]).expect("long").n_effective() < 8.0);
        let (low, high) = (ar1(0.0, 500, 1), ar1(0.0, 500, 2));
        let high: Vec<f64> = high.iter().map(|v| v + 10.0).collect();
        assert!(correlation(&[&low, &high]).expect("long").n_effective() < 4.0);
    }

    proptest! {
        #[test]
        fn unit_and_origin_do_not_matter(
            seed in 0u64..1_000, phi in 0.0..0.95f64, scale in 0.5..1e6f64, shift in -20.0..20.0f64,
        ) {
            let values = ar1(phi, 400, seed);
            let moved: Vec<f64> = values.iter().map(|v| (v + shift) * scale).collect();
            let (a, b) = (correlation(&[&values]), correlation(&[&moved]));
            let (a, b) = (a.expect("long"), b.expect("long"));
            prop_assert!((a.tau - b.tau).abs() < 1e-6 * a.tau, "{} {}", a.tau, b.tau);
            prop_assert!(a.tau >= 1.0 && a.n_effective() >= 1.0 && a.n_effective() <= 400.0);
        }
    }
}
