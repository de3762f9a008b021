//! Trials with a known course, step by step and on the manual clock.

mod sim;

use std::sync::Arc;

use loadline_load::{Control, Op, POLL_NS, Shared, Step, TrialLoad};
use loadline_schema::event::EndedEarly;
use loadline_schema::outcome::{ErrorKind, Phase};
use loadline_schema::plan::{Arrival, Extent, Load, Warmup};
use sim::{Fate, World};

const MS: u64 = 1_000_000;
const NONE: Warmup = Warmup::Requests { requests: 0 };

fn trial(load: Load, extent: Extent, warmup: Warmup) -> TrialLoad {
    TrialLoad {
        load,
        extent,
        warmup,
        start_ns: 100 * MS,
        stagger_ns: 0,
        think_time_ns: 0,
        max_in_flight: 10_000,
        seed: 1,
        stop_after_errors: 0.5,
    }
}

fn closed(concurrency: u64) -> Load {
    Load::Closed { concurrency }
}

fn constant(rate_per_s: f64) -> Load {
    Load::Open { rate_per_s, arrival: Arrival::Constant }
}

fn alone(load: &TrialLoad) -> (Control, Arc<Shared>) {
    let shared = Shared::new(load, 1);
    (Control::new(load, Arc::clone(&shared), 0, 1), shared)
}

fn start(step: Step) -> Op {
    match step {
        Step::Start(op) => op,
        other => panic!("not a start: {other:?}"),
    }
}

#[test]
fn slots_are_divided_exactly() {
    for (concurrency, reactors) in [(1, 1), (1, 4), (3, 4), (4, 4), (1023, 4), (1024, 3)] {
        let load = trial(closed(concurrency), Extent::Requests { requests: 10 }, NONE);
        let shared = Shared::new(&load, reactors);
        let slots: Vec<u64> = (0..reactors)
            .map(|i| Control::new(&load, Arc::clone(&shared), i, reactors).slots())
            .collect();
        assert_eq!(slots.iter().sum::<u64>(), concurrency);
        assert!(slots.iter().max().unwrap() - slots.iter().min().unwrap() <= 1, "{slots:?}");
    }
}

#[test]
fn slots_begin_staggered() {
    let mut load = trial(closed(4), Extent::Requests { requests: 4 }, NONE);
    load.stagger_ns = 10 * MS;
    let (mut control, _) = alone(&load);
    assert_eq!(control.next(0), Step::WaitUntil(100 * MS));
    let late: Vec<u64> = (0..4).map(|_| start(control.next(200 * MS)).intended_ns).collect();
    assert_eq!(late, [100 * MS, 102 * MS + MS / 2, 105 * MS, 107 * MS + MS / 2]);
    assert_eq!(control.next(200 * MS), Step::WaitForEnd);
}

#[test]
fn a_slot_thinks_after_each_answer() {
    let mut load = trial(closed(1), Extent::Requests { requests: 2 }, NONE);
    load.think_time_ns = 7 * MS;
    let (mut control, shared) = alone(&load);
    let op = start(control.next(100 * MS));
    control.ended(op, 120 * MS, true);
    assert_eq!(control.next(121 * MS), Step::WaitUntil(127 * MS));
    let op = start(control.next(130 * MS));
    assert_eq!((op.id, op.intended_ns, op.lateness_ns(130 * MS)), (1, 127 * MS, 3 * MS));
    assert_eq!(shared.window(), Some((100 * MS, None)));
    control.ended(op, 150 * MS, true);
    assert_eq!(control.next(150 * MS), Step::Done);
    assert_eq!(shared.window(), Some((100 * MS, Some(150 * MS))));
    assert_eq!(shared.ended_early(), None);
}

#[test]
fn steady_warm_up_ends_when_every_slot_has_its_answers() {
    // Two slots, 10 ms an answer, two answers each: the warm-up ends at 120 ms.
    let extent = Extent::Duration { duration_ns: 50 * MS };
    let steady = |least_ns| Warmup::Steady { least_ns, answers_per_slot: 2 };
    let world = World::calm(2, 2, (10 * MS, 10 * MS));
    let run = sim::run(&trial(closed(2), extent, steady(15 * MS)), &world);
    assert_eq!(run.shared.window(), Some((120 * MS, Some(170 * MS))));
    let run = sim::run(&trial(closed(2), extent, steady(25 * MS)), &world);
    assert_eq!(run.shared.window(), Some((125 * MS, Some(175 * MS))));
    // Intended at 130, 140, 150, 160 and 170 on both slots; the last ends at 180, and the reactor
    // that did not see it end learns of it within one poll.
    assert_eq!(run.phase(Phase::Measure).count(), 10);
    assert!((180 * MS..=180 * MS + POLL_NS).contains(&run.over_ns), "{}", run.over_ns);
}

