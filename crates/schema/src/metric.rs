//! The definition of every metric of the analysis document: unit, exact formula, the fields of
//! records it comes from, what other tools call it, and what to beware of. METRICS.md is generated
//! from here.
//!
//! What others do was read in their own sources and documents up to November 2026; each entry
//! names the place.

mod client;
mod compare;
mod cost;
mod counts;
mod engine;
mod gpu;
mod latency;
mod observed;
mod rates;
mod scaling;
mod server_latency;
mod storage;
mod targets;

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
    /// How a point stands to targets, and whether it was steady.
    Targets,
    /// What points or rows say together.
    Scaling,
    /// What observers read beside the load.
    Observed,
    /// What a point costs.
    Cost,
    /// Cells of an engine's grid.
    Engine,
    /// Workloads on a directory.
    Storage,
    /// GPUs over a time.
    Gpu,
    /// A server's own histograms.
    ServerLatency,
    /// What changed between two runs.
    Compare,
    /// The client's own error.
    Client,
    /// What the client can do on this machine.
    Selftest,
}

impl Section {
    /// Every section, in order.
    pub const ALL: [Self; 16] = [
        Self::Latency,
        Self::Rates,
        Self::Outcomes,
        Self::Tokens,
        Self::Extent,
        Self::Targets,
        Self::Scaling,
        Self::Observed,
        Self::Cost,
        Self::Engine,
        Self::Storage,
        Self::Gpu,
        Self::ServerLatency,
        Self::Compare,
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
            Self::Targets => "Targets, saturation, steady state",
            Self::Scaling => "Scaling, Little's law, and tables measured elsewhere",
            Self::Observed => "Server metrics, GPUs, host and energy under load",
            Self::Cost => "Cost",
            Self::Engine => "Engine and memory bandwidth",
            Self::Storage => "Storage",
            Self::Gpu => "GPUs",
            Self::ServerLatency => "Latency by a server's own histograms",
            Self::Compare => "Comparison of two runs",
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
    /// Path in a point of the document, as in `tokens.input`; for the selftest and what a stage's
    /// cost rests on, in the document.
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
    /// What fio calls it, and how that differs.
    pub fio: &'static str,
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
    fio: "",
    notes: "",
    source: "",
};

/// Every metric, in the order of METRICS.md.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    let tables: [&[Metric]; 13] = [
        latency::LATENCY,
        rates::RATES,
        counts::COUNTS,
        targets::TARGETS,
        scaling::SCALINGS,
        observed::OBSERVATIONS,
        cost::COSTS,
        engine::ENGINES,
        storage::STORED,
        gpu::GPUS,
        server_latency::SERVERS,
        compare::COMPARED,
        client::CLIENT,
    ];
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
    use crate::document::{Client, EngineResult, OutcomeCounts, Point, Selftest, Tokens};
    use crate::engine::EngineCell;
    use crate::gpu::GpuSummary;
    use crate::latency::LatencyResult;
    use crate::observed::{HostObserved, PointEnergy, ServerObserved};
    use crate::storage::{CheckpointResult, ModelLoadResult, StorageResult, StorageTimeline};
    use crate::verdict::{CostReport, Little, MetricChange, PointCost, Row, Scalability};

    /// Names of the fields of a type.
    fn fields<T: JsonSchema>() -> Vec<String> {
        let schema = schemars::schema_for!(T);
        let properties = schema.get("properties").and_then(Value::as_object).expect("a struct");
        properties.keys().cloned().collect()
    }

    /// Fields of a table's row that are not read from it.
    fn computed_of_rows() -> Vec<String> {
        let read = [
            "load",
            "requests_per_s",
            "output_tokens_per_s",
            "output_tokens_per_s_per_user",
            "error_rate",
            "watts",
            "latency_ns",
            // The same as of a point.
            "cost",
        ];
        fields::<Row>().into_iter().filter(|field| !read.contains(&field.as_str())).collect()
    }

    /// Fields of a changed metric that are computed, and the gate over all of them.
    fn computed_of_changes() -> Vec<String> {
        let named = ["stage", "point", "metric", "higher_is_better", "absolute", "trials"];
        let fields = fields::<MetricChange>().into_iter();
        let computed = fields.filter(|field| !named.contains(&field.as_str()));
        computed.chain(["gate".to_owned()]).collect()
    }

    /// Fields of an engine's cell that are measured, and what is measured beside it.
    fn measured_of_engines() -> Vec<String> {
        let settings = fields::<EngineCell>();
        let named = [
            "stage",
            "model",
            "parameters",
            "quantization",
            "trials",
            "trials_planned",
            "failed",
            "cost",
            "per_trial",
            "warnings",
        ];
        let is_named = |field: &String| named.contains(&field.as_str()) || settings.contains(field);
        let fields = fields::<EngineResult>().into_iter().filter(|field| !is_named(field));
        let keys = fields.chain(["cost.per_mtok_output".to_owned()]);
        let keys = keys.map(|field| format!("engine.{field}"));
        let bandwidth = ["triad_bytes_per_s", "read_bytes_per_s"];
        keys.chain(bandwidth.map(|field| format!("memory_bandwidth.{field}"))).collect()
    }

    /// Fields of a storage cell that are measured, with those of its parts.
    fn measured_of_storage() -> Vec<String> {
        let named = [
            "stage",
            "path",
            "filesystem",
            "workload",
            "setting",
            "cell",
            "bs_bytes",
            "iodepth",
            "numjobs",
            "engine",
            "direct",
            "trials",
            "trials_planned",
            "failed",
            "per_trial",
            "warnings",
            // Told with `cached`, or by their members.
            "cache_reason",
            "timeline",
            "checkpoint",
            "model_load",
        ];
        let sizes = ["model", "parameters", "full_bytes", "bytes"];
        let parts: [(&str, Vec<String>); 3] = [
            ("storage.timeline", fields::<StorageTimeline>()),
            (
                "storage.checkpoint",
                fields::<CheckpointResult>()
                    .into_iter()
                    .filter(|field| !sizes.contains(&field.as_str()))
                    .collect(),
            ),
            ("storage.model_load", fields::<ModelLoadResult>()),
        ];
        let keys = fields::<StorageResult>().into_iter();
        let keys = keys.filter(|field| !named.contains(&field.as_str()));
        let keys = keys.map(|field| format!("storage.{field}"));
        let of_parts = parts.into_iter().flat_map(|(part, fields)| {
            fields.into_iter().map(move |field| format!("{part}.{field}"))
        });
        let sentences = ["storage_stages.model_loads".to_owned()];
        keys.chain(of_parts).chain(sentences).collect()
    }

    /// Fields of a GPU's summary and of a server's histogram that are measured.
    fn measured_of_observers() -> Vec<String> {
        let gpu = ["host", "index", "mig", "uuid", "name", "source"];
        let histogram = [
            "source",
            "metric",
            "unit",
            "labels",
            "meaning",
            "engine",
            "series",
            "summed_over",
            "warnings",
        ];
        let of = |part: &str, fields: Vec<String>, named: &[&str]| -> Vec<String> {
            let fields = fields.into_iter().filter(|field| !named.contains(&field.as_str()));
            fields.map(|field| format!("{part}.{field}")).collect()
        };
        let gpus = of("gpu", fields::<GpuSummary>(), &gpu);
        [gpus, of("latency", fields::<LatencyResult>(), &histogram)].concat()
    }

    fn wanted() -> BTreeSet<String> {
        let blocks: [(&str, Vec<String>); 9] = [
            ("scalability", fields::<Scalability>()),
            ("little", fields::<Little>()),
            ("rows", computed_of_rows()),
            ("cost", fields::<PointCost>()),
            ("serving.cost", fields::<CostReport>()),
            ("tokens", fields::<Tokens>()),
            ("client", fields::<Client>()),
            ("requests", fields::<OutcomeCounts>()),
            ("selftest", fields::<Selftest>()),
        ];
        let observed: [(&str, Vec<String>); 3] = [
            ("server", fields::<ServerObserved>()),
            ("host", fields::<HostObserved>()),
            ("energy", fields::<PointEnergy>()),
        ];
        let mut keys: BTreeSet<String> = fields::<Point>().into_iter().collect();
        keys.remove("observed");
        for (block, members) in observed {
            keys.extend(members.into_iter().map(|field| format!("observed.{block}.{field}")));
        }
        keys.insert("observed.gpu".to_owned());
        keys.extend(["idle", "observers"].map(|field| format!("serving.observed.{field}")));
        for (block, members) in blocks {
            keys.remove(block);
            keys.extend(members.into_iter().map(|field| format!("{block}.{field}")));
        }
        keys.extend(computed_of_changes().into_iter().map(|field| format!("compare.{field}")));
        keys.extend(measured_of_engines());
        keys.extend(measured_of_storage());
        keys.extend(measured_of_observers());
        keys.extend(["pareto", "throughput_point"].map(str::to_owned));
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
            for text in [
                metric.formula,
                metric.vllm,
                metric.aiperf,
                metric.fio,
                metric.notes,
                metric.source,
            ] {
                assert!(!text.contains('\n'), "{}: {text}", metric.key);
            }
        }
    }

    #[test]
    fn entries_name_fields_that_there_are() {
        // `Debug` of a record lists its fields; those of the client's figures come from serde.
        let source = [
            include_str!("record.rs"),
            include_str!("event.rs"),
            include_str!("engine.rs"),
            include_str!("storage/record.rs"),
            include_str!("sample.rs"),
            include_str!("observe.rs"),
            include_str!("gpu.rs"),
        ];
        let source = source.concat();
        for metric in metrics() {
            for field in metric.from {
                // Fields of GPUs are no members but keys.
                let is_there = source.contains(&format!("pub {field}:"))
                    || crate::gpu::GpuField::from_text(field).is_some();
                assert!(is_there, "{}: {field}", metric.key);
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
