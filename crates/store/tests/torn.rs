//! Torn, damaged and foreign files: whole batches are read, what is lost is said, nothing panics.

#![allow(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "tests: a failed step fails the test"
)]

mod rows;

use std::fs;
use std::path::{Path, PathBuf};

use loadline_schema::manifest::RunStatus;
use loadline_schema::record::RequestRow;
use loadline_store::{RunReader, StoreError, TrialRows};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rows::{ORIGIN_UNIX_NS, TRIAL, create, requests, row, start_of};

const BATCHES: u64 = 3;
const BATCH_ROWS: u64 = 2;

/// A run of three batches, not closed; its rows and the lengths of a stream after each batch.
fn small_run(out: &Path, kind: &str) -> (PathBuf, Vec<RequestRow>, Vec<u64>) {
    let mut writer = create(out, &["a"]);
    let (mut rows, mut ends) = (Vec::new(), Vec::new());
    for batch in 0..BATCHES {
        let ops = batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS;
        let batch: Vec<RequestRow> = ops.map(|op| row(op, TRIAL, 4)).collect();
        writer.append_starts(&batch.iter().map(start_of).collect::<Vec<_>>()).unwrap();
        writer.append_requests(&batch).unwrap();
        rows.extend(batch);
        ends.push(fs::metadata(stream(writer.dir(), kind)).unwrap().len());
    }
    (writer.dir().to_owned(), rows, ends)
}

/// The file of a table.
fn stream(dir: &Path, kind: &str) -> PathBuf {
    let middle = format!(".{kind}.0.");
    let mut found = fs::read_dir(dir.join("records")).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.to_str().unwrap().contains(&middle)).unwrap()
}

fn read(dir: &Path) -> Result<TrialRows, StoreError> {
    RunReader::open(dir)?.read_trial(TRIAL)
}

#[test]
fn cut_requests_are_read_up_to_the_last_whole_batch() {
    let out = tempfile::tempdir().unwrap();
    let (dir, rows, ends) = small_run(out.path(), "request");
    let path = stream(&dir, "request");
    let whole = fs::read(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    for len in (0..=whole.len()).rev() {
        file.set_len(len as u64).unwrap();
        let batches = ends.iter().filter(|end| **end <= len as u64).count();
        let run = RunReader::open(&dir).unwrap();
        assert_eq!(requests(&run), rows[..batches * BATCH_ROWS as usize], "at {len}");
        let schema_end = ends[0] - (ends[1] - ends[0]);
        let kept = ends.iter().copied().filter(|end| *end <= len as u64).max();
        let kept = kept.unwrap_or(if len as u64 >= schema_end { schema_end } else { 0 });
        assert_eq!(run.torn_bytes(), len as u64 - kept, "at {len}");
        assert_eq!(run.read_trial(TRIAL).unwrap().starts.len(), rows.len());
    }
}

#[test]
fn cut_chunk_times_leave_their_requests() {
    let out = tempfile::tempdir().unwrap();
    let (dir, rows, ends) = small_run(out.path(), "chunks");
    let path = stream(&dir, "chunks");
    let whole = fs::read(&path).unwrap();
    for len in (0..=whole.len()).rev().step_by(7) {
        fs::write(&path, &whole[..len]).unwrap();
        let kept = ends.iter().filter(|end| **end <= len as u64).count() * BATCH_ROWS as usize;
        let read = read(&dir).unwrap().requests;
        assert_eq!(read[..kept], rows[..kept]);
        let mut without = rows[kept..].to_vec();
        without.iter_mut().for_each(|row| row.chunks = None);
        assert_eq!(read[kept..], without, "at {len}");
    }
}

#[test]
fn chunk_times_without_request_are_passed_over() {
    let out = tempfile::tempdir().unwrap();
    let (dir, rows, ends) = small_run(out.path(), "request");
    let path = stream(&dir, "request");
    let whole = fs::read(&path).unwrap();
    // The second batch is taken out of the middle, as if its append had failed.
    let without = [&whole[..ends[0] as usize], &whole[ends[1] as usize..]].concat();
    fs::write(&path, without).unwrap();
    let batch = BATCH_ROWS as usize;
    assert_eq!(read(&dir).unwrap().requests, [&rows[..batch], &rows[2 * batch..]].concat());
}

#[test]
fn bytes_after_the_last_batch_are_counted() {
    let out = tempfile::tempdir().unwrap();
    let (dir, rows, ends) = small_run(out.path(), "request");
    let path = stream(&dir, "request");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 4096]);
    fs::write(&path, bytes).unwrap();
    let run = RunReader::open(&dir).unwrap();
    assert_eq!(requests(&run), rows);
    let torn = run.torn();
    assert_eq!((torn[0].bytes, torn[0].path.as_path()), (4096, path.as_path()));
    assert!(ends.last().is_some_and(|end| *end > 0));
}

