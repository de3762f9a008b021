//! What observers saw of a point and of its stage, in the analysis document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::energy::{EnergyFigure, IdleBaseline};
use crate::gpu::{GpuSummary, Missing};
use crate::host_sample::{CpuShares, DiskRates, NetworkRates};
use crate::latency::LatencyResult;
use crate::observe::ObserverKind;

/// What was observed beside a point's load. Gauges, GPUs, host and energy are of the measure windows
/// of its trials; counters and histograms of a server are of whole trials, from the look before the
/// first request to the look after the last answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    /// What the server says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerObserved>,
    /// GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu: Vec<GpuSummary>,
    /// The host that the target and this client share, or the client's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostObserved>,
    /// Energy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<PointEnergy>,
}

/// A gauge over the measure windows, by the looks in them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gauge {
    /// Mean of the looks; of several pages the sum of their means (of shares: the mean).
    pub mean: f64,
    /// Largest look; of several pages absent, but for shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Looks.
    pub n: u64,
}

/// What the server's own metrics say of a point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServerObserved {
    /// Requests that the server works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Gauge>,
    /// Requests that wait in the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Gauge>,
    /// Our requests in flight at the same moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<Gauge>,
    /// Share of the KV cache in use, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_usage: Option<Gauge>,
    /// Times that a running request lost its place, over whole trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemptions: Option<f64>,
    /// Prompt tokens found in the prefix cache ÷ prompt tokens looked up (or ÷ prompt tokens), 0–1,
    /// over whole trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_hit_ratio: Option<f64>,
    /// Output tokens, server against client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<TokenCheck>,
    /// Prompt tokens, server against client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<TokenCheck>,
    /// TTFT of the client without that of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_server: Option<TtftSplit>,
    /// The server's own histograms over whole trials, as `loadline latency` tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<LatencyResult>,
    /// Trials whose counters could be used.
    pub trials: u32,
}

/// Tokens that the server counted against those that the client knows of, over whole trials.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCheck {
    /// By the server's counter.
    pub server: f64,
    /// Of answers that came whole, by the client.
    pub client_low: f64,
    /// The same, and the most that the others may have had.
    pub client_high: f64,
    /// How far the server's count lies outside of the client's bounds, as a share of the nearer one;
    /// 0 inside. Negative: the server counted less.
    pub difference: f64,
}

/// Mean TTFT of the client and of the server over the same requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TtftSplit {
    /// Client: from the first byte sent to the first token's arrival, mean, ns.
    pub client_mean_ns: f64,
    /// Server: mean by its histogram's sum ÷ count, ns.
    pub server_mean_ns: f64,
    /// Client − server: network, proxies, HTTP and client, ns.
    pub outside_ns: f64,
    /// Requests by the client.
    pub client_n: u64,
    /// Requests by the server.
    pub server_n: u64,
}

/// The host over the measure windows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostObserved {
    /// Time between looks that it rests on, ns.
    pub over_ns: u64,
    /// All processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuShares>,
    /// Number of the busiest core, and its busy share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busiest_core: Option<(u32, f64)>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u64>,
    /// Share of time in which some task waited for a resource (PSI), by resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pressure_some: BTreeMap<String, f64>,
    /// Share of time in which no task could go on, likewise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pressure_full: BTreeMap<String, f64>,
    /// Block devices with any I/O.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<String, DiskRates>,
    /// Network interfaces with any traffic, the loopback left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, NetworkRates>,
    /// Share of time in which the cgroup was stopped for using up its processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_throttled: Option<f64>,
    /// Processors' worth of time that the cgroup allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_cpus: Option<f64>,
    /// Least memory that was available, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_min_bytes: Option<u64>,
    /// Mean clock of the processors, MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_mhz: Option<f64>,
}

/// Energy of a point over its measure windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointEnergy {
    /// Everything that was metered.
    pub gross: EnergyFigure,
    /// Less the idle power times the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<EnergyFigure>,
    /// Gross energy ÷ time, W.
    pub watts: f64,
    /// Power of the same meters without load, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_watts: Option<f64>,
    /// Each meter.
    pub meters: Vec<MeterEnergy>,
    /// Names of the meters in the sum: those of the whole machine where there are any; else GPUs,
    /// processors and their memory.
    pub added: Vec<String>,
    /// Whether they are of the whole machine.
    pub is_whole: bool,
    /// Gross energy ÷ output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_per_output_token: Option<f64>,
    /// Gross energy ÷ prompt and output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_per_total_token: Option<f64>,
    /// Gross energy ÷ answers that ended ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_per_request: Option<f64>,
    /// Net energy ÷ output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_joules_per_output_token: Option<f64>,
    /// Net energy ÷ answers that ended ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_joules_per_request: Option<f64>,
}

/// The energy of one meter over the measure windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeterEnergy {
    /// `GPU 0`, `package-0`, `dram`.
    pub name: String,
    /// What it counted.
    pub energy: EnergyFigure,
}

/// What observers of a stage had in front of them, and how they fared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StageObserved {
    /// Each observer that ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observers: Vec<ObserverResult>,
    /// What there is none of, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ObserverMissing>,
    /// Power without load, all meters together, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleBaseline>,
    /// Whether the target runs on this machine.
    pub is_here: bool,
}

/// How an observer fared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObserverResult {
    /// Kind.
    pub kind: ObserverKind,
    /// Source: a page's URL, or the kind again.
    pub source: String,
    /// Looks that gave something.
    pub looks: u64,
    /// Looks that failed.
    pub failed: u64,
    /// What the first failure said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
    /// CPU time of its thread ÷ time: share of one core.
    pub cpu_ratio: f64,
    /// Longest look, ns.
    pub longest_ns: u64,
    /// Time from one look to the next at the end, ns.
    pub interval_ns: u64,
    /// Samples lost to a full queue.
    pub overflowed: u64,
}

/// What there is none of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObserverMissing {
    /// Which observer.
    pub observer: ObserverKind,
    /// Why, and what grants it.
    #[serde(flatten)]
    pub missing: Missing,
}
