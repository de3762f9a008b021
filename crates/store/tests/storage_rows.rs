//! Rows of storage trials: what is written is what is read, through streams and Parquet, parts, torn
//! ends, a kill and a full disk.

#![allow(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "tests: a failed step fails the test"
)]

mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use loadline_schema::manifest::RunStatus;
use loadline_schema::outcome::Phase;
use loadline_schema::record::TrialId;
use loadline_schema::storage::{Buckets, Direction, IoInterval, Latencies, SlowIo};
use loadline_store::{RunReader, RunState, RunWriter, StoreError};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rows::{ORIGIN_UNIX_NS, TRIAL, create, plan, requests, row, start, start_of};

/// Tells the child processes where to write.
const OUT: &str = "LOADLINE_TEST_OUT";

fn latencies(seed: u64, buckets: u32) -> Latencies {
    let pair = |index: u32| (900 + index, 1 + (seed * 31 + u64::from(index)) % 7);
    let buckets = Buckets((0..buckets).map(pair).collect());
    Latencies { sum_ns: seed * 1_000_003, min_ns: seed, max_ns: seed * 9 + 1, buckets }
}

/// A second of a worker; no two are the same.
fn interval(number: u64) -> IoInterval {
    IoInterval {
        trial: TrialId { trial: (number / 100) as u16, ..TRIAL },
        worker: (number % 4) as u16,
        direction: Direction::ALL[number as usize % 3],
        phase: if number < 4 { Phase::WarmUp } else { Phase::Measure },
        start_ns: number * 1_000_000_000,
        length_ns: 1_000_000_000,
        ios: number * 7,
        bytes: number << 12,
        errors: number % 2,
        slat: Latencies::default(),
        clat: latencies(number, number as u32 % 60),
        lat: latencies(number + 1, 40),
    }
}

fn slow(number: u64) -> SlowIo {
    SlowIo {
        trial: TrialId { trial: (number / 100) as u16, ..TRIAL },
        worker: (number % 4) as u16,
        direction: Direction::ALL[number as usize % 3],
        offset: number << 20,
        bytes: 4096,
        start_ns: number * 77,
        slat_ns: number,
        clat_ns: number + 100_000_000,
    }
}

fn any_latencies() -> impl Strategy<Value = Latencies> {
    let buckets = btree_map(0..Buckets::LEN as u32, 0..u64::from(u32::MAX), 0..20);
    (any::<[u64; 3]>(), buckets).prop_map(|([sum_ns, one, other], buckets)| Latencies {
        sum_ns,
        min_ns: one.min(other),
        max_ns: one.max(other),
        buckets: Buckets(buckets.into_iter().collect()),
    })
}

fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(move |index| all[index])
}

prop_compose! {
    fn any_interval(stages: u16)(
        (stage, point, trial, part) in (0..stages, any::<u16>(), any::<u16>(), any::<u16>()),
        (worker, direction, phase) in (any::<u16>(), any_of(Direction::ALL), any_of(Phase::ALL)),
        [start_ns, length_ns, ios, bytes, errors] in any::<[u64; 5]>(),
        (slat, clat, lat) in (any_latencies(), any_latencies(), any_latencies()),
    ) -> IoInterval {
        let trial = TrialId { stage, point, trial, part };
        IoInterval {
            trial, worker, direction, phase, start_ns, length_ns, ios, bytes, errors, slat, clat, lat,
        }
    }
}

prop_compose! {
    fn any_slow(stages: u16)(
        (stage, point, trial, part) in (0..stages, any::<u16>(), any::<u16>(), any::<u16>()),
        (worker, direction) in (any::<u16>(), any_of(Direction::ALL)),
        [offset, bytes, start_ns, slat_ns, clat_ns] in any::<[u64; 5]>(),
    ) -> SlowIo {
        let trial = TrialId { stage, point, trial, part };
        SlowIo { trial, worker, direction, offset, bytes, start_ns, slat_ns, clat_ns }
    }
}

