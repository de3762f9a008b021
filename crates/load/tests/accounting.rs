//! No operation is lost, doubled or moved, whatever reactors, server and user do.

mod sim;

use std::collections::BTreeSet;

use loadline_load::{TrialLoad, arrivals};
use loadline_schema::outcome::{ErrorKind, Phase};
use loadline_schema::plan::{Arrival, Extent, Load, Warmup};
use proptest::prelude::*;
use sim::{Fate, Row, Trial, World};

const MS: u64 = 1_000_000;

/// Failing cases are shown smallest first; what they teach becomes a scenario with a name.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn warmups() -> impl Strategy<Value = Warmup> {
    prop_oneof![
        (0..300 * MS, 0_u32..4)
            .prop_map(|(least_ns, answers_per_slot)| Warmup::Steady { least_ns, answers_per_slot }),
        (0_u64..30).prop_map(|requests| Warmup::Requests { requests }),
        (0..300 * MS).prop_map(|duration_ns| Warmup::Duration { duration_ns }),
    ]
}

fn extents() -> impl Strategy<Value = Extent> {
    prop_oneof![
        (1_u64..120).prop_map(|requests| Extent::Requests { requests }),
        (1..800 * MS).prop_map(|duration_ns| Extent::Duration { duration_ns }),
    ]
}

fn closed_loops() -> impl Strategy<Value = Load> {
    (1_u64..20).prop_map(|concurrency| Load::Closed { concurrency })
}

fn open_loops() -> impl Strategy<Value = Load> {
    let law = prop_oneof![
        Just(Arrival::Constant),
        Just(Arrival::Poisson),
        (0.2_f64..5.0).prop_map(|shape| Arrival::Gamma { shape }),
    ];
    prop_oneof![
        5 => (5.0_f64..400.0, law)
            .prop_map(|(rate_per_s, arrival)| Load::Open { rate_per_s, arrival }),
        1 => (1_u64..60).prop_map(|requests| Load::Burst { requests }),
    ]
}

fn trials(load: impl Strategy<Value = Load>) -> impl Strategy<Value = TrialLoad> {
    let pauses = (0..200 * MS, prop_oneof![Just(0), 0..50 * MS]);
    (load, extents(), warmups(), 0..1_000 * MS, pauses, 1_u64..60, any::<u64>()).prop_map(
        |(load, extent, warmup, start_ns, (stagger_ns, think_time_ns), max_in_flight, seed)| {
            TrialLoad {
                load,
                extent,
                warmup,
                start_ns,
                stagger_ns,
                think_time_ns,
                max_in_flight,
                seed,
                stop_after_errors: 2.0,
            }
        },
    )
}

/// Worlds in which reactors are late, answers slow and users impatient.
fn worlds() -> impl Strategy<Value = World> {
    let server = (1_usize..25, 1..20 * MS, 0..60 * MS);
    let late = prop_oneof![Just(0), 0..MS, 0..40 * MS];
    let stop = prop_oneof![3 => Just(None), 1 => (0..2_500 * MS).prop_map(Some)];
    (1_u32..6, server, late, any::<bool>(), 0.0_f64..0.3, stop, any::<u64>()).prop_map(
        |(reactors, (server_slots, least, more), late_ns, stamped, failing, stop_at, seed)| World {
            reactors,
            server_slots,
            service_ns: (least, least + more),
            late_ns,
            stamped,
            failing,
            stop_at,
            seed,
        },
    )
}

/// What holds for every trial.
fn check_accounts(load: &TrialLoad, trial: &Trial) -> Result<(), TestCaseError> {
    let ids: BTreeSet<u64> = trial.rows.iter().map(|row| row.op.id).collect();
    prop_assert_eq!(ids.len(), trial.rows.len(), "an operation has two fates");
    let count = |is: fn(&Fate) -> bool| trial.rows.iter().filter(|row| is(&row.fate)).count();
    let dropped = count(|fate| matches!(fate, Fate::Dropped(_)));
    let limit = count(|fate| *fate == Fate::Dropped(ErrorKind::InFlightLimit));
    let counts = trial.shared.counts();
    prop_assert_eq!(counts.started as usize, trial.rows.len() - dropped);
    prop_assert_eq!(counts.dropped as usize, limit);
    prop_assert_eq!(counts.in_flight, 0);
    for row in &trial.rows {
        prop_assert!(row.op.intended_ns >= load.start_ns);
        prop_assert!(row.handed_ns >= row.op.intended_ns, "handed out before it is due");
        prop_assert_eq!(row.op.lateness_ns(row.handed_ns), row.handed_ns - row.op.intended_ns);
    }
    check_window(load, trial)
}

