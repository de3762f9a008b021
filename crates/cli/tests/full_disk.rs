//! A disk that fills up during a run: the command stops, says what to do, leaves a readable run, and
//! goes on from there once there is room.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;
use loadline_testkit::{Law, TruthThread};
use serde_json::Value;

const REQUESTS: u64 = 2_000;

/// Unmounts a tmpfs at the end of a test.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// A tmpfs of this size; `None` where this process may not mount.
    fn tmpfs(at: &'a Path, size: &str) -> Option<Self> {
        mount(at, &format!("size={size}")).then_some(Self(at))
    }

    fn grow(&self, size: &str) {
        assert!(mount(self.0, &format!("remount,size={size}")));
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

fn mount(at: &Path, options: &str) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).stderr(Stdio::null());
    mount.status().is_ok_and(|status| status.success())
}

fn server() -> TruthThread {
    let law = Law::default().with("ttft_us=10000&itl_us=0&tokens=30").unwrap();
    TruthThread::start(law).unwrap()
}

/// `loadline serving`, run by a shell after these words of it.
fn serving(before: &str, server: &TruthThread, out: &Path, more: &[&str]) -> Output {
    let requests = REQUESTS.to_string();
    Command::new("sh")
        .args(["-c", &format!("{before} exec \"$@\""), "sh"])
        .arg(cargo_bin("loadline"))
        .args(["serving", &server.url(), "--concurrency", "8", "--requests", &requests])
        .args(["--trials", "1", "--seed", "7", "--prompt-tokens", "8", "--output-tokens", "30"])
        .args(["--no-discover", "--json", "--out"])
        .arg(out)
        .args(more)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn only_run(out: &Path) -> PathBuf {
    let runs = std::fs::read_dir(out).unwrap().map(|run| run.unwrap().path());
    let mut runs: Vec<PathBuf> = runs.filter(|path| path.join("manifest.json").exists()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.pop().unwrap()
}

fn ok_requests(document: &Value) -> u64 {
    document["serving"][0]["points"][0]["requests"]["ok"].as_u64().unwrap()
}

/// Runs into the limit, then on without it.
fn check(before: &str, out: &Path, room_again: impl FnOnce()) {
    let server = server();
    let full = serving(before, &server, out, &[]);
    let words = text(&full.stderr);
    assert_eq!(full.status.code(), Some(6), "{words}");
    for part in ["cannot append to", "free space", "--resume", "are kept and readable"] {
        assert!(words.contains(part), "'{part}' is missing in: {words}");
    }
    assert!(!words.contains("panicked"), "{words}");
    let run = only_run(out);
    let document: Value = serde_json::from_slice(&full.stdout).unwrap();
    let point = &document["serving"][0]["points"][0];
    // The reason is in the log only where the log still had room for it.
    let reason = &point["incomplete"]["reason"];
    assert_eq!(point["incomplete"]["trials"], 1, "{point}");
    assert!(reason.is_null() || reason == "store_failed", "{point}");
    assert!((1..REQUESTS).contains(&ok_requests(&document)), "{point}");

    let again =
        Command::new(cargo_bin("loadline")).args(["report", "--json"]).arg(&run).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), text(&full.stdout), "the run is as readable later");

    room_again();
    let resumed = serving("", &server, out, &["--resume", &run.display().to_string()]);
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed.stderr));
    let document: Value = serde_json::from_slice(&resumed.stdout).unwrap();
    assert_eq!(ok_requests(&document), REQUESTS);
}

#[test]
fn a_disk_that_fills_up_during_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(dir.path(), "400k") else {
        eprintln!("SKIPPED: a_disk_that_fills_up_during_a_run needs mount rights");
        return;
    };
    check("", dir.path(), || mounted.grow("40m"));
}

/// The same for anybody: a limit on the size of files stops an append in the same way.
#[test]
fn files_that_may_not_grow_further() {
    let dir = tempfile::tempdir().unwrap();
    // SIGXFSZ would end the process before the write could fail, so it is ignored. The shell counts
    // the limit in KiB, or in blocks of 512 bytes where it is the plain POSIX one.
    check("trap '' XFSZ; ulimit -f 500;", dir.path(), || {});
}

#[test]
fn a_disk_that_is_full_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(dir.path(), "4k") else {
        eprintln!("SKIPPED: a_disk_that_is_full_before_the_run needs mount rights");
        return;
    };
    let _ = std::fs::write(dir.path().join("hog"), vec![1; 8 << 10]);
    let full = serving("", &server(), dir.path(), &[]);
    let words = text(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{words}");
    for part in ["No space left", "free space", dir.path().to_str().unwrap()] {
        assert!(words.contains(part), "'{part}' is missing in: {words}");
    }
}
