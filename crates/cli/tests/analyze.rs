//! `loadline analyze`: the published table as text and JSON, exit codes, and what is said to tables
//! and questions that make no sense.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use assert_cmd::Command;

const CHAPTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/chapter.csv");
const SLAS: [&str; 4] = ["--sla", "chat:e2e_p99<=700ms", "--sla", "batch:e2e_p99<=1.5s"];
const PRICES: [&str; 6] =
    ["--electricity", "0.30 EUR/kWh", "--watts", "350", "--tokens-per-request", "256"];

/// Runs the command with a table on stdin; exit code, stdout, stderr.
fn loadline(arguments: &[&str], table: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("loadline").unwrap();
    let output = command.args(arguments).write_stdin(table).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!words.contains("panicked"), "{words}");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), words)
}

fn chapter(more: &[&[&str]]) -> (i32, String, String) {
    let arguments: Vec<&str> = ["analyze", CHAPTER].into_iter().chain(more.concat()).collect();
    loadline(&arguments, "")
}

#[test]
fn the_chapter_as_text() {
    let (code, text, words) = chapter(&[&SLAS, &PRICES]);
    assert_eq!((code, words.as_str()), (0, ""));
    insta::assert_snapshot!(text);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_chapter_as_json() {
    let (code, text, words) = chapter(&[&SLAS, &PRICES, &["--json"]]);
    assert_eq!((code, words.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let schema = include_str!("../../../docs/analysis.schema.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    assert!(validator.is_valid(&json));
    assert_eq!(json["choice"], serde_json::json!({"chat": 1, "batch": 2, "throughput": 3}));
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "[version]"));
}

#[test]
fn every_form_and_stdin_give_an_answer() {
    let table = std::fs::read_to_string(CHAPTER).unwrap();
    for (format, part) in
        [("text", "Little's law"), ("md", "| --: |"), ("csv", "e2e_p99_ns"), ("json", "\"rows\"")]
    {
        let (code, text, _) = loadline(&["analyze", "-", "--format", format], &table);
        assert_eq!(code, 0);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_sla_without_a_row_is_missed() {
    let (code, text, _) = chapter(&[&["--sla", "e2e_p99<=100ms"]]);
    assert_eq!(code, 4);
    assert!(text.contains("no row keeps e2e_p99<=100ms"), "{text}");
}

#[track_caller]
fn refused(arguments: &[&str], table: &str, parts: &[&str]) {
    let arguments: Vec<&str> =
        ["analyze", "-"].into_iter().chain(arguments.iter().copied()).collect();
    let (code, text, words) = loadline(&arguments, table);
    assert_eq!((code, text.as_str()), (2, ""), "{words}");
    for part in parts {
        assert!(words.contains(part), "'{part}' is missing in: {words}");
    }
}

#[test]
fn tables_that_cannot_be_read() {
    refused(&[], "", &["stdin: the table is empty"]);
    refused(&[], "batch,latency\n1,2\n", &["no column says the requests/s", "requests_per_s"]);
    refused(
        &[],
        "batch,rps,P99 Latency\n1,2,abc\n",
        &["line 2, column 3 (`P99 Latency`)", "`abc`"],
    );
    refused(&[], "batch,rps\n1,2\n1,3\n", &["line 3", "line 2 as well"]);
    let (code, _, words) = loadline(&["analyze", "/no/such/table.csv"], "");
    assert_eq!(code, 2);
    assert!(words.contains("/no/such/table.csv"), "{words}");
    let (code, _, words) = loadline(&["analyze", env!("CARGO_MANIFEST_DIR")], "");
    assert!(code == 2 && words.contains("loadline report"), "{words}");
}

#[test]
fn questions_that_a_table_cannot_answer() {
    let table = std::fs::read_to_string(CHAPTER).unwrap();
    refused(&["--sla", "ttft_p99<=1s"], &table, &["ttft_p99", "only e2e_mean, e2e_p99"]);
    refused(&["--sla", "throughput:e2e_p99<=1s"], &table, &["`throughput`"]);
    refused(&["--sla", "e2e_p99<=1s", "--sla", "e2e_p99<=2s"], &table, &["two SLAs"]);
    refused(&["--tokens-per-request", "0"], &table, &["--tokens-per-request", "above 0"]);
    refused(&["--tokens-per-request", "-5"], &table, &["above 0"]);
    refused(&["--electricity", "0.30 EUR/kWh"], &table, &["--electricity", "watts"]);
    refused(
        &["--electricity", "0.30 EUR/kWh", "--watts", "1,2,3"],
        &table,
        &["3 values", "4 points"],
    );
    let partly = "batch,rps,watts\n1,2,100\n2,3,\n";
    refused(&["--electricity", "0.30 EUR/kWh"], partly, &["line 3", "--watts"]);
}

#[test]
fn power_of_the_table_needs_no_flag() {
    let table = "batch,rps,watts\n1,2,100\n2,3,150\n";
    let arguments = ["analyze", "-", "--electricity", "0.30 EUR/kWh", "--json"];
    let (code, text, words) = loadline(&arguments, table);
    assert_eq!(code, 0, "{words}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["rows"][1]["cost"]["watts"], 150.0);
    assert_eq!(json["rows"][1]["cost"]["power_source"], "table");
}
