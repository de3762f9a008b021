//! `loadline latency --prometheus` against a server that answers as Prometheus does, or as something
//! else does. A real Prometheus is in real_prometheus.rs.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use assert_cmd::Command;

/// What a request gets: status and body, by its first line.
type Answers = fn(&str) -> (u16, String);

/// A server for as long as it lives; keeps the heads of requests.
struct Fake {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Fake {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&heads), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let _ = stream.and_then(|stream| reply(stream, answers, &kept));
            }
        });
        Self { address, heads, stop, thread: Some(thread) }
    }

    /// Code, stdout and stderr of a look at job `vllm` from 1000 s to 1060 s.
    fn latency(&self, more: &[&str]) -> (i32, String, String) {
        let url = format!("http://{}", self.address);
        let window = ["--prometheus", &url, "--job", "vllm", "--start", "1000", "--end", "1060"];
        let mut command = Command::cargo_bin("loadline").unwrap();
        command.env("TOKEN", "tok-123456").arg("latency").args(window).args(more);
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!words.contains("panicked"), "{words}");
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), words)
    }
}

fn reply(
    mut stream: TcpStream,
    answers: Answers,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4_096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (status, body) = answers(head.lines().next().unwrap_or_default());
    heads.lock().unwrap().push(head);
    let length = body.len();
    let top =
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((top + &body).as_bytes())
}

