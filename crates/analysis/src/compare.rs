//! A candidate beside its baseline: which figures changed, by how much, how sure that is, and
//! whether a gate lets it pass.
//!
//! The unit is the trial: each gives one value of each metric ([`Point::per_trial`]), and the
//! spread of those is the noise that a change has to stand out from. Requests of one trial share
//! its conditions, so that even a million of them say nothing about the next trial.

use loadline_schema::document::{Document, Point};
use loadline_schema::event::Warning;
use loadline_schema::gate::{GateTerm, MetricKind, TrialMetric};
use loadline_schema::plan::Plan;
use loadline_schema::verdict::{Change, Comparison, MetricChange};

mod effect;
mod gate;
mod matching;
mod order;
mod values;

use crate::engine::with_engines;
use crate::storage::{has_paths, with_storage};
use effect::{holm, noise_floor};
use matching::{Differences, Matched, Pair, differences, matched};
use values::{Scale, Sides, Trials};

pub use effect::TrialOrder;
pub use order::{TrialStart, trial_order};

/// Trials on each side from which on there is a verdict.
pub const TRIALS_FOR_VERDICT: usize = 5;
/// The smallest change of a ratio that matters, unless told otherwise.
pub const RELEVANT_RATIO: f64 = 0.05;
/// The smallest change of a share of failures that matters: one percentage point.
pub const RELEVANT_SHARE: f64 = 0.01;
/// Probability of one or more false findings among all metrics of a comparison.
const ALPHA: f64 = 0.05;

/// One side: a run's document and the plan that it followed.
#[derive(Debug, Clone, Copy)]
pub struct CompareSubject<'a> {
    /// The analysis of the run.
    pub document: &'a Document,
    /// The resolved plan.
    pub plan: &'a Plan,
}

/// What a comparison is asked for.
#[derive(Debug, Clone, Copy)]
pub struct CompareOptions<'a> {
    /// Terms of a gate; none: no gate.
    pub gate: &'a [GateTerm],
    /// Compare though settings, models or token lengths differ; the differences are listed.
    pub allow_differences: bool,
    /// The order in which the trials were carried out.
    pub order: TrialOrder,
    /// The smallest change that matters, as a ratio: an interval inside of it means no change.
    pub relevant: f64,
}

impl Default for CompareOptions<'_> {
    fn default() -> Self {
        Self {
            gate: &[],
            allow_differences: false,
            order: TrialOrder::Apart,
            relevant: RELEVANT_RATIO,
        }
    }
}

/// Why two runs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// They did not do the same work, or not under the same conditions.
    #[error("the runs differ in what decides their figures:\n{}", listed(.0))]
    Different(Vec<String>),
    /// No load was measured in both.
    #[error("the runs have no load in common:\n{}", listed(.0))]
    NothingInCommon(Vec<String>),
    /// A side has no complete trial at any common load.
    #[error("the {0} has no complete trial at a load that both runs have")]
    NoTrials(&'static str),
    /// The baseline has nothing that a gate's term could be held against.
    #[error(
        "the gate limits `{metric}`, which the baseline does not have at any common load: {reason}"
    )]
    GateWithoutBaseline {
        /// The metric.
        metric: String,
        /// Why it is not there.
        reason: String,
    },
}

