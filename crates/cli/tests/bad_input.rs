//! What the command says to wrong input: the message names what is wrong and what to do, and the
//! exit code says whose turn it is.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use assert_cmd::Command;
use loadline_testkit::{Action, FaultServer};

/// Runs the command; returns its exit code and what it said on stderr.
fn loadline(arguments: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("loadline").unwrap().args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!words.contains("panicked"), "{words}");
    (output.status.code().unwrap(), words)
}

fn serving(url: &str, more: &[&str]) -> (i32, String) {
    let out = tempfile::tempdir().unwrap();
    let out_text = out.path().join("runs").display().to_string();
    let mut arguments =
        vec!["serving", url, "--out", &out_text, "--requests", "5", "--trials", "1"];
    arguments.extend(more);
    let result = loadline(&arguments);
    if result.0 == 2 || result.0 == 3 {
        assert!(!out.path().join("runs").exists(), "nothing was measured: no run directory");
    }
    result
}

fn answers(status: &str, kind: &str, body: &str) -> FaultServer {
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    FaultServer::start(Action::answer_each(reply.into_bytes()))
}

#[track_caller]
fn assert_says(result: &(i32, String), code: i32, parts: &[&str]) {
    assert_eq!(result.0, code, "{}", result.1);
    for part in parts {
        assert!(result.1.contains(part), "'{part}' is missing in: {}", result.1);
    }
}

#[test]
fn targets_that_cannot_be_measured() {
    assert_says(&serving("ftp://h", &[]), 2, &["ftp://h", "http://"]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let result = serving(&format!("http://{closed}"), &[]);
    assert_says(&result, 3, &[&closed.to_string(), "is the server running"]);
    let result = serving("http://no-such-host.invalid", &[]);
    assert_says(&result, 3, &["no-such-host.invalid", "cannot be looked up"]);
    let page = answers("200 OK", "text/html", "<html><title>Hello</title></html>");
    assert_says(&serving(&page.url(), &[]), 2, &[&page.url(), "/v1/models"]);
    let denied =
        answers("401 Unauthorized", "application/json", r#"{"error":{"message":"no key"}}"#);
    assert_says(&serving(&denied.url(), &[]), 3, &["401", "--api-key-env"]);
    let models = r#"{"object":"list","data":[{"id":"good","object":"model"}]}"#;
    let models = answers("200 OK", "application/json", models);
    assert_says(&serving(&models.url(), &["--model", "bad"]), 2, &["bad", "good"]);
}

#[test]
fn flags_that_make_no_sense() {
    let url = "http://127.0.0.1:9";
    assert_says(&serving(url, &["--rate", "-1"]), 2, &["-1"]);
    assert_says(&loadline(&["serving", url, "--requests", "0"]), 2, &["requests"]);
    assert_says(&serving(url, &["--concurrency", "0"]), 2, &["concurrency"]);
    assert_says(&serving(url, &["--prompt-tokens", "many"]), 2, &["--prompt-tokens"]);
    assert_says(&serving(url, &["--extra-body", "[1]"]), 2, &["JSON object"]);
    assert_says(&serving(url, &["--rate", "1", "--concurrency", "1"]), 2, &["cannot be used with"]);
    assert_says(&loadline(&["serving"]), 2, &["URL"]);
    assert_says(&loadline(&["frobnicate"]), 2, &["frobnicate", "--help"]);
    let missing = ["--api-key-env", "LOADLINE_TEST_NO_SUCH_KEY"];
    assert_says(&serving(url, &missing), 2, &["LOADLINE_TEST_NO_SUCH_KEY", "not set"]);
}

#[test]
fn large_loads_on_strange_machines_are_asked_about() {
    let result = serving("http://192.0.2.1:8000", &["--concurrency", "2000"]);
    assert_says(&result, 2, &["192.0.2.1", "--yes"]);
}

#[test]
fn plans_with_mistakes_show_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    let plan = path.display().to_string();
    std::fs::write(&path, "name = \"x\"\n[[serving]]\nendpoint = \"http://h:1\"\nconcurency = 4\n")
        .unwrap();
    assert_says(&loadline(&["run", &plan]), 2, &["line 4", "concurency"]);
    std::fs::write(&path, "[[serving]]\nendpoint = \"http://h:1\"\nload = { rate = [-2] }\n")
        .unwrap();
    assert_says(&loadline(&["run", &plan]), 2, &["line 3", "-2"]);
    assert_says(&loadline(&["run", "/no/such/plan.toml"]), 2, &["/no/such/plan.toml"]);
}

#[test]
fn runs_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().display().to_string();
    assert_says(&loadline(&["report", "nope", "--out", &out]), 2, &["nope", "loadline list"]);
    assert_says(&loadline(&["export", "nope", "--out", &out]), 2, &["nope"]);
    let (code, words) = loadline(&["list", "--out", &out]);
    assert_eq!((code, words.as_str()), (0, ""));
}

#[test]
fn a_folder_that_cannot_be_written() {
    let models = r#"{"object":"list","data":[{"id":"good","object":"model"}]}"#;
    let server = answers("200 OK", "application/json", models);
    // A file where the folder should be: refused to root as well.
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = file.path().join("runs").display().to_string();
    let url = server.url();
    let result = loadline(&["serving", &url, "--no-discover", "--requests", "1", "--out", &out]);
    assert_says(&result, 1, &["cannot create", &out]);
}
