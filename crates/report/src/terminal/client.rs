//! The client's own error budget: how far these numbers can be trusted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use loadline_schema::document::{Client, Distribution, Document, Point, Selftest, Serving};
use loadline_schema::manifest::HostFacts;

use super::{Page, key_column};
use crate::quantity::{self, ABSENT, DurationUnit, Statistic};
use crate::style::Tone;
use crate::table::{Column, Table};
use crate::words::{self, plain};

pub(super) fn section(page: &mut Page, document: &Document, stage: &Serving) {
    let points = &stage.points;
    page.heading("The client's own error", "how far these numbers can be trusted");
    let mut columns = vec![key_column(points)];
    columns.extend(lag(points, "send lag", &["p50", "p99"], |point| point.send_lag_ns.as_ref()));
    columns.extend(lag(points, "read lag", &["p99"], |point| point.read_lag_ns.as_ref()));
    columns.extend(shares(points));
    columns.extend(counts(points));
    page.table(&Table::new(columns));

    page.paragraph(&stamps(points), 0, Tone::Faint);
    for host in document.run.iter().flat_map(|run| &run.hosts) {
        page.paragraph(&client_host(host), 0, Tone::Faint);
    }
    match &document.selftest {
        Some(selftest) => quote(page, selftest),
        None => page.paragraph(
            "No selftest of this machine is known: `loadline selftest` finds the largest load \
             that this client can be trusted with.",
            0,
            Tone::Faint,
        ),
    }
}

fn lag(
    points: &[Point],
    name: &str,
    which: &[&str],
    pick: fn(&Point) -> Option<&Distribution>,
) -> Vec<Column> {
    let statistic = |point: &Point, which: &str| pick(point).and_then(|d| Statistic::of(d, which));
    let all = points.iter().flat_map(|p| which.iter().map(move |w| statistic(p, w)));
    let unit = DurationUnit::fitting(all.flatten().map(|found| found.value));
    let column = |which: &&str| {
        let cell = |point: &Point| statistic(point, which).map_or(ABSENT.into(), |s| s.short(unit));
        let label = which.to_uppercase();
        Column::numbers(
            &format!("{name}, {}", unit.name),
            &label,
            points.iter().map(cell).collect(),
        )
    };
    let columns: Vec<Column> = which.iter().map(column).collect();
    let is_there = columns.iter().any(|column| column.has_content(&[ABSENT]));
    if is_there { columns } else { Vec::new() }
}

/// Shares that are told where any point has them.
fn shares(points: &[Point]) -> Vec<Column> {
    let column = |group: &str, label: &str, pick: fn(&Client) -> Option<f64>| {
        let cell = |point: &Point| pick(&point.client).map_or(ABSENT.into(), quantity::percent);
        Column::numbers(group, label, points.iter().map(cell).collect())
    };
    let all = [
        (column("merged", "reads", |client| client.merged_reads), false),
        (column("late", "gaps", |client| client.late_gaps), true),
        (column("", "CPU", |client| client.cpu_ratio), false),
        (column("spin", "of CPU", |client| client.spin_ratio), true),
    ];
    let is_told = |(column, only_if_some): &(Column, bool)| {
        let empty: &[&str] = if *only_if_some { &[ABSENT, "0 %"] } else { &[ABSENT] };
        column.has_content(empty)
    };
    all.into_iter().filter(is_told).map(|(column, _)| column).collect()
}

/// Counts that are told only where they are not zero.
fn counts(points: &[Point]) -> Vec<Column> {
    let column = |group: &str, label: &str, pick: fn(&Client) -> u64| {
        let cells = points.iter().map(|point| quantity::count(pick(&point.client)));
        Column::numbers(group, label, cells.collect())
    };
    let all = [
        column("late first", "tokens", |client| client.late_first_tokens),
        column("clock", "fallbacks", |client| client.fallbacks),
        column("slow", "writes", |client| client.slow_writes),
    ];
    all.into_iter().filter(|column| column.has_content(&["0"])).collect()
}

/// Where the times come from.
fn stamps(points: &[Point]) -> String {
    let sources: BTreeSet<&str> =
        points.iter().filter_map(|point| point.client.timestamp_source.as_deref()).collect();
    let told: Vec<String> = sources
        .into_iter()
        .map(|source| match source {
            "kernel_rx" => "the kernel's receive stamps (kernel_rx)".to_owned(),
            "user" => "the clock after each read (user)".to_owned(),
            "mixed" => mixed(points),
            other => plain(other),
        })
        .collect();
    let source = if told.is_empty() { "an unknown source".to_owned() } else { told.join(", or ") };
    let step = points.iter().filter_map(|point| point.client.clock_step_ns).max();
    let step = step.map(|ns| format!("; clock step {}", quantity::duration(ns as f64)));
    format!("Arrival times from {source}{}.", step.unwrap_or_default())
}

/// Both sources, with the shares of the first point that tells them.
fn mixed(points: &[Point]) -> String {
    let told = points.iter().map(|point| &point.client.timestamp_shares).find(|s| !s.is_empty());
    let parts = told
        .into_iter()
        .flatten()
        .map(|(source, share)| format!("{} {}", plain(source), quantity::percent(*share)));
    let parts: Vec<String> = ["mixed".to_owned()].into_iter().chain(parts).collect();
    format!("the kernel's stamps for some reads, the clock for others ({})", parts.join(", "))
}

fn client_host(host: &HostFacts) -> String {
    let mut parts = vec![format!("Client: {}", plain(&host.name))];
    parts.extend(host.cpu.as_deref().map(plain));
    parts.push(words::counted(u64::from(host.cores), "core", "cores"));
    parts.extend(host.kernel.as_deref().map(plain));
    parts.join(", ") + "."
}

fn quote(page: &mut Page, selftest: &Selftest) {
    let mut loads = Vec::new();
    loads.extend(selftest.max_concurrency.map(|n| format!("{} streams", quantity::count(n))));
    loads.extend(
        selftest.max_rate_per_s.map(|rate| format!("{} requests/s", quantity::number(rate))),
    );
    let mut errors = Vec::new();
    for (name, value) in [
        ("TTFT", selftest.ttft_error_ns_p99),
        ("gaps", selftest.gap_error_ns_p99),
        ("send lag", selftest.send_lag_ns_p99),
    ] {
        errors.extend(value.map(|ns| format!("{name} {}", quantity::duration(ns as f64))));
    }
    let day = plain(&selftest.measured_at);
    let day = day.split('T').next().unwrap_or_default();
    let most = if loads.is_empty() { "no load".to_owned() } else { loads.join(" and ") };
    let mut text = format!("Selftest of this machine ({day}): trustworthy up to {most}");
    if !errors.is_empty() {
        let _ = write!(text, "; P99 errors there: {}", errors.join(", "));
    }
    text.push('.');
    page.paragraph(&text, 0, Tone::Faint);
}
