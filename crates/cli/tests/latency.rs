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
    for (page, part) in [
        ("<html>", "HTML"),
        ("hello there", "metrics page"),
        ("", "no sample"),
        (no_inf, "+Inf"),
        (nan, "NaN"),
        ("a 1\n", "no histogram"),
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
    for (status, code, part) in [(401, 3, "--token-env"), (404, 2, "/metrics"), (503, 3, "503")] {
        let (url, thread) = server(vec![(status, "no".to_owned())]);
        let (found, _, words) = latency(&[&url], "");
        assert_eq!(found, code, "{words}");
        assert!(words.contains(part), "{words}");
        thread.join().unwrap();
    }
    assert_eq!(latency(&["http://127.0.0.1:1"], "").0, 3);
}
