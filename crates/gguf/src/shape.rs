//! The shape of a made model: how many layers, how wide, how many heads.

use std::fmt;
use std::str::FromStr;

use crate::error::{ShapeError, clip};
use crate::preset::Preset;
use crate::vocabulary;

/// Most layers: llama.cpp refuses more.
pub const LAYERS_MAX: u32 = 512;
/// Widest embedding and feed-forward part, elements.
pub const WIDTH_MAX: u32 = 1 << 17;
/// Longest context, tokens.
pub const CONTEXT_MAX: u32 = 1 << 24;
/// Rows must be whole blocks of the quantized types, elements.
pub const BLOCK: u32 = 32;

/// A dense transformer of architecture "llama": attention with rotary positions, a gated
/// feed-forward part, RMS norms, no biases. A head has embedding / heads elements.
///
/// Text form: `layers=8,embedding=512,feed_forward=1536,heads=8,kv_heads=4,vocab=32000`, and where
/// wanted `context=8192`, `tied=true`, `rope_freq_base=10000`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream, elements; a multiple of 32 and of `heads`.
    pub embedding: u32,
    /// Width of the feed-forward part, elements; a multiple of 32.
    pub feed_forward: u32,
    /// Heads that ask.
    pub heads: u32,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: u32,
    /// Tokens in the vocabulary.
    pub vocab: u32,
    /// Tokens of context that the model claims to be made for.
    pub context: u32,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// Base of the rotary frequencies.
    pub rope_freq_base: f32,
}

/// What a shape has where its text form says nothing.
const DEFAULT: Shape = Shape {
    layers: 0,
    embedding: 0,
    feed_forward: 0,
    heads: 0,
    kv_heads: 0,
    vocab: 0,
    context: 8192,
    tied: true,
    rope_freq_base: 10_000.0,
};
const REQUIRED: [&str; 6] = ["layers", "embedding", "feed_forward", "heads", "kv_heads", "vocab"];
const OPTIONAL: [&str; 3] = ["context", "tied", "rope_freq_base"];

impl Shape {
    /// Elements of one head; 0 without heads.
    pub fn head_length(&self) -> u32 {
        self.embedding.checked_div(self.heads).unwrap_or(0)
    }

    /// Elements of the keys of one token in one layer, and of its values.
    pub fn kv_length(&self) -> u32 {
        self.head_length() * self.kv_heads
    }

    /// Elements of all tensors.
    pub fn parameters(&self) -> u64 {
        let [embedding, feed_forward] = [self.embedding, self.feed_forward].map(u64::from);
        let attention = 2 * embedding * embedding + 2 * embedding * u64::from(self.kv_length());
        let layer = attention + 3 * embedding * feed_forward + 2 * embedding;
        let tables = if self.tied { 1 } else { 2 };
        u64::from(self.layers) * layer + tables * u64::from(self.vocab) * embedding + embedding
    }

    /// Whether a model can have this shape; the error names the first number that is wrong.
    pub fn check(&self) -> Result<(), ShapeError> {
        let block = "the size of a block of quantized weights";
        within("layers", self.layers, 1, LAYERS_MAX)?;
        within("embedding", self.embedding, BLOCK, WIDTH_MAX)?;
        within("feed_forward", self.feed_forward, BLOCK, WIDTH_MAX)?;
        within("heads", self.heads, 1, self.embedding)?;
        within("kv_heads", self.kv_heads, 1, self.heads)?;
        within("vocab", self.vocab, vocabulary::MIN, vocabulary::MAX)?;
        within("context", self.context, 1, CONTEXT_MAX)?;
        multiple("embedding", self.embedding, BLOCK, block)?;
        multiple("feed_forward", self.feed_forward, BLOCK, block)?;
        multiple("embedding", self.embedding, self.heads, "the number of heads")?;
        multiple("heads", self.heads, self.kv_heads, "the number of kv_heads")?;
        if !self.head_length().is_multiple_of(2) {
            let reason = format!(
                "a head would have {} elements, which must be even, since positions turn pairs",
                self.head_length()
            );
            return Err(field("embedding", self.embedding, reason));
        }
        if !(self.rope_freq_base.is_finite() && self.rope_freq_base >= 1.0) {
            let reason = "it must be a number from 1".to_owned();
            return Err(field("rope_freq_base", self.rope_freq_base, reason));
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "layers" => self.layers = count(value)?,
            "embedding" => self.embedding = count(value)?,
            "feed_forward" => self.feed_forward = count(value)?,
            "heads" => self.heads = count(value)?,
            "kv_heads" => self.kv_heads = count(value)?,
            "vocab" => self.vocab = count(value)?,
            "context" => self.context = count(value)?,
            "tied" => {
                self.tied =
                    value.parse().map_err(|_| format!("`{value}` is neither true nor false"))?;
            }
            "rope_freq_base" => {
                self.rope_freq_base =
                    value.parse().map_err(|_| format!("`{value}` is not a number"))?;
            }
            _ => {
                let (required, optional) = (REQUIRED.join(", "), OPTIONAL.join(", "));
                return Err(format!(
                    "`{key}` is no part of a shape; it has {required} and may have {optional}"
                ));
            }
        }
        Ok(())
    }
}

