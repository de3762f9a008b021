//! GPUs: what they were doing over a time, and what can be read of them at all.

use std::collections::{BTreeMap, BTreeSet};

use loadline_schema::document::Document;
use loadline_schema::gpu::{
    GpuField, GpuReading, GpuSource, GpuSummary, GpuUnit, Missing, ThrottleReasons,
};

mod columns;

use super::Page;
use crate::quantity;
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

/// So many readings make no statistics: their means stand alone.
const ONCE: u64 = 2;

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
        first.source.in_words(),
    );
    page.heading("GPUs", &note);
    names(page, gpus);
    let is_short = most <= ONCE;
    page.table(&Table::new(columns::of(gpus, is_short)));
    throttling(page, gpus);
    if !is_short {
        doubts(page, gpus);
    }
    kernel_time(page, gpus);
    let pictured =
        [("SM active over time", GpuField::SmActive), ("Power over time", GpuField::PowerW)];
    for (title, field) in pictured.into_iter().filter(|_| !is_short) {
        pictures(page, gpus, title, field);
    }
    let missing = gpus.iter().map(|gpu| (key(gpu), &gpu.missing));
    reasons(page, "Not to be had", missing, gpus.len(), |field| ASKED_FOR.contains(&field));
}

fn key(gpu: &GpuSummary) -> String {
    labelled(&gpu.host, gpu.label())
}

fn labelled(host: &str, label: String) -> String {
    if host.is_empty() { label } else { format!("{} {label}", plain(host)) }
}

/// GPUs as short as they can be told apart: "0–7", "0, 2, 1:0".
fn ranges<'a>(gpus: impl IntoIterator<Item = &'a GpuSummary>) -> String {
    let mut runs: Vec<(&GpuSummary, &GpuSummary)> = Vec::new();
    for gpu in gpus {
        match runs.last_mut() {
            Some((_, last))
                if last.mig.is_none()
                    && gpu.mig.is_none()
                    && last.host == gpu.host
                    && last.source == gpu.source
                    && last.index + 1 == gpu.index =>
            {
                *last = gpu;
            }
            _ => runs.push((gpu, gpu)),
        }
    }
    let words = runs.into_iter().map(|(first, last)| match last.index - first.index {
        0 => key(first),
        1 => format!("{}, {}", key(first), last.label()),
        _ => format!("{}–{}", key(first), last.label()),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Gathers the GPUs of which the same is to be said.
fn alike(
    gpus: &[GpuSummary],
    words: impl Fn(&GpuSummary) -> Option<String>,
) -> Vec<(String, String)> {
    let mut found: Vec<(String, Vec<&GpuSummary>)> = Vec::new();
    for gpu in gpus {
        let Some(words) = words(gpu) else { continue };
        match found.iter_mut().find(|(other, _)| *other == words) {
            Some((_, gpus)) => gpus.push(gpu),
            None => found.push((words, vec![gpu])),
        }
    }
    found.into_iter().map(|(words, gpus)| (words, ranges(gpus))).collect()
}

/// "GPU 0–7: NVIDIA H100", one line for each product.
fn names(page: &mut Page, gpus: &[GpuSummary]) {
    for (name, keys) in alike(gpus, |gpu| Some(plain(&gpu.name))) {
        page.paragraph(&format!("GPU {keys}: {name}"), 0, Tone::Plain);
    }
}

fn throttling(page: &mut Page, gpus: &[GpuSummary]) {
    let by = |gpu: &GpuSummary| {
        let by = gpu.throttled_by.iter().map(|(reason, ratio)| {
            format!("{} in {}", reason.as_str().replace('_', " "), quantity::percent(*ratio))
        });
        let by: Vec<String> = by.collect();
        (!by.is_empty()).then(|| by.join(", "))
    };
    for (by, keys) in alike(gpus, by) {
        let text = format!("GPU {keys} throttled: {by} of the readings");
        page.paragraph(&text, 0, Tone::Warning);
    }
}

/// What figures must not be taken for.
fn doubts(page: &mut Page, gpus: &[GpuSummary]) {
    let invalid = |gpu: &GpuSummary| {
        let energy = gpu.energy_j.as_ref().filter(|energy| !energy.valid)?;
        Some(energy.reason.as_ref().map_or_else(|| "not valid".to_owned(), |why| plain(why)))
    };
    for (reason, keys) in alike(gpus, invalid) {
        page.hanging("? ", "  ", &format!("energy of GPU {keys}: {reason}"), Tone::Warning);
    }
}

fn kernel_time(page: &mut Page, gpus: &[GpuSummary]) {
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
        let bars: String = held(line).take(room).map(|value| bar(value, top)).collect();
        page.line(&format!("{key:>width$}  {bars}"));
    }
}

/// With fewer readings than parts, each reading stands for the time since the one before it, as the
/// figures do; a longer time without any stays blank.
fn held(line: &[Option<f64>]) -> impl Iterator<Item = Option<f64>> {
    let found = line.iter().flatten().count().max(1);
    let most = 2 * line.len().div_ceil(found);
    (0..line.len()).map(move |at| line[at..].iter().take(most).copied().find_map(|value| value))
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
        let instances = readings.iter().filter(|reading| reading.mig.is_some()).count();
        let whole = counted((gpus.len() - instances) as u64, "GPU", "GPUs");
        let instances = match instances as u64 {
            0 => String::new(),
            n => format!(" and {}", counted(n, "MIG instance", "MIG instances")),
        };
        let note = format!("{whole}{instances} by {}", first.source.in_words());
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
            let text = format!("{}: {}", source.in_words(), plain(reason));
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
