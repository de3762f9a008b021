//! The moving-block bootstrap of a mean (H. R. Künsch, *Annals of Statistics* 17, 1989).
//!
//! Resampling blocks with replacement gives means whose variance is known without drawing any:
//! that of the means of all overlapping blocks, divided by the number of blocks that fit. It is
//! computed here in that closed form, so there is no seed, no noise of its own, and an interval for
//! any confidence; it comes out the same whatever the number of resamples would have been.

use crate::autocorrelation::{correlation, in_order};
use crate::student::t_quantile;

/// Blocks that must fit; with fewer the variance between them says nothing.
const LEAST_BLOCKS: f64 = 5.0;
/// A block is this many times the lag at which the autocorrelation has gone.
const LAGS_OF_A_BLOCK: usize = 2;

/// How far a mean may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// Standard error of the mean.
    pub(crate) error: f64,
    /// Degrees of freedom of that.
    pub(crate) df: f64,
}

impl Spread {
    /// Half width of the interval that misses with `alpha` on each side.
    pub(crate) fn half_width(&self, alpha: f64) -> f64 {
        self.error * t_quantile(alpha, self.df)
    }
}

/// Spread of the mean of a series, in segments that blocks do not cross, with blocks of twice the
/// lag at which its autocorrelation falls under 0.1. Blocks of that length leave out a tenth of a
/// correlation that fades slowly; so where the error from the effective sample size, s √(τ / n), is
/// larger, it is taken (of 95 % intervals of autoregressions 90 % held with blocks alone, 94 % so).
/// `None` where fewer than five blocks fit or the series is too short for its correlation to be seen.
pub(crate) fn spread(segments: &[&[f64]]) -> Option<Spread> {
    let memory = correlation(segments)?;
    let blocks = block_spread(segments, LAGS_OF_A_BLOCK * memory.lag.max(1))?;
    let single = block_spread(segments, 1)?;
    let error = single.error * memory.tau.sqrt();
    let df = blocks.df.min((memory.n_effective() - 1.0).max(1.0));
    Some(Spread { error: error.max(blocks.error), df })
}

/// The same for blocks of a given length. The variance of overlapping blocks is made unbiased, and
/// has 1.5 times the degrees of freedom of blocks side by side (M. S. Meketon, B. Schmeiser, 1984).
pub(crate) fn block_spread(segments: &[&[f64]], block: usize) -> Option<Spread> {
    let n = segments.iter().map(|s| s.len()).sum::<usize>() as f64;
    let fit = n / block as f64;
    if block == 0 || fit < LEAST_BLOCKS {
        return None;
    }
    let segments = in_order(segments);
    let mean = segments.iter().flat_map(|s| s.iter()).sum::<f64>() / n;
    let (mut squares, mut blocks) = (0.0, 0usize);
    for segment in segments.into_iter().filter(|s| s.len() >= block) {
        // Sums of deviations, so that sliding loses no digits to a large mean.
        let mut sum: f64 = segment[..block].iter().map(|v| v - mean).sum();
        squares += sum * sum;
        for (gone, come) in segment.iter().zip(&segment[block..]) {
            sum += come - gone;
            squares += sum * sum;
        }
        blocks += segment.len() - block + 1;
    }
    if blocks < 2 {
        return None;
    }
    let of_block = squares / blocks as f64 / (block as f64).powi(2);
    let unbiased = of_block * n / (n - block as f64);
    Some(Spread { error: (unbiased / fit).sqrt(), df: 1.5 * (fit - 1.0) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise::Noise;

    fn walk(phi: f64, n: usize, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        let mut x = noise.normal() / (1.0 - phi * phi).sqrt();
        let step = |_| {
            x = phi * x + noise.normal();
            x
        };
        (0..n).map(step).collect()
    }

    /// How often the interval of the mean of an autoregression around 0 holds 0, of 400.
    fn covered(phi: f64, n: usize) -> usize {
        let holds = |seed: &u64| {
            let values = walk(phi, n, *seed);
            let mean = values.iter().sum::<f64>() / n as f64;
            spread(&[&values]).is_some_and(|s| mean.abs() <= s.half_width(0.025))
        };
        (0..400).filter(holds).count()
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        // 95 % of 400 are 380, ± 3 standard deviations of 4.4; that τ is estimated costs a little.
        for (phi, n) in [(0.0, 200), (0.5, 500), (0.9, 2_000)] {
            let covered = covered(phi, n);
            assert!((364..=394).contains(&covered), "φ {phi}: {covered} of 400");
        }
    }

    #[test]
    fn without_memory_it_is_the_error_of_the_mean() {
        let values = walk(0.0, 50_000, 9);
        let found = block_spread(&[&values], 2).expect("long");
        assert!((found.error / (1.0 / 50_000_f64).sqrt() - 1.0).abs() < 0.03, "{}", found.error);
    }

    #[test]
    fn too_few_blocks_are_refused() {
        let ramp: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(spread(&[&ramp]), None);
        assert_eq!(spread(&[&ramp[..10]]), None);
        assert_eq!(block_spread(&[&ramp], 21), None);
        assert_eq!(block_spread(&[&ramp], 0), None);
        // Segments shorter than a block hold none.
        assert_eq!(block_spread(&[&[1.0, 2.0][..]; 20], 3), None);
    }

    proptest! {
        #[test]
        fn it_scales_with_the_values(seed in 0u64..500, scale in 0.1..1e6f64, shift in -1e3..1e3f64) {
            let values = walk(0.3, 200, seed);
            let moved: Vec<f64> = values.iter().map(|v| v * scale + shift).collect();
            let (a, b) = (block_spread(&[&values], 6), block_spread(&[&moved], 6));
            let (a, b) = (a.expect("long"), b.expect("long"));
            prop_assert!((a.error * scale - b.error).abs() <= 1e-6 * b.error);
        }
    }
}
