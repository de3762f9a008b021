//! Pages as servers have them, and what holds for every page: reading never panics, what is written is
//! read again, and adding series up and taking differences may change places.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use loadline_observe::prometheus::{Limits, Snapshot, parse, window};
use loadline_schema::metric_window::{Family, Histogram, Labels};
use proptest::prelude::*;

/// As vLLM's Python client writes it: `_created` as gauges, a histogram whose name ends in `_total`.
const VLLM: &str = r#"# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 9512.0
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.76373921834e+09
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="org/model"} 3.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="org/model"} 120393.0
# HELP vllm:prompt_tokens_created Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{engine="0",model_name="org/model"} 1.763739234e+09
# HELP vllm:iteration_tokens_total Histogram of number of tokens per engine_step.
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="org/model"} 312.0
vllm:iteration_tokens_total_bucket{engine="0",le="8.0",model_name="org/model"} 950.0
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf",model_name="org/model"} 951.0
vllm:iteration_tokens_total_count{engine="0",model_name="org/model"} 951.0
vllm:iteration_tokens_total_sum{engine="0",model_name="org/model"} 5212.0
# HELP vllm:iteration_tokens_total_created Histogram of number of tokens per engine_step.
# TYPE vllm:iteration_tokens_total_created gauge
vllm:iteration_tokens_total_created{engine="0",model_name="org/model"} 1.763739234e+09
# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",gpu_memory_utilization="0.9"} 1.0
"#;

fn snapshot(page: &str) -> Snapshot {
    let scrape = parse(page.as_bytes(), None, &Limits::default());
    Snapshot::of(&scrape.unwrap_or_else(|error| panic!("{error}")))
}

fn names<V>(families: &[Family<V>]) -> Vec<&str> {
    families.iter().map(|family| family.name.as_str()).collect()
}

#[test]
fn a_page_of_vllm() {
    let snapshot = snapshot(VLLM);
    assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
    // The type decides, not the ending; `_created` is no metric.
    assert_eq!(names(&snapshot.histograms), ["vllm:iteration_tokens_total"]);
    let counters = ["python_gc_objects_collected_total", "vllm:prompt_tokens_total"];
    assert_eq!(names(&snapshot.counters), counters);
    let gauges =
        ["process_start_time_seconds", "vllm:cache_config_info", "vllm:num_requests_running"];
    assert_eq!(names(&snapshot.gauges), gauges);
    let created: Vec<&str> = snapshot.created.keys().map(|(name, _)| name.as_str()).collect();
    assert_eq!(created, ["vllm:iteration_tokens_total", "vllm:prompt_tokens_total"]);
    assert_eq!(snapshot.process_starts[&Labels::new()], 1.763_739_218_34e9);
    let series = &snapshot.histograms[0].series[0];
    assert_eq!(series.labels.len(), 2, "le is no label of a histogram: {:?}", series.labels);
    assert_eq!(series.value.buckets[1].count, 950.0);
    assert_eq!(series.value.sum, Some(5212.0));
}

#[test]
fn names_of_ray_and_kserve() {
    let page = "# TYPE ray_vllm_time_to_first_token_seconds histogram\n\
                ray_vllm_time_to_first_token_seconds_bucket{le=\"0.1\",WorkerId=\"a\"} 1\n\
                ray_vllm_time_to_first_token_seconds_bucket{le=\"+Inf\",WorkerId=\"a\"} 2\n\
                # TYPE kserve_vllm:e2e_request_latency_seconds histogram\n\
                kserve_vllm:e2e_request_latency_seconds_bucket{le=\"+Inf\"} 2\n";
    let expected =
        ["kserve_vllm:e2e_request_latency_seconds", "ray_vllm_time_to_first_token_seconds"];
    assert_eq!(names(&snapshot(page).histograms), expected);
}

#[test]
fn bounds_are_numbers_and_not_texts() {
    let page = |first: &str, second: &str| {
        snapshot(&format!(
            "# TYPE h histogram\nh_bucket{{le=\"{first}\"}} 1\nh_bucket{{le=\"{second}\"}} 2\n\
             h_bucket{{le=\"+Inf\"}} 3\n"
        ))
    };
    for (a, b) in [("0.3", "0.30"), ("1", "1.0"), ("1e-05", "0.00001"), ("2.5", "25e-1")] {
        let window = window(&page(a, "100"), &page(b, "1e2"));
        assert!(window.invalid.is_empty(), "{a} is {b}: {:?}", window.invalid);
    }
    // The order of lines is nothing.
    assert_eq!(page("5", "2").histograms[0].series[0].value.buckets[0].le, 2.0);
    for infinity in ["+Inf", "Inf", "+inf"] {
        let page = format!("# TYPE h histogram\nh_bucket{{le=\"{infinity}\"}} 3\n");
        assert!(snapshot(&page).problems.is_empty(), "{infinity}");
    }
}

#[test]
fn without_types_buckets_make_a_histogram() {
    // As a Prometheus server federates it.
    let page = "# TYPE h_bucket untyped\nh_bucket{le=\"1\",job=\"x\"} 1 1700000000000\n\
                h_bucket{le=\"+Inf\",job=\"x\"} 2 1700000000000\n# TYPE h_sum untyped\n\
                h_sum{job=\"x\"} 3 1700000000000\nh_count{job=\"x\"} 2\n\
                other_count 7\nc_total 8\nb_bucket 3\n";
    let snapshot = snapshot(page);
    assert_eq!(names(&snapshot.histograms), ["h"]);
    let histogram = &snapshot.histograms[0].series[0].value;
    assert_eq!((histogram.count, histogram.sum), (2.0, Some(3.0)));
    // An ending alone says nothing.
    assert_eq!(names(&snapshot.gauges), ["b_bucket", "c_total", "other_count"]);
    assert!(snapshot.counters.is_empty());
}

