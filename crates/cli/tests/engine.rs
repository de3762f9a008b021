//! The engine benchmark, the embedded server and the quick look's promise to leave nothing behind, on
//! a model that is made in milliseconds.

#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

const TINY: &str = "made:layers=2,embedding=64,feed_forward=128,heads=4,kv_heads=2,vocab=512,\
                    context=1024:q8_0";

/// `loadline` with its temporary files in a folder of the test.
fn loadline(scratch: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(cargo_bin("loadline"))
        .args(arguments)
        .current_dir(scratch)
        .env("TMPDIR", scratch)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn only_run(scratch: &Path) -> String {
    let runs = names(&scratch.join("runs"));
    assert_eq!(runs.len(), 1, "{runs:?}");
    format!("runs/{}", runs[0])
}

const SMALL: [&str; 11] =
    ["--batch", "1,2", "-d", "0,64", "-p", "16", "-n", "8", "-r", "2", "--json"];

#[test]
fn a_grid_is_measured_and_the_run_says_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let money = ["--watts", "65", "--electricity", "0.30 EUR/kWh"];
    let arguments = [&["engine", TINY][..], &SMALL, &money].concat();
    let (code, text, words) = loadline(dir.path(), &arguments);
    assert_eq!(code, Some(0), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let cells = document["engine"].as_array().unwrap();
    let places: Vec<(u64, u64)> = cells
        .iter()
        .map(|cell| (cell["batch"].as_u64().unwrap(), cell["context"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [(1, 0), (2, 0), (1, 64), (2, 64)]);
    for cell in cells {
        assert!(cell["prompt_tokens_per_s"]["value"].as_f64().unwrap() > 0.0, "{cell}");
        assert!(cell["decode_tokens_per_s"]["value"].as_f64().unwrap() > 0.0, "{cell}");
        assert_eq!(cell["decode_tokens_per_s"]["n"], 2);
        assert!(cell["memory_bytes"].as_u64().unwrap() > 1_000_000, "{cell}");
        assert!(cell["decode_bytes_per_s"].is_number() && cell["mbu"].is_number(), "{cell}");
        assert!(cell["cost"]["per_mtok_output"].as_f64().unwrap() > 0.0, "{cell}");
    }
    let stage = &document["engine_stages"][0];
    assert_eq!(stage["facts"]["measured_by"], "embedded");
    assert_eq!(stage["facts"]["model"]["random_weights"], true);
    assert!(stage["memory_bandwidth"]["read_bytes_per_s"].as_f64().unwrap() > 1e8, "{stage}");
    // Nothing but the run is left, and it gives the same bytes again.
    assert_eq!(names(dir.path()), ["runs"]);
    let run = only_run(dir.path());
    let again = |format: &str| loadline(dir.path(), &["report", &run, "--format", format]).1;
    assert_eq!(again("json"), text);
    let page = again("text");
    assert!(page.contains("Generation  ") && page.contains("Cells  mean over trials"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80 || line.contains('/')), "{page}");
    let (code, _, words) = loadline(dir.path(), &["export", &run]);
    assert_eq!(code, Some(2));
    assert!(words.contains("no requests to export"), "{words}");
    let table = again("csv");
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.starts_with("stage,model,") && table.contains("decode_tokens_per_s"), "{table}");
}

#[test]
fn runs_of_engines_are_compared_and_priced() {
    let dir = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports/rates.jsonl");
    // Five trials of 100 tokens/s with little noise, then the same 10 % slower.
    for (name, factor) in [("base", 1.0), ("slow", 1.1)] {
        let line = std::fs::read_to_string(&file).unwrap();
        let mut row: Value = serde_json::from_str(&line).unwrap();
        let samples: Vec<u64> =
            (0..5).map(|i| ((1e9 + f64::from(i) * 2e6) * factor) as u64).collect();
        row["samples_ns"] = samples.into();
        std::fs::write(dir.path().join(format!("{name}.jsonl")), row.to_string() + "\n").unwrap();
        let (code, _, words) = loadline(dir.path(), &["import", &format!("{name}.jsonl")]);
        assert_eq!(code, Some(0), "{words}");
    }
    let mut runs = names(&dir.path().join("runs"));
    runs.sort();
    let by_name = |name: &str| {
        let run = runs.iter().find(|run| run.contains(name)).unwrap();
        format!("runs/{run}")
    };
    let (base, slow) = (by_name("base"), by_name("slow"));
    let gate = ["--gate", "decode_tokens_per_s>=-5%"];
    let (code, page, words) =
        loadline(dir.path(), &[&["compare", &base, &slow][..], &gate].concat());
    assert_eq!(code, Some(5), "{page}{words}");
    assert!(page.contains("worse in 1 of 1 figure"), "{page}");
    assert_eq!(loadline(dir.path(), &[&["compare", &slow, &base][..], &gate].concat()).0, Some(0));
    let money = ["--watts", "65", "--electricity", "0.30 EUR/kWh", "--api-price", "a=9 EUR/Mtok"];
    let (code, page, words) = loadline(dir.path(), &[&["cost", &base][..], &money].concat());
    assert_eq!(code, Some(0), "{words}");
    // 0.0195 EUR an hour over 3,600 s of 99.6 tokens/s (5 trials of 1.000 to 1.008 s for 100).
    assert!(page.contains("0.0544 EUR per million output tokens"), "{page}");
}

#[test]
fn a_cell_that_cannot_be_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["engine", TINY, "--batch", "1", "-d", "0,4096", "-p", "8", "-n", "4"];
    let (code, text, words) = loadline(dir.path(), &[&arguments[..], &["--json"]].concat());
    assert_eq!(code, Some(6), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["engine"][0]["decode_tokens_per_s"].is_object(), "{text}");
    let failed = document["engine"][1]["failed"].as_str().unwrap();
    assert!(failed.contains("1024") && failed.contains("trained"), "{failed}");
    // It may be tried again, by the same model alone.
    let run = only_run(dir.path());
    let again = [&arguments[..], &["--resume", &run, "--json"]].concat();
    assert_eq!(loadline(dir.path(), &again).0, Some(6));
}

#[test]
fn a_run_has_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let write = |shape: &str| {
        let shape = shape.split(':').nth(1).unwrap().parse().unwrap();
        let made = loadline_gguf::Made::new(shape, loadline_gguf::Weights::Q8_0).unwrap();
        made.write(&path, 1).unwrap();
    };
    write(TINY);
    let arguments = ["engine", "m.gguf", "--batch", "1", "-d", "0,4096", "-p", "8", "-n", "4"];
    assert_eq!(loadline(dir.path(), &arguments).0, Some(6));
    write(&TINY.replace("layers=2", "layers=3"));
    let run = only_run(dir.path());
    let (code, _, words) = loadline(dir.path(), &[&arguments[..], &["--resume", &run]].concat());
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("one run has one"), "{words}");
}

