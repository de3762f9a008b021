//! What the attempts of a point say about its targets, its steadiness and its saturation.

use loadline_schema::document::Point;
use loadline_schema::event::Warning;
use loadline_schema::plan::Load;
use loadline_schema::sla::{Latency, Quantity, Sla, Statistic};
use loadline_schema::verdict::Verdict;

use crate::attempt::{Attempt, Reading};
use crate::autocorrelation::correlation;
use crate::saturation::is_saturated;
use crate::sla::{Confidence, Judge, JudgedTrial, PooledGaps, attainment, goodput};
use crate::steady::steady;
use crate::tally::{Tally, attempts};
use crate::trial::TrialFigures;
use crate::warnings::Evidence;
use crate::window::Window;

/// Fills in what is judged. To be called before a distribution of gaps is asked for. A trial with
/// operations of unknown outcome is not judged; one that ended short of its plan can miss a target
/// and cannot meet it, since the slowest requests were still open when it ended.
pub(crate) fn judge_point(
    point: &mut Point,
    load: &Load,
    slas: &[Sla],
    tally: &Tally,
    trials: &[TrialFigures],
    confidence: Confidence,
) {
    let known = trials.iter().filter(|t| t.unknown == 0).map(|t| JudgedTrial {
        attempts: &t.attempts.attempts,
        gaps: Some(PooledGaps {
            counts: &t.attempts,
            values_100ns: tally.gaps.at(t.gaps.0.clone()),
            zeros: t.gaps.1,
        }),
    });
    let late_gaps = |per_mille| tally.gaps.withholds(per_mille);
    let judge = Judge::new(known.collect(), &tally.itl_limits, &late_gaps, confidence);
    let whole = trials.iter().all(|t| t.complete);
    for sla in slas {
        let mut result = judge.sla(sla);
        if !whole && result.verdict == Verdict::Met {
            result.verdict = Verdict::Open;
        }
        point.sla.insert(sla.name.clone(), result);
        let share = attainment(&judge, sla);
        point.attainment.extend(share.map(|share| (sla.name.clone(), share)));
    }
    let steadiness: Vec<_> =
        trials.iter().filter(|t| t.complete).filter_map(|t| t.steady).collect();
    point.steady = steady(&steadiness, judge.e2e().map(|c| c.n_effective()));
    let due = trials.iter().map(|t| t.due).sum();
    let sent = trials.iter().map(|t| t.sent).sum();
    let piling: Vec<bool> =
        trials.iter().filter_map(|t| Some(t.windowed.as_ref()?.piles_up)).collect();
    point.saturated = is_saturated(load, due, sent, &piling);
}

/// Goodput over the trials that rates are taken from.
pub(crate) fn fill_goodput(point: &mut Point, slas: &[Sla], chosen: &[&TrialFigures]) {
    let windows: Vec<(Window, &[Attempt])> = chosen
        .iter()
        .filter_map(|t| Some((t.windowed.as_ref()?.window, t.attempts.attempts.as_slice())))
        .collect();
    for sla in slas {
        let found = goodput(sla, &windows);
        point.goodput_per_s.extend(found.map(|found| (sla.name.clone(), found)));
    }
}

/// Autocorrelation time of the mean gaps of answers, at least 1.
pub(crate) fn gap_tau(trials: &[TrialFigures]) -> f64 {
    let means = |t: &TrialFigures| -> Vec<f64> {
        let seen = t.attempts.attempts.iter().filter_map(|a| match a.reading(Latency::Itl) {
            Reading::Ns(ns) => Some(ns),
            Reading::Never | Reading::Nothing => None,
        });
        seen.collect()
    };
    let series: Vec<Vec<f64>> = trials.iter().map(means).collect();
    let segments: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    correlation(&segments).map_or(1.0, |c| c.tau)
}

pub(crate) fn not_judged(e: &Evidence) -> Option<Warning> {
    let of = |what: &dyn Fn(&TrialFigures) -> bool| e.trials.iter().filter(|t| what(t)).count();
    let unknown = of(&|t| t.unknown > 0);
    let short = of(&|t| t.unknown == 0 && !t.complete);
    if e.point.sla.is_empty() || unknown + short == 0 {
        return None;
    }
    let message = format!(
        "{} of {} trials are incomplete, so no target counts as met here",
        unknown + short,
        e.trials.len()
    );
    let advice = "trials with operations of unknown outcome are left out of the judgement: resume \
                  the run or repeat the point";
    Some(Warning::new("sla_not_judged", message, advice))
}

/// Terms that nothing was recorded for.
pub(crate) fn not_recorded(e: &Evidence) -> Option<Warning> {
    if attempts(&e.point.requests) == 0 {
        return None;
    }
    let known = e.trials.iter().any(|t| t.unknown == 0);
    let results = e.point.sla.values().flat_map(|s| &s.terms).filter(|t| known && t.n == 0);
    let terms: Vec<&str> = results.map(|t| t.term.as_str()).collect();
    (!terms.is_empty()).then(|| {
        let message = format!("nothing was recorded to judge {} by", terms.join(", "));
        let advice = "answers need two tokens or more in several events, and their chunk times \
                      stored, to have gaps";
        Warning::new("sla_not_recorded", message, advice)
    })
}

/// Limits on a mean that failures make infinite.
pub(crate) fn infinite_means(e: &Evidence) -> Option<Warning> {
    let is_mean = |quantity| match quantity {
        Quantity::Latency(_, statistic) => statistic == Statistic::Mean,
        Quantity::OutputTokensPerSPerUser => true,
        Quantity::ErrorRate => false,
    };
    let mut terms: Vec<String> = Vec::new();
    for sla in e.input.sla {
        let Some(result) = e.point.sla.get(&sla.name) else { continue };
        let allows = sla.terms.iter().any(|t| t.quantity == Quantity::ErrorRate);
        let infinite = sla.terms.iter().zip(&result.terms).filter(|(term, result)| {
            !allows && is_mean(term.quantity) && result.n > 0 && result.value.is_none()
        });
        terms.extend(infinite.map(|(_, result)| result.term.clone()));
    }
    let bad = attempts(&e.point.requests) - e.point.requests.ok;
    (!terms.is_empty() && bad > 0).then(|| {
        let message = format!(
            "{bad} attempts did not end ok, which makes a mean over attempts infinite: {} missed",
            terms.join(", ")
        );
        let advice = "add error_rate to the target to say how many may fail; the mean is then that \
                      of the others while they keep it";
        Warning::new("sla_mean_infinite", message, advice)
    })
}
