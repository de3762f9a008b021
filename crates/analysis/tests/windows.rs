//! What counts in a window and who belongs to its cohort.

mod made;

use loadline_analysis::{TrialInput, serving_point};
use loadline_schema::document::Point;
use loadline_schema::outcome::{ErrorKind, Phase};
use loadline_schema::plan::{Arrival, Extent, Load};
use loadline_schema::record::RequestRow;
use made::{MS, S, answer, closed, input, near, ok, stage, trial};

fn by_count(load: Load, rows: Vec<RequestRow>) -> Point {
    let mut stage = stage();
    stage.extent = Extent::Requests { requests: rows.len() as u64 };
    let mut trial = trial(0, rows);
    if let Some(end) = &mut trial.end {
        end.by_count = true;
        end.window = None;
    }
    serving_point(input(&stage), load, [trial])
}

#[test]
fn rates_count_events_and_latencies_the_cohort() {
    // Warm-up request that ends in the window, one inside, one of the cohort that ends after it,
    // one of the drain.
    let shifted = |op, intended_ms: u64, ttft: u64, phase| {
        let mut row = ok(op, intended_ms, ttft);
        row.record.phase = phase;
        row
    };
    let rows = vec![
        shifted(0, 9_900, 150, Phase::WarmUp),
        shifted(1, 12_000, 50, Phase::Measure),
        shifted(2, 19_990, 50, Phase::Measure),
        shifted(3, 20_000, 70, Phase::Drain),
    ];
    let mut made = trial(0, rows);
    made.end.as_mut().expect("ended").window = Some((10 * S, 20 * S));
    let point = serving_point(input(&stage()), Load::Closed { concurrency: 1 }, [made]);
    // Ends in the window: 10,091 and 12,091 ms.
    near(point.requests_per_s.map(|e| e.value), 0.2);
    near(point.input_tokens_per_s.map(|e| e.value), 102.4);
    // Tokens: all 5 of the first (from 10,050 on), 5 of the second, none of the others.
    near(point.output_tokens_per_s.map(|e| e.value), 1.0);
    assert_eq!((point.requests.ok, point.outside_cohort.ok), (2, 2));
    assert_eq!(point.ttft_ns.map(|d| (d.n, d.max)), Some((2, Some(50 * MS))));
    assert_eq!(point.window_ns, Some(10 * S));
}

#[test]
fn tokens_count_by_their_own_arrival() {
    // Tokens at 9,960, 9,970, 9,980, 9,990 and 10,000 ms: four are before the end.
    let straddling = || ok(0, 9_900, 60);
    near(closed(vec![straddling()]).output_tokens_per_s.map(|e| e.value), 0.4);
    // Usage says 10: two for each event.
    let mut usage = straddling();
    usage.record.output_tokens = Some(10);
    near(closed(vec![usage.clone()]).output_tokens_per_s.map(|e| e.value), 0.8);
    // The server tells the tokens of each event: 1, 1, 1, 1 and then 6.
    usage.chunks.as_mut().expect("chunks").tokens = vec![1, 1, 1, 1, 6];
    near(closed(vec![usage.clone()]).output_tokens_per_s.map(|e| e.value), 0.4);
    // Without chunk times: ten tokens evenly over 40 ms, the last at the end of the window.
    usage.chunks = None;
    near(closed(vec![usage]).output_tokens_per_s.map(|e| e.value), 0.9);
}

#[test]
fn prompt_tokens_of_unknown_number_are_not_stated() {
    let mut row = ok(0, 0, 50);
    row.record.input_tokens = None;
    let point = closed(vec![row, ok(1, 200, 50)]);
    assert_eq!(point.input_tokens_per_s, None);
    assert!(made::codes(&point).contains(&"no_input_count"));
    // Nor where only one of two trials knows it.
    let mut row = ok(0, 0, 50);
    row.record.input_tokens = None;
    let trials = [trial(0, vec![ok(0, 0, 50)]), trial(1, vec![row])];
    let point = serving_point(input(&stage()), Load::Closed { concurrency: 1 }, trials);
    assert_eq!(point.input_tokens_per_s, None);
}

#[test]
fn an_error_page_that_ended_is_no_answer() {
    let mut page = made::failed(1, 200, ErrorKind::Http5xx);
    page.record.done_ns = Some(205 * MS);
    near(closed(vec![ok(0, 0, 50), page]).requests_per_s.map(|e| e.value), 0.1);
}

#[test]
fn by_count_the_window_is_first_intended_to_last_done() {
    // Ends at 1,091, 2,091 and 4,091 ms; intended from 1,000 ms on.
    let rows = vec![ok(0, 1_000, 50), ok(1, 2_000, 50), ok(2, 4_000, 50)];
    let point = by_count(Load::Closed { concurrency: 1 }, rows);
    assert_eq!(point.window_ns, Some(3_091 * MS));
    // The last answer ends at the very end of the window and belongs to it.
    near(point.requests_per_s.map(|e| e.value), 3.0 / 3.091);
    near(point.output_tokens_per_s.map(|e| e.value), 15.0 / 3.091);
}

