//! Comparing runs: false alarms and found changes over many made-up pairs, gates, and refusals.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod compared;
mod made;

use compared::{Noise, PerTrial, Run, SERVER, Server, measured};
use loadline_analysis::{CompareError, CompareOptions, TrialOrder, compare, serving_point};
use loadline_schema::document::Estimate;
use loadline_schema::gate::GateTerm;
use loadline_schema::outcome::ErrorKind;
use loadline_schema::plan::{Api, Extent, Length, Load, Prompt};
use loadline_schema::verdict::{Change, Comparison, MetricChange};
use proptest::prelude::*;

/// Trials vary by 1 %, and the machine drifts by half a percent from each to the next.
const DRIFTING: Noise = Noise { trial: 0.01, step: 0.005 };
const TURNS: [usize; 10] = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
const LOADS: [u64; 2] = [4, 16];

/// Baseline and candidate over the loads, five trials a side in the order given.
fn pair(seed: u64, candidate: Server, order: &[usize], noise: Noise) -> (Run, Run) {
    let servers = [SERVER, candidate];
    let mut points: Vec<Vec<(u64, PerTrial)>> = vec![Vec::new(); 2];
    for load in LOADS {
        let sides = measured(seed * 100 + load, &servers, order, load, noise);
        for (side, trials) in points.iter_mut().zip(sides) {
            side.push((load, trials));
        }
    }
    let candidate = points.pop().unwrap();
    let baseline = points.pop().unwrap();
    let stage = made::stage();
    (Run::new(&stage, "aaaaaaaa", baseline), Run::new(&stage, "bbbbbbbb", candidate))
}

fn in_turns() -> CompareOptions<'static> {
    CompareOptions { order: TrialOrder::BaselineFirst, ..CompareOptions::default() }
}

fn compared((baseline, candidate): &(Run, Run), options: &CompareOptions<'_>) -> Comparison {
    compare(baseline.subject(), candidate.subject(), options).unwrap()
}

fn refused((baseline, candidate): &(Run, Run), options: &CompareOptions<'_>) -> String {
    compare(baseline.subject(), candidate.subject(), options).unwrap_err().to_string()
}

fn is_finding(metric: &MetricChange) -> bool {
    matches!(metric.verdict, Change::Improved | Change::Regressed)
}

fn at(comparison: &Comparison, load: u64, name: &str) -> MetricChange {
    let is_it = |m: &&MetricChange| m.metric == name && m.point.concurrency == Some(load);
    comparison.metrics.iter().find(is_it).unwrap().clone()
}

/// Of 400 comparisons of a server with itself, those in which any figure of any point is called
/// a change.
fn alarms(order: &[usize], noise: Noise, options: &CompareOptions<'_>) -> usize {
    let has_alarm = |seed| {
        let comparison = compared(&pair(seed, SERVER, order, noise), options);
        assert_eq!(comparison.metrics.len(), 18, "nine figures at two loads");
        comparison.metrics.iter().any(is_finding)
    };
    (0..400).filter(|seed| has_alarm(*seed)).count()
}

#[test]
fn a_server_against_itself_in_turns_raises_few_alarms() {
    let found = alarms(&TURNS, DRIFTING, &in_turns());
    assert!(found <= 30, "{found} alarms in 400 pairs");
}

#[test]
fn alarms_stay_rare_without_drift_and_with_much_of_it() {
    for noise in [Noise { trial: 0.02, step: 0.0 }, Noise { trial: 0.005, step: 0.03 }] {
        let found = alarms(&TURNS, noise, &in_turns());
        assert!(found <= 30, "{found} alarms in 400 pairs");
    }
}

#[test]
fn one_after_the_other_without_drift_raises_few_alarms() {
    let order = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
    let steady = Noise { trial: 0.02, step: 0.0 };
    let found = alarms(&order, steady, &CompareOptions::default());
    assert!(found <= 30, "{found} alarms in 400 pairs");
}

