//! Flags of `loadline engine`, and the plan of one stage that they mean. Names of llama-bench are
//! taken, too (see `llama_bench_flags`).

use clap::Args;
use loadline_schema::engine::FlashAttention;
use loadline_schema::plan_file::{EngineFile, PlanFile};

use crate::args::RunOptions;
use crate::cost_args::CostArgs;
use crate::exit::Failure;

/// Measures an engine.
#[derive(Debug, Args)]
#[command(
    after_help = "Lists may have ranges, as in llama-bench: 1,4,16 or 0-4096+1024 or 1-64*2. \
The grid is every combination. Prompts and generation are timed apart, each at the same context \
(llama-bench's depth, -d).

Examples:
  loadline engine model.gguf
  loadline engine model.gguf --batch 1,4,16 --context 0,4096 --threads 4,8
  loadline engine -m model.gguf -p 512 -n 128 -d 0,4096 -t 8 -ngl 99 -fa on -r 5
  loadline engine made:llama-3.2-1b:q4_0 --batch 1
  loadline engine model.gguf --with ~/llama.cpp/build/bin/llama-bench
  loadline engine --list-devices

Exit codes: 0 ok, 1 internal error, 2 usage or model, 6 incomplete run (a cell failed)."
)]
pub(crate) struct EngineArgs {
    /// GGUF file, or made[:SHAPE[:TYPE]] for random weights [default: made:smollm2-135m:q8_0]
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The same
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    pub(crate) model_flag: Option<String>,

    /// Sequences computed together (-npl) [default: 1,4,16]
    #[arg(long, value_name = "LIST", help_heading = "Grid")]
    pub(crate) batch: Option<List>,
    /// Tokens in the KV cache of each sequence beforehand [default: 0]
    #[arg(short = 'd', long, value_name = "LIST", alias = "n-depth", help_heading = "Grid")]
    pub(crate) context: Option<List>,
    /// Threads of the CPU [default: one for each processor]
    #[arg(short = 't', long, value_name = "LIST", help_heading = "Grid")]
    pub(crate) threads: Option<List>,
    /// Layers on the GPU (-ngl) [default: as many as fit]
    #[arg(long, value_name = "LIST", alias = "n-gpu-layers", help_heading = "Grid")]
    pub(crate) gpu_layers: Option<List>,
    /// Most tokens computed at once, n_ubatch (-ub) [default: 512]
    #[arg(long, value_name = "LIST", help_heading = "Grid")]
    pub(crate) ubatch_size: Option<List>,

    /// Prompt tokens of each sequence; 0: none [default: 512]
    #[arg(short = 'p', long, value_name = "N", alias = "n-prompt", help_heading = "Work")]
    pub(crate) prompt_tokens: Option<u32>,
    /// Tokens that each sequence generates; 0: none [default: 128]
    #[arg(short = 'n', long, value_name = "N", alias = "n-gen", help_heading = "Work")]
    pub(crate) output_tokens: Option<u32>,
    /// Repetitions of each cell [default: 5]
    #[arg(short = 'r', long, value_name = "N", alias = "repetitions", help_heading = "Work")]
    pub(crate) trials: Option<u32>,

    /// Most tokens of one call, n_batch [default: 2048]
    #[arg(short = 'b', long, value_name = "N", help_heading = "Engine")]
    pub(crate) batch_size: Option<u32>,
    /// Flash attention: on, off or auto (-fa) [default: auto]
    #[arg(long, value_name = "WHEN", alias = "flash-attn", value_parser = flash, help_heading = "Engine")]
    pub(crate) flash_attention: Option<FlashAttention>,
    /// Type of the keys in the KV cache (-ctk) [default: f16]
    #[arg(long, value_name = "TYPE", alias = "cache-type-k", help_heading = "Engine")]
    pub(crate) type_k: Option<String>,
    /// Type of the values in the KV cache (-ctv) [default: f16]
    #[arg(long, value_name = "TYPE", alias = "cache-type-v", help_heading = "Engine")]
    pub(crate) type_v: Option<String>,
    /// Your own llama-bench and llama-batched-bench: a path, or llama-bench for those on PATH
    #[arg(long, value_name = "PROGRAM", value_parser = tool, help_heading = "Engine")]
    pub(crate) with: Option<String>,
    /// Do not measure memory bandwidth
    #[arg(long, help_heading = "Engine")]
    pub(crate) no_memory_bandwidth: bool,
    /// Show what the engine can compute on, and measure nothing
    #[arg(long, help_heading = "Engine")]
    pub(crate) list_devices: bool,

    #[command(flatten)]
    pub(crate) cost: CostArgs,
    /// Name of the run
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    pub(crate) name: Option<String>,
    /// Seed of everything random [default: a fresh one, recorded]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub(crate) seed: Option<u64>,
    #[command(flatten, next_help_heading = "Run")]
    pub(crate) options: RunOptions,
}

/// Numbers as llama-bench lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List(Vec<u64>);

impl std::str::FromStr for List {
    type Err = loadline_engine::ListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(loadline_engine::parse_list(text)?.into_iter().map(u64::from).collect()))
    }
}

/// `--with llama-bench=PATH` is taken as `--with PATH`.
fn tool(text: &str) -> Result<String, String> {
    let path = text.split_once('=').map_or(text, |(_, path)| path).trim();
    if path.is_empty() {
        return Err("write the path of llama-bench, or llama-bench for the one on PATH".to_owned());
    }
    Ok(path.to_owned())
}

fn flash(text: &str) -> Result<FlashAttention, String> {
    match text {
        "1" => Ok(FlashAttention::On),
        "0" => Ok(FlashAttention::Off),
        text => {
            FlashAttention::from_text(text).ok_or_else(|| "expected on, off or auto".to_owned())
        }
    }
}

impl EngineArgs {
    /// The model that is named, or none.
    pub(crate) fn model(&self) -> Option<String> {
        self.model.clone().or_else(|| self.model_flag.clone())
    }

    /// The plan that these flags mean.
    pub(crate) fn plan_file(&self) -> Result<PlanFile, Failure> {
        let list = |list: &Option<List>| list.as_ref().map(|list| list.0.clone());
        let stage = EngineFile {
            name: None,
            model: self.model(),
            with: self.with.clone(),
            batch: list(&self.batch),
            context: list(&self.context),
            threads: list(&self.threads),
            gpu_layers: list(&self.gpu_layers),
            n_ubatch: list(&self.ubatch_size),
            n_batch: self.batch_size,
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            trials: self.trials,
            flash_attention: self.flash_attention,
            type_k: self.type_k.clone(),
            type_v: self.type_v.clone(),
            memory_bandwidth: self.no_memory_bandwidth.then_some(false),
        };
        let mut plan = PlanFile::of_engine(stage);
        plan.name.clone_from(&self.name);
        plan.seed = self.seed;
        plan.cost = self.cost.file()?;
        Ok(plan)
    }
}
