//! What observers see beside the load of a server whose answers and metrics are known, on machines
//! made of files.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use loadline_testkit::{FakeNvml, H100_SCRIPT, Law, TruthThread, vm_tree};
use serde_json::Value;

fn law(text: &str) -> Law {
    let plain = Law::default().with("ttft_us=30000&itl_us=2000&tokens=10&slots=2").unwrap();
    plain.with(text).unwrap()
}

/// A run's exit code, document and words.
struct Run {
    code: Option<i32>,
    document: Value,
    words: String,
    _out: tempfile::TempDir,
}

impl Run {
    fn of(url: &str, more: &[&str]) -> Self {
        let out = tempfile::tempdir().unwrap();
        let output = Command::new(cargo_bin("loadline"))
            .args(["serving", url, "--json", "-q", "--warmup", "200ms", "--out"])
            .arg(out.path())
            .args(["--prompt-tokens", "100", "--output-tokens", "10"])
            .args(more)
            .output()
            .unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Self { code: output.status.code(), document, words, _out: out }
    }

    fn point(&self) -> &Value {
        &self.document["serving"][0]["points"][0]
    }

    fn observed(&self) -> &Value {
        &self.point()["observed"]
    }

    fn codes(&self) -> Vec<&str> {
        let all = [&self.point()["warnings"], &self.document["warnings"]];
        let all = all.into_iter().flat_map(|list| list.as_array().unwrap());
        all.map(|warning| warning["code"].as_str().unwrap()).collect()
    }
}

#[track_caller]
fn near(value: &Value, wanted: f64, tolerance: f64) {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((number - wanted).abs() <= tolerance, "{number} is not {wanted} ± {tolerance}");
}

const CLOSED: [&str; 8] =
    ["--concurrency", "6", "--duration", "3s", "--trials", "2", "--observe-interval", "200ms"];

#[test]
fn the_servers_own_metrics_are_held_against_the_clients() {
    let law = law("kv_per_request=0.1&prefix_hit_ratio=0.25&preempt_every=5");
    let server = TruthThread::start(law).unwrap();
    let run = Run::of(&server.url(), &CLOSED);
    assert_eq!(run.code, Some(0), "{}", run.words);
    let seen = &run.observed()["server"];
    near(&seen["running"]["mean"], 2.0, 0.1);
    near(&seen["waiting"]["mean"], 4.0, 0.5);
    near(&seen["in_flight"]["mean"], 6.0, 0.1);
    near(&seen["kv_usage"]["mean"], 0.2, 0.01);
    near(&seen["prefix_hit_ratio"], 0.25, 0.01);
    assert!(seen["running"]["n"].as_u64().unwrap() >= 10, "{seen}");
    assert_eq!(seen["trials"], 2);
    assert!(seen["preemptions"].as_f64().unwrap() > 5.0, "{seen}");
    for tokens in ["output_tokens", "prompt_tokens"] {
        assert_eq!(seen[tokens]["difference"], 0.0, "{seen}");
        assert!(seen[tokens]["server"].as_f64().unwrap() > 100.0);
    }
    // What is outside of the server on loopback is well under a millisecond; the queue is inside.
    let split = &seen["outside_server"];
    near(&split["outside_ns"], 0.5e6, 1.5e6);
    assert!(split["server_mean_ns"].as_f64().unwrap() > 60e6, "{split}");
    assert_eq!(split["client_n"], split["server_n"]);
    let meanings: Vec<_> =
        seen["latency"].as_array().unwrap().iter().map(|one| &one["meaning"]).collect();
    for meaning in ["ttft", "itl", "e2e", "queue"] {
        assert!(meanings.contains(&&Value::from(meaning)), "{meanings:?}");
    }
    let codes = run.codes();
    assert!(codes.contains(&"preempted"), "{codes:?}");
    for code in ["tokens_differ", "server_shared", "requests_before_server"] {
        assert!(!codes.contains(&code), "{codes:?}");
    }
    let observers = run.document["serving"][0]["observed"]["observers"].as_array().unwrap();
    assert!(observers.iter().all(|one| one["failed"] == 0 && one["overflowed"] == 0));
    // Everything that the report shows of it fits into a terminal.
    let dir = run.document["run"]["directory"].as_str().unwrap();
    let report = Command::new(cargo_bin("loadline")).args(["report", dir]).output().unwrap();
    let text = String::from_utf8(report.stdout).unwrap();
    assert!(text.contains("\nServer  by its own metrics"), "{text}");
    assert!(text.contains("\nTTFT inside and outside the server"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.contains(dir)), "{text}");
}

