//! What is told of a server's histograms, and what is told where there is nothing.

use loadline_schema::metric_window::{Bucket, GaugeEnds, Invalid, InvalidKind, Labels};

use super::*;

const INF: f64 = f64::INFINITY;

fn series(labels: &[(&str, &str)], buckets: &[(f64, f64)], sum: f64) -> Series<Histogram> {
    let buckets: Vec<Bucket> =
        buckets.iter().map(|(le, count)| Bucket { le: *le, count: *count }).collect();
    let count = buckets.last().expect("some").count;
    let labels: Labels =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Series { labels, value: Histogram { buckets, count, sum: Some(sum) } }
}

fn window(families: Vec<(&str, Vec<Series<Histogram>>)>) -> MetricWindow {
    let family = |(name, series): (&str, Vec<Series<Histogram>>)| Family {
        name: name.to_owned(),
        unit: None,
        series,
    };
    let histograms = families.into_iter().map(family).collect();
    MetricWindow { histograms, ..MetricWindow::default() }
}

fn settings(bounds: &[&str]) -> LatencySettings {
    let bounds = bounds.iter().map(|bound| bound.parse().expect("a bound")).collect();
    LatencySettings { source: "test".into(), bounds, ..LatencySettings::default() }
}

fn codes(warnings: &[Warning]) -> Vec<&str> {
    warnings.iter().map(|warning| warning.code.as_str()).collect()
}

#[test]
fn series_are_summed_before_the_quantile() {
    // Alone the medians are 0.05 and 0.55; their mean, 0.3, is no quantile of anything.
    let window = window(vec![(
        "vllm:time_to_first_token_seconds",
        vec![
            series(
                &[("engine", "0"), ("model_name", "m")],
                &[(0.1, 90.0), (1.0, 90.0), (INF, 90.0)],
                9.0,
            ),
            series(
                &[("engine", "1"), ("model_name", "m")],
                &[(0.1, 0.0), (1.0, 10.0), (INF, 10.0)],
                6.0,
            ),
        ],
    )]);
    let report = server_latency(&window, &settings(&[]));
    let result = &report.results[0];
    assert_eq!((result.n, result.series), (100, 2));
    assert_eq!(result.mean, Some(0.15));
    assert_eq!(result.summed_over, ["engine"]);
    assert!(result.labels.is_empty());
    assert_eq!(result.meaning.as_deref(), Some("ttft"));
    assert_eq!(result.unit, "seconds");
    let median = &result.quantiles[0];
    assert!((median.value.expect("some") - 0.1 * 50.0 / 90.0).abs() < 1e-15);
    assert_eq!((median.low, median.high, median.n_in_bucket), (Some(0.0), Some(0.1), 90));
    assert_eq!(median.flags, [QuantileFlag::FirstBucket]);
    assert_eq!(result.quantiles[2].flags, [QuantileFlag::TooFew]);
    let counts: Vec<_> = result.buckets.iter().map(|bucket| (bucket.le, bucket.n)).collect();
    assert_eq!(counts, [(Some(0.1), 90), (Some(1.0), 10), (None, 0)]);
    let by_engine = LatencySettings { by: vec!["engine".into()], ..settings(&[]) };
    let report = server_latency(&window, &by_engine);
    assert_eq!(report.results.len(), 2);
    assert_eq!(report.results[1].labels["engine"], "1");
    assert!(report.results[1].summed_over.is_empty());
}

#[test]
fn what_differs_in_kind_is_never_summed() {
    let one = |stage| series(&[("stage", stage), ("tp_rank", "0")], &[(1.0, 5.0), (INF, 5.0)], 1.0);
    let window = window(vec![("sglang:per_stage_req_latency_seconds", vec![one("a"), one("b")])]);
    let report = server_latency(&window, &settings(&[]));
    let stages: Vec<&str> = report.results.iter().map(|r| r.labels["stage"].as_str()).collect();
    assert_eq!(stages, ["a", "b"]);
}

