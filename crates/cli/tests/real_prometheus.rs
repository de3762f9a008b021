//! `loadline latency` against a real Prometheus that scrapes the truth server and a real llama-server.
//! `./test` sets LOADLINE_PROMETHEUS, LOADLINE_LLAMA_SERVER and LOADLINE_MODEL; without them it fails
//! and says so.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

mod scraped;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assert_cmd::cargo::cargo_bin;
use loadline_testkit::{Law, TruthThread};
use scraped::{Prometheus, Recorder, Sample, exchange, free_port, until, variable};
use serde_json::Value;

const RELATIVE: f64 = 1e-12;
const HISTOGRAMS: [&str; 4] = [
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
];
const PAGES: &str = "loadline_page_total{job=\"truth\"}";

fn latency(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(cargo_bin("loadline"));
    let output = command.arg("latency").args(arguments).env("COLUMNS", "80").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Latencies that spread over many buckets; with three slots some requests wait.
fn truth() -> TruthThread {
    let law = "ttft=lognormal:40000,0.9&itl=exponential:15000&tokens=3-20&slots=3";
    TruthThread::start(Law::default().with(law).unwrap()).unwrap()
}

/// Clients that ask one request after the other until this is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn on(server: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    complete(server);
                }
            })
        };
        let threads = (0..4).map(client).collect();
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn complete(server: SocketAddr) {
    let body = r#"{"prompt":"one two three","stream":true,"max_tokens":8}"#;
    let head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let length = body.len();
    let request =
        format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
    let (head, _) = exchange(server, &request).unwrap();
    assert!(head.contains(" 200 "), "{head}");
}

/// A value of a page by the begin of its line.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {page}")).parse().unwrap()
}

/// What came between two pages of the truth server, of one histogram: values, sum (s), and the
/// values in each bucket with its bound.
struct Difference {
    n: f64,
    sum: f64,
    buckets: Vec<(String, f64)>,
}

impl Difference {
    fn of(name: &str, first: &str, second: &str) -> Self {
        let between = |series: &str| value(second, series) - value(first, series);
        let start = format!("{name}_bucket{{le=\"");
        let bounds = first.lines().filter_map(|line| line.strip_prefix(&start)?.split('"').next());
        let mut below = 0.0;
        let mut buckets = Vec::new();
        for le in bounds {
            let count = between(&format!("{start}{le}\",model_name=\"mock\"}}"));
            buckets.push((le.to_owned(), count - below));
            below = count;
        }
        let of = |part: &str| between(&format!("{name}_{part}{{model_name=\"mock\"}}"));
        Self { n: of("count"), sum: of("sum"), buckets }
    }

    /// Values up to a bound as the page writes it.
    fn within(&self, le: &str) -> f64 {
        let at = self.buckets.iter().position(|(bound, _)| bound == le).expect("a bound");
        self.buckets[..=at].iter().map(|(_, count)| count).sum()
    }
}

fn assert_near(found: f64, expected: f64, what: &str) {
    let is_near = (found - expected).abs() <= RELATIVE * expected.abs();
    assert!(is_near, "{what}: {found} for {expected}");
}

fn result<'a>(document: &'a Value, name: &str) -> &'a Value {
    let all = document["latency"].as_array().expect("a list");
    all.iter().find(|result| result["metric"] == name).unwrap_or_else(|| panic!("no {name}"))
}

/// Every histogram of a document has the values between two pages, exactly.
fn assert_is_between(document: &Value, first: &str, second: &str) {
    assert_eq!(document["latency"].as_array().expect("a list").len(), HISTOGRAMS.len());
    for name in HISTOGRAMS {
        let (result, truth) = (result(document, name), Difference::of(name, first, second));
        assert!(truth.n > 0.0, "{name}: no traffic");
        assert_eq!(result["n"].as_f64(), Some(truth.n), "{name}");
        assert_near(result["mean"].as_f64().expect("a mean"), truth.sum / truth.n, name);
        let bucket = |bucket: &Value| {
            let le = bucket["le"].as_f64().map_or("+Inf".to_owned(), |le| format!("{le:?}"));
            (le, bucket["n"].as_f64().expect("a count"))
        };
        let buckets = result["buckets"].as_array().expect("a list").iter().map(bucket);
        assert_eq!(buckets.collect::<Vec<_>>(), truth.buckets, "{name}");
    }
}

