//! Whether a gate lets a candidate pass.
//!
//! A term fails where its metric moved beyond the allowance for certain: the one-sided test of "at
//! most the allowance" is rejected at 5 % over all terms and points together (Holm). An estimate
//! beyond the allowance that is not certain leaves the term undecided, which does not fail the
//! gate: noise must not stop a change, and certainty is a matter of more trials.

use loadline_schema::gate::{Allowance, GateTerm, TrialMetric};
use loadline_schema::verdict::Gate;

use crate::compare::effect::{Effect, TrialOrder, holm};
use crate::compare::matching::Pair;
use crate::compare::values::{Scale, Sides, Trials};
use crate::compare::{ALPHA, CompareError, TRIALS_FOR_VERDICT};

/// A term at a point whose estimate lies beyond its allowance.
struct Beyond {
    told: String,
    /// p-value of "within the allowance"; absent with too few trials.
    p_value: Option<f64>,
}

/// Judges every term at every point.
pub(crate) fn judge(
    pairs: &[Pair<'_>],
    terms: &[GateTerm],
    order: TrialOrder,
) -> Result<Gate, CompareError> {
    let mut gate =
        Gate { terms: terms.iter().map(GateTerm::to_string).collect(), ..Gate::default() };
    let mut p_values = Vec::new();
    let mut beyond: Vec<(Option<usize>, Beyond)> = Vec::new();
    for term in terms {
        has_baseline(pairs, term)?;
        for pair in pairs.iter().filter(|pair| pair.kind() == term.metric.kind()) {
            match at_point(pair, term, order) {
                Outcome::Failed(why) => gate.failures.push(why),
                Outcome::Undecided(why) => gate.undecided.push(why),
                Outcome::Kept(p_value) => p_values.extend(p_value),
                Outcome::Beyond(found) => {
                    let index = found.p_value.map(|p| {
                        p_values.push(p);
                        p_values.len() - 1
                    });
                    beyond.push((index, found));
                }
            }
        }
    }
    let adjusted = holm(&p_values);
    for (index, found) in beyond {
        match index.map(|index| adjusted[index]) {
            Some(p) if p < ALPHA => gate.failures.push(found.told),
            Some(_) => gate.undecided.push(format!("{}, but not for certain", found.told)),
            None => gate.undecided.push(format!(
                "{}, but fewer than {TRIALS_FOR_VERDICT} trials a side prove nothing",
                found.told
            )),
        }
    }
    gate.passed = gate.failures.is_empty();
    Ok(gate)
}

fn has_baseline(pairs: &[Pair<'_>], term: &GateTerm) -> Result<(), CompareError> {
    let metric = term.metric;
    if pairs.iter().any(|pair| Trials::of(pair, metric).has_baseline()) {
        return Ok(());
    }
    let reason = Trials::of(&pairs[0], metric).why_not();
    Err(CompareError::GateWithoutBaseline { metric: metric.to_string(), reason })
}

enum Outcome {
    /// Beyond the allowance, without a test.
    Failed(String),
    /// Cannot be tested.
    Undecided(String),
    /// The estimate is within the allowance; its p-value counts among the tests.
    Kept(Option<f64>),
    Beyond(Beyond),
}

fn at_point(pair: &Pair<'_>, term: &GateTerm, order: TrialOrder) -> Outcome {
    let metric = term.metric;
    let trials = Trials::of(pair, metric);
    let place = pair.name();
    let untold = || format!("{term} at {place}: {}", trials.why_not());
    if !trials.has_baseline() {
        return Outcome::Undecided(untold());
    }
    // To pass because so many requests failed that the figure is lost would reward the worst.
    if trials.lost_to_failures() {
        return Outcome::Failed(untold());
    }
    let scale = match term.allowance {
        Allowance::Ratio(_) => Scale::Ratio,
        Allowance::Difference(_) => Scale::Difference,
    };
    match trials.on(scale) {
        Some(sides) => judged(&place, term, scale, &sides, order),
        None => Outcome::Undecided(untold()),
    }
}

fn judged(place: &str, term: &GateTerm, scale: Scale, sides: &Sides, order: TrialOrder) -> Outcome {
    let limit = match term.allowance {
        Allowance::Ratio(ratio) => ratio.ln_1p(),
        Allowance::Difference(difference) => difference,
    };
    let effect = sides.effect(order);
    let (from, to) = sides.means();
    let estimate = effect.map_or(to - from, |effect| effect.estimate);
    let is_floor = term.metric.higher_is_better();
    let is_enough = sides.baseline.len().min(sides.candidate.len()) >= TRIALS_FOR_VERDICT;
    let p_value = effect.filter(|_| is_enough).map(|effect| {
        let above = effect.p_above(limit);
        if is_floor { 1.0 - above } else { above }
    });
    if (is_floor && estimate >= limit) || (!is_floor && estimate <= limit) {
        return Outcome::Kept(p_value);
    }
    let told = told(place, term, scale, estimate, effect.as_ref());
    Outcome::Beyond(Beyond { told, p_value })
}

/// "ttft_p99<=+5% at concurrency 4: it changed by +12.1 % (+9.8 % to +14.5 %)".
fn told(
    place: &str,
    term: &GateTerm,
    scale: Scale,
    estimate: f64,
    effect: Option<&Effect>,
) -> String {
    let amount = |difference: f64| amount(term.metric, scale, scale.change(difference));
    let interval = effect.map(|effect| {
        let (low, high) = effect.interval();
        format!(" ({} to {})", amount(low), amount(high))
    });
    let interval = interval.unwrap_or_default();
    format!("{term} at {place}: it changed by {}{interval}", amount(estimate))
}

/// A change with its sign and unit.
fn amount(metric: TrialMetric, scale: Scale, change: f64) -> String {
    match scale {
        Scale::Ratio => format!("{:+.1} %", change * 100.0),
        Scale::Difference if metric.is_share() => {
            format!("{:+.2} percentage points", change * 100.0)
        }
        Scale::Difference => format!("{:+.3} ms", change / 1e6),
    }
}
