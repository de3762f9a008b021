//! GPUs: what they were doing over a time, and what can be read of them at all.

use std::collections::{BTreeMap, BTreeSet};

use loadline_schema::document::Document;
use loadline_schema::gpu::{
    GpuField, GpuReading, GpuSource, GpuStat, GpuSummary, GpuUnit, Missing, ThrottleReasons,
};

use super::Page;
use crate::quantity::{self, ABSENT};
use crate::style::{Style, Tone};
use crate::table::{Column, Table};
use crate::words::{self, counted, plain};

/// Bars of a line of values, from nothing to the most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The fields whose absence the report explains; `gpu --check` explains all.
const ASKED_FOR: [GpuField; 9] = [
    GpuField::SmOccupancy,
    GpuField::SmActive,
    GpuField::DramActive,
    GpuField::TensorActive,
    GpuField::PowerW,
    GpuField::EnergyJ,
    GpuField::TemperatureC,
    GpuField::SmClockMhz,
    GpuField::Throttle,
];

/// A named statistic of a GPU.
type Named = (&'static str, fn(&GpuSummary) -> Option<GpuStat>);

const ACTIVITY: [Named; 4] = [
    ("SM occupancy, %", |gpu| gpu.sm_occupancy),
    ("SM active, %", |gpu| gpu.sm_active),
    ("tensor active, %", |gpu| gpu.tensor_active),
    ("DRAM active, %", |gpu| gpu.dram_active),
];

/// The GPUs that were watched, as a page of its own.
pub fn gpu_terminal(gpus: &[GpuSummary], style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    watched(&mut page, gpus);
    page.text
}

/// The GPUs of a run.
pub(super) fn section(page: &mut Page, document: &Document) {
    if !document.gpu.is_empty() {
        watched(page, &document.gpu);
    }
}

fn watched(page: &mut Page, gpus: &[GpuSummary]) {
    let Some(first) = gpus.first() else {
        page.paragraph("No GPU was read.", 0, Tone::Bad);
        return;
    };
    let most = gpus.iter().map(|gpu| gpu.samples).max().unwrap_or_default();
    let note = format!(
        "{} in {} by {}",
        counted(most, "reading", "readings"),
        quantity::duration(gpus.iter().map(|gpu| gpu.over_ns).max().unwrap_or_default() as f64),
        source_words(first.source),
    );
    page.heading("GPUs", &note);
    names(page, gpus);
    page.table(&Table::new(columns(gpus)));
    throttling(page, gpus);
    doubts(page, gpus);
    for (title, field) in
        [("SM active over time", GpuField::SmActive), ("Power over time", GpuField::PowerW)]
    {
        pictures(page, gpus, title, field);
    }
    let missing = gpus.iter().map(|gpu| (key(gpu), &gpu.missing));
    reasons(page, "Not to be had", missing, gpus.len(), |field| ASKED_FOR.contains(&field));
}

const fn source_words(source: GpuSource) -> &'static str {
    match source {
        GpuSource::Nvml => "NVML",
        GpuSource::DcgmExporter => "dcgm-exporter",
        GpuSource::Dcgmi => "dcgmi dmon",
        GpuSource::Amdgpu => "amdgpu's files",
    }
}

fn key(gpu: &GpuSummary) -> String {
    labelled(&gpu.host, gpu.label())
}

fn labelled(host: &str, label: String) -> String {
    if host.is_empty() { label } else { format!("{} {label}", plain(host)) }
}

/// "0–7: NVIDIA H100", one line for each product.
fn names(page: &mut Page, gpus: &[GpuSummary]) {
    let mut products: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for gpu in gpus {
        products.entry(plain(&gpu.name)).or_default().push(key(gpu));
    }
    for (name, keys) in products {
        page.paragraph(&format!("{}: {name}", keys.join(", ")), 0, Tone::Plain);
    }
}

