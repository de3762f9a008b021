//! The text of `dcgmi dmon`: heads of columns after `#`, then a line for each GPU and MIG instance,
//! again and again, with the heads repeated now and then.

use loadline_schema::gpu::{GpuField, GpuReading, GpuSource, Missing, MissingKind};

use super::dcgm::{dcgm_field, dcgm_value, excuse_rest, is_profiling};

/// Reads the text line by line.
#[derive(Debug, Clone, Default)]
pub struct DmonParser {
    columns: Vec<Option<GpuField>>,
    /// The GPU that instances in the next lines belong to.
    gpu: u32,
}

impl DmonParser {
    /// A parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The reading in a line, if it holds one: heads, units, blank lines and messages give nothing,
    /// and so does a line before any heads.
    pub fn line(&mut self, line: &str, at_ns: u64) -> Option<GpuReading> {
        let line = line.trim();
        if let Some(heads) = line.strip_prefix('#') {
            // "#Entity  SMACT …", and "# GPU  SMACT …" in DCGM 1 and 2.
            self.columns = heads.split_whitespace().skip(1).map(dcgm_field).collect();
            return None;
        }
        let mut words = line.split_whitespace();
        let entity = words.next()?;
        let (kind, id) = match entity.parse::<u32>() {
            Ok(id) => ("GPU", id),
            Err(_) => (entity, words.next()?.parse().ok()?),
        };
        let values: Vec<&str> = words.collect();
        if self.columns.is_empty() || values.len() != self.columns.len() {
            return None;
        }
        let mig = match kind {
            "GPU" => {
                self.gpu = id;
                None
            }
            "GPU-I" => Some(id),
            _ => return None,
        };
        let mut reading = GpuReading::new(GpuSource::Dcgmi, self.gpu, "NVIDIA GPU", at_ns);
        reading.mig = mig;
        for (field, text) in self.columns.iter().zip(values) {
            let Some(field) = field else { continue };
            reading.put(*field, cell(*field, text));
        }
        excuse_rest(&mut reading, "this dcgmi dmon");
        Some(reading)
    }
}

fn cell(field: GpuField, text: &str) -> Result<f64, Missing> {
    let id = field.dcgm_id().unwrap_or_default();
    if text == "N/A" {
        let reason = if is_profiling(field) {
            format!(
                "dcgmi shows N/A for field {id}: no value yet, or this GPU has no profiling counters \
                 (GeForce 20 to 40 have none)"
            )
        } else {
            format!("dcgmi shows N/A for field {id}: not supported here, or no value yet")
        };
        return Err(Missing::new(MissingKind::Unavailable, reason));
    }
    match text.parse::<f64>() {
        Ok(value) => dcgm_value(field, value),
        Err(_) => Err(Missing::new(
            MissingKind::Failed,
            format!("dcgmi shows “{text}” for field {id}, which is no number"),
        )),
    }
}

/// Arguments of `dcgmi` that watch every field we know, each `interval_ms` (at least 1).
pub fn dmon_arguments(interval_ms: u32) -> Vec<String> {
    let mut ids: Vec<u16> = GpuField::ALL.iter().filter_map(|field| field.dcgm_id()).collect();
    ids.sort_unstable();
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let interval = interval_ms.max(1).to_string();
    ["dmon", "-e", &ids.join(","), "-d", &interval].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use loadline_testkit::{dmon_text, dmon_text_geforce};
    use proptest::prelude::*;

    use super::*;

    fn readings(text: &str) -> Vec<GpuReading> {
        let mut parser = DmonParser::new();
        text.lines().enumerate().filter_map(|(at, line)| parser.line(line, at as u64)).collect()
    }

    #[test]
    fn two_rounds_of_eight_gpus() {
        let readings = readings(&dmon_text(8, 2));
        assert_eq!(readings.len(), 16);
        let last = &readings[15];
        assert_eq!(last.index, 7);
        assert_eq!(last.get(GpuField::SmActive), Some(0.81));
        assert_eq!(last.get(GpuField::TensorActive), Some(0.61));
        assert_eq!(last.get(GpuField::PowerW), Some(357.5));
        assert_eq!(last.get(GpuField::EnergyJ), Some(5_042.0));
        assert_eq!(last.get(GpuField::NvlinkRxBytesPerS), Some(3e10));
        assert_eq!(last.get(GpuField::Throttle), Some(4.0));
    }

    #[test]
    fn a_geforce_has_power_and_no_activity() {
        let readings = readings(&dmon_text_geforce());
        assert_eq!(readings.len(), 2);
        assert_eq!(readings[1].get(GpuField::PowerW), Some(341.0));
        assert_eq!(readings[1].get(GpuField::SmActive), None);
        let why = &readings[1].missing[&GpuField::SmActive];
        assert!(why.reason.contains("GeForce"), "{}", why.reason);
        // Time shares stay what they are.
        assert_eq!(readings[1].get(GpuField::TimeActive), Some(0.98));
    }

    #[test]
    fn instances_belong_to_the_gpu_above() {
        let text = "#Entity   SMACT   POWER\nID                W\nGPU 0  N/A  350.000\n\
                    GPU-I 7  0.500  N/A\nGPU-CI 2  0.5  1\nGPU 1  0.25  10\nnoise\n\n";
        let found = readings(text);
        let parts: Vec<_> = found.iter().map(|r| (r.index, r.mig)).collect();
        assert_eq!(parts, [(0, None), (0, Some(7)), (1, None)]);
        assert_eq!(found[1].get(GpuField::SmActive), Some(0.5));
    }

    #[test]
    fn heads_of_old_versions_and_long_names() {
        let text = "# GPU  SMACT  DCGM_FI_PROF_DRAM_UTIL_RATIO  UNKNOWN\n  0  0.1  0.2  7\n";
        let found = readings(text);
        assert_eq!(found[0].get(GpuField::SmActive), Some(0.1));
        assert_eq!(found[0].get(GpuField::DramActive), Some(0.2));
    }

    #[test]
    fn the_command_asks_by_number() {
        let arguments = dmon_arguments(0);
        assert!(arguments[2].contains("1002,1003,1004,1005"), "{arguments:?}");
        assert_eq!(arguments[3..], ["-d", "1"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(#?[A-Z]{0,6} [0-9]{0,3}[^\\n]{0,20}\\n){0,8}") {
            let _ = readings(&text);
        }
    }
}