fn success(result: &str) -> (u16, String) {
    (200, format!(r#"{{"status":"success","data":{result}}}"#))
}

/// Raw samples of a count at the times of scrapes.
fn count(scrapes: &[(f64, u32)]) -> String {
    let values: Vec<String> = scrapes.iter().map(|(at, n)| format!("[{at},\"{n}\"]")).collect();
    let labels = r#""__name__":"vllm:time_to_first_token_seconds_count","instance":"g:1""#;
    let series = format!(r#"{{"metric":{{{labels}}},"values":[{}]}}"#, values.join(","));
    format!(r#"{{"resultType":"matrix","result":[{series}]}}"#)
}

/// Raw samples of a histogram with the bounds 0.1, 0.2 and +Inf and so many values in each, at the
/// times of scrapes.
fn histogram(scrapes: &[(f64, [u32; 3])]) -> String {
    let series = |name: &str, le: &str, of: fn([u32; 3]) -> u32| {
        let values = scrapes.iter().map(|(at, counts)| format!("[{at},\"{}\"]", of(*counts)));
        let values: Vec<String> = values.collect();
        let labels =
            format!(r#""__name__":"vllm:time_to_first_token_seconds_{name}","instance":"g:1""#);
        format!(r#"{{"metric":{{{labels}{le}}},"values":[{}]}}"#, values.join(","))
    };
    let all = [
        series("bucket", r#","le":"0.1""#, |counts| counts[0]),
        series("bucket", r#","le":"0.2""#, |counts| counts[0] + counts[1]),
        series("bucket", r#","le":"+Inf""#, |counts| counts.iter().sum()),
        series("count", "", |counts| counts.iter().sum()),
        series("sum", "", |counts| counts.iter().sum()),
    ];
    format!(r#"{{"resultType":"matrix","result":[{}]}}"#, all.join(","))
}

fn good(line: &str) -> (u16, String) {
    if line.contains("/metadata") {
        success("{}")
    } else if line.contains("resets") {
        success(r#"{"resultType":"vector","result":[]}"#)
    } else if line.contains("time=1000.000") {
        success(&histogram(&[(980.0, [0, 0, 0]), (995.0, [1, 2, 0])]))
    } else {
        success(&histogram(&[(1040.0, [1, 9, 0]), (1055.0, [4, 9, 0])]))
    }
}

#[test]
fn the_last_sample_at_or_before_each_end_counts() {
    let server = Fake::start(good);
    let (code, text, words) = server.latency(&["--json", "--sla", "ttft<=100ms"]);
    assert_eq!((code, words.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ttft = &json["latency"][0];
    assert_eq!((&ttft["n"], &ttft["mean"]), (&10.into(), &1.0.into()));
    assert_eq!(ttft["buckets"][0]["n"], 3);
    assert_eq!(ttft["attainment"]["ttft<=100ms"]["share"], 0.3);
    let heads = server.heads.lock().unwrap();
    assert!(heads.iter().any(|head| head.contains("%5B300000ms%5D&time=1000.000 ")), "{heads:?}");
    assert!(heads.iter().all(|head| !head.contains("Authorization")), "{heads:?}");
}

/// Whether a scrape succeeded, at the times of scrapes; as Prometheus itself keeps it.
fn up(scrapes: &[(f64, u32)]) -> String {
    count(scrapes).replace("vllm:time_to_first_token_seconds_count", "up")
}

const SERVERS: &str =
    r#"{"resultType":"vector","result":[{"metric":{"instance":"g:1"},"value":[1000,"5"]}]}"#;

/// As [`good`], of a server that Prometheus scrapes itself.
fn scraped(line: &str) -> (u16, String) {
    if line.contains("query=up%7B") {
        let is_first = line.contains("time=1000.000");
        let last = if is_first { [(980.0, 1), (995.0, 1)] } else { [(1040.0, 1), (1055.0, 1)] };
        success(&up(&last))
    } else if line.contains("last_over_time") {
        success(SERVERS)
    } else {
        good(line)
    }
}

/// The requests for raw samples of histograms, by the time before the ends that they ask for.
fn raw_requests(server: &Fake, range: &str) -> usize {
    let heads = server.heads.lock().unwrap();
    let lines = heads.iter().filter_map(|head| head.lines().next());
    lines.filter(|line| line.contains("query=%7Bjob") && line.contains(range)).count()
}

#[test]
fn no_more_than_the_last_two_scrapes_are_asked_for() {
    let server = Fake::start(scraped);
    let (code, text, words) = server.latency(&["--json"]);
    assert_eq!((code, words.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["latency"][0]["n"], 10);
    // Two scrapes tell the interval; with one the sample would be called stale.
    assert!(!json["warnings"].to_string().contains("stale_sample"), "{}", json["warnings"]);
    assert_eq!(raw_requests(&server, "%5B22000ms%5D"), 2);
    assert_eq!(raw_requests(&server, "%5B300000ms%5D"), 0);
}

#[test]
fn samples_with_times_of_their_own_are_found_in_the_whole_lookback() {
    let server = Fake::start(|line| {
        if line.contains("query=%7Bjob") && line.contains("%5B22000ms%5D") {
            success(r#"{"resultType":"matrix","result":[]}"#)
        } else {
            scraped(line)
        }
    });
    let (code, text, words) = server.latency(&[]);
    assert_eq!((code, words.as_str()), (0, ""));
    assert!(text.contains("10 values"), "{text}");
    assert_eq!(raw_requests(&server, "%5B300000ms%5D"), 2);
}

#[test]
fn an_answer_that_is_too_long_names_the_limit_and_the_lookback() {
    let server = Fake::start(|line| {
        if line.contains("query=%7Bjob") { (200, " ".repeat((64 << 20) + 1)) } else { good(line) }
    });
    let (code, text, words) = server.latency(&[]);
    assert_eq!((code, text.as_str()), (2, ""), "{words}");
    for part in ["longer than 64 MiB", "--lookback below 300 s"] {
        assert!(words.contains(part), "{words}");
    }
    assert!(!words.contains("LLM server"), "{words}");
}

#[test]
fn an_answer_of_more_than_8_mib_is_read() {
    let server = Fake::start(|line| {
        let (status, body) = good(line);
        let is_raw = line.contains("query=%7Bjob");
        (status, if is_raw { " ".repeat(9 << 20) + &body } else { body })
    });
    let (code, text, words) = server.latency(&[]);
    assert_eq!((code, words.as_str()), (0, ""));
    assert!(text.contains("10 values"), "{text}");
}

#[test]
fn a_restart_that_the_ends_do_not_show_is_found() {
    let server = Fake::start(|line| {
        if line.contains("resets") {
            success(
                r#"{"resultType":"vector","result":[{"metric":{"instance":"g:1"},"value":[1060,"1"]}]}"#,
            )
        } else if line.contains("instance%3D") {
            success(&count(&[(995.0, 3), (1010.0, 17), (1025.0, 1), (1055.0, 13)]))
        } else {
            good(line)
        }
    });
    let (code, text, words) = server.latency(&[]);
    assert_eq!((code, text.as_str()), (2, ""), "{words}");
    for part in [
        "g:1 was restarted",
        "00:16:50Z and 1970-01-01T00:17:05Z",
        "seconds_count fell from 17 to 1)",
    ] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn a_restart_before_the_window_is_no_matter() {
    let server = Fake::start(|line| {
        if line.contains("resets") {
            success(
                r#"{"resultType":"vector","result":[{"metric":{"instance":"g:1"},"value":[1060,"1"]}]}"#,
            )
        } else if line.contains("instance%3D") {
            success(&count(&[(980.0, 9), (995.0, 3), (1055.0, 13)]))
        } else {
            good(line)
        }
    });
    let (code, text, words) = server.latency(&[]);
    assert_eq!((code, words.as_str()), (0, ""));
    assert!(text.contains("10 values"), "{text}");
}

#[test]
fn a_job_without_samples_is_told_with_the_jobs_that_there_are() {
    let server = Fake::start(|line| {
        if line.contains("/label/job/values") {
            success(r#"["node","vllm-prod"]"#)
        } else {
            success(r#"{"resultType":"matrix","result":[]}"#)
        }
    });
    let (code, text, words) = server.latency(&[]);
    assert_eq!((code, text.as_str()), (2, ""), "{words}");
    assert!(words.contains("job vllm") && words.contains("node, vllm-prod"), "{words}");
}

#[test]
fn what_is_no_prometheus_is_told() {
    for answers in [
        (|_| (200, "<!DOCTYPE html><html><body>Sign in</body></html>".to_owned())) as Answers,
        |_| (404, "<html>Not Found</html>".to_owned()),
        |_| (200, r#"{"object":"list","data":[]}"#.to_owned()),
        |_| (200, "# TYPE a counter\na 1\n".to_owned()),
    ] {
        let server = Fake::start(answers);
        let (code, text, words) = server.latency(&[]);
        assert_eq!((code, text.as_str()), (2, ""), "{words}");
        assert!(words.contains("Prometheus server"), "{words}");
        assert!(!words.contains("Sign in"), "{words}");
    }
}

#[test]
fn without_the_right_token_nothing_is_had() {
    let answers: Answers = |_| (401, "Unauthorized".to_owned());
    let server = Fake::start(answers);
    let (code, text, words) = server.latency(&["--token-env", "TOKEN"]);
    assert_eq!((code, text.as_str()), (3, ""), "{words}");
    assert!(words.contains("--token-env") && !words.contains("tok-123456"), "{words}");
    let heads = server.heads.lock().unwrap();
    assert!(heads.iter().all(|head| head.contains("Authorization: Bearer tok-123456")));
}

#[test]
fn a_refused_query_says_why() {
    let server = Fake::start(|_| {
        let error = r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples"}"#;
        (422, error.to_owned())
    });
    let (code, text, words) = server.latency(&[]);
    assert_eq!((code, text.as_str()), (2, ""), "{words}");
    assert!(words.contains("too many samples"), "{words}");
}
