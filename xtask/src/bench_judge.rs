//! `cargo xtask bench-judge`: verdicts against a server whose law is known, in real time. How often
//! the searched load line covers the true one of a single exponential server, how often a comparison
//! of equal servers raises an alarm, and how often it finds tokens that are 5 % slower.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace;

/// Mean service time of the queue's one slot, s.
const SERVICE_S: f64 = 0.002;
/// Limit of the 90th percentile of E2E, s.
const LIMIT_S: f64 = 0.015;

/// From the words after `bench-judge`: rounds of the load line, and pairs of each comparison.
pub(crate) fn run_with(words: &[&str]) -> Option<Result<String>> {
    let (lines, pairs) = match words {
        [] => (20, 20),
        [lines, pairs] => (lines.parse().ok()?, pairs.parse().ok()?),
        _ => return None,
    };
    Some(run(lines, pairs))
}

fn run(lines: usize, pairs: usize) -> Result<String> {
    let programs = Programs::build()?;
    let mut table = String::from("| figure | rounds | result |\n|---|---|---|\n");
    let mut row = |what: &str, rounds: usize, result: &str| {
        table.push_str(&format!("| {what} | {rounds} | {result} |\n"));
    };
    if lines > 0 {
        let found =
            (0..lines).map(|seed| load_line(&programs, seed)).collect::<Result<Vec<_>>>()?;
        // M/M/1: P(response > t) = exp(−(μ − λ)t), so λ* = μ − ln 10 / limit for the 90th percentile.
        let truth = 1.0 / SERVICE_S - 10_f64.ln() / LIMIT_S;
        let covers = |(low, high): &(Option<f64>, Option<f64>)| {
            low.is_none_or(|low| low <= truth) && high.is_none_or(|high| truth <= high)
        };
        let covered = found.iter().filter(|line| covers(line)).count();
        let mut widths: Vec<f64> = found.iter().filter_map(|(l, h)| Some((*h)? / (*l)?)).collect();
        widths.sort_by(f64::total_cmp);
        let median = widths.get(widths.len() / 2).map_or("–".into(), |w| format!("{w:.2}"));
        let text = format!(
            "{covered} cover {truth:.0} requests/s; both bounds in {}, median high/low {median}",
            widths.len()
        );
        row("load line of one exponential server (E2E P90 ≤ 15 ms)", lines, &text);
    }
    if pairs > 0 {
        let alarms = comparisons(&programs, "itl_us=5000", pairs, |metric| {
            ["regressed", "improved"].contains(&verdict(metric))
        })?;
        row("equal servers: pairs with any alarm", pairs, &alarms.to_string());
        let found = comparisons(&programs, "itl_us=5250", pairs, |metric| {
            metric["metric"] == "itl_p50" && verdict(metric) == "regressed"
        })?;
        row("tokens 5 % slower: pairs in which itl_p50 regressed", pairs, &found.to_string());
    }
    let _ = fs::remove_dir_all(&programs.scratch);
    Ok(table)
}

fn verdict(metric: &Value) -> &str {
    metric["verdict"].as_str().unwrap_or_default()
}

/// What takes part, and where it may write.
pub(crate) struct Programs {
    truth: PathBuf,
    loadline: PathBuf,
    scratch: PathBuf,
}

impl Programs {
    pub(crate) fn build() -> Result<Self> {
        let root = workspace::root();
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--locked", "--quiet"]);
        let status = cargo
            .args(["-p", "loadline-cli", "-p", "loadline-truth"])
            .current_dir(root)
            .status()?;
        ensure!(status.success(), "the release build failed");
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let scratch = std::env::temp_dir().join(format!("loadline-judge-{}", std::process::id()));
        fs::create_dir_all(&scratch)?;
        let built = |name: &str| target.join("release").join(name);
        Ok(Self { truth: built("loadline-truth"), loadline: built("loadline"), scratch })
    }

    /// Where runs are kept meanwhile.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The document that loadline prints.
    pub(crate) fn document(&self, arguments: &[&str]) -> Result<Value> {
        let output = Command::new(&self.loadline)
            .args(arguments)
            .args(["--json", "--out"])
            .arg(&self.scratch)
            .stderr(Stdio::null())
            .output()?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("loadline {} ended with {}", arguments[0], output.status))
    }
}

/// A server with a law, ended when dropped.
pub(crate) struct Server {
    process: Child,
    url: String,
}

impl Server {
    pub(crate) fn start(programs: &Programs, law: &[&str]) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new(&programs.truth)
            .arg(port.to_string())
            .args(law)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", programs.truth.display()))?;
        let server = Self { process, url: format!("http://127.0.0.1:{port}") };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        anyhow::bail!("the server does not answer on port {port}")
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Bounds of the line that a search finds.
fn load_line(programs: &Programs, seed: usize) -> Result<(Option<f64>, Option<f64>)> {
    let service = format!("ttft=exponential:{}", SERVICE_S * 1e6);
    let server = Server::start(programs, &["slots=1", &service, "itl_us=0", "tokens=1"])?;
    let sla = format!("e2e_p90<={}ms", LIMIT_S * 1e3);
    let document = programs.document(&[
        "serving",
        &server.url,
        "--find=rate",
        "--sla",
        &sla,
        "--duration",
        "10s",
        "--warmup",
        "2s",
        "--prompt-tokens",
        "8",
        "--output-tokens",
        "1",
        "--no-discover",
        "--seed",
        &(seed + 1).to_string(),
    ])?;
    let line = &document["serving"][0]["load_line"]["default"];
    Ok((line["low"].as_f64(), line["high"].as_f64()))
}

/// Pairs of five trials a side in turns, the candidate under another law; how many have a metric of
/// this kind.
fn comparisons(
    programs: &Programs,
    candidate: &str,
    pairs: usize,
    counts: impl Fn(&Value) -> bool,
) -> Result<usize> {
    let law = ["ttft=lognormal:50000,0.2", "tokens=40"];
    let base = Server::start(programs, &[law[0], law[1], "itl_us=5000"])?;
    let other = Server::start(programs, &[law[0], law[1], candidate])?;
    let plans =
        [plan(&programs.scratch, "base", &base)?, plan(&programs.scratch, "other", &other)?];
    let mut hits = 0;
    for _ in 0..pairs {
        let document = programs.document(&["compare", &plans[0], &plans[1], "--interleave"])?;
        let metrics = document["compare"]["metrics"].as_array().context("no comparison")?;
        hits += usize::from(metrics.iter().any(&counts));
    }
    Ok(hits)
}

fn plan(folder: &Path, name: &str, server: &Server) -> Result<String> {
    let path = folder.join(format!("{name}.toml"));
    let text = format!(
        "name = \"{name}\"\n[[serving]]\nendpoint = \"{}\"\nprompt = {{ tokens = 16 }}\n\
         output = {{ tokens = 40 }}\nload = {{ concurrency = 16 }}\nduration = \"3s\"\nwarmup = \"500ms\"\n",
        server.url
    );
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}
