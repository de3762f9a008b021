//! Targets, the search for the load line and `check`, on servers whose timing is known.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use loadline_testkit::{Law, TruthThread};
use serde_json::Value;

fn loadline(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(cargo_bin("loadline")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn server(law: &str) -> TruthThread {
    TruthThread::start(Law::default().with(law).unwrap()).unwrap()
}

fn serving(server: &TruthThread, out: &Path, more: &[&str]) -> (Option<i32>, Value, String) {
    let (url, out) = (server.url(), out.display().to_string());
    let mut arguments = vec!["serving", &url, "--json", "--out", &out, "--prompt-tokens", "8"];
    arguments.extend(more);
    let (code, text, words) = loadline(&arguments);
    let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{words}"));
    (code, document, words)
}

const FEW: [&str; 8] =
    ["--requests", "40", "--trials", "1", "--concurrency", "2", "--output-tokens", "3"];

#[test]
fn a_target_that_no_load_keeps_is_exit_4() {
    let server = server("ttft_us=20000&itl_us=500&tokens=3");
    let dir = tempfile::tempdir().unwrap();
    let kept = ["--sla", "ttft_p50<=1s"];
    let (code, document, words) = serving(&server, dir.path(), &[&FEW[..], &kept].concat());
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(document["serving"][0]["points"][0]["sla"]["default"]["verdict"], "met");
    let both = ["--sla", "easy:ttft_p50<=1s", "--sla", "hard:ttft_p50<=5ms"];
    let (code, document, words) = serving(&server, dir.path(), &[&FEW[..], &both].concat());
    assert_eq!(code, Some(4), "{words}");
    let point = &document["serving"][0]["points"][0];
    assert_eq!(point["sla"]["hard"]["verdict"], "missed", "{point}");
    assert_eq!(point["sla"]["hard"]["binding"], "ttft_p50<=5ms");
    assert_eq!(point["attainment"]["hard"]["value"], 0.0);
    // A stored run can be judged by other targets, and says the same each time.
    let run = document["run"]["directory"].as_str().unwrap();
    let report = || loadline(&["report", run, "--sla", "ttft_p50<=1s"]);
    assert!(report().1.contains("ttft_p50<=1s"), "{}", report().1);
    assert_eq!(report(), report());
}

#[test]
fn a_search_looks_no_further_than_it_may_and_finds_where_the_line_runs() {
    // Two answers at a time: from concurrency 3 on some wait for 20 ms or more.
    let server = server("ttft_us=20000&itl_us=0&tokens=1&slots=2");
    let dir = tempfile::tempdir().unwrap();
    let more = ["--find", "--max", "8", "--sla", "ttft_p50<=35ms", "--requests", "200"];
    let (code, document, words) = serving(
        &server,
        dir.path(),
        &[&more[..], &["--output-tokens", "1", "--warmup", "40"]].concat(),
    );
    assert_eq!(code, Some(0), "{words}");
    let stage = &document["serving"][0];
    assert_eq!(stage["searched"], true);
    let line = &stage["load_line"]["default"];
    assert_eq!(line["unit"], "concurrency");
    assert_eq!(line["value"], line["low"], "{line}");
    // A machine that stalls now and then leaves a bound open; one that is given has to be right.
    let (low, high) = (line["low"].as_f64(), line["high"].as_f64());
    assert!(low.is_none_or(|low| (1.0..=3.0).contains(&low)), "{line}");
    assert!(high.is_none_or(|high| (3.0..=8.0).contains(&high)), "{line}");
    assert!(low.is_some() || line["likely"].is_number() || line["too_short"].is_array(), "{line}");
    let loads = stage["points"].as_array().unwrap().iter();
    let loads: Vec<u64> = loads.map(|p| p["load"]["concurrency"].as_u64().unwrap()).collect();
    assert!(loads.is_sorted() && *loads.last().unwrap() <= 8, "{loads:?}");
    // The stored run gives the same line.
    let run = document["run"]["directory"].as_str().unwrap();
    let (_, again, _) = loadline(&["report", run, "--json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["serving"][0]["load_line"], stage["load_line"]);
}

#[test]
fn check_says_how_many_requests_a_target_needs() {
    let server = server("ttft_us=20000&itl_us=500&tokens=3");
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("plan.toml");
    let text = format!(
        "[sla]\nchat = {{ ttft_p99 = \"1s\" }}\n[[serving]]\nendpoint = \"{}\"\n\
         prompt = {{ tokens = 8 }}\noutput = {{ tokens = 3 }}\nrequests = 20\n",
        server.url()
    );
    std::fs::write(&plan, text).unwrap();
    let (code, page, words) = loadline(&["check", plan.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{words}");
    assert!(page.contains("ttft_p99<=1s needs 299 attempts"), "{page}");
    assert!(page.contains("too few"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    std::fs::write(&plan, "[sla]\nchat = { ttft_p98 = \"1s\" }\n[[serving]]\nendpoint = \"h\"\n")
        .unwrap();
    let (code, _, words) = loadline(&["check", plan.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(words.contains("line 2") && words.contains("`p98` is not a statistic"), "{words}");
}

#[test]
fn a_search_that_was_killed_goes_on_where_it_was() {
    let server = server("ttft_us=20000&itl_us=0&tokens=1&slots=2");
    let dir = tempfile::tempdir().unwrap();
    let (url, out) = (server.url(), dir.path().display().to_string());
    let arguments = [
        &["serving", &url, "--out", &out, "--prompt-tokens", "8", "--output-tokens", "1"][..],
        &["--find", "--max", "4", "--sla", "ttft_p50<=35ms", "--requests", "100", "--json"],
    ]
    .concat();
    let mut client = Command::new(cargo_bin("loadline"))
        .args(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line.starts_with("concurrency 1, look 1:")));
    client.kill().unwrap();
    client.wait().unwrap();
    let run = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let resume = [&arguments[..], &["--resume", run.to_str().unwrap()]].concat();
    let (code, text, words) = loadline(&resume);
    assert_eq!(code, Some(0), "{words}");
    assert!(!words.contains("concurrency 1, look 1:"), "done once: {words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let stage = &document["serving"][0];
    let points = stage["points"].as_array().unwrap();
    assert!(points.len() >= 2 && points[0]["load"]["concurrency"] == 1, "{stage}");
    assert_eq!(points[0]["requests"]["unknown"], 0, "{stage}");
}
