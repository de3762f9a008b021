//! What observers read, joined with what the client saw: by hand, with known answers.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

mod made;

use loadline_analysis::{PageObservation, StageInput, StageObservation, serving_point};
use loadline_schema::document::{Observed, Point};
use loadline_schema::gpu::{GpuField, GpuReading, GpuSource};
use loadline_schema::host_sample::{CpuTimes, HostReading};
use loadline_schema::metric_window::{
    Bucket, Family, Histogram, Invalid, InvalidKind, Labels, MetricWindow, Series,
};
use loadline_schema::observe::{Meter, Observing};
use loadline_schema::outcome::ErrorKind;
use loadline_schema::plan::Load;
use made::{S, id, input, near, ok, stage, trial};

fn one<V>(name: &str, value: V) -> Family<V> {
    let series = vec![Series { labels: Labels::new(), value }];
    Family { name: name.to_owned(), unit: None, series }
}

/// Two engines on one page.
fn two(name: &str, a: f64, b: f64) -> Family<f64> {
    let series = [("0", a), ("1", b)].map(|(engine, value)| Series {
        labels: [("engine".to_owned(), engine.to_owned())].into(),
        value,
    });
    Family { name: name.to_owned(), unit: None, series: series.into() }
}

/// `n` values, all in the bucket up to 0.1 s.
fn ttft(n: f64, sum: f64) -> Family<Histogram> {
    let bucket = |le, count| Bucket { le, count };
    let buckets = vec![bucket(0.05, 0.0), bucket(0.1, n), bucket(f64::INFINITY, n)];
    let histogram = Histogram { buckets, count: n, sum: Some(sum) };
    one("vllm:time_to_first_token_seconds", histogram)
}

fn observe(stage: &StageObservation, rows: Vec<loadline_schema::record::RequestRow>) -> Point {
    let plan = made::stage();
    let input = StageInput { observed: Some(stage), ..input(&plan) };
    serving_point(input, Load::Closed { concurrency: 1 }, [trial(0, rows)])
}

fn observed(point: &Point) -> &Observed {
    point.observed.as_ref().expect("something was observed")
}

/// Ten answers of 5 tokens, one after the other: each 80 ms to the first token, done after 121 ms.
fn ten() -> Vec<loadline_schema::record::RequestRow> {
    (0..10).map(|op| ok(op, op * 1000, 80)).collect()
}

fn page(gauges: Vec<(u64, Vec<Family<f64>>)>, window: MetricWindow) -> PageObservation {
    PageObservation {
        source: "http://server:8000/metrics".to_owned(),
        gauges,
        trials: [(id(0), window)].into(),
    }
}

fn counted(output: f64, prompt: f64) -> MetricWindow {
    MetricWindow {
        histograms: vec![ttft(10.0, 0.7)],
        counters: vec![
            two("vllm:generation_tokens_total", output / 2.0, output / 2.0),
            one("vllm:prompt_tokens_total", prompt),
            one("vllm:prefix_cache_queries_total", 5120.0),
            one("vllm:prefix_cache_hits_total", 1280.0),
            one("vllm:num_preemptions_total", 0.0),
        ],
        ..MetricWindow::default()
    }
}

#[test]
fn a_server_that_agrees() {
    let looks = (0..10)
        .map(|second| {
            // Half of the looks meet a request in flight.
            let at = second * S + if second % 2 == 0 { S / 10 } else { S / 2 };
            let running = if second % 2 == 0 { 1.0 } else { 0.0 };
            let gauges = vec![
                two("vllm:num_requests_running", running, 0.0),
                two("vllm:kv_cache_usage_perc", 0.5, 0.1),
            ];
            (at, gauges)
        })
        .collect();
    let pages = vec![page(looks, counted(50.0, 5120.0))];
    let point = observe(&StageObservation { pages, ..StageObservation::default() }, ten());
    let server = observed(&point).server.as_ref().unwrap();
    near(server.running.unwrap().mean, 0.5);
    near(server.in_flight.unwrap().mean, 0.5);
    assert_eq!(server.running.unwrap().max, Some(1.0));
    assert_eq!(server.waiting, None, "not told, not zero");
    let kv = server.kv_usage.unwrap();
    near(kv.mean, 0.3);
    assert_eq!((kv.max, kv.n), (Some(0.5), 10));
    near(server.prefix_hit_ratio, 0.25);
    assert_eq!(server.preemptions, Some(0.0));
    let output = server.output_tokens.unwrap();
    near(output.server, 50.0);
    near(output.difference, 0.0);
    let split = server.outside_server.unwrap();
    near(split.client_mean_ns, 80e6);
    near(split.server_mean_ns, 70e6);
    near(split.outside_ns, 10e6);
    assert_eq!(server.trials, 1);
    assert_eq!(server.latency.len(), 1);
    let codes = made::codes(&point);
    assert!(!codes.iter().any(|code| code.contains("server") || code.contains("tokens_differ")));
}

