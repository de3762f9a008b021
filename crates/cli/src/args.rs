//! The command line: verbs and their flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use loadline_schema::units::Ratio;

use crate::cost_args::CostArgs;
use crate::engine_args::EngineArgs;
use crate::gpu_args::GpuArgs;
use crate::latency_args::LatencyArgs;
use crate::serving_args::ServingArgs;
use crate::sla_args::SlaArgs;
use crate::storage_args::StorageArgs;
use crate::table_args::{AnalyzeArgs, TokenArgs};

/// Tells how much load an LLM server carries, and how well.
#[derive(Debug, Parser)]
#[command(name = "loadline", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Measure an engine over batch and context, as llama-bench does, without a server
    Engine(Box<EngineArgs>),
    /// Put load on an OpenAI-compatible server and measure it
    Serving(Box<ServingArgs>),
    /// Measure storage: blocks as fio does, checkpoints, loads of models
    Storage(Box<StorageArgs>),
    /// Tell latencies by a server's own metrics: a server, two saved pages, or Prometheus
    Latency(Box<LatencyArgs>),
    /// Watch GPUs: SM, tensor and memory activity, power, energy; for a time or around a command
    Gpu(Box<GpuArgs>),
    /// Carry out a plan (TOML); without one: a quick look at this machine
    Run(RunArgs),
    /// Check a plan, its targets, and whether its trials are long enough, without loading them
    Check(CheckArgs),
    /// Show the result of a run again
    Report(Box<ReportArgs>),
    /// Analyse a table measured elsewhere: which row for which SLA, scaling, cost
    Analyze(Box<AnalyzeArgs>),
    /// Price a run or a table: cost per token, request and hour, and the break-even with an API
    Cost(Box<PriceArgs>),
    /// Compare two runs: what changed, how sure that is, and whether a gate holds
    Compare(CompareArgs),
    /// Read results of llama-bench, llama-batched-bench or fio into a run
    Import(Box<ImportArgs>),
    /// Write the records of a run as CSV, JSON lines or Parquet
    Export(ExportArgs),
    /// List the runs
    List(ListArgs),
    /// Measure the client itself: how much load it can be trusted with on this machine
    Selftest(SelftestArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Another program that ends with this process
    #[command(name = crate::launch::TIED, hide = true)]
    Tied(TiedArgs),
    /// The child of this program that does I/O
    #[command(name = crate::storage_launch::WORKER, hide = true)]
    StorageWorker,
    /// The measuring child of this program
    #[cfg(feature = "embedded")]
    #[command(name = crate::launch::WORKER, hide = true)]
    EmbeddedWorker,
    /// The serving child of this program
    #[cfg(feature = "embedded")]
    #[command(name = crate::launch::SERVER, hide = true)]
    EmbeddedServer(EmbeddedServerArgs),
}

/// A command line.
#[derive(Debug, Args)]
pub(crate) struct TiedArgs {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<std::ffi::OsString>,
}

/// What the serving child serves.
#[cfg(feature = "embedded")]
#[derive(Debug, Args)]
pub(crate) struct EmbeddedServerArgs {
    #[arg(long)]
    pub(crate) model: PathBuf,
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) parallel: u32,
    #[arg(long)]
    pub(crate) context_per_slot: u32,
    #[arg(long)]
    pub(crate) threads: u32,
    #[arg(long)]
    pub(crate) gpu_layers: u32,
    #[arg(long)]
    pub(crate) every_token_visible: bool,
}

/// Imports results.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads llama-bench -o json|jsonl|csv, llama-batched-bench --output-format jsonl
or its table, and fio --output-format=json or json+ (version 3). Examples:
  llama-bench -m model.gguf -o jsonl > bench.jsonl && loadline import bench.jsonl
  fio job.fio --output-format=json+ > fio.json && loadline import fio.json
  loadline import bench.jsonl --electricity \"0.30 EUR/kWh\" --watts 350"
)]
pub(crate) struct ImportArgs {
    /// The file; - reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Name of the run [default: the file's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    /// Print the analysis as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Folder that holds runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
}

/// Where runs are kept, and how a run goes.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    /// Folder that holds runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
    /// Go on with this run (folder, id or the beginning of one) at its first incomplete trial
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<String>,
    /// Print the analysis as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure and store, but do not analyse at the end
    #[arg(long)]
    pub(crate) no_report: bool,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Show one exchange with the server before the load, keys masked
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Do not ask back: load that leaves this network may be large, and storage may be measured in
    /// the root of a mount
    #[arg(long)]
    pub(crate) yes: bool,
    /// No live view, only what went wrong
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Carries out a plan file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadline run
  loadline run plan.toml
  loadline run plan.toml --dry-run
  loadline run plan.toml --resume 7kq2mz4a")]