#[test]
fn requests_end_the_warm_up_of_a_duration() {
    let extent = Extent::Duration { duration_ns: 30 * MS };
    let load = trial(closed(1), extent, Warmup::Requests { requests: 3 });
    let run = sim::run(&load, &World::calm(1, 1, (10 * MS, 10 * MS)));
    assert_eq!(run.shared.window(), Some((130 * MS, Some(160 * MS))));
    assert_eq!(run.phase(Phase::WarmUp).count(), 3);
    assert_eq!(run.phase(Phase::Measure).count(), 3);
}

#[test]
fn drain_keeps_the_load_up_until_the_cohort_has_ended() {
    // Two slots; the cohort's last operation is a slow one.
    let load = trial(closed(2), Extent::Duration { duration_ns: 20 * MS }, NONE);
    let (mut control, shared) = alone(&load);
    let slow = start(control.next(100 * MS));
    let mut quick = start(control.next(100 * MS));
    for at in [110, 120, 130, 140] {
        control.ended(quick, at * MS, true);
        quick = start(control.next(at * MS));
        assert_eq!(quick.intended_ns, at * MS);
    }
    assert_eq!(shared.phase_of(quick), Phase::Drain);
    assert_eq!(control.next(140 * MS), Step::WaitForEnd);
    control.ended(slow, 145 * MS, true);
    assert_eq!(control.next(145 * MS), Step::Done, "with one operation of the drain in flight");
    control.ended(quick, 145 * MS, false);
    assert_eq!((shared.counts().in_flight, shared.counts().not_ok), (0, 0));
}

#[test]
fn an_old_operation_does_not_hold_the_trial_up() {
    // The first slot hangs from before the window on.
    let warmup = Warmup::Duration { duration_ns: 5 * MS };
    let load = trial(closed(2), Extent::Duration { duration_ns: 20 * MS }, warmup);
    let (mut control, shared) = alone(&load);
    let hanging = start(control.next(100 * MS));
    let other = start(control.next(100 * MS));
    control.ended(other, 110 * MS, true);
    let measured = start(control.next(110 * MS));
    assert_eq!(control.next(110 * MS), Step::WaitUntil(125 * MS), "to see the window's end");
    assert_eq!(control.next(125 * MS), Step::WaitForEnd);
    control.ended(measured, 130 * MS, true);
    assert_eq!(control.next(130 * MS), Step::Done);
    assert_eq!(shared.phase_of(hanging), Phase::WarmUp);
}

#[test]
fn a_stamp_from_inside_a_window_already_left_opens_no_cohort() {
    let warmup = Warmup::Duration { duration_ns: 5 * MS };
    let load = trial(closed(1), Extent::Duration { duration_ns: 20 * MS }, warmup);
    let shared = Shared::new(&load, 2);
    let mut control = Control::new(&load, Arc::clone(&shared), 0, 2);
    let old = start(control.next(100 * MS));
    let _ = control.next(126 * MS);
    control.ended(old, 124 * MS, true);
    assert_eq!(start(control.next(126 * MS)).intended_ns, 125 * MS);
}

#[test]
fn a_late_open_loop_loses_nothing() {
    let load = trial(constant(1_000.0), Extent::Requests { requests: 100 }, NONE);
    let (mut control, _) = alone(&load);
    let mut due = 0;
    while let Step::Start(op) = control.next(150 * MS) {
        assert_eq!((op.id, op.intended_ns), (due, (100 + due) * MS));
        due += 1;
    }
    assert_eq!(due, 51);
    assert_eq!(control.next(150 * MS), Step::WaitUntil(151 * MS));
}

