//! The trade-off: one row for each load, with what it yields and what it costs in latency.

use loadline_schema::document::{Distribution, Document, Estimate, Point, Selftest, Serving};

use super::{Page, key_column};
use crate::quantity::{self, ABSENT, DurationUnit, Statistic};
use crate::style::Tone;
use crate::table::{Column, Table};

pub(super) fn section(page: &mut Page, document: &Document, stage: &Serving) {
    page.heading("Trade-off", "");
    let points = &stage.points;
    let mut columns = vec![key_column(points)];
    columns.extend(throughput_columns(points));
    let latencies = latency_columns(points);
    let has_open = latencies.iter().any(|column| column.any(|cell| cell.starts_with('≥')));
    let has_absent = latencies.iter().any(|column| column.any(|cell| cell == ABSENT));
    columns.extend(latencies);
    let marks: Vec<String> =
        points.iter().map(|point| marks(point, document.selftest.as_ref())).collect();
    let seen: String = marks.concat();
    let marks = Column::words("", marks).toned(Tone::Bad);
    if marks.has_content(&[""]) {
        columns.push(marks);
    }
    page.table(&Table::new(columns));

    let mut notes: Vec<&str> = Vec::new();
    notes.extend(has_open.then_some("≥: too few requests to bound it from above"));
    notes.extend(has_absent.then_some("–: not had, or withheld: see the warnings and outcomes"));
    notes.extend(seen.contains('!').then_some("!: incomplete, see above"));
    notes.extend(seen.contains('c').then_some("c: the client was the limit, do not trust it"));
    notes.extend(seen.contains('s').then_some("s: beyond what this client's selftest covers"));
    if !notes.is_empty() {
        page.paragraph(&notes.join(" · "), 0, Tone::Faint);
    }
}

/// Requests/s and output tokens/s in total and per user.
pub(crate) fn throughput_columns(points: &[Point]) -> Vec<Column> {
    let column = |group: &str, label: &str, pick: fn(&Point) -> Option<&Estimate>| {
        let cell = |point| pick(point).map_or(ABSENT.into(), |e| quantity::number(e.value));
        Column::numbers(group, label, points.iter().map(cell).collect())
    };
    vec![
        column("requests", "per s", |point| point.requests_per_s.as_ref()),
        column("output tokens/s", "total", |point| point.output_tokens_per_s.as_ref()),
        column("output tokens/s", "per user", |point| point.output_tokens_per_s_per_user.as_ref()),
    ]
}

/// A named latency of a point.
type Latency = (&'static str, fn(&Point) -> Option<&Distribution>);

/// P50 and P99 of TTFT, ITL and E2E, each metric in one unit.
pub(crate) fn latency_columns(points: &[Point]) -> Vec<Column> {
    let metrics: [Latency; 3] = [
        ("TTFT", |point| point.ttft_ns.as_ref()),
        ("ITL", |point| point.itl_ns.as_ref()),
        ("E2E", |point| point.e2e_ns.as_ref()),
    ];
    let mut columns = Vec::new();
    for (name, pick) in metrics {
        let statistic = |point, which| pick(point).and_then(|d| Statistic::of(d, which));
        let values = points.iter().flat_map(|p| [statistic(p, "p50"), statistic(p, "p99")]);
        let unit = DurationUnit::fitting(values.flatten().map(|statistic| statistic.value));
        for (label, which) in [("P50", "p50"), ("P99", "p99")] {
            let cell = |point| statistic(point, which).map_or(ABSENT.into(), |s| s.short(unit));
            let cells = points.iter().map(cell).collect();
            columns.push(Column::numbers(&format!("{name}, {}", unit.name), label, cells));
        }
    }
    columns
}

/// What a reader of this row must not miss.
fn marks(point: &Point, selftest: Option<&Selftest>) -> String {
    let mut marks = String::new();
    if point.incomplete.is_some() {
        marks.push('!');
    }
    if point.client.limited {
        marks.push('c');
    }
    if selftest.is_some_and(|selftest| is_beyond(point, selftest)) {
        marks.push('s');
    }
    marks
}

/// Whether the load is larger than the largest that the selftest found trustworthy.
fn is_beyond(point: &Point, selftest: &Selftest) -> bool {
    let load = &point.load;
    let slots = load.concurrency.or(load.burst).zip(selftest.max_concurrency);
    let rate = load.rate_per_s.zip(selftest.max_rate_per_s);
    slots.is_some_and(|(slots, most)| slots > most) || rate.is_some_and(|(rate, most)| rate > most)
}
