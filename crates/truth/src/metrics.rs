//! What the server counts for `/metrics`, and the page itself: Prometheus text under vLLM's names.

use std::fmt::Write as _;

use crate::frame::MODEL;
use crate::histogram::Histogram;
use crate::law::{MetricsPage, Told};
use crate::record::TruthRecord;
use crate::wire::{SECOND_NS, realtime_ns};

/// Upper bounds of buckets as vLLM has them by default, s.
const TTFT_S: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// The same between two tokens, s.
const ITL_S: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// The same of whole requests and their waiting, s.
const REQUEST_S: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// What `metrics=html` answers: a page as a gateway or a login sends it.
const HTML: &str =
    "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in</body></html>\n";
/// What `metrics=garbage` answers: lines that look like samples and are none.
const GARBAGE: &str = "# TYPE vllm:num_requests_running gauge\n\
    vllm:num_requests_running{model_name=\"mock\" 3\n\
    vllm:num_requests_waiting{model_name=\"mock\"} many\n}}}}\n= 7\n";

/// Counts since the start of the server; a reset leaves them alone, as counters must.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: u64,
    pub(crate) completed: u64,
    pub(crate) aborted: u64,
    pub(crate) refused: u64,
    pub(crate) preemptions: u64,
    /// As told: times `token_factor`. Not whole where that is not.
    prompt_tokens: f64,
    generation_tokens: f64,
    prefix_queries: u64,
    prefix_hits: f64,
    ttft: Histogram,
    itl: Histogram,
    e2e: Histogram,
    queue: Histogram,
    started_ns: u64,
}

