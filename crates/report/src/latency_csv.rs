//! Latencies by a server's own histograms as columns of a CSV table: one row for each histogram, values
//! in the unit that the row names.

use std::collections::BTreeSet;

use loadline_schema::document::Document;
use loadline_schema::latency::{Attainment, LatencyResult, QuantileResult};

/// A column: its name and the field of a result.
type Column = (String, Box<dyn Fn(&LatencyResult) -> Option<String>>);
/// A named field of a quantile.
type Part = (&'static str, fn(&QuantileResult) -> Option<String>);
/// A named field of an attainment.
type Share = (&'static str, fn(&Attainment) -> Option<String>);

const PARTS: [Part; 5] = [
    ("", |found| found.value.map(|value| value.to_string())),
    ("_low", |found| found.low.map(|low| low.to_string())),
    ("_high", |found| found.high.map(|high| high.to_string())),
    ("_n_in_bucket", |found| Some(found.n_in_bucket.to_string())),
    ("_flags", |found| {
        let flags: Vec<&str> = found.flags.iter().map(|flag| flag.as_str()).collect();
        Some(flags.join(" "))
    }),
];
const SHARES: [Share; 6] = [
    ("bound", |found| Some(found.bound.to_string())),
    ("share", |found| found.share.map(|share| share.to_string())),
    ("share_low", |found| Some(found.low.to_string())),
    ("share_high", |found| Some(found.high.to_string())),
    ("exact", |found| Some(found.exact.to_string())),
    ("met", |found| found.met.map(|met| met.to_string())),
];

/// The columns of a document's latencies: quantiles and bounds that any of them has.
pub(crate) fn columns(document: &Document) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |name: &str, field: fn(&LatencyResult) -> Option<String>| {
        columns.push((name.to_owned(), Box::new(field)));
    };
    add("source", |r| Some(r.source.clone()));
    add("metric", |r| Some(r.metric.clone()));
    add("meaning", |r| r.meaning.clone());
    add("engine", |r| r.engine.clone());
    add("unit", |r| Some(r.unit.clone()));
    add("labels", |r| {
        let pairs = r.labels.iter().map(|(name, value)| format!("{name}={value}"));
        Some(pairs.collect::<Vec<_>>().join(" "))
    });
    add("series", |r| Some(r.series.to_string()));
    add("n", |r| Some(r.n.to_string()));
    add("mean", |r| r.mean.map(|mean| mean.to_string()));
    let results = &document.latency;
    let quantiles: BTreeSet<u64> =
        results.iter().flat_map(|r| &r.quantiles).map(|found| found.q.to_bits()).collect();
    for bits in quantiles {
        // "p99_9": no point in the name of a column.
        let percent = (f64::from_bits(bits) * 1e8).round() / 1e6;
        let name = format!("p{}", percent.to_string().replace('.', "_"));
        for (suffix, part) in PARTS {
            let field = move |r: &LatencyResult| {
                part(r.quantiles.iter().find(|found| found.q.to_bits() == bits)?)
            };
            columns.push((format!("{name}{suffix}"), Box::new(field)));
        }
    }
    let terms: BTreeSet<&String> = results.iter().flat_map(|r| r.attainment.keys()).collect();
    for term in terms {
        for (name, share) in SHARES {
            let key = term.clone();
            let field = move |r: &LatencyResult| share(r.attainment.get(&key)?);
            columns.push((format!("{term} {name}"), Box::new(field)));
        }
    }
    columns.push((
        "warnings".to_owned(),
        Box::new(|r| {
            let codes: Vec<&str> = r.warnings.iter().map(|w| w.code.as_str()).collect();
            Some(codes.join(" "))
        }),
    ));
    columns
}