fn count(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("`{value}` is not a whole number up to {}", u32::MAX))
}

fn field(field: &'static str, value: impl ToString, reason: String) -> ShapeError {
    ShapeError::Field { field, value: value.to_string(), reason }
}

fn within(name: &'static str, value: u32, min: u32, max: u32) -> Result<(), ShapeError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(field(name, value, format!("it must be from {min} to {max}")))
}

fn multiple(name: &'static str, value: u32, of: u32, what: &str) -> Result<(), ShapeError> {
    if value.is_multiple_of(of) {
        return Ok(());
    }
    Err(field(name, value, format!("it must be a multiple of {of}, {what}")))
}

impl FromStr for Shape {
    type Err = ShapeError;

    /// The name of a preset, or a shape by numbers; checked.
    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let refuse = |reason: String| ShapeError::Text { text: clip(text), reason };
        let text = text.trim();
        if !text.contains('=') {
            return Preset::from_str(text).map(|preset| preset.shape);
        }
        let mut shape = DEFAULT;
        let mut seen = Vec::new();
        for part in text.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(refuse(format!("`{}` has no `=`", clip(part.trim()))));
            };
            let key = key.trim();
            if seen.contains(&key) {
                return Err(refuse(format!("`{key}` stands twice")));
            }
            shape.set(key, value.trim()).map_err(|reason| refuse(clip_long(reason)))?;
            seen.push(key);
        }
        let missing: Vec<_> = REQUIRED.into_iter().filter(|key| !seen.contains(key)).collect();
        if !missing.is_empty() {
            return Err(refuse(format!("{} missing", missing.join(", "))));
        }
        shape.check()?;
        Ok(shape)
    }
}

/// A reason with an endless word of the user in it.
fn clip_long(reason: String) -> String {
    if reason.len() > 300 { clip(&reason) } else { reason }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layers, embedding, feed_forward, heads, kv_heads, vocab, context, tied, .. } =
            self;
        write!(
            f,
            "layers={layers},embedding={embedding},feed_forward={feed_forward},heads={heads},\
             kv_heads={kv_heads},vocab={vocab},context={context},tied={tied},rope_freq_base={}",
            self.rope_freq_base
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "layers=8,embedding=512,feed_forward=1536,heads=8,kv_heads=4,vocab=32000";

    fn error(change: impl Fn(&str) -> String) -> String {
        Shape::from_str(&change(TEXT)).unwrap_err().to_string()
    }

    #[test]
    fn a_shape_is_read_and_written() {
        let shape: Shape = TEXT.parse().unwrap();
        assert_eq!((shape.layers, shape.kv_heads, shape.vocab), (8, 4, 32_000));
        assert_eq!((shape.context, shape.tied), (8192, true));
        assert_eq!(shape.to_string().parse::<Shape>().unwrap(), shape);
        let more = format!("{TEXT}, context = 64 ,tied=false,rope_freq_base=5e5");
        let more: Shape = more.parse().unwrap();
        assert_eq!((more.context, more.tied, more.rope_freq_base), (64, false, 500_000.0));
        assert_eq!(more.parameters() - shape.parameters(), 32_000 * 512);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("kv_heads=4", "kv_heads=3", "no model has heads=8: it must be a multiple of 3"),
            ("heads=8", "heads=7", "no model has embedding=512: it must be a multiple of 7"),
            ("embedding=512", "embedding=520", "multiple of 32"),
            ("layers=8,", "", "layers missing"),
            ("layers=8", "layers=0", "from 1 to 512"),
            ("layers=8", "layers=-1", "`-1` is not a whole number"),
            ("layers=8", "layers", "`layers` has no `=`"),
            ("layers=8", "width=8", "`width` is no part of a shape; it has layers,"),
            ("vocab=32000", "vocab=10", "no model has vocab=10: it must be from 512"),
            ("vocab=32000", "vocab=512,vocab=512", "`vocab` stands twice"),
            ("vocab=32000", "vocab=512,tied=yes", "neither true nor false"),
            ("vocab=32000", "vocab=512,rope_freq_base=nan", "rope_freq_base=NaN"),
        ];
        for (from, to, said) in cases {
            let text = error(|text| text.replacen(from, to, 1));
            assert!(text.contains(said), "{to}: {text}");
        }
        assert!(error(|_| "70b".into()).contains("smollm2-135m"));
        assert!(error(|_| "x=".repeat(4000)).len() < 400);
    }
}