/// What is true at the moment the page is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) running: u32,
    pub(crate) waiting: u64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: 0,
            completed: 0,
            aborted: 0,
            refused: 0,
            preemptions: 0,
            prompt_tokens: 0.0,
            generation_tokens: 0.0,
            prefix_queries: 0,
            prefix_hits: 0.0,
            ttft: Histogram::new(TTFT_S),
            itl: Histogram::new(ITL_S),
            e2e: Histogram::new(REQUEST_S),
            queue: Histogram::new(REQUEST_S),
            started_ns: realtime_ns(),
        }
    }

    /// Counts an answer that gets its slot; `id` numbers the requests since the last reset.
    pub(crate) fn start(&mut self, told: &Told, id: u64, prompt_tokens: u32) {
        self.prefix_queries += u64::from(prompt_tokens);
        self.prefix_hits += f64::from(prompt_tokens) * told.prefix_hit_ratio;
        let is_preempted = told.preempt_every > 0 && (id + 1).is_multiple_of(told.preempt_every);
        self.preemptions += u64::from(is_preempted);
    }

    /// Counts the first write of tokens: so long after the arrival, with so many tokens.
    pub(crate) fn first_write(&mut self, told: &Told, after_ns: u64, prompt: u32, tokens: u32) {
        self.ttft.add(after_ns, 1);
        // Tokens of one write have one time.
        self.itl.add(0, u64::from(tokens.saturating_sub(1)));
        self.prompt_tokens += f64::from(prompt) * told.token_factor;
        self.generation_tokens += f64::from(tokens) * told.token_factor;
    }

    /// Counts a later write: so long after the one before, with so many tokens.
    pub(crate) fn later_write(&mut self, told: &Told, gap_ns: u64, tokens: u32) {
        if tokens > 0 {
            self.itl.add(gap_ns, 1);
            self.itl.add(0, u64::from(tokens - 1));
            self.generation_tokens += f64::from(tokens) * told.token_factor;
        }
    }

    /// Counts an answer that was sent whole.
    pub(crate) fn complete(&mut self, record: &TruthRecord) {
        let (arrival, last) = (record.arrival_kernel_ns, record.last_ns.unwrap_or(record.end_ns));
        self.completed += 1;
        self.e2e.add(last.saturating_sub(arrival), 1);
        self.queue.add(record.start_ns.saturating_sub(arrival), 1);
    }

    /// Status, content type and body of `/metrics`.
    pub(crate) fn page(&self, told: &Told, now: Now) -> (&'static str, &'static str, String) {
        const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
        match told.page {
            MetricsPage::Ok => ("200 OK", TEXT, self.text(told, now)),
            MetricsPage::Absent => {
                ("404 Not Found", "application/json", "{\"detail\":\"Not Found\"}".to_owned())
            }
            MetricsPage::Html => ("200 OK", "text/html", HTML.to_owned()),
            MetricsPage::Garbage => ("200 OK", TEXT, GARBAGE.to_owned()),
        }
    }

    fn text(&self, told: &Told, now: Now) -> String {
        let label = format!("model_name=\"{MODEL}\"");
        let kv = (f64::from(now.running) * told.kv_per_request).min(1.0);
        let mut text = String::with_capacity(8_192);
        for (name, kind, value) in [
            ("vllm:num_requests_running", "gauge", f64::from(now.running)),
            ("vllm:num_requests_waiting", "gauge", now.waiting as f64),
            ("vllm:kv_cache_usage_perc", "gauge", kv),
            ("vllm:prefix_cache_queries_total", "counter", self.prefix_queries as f64),
            ("vllm:prefix_cache_hits_total", "counter", self.prefix_hits.round()),
            ("vllm:num_preemptions_total", "counter", self.preemptions as f64),
            ("vllm:prompt_tokens_total", "counter", self.prompt_tokens.round()),
            ("vllm:generation_tokens_total", "counter", self.generation_tokens.round()),
            ("vllm:request_success_total", "counter", self.completed as f64),
            ("loadline_truth_requests_total", "counter", self.requests as f64),
            ("loadline_truth_aborted_total", "counter", self.aborted as f64),
            ("loadline_truth_refused_total", "counter", self.refused as f64),
        ] {
            let _ = writeln!(text, "# TYPE {name} {kind}\n{name}{{{label}}} {value}");
        }
        for (name, histogram) in [
            ("vllm:time_to_first_token_seconds", &self.ttft),
            ("vllm:inter_token_latency_seconds", &self.itl),
            ("vllm:e2e_request_latency_seconds", &self.e2e),
            ("vllm:request_queue_time_seconds", &self.queue),
        ] {
            histogram.write(&mut text, name, &label);
        }
        let (s, ns) = (self.started_ns / SECOND_NS, self.started_ns % SECOND_NS);
        let name = "process_start_time_seconds";
        let _ = writeln!(text, "# TYPE {name} gauge\n{name} {s}.{ns:09}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::Law;

    const NOW: Now = Now { running: 3, waiting: 2 };

    fn value(page: &str, series: &str) -> String {
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {page}")).to_owned()
    }

    fn told(parameters: &str) -> Told {
        Law::default().with(parameters).expect("valid").told
    }

    #[test]
    fn known_delays_fall_into_known_buckets_and_sums_are_exact() {
        let (mut metrics, told) = (Metrics::new(), Told::default());
        metrics.first_write(&told, 5_000_000, 10, 1);
        metrics.first_write(&told, 5_000_001, 10, 3);
        metrics.later_write(&told, 25_000_000, 2);
        let record = |arrival_kernel_ns, start_ns, last_ns| TruthRecord {
            arrival_kernel_ns,
            start_ns,
            last_ns: Some(last_ns),
            ..crate::record::example()
        };
        metrics.complete(&record(100, 100, 500_000_100));
        metrics.complete(&record(7, 1_000_000_007, 9_000_000_000_008));
        let page = metrics.text(&told, NOW);
        let of = |name: &str, rest: &str| {
            let label = "model_name=\"mock\"";
            match rest.strip_prefix("le=") {
                Some(le) => {
                    value(&page, &format!("vllm:{name}_seconds_bucket{{le=\"{le}\",{label}}}"))
                }
                None => value(&page, &format!("vllm:{name}_seconds_{rest}{{{label}}}")),
            }
        };
        // At the bound is inside; 1 ns more is in the next.
        for (le, count) in [("0.001", "0"), ("0.005", "1"), ("0.01", "2"), ("+Inf", "2")] {
            assert_eq!(of("time_to_first_token", &format!("le={le}")), count, "{le}");
        }
        assert_eq!(of("time_to_first_token", "sum"), "0.010000001");
        // Two within the first write, one between writes, one within the later.
        assert_eq!(of("inter_token_latency", "le=0.01"), "3");
        assert_eq!(of("inter_token_latency", "le=0.025"), "4");
        assert_eq!(of("inter_token_latency", "count"), "4");
        assert_eq!(of("inter_token_latency", "sum"), "0.025000000");
        assert_eq!(of("e2e_request_latency", "le=0.5"), "1");
        assert_eq!(of("e2e_request_latency", "le=7680.0"), "1");
        assert_eq!(of("e2e_request_latency", "le=+Inf"), "2");
        assert_eq!(of("e2e_request_latency", "sum"), "9000.500000001");
        assert_eq!(of("request_queue_time", "le=0.3"), "1");
        assert_eq!(of("request_queue_time", "le=1.0"), "2");
        assert_eq!(of("request_queue_time", "sum"), "1.000000000");
    }

    #[test]
    fn every_bound_of_vllm_is_there() {
        let page = Metrics::new().text(&Told::default(), NOW);
        let bounds = |name: &str| {
            let line = format!("vllm:{name}_seconds_bucket{{le=");
            page.lines().filter(|found| found.starts_with(&line)).count()
        };
        assert_eq!(bounds("time_to_first_token"), 22 + 1);
        assert_eq!(bounds("inter_token_latency"), 19 + 1);
        assert_eq!(bounds("e2e_request_latency"), 21 + 1);
        assert_eq!(bounds("request_queue_time"), 21 + 1);
    }

    #[test]
    fn gauges_and_counters_follow_their_parameters() {
        let told = told("kv_per_request=0.25&prefix_hit_ratio=0.1&preempt_every=2&token_factor=3");
        let mut metrics = Metrics::new();
        for id in 0..5 {
            metrics.start(&told, id, 10);
            metrics.first_write(&told, 1, 10, 2);
            metrics.later_write(&told, 1, 1);
        }
        let page = metrics.text(&told, NOW);
        let of = |name: &str| value(&page, &format!("vllm:{name}{{model_name=\"mock\"}}"));
        assert_eq!(of("num_requests_running"), "3");
        assert_eq!(of("num_requests_waiting"), "2");
        assert_eq!(of("kv_cache_usage_perc"), "0.75");
        assert_eq!(of("prefix_cache_queries_total"), "50");
        assert_eq!(of("prefix_cache_hits_total"), "5");
        assert_eq!(of("num_preemptions_total"), "2");
        assert_eq!(of("prompt_tokens_total"), "150");
        assert_eq!(of("generation_tokens_total"), "45");
        let full = metrics.text(&told, Now { running: 9, waiting: 0 });
        assert_eq!(value(&full, "vllm:kv_cache_usage_perc{model_name=\"mock\"}"), "1");
    }

    #[test]
    fn without_parameters_nothing_is_preempted_or_cached() {
        let (mut metrics, told) = (Metrics::new(), Told::default());
        metrics.start(&told, 0, 10);
        let page = metrics.text(&told, NOW);
        assert_eq!(value(&page, "vllm:prefix_cache_hits_total{model_name=\"mock\"}"), "0");
        assert_eq!(value(&page, "vllm:num_preemptions_total{model_name=\"mock\"}"), "0");
        assert_eq!(value(&page, "vllm:kv_cache_usage_perc{model_name=\"mock\"}"), "0.03");
    }
}
