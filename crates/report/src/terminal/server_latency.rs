//! Latencies by a server's own histograms: all of them in one table, then each with the bounds
//! between which the truth lies, and its picture.

use loadline_schema::document::Document;
use loadline_schema::latency::{Attainment, LatencyResult, QuantileFlag, QuantileResult};
use loadline_schema::server_metrics::Meaning;

use super::{Page, caveats};
use crate::quantity::{self, ABSENT, DurationUnit};
use crate::style::Tone;
use crate::table::{Column, Table};
use crate::words::{self, plain};

mod picture;

/// Significant digits of a bound: as many as servers write.
const BOUND_DIGITS: usize = 6;
/// So many histograms are all shown with their buckets.
const FEW: usize = 5;

/// How the values of one histogram are shown: in which unit, and what to multiply them by.
struct Scale {
    name: String,
    factor: f64,
}

/// The length of a unit of time, ns; `None` of any other unit.
fn time_ns(unit: &str) -> Option<f64> {
    Some(match unit {
        "seconds" => 1e9,
        "milliseconds" => 1e6,
        "microseconds" => 1e3,
        "nanoseconds" => 1.0,
        _ => return None,
    })
}

impl Scale {
    /// Of times the unit in which they are short; any other unit as it is.
    fn of(result: &LatencyResult) -> Self {
        let Some(ns) = time_ns(&result.unit) else {
            return Self { name: plain(&result.unit), factor: 1.0 };
        };
        let values = result.quantiles.iter().filter_map(|quantile| quantile.value);
        let unit = DurationUnit::fitting(values.chain(result.mean).map(|value| value * ns));
        Self { name: unit.name.to_owned(), factor: ns / unit.ns }
    }

    fn number(&self, value: f64) -> String {
        quantity::number(value * self.factor)
    }

    /// A bound with the digits that it has: "0.25", "300".
    fn bound(&self, le: Option<f64>) -> String {
        let Some(le) = le else { return "∞".to_owned() };
        let digits = quantity::digits(le * self.factor, BOUND_DIGITS);
        if digits.contains('.') {
            digits.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            digits
        }
    }
}

/// What holds for the document stands here where nothing else is reported.
pub(super) fn section(page: &mut Page, document: &Document, is_alone: bool) {
    let results = &document.latency;
    let sources: Vec<&str> = results.iter().map(|result| result.source.as_str()).collect();
    let source = sources.first().copied().unwrap_or_default();
    if !is_alone {
        page.blank();
    }
    page.hanging("", "", &format!("Server latency: {}", plain(source)), Tone::Strong);
    if is_alone {
        caveats::of_run(page, document);
    }
    let (told, silent): (Vec<&LatencyResult>, Vec<&LatencyResult>) =
        results.iter().partition(|result| result.n > 0);
    if !told.is_empty() {
        overview(page, &told);
    }
    if !silent.is_empty() {
        let names: Vec<String> = silent.iter().map(|result| full_title(result)).collect();
        page.blank();
        page.paragraph(&format!("No values in the window: {}.", names.join(", ")), 0, Tone::Faint);
    }
    let (pictured, others): (Vec<&LatencyResult>, Vec<&LatencyResult>) =
        told.iter().partition(|result| is_pictured(result, told.len()));
    for result in pictured {
        details(page, result);
    }
    if told.is_empty() {
        return;
    }
    page.blank();
    if let Some(other) = others.first() {
        let note = format!(
            "Buckets of the others: --metric {}, say; of all of them: --json.",
            plain(&other.metric)
        );
        page.paragraph(&note, 0, Tone::Faint);
    }
    let note = "Quantiles as Prometheus computes them: linear inside a bucket, which is a guess. The \
                bounds of the bucket and the mean are certain.";
    page.paragraph(note, 0, Tone::Faint);
}

/// Whether a histogram's buckets are shown: of one alone; of many where it is a latency with a known
/// meaning, or has something to be told of. All of a server's histograms are too much to read.
fn is_pictured(result: &LatencyResult, of: usize) -> bool {
    let is_time = time_ns(&result.unit).is_some();
    let is_asked = !result.attainment.is_empty() || !result.warnings.is_empty();
    of <= FEW || is_asked || (is_time && result.meaning.is_some())
}