#[test]
fn tokens_of_requests_that_did_not_end_well_are_bounds() {
    let with_failure = || {
        let mut rows = ten();
        rows.push(made::failed(10, 9_900, ErrorKind::Reset));
        rows
    };
    let check = |output| {
        let pages = vec![page(Vec::new(), counted(output, 5120.0))];
        let point =
            observe(&StageObservation { pages, ..StageObservation::default() }, with_failure());
        let check = observed(&point).server.as_ref().unwrap().output_tokens.unwrap();
        let told = made::codes(&point).contains(&"tokens_differ");
        ((check.client_low, check.client_high), check.difference, told)
    };
    // The failed one may have had none of its tokens, or all five.
    assert_eq!(check(50.0), ((50.0, 55.0), 0.0, false));
    assert_eq!(check(55.0).1.to_bits(), 0.0_f64.to_bits());
    let (_, difference, told) = check(66.0);
    near(difference, 0.2);
    assert!(told);
    let (_, difference, told) = check(45.0);
    near(difference, -0.1);
    assert!(told);
}

#[test]
fn means_over_different_requests_are_not_subtracted() {
    let mut window = counted(50.0, 5120.0);
    window.histograms = vec![ttft(20.0, 1.4)];
    let pages = vec![page(Vec::new(), window)];
    let point = observe(&StageObservation { pages, ..StageObservation::default() }, ten());
    assert_eq!(observed(&point).server.as_ref().unwrap().outside_server, None);
}

#[test]
fn a_restart_takes_the_counters_and_is_told() {
    let mut window = counted(50.0, 5120.0);
    window.invalid.push(Invalid {
        metric: None,
        kind: InvalidKind::Restarted,
        message: "another process answered".to_owned(),
    });
    let pages = vec![page(Vec::new(), window)];
    let point = observe(&StageObservation { pages, ..StageObservation::default() }, ten());
    let server = observed(&point).server.as_ref().unwrap();
    assert_eq!((server.trials, server.output_tokens, server.preemptions), (0, None, None));
    assert!(server.latency.is_empty());
    assert!(made::codes(&point).contains(&"server_restarted"));
}

#[test]
fn a_trial_with_lost_records_is_not_compared() {
    let plan = stage();
    let stage = StageObservation {
        pages: vec![page(Vec::new(), counted(50.0, 5120.0))],
        ..StageObservation::default()
    };
    let mut killed = trial(0, ten());
    killed.starts.push(made::start(0, 77, 9 * S));
    let input = StageInput { observed: Some(&stage), ..input(&plan) };
    let point = serving_point(input, Load::Closed { concurrency: 1 }, [killed]);
    assert_eq!(observed(&point).server.as_ref().unwrap().output_tokens, None);
}

#[test]
fn pages_of_several_servers_add_up() {
    let looks = |running| {
        (0..10)
            .map(|second| (second * S + S / 2, vec![one("vllm:num_requests_running", running)]))
            .collect()
    };
    let pages =
        vec![page(looks(3.0), counted(25.0, 2560.0)), page(looks(5.0), counted(25.0, 2560.0))];
    let point = observe(&StageObservation { pages, ..StageObservation::default() }, ten());
    let server = observed(&point).server.as_ref().unwrap();
    near(server.running.unwrap().mean, 8.0);
    assert_eq!(server.running.unwrap().max, None, "they were not looked at together");
    near(server.output_tokens.unwrap().server, 50.0);
    assert!(made::codes(&point).contains(&"server_shared"));
}

/// A meter read each second from −20 s to 20 s, as seen from the window's begin at 0.
fn counter(watts: f64, round_j: f64, counted: bool) -> (Meter, Vec<(u64, f64)>) {
    let meter = Meter {
        series: "energy_j".to_owned(),
        name: format!("{watts} W"),
        is_counter: true,
        counted,
        is_whole: false,
        wraps_at_j: Some(round_j),
    };
    (meter, (0..=20).map(|s| (s * S, (watts * s as f64) % round_j)).collect())
}

#[test]
fn counters_that_begin_anew_are_added_and_parts_are_not() {
    let meters = vec![counter(400.0, 2_500.0, true), counter(60.0, 1e9, false)];
    let observing = Observing { idle: Some((10 * S, 20 * S)), ..Observing::default() };
    let stage = StageObservation { meters, observing, ..StageObservation::default() };
    let point = observe(&stage, ten());
    let energy = observed(&point).energy.as_ref().unwrap();
    near(energy.gross.joules, 4_000.0);
    assert!(energy.gross.valid, "{energy:?}");
    near(energy.watts, 400.0);
    assert_eq!(energy.added, ["400 W"]);
    assert_eq!(energy.meters.len(), 2);
    // 10 answers of 5 tokens in 10 s.
    near(energy.joules_per_output_token, 80.0);
    near(energy.joules_per_request, 400.0);
    near(energy.joules_per_total_token, 400.0 / 517.0);
    // Idle took as much.
    near(energy.net.as_ref().unwrap().joules, 0.0);
}

