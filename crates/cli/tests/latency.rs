//! `loadline latency`: saved pages, a server looked at twice, and what is said to wrong input.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::io::{Read, Write};
use std::net::TcpListener;

use assert_cmd::Command;

const IDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pages/metrics-idle.txt");
const AFTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pages/metrics-after.txt");

fn latency(arguments: &[&str], stdin: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("loadline").unwrap();
    command.env("TOKEN", "tok-123456");
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pages"));
    let output = command.arg("latency").args(arguments).write_stdin(stdin).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!words.contains("panicked"), "{words}");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), words)
}

/// Answers each request with the next of these; a connection without a request is passed over.
fn server(answers: Vec<(u16, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for (status, body) in answers {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                let mut buffer = [0; 4096];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
                        _ => break,
                    }
                }
                if head.is_empty() {
                    continue;
                }
                heads.push(String::from_utf8(head).unwrap());
                let length = body.len();
                let top = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all((top + &body).as_bytes()).unwrap();
                break;
            }
        }
        heads
    });
    (url, thread)
}

#[test]
fn two_saved_pages_as_json() {
    let (code, text, words) =
        latency(&[IDLE, AFTER, "--metric", "ttft", "--sla", "ttft<=250ms", "--json"], "");
    assert_eq!((code, words.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let schema = include_str!("../../../docs/analysis.schema.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    assert!(validator.is_valid(&json));
    let ttft = &json["latency"][0];
    assert_eq!(ttft["metric"], "vllm:time_to_first_token_seconds");
    assert_eq!(ttft["n"], 6);
    assert_eq!(ttft["attainment"]["ttft<=250ms"]["exact"], true);
    assert_eq!(ttft["attainment"]["ttft<=250ms"]["share"], 1.0);
}

#[test]
fn no_traffic_is_told_and_a_missed_share_has_its_code() {
    let (code, text, _) = latency(&[AFTER, AFTER], "");
    assert_eq!(code, 0);
    assert!(text.contains("no value came into any of these histograms"), "{text}");
    assert_eq!(latency(&[IDLE, AFTER, "--sla", "ttft_p99<=80ms"], "").0, 4);
}

#[test]
fn wrong_input_is_told() {
    let no_inf = "# TYPE a_seconds histogram\na_seconds_bucket{le=\"1\"} 1\na_seconds_count 1\n";
    let nan = "# TYPE a_seconds histogram\na_seconds_bucket{le=\"+Inf\"} NaN\na_seconds_count 1\n";
    let twice = "# TYPE a_seconds histogram\na_seconds_bucket{le=\"+Inf\"} 2\n\
                 a_seconds_bucket{le=\"+Inf\"} 3\na_seconds_count 1\n";
    for (page, part) in [
        ("<html>", "HTML"),
        ("hello there", "metrics page"),
        ("", "no sample"),
        (no_inf, "+Inf"),
        (nan, "NaN"),
        ("a 1\n", "no histogram"),
        ("{\"a\": 1}", "JSON"),
        (twice, "has the bucket +Inf twice"),
    ] {
        let (code, text, words) = latency(&["-"], page);
        assert_eq!((code, text.as_str()), (2, ""), "{page}: {words}");
        assert!(words.contains(part), "{page}: {words}");
    }
}

#[test]
fn a_server_is_looked_at_twice() {
    let pages = [IDLE, AFTER].map(|path| (200, std::fs::read_to_string(path).unwrap()));
    let (url, thread) = server(pages.into());
    let (code, text, words) =
        latency(&[&url, "--for", "10ms", "--metric", "ttft", "--token-env", "TOKEN"], "");
    assert_eq!(code, 0, "{words}");
    assert!(text.contains("6 values"), "{text}");
    let heads = thread.join().unwrap();
    assert!(heads.iter().all(|head| head.starts_with("GET /metrics HTTP/1.1\r\n")));
    assert!(heads[0].contains("Authorization: Bearer tok-123456\r\n"));
    assert!(!text.contains("tok-123456") && !words.contains("tok-123456"));
}

#[test]
fn refusals_have_their_codes() {
    for (status, code, part) in
        [(401, 3, "--token-env"), (403, 3, "--token-env"), (404, 2, "/metrics"), (503, 3, "503")]
    {
        let (url, thread) = server(vec![(status, "no".to_owned())]);
        let (found, _, words) = latency(&[&url], "");
        assert_eq!(found, code, "{words}");
        assert!(words.contains(part), "{words}");
        thread.join().unwrap();
    }
    assert_eq!(latency(&["http://127.0.0.1:1"], "").0, 3);
}

/// A saved page of one of the servers.
fn page(name: &str) -> String {
    format!("{}/tests/pages/{name}.txt", env!("CARGO_MANIFEST_DIR"))
}

/// A page as it would be later, in a file of its own.
fn changed(dir: &tempfile::TempDir, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(AFTER).unwrap();
    assert!(text.contains(from), "{from}");
    let path = dir.path().join("page.txt");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    path.display().to_string()
}

#[test]
fn pages_of_every_server() {
    let all: [(&str, &[(&str, u64)]); 4] = [
        ("sglang", &[("ttft", 600), ("itl", 4_800), ("e2e", 600), ("queue", 600)]),
        (
            "tgi",
            &[
                ("tpot", 600),
                ("e2e", 600),
                ("queue", 600),
                ("inference", 600),
                ("validation", 600),
                ("request_prompt_tokens", 600),
                ("request_output_tokens", 600),
            ],
        ),
        ("triton", &[("ttft", 600)]),
        (
            "dynamo",
            &[
                ("ttft", 600),
                ("itl", 3_600),
                ("e2e", 600),
                ("request_prompt_tokens", 600),
                ("request_output_tokens", 600),
            ],
        ),
    ];
    for (engine, expected) in all {
        let [before, after] = ["before", "after"].map(|when| page(&format!("{engine}-{when}")));
        let (code, text, words) = latency(&[&before, &after, "--json"], "");
        assert_eq!(code, 0, "{engine}: {words}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let results = json["latency"].as_array().unwrap();
        let found: Vec<(&str, u64)> = results
            .iter()
            .map(|r| (r["meaning"].as_str().unwrap(), r["n"].as_u64().unwrap()))
            .collect();
        assert_eq!(found, expected, "{engine}");
        assert!(results.iter().all(|r| r["engine"] == engine), "{engine}");
    }
    let (code, _, words) = latency(&[&page("llamacpp-before"), &page("llamacpp-after")], "");
    assert_eq!(code, 2);
    assert!(words.contains("llama.cpp has counters and gauges only"), "{words}");
}

#[test]
fn the_text_of_one_server() {
    let (code, text, _) = latency(&["sglang-before.txt", "sglang-after.txt"], "");
    assert_eq!(code, 0);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn pages_in_the_wrong_order_are_told_once() {
    let (code, text, words) = latency(&[AFTER, IDLE], "");
    assert_eq!((code, text.as_str()), (2, ""));
    assert!(words.contains("wrong order") && words.lines().count() == 1, "{words}");
    assert!(words.trim_end().ends_with(&format!("loadline latency {IDLE} {AFTER}")), "{words}");
}

#[test]
fn a_restart_and_a_count_that_fell() {
    let dir = tempfile::tempdir().unwrap();
    let start = "process_start_time_seconds 1.79548663838e+09";
    let restarted = changed(&dir, start, "process_start_time_seconds 1.7955e+09");
    let (code, text, words) = latency(&[IDLE, &restarted], "");
    assert_eq!((code, text.as_str()), (2, ""));
    assert!(words.contains("another process answered"), "{words}");
    // The same between two looks at a server is nobody's wrong input.
    let pages = [IDLE, &restarted].map(|path| (200, std::fs::read_to_string(path).unwrap()));
    let (url, thread) = server(pages.into());
    let (code, _, words) = latency(&[&url, "--for", "10ms"], "");
    assert_eq!(code, 6, "{words}");
    thread.join().unwrap();

    // One histogram alone fell: it is left out, and the others are told.
    let sum = "vllm:time_to_first_token_seconds_sum{engine=\"0\",model_name=\"dummy-135m\"} ";
    let fell = changed(&dir, sum, &format!("{sum}-"));
    let (code, text, _) = latency(&[IDLE, &fell], "");
    assert_eq!(code, 0);
    assert!(text.contains("! a metric was left out:"), "{text}");
    assert!(text.contains("_sum") && text.contains("\nITL") && !text.contains("\nTTFT"), "{text}");
}

#[test]
fn far_too_long_a_page_is_refused_early() {
    let line = "some_metric{label=\"0123456789\"} 12345678901\n";
    let (code, text, words) = latency(&["-"], &line.repeat((33 << 20) / line.len()));
    assert_eq!((code, text.as_str()), (2, ""));
    assert!(words.contains("more than 32 MiB"), "{words}");
}

#[test]
fn names_that_are_not_there() {
    let (code, _, words) = latency(&[IDLE, AFTER, "--metric", "ttfft"], "");
    assert_eq!(code, 2);
    assert!(words.contains("did you mean ttft (vllm:time_to_first_token_seconds)?"), "{words}");
    let (code, _, words) = latency(&[IDLE, AFTER, "--by", "modelname"], "");
    assert_eq!(code, 2);
    assert!(words.contains("there are: engine, handler, method, model_name"), "{words}");
    let (code, _, words) = latency(&["http://127.0.0.1:1", "--token-env", "NOT_SET_HERE"], "");
    assert_eq!(code, 2);
    assert!(words.contains("NOT_SET_HERE is not set"), "{words}");
    let (code, _, words) = latency(&["nowhere.txt"], "");
    assert_eq!(code, 2);
    assert!(words.contains("cannot read nowhere.txt"), "{words}");
}

#[test]
fn rows_by_a_label_and_columns_for_programs() {
    let asked = [IDLE, AFTER, "--metric", "http_request_duration_seconds", "--by", "handler"];
    let (code, text, _) = latency(&asked, "");
    assert_eq!(code, 0);
    assert!(text.contains("handler=/v1/completions"), "{text}");
    let (code, text, _) = latency(&[&asked[..4], &["--format", "csv"]].concat(), "");
    assert_eq!(code, 0);
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 2);
    assert!(
        rows[0].starts_with("source,metric,meaning,engine,unit,labels,series,n,mean,p50,p50_low")
    );
    assert!(rows[1].contains("inf_bucket"), "{text}");
}
