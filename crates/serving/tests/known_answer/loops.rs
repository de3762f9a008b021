//! Closed loop, open loop, burst and stop: what is sent when, how much is in flight, and that every
//! operation ends in one record.

use std::collections::BTreeSet;
use std::time::Duration;

use loadline_schema::event::EndedEarly;
use loadline_schema::outcome::{ErrorKind, Outcome, Phase};
use loadline_schema::plan::{Extent, Load, Warmup};
use loadline_testkit::{Delay, Law, Length, TruthThread};

use crate::drive::{Drive, MS, Ran, assert_small};

fn serve(law: Law) -> TruthThread {
    TruthThread::start(law).expect("a free port")
}

fn fixed(ttft_ms: u64, itl_ms: u64, tokens: u32) -> Law {
    Law::fixed(Duration::from_millis(ttft_ms), Duration::from_millis(itl_ms), tokens)
}

/// Intended times from the first one on, in order of operation, ns.
fn offsets(ran: &Ran) -> Vec<u64> {
    let mut times: Vec<(u64, u64)> =
        ran.rows.iter().map(|row| (row.record.op, row.record.intended_ns)).collect();
    times.sort_unstable();
    times.iter().map(|(_, at)| at - times[0].1).collect()
}

/// Every operation has one record; those that were sent, and only those, were announced as started.
fn assert_accounted_for(ran: &Ran) {
    let dropped: BTreeSet<u64> = ran
        .rows
        .iter()
        .filter(|row| row.record.outcome == Outcome::Dropped)
        .map(|row| row.record.op)
        .collect();
    let started: BTreeSet<u64> = ran.starts.iter().map(|start| start.op).collect();
    assert_eq!((started.len(), started.len() as u64), (ran.starts.len(), ran.end.started));
    assert!(started.is_disjoint(&dropped));
    let known: BTreeSet<u64> = started.union(&dropped).copied().collect();
    assert_eq!((&known, &ran.ops()), (&(0..known.len() as u64).collect(), &known));
}

#[test]
fn closed_loop_with_fixed_times() {
    let server = serve(fixed(30, 4, 20));
    let ran = Drive::closed(8, 80).run(&server);
    ran.assert_all_ok(80);
    ran.assert_times_true();
    assert_eq!((ran.end.max_in_flight, ran.server_most), (8, 8));
    let mean = ran.mean_in_flight();
    assert!((6.0..=8.0).contains(&mean), "mean in flight {mean}");
    assert!(ran.rows.iter().all(|row| row.record.token_chunks == 20));
    // Until the server has shown that it keeps connections, an answered one is not used at once.
    let client = &ran.end.client;
    assert!(client.connects <= 16 && client.late_connects <= 8, "{client:?}");
}

#[test]
fn closed_loop_with_random_times_and_lengths() {
    let server = serve(Law {
        ttft: Delay::Lognormal { median_ns: 20 * MS, sigma: 0.6 },
        itl: Delay::Exponential { mean_ns: 4 * MS },
        tokens: Length::Uniform { low: 1, high: 40 },
        ..Law::default()
    });
    let ran = Drive::closed(8, 80).run(&server);
    ran.assert_all_ok(80);
    ran.assert_times_true();
    assert_eq!(ran.server_most, 8);
    let lengths: BTreeSet<Option<u32>> =
        ran.rows.iter().map(|row| row.record.output_tokens).collect();
    assert!(lengths.len() > 10, "the law draws its lengths: {lengths:?}");
}

#[test]
fn slots_are_shared_exactly_among_reactors() {
    for (concurrency, reactors) in [(1, 2), (5, 2), (4, 3)] {
        let server = serve(fixed(15, 3, 5));
        let drive = Drive { reactors: Some(reactors), ..Drive::closed(concurrency, 30) };
        let ran = drive.run(&server);
        ran.assert_all_ok(30);
        ran.assert_times_true();
        assert_eq!(ran.server_most as u64, concurrency, "{reactors} reactors");
        assert_eq!((ran.end.client.reactors, ran.end.max_in_flight), (reactors, concurrency));
    }
}

#[test]
fn a_trial_by_duration_measures_its_window_and_cancels_the_rest() {
    let server = serve(fixed(20, 3, 10));
    let drive = Drive {
        extent: Extent::Duration { duration_ns: 400 * MS },
        warmup: Warmup::Duration { duration_ns: 100 * MS },
        ..Drive::closed(4, 0)
    };
    let ran = drive.run(&server);
    let (from, to) = ran.end.window.expect("the window was reached");
    assert_eq!(to - from, 400 * MS);
    assert_accounted_for(&ran);
    for row in &ran.rows {
        let record = &row.record;
        let phase = match record.intended_ns {
            at if at < from => Phase::WarmUp,
            at if at < to => Phase::Measure,
            _ => Phase::Drain,
        };
        assert_eq!(record.phase, phase);
        let cut = matches!(record.outcome, Outcome::Cancelled | Outcome::Dropped);
        assert!(record.outcome == Outcome::Ok || (cut && phase == Phase::Drain), "{record:?}");
    }
    let measured = ran.rows.iter().filter(|row| row.record.phase == Phase::Measure).count();
    // Four slots, at least 47 ms an answer: at most 9 answers each begin in the window.
    assert!((8..=36).contains(&measured), "{measured} measured");
}

