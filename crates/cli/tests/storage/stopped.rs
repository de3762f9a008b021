//! Ctrl-C, kill -9 of the program and a resume.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Scratch, names};

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition holds.
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "a deadline of a wait, not a measurement")]
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The working directory in a folder, once there is a file in it that I/O goes to.
pub(crate) fn work_directory(work: &Path) -> PathBuf {
    wait_for("a job's file", || {
        let dir = names(work).into_iter().find(|name| name.starts_with("loadline-work-"))?;
        let dir = work.join(dir);
        let entries = std::fs::read_dir(&dir).ok()?;
        let jobs = entries.flatten().filter(|entry| {
            let is_job = entry.file_name().to_string_lossy().starts_with("job");
            is_job && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
        });
        (jobs.count() > 0).then_some(dir)
    })
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn signal(pid: u32, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// Kills a program and its children at once; nobody is left to clean up.
pub(crate) fn kill_with_children(run: &mut Child) {
    let children = children(run.id());
    assert!(!children.is_empty());
    // Stopped first, so that no child sees its parent die.
    for pid in &children {
        signal(*pid, "-STOP");
    }
    signal(run.id(), "-KILL");
    run.wait().unwrap();
    for pid in children {
        signal(pid, "-KILL");
        wait_for("the child's end", || (!is_alive(pid)).then_some(()));
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z"))
}

const LONG: [&str; 9] =
    ["storage", "work", "--rw", "write", "--size", "8m", "--runtime", "60s", "--quiet"];

#[test]
fn ctrl_c_keeps_what_was_measured_and_removes_everything() {
    let scratch = Scratch::new();
    let mut run = scratch.command(&LONG).stdout(std::process::Stdio::null()).spawn().unwrap();
    work_directory(&scratch.work());
    let rows = || {
        let run = std::fs::read_dir(scratch.path().join("runs")).ok()?.next()?.ok()?.path();
        let mut records = std::fs::read_dir(run.join("records")).ok()?;
        records.next().map(|_| ())
    };
    wait_for("the first rows", rows);
    signal(run.id(), "-INT");
    let status = run.wait().unwrap();
    assert_eq!(status.code(), Some(6));
    scratch.nothing_is_left();
    let document: Value =
        serde_json::from_str(&scratch.loadline(&["report", &scratch.only_run(), "--json"]).1)
            .unwrap();
    let cell = &document["storage"][0];
    assert!(cell["directions"]["write"]["lat_ns"]["n"].as_u64().unwrap() > 0, "{cell}");
}

#[test]
fn a_program_that_is_killed_leaves_nothing_on_the_storage() {
    let scratch = Scratch::new();
    let mut run = scratch.command(&LONG).spawn().unwrap();
    work_directory(&scratch.work());
    let child = children(run.id())[0];
    signal(run.id(), "-KILL");
    run.wait().unwrap();
    wait_for("the child's end", || (!is_alive(child)).then_some(()));
    scratch.nothing_is_left();
}

#[test]
fn a_run_that_was_stopped_goes_on() {
    let scratch = Scratch::new();
    let plan = "[[storage]]\npath = \"work\"\nworkload = [\"seq-write\", \"seq-read\"]\nsize = \"4MiB\"\nruntime = \"400ms\"\ntrials = 4\n";
    std::fs::write(scratch.path().join("plan.toml"), plan).unwrap();
    let mut run = scratch
        .command(&["run", "plan.toml", "--quiet"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ended = || {
        let run = std::fs::read_dir(scratch.path().join("runs")).ok()?.next()?.ok()?.path();
        let log = std::fs::read_to_string(run.join("events.jsonl")).ok()?;
        log.contains("\"storage_trial\"").then_some(())
    };
    wait_for("the first trial", ended);
    signal(run.id(), "-INT");
    assert_eq!(run.wait().unwrap().code(), Some(6));
    scratch.nothing_is_left();
    let resume = ["run", "plan.toml", "--resume", &scratch.only_run()];
    let document = scratch.document(&resume, 0);
    for cell in document["storage"].as_array().unwrap() {
        assert_eq!(cell["trials"], 4, "{cell}");
    }
    scratch.nothing_is_left();
}
