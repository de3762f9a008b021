//! A table measured elsewhere: Little's law, the scalability fit, which rows keep each SLA, and
//! what they cost. A table tells no number of requests, so nothing here has an interval.

mod checks;
mod judged;
mod priced;

use std::collections::BTreeMap;

use loadline_schema::SCHEMA_VERSION;
use loadline_schema::cost::CostPlan;
use loadline_schema::document::Document;
use loadline_schema::event::Warning;
use loadline_schema::sla::Sla;
use loadline_schema::table_file::{TableFile, TableRow};
use loadline_schema::verdict::{Row, Scalability};

use crate::input::without_repeats;
use crate::pareto::pareto;
use crate::scalability::{fitted_per_s, scalability};

/// Key of [`Document::choice`] for the row with the most requests/s of all.
pub const THROUGHPUT: &str = "throughput";

/// What is known beside the table.
#[derive(Debug, Clone, Copy, Default)]
pub struct TableSettings<'a> {
    /// Targets, each with a name of its own other than [`THROUGHPUT`].
    pub sla: &'a [Sla],
    /// What prices are computed from; its `watts` are in the order of the rows.
    pub cost: Option<&'a CostPlan>,
    /// Mean output tokens of a request, as stated.
    pub output_tokens: Option<f64>,
    /// Mean prompt tokens of a request, as stated.
    pub input_tokens: Option<f64>,
}

/// The document of a table: its rows in their order with everything that follows from them.
///
/// An SLA with a term of which no row has a figure is not judged, and a warning `sla_not_judged`
/// names the term.
pub fn analyze_table(table: &TableFile, settings: &TableSettings<'_>) -> Document {
    let mut warnings = table.warnings.clone();
    warnings.extend(checks::figures(table));
    let mut rows: Vec<Row> = table.rows.iter().map(|row| row.row.clone()).collect();
    warnings.extend(token_rates(&mut rows, settings.output_tokens));
    let little = checks::little(table, &mut rows);
    warnings.extend(checks::little_warning(&rows, little.as_ref()));
    let fit = scalability(&concurrencies(&rows));
    scale(&mut rows, fit.as_ref());
    warnings.extend(checks::fit_warning(&rows, fit.as_ref()));
    warnings.extend(checks::saturated(&rows));
    warnings.extend(settings.sla.iter().filter_map(|sla| judged::judge(table, &mut rows, sla)));
    let choice = choice(&rows, settings.sla);
    let (cost, of_cost) = priced::price(table, &mut rows, settings, &choice);
    warnings.extend(of_cost);
    let terms = |sla: &Sla| sla.terms.iter().map(ToString::to_string).collect();
    Document {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        sla: settings.sla.iter().map(|sla| (sla.name.clone(), terms(sla))).collect(),
        pareto: best_for_both(&rows),
        choice,
        scalability: fit,
        little,
        cost,
        rows,
        warnings: without_repeats(warnings),
        ..Document::default()
    }
}

/// Fills output tokens/s from the stated tokens of a request where the table has none.
fn token_rates(rows: &mut [Row], stated: Option<f64>) -> Option<Warning> {
    let tokens = stated?;
    let mut contradicted = None;
    for row in rows {
        let Some(requests) = row.requests_per_s else { continue };
        let implied = requests * tokens;
        let told = *row.output_tokens_per_s.get_or_insert(implied);
        if (told - implied).abs() > implied * 0.05 {
            contradicted = contradicted.or(Some((told, requests)));
        }
    }
    let (told, requests) = contradicted?;
    let message = format!(
        "{tokens} output tokens per request were stated, but the table has {told:.0} output tokens/s \
         at {requests} requests/s, which is {:.0} per request: the table's figure was taken",
        told / requests
    );
    let advice = "leave the statement out, or correct it";
    Some(Warning::new("tokens_differ", message, advice))
}

/// Concurrency and requests/s of rows that have both.
fn concurrencies(rows: &[Row]) -> Vec<(f64, f64)> {
    rows.iter()
        .filter_map(|row| Some((row.load.concurrency? as f64, row.requests_per_s?)))
        .collect()
}

/// Places of the rows from the smallest load up.
fn by_load(rows: &[Row]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| size(&rows[*a]).total_cmp(&size(&rows[*b])));
    order
}

/// The load as a number.
fn size(row: &Row) -> f64 {
    row.load.concurrency.map_or_else(|| row.load.rate_per_s.unwrap_or(0.0), |n| n as f64)
}

/// Fitted and marginal requests/s of rows with a concurrency.
fn scale(rows: &mut [Row], fit: Option<&Scalability>) {
    let order = by_load(rows);
    let slots = |row: &Row| Some((row.load.concurrency? as f64, row.requests_per_s?));
    let first = order.first().and_then(|at| slots(&rows[*at]));
    let Some((n, x)) = first.filter(|(_, x)| *x > 0.0) else { return };
    let first_of_slot = x / n;
    let mut below = (0.0, 0.0);
    for at in order {
        let Some((n, x)) = slots(&rows[at]) else { continue };
        rows[at].marginal = Some((x - below.1) / (n - below.0) / first_of_slot);
        rows[at].fitted_per_s = fit.map(|fit| fitted_per_s(fit, n));
        below = (n, x);
    }
}

/// The row with the most requests/s inside each SLA, and of all rows. Of equal ones that of the
/// smallest load.
fn choice(rows: &[Row], slas: &[Sla]) -> BTreeMap<String, usize> {
    let order = by_load(rows);
    let most = |is_in: &dyn Fn(&Row) -> bool| {
        let rates = order.iter().filter(|at| is_in(&rows[**at]));
        let rates = rates.filter_map(|at| Some((rows[*at].requests_per_s?, *at)));
        rates.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, at)| at)
    };
    let inside = |sla: &Sla| most(&|row: &Row| row.inside.get(&sla.name) == Some(&true));
    let mut choice: BTreeMap<String, usize> =
        slas.iter().filter_map(|sla| Some((sla.name.clone(), inside(sla)?))).collect();
    choice.extend(most(&|_| true).map(|at| (THROUGHPUT.to_owned(), at)));
    choice
}

/// The Pareto set of throughput in total and per user: of output tokens where every row has both
/// figures, else of requests, where one user gets 1 / mean E2E, or the total ÷ concurrency.
fn best_for_both(rows: &[Row]) -> Vec<usize> {
    let tokens = |row: &Row| Some((row.output_tokens_per_s?, row.output_tokens_per_s_per_user?));
    let requests = |row: &Row| {
        let mean = e2e_mean_ns(row).filter(|ns| *ns > 0.0).map(|ns| 1e9 / ns);
        let total = row.requests_per_s?;
        Some((total, mean.or_else(|| Some(total / row.load.concurrency? as f64))?))
    };
    let all = |figures: &dyn Fn(&Row) -> Option<(f64, f64)>| {
        rows.iter().map(figures).collect::<Option<Vec<_>>>()
    };
    all(&tokens).or_else(|| all(&requests)).map(|points| pareto(&points)).unwrap_or_default()
}

fn e2e_mean_ns(row: &Row) -> Option<f64> {
    row.latency_ns.get("e2e")?.get("mean").copied()
}

/// The load of a row in words.
fn named(row: &Row) -> String {
    match row.load.concurrency {
        Some(n) => format!("concurrency {n}"),
        None => format!("{} requests/s offered", size(row)),
    }
}

/// Whether any row has a figure.
fn any_has(table: &TableFile, figure: impl Fn(&TableRow) -> Option<f64>) -> bool {
    table.rows.iter().any(|row| figure(row).is_some())
}
