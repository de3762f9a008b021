//! Arrival times of an open loop: absolute offsets from the start of a trial, from a law, a rate
//! and a seed. The same arguments give the same times on every machine.

use loadline_schema::plan::Arrival;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Exp1, Gamma};

/// Offsets from the start of a trial, ns, in ascending order, without end.
///
/// - constant: the i-th is round(i · 10⁹ / rate), from i = 0; never a sum of rounded gaps.
/// - Poisson: gaps exponential with mean 1/rate (coefficient of variation 1).
/// - gamma: gaps gamma-distributed with this shape and mean 1/rate (coefficient of variation
///   1/√shape).
///
/// With random gaps the first arrival comes one gap after the start. Gaps are summed in units of
/// the mean gap and each sum is rounded once, so that rounding does not add up.
/// A rate or shape that is not positive and finite gives no arrivals at all.
pub fn arrivals(arrival: Arrival, rate_per_s: f64, seed: u64) -> Arrivals {
    let possible = rate_per_s.is_finite() && rate_per_s > 0.0;
    let random = || Box::new(ChaCha8Rng::seed_from_u64(seed));
    let law = match arrival {
        _ if !possible => Law::Never,
        Arrival::Constant => Law::Constant,
        Arrival::Poisson => Law::Poisson(random()),
        Arrival::Gamma { shape } if shape.is_finite() && shape > 0.0 => {
            // Scale 1/shape makes the mean gap one unit.
            Gamma::new(shape, 1.0 / shape).map_or(Law::Never, |law| Law::Gamma(random(), law))
        }
        Arrival::Gamma { .. } => Law::Never,
    };
    Arrivals { law, index: 0, elapsed: 0.0, rate_per_s }
}

/// The iterator of [`arrivals`].
#[derive(Debug, Clone)]
pub struct Arrivals {
    law: Law,
    index: u64,
    /// Sum of the gaps so far, in mean gaps.
    elapsed: f64,
    rate_per_s: f64,
}

#[derive(Debug, Clone)]
enum Law {
    Constant,
    Poisson(Box<ChaCha8Rng>),
    Gamma(Box<ChaCha8Rng>, Gamma<f64>),
    /// Every arrival at the start.
    AtOnce,
    Never,
}

impl Arrivals {
    /// All at offset 0: a burst.
    pub(crate) fn at_once() -> Self {
        Self { law: Law::AtOnce, index: 0, elapsed: 0.0, rate_per_s: 1.0 }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.elapsed = match &mut self.law {
            // Exact as long as the index is below 2⁵³.
            Law::Constant => self.index as f64,
            Law::Poisson(random) => {
                let gap: f64 = Exp1.sample(random);
                self.elapsed + gap
            }
            Law::Gamma(random, law) => self.elapsed + law.sample(random),
            Law::AtOnce => 0.0,
            Law::Never => return None,
        };
        self.index += 1;
        Some((self.elapsed * 1e9 / self.rate_per_s).round() as u64)
    }
}
