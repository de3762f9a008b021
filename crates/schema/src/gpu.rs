//! What is read from a GPU: fields with their units, readings, and why a field is missing.
//!
//! `time_active` and `memory_time_active` are the shares of time in which anything at all ran (NVML's
//! utilization.gpu and utilization.memory). They say nothing about how much of the GPU was at work,
//! and no rule of this project turns them into `sm_active` or `dram_active`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::spelled;

mod summary;
mod throttle;

pub use summary::{GpuClocks, GpuStat, GpuSummary};
pub use throttle::{ThrottleReason, ThrottleReasons};

spelled! {
    /// A figure of a GPU. Ratios are 0–1.
    GpuField {
        /// Share of the warps that could be resident, averaged over SMs and cycles.
        SmOccupancy = "sm_occupancy",
        /// Share of cycles in which an SM had a warp, averaged over SMs.
        SmActive = "sm_active",
        /// Share of the memory bandwidth in use (DCGM: of cycles in which the interface was active).
        DramActive = "dram_active",
        /// Share of cycles in which a tensor core was at work.
        TensorActive = "tensor_active",
        /// Power as the driver averages it (over 1 s on most GPUs), W.
        PowerW = "power_w",
        /// Power now, W.
        PowerInstantW = "power_instant_w",
        /// Power of the module with its processor (Grace and the like), W.
        ModulePowerW = "module_power_w",
        /// The limit of power in force, W.
        PowerLimitW = "power_limit_w",
        /// Energy since the driver was loaded, J: a counter.
        EnergyJ = "energy_j",
        /// Temperature of the chip, °C.
        TemperatureC = "temperature_c",
        /// Temperature of the memory, °C.
        MemoryTemperatureC = "memory_temperature_c",
        /// Clock of the SMs, MHz.
        SmClockMhz = "sm_clock_mhz",
        /// Clock of the memory, MHz.
        MemClockMhz = "mem_clock_mhz",
        /// Bits of the reasons that hold the clocks down; see [`ThrottleReasons`].
        Throttle = "throttle",
        /// Time with clocks held down for power, ns: a counter.
        PowerThrottledNs = "power_throttled_ns",
        /// Time with clocks held down for heat, ns: a counter.
        ThermalThrottledNs = "thermal_throttled_ns",
        /// PCIe out of the GPU, bytes/s.
        PcieTxBytesPerS = "pcie_tx_bytes_per_s",
        /// PCIe into the GPU, bytes/s.
        PcieRxBytesPerS = "pcie_rx_bytes_per_s",
        /// NVLink out of the GPU, all links, bytes/s.
        NvlinkTxBytesPerS = "nvlink_tx_bytes_per_s",
        /// NVLink into the GPU, all links, bytes/s.
        NvlinkRxBytesPerS = "nvlink_rx_bytes_per_s",
        /// Memory in use, bytes.
        MemoryUsedBytes = "memory_used_bytes",
        /// Memory, bytes.
        MemoryTotalBytes = "memory_total_bytes",
        /// Share of time in which a kernel ran, however small: no measure of load.
        TimeActive = "time_active",
        /// Share of time in which memory was read or written: no measure of bandwidth.
        MemoryTimeActive = "memory_time_active",
        /// Generation of the PCIe link now (falls when idle).
        PcieGen = "pcie_gen",
        /// Lanes of the PCIe link now.
        PcieLanes = "pcie_lanes",
    }
}

/// The unit of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuUnit {
    /// 0–1.
    Ratio,
    /// Watt.
    Watt,
    /// Joule.
    Joule,
    /// Degree Celsius.
    Celsius,
    /// Megahertz.
    Megahertz,
    /// Nanosecond.
    Nanosecond,
    /// Byte/s.
    BytesPerSecond,
    /// Byte.
    Byte,
    /// No unit.
    One,
}

impl GpuField {
    /// Its unit.
    pub const fn unit(self) -> GpuUnit {
        match self {
            Self::SmOccupancy
            | Self::SmActive
            | Self::DramActive
            | Self::TensorActive
            | Self::TimeActive
            | Self::MemoryTimeActive => GpuUnit::Ratio,
            Self::PowerW | Self::PowerInstantW | Self::ModulePowerW | Self::PowerLimitW => {
                GpuUnit::Watt
            }
            Self::EnergyJ => GpuUnit::Joule,
            Self::TemperatureC | Self::MemoryTemperatureC => GpuUnit::Celsius,
            Self::SmClockMhz | Self::MemClockMhz => GpuUnit::Megahertz,
            Self::PowerThrottledNs | Self::ThermalThrottledNs => GpuUnit::Nanosecond,
            Self::PcieTxBytesPerS
            | Self::PcieRxBytesPerS
            | Self::NvlinkTxBytesPerS
            | Self::NvlinkRxBytesPerS => GpuUnit::BytesPerSecond,
            Self::MemoryUsedBytes | Self::MemoryTotalBytes => GpuUnit::Byte,
            Self::Throttle | Self::PcieGen | Self::PcieLanes => GpuUnit::One,
        }
    }

