//! `/metrics` as a reader sees it: what it tells is what the log has, and how it can fail.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use loadline_truth::{Law, TruthRecord, TruthThread};

const NS: f64 = 1e9;

fn started(parameters: &str) -> TruthThread {
    let law = Law::fixed(Duration::from_millis(3), Duration::from_millis(1), 5);
    TruthThread::start(law.with(parameters).expect("valid parameters")).expect("started")
}

fn exchange(server: &TruthThread, requests: &str) -> String {
    let mut socket = TcpStream::connect(server.addr()).expect("connected");
    socket.write_all(requests.as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("answered");
    answer
}

fn get(server: &TruthThread, path: &str) -> String {
    exchange(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

fn complete(server: &TruthThread, body: &str) -> String {
    let head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length:";
    exchange(server, &format!("{head} {}\r\n\r\n{body}", body.len()))
}

fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {page}")).parse().expect("a number")
}

/// Count, sum (s) and the count up to `le` of a histogram.
fn figures(page: &str, name: &str, le: &str) -> (f64, f64, f64) {
    let of = |rest: &str| value(page, &format!("vllm:{name}_{rest}{{model_name=\"mock\"}}"));
    let bucket = format!("vllm:{name}_bucket{{le=\"{le}\",model_name=\"mock\"}}");
    (of("count"), of("sum"), value(page, &bucket))
}

fn of_values(values: &[u64], le_ns: u64) -> (f64, f64, f64) {
    let within = values.iter().filter(|value| **value <= le_ns).count();
    (values.len() as f64, values.iter().sum::<u64>() as f64 / NS, within as f64)
}

fn token_gaps(record: &TruthRecord) -> Vec<u64> {
    record.token_times_ns().windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn the_histograms_are_those_of_the_log() {
    let server = started("burst=2&slots=1");
    let bodies = [r#"{"prompt":"one two","stream":true}"#, r#"{"prompt":"one two three"}"#];
    std::thread::scope(|scope| {
        for body in bodies.iter().cycle().take(6) {
            scope.spawn(|| complete(&server, body));
        }
    });
    let (log, page) = (server.log(), get(&server, "/metrics"));
    assert_eq!(log.len(), 6);
    let each = |value: fn(&TruthRecord) -> u64| log.iter().map(value).collect::<Vec<u64>>();
    let last = |record: &TruthRecord| record.last_ns.expect("a token") - record.arrival_kernel_ns;
    let ttft = each(|record| record.ttft_ns().expect("a token"));
    let gaps: Vec<u64> = log.iter().flat_map(token_gaps).collect();
    let queue = each(|record| record.start_ns - record.arrival_kernel_ns);
    for (name, values, le, le_ns) in [
        ("time_to_first_token_seconds", ttft, "0.01", 10_000_000),
        ("inter_token_latency_seconds", gaps, "0.01", 10_000_000),
        ("e2e_request_latency_seconds", log.iter().map(last).collect(), "0.3", 300_000_000),
        ("request_queue_time_seconds", queue, "0.3", 300_000_000),
    ] {
        assert_eq!(figures(&page, name, le), of_values(&values, le_ns), "{name}");
    }
    let of = |name: &str| value(&page, &format!("vllm:{name}{{model_name=\"mock\"}}"));
    assert_eq!((of("prompt_tokens_total"), of("generation_tokens_total")), (15.0, 30.0));
    assert_eq!((of("prefix_cache_queries_total"), of("request_success_total")), (15.0, 6.0));
    assert_eq!((of("num_requests_running"), of("kv_cache_usage_perc")), (0.0, 0.0));
}

#[test]
fn counters_go_on_through_a_reset_and_can_lie() {
    let server = started("tokens=4");
    complete(&server, r#"{"prompt":"a b"}"#);
    let start = value(&get(&server, "/metrics"), "process_start_time_seconds");
    get(&server, "/reset?token_factor=1.5&prefix_hit_ratio=0.5&preempt_every=1");
    complete(&server, r#"{"prompt":"a b"}"#);
    let page = get(&server, "/metrics");
    let of = |name: &str| value(&page, &format!("vllm:{name}{{model_name=\"mock\"}}"));
    assert_eq!((of("prompt_tokens_total"), of("generation_tokens_total")), (5.0, 10.0));
    assert_eq!((of("prefix_cache_hits_total"), of("num_preemptions_total")), (1.0, 1.0));
    assert_eq!(value(&page, "process_start_time_seconds"), start);
    assert_eq!(server.log()[0].tokens, 4);
}

#[test]
fn a_slow_page_holds_up_nobody_and_keeps_its_place_in_the_connection() {
    let server = started("metrics_delay_ms=1000");
    let slow = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let after = "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    std::thread::scope(|scope| {
        let page = scope.spawn(|| exchange(&server, &format!("{slow}{after}")));
        let asked = || server.stats().other > 0;
        while !asked() {
            std::thread::yield_now();
        }
        // Completed while the page waits, so it is told there.
        complete(&server, r#"{"prompt":"a"}"#);
        let page = page.join().expect("answered");
        assert_eq!(value(&page, "vllm:request_success_total{model_name=\"mock\"}"), 1.0);
        let version = page.find("loadline-truth\"").expect("the second answer");
        assert!(version > page.find("vllm:").expect("the first answer"));
    });
    // A reader that does not wait is forgotten.
    let mut socket = TcpStream::connect(server.addr()).expect("connected");
    socket.write_all(slow.as_bytes()).expect("sent");
    drop(socket);
    get(&server, "/reset?metrics_delay_ms=0");
    assert!(get(&server, "/metrics").contains("vllm:num_requests_running"));
}

#[test]
fn the_page_can_be_absent_html_or_garbage() {
    let server = started("metrics=absent");
    assert!(get(&server, "/metrics").starts_with("HTTP/1.1 404"));
    get(&server, "/reset?metrics=html");
    assert!(get(&server, "/metrics").contains("<!DOCTYPE html>"));
    get(&server, "/reset?metrics=garbage");
    let page = get(&server, "/metrics");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains(" many\n"), "{page}");
    get(&server, "/reset?metrics=ok");
    assert!(get(&server, "/metrics").contains("vllm:time_to_first_token_seconds_bucket"));
}
