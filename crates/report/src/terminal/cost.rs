//! What it costs: the answer, a row for each load, what it rests on, what moves it, and what an
//! API takes for the same. The same for the points of a run and the rows of a table.

use std::borrow::Cow;

use loadline_schema::document::{
    Document, EngineResult, EngineSummary, Estimate, Point, PointLoad, Serving,
};
use loadline_schema::verdict::{Bill, BreakEven, CostReport, Figure, PointCost};

use super::{Page, engine, head, table_report};
use crate::quantity::{self, ABSENT};
use crate::style::{Style, Tone};
use crate::table::{Column, Table};
use crate::words::{self, plain};

/// Costs side by side, of a stage or of a table.
struct Costs<'a> {
    rows: Vec<(Cow<'a, PointLoad>, Option<&'a PointCost>)>,
    report: Option<&'a CostReport>,
}

impl<'a> Costs<'a> {
    fn of_stage(stage: &'a Serving) -> Self {
        let rows =
            stage.points.iter().map(|point| (Cow::Borrowed(&point.load), point.cost.as_ref()));
        Self { rows: rows.collect(), report: stage.cost.as_ref() }
    }

    fn of_table(document: &'a Document) -> Self {
        let rows = document.rows.iter().map(|row| (Cow::Borrowed(&row.load), row.cost.as_ref()));
        Self { rows: rows.collect(), report: document.cost.as_ref() }
    }

    fn of_engine(document: &'a Document, stage: &'a EngineSummary) -> Self {
        let cells: Vec<&EngineResult> =
            document.engine.iter().filter(|cell| cell.stage == stage.stage).collect();
        let rows = cells.iter().map(|cell| {
            let setting = Some(engine::place(&cells, cell));
            let arrival = "engine".to_owned();
            let load = PointLoad { setting, arrival, ..PointLoad::default() };
            (Cow::Owned(load), cell.cost.as_ref())
        });
        Self { rows: rows.collect(), report: stage.cost.as_ref() }
    }

    fn all(&self) -> impl Iterator<Item = &'a PointCost> {
        self.rows.iter().filter_map(|(_, cost)| *cost)
    }

    /// The cost where the report was computed.
    fn at(&self) -> Option<&'a PointCost> {
        let at = &self.report?.at;
        self.rows.iter().find(|(load, _)| **load == *at).and_then(|(_, cost)| *cost)
    }

    /// "0.842 EUR per million output tokens at concurrency 16 …": the answer in one sentence.
    fn answer(&self) -> Option<String> {
        let (report, cost) = (self.report?, self.at()?);
        let at_duty = cost.at_duty_cycle.as_ref();
        let prices = [
            (
                "million output tokens",
                cost.per_mtok_output,
                at_duty.and_then(|b| b.per_mtok_output),
            ),
            (
                "million requests",
                cost.per_request.map(per_million),
                at_duty.and_then(|b| b.per_request).map(per_million),
            ),
            ("hour", cost.per_hour, at_duty.map(|b| b.per_hour)),
        ];
        let (unit, full, duty) =
            prices.into_iter().find_map(|(unit, full, duty)| Some((unit, full?, duty)))?;
        let currency = plain(&report.currency);
        let money = |amount| format!("{} {currency}", quantity::number(amount));
        let load = words::load_long(&report.at);
        let text = format!("{} per {unit} at {load}, under load all the time", money(full));
        Some(match duty.zip(at_duty) {
            Some((price, bill)) => {
                let share = quantity::percent(bill.duty_cycle);
                format!("{text}; {} under load {share} of the time.", money(price))
            }
            None => text + ".",
        })
    }
}

/// The cost of a table in one sentence, where it is priced.
pub(super) fn answer_of_table(document: &Document) -> Option<String> {
    Costs::of_table(document).answer()
}