#[test]
fn a_full_open_loop_drops_at_once() {
    let mut load = trial(constant(1_000.0), Extent::Requests { requests: 4 }, NONE);
    load.max_in_flight = 2;
    let (mut control, shared) = alone(&load);
    let first = start(control.next(100 * MS));
    let second = start(control.next(101 * MS));
    let Step::Drop(third, why) = control.next(102 * MS) else { panic!("started over the limit") };
    assert_eq!((third.id, why), (2, ErrorKind::InFlightLimit));
    assert_eq!(shared.phase_of(third), Phase::Measure);
    control.ended(first, 102 * MS, true);
    let last = start(control.next(103 * MS));
    control.ended(second, 104 * MS, true);
    control.ended(last, 105 * MS, true);
    assert_eq!(control.next(105 * MS), Step::Done);
    let counts = shared.counts();
    assert_eq!((counts.started, counts.dropped, counts.max_in_flight), (3, 1, 2));
}

#[test]
fn a_burst_starts_all_at_once_whatever_the_extent() {
    for extent in [Extent::Requests { requests: 3 }, Extent::Duration { duration_ns: MS }] {
        let warmup = Warmup::Requests { requests: 5 };
        let load = trial(Load::Burst { requests: 7 }, extent, warmup);
        let run = sim::run(&load, &World::calm(3, 1, (10 * MS, 10 * MS)));
        assert_eq!(run.rows.len(), 7);
        assert!(run.rows.iter().all(|row| row.op.intended_ns == 100 * MS));
        assert!(run.rows.iter().all(|row| row.phase == Phase::Measure));
        assert_eq!(run.shared.window(), Some((100 * MS, Some(170 * MS))));
        assert_eq!(run.shared.counts().max_in_flight, 7);
        assert!(run.rows.iter().all(|row| row.handed_ns == 100 * MS));
    }
}

#[test]
fn an_open_window_of_a_slow_rate_is_seen_to_its_end() {
    let extent = Extent::Duration { duration_ns: 150 * MS };
    let run = sim::run(&trial(constant(10.0), extent, NONE), &World::calm(1, 1, (MS, MS)));
    assert_eq!(run.phase(Phase::Measure).count(), 2);
    assert_eq!(run.over_ns, 250 * MS);
}

#[test]
fn errors_stop_a_trial_from_the_twentieth_operation_on() {
    let load = trial(closed(1), Extent::Requests { requests: 100 }, NONE);
    let world = World { failing: 1.0, ..World::calm(1, 1, (MS, MS)) };
    let run = sim::run(&load, &world);
    assert_eq!(run.shared.ended_early(), Some(EndedEarly::StopAfterErrors));
    assert_eq!(run.shared.counts().not_ok, 20);
    let few = TrialLoad { extent: Extent::Requests { requests: 20 }, ..load };
    assert_eq!(sim::run(&few, &world).shared.ended_early(), None, "it was fulfilled");
    let tolerant = TrialLoad { stop_after_errors: 1.1, ..load };
    assert_eq!(sim::run(&tolerant, &world).shared.counts().not_ok, 100);
    let strict = TrialLoad { stop_after_errors: 0.0, ..load };
    let all_ok = World::calm(1, 1, (MS, MS));
    assert_eq!(sim::run(&strict, &all_ok).shared.ended_early(), None, "no error, no stop");
}

#[test]
fn a_stop_drops_what_was_due_and_not_more() {
    let load = trial(constant(1_000.0), Extent::Requests { requests: 100 }, NONE);
    let (mut control, shared) = alone(&load);
    let _ = start(control.next(100 * MS));
    shared.stop(EndedEarly::TokenCap);
    shared.stop(EndedEarly::Interrupted);
    for id in [1, 2] {
        let Step::Drop(op, ErrorKind::TrialEnded) = control.next(103 * MS) else {
            panic!("started after the stop")
        };
        assert_eq!(op.id, id);
    }
    assert_eq!(control.next(200 * MS), Step::Done);
    assert_eq!(shared.ended_early(), Some(EndedEarly::TokenCap), "the first reason stands");
}

