//! What a table's rows say about themselves: Little's law, percentiles in order, saturation, and
//! whether the scalability law describes them.

use loadline_schema::event::Warning;
use loadline_schema::table_file::{TableFile, TableRow};
use loadline_schema::verdict::{Little, Row, Scalability};

use super::{e2e_mean_ns, named};
use crate::scalability::{CONCURRENCIES_NEEDED, RESIDUAL_ALLOWED};
use crate::warnings::percent;

/// Departure from Little's law that is allowed beyond the rounding of digits.
const LITTLE_TOLERANCE: f64 = 0.02;
/// Share of the offered rate under which a row is saturated.
const ACHIEVED_NEEDED: f64 = 0.95;

/// Fills requests in flight, X·R, of each row, and compares them with its concurrency (J. D. C.
/// Little, Operations Research 9 (1961) 383). Absent where no row has a concurrency and a mean E2E.
pub(super) fn little(table: &TableFile, rows: &mut [Row]) -> Option<Little> {
    let mut worst: Option<(f64, f64)> = None;
    let mut holds = true;
    for (row, written) in rows.iter_mut().zip(&table.rows) {
        let (Some(requests), Some(mean)) = (row.requests_per_s, e2e_mean_ns(row)) else { continue };
        let in_flight = requests * mean / 1e9;
        row.in_flight = Some(in_flight);
        let Some(slots) = row.load.concurrency else { continue };
        let residual = (slots as f64 - in_flight).abs() / slots as f64;
        row.little_residual = Some(residual);
        let allowed = allowed(written, requests, mean);
        holds &= residual <= allowed;
        if worst.is_none_or(|(most, _)| residual > most) {
            worst = Some((residual, allowed));
        }
    }
    let (residual_max, allowed) = worst?;
    let product: Option<Vec<f64>> = rows.iter().map(|row| row.in_flight).collect();
    Some(Little { residual_max, allowed, holds, product: product.unwrap_or_default() })
}

/// 2 % and what the rounding of the digits of both factors can make.
fn allowed(row: &TableRow, requests: f64, mean_ns: f64) -> f64 {
    let share = |rounding: f64, value: f64| if value > 0.0 { rounding / value } else { 0.0 };
    LITTLE_TOLERANCE
        + share(row.requests_rounding_per_s, requests)
        + share(row.e2e_mean_rounding_ns.unwrap_or(0.0), mean_ns)
}

pub(super) fn little_warning(rows: &[Row], little: Option<&Little>) -> Option<Warning> {
    let Some(little) = little else {
        if rows.iter().any(|row| row.in_flight.is_some()) {
            return None;
        }
        let message = "no row has a mean E2E latency, so Little's law cannot be checked";
        return Some(Warning::new("no_mean_latency", message, "add a column e2e_mean_ms"));
    };
    if little.holds {
        return None;
    }
    let residuals = rows.iter().filter_map(|row| Some((row.little_residual?, row)));
    let (_, worst) = residuals.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let message = format!(
        "the rows do not obey Little's law: at {} requests/s × mean E2E is {:.2}, {} off ({} allowed)",
        named(worst),
        worst.in_flight?,
        percent(little.residual_max),
        percent(little.allowed)
    );
    let advice = "the load is not the number of requests in flight, or rate and latency are of \
                  different requests or windows: fit and choice rest on figures that disagree";
    Some(Warning::new("little_broken", message, advice))
}

/// Figures that cannot all be true.
pub(super) fn figures(table: &TableFile) -> Vec<Warning> {
    const ORDER: [&str; 6] = ["p50", "p90", "p95", "p99", "p999", "max"];
    let mut warnings = Vec::new();
    for row in &table.rows {
        for (metric, figures) in &row.row.latency_ns {
            let known: Vec<(&str, f64)> =
                ORDER.iter().filter_map(|name| Some((*name, *figures.get(*name)?))).collect();
            let falls = known.windows(2).find(|pair| pair[0].1 > pair[1].1);
            if let Some([low, high]) = falls {
                let message = format!(
                    "line {}: {metric}_{} is larger than {metric}_{}",
                    row.line, low.0, high.0
                );
                let advice = "a higher percentile is never smaller: check the cells";
                warnings.push(Warning::new("percentiles_out_of_order", message, advice));
            }
        }
    }
    warnings
}

/// Offered rates that were not carried.
pub(super) fn saturated(rows: &[Row]) -> Option<Warning> {
    let is_saturated = |row: &&Row| {
        let pair = row.load.rate_per_s.zip(row.requests_per_s);
        pair.is_some_and(|(offered, achieved)| achieved < ACHIEVED_NEEDED * offered)
    };
    let list: Vec<String> = rows.iter().filter(is_saturated).map(named).collect();
    (!list.is_empty()).then(|| {
        let message =
            format!("fewer than 95 % of the requests were answered at {}", list.join(", "));
        let advice = "the target did not keep up: latencies there depend on how long was measured";
        Warning::new("saturated", message, advice)
    })
}

pub(super) fn fit_warning(rows: &[Row], fit: Option<&Scalability>) -> Option<Warning> {
    if let Some(fit) = fit {
        return (!fit.follows).then(|| {
            let message = format!(
                "requests/s do not follow the scalability law: {} off at most ({} allowed)",
                percent(fit.residual_max),
                percent(RESIDUAL_ALLOWED)
            );
            let advice = "do not read limits from the fit; a setting may change between the rows";
            Warning::new("does_not_follow_the_law", message, advice)
        });
    }
    let rates = rows.iter().filter(|row| row.load.rate_per_s.is_some()).count();
    if rates > 0 {
        // Requests/s over an offered rate are that rate: there is nothing to fit.
        return None;
    }
    if rows.len() < CONCURRENCIES_NEEDED {
        let count =
            if rows.len() == 1 { "1 row".to_owned() } else { format!("{} rows", rows.len()) };
        let message = format!(
            "{count}: nothing to fit, the scalability law needs {CONCURRENCIES_NEEDED} concurrencies"
        );
        return Some(Warning::new("nothing_to_fit", message, "measure more concurrencies"));
    }
    let is_zero = rows.iter().any(|row| row.requests_per_s.is_none_or(|rate| rate <= 0.0));
    let (message, advice) = if is_zero {
        ("no scalability fit: a row has 0 requests/s", "leave the row out if it was not measured")
    } else {
        (
            "no scalability fit: requests/s only fall, so the speed of one slot cannot be told",
            "measure concurrency 1",
        )
    };
    Some(Warning::new("nothing_to_fit", message, advice))
}