#[test]
fn five_percent_of_the_median_itl_are_found() {
    let slower = Server { itl_ns: SERVER.itl_ns * 1.05, ..SERVER };
    let (mut found, mut covered, mut wrong) = (0, 0, 0);
    for seed in 0..100 {
        let comparison = compared(&pair(1_000 + seed, slower, &TURNS, DRIFTING), &in_turns());
        let itl = at(&comparison, 16, "itl_p50");
        found += usize::from(itl.verdict == Change::Regressed);
        covered += usize::from(itl.low.unwrap() < 0.05 && itl.high.unwrap() > 0.05);
        wrong += usize::from(is_finding(&at(&comparison, 16, "ttft_p50")));
    }
    assert!(found >= 90, "found in {found} of 100");
    // 95 of 100 are due; fewer than 88 come by chance once in four hundred times.
    assert!(covered >= 88, "covered in {covered} of 100");
    // TTFT did not change; 5 of 100 are allowed, more than 11 come by chance once in 200 times.
    assert!(wrong <= 11, "TTFT is called a change in {wrong} of 100");
}

#[test]
fn turns_find_what_a_drift_hides_from_the_other_order() {
    let slower = Server { itl_ns: SERVER.itl_ns * 1.05, ..SERVER };
    let noise = Noise { trial: 0.005, step: 0.015 };
    let found = |options: &CompareOptions<'_>| {
        let is_found = |seed: u64| {
            let comparison = compared(&pair(2_000 + seed, slower, &TURNS, noise), options);
            at(&comparison, 16, "itl_p50").verdict == Change::Regressed
        };
        (0..100_u64).filter(|seed| is_found(*seed)).count()
    };
    let (turns, apart) = (found(&in_turns()), found(&CompareOptions::default()));
    assert!(turns >= apart + 20, "{turns} in turns, {apart} as if apart");
}

#[test]
fn a_run_against_itself_gives_no_verdict() {
    let (baseline, _) = pair(7, SERVER, &TURNS, DRIFTING);
    let comparison = compared(&(baseline.clone(), baseline), &CompareOptions::default());
    for metric in &comparison.metrics {
        assert!(!is_finding(metric), "{metric:?}");
        assert_eq!(metric.change, 0.0);
    }
    assert!(comparison.differences.is_empty() && comparison.unmatched.is_empty());
}

#[test]
fn a_small_spread_says_no_change_and_a_large_one_says_nothing() {
    let verdict = |trial| {
        let pair = pair(3, SERVER, &TURNS, Noise { trial, step: 0.0 });
        at(&compared(&pair, &in_turns()), 16, "itl_p50").verdict
    };
    assert_eq!(verdict(0.005), Change::NoChange);
    assert_eq!(verdict(0.2), Change::Inconclusive);
}

#[test]
fn four_trials_show_an_interval_and_no_verdict() {
    let twice = Server { itl_ns: SERVER.itl_ns * 2.0, ..SERVER };
    let pair = pair(4, twice, &TURNS[..8], DRIFTING);
    let gate = GateTerm::parse_all(["itl_p50<=+5%"]).unwrap();
    let comparison = compared(&pair, &CompareOptions { gate: &gate, ..in_turns() });
    for metric in &comparison.metrics {
        assert_eq!(metric.verdict, Change::Inconclusive);
        assert_eq!((metric.trials, metric.p_value), ((4, 4), None));
    }
    assert!(at(&comparison, 16, "itl_p50").low.unwrap() > 0.9);
    assert!(comparison.warnings.iter().any(|w| w.code == "too_few_trials"));
    let gate = comparison.gate.unwrap();
    assert!(gate.passed && gate.undecided.len() == 2, "{gate:?}");
    assert!(gate.undecided[0].contains("fewer than 5 trials a side prove nothing"), "{gate:?}");
}

