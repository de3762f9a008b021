//! Comparisons written by hand, as text that a person has looked at.

use loadline_report::{Style, compare_markdown, compare_terminal};
use loadline_schema::document::PointLoad;
use loadline_schema::event::Warning;
use loadline_schema::verdict::{Change, Comparison, Gate, MetricChange};
use unicode_width::UnicodeWidthStr;

const NARROW: Style = Style { width: 80, colour: false };
const MS: f64 = 1e6;

/// A metric at a load: baseline, change with its bounds (of a ratio), noise floor, verdict.
fn metric(
    concurrency: u64,
    name: &str,
    baseline: f64,
    change: [f64; 3],
    verdict: Change,
) -> MetricChange {
    let [low, estimate, high] = change;
    MetricChange {
        stage: "serving".into(),
        point: PointLoad {
            concurrency: Some(concurrency),
            arrival: "closed".into(),
            ..PointLoad::default()
        },
        metric: name.into(),
        baseline,
        candidate: baseline * (1.0 + estimate),
        change: estimate,
        low: Some(low),
        high: Some(high),
        p_value: Some(if verdict == Change::Regressed { 0.001 } else { 0.6 }),
        noise_floor: Some((high - low) / 2.0),
        higher_is_better: name.ends_with("_per_s"),
        absolute: false,
        trials: (5, 5),
        verdict,
    }
}

/// What happened where tokens became slower.
fn slower(concurrency: u64) -> Vec<MetricChange> {
    let scale = concurrency as f64;
    let errors = MetricChange {
        baseline: 0.0,
        candidate: 0.001,
        absolute: true,
        p_value: Some(1.0),
        ..metric(concurrency, "error_rate", 0.0, [-0.0016, 0.001, 0.0036], Change::NoChange)
    };
    vec![
        metric(concurrency, "ttft_p50", 12.3 * MS, [-0.012, 0.002, 0.016], Change::NoChange),
        metric(concurrency, "ttft_p99", 18.1 * MS, [-0.08, 0.03, 0.15], Change::Inconclusive),
        metric(concurrency, "itl_p50", 6.7 * MS, [0.042, 0.051, 0.06], Change::Regressed),
        metric(concurrency, "itl_p99", 7.23 * MS, [0.011, 0.048, 0.086], Change::Inconclusive),
        metric(concurrency, "e2e_p50", 433.0 * MS, [0.036, 0.047, 0.058], Change::Regressed),
        metric(concurrency, "e2e_p99", 1_512.0 * MS, [-0.02, 0.04, 0.11], Change::Inconclusive),
        metric(
            concurrency,
            "requests_per_s",
            2.31 * scale,
            [-0.055, -0.045, -0.035],
            Change::Regressed,
        ),
        metric(
            concurrency,
            "output_tokens_per_s",
            1_478.4 * scale,
            [-0.055, -0.045, -0.035],
            Change::Regressed,
        ),
        errors,
    ]
}

fn comparison(metrics: Vec<MetricChange>) -> Comparison {
    Comparison {
        baseline: "main k3v7q2xa".into(),
        candidate: "flash-attention w5t2c7qm".into(),
        metrics,
        interleaved: true,
        ..Comparison::default()
    }
}

fn regression() -> Comparison {
    Comparison {
        gate: Some(Gate {
            terms: vec!["itl_p50<=+3%".into(), "ttft_p99<=+2%".into(), "e2e_p50<=+10%".into()],
            passed: false,
            failures: vec![
                "itl_p50<=+3% at concurrency 4: it changed by +5.1 % (+4.2 % to +6.0 %)".into(),
                "itl_p50<=+3% at concurrency 16: it changed by +5.1 % (+4.2 % to +6.0 %)".into(),
            ],
            undecided: vec![
                "ttft_p99<=+2% at concurrency 4: it changed by +3.0 % (-8.0 % to +15.0 %), but not \
                 for certain"
                    .into(),
            ],
        }),
        differences: vec![
            "engine: vllm 0.11.0 in the baseline, vllm 0.11.1 in the candidate".into(),
        ],
        unmatched: vec!["baseline: concurrency 64".into()],
        ..comparison([slower(4), slower(16)].concat())
    }
}

