//! The points as a Markdown table, to paste into an issue or a page.

use std::fmt::Write as _;

use loadline_schema::document::{
    Document, EngineResult, EngineSummary, Serving, StorageResult, StorageSummary,
};

use crate::table::Column;
use crate::terminal::tradeoff::{latency_columns, throughput_columns};
use crate::terminal::{engine, storage, table_report};
use crate::words::{self, plain};

/// A title, the warnings, and the trade-off table of each serving stage.
pub fn markdown(document: &Document) -> String {
    let mut text = String::new();
    if let Some(run) = &document.run {
        let _ = writeln!(text, "# {}\n", escaped(&plain(&run.name)));
        let (id, started) = (escaped(&plain(&run.id)), escaped(&plain(&run.started)));
        let _ = writeln!(text, "Run {id} of {started} {}.", words::status(run.status));
    }
    if !document.rows.is_empty() {
        text.push_str(&rows(document));
    }
    for warning in &document.warnings {
        text.push_str(&warning_line("", &warning.message, &warning.advice));
    }
    for stage in &document.engine_stages {
        text.push_str(&engine_section(document, stage));
    }
    for stage in &document.storage_stages {
        text.push_str(&storage_section(document, stage));
    }
    for stage in &document.serving {
        text.push_str(&section(stage));
    }
    text
}

/// A table measured elsewhere: which row for which SLA, its rows, what they say together.
fn rows(document: &Document) -> String {
    let mut text = format!("# {}\n\n", escaped(&table_report::title(document)));
    for (name, answer, _) in table_report::answers(document) {
        let _ = writeln!(text, "- **{}**: {}", escaped(&plain(&name)), escaped(&answer));
    }
    text.push('\n');
    let mut columns = table_report::columns(document);
    columns.extend(table_report::price_column(document));
    text.push_str(&table(&columns));
    text.push('\n');
    for statement in table_report::statements(document) {
        let _ = writeln!(text, "- {}", escaped(&statement));
    }
    text
}

fn section(stage: &Serving) -> String {
    let model = stage.model.as_deref().map_or_else(|| "unnamed model".into(), plain);
    let engine = stage.engine.as_ref().map(|engine| {
        let version = engine.version.as_deref().map(plain).unwrap_or_default();
        format!(" on {} {version}", plain(&engine.name)).trim_end().to_owned()
    });
    let endpoints: Vec<String> = stage.endpoint.iter().map(|url| plain(url)).collect();
    let target = format!("{model}{} at {}", engine.unwrap_or_default(), endpoints.join(", "));
    let mut text = format!("\n## {}\n\n{}\n\n", escaped(&plain(&stage.stage)), escaped(&target));
    let (group, label) = words::load_head(&stage.points);
    let loads = stage.points.iter().map(|point| words::load_short(&point.load)).collect();
    let mut columns = vec![Column::numbers(group, label, loads)];
    columns.extend(throughput_columns(&stage.points));
    columns.extend(latency_columns(&stage.points));
    columns.extend(crate::terminal::cost_column(&stage.points));
    let ok = stage.points.iter().map(|point| crate::quantity::count(point.requests.ok));
    columns.push(Column::numbers("", "ok", ok.collect()));
    let not_ok = stage.points.iter().map(|point| {
        let requests = &point.requests;
        let failures = requests.failed + requests.timed_out + requests.cut_short;
        crate::quantity::count(failures + requests.dropped)
    });
    columns.push(Column::numbers("", "not ok", not_ok.collect()));
    text.push_str(&table(&columns));
    for point in &stage.points {
        let load = format!("At {}: ", words::load_long(&point.load));
        for warning in &point.warnings {
            text.push_str(&warning_line(&load, &warning.message, &warning.advice));
        }
    }
    text
}

fn engine_section(document: &Document, stage: &EngineSummary) -> String {
    let cells: Vec<&EngineResult> =
        document.engine.iter().filter(|cell| cell.stage == stage.stage).collect();
    let model = stage.facts.as_ref().map(|facts| engine::model_words(&facts.model));
    let model = model.unwrap_or_else(|| "an engine that did not start".to_owned());
    let mut text = format!("\n## {}\n\n{}\n\n", escaped(&plain(&stage.stage)), escaped(&model));
    text.push_str(&table(&engine::columns(&cells)));
    for cell in cells {
        let place = format!("At batch {}, context {}: ", cell.cell.batch, cell.cell.context);
        for warning in &cell.warnings {
            text.push_str(&warning_line(&place, &warning.message, &warning.advice));
        }
        if let Some(why) = &cell.failed {
            text.push_str(&warning_line(&place, why, ""));
        }
    }
    text
}

fn storage_section(document: &Document, stage: &StorageSummary) -> String {
    let cells: Vec<&StorageResult> =
        document.storage.iter().filter(|cell| cell.stage == stage.stage).collect();
    let mut text = format!("\n## {}\n", escaped(&plain(&stage.stage)));
    for facts in &stage.filesystems {
        let words = storage::filesystem_words(facts).join("; ");
        let _ = writeln!(text, "\n{}: {}", escaped(&plain(&facts.path)), escaped(&words));
    }
    if stage.imported {
        text.push_str("\nImported: measured by another tool, not by Loadline.\n");
    }
    text.push('\n');
    for (name, answer, _) in storage::answers(stage, &cells) {
        let _ = writeln!(text, "- **{}**: {}", escaped(&name), escaped(&answer));
    }
    for columns in storage::tables(&cells) {
        let _ = writeln!(text, "\n{}", table(&columns).trim_end());
    }
    let notes: Vec<String> = storage::legend(&cells).into_iter().map(|n| escaped(&n)).collect();
    if !notes.is_empty() {
        let _ = writeln!(text, "\n{}", notes.join("; "));
    }
    for cell in &cells {
        let place = format!("{}: ", storage::place(&cells, cell));
        if let Some(why) = &cell.failed {
            text.push_str(&warning_line(&place, why, ""));
        }
        for warning in storage::told(cell) {
            text.push_str(&warning_line(&place, &warning.message, &warning.advice));
        }
    }
    text
}

fn warning_line(place: &str, message: &str, advice: &str) -> String {
    let advice = if advice.is_empty() { String::new() } else { format!(" → {}", plain(advice)) };
    let text = format!("{place}{}{advice}", plain(message));
    format!("\n> **Warning.** {}\n", escaped(text.trim()))
}

fn table(columns: &[Column]) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = row(columns.iter().map(|column| escaped(&column.title())).collect());
    text.push_str(&row(columns.iter().map(|_| "--:".to_owned()).collect()));
    let rows = columns.iter().map(|column| column.cells().len()).max().unwrap_or(0);
    for index in 0..rows {
        let cell = |column: &Column| column.cells().get(index).map(|c| escaped(c));
        text.push_str(&row(columns
            .iter()
            .map(|column| cell(column).unwrap_or_default())
            .collect()));
    }
    text
}

/// Text that Markdown takes as it is.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}