/// "TTFT", or the metric's name; then the labels that it is told apart by.
fn title(result: &LatencyResult) -> String {
    let known = result.meaning.as_deref().and_then(Meaning::from_text);
    let name = known.map_or_else(|| plain(&result.metric), |known| known.title().to_owned());
    let labels = labels(result);
    if labels.is_empty() { name } else { format!("{name} {labels}") }
}

fn full_title(result: &LatencyResult) -> String {
    let (title, metric) = (title(result), plain(&result.metric));
    if title.contains(&metric) { title } else { format!("{title} ({metric})") }
}

fn labels(result: &LatencyResult) -> String {
    let labels = result.labels.iter();
    let pairs: Vec<String> =
        labels.map(|(name, value)| format!("{}={}", plain(name), plain(value))).collect();
    pairs.join(" ")
}

fn overview(page: &mut Page, results: &[&LatencyResult]) {
    let scales: Vec<Scale> = results.iter().map(|result| Scale::of(result)).collect();
    let most = page.style.columns() / 3;
    // Of one metric by its labels, these tell the rows apart, and its name heads the page below.
    let is_one = results.iter().all(|r| r.metric == results[0].metric && !r.labels.is_empty());
    let key = |result: &&LatencyResult| if is_one { labels(result) } else { title(result) };
    let keys = results.iter().map(|result| words::cut(&key(result), most)).collect();
    let means = results.iter().zip(&scales);
    let means = means.map(|(r, scale)| r.mean.map_or(ABSENT.into(), |mean| scale.number(mean)));
    let mut columns = vec![
        Column::words("", keys).toned(Tone::Strong),
        Column::words("unit", scales.iter().map(|scale| scale.name.clone()).collect()),
        Column::numbers("", "n", results.iter().map(|r| quantity::count(r.n)).collect()),
        Column::numbers("", "mean", means.collect()),
    ];
    let quantiles = results.first().map_or(&[][..], |result| &result.quantiles);
    for (at, quantile) in quantiles.iter().enumerate() {
        let cell = |(result, scale): (&&LatencyResult, &Scale)| {
            result.quantiles.get(at).map_or(ABSENT.into(), |found| short(found, scale))
        };
        let cells = results.iter().zip(&scales).map(cell).collect();
        columns.push(Column::numbers("", &name(quantile), cells));
    }
    page.blank();
    let any = |mark: &str| columns.iter().any(|column| column.any(|cell| cell.contains(mark)));
    let marks = [
        ("≤", "≤: in the first bucket, only its bound is known"),
        (">", ">: above the highest bound"),
        ("*", "*: fewer than 30 values are expected above it"),
    ];
    let notes: Vec<&str> =
        marks.into_iter().filter(|(mark, _)| any(mark)).map(|(_, note)| note).collect();
    page.table(&Table::new(columns));
    if !notes.is_empty() {
        page.paragraph(&notes.join(" · "), 0, Tone::Faint);
    }
}

/// "P99", "P99.9".
fn name(quantile: &QuantileResult) -> String {
    format!("P{}", (quantile.q * 1e8).round() / 1e6)
}

fn has(quantile: &QuantileResult, flag: QuantileFlag) -> bool {
    quantile.flags.contains(&flag)
}

/// What is certain where the value is not: "≤ 300", "> 60", "152*".
fn short(quantile: &QuantileResult, scale: &Scale) -> String {
    let few = if has(quantile, QuantileFlag::TooFew) { "*" } else { "" };
    let text = match quantile.value {
        _ if has(quantile, QuantileFlag::FirstBucket) => {
            format!("≤ {}", scale.bound(quantile.high))
        }
        _ if has(quantile, QuantileFlag::InfBucket) => format!("> {}", scale.bound(quantile.low)),
        Some(value) => scale.number(value),
        None => return ABSENT.to_owned(),
    };
    text + few
}

