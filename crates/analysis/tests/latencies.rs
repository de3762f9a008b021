//! Where each latency starts and ends, on answers made by hand.

mod made;

use loadline_analysis::serving_point;
use loadline_schema::outcome::{Outcome, Phase};
use loadline_schema::plan::{Arrival, Load};
use made::{MS, S, answer, closed, input, near, ok, stage, trial};

const OPEN: Load = Load::Open { rate_per_s: 1.0, arrival: Arrival::Constant };

#[test]
fn closed_loop_counts_from_sent_and_open_loop_from_intended() {
    let mut row = ok(0, 100, 50);
    row.record.intended_ns = 80 * MS;
    let point = closed(vec![row.clone()]);
    assert_eq!(point.ttft_ns.as_ref().and_then(|d| d.p50), Some(50 * MS));
    assert_eq!(point.e2e_ns.as_ref().and_then(|d| d.p50), Some(91 * MS));
    assert_eq!(point.ttft_service_ns, None);
    let point = serving_point(input(&stage()), OPEN, [trial(0, vec![row])]);
    assert_eq!(point.ttft_ns.as_ref().and_then(|d| d.p50), Some(70 * MS));
    assert_eq!(point.ttft_service_ns.as_ref().and_then(|d| d.p50), Some(50 * MS));
    assert_eq!(point.e2e_ns.as_ref().and_then(|d| d.p50), Some(111 * MS));
    assert_eq!(point.send_lag_ns.as_ref().and_then(|d| d.p50), Some(20 * MS));
}

#[test]
fn e2e_ends_at_the_last_byte_and_decoding_at_the_last_token() {
    let mut row = ok(0, 100, 50);
    row.record.done_ns = Some(500 * MS);
    let point = closed(vec![row]);
    assert_eq!(point.e2e_ns.and_then(|d| d.max), Some(400 * MS));
    // Four gaps of 10 ms over 5 tokens.
    assert_eq!(point.tpot_ns.and_then(|d| d.max), Some(10 * MS));
    near(point.output_tokens_per_s_per_user.map(|e| e.value), 100.0);
}

#[test]
fn tpot_divides_by_the_servers_count_and_rounds() {
    let mut row = ok(0, 0, 50);
    row.record.output_tokens = Some(8);
    // 40 ms over 7 steps = 5,714,285.7 ns.
    assert_eq!(closed(vec![row]).tpot_ns.and_then(|d| d.max), Some(5_714_286));
}

#[test]
fn an_answer_of_one_token_has_no_tpot_and_no_gap() {
    let point = closed(vec![answer(0, 0, 50 * MS, &[])]);
    assert_eq!(point.ttft_ns.map(|d| d.n), Some(1));
    assert_eq!(point.tpot_ns, None);
    assert_eq!(point.itl_ns, None);
    assert_eq!(point.max_gap_ns, None);
    assert_eq!(point.output_tokens_per_s_per_user, None);
    // One token by the server's count, though it came in two events.
    let mut row = answer(0, 0, 50 * MS, &[MS]);
    row.record.output_tokens = Some(1);
    assert_eq!(closed(vec![row]).tpot_ns, None);
}

#[test]
fn tokens_in_one_event_have_no_tpot_rather_than_zero() {
    let mut row = answer(0, 0, 50 * MS, &[]);
    row.record.output_tokens = Some(64);
    let point = closed(vec![row]);
    assert_eq!(point.tpot_ns, None);
    assert!(made::codes(&point).contains(&"single_event_answers"));
}

#[test]
fn first_output_is_stated_where_it_differs() {
    assert_eq!(closed(vec![ok(0, 0, 50)]).ttfo_ns, None);
    let mut thinking = ok(1, 200, 50);
    thinking.record.first_output_ns = Some(270 * MS);
    let point = closed(vec![ok(0, 0, 50), thinking]);
    let ttfo = point.ttfo_ns.expect("one answer was thinking");
    assert_eq!((ttfo.n, ttfo.p50, ttfo.max), (2, Some(50 * MS), Some(70 * MS)));
    assert_eq!(point.ttft_ns.and_then(|d| d.max), Some(50 * MS));
}

