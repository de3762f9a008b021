//! What the reactors of one trial have in common: atomics only, no lock.
//!
//! Everything is sequentially consistent: these are touched some ten thousand times a second, and
//! the argument for exact windows (see [`Shared::phase_of`]) needs one order.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use loadline_schema::event::EndedEarly;
use loadline_schema::outcome::Phase;
use loadline_schema::plan::{Extent, Load, Warmup};

use crate::control::{Op, Step};
use crate::open;
use crate::trial::TrialLoad;

/// The measure window has no start yet.
const UNSET: u64 = u64::MAX;
/// The warm-up is over; who reads this fixes the start.
const READY: u64 = u64::MAX - 1;
/// Operations that must have ended before errors can stop a trial.
const LEAST_FOR_ERRORS: u64 = 20;

/// State common to the reactors of one trial.
#[derive(Debug)]
pub struct Shared {
    load: TrialLoad,
    reactors: u32,
    /// Measured operations; `None`: by duration.
    requests: Option<u64>,
    /// Length of the measure window of a trial by duration, ns.
    duration_ns: u64,
    /// Earliest start of the measure window.
    least_end_ns: u64,
    /// Answers per slot that end a warm-up.
    answers_per_slot: u32,
    /// Closed loop by duration: ended operations that end the warm-up.
    warm_ended: Option<u64>,
    /// Closed loop by count: operations handed out before the measured ones.
    warm_tickets: u64,
    /// Open loop by count: index of the first measured arrival.
    first_measured: u64,

    window_start: AtomicU64,
    ready_ns: AtomicU64,
    reactors_ready: AtomicU32,
    /// One past the last intended time that was recorded as warm-up.
    warm_end_ns: AtomicU64,

    ids: AtomicU64,
    warm_taken: AtomicU64,
    measured_taken: AtomicU64,
    measured_over: AtomicU64,
    first_intended_ns: AtomicU64,
    last_ended_ns: AtomicU64,

    reactors_clear: AtomicU32,
    clear_ns: AtomicU64,
    end_ns: AtomicU64,
    stopped: AtomicU8,

    ok: AtomicU64,
    not_ok: AtomicU64,
    dropped: AtomicU64,
    started: AtomicU64,
    in_flight: AtomicU64,
    max_in_flight: AtomicU64,
}

/// Operations of a trial so far, all phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Ended ok.
    pub ok: u64,
    /// Ended otherwise.
    pub not_ok: u64,
    /// Dropped because the limit was full. (Drops at the end of a trial are not counted here.)
    pub dropped: u64,
    /// Started.
    pub started: u64,
    /// In flight now.
    pub in_flight: u64,
    /// Most in flight at once.
    pub max_in_flight: u64,
}

impl Shared {
    /// The state of a new trial that `reactors` reactors carry.
    pub fn new(load: &TrialLoad, reactors: u32) -> Arc<Self> {
        let burst = matches!(load.load, Load::Burst { .. });
        let warmup = if burst { Warmup::Requests { requests: 0 } } else { load.warmup };
        let mut shared = Self::bare(load, reactors.max(1));
        if load.is_empty() {
            shared.end_ns = AtomicU64::new(load.start_ns);
            return Arc::new(shared);
        }
        match load.load {
            Load::Closed { .. } => shared.plan_closed(warmup),
            Load::Open { .. } | Load::Burst { .. } => shared.plan_open(warmup),
        }
        Arc::new(shared)
    }

    fn bare(load: &TrialLoad, reactors: u32) -> Self {
        let duration_ns = match load.extent {
            Extent::Duration { duration_ns } => duration_ns,
            Extent::Requests { .. } => 0,
        };
        Self {
            load: *load,
            reactors,
            requests: load.requests(),
            duration_ns,
            least_end_ns: load.start_ns,
            answers_per_slot: 0,
            warm_ended: None,
            warm_tickets: 0,
            first_measured: 0,
            window_start: AtomicU64::new(UNSET),
            ready_ns: AtomicU64::new(load.start_ns),
            reactors_ready: AtomicU32::new(0),
            warm_end_ns: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            warm_taken: AtomicU64::new(0),
            measured_taken: AtomicU64::new(0),
            measured_over: AtomicU64::new(0),
            first_intended_ns: AtomicU64::new(u64::MAX),
            last_ended_ns: AtomicU64::new(0),
            reactors_clear: AtomicU32::new(0),
            clear_ns: AtomicU64::new(0),
            end_ns: AtomicU64::new(u64::MAX),
            stopped: AtomicU8::new(0),
            ok: AtomicU64::new(0),
            not_ok: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            started: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            max_in_flight: AtomicU64::new(0),
        }
    }

