//! One reactor's share of the load: which operation to start now, and how long to wait.

use std::sync::Arc;

use loadline_schema::outcome::ErrorKind;
use loadline_schema::plan::Load;

use crate::closed::Slots;
use crate::open::Share;
use crate::shared::Shared;
use crate::trial::TrialLoad;

/// A reactor calls [`Control::next`] at least this often, ns: the end of the warm-up, the end of the
/// trial and a stop reach it from others only there. No operation depends on it: only how soon a
/// trial that is over is left does.
pub const POLL_NS: u64 = 50_000_000;

/// An operation that is due. Handed out by [`Control::next`] and given back to [`Control::ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Number in the trial, unique over its reactors, dense from 0. Open loop: index of the arrival,
    /// so that the same arrival has the same number in every run.
    pub id: u64,
    /// When it was due, ns. Never moved, however late it is handed out.
    pub intended_ns: u64,
    /// Slot of this reactor that it occupies (closed loop).
    pub(crate) slot: u32,
    /// In a trial by count: whether it is one of the measured operations.
    pub(crate) measured: bool,
}

impl Op {
    /// How late it is at `now`, ns: the client's own delay if it is sent then.
    pub fn lateness_ns(self, now: u64) -> u64 {
        now.saturating_sub(self.intended_ns)
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this operation now, then ask again.
    Start(Op),
    /// This operation was due and is not sent: `InFlightLimit` or `TrialEnded`. Record it as
    /// dropped, then ask again; it is not given back to [`Control::ended`].
    Drop(Op, ErrorKind),
    /// Nothing to do before this clock value, or before an operation ends; ask again within
    /// [`POLL_NS`] in any case.
    WaitUntil(u64),
    /// Nothing to do until an operation of this reactor ends; ask again within [`POLL_NS`] in any
    /// case.
    WaitForEnd,
    /// The trial is over for this reactor. What it still has in flight (drain phase, warm-up of a
    /// trial by count; anything when the trial ended early) is to be cancelled.
    Done,
}

/// One reactor's share of a trial.
#[derive(Debug)]
pub struct Control {
    shared: Arc<Shared>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Closed(Slots),
    Open(Share),
}

impl Control {
    /// The share of reactor number `reactor` (from 0) of `reactors`. `shared` must have been made
    /// from the same load for the same number of reactors. The slots of a closed loop are divided
    /// so that their sum is exactly the concurrency; some reactors have none where there are more
    /// reactors than slots.
    pub fn new(load: &TrialLoad, shared: Arc<Shared>, reactor: u32, reactors: u32) -> Self {
        let source = match load.load {
            Load::Closed { concurrency } => {
                Source::Closed(Slots::new(load, concurrency, &shared, reactor, reactors))
            }
            Load::Open { .. } | Load::Burst { .. } => {
                Source::Open(Share::new(load, &shared, reactor, reactors))
            }
        };
        Self { shared, source }
    }

    /// Slots of this reactor in closed loop: how many connections to open before the start. Open
    /// loop: 0.
    pub fn slots(&self) -> u64 {
        match &self.source {
            Source::Closed(slots) => slots.len(),
            Source::Open(_) => 0,
        }
    }

    /// The state that all reactors of the trial have in common.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What to do at `now`. A late call gets everything that has become due, one operation a call,
    /// in order of intended time.
    pub fn next(&mut self, now: u64) -> Step {
        self.shared.heed_stop(now);
        if self.shared.end_ns().is_none() {
            let due = match &mut self.source {
                Source::Closed(slots) => slots.due(now, &self.shared),
                Source::Open(share) => share.due(now, &self.shared),
            };
            if let Some(step) = due {
                return step;
            }
            match &mut self.source {
                Source::Closed(slots) => slots.leave_window(now, &self.shared),
                Source::Open(share) => share.leave_window(now, &self.shared),
            }
        }
        match (self.shared.end_ns(), &mut self.source) {
            (Some(end), Source::Closed(slots)) => left_over(slots.left_over(end, &self.shared)),
            (Some(end), Source::Open(share)) => left_over(share.left_over(end, &self.shared)),
            (None, Source::Closed(slots)) => self.shared.wait(now, slots.next_due()),
            (None, Source::Open(share)) => self.shared.wait(now, share.next_due()),
        }
    }

    /// The operation is over: at `when` (the arrival of its last byte, where that is known; it may
    /// lie before the last `now`), and `ok` or not. In closed loop its slot is free from `when` on.
    /// Once the trial is over, calls only lower the number in flight.
    pub fn ended(&mut self, op: Op, when: u64, ok: bool) {
        let going_on = self.shared.note_ended(op, when, ok);
        if !going_on {
            return;
        }
        match &mut self.source {
            Source::Closed(slots) => slots.ended(op, when, &self.shared),
            Source::Open(share) => share.ended(op, &self.shared),
        }
    }
}

fn left_over(op: Option<Op>) -> Step {
    op.map_or(Step::Done, |op| Step::Drop(op, ErrorKind::TrialEnded))
}