fn details(page: &mut Page, result: &LatencyResult) {
    let scale = Scale::of(result);
    let title = words::cut(&title(result), page.style.columns());
    let metric = plain(&result.metric);
    let metric = if title.contains(&metric) { String::new() } else { metric };
    let note = [metric, scale.name.clone()].into_iter().filter(|part| !part.is_empty());
    page.heading(&title, &note.collect::<Vec<_>>().join(", "));
    page.paragraph(&extent(result, &scale), 0, Tone::Plain);
    for warning in &result.warnings {
        page.hanging("! ", "  ", &plain(&warning.message), Tone::Warning);
        caveats::advise(page, &warning.advice);
    }
    let cells = |cell: &dyn Fn(&QuantileResult) -> String| -> Vec<String> {
        result.quantiles.iter().map(cell).collect()
    };
    let table = Table::new(vec![
        Column::words("", cells(&name)).toned(Tone::Strong),
        Column::numbers("", "value", cells(&|found| value(found, &scale))),
        Column::numbers("", "its bucket", cells(&|found| bucket(found, &scale))),
        Column::numbers("", "n in it", cells(&|found| quantity::count(found.n_in_bucket))),
        Column::words("beware", cells(&beware)),
    ]);
    page.table(&table);
    for (term, attainment) in &result.attainment {
        let (text, is_missed) = attained(attainment);
        let tone = if is_missed { Tone::Bad } else { Tone::Plain };
        page.hanging("", "  ", &format!("{}: {text}", plain(term)), tone);
    }
    picture::picture(page, result, &scale);
}

/// As Prometheus has it; above the highest bound that is the bound, which is no value of anything.
fn value(quantile: &QuantileResult, scale: &Scale) -> String {
    if has(quantile, QuantileFlag::InfBucket) {
        return format!("> {}", scale.bound(quantile.low));
    }
    quantile.value.map_or(ABSENT.into(), |value| scale.number(value))
}

/// "1,204 values of 2 series, added up over engine; mean 187 ms (exact)".
fn extent(result: &LatencyResult, scale: &Scale) -> String {
    let mut text = words::counted(result.n, "value", "values");
    if result.series > 1 {
        let series = quantity::count(result.series);
        let over: Vec<String> = result.summed_over.iter().map(|label| plain(label)).collect();
        text += &format!(" of {series} series, added up over {}", over.join(", "));
    }
    if let Some(mean) = result.mean {
        let mean = format!("; mean {} {}", scale.number(mean), scale.name);
        text += &format!("{} (exact)", mean.trim_end());
    }
    if let Some(engine) = &result.engine {
        text += &format!("; a metric of {}", plain(engine));
    }
    text
}

/// "100–250", "> 2,500".
fn bucket(quantile: &QuantileResult, scale: &Scale) -> String {
    match (quantile.low, quantile.high) {
        (None, None) => ABSENT.to_owned(),
        (Some(low), None) => format!("> {}", scale.bound(Some(low))),
        (None, high) => format!("≤ {}", scale.bound(high)),
        (low, high) => format!("{}–{}", scale.bound(low), scale.bound(high)),
    }
}

/// The flags in words.
fn beware(quantile: &QuantileResult) -> String {
    let words = quantile.flags.iter().map(|flag| match flag {
        QuantileFlag::FirstBucket => "first bucket",
        QuantileFlag::InfBucket => "above all bounds",
        QuantileFlag::TooFew => "too few values",
        QuantileFlag::ForcedMonotonic => "counts fell",
    });
    words.collect::<Vec<_>>().join(", ")
}

/// "94.2 % (exact); 99 % asked for: missed".
fn attained(attainment: &Attainment) -> (String, bool) {
    let mut text = attainment.share.map_or(ABSENT.into(), quantity::percent);
    if attainment.exact {
        text += " (exact)";
    } else {
        let (low, high) = (quantity::percent(attainment.low), quantity::percent(attainment.high));
        text += &format!(" (between {low} and {high})");
    }
    if let Some(required) = attainment.required {
        let verdict = match attainment.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "these buckets cannot tell",
        };
        text += &format!("; {} asked for: {verdict}", quantity::percent(required));
    }
    (text, attainment.met == Some(false))
}
