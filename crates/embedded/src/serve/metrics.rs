//! What the server counts, as Prometheus text (exposition format 0.0.4). The bounds of the
//! histograms are those of vLLM.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds for the time to the first token, s.
const FIRST_TOKEN_S: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Bounds for the time between two tokens, s.
const BETWEEN_S: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// Bounds for whole requests and their time in the queue, s.
const REQUEST_S: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// A histogram of times.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds_s: &'static [f64],
    /// Observations in each bucket alone, the last one without a bound.
    counts: Vec<AtomicU64>,
    sum_ns: AtomicU64,
}

impl Histogram {
    fn new(bounds_s: &'static [f64]) -> Self {
        let counts = (0..=bounds_s.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds_s, counts, sum_ns: AtomicU64::new(0) }
    }

    /// Adds an observation, ns.
    pub(super) fn observe(&self, time_ns: u64) {
        let time_s = time_ns as f64 / 1e9;
        let bucket = self.bounds_s.partition_point(|bound| *bound < time_s);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(time_ns, Ordering::Relaxed);
    }

    fn write(&self, name: &str, help: &str, model: &str, text: &mut String) {
        head(name, help, "histogram", text);
        let mut count = 0;
        let bounds = self.bounds_s.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(&self.counts) {
            count += bucket.load(Ordering::Relaxed);
            let labels = format!("model_name=\"{model}\",le=\"{bound}\"");
            let _ = writeln!(text, "{name}_bucket{{{labels}}} {count}");
        }
        let sum_s = self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        let _ = writeln!(text, "{name}_sum{{model_name=\"{model}\"}} {sum_s}");
        let _ = writeln!(text, "{name}_count{{model_name=\"{model}\"}} {count}");
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Arrival of a request until its first token is sent.
    pub(super) first_token: Histogram,
    /// Between two tokens of a request.
    pub(super) between: Histogram,
    /// Arrival of a request until its last token is sent.
    pub(super) whole: Histogram,
    /// Arrival of a request until it gets a slot.
    pub(super) queued: Histogram,
    /// Prompt tokens that were computed.
    pub(super) prompt_tokens: AtomicU64,
    /// Tokens that were generated.
    pub(super) generation_tokens: AtomicU64,
    /// Requests in slots.
    pub(super) running: AtomicU64,
    /// Requests that wait, also those on their way to the engine.
    pub(super) waiting: AtomicU64,
    /// Tokens in the KV cache.
    pub(super) held_tokens: AtomicU64,
    /// Requests that ended by a stop string or an end token.
    pub(super) stopped: AtomicU64,
    /// Requests that ended at their limit of tokens.
    pub(super) full_length: AtomicU64,
    /// Requests whose client left, or that failed.
    pub(super) aborted: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            first_token: Histogram::new(FIRST_TOKEN_S),
            between: Histogram::new(BETWEEN_S),
            whole: Histogram::new(REQUEST_S),
            queued: Histogram::new(REQUEST_S),
            prompt_tokens: AtomicU64::default(),
            generation_tokens: AtomicU64::default(),
            running: AtomicU64::default(),
            waiting: AtomicU64::default(),
            held_tokens: AtomicU64::default(),
            stopped: AtomicU64::default(),
            full_length: AtomicU64::default(),
            aborted: AtomicU64::default(),
        }
    }
}

impl Metrics {
    /// The metrics as text. `capacity`: tokens that the KV cache holds at most.
    pub(super) fn text(&self, model: &str, capacity: u64) -> String {
        let model = escaped(model);
        let mut text = String::with_capacity(16 * 1024);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut value = |name: &str, help: &str, kind: &str, value: f64| {
            head(name, help, kind, &mut text);
            let _ = writeln!(text, "{name}{{model_name=\"{model}\"}} {value}");
        };
        let held = load(&self.held_tokens) as f64 / capacity.max(1) as f64;
        let gauge = |count: &AtomicU64| load(count) as f64;
        value("loadline_num_requests_running", "Requests in slots.", "gauge", gauge(&self.running));
        value(
            "loadline_num_requests_waiting",
            "Requests that wait.",
            "gauge",
            gauge(&self.waiting),
        );
        value("loadline_kv_cache_usage_ratio", "Used share of the KV cache, 0-1.", "gauge", held);
        let (prompt, generation) = (gauge(&self.prompt_tokens), gauge(&self.generation_tokens));
        value("loadline_prompt_tokens_total", "Prompt tokens computed.", "counter", prompt);
        value("loadline_generation_tokens_total", "Tokens generated.", "counter", generation);
        let name = "loadline_requests_total";
        head(name, "Requests that ended, by reason.", "counter", &mut text);
        let reasons =
            [("stop", &self.stopped), ("length", &self.full_length), ("abort", &self.aborted)];
        for (reason, count) in reasons {
            let labels = format!("model_name=\"{model}\",finished_reason=\"{reason}\"");
            let _ = writeln!(text, "{name}{{{labels}}} {}", load(count));
        }
        let histograms = [
            (&self.first_token, "time_to_first_token", "Arrival to first token."),
            (&self.between, "inter_token_latency", "Time between two tokens of a request."),
            (&self.whole, "e2e_request_latency", "Arrival to last token."),
            (&self.queued, "request_queue_time", "Arrival to a slot."),
        ];
        for (histogram, name, help) in histograms {
            histogram.write(&format!("loadline_{name}_seconds"), help, &model, &mut text);
        }
        text
    }
}

fn head(name: &str, help: &str, kind: &str, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value with its escapes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_belong_to_them() {
        let metrics = Metrics::default();
        metrics.between.observe(10_000_000);
        metrics.between.observe(11_000_000);
        metrics.between.observe(1_000_000_000_000);
        let text = metrics.text("a\"b", 100);
        let line = |le: &str, count: u32| {
            let name = "loadline_inter_token_latency_seconds_bucket";
            format!("{name}{{model_name=\"a\\\"b\",le=\"{le}\"}} {count}\n")
        };
        assert!(text.contains(&line("0.01", 1)));
        assert!(text.contains(&line("0.025", 2)));
        assert!(text.contains(&line("80", 2)));
        assert!(text.contains(&line("+Inf", 3)));
        assert!(text.contains("seconds_sum{model_name=\"a\\\"b\"} 1000.021\n"));
    }

    #[test]
    fn every_series_has_its_help_and_type() {
        let metrics = Metrics::default();
        metrics.held_tokens.store(25, Ordering::Relaxed);
        let text = metrics.text("m", 100);
        assert!(text.contains("loadline_kv_cache_usage_ratio{model_name=\"m\"} 0.25\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split('{').next().expect("a name");
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {base} ")), "{line}");
        }
    }
}