/// Reads everything of a run whose file was damaged: any result is fine, a panic is not, and an
/// error names a file.
fn must_not_panic(dir: &Path, what: &str) {
    let all = RunReader::open(dir).and_then(|run| {
        run.each_request(None, true, |_, _| Ok::<(), StoreError>(()))?;
        run.read_trial(TRIAL)
    });
    if let Err(error) = all {
        let text = error.to_string();
        assert!(text.contains("records/"), "{what}: {text}");
    }
}

#[test]
fn no_damaged_byte_brings_the_reader_down() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for sealed in [false, true] {
        for kind in ["request", "chunks", "start"] {
            let out = tempfile::tempdir().unwrap();
            let mut writer = create(out.path(), &["a"]);
            let dir = writer.dir().to_owned();
            let rows: Vec<RequestRow> = (0..5).map(|op| row(op, TRIAL, 4)).collect();
            writer.append_starts(&rows.iter().map(start_of).collect::<Vec<_>>()).unwrap();
            writer.append_requests(&rows).unwrap();
            if sealed {
                let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
            }
            let path = stream(&dir, kind);
            let whole = fs::read(&path).unwrap();
            for _ in 0..600 {
                let mut bytes = whole.clone();
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
                fs::write(&path, &bytes).unwrap();
                must_not_panic(&dir, &format!("{} byte {at} = {}", path.display(), bytes[at]));
            }
        }
    }
}

#[test]
fn a_parquet_file_cut_short_is_named() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = create(out.path(), &["a"]);
    let dir = writer.dir().to_owned();
    writer.append_requests(&[row(0, TRIAL, 2)]).unwrap();
    let _ = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    let path = stream(&dir, "request");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let text = read(&dir).unwrap_err().to_string();
    assert!(text.contains(".request.0.parquet is damaged"), "{text}");
    assert!(text.contains("restore it from a copy"), "{text}");
}

#[test]
fn newer_formats_are_refused() {
    let out = tempfile::tempdir().unwrap();
    let (dir, _, _) = small_run(out.path(), "request");
    let manifest = dir.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"schema_version\": 1", "\"schema_version\": 2")).unwrap();
    let error = read(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");

    fs::write(&manifest, text).unwrap();
    let path = stream(&dir, "request");
    let mut bytes = fs::read(&path).unwrap();
    // The schema's facts stand as length-prefixed texts; the version's value follows its key.
    let key = bytes.windows(14).position(|window| window == b"schema_version").unwrap();
    let value = [&1u32.to_le_bytes()[..], b"1"].concat();
    let at = bytes.windows(5).enumerate().filter(|(_, window)| *window == value);
    let at = at.map(|(at, _)| at + 4).min_by_key(|at| at.abs_diff(key)).unwrap();
    bytes[at] = b'9';
    fs::write(&path, bytes).unwrap();
    let error = read(&dir).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 9, known: 1, .. }), "{error}");
}

#[test]
fn a_folder_without_manifest_and_a_broken_manifest_are_told_apart() {
    let out = tempfile::tempdir().unwrap();
    assert!(matches!(RunReader::open(out.path()), Err(StoreError::NotARun { .. })));
    fs::write(out.path().join("manifest.json"), "{\"schema_version\": 1, ").unwrap();
    let error = RunReader::open(out.path()).err().unwrap().to_string();
    assert!(error.contains("manifest.json is damaged"), "{error}");
}
