//! A look at a server as rows of samples, and back: what a run keeps of the metrics whose meaning is
//! known. Series are spelled as Prometheus spells them, so that reading them back is reading a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use loadline_schema::metric_window::{Family, Histogram, Labels};
use loadline_schema::server_metrics::{MetricKind, known};

use super::{Limits, MetricType, ParseError, Snapshot, parse};

/// Tells a restart of the server.
const PROCESS_START: &str = "process_start_time_seconds";

/// Series and values of the metrics that are known: gauges and counters; histograms, too, where
/// `with_histograms`. In the order of the snapshot.
pub fn stored_series(snapshot: &Snapshot, with_histograms: bool) -> Vec<(String, f64)> {
    let mut rows = Vec::new();
    let is = |name: &str, kind| known(name).is_some_and(|known| known.metric.kind == kind);
    for family in &snapshot.gauges {
        if is(&family.name, MetricKind::Gauge) || family.name == PROCESS_START {
            plain(&mut rows, family);
        }
    }
    for family in snapshot.counters.iter().filter(|f| is(&f.name, MetricKind::Counter)) {
        plain(&mut rows, family);
    }
    if with_histograms {
        let histograms = snapshot.histograms.iter();
        histograms.filter(|f| is(&f.name, MetricKind::Histogram)).for_each(|f| {
            histogram(&mut rows, f);
        });
    }
    rows
}

fn plain(rows: &mut Vec<(String, f64)>, family: &Family<f64>) {
    let series = family.series.iter();
    rows.extend(series.map(|one| (spelled(&family.name, &one.labels, None), one.value)));
}

fn histogram(rows: &mut Vec<(String, f64)>, family: &Family<Histogram>) {
    let name = &family.name;
    for series in &family.series {
        let (labels, value) = (&series.labels, &series.value);
        for bucket in &value.buckets {
            let bound = number(bucket.le);
            rows.push((spelled(&format!("{name}_bucket"), labels, Some(&bound)), bucket.count));
        }
        let sum = value.sum.map(|sum| (spelled(&format!("{name}_sum"), labels, None), sum));
        rows.extend(sum);
        rows.push((spelled(&format!("{name}_count"), labels, None), value.count));
    }
}

/// `name{a="b",le="0.1"}`.
fn spelled(name: &str, labels: &Labels, le: Option<&str>) -> String {
    let mut text = name.to_owned();
    let all = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut separator = '{';
    for (label, value) in all.chain(le.map(|le| ("le", le))) {
        text.push(separator);
        separator = ',';
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{label}=\"{value}\"");
    }
    if separator == ',' {
        text.push('}');
    }
    text
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        other => other.to_string(),
    }
}

/// The snapshot that these rows were made of, without the metrics that are not kept.
///
/// # Errors
/// A series that Prometheus would not read.
pub fn stored_snapshot<'a>(
    rows: impl IntoIterator<Item = (&'a str, f64)>,
) -> Result<Snapshot, ParseError> {
    let mut types: BTreeMap<&str, MetricType> = BTreeMap::new();
    let mut samples = String::new();
    for (series, value) in rows {
        if let Some((name, metric_type)) = declared(series) {
            types.insert(name, metric_type);
            let _ = writeln!(samples, "{series} {}", number(value));
        }
    }
    let mut page = String::new();
    for (name, metric_type) in types {
        let word = match metric_type {
            MetricType::Histogram => "histogram",
            MetricType::Counter => "counter",
            _ => "gauge",
        };
        let _ = writeln!(page, "# TYPE {name} {word}");
    }
    page.push_str(&samples);
    let scrape = parse(page.as_bytes(), None, &Limits::default())?;
    Ok(Snapshot::of(&scrape))
}

/// The metric of a series, and its type; `None` for what is no metric of a server.
fn declared(series: &str) -> Option<(&str, MetricType)> {
    let name = series.split('{').next().unwrap_or(series);
    if name == PROCESS_START {
        return Some((name, MetricType::Gauge));
    }
    for suffix in ["_bucket", "_sum", "_count"] {
        let base = name.strip_suffix(suffix).filter(|base| {
            known(base).is_some_and(|known| known.metric.kind == MetricKind::Histogram)
        });
        if let Some(base) = base {
            return Some((base, MetricType::Histogram));
        }
    }
    let metric_type = match known(name)?.metric.kind {
        MetricKind::Counter => MetricType::Counter,
        MetricKind::Gauge => MetricType::Gauge,
        MetricKind::Histogram => return None,
    };
    Some((name, metric_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e9
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine=\"0\",model_name=\"a \\\"b\\\" \\\\ c\\nd\"} 3
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine=\"0\"} 12345
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.1\"} 1
vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"+Inf\"} 2
vllm:time_to_first_token_seconds_sum{engine=\"0\"} 0.7000000000000001
vllm:time_to_first_token_seconds_count{engine=\"0\"} 2
# TYPE other_total counter
other_total 5
";

    fn snapshot() -> Snapshot {
        let scrape = parse(PAGE.as_bytes(), None, &Limits::default()).expect("a page");
        Snapshot::of(&scrape)
    }

    fn again(rows: &[(String, f64)]) -> Snapshot {
        let rows = rows.iter().map(|(series, value)| (series.as_str(), *value));
        stored_snapshot(rows).expect("our own rows")
    }

    #[test]
    fn what_is_known_comes_back_as_it_was() {
        let mut page = snapshot();
        let back = again(&stored_series(&page, true));
        page.counters.retain(|family| family.name != "other_total");
        assert_eq!(back, page);
    }

    #[test]
    fn histograms_are_left_out_where_nobody_wants_them() {
        let rows = stored_series(&snapshot(), false);
        assert_eq!(rows.len(), 3, "{rows:?}");
        let back = again(&rows);
        assert!(back.histograms.is_empty() && back.problems.is_empty(), "{:?}", back.problems);
    }

    #[test]
    fn rows_that_are_no_metric_are_skipped() {
        let rows = [("scrape_duration_seconds", 0.01), ("vllm:num_requests_running", 2.0)];
        let back = stored_snapshot(rows).expect("rows");
        assert_eq!(back.gauges.len(), 1);
        assert_eq!(back.counters.len() + back.histograms.len(), 0);
    }
}
