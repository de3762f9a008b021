//! One table for each latency: mean and percentiles with their intervals, and over how many
//! requests.

use loadline_schema::document::{Distribution, Point, Serving};

use super::{Page, key_column};
use crate::quantity::{self, ABSENT, DurationUnit, Statistic};
use crate::table::{Column, Table};

type Pick = fn(&Point) -> Option<&Distribution>;

/// A latency: short name, what it is in closed loop, what it is in open loop, where it stands.
struct Latency {
    name: &'static str,
    closed: &'static str,
    open: &'static str,
    pick: Pick,
}

const LATENCIES: [Latency; 7] = [
    Latency {
        name: "TTFT",
        closed: "time to first token, from sent",
        open: "time to first token, from the intended time",
        pick: |point| point.ttft_ns.as_ref(),
    },
    Latency {
        name: "Service TTFT",
        closed: "time to first token, from sent",
        open: "time to first token, from sent",
        pick: |point| point.ttft_service_ns.as_ref(),
    },
    Latency {
        name: "TTFO",
        closed: "time to first output that is not reasoning",
        open: "time to first output that is not reasoning",
        pick: |point| point.ttfo_ns.as_ref(),
    },
    Latency {
        name: "ITL",
        closed: "gaps between tokens, pooled",
        open: "gaps between tokens, pooled",
        pick: |point| point.itl_ns.as_ref(),
    },
    Latency {
        name: "Chunk gap",
        closed: "gaps between events that bear tokens, pooled",
        open: "gaps between events that bear tokens, pooled",
        pick: |point| point.chunk_gap_ns.as_ref(),
    },
    Latency {
        name: "TPOT",
        closed: "mean time per output token after the first, by request",
        open: "mean time per output token after the first, by request",
        pick: |point| point.tpot_ns.as_ref(),
    },
    Latency {
        name: "E2E",
        closed: "from sent to the last byte",
        open: "from the intended time to the last byte",
        pick: |point| point.e2e_ns.as_ref(),
    },
];

/// How many of a table's percentiles are shown with their intervals.
#[derive(Clone, Copy, PartialEq)]
enum Detail {
    All,
    Ends,
    None,
}

pub(super) fn sections(page: &mut Page, stage: &Serving) {
    let points = &stage.points;
    for latency in &LATENCIES {
        if is_told(latency, points) {
            section(page, latency, points);
        }
    }
}

/// A latency that is there and is not the same as another one that has its own table.
fn is_told(latency: &Latency, points: &[Point]) -> bool {
    let differs = |other: Pick| points.iter().any(|p| (latency.pick)(p) != other(p));
    let is_there = points.iter().any(|point| (latency.pick)(point).is_some_and(|d| d.n > 0));
    is_there
        && match latency.name {
            "Chunk gap" => differs(|point| point.itl_ns.as_ref()),
            "TTFO" | "Service TTFT" => differs(|point| point.ttft_ns.as_ref()),
            _ => true,
        }
}

fn section(page: &mut Page, latency: &Latency, points: &[Point]) {
    let is_open = points.iter().any(|point| point.load.concurrency.is_none());
    let what = if is_open { latency.open } else { latency.closed };
    let distributions: Vec<Option<&Distribution>> = points.iter().map(latency.pick).collect();
    let values = distributions.iter().flatten().flat_map(|d| {
        ["mean", "p50", "p99"].map(|which| Statistic::of(d, which).map(|found| found.value))
    });
    let unit = DurationUnit::fitting(values.flatten());
    let tables = [Detail::All, Detail::Ends, Detail::None].map(|detail| {
        let table = Table::new(columns(points, &distributions, unit, detail));
        (detail, table)
    });
    let fitting = tables.iter().find(|(_, table)| table.width() <= page.style.columns());
    let (detail, table) = fitting.unwrap_or(&tables[2]);
    let has_interval =
        *detail != Detail::None && distributions.iter().flatten().any(|d| !d.intervals.is_empty());
    let interval = if has_interval { ", 95 % intervals" } else { "" };
    page.heading(latency.name, &format!("{what}; {}{interval}", unit.name));
    page.table(table);
}

fn columns(
    points: &[Point],
    distributions: &[Option<&Distribution>],
    unit: DurationUnit,
    detail: Detail,
) -> Vec<Column> {
    let mut columns = vec![key_column(points)];
    for (label, which) in [("mean", "mean"), ("P50", "p50"), ("P90", "p90"), ("P99", "p99")] {
        let is_full = match detail {
            Detail::All => which != "mean",
            Detail::Ends => matches!(which, "p50" | "p99"),
            Detail::None => false,
        };
        let cell = |distribution: Option<&Distribution>| {
            let statistic = distribution.and_then(|d| Statistic::of(d, which));
            statistic.map_or(ABSENT.into(), |s| if is_full { s.full(unit) } else { s.short(unit) })
        };
        columns.push(Column::numbers("", label, distributions.iter().copied().map(cell).collect()));
    }
    let counts = |pick: fn(&Distribution) -> u64| {
        let cell = |d: Option<&Distribution>| d.map_or(ABSENT.into(), |d| quantity::count(pick(d)));
        distributions.iter().copied().map(cell).collect::<Vec<_>>()
    };
    columns.push(Column::numbers("", "n", counts(|d| d.n)));
    let left_out = Column::numbers("", "left out", counts(|d| d.left_out));
    if left_out.has_content(&["0", ABSENT]) {
        columns.push(left_out);
    }
    columns
}
