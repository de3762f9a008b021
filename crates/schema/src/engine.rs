//! What an engine benchmark asks for and what it measures: the cells of a grid, their trials, and
//! what the engine says about itself and its model.
//!
//! The terms are those of llama-bench: prompt processing (pp) and text generation (tg) at a depth.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::spelled;

/// One setting of the grid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct EngineCell {
    /// Sequences that are computed together (`-npl` of llama-batched-bench).
    pub batch: u32,
    /// Tokens of each sequence that are in the KV cache before the clock starts (`-d` of
    /// llama-bench).
    pub context: u32,
    /// Prompt tokens of each sequence that are timed (`-p`); 0: prompt processing is left out.
    pub prompt_tokens: u32,
    /// Tokens that each sequence generates (`-n`); 0: generation is left out.
    pub output_tokens: u32,
    /// Threads of the CPU (`-t`).
    pub threads: u32,
    /// Layers on the GPU (`-ngl`); [`EngineCell::AUTO`]: as many as the engine likes.
    pub gpu_layers: u32,
    /// Most tokens of one call (n_batch, `-b`).
    pub n_batch: u32,
    /// Most tokens that are computed at once (n_ubatch, `-ub`).
    pub n_ubatch: u32,
    /// Flash attention (`-fa`).
    pub flash_attention: FlashAttention,
    /// Type of the keys in the KV cache (`-ctk`): `f16`, `q8_0`, …
    pub type_k: String,
    /// Type of the values in the KV cache (`-ctv`).
    pub type_v: String,
}

impl Default for EngineCell {
    /// The defaults of llama-bench, on one thread.
    fn default() -> Self {
        Self {
            batch: 1,
            context: 0,
            prompt_tokens: 512,
            output_tokens: 128,
            threads: 1,
            gpu_layers: Self::AUTO,
            n_batch: 2048,
            n_ubatch: 512,
            flash_attention: FlashAttention::Auto,
            type_k: "f16".to_owned(),
            type_v: "f16".to_owned(),
        }
    }
}

impl EngineCell {
    /// Stands for what the engine decides itself (`-ngl -1`).
    pub const AUTO: u32 = u32::MAX;

    /// The settings beside batch and context, by name.
    pub const SETTINGS: [(&'static str, fn(&Self) -> u32); 6] = [
        ("threads", |cell| cell.threads),
        ("GPU layers", |cell| cell.gpu_layers),
        ("n_batch", |cell| cell.n_batch),
        ("n_ubatch", |cell| cell.n_ubatch),
        ("prompt", |cell| cell.prompt_tokens),
        ("output", |cell| cell.output_tokens),
    ];

    /// "batch 16, context 512": the cell among others, by batch, by context where there is any, and by
    /// what differs among them.
    pub fn place<'a>(&self, all: impl Iterator<Item = &'a Self> + Clone) -> String {
        let varies = |of: &dyn Fn(&Self) -> u32| all.clone().any(|other| of(other) != of(self));
        let mut words = vec![format!("batch {}", self.batch)];
        if self.context > 0 || varies(&|cell| cell.context) {
            words.push(format!("context {}", self.context));
        }
        for (name, of) in Self::SETTINGS {
            if varies(&of) {
                words.push(format!("{name} {}", Self::setting_words(of(self))));
            }
        }
        words.join(", ")
    }

    /// A value of a setting in words.
    pub fn setting_words(value: u32) -> String {
        if value == Self::AUTO { "auto".to_owned() } else { value.to_string() }
    }
}

spelled! {
    /// Flash attention.
    FlashAttention {
        /// The engine decides.
        Auto = "auto",
        /// On.
        On = "on",
        /// Off.
        Off = "off",
    }
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum ModelSource {
    /// A GGUF file.
    File {
        /// Its path.
        path: String,
    },
    /// Random weights, made on the spot.
    Made {
        /// A preset's name, or a shape by numbers (`layers=8,embedding=512,…`).
        shape: String,
        /// Type of the weights: `q8_0`, ….
        quantization: String,
    },
}

/// What a plan writes before the shape of a model made on the spot: `made:smollm2-135m:q8_0`.
const MADE: &str = "made:";
/// The shape of a model made on the spot that names none.
pub const DEFAULT_SHAPE: &str = "smollm2-135m";
/// The type of the weights of one that names none.
pub const DEFAULT_QUANTIZATION: &str = "q8_0";

impl ModelSource {
    /// From what people write: a path, `made`, `made:SHAPE` or `made:SHAPE:TYPE`.
    pub fn from_text(text: &str) -> Self {
        let Some(made) = text.strip_prefix(MADE).or((text == "made").then_some("")) else {
            return Self::File { path: text.to_owned() };
        };
        let (shape, quantization) = made.split_once(':').unwrap_or((made, ""));
        let or = |text: &str, fallback: &str| {
            if text.is_empty() { fallback.to_owned() } else { text.to_lowercase() }
        };
        Self::Made {
            shape: or(shape, DEFAULT_SHAPE),
            quantization: or(quantization, DEFAULT_QUANTIZATION),
        }
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path } => f.write_str(path),
            Self::Made { shape, quantization } => write!(f, "{MADE}{shape}:{quantization}"),
        }
    }
}