#[test]
fn constant_arrivals_are_intended_exactly_and_sent_on_time() {
    let server = serve(fixed(20, 3, 5));
    let ran = Drive::constant(160.0, 80).run(&server);
    ran.assert_all_ok(80);
    ran.assert_times_true();
    let expected: Vec<u64> = (0..80).map(|i| i * 6_250_000).collect();
    assert_eq!(offsets(&ran), expected);
    let late = |row: &loadline_schema::record::RequestRow| {
        let record = &row.record;
        (record.write_begin_ns.expect("sent") - record.intended_ns).cast_signed()
    };
    let lags: Vec<i64> = ran.rows.iter().map(late).collect();
    assert_small("send lag", &lags, MS, 100 * MS);
}

#[test]
fn a_burst_starts_all_at_once() {
    let server = serve(fixed(400, 2, 5));
    let drive = Drive::new(Load::Burst { requests: 32 }, 0);
    let ran = drive.run(&server);
    ran.assert_all_ok(32);
    ran.assert_times_within(5 * MS);
    assert_eq!(offsets(&ran), [0; 32]);
    assert_eq!((ran.end.max_in_flight, ran.server_most), (32, 32));
}

#[test]
fn a_full_limit_drops_and_says_so() {
    let server = serve(fixed(400, 2, 5));
    let drive = Drive {
        max_in_flight: 5,
        stop_after_errors: 2.0,
        ..Drive::new(Load::Burst { requests: 12 }, 0)
    };
    let ran = drive.run(&server);
    assert_eq!(ran.ops(), (0..12).collect());
    assert_accounted_for(&ran);
    let dropped: Vec<_> =
        ran.rows.iter().filter(|row| row.record.outcome == Outcome::Dropped).collect();
    assert_eq!((dropped.len(), ran.log.len(), ran.end.started), (7, 5, 5));
    for row in dropped {
        assert_eq!(row.record.error, Some(ErrorKind::InFlightLimit));
        assert_eq!(row.record.write_begin_ns, None);
    }
}

#[test]
fn refused_requests_are_counted_as_such() {
    let law = Law { slots: Some(2), shed_above: Some(1), ..fixed(400, 2, 5) };
    let server = serve(law);
    let drive = Drive { stop_after_errors: 2.0, ..Drive::new(Load::Burst { requests: 10 }, 0) };
    let ran = drive.run(&server);
    assert_eq!(ran.ops(), (0..10).collect());
    assert_eq!((ran.server_shed, ran.log.len()), (7, 3));
    let refused: Vec<_> =
        ran.rows.iter().filter(|row| row.record.error == Some(ErrorKind::Http429)).collect();
    assert_eq!(refused.len(), 7);
    for row in refused {
        let record = &row.record;
        assert_eq!((record.outcome, record.http_status), (Outcome::Failed, Some(429)));
        assert_eq!((record.first_token_ns, record.output_tokens), (None, None));
        let said = record.error_text.as_deref().expect("the server's words");
        assert!(said.contains("too many requests"), "{said}");
    }
    let ok = ran.rows.iter().filter(|row| row.record.outcome == Outcome::Ok).count();
    assert_eq!(ok, 3);
}

#[test]
fn a_stopped_trial_keeps_every_operation_once() {
    for reactors in [1, 2] {
        let server = serve(fixed(20, 4, 12));
        let drive = Drive {
            reactors: Some(reactors),
            stop_after_ok: Some(20),
            ..Drive::closed(6, 100_000)
        };
        let ran = drive.run(&server);
        assert_eq!(ran.end.ended_early, Some(EndedEarly::Interrupted));
        assert_accounted_for(&ran);
        let of = |outcome| ran.rows.iter().filter(|row| row.record.outcome == outcome).count();
        let (ok, cut) = (of(Outcome::Ok), of(Outcome::Cancelled) + of(Outcome::Dropped));
        assert!(ok >= 20 && (1..=6).contains(&cut), "{ok} ok, {cut} cut");
        assert_eq!(ok + cut, ran.rows.len());
        for row in ran.rows.iter().filter(|row| row.record.outcome == Outcome::Cancelled) {
            assert!(row.record.done_ns.is_none() && row.record.error.is_none());
        }
    }
}
