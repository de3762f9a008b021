//! The fields of one row by their names, whatever format they came in.

use std::collections::BTreeMap;

use loadline_schema::engine::{EngineCell, FlashAttention};
use serde_json::{Map, Value};

use crate::error::{ImportError, Place, quoted};

/// One row.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(super) place: Place,
    values: BTreeMap<String, String>,
    /// `samples_ns`, ns; absent in csv.
    samples: Option<Vec<u64>>,
}

impl Fields {
    pub(super) fn of_texts(values: BTreeMap<String, String>, place: Place) -> Self {
        Self { place, values, samples: None }
    }

    /// The fields of an object; arrays other than `samples_ns` and `samples_ts` are refused.
    pub(crate) fn of_json(row: Map<String, Value>, place: Place) -> Result<Self, ImportError> {
        let mut fields = Self { place, values: BTreeMap::new(), samples: None };
        for (name, value) in row {
            let text = match value {
                Value::Null => continue,
                Value::Bool(value) => value.to_string(),
                Value::Number(value) => value.to_string(),
                Value::String(value) => value,
                Value::Array(values) if name == "samples_ns" => {
                    fields.samples = Some(samples(&values, place)?);
                    continue;
                }
                Value::Array(_) if name == "samples_ts" => continue,
                Value::Array(_) | Value::Object(_) => {
                    let what = format!("{} is a list or an object", quoted(&name));
                    return Err(ImportError::row(place, what, "expected one number or text"));
                }
            };
            fields.values.insert(name, text);
        }
        Ok(fields)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// `samples_ns`.
    pub(super) fn samples(&self) -> Option<&[u64]> {
        self.samples.as_deref()
    }

    /// Every field but these.
    pub(super) fn without(&self, names: &[&str]) -> BTreeMap<String, String> {
        let mut others = self.values.clone();
        others.retain(|name, _| !names.contains(&name.as_str()));
        others
    }

    pub(super) fn wrong(&self, name: &str, expected: &str) -> ImportError {
        let what = self.values.get(name).map_or_else(
            || format!("`{name}` is missing"),
            |value| format!("`{name}` is {}", quoted(value)),
        );
        ImportError::row(self.place, what, expected)
    }

    pub(super) fn text(&self, name: &str) -> Result<&str, ImportError> {
        let value = self.values.get(name).map(String::as_str);
        value.filter(|text| !text.is_empty()).ok_or_else(|| self.wrong(name, "expected a text"))
    }

    /// A count that llama.cpp keeps in an int.
    pub(super) fn count(&self, name: &str) -> Result<u32, ImportError> {
        let value = self.values.get(name).and_then(|text| text.trim().parse::<u32>().ok());
        value
            .filter(|value| i32::try_from(*value).is_ok())
            .ok_or_else(|| self.wrong(name, "expected a whole number from 0 to 2147483647"))
    }

    /// A count; absent: 0.
    pub(super) fn count_or_0(&self, name: &str) -> Result<u32, ImportError> {
        if self.has(name) { self.count(name) } else { Ok(0) }
    }

    /// A time in whole ns, above 0.
    pub(super) fn ns(&self, name: &str) -> Result<u64, ImportError> {
        let value = self.values.get(name).and_then(|text| text.trim().parse().ok());
        value
            .filter(|ns| (1..=LONGEST_NS).contains(ns))
            .ok_or_else(|| self.wrong(name, EXPECTED_NS))
    }

    /// A time in seconds with decimals, in ns.
    pub(super) fn seconds_ns(&self, name: &str) -> Result<u64, ImportError> {
        let value = self.values.get(name).and_then(|text| text.trim().parse::<f64>().ok());
        let ns = value.map(|seconds| (seconds * 1e9).round());
        ns.filter(|ns| ns.is_finite() && *ns >= 0.0 && *ns <= LONGEST_NS as f64)
            .map(|ns| ns as u64)
            .ok_or_else(|| {
                self.wrong(name, "expected a time in seconds, 0 or more, at most a year")
            })
    }

    /// Layers on the GPU: below 0 the engine decides, which is none on a machine without a GPU.
    pub(super) fn gpu_layers(&self) -> Result<u32, ImportError> {
        let value = self.values.get("n_gpu_layers").and_then(|text| text.trim().parse().ok());
        let layers: i32 =
            value.ok_or_else(|| self.wrong("n_gpu_layers", "expected a whole number"))?;
        let without_gpu = self.values.get("gpu_info").is_some_and(String::is_empty);
        let auto = if without_gpu { 0 } else { EngineCell::AUTO };
        Ok(u32::try_from(layers).unwrap_or(auto))
    }

    pub(super) fn flash_attention(&self) -> Result<FlashAttention, ImportError> {
        match self.values.get("flash_attn").map(String::as_str) {
            Some("-1" | "auto") => Ok(FlashAttention::Auto),
            Some("1" | "true" | "on") => Ok(FlashAttention::On),
            Some("0" | "false" | "off") => Ok(FlashAttention::Off),
            _ => Err(self.wrong("flash_attn", "expected -1 (auto), 0 (off) or 1 (on)")),
        }
    }
}

/// A year: no measurement takes longer, and sums of some thousands of them fit in 64 bits.
const LONGEST_NS: u64 = 366 * 24 * 3600 * 1_000_000_000;

const EXPECTED_NS: &str = "expected whole nanoseconds, 1 or more, at most a year";

fn samples(values: &[Value], place: Place) -> Result<Vec<u64>, ImportError> {
    if values.is_empty() {
        return Err(ImportError::row(place, "`samples_ns` is empty", "expected at least one time"));
    }
    let sample = |value: &Value| {
        let ns = value.as_u64().filter(|ns| (1..=LONGEST_NS).contains(ns));
        ns.ok_or_else(|| {
            let what = format!("`samples_ns` has {}", quoted(&value.to_string()));
            ImportError::row(place, what, EXPECTED_NS)
        })
    };
    values.iter().map(sample).collect()
}
