//! Runs the programs and takes their figures.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use super::Programs;
use super::row::{Kind, LoadRow, Ours};

/// A child that ends with us.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A busy loop on the client's core.
pub(super) struct Busy(#[expect(dead_code, reason = "held for its drop")] Kept);

impl Busy {
    pub(super) fn start() -> Result<Self> {
        let child = on_core(1, Path::new("sh")).args(["-c", "while :; do :; done"]).spawn()?;
        Ok(Self(Kept(child)))
    }
}

/// The server with known timing, on core 0.
pub(super) struct Server {
    port: u16,
    _process: Kept,
}

impl Server {
    pub(super) fn start(programs: &Programs) -> Result<Self> {
        let child = on_core(0, &programs.truth)
            .arg(programs.port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", programs.truth.display()))?;
        let server = Self { port: programs.port, _process: Kept(child) };
        for _ in 0..200 {
            if server.get("/health").is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        bail!("the server does not answer on port {}", programs.port)
    }

    pub(super) fn reset(&self, load: &LoadRow) -> Result<()> {
        self.get(&format!("/reset?{}", load.law)).map(|_| ())
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer)?;
            text.extend_from_slice(&buffer[..read]);
            let answer = String::from_utf8_lossy(&text);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().ok())?
            });
            if length.is_some_and(|length| body.len() >= length) || read == 0 {
                ensure!(head.contains(" 200 "), "{path}: {head}");
                return Ok(body.to_owned());
            }
        }
    }

    fn max_in_flight(&self) -> Result<f64> {
        let stats: Value = serde_json::from_str(&self.get("/stats")?)?;
        stats["max_inflight"].as_f64().context("the server tells no max_inflight")
    }

    /// Answer id → (first write − arrival, gaps), and the arrival of the first request, ns.
    fn dump(&self, path: &Path) -> Result<(HashMap<String, Truth>, u64)> {
        self.get(&format!("/dump?path={}", path.display()))?;
        let text = std::fs::read_to_string(path)?;
        let mut first = u64::MAX;
        let mut truth = HashMap::new();
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let cell =
                |at: usize| -> Result<u64> { Ok(cells.get(at).context("a short line")?.parse()?) };
            let (id, arrival, first_write) = (cell(1)?, cell(5)?, cell(7)?);
            let gaps =
                cells[12].split_ascii_whitespace().filter_map(|gap| gap.parse().ok()).collect();
            first = first.min(arrival);
            let ttft_ns = first_write.saturating_sub(arrival);
            truth.insert(format!("chatcmpl-{id:016x}"), Truth { ttft_ns, gaps });
        }
        Ok((truth, first))
    }
}

struct Truth {
    ttft_ns: u64,
    gaps: Vec<u64>,
}

/// CPU of the bare reader per event, µs. Its open loop has an even schedule only.
pub(super) fn reader(programs: &Programs, load: &LoadRow, quick: bool) -> Result<Option<f64>> {
    let (mode, size, amount) = match load.kind {
        Kind::Closed { streams, .. } => ("closed", streams, load.requests(quick)),
        Kind::Open { arrival: "constant", rate, seconds } => {
            ("open", rate, if quick { 1 } else { seconds })
        }
        Kind::Open { .. } => return Ok(None),
    };
    let mut command = on_core(1, &programs.reader);
    command.args([&programs.port.to_string(), mode, &size.to_string(), &amount.to_string()]);
    command.args(["1", "-", "300", "1", "0"]);
    let ran = run(&mut command)?;
    let figures: Value = serde_json::from_str(&ran.stdout)?;
    let events = figures["events_parsed"].as_f64().context("the reader tells no events_parsed")?;
    Ok(Some(ran.cpu_us / events))
}

