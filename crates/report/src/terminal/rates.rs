//! Rates with their intervals over trials, and the load as it was really carried out.

use loadline_schema::document::{Estimate, Point, Serving};

use super::{Page, key_column};
use crate::quantity::{self, ABSENT};
use crate::table::{Column, Table};
use crate::words;

type Pick = fn(&Point) -> Option<&Estimate>;

const RATES: [(&str, &str, Pick); 6] = [
    ("requests", "sent/s", |point| point.achieved_rate_per_s.as_ref()),
    ("requests", "ok/s", |point| point.requests_per_s.as_ref()),
    ("requests", "ok/s, no tail", |point| point.requests_per_s_without_tail.as_ref()),
    ("output tokens/s", "total", |point| point.output_tokens_per_s.as_ref()),
    ("output tokens/s", "no tail", |point| point.output_tokens_per_s_without_tail.as_ref()),
    ("input", "tokens/s", |point| point.input_tokens_per_s.as_ref()),
];

pub(super) fn section(page: &mut Page, stage: &Serving) {
    let points = &stage.points;
    let mut notes = Vec::new();
    let mut columns = vec![key_column(points)];
    for (column, note) in [trials(points), windows(points)] {
        match note {
            Some(note) => notes.push(note),
            None => columns.push(column),
        }
    }
    let in_flight =
        points.iter().map(|point| point.in_flight_mean.map_or(ABSENT.into(), quantity::number));
    columns.push(Column::numbers("in flight", "mean", in_flight.collect()));
    for (group, label, pick) in RATES {
        // Input tokens/s are requests/s times the prompt: their interval is that one again.
        let cell = |point| match pick(point) {
            Some(rate) if group == "input" => quantity::number(rate.value),
            Some(rate) => quantity::estimate(rate, quantity::number),
            None => ABSENT.to_owned(),
        };
        let column = Column::numbers(group, label, points.iter().map(cell).collect());
        columns.extend(column.has_content(&[ABSENT]).then_some(column));
    }
    let has_interval = RATES.iter().any(|(_, _, pick)| {
        points.iter().filter_map(pick).any(|rate| rate.low.is_some() && rate.high.is_some())
    });
    notes.extend(has_interval.then(|| "95 % intervals over trials".to_owned()));
    page.heading("Rates", &notes.join(", "));
    page.table(&Table::new(columns));
}

/// "3", or "1 of 3" where trials are missing; one note where all points have all of theirs.
fn trials(points: &[Point]) -> (Column, Option<String>) {
    let cell = |point: &Point| match (point.trials, point.trials_planned) {
        (done, planned) if done == planned => done.to_string(),
        (done, planned) => format!("{done} of {planned}"),
    };
    let column = Column::numbers("", "trials", points.iter().map(cell).collect());
    let first = points.first().map_or(0, |point| point.trials);
    let is_even = points.iter().all(|p| p.trials == first && p.trials_planned == first);
    (column, is_even.then(|| words::counted(u64::from(first), "trial", "trials")))
}

/// Time measured in all trials of a point; one note where it is the same for all.
fn windows(points: &[Point]) -> (Column, Option<String>) {
    let cell =
        |point: &Point| point.window_ns.map_or(ABSENT.into(), |ns| quantity::duration(ns as f64));
    let cells: Vec<String> = points.iter().map(cell).collect();
    let note = match cells.first() {
        Some(first) if cells.iter().all(|cell| cell == first && cell != ABSENT) => {
            Some(format!("{first} measured at each load"))
        }
        _ => None,
    };
    (Column::numbers("measured", "in all", cells), note)
}
