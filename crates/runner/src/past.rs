//! What of a run is done: the trials that need not be repeated, and the points that a search chose.

use std::collections::{BTreeMap, BTreeSet};

use loadline_schema::engine::EngineFacts;
use loadline_schema::event::{EndedEarly, Event, EventKind};
use loadline_schema::plan::{Load, Plan, Stage};
use loadline_schema::record::TrialId;

/// Trials that ended, and chosen points, by stage.
#[derive(Debug, Default)]
pub(crate) struct Past {
    done: BTreeMap<u16, Vec<(TrialId, Load)>>,
    /// Trials of engines and storage: stage, cell, trial.
    cells: BTreeSet<(u16, u16, u16)>,
    engines: BTreeMap<u16, EngineFacts>,
    chosen: BTreeMap<u16, Vec<Load>>,
}

impl Past {
    /// From the events of the earlier parts of a run.
    pub(crate) fn of(events: Vec<Event>, plan: &Plan) -> Self {
        let mut past = Self::default();
        for event in events {
            match event.kind {
                EventKind::PointChosen { stage, load, .. } => {
                    past.chosen.entry(stage).or_default().push(load);
                }
                EventKind::EngineTrial { trial, .. } => past.add_cell(trial),
                EventKind::StorageTrial { trial, measured } if measured.is_complete() => {
                    past.add_cell(trial);
                }
                EventKind::EngineFacts { stage, facts } => {
                    past.engines.insert(stage, *facts);
                }
                EventKind::TrialEnded(end) => {
                    let id = end.trial;
                    let stage = plan.stages.get(usize::from(id.stage)).and_then(Stage::serving);
                    let Some(stage) = stage else { continue };
                    let is_done = match end.ended_early {
                        None => true,
                        // For a search a load that the target refuses is a finding.
                        Some(why) => stage.find.is_some() && why == EndedEarly::StopAfterErrors,
                    };
                    let chosen = past.chosen.get(&id.stage).unwrap_or(&stage.points);
                    let load = chosen.get(usize::from(id.point)).copied();
                    if let Some(load) = load.filter(|_| is_done) {
                        past.add(id, load);
                    }
                }
                _ => {}
            }
        }
        past
    }

    /// Notes a trial that need not be repeated.
    pub(crate) fn add(&mut self, id: TrialId, load: Load) {
        self.done.entry(id.stage).or_default().push((id, load));
    }

    /// What the engine of a stage said in an earlier part.
    pub(crate) fn engine(&self, stage: u16) -> Option<&EngineFacts> {
        self.engines.get(&stage)
    }

    /// Notes a trial of a cell.
    pub(crate) fn add_cell(&mut self, id: TrialId) {
        self.cells.insert((id.stage, id.point, id.trial));
    }

    /// The trials of a stage in the order in which they ended.
    pub(crate) fn done(&self, stage: u16) -> &[(TrialId, Load)] {
        self.done.get(&stage).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_done(&self, stage: u16, point: u16, trial: u16) -> bool {
        self.cells.contains(&(stage, point, trial))
            || self.done(stage).iter().any(|(id, _)| (id.point, id.trial) == (point, trial))
    }

    /// Trials of a point so far: the number of the next one.
    pub(crate) fn trials_of(&self, stage: u16, point: u16) -> u16 {
        self.done(stage).iter().filter(|(id, _)| id.point == point).count() as u16
    }

    /// Number of the point with this load, and whether it is new.
    pub(crate) fn point(&mut self, stage: u16, load: Load) -> (u16, bool) {
        let chosen = self.chosen.entry(stage).or_default();
        match chosen.iter().position(|known| *known == load) {
            Some(known) => (known as u16, false),
            None => {
                chosen.push(load);
                (chosen.len() as u16 - 1, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_keeps_its_number_and_counts_its_trials() {
        let mut past = Past::default();
        let load = |concurrency| Load::Closed { concurrency };
        assert_eq!(past.point(0, load(1)), (0, true));
        assert_eq!(past.point(0, load(2)), (1, true));
        assert_eq!(past.point(0, load(1)), (0, false));
        let id = TrialId { stage: 0, point: 1, trial: 0, part: 0 };
        past.add(id, load(2));
        assert_eq!((past.trials_of(0, 0), past.trials_of(0, 1)), (0, 1));
        assert!(past.is_done(0, 1, 0) && !past.is_done(0, 1, 1) && !past.is_done(1, 1, 0));
        assert_eq!(past.done(0), [(id, load(2))]);
    }
}