#[test]
fn meanings_come_first_and_others_by_name() {
    let one = || vec![series(&[], &[(1.0, 5.0), (INF, 5.0)], 1.0)];
    let window = window(vec![
        ("http_request_duration_seconds", one()),
        ("request_size_bytes", one()),
        ("vllm:e2e_request_latency_seconds", one()),
        ("vllm:iteration_tokens_total", one()),
        ("vllm:time_to_first_token_seconds", one()),
    ]);
    let names = |settings: &LatencySettings| -> Vec<String> {
        server_latency(&window, settings).results.into_iter().map(|r| r.metric).collect()
    };
    let report = server_latency(&window, &settings(&[]));
    assert_eq!(report.others, ["request_size_bytes"]);
    assert_eq!(
        names(&settings(&[])),
        [
            "vllm:time_to_first_token_seconds",
            "vllm:e2e_request_latency_seconds",
            "vllm:iteration_tokens_total",
            "http_request_duration_seconds"
        ]
    );
    let of = |metric: &str| LatencySettings { metric: Some(metric.into()), ..settings(&[]) };
    assert_eq!(names(&of("request_size_bytes")), ["request_size_bytes"]);
    assert_eq!(names(&of("ttft")), ["vllm:time_to_first_token_seconds"]);
    let report = server_latency(&window, &of("nothing"));
    assert_eq!(codes(&report.warnings), ["metric_not_found"]);
    assert!(report.warnings[0].advice.contains("request_size_bytes"));
    let advice = |wanted: &str| server_latency(&window, &of(wanted)).warnings[0].advice.clone();
    for wanted in ["ttfft", "TTFT_", "first_token", "time_to_first_tokens"] {
        let advice = advice(wanted);
        let near = "did you mean ttft (vllm:time_to_first_token_seconds)";
        assert!(advice.starts_with(near), "{wanted}: {advice}");
    }
    assert!(advice("nothing").starts_with("there are "));
}

#[test]
fn attainment_is_exact_on_a_bound_alone() {
    let buckets = [(0.25, 90.0), (0.3, 96.0), (0.5, 99.0), (INF, 100.0)];
    let window = window(vec![("tgi_request_queue_duration", vec![series(&[], &buckets, 20.0)])]);
    let bounds = [
        "queue<=300ms",
        "queue_p95<=300ms",
        "queue_p90<=0.4",
        "queue_p99<=400ms",
        "queue_p999<=400ms",
        "queue_p99<=2s",
    ];
    let report = server_latency(&window, &settings(&bounds));
    let result = &report.results[0];
    let of = |text: &str| result.attainment[text];
    let exact = of("queue<=300ms");
    assert_eq!((exact.bound, exact.share, exact.exact), (0.3, Some(0.96), true));
    assert_eq!((exact.low, exact.high, exact.met), (0.96, 0.96, None));
    assert_eq!(of("queue_p95<=300ms").met, Some(true));
    let inside = of("queue_p90<=0.4");
    assert!((inside.share.expect("some") - 0.975).abs() < 1e-12);
    assert_eq!(
        (inside.low, inside.high, inside.exact, inside.met),
        (0.96, 0.99, false, Some(true))
    );
    assert_eq!(of("queue_p99<=400ms").met, None, "0.96 to 0.99: the buckets cannot tell");
    assert_eq!(of("queue_p999<=400ms").met, Some(false));
    let tail = of("queue_p99<=2s");
    assert_eq!((tail.share, tail.low, tail.high, tail.met), (Some(0.99), 0.99, 1.0, Some(true)));
    let inside = result.warnings.iter().find(|w| w.message.contains("queue_p99<=400ms"));
    assert!(inside.expect("told").advice.contains("0.3 or 0.5 seconds"));
    assert!(!result.warnings.iter().any(|warning| warning.message.contains("queue<=300ms")));
    let report = server_latency(&window, &settings(&["ttft<=1s"]));
    assert_eq!(codes(&report.warnings), ["bound_unused"]);
}

#[test]
fn attainment_is_exact_where_no_value_lies_around_the_bound() {
    let buckets = [(0.25, 100.0), (0.5, 100.0), (INF, 100.0)];
    let window = window(vec![("tgi_request_queue_duration", vec![series(&[], &buckets, 20.0)])]);
    let result = &server_latency(&window, &settings(&["queue<=300ms"])).results[0];
    assert!(result.attainment["queue<=300ms"].exact);
    assert!(result.warnings.is_empty(), "{:?}", result.warnings);
}

