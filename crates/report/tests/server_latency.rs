//! The report of a server's own histograms, in every form, as text that a person has looked at.

use std::collections::BTreeMap;

use loadline_report::{Style, csv, json, terminal};
use loadline_schema::document::Document;
use loadline_schema::event::Warning;
use loadline_schema::latency::{
    Attainment, BucketCount, LatencyResult, QuantileFlag, QuantileResult,
};
use unicode_width::UnicodeWidthStr;

const NARROW: Style = Style { width: 80, colour: false };

/// A histogram of these buckets; the quantiles are given, since a report computes none.
fn result(
    metric: &str,
    meaning: Option<&str>,
    buckets: &[(f64, u64)],
    quantiles: Vec<QuantileResult>,
) -> LatencyResult {
    let buckets: Vec<BucketCount> = buckets
        .iter()
        .map(|(le, n)| BucketCount { le: le.is_finite().then_some(*le), n: *n })
        .collect();
    LatencyResult {
        source: "http://127.0.0.1:8000/metrics over 60s".into(),
        metric: metric.into(),
        unit: if metric.ends_with("_seconds") { "seconds" } else { "tokens" }.into(),
        meaning: meaning.map(str::to_owned),
        engine: meaning.map(|_| "vllm".to_owned()),
        series: 1,
        n: buckets.iter().map(|bucket| bucket.n).sum(),
        buckets,
        quantiles,
        ..LatencyResult::default()
    }
}

fn quantile(
    q: f64,
    value: f64,
    bucket: (f64, f64),
    n_in_bucket: u64,
    flags: &[QuantileFlag],
) -> QuantileResult {
    QuantileResult {
        q,
        value: Some(value),
        low: Some(bucket.0),
        high: bucket.1.is_finite().then_some(bucket.1),
        n_in_bucket,
        flags: flags.to_vec(),
    }
}

fn ttft() -> LatencyResult {
    let inf = f64::INFINITY;
    let buckets = [
        (0.02, 0),
        (0.04, 31),
        (0.06, 204),
        (0.08, 512),
        (0.1, 1_240),
        (0.25, 3_871),
        (0.5, 402),
        (0.75, 0),
        (1.0, 12),
        (2.5, 3),
        (inf, 0),
    ];
    let quantiles = vec![
        quantile(0.5, 0.1445, (0.1, 0.25), 3_871, &[]),
        quantile(0.9, 0.2398, (0.1, 0.25), 3_871, &[]),
        quantile(0.99, 0.4703, (0.25, 0.5), 402, &[]),
        quantile(0.999, 0.9353, (0.75, 1.0), 12, &[QuantileFlag::TooFew]),
    ];
    let metric = "vllm:time_to_first_token_seconds";
    let exact = Attainment {
        bound: 0.25,
        share: Some(0.933_545),
        low: 0.933_545,
        high: 0.933_545,
        exact: true,
        required: Some(0.99),
        met: Some(false),
    };
    let inside = Attainment {
        bound: 0.3,
        share: Some(0.946_356),
        low: 0.933_545,
        high: 0.997_61,
        exact: false,
        required: Some(0.95),
        met: None,
    };
    LatencyResult {
        series: 2,
        summed_over: vec!["engine".into()],
        mean: Some(0.1523),
        attainment: BTreeMap::from([
            ("ttft_p99<=250ms".to_owned(), exact),
            ("ttft_p95<=300ms".to_owned(), inside),
        ]),
        warnings: vec![Warning::new(
            "bound_inside_bucket",
            "ttft_p95<=300ms is no bound of the histogram's buckets: its share is a guess inside one",
            "the share is exact at 0.25 or 0.5",
        )],
        ..result(metric, Some("ttft"), &buckets, quantiles)
    }
}

fn document() -> Document {
    let inf = f64::INFINITY;
    let first = [QuantileFlag::FirstBucket];
    let queue = result(
        "vllm:request_queue_time_seconds",
        Some("queue"),
        &[(0.3, 6_275), (0.5, 0), (inf, 0)],
        [0.5, 0.9, 0.99, 0.999].map(|q| quantile(q, 0.3 * q, (0.0, 0.3), 6_275, &first)).into(),
    );
    let tail = [QuantileFlag::InfBucket, QuantileFlag::TooFew];
    let other = result(
        "http_request_duration_highr_and_a_very_long_name_seconds",
        None,
        &[(30.0, 10), (60.0, 5), (inf, 40)],
        [0.5, 0.9, 0.99, 0.999].map(|q| quantile(q, 60.0, (60.0, inf), 40, &tail)).into(),
    );
    let tokens = result(
        "vllm:iteration_tokens_total",
        Some("step_tokens"),
        &[(1.0, 10), (8.0, 900), (16.0, 90), (inf, 0)],
        vec![
            quantile(0.5, 4.81, (1.0, 8.0), 900, &[]),
            quantile(0.9, 7.92, (1.0, 8.0), 900, &[]),
            quantile(0.99, 15.1, (8.0, 16.0), 90, &[QuantileFlag::TooFew]),
            quantile(0.999, 15.9, (8.0, 16.0), 90, &[QuantileFlag::TooFew]),
        ],
    );
    let silent = LatencyResult {
        labels: BTreeMap::from([("stage".to_owned(), "prefill\x1b[2J".to_owned())]),
        ..result(
            "vllm:request_prefill_time_seconds",
            Some("prefill"),
            &[(0.3, 0), (inf, 0)],
            vec![],
        )
    };
    Document {
        latency: vec![
            ttft(),
            LatencyResult { mean: Some(0.0121), ..queue },
            LatencyResult { mean: Some(6.2), ..tokens },
            silent,
            LatencyResult { mean: Some(81.2), ..other },
        ],
        warnings: vec![Warning::new(
            "metric_invalid",
            "vllm:e2e_request_latency_seconds was left out: the bucket 0.3 fell from 10 to 0",
            "take two new looks",
        )],
        ..Document::default()
    }
}

#[test]
fn histograms_of_a_server() {
    insta::assert_snapshot!(terminal(&document(), &NARROW));
}

#[test]
fn histograms_as_csv() {
    insta::assert_snapshot!(csv(&document()));
}

#[test]
fn no_line_is_wider_than_the_page_and_none_steers_the_terminal() {
    for width in [40, 60, 80, 132] {
        let text = terminal(&document(), &Style { width, colour: false });
        assert!(!text.contains('\x1b'));
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn json_reads_back_as_the_same_document() {
    let text = json(&document());
    let back: Document = serde_json::from_str(&text).expect("the document's own JSON");
    assert!(back == document());
    assert!(!text.contains("null"));
}

#[test]
fn csv_has_as_many_fields_as_names() {
    let text = csv(&document());
    let fields = text.lines().map(|line| line.split(',').count());
    assert_eq!(fields.collect::<std::collections::BTreeSet<_>>().len(), 1, "{text}");
}
