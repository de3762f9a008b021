//! Synthetic prompts of an exact length: common words of one token each, salted so that no two
//! requests share a beginning by accident.

use loadline_schema::plan::Length;
use loadline_schema::record::TrialId;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal, Normal};

/// 256 common English words of three to seven letters. Each is one token, with a leading space and
/// without, in every one of 18 vocabularies looked at in November 2026: GPT-2, GPT-NeoX, MPT,
/// Falcon, StarCoder, Refact, SmolLM2, Llama 2 and 3, Phi-3, Qwen 2 and 3.5, DeepSeek LLM and Coder,
/// Command R, Aquila, Baichuan and Gemma 4 (llama.cpp's vocabulary files and SmolLM2's own).
const WORDS: &str = "\
    and that for you with are not from have this can has but all will they out who more one your \
    about other like any there year some when than over also part time what new get just into \
    people our work she him only how after play first two back under may add see even use \
    because now make then every look where should right through way end long own call before \
    well such show good start made help last point used while game here world though take hand \
    find person high found fact day both team system around car law read real three without put \
    level art effect lot fun using big best number open post come week far place form stand next \
    let hard full care case less list top home left build main keep class small plan pay name \
    four move return group men current free design change book able country order school friend \
    view word cost large win clear line project control air family making light water times \
    example record news hour product side hold city once night working author seen course event \
    press fund low known market based strong five success present try land local former close \
    face value area key mind cut video special looking fire half issue else true type history \
    live room fall player service party house front series version check field common begin \
    action six step red break space white watch third text review code page method final total \
    running rate target walk site size parent";

/// The words, ready to be copied.
static TABLE: [Word; 256] = table();
/// Words of the salt: 64 bits.
const SALT_WORDS: u32 = 8;

/// A word and the space after it, filled up: copying a fixed number of bytes and shortening costs
/// less than copying as many as there are.
#[derive(Clone, Copy)]
struct Word {
    letters: [u8; 8],
    length: u8,
}

const fn table() -> [Word; 256] {
    let mut table = [Word { letters: [b' '; 8], length: 0 }; 256];
    let text = WORDS.as_bytes();
    let (mut at, mut word, mut length) = (0, 0, 0);
    while at < text.len() {
        if text[at] == b' ' {
            (word, length) = (word + 1, 0);
        } else {
            table[word].letters[length] = text[at];
            length += 1;
            table[word].length = length as u8 + 1;
        }
        at += 1;
    }
    assert!(word == 255, "the list has 256 words");
    table
}

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

/// The random source of one operation's lengths: the same for the same seed, trial and operation. A
/// trial that is carried out again asks for the same lengths.
pub(crate) fn op_rng(seed: u64, trial: TrialId, op: u64) -> ChaCha8Rng {
    keyed_rng(seed, TrialId { part: 0, ..trial }, op)
}