fn columns(gpus: &[GpuSummary]) -> Vec<Column> {
    let cells = |of: &dyn Fn(&GpuSummary) -> Option<String>| -> Vec<String> {
        gpus.iter().map(|gpu| of(gpu).unwrap_or_else(|| ABSENT.to_owned())).collect()
    };
    let mut columns = vec![Column::numbers("", "GPU", gpus.iter().map(key).collect())];
    let mut statistics = |group: &str, factor: f64, of: &dyn Fn(&GpuSummary) -> Option<GpuStat>| {
        let parts: [(&str, fn(GpuStat) -> f64); 3] =
            [("mean", |s| s.mean), ("p95", |s| s.p95), ("max", |s| s.max)];
        for (label, part) in parts {
            let text = |gpu: &GpuSummary| Some(quantity::number(part(of(gpu)?) * factor));
            columns.push(Column::numbers(group, label, cells(&text)));
        }
    };
    for (name, of) in ACTIVITY {
        statistics(name, 100.0, &of);
    }
    statistics("power, W", 1.0, &|gpu| gpu.power_w);
    statistics("temperature, °C", 1.0, &|gpu| gpu.temperature_c);
    statistics("SM clock, MHz", 1.0, &|gpu| gpu.clocks.sm_mhz);
    let energy = |gpu: &GpuSummary| {
        let energy = gpu.energy_j.as_ref()?;
        let doubt = if energy.valid { "" } else { "?" };
        Some(format!("{doubt}{}", quantity::number(energy.joules)))
    };
    columns.push(Column::numbers("energy", "J", cells(&energy)));
    let throttled = |gpu: &GpuSummary| Some(quantity::number(gpu.throttled_ratio? * 100.0));
    columns.push(Column::numbers("throttled", "% of time", cells(&throttled)));
    if gpus.iter().all(|gpu| gpu.sm_active.is_none()) {
        let time = |gpu: &GpuSummary| {
            Some(quantity::number(gpu.others.get(&GpuField::TimeActive)?.mean * 100.0))
        };
        columns.push(Column::numbers("a kernel ran", "% of time", cells(&time)));
    }
    columns.into_iter().filter(|column| column.has_content(&[ABSENT])).collect()
}

fn throttling(page: &mut Page, gpus: &[GpuSummary]) {
    for gpu in gpus.iter().filter(|gpu| !gpu.throttled_by.is_empty()) {
        let by: Vec<String> = gpu
            .throttled_by
            .iter()
            .map(|(reason, ratio)| {
                format!("{} {}", reason.as_str().replace('_', " "), quantity::percent(*ratio))
            })
            .collect();
        let text = format!("GPU {} throttled: {} of readings", key(gpu), by.join(", "));
        page.paragraph(&text, 0, Tone::Warning);
    }
}

/// What figures must not be taken for.
fn doubts(page: &mut Page, gpus: &[GpuSummary]) {
    let mut invalid: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for gpu in gpus {
        let energy = gpu.energy_j.as_ref().filter(|energy| !energy.valid);
        if let Some(reason) = energy.and_then(|energy| energy.reason.clone()) {
            invalid.entry(plain(&reason)).or_default().push(key(gpu));
        }
    }
    for (reason, keys) in invalid {
        let text = format!("? energy of GPU {}: {reason}", keys.join(", "));
        page.paragraph(&text, 0, Tone::Warning);
    }
    let has_time = |gpu: &GpuSummary| gpu.others.contains_key(&GpuField::TimeActive);
    if gpus.iter().all(|gpu| gpu.sm_active.is_none()) && gpus.iter().any(has_time) {
        let text = "That a kernel ran says nothing about how much of the GPU was at work.";
        page.paragraph(text, 0, Tone::Faint);
    }
}

fn pictures(page: &mut Page, gpus: &[GpuSummary], title: &str, field: GpuField) {
    let drawn: Vec<(String, &Vec<Option<f64>>)> = gpus
        .iter()
        .filter_map(|gpu| Some((key(gpu), gpu.timeline.get(&field)?)))
        .filter(|(_, line)| line.iter().flatten().count() > 1)
        .collect();
    let largest =
        drawn.iter().flat_map(|(_, line)| line.iter().flatten().copied()).fold(0.0, f64::max);
    if drawn.is_empty() || largest <= 0.0 {
        return;
    }
    let top = if field.unit() == GpuUnit::Ratio { 1.0 } else { largest };
    page.heading(title, &format!("0 to {}", value_words(field, top)));
    let width = drawn.iter().map(|(key, _)| words::columns(key)).max().unwrap_or_default();
    for (key, line) in drawn {
        let room = page.style.columns().saturating_sub(width + 2);
        let bars: String = line.iter().take(room).map(|value| bar(*value, top)).collect();
        page.line(&format!("{key:>width$}  {bars}"));
    }
}

fn bar(value: Option<f64>, top: f64) -> char {
    value.map_or(' ', |value| {
        let at = (value / top * (BARS.len() - 1) as f64).round().max(0.0) as usize;
        BARS[at.min(BARS.len() - 1)]
    })
}

/// A value with its unit.
fn value_words(field: GpuField, value: f64) -> String {
    let scaled = |value: f64, unit: &str, per_second: &str| {
        let (factor, sign) = match value {
            v if v >= 1e9 => (1e9, "G"),
            v if v >= 1e6 => (1e6, "M"),
            _ => (1.0, ""),
        };
        format!("{} {sign}{unit}{per_second}", quantity::number(value / factor))
    };
    if field == GpuField::Throttle {
        let reasons = ThrottleReasons(value as u64);
        let names: Vec<String> =
            reasons.named().map(|reason| reason.as_str().replace('_', " ")).collect();
        return if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    }
    match field.unit() {
        GpuUnit::Ratio => quantity::percent(value),
        GpuUnit::Watt => format!("{} W", quantity::number(value)),
        GpuUnit::Joule => format!("{} J", quantity::number(value)),
        GpuUnit::Celsius => format!("{} °C", quantity::number(value)),
        GpuUnit::Megahertz => format!("{} MHz", quantity::number(value)),
        GpuUnit::Nanosecond => quantity::duration(value),
        GpuUnit::BytesPerSecond => scaled(value, "B", "/s"),
        GpuUnit::Byte => scaled(value, "B", ""),
        GpuUnit::One => quantity::stated(value),
    }
}

