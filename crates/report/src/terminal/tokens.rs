//! How many tokens went in and came out, and who counted them.

use loadline_schema::document::{Point, Serving, Tokens};

use super::{Page, key_column};
use crate::quantity::{self, ABSENT};
use crate::table::{Column, Table};
use crate::words::plain;

pub(super) fn section(page: &mut Page, stage: &Serving) {
    let points = &stage.points;
    if points.iter().all(|point| point.tokens.is_none()) {
        return;
    }
    page.heading("Tokens", "means per ok request");
    let column = |group: &str, label: &str, cell: &dyn Fn(&Tokens) -> String| {
        let cells = points.iter().map(|point| point.tokens.as_ref().map_or(ABSENT.into(), cell));
        Column::numbers(group, label, cells.collect())
    };
    let mean = |value: Option<f64>| value.map_or(ABSENT.into(), quantity::number);
    let mut columns = vec![
        key_column(points),
        column("", "input", &|tokens| mean(tokens.input)),
        column("", "output", &|tokens| mean(tokens.output)),
    ];
    let optional = [
        column("", "reasoning", &|tokens| mean(tokens.reasoning)),
        column("input", "cached", &|tokens| mean(tokens.cached)),
    ];
    columns.extend(optional.into_iter().filter(|column| column.has_content(&[ABSENT, "0"])));
    columns.push(column("output", "in all", &|tokens| quantity::count(tokens.output_total)));
    columns.push(column("tokens", "per chunk", &|tokens| mean(tokens.per_chunk)));
    columns.push(Column::words("counted by", points.iter().map(source).collect()));
    page.table(&Table::new(columns));
}

fn source(point: &Point) -> String {
    let Some(tokens) = &point.tokens else { return ABSENT.into() };
    let words = tokens.source.split('+').map(|source| match source.trim() {
        "usage" => "server (usage)".to_owned(),
        "tokenize" => "server (/tokenize)".to_owned(),
        "chunks" => "chunks (a lower bound)".to_owned(),
        other => plain(other),
    });
    words.collect::<Vec<_>>().join(" + ")
}