#[test]
fn a_stop_drops_the_slot_that_was_due() {
    for extent in [Extent::Requests { requests: 9 }, Extent::Duration { duration_ns: MS }] {
        let (mut control, shared) = alone(&trial(closed(2), extent, NONE));
        let op = start(control.next(100 * MS));
        let _ = start(control.next(100 * MS));
        control.ended(op, 110 * MS, true);
        shared.stop(EndedEarly::Interrupted);
        let Step::Drop(op, ErrorKind::TrialEnded) = control.next(111 * MS) else {
            panic!("lost or started")
        };
        assert_eq!((op.id, op.intended_ns), (2, 110 * MS));
        assert_eq!(control.next(111 * MS), Step::Done);
    }
}

#[test]
fn what_was_recorded_as_warm_up_stays_outside_the_window() {
    // The first reactor's answer ends the warm-up at 110 ms, but it is seen only after the second
    // has recorded an operation of 111 ms.
    let warmup = Warmup::Steady { least_ns: 0, answers_per_slot: 1 };
    let load = trial(closed(2), Extent::Duration { duration_ns: 50 * MS }, warmup);
    let shared = Shared::new(&load, 2);
    let mut late = Control::new(&load, Arc::clone(&shared), 0, 2);
    let mut quick = Control::new(&load, Arc::clone(&shared), 1, 2);
    let first = start(late.next(100 * MS));
    let op = start(quick.next(100 * MS));
    quick.ended(op, 111 * MS, true);
    let op = start(quick.next(111 * MS));
    quick.ended(op, 112 * MS, true);
    assert_eq!((op.intended_ns, shared.phase_of(op)), (111 * MS, Phase::WarmUp));
    late.ended(first, 110 * MS, true);
    let from = 111 * MS + 1;
    assert_eq!(shared.window(), Some((from, Some(from + 50 * MS))));
    assert_eq!(shared.phase_of(op), Phase::WarmUp);
}

#[test]
fn a_stop_after_the_end_changes_nothing() {
    let load = trial(closed(1), Extent::Requests { requests: 1 }, NONE);
    let run = sim::run(&load, &World::calm(1, 1, (MS, MS)));
    run.shared.stop(EndedEarly::Interrupted);
    assert_eq!(run.shared.ended_early(), None);
}

#[test]
fn a_load_that_can_start_nothing_is_over_at_once() {
    let count = Extent::Requests { requests: 5 };
    let nothing = [
        trial(closed(0), count, NONE),
        trial(closed(3), Extent::Requests { requests: 0 }, NONE),
        trial(constant(0.0), Extent::Duration { duration_ns: MS }, NONE),
        trial(Load::Burst { requests: 0 }, count, NONE),
    ];
    for load in nothing {
        let (mut control, shared) = alone(&load);
        assert_eq!(control.next(100 * MS), Step::Done, "{load:?}");
        assert_eq!(shared.counts().started, 0);
    }
}

#[test]
fn progress_tells_the_share_of_each_phase() {
    let extent = Extent::Duration { duration_ns: 40 * MS };
    let load = trial(closed(1), extent, Warmup::Duration { duration_ns: 10 * MS });
    let (_, shared) = alone(&load);
    let at = |ms| (shared.phase_at(ms * MS), shared.phase_done(ms * MS));
    assert_eq!(at(105), (Phase::WarmUp, Some(0.5)));
    assert_eq!(at(120), (Phase::Measure, Some(0.25)));
    assert_eq!(at(150), (Phase::Drain, None));
    let by_count = trial(closed(1), Extent::Requests { requests: 4 }, NONE);
    let (mut control, shared) = alone(&by_count);
    let op = start(control.next(100 * MS));
    control.ended(op, 110 * MS, true);
    assert_eq!(shared.phase_done(110 * MS), Some(0.25));
    assert_eq!(shared.phase_at(110 * MS), Phase::Measure);
}

#[test]
fn drops_of_the_window_are_in_the_cohort_of_a_duration() {
    let mut load = trial(constant(1_000.0), Extent::Duration { duration_ns: 20 * MS }, NONE);
    load.max_in_flight = 1;
    let run = sim::run(&load, &World::calm(2, 1, (5 * MS, 5 * MS)));
    let cohort: Vec<Fate> = run.phase(Phase::Measure).map(|row| row.fate).collect();
    assert_eq!(cohort.len(), 20);
    let dropped = Fate::Dropped(ErrorKind::InFlightLimit);
    assert_eq!(cohort.iter().filter(|fate| **fate == dropped).count(), 16);
}
