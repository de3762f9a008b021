//! What is written is what is read: rows through streams and Parquet, events, plan, manifest.

#![allow(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "tests: a failed step fails the test"
)]

mod rows;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use loadline_schema::event::{Event, EventKind, Progress, Warning};
use loadline_schema::manifest::RunStatus;
use loadline_schema::outcome::Phase;
use loadline_schema::record::{RequestRow, Start, TrialId};
use loadline_store::{RunReader, RunState};
use proptest::prelude::*;
use rows::{ORIGIN_UNIX_NS, TRIAL, create, plan, requests, row, start_of};

/// Rows as the reader gives them: by stage, in each stage in the order of writing.
fn by_stage(mut rows: Vec<RequestRow>) -> Vec<RequestRow> {
    rows.sort_by_key(|row| row.record.trial.stage);
    rows
}

fn check_run(run: &RunReader, rows: &[RequestRow], starts: &[Start]) {
    assert_eq!(requests(run), rows);
    let mut trials: Vec<TrialId> = rows.iter().map(|row| row.record.trial).collect();
    trials.sort_unstable();
    trials.dedup();
    assert_eq!(run.trials(), trials);
    for trial in trials {
        let read = run.read_trial(trial).unwrap();
        let of_trial = |row: &&RequestRow| row.record.trial == trial;
        assert!(read.requests.iter().eq(rows.iter().filter(of_trial)));
        assert!(read.starts.iter().eq(starts.iter().filter(|start| start.trial == trial)));
        let counts = run.trial_counts()[&trial];
        assert_eq!(counts.requests, read.requests.len() as u64);
        assert_eq!(counts.starts, read.starts.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn rows_survive_stream_and_parquet(
        rows in rows::any_rows(3),
        cuts in proptest::collection::vec(1..12usize, 1..4),
    ) {
        let out = tempfile::tempdir().unwrap();
        let mut writer = create(out.path(), &["a", "b.c", "b-c"]);
        let dir = writer.dir().to_owned();
        let starts: Vec<Start> = rows.iter().map(start_of).collect();
        let mut rest = rows.as_slice();
        for size in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (batch, later) = rest.split_at(rest.len().min(*size));
            let starts: Vec<Start> = batch.iter().map(start_of).collect();
            writer.append_starts(&starts).unwrap();
            writer.append_requests(batch).unwrap();
            rest = later;
        }
        let rows = by_stage(rows);
        check_run(&RunReader::open(&dir).unwrap(), &rows, &starts);

        let report = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS + 5).unwrap();
        prop_assert!(report.kept.is_empty(), "{:?}", report.kept);
        let run = RunReader::open(&dir).unwrap();
        check_run(&run, &rows, &starts);
        prop_assert_eq!(run.torn_bytes(), 0);
        let streams = fs::read_dir(dir.join("records")).unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension() != Some("parquet".as_ref()));
        prop_assert_eq!(streams.count(), 0);
    }
}

#[test]
fn large_appends_become_many_batches() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    let dir = writer.dir().to_owned();
    let mut rows: Vec<RequestRow> = (0..5000).map(|op| row(op, TRIAL, 50)).collect();
    rows[3].chunks.as_mut().unwrap().gaps_100ns = vec![7; 300_000];
    rows[10].chunks = None;
    writer.append_requests(&rows).unwrap();
    assert!(requests(&RunReader::open(&dir).unwrap()) == rows);
    let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    assert!(requests(&RunReader::open(&dir).unwrap()) == rows);
}

#[test]
fn chunk_times_end_at_their_limit() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    writer.set_chunk_limit(25);
    for op in 0..5 {
        assert_eq!(writer.chunk_limit_reached(), op >= 3);
        writer.append_requests(&[row(op, TRIAL, 10)]).unwrap();
    }
    let read = requests(&RunReader::open(writer.dir()).unwrap());
    let with_chunks: Vec<bool> = read.iter().map(|row| row.chunks.is_some()).collect();
    assert_eq!(with_chunks, [true, true, true, false, false]);
}

#[test]
fn unknown_stages_are_refused() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    let error = writer.append_requests(&[row(0, TrialId { stage: 1, ..TRIAL }, 1)]).unwrap_err();
    assert_eq!(error.to_string(), "a record names stage 1, but the plan has 1 stages");
}

#[test]
fn events_are_lines_and_progress_is_not_stored() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    let warning = Warning::new("code", "two\nlines", "do \"this\"");
    let stored = [
        Event { at_ns: 1, kind: EventKind::PartStarted { part: 0 } },
        Event { at_ns: 2, kind: EventKind::Warning(warning) },
        Event { at_ns: 4, kind: EventKind::PhaseStarted { trial: TRIAL, phase: Phase::Drain } },
    ];
    let progress = Progress {
        trial: TRIAL,
        phase: Phase::Measure,
        phase_done: 0.5,
        in_flight: 1,
        ok: 1,
        not_ok: 0,
        token_chunks: 9,
        ttft_p50_ns: None,
    };
    writer.event(&stored[0]).unwrap();
    writer.event(&stored[1]).unwrap();
    writer.event(&Event { at_ns: 3, kind: EventKind::Progress(progress) }).unwrap();
    writer.event(&stored[2]).unwrap();
    let log = writer.dir().join("events.jsonl");
    let read = RunReader::open(writer.dir()).unwrap().events().unwrap();
    assert_eq!(read.events, stored);
    assert_eq!((read.torn_bytes, read.unreadable_lines.as_slice()), (0, [].as_slice()));

    let mut text = fs::read_to_string(&log).unwrap();
    text.push_str("{\"at_ns\":5,\"event\":\"from_the_future\"}\n{\"at_ns\":6,\"ev");
    fs::write(&log, text).unwrap();
    let read = RunReader::open(writer.dir()).unwrap().events().unwrap();
    assert_eq!(read.events, stored);
    assert_eq!((read.torn_bytes, read.unreadable_lines.as_slice()), (14, [4].as_slice()));
}

#[test]
fn directory_holds_plan_and_manifest_without_secrets() {
    let out = tempfile::tempdir().unwrap();
    let toml = "name = 'x' # why\n[[serving]]\nheaders = { a = 'SECRET' }\n";
    let plan = plan(&["a"]);
    let writer =
        loadline_store::RunWriter::create(out.path(), "My run!", Some(toml), &plan, &rows::start())
            .unwrap();
    let dir = writer.dir().to_owned();
    let id = writer.manifest().id.clone();
    assert_eq!(dir.file_name().unwrap().to_str().unwrap(), format!("20261124T101500Z-My-run-{id}"));
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("SECRET"), "{}: {text}", path.display());
        }
    }
    let run = RunReader::open(&dir).unwrap();
    assert_eq!(run.plan_toml().unwrap().unwrap(), toml.replace("'SECRET'", "\"***\""));
    assert_eq!(run.plan().unwrap(), loadline_store::masked_plan(&plan));
    assert_eq!(run.manifest(), writer.manifest());
    assert_eq!(run.state(), RunState::Running);
    let _ = writer.seal(RunStatus::Interrupted, ORIGIN_UNIX_NS + 61_000_000_000).unwrap();
    let run = RunReader::open(&dir).unwrap();
    assert_eq!(run.state(), RunState::Interrupted);
    assert_eq!(run.manifest().ended.as_deref(), Some("2026-11-24T10:16:01.000Z"));
    assert!(run.trials().is_empty());
}
