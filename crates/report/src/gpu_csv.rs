//! Readings of GPUs as CSV in the column words and units of `dcgmi dmon`, one row for each reading.

use loadline_schema::gpu::{GpuField, GpuReading};

use crate::csv::escaped;

/// The columns, in dcgmi's order of fields as people ask for them: activity, traffic, power, clocks.
const FIELDS: [GpuField; 25] = [
    GpuField::SmActive,
    GpuField::SmOccupancy,
    GpuField::TensorActive,
    GpuField::DramActive,
    GpuField::PcieTxBytesPerS,
    GpuField::PcieRxBytesPerS,
    GpuField::NvlinkTxBytesPerS,
    GpuField::NvlinkRxBytesPerS,
    GpuField::PowerW,
    GpuField::PowerInstantW,
    GpuField::PowerLimitW,
    GpuField::EnergyJ,
    GpuField::TemperatureC,
    GpuField::MemoryTemperatureC,
    GpuField::SmClockMhz,
    GpuField::MemClockMhz,
    GpuField::Throttle,
    GpuField::PowerThrottledNs,
    GpuField::ThermalThrottledNs,
    GpuField::MemoryUsedBytes,
    GpuField::MemoryTotalBytes,
    GpuField::TimeActive,
    GpuField::MemoryTimeActive,
    GpuField::PcieGen,
    GpuField::PcieLanes,
];

/// One row for each reading, in the given order: seconds, host, entity as dcgmi writes it ("GPU 0",
/// "GPU-I 3" with the instance's number; "GPU amd0" of an AMD GPU), GPU, product, then dcgmi's columns. A missing value is an
/// empty field, where dcgmi would write N/A.
pub fn gpu_csv(readings: &[GpuReading]) -> String {
    let words = FIELDS.iter().filter_map(|field| field.dcgmi_word());
    let heads = ["seconds", "host", "Entity", "GPU", "name"].into_iter().chain(words);
    let mut text = heads.collect::<Vec<_>>().join(",") + "\n";
    for reading in readings {
        let entity = reading
            .mig
            .map_or_else(|| format!("GPU {}", reading.label()), |mig| format!("GPU-I {mig}"));
        let mut row = vec![
            format!("{:.6}", reading.at_ns as f64 / 1e9),
            escaped(&reading.host),
            entity,
            reading.index.to_string(),
            escaped(&reading.name),
        ];
        row.extend(FIELDS.iter().map(|field| cell(reading, *field)));
        text.push_str(&row.join(","));
        text.push('\n');
    }
    text
}

/// The value in dcgmi's unit; a conversion there and back leaves no tail of digits.
fn cell(reading: &GpuReading, field: GpuField) -> String {
    let Some(value) = reading.get(field) else { return String::new() };
    let value = value / field.per_dcgm_unit();
    let rounded = (value * 1e6).round() / 1e6;
    if rounded.is_finite() { rounded.to_string() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use loadline_schema::gpu::GpuSource;

    use super::*;

    #[test]
    fn columns_are_dcgmis_words_and_units() {
        let mut reading = GpuReading::new(GpuSource::Nvml, 1, "A, B", 1_500_000_000);
        reading.put(GpuField::SmActive, Ok(0.81));
        reading.put(GpuField::EnergyJ, Ok(5_000.035));
        reading.put(GpuField::TimeActive, Ok(0.29));
        reading.put(GpuField::MemoryUsedBytes, Ok(3.0 * 1_048_576.0));
        reading.put(GpuField::Throttle, Ok(4.0));
        let mut instance = reading.clone();
        (instance.mig, instance.host) = (Some(3), "node1".into());
        let text = gpu_csv(&[reading, instance]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        let at = |word: &str| {
            // The product's comma splits its field in two.
            let at = lines[0].iter().position(|head| *head == word).expect("a column");
            lines[1][at + 1]
        };
        assert_eq!(&lines[0][..5], ["seconds", "host", "Entity", "GPU", "name"]);
        assert_eq!(at("SMACT"), "0.81");
        assert_eq!(at("TOTEC"), "5000035");
        assert_eq!(at("GPUTL"), "29");
        assert_eq!(at("FBUSD"), "3");
        assert_eq!(at("DVCCTR"), "4");
        assert_eq!(at("DRAMA"), "");
        assert!(
            text.lines().nth(1).is_some_and(|line| line.starts_with("1.500000,,GPU 1,1,\"A, B\""))
        );
        assert!(text.lines().nth(2).is_some_and(|line| line.contains(",node1,GPU-I 3,1,")));
        assert_eq!(gpu_csv(&[]).lines().count(), 1);
    }
}
