//! When a difference means something, and why it does not.

use super::super::{Limits, parse};
use super::*;

fn snapshot(page: &str) -> Snapshot {
    let scrape = parse(page.as_bytes(), None, &Limits::default());
    Snapshot::of(&scrape.unwrap_or_else(|error| panic!("{error}: {page}")))
}

fn between(first: &str, second: &str) -> MetricWindow {
    window(&snapshot(first), &snapshot(second))
}

/// A histogram of two buckets.
fn page(low: u32, all: u32, sum: f64) -> String {
    format!(
        "# TYPE h histogram\n\
         h_bucket{{le=\"1\"}} {low}\nh_bucket{{le=\"+Inf\"}} {all}\nh_count {all}\nh_sum {sum}\n"
    )
}

fn counts(window: &MetricWindow) -> Vec<f64> {
    let first = window.histograms.first().map(|family| &family.series[0].value.buckets);
    first.into_iter().flatten().map(|bucket| bucket.count).collect()
}

#[track_caller]
fn assert_invalid(window: &MetricWindow, kind: InvalidKind, words: &[&str]) {
    let found = window.invalid.iter().find(|invalid| invalid.kind == kind);
    let found = found.unwrap_or_else(|| panic!("{kind} is not in {:?}", window.invalid));
    for word in words {
        assert!(found.message.contains(word), "{}", found.message);
    }
    let metric = found.metric.as_deref();
    assert!(
        metric.is_none_or(|name| !window.histograms.iter().any(|family| family.name == name)),
        "what is invalid is not listed as sound"
    );
}

#[test]
fn differences_are_exact() {
    let window = between(&page(3, 10, 20.5), &page(5, 20, 41.0));
    assert!(window.invalid.is_empty(), "{:?}", window.invalid);
    assert_eq!(counts(&window), [2.0, 10.0]);
    let histogram = &window.histograms[0].series[0].value;
    assert_eq!((histogram.count, histogram.sum), (10.0, Some(20.5)));
    assert_eq!(window.notes[0].code, "restart_unseen");
}

#[test]
fn a_decrease_makes_it_invalid() {
    let decreased = InvalidKind::Decreased;
    assert_invalid(
        &between(&page(3, 10, 1.0), &page(2, 10, 1.0)),
        decreased,
        &["bucket 1", "3 to 2"],
    );
    assert_invalid(&between(&page(3, 10, 1.0), &page(3, 9, 1.0)), decreased, &["from 10 to 9"]);
    assert_invalid(&between(&page(3, 10, 2.0), &page(3, 10, 1.0)), decreased, &["_sum"]);
    let counter = |n: u32| format!("# TYPE c_total counter\nc_total{{a=\"b\"}} {n}\n");
    let window = between(&counter(7), &counter(6));
    assert_invalid(&window, decreased, &["c_total{a=\"b\"}", "wrong order"]);
    assert!(window.counters.is_empty());
    // Where values may be negative, their sum may fall.
    let signed = |sum: f64| page(3, 10, sum).replace("le=\"1\"", "le=\"-1\"");
    assert!(between(&signed(2.0), &signed(-2.0)).invalid.is_empty());
}

#[test]
fn another_process_makes_all_of_it_invalid() {
    let with = |start: &str| page(1, 2, 3.0) + "# TYPE process_start_time_seconds gauge\n" + start;
    let old = with("process_start_time_seconds 1.7e9\n");
    let window = between(&old, &with("process_start_time_seconds 1.7000001e9\n"));
    assert!(window.is_invalid());
    assert_invalid(&window, InvalidKind::Restarted, &["1700000000", "1700000100", "restart"]);
    assert!(window.histograms.is_empty() && !window.gauges.is_empty());
    assert!(between(&old, &page(1, 2, 3.0)).is_invalid(), "gone");
    assert!(between(&page(1, 2, 3.0), &old).is_invalid(), "new");
    let same = between(&old, &old);
    assert!(!same.is_invalid() && same.notes.is_empty());
    assert_eq!(counts(&same), [0.0, 0.0]);
}