    /// Closed loop: the window's start is known now, or follows from operations that end.
    fn plan_closed(&mut self, warmup: Warmup) {
        let start = self.load.start_ns;
        let mut known = true;
        match warmup {
            Warmup::Duration { duration_ns } => self.least_end_ns = start + duration_ns,
            Warmup::Steady { least_ns, answers_per_slot } => {
                self.least_end_ns = start + least_ns;
                self.answers_per_slot = answers_per_slot;
                known = answers_per_slot == 0;
            }
            Warmup::Requests { requests } if self.by_count() => self.warm_tickets = requests,
            Warmup::Requests { requests: 0 } => {}
            Warmup::Requests { requests } => {
                self.warm_ended = Some(requests);
                known = false;
            }
        }
        if known {
            self.window_start = AtomicU64::new(self.least_end_ns);
        }
    }

    /// Open loop: every intended time is known beforehand, and with them the window's start.
    fn plan_open(&mut self, warmup: Warmup) {
        let start = self.load.start_ns;
        let mut arrivals = open::of_load(&self.load);
        let warm_ns = match warmup {
            Warmup::Duration { duration_ns } => duration_ns,
            Warmup::Steady { least_ns, .. } => least_ns,
            Warmup::Requests { requests: 0 } if !self.by_count() => 0,
            Warmup::Requests { requests } => {
                let offset = arrivals.nth(requests as usize).unwrap_or(0);
                self.first_measured = requests;
                self.first_intended_ns = AtomicU64::new(start + offset);
                self.window_start = AtomicU64::new(start + offset);
                return;
            }
        };
        if self.by_count()
            && let Some((index, offset)) = (0..).zip(arrivals).find(|(_, at)| *at >= warm_ns)
        {
            self.first_measured = index;
            self.first_intended_ns = AtomicU64::new(start + offset);
        }
        self.window_start = AtomicU64::new(start + warm_ns);
    }

    /// Whether the trial is bounded by a number of operations.
    pub fn by_count(&self) -> bool {
        self.requests.is_some()
    }

    /// The measure window, ns. By duration: its start, once that is fixed, and its end. By count:
    /// the first intended time of the measured operations, and, when the trial is over, the last
    /// end among them. `None` as long as it has no start.
    pub fn window(&self) -> Option<(u64, Option<u64>)> {
        if self.by_count() {
            let first = self.first_intended_ns.load(SeqCst);
            let last = self.last_ended_ns.load(SeqCst);
            let over = self.is_over() && last > 0;
            return (first != u64::MAX).then_some((first, over.then_some(last)));
        }
        let start = self.window_start()?;
        Some((start, Some(start.saturating_add(self.duration_ns))))
    }

    /// Phase of an operation that is over (ended or dropped), for its record.
    ///
    /// The answer is final: where it is *warm-up* because the window has no start yet, the start is
    /// fixed later than this operation's intended time, even if the reactor that ends the warm-up
    /// does so at this very moment. So the records marked *measure* are exactly those whose intended
    /// time lies in [`Self::window`].
    pub fn phase_of(&self, op: Op) -> Phase {
        if self.by_count() {
            return if op.measured { Phase::Measure } else { Phase::WarmUp };
        }
        if self.window_start.load(SeqCst) == UNSET {
            // Before the second look: either this is seen by who fixes the start, or that start is
            // seen below.
            self.warm_end_ns.fetch_max(op.intended_ns + 1, SeqCst);
        }
        self.phase_at(op.intended_ns)
    }

    /// Phase of the trial at a moment, for live views.
    pub fn phase_at(&self, now: u64) -> Phase {
        if self.by_count() {
            let measuring = self.first_intended_ns.load(SeqCst) <= now;
            return if measuring { Phase::Measure } else { Phase::WarmUp };
        }
        match self.window_start() {
            Some(start) if now >= start.saturating_add(self.duration_ns) => Phase::Drain,
            Some(start) if now >= start => Phase::Measure,
            _ => Phase::WarmUp,
        }
    }

    /// Share of the phase at `now` that is over, 0–1; `None` where its length is not known (drain).
    pub fn phase_done(&self, now: u64) -> Option<f64> {
        let of_time = |from: u64, to: u64| ratio(now.saturating_sub(from), to.saturating_sub(from));
        match (self.phase_at(now), self.requests) {
            (Phase::WarmUp, _) => Some(match self.warm_ended.unwrap_or(self.warm_tickets) {
                0 => of_time(self.load.start_ns, self.window_start().unwrap_or(self.least_end_ns)),
                requests => ratio(self.counts().ok + self.counts().not_ok, requests),
            }),
            (Phase::Measure, Some(requests)) => {
                Some(ratio(self.measured_over.load(SeqCst), requests))
            }
            (Phase::Measure, None) => {
                let start = self.window_start()?;
                Some(of_time(start, start.saturating_add(self.duration_ns)))
            }
            (Phase::Drain, _) => None,
        }
    }