    /// Whether it only ever grows, so that its difference counts and not its mean.
    pub const fn is_counter(self) -> bool {
        matches!(self, Self::EnergyJ | Self::PowerThrottledNs | Self::ThermalThrottledNs)
    }

    /// DCGM's number of the field, where it has one.
    pub const fn dcgm_id(self) -> Option<u16> {
        Some(match self {
            Self::SmClockMhz => 100,
            Self::MemClockMhz => 101,
            Self::Throttle => 112,
            Self::MemoryTemperatureC => 140,
            Self::TemperatureC => 150,
            Self::PowerW => 155,
            Self::EnergyJ => 156,
            Self::PowerInstantW => 157,
            Self::PowerLimitW => 164,
            Self::TimeActive => 203,
            Self::MemoryTimeActive => 204,
            Self::PcieGen => 237,
            Self::PcieLanes => 238,
            Self::PowerThrottledNs => 240,
            Self::ThermalThrottledNs => 241,
            Self::MemoryTotalBytes => 250,
            Self::MemoryUsedBytes => 252,
            Self::SmActive => 1002,
            Self::SmOccupancy => 1003,
            Self::TensorActive => 1004,
            Self::DramActive => 1005,
            Self::PcieTxBytesPerS => 1009,
            Self::PcieRxBytesPerS => 1010,
            Self::NvlinkTxBytesPerS => 1011,
            Self::NvlinkRxBytesPerS => 1012,
            Self::ModulePowerW => return None,
        })
    }

    /// The head of its column in `dcgmi dmon`.
    pub const fn dcgmi_word(self) -> Option<&'static str> {
        Some(match self {
            Self::SmClockMhz => "SMCLK",
            Self::MemClockMhz => "MMCLK",
            Self::Throttle => "DVCCTR",
            Self::MemoryTemperatureC => "MMTMP",
            Self::TemperatureC => "TMPTR",
            Self::PowerW => "POWER",
            Self::EnergyJ => "TOTEC",
            Self::PowerInstantW => "POWINST",
            Self::PowerLimitW => "EPLMT",
            Self::TimeActive => "GPUTL",
            Self::MemoryTimeActive => "MCUTL",
            Self::PcieGen => "PCILG",
            Self::PcieLanes => "PCILW",
            Self::PowerThrottledNs => "PVIOL",
            Self::ThermalThrottledNs => "TVIOL",
            Self::MemoryTotalBytes => "FBTTL",
            Self::MemoryUsedBytes => "FBUSD",
            Self::SmActive => "SMACT",
            Self::SmOccupancy => "SMOCC",
            Self::TensorActive => "TENSO",
            Self::DramActive => "DRAMA",
            Self::PcieTxBytesPerS => "PCITX",
            Self::PcieRxBytesPerS => "PCIRX",
            Self::NvlinkTxBytesPerS => "NVLTX",
            Self::NvlinkRxBytesPerS => "NVLRX",
            Self::ModulePowerW => return None,
        })
    }

    /// What one unit of this field in DCGM is in ours: DCGM has mJ, MiB and percent in places.
    pub const fn per_dcgm_unit(self) -> f64 {
        match self {
            Self::EnergyJ => 1e-3,
            Self::TimeActive | Self::MemoryTimeActive => 1e-2,
            Self::MemoryTotalBytes | Self::MemoryUsedBytes => 1_048_576.0,
            _ => 1.0,
        }
    }
}

spelled! {
    /// Why a figure is missing.
    MissingKind {
        /// It exists, and this user may not read it.
        Denied = "denied",
        /// This hardware, driver or source does not have it.
        Unsupported = "unsupported",
        /// It is there, but not now: a second sample is due, or the source does not collect it.
        Unavailable = "unavailable",
        /// The attempt ended in an error.
        Failed = "failed",
    }
}

/// A figure that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// The kind of reason.
    pub kind: MissingKind,
    /// What was tried and what it said.
    pub reason: String,
    /// The command that would grant it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

impl Missing {
    /// Missing for a reason, with no command that would help.
    pub fn new(kind: MissingKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), grant: None }
    }

    /// Not permitted, and what permits it.
    pub fn denied(reason: impl Into<String>, grant: impl Into<String>) -> Self {
        let grant = Some(grant.into());
        Self { kind: MissingKind::Denied, reason: reason.into(), grant }
    }
}

spelled! {
    /// Where readings of GPUs come from.
    GpuSource {
        /// The driver's library.
        Nvml = "nvml",
        /// A page of dcgm-exporter.
        DcgmExporter = "dcgm_exporter",
        /// The text of `dcgmi dmon`.
        Dcgmi = "dcgmi",
        /// The kernel's files of amdgpu.
        Amdgpu = "amdgpu",
    }
}

impl GpuSource {
    /// For people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Nvml => "NVML",
            Self::DcgmExporter => "dcgm-exporter",
            Self::Dcgmi => "dcgmi dmon",
            Self::Amdgpu => "amdgpu's files",
        }
    }
}