#[test]
fn a_page_that_is_named_twice_counts_once() {
    let server = TruthThread::start(law("slots=0")).unwrap();
    let (url, port) = (server.url(), server.url());
    let port = port.rsplit_once(':').unwrap().1;
    let pages = format!("{url}/metrics,http://localhost:{port},{url}");
    let few = ["--concurrency", "2", "--requests", "40", "--trials", "1", "--metrics", &pages];
    let run = Run::of(&url, &few);
    assert_eq!(run.code, Some(0), "{}", run.words);
    assert_eq!(run.observed()["server"]["output_tokens"]["difference"], 0.0);
}

#[test]
fn a_run_that_was_killed_keeps_what_was_observed() {
    let server = TruthThread::start(law("slots=0")).unwrap();
    let machine = Processor::start();
    let out = tempfile::tempdir().unwrap();
    let command = || {
        let mut command = Command::new(cargo_bin("loadline"));
        command.args(["serving", &server.url(), "--concurrency", "2", "--duration", "2s"]);
        command.args(["--trials", "2", "--warmup", "100ms", "--idle", "1s", "--seed", "3", "-q"]);
        command.args(["--prompt-tokens", "50", "--output-tokens", "10", "--json"]);
        command.args(["--observe-interval", "200ms", "--nvml", "/nonexistent/nvml.so"]);
        command.args(["--sys", &machine.path("sys"), "--proc", &machine.path("proc")]);
        command.arg("--out").arg(out.path()).stderr(std::process::Stdio::null());
        command
    };
    let mut first = command().stdout(std::process::Stdio::null()).spawn().unwrap();
    let events = || {
        let run = std::fs::read_dir(out.path()).unwrap().next();
        let path = run.map(|run| run.unwrap().path().join("events.jsonl"));
        path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    };
    let deadline = loadline_clock::monotonic_ns() + 60_000_000_000;
    while !events().contains("\"trial_ended\"") {
        assert!(loadline_clock::monotonic_ns() < deadline, "{}", events());
        std::thread::sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let run = std::fs::read_dir(out.path()).unwrap().next().unwrap().unwrap().path();
    let resumed = command().arg("--resume").arg(&run).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0));
    let document: Value = serde_json::from_slice(&resumed.stdout).unwrap();
    let observed = &document["serving"][0]["points"][0]["observed"];
    assert_eq!(observed["server"]["trials"], 2, "{observed}");
    assert_eq!(observed["server"]["output_tokens"]["difference"], 0.0);
    let energy = &observed["energy"];
    assert_eq!(energy["gross"]["valid"], true, "{energy}");
    near(&energy["gross"]["joules"], 2.0 * 2.0 * WATTS, 8.0);
}

#[test]
fn a_server_that_counts_other_tokens_is_told() {
    let server = TruthThread::start(law("token_factor=1.1")).unwrap();
    let run = Run::of(&server.url(), &["--concurrency", "2", "--requests", "40", "--trials", "1"]);
    assert_eq!(run.code, Some(0), "{}", run.words);
    near(&run.observed()["server"]["output_tokens"]["difference"], 0.1, 0.001);
    assert!(run.codes().contains(&"tokens_differ"), "{:?}", run.codes());
}

#[test]
fn load_of_somebody_else_is_told() {
    let server = TruthThread::start(law("slots=0")).unwrap();
    let url = server.url();
    let other = std::thread::spawn(move || {
        Run::of(&url, &["--concurrency", "20", "--duration", "5s", "--trials", "1"])
    });
    let run = Run::of(&server.url(), &CLOSED);
    assert_eq!(run.code, Some(0), "{}", run.words);
    assert!(run.codes().contains(&"server_shared"), "{:?}", run.codes());
    assert_eq!(other.join().unwrap().code, Some(0));
}