    /// Stops the trial: nothing more is started. Has no effect on a trial that is over or stopped.
    pub fn stop(&self, why: EndedEarly) {
        if !self.is_over() {
            // An error means that it was stopped before, and the first reason stands.
            let _ = self.stopped.compare_exchange(0, code(why), SeqCst, SeqCst);
        }
    }

    /// Why the trial ended before its plan was fulfilled, if it did.
    pub fn ended_early(&self) -> Option<EndedEarly> {
        let stopped = self.stopped.load(SeqCst);
        REASONS.into_iter().find(|why| code(*why) == stopped)
    }

    /// Whether the trial is over: nothing more is started.
    pub fn is_over(&self) -> bool {
        self.end_ns().is_some()
    }

    /// Operations so far.
    pub fn counts(&self) -> Counts {
        Counts {
            ok: self.ok.load(SeqCst),
            not_ok: self.not_ok.load(SeqCst),
            dropped: self.dropped.load(SeqCst),
            started: self.started.load(SeqCst),
            in_flight: self.in_flight.load(SeqCst),
            max_in_flight: self.max_in_flight.load(SeqCst),
        }
    }
}

/// For the reactors' shares.
impl Shared {
    pub(crate) fn answers_per_slot(&self) -> u32 {
        self.answers_per_slot
    }

    /// When the trial ended.
    pub(crate) fn end_ns(&self) -> Option<u64> {
        Some(self.end_ns.load(SeqCst)).filter(|end| *end != u64::MAX)
    }

    fn finish(&self, at: u64) {
        // An error means that another reactor ended it before, and that moment stands.
        let _ = self.end_ns.compare_exchange(u64::MAX, at, SeqCst, SeqCst);
    }

    /// Makes a stop take effect: the first reactor that sees it says when.
    pub(crate) fn heed_stop(&self, now: u64) {
        if self.stopped.load(SeqCst) != 0 {
            self.finish(now);
        }
    }

    /// The start of the measure window, fixing it where the warm-up is over and nobody has yet.
    fn window_start(&self) -> Option<u64> {
        let mut start = self.window_start.load(SeqCst);
        if start == READY {
            let from = self.ready_ns.load(SeqCst).max(self.warm_end_ns.load(SeqCst));
            let wanted = from.max(self.least_end_ns);
            start = match self.window_start.compare_exchange(READY, wanted, SeqCst, SeqCst) {
                Ok(_) => wanted,
                Err(fixed) => fixed,
            };
        }
        (start != UNSET).then_some(start)
    }

    /// The end of the measure window of a trial by duration.
    pub(crate) fn window_end_ns(&self) -> Option<u64> {
        if self.by_count() {
            return None;
        }
        self.window_start().map(|start| start.saturating_add(self.duration_ns))
    }

    /// Whether this intended time makes an operation part of the cohort of a trial by duration.
    pub(crate) fn in_window(&self, intended_ns: u64) -> bool {
        !self.by_count() && self.phase_at(intended_ns) == Phase::Measure
    }

    /// What ends the warm-up has happened at `at`.
    fn end_warm_up(&self, at: u64) {
        self.ready_ns.fetch_max(at, SeqCst);
        // An error means that the start is fixed already.
        let _ = self.window_start.compare_exchange(UNSET, READY, SeqCst, SeqCst);
    }

    /// Every slot of one reactor has had its warm-up answers at `at`.
    pub(crate) fn reactor_ready(&self, at: u64) {
        self.ready_ns.fetch_max(at, SeqCst);
        let ready = self.reactors_ready.fetch_add(1, SeqCst) + 1;
        if self.answers_per_slot > 0 && ready == self.reactors {
            self.end_warm_up(at);
        }
    }

    /// One reactor has nothing of the cohort left, from `at` on. The last one ends the trial.
    pub(crate) fn reactor_clear(&self, at: u64) {
        let latest = self.clear_ns.fetch_max(at, SeqCst).max(at);
        if self.reactors_clear.fetch_add(1, SeqCst) + 1 == self.reactors {
            self.finish(latest);
        }
    }

