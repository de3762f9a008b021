//! Resuming: a new part beside the old ones, refused where it would do harm.

#![allow(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "tests: a failed step fails the test"
)]

mod rows;

use std::fs;
use std::path::Path;

use loadline_schema::event::{Event, EventKind};
use loadline_schema::manifest::RunStatus;
use loadline_schema::record::TrialId;
use loadline_store::{RunReader, RunState, RunWriter, StoreError};
use rows::{ORIGIN_UNIX_NS, TRIAL, create, plan, requests, row, start};

/// A killed run of one row.
fn killed(out: &Path) -> std::path::PathBuf {
    let mut writer = create(out, &["a"]);
    writer.append_requests(&[row(0, TRIAL, 2)]).unwrap();
    writer.event(&Event { at_ns: 1, kind: EventKind::PartStarted { part: 0 } }).unwrap();
    writer.dir().to_owned()
}

fn record_files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir.join("records"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn every_resume_is_a_part_and_leaves_the_others_alone() {
    let out = tempfile::tempdir().unwrap();
    let dir = killed(out.path());
    let before = record_files(&dir);
    for part in 1..4 {
        let mut writer = RunWriter::resume(&dir, &plan(&["a"]), &start()).unwrap();
        assert_eq!((writer.part(), writer.manifest().parts), (part, part + 1));
        writer.append_requests(&[row(0, TrialId { part, ..TRIAL }, 1)]).unwrap();
        writer.event(&Event { at_ns: 2, kind: EventKind::PartStarted { part } }).unwrap();
        if part == 2 {
            let _ = writer.seal(RunStatus::Interrupted, ORIGIN_UNIX_NS).unwrap();
        }
    }
    let run = RunReader::open(&dir).unwrap();
    assert_eq!(run.state(), RunState::Killed);
    let parts: Vec<u16> = run.trials().iter().map(|trial| trial.part).collect();
    assert_eq!(parts, [0, 1, 2, 3]);
    assert_eq!(requests(&run).len(), 4);
    assert_eq!(run.events().unwrap().events.len(), 4);
    let after = record_files(&dir);
    assert!(before.iter().all(|file| after.contains(file)));
    assert_eq!(run.manifest().origin_unix_ns, ORIGIN_UNIX_NS);
}

#[test]
fn a_torn_line_of_the_log_stays_alone() {
    let out = tempfile::tempdir().unwrap();
    let dir = killed(out.path());
    let log = dir.join("events.jsonl");
    let mut text = fs::read_to_string(&log).unwrap();
    text.push_str("{\"at_ns\":");
    fs::write(&log, text).unwrap();
    let mut writer = RunWriter::resume(&dir, &plan(&["a"]), &start()).unwrap();
    let event = Event { at_ns: 9, kind: EventKind::PartStarted { part: 1 } };
    writer.event(&event).unwrap();
    let events = RunReader::open(&dir).unwrap().events().unwrap();
    assert_eq!(events.events.last(), Some(&event));
    assert_eq!((events.events.len(), events.unreadable_lines), (2, vec![2]));
}

#[test]
fn another_plan_is_refused_and_another_secret_is_not() {
    let out = tempfile::tempdir().unwrap();
    let dir = killed(out.path());
    let error = RunWriter::resume(&dir, &plan(&["b"]), &start()).err().unwrap();
    assert!(matches!(error, StoreError::OtherPlan { .. }), "{error}");
    let stored = RunReader::open(&dir).unwrap().plan().unwrap();
    RunWriter::resume(&dir, &stored, &start()).unwrap();
}

#[test]
fn complete_runs_are_refused() {
    let out = tempfile::tempdir().unwrap();
    let writer = create(out.path(), &["a"]);
    let dir = writer.dir().to_owned();
    let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    let error = RunWriter::resume(&dir, &plan(&["a"]), &start()).err().unwrap();
    assert!(matches!(error, StoreError::Complete { .. }), "{error}");
}

#[test]
fn a_run_that_this_process_writes_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let writer = create(out.path(), &["a"]);
    let error = RunWriter::resume(writer.dir(), &plan(&["a"]), &start()).err().unwrap();
    assert!(matches!(error, StoreError::Alive { .. }), "{error}");
}

/// Rewrites the manifest of a killed run.
fn edit(dir: &Path, change: impl Fn(&mut serde_json::Value)) {
    let path = dir.join("manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[test]
fn the_writer_is_known_by_host_boot_and_start_time() {
    let out = tempfile::tempdir().unwrap();
    let dir = killed(out.path());
    let state = || RunReader::open(&dir).unwrap().state();
    assert_eq!(state(), RunState::Killed);

    // The parent of this process lives, whoever it is.
    let parent = std::os::unix::process::parent_id();
    edit(&dir, |manifest| {
        manifest["hosts"][0]["pid"] = parent.into();
        manifest["hosts"][0]["pid_start_ticks"] = serde_json::Value::Null;
    });
    assert_eq!(state(), RunState::Running);
    // A process of the same number that started at another time is another process.
    edit(&dir, |manifest| manifest["hosts"][0]["pid_start_ticks"] = 1.into());
    assert_eq!(state(), RunState::Killed);

    edit(&dir, |manifest| manifest["hosts"][0]["boot_id"] = "another".into());
    assert_eq!(state(), RunState::Killed);
    edit(&dir, |manifest| manifest["hosts"][0]["name"] = "another-host".into());
    assert_eq!(state(), RunState::Elsewhere);
    let error = RunWriter::resume(&dir, &plan(&["a"]), &start()).err().unwrap();
    assert!(error.to_string().contains("resume it on another-host"), "{error}");
}
