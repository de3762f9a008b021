//! An engine's grid in the analysis document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Estimate;
use crate::engine::{EngineCell, EngineFacts, MemoryBandwidth};
use crate::event::Warning;
use crate::verdict::{CostReport, PointCost};

/// An engine stage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EngineSummary {
    /// Name of the stage.
    pub stage: String,
    /// What the engine says about itself and its model; absent where it never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<EngineFacts>,
    /// Memory bandwidth of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth: Option<MemoryBandwidth>,
    /// What its cost rests on, at the cell with the most generated tokens/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostReport>,
    /// Whether figures come from a file of another tool.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
}

/// A cell of an engine's grid: trials averaged, t-intervals over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineResult {
    /// Name of the stage.
    pub stage: String,
    /// The model's name.
    pub model: String,
    /// Weights of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Type of most of its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// The setting.
    #[serde(flatten)]
    pub cell: EngineCell,
    /// Trials in the figures.
    pub trials: u32,
    /// Trials planned.
    pub trials_planned: u32,
    /// Prompt tokens of all sequences per second at this context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_per_s: Option<Estimate>,
    /// Generated tokens of all sequences per second at this context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_s: Option<Estimate>,
    /// Generated tokens/s of each sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_s_per_user: Option<f64>,
    /// Largest resident memory of the engine's process after a trial, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes that generation must read from memory, per second: weights once per step, and the keys
    /// and values of every sequence. Only dense models on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_bytes_per_s: Option<f64>,
    /// Model-bandwidth utilisation: `decode_bytes_per_s` ÷ the bandwidth of plain reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mbu: Option<f64>,
    /// Whether something else disturbed the cell; what, stands in `warnings`.
    pub noisy: bool,
    /// Why it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Figures of single trials by metric (`prompt_tokens_per_s`, `decode_tokens_per_s`): what a
    /// comparison rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_trial: Vec<BTreeMap<String, f64>>,
    /// What its generation costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<PointCost>,
    /// What the reader must know about this cell.
    pub warnings: Vec<Warning>,
}
