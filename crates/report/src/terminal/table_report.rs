//! A table measured elsewhere: which row for which SLA, then the rows with what follows from them,
//! then what they say together.

use loadline_schema::document::{Document, PointLoad};
use loadline_schema::verdict::{PointCost, Row};

use super::scalability::{pareto, scaling};
use super::{Page, caveats, cost};
use crate::quantity::{self, ABSENT, DurationUnit};
use crate::style::Tone;
use crate::table::{Column, Table};
use crate::words::{self, plain};

/// Key of the choice without an SLA.
const THROUGHPUT: &str = "throughput";
/// Columns of the names on the left.
const NAMES: usize = 12;
/// Columns that a name takes at most.
const NAME_MOST: usize = 20;
/// Rows up to which figures of all rows are listed in a sentence.
const LISTED: usize = 8;
/// Digits of products: one more than of their factors, so that they can be checked by hand.
const PRODUCT_DIGITS: usize = 4;

/// Metrics and statistics in the order of columns.
const METRICS: [(&str, &str); 6] = [
    ("ttft", "TTFT"),
    ("ttfo", "TTFO"),
    ("itl", "ITL"),
    ("tpot", "TPOT"),
    ("e2e", "E2E"),
    ("max_gap", "longest gap"),
];
const STATISTICS: [(&str, &str); 7] = [
    ("mean", "mean"),
    ("p50", "P50"),
    ("p90", "P90"),
    ("p95", "P95"),
    ("p99", "P99"),
    ("p999", "P99.9"),
    ("max", "max"),
];

pub(super) fn section(page: &mut Page, document: &Document) {
    page.hanging("", "", &title(document), Tone::Strong);
    page.blank();
    for (name, text, is_missed) in answers(document) {
        let tone = if is_missed { Tone::Bad } else { Tone::Plain };
        let name = words::cut(&plain(&name), NAME_MOST);
        let gap = NAMES.saturating_sub(words::columns(&name)).max(2);
        let first = name + &" ".repeat(gap);
        page.hanging(&first, &" ".repeat(NAMES), &text, tone);
    }
    if let Some(text) = cost::answer_of_table(document) {
        page.hanging(&format!("{:NAMES$}", "Cost"), &" ".repeat(NAMES), &text, Tone::Plain);
    }
    caveats::of_run(page, document);
    page.heading("Rows", "");
    page.table(&Table::new(columns(document)));
    let notes = notes(document);
    if !notes.is_empty() {
        page.paragraph(&notes.join(" · "), 0, Tone::Faint);
    }
    let statements = statements(document);
    if !statements.is_empty() {
        page.heading("What the rows say together", "");
        for statement in statements {
            page.hanging("- ", "  ", &statement, Tone::Plain);
        }
    }
    cost::section_of_table(page, document);
    page.blank();
    let note = "A table does not tell how many requests are behind a row: its figures are taken as \
                they are, and no result has an interval. Formulas: METRICS.md.";
    page.paragraph(note, 0, Tone::Faint);
}

/// "Table of 4 rows, concurrency 1 to 64".
pub(crate) fn title(document: &Document) -> String {
    let rows = &document.rows;
    let count = words::counted(rows.len() as u64, "row", "rows");
    let size = |row: &&Row| row.load.rate_per_s.or(row.load.concurrency.map(|n| n as f64));
    let by = |a: &&Row, b: &&Row| size(a).unwrap_or(0.0).total_cmp(&size(b).unwrap_or(0.0));
    let ends = rows.iter().min_by(by).zip(rows.iter().max_by(by));
    match ends {
        Some((least, most)) if rows.len() > 1 => {
            let (least, most) = (words::load_short(&least.load), words::load_short(&most.load));
            let what = if is_closed(rows) { "concurrency" } else { "offered requests/s" };
            format!("Table of {count}, {what} {least} to {most}")
        }
        Some((one, _)) => format!("Table of {count}, {}", words::load_long(&one.load)),
        None => "Table without rows".to_owned(),
    }
}

fn is_closed(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.load.concurrency.is_some())
}

/// For each SLA and for throughput alone: its name, the chosen row in words, and whether none fits.
pub(crate) fn answers(document: &Document) -> Vec<(String, String, bool)> {
    let mut answers = Vec::new();
    for (name, terms) in &document.sla {
        let terms = plain(&terms.join(", "));
        let chosen = document.choice.get(name).and_then(|at| document.rows.get(*at));
        let is_judged = document.rows.iter().any(|row| row.inside.contains_key(name));
        let text = match chosen {
            Some(row) => format!("{} ({terms}{})", chosen_row(row), room(document, row, name)),
            None if is_judged => format!("no row keeps {terms}"),
            None => format!("not judged, see below ({terms})"),
        };
        let name = if name == "default" { "SLA".to_owned() } else { name.clone() };
        answers.push((name, text, chosen.is_none()));
    }
    if let Some(row) = document.choice.get(THROUGHPUT).and_then(|at| document.rows.get(*at)) {
        let text = format!("{}, whatever the latency{}", chosen_row(row), latencies_of(row));
        answers.push(("Throughput".to_owned(), text, false));
    }
    answers
}

