//! The plan as people write it: `PlanFile` from TOML or from flags, checked and completed into a
//! [`Plan`]. Unknown keys, contradictions and nonsense are errors that name the line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cost::Money;
use crate::engine::FlashAttention;
use crate::plan::{Api, Arrival, Length, Plan};
use crate::units::{DurationNs, RatePerS, Ratio};

mod body;
mod error;
mod nearest;
mod observe;
mod place;
mod read;
mod resolve;
mod storage;
mod unknown_key;
mod value;
mod warmup;

pub use error::{Place, PlanError};
pub use observe::ObserveFile;
pub use storage::{CheckpointFileTable, ModelLoadTable, StorageFile};
pub use warmup::WarmupFile;

/// Concurrencies of a stage that names no load.
pub const DEFAULT_CONCURRENCY: [u64; 4] = [1, 4, 16, 64];
/// Measure window of a stage that names neither duration nor requests.
pub const DEFAULT_DURATION: DurationNs = DurationNs(30_000_000_000);
/// Repetitions of each point.
pub const DEFAULT_TRIALS: u32 = 3;
/// Looks at each point of a search at most.
pub const DEFAULT_LOOKS: u32 = 5;
/// Prompt tokens by the server's count.
pub const DEFAULT_PROMPT_TOKENS: u32 = 512;
/// Output tokens asked for.
pub const DEFAULT_OUTPUT_TOKENS: u32 = 128;
/// Share of errors, of at least 20 operations, at which a trial stops.
pub const DEFAULT_STOP_AFTER_ERRORS: Ratio = Ratio(0.5);
/// Least length of the warm-up; it also lasts [`DEFAULT_WARMUP_ANSWERS`] answers per slot.
pub const DEFAULT_WARMUP: DurationNs = DurationNs(5_000_000_000);
/// Answers per slot in the warm-up of a closed loop.
pub const DEFAULT_WARMUP_ANSWERS: u32 = 2;

/// A plan as given. Absent keys take the defaults of `definitions`: see [`PlanFile::resolve`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Name of the run; default `serving`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seed of everything random; default: a fresh one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub seed: Option<u64>,
    /// Service-level targets by name, each a table of terms: `[sla]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sla: BTreeMap<String, BTreeMap<String, LimitText>>,
    /// What prices are computed from: `[cost]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostFile>,
    /// What is read beside the load of `[[serving]]` stages: `[observe]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe: Option<ObserveFile>,
    /// Stages that put load on an LLM endpoint: `[[serving]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "value::stages")]
    pub serving: Vec<ServingFile>,
    /// Stages that measure an engine over a grid of settings: `[[engine]]`. They go first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "value::stages")]
    pub engine: Vec<EngineFile>,
    /// Stages that measure storage: `[[storage]]`. They go after engines, before servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "value::stages")]
    pub storage: Vec<StorageFile>,
    /// The text it was read from, so that a later error can show the line.
    #[serde(skip)]
    source: Option<String>,
}

/// One `[[serving]]` stage as given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingFile {
    /// Name of the stage; default `serving`, or `serving-2`, … where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One URL or several, used in rotation. Required, or `embedded`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "value::one_or_many"
    )]
    pub endpoint: Vec<String>,
    /// A model (a GGUF file, or `made:SHAPE:TYPE`) that Loadline serves itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<String>,
    /// Of `embedded`: answers that are computed at once; default: as many as the largest
    /// concurrency, at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub parallel: Option<u32>,
    /// Of `embedded`: threads of the CPU; default one for each core, at most 8.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub threads: Option<u32>,
    /// Of `embedded`: layers on the GPU; default: as many as fit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub gpu_layers: Option<u32>,
    /// Model to ask for; absent or `auto`: the first that the endpoint offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// API dialect; default `chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// What to send.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prompt: PromptFile,
    /// How much to ask for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub output: OutputFile,
    /// The sweep.
    #[serde(default, skip_serializing_if = "is_default")]
    pub load: LoadFile,
    /// Measure window; default 30 s. Not together with `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<DurationNs>,
    /// Exactly so many operations instead of a duration.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub requests: Option<u64>,
    /// What goes before the measure window; default: 5 s, and two answers per slot; by count and for
    /// bursts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<WarmupFile>,
    /// Repetitions of each point; default 3.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub trials: Option<u32>,
    /// Time over which the slots of a closed loop start; default: one mean answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stagger: Option<DurationNs>,
    /// Pause of a slot after each answer; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think_time: Option<DurationNs>,
    /// Time limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: TimeoutsFile,
    /// How often a failed request is sent again; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub retries: Option<u16>,
    /// Share of errors (of at least 20 operations) at which a trial stops; default 50 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_errors: Option<Ratio>,
    /// Most requests in flight in open loop; default 10,000 or what the system allows.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub max_in_flight: Option<u64>,
    /// Stop when this many tokens (prompt and output) have been used; default: never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub max_tokens_total: Option<u64>,
    /// Additional header lines by name. Keys belong into `api_key_env` or `api_key_file`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// JSON object merged into each request's body: a TOML table, or JSON as text.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "body")]
    pub extra_body: Option<serde_json::Map<String, serde_json::Value>>,
    /// Environment variable that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// File whose first line is the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<String>,
    /// File with CA certificates (PEM) to trust beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Do not check certificates; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Ask the server about itself and calibrate the prompt's length; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover: Option<bool>,
    /// Ask for usage in each chunk where the server offers it; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_chunk_usage: Option<bool>,
    /// Store the arrival times of chunks; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_times: Option<bool>,
    /// Threads that carry the load; default: as many as the load needs, at most one per core.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub reactors: Option<u32>,
}