fn check(run: &RunReader, stages: u16, intervals: &[IoInterval], slow: &[SlowIo]) {
    for stage in 0..stages {
        let here = intervals.iter().filter(|row| row.trial.stage == stage);
        assert!(run.intervals(stage).unwrap().iter().eq(here), "stage {stage}");
        let here = slow.iter().filter(|row| row.trial.stage == stage);
        assert!(run.slow(stage).unwrap().iter().eq(here), "stage {stage}");
    }
    assert_eq!(run.torn_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn rows_survive_stream_and_parquet(
        intervals in vec(any_interval(3), 0..30),
        slow in vec(any_slow(3), 0..30),
        cut in 1..12_usize,
    ) {
        let out = tempfile::tempdir().unwrap();
        let mut writer = create(out.path(), &["a", "b.c", "b-c"]);
        let dir = writer.dir().to_owned();
        intervals.chunks(cut).for_each(|rows| writer.append_intervals(rows).unwrap());
        slow.chunks(cut).for_each(|rows| writer.append_slow(rows).unwrap());
        check(&RunReader::open(&dir).unwrap(), 3, &intervals, &slow);
        let report = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
        prop_assert!(report.kept.is_empty(), "{:?}", report.kept);
        check(&RunReader::open(&dir).unwrap(), 3, &intervals, &slow);
    }
}

#[test]
fn requests_and_starts_are_counted_as_without_them() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a", "b"]);
    let dir = writer.dir().to_owned();
    let served = row(0, TRIAL, 3);
    writer.append_starts(&[start_of(&served)]).unwrap();
    writer.append_requests(std::slice::from_ref(&served)).unwrap();
    let other = TrialId { stage: 1, ..TRIAL };
    writer.append_intervals(&[IoInterval { trial: other, ..interval(1) }]).unwrap();
    writer.append_slow(&[SlowIo { trial: other, ..slow(1) }]).unwrap();
    for sealed in [false, true] {
        let run = RunReader::open(&dir).unwrap();
        assert_eq!(run.trials(), [TRIAL], "sealed: {sealed}");
        assert_eq!(run.trial_counts()[&TRIAL].requests, 1);
        assert_eq!(requests(&run), std::slice::from_ref(&served));
        assert_eq!(run.read_trial(other).unwrap(), loadline_store::TrialRows::default());
        assert_eq!((run.intervals(0).unwrap().len(), run.intervals(1).unwrap().len()), (0, 1));
        if !sealed {
            let _ = RunWriter::seal(
                std::mem::replace(&mut writer, create(out.path(), &["x"])),
                RunStatus::Sealed,
                ORIGIN_UNIX_NS,
            )
            .unwrap();
        }
    }
}

#[test]
fn large_appends_become_many_batches() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    let dir = writer.dir().to_owned();
    let mut intervals: Vec<IoInterval> = (0..3000).map(interval).collect();
    intervals[5].lat = latencies(1, 6000);
    let slow: Vec<SlowIo> = (0..10_000).map(slow).collect();
    writer.append_intervals(&intervals).unwrap();
    writer.append_slow(&slow).unwrap();
    check(&RunReader::open(&dir).unwrap(), 1, &intervals, &slow);
    let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    check(&RunReader::open(&dir).unwrap(), 1, &intervals, &slow);
}

#[test]
fn unknown_stages_are_refused() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    let trial = TrialId { stage: 1, ..TRIAL };
    let refused = [
        writer.append_intervals(&[IoInterval { trial, ..interval(0) }]).unwrap_err(),
        writer.append_slow(&[SlowIo { trial, ..slow(0) }]).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.to_string(), "a record names stage 1, but the plan has 1 stages");
    }
}

/// The file of a table.
fn table(dir: &Path, kind: &str) -> PathBuf {
    let middle = format!(".{kind}.0.");
    let mut found = fs::read_dir(dir.join("records")).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.to_str().unwrap().contains(&middle)).unwrap()
}

#[test]
fn cut_streams_are_read_up_to_the_last_whole_batch() {
    for kind in ["interval", "slow"] {
        let out = tempfile::tempdir().unwrap();
        let mut writer = create(out.path(), &["a"]);
        let dir = writer.dir().to_owned();
        let intervals: Vec<IoInterval> = (0..9).map(interval).collect();
        let slow: Vec<SlowIo> = (0..9).map(slow).collect();
        let mut ends = Vec::new();
        for batch in 0..3 {
            let rows = batch * 3..(batch + 1) * 3;
            writer.append_intervals(&intervals[rows.clone()]).unwrap();
            writer.append_slow(&slow[rows]).unwrap();
            ends.push(fs::metadata(table(&dir, kind)).unwrap().len());
        }
        let path = table(&dir, kind);
        let whole = fs::read(&path).unwrap();
        for len in (ends[0] as usize..whole.len()).rev().step_by(3) {
            fs::write(&path, &whole[..len]).unwrap();
            let batches = ends.iter().filter(|end| **end <= len as u64).count();
            let run = RunReader::open(&dir).unwrap();
            let kept = |name| if name == kind { batches * 3 } else { 9 };
            assert_eq!(run.intervals(0).unwrap(), intervals[..kept("interval")], "{kind} at {len}");
            assert_eq!(run.slow(0).unwrap(), slow[..kept("slow")], "{kind} at {len}");
            assert_eq!(run.torn_bytes(), len as u64 - ends[batches - 1], "{kind} at {len}");
        }
    }
}

#[test]
fn no_damaged_byte_brings_the_reader_down() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for (sealed, kind) in [(false, "interval"), (true, "interval"), (false, "slow"), (true, "slow")]
    {
        let out = tempfile::tempdir().unwrap();
        let mut writer = create(out.path(), &["a"]);
        let dir = writer.dir().to_owned();
        writer.append_intervals(&(0..5).map(interval).collect::<Vec<_>>()).unwrap();
        writer.append_slow(&(0..5).map(slow).collect::<Vec<_>>()).unwrap();
        if sealed {
            let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
        }
        let path = table(&dir, kind);
        let whole = fs::read(&path).unwrap();
        for _ in 0..600 {
            let mut bytes = whole.clone();
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
            fs::write(&path, &bytes).unwrap();
            let read = RunReader::open(&dir).and_then(|run| {
                run.slow(0)?;
                run.intervals(0)
            });
            match read {
                Err(error) => assert!(error.to_string().contains("records/"), "{error}"),
                // What was read can be computed with.
                Ok(rows) => rows.iter().for_each(|row| {
                    row.lat.percentile_ns(0.99).inspect(|_| assert!(row.lat.buckets.n() > 0));
                }),
            }
        }
    }
}

