//! The command against a real llama-server with a real model. `./test` runs it with
//! LOADLINE_LLAMA_SERVER and LOADLINE_MODEL set; without them it fails and says so.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// Two cores carry one real server at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Self {
        let variable = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is not set: run ./test, which sets it"))
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(variable("LOADLINE_LLAMA_SERVER"))
            .args(["--model", &variable("LOADLINE_MODEL"), "--host", "127.0.0.1"])
            .args(["--port", &port.to_string(), "--parallel", "4", "--ctx-size", "4096"])
            .args(["--threads", "2", "--metrics", "--slots", "--props"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { process, port };
        while !server.get("/health").contains(" 200 ") {
            assert!(server.process.try_wait().unwrap().is_none(), "the server ended while loading");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The answer to a GET, head and all; empty when nothing answers.
    fn get(&self, path: &str) -> String {
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let _ = stream.read_to_string(&mut text);
        }
        text
    }

    /// A counter of `/metrics`.
    fn counter(&self, name: &str) -> u64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse::<f64>().unwrap() as u64
    }
}

fn loadline(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(cargo_bin("loadline")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn assert_valid(document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/analysis.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// The only run in a folder, as text.
fn only_run(out: &Path) -> String {
    std::fs::read_dir(out).unwrap().next().unwrap().unwrap().path().display().to_string()
}

#[test]
fn our_token_counts_are_the_servers_own() {
    let _alone = ALONE.lock();
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let (url, out) = (server.url(), dir.path().display().to_string());
    let counters = |server: &Server| {
        (
            server.counter("llamacpp:tokens_predicted_total"),
            server.counter("llamacpp:prompt_tokens_total"),
        )
    };
    let before = counters(&server);
    let (code, text, words) = loadline(&[
        "serving",
        &url,
        "--no-discover",
        "--concurrency",
        "1,4",
        "--requests",
        "12",
        "--trials",
        "1",
        "--prompt-tokens",
        "48",
        "--output-tokens",
        "16",
        "--json",
        "--out",
        &out,
    ]);
    assert_eq!(code, Some(0), "{words}");
    let after = counters(&server);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_valid(&document);
    for point in document["serving"][0]["points"].as_array().unwrap() {
        assert_eq!(point["requests"]["ok"], 12, "{point}");
        assert_eq!(point["tokens"]["source"], "usage");
    }
    let mean = document["serving"][0]["points"][1]["in_flight_mean"].as_f64().unwrap();
    assert!((2.0..=4.0).contains(&mean), "concurrency is kept: {mean}");

    let (_, rows, _) = loadline(&["export", &only_run(dir.path()), "--format", "jsonl"]);
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap_or(0)).sum::<u64>();
    assert_eq!(rows.len(), 24);
    assert_eq!(sum("output_tokens"), after.0 - before.0, "predicted tokens");
    // The server's counter leaves out what came from its cache.
    assert_eq!(sum("input_tokens") - sum("cached_tokens"), after.1 - before.1, "prompt tokens");
}

#[test]
fn prompts_are_as_long_as_asked_by_the_servers_count() {
    let _alone = ALONE.lock();
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let (url, out) = (server.url(), dir.path().display().to_string());
    let (code, text, words) = loadline(&[
        "serving",
        &url,
        "--concurrency",
        "2",
        "--requests",
        "6",
        "--trials",
        "1",
        "--prompt-tokens",
        "100",
        "--output-tokens",
        "8",
        "--json",
        "--out",
        &out,
    ]);
    assert_eq!(code, Some(0), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let serving = &document["serving"][0];
    assert_eq!(serving["engine"]["name"], "llama.cpp");
    let tokens = &serving["points"][0]["tokens"];
    assert_eq!((tokens["input"].as_f64(), tokens["output"].as_f64()), (Some(100.0), Some(8.0)));
}

#[test]
fn a_server_killed_in_mid_run_leaves_a_readable_result() {
    let _alone = ALONE.lock();
    let mut server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let (url, out) = (server.url(), dir.path().display().to_string());
    let client = Command::new(cargo_bin("loadline"))
        .args(["serving", &url, "--no-discover", "--concurrency", "4", "--duration", "300s"])
        .args(["--warmup", "0s", "--trials", "1", "--prompt-tokens", "32", "--output-tokens", "8"])
        .args(["--json", "--out", &out])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while server.counter("llamacpp:tokens_predicted_total") < 64 {
        std::thread::sleep(Duration::from_millis(50));
    }
    server.process.kill().unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_valid(&document);
    let point = &document["serving"][0]["points"][0];
    assert_eq!(point["incomplete"]["reason"], "stop_after_errors", "{point}");
    assert!(point["requests"]["ok"].as_u64().unwrap() >= 4);
    assert!(point["errors"]["connect_refused"].as_u64().unwrap() >= 1, "{point}");
    assert_eq!(loadline(&["report", &only_run(dir.path())]).0, Some(0));
}
