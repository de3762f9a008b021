//! What the analysis reads: trials with their rows, and what is known about their stage.

use std::collections::BTreeMap;

use loadline_schema::cost::CostPlan;
use loadline_schema::document::Selftest;
use loadline_schema::event::{Calibration, TargetFacts, TrialEnd, Warning};
use loadline_schema::plan::ServingStage;
use loadline_schema::record::{RequestRow, Start, TrialId};
use loadline_schema::sla::Sla;

use crate::observed::StageObservation;

/// All that one trial left behind.
#[derive(Debug, Clone)]
pub struct TrialInput {
    /// Which trial.
    pub id: TrialId,
    /// Its records, in any order. Rows of other trials are left out.
    pub rows: Vec<RequestRow>,
    /// Its started operations, in any order. Starts of other trials are left out.
    pub starts: Vec<Start>,
    /// Its end; absent when the client was killed in it.
    pub end: Option<TrialEnd>,
    /// When its measure phase began, ns (event `phase_started`): tells which operations without a
    /// record belong to the cohort where `end` is absent. Absent when not known or not reached.
    pub measure_from_ns: Option<u64>,
}

/// What is known about a stage.
#[derive(Debug, Clone, Copy)]
pub struct StageInput<'a> {
    /// The stage as planned.
    pub stage: &'a ServingStage,
    /// What the target said about itself.
    pub facts: Option<&'a TargetFacts>,
    /// What the request before the load found out.
    pub calibration: Option<&'a Calibration>,
    /// What the client can measure on this machine.
    pub selftest: Option<&'a Selftest>,
    /// The targets that its points are judged by.
    pub sla: &'a [Sla],
    /// What its points are priced with.
    pub cost: Option<&'a CostPlan>,
    /// What observers read meanwhile.
    pub observed: Option<&'a StageObservation>,
}

/// The trials that count, in plan order: of each trial that was begun in several parts of the run
/// (a resume repeats the trial it was killed in) only the latest.
pub fn latest_parts(ids: impl IntoIterator<Item = TrialId>) -> Vec<TrialId> {
    let mut latest: BTreeMap<(u16, u16, u16), TrialId> = BTreeMap::new();
    for id in ids {
        let kept = latest.entry((id.stage, id.point, id.trial)).or_insert(id);
        if id.part > kept.part {
            *kept = id;
        }
    }
    latest.into_values().collect()
}

/// Warnings in order, each code and message once: a stage warns in every part of a run.
pub(crate) fn without_repeats(warnings: Vec<Warning>) -> Vec<Warning> {
    let mut kept: Vec<Warning> = Vec::with_capacity(warnings.len());
    for warning in warnings {
        if !kept.contains(&warning) {
            kept.push(warning);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_part_of_a_trial_counts() {
        let id = |point, trial, part| TrialId { stage: 0, point, trial, part };
        let chosen =
            latest_parts([id(1, 0, 1), id(0, 0, 0), id(0, 1, 0), id(0, 1, 1), id(1, 0, 0)]);
        assert_eq!(chosen, [id(0, 0, 0), id(0, 1, 1), id(1, 0, 1)]);
        assert!(latest_parts([]).is_empty());
    }

    #[test]
    fn a_repeated_warning_is_told_once() {
        let a = Warning::new("a", "first", "do");
        let b = Warning::new("a", "second", "do");
        assert_eq!(without_repeats(vec![a.clone(), b.clone(), a.clone()]), [a, b]);
    }
}
