//! The definition of every metric of the analysis document: unit, exact formula, the fields of
//! records it comes from, what other tools call it, and what to beware of. METRICS.md is generated
//! from here.
//!
//! What others do was read in their own sources and documents up to November 2026; each entry
//! names the place.

mod client;
mod counts;
mod latency;
mod rates;

/// What a metric is about; the sections of METRICS.md, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Times of requests.
    Latency,
    /// Events per second, and requests in flight.
    Rates,
    /// Requests by how they ended.
    Outcomes,
    /// Token counts.
    Tokens,
    /// How large a point is.
    Extent,
    /// The client's own error.
    Client,
    /// What the client can do on this machine.
    Selftest,
}

impl Section {
    /// Every section, in order.
    pub const ALL: [Self; 7] = [
        Self::Latency,
        Self::Rates,
        Self::Outcomes,
        Self::Tokens,
        Self::Extent,
        Self::Client,
        Self::Selftest,
    ];

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Latency => "Latency",
            Self::Rates => "Rates and requests in flight",
            Self::Outcomes => "Outcomes",
            Self::Tokens => "Tokens",
            Self::Extent => "Extent of a point",
            Self::Client => "The client's own error",
            Self::Selftest => "Selftest",
        }
    }
}

/// A metric. Texts are Markdown without line breaks; an empty text means that there is nothing to
/// say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its section.
    pub section: Section,
    /// Path in a point of the document, as in `tokens.input`; for the selftest, in the document.
    pub key: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// Unit in the document.
    pub unit: &'static str,
    /// Shape in the document: `distribution`, `estimate`, `number`, `count`, `text`, ….
    pub shape: &'static str,
    /// Exact formula, in terms of `from`.
    pub formula: &'static str,
    /// Fields of records (or of the trial's end) that it is computed from.
    pub from: &'static [&'static str],
    /// What `vllm bench serve` calls it, and how that differs.
    pub vllm: &'static str,
    /// What AIPerf calls it, and how that differs.
    pub aiperf: &'static str,
    /// What GuideLLM calls it, where that misleads.
    pub guidellm: &'static str,
    /// What to beware of.
    pub notes: &'static str,
    /// Where formula or comparison come from.
    pub source: &'static str,
}

/// What most entries leave empty.
const BLANK: Metric = Metric {
    section: Section::Latency,
    key: "",
    name: "",
    unit: "",
    shape: "",
    formula: "",
    from: &[],
    vllm: "",
    aiperf: "",
    guidellm: "",
    notes: "",
    source: "",
};

/// Every metric, in the order of METRICS.md.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    let tables: [&[Metric]; 4] = [latency::LATENCY, rates::RATES, counts::COUNTS, client::CLIENT];
    tables.into_iter().flatten()
}

/// Fields of a point that are no metric: what they say is in the intro of METRICS.md or in words.
pub const NOT_METRICS: [&str; 4] = ["load", "incomplete", "error_examples", "warnings"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemars::JsonSchema;
    use serde_json::Value;

    use super::*;
    use crate::document::{Client, OutcomeCounts, Point, Selftest, Tokens};

    /// Names of the fields of a type.
    fn fields<T: JsonSchema>() -> Vec<String> {
        let schema = schemars::schema_for!(T);
        let properties = schema.get("properties").and_then(Value::as_object).expect("a struct");
        properties.keys().cloned().collect()
    }

    fn wanted() -> BTreeSet<String> {
        let blocks: [(&str, Vec<String>); 4] = [
            ("tokens", fields::<Tokens>()),
            ("client", fields::<Client>()),
            ("requests", fields::<OutcomeCounts>()),
            ("selftest", fields::<Selftest>()),
        ];
        let mut keys: BTreeSet<String> = fields::<Point>().into_iter().collect();
        for (block, members) in blocks {
            keys.remove(block);
            keys.extend(members.into_iter().map(|field| format!("{block}.{field}")));
        }
        for key in NOT_METRICS {
            assert!(keys.remove(key), "{key} is no field of a point");
        }
        keys
    }

    #[test]
    fn every_field_of_a_point_has_one_entry_and_every_entry_a_field() {
        let listed: Vec<String> = metrics().map(|metric| metric.key.to_owned()).collect();
        let unique: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(unique.len(), listed.len(), "a key stands twice");
        let wanted = wanted();
        let missing: Vec<_> = wanted.difference(&unique).collect();
        let surplus: Vec<_> = unique.difference(&wanted).collect();
        assert!(missing.is_empty(), "fields without an entry: {missing:?}");
        assert!(surplus.is_empty(), "entries without a field: {surplus:?}");
    }

    #[test]
    fn every_entry_says_what_it_is() {
        for metric in metrics() {
            for (what, text) in [
                ("name", metric.name),
                ("unit", metric.unit),
                ("shape", metric.shape),
                ("formula", metric.formula),
            ] {
                assert!(!text.is_empty(), "{} has no {what}", metric.key);
            }
            let is_ns = metric.key.contains("_ns");
            assert!(!is_ns || metric.unit == "ns", "{} is in {}", metric.key, metric.unit);
            for text in [metric.formula, metric.vllm, metric.aiperf, metric.notes, metric.source] {
                assert!(!text.contains('\n'), "{}: {text}", metric.key);
            }
        }
    }

    #[test]
    fn entries_name_fields_that_there_are() {
        // `Debug` of a record lists its fields; those of the client's figures come from serde.
        let source = include_str!("record.rs").to_owned() + include_str!("event.rs");
        for metric in metrics() {
            for field in metric.from {
                assert!(source.contains(&format!("pub {field}:")), "{}: {field}", metric.key);
            }
        }
    }

    #[test]
    fn sections_come_in_order() {
        let order = |metric: &Metric| Section::ALL.iter().position(|s| *s == metric.section);
        let places: Vec<_> = metrics().map(order).collect();
        assert!(places.is_sorted());
    }
}
