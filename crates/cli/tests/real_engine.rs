//! The embedded engine with a real model, and beside it the real llama-bench and llama-batched-bench.
//! `./test` runs it with LOADLINE_LLAMA_BIN and LOADLINE_MODEL set; without them it fails and says so.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// Two cores carry one engine at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./test, which sets it"))
}

fn document(out: &Path, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = Command::new(cargo_bin("loadline"))
        .args(arguments)
        .args(["--json", "--out"])
        .arg(out)
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words}"));
    (output.status.code(), document, words)
}

#[test]
fn a_real_model_tells_its_figures_and_a_step_reads_its_weights() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let model = variable("LOADLINE_MODEL");
    let arguments = ["engine", &model, "--batch", "1,4", "-p", "64", "-n", "16", "-r", "2"];
    let (code, document, words) = document(dir.path(), &arguments);
    assert_eq!(code, Some(0), "{words}");
    let facts = &document["engine_stages"][0]["facts"];
    assert_eq!(facts["model"]["quantization"], "Q4_1");
    assert_eq!(facts["model"]["parameters"], 134_515_008);
    assert_eq!(facts["model"]["random_weights"], false);
    let cells = document["engine"].as_array().unwrap();
    let rate = |cell: &Value| cell["decode_tokens_per_s"]["value"].as_f64().unwrap();
    // Each step reads 96.6 MB of weights; a sequence more adds next to nothing at no context.
    for cell in cells {
        let batch = cell["batch"].as_f64().unwrap();
        let step = cell["decode_bytes_per_s"].as_f64().unwrap() * batch / rate(cell);
        assert!((96e6..99e6).contains(&step), "{cell}");
    }
    assert!(rate(&cells[1]) > rate(&cells[0]), "four sequences together are faster: {cells:?}");
}

#[test]
fn the_users_own_tools_give_the_same_table() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let (model, tools) = (variable("LOADLINE_MODEL"), variable("LOADLINE_LLAMA_BIN"));
    let arguments = ["engine", &model, "--with", &tools, "--batch", "1,4", "-d", "0,64"];
    let more = ["-p", "32", "-n", "8", "-r", "2", "-t", "2", "--no-memory-bandwidth"];
    let (code, document, words) = document(dir.path(), &[&arguments[..], &more].concat());
    assert_eq!(code, Some(0), "{words}");
    let by = document["engine_stages"][0]["facts"]["measured_by"].as_str().unwrap();
    assert_eq!(by, format!("{tools}/llama-bench"));
    let cells = document["engine"].as_array().unwrap();
    assert_eq!(cells.len(), 4, "{cells:?}");
    for cell in cells {
        assert!(cell["decode_tokens_per_s"]["value"].as_f64().unwrap() > 0.0, "{cell}");
        // llama-batched-bench processes prompts at an empty context only.
        let has_prompt = cell["batch"] == 1 || cell["context"] == 0;
        assert_eq!(cell["prompt_tokens_per_s"].is_object(), has_prompt, "{cell}");
    }
}

#[test]
fn a_real_model_is_served_in_full() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let model = variable("LOADLINE_MODEL");
    let arguments = ["serving", "--embedded", &model, "--concurrency", "4", "--requests", "16"];
    let more = ["--trials", "1", "--prompt-tokens", "64", "--output-tokens", "16"];
    let (code, document, words) = document(dir.path(), &[&arguments[..], &more].concat());
    assert_eq!(code, Some(0), "{words}");
    let point = &document["serving"][0]["points"][0];
    assert_eq!(point["requests"]["ok"], 16, "{point}");
    assert_eq!(
        (&point["tokens"]["output"], &point["tokens"]["source"]),
        (&16.0.into(), &"usage".into())
    );
    assert_eq!(document["serving"][0]["engine"]["name"], "llama.cpp");
}

#[test]
fn a_tool_ends_when_its_parent_is_killed() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let (model, tools) = (variable("LOADLINE_MODEL"), variable("LOADLINE_LLAMA_BIN"));
    let mut client = Command::new(cargo_bin("loadline"))
        .args(["engine", &model, "--with", &tools, "--batch", "1", "-n", "100000", "--out"])
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_there = || {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
        lines.into_iter().any(|line| {
            let mut words = line.split(|byte| *byte == 0);
            let is_tool = words.next().is_some_and(|program| program.ends_with(b"/llama-bench"));
            is_tool && words.any(|word| word == b"100000")
        })
    };
    while !is_there() {
        assert!(client.try_wait().unwrap().is_none(), "the client ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    client.kill().unwrap();
    client.wait().unwrap();
    while is_there() {
        std::thread::sleep(Duration::from_millis(50));
    }
}
