//! The analysis document: what `--json` prints and `analysis.json` holds.
//!
//! Durations are in ns, rates per second, sizes in bytes, ratios 0–1. A key that could not be had
//! is absent, never null and never 0; its reason is in `warnings`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{EndedEarly, Warning};
use crate::gpu::GpuSummary;
use crate::manifest::{HostFacts, RunStatus};
use crate::verdict::{
    Comparison, CostReport, Little, LoadLine, PointCost, Row, Scalability, SlaResult, Steady,
};

pub use crate::engine_result::{EngineResult, EngineSummary};
pub use crate::latency::LatencyResult;
pub use crate::observed::{Observed, StageObserved};
pub use crate::storage::{StorageResult, StorageSummary};

/// One document, a pure function of a run directory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Version of this format.
    pub schema_version: u32,
    /// Version of the program that computed it.
    pub tool_version: String,
    /// The run; absent for a table measured elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunSummary>,
    /// The service-level targets by name, each with its terms.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sla: BTreeMap<String, Vec<String>>,
    /// One entry for each serving stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serving: Vec<Serving>,
    /// One entry for each cell of an engine stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine: Vec<EngineResult>,
    /// One entry for each engine stage: what it measured, and with what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine_stages: Vec<EngineSummary>,
    /// One entry for each cell of a storage stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<StorageResult>,
    /// One entry for each storage stage: its file systems, and what loading a model comes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_stages: Vec<StorageSummary>,
    /// Latencies by a server's own histograms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<LatencyResult>,
    /// One entry for each GPU that was watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu: Vec<GpuSummary>,
    /// Rows of a table measured elsewhere, as understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Row>,
    /// Zero-based row with the most requests/s inside each SLA; `throughput`: of all rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choice: BTreeMap<String, usize>,
    /// Scalability of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalability: Option<Scalability>,
    /// Little's law over the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub little: Option<Little>,
    /// Rows that no other row beats in both output tokens/s (or requests/s) and those per user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pareto: Vec<usize>,
    /// What the cost rests on, for a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostReport>,
    /// A comparison of two runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Comparison>,
    /// The client's own error on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selftest: Option<Selftest>,
    /// What the reader must know about the run as a whole.
    pub warnings: Vec<Warning>,
}

/// The run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSummary {
    /// Eight base-32 letters.
    pub id: String,
    /// The plan's name.
    pub name: String,
    /// Its directory, as the reader named it.
    pub directory: String,
    /// Start in UTC, RFC 3339.
    pub started: String,
    /// State.
    pub status: RunStatus,
    /// Seed of everything random.
    pub seed: u64,
    /// Machines that took part.
    pub hosts: Vec<HostFacts>,
}

/// A serving stage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Serving {
    /// Name of the stage.
    pub stage: String,
    /// Its endpoints, keys masked.
    pub endpoint: Vec<String>,
    /// The API dialect: `chat` or `completions`.
    pub api: String,
    /// What serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// The model asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Prompt tokens that the chat template adds, by the server's count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_tokens: Option<u32>,
    /// Certificates were not checked (`--insecure`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// One entry for each point of the sweep, in plan order.
    pub points: Vec<Point>,
    /// Whether its points were chosen by a search for the load line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub searched: bool,
    /// The largest load that meets each SLA.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub load_line: BTreeMap<String, LoadLine>,
    /// Requests/s over concurrency; closed loop with at least three points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalability: Option<Scalability>,
    /// Little's law over the points: the clipped identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub little: Option<Little>,
    /// Points that no other beats in both output tokens/s in total and per user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pareto: Vec<usize>,
    /// Point with the most output tokens/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_point: Option<usize>,
    /// What the cost rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostReport>,
    /// What was observed beside the load, and how the observers fared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<StageObserved>,
}

