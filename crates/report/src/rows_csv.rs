//! The rows of a table measured elsewhere as CSV, in base units, with what follows from them. Its
//! measured columns are read again by the same names.

use std::collections::BTreeSet;

use loadline_schema::document::Document;
use loadline_schema::verdict::{PointCost, Row};

/// A column: its name and the field of a row.
type Column = (String, Box<dyn Fn(&Row) -> Option<String>>);

/// A named price of a row.
type Price = (&'static str, fn(&PointCost) -> Option<f64>);

/// The columns of a document's rows. Of the loads only the kind that the rows have, of the latencies
/// only those that some row has.
pub(crate) fn columns(document: &Document) -> Vec<Column> {
    let rows = &document.rows;
    let mut columns: Vec<Column> = vec![if rows.iter().any(|row| row.load.rate_per_s.is_some()) {
        of_row("rate_per_s", |row| row.load.rate_per_s)
    } else {
        of_row("concurrency", |row| row.load.concurrency)
    }];
    columns.extend([
        of_row("requests_per_s", |row| row.requests_per_s),
        of_row("output_tokens_per_s", |row| row.output_tokens_per_s),
        of_row("output_tokens_per_s_per_user", |row| row.output_tokens_per_s_per_user),
        of_row("error_rate", |row| row.error_rate),
        of_row("watts", |row| row.watts),
    ]);
    let latencies: BTreeSet<(&String, &String)> = rows
        .iter()
        .flat_map(|row| &row.latency_ns)
        .flat_map(|(metric, figures)| figures.keys().map(move |statistic| (metric, statistic)))
        .collect();
    for (metric, statistic) in latencies {
        let name = format!("{metric}_{statistic}_ns");
        let (metric, statistic) = (metric.clone(), statistic.clone());
        let field =
            move |row: &Row| row.latency_ns.get(&metric)?.get(&statistic).map(ToString::to_string);
        columns.push((name, Box::new(field)));
    }
    columns.extend([
        of_row("in_flight", |row| row.in_flight),
        of_row("little_residual", |row| row.little_residual),
        of_row("fitted_per_s", |row| row.fitted_per_s),
        of_row("marginal", |row| row.marginal),
    ]);
    for name in document.sla.keys() {
        let (sla, of_goodput) = (name.clone(), name.clone());
        let inside = move |row: &Row| row.inside.get(&sla).map(ToString::to_string);
        let goodput = move |row: &Row| row.goodput_per_s.get(&of_goodput).map(ToString::to_string);
        columns.push((format!("inside_{name}"), Box::new(inside)));
        columns.push((format!("goodput_per_s_{name}"), Box::new(goodput)));
    }
    columns.extend(cost_columns());
    columns
}

fn cost_columns() -> Vec<Column> {
    let prices: [Price; 8] = [
        ("cost_per_mtok_output", |cost| cost.per_mtok_output),
        ("cost_per_mtok_total", |cost| cost.per_mtok_total),
        ("cost_per_request", |cost| cost.per_request),
        ("cost_per_hour", |cost| cost.per_hour),
        ("joules_per_output_token", |cost| cost.joules_per_output_token),
        ("joules_per_request", |cost| cost.joules_per_request),
        ("cost_at_duty_per_mtok_output", |cost| cost.at_duty_cycle.as_ref()?.per_mtok_output),
        ("cost_at_duty_per_hour", |cost| Some(cost.at_duty_cycle.as_ref()?.per_hour)),
    ];
    let mut columns =
        vec![of_row("cost_currency", |row| Some(row.cost.as_ref()?.currency.clone()))];
    for (name, pick) in prices {
        let field =
            move |row: &Row| row.cost.as_ref().and_then(pick).map(|value| value.to_string());
        columns.push((name.to_owned(), Box::new(field)));
    }
    columns
}

fn of_row<T: ToString + 'static>(name: &str, field: fn(&Row) -> Option<T>) -> Column {
    (name.to_owned(), Box::new(move |row: &Row| field(row).map(|value| value.to_string())))
}