#[test]
fn counters_with_and_without_total() {
    let old = snapshot("# TYPE c_total counter\nc_total 5\n");
    let open = snapshot("# TYPE c counter\nc_total 7\nc_created 1\n# EOF\n");
    assert_eq!(names(&old.counters), ["c_total"]);
    let window = window(&old, &open);
    assert!(window.invalid.is_empty(), "{:?}", window.invalid);
    assert_eq!(window.counters[0].series[0].value, 2.0);
}

#[test]
fn summaries_give_their_sum_and_count() {
    let page = "# TYPE s summary\ns{quantile=\"0.5\"} 0.1\ns_sum 3\ns_count 2\n";
    let snapshot = snapshot(page);
    assert_eq!(names(&snapshot.counters), ["s_count", "s_sum"]);
    assert_eq!(names(&snapshot.gauges), ["s"]);
}

#[test]
fn units_are_taken_over() {
    let page = "# TYPE h histogram\n# UNIT h seconds\nh_bucket{le=\"+Inf\"} 1\n# TYPE c counter\n\
                # UNIT c bytes\nc_total 1\n# EOF\n";
    let snapshot = snapshot(page);
    assert_eq!(snapshot.histograms[0].unit.as_deref(), Some("seconds"));
    assert_eq!(snapshot.counters[0].unit.as_deref(), Some("bytes"));
}

/// A page as written from series of one histogram: counts by bucket, not cumulative, and a sum.
fn page(series: &BTreeMap<Labels, (Vec<u32>, u32)>) -> String {
    let mut page = "# HELP h Some \"help\" {with} # signs\n# TYPE h histogram\n".to_owned();
    for (labels, (counts, sum)) in series {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("\"{name}\"=\"{value}\",")
            })
            .collect();
        let labels = labels.concat();
        let mut count = 0;
        for (index, n) in counts.iter().enumerate() {
            count += n;
            let le = if index + 1 == counts.len() { "+Inf".into() } else { format!("{index}.5") };
            let _ = writeln!(page, "h_bucket{{{labels}le=\"{le}\"}} {count} 1700000000000");
        }
        let _ = writeln!(page, "h_count{{{labels}}} {count}\nh_sum{{{labels}}} {sum}");
    }
    page
}

type Counts = BTreeMap<Labels, (Vec<u32>, u32)>;

prop_compose! {
    /// Two states of the series of a histogram: the second has at least as many values.
    fn states()(
        labels in prop::collection::btree_map(
            prop::collection::btree_map("[a-z.é]{1,4}", "[a-c\"\\\\\n{},=# é]{1,5}", 0..3),
            (prop::collection::vec((0_u32..50, 0_u32..50), 4), 0_u32..100, 0_u32..100),
            1..6,
        ),
    ) -> (Counts, Counts) {
        let mut states = (Counts::new(), Counts::new());
        for (labels, (counts, sum, more)) in labels {
            // `le` is the bucket's own.
            let labels: Labels = labels.into_iter().filter(|(name, _)| name != "le").collect();
            let first: Vec<u32> = counts.iter().map(|(n, _)| *n).collect();
            let second = counts.iter().map(|(n, added)| n + added).collect();
            states.0.insert(labels.clone(), (first, sum));
            states.1.insert(labels, (second, sum + more));
        }
        states
    }
}

fn totals(families: &[Family<Histogram>], by: &[&str]) -> Vec<(Labels, Histogram)> {
    let summed = families.iter().flat_map(|family| family.summed(by).expect("equal bounds"));
    summed.map(|series| (series.labels, series.value)).collect()
}

proptest! {
    #[test]
    fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, None, &Limits::default());
    }

    #[test]
    fn reading_broken_pages_never_panics(
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with in prop::sample::select(vec!["\"", "{", "}", "\\", "\n", "#", " ", "=", ",", "é", "NaN"]),
    ) {
        let mut page = VLLM[..cut.index(VLLM.len())].to_owned();
        page.insert_str(at.index(page.len() + 1), with);
        if let Ok(scrape) = parse(page.as_bytes(), None, &Limits::default()) {
            let snapshot = Snapshot::of(&scrape);
            let _ = window(&snapshot, &snapshot);
        }
    }

    #[test]
    fn what_is_written_is_read_again((state, _) in states()) {
        let snapshot = snapshot(&page(&state));
        prop_assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
        let read: Counts = snapshot.histograms[0].series.iter().map(|series| {
            let mut below = 0.0;
            let counts = series.value.buckets.iter().map(|bucket| {
                let n = bucket.count - below;
                below = bucket.count;
                n as u32
            });
            (series.labels.clone(), (counts.collect(), series.value.sum.expect("written") as u32))
        }).collect();
        prop_assert_eq!(read, state);
    }

    #[test]
    fn adding_up_and_taking_differences_may_change_places((first, second) in states(), by in "[a-z]") {
        let (first, second) = (snapshot(&page(&first)), snapshot(&page(&second)));
        for by in [&[][..], &[by.as_str()]] {
            let difference_first = totals(&window(&first, &second).histograms, by);
            let summed = [&first, &second].map(|look| look.summed(by).expect("equal bounds"));
            let sum_first = window(&summed[0], &summed[1]);
            prop_assert!(sum_first.invalid.is_empty());
            prop_assert_eq!(difference_first, totals(&sum_first.histograms, by));
        }
    }
}
