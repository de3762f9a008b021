//! The joint share of attempts inside all limits of a target, and how many of them per second.

use loadline_schema::document::Estimate;
use loadline_schema::sla::Sla;

use super::Judge;
use crate::attempt::Attempt;
use crate::rate::{Counted, rate};
use crate::window::Window;

/// Share of attempts that are ok and keep the limits that the target sets a request; exact bounds
/// with the independent observations that they are worth. `None` without attempts.
pub(crate) fn attainment(judge: &Judge, sla: &Sla) -> Option<Estimate> {
    let limits = sla.request_limits();
    let series = judge.series(|a| Some(if a.keeps(&limits) { 1.0 } else { 0.0 }));
    let n = series.iter().map(Vec::len).sum::<usize>();
    if n == 0 {
        return None;
    }
    let value = series.iter().flatten().sum::<f64>() / n as f64;
    let (low, high) = judge.confidence.bounds(value, judge.n_effective(&series));
    let trials = series.iter().filter(|s| !s.is_empty()).count() as u64;
    Some(Estimate { value, low: Some(low), high: Some(high), n: trials })
}

/// Such attempts per second of window, over trials.
pub(crate) fn goodput(sla: &Sla, trials: &[(Window, &[Attempt])]) -> Option<Estimate> {
    let limits = sla.request_limits();
    let counted: Vec<Counted> = trials
        .iter()
        .map(|(window, attempts)| {
            let kept = attempts.iter().filter(|a| a.keeps(&limits));
            // A trial that ended early has a shorter window than its cohort.
            let times = kept.map(|a| a.intended_ns).filter(|at| window.contains(*at));
            let times: Vec<u64> = times.collect();
            Counted::of_times(window, &times)
        })
        .collect();
    rate(&counted)
}
