//! Several trials: means with intervals, trials that ended early, were killed, or lost operations.

mod made;

use loadline_analysis::{PointAnalysis, TrialInput, serving_point};
use loadline_schema::document::Point;
use loadline_schema::event::EndedEarly;
use loadline_schema::outcome::{Outcome, Phase};
use loadline_schema::plan::{Load, ServingStage};
use made::{MS, S, codes, end, id, input, near, ok, stage, start, trial};

const LOAD: Load = Load::Closed { concurrency: 1 };

fn staged(trials: u32) -> ServingStage {
    ServingStage { trials, ..stage() }
}

fn point(trials: Vec<TrialInput>) -> Point {
    serving_point(input(&staged(trials.len() as u32)), LOAD, trials)
}

/// A trial of `n` answers in its window of 10 s.
fn with_answers(number: u16, n: u64) -> TrialInput {
    trial(number, (0..n).map(|op| ok(op, op * 20, 50)).collect())
}

#[test]
fn rates_are_means_over_trials_with_their_t_interval() {
    let point = point(vec![with_answers(0, 90), with_answers(1, 100), with_answers(2, 110)]);
    let rate = point.requests_per_s.expect("rates");
    near(rate.value, 10.0);
    // Standard deviation 1, t(2) = 4.302653, half width 4.302653 / sqrt(3) = 2.484138.
    assert!((rate.low.expect("three") - 7.515_862).abs() < 1e-6);
    assert!((rate.high.expect("three") - 12.484_138).abs() < 1e-6);
    assert_eq!((rate.n, point.trials, point.trials_planned), (3, 3, 3));
    assert_eq!(point.window_ns, Some(30 * S));
    assert_eq!(point.ttft_ns.as_ref().map(|d| d.n), Some(300));
    assert!(point.ttft_ns.expect("pooled").intervals.contains_key("mean"));
    assert_eq!(point.incomplete, None);
}

#[test]
fn one_trial_has_no_interval() {
    let rate = point(vec![with_answers(0, 90)]).requests_per_s.expect("rates");
    assert_eq!((rate.low, rate.high, rate.n), (None, None, 1));
}

#[test]
fn a_lower_bound_is_never_negative() {
    let rate = point(vec![with_answers(0, 1), with_answers(1, 100)]).requests_per_s;
    assert_eq!(rate.expect("rates").low, Some(0.0));
}

#[test]
fn trials_may_be_added_in_any_order() {
    let stage = staged(3);
    let of = |order: [u16; 3], ended_early: &dyn Fn(u16) -> Option<EndedEarly>| {
        let mut analysis = PointAnalysis::new(input(&stage), LOAD);
        for number in order {
            let mut trial = with_answers(number, 10 + 7 * u64::from(number));
            trial.rows[3].record.first_token_ns = Some(123_456_789 + u64::from(number));
            trial.end.as_mut().expect("ended").ended_early = ended_early(number);
            analysis.add(&trial);
        }
        analysis.finish()
    };
    assert_eq!(of([0, 1, 2], &|_| None), of([2, 0, 1], &|_| None));
    let early = |number| match number {
        0 => None,
        1 => Some(EndedEarly::TokenCap),
        _ => Some(EndedEarly::Interrupted),
    };
    let stopped = of([2, 1, 0], &early);
    assert_eq!(stopped.incomplete.as_ref().and_then(|i| i.reason), Some(EndedEarly::TokenCap));
    assert_eq!(stopped, of([0, 1, 2], &early));
}

#[test]
fn rates_are_of_the_complete_trials() {
    let mut stopped = with_answers(1, 10);
    stopped.end.as_mut().expect("ended").ended_early = Some(EndedEarly::Interrupted);
    let point = point(vec![with_answers(0, 100), stopped]);
    near(point.requests_per_s.map(|e| e.value), 10.0);
    assert_eq!(point.requests_per_s.map(|e| e.n), Some(1));
    // Outcomes and distributions are of everything there is.
    assert_eq!((point.requests.ok, point.trials), (110, 2));
    let incomplete = point.incomplete.as_ref().expect("stopped");
    assert_eq!((incomplete.trials, incomplete.reason), (1, Some(EndedEarly::Interrupted)));
    assert!(codes(&point).contains(&"incomplete"));
}

#[test]
fn a_trial_that_ended_early_counts_until_its_last_record() {
    // The last answer of 10 ends at 271 ms: the window is [0, 271 ms) and that end is not in it.
    let mut stopped = with_answers(0, 10);
    stopped.end.as_mut().expect("ended").ended_early = Some(EndedEarly::StopAfterErrors);
    let point = point(vec![stopped]);
    assert_eq!(point.window_ns, Some(271 * MS));
    near(point.requests_per_s.map(|e| e.value), 9.0 / 0.271);
}

