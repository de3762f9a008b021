//! `loadline cost` on a stored run: the bill is that of the flags over what was measured, and what
//! contradicts itself is refused.

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

/// Two points of a few requests, priced from flags where some are given; returns the run's folder.
fn measured(out: &Path, prices: &[&str]) -> String {
    let law = Law::default().with("ttft_us=3000&itl_us=500&tokens=8").unwrap();
    let server = TruthThread::start(law).unwrap();
    let (url, folder) = (server.url(), out.display().to_string());
    let mut line =
        vec!["serving", &url, "--concurrency", "1,2", "--requests", "8", "--trials", "1"];
    line.extend(["--prompt-tokens", "8", "--output-tokens", "8", "--quiet", "--out", &folder]);
    line.extend(prices);
    let (code, _, words) = loadline(&line);
    assert_eq!(code, Some(0), "{words}");
    let run = std::fs::read_dir(out).unwrap().next().unwrap().unwrap().path();
    run.display().to_string()
}

fn priced(run: &str, flags: &[&str]) -> Value {
    let (code, text, words) = loadline(&[&["cost", run, "--json"][..], flags].concat());
    assert_eq!(code, Some(0), "{words}");
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

const ELECTRICITY: [&str; 2] = ["--electricity", "0.30 EUR/kWh"];

#[test]
fn a_run_without_prices_is_priced_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let run = measured(dir.path(), &[]);
    let (code, _, words) = loadline(&["cost", &run]);
    assert_eq!(code, Some(2));
    assert!(words.contains("--watts") && words.contains("--electricity"), "{words}");

    let flags = [&ELECTRICITY[..], &["--watts", "300,400", "--duty-cycle", "50%"]].concat();
    let document = priced(&run, &flags);
    for (index, watts) in [300.0, 400.0].into_iter().enumerate() {
        let point = &document["serving"][0]["points"][index];
        let (rate, cost) = (number(&point["output_tokens_per_s"]["value"]), &point["cost"]);
        let wanted = 0.3 * watts / 1_000.0;
        assert!((number(&cost["per_hour"]) / wanted - 1.0).abs() < 1e-9, "{cost}");
        let wanted = wanted / (rate * 3_600.0) * 1e6;
        assert!((number(&cost["per_mtok_output"]) / wanted - 1.0).abs() < 1e-9, "{cost}");
        // Idle hours are priced as those under load: half of the tokens for the same bill.
        let half = number(&cost["at_duty_cycle"]["per_mtok_output"]);
        assert!((half / wanted - 2.0).abs() < 1e-9, "{cost}");
    }
    let codes: Vec<&str> = document["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"idle_power_assumed"), "{codes:?}");
    let sensitivity = document["serving"][0]["cost"]["sensitivity"].as_array().unwrap();
    assert_eq!(sensitivity[0]["name"], "duty_cycle");
}

#[test]
fn prices_of_the_plan_stay_and_flags_replace_them() {
    let dir = tempfile::tempdir().unwrap();
    let prices = [&ELECTRICITY[..], &["--watts", "500", "--api-price", "x=1/2 EUR/Mtok"]].concat();
    let run = measured(dir.path(), &prices);
    let per_hour =
        |document: &Value| number(&document["serving"][0]["points"][0]["cost"]["per_hour"]);
    let stored = priced(&run, &[]);
    assert!((per_hour(&stored) - 0.15).abs() < 1e-12);
    let even = &stored["serving"][0]["cost"]["break_even"][0];
    assert_eq!(even["name"], "x");
    let changed = priced(&run, &["--watts", "250", "--other", "1 EUR/h"]);
    assert!((per_hour(&changed) - 1.075).abs() < 1e-12);

    let (code, text, words) = loadline(&["cost", &run]);
    assert_eq!(code, Some(0), "{words}");
    for part in ["EUR per million output tokens at concurrency 2", "Against an API", "default"] {
        assert!(text.contains(part), "'{part}' is missing in:\n{text}");
    }
    let (_, report, _) = loadline(&["report", &run]);
    assert!(report.contains("\nCost  in EUR"), "{report}");
    let (_, csv, _) = loadline(&["cost", &run, "--format", "csv"]);
    assert!(csv.lines().next().unwrap().contains("cost_per_mtok_output"), "{csv}");
}

#[test]
fn contradictory_prices_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let prices = [&ELECTRICITY[..], &["--watts", "500"]].concat();
    let run = measured(dir.path(), &prices);
    for (flags, parts) in [
        (&["--other", "1 USD/h"][..], &["EUR", "USD", "never converted"][..]),
        (&["--watts", "1,2,3"], &["--watts", "3 values", "2 points"]),
        (&["--watts", "-5"], &["--watts", "-5"]),
        (&["--electricity", "-1 EUR/kWh"], &["negative"]),
        (&["--idle-watts", "600"], &["--idle-watts", "more than the 500"]),
        (&["--duty-cycle", "0"], &["--duty-cycle", "above 0"]),
        (&["--hardware-price", "1 EUR"], &["--hardware-years"]),
        (&["--residual", "2"], &["--residual", "more than 1"]),
    ] {
        let (code, text, words) = loadline(&[&["cost", &run][..], flags].concat());
        assert_eq!((code, text.as_str()), (Some(2), ""), "{flags:?}: {words}");
        for part in parts {
            assert!(words.contains(part), "{flags:?}: '{part}' is missing in: {words}");
        }
    }
}

const CHAPTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/chapter.csv");

#[test]
fn the_rows_of_a_table_are_priced() {
    let flags = ["cost", CHAPTER, "--watts", "350", "--tokens-per-request", "256"];
    let prices = [
        "--electricity",
        "0.30 EUR/kWh",
        "--idle-watts",
        "60",
        "--duty-cycle",
        "0.25",
        "--hardware-price",
        "4200 EUR",
        "--hardware-years",
        "3",
        "--residual",
        "20%",
        "--api-price",
        "some-api=0.60 EUR/Mtok",
        "--sla",
        "e2e_p99<=1.5s",
    ];
    let (code, text, words) = loadline(&[&flags[..], &prices].concat());
    assert_eq!((code, words.as_str()), (Some(0), ""));
    insta::assert_snapshot!(text);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let (code, text, words) = loadline(&[&flags[..], &prices, &["--json"]].concat());
    assert_eq!(code, Some(0), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    // 4,200 · 0.8 / 26,280 h + 0.30 · (0.25 · 0.350 + 0.75 · 0.060) kW, over 18.4 · 256 tokens/s in
    // a quarter of the hour.
    let per_hour = 4_200.0 * 0.8 / 26_280.0 + 0.3 * 0.1325;
    let per_mtok = per_hour / (18.4 * 256.0 * 900.0) * 1e6;
    let bill = &document["rows"][2]["cost"]["at_duty_cycle"];
    assert!((number(&bill["per_mtok_output"]) / per_mtok - 1.0).abs() < 1e-9, "{bill}");
    assert_eq!(document["cost"]["at"]["concurrency"], 16, "the row of the SLA");
}

#[test]
fn what_cannot_be_priced_says_why() {
    let (code, _, words) = loadline(&["cost", CHAPTER]);
    assert!(code == Some(2) && words.contains("--watts"), "{words}");
    let (code, _, words) = loadline(&["cost", "no-such-run", "--other", "1 EUR/h"]);
    assert!(code == Some(2) && words.contains("no-such-run"), "{words}");
}