/// Each reason once, with the fields and GPUs that it is about, and the command that would help.
fn reasons<'a>(
    page: &mut Page,
    title: &str,
    missing: impl Iterator<Item = (String, &'a BTreeMap<GpuField, Missing>)>,
    of: usize,
    wanted: impl Fn(GpuField) -> bool,
) {
    type About = (BTreeSet<&'static str>, Vec<String>);
    let mut found: Vec<(&Missing, About)> = Vec::new();
    for (key, fields) in missing {
        for (field, why) in fields.iter().filter(|(field, _)| wanted(**field)) {
            let known = found.iter_mut().find(|(other, _)| *other == why);
            let about = match known {
                Some((_, about)) => about,
                None => {
                    found.push((why, About::default()));
                    let (_, about) = found.last_mut().expect("invariant: one was just pushed");
                    about
                }
            };
            about.0.insert(field.as_str());
            if !about.1.contains(&key) {
                about.1.push(key.clone());
            }
        }
    }
    if found.is_empty() {
        return;
    }
    page.heading(title, "");
    for (why, (fields, keys)) in found {
        let fields: Vec<&str> = fields.into_iter().collect();
        let where_ =
            if keys.len() == of { String::new() } else { format!(" (GPU {})", keys.join(", ")) };
        let text = format!("{}{where_}: {}: {}", fields.join(", "), why.kind, plain(&why.reason));
        page.hanging("", "  ", &text, Tone::Plain);
        if let Some(grant) = &why.grant {
            // Not wrapped: a broken command cannot be copied.
            page.line(&format!("  {}", plain(grant)));
        }
    }
}

/// What can be read: each field as available (with its value now), denied (with the command that
/// grants it), unsupported, unavailable or failed; then the sources that were not taken, and why.
pub fn gpu_check(
    readings: &[GpuReading],
    passed_over: &[(GpuSource, String)],
    style: &Style,
) -> String {
    let mut page = Page { style: *style, text: String::new() };
    if let Some(first) = readings.first() {
        let gpus: BTreeSet<String> =
            readings.iter().map(|r| labelled(&r.host, r.label())).collect();
        let note = format!(
            "{} by {}",
            counted(gpus.len() as u64, "GPU or instance", "GPUs and instances"),
            source_words(first.source)
        );
        page.heading("What can be read", &note);
        page.table(&Table::new(check_columns(readings, gpus.len())));
        let missing = readings.iter().map(|r| (labelled(&r.host, r.label()), &r.missing));
        reasons(&mut page, "Why not", missing, readings.len(), |_| true);
    } else {
        page.paragraph("There is no GPU that can be read.", 0, Tone::Bad);
    }
    if !passed_over.is_empty() {
        page.heading("Sources that were not taken", "");
        for (source, reason) in passed_over {
            let text = format!("{}: {}", source_words(*source), plain(reason));
            page.hanging("", "  ", &text, Tone::Plain);
        }
    }
    page.text
}

/// A row for each field, or for each state of it where the GPUs differ.
fn check_columns(readings: &[GpuReading], all: usize) -> Vec<Column> {
    let mut rows: [Vec<String>; 4] = std::array::from_fn(|_| Vec::new());
    for field in GpuField::ALL {
        let mut states: BTreeMap<&str, (Vec<String>, String)> = BTreeMap::new();
        for reading in readings {
            let (state, value) = match (reading.get(*field), reading.missing.get(field)) {
                (Some(value), _) => ("available", value_words(*field, value)),
                (None, Some(missing)) => (missing.kind.as_str(), String::new()),
                (None, None) => ("not asked for", String::new()),
            };
            let (keys, shown) = states.entry(state).or_default();
            keys.push(labelled(&reading.host, reading.label()));
            if shown.is_empty() {
                *shown = value;
            }
        }
        for (state, (keys, value)) in states {
            let gpus = if keys.len() == all { "all".to_owned() } else { keys.join(", ") };
            let cells = [field.as_str().to_owned(), state.to_owned(), value, gpus];
            for (column, cell) in rows.iter_mut().zip(cells) {
                column.push(cell);
            }
        }
    }
    let [fields, states, values, gpus] = rows;
    let mut columns = vec![
        Column::words("field", fields).toned(Tone::Strong),
        Column::words("state", states),
        Column::words("value now", values),
    ];
    if all > 1 {
        columns.push(Column::words("GPU", gpus.iter().map(|gpus| words::cut(gpus, 20)).collect()));
    }
    columns
}