/// The prices of a document alone: the answer first, then what it rests on.
pub fn cost_terminal(document: &Document, style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    head::run(&mut page, document);
    for stage in &document.engine_stages {
        engine::head(&mut page, document, stage);
        whole(&mut page, &Costs::of_engine(document, stage), document);
    }
    for stage in &document.serving {
        head::stage(&mut page, stage, document.serving.len() > 1);
        whole(&mut page, &Costs::of_stage(stage), document);
    }
    if !document.rows.is_empty() {
        page.hanging("", "", &table_report::title(document), Tone::Strong);
        whole(&mut page, &Costs::of_table(document), document);
    }
    head::footer(&mut page, document);
    page.text
}

fn whole(page: &mut Page, costs: &Costs<'_>, document: &Document) {
    page.blank();
    match costs.answer() {
        Some(answer) => page.paragraph(&answer, 0, Tone::Strong),
        None => page.paragraph("No point could be priced: none has a rate.", 0, Tone::Bad),
    }
    for warning in document.warnings.iter().filter(|w| CODES.contains(&w.code.as_str())) {
        page.hanging("! ", "  ", &plain(&warning.message), Tone::Warning);
        page.hanging("  → ", "    ", &plain(&warning.advice), Tone::Plain);
    }
    sections(page, costs);
}

/// Cost per million output tokens of each point; nothing where no point has one.
pub(crate) fn cost_column(points: &[Point]) -> Option<Column> {
    let price = |point: &Point| point.cost.as_ref().and_then(|cost| cost.per_mtok_output);
    let cells = points.iter().map(|point| told(price(point))).collect();
    let currency = points.iter().find_map(|point| Some(plain(&point.cost.as_ref()?.currency)))?;
    let column = Column::numbers(&format!("{currency} per"), "Mtok output", cells);
    column.has_content(&[ABSENT]).then_some(column)
}

/// Warnings that are about costs.
const CODES: [&str; 5] =
    ["idle_power_assumed", "no_break_even", "no_power", "no_tokens", "tokens_differ"];

/// The costs of a stage, for a report with more in it; nothing where nothing is priced.
pub(super) fn section(page: &mut Page, stage: &Serving) {
    sections(page, &Costs::of_stage(stage));
}

/// The costs of a table, likewise.
pub(super) fn section_of_table(page: &mut Page, document: &Document) {
    sections(page, &Costs::of_table(document));
}

fn sections(page: &mut Page, costs: &Costs<'_>) {
    let Some(first) = costs.all().next() else { return };
    let currency = plain(&first.currency);
    prices(page, costs, &currency);
    let Some(report) = costs.report else { return };
    foundations(page, report);
    sensitivity(page, costs, report, &currency);
    break_even(page, report, &currency);
}

/// Where the power is from.
fn power(costs: &Costs<'_>) -> String {
    let mut sources: Vec<&str> =
        costs.all().filter_map(|cost| cost.power_source.as_deref()).collect();
    sources.sort_unstable();
    sources.dedup();
    match sources[..] {
        [] => String::new(),
        ["stated"] => "; power as stated".to_owned(),
        _ => format!("; power: {}", plain(&sources.join(" and "))),
    }
}

/// A named price of a point.
type Price = (&'static str, &'static str, fn(&PointCost) -> Option<f64>);
/// A named price at the duty cycle.
type DutyPrice = (&'static str, &'static str, fn(&Bill) -> Option<f64>);