pub(super) fn ours(
    programs: &Programs,
    server: &Server,
    load: &LoadRow,
    quick: bool,
) -> Result<Ours> {
    let runs = programs.scratch.join("runs");
    let requests = load.requests(quick);
    let mut command = on_core(1, &programs.loadline);
    command.arg("serving").arg(format!("http://127.0.0.1:{}", programs.port));
    command.args([
        "--model",
        "mock",
        "--trials",
        "1",
        "--no-discover",
        "--no-observe",
        "--no-report",
        "--quiet",
    ]);
    command.args([
        "--prompt-tokens",
        "16",
        "--output-tokens",
        &load.tokens.to_string(),
        "--stagger",
        "0s",
    ]);
    command.args(["--requests", &requests.to_string(), "--out"]).arg(&runs);
    match load.kind {
        Kind::Closed { streams, .. } => command.args(["--concurrency", &streams.to_string()]),
        Kind::Open { rate, arrival, .. } => {
            command.args(["--rate", &rate.to_string(), "--arrival", arrival])
        }
    };
    let begin_ns = loadline_clock::unix_ns();
    let ran = run(&mut command)?;
    let dir = PathBuf::from(ran.stdout.lines().last().context("no run directory was named")?);
    let (truth, first_arrival) = server.dump(&programs.scratch.join("dump.csv"))?;
    let export = Command::new(&programs.loadline)
        .args(["export"])
        .arg(&dir)
        .args(["--format", "jsonl", "--chunk-times"])
        .output()?;
    ensure!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    let mut errors = Errors::default();
    for line in String::from_utf8(export.stdout)?.lines() {
        errors.take(&serde_json::from_str(line)?, &truth)?;
    }
    std::fs::remove_dir_all(&runs)?;
    Ok(Ours {
        us_per_event: ran.cpu_us / (requests * load.tokens) as f64,
        ttft_ms: percentile(&mut errors.ttft, 99).context("no answer was matched")? / 1e6,
        gap_ms: percentile(&mut errors.gap, 99).map(|ns| ns / 1e6),
        lag_p50_ms: percentile(&mut errors.lag, 50).unwrap_or(f64::NAN) / 1e6,
        lag_p99_ms: percentile(&mut errors.lag, 99).unwrap_or(f64::NAN) / 1e6,
        memory_mb: ran.peak_kib as f64 / 1024.0,
        start_ms: first_arrival.saturating_sub(begin_ns) as f64 / 1e6,
        streams: server.max_in_flight()?,
    })
}

/// Absolute errors against the truth, and the deviation from the schedule, ns.
#[derive(Default)]
struct Errors {
    ttft: Vec<u64>,
    gap: Vec<u64>,
    lag: Vec<u64>,
}

impl Errors {
    fn take(&mut self, row: &Value, truth: &HashMap<String, Truth>) -> Result<()> {
        ensure!(row["outcome"] == "ok", "a request did not end ok: {row}");
        let time = |name: &str| row[name].as_u64().with_context(|| format!("no {name} in {row}"));
        let id = row["answer_id"].as_str().context("an answer without id")?;
        let truth =
            truth.get(id).with_context(|| format!("the server does not know answer {id}"))?;
        let sent = time("write_begin_ns")?;
        self.lag.push(sent - time("intended_ns")?);
        self.ttft.push((time("first_token_ns")? - sent).abs_diff(truth.ttft_ns));
        let gaps = row["gaps_100ns"].as_array().map(Vec::as_slice).unwrap_or_default();
        if gaps.len() == truth.gaps.len() {
            let ours = gaps.iter().filter_map(|gap| Some(gap.as_u64()? * 100));
            self.gap.extend(ours.zip(&truth.gaps).map(|(ours, true_gap)| ours.abs_diff(*true_gap)));
        }
        Ok(())
    }
}

fn percentile(values: &mut [u64], percent: usize) -> Option<f64> {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).map(|value| *value as f64)
}

struct Ran {
    stdout: String,
    cpu_us: f64,
    peak_kib: u64,
}

/// Runs a command to its end: what it printed, the CPU it used, the most memory it held.
fn run(command: &mut Command) -> Result<Ran> {
    let before = children_cpu_us()?;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(peak_memory_kib(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let cpu_us = children_cpu_us()? - before;
    let mut stdout = String::new();
    child.stdout.take().context("a pipe was asked for")?.read_to_string(&mut stdout)?;
    ensure!(status.success(), "{command:?} ended with {status}: {stdout}");
    Ok(Ran { stdout, cpu_us, peak_kib })
}

fn children_cpu_us() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    Ok(us(usage.user_time()) + us(usage.system_time()))
}

fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}

/// A command pinned to one core; `taskset` becomes the program, so that figures are its own.
fn on_core(core: u32, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}
