//! A real Prometheus, what it scrapes, and a recorder between the two that keeps every page.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

mod recorder;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use recorder::Recorder;

/// How often a condition is looked at, and how often at most: two minutes.
const PAUSE: Duration = Duration::from_millis(50);
const LOOKS: usize = 2_400;

/// The value of an environment variable that `./test` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run ./test, which sets it, or eval \"$(scripts/prometheus-server)\" \
             and eval \"$(scripts/llama-server)\""
        )
    })
}

/// A free port of 127.0.0.1.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `look` gives something; `what` is awaited.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("waited in vain for {what}")
}

/// Head and body of the answer to a request on a connection of its own.
pub(crate) fn exchange(server: SocketAddr, request: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.to_owned(), body.to_owned()))
}

/// A raw sample: its time, s since the Unix epoch, and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at_s: f64,
    pub(crate) value: f64,
}

/// A running Prometheus that scrapes each of its jobs every second.
pub(crate) struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// Starts it; a job is a name and a port of 127.0.0.1.
    pub(crate) fn start(jobs: &[(&str, u16)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
        for (job, port) in jobs {
            let target = format!("[{{targets: [\"127.0.0.1:{port}\"]}}]");
            writeln!(config, "- {{job_name: {job}, static_configs: {target}}}").unwrap();
        }
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut process = Command::new(variable("LOADLINE_PROMETHEUS"))
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("ready to receive web requests") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "Prometheus ended before it was ready");
        }
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, address, _folder: folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `result` of an instant query at a moment, s since the Unix epoch; now without one.
    fn query(&self, query: &str, at_s: Option<f64>) -> Vec<Value> {
        let query = query.bytes().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02x}");
            text
        });
        let time = at_s.map_or(String::new(), |at_s| format!("&time={at_s:.3}"));
        let body = format!("query={query}{time}");
        let request = format!(
            "POST /api/v1/query HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (head, body) = exchange(self.address, &request).unwrap();
        assert!(head.contains(" 200 "), "{head}\n{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["data"]["result"].as_array().expect("a list").clone()
    }

    /// The only value of an instant query.
    pub(crate) fn value(&self, query: &str, at_s: f64) -> f64 {
        let result = self.query(query, Some(at_s));
        assert_eq!(result.len(), 1, "{query}: {result:?}");
        number(&result[0]["value"][1])
    }

    /// The raw samples of a series so far.
    pub(crate) fn samples(&self, series: &str) -> Vec<Sample> {
        let result = self.query(&format!("{series}[1h]"), None);
        assert!(result.len() < 2, "{series}: {result:?}");
        let values = result.first().and_then(|series| series["values"].as_array().cloned());
        let sample = |pair: &Value| Sample {
            at_s: pair[0].as_f64().expect("a time"),
            value: number(&pair[1]),
        };
        values.unwrap_or_default().iter().map(sample).collect()
    }

    /// Waits until a series has at least so many raw samples.
    pub(crate) fn await_samples(&self, series: &str, count: usize) -> Vec<Sample> {
        until(series, || Some(self.samples(series)).filter(|found| found.len() >= count))
    }
}

/// A number as Prometheus writes it; Rust reads `NaN` and `+Inf` too.
fn number(value: &Value) -> f64 {
    value.as_str().expect("a text").parse().unwrap()
}
