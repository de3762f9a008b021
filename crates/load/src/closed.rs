//! Closed loop: the slots of one reactor, each with its next operation when the last has ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::control::{Op, Step};
use crate::shared::Shared;
use crate::trial::TrialLoad;

/// The slots of one reactor.
#[derive(Debug)]
pub(crate) struct Slots {
    all: Vec<Slot>,
    /// Free slots by the intended time of their next operation. Never grows past its first
    /// allocation.
    free: BinaryHeap<Reverse<(u64, u32)>>,
    think_time_ns: u64,
    /// Answers that each slot needs in warm-up, and how many slots are short of them.
    answers_needed: u32,
    short: usize,
    /// Cohort operations in flight here, from the moment on at which the window is over and every
    /// one of them has been handed out.
    cohort: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Intended time of the operation in flight.
    in_flight: Option<u64>,
    /// Operations ended.
    ended: u32,
}

impl Slots {
    pub(crate) fn new(
        load: &TrialLoad,
        concurrency: u64,
        shared: &Shared,
        reactor: u32,
        reactors: u32,
    ) -> Self {
        // Slot i of the trial belongs to reactor i mod reactors.
        let first_due = |i: u64| {
            let offset = u128::from(load.stagger_ns) * u128::from(i) / u128::from(concurrency);
            load.start_ns + offset as u64
        };
        let free: BinaryHeap<_> = (u64::from(reactor)..concurrency)
            .step_by(reactors.max(1) as usize)
            .zip(0_u32..)
            .map(|(i, slot)| Reverse((first_due(i), slot)))
            .collect();
        let all = vec![Slot::default(); free.len()];
        let answers_needed = shared.answers_per_slot();
        let short = if answers_needed == 0 { 0 } else { all.len() };
        if short == 0 {
            shared.reactor_ready(load.start_ns);
        }
        Self { all, free, think_time_ns: load.think_time_ns, answers_needed, short, cohort: None }
    }

    pub(crate) fn len(&self) -> u64 {
        self.all.len() as u64
    }

    /// When the next free slot is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.free.peek().map(|Reverse((intended, _))| *intended)
    }

    /// The next operation due at `now`.
    pub(crate) fn due(&mut self, now: u64, shared: &Shared) -> Option<Step> {
        while self.next_due().is_some_and(|intended| intended <= now) {
            let Some(op) = self.take(shared) else { continue };
            self.all[op.slot as usize].in_flight = Some(op.intended_ns);
            shared.note_start();
            return Some(Step::Start(op));
        }
        None
    }

    /// The next operation that was due before the trial ended at `end` and was not started.
    pub(crate) fn left_over(&mut self, end: u64, shared: &Shared) -> Option<Op> {
        while self.next_due().is_some_and(|intended| intended < end) {
            if let Some(op) = self.take(shared) {
                return Some(op);
            }
        }
        None
    }

    /// Takes the first free slot. `None`: the trial has no operation left for it, and the slot
    /// retires.
    fn take(&mut self, shared: &Shared) -> Option<Op> {
        let Reverse((intended_ns, slot)) = self.free.pop()?;
        let (id, measured) = shared.ticket(intended_ns)?;
        Some(Op { id, intended_ns, slot, measured })
    }

    /// Once the window is over and all of it has been handed out, counts what is open of it here.
    /// Counting then, and not from the window's start on, makes the number exact although each
    /// reactor learns of that start at another moment.
    pub(crate) fn leave_window(&mut self, now: u64, shared: &Shared) {
        if self.cohort.is_some() || shared.window_end_ns().is_none_or(|end| now < end) {
            return;
        }
        let in_flight = self.all.iter().filter_map(|slot| slot.in_flight);
        let open = in_flight.filter(|intended| shared.in_window(*intended)).count() as u64;
        self.cohort = Some(open);
        if open == 0 {
            shared.reactor_clear(now);
        }
    }

    /// The operation has ended at `when`, and its slot is free.
    pub(crate) fn ended(&mut self, op: Op, when: u64, shared: &Shared) {
        let slot = &mut self.all[op.slot as usize];
        slot.in_flight = None;
        slot.ended = slot.ended.saturating_add(1);
        if slot.ended == self.answers_needed {
            self.short -= 1;
            if self.short == 0 {
                shared.reactor_ready(when);
            }
        }
        let mut free_from = when;
        if let (Some(open), Some(end)) = (&mut self.cohort, shared.window_end_ns()) {
            // A stamp from inside the window that is seen only after this reactor has left it must
            // not make another operation of a cohort that has been counted.
            free_from = free_from.max(end.saturating_sub(self.think_time_ns));
            if shared.in_window(op.intended_ns) {
                *open -= 1;
                if *open == 0 {
                    shared.reactor_clear(when);
                }
            }
        }
        self.free.push(Reverse((free_from.saturating_add(self.think_time_ns), op.slot)));
    }
}