#[test]
fn layers_on_a_gpu_that_is_not_there_are_marked() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["engine", TINY, "--batch", "1", "-p", "8", "-n", "4", "-r", "1", "-ngl", "99"];
    let (code, page, words) = loadline(dir.path(), &arguments);
    assert_eq!(code, Some(0), "{words}");
    assert!(page.contains("the engine has none"), "{page}");
    let (code, _, words) = loadline(dir.path(), &["engine", TINY, "-pg", "8,2"]);
    assert_eq!(code, Some(2));
    assert!(words.contains("-pg has no like here"), "{words}");
}

#[test]
fn wrong_models_are_refused_before_anything_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    let shape = TINY.split(':').nth(1).unwrap().parse().unwrap();
    let made = loadline_gguf::Made::new(shape, loadline_gguf::Weights::Q8_0).unwrap();
    made.write(&path, 1).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1000]).unwrap();
    std::fs::write(dir.path().join("text.gguf"), "hello, world, this is no model").unwrap();
    for (model, what) in [
        ("cut.gguf", "bytes"),
        ("text.gguf", "not a GGUF file"),
        ("none.gguf", "none.gguf"),
        ("made:nonsense", "smollm2-135m"),
        ("made:30m:q9", "Q8_0"),
        ("made:layers=2,embedding=63", "layers"),
    ] {
        let (code, _, words) = loadline(dir.path(), &["engine", model]);
        assert_eq!(code, Some(2), "{model}: {words}");
        assert!(words.contains(what), "{model}: {words}");
        assert!(!dir.path().join("runs").exists(), "{model}");
    }
    for (flags, what) in [
        (["--batch", "0"], "`batch` is 0"),
        (["--type-k", "f17"], "no type of a KV cache"),
        (["-d", "5-1"], "ends before it begins"),
        (["-r", "0"], "`trials` is 0"),
        (["--with", "/nowhere/llama-bench"], "/nowhere/llama-bench"),
        (["--with", "vulkan-bench"], "vulkan-bench"),
    ] {
        let (code, _, words) = loadline(dir.path(), &[&["engine", TINY][..], &flags].concat());
        assert_eq!(code, Some(2), "{flags:?}: {words}");
        assert!(words.contains(what), "{flags:?}: {words}");
    }
}

