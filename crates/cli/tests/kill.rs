//! `kill -9` at random instants: what was answered more than a second before is in the run, the rest
//! is counted, and the run goes on with `--resume`.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use loadline_testkit::{Law, Outcome, TruthThread};
use serde_json::Value;

const KILLS: u64 = 50;
/// At once, so that it does not take minutes.
const ABREAST: u64 = 5;

fn law() -> Law {
    Law::fixed(Duration::from_millis(20), Duration::from_millis(2), 20)
}

fn arguments(url: &str, out: &Path) -> Vec<String> {
    let out = out.display().to_string();
    let words = [
        "serving",
        url,
        "--no-discover",
        "--concurrency",
        "8",
        "--duration",
        "60s",
        "--warmup",
        "100ms",
        "--trials",
        "1",
        "--stagger",
        "0s",
        "--prompt-tokens",
        "8",
        "--output-tokens",
        "20",
        "--seed",
        "7",
        "--quiet",
        "--out",
        &out,
    ];
    words.map(str::to_owned).to_vec()
}

fn stdout(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(cargo_bin("loadline")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn only_run(out: &Path) -> PathBuf {
    let mut runs: Vec<PathBuf> =
        std::fs::read_dir(out).unwrap().map(|run| run.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.pop().unwrap()
}

/// Kills a client after so many ms and holds what is left against the server's log.
fn kill_after(ms: u64) {
    let server = TruthThread::start(law()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut client = Command::new(cargo_bin("loadline"))
        .args(arguments(&server.url(), dir.path()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The first answer is there: from here on the instant of the kill is drawn.
    assert!(!server.log_of(1, Duration::from_secs(20)).is_empty(), "the client started");
    std::thread::sleep(Duration::from_millis(ms));
    client.kill().unwrap();
    let killed_ns = loadline_clock::unix_ns();
    client.wait().unwrap();

    let run = only_run(dir.path());
    let path = run.display().to_string();
    let (code, text) = stdout(&["export", &path, "--format", "jsonl"]);
    assert_eq!(code, Some(0));
    let stored: HashSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|row| Some(row["answer_id"].as_str()?.to_owned()))
        .collect();
    for record in server.log() {
        let long_ago = record.end_ns + 1_000_000_000 < killed_ns;
        if record.outcome == Outcome::Completed && long_ago {
            let age = (killed_ns - record.end_ns) / 1_000_000;
            assert!(
                stored.contains(&record.answer_id()),
                "an answer of {age} ms before the kill is lost"
            );
        }
    }
    let (code, text) = stdout(&["report", &path, "--json"]);
    assert_eq!(code, Some(0));
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["run"]["status"], "interrupted");
    if let Some(point) = document["serving"][0]["points"].get(0) {
        assert!(point["incomplete"].is_object(), "{point}");
    }
}

#[test]
fn fifty_kills_lose_nothing_that_was_answered_a_second_before() {
    std::thread::scope(|scope| {
        for lane in 0..ABREAST {
            scope.spawn(move || {
                for number in 0..KILLS / ABREAST {
                    // Spread evenly over 0 to 2.5 s, in no order.
                    let ms = ((lane * 7_919 + number * 104_729) * 37) % 2_500;
                    kill_after(ms);
                }
            });
        }
    });
}

/// Two points by count; killed in the second, so that the first need not be repeated.
#[test]
fn a_killed_run_goes_on_where_it_was() {
    let server = TruthThread::start(law()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, out) = (server.url(), dir.path().display().to_string());
    let words = [
        "serving",
        &url,
        "--no-discover",
        "--concurrency",
        "2,1",
        "--requests",
        "60",
        "--trials",
        "1",
        "--prompt-tokens",
        "8",
        "--output-tokens",
        "20",
        "--quiet",
        "--json",
        "--out",
        &out,
    ];
    let mut client =
        Command::new(cargo_bin("loadline")).args(words).stdout(Stdio::null()).spawn().unwrap();
    assert!(server.log_of(75, Duration::from_secs(30)).len() >= 75);
    client.kill().unwrap();
    client.wait().unwrap();
    let run = only_run(dir.path()).display().to_string();

    let other = words.map(|word| if word == "60" { "61" } else { word });
    let (code, _) = stdout(&[&other[..], &["--resume", &run]].concat());
    assert_eq!(code, Some(2), "another plan");

    let before = server.log().len();
    let (code, text) = stdout(&[&words[..], &["--resume", &run]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(server.log_of(before + 60, Duration::from_secs(5)).len(), before + 60, "one point");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["run"]["status"], "sealed");
    for point in document["serving"][0]["points"].as_array().unwrap() {
        assert_eq!(point["requests"]["ok"], 60, "{point}");
        assert!(point["incomplete"].is_null());
    }
    let (code, again) = stdout(&["report", &run, "--json"]);
    assert_eq!((code, again), (Some(0), text), "the same bytes again");
}