/// An inference engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    /// Name: `vllm`, `llama.cpp`, ….
    pub name: String,
    /// Version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The load of a point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PointLoad {
    /// Closed loop: the configured limit of requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// Open loop: the offered rate, requests/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// Requests started at once, for a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// A cell of an engine's grid in words: `batch 16, context 512, …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// `closed`, `constant`, `poisson`, `gamma` or `burst`; `open` where a table does not tell the law.
    pub arrival: String,
}

/// One point of a sweep: trials pooled for distributions, averaged for rates.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Its load.
    pub load: PointLoad,
    /// Trials that ended and are in the figures.
    pub trials: u32,
    /// Trials planned.
    pub trials_planned: u32,
    /// Why a trial ended short of its plan, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Incomplete>,
    /// Measure windows of all trials together, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ns: Option<u64>,
    /// Outcomes of the cohort.
    pub requests: OutcomeCounts,
    /// Operations outside the cohort (warm-up, drain), by outcome.
    pub outside_cohort: OutcomeCounts,
    /// Errors of the cohort by kind.
    pub errors: BTreeMap<String, u64>,
    /// One example text for each kind of error, masked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_examples: BTreeMap<String, String>,
    /// Finish reasons of ok answers.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Time to first token: from `intended` in open loop, from `sent` in closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ns: Option<Distribution>,
    /// Time to first token from `sent`, in open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_service_ns: Option<Distribution>,
    /// Time to first non-reasoning content, where it differs from TTFT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttfo_ns: Option<Distribution>,
    /// Time to first chunk of any kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttfc_ns: Option<Distribution>,
    /// Gaps between tokens, pooled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub itl_ns: Option<Distribution>,
    /// Gaps between token-bearing events, pooled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_gap_ns: Option<Distribution>,
    /// (last token − first token) / (output tokens − 1), one value for each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_ns: Option<Distribution>,
    /// Longest gap of each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_gap_ns: Option<Distribution>,
    /// End to end: to the last byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e_ns: Option<Distribution>,
    /// Sent − intended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_lag_ns: Option<Distribution>,
    /// Read time − kernel receive stamp, from a histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_lag_ns: Option<Distribution>,
    /// Answers that ended ok in the window, per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<Estimate>,
    /// The same without the tail in which fewer than 95 % of the target were in flight (by count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_s_without_tail: Option<Estimate>,
    /// Output tokens received in the window, per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<Estimate>,
    /// The same without the tail (by count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s_without_tail: Option<Estimate>,
    /// 1 / mean TPOT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s_per_user: Option<Estimate>,
    /// Prompt tokens of the answers that ended ok in the window, per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_s: Option<Estimate>,
    /// Open loop: operations of the cohort that were sent, per second of window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved_rate_per_s: Option<Estimate>,
    /// Attempts inside every request limit of each SLA, per second of window.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub goodput_per_s: BTreeMap<String, Estimate>,
    /// Share of attempts that are ok and inside every request limit of each SLA.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attainment: BTreeMap<String, Estimate>,
    /// How the point stands to each SLA.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sla: BTreeMap<String, SlaResult>,
    /// Whether the target no longer kept up: achieved under 95 % of offered, or requests in flight
    /// growing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub saturated: bool,
    /// Whether the figures moved around one level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<Steady>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<PointCost>,
    /// Figures of single complete trials by metric (`ttft_p99`, `itl_p50`, `requests_per_s`, …), in
    /// the order of the trials: what a comparison rests on. A trial lacks what it could not give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_trial: Vec<BTreeMap<String, f64>>,
    /// Token counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// Mean number of requests in flight in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_mean: Option<f64>,
    /// Little's law with residence clipped to the window: |L − λW| / L; more than 1e-9 is our bug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub little_residual: Option<f64>,
    /// Little's law with the cohort's mean residence: a check of stationarity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stationarity_residual: Option<f64>,
    /// What was observed beside the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Box<Observed>>,
    /// The client's error budget.
    pub client: Client,
    /// What the reader must know about this point.
    pub warnings: Vec<Warning>,
}

