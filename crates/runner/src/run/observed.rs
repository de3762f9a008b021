//! The observers of a serving stage: started before its first trial, ended after its last.

use std::time::Duration;

use loadline_schema::event::{Event, EventKind};

use super::{PreparedStage, Session};
use crate::observers::Course;
use crate::serving_stage::Prepared;

/// How long a wait goes on before somebody asks whether the run was stopped.
const GLANCE: Duration = Duration::from_millis(50);

impl Session<'_> {
    /// Starts the observers of a serving stage and takes the idle power, where there is a meter.
    pub(super) fn start_observers(&mut self, watch: &mut dyn FnMut(&Event)) {
        let Some(PreparedStage::Serving(stage)) = self.stages.front() else { return };
        let (plan, index) = (stage.observe_plan(), stage.index());
        if self.is_done(stage) {
            return;
        }
        let (machine, mut observing) = stage.observing(self.hardware, self.clock);
        let course = Course {
            stage: index,
            clock: self.clock,
            interval_ns: plan.interval_ns,
            sink: self.recorder.samples(),
        };
        observing.from_ns = self.clock.now_ns();
        let wants_idle = plan.idle_ns > 0 && machine.has_meter(&observing);
        self.observers = stage.observers(machine, &observing, &course);
        if wants_idle {
            let from_ns = self.clock.now_ns();
            let to_ns = from_ns.saturating_add(plan.idle_ns);
            self.tell(watch, EventKind::IdlePower { stage: index, to_ns });
            while self.clock.now_ns() < to_ns && self.stop.why().is_none() {
                std::thread::sleep(GLANCE);
            }
            observing.idle = Some((from_ns, self.clock.now_ns()));
        }
        let observing = Box::new(observing);
        self.tell(watch, EventKind::Observing { stage: index, observing });
    }

    /// Whether every trial of a sweep was carried out in an earlier part of the run.
    fn is_done(&self, stage: &Prepared<'_>) -> bool {
        let Some(points) = stage.points() else { return false };
        let trials = (0..points.len() as u16)
            .flat_map(|point| (0..stage.trials()).map(move |trial| (point, trial)));
        trials.into_iter().all(|(point, trial)| self.past.is_done(stage.index(), point, trial))
    }

    /// Ends the observers of the stage under way.
    pub(super) fn stop_observers(&mut self, watch: &mut dyn FnMut(&Event)) {
        let Some(stage) = self.stages.front() else { return };
        let PreparedStage::Serving(stage) = stage else { return };
        let index = stage.index();
        for observer in std::mem::take(&mut self.observers).finish() {
            self.tell(watch, EventKind::ObserverEnded { stage: index, observer });
        }
    }
}
