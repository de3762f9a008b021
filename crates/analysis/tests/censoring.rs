//! Attempts that did not end ok: what they take away from the percentiles of those that did.

mod made;

use loadline_analysis::serving_point;
use loadline_schema::document::{Distribution, Point};
use loadline_schema::outcome::{ErrorKind, Outcome};
use loadline_schema::plan::{Arrival, Load};
use loadline_schema::record::{ChunkTimes, RequestRow};
use made::{MS, closed, codes, dropped, failed, input, ok, stage, trial};

/// `good` answers with TTFT 1, 2, 3 … ms and `bad` failures.
fn mixed(good: u64, bad: u64) -> Point {
    let answers = (0..good).map(|op| ok(op, op * 9, op + 1));
    let failures = (0..bad).map(|op| failed(good + op, op * 9, ErrorKind::Http429));
    closed(answers.chain(failures).collect())
}

fn ttft(point: &Point) -> &Distribution {
    point.ttft_ns.as_ref().expect("answers")
}

#[test]
fn a_percentile_among_the_failures_is_withheld() {
    // 990 ok of 1,000: 1 % failed. Rank 990 of all attempts is the last ok answer: P99 is stated.
    let point = mixed(990, 10);
    assert_eq!((ttft(&point).n, ttft(&point).left_out), (990, 10));
    // Nearest rank over the ok answers: ceil(0.99 × 990) = 981.
    assert_eq!(ttft(&point).p99, Some(981 * MS));
    assert_eq!(ttft(&point).p999, None);
    assert!(!ttft(&point).intervals.contains_key("p999"));
    // One more failure: the rank lies among them.
    let point = mixed(989, 11);
    assert_eq!((ttft(&point).p95, ttft(&point).p99), (Some(940 * MS), None));
    let warning = point.warnings.iter().find(|w| w.code == "censored_percentiles");
    let message = &warning.expect("withheld").message;
    assert!(message.contains("TTFT p99, p999") && message.contains("ITL p99, p999"), "{message}");
}

#[test]
fn mean_and_largest_are_of_the_ok_answers() {
    let point = mixed(4, 6);
    let found = ttft(&point);
    // 60 % failed: even the median is not known.
    assert_eq!((found.p50, found.p90), (None, None));
    assert_eq!((found.n, found.left_out, found.max), (4, 6, Some(4 * MS)));
    assert_eq!(found.mean, Some(2.5 * MS as f64));
    for gaps in [&point.itl_ns, &point.chunk_gap_ns, &point.tpot_ns, &point.max_gap_ns] {
        assert_eq!(gaps.as_ref().map(|d| (d.left_out, d.p50)), Some((6, None)));
    }
}

#[test]
fn nothing_is_withheld_without_failures() {
    let point = mixed(400, 0);
    let found = ttft(&point);
    assert_eq!((found.p999, found.left_out), (Some(400 * MS), 0));
    assert!(!codes(&point).contains(&"censored_percentiles"));
    assert!(!codes(&point).contains(&"errors"));
}

#[test]
fn every_kind_of_attempt_counts_and_cancelled_does_not() {
    let with = |op, outcome, error| {
        let mut row = failed(op, op * 10, error);
        row.record.outcome = outcome;
        row
    };
    let rows: Vec<RequestRow> = vec![
        ok(0, 0, 50),
        failed(1, 10, ErrorKind::Http5xx),
        with(2, Outcome::TimedOut, ErrorKind::TotalTimeout),
        with(3, Outcome::CutShort, ErrorKind::EofMidStream),
        dropped(4, 40),
        with(5, Outcome::Cancelled, ErrorKind::TrialEnded),
    ];
    let open = Load::Open { rate_per_s: 1.0, arrival: Arrival::Poisson };
    let point = serving_point(input(&stage()), open, [trial(0, rows)]);
    let r = point.requests;
    assert_eq!(
        (r.ok, r.failed, r.timed_out, r.cut_short, r.dropped, r.cancelled),
        (1, 1, 1, 1, 1, 1)
    );
    assert_eq!(ttft(&point).left_out, 4);
    assert_eq!(point.errors["http_5xx"], 1);
    assert_eq!(point.errors["in_flight_limit"], 1);
    assert_eq!(point.error_examples["http_5xx"], "words about 1");
    // Sent were all but the dropped one.
    let lag = point.send_lag_ns.as_ref().expect("sent");
    assert_eq!((lag.n, lag.left_out), (5, 1));
    assert!(codes(&point).contains(&"dropped"));
    let errors = point.warnings.iter().find(|w| w.code == "errors").expect("errors");
    assert!(errors.message.starts_with("3 of 5 attempts (60.0 %)"), "{}", errors.message);
}

#[test]
fn an_answer_without_a_token_is_left_out_and_named() {
    let mut empty = ok(1, 200, 50);
    let record = &mut empty.record;
    (record.first_token_ns, record.first_output_ns, record.last_token_ns) = (None, None, None);
    (record.output_tokens, record.token_chunks) = (Some(0), 0);
    empty.chunks = Some(ChunkTimes::default());
    let point = closed(vec![ok(0, 0, 50), empty]);
    assert_eq!((ttft(&point).n, ttft(&point).left_out), (1, 1));
    assert_eq!(point.e2e_ns.as_ref().map(|d| (d.n, d.left_out)), Some((2, 0)));
    assert!(codes(&point).contains(&"empty_answers"));
}

#[test]
fn the_example_of_an_error_is_its_first() {
    let rows = vec![
        failed(7, 70, ErrorKind::Reset),
        failed(3, 30, ErrorKind::Reset),
        failed(5, 50, ErrorKind::Reset),
    ];
    assert_eq!(closed(rows).error_examples["reset"], "words about 3");
}
