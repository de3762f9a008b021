//! Open loop and burst: one reactor's share of the arrivals, whose times do not depend on answers.

use loadline_schema::outcome::ErrorKind;
use loadline_schema::plan::Load;

use crate::arrivals::{Arrivals, arrivals};
use crate::control::{Op, Step};
use crate::shared::Shared;
use crate::trial::TrialLoad;

/// The arrivals whose index is this reactor's number modulo the number of reactors. Each reactor
/// generates all of them: that costs some ns each and needs no agreement.
#[derive(Debug)]
pub(crate) struct Share {
    arrivals: Arrivals,
    start_ns: u64,
    stride: usize,
    upcoming: Option<Op>,
    /// Cohort operations in flight here (trial by duration).
    cohort: u64,
    left_window: bool,
}

/// The arrivals of a trial.
pub(crate) fn of_load(load: &TrialLoad) -> Arrivals {
    match load.load {
        Load::Open { rate_per_s, arrival } => arrivals(arrival, rate_per_s, load.seed),
        Load::Burst { .. } | Load::Closed { .. } => Arrivals::at_once(),
    }
}

impl Share {
    pub(crate) fn new(load: &TrialLoad, shared: &Shared, reactor: u32, reactors: u32) -> Self {
        let mut share = Self {
            arrivals: of_load(load),
            start_ns: load.start_ns,
            stride: reactors.max(1) as usize,
            upcoming: None,
            cohort: 0,
            left_window: false,
        };
        let offset = share.arrivals.nth(reactor as usize);
        share.upcoming = share.arrival(u64::from(reactor), offset, shared);
        share
    }

    /// The operation of an arrival, unless the trial has fewer.
    fn arrival(&self, index: u64, offset: Option<u64>, shared: &Shared) -> Option<Op> {
        let measured = shared.arrival_measured(index)?;
        let intended_ns = self.start_ns.saturating_add(offset?);
        Some(Op { id: index, intended_ns, slot: 0, measured })
    }

    fn take(&mut self, shared: &Shared) -> Option<Op> {
        let op = self.upcoming?;
        let offset = self.arrivals.nth(self.stride - 1);
        self.upcoming = self.arrival(op.id + self.stride as u64, offset, shared);
        Some(op)
    }

    /// When the next arrival is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.upcoming.map(|op| op.intended_ns)
    }

    /// The next arrival due at `now`: started, or dropped because the limit is full.
    pub(crate) fn due(&mut self, now: u64, shared: &Shared) -> Option<Step> {
        if self.next_due().is_none_or(|intended| intended > now) {
            return None;
        }
        let op = self.take(shared)?;
        if !shared.try_start() {
            shared.note_dropped(op, now);
            return Some(Step::Drop(op, ErrorKind::InFlightLimit));
        }
        if shared.in_window(op.intended_ns) {
            self.cohort += 1;
        }
        Some(Step::Start(op))
    }

    /// The next arrival that was due before the trial ended at `end` and was not started.
    pub(crate) fn left_over(&mut self, end: u64, shared: &Shared) -> Option<Op> {
        if self.next_due().is_none_or(|intended| intended >= end) {
            return None;
        }
        self.take(shared)
    }

    /// Announces that this reactor has nothing of the cohort left, when it is so. Called when
    /// nothing is due at `now`: all arrivals of a window that is over have been handed out.
    pub(crate) fn leave_window(&mut self, now: u64, shared: &Shared) {
        let over = shared.window_end_ns().is_some_and(|end| now >= end);
        if over && self.cohort == 0 && !self.left_window {
            self.left_window = true;
            shared.reactor_clear(now);
        }
    }

    /// The operation has ended.
    pub(crate) fn ended(&mut self, op: Op, shared: &Shared) {
        if shared.in_window(op.intended_ns) {
            self.cohort -= 1;
        }
    }
}
