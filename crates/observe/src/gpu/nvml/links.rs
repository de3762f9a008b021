//! Field values of NVML: instant and module power, memory temperature, and the counters of PCIe and
//! NVLink, which become rates where GPM has none.

use std::collections::BTreeMap;

use loadline_schema::gpu::{GpuField, GpuReading, Missing, MissingKind};
use nvml_wrapper::Device;

use super::calls::{ALL_LINKS, field_values};

/// Numbers of field values in nvml.h.
const MEMORY_TEMPERATURE: u32 = 82;
const NVLINK_TX_KIB: u32 = 138;
const NVLINK_RX_KIB: u32 = 139;
const POWER_INSTANT_MW: u32 = 186;
const PCIE_TX_BYTES: u32 = 197;
const PCIE_RX_BYTES: u32 = 198;
/// The scope of power that takes in the whole module.
const MODULE: u32 = 1;

/// Counters of traffic: their field, and what one of their units is in bytes.
const COUNTERS: [(GpuField, f64); 4] = [
    (GpuField::PcieTxBytesPerS, 1.0),
    (GpuField::PcieRxBytesPerS, 1.0),
    (GpuField::NvlinkTxBytesPerS, 1024.0),
    (GpuField::NvlinkRxBytesPerS, 1024.0),
];

/// The last values of the counters, by GPU and field: bytes and when.
#[derive(Debug, Default)]
pub(super) struct LinkCounters {
    last: BTreeMap<(u32, GpuField), (f64, u64)>,
}

impl LinkCounters {
    pub(super) fn read(&mut self, device: &Device<'_>, index: u32, reading: &mut GpuReading) {
        let [memory, instant, module, counters @ ..] = field_values(
            device,
            [
                (MEMORY_TEMPERATURE, 0),
                (POWER_INSTANT_MW, 0),
                (POWER_INSTANT_MW, MODULE),
                (PCIE_TX_BYTES, 0),
                (PCIE_RX_BYTES, 0),
                (NVLINK_TX_KIB, ALL_LINKS),
                (NVLINK_RX_KIB, ALL_LINKS),
            ],
        );
        reading.put(GpuField::MemoryTemperatureC, memory);
        reading.put(GpuField::PowerInstantW, instant.map(|mw| mw / 1e3));
        reading.put(GpuField::ModulePowerW, module.map(|mw| mw / 1e3));
        for ((field, unit), value) in COUNTERS.into_iter().zip(counters) {
            let rate = self.rate(index, field, value.map(|v| v * unit), reading.at_ns);
            // GPM's own figure is the better one; while it waits for its second sample, too, or one
            // series would have two sources.
            let gpm = reading.missing.get(&field).map(|missing| (missing.kind, &missing.reason));
            if let Some((kind, reason)) = gpm
                && kind != MissingKind::Unavailable
            {
                let why = |missing| also(missing, reason);
                let rate = rate.map_err(why);
                reading.put(field, rate);
            }
        }
    }

    fn rate(
        &mut self,
        index: u32,
        field: GpuField,
        bytes: Result<f64, Missing>,
        at_ns: u64,
    ) -> Result<f64, Missing> {
        let bytes = bytes?;
        let Some((before, then)) = self.last.insert((index, field), (bytes, at_ns)) else {
            let reason = "a rate needs a second look at the counter";
            return Err(Missing::new(MissingKind::Unavailable, reason));
        };
        if bytes < before || at_ns <= then {
            let reason = "the driver's counter of bytes went back to its begin";
            return Err(Missing::new(MissingKind::Unavailable, reason));
        }
        Ok((bytes - before) / ((at_ns - then) as f64 / 1e9))
    }
}

/// Both sources failed: both reasons.
fn also(mut why: Missing, gpm: &str) -> Missing {
    if why.kind != MissingKind::Unavailable {
        why.reason = format!("{gpm}; {}", why.reason);
    }
    why
}