#[test]
fn a_single_trial_has_no_interval() {
    let comparison = compared(&pair(5, SERVER, &[0, 1], DRIFTING), &CompareOptions::default());
    let itl = at(&comparison, 4, "itl_p50");
    assert_eq!((itl.low, itl.high, itl.noise_floor), (None, None, None));
    assert!((itl.candidate / itl.baseline - 1.0 - itl.change).abs() < 1e-12);
}

#[test]
fn other_work_is_refused_unless_allowed() {
    let same = pair(6, SERVER, &TURNS, DRIFTING);
    let with = |change: &dyn Fn(&mut Run)| {
        let mut pair = same.clone();
        change(&mut pair.1);
        pair
    };
    let cases: [(&str, (Run, Run)); 7] = [
        (
            "model: llama in the baseline, qwen in the candidate",
            with(&|run| {
                run.document.serving[0].model = Some("qwen".into());
            }),
        ),
        (
            "prompt: 512 tokens, 0 of them shared in the baseline, 64 tokens",
            with(&|run| {
                let tokens = Length::Fixed { tokens: 64 };
                run.stage().prompt = Prompt::Synthetic { tokens, shared_prefix: 0 };
            }),
        ),
        (
            "output: 5 tokens, held in the baseline, 6 tokens, held",
            with(&|run| {
                run.stage().output.tokens = Length::Fixed { tokens: 6 };
            }),
        ),
        ("API: chat", with(&|run| run.stage().api = Api::Completions)),
        ("extent: a duration", with(&|run| run.stage().extent = Extent::Requests { requests: 9 })),
        (
            "mean output length at concurrency 16: 64.0 tokens in the baseline, 66.0",
            with(&|run| {
                run.point(1).tokens.as_mut().unwrap().output = Some(66.0);
            }),
        ),
        ("retries: 0", with(&|run| run.stage().retries = 1)),
    ];
    for (told, pair) in &cases {
        let error = refused(pair, &in_turns());
        assert!(error.contains(told), "{told}: {error}");
        let allowed = compared(pair, &CompareOptions { allow_differences: true, ..in_turns() });
        assert!(allowed.differences.iter().any(|d| d.contains(told)), "{told}");
    }
    let near = with(&|run| run.point(1).tokens.as_mut().unwrap().output = Some(65.0));
    assert!(compared(&near, &in_turns()).differences.is_empty());
}

#[test]
fn runs_without_a_common_load_are_refused() {
    let mut pair = pair(8, SERVER, &TURNS, DRIFTING);
    pair.1.document.serving[0].points.remove(0);
    let comparison = compared(&pair, &in_turns());
    assert_eq!(comparison.unmatched, ["baseline: concurrency 4"]);
    pair.0.document.serving[0].points.remove(1);
    let error = refused(&pair, &in_turns());
    assert!(error.contains("no load in common"), "{error}");
    assert!(error.contains("candidate: concurrency 16"), "{error}");
}

#[test]
fn a_side_without_complete_trials_is_refused() {
    let mut pair = pair(9, SERVER, &TURNS, DRIFTING);
    for index in 0..2 {
        pair.1.point(index).per_trial.clear();
    }
    let error = compare(pair.0.subject(), pair.1.subject(), &in_turns());
    assert_eq!(error, Err(CompareError::NoTrials("candidate")));
}