/// Not a test by itself: the process that the test below kills. Says how many rows are stored.
#[test]
fn child_writes_until_killed() {
    let Some(out) = std::env::var_os(OUT) else { return };
    let mut writer = create(Path::new(&out), &["a"]);
    let mut told = std::io::stdout().lock();
    writeln!(told, "run {}", writer.dir().display()).unwrap();
    let mut number = 0;
    loop {
        let next = number + 1 + number % 13;
        writer.append_intervals(&(number..next).map(interval).collect::<Vec<_>>()).unwrap();
        writer.append_slow(&(number..next).map(slow).collect::<Vec<_>>()).unwrap();
        number = next;
        writeln!(told, "rows {number}").unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_every_batch_and_a_resume_adds_its_own() {
    let out = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_writes_until_killed", "--exact", "--nocapture"])
        .env(OUT, out.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let dir = lines.find_map(|line| Some(PathBuf::from(line.strip_prefix("run ")?))).unwrap();
    let rows = |line: String| line.strip_prefix("rows ")?.parse::<usize>().ok();
    let mut stored = lines.by_ref().filter_map(rows).find(|rows| *rows > 300).unwrap();
    child.kill().unwrap();
    // What stands in the pipe was said before the kill.
    stored = lines.filter_map(rows).last().unwrap_or(stored);
    assert_eq!(child.wait().unwrap().signal(), Some(9));

    let run = RunReader::open(&dir).unwrap();
    assert_eq!(run.state(), RunState::Killed);
    let (intervals, slows) = (run.intervals(0).unwrap(), run.slow(0).unwrap());
    assert!(intervals.len() >= stored && slows.len() >= stored, "{stored}");
    assert!(intervals.iter().cloned().eq((0..intervals.len() as u64).map(interval)));
    assert!(slows.iter().copied().eq((0..slows.len() as u64).map(slow)));

    let mut writer = RunWriter::resume(&dir, &plan(&["a"]), &start()).unwrap();
    let trial = TrialId { part: 1, ..TRIAL };
    let new = IoInterval { trial, ..interval(7) };
    writer.append_intervals(std::slice::from_ref(&new)).unwrap();
    let report = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    assert_eq!((report.sealed.len(), report.kept.len()), (1, 0));
    let after = RunReader::open(&dir).unwrap().intervals(0).unwrap();
    assert_eq!(after[..intervals.len()], intervals);
    assert_eq!(after[intervals.len()..], [new]);
}

/// Not a test by itself: runs under a limit on the size of files, which gives EFBIG in the middle
/// of a write.
#[test]
fn child_meets_a_size_limit() {
    let Some(out) = std::env::var_os(OUT) else { return };
    let mut writer = create(Path::new(&out), &["a"]);
    let dir = writer.dir().to_owned();
    let mut stored: BTreeMap<&str, u64> = BTreeMap::new();
    let mut error: BTreeMap<&str, StoreError> = BTreeMap::new();
    for number in 0..20_000 {
        let appended = [
            ("interval", writer.append_intervals(&[interval(number)])),
            ("slow", writer.append_slow(&[slow(number)])),
        ];
        for (kind, appended) in appended {
            match appended {
                Ok(()) => {
                    assert!(!error.contains_key(kind), "room again without anything removed");
                    *stored.entry(kind).or_default() += 1;
                }
                Err(failed) => _ = error.insert(kind, failed),
            }
        }
        if error.len() == 2 {
            break;
        }
    }
    assert!(error.len() == 2 && error.values().all(StoreError::is_no_space), "{error:?}");
    for _ in 0..2 {
        let run = RunReader::open(&dir).unwrap();
        assert_eq!(run.torn_bytes(), 0);
        assert!(run.intervals(0).unwrap().into_iter().eq((0..stored["interval"]).map(interval)));
        assert!(run.slow(0).unwrap().into_iter().eq((0..stored["slow"]).map(slow)));
        let other = create(Path::new(&out), &["x"]);
        let _ = std::mem::replace(&mut writer, other)
            .seal(RunStatus::Interrupted, ORIGIN_UNIX_NS)
            .unwrap();
    }
}

#[test]
fn a_size_limit_cuts_no_batch() {
    let out = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" child_meets_a_size_limit --exact";
    let child = Command::new("sh").args(["-c", script]).arg(exe).env(OUT, out.path()).output();
    let child = child.unwrap();
    let told = String::from_utf8_lossy(&child.stdout).into_owned()
        + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}