fn prices(page: &mut Page, costs: &Costs<'_>, currency: &str) {
    page.heading("Cost", &format!("in {currency}{}", power(costs)));
    let full: [Price; 7] = [
        ("per million", "output tokens", |cost| cost.per_mtok_output),
        ("per million", "tokens", |cost| cost.per_mtok_total),
        ("per million", "requests", |cost| cost.per_request.map(per_million)),
        ("per", "hour", |cost| cost.per_hour),
        ("energy, J per", "output token", |cost| cost.joules_per_output_token),
        ("energy, J per", "request", |cost| cost.joules_per_request),
        ("power", "W", |cost| cost.watts),
    ];
    let at_duty: [DutyPrice; 4] = [
        ("per million", "output tokens", |bill| bill.per_mtok_output),
        ("per million", "tokens", |bill| bill.per_mtok_total),
        ("per million", "requests", |bill| bill.per_request.map(per_million)),
        ("per", "hour", |bill| Some(bill.per_hour)),
    ];
    let cells = |pick: &dyn Fn(&PointCost) -> Option<f64>| -> Vec<String> {
        let cell = |cost: Option<&PointCost>| cost.and_then(pick);
        costs.rows.iter().map(|(_, cost)| told(cell(*cost))).collect()
    };
    let loads: Vec<&PointLoad> = costs.rows.iter().map(|(load, _)| load.as_ref()).collect();
    let mut columns = vec![load_column(&loads)];
    let has_duty = costs.all().find_map(|cost| cost.at_duty_cycle.as_ref());
    for (group, label, pick) in full {
        columns.push(Column::numbers(group, label, cells(&pick)));
    }
    if let Some(bill) = has_duty {
        let share = quantity::percent(bill.duty_cycle);
        for (group, label, pick) in at_duty {
            let pick = |cost: &PointCost| cost.at_duty_cycle.as_ref().and_then(pick);
            let group = format!("at {share}, {group}");
            columns.push(Column::numbers(&group, label, cells(&pick)));
        }
    }
    let key = columns.remove(0);
    columns.retain(|column| column.has_content(&[ABSENT]));
    columns.insert(0, key);
    page.table(&Table::new(columns));
    let mut notes = vec!["J: of the machines, without PUE".to_owned()];
    notes.extend(has_duty.map(|bill| {
        let share = quantity::percent(bill.duty_cycle);
        format!("at {share}: under load {share} of the hours, the rest is paid idle")
    }));
    page.paragraph(&notes.join(" · "), 0, Tone::Faint);
}

/// Prices of single requests are too small to read.
fn per_million(price: f64) -> f64 {
    price * 1e6
}

fn told(value: Option<f64>) -> String {
    value.map_or(ABSENT.into(), quantity::number)
}

fn load_column(loads: &[&PointLoad]) -> Column {
    let (group, label) = match loads.first() {
        Some(PointLoad { setting: Some(_), .. }) => ("", "cell"),
        Some(PointLoad { concurrency: Some(_), .. }) => ("", "concurrency"),
        Some(PointLoad { rate_per_s: Some(_), .. }) => ("offered", "requests/s"),
        Some(PointLoad { burst: Some(_), .. }) => ("", "burst"),
        _ => ("", "load"),
    };
    let cells = loads.iter().map(|load| words::load_short(load)).collect();
    Column::numbers(group, label, cells).toned(Tone::Strong)
}

/// What was measured and what was not, apart.
fn foundations(page: &mut Page, report: &CostReport) {
    let place = format!("at {}", words::load_long(&report.at));
    page.heading("Cost rests on: measured", &place);
    figures(page, &report.measured, true);
    page.heading("Cost rests on: stated or assumed", "");
    figures(page, &report.assumed, false);
    let shares =
        [("electricity", "electricity"), ("hardware.price", "hardware"), ("other", "other costs")];
    let is_stated = |name: &str| report.assumed.iter().any(|figure| figure.name == name);
    let missing: Vec<&str> =
        shares.iter().filter(|(name, _)| !is_stated(name)).map(|(_, words)| *words).collect();
    if !missing.is_empty() {
        let text = format!("Not stated, so without a share in the cost: {}.", missing.join(", "));
        page.paragraph(&text, 0, Tone::Faint);
    }
}

