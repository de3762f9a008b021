//! Metrics pages: nothing panics, errors have words and lines, what is sound is sound, and a page
//! against itself shows no traffic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadline_analysis::{LatencySettings, server_latency};
use loadline_observe::prometheus::{Dialect, Limits, Snapshot, parse, window};

fn check(page: &[u8], dialect: Option<Dialect>) {
    let lines = page.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    let scrape = match parse(page, dialect, &Limits::default()) {
        Ok(scrape) => scrape,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
            return;
        }
    };
    assert!(!scrape.samples.is_empty());
    for sample in &scrape.samples {
        assert!(!sample.name.is_empty() || page.contains(&b'"'));
        assert!((1..=lines).contains(&sample.line));
        assert!(scrape.labels(sample).len() <= Limits::default().labels);
    }
    let snapshot = Snapshot::of(&scrape);
    for family in &snapshot.histograms {
        for series in &family.series {
            let buckets = &series.value.buckets;
            assert!(buckets.last().is_some_and(|last| last.le == f64::INFINITY));
            assert!(buckets.windows(2).all(|pair| pair[0].le < pair[1].le));
            assert!(buckets.iter().all(|bucket| bucket.count.is_finite() && bucket.count >= 0.0));
        }
    }
    let same = window(&snapshot, &snapshot);
    for family in &same.histograms {
        assert!(family.series.iter().all(|series| series.value.count == 0.0));
    }
    let from_zero = window(&Snapshot::default(), &snapshot);
    for window in [&same, &from_zero] {
        let report = server_latency(window, &LatencySettings::default());
        for result in &report.results {
            for quantile in &result.quantiles {
                assert!(quantile.value.is_none_or(f64::is_finite));
            }
        }
    }
}

fuzz_target!(|page: &[u8]| {
    for dialect in [None, Some(Dialect::Text), Some(Dialect::OpenMetrics)] {
        check(page, dialect);
    }
});
