//! How each point stands to each SLA.

use loadline_schema::document::{Document, Estimate, Serving};
use loadline_schema::verdict::{SlaResult, Verdict};

use super::{Page, key_column};
use crate::quantity::{self, ABSENT};
use crate::style::Tone;
use crate::table::{Column, Table};
use crate::words::plain;

pub(super) fn sections(page: &mut Page, document: &Document, stage: &Serving) {
    for (name, terms) in &document.sla {
        if !stage.points.iter().any(|point| point.sla.contains_key(name)) {
            continue;
        }
        let terms: Vec<String> = terms.iter().map(|term| plain(term)).collect();
        page.heading(&format!("SLA {}", plain(name)), &terms.join(", "));
        let points = &stage.points;
        let attainment =
            points.iter().map(|p| estimate(p.attainment.get(name), quantity::percent)).collect();
        let goodput =
            points.iter().map(|p| estimate(p.goodput_per_s.get(name), quantity::number)).collect();
        let verdicts = points.iter().map(|p| p.sla.get(name).map_or(ABSENT.into(), verdict));
        let binding = points.iter().map(|p| p.sla.get(name).map_or(ABSENT.into(), binding));
        page.table(&Table::new(vec![
            key_column(points),
            Column::words("verdict", verdicts.collect()),
            Column::words("by", binding.collect()),
            Column::numbers("attempts", "inside", attainment),
            Column::numbers("goodput", "per s", goodput),
        ]));
    }
    if stage.points.iter().any(|p| p.sla.values().any(|r| r.verdict == Verdict::Open)) {
        let note = "open: too few independent requests to say with 95 %; failed, cut short and \
                    dropped requests count as outside every limit";
        page.paragraph(note, 0, Tone::Faint);
    }
}

fn estimate(value: Option<&Estimate>, render: impl Fn(f64) -> String) -> String {
    value.map_or(ABSENT.into(), |value| quantity::estimate(value, render))
}

fn verdict(result: &SlaResult) -> String {
    match (result.verdict, result.likely) {
        (Verdict::Met, _) => "met",
        (Verdict::Missed, _) => "missed",
        (Verdict::Open, true) => "open, likely met",
        (Verdict::Open, false) => "open, likely missed",
    }
    .to_owned()
}

/// The term that decides, with the point's own figure.
fn binding(result: &SlaResult) -> String {
    let Some(name) = &result.binding else { return ABSENT.to_owned() };
    let term = result.terms.iter().find(|term| term.term == *name);
    let quantity = name.split(['<', '>']).next().unwrap_or(name);
    match term.and_then(|term| term.value) {
        Some(value) => format!("{} {}", plain(quantity), amount(quantity, value)),
        None => plain(quantity),
    }
}

/// A figure in the unit of its term.
fn amount(quantity: &str, value: f64) -> String {
    match quantity {
        "error_rate" => quantity::percent(value),
        "output_tokens_per_s_per_user" => quantity::number(value),
        _ => quantity::duration(value),
    }
}