pub(crate) struct RunArgs {
    /// The plan [default: loadline.toml; without that file a quick look at this machine]
    #[arg(value_name = "PLAN")]
    pub(crate) plan: Option<PathBuf>,
    /// Seed of everything random, instead of the plan's
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) options: RunOptions,
}

/// Checks a plan.
#[derive(Debug, Args)]
#[command(after_help = "Reaches every target with one or two requests each. Example:
  loadline check plan.toml")]
pub(crate) struct CheckArgs {
    /// The plan
    #[arg(value_name = "PLAN", default_value = "loadline.toml")]
    pub(crate) plan: PathBuf,
}

/// Shows a stored run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadline report 7kq2mz4a
  loadline report runs/20261124T101500Z-serving-7kq2mz4a --format csv > points.csv")]
pub(crate) struct ReportArgs {
    /// The run: its folder, its id or the beginning of one
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Folder that holds runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) sla: SlaArgs,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
}

/// Prices a stored run, or a table measured elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadline cost 7kq2mz4a --watts 350 --electricity \"0.30 EUR/kWh\"
  loadline cost 7kq2mz4a --watts 220,300,350,350 --idle-watts 60 --duty-cycle 25% \\
      --electricity \"0.30 EUR/kWh\" --pue 1.3 \\
      --hardware-price \"4200 EUR\" --hardware-years 3 --residual 20% \\
      --api-price \"some-api=0.15/0.60 EUR/Mtok\"
  loadline cost table.csv --watts 350 --electricity \"0.30 EUR/kWh\" --tokens-per-request 256

Flags replace single keys of the plan's [cost]. Currencies are labels: all amounts have one, and
none is converted. What is not stated has no share in the cost.")]
pub(crate) struct PriceArgs {
    /// A run (its folder, its id or the beginning of one), or a table (CSV; - reads stdin)
    #[arg(value_name = "RUN|TABLE")]
    pub(crate) subject: String,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
    #[command(flatten)]
    pub(crate) sla: SlaArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Folder that holds runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    Json,
    Csv,
    Md,
}

/// Compares runs.
#[derive(Debug, Args)]
#[command(
    after_help = "A verdict needs five trials of each point on both sides. Trials that took turns \
(A B A B) find smaller changes, since a drift of the machine meets both sides. A term of a gate \
fails where its metric certainly moved beyond the allowance (exit code 5); an estimate beyond it \
that is not certain is told as undecided and does not fail.

Examples:
  loadline compare 7kq2mz4a c5xw3t2e
  loadline compare 7kq2mz4a c5xw3t2e --gate 'ttft_p99<=+5%,requests_per_s>=-3%'
  loadline compare main candidate --out ci-runs --gate 'itl_p50<=+2ms' --format md > comment.md"
)]
pub(crate) struct CompareArgs {
    /// The baseline: its folder, its id or the beginning of one
    #[arg(value_name = "BASE")]
    pub(crate) baseline: String,
    /// The candidate, likewise
    #[arg(value_name = "CANDIDATE")]
    pub(crate) candidate: String,
    /// Largest allowed changes for the worse; may be repeated [example: 'ttft_p99<=+5%']
    #[arg(long, value_name = "TERMS", allow_hyphen_values = true)]
    pub(crate) gate: Vec<String>,
    /// Smallest change that matters: an interval inside it means no change
    #[arg(long, value_name = "RATIO", default_value = "5%")]
    pub(crate) relevant: Ratio,
    /// BASE and CANDIDATE are plans: carry out both first, their trials in turn (A B A B)
    #[arg(long)]
    pub(crate) interleave: bool,
    /// With --interleave: do not ask back, load that leaves this network may be large
    #[arg(long, requires = "interleave")]
    pub(crate) yes: bool,
    /// Compare runs of other work, another model or other token lengths, too
    #[arg(long)]
    pub(crate) allow_differences: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = CompareFormat::Text)]
    pub(crate) format: CompareFormat,
    /// The same as --format json: the candidate's document with the comparison in it
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Folder that holds runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareFormat {
    Text,
    Json,
    Md,
}

/// Exports records.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadline export 7kq2mz4a --format csv > requests.csv
  loadline export 7kq2mz4a --format parquet --output requests.parquet")]
pub(crate) struct ExportArgs {
    /// The run: its folder, its id or the beginning of one
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Form of the export
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub(crate) format: ExportFormat,
    /// File to write instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// With the arrival times of each answer's chunks
    #[arg(long)]
    pub(crate) chunk_times: bool,
    /// Folder that holds runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Csv,
    Jsonl,
    Parquet,
}

/// Lists runs.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Folder that holds runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measures the client.
#[derive(Debug, Args)]
#[command(
    after_help = "The server with known timing runs on another core than the client where there \
is one. The result is kept for this machine and quoted in every later report."
)]
pub(crate) struct SelftestArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Largest concurrency to try
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) max_concurrency: u64,
    /// Largest rate to try, requests/s
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub(crate) max_rate: u64,
}

/// Prints a completion script.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
