//! Each warning: what brings it, and what does not.

mod made;

use loadline_analysis::{StageInput, serving_point};
use loadline_schema::document::{Point, Selftest};
use loadline_schema::event::{Calibration, ClientFigures};
use loadline_schema::outcome::{TimestampSource, TokenSource};
use loadline_schema::plan::{Arrival, Load, ServingStage, Warmup};
use loadline_schema::record::RequestRow;
use made::{MS, S, answer, bored, closed, codes, dropped, input, ok, stage, trial};

const ONE: Load = Load::Closed { concurrency: 1 };
const OPEN: Load = Load::Open { rate_per_s: 10.0, arrival: Arrival::Poisson };

/// 300 answers back to back in one slot: nothing to warn of.
fn fine() -> Vec<RequestRow> {
    // 50 ms to the first token, 4 gaps of 10 ms, 1 ms: 91 ms; 110 of them fill the window.
    (0..329).map(|op| answer(op, op * 30_400_000, 20 * MS, &[2_350_000; 4])).collect()
}

fn with_client(load: Load, rows: Vec<RequestRow>, client: ClientFigures) -> Point {
    let mut trial = trial(0, rows);
    trial.end.as_mut().expect("ended").client = client;
    serving_point(input(&stage()), load, [trial])
}

fn changed(change: impl Fn(&mut RequestRow)) -> Point {
    let mut rows = fine();
    rows.iter_mut().for_each(change);
    closed(rows)
}

#[track_caller]
fn message<'a>(point: &'a Point, code: &str) -> &'a str {
    let found = point.warnings.iter().find(|w| w.code == code);
    &found.unwrap_or_else(|| panic!("no {code} in {:?}", codes(point))).message
}

#[test]
fn a_good_point_has_no_warning() {
    let point = closed(fine());
    assert_eq!(codes(&point), Vec::<&str>::new(), "{:?}", point.warnings);
    assert!(!point.client.limited);
}

#[test]
fn few_samples_below_299() {
    let mut rows = fine();
    rows.truncate(298);
    assert!(message(&closed(rows), "few_samples").starts_with("298 answers"));
    let mut rows = fine();
    rows.truncate(299);
    assert!(!codes(&closed(rows)).contains(&"few_samples"));
}

#[test]
fn a_busy_client_is_the_limit_and_a_spinning_one_is_not() {
    let busy = ClientFigures { cpu_ns: 9_100_000_000, ..bored() };
    let point = with_client(ONE, fine(), busy.clone());
    assert!(point.client.limited);
    assert!(message(&point, "client_limited").contains("busy 91.0 %"));
    let spinning = ClientFigures { spin_ns: 5 * S, ..busy };
    assert!(!with_client(ONE, fine(), spinning).client.limited);
}

#[test]
fn late_sending_is_the_clients_and_connecting_is_not() {
    let late = |connecting: Option<u64>| {
        changed(move |row| {
            row.record.write_begin_ns = Some(row.record.intended_ns + 1_100_000);
            row.record.connect_ns = connecting;
        })
    };
    // 1 % of the median TTFT (19 ms) is less than 1 ms, so 1 ms is the limit.
    assert!(message(&late(None), "client_limited").contains("1.10 ms late"));
    assert!(!late(Some(900_000)).client.limited);
}

#[test]
fn slots_that_stay_empty_are_the_clients_limit() {
    let mut rows = fine();
    rows.truncate(300);
    let point = closed(rows.clone());
    // 300 × 30.4 ms in 10 s.
    assert!(message(&point, "client_limited").contains("0.91 of 1"));
    // Not so where a pause was asked for, or where requests failed.
    let stage = ServingStage { think_time_ns: MS, ..stage() };
    let paused = serving_point(input(&stage), ONE, [trial(0, rows.clone())]);
    assert!(!paused.client.limited);
    let failures = (0..30).map(|op| {
        made::failed(1000 + op, 9_200 + op, loadline_schema::outcome::ErrorKind::ConnectRefused)
    });
    rows.extend(failures);
    assert!(!closed(rows).client.limited);
}

#[test]
fn an_open_loop_that_fell_behind_is_limited_only_when_busy() {
    let rows: Vec<RequestRow> = (0..300)
        .map(|op| if op % 10 == 0 { dropped(op, op * 30) } else { ok(op, op * 30, 50) })
        .collect();
    let busy = ClientFigures { cpu_ns: 8 * S, ..bored() };
    let point = with_client(OPEN, rows.clone(), busy);
    assert!(message(&point, "client_limited").contains("270 of 300"));
    let point = with_client(OPEN, rows, bored());
    assert!(!point.client.limited);
    assert!(message(&point, "dropped").starts_with("30 of 300 operations (10.0 %)"));
}