/// A moment between a scrape and the next.
fn after(scrapes: &[Sample], at: usize) -> f64 {
    f64::midpoint(scrapes[at].at_s, scrapes[at + 1].at_s)
}

fn document(text: &str) -> Value {
    let json: Value = serde_json::from_str(text).unwrap();
    let schema = include_str!("../../../docs/analysis.schema.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    json
}

#[test]
fn what_prometheus_has_stored_is_told_exactly() {
    let truth = truth();
    let recorder = Recorder::start(truth.addr(), None);
    let prometheus = Prometheus::start(&[("truth", recorder.port())]);
    let load = Load::on(truth.addr());
    let scrapes = prometheus.await_samples(PAGES, 9);
    drop(load);
    let (first, last) = (1, scrapes.len() - 2);
    let (start_s, end_s) = (after(&scrapes, first), after(&scrapes, last));
    let (first, last) = (scrapes[first], scrapes[last]);
    let (start, end) = (format!("{start_s:.3}"), format!("{end_s:.3}"));
    let url = prometheus.url();
    let window = ["--prometheus", &url, "--job", "truth", "--start", &start, "--end", &end];
    let sla = ["--sla", "ttft<=100ms,ttft_p50<=250ms,itl<=25ms"];
    let (code, text, words) = latency(&[&window[..], &sla, &["--json"]].concat());
    assert_eq!((code, words.as_str()), (0, ""), "{text}");
    let told = document(&text);
    assert!(told["warnings"].as_array().is_none_or(Vec::is_empty), "{}", told["warnings"]);

    let pages = recorder.pages();
    let page = |sample: Sample| pages[sample.value as usize].page.as_str();
    assert_is_between(&told, page(first), page(last));
    for name in HISTOGRAMS {
        for quantile in result(&told, name)["quantiles"].as_array().expect("a list") {
            let q = quantile["q"].as_f64().expect("a share");
            let series = format!("{name}_bucket{{job=\"truth\"}}");
            let delta = format!("sum by (le) ({series} @ {end} - {series} @ {start})");
            let theirs = prometheus.value(&format!("histogram_quantile({q}, {delta})"), end_s);
            assert_near(
                quantile["value"].as_f64().expect("a value"),
                theirs,
                &format!("{name} {q}"),
            );
        }
    }
    for (name, term, le) in [
        (HISTOGRAMS[0], "ttft<=100ms", "0.1"),
        (HISTOGRAMS[0], "ttft_p50<=250ms", "0.25"),
        (HISTOGRAMS[1], "itl<=25ms", "0.025"),
    ] {
        let truth = Difference::of(name, page(first), page(last));
        let found = &result(&told, name)["attainment"][term];
        assert_eq!(found["exact"], true, "{found}");
        assert_near(found["share"].as_f64().expect("a share"), truth.within(le) / truth.n, term);
    }
    let (code, text, words) = latency(&window);
    assert_eq!((code, words.as_str()), (0, ""), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_live_look_is_exact_beside_the_scrapes() {
    let truth = truth();
    let recorder = Recorder::start(truth.addr(), None);
    let prometheus = Prometheus::start(&[("truth", recorder.port())]);
    let _load = Load::on(truth.addr());
    prometheus.await_samples(PAGES, 2);
    let url = format!("http://127.0.0.1:{}", recorder.port());
    let (code, text, words) = latency(&[&url, "--for", "3s", "--json"]);
    assert_eq!(code, 0, "{words}");
    let pages = recorder.pages();
    let ours: Vec<&str> = pages
        .iter()
        .filter(|scraped| !scraped.request.contains("User-Agent: Prometheus"))
        .map(|scraped| scraped.page.as_str())
        .collect();
    assert_eq!(ours.len(), 2);
    assert_is_between(&document(&text), ours[0], ours[1]);
}

#[test]
fn a_restart_within_the_window_is_seen_with_and_without_a_start_time() {
    for without in [None, Some("process_start_time_seconds")] {
        let old = truth();
        let recorder = Recorder::start(old.addr(), without);
        let prometheus = Prometheus::start(&[("truth", recorder.port())]);
        complete(old.addr());
        let series = "vllm:request_success_total{job=\"truth\"}";
        let has = |count: f64| {
            until(series, || prometheus.samples(series).pop().filter(|last| last.value == count))
        };
        has(1.0);
        prometheus.await_samples(PAGES, 3);
        let new = truth();
        recorder.turn_to(new.addr());
        has(0.0);
        // More than the old one had: no count is smaller at the end.
        complete(new.addr());
        complete(new.addr());
        let seen = prometheus.await_samples(PAGES, 3).len();
        has(2.0);
        prometheus.await_samples(PAGES, seen + 3);
        let scrapes = prometheus.samples(series);
        let first = scrapes.iter().position(|sample| sample.value == 1.0);
        let first = first.expect("invariant: it was there");
        let (start, end) = (after(&scrapes, first), after(&scrapes, scrapes.len() - 2));
        let (start, end, url) = (format!("{start:.3}"), format!("{end:.3}"), prometheus.url());
        let (code, text, words) =
            latency(&["--prometheus", &url, "--job", "truth", "--start", &start, "--end", &end]);
        assert_eq!((code, text.as_str()), (2, ""), "{without:?}: {words}");
        assert!(words.contains("was restarted between"), "{without:?}: {words}");
    }
}

#[test]
fn a_wrong_job_and_an_empty_window_are_told() {
    let truth = truth();
    let prometheus = Prometheus::start(&[("truth", truth.addr().port()), ("idle", free_port())]);
    let series = "vllm:request_success_total{job=\"truth\"}";
    let scrapes = prometheus.await_samples(series, 3);
    prometheus.await_samples("up{job=\"idle\"}", 1);
    let url = prometheus.url();
    let end = format!("{:.3}", after(&scrapes, 1));
    let ask = |job: &str, start: &str, end: &str| {
        latency(&["--prometheus", &url, "--job", job, "--start", start, "--end", end])
    };
    let first = format!("{:.3}", after(&scrapes, 0));
    let too_soon = format!("{:.3}", scrapes[0].at_s - 600.0);
    let (then, later) = ("2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z");
    for (job, start, end, part) in [
        ("turth", first.as_str(), end.as_str(), "it has the jobs idle, truth"),
        // Nobody listens there: Prometheus has but its `up`.
        ("idle", &first, &end, "was its server up"),
        ("truth", then, later, "before 2020-01-01T00:00:00Z; was its server up"),
        ("truth", &too_soon, &end, "--lookback"),
    ] {
        let (code, text, words) = ask(job, start, end);
        assert_eq!((code, text.as_str()), (2, ""), "{words}");
        assert!(words.contains(part), "{words}");
    }
}

/// A real llama-server.
struct Llama {
    process: Child,
    address: SocketAddr,
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Llama {
    fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let process = Command::new(variable("LOADLINE_LLAMA_SERVER"))
            .args(["--model", &variable("LOADLINE_MODEL"), "--host", "127.0.0.1"])
            .args(["--port", &address.port().to_string(), "--parallel", "2", "--ctx-size", "1024"])
            .args(["--threads", "2", "--metrics"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { process, address };
        until("llama-server", || {
            assert!(server.process.try_wait().unwrap().is_none(), "it ended while loading");
            let ask = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            exchange(address, ask).ok().filter(|(head, _)| head.contains(" 200 "))
        });
        server
    }
}

#[test]
fn llama_cpp_has_no_histograms_and_that_is_said() {
    let server = Llama::start();
    let prometheus = Prometheus::start(&[("llama", server.address.port())]);
    complete(server.address);
    let series = "llamacpp:tokens_predicted_total{job=\"llama\"}";
    let scrapes = until("scrapes after a request", || {
        let samples = prometheus.samples(series);
        let count = samples.iter().filter(|sample| sample.value > 0.0).count();
        (count >= 3).then_some(samples)
    });
    let (start, end) = (after(&scrapes, 0), after(&scrapes, scrapes.len() - 2));
    let (start, end, url) = (format!("{start:.3}"), format!("{end:.3}"), prometheus.url());
    let (code, text, words) =
        latency(&["--prometheus", &url, "--job", "llama", "--start", &start, "--end", &end]);
    assert_eq!((code, text.as_str()), (2, ""), "{words}");
    assert!(words.contains("llama.cpp has counters and gauges only"), "{words}");
    let (code, text, words) = latency(&[&format!("http://{}", server.address), "--for", "1s"]);
    assert_eq!((code, text.as_str()), (2, ""), "{words}");
    assert!(words.contains("llama.cpp has counters and gauges only"), "{words}");
}