#[test]
fn a_time_bounds_no_tokens() {
    let window = window(vec![(
        "vllm:request_prompt_tokens",
        vec![series(&[], &[(100.0, 5.0), (INF, 5.0)], 100.0)],
    )]);
    let bounds = ["request_prompt_tokens<=1s", "vllm:request_prompt_tokens<=100"];
    let result = &server_latency(&window, &settings(&bounds)).results[0];
    assert_eq!(codes(&result.warnings), ["bound_unit"]);
    assert_eq!(result.attainment["vllm:request_prompt_tokens<=100"].share, Some(1.0));
}

#[test]
fn counts_that_contradict_each_other_are_told() {
    let mut falling = series(&[], &[(1.0, 10.0), (2.0, 8.0), (INF, 20.0)], 30.0);
    falling.value.count = 21.0;
    let window = window(vec![("a_seconds", vec![falling])]);
    let result = &server_latency(&window, &settings(&[])).results[0];
    assert_eq!(codes(&result.warnings), ["forced_monotonic", "count_mismatch"]);
    assert_eq!(result.buckets[1].n, 0);
    assert!(result.quantiles.iter().all(|q| q.flags.contains(&QuantileFlag::ForcedMonotonic)));
}

#[test]
fn a_sum_that_is_no_number_gives_no_mean() {
    let window =
        window(vec![("a_seconds", vec![series(&[], &[(1.0, 1.0), (INF, 1.0)], f64::NAN)])]);
    let result = &server_latency(&window, &settings(&[])).results[0];
    assert_eq!(result.mean, None);
    assert_eq!(codes(&result.warnings), ["no_mean"]);
}

#[test]
fn nothing_is_explained() {
    let idle = window(vec![("a_seconds", vec![series(&[], &[(1.0, 0.0), (INF, 0.0)], 0.0)])]);
    let report = server_latency(&idle, &settings(&["a_seconds<=1s"]));
    assert_eq!(codes(&report.warnings), ["no_traffic"]);
    assert!(report.results[0].quantiles.is_empty() && report.results[0].attainment.is_empty());

    let empty = MetricWindow::default();
    assert_eq!(codes(&server_latency(&empty, &settings(&[])).warnings), ["no_histograms"]);
    let gauge = Family {
        name: "llamacpp:requests_processing".into(),
        unit: None,
        series: vec![Series { labels: Labels::new(), value: GaugeEnds::default() }],
    };
    let llama = MetricWindow { gauges: vec![gauge], ..MetricWindow::default() };
    let report = server_latency(&llama, &settings(&[]));
    assert!(report.warnings[0].message.contains("llama.cpp"), "{:?}", report.warnings);

    let invalid = |metric: Option<&str>| Invalid {
        metric: metric.map(str::to_owned),
        kind: InvalidKind::Restarted,
        message: "another process".into(),
    };
    let restarted = MetricWindow { invalid: vec![invalid(None)], ..MetricWindow::default() };
    assert_eq!(codes(&server_latency(&restarted, &settings(&[])).warnings), ["window_invalid"]);
    let one = MetricWindow { invalid: vec![invalid(Some("a"))], ..MetricWindow::default() };
    assert_eq!(codes(&server_latency(&one, &settings(&[])).warnings), ["metric_invalid"]);
    let both = [Some("a"), Some("b"), Some("c")].map(invalid);
    let several = MetricWindow { invalid: both.into(), ..MetricWindow::default() };
    let warnings = server_latency(&several, &settings(&[])).warnings;
    assert_eq!(codes(&warnings), ["metric_invalid"], "one reason is told once");
    assert!(warnings[0].message.starts_with("3 metrics were left out"), "{}", warnings[0].message);
}

#[test]
fn series_with_other_bounds_are_refused() {
    let window = window(vec![(
        "a_seconds",
        vec![
            series(&[("x", "0")], &[(1.0, 1.0), (INF, 1.0)], 1.0),
            series(&[("x", "1")], &[(2.0, 1.0), (INF, 1.0)], 1.0),
        ],
    )]);
    let report = server_latency(&window, &settings(&[]));
    assert!(report.results.is_empty());
    assert!(codes(&report.warnings).contains(&"bounds_differ"), "{:?}", report.warnings);
}
