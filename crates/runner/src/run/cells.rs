//! Trials of stages that measure cells: engines and storage.

use loadline_schema::event::{Event, EventKind, Warning};
use loadline_schema::record::TrialId;

use super::{PreparedStage, Session};
use crate::storage_stage::{Outcome, Told};

impl Session<'_> {
    /// Removes what a storage stage made.
    pub(super) fn close_storage(&mut self, quick: bool, watch: &mut dyn FnMut(&Event)) {
        let events = match self.stages.front_mut() {
            Some(PreparedStage::Storage(stage)) => stage.close(quick),
            _ => return,
        };
        for kind in events {
            self.tell(watch, kind);
        }
    }

    /// Carries out the next trial of a storage stage; whether there was one.
    pub(super) fn storage_trial(&mut self, watch: &mut dyn FnMut(&Event)) -> bool {
        let Some(PreparedStage::Storage(stage)) = self.stages.front_mut() else { return false };
        let Some((point, trial)) = stage.next_trial(&self.past) else { return false };
        let id = TrialId { stage: stage.index(), point, trial, part: self.part };
        let (clock, recorder) = (self.clock, &self.recorder);
        let mut tell = |kind: EventKind| {
            let event = Event { at_ns: clock.now_ns(), kind };
            watch(&event);
            recorder.event(&event);
        };
        tell(EventKind::TrialStarted { trial: id });
        let (outcome, events) = stage.measure(id, clock, &self.stop, &mut |told| match told {
            Told::Rows(intervals, slow) => recorder.io(intervals, slow),
            Told::Progress(progress) => tell(EventKind::StorageProgress(progress)),
        });
        events.into_iter().for_each(&mut tell);
        match outcome {
            Outcome::Ended(measured) => {
                if measured.is_complete() && measured.failure.is_none() {
                    self.past.add_cell(id);
                } else if self.stop.why().is_none() {
                    self.cell_failed = true;
                }
                tell(EventKind::StorageTrial { trial: id, measured });
            }
            Outcome::Failed(why) => match self.stop.why() {
                Some(early) => {
                    self.ended_early.get_or_insert(early);
                }
                None => {
                    tell(EventKind::StorageCellFailed { trial: id, why });
                    self.cell_failed = true;
                }
            },
        }
        self.recorder.flush();
        true
    }

    /// Carries out the next cell of an engine stage; whether there was one.
    pub(super) fn cell(&mut self, watch: &mut dyn FnMut(&Event)) -> bool {
        let Some(PreparedStage::Engine(stage)) = self.stages.front_mut() else { return false };
        let Some((point, missing)) = stage.next_cell(&self.past) else { return false };
        let (clock, recorder, past) = (self.clock, &mut self.recorder, &mut self.past);
        let index = stage.index();
        let id = |trial| TrialId { stage: index, point, trial, part: self.part };
        let mut tell = |kind: EventKind| {
            let event = Event { at_ns: clock.now_ns(), kind };
            watch(&event);
            recorder.event(&event);
        };
        tell(EventKind::TrialStarted { trial: id(missing[0]) });
        let mut measured = 0;
        let result = stage.measure(point, missing.len() as u32, &self.stop, &mut |trial| {
            let Some(number) = missing.get(measured) else { return };
            measured += 1;
            past.add_cell(id(*number));
            tell(EventKind::EngineTrial { trial: id(*number), measured: trial });
            if let Some(next) = missing.get(measured) {
                tell(EventKind::TrialStarted { trial: id(*next) });
            }
        });
        let number = missing.get(measured).or(missing.last()).copied().unwrap_or_default();
        match (result, self.stop.why()) {
            (Err(_), Some(why)) => {
                self.ended_early.get_or_insert(why);
            }
            (Err(why), None) => {
                tell(EventKind::EngineCellFailed { trial: id(number), why });
                self.cell_failed = true;
            }
            (Ok(notes), _) => {
                let place = stage.place(point);
                for note in notes {
                    let message = format!("{place}: {note}");
                    tell(EventKind::Warning(Warning::new("engine_note", message, "")));
                }
            }
        }
        self.recorder.flush();
        true
    }
}