fn figures(page: &mut Page, figures: &[Figure], is_measured: bool) {
    let names = figures.iter().map(|figure| figure_name(&figure.name)).collect();
    let cells: Vec<(String, String)> =
        figures.iter().map(|figure| figure_cells(figure, is_measured)).collect();
    let (values, units) = cells.into_iter().unzip();
    let note = |figure: &Figure| if figure.is_default { "default" } else { "" };
    let notes = figures.iter().map(|figure| note(figure).to_owned()).collect();
    let mut columns =
        vec![Column::words("", names), Column::numbers("", "", values), Column::words("", units)];
    let notes = Column::words("", notes).toned(Tone::Warning);
    columns.extend(notes.has_content(&[""]).then_some(notes));
    // Without heads a table's first line is empty.
    for line in Table::new(columns).lines(page.style).into_iter().skip_while(String::is_empty) {
        page.line(&line);
    }
}

/// Number and unit of a figure.
fn figure_cells(figure: &Figure, is_measured: bool) -> (String, String) {
    if figure.unit == "ratio" {
        let text = quantity::percent(figure.value);
        let number = text.trim_end_matches(" %").to_owned();
        return (number, "%".to_owned());
    }
    let Figure { value, low, high, .. } = *figure;
    let number = if is_measured {
        quantity::estimate(&Estimate { value, low, high, n: 0 }, quantity::number)
    } else {
        quantity::stated(value)
    };
    (number, plain(&figure.unit))
}

/// A figure's or an assumption's name in words.
fn figure_name(name: &str) -> String {
    let known = match name {
        "requests_per_s" => "requests",
        "output_tokens_per_s" => "output tokens",
        "total_tokens_per_s" => "prompt and output tokens",
        "input_tokens_per_request" => "prompt tokens per request",
        "output_tokens_per_request" => "output tokens per request",
        "watts" => "power under load",
        "idle_watts" => "power without load",
        "electricity" => "electricity",
        "pue" => "PUE",
        "hardware.price" => "hardware price",
        "hardware.years" => "years in use",
        "hardware.residual" => "residual value",
        "duty_cycle" => "duty cycle",
        "other" => "other costs",
        _ => return plain(name),
    };
    known.to_owned()
}

fn sensitivity(page: &mut Page, costs: &Costs<'_>, report: &CostReport, currency: &str) {
    if report.sensitivity.is_empty() {
        return;
    }
    let at_duty = |cost: &PointCost| cost.at_duty_cycle.as_ref().and_then(|b| b.per_mtok_output);
    let base = costs.at().and_then(|cost| at_duty(cost).or(cost.per_mtok_output));
    let now = base.map_or(String::new(), |base| format!(", as stated {}", quantity::number(base)));
    let note = format!("{currency} per million output tokens{now}; if one were 20 % off:");
    page.heading("Sensitivity", &note);
    let all = &report.sensitivity;
    let column = |label: &str, pick: fn(&loadline_schema::verdict::Sensitivity) -> f64| {
        Column::numbers("", label, all.iter().map(|s| quantity::number(pick(s))).collect())
    };
    page.table(&Table::new(vec![
        Column::words("assumption", all.iter().map(|s| figure_name(&s.name)).collect()),
        column("−20 %", |s| s.at_minus_20),
        column("+20 %", |s| s.at_plus_20),
    ]));
}

fn break_even(page: &mut Page, report: &CostReport, currency: &str) {
    if report.break_even.is_empty() {
        return;
    }
    page.heading("Against an API", &format!("the same requests, in {currency} per hour"));
    let all = &report.break_even;
    let column = |label: &str, pick: fn(&BreakEven) -> f64| {
        Column::numbers("", label, all.iter().map(|b| quantity::number(pick(b))).collect())
    };
    page.table(&Table::new(vec![
        Column::words("API", all.iter().map(|b| words::cut(&plain(&b.name), 30)).collect()),
        column("takes", |b| b.api_per_hour),
        column("own bill", |b| b.our_per_hour),
        Column::words("own is cheaper", all.iter().map(cheaper).collect()),
    ]));
}

fn cheaper(break_even: &BreakEven) -> String {
    match break_even.duty_cycle {
        Some(d) if d <= 0.0 => "always".to_owned(),
        Some(d) => format!("from a duty cycle of {} on", quantity::percent(d)),
        None => "never".to_owned(),
    }
}