fn listed(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Compares two runs. Points match by their load, stages by their name.
///
/// # Errors
/// The runs differ in settings that matter (prompt, output, API, kind of extent, arrival, model,
/// mean token lengths by more than 2 %, …) and `allow_differences` is not set; they have no load or
/// no complete trial in common; or the gate limits what the baseline does not have.
pub fn compare(
    baseline: CompareSubject<'_>,
    candidate: CompareSubject<'_>,
    options: &CompareOptions<'_>,
) -> Result<Comparison, CompareError> {
    let with_paths = has_paths(baseline.document) || has_paths(candidate.document);
    let view = |document: &Document| with_storage(with_engines(document), with_paths);
    let (a, b) = (view(baseline.document), view(candidate.document));
    let baseline = CompareSubject { document: &a, ..baseline };
    let candidate = CompareSubject { document: &b, ..candidate };
    let found = matched(baseline.document, candidate.document);
    let Differences { mut grave, told } = differences(baseline, candidate, &found, with_paths);
    // A run of another model may have no load in common either; that is the lesser news.
    if !grave.is_empty() && !options.allow_differences {
        return Err(CompareError::Different(grave));
    }
    let Matched { pairs, unmatched, .. } = found;
    if pairs.is_empty() {
        return Err(CompareError::NothingInCommon(unmatched));
    }
    let has_trials = |side: &dyn Fn(&Pair<'_>) -> usize| pairs.iter().any(|pair| side(pair) > 0);
    if !has_trials(&|pair| pair.baseline.per_trial.len()) {
        return Err(CompareError::NoTrials("baseline"));
    }
    if !has_trials(&|pair| pair.candidate.per_trial.len()) {
        return Err(CompareError::NoTrials("candidate"));
    }
    let mut metrics = Vec::new();
    let mut missing = Missing::default();
    for pair in &pairs {
        metrics.extend(of_point(pair, &wanted(pair, options.gate), options, &mut missing));
    }
    judge(&mut metrics, options.relevant);
    let interleaved = options.order != TrialOrder::Apart;
    let mut warnings = missing.warnings();
    warnings.extend(too_few_trials(&pairs));
    warnings.extend((!interleaved).then(not_interleaved));
    let gate = match options.gate {
        [] => None,
        terms => Some(gate::judge(&pairs, terms, options.order)?),
    };
    grave.extend(told);
    Ok(Comparison {
        baseline: label(baseline.document),
        candidate: label(candidate.document),
        metrics,
        gate,
        unmatched,
        differences: grave,
        interleaved,
        warnings,
    })
}

fn label(document: &Document) -> String {
    document.run.as_ref().map_or_else(String::new, |run| format!("{} {}", run.name, run.id))
}

/// The metrics of every comparison, and those of the gate.
fn wanted(pair: &Pair<'_>, gate: &[GateTerm]) -> Vec<TrialMetric> {
    let mut wanted = match pair.kind() {
        MetricKind::Load => TrialMetric::DEFAULT.to_vec(),
        MetricKind::Engine => TrialMetric::OF_ENGINE.to_vec(),
        // A checkpoint has other figures than random reads: those that either side has.
        MetricKind::Storage => {
            TrialMetric::OF_STORAGE.into_iter().filter(|m| pair.has(*m)).collect()
        }
    };
    for term in gate.iter().filter(|term| term.metric.kind() == pair.kind()) {
        if !wanted.contains(&term.metric) {
            wanted.push(term.metric);
        }
    }
    wanted
}

/// Metrics that cannot be compared, with the reason, and at which points.
#[derive(Default)]
struct Missing(Vec<(String, Vec<String>)>);

impl Missing {
    fn add(&mut self, what: String, place: String) {
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, places)) => places.push(place),
            None => self.0.push((what, vec![place])),
        }
    }

    fn warnings(self) -> Vec<Warning> {
        let told = self.0.into_iter().map(|(what, places)| {
            Warning::new(
                "not_compared",
                format!("there is no comparison of {what} at {}", places.join(", ")),
                "measure longer trials on a quiet client, so that each gives every figure",
            )
        });
        told.collect()
    }
}

/// The metrics of one point without their verdicts, which all of them together decide.
fn of_point(
    pair: &Pair<'_>,
    wanted: &[TrialMetric],
    options: &CompareOptions<'_>,
    missing: &mut Missing,
) -> Vec<MetricChange> {
    let mut changes = Vec::new();
    for metric in wanted {
        let scale = Scale::of(*metric);
        let trials = Trials::of(pair, *metric);
        match trials.on(scale) {
            Some(sides) => changes.push(change(pair, *metric, &trials, &sides, options.order)),
            None => missing.add(format!("{metric} ({})", trials.why_not()), pair.name()),
        }
    }
    changes
}

