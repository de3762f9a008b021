//! What is observed beside the load: pages of server metrics, GPUs, power, the host. As planned, and
//! what came of it.

use serde::{Deserialize, Serialize};

use crate::gpu::{GpuReading, Missing};
use crate::outcome::spelled;
use crate::plan::KeySource;

/// Time from one look to the next where nothing else is said, ns.
pub const DEFAULT_INTERVAL_NS: u64 = 1_000_000_000;
/// Time without load that the idle power is taken from, where nothing else is said, ns.
pub const DEFAULT_IDLE_NS: u64 = 10_000_000_000;

/// Which observers go along with the stages of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservePlan {
    /// Pages of server metrics.
    pub metrics: MetricsPages,
    /// Where the bearer token of pages that were named comes from; never the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_token: Option<KeySource>,
    /// GPUs.
    pub gpu: GpuChoice,
    /// Numbers of the GPUs that belong to the target; empty: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<u32>,
    /// RAPL and hwmon of this machine, where the target is on it.
    pub power: bool,
    /// Processors, memory, disks and network of this machine.
    pub host: bool,
    /// Time from one look to the next, ns.
    pub interval_ns: u64,
    /// Time without load before a stage, from which the idle power is taken, ns; 0: none.
    pub idle_ns: u64,
}

impl Default for ObservePlan {
    fn default() -> Self {
        Self {
            metrics: MetricsPages::Auto,
            metrics_token: None,
            gpu: GpuChoice::Auto,
            gpus: Vec::new(),
            power: true,
            host: true,
            interval_ns: DEFAULT_INTERVAL_NS,
            idle_ns: DEFAULT_IDLE_NS,
        }
    }
}

impl ObservePlan {
    /// Nothing at all.
    pub fn off() -> Self {
        Self {
            metrics: MetricsPages::Off,
            gpu: GpuChoice::Off,
            power: false,
            host: false,
            ..Self::default()
        }
    }

    /// Whether there may be a meter of power.
    pub fn may_measure_power(&self) -> bool {
        self.power || self.gpu != GpuChoice::Off
    }
}

/// Which pages of metrics are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsPages {
    /// `/metrics` of each endpoint that has one.
    Auto,
    /// None.
    Off,
    /// These.
    Urls(Vec<String>),
}

/// Where GPUs are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuChoice {
    /// This machine's, where the target is on it.
    Auto,
    /// None.
    Off,
    /// Those on the page of this dcgm-exporter.
    Exporter(String),
}

spelled! {
    /// An observer.
    ObserverKind {
        /// A page of server metrics.
        Metrics = "metrics",
        /// GPUs.
        Gpu = "gpu",
        /// RAPL and hwmon.
        Power = "power",
        /// The host.
        Host = "host",
    }
}

/// A counter of energy, or a sensor of power, apart from GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// Its series among the samples of source `power`.
    pub series: String,
    /// What it measures, for people: `package-0`, `dram`, `power_meter`.
    pub name: String,
    /// Whether it counts energy (J); otherwise it tells power (W).
    pub is_counter: bool,
    /// Whether it belongs in the sum: parts of another meter do not.
    pub counted: bool,
    /// Whether it measures the whole machine, GPUs included.
    #[serde(default)]
    pub is_whole: bool,
    /// A counter begins anew at this value, J.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wraps_at_j: Option<f64>,
}

/// What the observers of a stage have in front of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observing {
    /// When the observers of this part of the run began, ns.
    pub from_ns: u64,
    /// Pages of metrics, keys masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<String>,
    /// The first reading of each GPU, with its name and what it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuReading>,
    /// Meters of energy and power apart from GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<Meter>,
    /// Whether the host is read.
    #[serde(default)]
    pub host: bool,
    /// What there is none of, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(ObserverKind, Missing)>,
    /// Whether the target runs on this machine, so that this machine's figures are the target's.
    pub is_here: bool,
    /// Begin and end of the time without load, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<(u64, u64)>,
}

/// How an observer fared over a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObserverEnd {
    /// Which kind.
    pub kind: ObserverKind,
    /// Its source as its samples name it.
    pub source: String,
    /// Looks that gave something.
    pub looks: u64,
    /// Looks that failed.
    pub failed: u64,
    /// What the first failure said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
    /// Samples that a full queue had no room for.
    pub overflowed: u64,
    /// Longest look, ns.
    pub longest_ns: u64,
    /// Time from one look to the next at the end: longer than planned where looks took too long, ns.
    pub interval_ns: u64,
    /// CPU time of its thread, ns.
    pub cpu_ns: u64,
    /// How long it ran, ns.
    pub wall_ns: u64,
}
