//! The points as CSV (RFC 4180, but lines end in LF): one row for each point, base units, the same
//! columns for every run. An absent value is an empty field.

use loadline_schema::document::{Distribution, Document, Estimate, OutcomeCounts, Point, Serving};
use loadline_schema::outcome::ErrorKind;
use loadline_schema::verdict::Bill;

/// A column: its name and the field of a point.
pub(crate) type Column = (String, Box<dyn Fn(&Document, &Serving, &Point) -> Option<String>>);

/// A named count of outcomes.
type Count = (&'static str, fn(&OutcomeCounts) -> u64);
/// A named rate of a point.
type Rate = (&'static str, fn(&Point) -> Option<Estimate>);
/// A named part of a rate.
type RatePart = (&'static str, fn(Estimate) -> Option<f64>);
/// A named latency of a point.
type Latency = (&'static str, fn(&Point) -> Option<&Distribution>);
/// A named statistic of a latency.
type Statistic = (&'static str, fn(&Distribution) -> Option<String>);

/// One row for each point of each serving stage, after a line with the names of the columns.
/// Of a table measured elsewhere one row for each of its rows, of an engine's grid and of storage one for
/// each cell, of a server's own histograms one for each of them. A run with several of these has as many
/// tables, apart by an empty line.
pub fn csv(document: &Document) -> String {
    if !document.rows.is_empty() {
        return table(&crate::rows_csv::columns(document), document.rows.iter());
    }
    let mut tables = Vec::new();
    if !document.engine.is_empty() {
        tables.push(table(&crate::engine_csv::columns(), document.engine.iter()));
    }
    if !document.storage.is_empty() {
        tables.push(table(&crate::storage_csv::columns(), document.storage.iter()));
    }
    if !document.latency.is_empty() {
        tables.push(table(&crate::latency_csv::columns(document), document.latency.iter()));
    }
    if !document.serving.is_empty() || tables.is_empty() {
        tables.push(of_points(document));
    }
    tables.join("\n")
}

fn of_points(document: &Document) -> String {
    let columns = columns();
    let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
    let mut text = names.join(",") + "\n";
    for stage in &document.serving {
        for point in &stage.points {
            let fields = columns.iter().map(|(_, field)| {
                field(document, stage, point).map(|value| escaped(&value)).unwrap_or_default()
            });
            text.push_str(&fields.collect::<Vec<_>>().join(","));
            text.push('\n');
        }
    }
    text
}

/// A line with the names of the columns, then one for each row.
fn table<'a, R: 'a>(
    columns: &[(String, Box<dyn Fn(&R) -> Option<String>>)],
    rows: impl Iterator<Item = &'a R>,
) -> String {
    let names: Vec<String> = columns.iter().map(|(name, _)| escaped(name)).collect();
    let mut text = names.join(",") + "\n";
    for row in rows {
        let fields = columns.iter();
        let fields = fields.map(|(_, field)| field(row).map(|v| escaped(&v)).unwrap_or_default());
        text.push_str(&fields.collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    text
}

pub(crate) fn escaped(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn columns() -> Vec<Column> {
    let mut columns = key_columns();
    columns.extend(count_columns());
    columns.extend(rate_columns());
    columns.extend(latency_columns());
    columns.extend(token_columns());
    columns.extend(cost_columns());
    columns.extend(crate::observed_csv::columns());
    columns.extend(client_columns());
    columns
}

pub(crate) fn of_point<T: ToString + 'static>(
    name: &str,
    field: fn(&Point) -> Option<T>,
) -> Column {
    let field = move |_: &Document, _: &Serving, point: &Point| field(point).map(|v| v.to_string());
    (name.to_owned(), Box::new(field))
}

fn of_stage(name: &str, field: fn(&Document, &Serving) -> Option<String>) -> Column {
    let field = move |document: &Document, stage: &Serving, _: &Point| field(document, stage);
    (name.to_owned(), Box::new(field))
}

fn key_columns() -> Vec<Column> {
    vec![
        of_stage("run", |document, _| document.run.as_ref().map(|run| run.id.clone())),
        of_stage("stage", |_, stage| Some(stage.stage.clone())),
        of_stage("endpoint", |_, stage| Some(stage.endpoint.join(" "))),
        of_stage("model", |_, stage| stage.model.clone()),
        of_stage("engine", |_, stage| stage.engine.as_ref().map(|engine| engine.name.clone())),
        of_stage("engine_version", |_, stage| stage.engine.as_ref()?.version.clone()),
        of_point("arrival", |point| Some(point.load.arrival.clone())),
        of_point("concurrency", |point| point.load.concurrency),
        of_point("rate_per_s", |point| point.load.rate_per_s),
        of_point("burst", |point| point.load.burst),
        of_point("trials", |point| Some(point.trials)),
        of_point("trials_planned", |point| Some(point.trials_planned)),
        of_point("window_ns", |point| point.window_ns),
    ]
}

fn count_columns() -> Vec<Column> {
    let outcomes: [Count; 7] = [
        ("ok", |counts| counts.ok),
        ("failed", |counts| counts.failed),
        ("timed_out", |counts| counts.timed_out),
        ("cut_short", |counts| counts.cut_short),
        ("cancelled", |counts| counts.cancelled),
        ("dropped", |counts| counts.dropped),
        ("unknown", |counts| counts.unknown),
    ];
    let outcome = |(name, count): Count| -> Column {
        let field =
            move |_: &Document, _: &Serving, p: &Point| Some(count(&p.requests).to_string());
        (format!("requests_{name}"), Box::new(field))
    };
    let error = |kind: &ErrorKind| -> Column {
        let name = kind.as_str();
        let field = move |_: &Document, _: &Serving, point: &Point| {
            Some(point.errors.get(name).copied().unwrap_or(0).to_string())
        };
        (format!("errors_{name}"), Box::new(field))
    };
    outcomes.into_iter().map(outcome).chain(ErrorKind::ALL.iter().map(error)).collect()
}

fn rate_columns() -> Vec<Column> {
    let rates: [Rate; 7] = [
        ("requests_per_s", |point| point.requests_per_s),
        ("requests_per_s_without_tail", |point| point.requests_per_s_without_tail),
        ("output_tokens_per_s", |point| point.output_tokens_per_s),
        ("output_tokens_per_s_without_tail", |point| point.output_tokens_per_s_without_tail),
        ("output_tokens_per_s_per_user", |point| point.output_tokens_per_s_per_user),
        ("input_tokens_per_s", |point| point.input_tokens_per_s),
        ("achieved_rate_per_s", |point| point.achieved_rate_per_s),
    ];
    let parts: [RatePart; 3] = [
        ("", |estimate| Some(estimate.value)),
        ("_low", |estimate| estimate.low),
        ("_high", |estimate| estimate.high),
    ];
    let mut columns: Vec<Column> = Vec::new();
    for (name, rate) in rates {
        for (suffix, part) in parts {
            let field = move |_: &Document, _: &Serving, point: &Point| {
                rate(point).and_then(part).map(|value| value.to_string())
            };
            columns.push((format!("{name}{suffix}"), Box::new(field)));
        }
    }
    columns.push(of_point("in_flight_mean", |point| point.in_flight_mean));
    columns.push(of_point("little_residual", |point| point.little_residual));
    columns.push(of_point("stationarity_residual", |point| point.stationarity_residual));
    columns
}

fn latency_columns() -> Vec<Column> {
    let latencies: [Latency; 11] = [
        ("ttft", |point| point.ttft_ns.as_ref()),
        ("ttft_service", |point| point.ttft_service_ns.as_ref()),
        ("ttfo", |point| point.ttfo_ns.as_ref()),
        ("ttfc", |point| point.ttfc_ns.as_ref()),
        ("itl", |point| point.itl_ns.as_ref()),
        ("chunk_gap", |point| point.chunk_gap_ns.as_ref()),
        ("tpot", |point| point.tpot_ns.as_ref()),
        ("max_gap", |point| point.max_gap_ns.as_ref()),
        ("e2e", |point| point.e2e_ns.as_ref()),
        ("send_lag", |point| point.send_lag_ns.as_ref()),
        ("read_lag", |point| point.read_lag_ns.as_ref()),
    ];
    let statistics: [Statistic; 8] = [
        ("n", |d| Some(d.n.to_string())),
        ("mean", |d| d.mean.map(|value| value.to_string())),
        ("p50", |d| d.p50.map(|value| value.to_string())),
        ("p90", |d| d.p90.map(|value| value.to_string())),
        ("p95", |d| d.p95.map(|value| value.to_string())),
        ("p99", |d| d.p99.map(|value| value.to_string())),
        ("p999", |d| d.p999.map(|value| value.to_string())),
        ("max", |d| d.max.map(|value| value.to_string())),
    ];
    let bounds: [(&str, &str); 3] = [("mean", "mean"), ("p50", "p50"), ("p99", "p99")];
    let mut columns: Vec<Column> = Vec::new();
    for (name, latency) in latencies {
        for (suffix, statistic) in statistics {
            let unit = if suffix == "n" { "" } else { "_ns" };
            let field = move |_: &Document, _: &Serving, p: &Point| latency(p).and_then(statistic);
            columns.push((format!("{name}_{suffix}{unit}"), Box::new(field)));
        }
        for (which, suffix) in bounds {
            for (end, is_low) in [("low", true), ("high", false)] {
                let field = move |_: &Document, _: &Serving, point: &Point| {
                    let interval = latency(point)?.intervals.get(which)?;
                    let bound = if is_low { interval.low } else { interval.high };
                    bound.map(|value| value.to_string())
                };
                columns.push((format!("{name}_{suffix}_{end}_ns"), Box::new(field)));
            }
        }
    }
    columns
}

fn token_columns() -> Vec<Column> {
    vec![
        of_point("tokens_input_mean", |point| point.tokens.as_ref()?.input),
        of_point("tokens_output_mean", |point| point.tokens.as_ref()?.output),
        of_point("tokens_reasoning_mean", |point| point.tokens.as_ref()?.reasoning),
        of_point("tokens_cached_mean", |point| point.tokens.as_ref()?.cached),
        of_point("tokens_input_total", |point| point.tokens.as_ref()?.input_total),
        of_point("tokens_output_total", |point| {
            point.tokens.as_ref().map(|tokens| tokens.output_total)
        }),
        of_point("tokens_per_chunk", |point| point.tokens.as_ref()?.per_chunk),
        of_point("tokens_source", |point| {
            point.tokens.as_ref().map(|tokens| tokens.source.clone())
        }),
    ]
}

fn cost_columns() -> Vec<Column> {
    vec![
        of_point("cost_currency", |point| Some(point.cost.as_ref()?.currency.clone())),
        of_point("cost_per_mtok_output", |point| point.cost.as_ref()?.per_mtok_output),
        of_point("cost_per_mtok_total", |point| point.cost.as_ref()?.per_mtok_total),
        of_point("cost_per_request", |point| point.cost.as_ref()?.per_request),
        of_point("cost_per_hour", |point| point.cost.as_ref()?.per_hour),
        of_point("joules_per_output_token", |point| point.cost.as_ref()?.joules_per_output_token),
        of_point("joules_per_request", |point| point.cost.as_ref()?.joules_per_request),
        of_point("watts", |point| point.cost.as_ref()?.watts),
        of_point("duty_cycle", |point| Some(duty(point)?.duty_cycle)),
        of_point("cost_at_duty_per_mtok_output", |point| duty(point)?.per_mtok_output),
        of_point("cost_at_duty_per_mtok_total", |point| duty(point)?.per_mtok_total),
        of_point("cost_at_duty_per_request", |point| duty(point)?.per_request),
        of_point("cost_at_duty_per_hour", |point| Some(duty(point)?.per_hour)),
    ]
}

fn duty(point: &Point) -> Option<&Bill> {
    point.cost.as_ref()?.at_duty_cycle.as_ref()
}

fn client_columns() -> Vec<Column> {
    vec![
        of_point("client_cpu_ratio", |point| point.client.cpu_ratio),
        of_point("client_cpu_ns_per_event", |point| point.client.cpu_ns_per_event),
        of_point("client_timestamp_source", |point| point.client.timestamp_source.clone()),
        of_point("client_merged_reads", |point| point.client.merged_reads),
        of_point("client_late_gaps", |point| point.client.late_gaps),
        of_point("client_late_first_tokens", |point| Some(point.client.late_first_tokens)),
        of_point("client_fallbacks", |point| Some(point.client.fallbacks)),
        of_point("client_slow_writes", |point| Some(point.client.slow_writes)),
        of_point("client_limited", |point| Some(point.client.limited)),
        of_point("warnings", |point| {
            let codes: Vec<&str> = point.warnings.iter().map(|w| w.code.as_str()).collect();
            Some(codes.join(" "))
        }),
    ]
}
