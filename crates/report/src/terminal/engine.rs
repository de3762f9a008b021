//! An engine stage: the answer, a heat table of generation and of prompt processing over batch and
//! context, then every cell with its interval, and what it was measured with.

use std::collections::BTreeSet;

use loadline_schema::document::{Document, EngineResult, EngineSummary, Estimate};
use loadline_schema::engine::{EngineCell, ModelFacts};

use super::caveats::{self as run_caveats, advise};
use super::{Page, answer};
use crate::quantity::{self, ABSENT};
use crate::style::Tone;
use crate::table::{Column, Table};
use crate::words::{self, plain};

/// From the lowest rate of a heat table to the highest.
const HEAT: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// Tables of a grid with more settings than this say less than its cells below.
const MOST_HEAT_TABLES: usize = 4;
/// Share of the bandwidth from which on memory is what holds generation back.
const BOUND_BY_MEMORY: f64 = 0.6;
/// Longest part of the engine's own description that is shown.
const BUILD_SHOWN: usize = 300;

/// A setting of the grid: its name and its value in a cell.
type Setting = (&'static str, fn(&EngineCell) -> u32);
/// A rate of a cell.
type Rate = fn(&EngineResult) -> Option<Estimate>;

/// What holds for the whole run stands with the first stage, after its answer.
pub(super) fn section(page: &mut Page, document: &Document, stage: &EngineSummary, is_first: bool) {
    let cells: Vec<&EngineResult> =
        document.engine.iter().filter(|cell| cell.stage == stage.stage).collect();
    head(page, document, stage);
    if cells.iter().all(|cell| cell.trials == 0) {
        page.paragraph("Nothing was measured: no trial ended.", 0, Tone::Bad);
    } else {
        answers(page, stage, &cells);
    }
    if is_first {
        run_caveats::of_run(page, document);
    }
    caveats(page, &cells);
    heat(page, "Generation", "tokens/s of all sequences", &cells, |cell| cell.decode_tokens_per_s);
    heat(page, "Prompts", "tokens/s of all sequences", &cells, |cell| cell.prompt_tokens_per_s);
    details(page, &cells);
    measured_with(page, stage);
}

/// "SmolLM2-135M, 135 M weights in Q4_1 (98 MB)".
pub fn model_words(model: &ModelFacts) -> String {
    let name = if model.name.is_empty() { "an unnamed model" } else { &model.name };
    let mut text = plain(name);
    let of_type = model.quantization.as_deref().map(|q| format!(" in {}", plain(q)));
    if let Some(weights) = model.parameters {
        text.push_str(&format!(", {} weights", of_many(weights)));
        text.push_str(&of_type.unwrap_or_default());
    }
    if let Some(bytes) = model.weight_bytes {
        text.push_str(&format!(" ({})", bytes_words(bytes as f64)));
    }
    if model.random_weights {
        text.push_str(", made of random weights");
    }
    text
}

/// "135 M", "8.03 G".
fn of_many(n: u64) -> String {
    let n = n as f64;
    let (scaled, unit) = match n {
        n if n >= 1e9 => (n / 1e9, " billion"),
        n if n >= 1e6 => (n / 1e6, " million"),
        n => (n, ""),
    };
    format!("{}{unit}", quantity::number(scaled))
}

fn bytes_words(bytes: f64) -> String {
    let (scaled, unit) = match bytes {
        b if b >= 1e9 => (b / 1e9, "GB"),
        b if b >= 1e6 => (b / 1e6, "MB"),
        b => (b / 1e3, "kB"),
    };
    format!("{} {unit}", quantity::number(scaled))
}

/// The model, the engine, and the settings that all cells share.
pub(super) fn head(page: &mut Page, document: &Document, stage: &EngineSummary) {
    let cells: Vec<&EngineResult> =
        document.engine.iter().filter(|cell| cell.stage == stage.stage).collect();
    page.blank();
    let title = match &stage.facts {
        Some(facts) => {
            let version = facts.version.as_deref().map(plain).unwrap_or_default();
            let engine = format!("{} {version}", plain(&facts.name));
            format!("{} on {}", model_words(&facts.model), engine.trim_end())
        }
        None => "an engine that did not start".to_owned(),
    };
    let many = document.engine_stages.len() + document.serving.len() > 1;
    let title = if many { format!("{}: {title}", plain(&stage.stage)) } else { title };
    page.hanging("", "", &title, Tone::Strong);
    let Some(first) = cells.first() else { return };
    let same = |(name, of): &Setting| {
        let value = of(&first.cell);
        let is_same = cells.iter().all(|cell| of(&cell.cell) == value);
        is_same.then(|| format!("{name} {}", EngineCell::setting_words(value)))
    };
    let mut facts: Vec<String> = EngineCell::SETTINGS.iter().filter_map(same).collect();
    if (first.cell.type_k.as_str(), first.cell.type_v.as_str()) != ("f16", "f16") {
        facts.push(format!("KV cache {}/{}", first.cell.type_k, first.cell.type_v));
    }
    page.paragraph(&facts.join(" · "), 0, Tone::Faint);
}

fn answers(page: &mut Page, stage: &EngineSummary, cells: &[&EngineResult]) {
    page.blank();
    let best = |rate: Rate| {
        let rated = cells.iter().filter_map(|cell| Some((rate(cell)?, *cell)));
        rated.reduce(|best, next| if next.0.value > best.0.value { next } else { best })
    };
    if let Some((rate, cell)) = best(|cell| cell.decode_tokens_per_s) {
        let single =
            cells.iter().find(|c| c.cell.batch == 1 && c.cell.context == cell.cell.context);
        let mut text = format!("{} tokens/s at {}", rate_words(&rate), place(cells, cell));
        if let Some(single) = single.and_then(|c| c.decode_tokens_per_s.as_ref())
            && cell.cell.batch > 1
        {
            let gain = quantity::number(rate.value / single.value);
            let alone = quantity::number(single.value);
            text.push_str(&format!(", {gain} times what one sequence gets alone ({alone})"));
        }
        answer::line(page, "Generation", &text, Tone::Strong);
    }
    if let Some((rate, cell)) = best(|cell| cell.prompt_tokens_per_s) {
        let text = format!("{} tokens/s at {}", rate_words(&rate), place(cells, cell));
        answer::line(page, "Prompts", &text, Tone::Plain);
    }
    let cheapest = cells.iter().filter_map(|cell| Some((cell.cost.as_ref()?, *cell)));
    let cheapest = cheapest.filter_map(|(cost, cell)| Some((cost.per_mtok_output?, cost, cell)));
    if let Some((price, cost, cell)) = cheapest.min_by(|a, b| a.0.total_cmp(&b.0)) {
        let text = format!(
            "{} {} per million output tokens at {}",
            quantity::number(price),
            plain(&cost.currency),
            place(cells, cell)
        );
        answer::line(page, "Cost", &text, Tone::Plain);
    }
    if let Some(text) = bandwidth(stage, cells) {
        answer::line(page, "Memory", &text, Tone::Plain);
    }
}

fn rate_words(rate: &Estimate) -> String {
    quantity::estimate(rate, quantity::number)
}

/// What generation of one sequence takes of the memory bandwidth, and what follows from it.
fn bandwidth(stage: &EngineSummary, cells: &[&EngineResult]) -> Option<String> {
    let bandwidth = stage.memory_bandwidth.as_ref()?;
    let most = bandwidth.read_bytes_per_s.max(bandwidth.triad_bytes_per_s);
    let gives = format!("memory gives {}/s", bytes_words(most));
    let smallest = cells.iter().filter(|cell| cell.mbu.is_some()).min_by_key(|c| c.cell.batch);
    let Some((cell, mbu)) = smallest.and_then(|cell| Some((*cell, cell.mbu?))) else {
        return Some(gives);
    };
    let share = quantity::percent((mbu * 100.0).round() / 100.0);
    let at = place(cells, cell);
    let in_cache = cell.warnings.iter().any(|warning| warning.code == "weights_in_cache");
    Some(if cell.noisy {
        format!("{gives}; generation at {at} read {share} of that, but something disturbed it")
    } else if in_cache {
        format!("{gives}; generation at {at} reads {share} of that, but its weights fit in a cache")
    } else if mbu >= BOUND_BY_MEMORY {
        format!(
            "generation at {at} reaches {share} of memory bandwidth: more batch, not more clock \
                 ({gives})"
        )
    } else {
        format!(
            "generation at {at} reaches {share} of memory bandwidth: computing holds it back, not \
             memory ({gives})"
        )
    })
}

/// "batch 16, context 512": a cell by what differs among cells.
pub(super) fn place(cells: &[&EngineResult], cell: &EngineResult) -> String {
    cell.cell.place(cells.iter().map(|other| &other.cell))
}

fn varies(cells: &[&EngineResult], of: impl Fn(&EngineCell) -> u32) -> bool {
    cells.windows(2).any(|pair| of(&pair[0].cell) != of(&pair[1].cell))
}

/// Failures first, then each message once with its cells.
fn caveats(page: &mut Page, cells: &[&EngineResult]) {
    let failed: Vec<&&EngineResult> = cells.iter().filter(|cell| cell.failed.is_some()).collect();
    let mut told: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for cell in cells {
        for warning in &cell.warnings {
            let at = place(cells, cell);
            match told.iter_mut().find(|(code, message, _)| {
                *code == warning.code
                    && (*message == warning.message || warning.code.starts_with("noisy"))
            }) {
                Some((_, _, places)) if places.contains(&at) => {}
                Some((_, _, places)) => places.push(at),
                None => told.push((&warning.code, &warning.message, vec![at])),
            }
        }
    }
    if failed.is_empty() && told.is_empty() {
        return;
    }
    page.blank();
    for cell in failed {
        let why = plain(cell.failed.as_deref().unwrap_or_default());
        page.hanging("! ", "  ", &format!("{}: {why}", place(cells, cell)), Tone::Bad);
    }
    for (code, message, places) in told {
        let elsewhere = match places.len() {
            1 => String::new(),
            n => format!(" (and at {} more)", words::counted(n as u64 - 1, "cell", "cells")),
        };
        let text = format!("{}: {}{elsewhere}", places[0], plain(message));
        page.hanging("! ", "  ", &text, Tone::Warning);
        let of_code = |warning: &&loadline_schema::event::Warning| warning.code == code;
        let advice = cells.iter().flat_map(|cell| &cell.warnings).find(of_code);
        advise(page, advice.map_or("", |warning| &warning.advice));
    }
}

/// Rates over batch (columns) and context (rows), one table for each of the other settings.
fn heat(page: &mut Page, title: &str, note: &str, cells: &[&EngineResult], rate: Rate) {
    let rated: Vec<(&EngineResult, f64)> =
        cells.iter().filter_map(|cell| Some((*cell, rate(cell)?.value))).collect();
    let batches: BTreeSet<u32> = rated.iter().map(|(cell, _)| cell.cell.batch).collect();
    let contexts: BTreeSet<u32> = rated.iter().map(|(cell, _)| cell.cell.context).collect();
    let low = rated.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
    let high = rated.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let others = |cell: &EngineCell| EngineCell::SETTINGS.map(|(_, of)| of(cell));
    let settings: BTreeSet<[u32; 6]> = rated.iter().map(|(cell, _)| others(&cell.cell)).collect();
    if batches.len() < 2 || settings.len() > MOST_HEAT_TABLES {
        return;
    }
    for setting in &settings {
        let mine = rated.iter().filter(|(cell, _)| others(&cell.cell) == *setting);
        let shared =
            EngineCell::SETTINGS.iter().zip(setting).filter(|((_, of), _)| varies(cells, *of));
        let mut notes: Vec<String> = shared
            .map(|((name, _), value)| format!("{name} {}", EngineCell::setting_words(*value)))
            .collect();
        notes.insert(0, note.to_owned());
        page.heading(title, &notes.join(", "));
        let keys = contexts.iter().map(ToString::to_string).collect();
        let mut columns = vec![Column::numbers("", "context", keys).toned(Tone::Strong)];
        for batch in &batches {
            let text = |context: &u32| {
                let found = mine
                    .clone()
                    .find(|(cell, _)| (cell.cell.batch, cell.cell.context) == (*batch, *context));
                found.map_or_else(
                    || ABSENT.to_owned(),
                    |(cell, rate)| {
                        let flag = if cell.noisy { "?" } else { "" };
                        format!("{flag}{} {}", quantity::number(*rate), glyph(*rate, low, high))
                    },
                )
            };
            let cells = contexts.iter().map(text).collect();
            columns.push(Column::numbers("batch", &batch.to_string(), cells));
        }
        page.table(&Table::new(columns));
    }
    if rated.iter().any(|(cell, _)| cell.noisy) {
        page.paragraph("? something disturbed this cell: see the warnings", 0, Tone::Faint);
    }
}

fn glyph(rate: f64, low: f64, high: f64) -> &'static str {
    let share = if high > low { (rate - low) / (high - low) } else { 1.0 };
    HEAT[((share * (HEAT.len() - 1) as f64).round() as usize).min(HEAT.len() - 1)]
}

