//! How requests ended: outcomes, errors with an example of each kind, finish reasons.

use std::collections::BTreeSet;

use loadline_schema::document::{OutcomeCounts, Point, Serving};

use super::{Page, key_column, quoted};
use crate::quantity;
use crate::style::Tone;
use crate::table::{Column, Table};
use crate::words::{self, plain};

type Count = fn(&OutcomeCounts) -> u64;

const OUTCOMES: [(&str, Count); 7] = [
    ("ok", |counts| counts.ok),
    ("failed", |counts| counts.failed),
    ("timed out", |counts| counts.timed_out),
    ("cut short", |counts| counts.cut_short),
    ("cancelled", |counts| counts.cancelled),
    ("dropped", |counts| counts.dropped),
    ("unknown", |counts| counts.unknown),
];

pub(super) fn section(page: &mut Page, stage: &Serving) {
    let points = &stage.points;
    page.heading("Outcomes", "requests whose intended time lies in the measure window");
    let is_ok = |point: &Point| OUTCOMES[1..].iter().all(|(_, count)| count(&point.requests) == 0);
    let mut columns = vec![key_column(points)];
    for (name, count) in OUTCOMES {
        let cells = points.iter().map(|point| quantity::count(count(&point.requests)));
        let tone = if name == "ok" { Tone::Plain } else { Tone::Bad };
        let column = Column::numbers("", name, cells.collect()).toned(tone);
        columns.extend((name == "ok" || column.has_content(&["0"])).then_some(column));
    }
    columns.push(outside(points));
    columns.extend(finish_reasons(points));
    page.table(&Table::new(columns));
    if points.iter().all(is_ok) {
        let has_any = points.iter().any(|point| point.requests.ok > 0);
        let text = if has_any { "No request failed." } else { "No request was made." };
        page.paragraph(text, 0, Tone::Faint);
    }
    errors(page, points);
}

/// Requests of warm-up and drain, whatever their outcome.
fn outside(points: &[Point]) -> Column {
    let cell = |point: &Point| {
        let counts = &point.outside_cohort;
        let not_ok: Vec<String> = OUTCOMES[1..]
            .iter()
            .map(|(name, count)| (count(counts), name))
            .filter(|(n, _)| *n > 0)
            .map(|(n, name)| format!("{} {name}", quantity::count(n)))
            .collect();
        let ok = quantity::count(counts.ok);
        if not_ok.is_empty() { ok } else { format!("{ok}, {}", not_ok.join(", ")) }
    };
    let cells = points.iter().map(cell).collect();
    Column::numbers("warm-up", "and drain", cells).toned(Tone::Faint)
}

/// One column for each finish reason.
fn finish_reasons(points: &[Point]) -> Vec<Column> {
    let names: BTreeSet<&String> =
        points.iter().flat_map(|point| point.finish_reasons.keys()).collect();
    let column = |name: &&String| {
        let count = |point: &Point| point.finish_reasons.get(*name).copied().unwrap_or(0);
        let cells = points.iter().map(|point| quantity::count(count(point))).collect();
        Column::numbers("finish reason", &words::cut(&plain(name), 20), cells)
    };
    names.iter().map(column).collect()
}

/// Each kind of error: how often at which load, and one example.
fn errors(page: &mut Page, points: &[Point]) {
    let kinds: BTreeSet<&String> = points.iter().flat_map(|point| point.errors.keys()).collect();
    if kinds.is_empty() {
        return;
    }
    page.heading("Errors", "one example of each kind");
    for kind in kinds {
        let counts: Vec<String> = points
            .iter()
            .filter_map(|point| point.errors.get(kind).map(|n| (point, *n)))
            .map(|(point, n)| {
                format!("{} at {}", quantity::count(n), words::load_long(&point.load))
            })
            .collect();
        let text = format!("{}: {}", plain(kind), counts.join(", "));
        page.hanging("", "  ", &text, Tone::Bad);
        let example = points.iter().find_map(|point| point.error_examples.get(kind));
        if let Some(example) = example {
            page.hanging("  ", "  ", &quoted(example), Tone::Plain);
        }
    }
}