/// "concurrency 4: 8.10 requests/s, 3.60 EUR per million output tokens".
fn chosen_row(row: &Row) -> String {
    let requests = row.requests_per_s.map_or(ABSENT.into(), quantity::number);
    let load = words::load_long(&row.load);
    let load = if row.load.rate_per_s.is_some() { format!("{load} offered") } else { load };
    let price = row.cost.as_ref().and_then(price).map(|text| format!(", {text}"));
    format!("{load}: {requests} requests/s{}", price.unwrap_or_default())
}

fn price(cost: &PointCost) -> Option<String> {
    let currency = plain(&cost.currency);
    let per =
        |amount: f64, unit: &str| format!("{} {currency} per {unit}", quantity::number(amount));
    cost.per_mtok_output
        .map(|amount| per(amount, "million output tokens"))
        .or_else(|| cost.per_request.map(|amount| per(amount * 1e6, "million requests")))
        .or_else(|| cost.per_hour.map(|amount| per(amount, "hour")))
}

/// What the next larger row would do: "; concurrency 16 misses it".
fn room(document: &Document, chosen: &Row, name: &str) -> String {
    let size = |row: &Row| row.load.rate_per_s.or(row.load.concurrency.map(|n| n as f64));
    let above = |row: &&Row| size(row) > size(chosen) && row.inside.contains_key(name);
    let next = document
        .rows
        .iter()
        .filter(above)
        .min_by(|a, b| size(a).unwrap_or(0.0).total_cmp(&size(b).unwrap_or(0.0)));
    match next {
        Some(row) if row.inside.get(name) == Some(&false) => {
            format!("; {} misses it", words::load_long(&row.load))
        }
        Some(_) => String::new(),
        None => "; no larger load was measured".to_owned(),
    }
}

/// " (E2E mean 2.19 s, P99 3.10 s)".
fn latencies_of(row: &Row) -> String {
    let Some(figures) = row.latency_ns.get("e2e") else { return String::new() };
    let told: Vec<String> = STATISTICS
        .iter()
        .filter(|(key, _)| matches!(*key, "mean" | "p99"))
        .filter_map(|(key, label)| {
            Some(format!("{label} {}", quantity::duration(*figures.get(*key)?)))
        })
        .collect();
    if told.is_empty() { String::new() } else { format!(" (E2E {})", told.join(", ")) }
}

/// Every column of the rows that has something in it.
pub(crate) fn columns(document: &Document) -> Vec<Column> {
    let rows = &document.rows;
    let number = |group: &str, label: &str, pick: fn(&Row) -> Option<f64>| {
        let cell = |row: &Row| pick(row).map_or(ABSENT.into(), quantity::number);
        Column::numbers(group, label, rows.iter().map(cell).collect())
    };
    let share = |group: &str, label: &str, pick: fn(&Row) -> Option<f64>| {
        let cell = |row: &Row| pick(row).map_or(ABSENT.into(), quantity::percent);
        Column::numbers(group, label, rows.iter().map(cell).collect())
    };
    let product =
        |row: &Row| row.in_flight.map_or(ABSENT.into(), |n| quantity::digits(n, PRODUCT_DIGITS));
    let mut columns = vec![
        number("requests", "per s", |row| row.requests_per_s),
        number("output tokens/s", "total", |row| row.output_tokens_per_s),
        number("output tokens/s", "per user", |row| row.output_tokens_per_s_per_user),
        share("", "errors", |row| row.error_rate),
    ];
    columns.extend(latency_columns(rows));
    columns.extend([
        Column::numbers("Little's law", "X·R", rows.iter().map(product).collect()),
        share("Little's law", "off by", |row| row.little_residual),
        share("added", "per slot", |row| row.marginal),
        number("fitted", "per s", |row| row.fitted_per_s),
    ]);
    columns.extend(document.sla.keys().map(|name| inside_column(rows, name)));
    columns.push(number("power", "W", |row| row.watts));
    columns.retain(|column| column.has_content(&[ABSENT]));
    columns.insert(0, load_column(rows));
    columns
}

/// Cost per million output tokens, where the rows are priced.
pub(crate) fn price_column(document: &Document) -> Option<Column> {
    let cell = |row: &Row| {
        let price = row.cost.as_ref().and_then(|cost| cost.per_mtok_output);
        price.map_or(ABSENT.into(), quantity::number)
    };
    let column =
        Column::numbers("cost per", "Mtok output", document.rows.iter().map(cell).collect());
    column.has_content(&[ABSENT]).then_some(column)
}