/// A candidate that is faster, and three trials a side that prove nothing.
fn improvement() -> Comparison {
    let faster = |name, baseline| metric(1, name, baseline, [-0.14, -0.12, -0.1], Change::Improved);
    comparison(vec![
        faster("ttft_p50", 12.3 * MS),
        metric(1, "requests_per_s", 2.31, [-0.01, 0.002, 0.014], Change::NoChange),
    ])
}

fn too_few() -> Comparison {
    let open = |metric: MetricChange| MetricChange {
        trials: (3, 2),
        verdict: Change::Inconclusive,
        p_value: None,
        ..metric
    };
    let single = MetricChange { low: None, high: None, noise_floor: None, ..slower(4)[2].clone() };
    Comparison {
        interleaved: false,
        warnings: vec![Warning::new(
            "too_few_trials",
            "a side has only 2 complete trials: with fewer than 5 there is no verdict, and no gate can \
             fail for it",
            "measure both sides with --trials 5 or more",
        )],
        gate: Some(Gate {
            terms: vec!["itl_p50<=+3%".into()],
            passed: true,
            failures: Vec::new(),
            undecided: vec!["itl_p50<=+3% at concurrency 4: it changed by +5.1 %, but …".into()],
        }),
        ..comparison(vec![open(slower(4)[0].clone()), open(single)])
    }
}

fn nothing() -> Comparison {
    let still = |m: MetricChange| MetricChange { verdict: Change::NoChange, ..m };
    Comparison {
        gate: Some(Gate { terms: vec!["ttft_p50<=+5%".into()], passed: true, ..Gate::default() }),
        ..comparison(slower(4).into_iter().take(2).map(still).collect())
    }
}

fn all() -> [Comparison; 5] {
    [regression(), improvement(), too_few(), nothing(), comparison(Vec::new())]
}

#[test]
fn a_regression_with_a_gate() {
    insta::assert_snapshot!(compare_terminal(&regression(), &NARROW));
}

#[test]
fn a_regression_as_markdown() {
    insta::assert_snapshot!(compare_markdown(&regression()));
}

#[test]
fn an_improvement() {
    insta::assert_snapshot!(compare_terminal(&improvement(), &NARROW));
}

#[test]
fn too_few_trials() {
    insta::assert_snapshot!(compare_terminal(&too_few(), &NARROW));
}

#[test]
fn nothing_changed_as_markdown() {
    insta::assert_snapshot!(compare_markdown(&nothing()));
}

#[test]
fn no_line_is_wider_than_the_page() {
    for width in [40, 60, 80, 132] {
        for comparison in all() {
            let text = compare_terminal(&comparison, &Style { width, colour: false });
            for line in text.lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    for comparison in all() {
        let coloured = compare_terminal(&comparison, &Style { width: 80, colour: true });
        let mut bare = String::new();
        for (index, part) in coloured.split("\x1b[").enumerate() {
            let part = if index == 0 { part } else { part.split_once('m').expect("a code").1 };
            bare.push_str(part);
        }
        let bare: Vec<&str> = bare.lines().map(str::trim_end).collect();
        let plain = compare_terminal(&comparison, &NARROW);
        assert_eq!(bare, plain.lines().collect::<Vec<_>>());
    }
}

#[test]
fn stages_are_named_where_there_are_several() {
    let mut comparison = regression();
    for metric in comparison.metrics.iter_mut().filter(|m| m.point.concurrency == Some(16)) {
        metric.stage = "batch".into();
    }
    let text = compare_terminal(&comparison, &NARROW);
    assert!(text.contains("Batch, concurrency 16") && text.contains("Serving, concurrency 4"));
}

#[test]
fn nothing_from_outside_steers_the_terminal() {
    let mut comparison = regression();
    comparison.candidate = "a\x1b]0;title\x07b".into();
    comparison.metrics[0].stage = "s\x1b[2J".into();
    comparison.differences = vec!["model: m\x1b[2J".into()];
    for text in [compare_terminal(&comparison, &NARROW), compare_markdown(&comparison)] {
        assert!(!text.contains(['\x1b', '\x07']), "{text}");
    }
}