/// The window holds the cohort exactly, and all of it has ended unless the trial was stopped.
fn check_window(load: &TrialLoad, trial: &Trial) -> Result<(), TestCaseError> {
    let window = trial.shared.window();
    let stopped = trial.shared.ended_early().is_some();
    let cohort: Vec<&Row> = trial.phase(Phase::Measure).collect();
    if !stopped {
        for row in &cohort {
            prop_assert!(row.fate != Fate::Cancelled, "let go inside the cohort: {row:?}");
            let late_drop = Fate::Dropped(ErrorKind::TrialEnded);
            prop_assert!(row.fate != late_drop, "lost inside the cohort: {row:?}");
        }
        prop_assert!(window.is_some());
    }
    if load.by_count() {
        if !stopped {
            let first = cohort.iter().map(|row| row.op.intended_ns).min();
            prop_assert_eq!(window.map(|window| window.0), first);
        }
        let ended = cohort.iter().filter_map(|row| match row.fate {
            Fate::Ended(at) => Some(at),
            _ => None,
        });
        if let (Some(last), Some((_, end)), false) = (ended.max(), window, stopped) {
            prop_assert_eq!(end, Some(last));
        }
        return Ok(());
    }
    let inside = |at: u64| window.is_some_and(|(from, to)| at >= from && Some(at) < to);
    for row in &trial.rows {
        let measured = row.phase == Phase::Measure;
        prop_assert_eq!(measured, inside(row.op.intended_ns), "{:?} in {:?}", row, window);
    }
    Ok(())
}

