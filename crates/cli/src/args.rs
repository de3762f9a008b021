//! The command line: verbs and their flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::serving_args::ServingArgs;

/// Tells how much load an LLM server carries, and how well.
#[derive(Debug, Parser)]
#[command(name = "loadline", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Put load on an OpenAI-compatible server and measure it
    Serving(Box<ServingArgs>),
    /// Carry out a plan (TOML)
    Run(RunArgs),
    /// Show the result of a run again
    Report(ReportArgs),
    /// Write the records of a run as CSV, JSON lines or Parquet
    Export(ExportArgs),
    /// List the runs
    List(ListArgs),
    /// Measure the client itself: how much load it can be trusted with on this machine
    Selftest(SelftestArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
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
    /// Do not ask back: load that leaves this network may be large
    #[arg(long)]
    pub(crate) yes: bool,
    /// No live view, only what went wrong
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Carries out a plan file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadline run plan.toml
  loadline run plan.toml --dry-run
  loadline run plan.toml --resume 7kq2mz4a")]
pub(crate) struct RunArgs {
    /// The plan
    #[arg(value_name = "PLAN", default_value = "loadline.toml")]
    pub(crate) plan: PathBuf,
    /// Seed of everything random, instead of the plan's
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) options: RunOptions,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    Json,
    Csv,
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
