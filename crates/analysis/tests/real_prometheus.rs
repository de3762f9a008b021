//! Our quantiles against those of a real Prometheus server, on 10,000 random histograms. Run it with
//! `eval "$(scripts/prometheus-server)"` first; without a server it fails and says so.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use loadline_analysis::bucket_quantile;
use loadline_schema::metric_window::{Bucket, Family, Histogram, Labels, Series};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rand_distr::{Distribution as _, LogNormal, Uniform};

const HISTOGRAMS: usize = 10_000;
/// When all samples were taken, s since the Unix epoch.
const AT_S: u64 = 1_700_000_000;
const RELATIVE: f64 = 1e-12;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: eval \"$(scripts/prometheus-server)\", then run this again")
    })
}

/// A running server over a folder with blocks.
struct Prometheus {
    process: Child,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").unwrap();
        let mut process = Command::new(variable("LOADLINE_PROMETHEUS"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--storage.tsdb.retention.time=100y")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("ready to receive web requests") {
            line.clear();
            let read = log.read_line(&mut line).unwrap();
            assert!(read > 0, "the server ended before it was ready");
        }
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, port }
    }

    /// The values of an instant query by the label `i`.
    fn query(&self, query: &str) -> BTreeMap<usize, f64> {
        let query = query.bytes().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02x}");
            text
        });
        let body = format!("query={query}&time={AT_S}");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "POST /api/v1/query HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(" 200 "), "{answer}");
        let answer: serde_json::Value = serde_json::from_str(body).unwrap();
        let result = answer["data"]["result"].as_array().expect("a vector");
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let pair = |series: &serde_json::Value| {
            let value = text(&series["value"][1]);
            // Rust reads "NaN" and "+Inf" as Prometheus writes them.
            (text(&series["metric"]["i"]).parse().unwrap(), value.parse().unwrap())
        };
        result.iter().map(pair).collect()
    }
}

/// A histogram with bounds and counts of every kind that servers have: from 1 to 30 finite bounds, some
/// of them at or below zero, buckets without values, values above the last bound, counts that are not
/// whole.
fn random(rng: &mut ChaCha8Rng) -> Vec<Bucket> {
    let unit = Uniform::new(0.0, 1.0).expect("a range");
    let chance = |rng: &mut ChaCha8Rng, p: f64| unit.sample(rng) < p;
    let finite = 1 + (unit.sample(rng) * 30.0) as usize;
    let width = LogNormal::new(-2.0, 2.0).expect("a law");
    let values = LogNormal::new(3.0, 2.0).expect("a law");
    let is_whole = chance(rng, 0.8);
    let mut le = if chance(rng, 0.1) { -unit.sample(rng) } else { 0.0 };
    let mut count = 0.0;
    let mut buckets = Vec::with_capacity(finite + 1);
    for at in 0..=finite {
        le += width.sample(rng);
        if !chance(rng, 0.3) {
            let n: f64 = values.sample(rng);
            count += if is_whole { n.round() } else { n };
        }
        let le = if at == finite { f64::INFINITY } else { le };
        buckets.push(Bucket { le, count });
    }
    buckets
}

/// The histograms; each has a partner with the same bounds, and both have the label `pair`.
fn histograms() -> Vec<Vec<Bucket>> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut all = Vec::with_capacity(HISTOGRAMS);
    while all.len() < HISTOGRAMS {
        let first = random(&mut rng);
        let mut second = first.clone();
        for (bucket, at) in second.iter_mut().zip(1..) {
            bucket.count = (bucket.count / 3.0).floor() + f64::from(at);
        }
        all.extend([first, second]);
    }
    all
}

fn page(histograms: &[Vec<Bucket>]) -> String {
    let mut page = "# TYPE h histogram\n".to_owned();
    for (i, buckets) in histograms.iter().enumerate() {
        for Bucket { le, count } in buckets {
            let le = if le.is_infinite() { "+Inf".to_owned() } else { le.to_string() };
            let _ = writeln!(
                page,
                "h_bucket{{i=\"{i}\",pair=\"{}\",le=\"{le}\"}} {count} {AT_S}",
                i / 2
            );
        }
    }
    page + "# EOF\n"
}

fn assert_same(found: f64, theirs: f64, q: f64, buckets: &[Bucket]) {
    let is_same = (found.is_nan() && theirs.is_nan())
        || found == theirs
        || (found - theirs).abs() <= RELATIVE * theirs.abs();
    assert!(is_same, "q = {q}: {found} here, {theirs} there, of {buckets:?}");
}

#[test]
fn quantiles_are_those_of_prometheus() {
    let histograms = histograms();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.om");
    std::fs::write(&file, page(&histograms)).unwrap();
    let blocks = Command::new(variable("LOADLINE_PROMTOOL"))
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &folder.path().join("tsdb")])
        .output()
        .unwrap();
    assert!(blocks.status.success(), "{}", String::from_utf8_lossy(&blocks.stderr));
    let prometheus = Prometheus::start(folder.path());
    let mut compared = 0;
    for q in [0.0, 0.01, 0.123_456_789, 0.5, 0.9, 0.99, 0.999, 1.0] {
        let theirs = prometheus.query(&format!("histogram_quantile({q}, h_bucket)"));
        assert_eq!(theirs.len(), HISTOGRAMS);
        for (i, buckets) in histograms.iter().enumerate() {
            assert_same(bucket_quantile(q, buckets).value, theirs[&i], q, buckets);
            compared += 1;
        }
        let query = format!(
            "label_replace(histogram_quantile({q}, sum by (le, pair) (h_bucket)), \"i\", \"$1\", \"pair\", \"(.*)\")"
        );
        let theirs = prometheus.query(&query);
        assert_eq!(theirs.len(), HISTOGRAMS / 2);
        for (pair, both) in histograms.chunks(2).enumerate() {
            let buckets = summed(both);
            assert_same(bucket_quantile(q, &buckets).value, theirs[&pair], q, &buckets);
            compared += 1;
        }
    }
    assert_eq!(compared, 8 * (HISTOGRAMS + HISTOGRAMS / 2));
}

/// Two histograms added as the product adds series.
fn summed(both: &[Vec<Bucket>]) -> Vec<Bucket> {
    let series = both.iter().zip(0..).map(|(buckets, i): (_, u32)| Series {
        labels: Labels::from([("i".to_owned(), i.to_string())]),
        value: Histogram { buckets: buckets.clone(), count: 0.0, sum: None },
    });
    let family = Family { name: "h".into(), unit: None, series: series.collect() };
    family.summed(&[]).expect("equal bounds").remove(0).value.buckets
}