fn load_column(rows: &[Row]) -> Column {
    let cells = rows.iter().map(|row| words::load_short(&row.load)).collect();
    let (group, label) = match rows.first().map(|row| &row.load) {
        Some(PointLoad { rate_per_s: Some(_), .. }) => ("offered", "requests/s"),
        _ => ("", "concurrency"),
    };
    Column::numbers(group, label, cells).toned(Tone::Strong)
}

fn latency_columns(rows: &[Row]) -> Vec<Column> {
    let mut columns = Vec::new();
    for (metric, name) in METRICS {
        let figure = |row: &Row, key: &str| row.latency_ns.get(metric)?.get(key).copied();
        let all = rows.iter().filter_map(|row| row.latency_ns.get(metric));
        let unit = DurationUnit::fitting(all.flat_map(|figures| figures.values().copied()));
        for (key, label) in STATISTICS {
            let cell = |row: &Row| figure(row, key).map_or(ABSENT.into(), |ns| unit.number(ns));
            let cells = rows.iter().map(cell).collect();
            columns.push(Column::numbers(&format!("{name}, {}", unit.name), label, cells));
        }
    }
    columns
}

fn inside_column(rows: &[Row], name: &str) -> Column {
    let cell = |row: &Row| match row.inside.get(name) {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => ABSENT.to_owned(),
    };
    let label = if name == "default" { "SLA" } else { name };
    let label = words::cut(&plain(label), 16);
    Column::numbers("inside", &label, rows.iter().map(cell).collect())
}

fn notes(document: &Document) -> Vec<&'static str> {
    let any = |is_there: fn(&Row) -> bool| document.rows.iter().any(is_there);
    let mut notes = Vec::new();
    if any(|row| row.in_flight.is_some()) {
        notes.push("X·R: requests/s × mean E2E, which Little's law says are in flight");
    }
    if any(|row| row.marginal.is_some()) {
        notes.push("added: requests/s of each slot more than in the row before, against the first");
    }
    if any(|row| row.fitted_per_s.is_some()) {
        notes.push("fitted: by the scalability law");
    }
    notes
}

/// Little's law, diminishing returns, the fit, the Pareto set: one sentence each.
pub(crate) fn statements(document: &Document) -> Vec<String> {
    let mut statements = Vec::new();
    statements.extend(little(document));
    statements.extend(returns(&document.rows));
    let loads: Vec<&PointLoad> = document.rows.iter().map(|row| &row.load).collect();
    statements.extend(document.scalability.as_ref().map(|fit| scaling(fit, &loads)));
    statements.extend(pareto("row", &document.pareto, &loads));
    statements
}

fn little(document: &Document) -> Option<String> {
    let law = document.little.as_ref()?;
    let verb = if law.holds { "obey" } else { "do not obey" };
    let rows = &document.rows;
    let figures = if law.product.len() <= LISTED && law.product.len() == rows.len() {
        let products: Vec<String> =
            law.product.iter().map(|n| quantity::digits(*n, PRODUCT_DIGITS)).collect();
        let loads: Vec<String> = rows.iter().map(|row| words::load_short(&row.load)).collect();
        format!(" = {}, at concurrency {}", products.join(", "), loads.join(", "))
    } else {
        " is the concurrency".to_owned()
    };
    Some(format!(
        "The rows {verb} Little's law: requests/s × mean E2E{figures}; at most {} apart, {} allowed \
         (2 % and the rounding of their digits).",
        quantity::percent(law.residual_max),
        quantity::percent(law.allowed)
    ))
}

/// What each added slot brings from row to row, from the smallest load up.
fn returns(rows: &[Row]) -> Option<String> {
    let mut known: Vec<(u64, f64)> =
        rows.iter().filter_map(|row| Some((row.load.concurrency?, row.marginal?))).collect();
    known.sort_by_key(|(slots, _)| *slots);
    let added = known.get(1..).filter(|added| !added.is_empty() && added.len() < LISTED)?;
    let falls = known.windows(2).all(|pair| pair[1].1 < pair[0].1);
    let start = if falls { "Diminishing returns: a" } else { "A" };
    let told = |(at, (slots, share)): (usize, &(u64, f64))| {
        let unit = if at == 0 { "concurrency " } else { "" };
        format!("{} up to {unit}{slots}", quantity::percent(*share))
    };
    let shares: Vec<String> = added.iter().enumerate().map(told).collect();
    let first = known[0].0;
    let of = if first == 1 { "the first".to_owned() } else { format!("one of the first {first}") };
    Some(format!("{start} slot added brings {} of the requests/s of {of}.", shares.join(", ")))
}