#[test]
fn the_meter_of_the_whole_machine_stands_for_its_parts() {
    let whole = Meter { is_counter: false, is_whole: true, ..counter(0.0, 1.0, false).0 };
    let with = |watts: f64, n: usize| {
        let samples: Vec<_> = (0..=20).map(|s| (s * S, watts)).collect();
        let mut meters = vec![counter(100.0, 1e9, true)];
        meters.extend((0..n).map(|n| {
            let name = format!("meter {n}");
            (Meter { name, ..whole.clone() }, samples.clone())
        }));
        let point = observe(&StageObservation { meters, ..StageObservation::default() }, ten());
        observed(&point).energy.clone().unwrap()
    };
    let energy = with(500.0, 1);
    near(energy.watts, 500.0);
    assert!(energy.is_whole && energy.gross.valid, "{energy:?}");
    // One that shows less than a part, and several that may be nested, are none of the whole.
    for energy in [with(0.0, 1), with(500.0, 2)] {
        near(energy.watts, 100.0);
        assert!(!energy.is_whole, "{energy:?}");
    }
}

#[test]
fn a_meter_without_a_figure_spoils_the_sum() {
    let mut silent = counter(50.0, 1e9, true);
    silent.1.clear();
    let meters = vec![counter(100.0, 1e9, true), silent];
    let point = observe(&StageObservation { meters, ..StageObservation::default() }, ten());
    let energy = observed(&point).energy.as_ref().unwrap();
    assert!(!energy.gross.valid);
    assert!(energy.gross.reason.as_ref().unwrap().contains("50 W gave no figure"), "{energy:?}");
    assert!(made::codes(&point).contains(&"energy_uncertain"));
}

#[test]
fn a_counter_that_is_read_too_seldom_is_not_believed() {
    let (meter, _) = counter(100.0, 1e9, true);
    let meters = vec![(meter, vec![(0, 0.0), (8 * S, 800.0), (20 * S, 2_000.0)])];
    let seldom = observe(&StageObservation { meters, ..StageObservation::default() }, ten());
    assert!(observed(&seldom).energy.as_ref().unwrap().gross.valid, "8 of 10 s are inside");
    let (meter, _) = counter(100.0, 1e9, true);
    let meters = vec![(meter, vec![(0, 0.0), (20 * S, 2_000.0)])];
    let never = observe(&StageObservation { meters, ..StageObservation::default() }, ten());
    assert!(!observed(&never).energy.as_ref().unwrap().gross.valid);
}

#[test]
fn idle_power_beside_somebody_elses_load_is_none() {
    let observing = Observing { idle: Some((10 * S, 20 * S)), ..Observing::default() };
    let gauges = vec![(15 * S, vec![one("vllm:num_requests_running", 1.0)])];
    let stage = StageObservation {
        meters: vec![counter(100.0, 1e9, true)],
        pages: vec![page(gauges, counted(50.0, 5120.0))],
        observing,
        ..StageObservation::default()
    };
    let point = observe(&stage, ten());
    assert_eq!(observed(&point).energy.as_ref().unwrap().net, None);
}

#[test]
fn gpus_are_of_the_window_alone() {
    let reading = |second: u64, active: f64| {
        let mut reading = GpuReading::new(GpuSource::Nvml, 0, "GPU", second * S);
        reading.put(GpuField::SmActive, Ok(active));
        reading.put(GpuField::PowerW, Ok(300.0));
        reading
    };
    let gpus: Vec<GpuReading> =
        (0..=20).map(|s| reading(s, if s < 10 { 0.8 } else { 0.0 })).collect();
    let observing = Observing { gpus: gpus[..1].to_vec(), ..Observing::default() };
    let stage = StageObservation { gpus, observing, ..StageObservation::default() };
    let point = observe(&stage, ten());
    let gpu = &observed(&point).gpu[0];
    near(gpu.sm_active.unwrap().mean, 0.8);
    assert_eq!(gpu.samples, 10);
    let energy = observed(&point).energy.as_ref().unwrap();
    near(energy.watts, 300.0);
    assert_eq!(energy.added, ["GPU 0"]);
}

#[test]
fn the_host_is_of_the_window_alone() {
    let reading = |second: u64, user_s: u64| HostReading {
        at_ns: second * S,
        cpu: Some(CpuTimes {
            user_ns: user_s * S,
            idle_ns: (second - user_s) * S,
            ..CpuTimes::default()
        }),
        ..HostReading::default()
    };
    // Busy for the first five seconds of the window's ten, and idle for good after it.
    let hosts = (0..=20).map(|second| reading(second, second.min(5))).collect();
    let point = observe(&StageObservation { hosts, ..StageObservation::default() }, ten());
    let host = observed(&point).host.as_ref().unwrap();
    near(host.cpu.unwrap().busy, 5.0 / 9.0);
    assert_eq!(host.over_ns, 9 * S);
}
