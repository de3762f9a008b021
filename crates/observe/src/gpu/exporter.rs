//! The page of dcgm-exporter. It publishes every 30 s unless told otherwise: a page that has not
//! changed since the last look is no new reading.

use std::collections::BTreeMap;

use loadline_schema::gpu::{GpuField, GpuReading, GpuSource, Missing, MissingKind};

use super::dcgm::{dcgm_field, dcgm_value, excuse_rest};
use super::{GpuError, GpuReader};

/// Gets the page; the error in words.
pub type Fetch = Box<dyn FnMut() -> Result<Vec<u8>, String> + Send>;

/// A dcgm-exporter.
pub struct DcgmExporter {
    fetch: Fetch,
    last: Option<(Vec<GpuReading>, u64)>,
}

impl DcgmExporter {
    /// A reader over what `fetch` gets (`/metrics`, usually on port 9400).
    pub fn new(fetch: Fetch) -> Self {
        Self { fetch, last: None }
    }

    /// Whether the page can be had, and tells SM activity where that is asked for; otherwise why not.
    pub(super) fn probe(&mut self, activity: bool) -> Result<(), String> {
        let page = (self.fetch)()?;
        let readings = exporter_readings(&String::from_utf8_lossy(&page), 0);
        let readings = readings.map_err(|error| error.to_string())?;
        if !activity || readings.iter().any(|reading| reading.get(GpuField::SmActive).is_some()) {
            return Ok(());
        }
        let why = readings.first().and_then(|reading| reading.missing.get(&GpuField::SmActive));
        Err(why.map_or_else(String::new, |missing| missing.reason.clone()))
    }
}

impl GpuReader for DcgmExporter {
    fn source(&self) -> GpuSource {
        GpuSource::DcgmExporter
    }

    fn read(&mut self, now_ns: u64) -> Result<Vec<GpuReading>, GpuError> {
        let page = (self.fetch)().map_err(|reason| GpuError::Page { reason })?;
        let mut readings = exporter_readings(&String::from_utf8_lossy(&page), now_ns)?;
        if let Some((before, then)) = &self.last {
            let same = |(a, b): (&GpuReading, &GpuReading)| a.values == b.values;
            if before.len() == readings.len() && before.iter().zip(&readings).all(same) {
                return Ok(Vec::new());
            }
            for reading in &mut readings {
                reading.over_ns = Some(now_ns.saturating_sub(*then));
            }
        }
        self.last = Some((readings.clone(), now_ns));
        Ok(readings)
    }
}

/// The GPUs on a page, in the order of their numbers; MIG instances after their GPU.
///
/// # Errors
///
/// Where the page has no line of DCGM.
pub fn exporter_readings(page: &str, now_ns: u64) -> Result<Vec<GpuReading>, GpuError> {
    let mut found: BTreeMap<(String, u32, Option<u32>), GpuReading> = BTreeMap::new();
    for line in page.lines() {
        let Some((name, labels, value)) = sample(line) else { continue };
        let Some(field) = dcgm_field(name).filter(|_| name.starts_with("DCGM_FI_")) else {
            continue;
        };
        let label = |wanted: &str| {
            labels.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.as_str())
        };
        let Some(index) = label("gpu").and_then(|text| text.parse().ok()) else { continue };
        let host = label("Hostname").unwrap_or_default().to_owned();
        let mig = label("GPU_I_ID").and_then(|text| text.parse().ok());
        // What belongs to the whole GPU is repeated with each instance.
        let part = if mig.is_some() && !is_of_instance(field) { None } else { mig };
        let name = label("modelName").unwrap_or("NVIDIA GPU");
        let reading = found.entry((host.clone(), index, part)).or_insert_with(|| {
            let mut reading = GpuReading::new(GpuSource::DcgmExporter, index, name, now_ns);
            reading.host.clone_from(&host);
            reading.mig = part;
            reading.uuid = label("UUID").map(str::to_owned);
            reading
        });
        reading.put(field, dcgm_value(field, value));
    }
    if found.is_empty() {
        let reason = "the page has no GPU: no line DCGM_FI_…{gpu=\"…\"}; is this the exporter's \
                      /metrics, and does it run with access to the GPUs?";
        return Err(GpuError::Page { reason: reason.to_owned() });
    }
    let mut readings: Vec<GpuReading> = found.into_values().collect();
    for reading in &mut readings {
        finish(reading);
    }
    Ok(readings)
}

/// What is measured for each MIG instance; the rest is the whole GPU's.
fn is_of_instance(field: GpuField) -> bool {
    matches!(
        field,
        GpuField::SmActive
            | GpuField::SmOccupancy
            | GpuField::TensorActive
            | GpuField::DramActive
            | GpuField::MemoryUsedBytes
            | GpuField::MemoryTotalBytes
    )
}

