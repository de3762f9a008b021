//! Flags of `loadline latency`: where the metrics come from, over which time, and what is told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use loadline_schema::latency::LatencyBound;
use loadline_schema::units::DurationNs;

/// Tells latencies by a server's own histograms.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LatencyArgs {
    /// A server (its /metrics, or the whole URL of a page), or a saved page; - reads stdin
    #[arg(value_name = "SOURCE", required_unless_present = "prometheus")]
    pub(crate) source: Option<String>,
    /// A page saved later: what came in between is told. Without it a saved page tells of all the
    /// time since the server's start
    #[arg(value_name = "SOURCE2", conflicts_with = "prometheus")]
    pub(crate) second: Option<String>,
    /// Time between the two looks at a server; Ctrl-C takes the second one at once [default: 60s]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, conflicts_with_all = ["second", "prometheus"])]
    pub(crate) window: Option<DurationNs>,

    /// One histogram by its name, or those of one meaning, as in ttft [default: every latency]
    #[arg(long, value_name = "NAME", help_heading = "What is told")]
    pub(crate) metric: Option<String>,
    /// Share of values within a bound: 'ttft<=300ms'; 'ttft_p99<=300ms' asks for 99 % of them
    #[arg(long, value_name = "TERMS", value_delimiter = ',', help_heading = "What is told")]
    pub(crate) sla: Vec<LatencyBound>,
    /// Labels to tell apart, as in model_name; over all others is summed
    #[arg(long, value_name = "LABEL,…", value_delimiter = ',', help_heading = "What is told")]
    pub(crate) by: Vec<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = LatencyFormat::Text, help_heading = "What is told")]
    pub(crate) format: LatencyFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format", help_heading = "What is told")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) prometheus: PrometheusArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Which samples of a Prometheus server are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "From a Prometheus server")]
pub(crate) struct PrometheusArgs {
    /// The Prometheus server, instead of a SOURCE
    #[arg(long, value_name = "URL", requires_all = ["job", "start"], conflicts_with = "source")]
    pub(crate) prometheus: Option<String>,
    /// The job that scrapes the LLM servers
    #[arg(long, value_name = "NAME", requires = "prometheus")]
    pub(crate) job: Option<String>,
    /// Begin of the window: RFC 3339, s since the Unix epoch, or before now, as in -10m
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true, requires = "prometheus")]
    pub(crate) start: Option<String>,
    /// End of the window, likewise [default: now]
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true, requires = "prometheus")]
    pub(crate) end: Option<String>,
    /// How far before either end the last raw sample may lie [default: 5m]
    #[arg(long, value_name = "TIME", requires = "prometheus")]
    pub(crate) lookback: Option<DurationNs>,
}

/// How a server is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Environment variable that holds the bearer token
    #[arg(long, value_name = "NAME")]
    pub(crate) token_env: Option<String>,
    /// CA certificates (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Do not check certificates
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Limit of connecting
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) connect_timeout: DurationNs,
    /// Limit of each answer
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) timeout: DurationNs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LatencyFormat {
    Text,
    Json,
    Csv,
}

const AFTER_HELP: &str = "\
Examples:
  loadline latency http://gpu1:8000
  loadline latency http://gpu1:8000 --for 5m --sla 'ttft_p99<=300ms,itl<=50ms'
  loadline latency https://gpu1/prometheus/metrics --token-env TOKEN --json
  loadline latency unix:/run/llm.sock --metric ttft --by model_name
  curl -s http://gpu1:8000/metrics > before.txt; sleep 60
  curl -s http://gpu1:8000/metrics > after.txt
  loadline latency before.txt after.txt
  loadline latency --prometheus http://prom:9090 --job vllm --start -1h
  loadline latency --prometheus http://prom:9090 --job vllm \\
      --start 2026-11-24T10:00:00Z --end 2026-11-24T11:00:00Z

No load is sent. Series are added up before anything else, the window is the
difference of two looks, and nothing is extrapolated: no rate(), and of a
Prometheus server the last raw sample at or before each end.

Exit codes: 0 ok (without any traffic in the window, too), 1 internal error,
2 usage, or what the source tells is no metrics page or no latency (a restart
between saved pages, too), 3 target unreachable or access denied, 4 an SLA that
asks for a share is missed, 6 the server was restarted between two live looks.";

/// A duration above zero; a plain number means seconds.
fn seconds(text: &str) -> Result<DurationNs, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = if plain { format!("{text}s") } else { text.to_owned() };
    let time: DurationNs =
        text.parse().map_err(|error: loadline_schema::units::UnitError| error.to_string())?;
    if time.0 == 0 { Err("two looks at the same time tell nothing".to_owned()) } else { Ok(time) }
}
