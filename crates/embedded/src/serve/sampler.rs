//! Which token comes next: the likeliest, or a draw by temperature and nucleus.

use crate::llama::Token;
use crate::random::Random;

/// Draws one answer's tokens.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    temperature: f32,
    top_p: f64,
    random: Random,
    /// Weights of the last draw, kept for its memory.
    weights: Vec<(f32, Token)>,
}

impl Sampler {
    /// `temperature` 0: always the likeliest token. `top_p`: only the likeliest tokens that
    /// together have this share of the probability are drawn (Holtzman et al. 2019).
    pub(super) fn new(temperature: f32, top_p: f32, seed: u64) -> Self {
        Self {
            temperature,
            top_p: f64::from(top_p),
            random: Random::new(seed),
            weights: Vec::new(),
        }
    }

    /// The next token, by one logit for each token of the vocabulary; never one of `banned`.
    pub(super) fn draw(&mut self, logits: &[f32], banned: &[Token]) -> Token {
        let (best, most) = likeliest(logits, banned);
        if self.temperature <= 0.0 {
            return best;
        }
        self.weights.clear();
        let temperature = self.temperature;
        let weighted = (0..).zip(logits).filter(|(token, _)| !banned.contains(token));
        self.weights
            .extend(weighted.map(|(token, logit)| (((logit - most) / temperature).exp(), token)));
        let mut total: f64 = self.weights.iter().map(|(weight, _)| f64::from(*weight)).sum();
        if self.top_p < 1.0 {
            total = self.keep_nucleus(total);
        }
        let mut left = self.random.unit() * total;
        for (weight, token) in &self.weights {
            left -= f64::from(*weight);
            if left < 0.0 {
                return *token;
            }
        }
        best
    }

    /// Keeps the likeliest tokens with `top_p` of the weight; returns theirs.
    fn keep_nucleus(&mut self, total: f64) -> f64 {
        // All tokens below this weight together have at most 1 - top_p of it, so that none of
        // them is in the nucleus: sorting the others is enough.
        let least = (1.0 - self.top_p) * total / self.weights.len().max(1) as f64;
        self.weights.retain(|(weight, _)| f64::from(*weight) >= least);
        self.weights.sort_unstable_by(|one, two| two.0.total_cmp(&one.0));
        let mut sum = 0.0;
        let mut count = 0;
        for (weight, _) in &self.weights {
            sum += f64::from(*weight);
            count += 1;
            if sum >= self.top_p * total {
                break;
            }
        }
        self.weights.truncate(count);
        sum
    }
}

/// The token with the largest logit, and that logit.
fn likeliest(logits: &[f32], banned: &[Token]) -> (Token, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in (0..).zip(logits) {
        if *logit > best.1 && !banned.contains(&token) {
            best = (token, *logit);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_temperature_the_likeliest_is_taken() {
        let mut sampler = Sampler::new(0.0, 1.0, 1);
        assert_eq!(sampler.draw(&[0.0, 3.0, 2.0], &[]), 1);
        assert_eq!(sampler.draw(&[0.0, 3.0, 2.0], &[1]), 2);
        assert_eq!(sampler.draw(&[f32::NAN, -1.0], &[]), 1);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = Sampler::new(1.0, 1.0, 7);
        let logits = [0.75_f32.ln(), 0.25_f32.ln(), f32::NEG_INFINITY];
        let first = (0..10_000).filter(|_| sampler.draw(&logits, &[]) == 0).count();
        assert!((7_300..7_700).contains(&first), "{first} of 10000 at 0.75");
    }

    #[test]
    fn the_nucleus_leaves_unlikely_tokens_out() {
        let mut sampler = Sampler::new(1.0, 0.8, 7);
        let logits: Vec<f32> = [0.05_f32, 0.5, 0.1, 0.35].iter().map(|p| p.ln()).collect();
        let mut seen = [0; 4];
        for _ in 0..1_000 {
            seen[sampler.draw(&logits, &[]) as usize] += 1;
        }
        assert_eq!((seen[0], seen[2]), (0, 0));
        assert!(seen[1] > seen[3] && seen[3] > 300, "{seen:?}");
    }

    #[test]
    fn the_seed_fixes_the_draws() {
        let logits = [0.0_f32; 50];
        let draws = |seed| {
            let mut sampler = Sampler::new(1.0, 1.0, seed);
            (0..20).map(|_| sampler.draw(&logits, &[])).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}