#[test]
fn created_again_makes_it_invalid() {
    // Python's client: a gauge of its own in Prometheus text, part of the metric in OpenMetrics.
    let text = |at: &str| page(1, 2, 3.0) + "# TYPE h_created gauge\nh_created " + at + "\n";
    assert_invalid(
        &between(&text("1.7e9"), &text("1.8e9")),
        InvalidKind::Recreated,
        &["_created of h", "1700000000", "1800000000"],
    );
    let same = between(&text("1.7e9"), &text("1.7e9"));
    assert!(same.invalid.is_empty() && same.gauges.is_empty());
    let open = |at: &str| page(1, 2, 3.0) + "h_created " + at + "\n# EOF\n";
    assert_invalid(&between(&open("1.7e9"), &open("1.8e9")), InvalidKind::Recreated, &["h"]);
    let counter = |at: &str| {
        format!("# TYPE c counter\nc_total{{l=\"x\"}} 5\nc_created{{l=\"x\"}} {at}\n# EOF\n")
    };
    let window = between(&counter("1"), &counter("2"));
    assert_invalid(&window, InvalidKind::Recreated, &["c_total{l=\"x\"}"]);
    assert!(window.counters.is_empty());
    let text = |at: &str| {
        format!("# TYPE c_total counter\nc_total 5\n# TYPE c_created gauge\nc_created {at}\n")
    };
    assert_invalid(&between(&text("1"), &text("2")), InvalidKind::Recreated, &["c_total"]);
}

#[test]
fn what_changes_its_shape_is_invalid() {
    let other = page(3, 10, 1.0).replace("le=\"1\"", "le=\"2\"");
    assert_invalid(
        &between(&page(3, 10, 1.0), &other),
        InvalidKind::BoundsChanged,
        &["1, +Inf", "2, +Inf"],
    );
    let gauge = "# TYPE h gauge\nh 1\n";
    assert_invalid(&between(&page(1, 2, 3.0), gauge), InvalidKind::TypeChanged, &[]);
    assert_invalid(&between(gauge, &page(1, 2, 3.0)), InvalidKind::TypeChanged, &[]);
    assert_invalid(&between(&page(1, 2, 3.0), "x 1\n"), InvalidKind::Vanished, &["second page"]);
}

#[test]
fn a_series_may_come_but_not_go() {
    let series = |engine: u32, n: u32| {
        format!(
            "h_bucket{{engine=\"{engine}\",le=\"+Inf\"}} {n}\nh_bucket{{engine=\"{engine}\",le=\"1\"}} {n}\n"
        )
    };
    let head = "# TYPE h histogram\n";
    let one = format!("{head}{}", series(0, 5));
    let two = format!("{head}{}{}", series(0, 6), series(1, 7));
    let window = between(&one, &two);
    assert!(window.invalid.is_empty());
    let counts: Vec<f64> =
        window.histograms[0].series.iter().map(|series| series.value.count).collect();
    assert_eq!(counts, [1.0, 7.0]);
    assert_invalid(&between(&two, &one), InvalidKind::Vanished, &["engine=\"1\""]);
    let window = between("x 1\n", &one);
    assert!(window.notes.iter().any(|note| note.message.ends_with("counted from zero: h")));
}

#[test]
fn bad_series_are_told_with_their_line() {
    let good = page(3, 10, 1.0);
    for (from, to, words) in [
        ("le=\"+Inf\"} 10", "le=\"5\"} 10", "no +Inf bucket"),
        ("le=\"1\"} 3", "le=\"1\"} NaN", "a count of NaN"),
        ("le=\"1\"} 3", "le=\"1\"} -3", "a count of -3"),
        ("le=\"1\"} 3", "le=\"one\"} 3", "bound \"one\""),
        ("le=\"1\"} 3", "} 3", "without a bound"),
        ("le=\"1\"} 3", "le=\"1\"} 3\nh_bucket{le=\"1.0\"} 3", "bucket 1 twice"),
        ("h_sum", "h_sum 1\nh_sum", "_sum twice"),
        ("h_count", "h 1\nh_count", "value of its own"),
        ("# TYPE h histogram", "# TYPE h histogram\n# TYPE h gauge", "differently"),
    ] {
        let bad = good.replace(from, to);
        let window = between(&good, &bad);
        if to.contains("gauge") {
            assert!(!window.invalid.is_empty());
            continue;
        }
        assert_invalid(&window, InvalidKind::BadSeries, &[words, "of the second page"]);
        assert_invalid(&between(&bad, &good), InvalidKind::BadSeries, &["of the first page"]);
    }
    let twice = "# TYPE c counter\nc{a=\"b\"} 1\nc{a=\"b\",x=\"\"} 2\n";
    assert_invalid(&between(twice, twice), InvalidKind::BadSeries, &["stands twice", "line 2"]);
    let nan = "# TYPE c counter\nc NaN\n";
    assert_invalid(&between(nan, nan), InvalidKind::BadSeries, &["NaN"]);
}

#[test]
fn gauges_are_told_at_both_ends() {
    let window = between("g{a=\"b\"} 1\n", "g{a=\"b\"} 0.5\ng{a=\"c\"} 2\n");
    let ends: Vec<_> =
        window.gauges[0].series.iter().map(|s| (s.value.first, s.value.last)).collect();
    assert_eq!(ends, [(Some(1.0), Some(0.5)), (None, Some(2.0))]);
}
