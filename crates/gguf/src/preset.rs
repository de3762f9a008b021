//! Shapes by name, mostly those of real models.

use std::str::FromStr;

use crate::error::{ShapeError, clip};
use crate::shape::Shape;

/// A shape with a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// The name: `smollm2-135m`.
    pub name: &'static str,
    /// Whose shape it is, for people.
    pub about: &'static str,
    /// The shape.
    pub shape: Shape,
}

/// Every preset, smallest first.
pub const PRESETS: [Preset; 5] = [
    Preset {
        name: "30m",
        about: "nobody's: 30M parameters, the quickest to write",
        shape: Shape {
            layers: 12,
            embedding: 384,
            feed_forward: 1024,
            heads: 6,
            kv_heads: 2,
            vocab: 28_672,
            context: 8192,
            tied: true,
            rope_freq_base: 10_000.0,
        },
    },
    Preset {
        name: "smollm2-135m",
        about: "SmolLM2-135M",
        shape: Shape {
            layers: 30,
            embedding: 576,
            feed_forward: 1536,
            heads: 9,
            kv_heads: 3,
            vocab: 49_152,
            context: 8192,
            tied: true,
            rope_freq_base: 100_000.0,
        },
    },
    Preset {
        name: "smollm2-360m",
        about: "SmolLM2-360M",
        shape: Shape {
            layers: 32,
            embedding: 960,
            feed_forward: 2560,
            heads: 15,
            kv_heads: 5,
            vocab: 49_152,
            context: 8192,
            tied: true,
            rope_freq_base: 100_000.0,
        },
    },
    Preset {
        name: "tinyllama-1.1b",
        about: "TinyLlama-1.1B",
        shape: Shape {
            layers: 22,
            embedding: 2048,
            feed_forward: 5632,
            heads: 32,
            kv_heads: 4,
            vocab: 32_000,
            context: 2048,
            tied: false,
            rope_freq_base: 10_000.0,
        },
    },
    Preset {
        name: "llama-3.2-1b",
        about: "Llama-3.2-1B, without its scaling of long contexts",
        shape: Shape {
            layers: 16,
            embedding: 2048,
            feed_forward: 8192,
            heads: 32,
            kv_heads: 8,
            vocab: 128_256,
            context: 131_072,
            tied: true,
            rope_freq_base: 500_000.0,
        },
    },
];

const EXAMPLE: &str = "layers=8,embedding=512,feed_forward=1536,heads=8,kv_heads=4,vocab=32000";

impl Preset {
    /// The preset of this shape.
    pub fn of(shape: &Shape) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.shape == *shape)
    }
}

impl FromStr for Preset {
    type Err = ShapeError;

    /// The preset of this name, in any case of letters.
    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let text = text.trim();
        PRESETS.into_iter().find(|preset| preset.name.eq_ignore_ascii_case(text)).ok_or_else(|| {
            let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
            let known = format!("{}, and any shape by numbers: {EXAMPLE}", names.join(", "));
            ShapeError::Preset { text: clip(text), known }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_parameters_of_the_real_models() {
        // All but the first are the parameters that the real weights have.
        let expected: [u64; 5] =
            [29_894_016, 134_515_008, 361_821_120, 1_100_048_384, 1_235_814_400];
        for (preset, parameters) in PRESETS.iter().zip(expected) {
            preset.shape.check().unwrap();
            assert_eq!(preset.shape.parameters(), parameters, "{}", preset.name);
            assert_eq!(preset.name.parse::<Preset>().unwrap(), *preset);
            assert_eq!(Preset::of(&preset.shape), Some(preset));
        }
    }
}
