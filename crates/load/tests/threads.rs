//! The same rules with real threads: each reactor is one, and time is a counter they all advance.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loadline_load::{Control, Op, Shared, Step, TrialLoad};
use loadline_schema::outcome::Phase;
use loadline_schema::plan::{Arrival, Extent, Load, Warmup};

const REACTORS: u32 = 4;

/// What a thread saw: operation, phase, and whether it ended (or was let go).
type Seen = Vec<(Op, Phase, bool)>;

/// A reactor whose operations end in the order of their starts.
fn carry(mut control: Control, clock: &AtomicU64) -> Seen {
    let shared = Arc::clone(control.shared());
    let mut open: VecDeque<Op> = VecDeque::new();
    let mut seen = Seen::new();
    loop {
        let now = clock.fetch_add(1, Ordering::Relaxed);
        match control.next(now) {
            Step::Start(op) => open.push_back(op),
            Step::Drop(op, _) => seen.push((op, shared.phase_of(op), false)),
            Step::WaitUntil(_) | Step::WaitForEnd => {
                if let Some(op) = open.pop_front() {
                    control.ended(op, now, true);
                    seen.push((op, shared.phase_of(op), true));
                }
            }
            Step::Done => break,
        }
    }
    for op in open {
        control.ended(op, 0, false);
        seen.push((op, shared.phase_of(op), false));
    }
    seen
}

fn run(load: Load, extent: Extent, warmup: Warmup) -> (Seen, Arc<Shared>) {
    let load = TrialLoad {
        load,
        extent,
        warmup,
        start_ns: 0,
        stagger_ns: 0,
        think_time_ns: 0,
        max_in_flight: 1_000,
        seed: 1,
        stop_after_errors: 2.0,
    };
    let shared = Shared::new(&load, REACTORS);
    let clock = AtomicU64::new(0);
    let seen = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..REACTORS)
            .map(|i| {
                let control = Control::new(&load, Arc::clone(&shared), i, REACTORS);
                let clock = &clock;
                scope.spawn(move || carry(control, clock))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Seen>()
    });
    let ids: BTreeSet<u64> = seen.iter().map(|(op, ..)| op.id).collect();
    assert_eq!(ids.len(), seen.len());
    assert_eq!(shared.counts().in_flight, 0);
    (seen, shared)
}

#[test]
fn windows_are_exact_although_reactors_race() {
    let warmups =
        [Warmup::Steady { least_ns: 10, answers_per_slot: 3 }, Warmup::Requests { requests: 97 }];
    for (round, warmup) in (0..80).zip(warmups.into_iter().cycle()) {
        let concurrency = 1 + round % 23;
        let extent = Extent::Duration { duration_ns: 2_000 };
        let (seen, shared) = run(Load::Closed { concurrency }, extent, warmup);
        let Some((from, Some(to))) = shared.window() else { panic!("no window") };
        assert_eq!(to - from, 2_000);
        for (op, phase, ended) in seen {
            let inside = (from..to).contains(&op.intended_ns);
            assert_eq!(inside, phase == Phase::Measure, "{op:?} {phase} in {from}..{to}");
            assert!(!inside || ended, "{op:?} of the cohort was let go");
        }
        assert!(shared.counts().max_in_flight <= concurrency);
    }
}

#[test]
fn counts_are_exact_although_reactors_race() {
    let loads = [
        Load::Closed { concurrency: 1 },
        Load::Closed { concurrency: 13 },
        Load::Open { rate_per_s: 1e8, arrival: Arrival::Poisson },
        Load::Burst { requests: 500 },
    ];
    for (round, load) in (0..60).zip(loads.into_iter().cycle()) {
        let warmup = Warmup::Requests { requests: round };
        let (seen, _) = run(load, Extent::Requests { requests: 500 }, warmup);
        let of = |wanted| seen.iter().filter(|(_, phase, _)| *phase == wanted).count() as u64;
        let warm = if matches!(load, Load::Burst { .. }) { 0 } else { round };
        assert_eq!((of(Phase::WarmUp), of(Phase::Measure), of(Phase::Drain)), (warm, 500, 0));
    }
}
