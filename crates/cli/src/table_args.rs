//! The flags of `loadline analyze`: a table measured elsewhere, and what is known beside it.

use std::path::PathBuf;

use clap::Args;

use crate::args::ReportFormat;
use crate::cost_args::CostArgs;
use crate::sla_args::SlaArgs;

/// Analyses a table.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadline analyze table.csv
  loadline analyze table.csv --sla 'chat:e2e_p99<=700ms' --sla 'batch:e2e_p99<=1.5s'
  loadline analyze table.csv --watts 350 --electricity \"0.30 EUR/kWh\" \\
      --tokens-per-request 256
  loadline analyze - --json < table.csv

The first line names the columns, fields are apart by comma, semicolon or tab:
  load         concurrency, batch or rate (one of them is required)
  requests     requests_per_s (required)
  latencies    <metric>_<statistic>: ttft, ttfo, itl, tpot, e2e, max_gap and mean,
               p50, p90, p95, p99, p999, max; Avg Latency, P99 Latency are e2e
  others       output_tokens_per_s, output_tokens_per_s_per_user, error_rate, watts
Units stand in the heading, as in e2e_p99_ms or \"P99 Latency (ms)\", or in the
cells, as in 435ms.

Exit codes: 0 ok, 1 internal error, 2 usage or table, 4 an SLA that no row keeps.")]
pub(crate) struct AnalyzeArgs {
    /// The table (CSV); - reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) sla: SlaArgs,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// How many tokens a request of a table has.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct TokenArgs {
    /// Of a table: mean output tokens of a request, where it has no output_tokens_per_s
    #[arg(long, value_name = "N", value_parser = tokens, allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) tokens_per_request: Option<f64>,
    /// Of a table: mean prompt tokens of a request, for prices of all tokens and of APIs
    #[arg(long, value_name = "N", value_parser = tokens, allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) input_tokens_per_request: Option<f64>,
}

fn tokens(text: &str) -> Result<f64, String> {
    let value = text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0 && *n < 1e12);
    value.ok_or_else(|| "write a number of tokens above 0, as in 256".to_owned())
}