    /// Number of a closed loop's next operation, and whether it is a measured one of a trial by
    /// count. `None`: all of them have been handed out.
    pub(crate) fn ticket(&self, intended_ns: u64) -> Option<(u64, bool)> {
        let next_id = || self.ids.fetch_add(1, SeqCst);
        let Some(requests) = self.requests else { return Some((next_id(), false)) };
        let warm = take_below(&self.warm_taken, self.warm_tickets)
            || self.window_start().is_none_or(|start| intended_ns < start);
        if warm {
            return Some((next_id(), false));
        }
        if !take_below(&self.measured_taken, requests) {
            return None;
        }
        self.first_intended_ns.fetch_min(intended_ns, SeqCst);
        Some((next_id(), true))
    }

    /// Whether the arrival with this index is a measured one of a trial by count. `None`: the trial
    /// has no such arrival.
    pub(crate) fn arrival_measured(&self, index: u64) -> Option<bool> {
        let Some(requests) = self.requests else { return Some(false) };
        match index.checked_sub(self.first_measured) {
            None => Some(false),
            Some(nth) if nth < requests => Some(true),
            Some(_) => None,
        }
    }

    /// Counts a start if the limit of operations in flight allows it.
    pub(crate) fn try_start(&self) -> bool {
        let limit = self.load.max_in_flight;
        if !take_below(&self.in_flight, limit) {
            return false;
        }
        self.started.fetch_add(1, SeqCst);
        self.max_in_flight.fetch_max(self.in_flight.load(SeqCst), SeqCst);
        true
    }

    /// Counts a start in closed loop, where the slots are the limit.
    pub(crate) fn note_start(&self) {
        self.started.fetch_add(1, SeqCst);
        let in_flight = self.in_flight.fetch_add(1, SeqCst) + 1;
        self.max_in_flight.fetch_max(in_flight, SeqCst);
    }

    /// Counts an operation that was dropped because the limit was full.
    pub(crate) fn note_dropped(&self, op: Op, now: u64) {
        self.dropped.fetch_add(1, SeqCst);
        self.measured_is_over(op, now);
    }

    /// Counts an end. Whether the trial was still going on.
    pub(crate) fn note_ended(&self, op: Op, when: u64, ok: bool) -> bool {
        self.in_flight.fetch_sub(1, SeqCst);
        if self.is_over() {
            return false;
        }
        let counter = if ok { &self.ok } else { &self.not_ok };
        counter.fetch_add(1, SeqCst);
        let not_ok = self.not_ok.load(SeqCst);
        let ended = self.ok.load(SeqCst) + not_ok;
        let warming_up = self.window_start.load(SeqCst) == UNSET;
        if warming_up && self.warm_ended.is_some_and(|requests| ended >= requests) {
            self.end_warm_up(when);
        }
        if op.measured {
            self.last_ended_ns.fetch_max(when, SeqCst);
        }
        self.measured_is_over(op, when);
        let too_many = not_ok as f64 >= self.load.stop_after_errors * ended as f64;
        if not_ok > 0 && ended >= LEAST_FOR_ERRORS && too_many {
            self.stop(EndedEarly::StopAfterErrors);
        }
        true
    }

    fn measured_is_over(&self, op: Op, at: u64) {
        let last = |over: u64| self.requests == Some(over);
        if op.measured && last(self.measured_over.fetch_add(1, SeqCst) + 1) {
            self.finish(at);
        }
    }

    /// How long a reactor with nothing to do now waits for its next operation.
    pub(crate) fn wait(&self, now: u64, next_due: Option<u64>) -> Step {
        let window_end = self.window_end_ns().filter(|end| *end > now);
        let until = [next_due, window_end].into_iter().flatten().min();
        until.map_or(Step::WaitForEnd, Step::WaitUntil)
    }
}

/// Adds one if that does not go over the limit.
fn take_below(counter: &AtomicU64, limit: u64) -> bool {
    counter.fetch_update(SeqCst, SeqCst, |taken| (taken < limit).then(|| taken + 1)).is_ok()
}

/// `part / whole`, at most 1; an empty whole is done.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { (part as f64 / whole as f64).min(1.0) }
}

const REASONS: [EndedEarly; 5] = [
    EndedEarly::Interrupted,
    EndedEarly::StopAfterErrors,
    EndedEarly::NoAnswers,
    EndedEarly::TokenCap,
    EndedEarly::StoreFailed,
];

/// Non-zero number of a reason.
const fn code(why: EndedEarly) -> u8 {
    match why {
        EndedEarly::Interrupted => 1,
        EndedEarly::StopAfterErrors => 2,
        EndedEarly::NoAnswers => 3,
        EndedEarly::TokenCap => 4,
        EndedEarly::StoreFailed => 5,
    }
}
