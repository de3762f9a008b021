//! Which rows keep an SLA, by their own figures.

use loadline_schema::event::Warning;
use loadline_schema::sla::{Quantity, Sla, Term};
use loadline_schema::table_file::TableFile;
use loadline_schema::verdict::Row;

use super::{any_has, named};

/// Fills `inside` and `goodput_per_s` of every row for which the SLA can be decided: one missed term
/// is enough to be outside, all are needed to be inside.
pub(super) fn judge(table: &TableFile, rows: &mut [Row], sla: &Sla) -> Option<Warning> {
    let missing = |term: &&Term| !any_has(table, |row| figure(&row.row, term.quantity));
    let absent: Vec<String> =
        sla.terms.iter().filter(missing).map(|term| term.quantity.to_string()).collect();
    if !absent.is_empty() {
        return Some(not_judged(table, sla, &absent));
    }
    let mut open = Vec::new();
    for row in rows {
        let kept = |term: &Term| figure(row, term.quantity).map(|value| term.is_kept_by(value));
        let verdicts: Vec<Option<bool>> = sla.terms.iter().map(kept).collect();
        let inside = if verdicts.contains(&Some(false)) {
            false
        } else if verdicts.contains(&None) {
            open.push(named(row));
            continue;
        } else {
            true
        };
        row.inside.insert(sla.name.clone(), inside);
        if let Some(requests) = row.requests_per_s {
            let goodput = if inside { requests } else { 0.0 };
            row.goodput_per_s.insert(sla.name.clone(), goodput);
        }
    }
    (!open.is_empty()).then(|| {
        let message = format!(
            "{}: not decided at {}, since a figure is missing there",
            sla.name,
            open.join(", ")
        );
        Warning::new("rows_not_judged", message, "fill in the empty cells")
    })
}

/// The figure of a row that a term limits.
fn figure(row: &Row, quantity: Quantity) -> Option<f64> {
    match quantity {
        Quantity::Latency(latency, statistic) => {
            row.latency_ns.get(latency.as_str())?.get(statistic.as_str()).copied()
        }
        Quantity::ErrorRate => row.error_rate,
        Quantity::OutputTokensPerSPerUser => row.output_tokens_per_s_per_user,
    }
}

fn not_judged(table: &TableFile, sla: &Sla, absent: &[String]) -> Warning {
    let there = table.latency_names();
    let there = match &there[..] {
        [] => "no latency at all".to_owned(),
        names => format!("only {}", names.join(", ")),
    };
    let message = format!(
        "the SLA {} is not judged: the table has no {}, of latencies {there}",
        sla.name,
        absent.join(", ")
    );
    let advice = "limit a figure that the table has (plain latencies are e2e), or add the column";
    Warning::new("sla_not_judged", message, advice)
}