#[test]
fn beyond_the_selftest() {
    let selftest = Selftest {
        max_concurrency: Some(64),
        max_rate_per_s: None,
        ttft_error_ns_p99: None,
        gap_error_ns_p99: None,
        send_lag_ns_p99: None,
        measured_at: "2026-11-24T00:00:00Z".to_owned(),
    };
    let stage = stage();
    let at = |load| {
        let input = StageInput { selftest: Some(&selftest), ..input(&stage) };
        serving_point(input, load, [trial(0, fine())])
    };
    assert!(message(&at(Load::Closed { concurrency: 65 }), "beyond_selftest").contains("65"));
    assert!(!codes(&at(Load::Closed { concurrency: 64 })).contains(&"beyond_selftest"));
    // No rate was proven: nothing can be said.
    assert!(!codes(&at(OPEN)).contains(&"beyond_selftest"));
}

#[test]
fn output_length_that_differs_from_the_asked() {
    let asked = |tokens: u32| changed(move |row| row.record.asked_tokens = Some(tokens));
    assert!(message(&asked(10), "output_length_differs").contains("5.0 tokens"));
    assert!(!codes(&asked(5)).contains(&"output_length_differs"));
    // Counts of events say nothing about the length.
    let point = changed(|row| {
        row.record.asked_tokens = Some(10);
        row.record.token_source = Some(TokenSource::Chunks);
    });
    assert!(!codes(&point).contains(&"output_length_differs"));
    assert!(message(&point, "no_usage").contains("329 of 329"));
    let tokens = point.tokens.expect("counted");
    assert_eq!((tokens.source.as_str(), tokens.per_chunk), ("chunks", None));
}

#[test]
fn prefix_cache_hits_beyond_the_template() {
    let hits = |cached: u32, template: Option<u32>| {
        let stage = stage();
        let calibration = Calibration { template_tokens: template, ..Calibration::default() };
        let input = StageInput { calibration: Some(&calibration), ..input(&stage) };
        let mut rows = fine();
        for row in &mut rows {
            row.record.cached_tokens = Some(cached);
        }
        serving_point(input, ONE, [trial(0, rows)])
    };
    // Allowed: 30 + 1 % of 512.
    assert!(message(&hits(36, Some(30)), "prefix_cache_hits").contains("36.0 of 512.0"));
    assert!(!codes(&hits(35, Some(30))).contains(&"prefix_cache_hits"));
    assert!(!codes(&hits(64, None)).contains(&"prefix_cache_hits"));
    assert!(codes(&hits(512, None)).contains(&"prefix_cache_hits"));
    // Not told by the server: nothing to say.
    assert!(!codes(&closed(fine())).contains(&"prefix_cache_hits"));
}

#[test]
fn user_clock_where_a_stamp_was_to_be_had() {
    let user = |row: &mut RequestRow| row.record.timestamp_source = Some(TimestampSource::User);
    let point = changed(user);
    assert!(message(&point, "user_clock").contains("329 of 329"));
    assert_eq!(point.client.timestamp_source.as_deref(), Some("user"));
    // A socket in the file system has none.
    let stage = ServingStage { endpoints: vec!["unix:/run/server.sock".to_owned()], ..stage() };
    let mut rows = fine();
    rows.iter_mut().for_each(user);
    let point = serving_point(input(&stage), ONE, [trial(0, rows)]);
    assert!(!codes(&point).contains(&"user_clock"));
}

#[test]
fn a_load_that_grows_is_not_stationary() {
    // Each answer takes longer than the last: the cohort's stay is much longer than the window saw.
    let rows = (0..300).map(|op| ok(op, op * 33, op * 20)).collect();
    let point = serving_point(input(&stage()), OPEN, [trial(0, rows)]);
    assert!(message(&point, "not_stationary").contains("differ by"));
    let (residual, little) = (point.stationarity_residual, point.little_residual);
    assert!(residual.expect("in flight") > 0.2 && little.expect("in flight") <= 1e-9);
}

#[test]
fn a_warm_up_shorter_than_two_answers() {
    let warm = |length: u64| {
        let stage = ServingStage { warmup: Warmup::Duration { duration_ns: length }, ..stage() };
        let mut rows = fine();
        for row in &mut rows {
            let r = &mut row.record;
            for t in [&mut r.first_token_ns, &mut r.last_token_ns, &mut r.done_ns] {
                *t = t.map(|t| t + length);
            }
            r.intended_ns += length;
            r.write_begin_ns = Some(r.intended_ns);
            r.ended_ns += length;
        }
        let mut trial = trial(0, rows);
        trial.end.as_mut().expect("ended").window = Some((length, length + 10 * S));
        serving_point(input(&stage), ONE, [trial])
    };
    // An answer takes 30.4 ms.
    assert!(message(&warm(60 * MS), "warm_up_short").contains("60.00 ms"));
    assert!(!codes(&warm(60_800_000)).contains(&"warm_up_short"));
}

#[test]
fn what_the_client_went_through() {
    let client = ClientFigures { clock_steps: 2, store_waits: 3, slow_writes: 4, ..bored() };
    let point = with_client(ONE, fine(), client);
    assert!(message(&point, "clock_moved").contains('2'));
    assert!(message(&point, "store_slow").contains('3'));
    assert!(message(&point, "slow_writes").contains('4'));
    // 3 of 329 is under 1 %.
    let client = ClientFigures { slow_writes: 3, ..bored() };
    assert!(!codes(&with_client(ONE, fine(), client)).contains(&"slow_writes"));
}