fn details(page: &mut Page, cells: &[&EngineResult]) {
    page.heading("Cells", "mean over trials and half of its 95 % interval");
    page.table(&Table::new(columns(cells)));
}

/// The cells as columns of a table; what no cell has is left out.
pub(crate) fn columns(cells: &[&EngineResult]) -> Vec<Column> {
    let column = |group: &str, label: &str, text: &dyn Fn(&EngineResult) -> String| {
        Column::numbers(group, label, cells.iter().map(|cell| text(cell)).collect())
    };
    let number = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), quantity::number);
    let half = |rate: Option<Estimate>| {
        let half = rate.and_then(|rate| Some(rate.high? - rate.value));
        half.map_or_else(|| ABSENT.to_owned(), |half| format!("±{}", quantity::digits(half, 2)))
    };
    let mut columns = vec![
        column("setting", "batch", &|cell| cell.cell.batch.to_string()).toned(Tone::Strong),
        column("setting", "context", &|cell| cell.cell.context.to_string()).toned(Tone::Strong),
    ];
    for (name, of) in EngineCell::SETTINGS {
        if varies(cells, of) {
            let text = |cell: &EngineResult| EngineCell::setting_words(of(&cell.cell));
            columns.push(column("setting", name, &text).toned(Tone::Strong));
        }
    }
    columns.extend([
        column("prompt, tokens/s", "mean", &|cell| {
            number(cell.prompt_tokens_per_s.map(|r| r.value))
        }),
        column("prompt, tokens/s", "95 %", &|cell| half(cell.prompt_tokens_per_s)),
        column("generation, tokens/s", "mean", &|cell| {
            number(cell.decode_tokens_per_s.map(|r| r.value))
        }),
        column("generation, tokens/s", "95 %", &|cell| half(cell.decode_tokens_per_s)),
        column("generation, tokens/s", "each", &|cell| number(cell.decode_tokens_per_s_per_user)),
        column("memory", "MB", &|cell| number(cell.memory_bytes.map(|bytes| bytes as f64 / 1e6))),
        column("memory", "MBU", &|cell| {
            cell.mbu.map_or_else(|| ABSENT.to_owned(), |m| format!("{:.0} %", m * 100.0))
        }),
        column("", "trials", &|cell| cell.trials.to_string()),
    ]);
    if let Some(cost) = cells.iter().find_map(|cell| cell.cost.as_ref()) {
        let group = format!("{} per Mtok", plain(&cost.currency));
        let of = |cell: &EngineResult, total: bool| {
            let cost = cell.cost.as_ref();
            number(cost.and_then(|c| if total { c.per_mtok_total } else { c.per_mtok_output }))
        };
        columns.push(column(&group, "output", &|cell| of(cell, false)));
        columns.push(column(&group, "total", &|cell| of(cell, true)));
    }
    columns.into_iter().filter(|column| column.has_content(&[ABSENT])).collect()
}