#[test]
fn pages_that_are_slow_absent_or_none() {
    let slow = TruthThread::start(law("metrics_delay_ms=100")).unwrap();
    let run = Run::of(&slow.url(), &["--concurrency", "2", "--duration", "2s", "--trials", "1"]);
    assert_eq!(run.code, Some(0), "{}", run.words);
    let observers = run.document["serving"][0]["observed"]["observers"].as_array().unwrap();
    let page = observers.iter().find(|one| one["kind"] == "metrics").unwrap();
    // 100 ms are 5 % of 2 s, so that two looks and more are left out between two.
    assert!(page["interval_ns"].as_u64().unwrap() >= 2_000_000_000, "{page}");

    let absent = TruthThread::start(law("metrics=absent")).unwrap();
    let few = ["--concurrency", "2", "--requests", "10", "--trials", "1"];
    let run = Run::of(&absent.url(), &few);
    assert_eq!(run.code, Some(0), "{}", run.words);
    assert!(run.observed()["server"].is_null());
    let missing = run.document["serving"][0]["observed"]["missing"].to_string();
    assert!(missing.contains("/metrics: ") && missing.contains("404"), "{missing}");

    // A page that is named must be one.
    for (law_of_page, said) in [("metrics=html", "HTML"), ("metrics=garbage", "")] {
        let page = TruthThread::start(law(law_of_page)).unwrap();
        let metrics = format!("{}/metrics", page.url());
        let run = Run::of(&absent.url(), &[&few[..], &["--metrics", &metrics]].concat());
        assert_eq!(run.code, Some(2), "{}", run.words);
        assert!(run.words.contains(&metrics) && run.words.contains(said), "{}", run.words);
        assert!(run.words.contains("--metrics off"), "{}", run.words);
    }
    let run = Run::of(&absent.url(), &[&few[..], &["--metrics", "off", "--gpu", "off"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.words);
    let missing = run.document["serving"][0]["observed"]["missing"].to_string();
    assert!(!missing.contains("metrics") && !missing.contains("\"gpu\""), "{missing}");
}

/// A processor that takes 100 W, in files that a thread keeps up to date; its counter begins anew
/// every 1,000 J.
struct Processor {
    dir: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const WATTS: f64 = 100.0;
const ROUND_UJ: u64 = 1_000_000_000;

impl Processor {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        vm_tree(dir.path()).unwrap();
        let zone = dir.path().join("sys/class/powercap/intel-rapl:0");
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::write(zone.join("name"), "package-0\n").unwrap();
        std::fs::write(zone.join("max_energy_range_uj"), format!("{ROUND_UJ}\n")).unwrap();
        count(&zone);
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                count(&zone);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { dir, stop, thread: Some(thread) }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

/// Writes the counter as it is now, so that no reader sees half of it.
fn count(zone: &Path) {
    let micro = (loadline_clock::monotonic_ns() as f64 / 1e3 * WATTS) as u64 % ROUND_UJ;
    std::fs::write(zone.join("new"), format!("{micro}\n")).unwrap();
    std::fs::rename(zone.join("new"), zone.join("energy_uj")).unwrap();
}

impl Drop for Processor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn measured_energy_prices_tokens() {
    let server = TruthThread::start(law("slots=0")).unwrap();
    let machine = Processor::start();
    let (sys, proc) = (machine.path("sys"), machine.path("proc"));
    let more = ["--sys", &sys, "--proc", &proc, "--nvml", "/nonexistent/libnvidia-ml.so.1"];
    let costs = ["--idle", "2s", "--electricity", "0.30 EUR/kWh", "--duty-cycle", "50%"];
    let run = Run::of(&server.url(), &[&CLOSED[..], &more, &costs].concat());
    assert_eq!(run.code, Some(0), "{}", run.words);
    let energy = &run.observed()["energy"];
    near(&energy["watts"], WATTS, 1.0);
    assert_eq!(energy["gross"]["class"], "counter");
    assert_eq!(energy["gross"]["valid"], true, "{energy}");
    assert_eq!(energy["added"], serde_json::json!(["package-0"]));
    near(&energy["gross"]["joules"], 2.0 * 3.0 * WATTS, 6.0);
    // An idle machine takes as much: nothing is left of it.
    let idle = &run.document["serving"][0]["observed"]["idle"];
    near(&idle["watts"], WATTS, 1.0);
    let tokens_per_s = run.point()["output_tokens_per_s"]["value"].as_f64().unwrap();
    near(&energy["joules_per_output_token"], WATTS / tokens_per_s, 0.01 * WATTS / tokens_per_s);
    let cost = &run.point()["cost"];
    assert_eq!(cost["power_source"], "measured (package-0)");
    near(&cost["joules_per_output_token"], WATTS / tokens_per_s, 0.01 * WATTS / tokens_per_s);
    near(&cost["per_hour"], 0.03, 0.0006);
    assert!(run.codes().contains(&"power_partial"), "{:?}", run.codes());
    let report = &run.document["serving"][0]["cost"];
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap().to_owned()).collect()
    };
    let measured = names(&report["measured"]);
    assert!(measured.contains(&"watts".to_owned()) && measured.contains(&"idle_watts".to_owned()));
    assert!(!names(&report["assumed"]).iter().any(|name| name.contains("watts")));

    // Priced again with watts that are stated, and with another price of electricity alone.
    let dir = run.document["run"]["directory"].as_str().unwrap();
    let priced = |more: &[&str]| -> Value {
        let output = Command::new(cargo_bin("loadline"))
            .args(["cost", dir, "--json"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let stated = priced(&["--watts", "400"]);
    let cost = &stated["serving"][0]["points"][0]["cost"];
    assert_eq!(cost["power_source"], "stated");
    near(&cost["per_hour"], 0.12, 1e-9);
    // A meter that was read is told all the same.
    assert_eq!(
        stated["serving"][0]["points"][0]["observed"]["energy"]["gross"]["class"],
        "counter"
    );
    let dearer = priced(&["--electricity", "0.60 EUR/kWh"]);
    near(&dearer["serving"][0]["points"][0]["cost"]["per_hour"], 0.06, 0.0012);
}

#[test]
fn stated_watts_are_the_last_resort() {
    let server = TruthThread::start(law("slots=0")).unwrap();
    let machine = tempfile::tempdir().unwrap();
    vm_tree(machine.path()).unwrap();
    let (sys, proc) = (machine.path().join("sys"), machine.path().join("proc"));
    let more = [
        "--concurrency",
        "2",
        "--requests",
        "40",
        "--trials",
        "1",
        "--watts",
        "300",
        "--idle-watts",
        "100",
        "--electricity",
        "0.30 EUR/kWh",
        "--nvml",
        "/nonexistent/nvml.so",
        "--sys",
        sys.to_str().unwrap(),
        "--proc",
        proc.to_str().unwrap(),
    ];
    let run = Run::of(&server.url(), &more);
    assert_eq!(run.code, Some(0), "{}", run.words);
    let energy = &run.observed()["energy"];
    assert_eq!(energy["gross"]["class"], "stated");
    let tokens_per_s = run.point()["output_tokens_per_s"]["value"].as_f64().unwrap();
    near(&energy["joules_per_output_token"], 300.0 / tokens_per_s, 1e-9);
    near(&energy["net_joules_per_output_token"], 200.0 / tokens_per_s, 1e-9);
    assert_eq!(run.point()["cost"]["power_source"], "stated");
    assert!(!run.codes().contains(&"power_unknown"), "{:?}", run.codes());
}

#[test]
fn gpus_of_the_target_are_watched() {
    let server = TruthThread::start(law("slots=0")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("nvml");
    std::fs::create_dir(&folder).unwrap();
    let nvml: PathBuf = FakeNvml::new(&folder, H100_SCRIPT).unwrap().library().to_owned();
    vm_tree(dir.path()).unwrap();
    let (sys, proc) = (dir.path().join("sys"), dir.path().join("proc"));
    let machine = [
        "--nvml",
        nvml.to_str().unwrap(),
        "--sys",
        sys.to_str().unwrap(),
        "--proc",
        proc.to_str().unwrap(),
        "--gpus",
        "0,3",
        "--idle",
        "0s",
    ];
    let run = Run::of(&server.url(), &[&CLOSED[..], &machine].concat());
    assert_eq!(run.code, Some(0), "{}", run.words);
    let gpus = run.observed()["gpu"].as_array().unwrap();
    let numbers: Vec<_> = gpus.iter().map(|gpu| gpu["index"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 3]);
    near(&gpus[1]["sm_active"]["mean"], 0.81, 1e-3);
    near(&gpus[1]["power_w"]["mean"], 352.0, 5.0);
    assert!(gpus[0]["samples"].as_u64().unwrap() >= 20, "{}", gpus[0]["samples"]);
    assert_eq!(run.document["gpu"].as_array().unwrap().len(), 2);
    assert!(run.codes().contains(&"gpu_throttled"), "{:?}", run.codes());
}
