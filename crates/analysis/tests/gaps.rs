//! Gaps between tokens: bundles of the server, our own lateness, tokens per event.

mod made;

use loadline_schema::document::Point;
use loadline_schema::record::RequestRow;
use made::{MS, answer, closed, codes, merge, near, ok};

fn itl(point: &Point) -> &loadline_schema::document::Distribution {
    point.itl_ns.as_ref().expect("gaps")
}

#[test]
fn gaps_are_pooled_over_requests() {
    let rows = vec![
        answer(0, 0, 50 * MS, &[10 * MS, 20 * MS]),
        answer(1, 500 * MS, 50 * MS, &[30 * MS, 40 * MS, 50 * MS]),
    ];
    let point = closed(rows);
    let itl = itl(&point);
    assert_eq!((itl.n, itl.values), (2, Some(5)));
    assert_eq!((itl.p50, itl.max), (Some(30 * MS), Some(50 * MS)));
    near(itl.mean, 30.0 * MS as f64);
    assert_eq!(point.chunk_gap_ns.as_ref(), Some(itl));
    let longest = point.max_gap_ns.expect("gaps");
    assert_eq!((longest.n, longest.p50, longest.max), (2, Some(20 * MS), Some(50 * MS)));
}

#[test]
fn a_bundle_of_the_server_has_zero_gaps() {
    // Events 1, 2 and 3 in one write: 30 ms, 0, 0. The socket was empty 0.1 ms before.
    let mut row = answer(0, 0, 50 * MS, &[30 * MS, 0, 0, 30 * MS]);
    merge(&mut row, 1, 3, 1_000);
    let point = closed(vec![row]);
    assert_eq!(itl(&point).p50, Some(0));
    assert_eq!(itl(&point).max, Some(30 * MS));
    assert_eq!(point.client.late_gaps, Some(0.0));
    assert!(!codes(&point).contains(&"late_gaps"));
}

#[test]
fn a_late_read_is_split_evenly_and_flagged() {
    // Gap 0 = 30 ms and 100 ns before three events that we read late, then 5 ms.
    let mut row = answer(0, 0, 50 * MS, &[30 * MS + 100, 0, 0, 5 * MS]);
    merge(&mut row, 1, 3, 1_001);
    let point = closed(vec![row]);
    assert_eq!(point.client.late_gaps, Some(0.75));
    // The sum stays exact: 35 ms and 100 ns over 4 gaps.
    near(itl(&point).mean, (35.0 * MS as f64 + 100.0) / 4.0);
    // 75 % of the gaps are uncertain: no percentile is stated, not even the median.
    let (p50, p99, max) = (itl(&point).p50, itl(&point).p99, itl(&point).max);
    assert_eq!((p50, p99, max), (None, None, None));
    assert!(itl(&point).intervals.is_empty());
    assert!(codes(&point).contains(&"late_gaps"));
    assert!(codes(&point).contains(&"client_limited"));
    assert!(point.client.limited);
}

/// 1,000 gaps of 10 ms in 10 answers, `late` of them in late reads of two.
fn mostly_timely(late: u64) -> Point {
    let rows = (0..10).map(|op| {
        let mut gaps = vec![10 * MS; 100];
        let mut merged = Vec::new();
        if op < late / 2 {
            (gaps[49], gaps[50]) = (20 * MS, 0);
            merged.push(50);
        }
        let mut row = answer(op, op * 100 * MS, 50 * MS, &gaps);
        for first in merged {
            merge(&mut row, first, 2, u32::MAX);
        }
        row
    });
    closed(rows.collect::<Vec<RequestRow>>())
}

#[test]
fn percentiles_are_withheld_by_the_share_of_late_gaps() {
    // 2 of 1,000 are late: over (1 − 0.99) / 10 and under (1 − 0.95) / 10.
    let point = mostly_timely(2);
    near(point.client.late_gaps, 0.002);
    let limited = |point: &Point| point.warnings.iter().any(|w| w.message.contains("gaps late"));
    assert!(limited(&point));
    assert_eq!(itl(&point).p95, Some(10 * MS));
    assert_eq!((itl(&point).p99, itl(&point).p999), (None, None));
    // 20 of 1,000: P50 (5 %) stays, P90 (1 %) goes.
    let point = mostly_timely(20);
    assert_eq!((itl(&point).p50, itl(&point).p90), (Some(10 * MS), None));
    let warning = point.warnings.iter().find(|w| w.code == "late_gaps").expect("withheld");
    assert!(warning.message.contains("ITL p90, p95, p99, p999"), "{}", warning.message);
    // None: everything is stated.
    let point = mostly_timely(0);
    assert_eq!((itl(&point).p99, itl(&point).p999), (Some(10 * MS), Some(10 * MS)));
    assert!(!codes(&point).contains(&"late_gaps"));
    assert!(!limited(&point));
}