fn measured_with(page: &mut Page, stage: &EngineSummary) {
    let Some(facts) = &stage.facts else { return };
    page.heading("Measured with", "");
    let mut parts = vec![match facts.measured_by.as_str() {
        "embedded" => "the embedded engine".to_owned(),
        program => plain(program),
    }];
    if let Some(cpus) = &facts.cpus {
        parts.push(format!("processors {}", plain(cpus)));
    }
    let devices: Vec<String> = facts
        .devices
        .iter()
        .map(|device| format!("{} ({})", plain(&device.name), plain(&device.description)))
        .collect();
    if !devices.is_empty() {
        parts.push(format!("devices {}", devices.join(", ")));
    }
    page.paragraph(&parts.join("; "), 0, Tone::Plain);
    if let Some(bandwidth) = &stage.memory_bandwidth {
        let text = format!(
            "memory: triad {}/s, reading {}/s with {} over {}",
            bytes_words(bandwidth.triad_bytes_per_s),
            bytes_words(bandwidth.read_bytes_per_s),
            words::counted(u64::from(bandwidth.threads), "thread", "threads"),
            bytes_words(bandwidth.working_set_bytes as f64),
        );
        page.paragraph(&text, 0, Tone::Plain);
    }
    if let Some(build) = &facts.build {
        page.paragraph(&words::cut(&plain(build), BUILD_SHOWN), 0, Tone::Faint);
    }
    if stage.imported {
        page.paragraph("Imported: measured by another tool, not by Loadline.", 0, Tone::Warning);
    }
}
