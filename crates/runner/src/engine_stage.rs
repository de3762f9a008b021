//! An engine stage: its cells one after the other, each with all of its trials.

use loadline_schema::engine::{EngineCell, EngineFacts, EngineStage, EngineTrial};
use loadline_schema::event::{EventKind, Warning};
use loadline_serving::trial::Stop;

use crate::RunError;
use crate::launch::{Engine, Launch};
use crate::past::Past;

/// A stage whose engine is open.
pub struct PreparedEngine<'a> {
    index: u16,
    stage: &'a EngineStage,
    engine: Box<dyn Engine>,
    opening: Vec<EventKind>,
    /// The next cell.
    next: usize,
}

impl<'a> PreparedEngine<'a> {
    /// Opens the engine.
    ///
    /// # Errors
    /// As [`Launch::engine`].
    pub fn new(index: u16, stage: &'a EngineStage, launch: &dyn Launch) -> Result<Self, RunError> {
        let engine = launch.engine(stage)?;
        let facts = Box::new(engine.facts());
        let opening = vec![EventKind::EngineFacts { stage: index, facts }];
        Ok(Self { index, stage, engine, opening, next: 0 })
    }

    /// Whether the engine and its model are those of an earlier part of the run.
    pub(crate) fn check_same(&self, past: &Past) -> Result<(), RunError> {
        let now = self.engine.facts();
        let Some(then) = past.engine(self.index) else { return Ok(()) };
        let differs = |what: &str, then: &str, now: &str| {
            Err(RunError::Engine(format!(
                "{}: the {what} is {now}, and was {then} when the run began: one run has one; \
                 start a new run",
                self.stage.name
            )))
        };
        let model = |facts: &EngineFacts| {
            let model = &facts.model;
            format!(
                "{} ({:?} weights, {:?} bytes)",
                model.name, model.parameters, model.weight_bytes
            )
            .replace("Some(", "")
            .replace(')', "")
                + ")"
        };
        if model(then) != model(&now) {
            return differs("model", &model(then), &model(&now));
        }
        let engine = |facts: &EngineFacts| {
            format!("{} {}", facts.name, facts.version.as_deref().unwrap_or_default())
        };
        if engine(then) != engine(&now) {
            return differs("engine", &engine(then), &engine(&now));
        }
        Ok(())
    }

    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// The stage as planned.
    pub fn stage(&self) -> &'a EngineStage {
        self.stage
    }

    /// What is known before the first cell.
    pub fn opening_events(&self) -> Vec<EventKind> {
        self.opening.clone()
    }

    /// What goes before the first cell, when the stage begins: the memory bandwidth.
    pub(crate) fn bandwidth(&self, launch: &dyn Launch, past: &Past) -> Option<EventKind> {
        if !self.stage.memory_bandwidth || self.is_done(past) {
            return None;
        }
        Some(match launch.memory_bandwidth() {
            Ok(bandwidth) => EventKind::MemoryBandwidth { stage: self.index, bandwidth },
            Err(error) => EventKind::Warning(Warning::new(
                "no_memory_bandwidth",
                format!("{}: memory bandwidth was not measured: {error}", self.stage.name),
                "without it the report cannot say how much of it generation takes",
            )),
        })
    }

    fn is_done(&self, past: &Past) -> bool {
        let cells = 0..self.stage.cells.len() as u16;
        let trials = self.stage.trials as u16;
        cells.into_iter().all(|cell| (0..trials).all(|t| past.is_done(self.index, cell, t)))
    }

    /// The next cell with trials that are missing: its index and their numbers.
    pub(crate) fn next_cell(&mut self, past: &Past) -> Option<(u16, Vec<u16>)> {
        while self.next < self.stage.cells.len() {
            let point = self.next as u16;
            self.next += 1;
            let trials = 0..self.stage.trials as u16;
            let missing: Vec<u16> =
                trials.filter(|trial| !past.is_done(self.index, point, *trial)).collect();
            if !missing.is_empty() {
                return Some((point, missing));
            }
        }
        None
    }

    /// A cell in words.
    pub(crate) fn place(&self, point: u16) -> String {
        self.stage.cells[usize::from(point)].place(self.stage.cells.iter())
    }

    pub(crate) fn measure(
        &mut self,
        point: u16,
        trials: u32,
        stop: &Stop,
        each: &mut dyn FnMut(EngineTrial),
    ) -> Result<Vec<String>, String> {
        let cell: &EngineCell = &self.stage.cells[usize::from(point)];
        self.engine.measure(cell, trials, stop, each)
    }
}

impl std::fmt::Debug for PreparedEngine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedEngine").field("stage", &self.stage.name).finish_non_exhaustive()
    }
}