/// One `[[engine]]` stage as given: the grid is every combination of its lists.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineFile {
    /// Name of the stage; default `engine`, or `engine-2`, … where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A GGUF file, or `made:SHAPE:TYPE`; default `made`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// llama-bench, llama-batched-bench or their folder; default: the embedded engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// Sequences computed together; default 1, 4, 16.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub batch: Option<Vec<u64>>,
    /// Tokens in the KV cache of each sequence beforehand; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub context: Option<Vec<u64>>,
    /// Threads of the CPU; default one for each core.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub threads: Option<Vec<u64>>,
    /// Layers on the GPU; default: as many as fit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub gpu_layers: Option<Vec<u64>>,
    /// Most tokens computed at once (n_ubatch); default 512.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub n_ubatch: Option<Vec<u64>>,
    /// Most tokens of one call (n_batch); default 2048.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub n_batch: Option<u32>,
    /// Prompt tokens of each sequence; default 512; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub prompt_tokens: Option<u32>,
    /// Tokens that each sequence generates; default 128; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub output_tokens: Option<u32>,
    /// Repetitions of each cell; default 5.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub trials: Option<u32>,
    /// `auto` (default), `on` or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flash_attention: Option<FlashAttention>,
    /// Type of the keys in the KV cache; default `f16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_k: Option<String>,
    /// Type of the values in the KV cache; default `f16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_v: Option<String>,
    /// Measure the memory bandwidth of this machine, too; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth: Option<bool>,
}

/// `prompt = { … }`: synthetic text of a length, or a file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// Prompt tokens by the server's count, template included; default 512.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::text")]
    pub tokens: Option<Length>,
    /// A file with one prompt per line, or JSONL with `prompt` or `messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Leading tokens that all synthetic prompts share; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::whole")]
    pub shared_prefix: Option<u32>,
}

/// `output = { … }`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// Tokens asked for (`max_tokens`); default 128.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::text")]
    pub tokens: Option<Length>,
    /// Ask the server not to stop earlier, where it knows how; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
}

/// `load = { … }`: one of `concurrency`, `rate`, `burst` or `find`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadFile {
    /// Closed loop: slots, one value for each point; default 1, 4, 16, 64.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub concurrency: Option<Vec<u64>>,
    /// Open loop: offered rates.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value::some")]
    pub rate: Option<Vec<RatePerS>>,
    /// So many requests at one instant.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub burst: Option<Vec<u64>>,
    /// Law of the times in open loop; default `poisson`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::text")]
    pub arrival: Option<Arrival>,
    /// `load line`: find the largest load that meets the SLAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<String>,
    /// What is searched: `concurrency` (default) or `rate` (default where `arrival` is given).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// Largest load that a search tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// A limit of an SLA's term as written: `"800ms"`, `0.001`, `20`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LimitText {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for LimitText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// `[cost]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostFile {
    /// Price of electricity: `0.30 EUR/kWh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub electricity: Option<Money>,
    /// Power under load, W: one value, or one for each point.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "value::one_or_many"
    )]
    pub watts: Vec<f64>,
    /// Power without load, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_watts: Option<f64>,
    /// Power usage effectiveness; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pue: Option<f64>,
    /// What the machines cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareFile>,
    /// Share of the hours under load; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty_cycle: Option<Ratio>,
    /// Other costs: `0.10 EUR/h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Money>,
    /// Prices of others.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "value::one_or_many_tables"
    )]
    pub compare_with: Vec<ApiPriceFile>,
}

/// `hardware = { … }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareFile {
    /// Price: `4200 EUR`.
    pub price: Money,
    /// Years in use.
    pub years: f64,
    /// Share of the price that is left; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Ratio>,
}

/// `compare_with = { … }`, or a list of such tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiPriceFile {
    /// Whose prices.
    pub name: String,
    /// For prompt tokens: `0.15 EUR/Mtok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Money>,
    /// For output tokens.
    pub output: Money,
}

/// `timeouts = { … }`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeoutsFile {
    /// To a connection (look-up and TLS included); default 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<DurationNs>,
    /// From sent to the first token; default 120 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<DurationNs>,
    /// Between two tokens; default 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<DurationNs>,
    /// From intended (open loop) or sent (closed loop) to the end; default 600 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<DurationNs>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl PlanFile {
    /// Reads a plan. The error names line and column, shows the line and says what is allowed.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        read::parse(text)
    }

    /// A plan of one stage, as the verb `serving` builds it from flags.
    pub fn of_stage(stage: ServingFile) -> Self {
        Self { serving: vec![stage], ..Self::default() }
    }

    /// A plan of one engine stage, as the verb `engine` builds it from flags.
    pub fn of_engine(stage: EngineFile) -> Self {
        Self { engine: vec![stage], ..Self::default() }
    }

    /// A plan of one storage stage, as the verb `storage` builds it from flags.
    pub fn of_storage(stage: StorageFile) -> Self {
        Self { storage: vec![stage], ..Self::default() }
    }

    /// The plan on a machine with so many processors: engine stages that name no threads take one
    /// for each.
    #[must_use]
    pub fn on_cores(mut self, cores: u64) -> Self {
        for stage in &mut self.engine {
            stage.threads.get_or_insert_with(|| vec![cores]);
        }
        self
    }

    /// Checks the plan and fills in every default. `fresh_seed` is used where the plan names none;
    /// the same plan and seed give the same result.
    pub fn resolve(&self, fresh_seed: u64) -> Result<Plan, PlanError> {
        resolve::plan(self, fresh_seed).map_err(|fault| fault.located(self.source.as_deref()))
    }

    /// The plan as TOML that reads back as the same plan. Header values are written as they are:
    /// mask them first where the text is stored.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("invariant: every field of a plan has a TOML form")
    }
}

#[cfg(test)]
mod tests;
