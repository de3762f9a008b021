//! What points or rows say together about scaling: one sentence each.

use loadline_schema::document::{PointLoad, Serving};
use loadline_schema::verdict::Scalability;

use super::Page;
use crate::quantity;
use crate::style::Tone;
use crate::words;

/// The fit and the Pareto set of a stage.
pub(super) fn section(page: &mut Page, stage: &Serving) {
    let loads: Vec<&PointLoad> = stage.points.iter().map(|point| &point.load).collect();
    let fit = stage.scalability.as_ref().map(|fit| scaling(fit, &loads));
    let statements: Vec<String> =
        fit.into_iter().chain(pareto("point", &stage.pareto, &loads)).collect();
    if statements.is_empty() {
        return;
    }
    page.heading("Scaling", "what the points say together");
    for statement in statements {
        page.hanging("- ", "  ", &statement, Tone::Plain);
    }
}

/// The fitted law, its limit and its knee.
pub(super) fn scaling(fit: &Scalability, loads: &[&PointLoad]) -> String {
    let number = quantity::number;
    let law = format!(
        "Requests/s over concurrency {} the Universal Scalability Law (at most {} off): λ = {} \
         requests/s of a slot alone, contention σ = {}, coherency κ = {}",
        if fit.follows { "follow" } else { "do not follow" },
        quantity::percent(fit.residual_max),
        number(fit.lambda),
        number(fit.sigma),
        number(fit.kappa)
    );
    let most = loads.iter().filter_map(|load| load.concurrency).max().unwrap_or(0);
    let limit = match (fit.peak_concurrency, fit.asymptote_per_s) {
        (Some(peak), _) => {
            let beyond = if peak > most as f64 { ", beyond what was measured" } else { "" };
            format!("the most requests/s at concurrency {}{beyond}", number(peak))
        }
        (None, Some(asymptote)) => format!(
            "no peak: requests/s approach the asymptote {} and do not pass it",
            number(asymptote)
        ),
        (None, None) => "they grow in proportion, without a limit in sight".to_owned(),
    };
    let knee = fit.knee_concurrency.map(|n| format!("; the knee is at concurrency {}", number(n)));
    format!("{law}; {limit}{}.", knee.unwrap_or_default())
}

/// Which of them no other beats; `one` is what a load belongs to, a row or a point.
pub(super) fn pareto(one: &str, kept: &[usize], loads: &[&PointLoad]) -> Option<String> {
    if kept.is_empty() || loads.len() < 2 {
        return None;
    }
    if kept.len() == loads.len() {
        return Some(format!(
            "No {one} beats another in both throughput in total and per user: a target decides."
        ));
    }
    let known = kept.iter().filter_map(|at| loads.get(*at));
    let listed: Vec<String> = known.map(|load| words::load_short(load)).collect();
    let closed = loads.iter().all(|load| load.concurrency.is_some());
    let what = if closed { "concurrency" } else { "offered requests/s" };
    Some(format!(
        "Not beaten by another {one} in both throughput in total and per user: {what} {}.",
        listed.join(", ")
    ))
}