#[test]
fn the_largest_gap_stands_where_no_late_read_can_hide_a_larger_one() {
    let gaps = [10 * MS, 20 * MS, 0, 25 * MS];
    let mut row = answer(0, 0, 50 * MS, &gaps);
    merge(&mut row, 2, 2, 5_000);
    assert_eq!(itl(&closed(vec![row])).max, Some(25 * MS));
    let gaps = [10 * MS, 20 * MS, 0, 15 * MS];
    let mut row = answer(0, 0, 50 * MS, &gaps);
    merge(&mut row, 2, 2, 5_000);
    let point = closed(vec![row]);
    assert_eq!(itl(&point).max, None);
    // The request's longest gap is then no certain value either.
    assert_eq!(point.max_gap_ns.expect("a gap").p50, None);
}

#[test]
fn a_first_token_in_a_late_read_is_an_upper_bound() {
    let mut late = answer(0, 0, 50 * MS, &[0, 10 * MS]);
    merge(&mut late, 0, 2, 5_000);
    let mut bundled = answer(1, 500 * MS, 50 * MS, &[0, 10 * MS]);
    merge(&mut bundled, 0, 2, 900);
    let point = closed(vec![late, bundled]);
    assert_eq!(point.client.late_first_tokens, 1);
    assert!(codes(&point).contains(&"late_first_tokens"));
    // The zero after the late first token is flagged, and nothing before it can be split.
    assert_eq!(point.client.late_gaps, Some(0.25));
    near(itl(&point).mean, 5.0 * MS as f64);
}

#[test]
fn tokens_of_one_event_are_zeros_of_itl_and_one_chunk_gap() {
    // Events of 2, 3 and 1 tokens: 10 ms, 20 ms between events; ITL adds 1 + 2 zeros.
    let mut row = answer(0, 0, 50 * MS, &[10 * MS, 20 * MS]);
    row.record.output_tokens = Some(6);
    row.record.asked_tokens = Some(6);
    row.chunks.as_mut().expect("chunks").tokens = vec![2, 3, 1];
    let point = closed(vec![row]);
    let itl = itl(&point);
    assert_eq!((itl.n, itl.values, itl.p50, itl.max), (1, Some(5), Some(0), Some(20 * MS)));
    near(itl.mean, 6.0 * MS as f64);
    let chunk = point.chunk_gap_ns.as_ref().expect("gaps");
    assert_eq!((chunk.values, chunk.p50), (Some(2), Some(10 * MS)));
    near(chunk.mean, 15.0 * MS as f64);
    near(point.tokens.as_ref().and_then(|t| t.per_chunk), 2.0);
    assert!(!codes(&point).contains(&"itl_per_chunk"));
}

#[test]
fn itl_is_per_chunk_where_the_server_does_not_tell() {
    let mut row = ok(0, 0, 50);
    row.record.output_tokens = Some(10);
    let point = closed(vec![row]);
    let warning = point.warnings.iter().find(|w| w.code == "itl_per_chunk").expect("warned");
    assert!(warning.message.contains("2.00 tokens each"), "{}", warning.message);
    // One token more than events is the end-of-text token: no reason to warn.
    let mut row = ok(0, 0, 50);
    row.record.output_tokens = Some(6);
    assert!(!codes(&closed(vec![row])).contains(&"itl_per_chunk"));
}

#[test]
fn gaps_count_requests_as_samples() {
    // 20 requests of 200 gaps: 4,000 gaps, and still too few to bound P99 from above.
    let rows = (0..20).map(|op| answer(op, op * 100 * MS, 50 * MS, &[10 * MS; 200]));
    let point = closed(rows.collect());
    let p99 = itl(&point).intervals["p99"];
    assert_eq!(p99.high, None);
    // Median of 20 independent values: the 6th to the 15th of 20, so the 1,200th to the 3,000th.
    // One gap more is a fraction of a rank: 1,200.3 and 3,000.75 are widened to 1,200 and 3,001.
    // In an order in which neighbours do not go together.
    let rows = (0..20).map(|op| {
        let place = op * 7 % 20;
        let gaps: Vec<u64> =
            (0..200 + u64::from(place == 19)).map(|i| (place * 200 + i + 1) * 100).collect();
        answer(op, op * 100 * MS, 50 * MS, &gaps)
    });
    let p50 = itl(&closed(rows.collect())).intervals["p50"];
    assert_eq!((p50.low, p50.high), (Some(120_000.0), Some(300_100.0)));
}

#[test]
fn without_chunk_times_there_is_no_itl() {
    let mut row = ok(0, 0, 50);
    row.chunks = None;
    let point = closed(vec![row]);
    assert_eq!((&point.itl_ns, &point.chunk_gap_ns), (&None, &None));
    assert_eq!(point.tpot_ns.as_ref().and_then(|d| d.max), Some(10 * MS));
    assert!(codes(&point).contains(&"no_chunk_times"));
    assert_eq!(point.client.late_gaps, None);
}
