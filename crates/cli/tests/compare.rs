//! `loadline compare` against two servers of known speed: exit codes, documents, messages.

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

/// A run of a server that takes about 5 ms and 12 gaps of `itl_us`; gives its directory.
fn run(out: &Path, itl_us: u32, more: &[&str]) -> String {
    let law = Law::default().with("ttft_us=5000&tokens=12").unwrap();
    let server = TruthThread::start(law.with(&format!("itl_us={itl_us}")).unwrap()).unwrap();
    let (url, out) = (server.url(), out.display().to_string());
    let mut arguments = vec!["serving", &url, "--json", "--out", &out, "--concurrency", "2"];
    arguments.extend(["--requests", "10", "--prompt-tokens", "8"]);
    arguments.extend(more);
    let (code, text, words) = loadline(&arguments);
    assert_eq!(code, Some(0), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    document["run"]["directory"].as_str().unwrap().to_owned()
}

#[test]
fn a_slower_candidate_fails_its_gate() {
    let dir = tempfile::tempdir().unwrap();
    let five = ["--trials", "5", "--output-tokens", "12"];
    let (fast, slow) = (run(dir.path(), 1_000, &five), run(dir.path(), 5_000, &five));
    let gate = ["--gate", "e2e_p50<=+20%", "--gate", "requests_per_s>=-10%,ttft_p50<=+900%"];
    let compare = |a: &str, b: &str, more: &[&str]| {
        loadline(&[&["compare", a, b], gate.as_slice(), more].concat())
    };
    let (code, text, words) = compare(&fast, &slow, &[]);
    assert_eq!(code, Some(5), "{text}{words}");
    assert!(text.contains("The candidate is worse in"), "{text}");
    assert!(text.contains("Gate failed: e2e_p50<=+20%, requests_per_s>=-10%"), "{text}");
    assert!(text.contains("not carried out in turns"), "{text}");
    let (code, text, words) = compare(&fast, &slow, &["--json"]);
    assert_eq!(code, Some(5));
    assert!(words.contains("gate failed: e2e_p50<=+20% at concurrency 2"), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["run"]["directory"].as_str(), Some(slow.as_str()), "the candidate's");
    let metrics = document["compare"]["metrics"].as_array().unwrap();
    let e2e = metrics.iter().find(|metric| metric["metric"] == "e2e_p50").unwrap();
    assert_eq!(e2e["verdict"], "regressed");
    assert!(e2e["low"].as_f64().unwrap() > 1.0, "{e2e}");
    // The other way round it is better, and the same gate holds.
    let (code, text, words) = compare(&slow, &fast, &["--format", "md"]);
    assert_eq!(code, Some(0), "{text}{words}");
    assert!(text.contains("**Gate passed:**") && text.contains("**improved**"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let short = run(dir.path(), 500, &["--trials", "1", "--output-tokens", "6"]);
    let long = run(dir.path(), 500, &["--trials", "1", "--output-tokens", "12"]);
    let refused = |arguments: &[&str], told: &str| {
        let (code, text, words) = loadline(&[&["compare"], arguments].concat());
        assert_eq!((code, text.as_str()), (Some(2), ""), "{words}");
        assert!(words.contains(told), "{told}: {words}");
    };
    refused(&[&short, &long], "output: 6 tokens");
    refused(&[&short, &long], "--allow-differences");
    refused(&[&short, &short], "is both the baseline and the candidate");
    refused(&[&short, "nothing-here"], "nothing-here");
    refused(&[&short, &long, "--gate", "ttft_p99<=800ms"], "a level belongs in --sla");
    refused(
        &[&short, &long, "--allow-differences", "--gate", "ttft_p99<=+5%"],
        "a P99 needs 100 requests in each trial",
    );
    let (code, text, words) = loadline(&["compare", &short, &long, "--allow-differences"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(text.contains("No verdict") && text.contains("output: 6 tokens"), "{text}");
}