#[test]
fn a_gate_fails_on_certainty_and_not_on_noise() {
    let judged = |candidate: Server, terms: &str, noise: Noise| {
        let gate = GateTerm::parse_all([terms]).unwrap();
        let pair = pair(10, candidate, &TURNS, noise);
        compared(&pair, &CompareOptions { gate: &gate, ..in_turns() }).gate.unwrap()
    };
    let steady = Noise { trial: 0.002, step: 0.0 };
    let slower = Server { itl_ns: SERVER.itl_ns * 1.1, ..SERVER };
    let failed = judged(slower, "itl_p50<=+5%,ttft_p50<=+5%", steady);
    assert!(!failed.passed);
    assert_eq!(failed.failures.len(), 2, "both loads: {failed:?}");
    assert!(failed.failures[0].starts_with("itl_p50<=+5% at concurrency 4: it changed by +"));
    assert!(judged(slower, "itl_p50<=+15%,requests_per_s>=-10%", steady).passed);
    assert!(!judged(slower, "requests_per_s>=-2%", steady).passed);
    assert!(!judged(slower, "itl_p50<=+1ms", steady).passed);
    assert!(judged(slower, "itl_p50<=+3ms", steady).passed);
    // A metric that is not compared by default is compared for its gate.
    assert!(!judged(slower, "itl_p90<=+5%", steady).passed);
    let loud = Noise { trial: 0.2, step: 0.0 };
    let undecided = judged(slower, "itl_p50<=+0%", loud);
    assert!(undecided.passed && !undecided.undecided.is_empty(), "{undecided:?}");
    assert!(undecided.undecided[0].ends_with("but not for certain"), "{undecided:?}");
}

#[test]
fn a_gate_fails_where_the_figure_is_lost_to_failures() {
    let mut pair = pair(11, SERVER, &TURNS, DRIFTING);
    let bad = &mut pair.1.point(0).per_trial[3];
    bad.remove("ttft_p99");
    bad.insert("error_rate".into(), 0.02);
    let gate = GateTerm::parse_all(["ttft_p99<=+50%"]).unwrap();
    let options = CompareOptions { gate: &gate, ..in_turns() };
    let comparison = compared(&pair, &options);
    let failures = &comparison.gate.as_ref().unwrap().failures;
    assert_eq!(failures.len(), 1, "{failures:?}");
    let told =
        "1 of 5 trials of the candidate lack it, since it lies among the requests that failed";
    assert!(failures[0].contains(told), "{failures:?}");
    assert!(!comparison.metrics.iter().any(|m| m.metric == "ttft_p99" && is_four(m)));
    assert!(comparison.warnings.iter().any(|w| w.code == "not_compared"));
    for index in 0..2 {
        for trial in &mut pair.0.point(index).per_trial {
            trial.remove("ttft_p99");
        }
    }
    let error = refused(&pair, &options);
    assert!(error.contains("the gate limits `ttft_p99`, which the baseline does not have"));
}

#[test]
fn a_figure_that_the_client_lost_leaves_a_gate_undecided() {
    let mut pair = pair(11, SERVER, &TURNS, DRIFTING);
    pair.1.point(0).per_trial[3].remove("itl_p99");
    let gate = GateTerm::parse_all(["itl_p99<=+50%"]).unwrap();
    let gate = compared(&pair, &CompareOptions { gate: &gate, ..in_turns() }).gate.unwrap();
    assert!(gate.passed);
    assert_eq!(gate.undecided.len(), 1);
    assert!(gate.undecided[0].contains("the client read too many of them late"), "{gate:?}");
}

fn is_four(metric: &MetricChange) -> bool {
    metric.point.concurrency == Some(4)
}

#[test]
fn failures_are_counted_and_compared_by_their_difference() {
    let verdict = |share: f64| {
        let mut pair = pair(12, SERVER, &TURNS, DRIFTING);
        for run in [&mut pair.0, &mut pair.1] {
            for trial in &mut run.point(1).per_trial {
                trial.insert("error_rate".into(), 0.0);
            }
        }
        for trial in &mut pair.1.point(1).per_trial {
            trial.insert("error_rate".into(), share);
        }
        at(&compared(&pair, &in_turns()), 16, "error_rate")
    };
    let none = verdict(0.0);
    assert_eq!((none.verdict, none.p_value), (Change::NoChange, None));
    assert!(none.high.unwrap() > 0.001, "no failure in 1,000 is no certainty: {none:?}");
    // One failure in each trial of 200 is nothing yet; ten are.
    assert_eq!(verdict(0.005).verdict, Change::Inconclusive);
    let many = verdict(0.05);
    assert_eq!((many.verdict, many.absolute), (Change::Regressed, true));
    assert!((many.change - 0.05).abs() < 1e-12);
}