/// Why a point is incomplete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incomplete {
    /// Trials that ended short of their plan or never ended.
    pub trials: u32,
    /// The reason of the first; absent when the client was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndedEarly>,
}

/// Operations by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are the outcomes")]
pub struct OutcomeCounts {
    pub ok: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub cut_short: u64,
    pub cancelled: u64,
    pub dropped: u64,
    pub unknown: u64,
}

/// A distribution over raw values (nearest rank) unless `bucketed`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Number of independent observations: requests. Where each has one value, the values.
    pub n: u64,
    /// Number of values where a request has several of them (gaps).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<u64>,
    /// Values left out: attempts of the cohort that have none (censored).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Arithmetic mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Percentiles by nearest rank; absent when they lie in the censored share or are withheld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<u64>,
    /// 90th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<u64>,
    /// 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<u64>,
    /// 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<u64>,
    /// 99.9th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p999: Option<u64>,
    /// Largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// 95 % intervals by percentile name (`p50`, `p99`, … and `mean`). A missing `high` means that
    /// the sample is too small to bound it from above: read the percentile as "≥".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<String, Interval>,
    /// From histogram buckets rather than raw values (relative error ≤ 1 %).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bucketed: bool,
}

/// An interval; a missing bound is open.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// An estimate with its 95 % interval: over trials by Student's t; of a single one (`n` = 1) by the
/// block bootstrap of what happened in the parts of its window, absent where that is too short or has
/// none. A share of attempts has exact binomial bounds, with the independent observations that the
/// attempts of all trials are worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// Point estimate.
    pub value: f64,
    /// Lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Number of trials.
    pub n: u64,
}

/// Token counts of the ok answers of the cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Mean prompt tokens per request by the server's count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<f64>,
    /// Mean output tokens per request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
    /// Mean reasoning tokens per request, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<f64>,
    /// Mean cached prompt tokens per request, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<f64>,
    /// Sum of output tokens over ok answers of the cohort.
    pub output_total: u64,
    /// Sum of prompt tokens over ok answers of the cohort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_total: Option<u64>,
    /// `usage`, `tokenize`, `chunks`, or several joined by `+`.
    pub source: String,
    /// Output tokens per token-bearing event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_chunk: Option<f64>,
}

/// The client's error budget at a point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// CPU time of the reactors ÷ (wall time × reactors).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ratio: Option<f64>,
    /// CPU time without spinning per event, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ns_per_event: Option<f64>,
    /// Share of CPU time spent spinning before due times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spin_ratio: Option<f64>,
    /// `kernel_rx`, `user` or `mixed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_source: Option<String>,
    /// Share of the answers by source of their times, where the source is `mixed`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timestamp_shares: BTreeMap<String, f64>,
    /// Token-bearing events that shared their read with another ÷ all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_reads: Option<f64>,
    /// Share of token gaps that had to be split for our own lateness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_gaps: Option<f64>,
    /// First tokens that are upper bounds, since they lie in a late merged read.
    pub late_first_tokens: u64,
    /// Reads that fell back to the user clock.
    pub fallbacks: u64,
    /// Requests whose write took longer than 1 ms.
    pub slow_writes: u64,
    /// Resolution of the clock, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_step_ns: Option<u64>,
    /// Whether the client was the limit of this point.
    pub limited: bool,
}

/// What the client itself can measure on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Selftest {
    /// Largest concurrency at which the errors stay under 1 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u64>,
    /// Largest rate, requests/s, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rate_per_s: Option<f64>,
    /// P99 of |client − server| of TTFT at that load, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_error_ns_p99: Option<u64>,
    /// P99 of |client − server| of gaps at that load, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_error_ns_p99: Option<u64>,
    /// P99 of the send lag at that load, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_lag_ns_p99: Option<u64>,
    /// When, in UTC, RFC 3339.
    pub measured_at: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}