#[test]
fn first_chunk_is_not_first_token() {
    let mut row = ok(0, 0, 50);
    row.record.first_chunk_ns = Some(20 * MS);
    let point = closed(vec![row]);
    assert_eq!(point.ttfc_ns.and_then(|d| d.p50), Some(20 * MS));
    assert_eq!(point.ttft_ns.and_then(|d| d.p50), Some(50 * MS));
}

#[test]
fn a_stamp_before_the_start_is_no_latency() {
    let mut hair = ok(0, 100, 50);
    hair.record.first_chunk_ns = Some(100 * MS - 400);
    assert_eq!(closed(vec![hair]).ttfc_ns.and_then(|d| d.p50), Some(0));
    let mut wrong = ok(0, 100, 50);
    wrong.record.first_chunk_ns = Some(50 * MS);
    assert_eq!(closed(vec![wrong]).ttfc_ns, None);
}

#[test]
fn only_ok_answers_of_the_cohort_have_latencies() {
    let mut warm = ok(1, 20_000, 999);
    warm.record.phase = Phase::WarmUp;
    let mut cut = ok(2, 200, 999);
    cut.record.outcome = Outcome::CutShort;
    let point = closed(vec![ok(0, 0, 50), warm, cut]);
    let ttft = point.ttft_ns.expect("one answer");
    assert_eq!((ttft.n, ttft.left_out, ttft.max), (1, 1, Some(50 * MS)));
    assert_eq!(point.outside_cohort.ok, 1);
    assert_eq!(point.requests.cut_short, 1);
}

#[test]
fn percentiles_are_nearest_rank_with_their_intervals() {
    // TTFT 1 ms … 300 ms, in an order in which neighbours do not go together.
    let ttft = |i| (i * 187 % 300 + 1) * MS;
    let rows = (1..=300).map(|i| answer(i, i * 20 * MS, ttft(i), &[MS])).collect();
    let ttft = closed(rows).ttft_ns.expect("answers");
    assert_eq!(ttft.n, 300);
    assert_eq!(ttft.p50, Some(150 * MS));
    assert_eq!(ttft.p90, Some(270 * MS));
    assert_eq!(ttft.p95, Some(285 * MS));
    assert_eq!(ttft.p99, Some(297 * MS));
    assert_eq!(ttft.p999, Some(300 * MS));
    assert_eq!(ttft.max, Some(300 * MS));
    near(ttft.mean, 150.5 * MS as f64);
    // Bin(300, 0.5): P(B ≤ 132) = 0.0213, P(B ≤ 133) = 0.0283 (normal: 150 ± 1.96 × 8.66).
    let p50 = ttft.intervals["p50"];
    assert_eq!((p50.low, p50.high), (Some(133.0 * MS as f64), Some(168.0 * MS as f64)));
    assert_eq!(ttft.intervals["p99"].high, Some(300.0 * MS as f64));
    // 300 requests cannot bound P99.9 from above.
    assert_eq!(ttft.intervals["p999"].high, None);
    assert!(ttft.intervals["p999"].low.is_some());
    // One trial says nothing about the mean's interval.
    assert!(!ttft.intervals.contains_key("mean"));
}

#[test]
fn a_cohort_without_answers_has_no_latency() {
    let point = closed(vec![made::failed(0, 0, loadline_schema::outcome::ErrorKind::Reset)]);
    assert_eq!((&point.ttft_ns, &point.e2e_ns, &point.tpot_ns), (&None, &None, &None));
    assert_eq!(point.requests_per_s.map(|e| e.value), Some(0.0));
    assert!(made::codes(&point).contains(&"no_answers"));
    let nothing = closed(Vec::new());
    assert_eq!(nothing.send_lag_ns, None);
    assert_eq!(nothing.window_ns, Some(10 * S));
}