#[test]
fn devices_are_listed_without_a_measurement() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text, words) = loadline(dir.path(), &["engine", TINY, "--list-devices"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(text.contains("CPU"), "{text}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_model_is_served_and_loaded_and_the_server_ends() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["serving", "--embedded", TINY, "--concurrency", "1,2", "--requests", "12"];
    let more = ["--trials", "1", "--prompt-tokens", "32", "--output-tokens", "8", "--json"];
    let (code, text, words) = loadline(dir.path(), &[&arguments[..], &more].concat());
    assert_eq!(code, Some(0), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let stage = &document["serving"][0];
    for point in stage["points"].as_array().unwrap() {
        assert_eq!(point["requests"]["ok"], 12, "{point}");
        assert_eq!(point["tokens"]["output"], 8.0, "{point}");
        assert_eq!(point["tokens"]["source"], "usage", "{point}");
    }
    assert_eq!(names(dir.path()), ["runs"]);
    let left = children(dir.path());
    assert!(left.is_empty(), "{left:?}");
}

/// Command lines of processes with this scratch folder.
fn children(scratch: &Path) -> Vec<String> {
    let variable = format!("TMPDIR={}", scratch.display());
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let ours = processes.filter(|process| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    });
    let lines = ours.filter_map(|p| std::fs::read_to_string(p.path().join("cmdline")).ok());
    lines.map(|line| line.replace('\0', " ")).collect()
}

#[test]
fn an_interrupted_run_is_kept_goes_on_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let engine = ["engine", TINY, "--batch", "1,2", "-p", "64", "-n", "64", "-r", "100"];
    let mut client = Command::new(cargo_bin("loadline"))
        .args(engine)
        .current_dir(dir.path())
        .env("TMPDIR", dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line.contains("trial 3 of 100")), "trials are told");
    let pid = rustix::process::Pid::from_raw(client.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(6));
    assert_eq!(names(dir.path()), ["runs"]);
    let run = only_run(dir.path());
    let measured = |run: &str| -> u64 {
        let (_, text, _) = loadline(dir.path(), &["report", run, "--format", "json"]);
        let document: Value = serde_json::from_str(&text).unwrap();
        document["engine"][0]["trials"].as_u64().unwrap()
    };
    assert!(measured(&run) >= 3);
    let resume = [&engine[..], &["--resume", &run, "--quiet"]].concat();
    let (code, _, words) = loadline(dir.path(), &resume);
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(measured(&run), 100);
}

#[test]
fn results_of_llama_bench_become_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports").join(name).display().to_string()
    };
    for (name, with) in
        [("llama-bench.json", "llama-bench"), ("batched-bench.jsonl", "llama-batched-bench")]
    {
        let (code, text, words) = loadline(dir.path(), &["import", &file(name), "--json"]);
        assert_eq!(code, Some(0), "{words}");
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["engine_stages"][0]["imported"], true, "{text}");
        assert_eq!(document["engine_stages"][0]["facts"]["measured_by"], with, "{text}");
        assert!(!document["engine"].as_array().unwrap().is_empty());
        let run = document["run"]["directory"].as_str().unwrap();
        assert_eq!(loadline(dir.path(), &["report", run, "--format", "json"]).1, text);
    }
    let (code, _, words) = loadline(dir.path(), &["import", &file("../engine.rs")]);
    assert_eq!(code, Some(2));
    assert!(words.contains("engine.rs: ") && words.contains("expected"), "{words}");
}
