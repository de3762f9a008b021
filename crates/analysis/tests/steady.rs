//! Steady state, and what correlation does to the intervals of a point.
#![allow(clippy::unwrap_used, reason = "tests")]

mod made;

use loadline_analysis::serving_point;
use loadline_schema::document::Point;
use loadline_schema::plan::{Arrival, Extent, Load, ServingStage};
use loadline_schema::record::RequestRow;
use loadline_schema::verdict::Steadiness;
use made::{MS, codes, input, ok, stage, trial};

const CLOSED: Load = Load::Closed { concurrency: 1 };

fn scattered(i: u64) -> u64 {
    let z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 40
}

/// Answers one after the other until the window of 10 s is over; the TTFT of answer `op` is `ttft(op)` ms.
fn answers(ttft: impl Fn(u64) -> u64) -> Vec<RequestRow> {
    let mut at = 0;
    let mut rows = Vec::new();
    for op in 0.. {
        let wait = ttft(op);
        if at >= 10_000 {
            break;
        }
        rows.push(ok(op, at, wait));
        at += wait + 42;
    }
    rows
}

fn point(rows: Vec<RequestRow>) -> Point {
    made::closed(rows)
}

#[test]
fn answers_around_one_level_are_steady() {
    let point = point(answers(|op| 10 + scattered(op) % 20));
    let steady = point.steady.as_ref().unwrap();
    assert_eq!(steady.verdict, Steadiness::Steady);
    let n = point.e2e_ns.as_ref().unwrap().n as f64;
    assert_eq!(steady.n_effective, Some(n));
    assert!(steady.truncate.unwrap() < 0.5 && steady.drift.unwrap().abs() < 0.1);
    assert!(!codes(&point).contains(&"not_steady"));
}

#[test]
fn a_server_that_slows_down_is_not_steady() {
    let point = point(answers(|op| 10 + op / 2 + scattered(op) % 20));
    let steady = point.steady.as_ref().unwrap();
    assert_eq!(steady.verdict, Steadiness::NotSteady);
    assert!(codes(&point).contains(&"not_steady"));
    assert!(steady.n_effective.unwrap() < 20.0);
    // So P99 cannot be bounded by what would be enough independent answers.
    let e2e = point.e2e_ns.as_ref().unwrap();
    assert!(e2e.intervals.get("p99").is_none_or(|i| i.high.is_none()));
}

#[test]
fn the_worst_trial_decides() {
    let good = trial(0, answers(|op| 10 + scattered(op) % 20));
    let bad = trial(1, answers(|op| 10 + op / 2 + scattered(op) % 20));
    let stage = ServingStage { trials: 2, ..stage() };
    let point = serving_point(input(&stage), CLOSED, [good, bad]);
    assert_eq!(point.steady.unwrap().verdict, Steadiness::NotSteady);
}

#[test]
fn a_short_trial_and_a_burst_are_refused() {
    let few: Vec<RequestRow> = (0..49).map(|op| ok(op, op * 190, 20)).collect();
    let found = point(few).steady.unwrap();
    assert_eq!((found.verdict, found.truncate, found.drift), (Steadiness::TooShort, None, None));
    // 60 answers of 2.5 s each: the window holds four of them.
    let long: Vec<RequestRow> = (0..60).map(|op| ok(op, op * 100, 2_459)).collect();
    assert_eq!(point(long).steady.unwrap().verdict, Steadiness::TooShort);
    let burst = serving_point(
        input(&stage()),
        Load::Burst { requests: 200 },
        [trial(0, (0..200).map(|op| ok(op, 0, 20 + op)).collect())],
    );
    assert_eq!(burst.steady, None);
}

#[test]
fn the_tail_of_a_trial_by_count_is_left_out() {
    // Four slots; in the tail answers come five times as fast.
    let rows: Vec<RequestRow> = (0..240)
        .map(|op| {
            let (slot, turn) = (op % 4, op / 4);
            let fast = turn == 59 && slot > 0;
            ok(op, turn * 150 + slot, if fast { 20 } else { 95 + scattered(op) % 10 })
        })
        .collect();
    let stage = ServingStage { extent: Extent::Requests { requests: 240 }, ..stage() };
    let mut input_trial = trial(0, rows);
    let end = input_trial.end.as_mut().unwrap();
    (end.by_count, end.window) = (true, None);
    let point = serving_point(input(&stage), Load::Closed { concurrency: 4 }, [input_trial]);
    assert_eq!(point.steady.unwrap().verdict, Steadiness::Steady);
}

#[test]
fn one_trial_has_intervals_of_its_rates() {
    let point = point(answers(|op| 10 + scattered(op) % 20));
    for rate in [point.requests_per_s.unwrap(), point.output_tokens_per_s.unwrap()] {
        let (low, high) = (rate.low.unwrap(), rate.high.unwrap());
        assert_eq!(rate.n, 1);
        assert!(low < rate.value && rate.value < high && high / low < 1.2, "{rate:?}");
    }
    // Three answers tell how many there were, and not how many there might have been.
    let few = made::closed((0..3).map(|op| ok(op, op * 100, 20)).collect());
    assert_eq!(few.requests_per_s.map(|r| (r.low, r.high)), Some((None, None)));
}

#[test]
fn correlated_answers_widen_the_intervals_of_percentiles() {
    let open = Load::Open { rate_per_s: 100.0, arrival: Arrival::Constant };
    let of = |group: u64| {
        let rows = (0..900).map(|op| ok(op, op * 10, 50 + scattered(op / group) % 1_000));
        let point = serving_point(input(&stage()), open, [trial(0, rows.collect())]);
        let interval = point.ttft_ns.unwrap().intervals["p50"];
        (interval.high.unwrap() - interval.low.unwrap()) / MS as f64
    };
    // Thirty answers in a row alike: about √30 times as wide.
    let (alone, grouped) = (of(1), of(30));
    assert!(grouped > 2.5 * alone, "{alone} {grouped}");
}
