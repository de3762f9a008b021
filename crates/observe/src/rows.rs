//! Readings as rows of samples, and back. A row's series is the way to a number in the reading, as in
//! `cores/0/user_ns`, or a GPU's field with the GPU, as in `sm_active{gpu="0"}`.

use loadline_schema::gpu::{GpuField, GpuReading};
use loadline_schema::host_sample::HostReading;
use serde_json::{Map, Value};

/// The time that a GPU's ratios are averages of, among its fields.
const OVER: &str = "over_ns";
/// When a reading was made: the row has it.
const AT: &str = "at_ns";

/// Series and values of a host's reading. Words (a governor) and the load averages are left out.
pub fn host_rows(reading: &HostReading) -> Vec<(String, f64)> {
    let mut rows = Vec::new();
    if let Ok(Value::Object(parts)) = serde_json::to_value(reading) {
        for (name, part) in parts {
            if name != AT {
                flatten(&name, &part, &mut rows);
            }
        }
    }
    rows
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => rows.extend(number.as_f64().map(|n| (path.to_owned(), n))),
        Value::Object(parts) => {
            for (name, part) in parts {
                // The kernel's own way to write a device's name in a path.
                flatten(&format!("{path}/{}", name.replace('/', "!")), part, rows);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
    }
}

/// The reading that these rows were made of; `None` where they are none of a host.
pub fn host_reading<'a>(
    at_ns: u64,
    rows: impl IntoIterator<Item = (&'a str, f64)>,
) -> Option<HostReading> {
    let mut root = Map::new();
    for (path, value) in rows {
        let mut parts: Vec<&str> = path.split('/').collect();
        let leaf = parts.pop()?;
        let mut at = &mut root;
        for part in parts {
            let next = at.entry(part).or_insert_with(|| Value::Object(Map::new()));
            at = next.as_object_mut()?;
        }
        at.insert(leaf.to_owned(), whole_or_not(value));
    }
    root.insert(AT.to_owned(), at_ns.into());
    serde_json::from_value(Value::Object(root)).ok()
}

/// Counters are whole numbers in a reading, and rows have floating-point ones.
fn whole_or_not(value: f64) -> Value {
    if value >= 0.0 && value.fract() == 0.0 && value < u64::MAX as f64 {
        Value::from(value as u64)
    } else {
        Value::from(value)
    }
}

/// `{gpu="0"}`, `{gpu="0:3",host="node1"}`: which GPU or instance a row is of.
fn gpu_label(reading: &GpuReading) -> String {
    let gpu = reading.label();
    match reading.host.as_str() {
        "" => format!("{{gpu=\"{gpu}\"}}"),
        host => format!("{{gpu=\"{gpu}\",host=\"{host}\"}}"),
    }
}

/// Series and values of a GPU's reading; its name and what it lacks are told once, elsewhere.
pub fn gpu_rows(reading: &GpuReading) -> Vec<(String, f64)> {
    let label = gpu_label(reading);
    let over = reading.over_ns.map(|ns| (format!("{OVER}{label}"), ns as f64));
    let values = reading.values.iter();
    values.map(|(field, value)| (format!("{field}{label}"), *value)).chain(over).collect()
}

/// The readings that these rows of one moment were made of. `known` are the GPUs, each as it was read
/// first.
pub fn gpu_readings<'a>(
    at_ns: u64,
    rows: impl IntoIterator<Item = (&'a str, f64)>,
    known: &[GpuReading],
) -> Vec<GpuReading> {
    let mut found: Vec<Option<GpuReading>> = vec![None; known.len()];
    let labels: Vec<String> = known.iter().map(gpu_label).collect();
    for (series, value) in rows {
        let Some(brace) = series.find('{') else { continue };
        let (name, label) = series.split_at(brace);
        let Some(place) = labels.iter().position(|known| known == label) else { continue };
        let reading = found[place].get_or_insert_with(|| GpuReading {
            at_ns,
            over_ns: None,
            values: std::collections::BTreeMap::new(),
            ..known[place].clone()
        });
        if name == OVER {
            reading.over_ns = Some(value as u64);
        } else if let Some(field) = GpuField::ALL.iter().find(|field| field.as_str() == name) {
            reading.put(*field, Ok(value));
        }
    }
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use loadline_schema::gpu::{GpuSource, Missing, MissingKind};

    use super::*;
    use crate::host::{Roots, read};

    fn borrowed(rows: &[(String, f64)]) -> impl Iterator<Item = (&str, f64)> {
        rows.iter().map(|(series, value)| (series.as_str(), *value))
    }

    #[test]
    fn a_host_comes_back_without_its_words() {
        let tree = tempfile::tempdir().expect("a folder");
        loadline_testkit::h100_host_tree(tree.path()).expect("a tree");
        let mut reading = read(&Roots::under(tree.path()), 77);
        assert!(reading.cpu.is_some() && !reading.cores.is_empty());
        let rows = host_rows(&reading);
        let back = host_reading(77, borrowed(&rows)).expect("a reading");
        reading.load_average = None;
        reading.missing.clear();
        reading.frequency_khz.values_mut().for_each(|one| one.governor = None);
        reading.numa.values_mut().for_each(|node| node.cpus.clear());
        assert_eq!(back, reading);
    }

    #[test]
    fn gpus_come_back_with_their_names() {
        let mut whole = GpuReading::new(GpuSource::Nvml, 0, "H100", 5);
        whole.put(GpuField::PowerW, Ok(312.5));
        whole.over_ns = Some(1_000_000_000);
        let mut part = GpuReading::new(GpuSource::Nvml, 0, "H100 MIG", 5);
        part.mig = Some(3);
        part.put(GpuField::SmActive, Ok(0.5));
        part.put(GpuField::PowerW, Err(Missing::new(MissingKind::Unsupported, "MIG")));
        let known = [whole.clone(), part.clone()];
        let mut rows = gpu_rows(&whole);
        rows.extend(gpu_rows(&part));
        let back = gpu_readings(9, borrowed(&rows), &known);
        let at_9 = |reading: &GpuReading| GpuReading { at_ns: 9, ..reading.clone() };
        assert_eq!(back, [at_9(&whole), at_9(&part)]);
        let one = gpu_readings(9, borrowed(&gpu_rows(&part)), &known);
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn gpus_of_both_vendors_come_back_apart() {
        let reading = |source, watts| {
            let mut reading = GpuReading::new(source, 0, "a card", 5);
            reading.put(GpuField::PowerW, Ok(watts));
            reading
        };
        let known = [reading(GpuSource::Nvml, 312.5), reading(GpuSource::Amdgpu, 41.0)];
        let rows: Vec<_> = known.iter().flat_map(gpu_rows).collect();
        let series: Vec<&str> = rows.iter().map(|(series, _)| series.as_str()).collect();
        assert_eq!(series, ["power_w{gpu=\"0\"}", "power_w{gpu=\"amd0\"}"]);
        assert_eq!(gpu_readings(5, borrowed(&rows), &known), known);
    }
}
