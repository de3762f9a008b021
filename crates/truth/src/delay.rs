//! Random quantities of a law: delays and lengths, drawn from a generator per request.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Exp1, StandardNormal, StandardUniform};

/// A time, fixed or random. All parameters are ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always this long.
    Fixed(u64),
    /// Evenly between the two.
    Uniform {
        /// Smallest value, ns.
        low_ns: u64,
        /// Largest value, ns.
        high_ns: u64,
    },
    /// Exponential.
    Exponential {
        /// Mean, ns.
        mean_ns: u64,
    },
    /// Log-normal: exp(ln median + sigma · N(0, 1)).
    Lognormal {
        /// Median, ns.
        median_ns: u64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
}

impl Delay {
    /// A fixed delay.
    pub fn fixed(duration: Duration) -> Self {
        Self::Fixed(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The mean of the law, ns; exp(sigma² / 2) times the median for the log-normal.
    pub fn mean_ns(&self) -> f64 {
        match *self {
            Self::Fixed(ns) => ns as f64,
            Self::Uniform { low_ns, high_ns } => f64::midpoint(low_ns as f64, high_ns as f64),
            Self::Exponential { mean_ns } => mean_ns as f64,
            Self::Lognormal { median_ns, sigma } => median_ns as f64 * (sigma * sigma / 2.0).exp(),
        }
    }

    pub(crate) fn draw(&self, draws: &mut Draws) -> u64 {
        match *self {
            Self::Fixed(ns) => ns,
            Self::Uniform { low_ns, high_ns } => {
                low_ns + (draws.unit() * high_ns.saturating_sub(low_ns) as f64) as u64
            }
            Self::Exponential { mean_ns } => (draws.exponential() * mean_ns as f64) as u64,
            Self::Lognormal { median_ns, sigma } => {
                (median_ns as f64 * (sigma * draws.normal()).exp()) as u64
            }
        }
    }
}

/// A number of tokens, fixed or random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Always so many.
    Fixed(u32),
    /// Evenly from `low` to `high`, both included.
    Uniform {
        /// Fewest tokens.
        low: u32,
        /// Most tokens.
        high: u32,
    },
}

impl Length {
    pub(crate) fn draw(self, draws: &mut Draws) -> u32 {
        match self {
            Self::Fixed(tokens) => tokens,
            Self::Uniform { low, high } => {
                let width = f64::from(high.saturating_sub(low)) + 1.0;
                low + ((draws.unit() * width) as u32).min(high.saturating_sub(low))
            }
        }
    }
}

/// The random numbers of one request, made when the first is needed: most laws need none.
#[derive(Debug)]
pub(crate) struct Draws {
    seed: u64,
    generator: Option<Box<ChaCha8Rng>>,
}

impl Draws {
    /// The numbers of request `id` under a law's `seed`.
    pub(crate) fn new(seed: u64, id: u64) -> Self {
        Self { seed: seed ^ id.wrapping_mul(0x9E37_79B9_7F4A_7C15), generator: None }
    }

    fn generator(&mut self) -> &mut ChaCha8Rng {
        let seed = self.seed;
        self.generator.get_or_insert_with(|| Box::new(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// Even in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        StandardUniform.sample(self.generator())
    }

    fn exponential(&mut self) -> f64 {
        Exp1.sample(self.generator())
    }

    fn normal(&mut self) -> f64 {
        StandardNormal.sample(self.generator())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(delay: Delay) -> f64 {
        let total: u64 = (0..20_000).map(|id| delay.draw(&mut Draws::new(3, id))).sum();
        total as f64 / 20_000.0
    }

    #[test]
    fn each_law_has_the_mean_it_states() {
        for delay in [
            Delay::Fixed(1_000_000),
            Delay::Uniform { low_ns: 500_000, high_ns: 1_500_000 },
            Delay::Exponential { mean_ns: 1_000_000 },
            Delay::Lognormal { median_ns: 1_000_000, sigma: 0.5 },
        ] {
            let ratio = mean(delay) / delay.mean_ns();
            assert!((0.97..1.03).contains(&ratio), "{delay:?}: {ratio}");
        }
    }

    #[test]
    fn a_request_draws_the_same_again_and_another_one_differs() {
        let delay = Delay::Exponential { mean_ns: 1_000_000 };
        let draw = |seed, id| delay.draw(&mut Draws::new(seed, id));
        assert_eq!(draw(1, 7), draw(1, 7));
        assert_ne!(draw(1, 7), draw(1, 8));
        assert_ne!(draw(1, 7), draw(2, 7));
    }

    #[test]
    fn lengths_reach_both_ends() {
        let length = Length::Uniform { low: 2, high: 4 };
        let drawn: std::collections::BTreeSet<u32> =
            (0..200).map(|id| length.draw(&mut Draws::new(1, id))).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
    }
}
