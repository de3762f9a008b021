//! What stands before the weights of a made model: magic, metadata, names and places of tensors.

use crate::made::{Made, PlannedTensor};
use crate::model::{ALIGNMENT_DEFAULT, MAGIC};
use crate::value::ValueKind;
use crate::vocabulary;

/// Metadata key, true in made models: their weights are random.
pub const MADE_KEY: &str = "loadline.made";
/// Metadata key of the seed of the weights.
pub const SEED_KEY: &str = "loadline.seed";
/// The version of the format that is written.
const VERSION: u32 = 3;
/// `GGML_QNT_VERSION` in ggml.h.
const QUANTIZATION_VERSION: u32 = 2;
const NORM_EPSILON: f32 = 1e-5;

/// Metadata entries as bytes, and how many there are.
#[derive(Default)]
struct Entries {
    bytes: Vec<u8>,
    count: u64,
}

impl Entries {
    fn key(&mut self, key: &str, kind: ValueKind) {
        put_str(&mut self.bytes, key);
        self.bytes.extend((kind as u32).to_le_bytes());
        self.count += 1;
    }

    fn str(&mut self, key: &str, text: &str) {
        self.key(key, ValueKind::String);
        put_str(&mut self.bytes, text);
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.key(key, ValueKind::U32);
        self.bytes.extend(value.to_le_bytes());
    }

    fn u64(&mut self, key: &str, value: u64) {
        self.key(key, ValueKind::U64);
        self.bytes.extend(value.to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, ValueKind::F32);
        self.bytes.extend(value.to_le_bytes());
    }

    fn bool(&mut self, key: &str, value: bool) {
        self.key(key, ValueKind::Bool);
        self.bytes.push(value.into());
    }

    /// The head of an array; its elements come next.
    fn array(&mut self, key: &str, element: ValueKind, len: u32) {
        self.key(key, ValueKind::Array);
        self.bytes.extend((element as u32).to_le_bytes());
        self.bytes.extend(u64::from(len).to_le_bytes());
    }
}

fn put_str(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// The bytes before the weights of the first tensor, padded to the alignment. Their number does not
/// depend on the seed.
pub(crate) fn bytes(made: &Made, tensors: &[PlannedTensor], seed: u64) -> Vec<u8> {
    let mut entries = Entries::default();
    describe(&mut entries, made, seed);
    describe_vocabulary(&mut entries, made.shape().vocab);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(entries.count.to_le_bytes());
    bytes.extend(entries.bytes);
    let mut offset = 0_u64;
    for tensor in tensors {
        put_str(&mut bytes, &tensor.name);
        bytes.extend((tensor.sizes.len() as u32).to_le_bytes());
        bytes.extend(tensor.sizes.iter().flat_map(|size| size.to_le_bytes()));
        bytes.extend(tensor.kind.id.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT_DEFAULT);
    }
    let aligned = (bytes.len() as u64).next_multiple_of(ALIGNMENT_DEFAULT);
    bytes.resize(aligned as usize, 0);
    bytes
}

fn describe(entries: &mut Entries, made: &Made, seed: u64) {
    let shape = made.shape();
    entries.str("general.architecture", "llama");
    entries.str("general.type", "model");
    entries.str("general.name", &made.name());
    entries.u32("general.file_type", made.weights().file_type());
    entries.u32("general.quantization_version", QUANTIZATION_VERSION);
    entries.u32("llama.block_count", shape.layers);
    entries.u32("llama.context_length", shape.context);
    entries.u32("llama.embedding_length", shape.embedding);
    entries.u32("llama.feed_forward_length", shape.feed_forward);
    entries.u32("llama.attention.head_count", shape.heads);
    entries.u32("llama.attention.head_count_kv", shape.kv_heads);
    entries.f32("llama.attention.layer_norm_rms_epsilon", NORM_EPSILON);
    entries.f32("llama.rope.freq_base", shape.rope_freq_base);
    entries.u32("llama.rope.dimension_count", shape.head_length());
    entries.u32("llama.vocab_size", shape.vocab);
    entries.bool(MADE_KEY, true);
    entries.u64(SEED_KEY, seed);
}

fn describe_vocabulary(entries: &mut Entries, vocab: u32) {
    let tokens: Vec<_> = vocabulary::tokens(vocab).collect();
    entries.str("tokenizer.ggml.model", "llama");
    entries.str("tokenizer.ggml.pre", "default");
    entries.array("tokenizer.ggml.tokens", ValueKind::String, vocab);
    for token in &tokens {
        put_str(&mut entries.bytes, &token.text);
    }
    entries.array("tokenizer.ggml.scores", ValueKind::F32, vocab);
    entries.bytes.extend(tokens.iter().flat_map(|token| token.score.to_le_bytes()));
    entries.array("tokenizer.ggml.token_type", ValueKind::I32, vocab);
    entries.bytes.extend(tokens.iter().flat_map(|token| token.kind.to_le_bytes()));
    entries.u32("tokenizer.ggml.unknown_token_id", 0);
    entries.u32("tokenizer.ggml.bos_token_id", vocabulary::BOS);
    entries.u32("tokenizer.ggml.eos_token_id", vocabulary::EOS);
    entries.u32("tokenizer.ggml.eot_token_id", vocabulary::EOT);
    entries.u32("tokenizer.ggml.padding_token_id", vocabulary::EOS);
    entries.bool("tokenizer.ggml.add_bos_token", true);
    entries.bool("tokenizer.ggml.add_eos_token", false);
    entries.bool("tokenizer.ggml.add_space_prefix", false);
    entries.str("tokenizer.chat_template", vocabulary::CHAT_TEMPLATE);
}
