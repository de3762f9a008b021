//! The command against servers whose answers are known: counts, exit codes, documents, help.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use loadline_testkit::{Law, TruthThread};
use serde_json::Value;

fn loadline(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(cargo_bin("loadline")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn serving(server: &TruthThread, out: &Path, more: &[&str]) -> (Option<i32>, Value, String) {
    let (url, out) = (server.url(), out.display().to_string());
    let mut arguments = vec!["serving", &url, "--trials", "1", "--json", "--out", &out];
    arguments.extend(more);
    let (code, text, words) = loadline(&arguments);
    let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{words}"));
    (code, document, words)
}

fn law(text: &str) -> Law {
    Law::default().with("ttft_us=5000&itl_us=1000&tokens=12").unwrap().with(text).unwrap()
}

#[test]
fn without_usage_the_servers_tokenizer_counts_after_the_load() {
    let server = TruthThread::start(law("usage=never&per_event=3")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let more = [
        "--concurrency",
        "2",
        "--requests",
        "6",
        "--output-tokens",
        "12",
        "--prompt-tokens",
        "8",
        "--no-per-chunk-usage",
    ];
    let (code, document, words) = serving(&server, dir.path(), &more);
    assert_eq!(code, Some(0), "{words}");
    let tokens = &document["serving"][0]["points"][0]["tokens"];
    assert_eq!(tokens["source"], "tokenize", "{tokens}");
    assert_eq!((tokens["output"].as_f64(), tokens["per_chunk"].as_f64()), (Some(12.0), Some(3.0)));
    // An export says the same of each answer.
    let run = document["run"]["directory"].as_str().unwrap();
    let (code, rows, words) = loadline(&["export", run, "--format", "jsonl"]);
    assert_eq!(code, Some(0), "{words}");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let told = (&row["output_tokens"], &row["token_source"], &row["token_chunks"]);
        assert_eq!(told, (&12.into(), &"tokenize".into(), &4.into()), "{row}");
    }
}

#[test]
fn an_open_loop_offers_its_rate_exactly() {
    let server = TruthThread::start(law("gaps=1")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let more = ["--rate", "200", "--arrival", "constant", "--requests", "100", "--no-discover"];
    let (code, document, words) = serving(&server, dir.path(), &more);
    assert_eq!(code, Some(0), "{words}");
    let point = &document["serving"][0]["points"][0];
    assert_eq!(point["load"]["rate_per_s"].as_f64(), Some(200.0));
    assert_eq!(point["requests"]["ok"], 100);
    let run = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let (_, rows, _) = loadline(&["export", &run.display().to_string(), "--format", "jsonl"]);
    let mut intended: Vec<u64> = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["intended_ns"].as_u64().unwrap())
        .collect();
    intended.sort_unstable();
    assert!(intended.windows(2).all(|pair| pair[1] - pair[0] == 5_000_000), "{intended:?}");
}

#[test]
fn a_plan_file_does_the_same_as_flags() {
    let server = TruthThread::start(law("gaps=1")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (plan, out) = (dir.path().join("plan.toml"), dir.path().join("runs"));
    let text = format!(
        "name = \"by plan\"\nseed = 3\n[[serving]]\nendpoint = \"{}\"\nload = {{ concurrency = [1, 3] }}\n\
         requests = 9\ntrials = 2\nprompt = {{ tokens = 10 }}\noutput = {{ tokens = 12 }}\n",
        server.url()
    );
    std::fs::write(&plan, text).unwrap();
    let (plan, out) = (plan.display().to_string(), out.display().to_string());
    let (code, text, words) = loadline(&["run", &plan, "--json", "--out", &out]);
    assert_eq!(code, Some(0), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["run"]["name"], "by plan");
    for point in document["serving"][0]["points"].as_array().unwrap() {
        assert_eq!(
            (point["requests"]["ok"].as_u64(), point["trials"].as_u64()),
            (Some(18), Some(2))
        );
    }
    let (code, table, _) = loadline(&["list", "--out", &out]);
    assert!(code == Some(0) && table.contains("by plan"), "{table}");
}

#[test]
fn overload_that_is_shed_is_counted_by_kind() {
    let server = TruthThread::start(law("slots=1&shed=1")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let more =
        ["--burst", "12", "--no-discover", "--stop-after-errors", "100%", "--output-tokens", "12"];
    let (code, document, words) = serving(&server, dir.path(), &more);
    assert_eq!(code, Some(0), "{words}");
    let point = &document["serving"][0]["points"][0];
    let (ok, shed) = (point["requests"]["ok"].as_u64(), point["errors"]["http_429"].as_u64());
    assert_eq!(ok.zip(shed).map(|(ok, shed)| ok + shed), Some(12), "{point}");
    assert!(shed.unwrap() >= 8);
}

#[test]
fn the_token_cap_ends_the_run() {
    let server = TruthThread::start(law("gaps=1")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let more =
        ["--concurrency", "1", "--requests", "500", "--max-tokens-total", "400", "--no-discover"];
    let (code, document, words) = serving(&server, dir.path(), &more);
    assert_eq!(code, Some(6), "{words}");
    assert_eq!(document["serving"][0]["points"][0]["incomplete"]["reason"], "token_cap");
    assert!(words.contains("--max-tokens-total"), "{words}");
}

#[test]
fn the_name_alone_says_what_there_is() {
    let (code, text, _) = loadline(&[]);
    assert!(code == Some(0) && text.contains("loadline serving http://"), "{text}");
    assert_eq!(loadline(&["--version"]).0, Some(0));
}

#[test]
fn a_dry_run_sends_nothing() {
    let url = "http://127.0.0.1:9";
    let more =
        ["serving", url, "--dry-run", "--requests", "10", "--concurrency", "2", "--trials", "1"];
    let (code, text, _) = loadline(&more);
    assert_eq!(code, Some(0));
    for part in
        ["nothing is sent", "requests   10", "curl -N http://127.0.0.1:9/v1/chat/completions"]
    {
        assert!(text.contains(part), "'{part}' is missing in {text}");
    }
}