#[test]
fn a_trial_that_was_not_begun_is_incomplete() {
    let point = serving_point(input(&staged(3)), LOAD, [with_answers(0, 10)]);
    let incomplete = point.incomplete.as_ref().expect("two are missing");
    assert_eq!((incomplete.trials, incomplete.reason), (2, None));
    assert!(point.warnings[0].message.contains("not begun"), "{}", point.warnings[0].message);
}

#[test]
fn a_killed_trial_keeps_its_answers_and_counts_the_rest_as_unknown() {
    let mut killed = with_answers(0, 10);
    killed.end = None;
    // In flight at the kill: one of the cohort; one whose record is there already.
    killed.starts.push(start(0, 77, 400 * MS));
    let point = point(vec![killed]);
    assert_eq!((point.requests.ok, point.requests.unknown), (10, 1));
    assert_eq!(point.trials, 0);
    assert_eq!(point.incomplete.as_ref().map(|i| (i.trials, i.reason)), Some((1, None)));
    // From the first intended time to the last thing known.
    assert_eq!(point.window_ns, Some(400 * MS));
    near(point.requests_per_s.map(|e| e.value), 25.0);
    assert_eq!(point.ttft_ns.as_ref().map(|d| (d.n, d.left_out)), Some((10, 0)));
    let warning = &point.warnings[0];
    assert_eq!(warning.code, "incomplete");
    assert!(warning.message.contains("killed") && warning.message.contains("1 started"));
    assert!(point.client.cpu_ratio.is_none());
}

#[test]
fn an_operation_without_a_record_was_in_flight_until_the_end() {
    let mut killed = trial(0, vec![ok(0, 100, 50)]);
    killed.end = None;
    // Begun at 91 ms, the answer from 100 to 191 ms, the open one from 141 ms on: 91 and 50 ms.
    killed.measure_from_ns = Some(91 * MS);
    killed.starts.push(start(0, 1, 141 * MS));
    let found = point(vec![killed]);
    assert_eq!(found.window_ns, Some(100 * MS));
    near(found.in_flight_mean, 1.41);
}

#[test]
fn a_kill_in_the_warm_up_leaves_its_operations_outside() {
    let mut row = ok(0, 0, 50);
    row.record.phase = Phase::WarmUp;
    let mut killed = trial(0, vec![row]);
    killed.end = None;
    killed.starts.push(start(0, 1, 100 * MS));
    let found = point(vec![killed.clone()]);
    assert_eq!((found.requests.unknown, found.outside_cohort.unknown), (0, 1));
    assert_eq!(found.requests_per_s, None);
    // When the phase is known to have begun, the open operation is the cohort's.
    killed.measure_from_ns = Some(100 * MS);
    let found = point(vec![killed]);
    assert_eq!((found.requests.unknown, found.outside_cohort.unknown), (1, 0));
}

#[test]
fn unknowns_make_a_trial_incomplete_though_it_ended() {
    let mut lost = with_answers(0, 10);
    lost.starts.push(start(0, 99, 5 * S));
    lost.starts.push(start(0, 99, 5 * S));
    let found = point(vec![lost]);
    assert_eq!(found.requests.unknown, 1);
    assert_eq!(found.incomplete.as_ref().map(|i| i.trials), Some(1));
    // The end counts more operations than starts and records know.
    let mut lost = with_answers(0, 10);
    lost.end.as_mut().expect("ended").started = 13;
    let found = point(vec![lost]);
    assert_eq!(found.requests.unknown, 3);
    assert!(found.incomplete.is_some());
}

#[test]
fn rows_of_other_trials_and_repeated_rows_are_not_counted() {
    let mut made = with_answers(0, 3);
    let mut foreign = ok(50, 0, 50);
    foreign.record.trial = id(9);
    made.rows.push(foreign);
    made.rows.push(ok(1, 20, 50));
    made.starts.push(start(9, 51, 0));
    let found = point(vec![made]);
    assert_eq!((found.requests.ok, found.requests.unknown), (3, 0));
    assert!(codes(&found).contains(&"repeated_records"));
}

#[test]
fn cancelled_operations_are_no_attempts() {
    let mut row = ok(1, 20, 50);
    row.record.outcome = Outcome::Cancelled;
    let found = point(vec![trial(0, vec![ok(0, 0, 50), row])]);
    assert_eq!((found.requests.ok, found.requests.cancelled), (1, 1));
    assert_eq!(found.ttft_ns.map(|d| d.left_out), Some(0));
}

#[test]
fn client_figures_are_summed_over_trials() {
    let mut other = end(1);
    other.client.cpu_ns = 3 * S;
    other.client.fallbacks = 2;
    let mut second = with_answers(1, 5);
    second.end = Some(other);
    let found = point(vec![with_answers(0, 5), second]);
    near(found.client.cpu_ratio, 0.2);
    assert_eq!(found.client.fallbacks, 2);
    assert_eq!(found.client.timestamp_source.as_deref(), Some("kernel_rx"));
}
