//! Synthetic prompts of an exact length: common words of one token each, salted so that no two
//! requests share a beginning by accident.

use loadline_schema::plan::Length;
use loadline_schema::record::TrialId;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal, Normal};

/// Common short English words; with their leading space each is one token in nearly every
/// vocabulary for English text.
const WORDS: [&str; 128] = [
    "the", "of", "and", "to", "in", "is", "on", "for", "that", "with", "as", "was", "at", "by",
    "be", "this", "from", "or", "are", "have", "an", "they", "which", "one", "had", "not", "but",
    "what", "all", "were", "when", "we", "there", "can", "your", "has", "more", "if", "will",
    "each", "about", "up", "out", "them", "then", "she", "many", "some", "so", "these", "would",
    "other", "into", "her", "two", "him", "see", "time", "could", "no", "make", "than", "first",
    "been", "its", "who", "now", "people", "my", "made", "over", "did", "down", "only", "way",
    "find", "use", "may", "water", "long", "little", "very", "after", "words", "called", "just",
    "where", "most", "know", "get", "through", "back", "much", "before", "go", "good", "new",
    "write", "our", "used", "me", "man", "too", "any", "day", "same", "right", "look", "think",
    "also", "around", "another", "came", "come", "work", "three", "word", "must", "because",
    "does", "part", "even", "place", "well", "such", "here", "take", "why",
];
/// Words of the salt: 128^4 beginnings, so that two of 10,000 requests agree once in five runs.
const SALT_WORDS: u32 = 5;

/// How words become tokens on a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WordModel {
    /// Prompt tokens that the server counts beside the words: chat template, begin of text.
    pub template_tokens: f64,
    /// Tokens for each word.
    pub tokens_per_word: f64,
}

impl Default for WordModel {
    /// Not calibrated: a token for each word, and nothing else.
    fn default() -> Self {
        Self { template_tokens: 0.0, tokens_per_word: 1.0 }
    }
}

impl WordModel {
    /// Words for a prompt of so many tokens by the server's count, at least one.
    pub fn words(&self, tokens: u32) -> u32 {
        let words = (f64::from(tokens) - self.template_tokens) / self.tokens_per_word;
        words.round().max(1.0) as u32
    }

    /// The model through two measured prompts (words sent, tokens counted).
    pub fn through(first: (u32, u32), second: (u32, u32)) -> Self {
        let words = f64::from(second.0) - f64::from(first.0);
        let tokens = f64::from(second.1) - f64::from(first.1);
        if words == 0.0 || tokens / words <= 0.0 {
            return Self::default();
        }
        let tokens_per_word = tokens / words;
        let template_tokens = f64::from(first.1) - tokens_per_word * f64::from(first.0);
        Self { template_tokens, tokens_per_word }
    }
}

/// A length from its law, tokens, at least 1.
pub(crate) fn sample(length: &Length, rng: &mut ChaCha8Rng) -> u32 {
    let drawn = match *length {
        Length::Fixed { tokens } => return tokens.max(1),
        Length::Uniform { min, max } => return rng.random_range(min.max(1)..=max.max(min).max(1)),
        Length::Normal { mean, sd } => Normal::new(mean, sd).map_or(mean, |law| law.sample(rng)),
        Length::LogNormal { median, sigma } => {
            LogNormal::new(median.max(1.0).ln(), sigma).map_or(median, |law| law.sample(rng))
        }
    };
    drawn.round().clamp(1.0, 1e9) as u32
}

/// The random source of one operation: the same for the same run, trial and operation.
pub(crate) fn op_rng(seed: u64, trial: TrialId, op: u64) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&op.to_le_bytes());
    for (at, part) in [trial.stage, trial.point, trial.trial, trial.part].into_iter().enumerate() {
        key[16 + 2 * at..18 + 2 * at].copy_from_slice(&part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Appends a prompt of so many words: first those that all prompts of the run share, then the salt,
/// then words that do not matter.
pub(crate) fn push_text(
    out: &mut String,
    words: u32,
    shared: u32,
    seed: u64,
    rng: &mut ChaCha8Rng,
) {
    let shared = shared.min(words);
    let mut common = ChaCha8Rng::seed_from_u64(seed);
    let salt_end = (shared + SALT_WORDS).min(words);
    // The filling steps through the list: any words will do, and drawing each would cost more.
    let mut at = rng.random_range(0..WORDS.len());
    for number in 0..words {
        if number > 0 {
            out.push(' ');
        }
        let index = if number < shared {
            common.random_range(0..WORDS.len())
        } else if number < salt_end {
            rng.random_range(0..WORDS.len())
        } else {
            at = (at + 37) % WORDS.len();
            at
        };
        out.push_str(WORDS[index]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const ID: TrialId = TrialId { stage: 0, point: 1, trial: 2, part: 0 };

    fn text(words: u32, shared: u32, seed: u64, trial: TrialId, op: u64) -> String {
        let mut out = String::new();
        push_text(&mut out, words, shared, seed, &mut op_rng(seed, trial, op));
        out
    }

    #[test]
    fn prompts_differ_at_the_front_and_share_what_they_should() {
        let mut fronts = HashSet::new();
        for op in 0..200 {
            for point in 0..3 {
                let text = text(20, 4, 9, TrialId { point, ..ID }, op);
                let words: Vec<&str> = text.split(' ').collect();
                assert_eq!(words.len(), 20);
                fronts.insert(words[4..9].join(" "));
            }
        }
        assert_eq!(fronts.len(), 600, "every salt is another one");
        let common = |op| text(20, 4, 9, ID, op).split(' ').take(4).collect::<Vec<_>>().join(" ");
        assert_eq!(common(1), common(2));
    }

    #[test]
    fn words_are_all_different() {
        assert_eq!(WORDS.iter().collect::<HashSet<_>>().len(), WORDS.len());
    }

    proptest! {
        #[test]
        fn a_prompt_is_the_same_for_the_same_operation(words in 1_u32..50, seed: u64, op: u64) {
            prop_assert_eq!(text(words, 3, seed, ID, op), text(words, 3, seed, ID, op));
        }

        #[test]
        fn two_probes_give_the_exact_length(
            template in 0_u32..100, slope in 1_u32..3, target in 200_u32..4_000,
        ) {
            let count = |words: u32| template + slope * words;
            let model = WordModel::through((16, count(16)), (80, count(80)));
            let got = count(model.words(target));
            prop_assert!(got.abs_diff(target) <= slope / 2, "{} for {}", got, target);
        }

        #[test]
        fn lengths_are_at_least_one(seed: u64, sd in 0.0_f64..100.0) {
            let mut rng = op_rng(seed, ID, 0);
            let laws = [
                Length::Normal { mean: 5.0, sd },
                Length::LogNormal { median: 5.0, sigma: sd / 50.0 },
                Length::Uniform { min: 0, max: 3 },
            ];
            for law in laws {
                prop_assert!(sample(&law, &mut rng) >= 1);
            }
        }
    }
}