#[test]
fn the_tail_is_where_in_flight_falls_for_good() {
    // Two slots; the second has nothing to do after 1 s, the first goes on to 2 s.
    let second = |op, from: u64| answer(op, from * MS, 100 * MS, &[399 * MS]);
    let rows = vec![second(0, 0), second(1, 0), second(2, 500), second(3, 500), second(4, 1_000)];
    let point = by_count(Load::Closed { concurrency: 2 }, rows);
    assert_eq!(point.window_ns, Some(1_500 * MS));
    near(point.requests_per_s.map(|e| e.value), 5.0 / 1.5);
    // Full until 1,000 ms, where answers 2 and 3 end: 0 and 1 had ended before.
    near(point.requests_per_s_without_tail.map(|e| e.value), 2.0);
    near(point.output_tokens_per_s_without_tail.map(|e| e.value), 8.0);
    near(point.in_flight_mean, 2_500.0 / 1_500.0);
}

#[test]
fn a_trial_that_was_never_full_has_no_rate_without_tail() {
    let point = by_count(Load::Closed { concurrency: 4 }, vec![ok(0, 0, 50), ok(1, 0, 60)]);
    assert!(point.requests_per_s.is_some());
    assert_eq!(point.requests_per_s_without_tail, None);
    // By duration there is no tail.
    assert_eq!(closed(vec![ok(0, 0, 50)]).requests_per_s_without_tail, None);
}

#[test]
fn achieved_rate_is_of_what_was_sent() {
    let open = Load::Open { rate_per_s: 2.0, arrival: Arrival::Constant };
    let mut rows: Vec<_> = (0..20).map(|op| ok(op, op * 500, 50)).collect();
    rows[3] = made::dropped(3, 1_500);
    let point = serving_point(input(&stage()), open, [trial(0, rows.clone())]);
    near(point.achieved_rate_per_s.map(|e| e.value), 1.9);
    assert_eq!(point.load.rate_per_s, Some(2.0));
    // By count: 19 sent over 9.5 s between the first and the last.
    near(by_count(open, rows.clone()).achieved_rate_per_s.map(|e| e.value), 18.0 / 9.5);
    // The last is intended at 9,500 ms: 18 of 19 have ended by then.
    near(by_count(open, rows).requests_per_s_without_tail.map(|e| e.value), 18.0 / 9.5);
    assert_eq!(closed(vec![ok(0, 0, 50)]).achieved_rate_per_s, None);
    let one = by_count(open, vec![ok(0, 0, 50)]);
    assert_eq!(one.achieved_rate_per_s, None);
}

#[test]
fn in_flight_is_the_integral_of_sent_to_ended() {
    // 2 s and 3 s in flight inside a window of 10 s; the second goes on for 5 s after it.
    let rows = vec![answer(0, 0, S, &[999 * MS]), answer(1, 7 * S, 4 * S, &[3_999 * MS])];
    let point = closed(rows);
    near(point.in_flight_mean, 0.5);
    assert!(point.little_residual.expect("in flight") <= 1e-9);
    // The cohort's own residence is 2 + 8 s: |5 − 10| / 5.
    near(point.stationarity_residual, 1.0);
    assert!(made::codes(&point).contains(&"not_stationary"));
    // 6 s and 8 s, of which 12 s lie inside: 2 / 12, and a mean stay of 7 s in 10 s allows 70 %.
    let rows = vec![answer(0, 0, S, &[4_999 * MS]), answer(1, 4 * S, 4 * S, &[3_999 * MS])];
    let point = closed(rows);
    near(point.stationarity_residual, 1.0 / 6.0);
    assert!(!made::codes(&point).contains(&"not_stationary"));
}

#[test]
fn a_burst_has_no_tail_and_says_so() {
    let rows = (0..10).map(|op| ok(op, 0, 50 + op)).collect();
    let point = by_count(Load::Burst { requests: 10 }, rows);
    assert_eq!((point.load.burst, point.load.arrival.as_str()), (Some(10), "burst"));
    assert_eq!(point.requests_per_s_without_tail, None);
    assert_eq!(point.achieved_rate_per_s, None);
    // Latency from the common instant.
    assert_eq!(point.ttft_service_ns.map(|d| d.n), Some(10));
}

#[test]
fn a_trial_that_never_reached_its_window_has_no_rates() {
    let mut row = ok(0, 0, 50);
    row.record.phase = Phase::WarmUp;
    let mut unreached: TrialInput = trial(0, vec![row]);
    unreached.end.as_mut().expect("ended").window = None;
    let point = serving_point(input(&stage()), Load::Closed { concurrency: 1 }, [unreached]);
    assert_eq!((point.window_ns, point.requests_per_s, point.in_flight_mean), (None, None, None));
    assert_eq!((point.requests.ok, point.outside_cohort.ok), (0, 1));
}