/// Which GPU or instance: host, source, number in the source's order, MIG instance.
pub type GpuPart<'a> = (&'a str, GpuSource, u32, Option<u32>);

/// A machine may have GPUs of both vendors, and both count from 0.
fn label(source: GpuSource, index: u32, mig: Option<u32>) -> String {
    let vendor = if source == GpuSource::Amdgpu { "amd" } else { "" };
    let part = mig.map(|mig| format!(":{mig}")).unwrap_or_default();
    format!("{vendor}{index}{part}")
}

/// One look at one GPU (or at one MIG instance). Each field is in `values` or in `missing`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuReading {
    /// The host; empty: this one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Where it comes from.
    pub source: GpuSource,
    /// Number of the GPU in its source's order.
    pub index: u32,
    /// Number of the MIG instance; absent: the whole GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<u32>,
    /// UUID, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Product name, as far as known.
    pub name: String,
    /// When, run-relative monotonic ns.
    pub at_ns: u64,
    /// Over which time the ratios and rates are averages, ns; absent: the source does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_ns: Option<u64>,
    /// Time between two steps of the energy counter, as measured, ns; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_step_ns: Option<u64>,
    /// What was read.
    pub values: BTreeMap<GpuField, f64>,
    /// What was not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<GpuField, Missing>,
}

impl GpuReading {
    /// A reading that holds nothing yet.
    pub fn new(source: GpuSource, index: u32, name: impl Into<String>, at_ns: u64) -> Self {
        Self {
            host: String::new(),
            source,
            index,
            mig: None,
            uuid: None,
            name: name.into(),
            at_ns,
            over_ns: None,
            energy_step_ns: None,
            values: BTreeMap::new(),
            missing: BTreeMap::new(),
        }
    }

    /// The value of a field.
    pub fn get(&self, field: GpuField) -> Option<f64> {
        self.values.get(&field).copied()
    }

    /// Puts a field in, or says why not. A value that is no number counts as missing.
    pub fn put(&mut self, field: GpuField, value: Result<f64, Missing>) {
        match value {
            Ok(value) if value.is_finite() => {
                self.missing.remove(&field);
                self.values.insert(field, value);
            }
            Ok(_) => self.put_missing(
                field,
                Missing::new(MissingKind::Failed, "the source's value is no finite number"),
            ),
            Err(missing) => self.put_missing(field, missing),
        }
    }

    fn put_missing(&mut self, field: GpuField, missing: Missing) {
        self.values.remove(&field);
        self.missing.insert(field, missing);
    }

    /// Says of every field that is neither there nor excused why it is missing.
    pub fn excuse_rest(&mut self, missing: &Missing) {
        for field in GpuField::ALL {
            if !self.values.contains_key(field) && !self.missing.contains_key(field) {
                self.missing.insert(*field, missing.clone());
            }
        }
    }

    /// The reasons that hold the clocks down.
    pub fn throttle(&self) -> Option<ThrottleReasons> {
        self.get(GpuField::Throttle).map(|bits| ThrottleReasons(bits as u64))
    }

    /// Which GPU or instance: host, source, number, instance. Each source counts from 0.
    pub fn part(&self) -> GpuPart<'_> {
        (&self.host, self.source, self.index, self.mig)
    }

    /// "0", "0:3" for a MIG instance, "amd0" for an AMD GPU.
    pub fn label(&self) -> String {
        label(self.source, self.index, self.mig)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_there_or_excused() {
        let mut reading = GpuReading::new(GpuSource::Nvml, 0, "x", 7);
        reading.put(GpuField::PowerW, Ok(120.5));
        reading.put(GpuField::EnergyJ, Ok(f64::NAN));
        reading.put(GpuField::SmActive, Err(Missing::denied("no", "sudo yes")));
        reading.excuse_rest(&Missing::new(MissingKind::Unsupported, "not asked"));
        assert_eq!(reading.values.len() + reading.missing.len(), GpuField::ALL.len());
        assert_eq!(reading.get(GpuField::PowerW), Some(120.5));
        assert_eq!(reading.missing[&GpuField::EnergyJ].kind, MissingKind::Failed);
        assert_eq!(reading.missing[&GpuField::SmActive].grant.as_deref(), Some("sudo yes"));
        let text = serde_json::to_string(&reading).expect("serialises");
        assert_eq!(serde_json::from_str::<GpuReading>(&text).expect("reads"), reading);
    }

    #[test]
    fn dcgm_ids_and_words_are_unique_and_go_together() {
        let mut ids = std::collections::BTreeSet::new();
        let mut words = std::collections::BTreeSet::new();
        for field in GpuField::ALL {
            assert_eq!(field.dcgm_id().is_some(), field.dcgmi_word().is_some(), "{field}");
            assert!(field.dcgm_id().is_none_or(|id| ids.insert(id)), "{field}");
            assert!(field.dcgmi_word().is_none_or(|word| words.insert(word)), "{field}");
        }
        assert!(ids.len() > 20);
    }
}
