//! A GPU over a time, in the analysis document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GpuField, GpuPart, GpuSource, Missing, ThrottleReason};
use crate::energy::EnergyFigure;

/// A field over a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuStat {
    /// Mean; of ratios and rates weighted with the time that each sample is an average of.
    pub mean: f64,
    /// 95th percentile (nearest rank) of the samples.
    pub p95: f64,
    /// Largest sample.
    pub max: f64,
    /// Samples.
    pub n: u64,
}

/// Clocks.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GpuClocks {
    /// Of the SMs, MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_mhz: Option<GpuStat>,
    /// Of the memory, MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_mhz: Option<GpuStat>,
}

/// A GPU (or a MIG instance) over a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuSummary {
    /// The host; empty: this one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Number of the GPU in its source's order.
    pub index: u32,
    /// Number of the MIG instance; absent: the whole GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<u32>,
    /// UUID, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Product name.
    pub name: String,
    /// Where the readings come from.
    pub source: GpuSource,
    /// Readings.
    pub samples: u64,
    /// From the first reading to the last, ns.
    pub over_ns: u64,
    /// Share of the resident warps, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_occupancy: Option<GpuStat>,
    /// Share of the cycles of SMs with a warp, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_active: Option<GpuStat>,
    /// Share of the memory bandwidth in use, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dram_active: Option<GpuStat>,
    /// Share of the cycles of tensor cores at work, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor_active: Option<GpuStat>,
    /// Power, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_w: Option<GpuStat>,
    /// Energy from the first reading to the last, J.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<EnergyFigure>,
    /// Temperature, °C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<GpuStat>,
    /// Clocks.
    #[serde(default)]
    pub clocks: GpuClocks,
    /// Share of the readings in which something slowed the clocks down, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_ratio: Option<f64>,
    /// The same by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttled_by: BTreeMap<ThrottleReason, f64>,
    /// The other fields that were read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<GpuField, GpuStat>,
    /// Means over equal parts of the time, for pictures; a part without a sample is null.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timeline: BTreeMap<GpuField, Vec<Option<f64>>>,
    /// Fields of which no reading has a value, and why (the last reading's reason).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<GpuField, Missing>,
}

impl GpuSummary {
    /// Which GPU or instance.
    pub fn part(&self) -> GpuPart<'_> {
        (&self.host, self.source, self.index, self.mig)
    }

    /// "0", "0:3" for a MIG instance, "amd0" for an AMD GPU.
    pub fn label(&self) -> String {
        super::label(self.source, self.index, self.mig)
    }
}