/// After a stop nothing is started.
fn check_stop(trial: &Trial) -> Result<(), TestCaseError> {
    if let (Some(_), Some(at)) = (trial.shared.ended_early(), trial.stopped_ns) {
        for row in &trial.rows {
            let started = !matches!(row.fate, Fate::Dropped(_));
            prop_assert!(!started || row.handed_ns <= at, "started after the stop at {}", at);
        }
        prop_assert_eq!(trial.over_ns, at, "a reactor stayed after the stop");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn closed_loop_accounts_for_everything(load in trials(closed_loops()), world in worlds()) {
        let trial = sim::run(&load, &world);
        check_accounts(&load, &trial)?;
        check_stop(&trial)?;
        let Load::Closed { concurrency } = load.load else { unreachable!() };
        prop_assert!(trial.in_flight.iter().all(|(_, n)| *n <= concurrency));
        prop_assert!(trial.shared.counts().max_in_flight <= concurrency);
        let ids: Vec<u64> = trial.rows.iter().map(|row| row.op.id).collect();
        prop_assert_eq!(ids.iter().max().map_or(0, |max| max + 1), ids.len() as u64, "not dense");
        check_closed_intended(&load, concurrency, &trial)?;
        if let (Extent::Requests { requests }, None) = (load.extent, trial.shared.ended_early()) {
            prop_assert_eq!(trial.phase(Phase::Measure).count() as u64, requests);
            prop_assert_eq!(trial.phase(Phase::Drain).count(), 0);
            if let Warmup::Requests { requests } = load.warmup {
                prop_assert_eq!(trial.phase(Phase::WarmUp).count() as u64, requests);
            }
        }
    }

    #[test]
    fn open_loop_accounts_for_everything(load in trials(open_loops()), world in worlds()) {
        let trial = sim::run(&load, &world);
        check_accounts(&load, &trial)?;
        check_stop(&trial)?;
        prop_assert!(trial.in_flight.iter().all(|(_, n)| *n <= load.max_in_flight));
        prop_assert!(trial.shared.counts().max_in_flight <= load.max_in_flight);
        let offsets: Vec<u64> = match load.load {
            Load::Open { rate_per_s, arrival } => {
                arrivals(arrival, rate_per_s, load.seed).take(trial.rows.len() + 1_000).collect()
            }
            _ => vec![0; trial.rows.len()],
        };
        let ids: BTreeSet<u64> = trial.rows.iter().map(|row| row.op.id).collect();
        for row in &trial.rows {
            let intended = load.start_ns + offsets[row.op.id as usize];
            prop_assert_eq!(row.op.intended_ns, intended, "an arrival was moved");
        }
        let requests = match (load.load, load.extent) {
            (Load::Burst { requests }, _) | (_, Extent::Requests { requests }) => Some(requests),
            _ => None,
        };
        let measured = trial.phase(Phase::Measure).count() as u64;
        if trial.shared.ended_early().is_none() && load.by_count() {
            prop_assert_eq!(Some(measured), requests);
            prop_assert_eq!(ids.len() as u64, ids.last().expect("some") + 1);
        } else if Some(measured) != requests {
            // Nothing that was due before the stop, or inside the window, is missing.
            let until = if trial.shared.ended_early().is_some() {
                trial.stopped_ns
            } else {
                trial.shared.window().and_then(|window| window.1)
            };
            let missing = (0_u64..).zip(&offsets).find(|(id, _)| !ids.contains(id));
            let all = missing.is_none_or(|(_, offset)| Some(load.start_ns + offset) >= until);
            prop_assert!(all, "{:?} is missing before {:?}", missing, until);
        }
    }
}

/// Each intended time of a closed loop is a slot's first one, or an end plus the think time.
fn check_closed_intended(
    load: &TrialLoad,
    concurrency: u64,
    trial: &Trial,
) -> Result<(), TestCaseError> {
    let first = (0..concurrency).map(|i| load.start_ns + load.stagger_ns * i / concurrency);
    let mut allowed: Vec<u64> = first.collect();
    for row in &trial.rows {
        if let Fate::Ended(at) = row.fate {
            allowed.push(at + load.think_time_ns);
        }
    }
    if let (Some((_, Some(end))), false) = (trial.shared.window(), load.by_count()) {
        // A stamp from inside the window seen after it: counted from the window's end on.
        allowed.extend(vec![end; concurrency as usize]);
    }
    allowed.sort_unstable();
    let mut intended: Vec<u64> = trial.rows.iter().map(|row| row.op.intended_ns).collect();
    intended.sort_unstable();
    let mut allowed = allowed.into_iter();
    for at in intended {
        prop_assert!(allowed.by_ref().any(|allowed| allowed == at), "{at} was made up");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(200))]

    /// Punctual callers, no think time: exactly the concurrency is in flight from the end of the
    /// stagger to the end of the trial.
    #[test]
    fn closed_loop_is_always_full(
        load in trials(closed_loops()),
        reactors in 1_u32..6,
        server_slots in 1_usize..25,
        seed: u64,
    ) {
        let duration_ns = 500 * MS;
        let load = TrialLoad {
            think_time_ns: 0,
            extent: Extent::Duration { duration_ns },
            ..load
        };
        let Load::Closed { concurrency } = load.load else { unreachable!() };
        let world = World { seed, ..World::calm(reactors, server_slots, (3 * MS, 30 * MS)) };
        let trial = sim::run(&load, &world);
        check_accounts(&load, &trial)?;
        let full_from = load.start_ns + load.stagger_ns;
        let end = trial.rows.iter().filter(|row| row.phase == Phase::Measure);
        let end = end.filter_map(|row| match row.fate { Fate::Ended(at) => Some(at), _ => None });
        let end = end.max().unwrap_or(0);
        // The last entry of an instant is the state after it.
        for pair in trial.in_flight.windows(2) {
            let ((at, n), (next, _)) = (pair[0], pair[1]);
            if at < next && at >= full_from && at < end {
                prop_assert_eq!(n, concurrency, "at {} of {}", at, end);
            }
        }
        let (_, Some(to)) = trial.shared.window().expect("has one") else { unreachable!() };
        prop_assert!(trial.over_ns >= to, "ended inside the window");
    }
}