fn change(
    pair: &Pair<'_>,
    metric: TrialMetric,
    trials: &Trials<'_>,
    sides: &Sides,
    order: TrialOrder,
) -> MetricChange {
    let scale = Scale::of(metric);
    let effect = sides.effect(order);
    let (from, to) = sides.means();
    let interval = effect.map(|effect| effect.interval());
    let floor = noise_floor(&sides.baseline, sides.candidate.len(), order, sides.least.0);
    let estimate = effect.map_or(to - from, |effect| effect.estimate);
    let is_enough = sides.baseline.len().min(sides.candidate.len()) >= TRIALS_FOR_VERDICT;
    // Where nothing failed on either side there is nothing to test: counting it among the tests
    // would only make the others weaker.
    let is_tested = is_enough && !(metric.is_share() && trials.no_failures());
    MetricChange {
        stage: pair.stage.to_owned(),
        point: pair.baseline.load.clone(),
        metric: metric.to_string(),
        baseline: scale.back(from),
        candidate: scale.back(to),
        change: scale.change(estimate),
        low: interval.map(|(low, _)| scale.change(low)),
        high: interval.map(|(_, high)| scale.change(high)),
        p_value: effect.filter(|_| is_tested).map(|effect| effect.p_value()),
        noise_floor: floor.map(|half| scale.change(half)),
        higher_is_better: metric.higher_is_better(),
        absolute: metric.is_share(),
        trials: (sides.baseline.len() as u32, sides.candidate.len() as u32),
        verdict: Change::Inconclusive,
    }
}

/// Adjusts the p-values over all metrics of all points, and decides.
fn judge(metrics: &mut [MetricChange], relevant: f64) {
    let raw: Vec<f64> = metrics.iter().filter_map(|metric| metric.p_value).collect();
    let tested = metrics.iter_mut().filter(|metric| metric.p_value.is_some());
    for (metric, adjusted) in tested.zip(holm(&raw)) {
        metric.p_value = Some(adjusted);
    }
    for metric in metrics {
        metric.verdict = verdict(metric, relevant);
    }
}

fn verdict(metric: &MetricChange, relevant: f64) -> Change {
    let enough = metric.trials.0.min(metric.trials.1) as usize >= TRIALS_FOR_VERDICT;
    let (Some(low), Some(high), true) = (metric.low, metric.high, enough) else {
        return Change::Inconclusive;
    };
    if metric.p_value.is_some_and(|p| p < ALPHA) {
        let better = (metric.change > 0.0) == metric.higher_is_better;
        return if better { Change::Improved } else { Change::Regressed };
    }
    let relevant = if metric.absolute { RELEVANT_SHARE } else { relevant };
    if low >= -relevant && high <= relevant { Change::NoChange } else { Change::Inconclusive }
}

fn too_few_trials(pairs: &[Pair<'_>]) -> Option<Warning> {
    let trials = |point: &Point| point.per_trial.len();
    let least = pairs.iter().map(|p| trials(p.baseline).min(trials(p.candidate))).min()?;
    (least < TRIALS_FOR_VERDICT).then(|| {
        Warning::new(
            "too_few_trials",
            format!(
                "a side has only {least} complete {}: with fewer than {TRIALS_FOR_VERDICT} there is no \
                 verdict, and no gate can fail for it",
                if least == 1 { "trial" } else { "trials" }
            ),
            format!("measure both sides with --trials {TRIALS_FOR_VERDICT} or more"),
        )
    })
}

fn not_interleaved() -> Warning {
    Warning::new(
        "not_interleaved",
        "the runs were not carried out in turns: whatever else changed between them (heat, \
         neighbours, clocks) counts as a change",
        "let the trials of both sides take turns",
    )
}