fn finish(reading: &mut GpuReading) {
    if reading.mig.is_some() {
        let of_gpu = Missing::new(
            MissingKind::Unsupported,
            "a MIG instance has no such figure of its own: see the whole GPU's",
        );
        for field in GpuField::ALL.iter().filter(|field| !is_of_instance(**field)) {
            reading.put(*field, Err(of_gpu.clone()));
        }
    }
    excuse_rest(reading, "dcgm-exporter");
}

type Labels<'a> = Vec<(&'a str, String)>;

/// A line of the text format with labels: its name, labels and value. Comments, and lines that are
/// none, give nothing.
fn sample(line: &str) -> Option<(&str, Labels<'_>, f64)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_once('{')?;
    let mut labels = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.starts_with('}') {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        labels.push((key.trim(), value));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    let value = rest[1..].split_whitespace().next()?.parse().ok()?;
    Some((name.trim(), labels, value))
}

/// A label's value at the start of the text, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use loadline_testkit::{exporter_page, exporter_page_mig};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn eight_gpus_under_old_and_new_names() {
        for new_names in [false, true] {
            let readings = exporter_readings(&exporter_page(8, new_names), 5).expect("a page");
            assert_eq!(readings.len(), 8);
            let third = &readings[3];
            assert_eq!((third.index, third.at_ns, third.mig), (3, 5, None));
            assert_eq!(third.name, "NVIDIA H100 80GB HBM3");
            assert_eq!(third.get(GpuField::SmOccupancy), Some(0.425));
            assert_eq!(third.get(GpuField::DramActive), Some(0.55));
            assert_eq!(third.get(GpuField::PowerW), Some(353.5));
            assert_eq!(third.get(GpuField::EnergyJ), Some(5_003.0));
            assert_eq!(third.get(GpuField::TimeActive), Some(1.0));
            assert_eq!(third.get(GpuField::MemoryUsedBytes), Some(3_072.0 * 1_048_576.0));
            // Bytes per second as they are: MiB is GPM's word.
            assert_eq!(third.get(GpuField::PcieTxBytesPerS), Some(1.5e9));
            assert_eq!(third.values.len() + third.missing.len(), GpuField::ALL.len());
            let total = &third.missing[&GpuField::MemoryTotalBytes];
            assert!(total.reason.contains("field 250"), "{}", total.reason);
        }
    }

    #[test]
    fn power_of_a_gpu_with_instances_counts_once() {
        let readings = exporter_readings(&exporter_page_mig(), 0).expect("a page");
        let parts: Vec<_> = readings.iter().map(|reading| (reading.index, reading.mig)).collect();
        assert_eq!(parts, [(0, None), (0, Some(3)), (0, Some(4))]);
        let with_power: Vec<_> =
            readings.iter().filter(|reading| reading.get(GpuField::PowerW).is_some()).collect();
        assert_eq!(with_power.len(), 1);
        assert_eq!(with_power[0].mig, None);
        assert_eq!(readings[2].get(GpuField::SmActive), Some(0.4));
    }

    #[test]
    fn an_unchanged_page_is_no_new_reading() {
        let mut pages =
            vec![exporter_page(3, true), exporter_page(2, true), exporter_page(2, true)];
        let mut reader = DcgmExporter::new(Box::new(move || {
            pages.pop().map(String::into_bytes).ok_or_else(|| "connection refused".to_owned())
        }));
        assert_eq!(reader.read(1_000).expect("a page").len(), 2);
        assert_eq!(reader.read(2_000).expect("a page").len(), 0);
        let third = reader.read(31_000).expect("a page");
        assert_eq!(third.len(), 3);
        assert_eq!(third[0].over_ns, Some(30_000));
        let error = reader.read(32_000).expect_err("no page");
        assert!(error.to_string().contains("connection refused"), "{error}");
    }

    #[test]
    fn a_page_of_something_else_is_refused() {
        let error = exporter_readings("# HELP up x\nup{job=\"a\"} 1\n", 0).expect_err("no GPU");
        assert!(error.to_string().contains("/metrics"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(page in "(DCGM_FI_DEV_POWER_USAGE\\{gpu=\"0\"[^\\n]{0,30}\\n|[^\\n]{0,30}\\n){0,6}") {
            let _ = exporter_readings(&page, 0);
        }

        #[test]
        fn labels_round_trip(value in "[^\\x00-\\x1f]{0,20}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("a{{x=\"{escaped}\",y=\"z\"}} 1.5");
            let (_, labels, number) = sample(&line).expect("a line");
            prop_assert_eq!(labels, vec![("x", value), ("y", "z".to_owned())]);
            prop_assert!((number - 1.5).abs() < 1e-12);
        }
    }
}
