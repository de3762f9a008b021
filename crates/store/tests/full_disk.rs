//! A full disk, and a limit on file sizes: the failed append is cut off, the run stays readable
//! and can be sealed in the form that still fits.

#![allow(
    clippy::unwrap_used,
    clippy::needless_for_each,
    reason = "tests: a failed step fails the test"
)]

mod rows;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use loadline_schema::event::{Event, EventKind};
use loadline_schema::manifest::RunStatus;
use loadline_schema::record::RequestRow;
use loadline_store::{RunReader, RunState, StoreError};
use rows::{ORIGIN_UNIX_NS, TRIAL, create, requests, row};

/// Tells the child process where to write and what to expect.
const OUT: &str = "LOADLINE_TEST_OUT";

/// Unmounts a tmpfs at the end of a test.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// A tmpfs of this size; `None` where this process may not mount.
    fn tmpfs(at: &'a Path, size: &str) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

fn rows_of_batch(batch: u64) -> Vec<RequestRow> {
    (batch * 20..(batch + 1) * 20).map(|op| row(op, TRIAL, 100)).collect()
}

/// Appends until the disk says no; the rows before, and the error.
fn fill(writer: &mut loadline_store::RunWriter) -> (Vec<RequestRow>, StoreError) {
    let mut stored = Vec::new();
    for batch in 0.. {
        let rows = rows_of_batch(batch);
        match writer.append_requests(&rows) {
            Ok(()) => stored.extend(rows),
            Err(error) => return (stored, error),
        }
    }
    unreachable!("the disk never got full")
}

#[test]
fn a_full_disk_keeps_whole_batches_and_the_streams() {
    let out = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(out.path(), "600k") else {
        eprintln!("SKIPPED: a_full_disk_keeps_whole_batches_and_the_streams needs mount rights");
        return;
    };
    let mut writer = create(out.path(), &["a"]);
    let dir = writer.dir().to_owned();
    let (stored, error) = fill(&mut writer);
    let text = error.to_string();
    assert!(error.is_no_space(), "{text}");
    assert!(text.contains("records/a.") && text.contains("--resume"), "{text}");
    let run = RunReader::open(&dir).unwrap();
    assert_eq!(run.torn_bytes(), 0, "{:?}", run.torn());
    assert!(requests(&run) == stored);

    // A second attempt fails or not, but never leaves half a batch; then there is room again.
    let again = writer.append_requests(&rows_of_batch(1000));
    assert!(again.is_err_and(|error| error.is_no_space()));
    assert!(requests(&RunReader::open(&dir).unwrap()) == stored);

    // No room for Parquet: the streams stay, the manifest still says how the run ended.
    let hog = out.path().join("hog");
    let _ = fs::write(&hog, vec![1; 600 << 10]);
    let report = writer.seal(RunStatus::Interrupted, ORIGIN_UNIX_NS).unwrap();
    assert!(!report.kept.is_empty());
    for kept in &report.kept {
        assert!(kept.why.kind() == std::io::ErrorKind::StorageFull, "{}", kept.why);
        assert!(kept.path.exists());
    }
    let left: Vec<_> = fs::read_dir(dir.join("records")).unwrap().map(Result::unwrap).collect();
    assert!(left.iter().all(|entry| entry.path().extension() != Some("tmp".as_ref())), "{left:?}");
    let run = RunReader::open(&dir).unwrap();
    assert_eq!(run.state(), RunState::Interrupted);
    assert!(requests(&run) == stored);
}

#[test]
fn room_again_means_appends_again() {
    let out = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(out.path(), "600k") else {
        eprintln!("SKIPPED: room_again_means_appends_again needs mount rights");
        return;
    };
    let hog = out.path().join("hog");
    fs::write(&hog, vec![1; 200 << 10]).unwrap();
    let mut writer = create(out.path(), &["a"]);
    let dir = writer.dir().to_owned();
    let (mut stored, _) = fill(&mut writer);
    let event = Event { at_ns: 1, kind: EventKind::PartStarted { part: 0 } };
    fs::remove_file(&hog).unwrap();
    let rows = rows_of_batch(2000);
    writer.append_requests(&rows).unwrap();
    writer.event(&event).unwrap();
    stored.extend(rows);
    let run = RunReader::open(&dir).unwrap();
    assert!(requests(&run) == stored);
    assert_eq!(run.events().unwrap().events, [event]);
}

/// Not a test by itself: runs under a limit on the size of files, which gives EFBIG in the middle
/// of a write to anybody, not only where mounting is allowed.
#[test]
fn child_meets_a_size_limit() {
    let Some(out) = std::env::var_os(OUT) else { return };
    let mut writer = create(Path::new(&out), &["a"]);
    let (stored, error) = fill(&mut writer);
    assert!(error.is_no_space(), "{error}");
    let dir = writer.dir().to_owned();
    assert!(requests(&RunReader::open(&dir).unwrap()) == stored);
    let report = writer.seal(RunStatus::Interrupted, ORIGIN_UNIX_NS).unwrap();
    let run = RunReader::open(&dir).unwrap();
    assert_eq!(run.torn_bytes(), 0);
    assert!(requests(&run) == stored);
    assert!(!stored.is_empty() && report.sealed.len() + report.kept.len() == 2, "{report:?}");
}

#[test]
fn a_size_limit_cuts_no_batch() {
    let out = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    // SIGXFSZ would end the process before the write could fail, so it is ignored. The shell counts
    // the limit in KiB, or in blocks of 512 bytes where it is the plain POSIX one.
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" child_meets_a_size_limit --exact";
    let child = Command::new("sh").args(["-c", script]).arg(exe).env(OUT, out.path()).output();
    let child = child.unwrap();
    let told = String::from_utf8_lossy(&child.stdout).into_owned()
        + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}
