//! A storage stage: path after path, trial after trial, every cell in each, so that a drift of the
//! storage spreads over all cells.

use std::collections::BTreeMap;

use loadline_clock::RunClock;
use loadline_schema::event::{EventKind, StorageProgress, Warning};
use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    EndedBy, IoInterval, SlowIo, StorageCell, StorageStage, StorageTrial,
};
use loadline_serving::trial::Stop;

use crate::RunError;
use crate::launch::{Launch, Storage, StorageRow};
use crate::past::Past;

/// Rows that are handed on together.
const BATCH: usize = 256;

/// A stage whose paths were looked at.
pub struct PreparedStorage<'a> {
    index: u16,
    stage: &'a StorageStage,
    storage: Box<dyn Storage>,
    opening: Vec<EventKind>,
    /// The path that is open now.
    open: Option<&'a str>,
    /// Paths that are given up, and why.
    given_up: BTreeMap<&'a str, String>,
    /// The next trial and cell, path by path.
    next: usize,
}

/// What carrying out a trial came to.
pub(crate) enum Outcome {
    /// It ended, as its [`EndedBy`] says.
    Ended(Box<StorageTrial>),
    /// It could not be carried out.
    Failed(String),
}

/// Rows of a trial under way, and what is done now.
pub(crate) enum Told {
    Rows(Vec<IoInterval>, Vec<SlowIo>),
    Progress(StorageProgress),
}

impl<'a> PreparedStorage<'a> {
    /// Looks at every path; nothing is made.
    ///
    /// # Errors
    /// The first path that is refused.
    pub fn new(
        index: u16,
        stage: &'a StorageStage,
        seed: u64,
        launch: &dyn Launch,
    ) -> Result<Self, RunError> {
        let mut storage = launch.storage(stage, seed)?;
        let mut opening = Vec::new();
        for path in stage.paths() {
            let (facts, leftovers) = storage.look(path).map_err(RunError::Storage)?;
            opening.push(EventKind::StorageFacts {
                stage: index,
                facts: Box::new(facts),
                leftovers,
            });
        }
        Ok(Self { index, stage, storage, opening, open: None, given_up: BTreeMap::new(), next: 0 })
    }

    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// The stage as planned.
    pub fn stage(&self) -> &'a StorageStage {
        self.stage
    }

    /// What is known before the first trial.
    pub fn opening_events(&self) -> Vec<EventKind> {
        self.opening.clone()
    }

    /// Point and trial of everything that is to be done, in order.
    fn order(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.stage.paths().into_iter().flat_map(move |path| {
            (0..self.stage.trials as u16).flat_map(move |trial| {
                let cells = (0..).zip(&self.stage.cells);
                cells
                    .filter(move |(_, cell)| cell.path == path)
                    .map(move |(point, _)| (point, trial))
            })
        })
    }

    /// The next trial that was not carried out yet: its point and number.
    pub(crate) fn next_trial(&mut self, past: &Past) -> Option<(u16, u16)> {
        let found = self
            .order()
            .enumerate()
            .skip(self.next)
            .find(|(_, (point, trial))| !past.is_done(self.index, *point, *trial));
        self.next = found.map_or(usize::MAX, |(at, _)| at + 1);
        found.map(|(_, trial)| trial)
    }

    /// Carries out a trial. Opens its path first where another is open; what closing the last one
    /// left is in the warnings.
    pub(crate) fn measure(
        &mut self,
        id: TrialId,
        clock: RunClock,
        stop: &Stop,
        tell: &mut dyn FnMut(Told),
    ) -> (Outcome, Vec<EventKind>) {
        let stage = self.stage;
        let cell: &StorageCell = &stage.cells[usize::from(id.point)];
        let path: &str = &cell.path;
        let mut events = Vec::new();
        if let Some(why) = self.given_up.get(path) {
            return (Outcome::Failed(why.clone()), events);
        }
        if self.open != Some(path) {
            events.extend(self.close(false));
            let opened = self.storage.open(path, stop);
            match opened {
                Ok((facts, leftovers)) => events.push(EventKind::StorageFacts {
                    stage: self.index,
                    facts: Box::new(facts),
                    leftovers,
                }),
                Err(why) => {
                    self.given_up.insert(path, why.clone());
                    return (Outcome::Failed(why), events);
                }
            }
            self.open = Some(path);
        }
        let (mut intervals, mut slow) = (Vec::new(), Vec::new());
        let measured = self.storage.measure(id, cell, clock, stop, &mut |row| {
            match row {
                StorageRow::Interval(row) => intervals.push(row),
                StorageRow::Slow(row) => slow.push(row),
                StorageRow::Progress { doing, done, bytes_per_s } => {
                    tell(Told::Rows(std::mem::take(&mut intervals), std::mem::take(&mut slow)));
                    let trial = id;
                    tell(Told::Progress(StorageProgress { trial, doing, done, bytes_per_s }));
                }
            }
            if intervals.len() + slow.len() >= BATCH {
                tell(Told::Rows(std::mem::take(&mut intervals), std::mem::take(&mut slow)));
            }
        });
        tell(Told::Rows(intervals, slow));
        match measured {
            Ok(trial) => {
                if trial.ended_by == EndedBy::Stalled {
                    let why = trial.failure.as_ref().map(|failure| failure.message.clone());
                    let why = why.unwrap_or_else(|| "the file system hangs".to_owned());
                    self.given_up.insert(path, why);
                    events.extend(self.close(true));
                }
                (Outcome::Ended(Box::new(trial)), events)
            }
            Err(why) => (Outcome::Failed(why), events),
        }
    }

    /// Removes everything that was made, at once where it must be quick.
    pub(crate) fn close(&mut self, quick: bool) -> Vec<EventKind> {
        if self.open.take().is_none() {
            return Vec::new();
        }
        let left = self.storage.close(quick);
        left.into_iter()
            .map(|what| {
                let message =
                    format!("{}: not everything could be removed: {what}", self.stage.name);
                let advice = "remove it by hand once the file system answers, where nobody uses it";
                EventKind::Warning(Warning::new("storage_left", message, advice))
            })
            .collect()
    }
}

impl Drop for PreparedStorage<'_> {
    fn drop(&mut self) {
        self.close(true);
    }
}

impl std::fmt::Debug for PreparedStorage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedStorage").field("stage", &self.stage.name).finish_non_exhaustive()
    }
}