fn keyed_rng(seed: u64, trial: TrialId, number: u64) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    for (at, part) in [trial.stage, trial.point, trial.trial, trial.part].into_iter().enumerate() {
        key[16 + 2 * at..18 + 2 * at].copy_from_slice(&part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Spreads the bits of a number over all of it: the output function of SplitMix64 (Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). One to one.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Makes the texts of one trial: first the words that all prompts of the run share, then the salt,
/// then words that do not matter.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    shared: Vec<u8>,
    /// Salt of operation `i`: `first_salt + i · salt_step`, modulo 2⁶⁴.
    first_salt: u64,
    salt_step: u64,
}

impl Texts {
    /// Texts of a trial whose prompts share up to so many words.
    pub(crate) fn new(seed: u64, trial: TrialId, shared_words: u32) -> Self {
        let mut common = ChaCha8Rng::seed_from_u64(seed);
        let shared = (0..shared_words).map(|_| common.random()).collect();
        // A part of its own has salts of its own: what a run that was cut off has sent may still lie
        // in the server's cache.
        let mut random = keyed_rng(seed, trial, u64::MAX);
        Self { shared, first_salt: random.next_u64(), salt_step: random.next_u64() | 1 }
    }

    /// Appends the text of so many words for an operation. It needs no escaping in JSON.
    ///
    /// The step between salts is odd, so that they are all different within a trial, and neighbours
    /// differ in the first word. A prompt shorter than the salt has its lower bytes.
    pub(crate) fn push(&self, out: &mut Vec<u8>, words: u32, op: u64) {
        let shared = self.shared.len().min(words.saturating_sub(SALT_WORDS) as usize);
        self.push_after(&self.shared[..shared], out, words, op);
    }

    /// The same without the shared words.
    pub(crate) fn push_unshared(&self, out: &mut Vec<u8>, words: u32, op: u64) {
        self.push_after(&[], out, words, op);
    }

    fn push_after(&self, shared: &[u8], out: &mut Vec<u8>, words: u32, op: u64) {
        let salt = self.first_salt.wrapping_add(op.wrapping_mul(self.salt_step));
        let mut left = words as usize - shared.len();
        out.reserve(8 * words as usize);
        push_words(out, shared);
        let mut bits = salt;
        while left > 0 {
            let some = left.min(8);
            push_words(out, &bits.to_le_bytes()[..some]);
            left -= some;
            // Filling: any words will do, as long as they are cheap to draw.
            bits = mix(bits.wrapping_add(0x9E37_79B9_7F4A_7C15));
        }
        // The space after the last word.
        out.pop();
    }
}

fn push_words(out: &mut Vec<u8>, indices: &[u8]) {
    for index in indices {
        let word = &TABLE[usize::from(*index)];
        out.extend_from_slice(&word.letters);
        out.truncate(out.len() - (8 - usize::from(word.length)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const ID: TrialId = TrialId { stage: 0, point: 1, trial: 2, part: 0 };

    fn text(words: u32, shared: u32, seed: u64, trial: TrialId, op: u64) -> String {
        let mut out = Vec::new();
        Texts::new(seed, trial, shared).push(&mut out, words, op);
        String::from_utf8(out).expect("words")
    }

    #[test]
    fn the_table_holds_the_list() {
        let mut out = Vec::new();
        push_words(&mut out, &(0..=255).collect::<Vec<u8>>());
        assert_eq!(String::from_utf8(out).expect("words"), format!("{WORDS} "));
        assert_eq!(WORDS.split(' ').collect::<HashSet<_>>().len(), 256, "a word stands twice");
        let plain = |word: &str| word.bytes().all(|letter| letter.is_ascii_lowercase());
        assert!(WORDS.split(' ').all(|word| (3..=7).contains(&word.len()) && plain(word)));
    }

    #[test]
    fn prompts_differ_at_the_front_and_share_what_they_should() {
        let mut fronts = HashSet::new();
        for op in 0..200 {
            for point in 0..3 {
                let text = text(20, 4, 9, TrialId { point, ..ID }, op);
                let words: Vec<&str> = text.split(' ').collect();
                assert_eq!(words.len(), 20);
                fronts.insert(words[4..12].join(" "));
            }
        }
        assert_eq!(fronts.len(), 600, "every salt is another one");
        let common = |op| text(20, 4, 9, ID, op).split(' ').take(4).collect::<Vec<_>>().join(" ");
        assert_eq!(common(1), common(2));
        let first = |op| text(20, 0, 9, ID, op).split(' ').next().map(str::to_owned);
        assert_ne!(first(1), first(2), "neighbours differ in the first word");
    }

    #[test]
    fn short_prompts_differ_as_far_as_they_can() {
        let texts: HashSet<String> = (0..65_536).map(|op| text(2, 100, 9, ID, op)).collect();
        assert_eq!(texts.len(), 65_536);
    }

    #[test]
    fn runs_and_parts_have_salts_of_their_own_and_trials_keep_their_lengths() {
        let again = TrialId { part: 1, ..ID };
        assert_ne!(text(9, 0, 1, ID, 5), text(9, 0, 2, ID, 5), "another seed");
        assert_ne!(text(9, 0, 1, ID, 5), text(9, 0, 1, again, 5), "another part");
        let law = Length::Uniform { min: 1, max: 1_000_000 };
        let length = |trial, op| sample(&law, &mut op_rng(1, trial, op));
        assert_eq!(length(ID, 5), length(again, 5));
        assert_ne!(length(ID, 5), length(ID, 6));
        assert_ne!(length(ID, 5), length(TrialId { trial: 3, ..ID }, 5));
    }

    #[test]
    fn lengths_keep_their_law() {
        let mean = |law: Length| {
            let drawn = (0..4_000).map(|op| f64::from(sample(&law, &mut op_rng(3, ID, op))));
            drawn.sum::<f64>() / 4_000.0
        };
        let laws = [
            Length::Fixed { tokens: 300 },
            Length::Uniform { min: 200, max: 400 },
            Length::Normal { mean: 300.0, sd: 50.0 },
            Length::LogNormal { median: 300.0, sigma: 0.4 },
        ];
        for law in laws {
            // Five standard errors of the widest: 0.42 · 325 / √4000.
            assert!((mean(law) - law.mean()).abs() < 11.0, "{law:?}: {}", mean(law));
        }
    }

    proptest! {
        #[test]
        fn a_prompt_has_its_words_and_is_the_same_again(
            words in 1_u32..700, shared in 0_u32..700, seed: u64, op: u64,
        ) {
            let made = text(words, shared, seed, ID, op);
            prop_assert_eq!(made.split(' ').count() as u32, words);
            prop_assert_eq!(&made, &text(words, shared, seed, ID, op));
            let common = shared.min(words.saturating_sub(SALT_WORDS)) as usize;
            let other = text(words, shared, seed, ID, op.wrapping_add(1));
            let same = made.split(' ').zip(other.split(' ')).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(same, common, "exactly the shared words are shared");
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
