//! A writer killed at any instant leaves a readable run that holds every batch whose write had
//! returned, is recognised as killed, and can be resumed.

#![allow(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "tests: a failed step fails the test"
)]

mod rows;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use loadline_schema::event::{Event, EventKind};
use loadline_schema::manifest::RunStatus;
use loadline_schema::record::{RequestRow, TrialId};
use loadline_store::{RunReader, RunState, RunWriter, StoreError, find};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rows::{ORIGIN_UNIX_NS, TRIAL, create, plan, requests, row, start, start_of};

/// Tells the child process where to write.
const OUT: &str = "LOADLINE_TEST_OUT";

/// The child's rows: batch sizes vary, one row in seven has no chunk times.
fn child_row(op: u64) -> RequestRow {
    let mut row = row(op, TrialId { trial: (op / 500) as u16, ..TRIAL }, op as usize % 60);
    if op.is_multiple_of(7) {
        row.chunks = None;
    }
    row
}

/// Not a test by itself: the process that the tests below kill. Says on stdout how many starts and
/// requests are stored, after each append.
#[test]
fn child_writes_until_killed() {
    let Some(out) = std::env::var_os(OUT) else { return };
    let mut writer = create(Path::new(&out), &["a"]);
    let mut told = std::io::stdout().lock();
    writeln!(told, "run {}", writer.dir().display()).unwrap();
    let mut op = 0;
    loop {
        let rows: Vec<RequestRow> = (op..op + 1 + op % 40).map(child_row).collect();
        let starts: Vec<_> = rows.iter().map(start_of).collect();
        writer.append_starts(&starts).unwrap();
        writer.event(&Event { at_ns: op, kind: EventKind::PartStarted { part: 0 } }).unwrap();
        op += rows.len() as u64;
        writeln!(told, "starts {op}").unwrap();
        writer.append_requests(&rows).unwrap();
        writeln!(told, "requests {op}").unwrap();
        if op > 3000 && op.is_multiple_of(3) {
            let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
            return;
        }
    }
}

/// What a killed child had said.
#[derive(Debug, Default)]
struct Said {
    dir: PathBuf,
    starts: u64,
    requests: u64,
}

fn child(out: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child_writes_until_killed", "--exact", "--nocapture"])
        .env(OUT, out)
        .stdout(Stdio::piped());
    command
}

/// Starts a child and kills it after so many of its lines and then so long; `None` when it was
/// through before.
fn kill_after(out: &Path, lines: u32, delay: Duration) -> Option<Said> {
    let mut child = child(out).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut said = Said::default();
    let mut lines_left = lines;
    let mut line = String::new();
    let mut hear = |said: &mut Said| {
        line.clear();
        let got = told.read_line(&mut line).unwrap() > 0;
        match line.trim_end().split_once(' ') {
            Some(("run", dir)) => said.dir = dir.into(),
            Some(("starts", n)) => said.starts = n.parse().unwrap(),
            Some(("requests", n)) => said.requests = n.parse().unwrap(),
            _ => return (got, false),
        }
        (got, true)
    };
    while lines_left > 0 {
        let (got, ours) = hear(&mut said);
        if !got {
            break;
        }
        lines_left -= u32::from(ours);
    }
    std::thread::sleep(delay);
    child.kill().unwrap();
    // What stands in the pipe was said before the kill.
    while hear(&mut said).0 {}
    let killed = child.wait().unwrap().signal() == Some(9);
    killed.then_some(said)
}

#[test]
fn killed_writers_leave_every_batch_that_was_written() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut killed = 0;
    while killed < 20 {
        let out = tempfile::tempdir().unwrap();
        let lines = random.random_range(1..150);
        let delay = Duration::from_micros(random.random_range(0..2000));
        let Some(said) = kill_after(out.path(), lines, delay) else { continue };
        killed += 1;
        let run = RunReader::open(&said.dir).unwrap();
        if run.state() == RunState::Sealed {
            continue;
        }
        assert_eq!(run.state(), RunState::Killed);
        let read = requests(&run);
        assert!(read.len() as u64 >= said.requests, "{said:?}, stored {}", read.len());
        assert!(read.iter().cloned().eq((0..read.len() as u64).map(child_row)));
        let counts = run.trial_counts();
        let starts: u64 = counts.values().map(|counts| counts.starts).sum();
        assert!(starts >= said.starts && starts >= read.len() as u64, "{said:?}, {starts}");
        assert_eq!(run.events().unwrap().unreadable_lines, [0; 0]);

        let id = &run.manifest().id;
        assert_eq!(find(out.path(), &id[..6]).unwrap(), said.dir);
        resume_and_seal(&said.dir, &read);
    }
}

/// Resumes a killed run, adds a row and seals it: old and new rows are there.
fn resume_and_seal(dir: &Path, before: &[RequestRow]) {
    let mut writer = RunWriter::resume(dir, &plan(&["a"]), &start()).unwrap();
    assert_eq!(writer.part(), 1);
    let new = row(0, TrialId { part: 1, ..TRIAL }, 3);
    writer.append_requests(std::slice::from_ref(&new)).unwrap();
    let report = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    assert!(report.kept.is_empty(), "{:?}", report.kept);
    let run = RunReader::open(dir).unwrap();
    assert_eq!(run.state(), RunState::Sealed);
    let after = requests(&run);
    assert_eq!(after[..before.len()], *before);
    assert_eq!(after[before.len()..], [new]);
}

#[test]
fn a_living_writer_is_running_and_cannot_be_resumed() {
    let out = tempfile::tempdir().unwrap();
    let mut child = child(out.path()).stdin(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let dir = told.find_map(|line| Some(PathBuf::from(line.unwrap().strip_prefix("run ")?)));
    let dir = dir.unwrap();
    // The child stops by itself once the pipe is full, so it lives for as long as nobody reads.
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::STOP,
    )
    .unwrap();
    let run = RunReader::open(&dir).unwrap();
    if run.state() == RunState::Running {
        let error = RunWriter::resume(&dir, &plan(&["a"]), &start()).err().unwrap();
        let pid = child.id();
        assert!(matches!(error, StoreError::Alive { pid: alive, .. } if alive == pid), "{error}");
    } else {
        assert_eq!(run.state(), RunState::Sealed, "it was through before the stop");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_dropped_writer_leaves_a_killed_run() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    let dir = writer.dir().to_owned();
    writer.append_requests(&[row(0, TRIAL, 2)]).unwrap();
    assert_eq!(RunReader::open(&dir).unwrap().state(), RunState::Running);
    drop(writer);
    // A child that another test is just forking holds the lock until it becomes its program.
    while RunReader::open(&dir).unwrap().state() == RunState::Running {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(RunReader::open(&dir).unwrap().state(), RunState::Killed);
}