#[test]
fn trials_of_a_point_carry_their_figures() {
    let stage = made::stage();
    let rows = |n: u64| (0..n).map(|op| made::ok(op, op * 20, 50 + op)).collect();
    let trials = [made::trial(1, rows(200)), made::trial(0, rows(100))];
    let load = Load::Closed { concurrency: 1 };
    let point = serving_point(made::input(&stage), load, trials);
    let [first, second] = point.per_trial.as_slice() else { panic!("two trials") };
    assert_eq!((first["attempts"], second["attempts"]), (100.0, 200.0));
    assert_eq!(first["ttft_p50"], 99.0 * 1e6);
    assert_eq!(first["ttft_p99"], 148.0 * 1e6);
    assert_eq!(first["itl_p99"], 10.0 * 1e6);
    assert_eq!(first["error_rate"], 0.0);
    let mean = f64::midpoint(first["requests_per_s"], second["requests_per_s"]);
    let Estimate { value, .. } = point.requests_per_s.unwrap();
    made::near(mean, value);
    assert!(first.contains_key("output_tokens_per_s_per_user"));
}

#[test]
fn a_server_that_sheds_its_slow_requests_does_not_look_faster() {
    let stage = made::stage();
    let load = Load::Closed { concurrency: 1 };
    let all: Vec<_> = (0..200).map(|op| made::ok(op, op * 20, 50 + op)).collect();
    let shed = (0..200).map(|op| match op {
        0..190 => made::ok(op, op * 20, 50 + op),
        _ => made::failed(op, op * 20, ErrorKind::Http429),
    });
    let figures = |rows| serving_point(made::input(&stage), load, [made::trial(0, rows)]).per_trial;
    let (all, shed) = (&figures(all)[0], &figures(shed.collect())[0]);
    assert_eq!(all["ttft_p50"], shed["ttft_p50"], "shed requests count as slow ones");
    assert_eq!(all["ttft_p90"], shed["ttft_p90"]);
    assert!(all.contains_key("ttft_p99") && !shed.contains_key("ttft_p99"));
    assert_eq!(shed["error_rate"], 0.05);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn swapping_the_sides_flips_the_change(seed in 0u64..10_000, turns: bool) {
        let slower = Server { itl_ns: SERVER.itl_ns * 1.03, ..SERVER };
        let (a, b) = pair(seed, slower, &TURNS, DRIFTING);
        let order = |order| CompareOptions { order, ..CompareOptions::default() };
        let (there, back) = if turns {
            (order(TrialOrder::BaselineFirst), order(TrialOrder::CandidateFirst))
        } else {
            (order(TrialOrder::Apart), order(TrialOrder::Apart))
        };
        let one = compared(&(a.clone(), b.clone()), &there);
        let other = compared(&(b, a), &back);
        for (x, y) in one.metrics.iter().zip(&other.metrics) {
            let sum = if x.absolute { x.change + y.change } else { x.change.ln_1p() + y.change.ln_1p() };
            prop_assert!(sum.abs() < 1e-9, "{} {sum}", x.metric);
            let opposite = match x.verdict {
                Change::Improved => Change::Regressed,
                Change::Regressed => Change::Improved,
                // The limits of "no change" are those of a ratio and not of its logarithm.
                _ => y.verdict,
            };
            prop_assert_eq!(y.verdict, opposite);
        }
    }

    #[test]
    fn the_order_of_trials_does_not_matter_apart(
        seed in 0u64..10_000,
        order in Just([0usize, 1, 2, 3, 4]).prop_shuffle(),
    ) {
        let one = pair(seed, SERVER, &TURNS, DRIFTING);
        let mut other = one.clone();
        for index in 0..2 {
            let point = other.1.point(index);
            point.per_trial = order.map(|trial| point.per_trial[trial].clone()).to_vec();
        }
        let options = CompareOptions::default();
        prop_assert_eq!(compared(&one, &options), compared(&other, &options));
    }
}