/// A stage that measures an engine over a grid of settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineStage {
    /// Name, unique in the plan.
    pub name: String,
    /// The model.
    pub model: ModelSource,
    /// llama-bench, llama-batched-bench or the folder that holds them, where the user's own build
    /// is to be measured; absent: the embedded engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// The grid.
    pub cells: Vec<EngineCell>,
    /// Repetitions of each cell.
    pub trials: u32,
    /// Measure the memory bandwidth of this machine, too.
    pub memory_bandwidth: bool,
    /// The file of another tool that the figures come from; then nothing is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
}

/// Memory bandwidth of this machine by a STREAM-like test over all cores; STREAM's counting: what is
/// read and written once, without write-allocate traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryBandwidth {
    /// Threads.
    pub threads: u32,
    /// Bytes of all arrays together.
    pub working_set_bytes: u64,
    /// The last-level cache, where the machine tells it, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<u64>,
    /// Best triad (a = b + s·c), bytes/s.
    pub triad_bytes_per_s: f64,
    /// Best plain reading, bytes/s: what decoding does with weights.
    pub read_bytes_per_s: f64,
}

/// The server of a serving stage that Loadline brings along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddedServer {
    /// The model.
    pub model: ModelSource,
    /// Answers that are computed at once.
    pub parallel: u32,
    /// Tokens of prompt and answer that each of them may have.
    pub context_per_slot: u32,
    /// Threads of the CPU; absent: one for each core, at most 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Layers on the GPU.
    pub gpu_layers: u32,
}

/// One trial of one cell: prompt processing and generation, each at the cell's context.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineTrial {
    /// Prompt tokens of all sequences together.
    pub prompt_tokens: u64,
    /// Time for them, ns; absent: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_ns: Option<u64>,
    /// Tokens that all sequences generated together.
    pub decode_tokens: u64,
    /// Time for them, ns; absent: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_ns: Option<u64>,
    /// Resident memory of the engine's process after the trial, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// CPU time of the engine's process in the timed parts, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ns: Option<u64>,
    /// CPU time that other processes got meanwhile on all processors ÷ timed time, in processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_cpu: Option<f64>,
    /// Share of all processors' time that the hypervisor took away in the timed parts, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal: Option<f64>,
}

/// What the engine says about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFacts {
    /// Name: `llama.cpp`.
    pub name: String,
    /// Its version, as far as it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How it was built: features of the CPU that it uses (`AVX2 = 1`, …), back ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Devices that it can compute on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<EngineDevice>,
    /// `embedded`, or the path of the program that measured.
    pub measured_by: String,
    /// Processors that it may run on, as the kernel lists them: `0-7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// The model.
    pub model: ModelFacts,
}

/// A device that an engine can compute on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineDevice {
    /// Short name (`CUDA0`, `CPU`).
    pub name: String,
    /// Name of the hardware.
    pub description: String,
    /// Its memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// What a model file says about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelFacts {
    /// `general.name`, else the file's name.
    pub name: String,
    /// Where it lies, or `made` with the preset's name.
    pub source: String,
    /// Architecture: `llama`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Type of most weights: `Q4_1`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Size of all weights, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_bytes: Option<u64>,
    /// Weights that one decode step reads whatever the batch, bytes: all but the input embedding
    /// (which is read where it is the output matrix, too). Only for dense models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_bytes: Option<u64>,
    /// Elements of keys, and of values, that one token of context holds in all layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_elements_per_token: Option<u64>,
    /// Longest context that it was trained for, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// Layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<u64>,
    /// Whether its weights are random (a model made on the spot).
    pub random_weights: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_path_or_made() {
        let made = |shape: &str, quantization: &str| ModelSource::Made {
            shape: shape.into(),
            quantization: quantization.into(),
        };
        assert_eq!(ModelSource::from_text("made"), made("smollm2-135m", "q8_0"));
        assert_eq!(ModelSource::from_text("made:30m"), made("30m", "q8_0"));
        assert_eq!(ModelSource::from_text("made:30m:Q4_0").to_string(), "made:30m:q4_0");
        let path = ModelSource::from_text("models/made.gguf");
        assert_eq!(path, ModelSource::File { path: "models/made.gguf".into() });
    }
}
