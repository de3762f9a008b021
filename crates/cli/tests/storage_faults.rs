//! `loadline storage` on storage that breaks: errors of the system at every kind of I/O, a file system
//! that stops answering, a slow one, and a disk that somebody else fills up.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::fmt::Debug;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use loadline_testkit::{FaultyFs, FsFault};
use rustix::io::Errno;
use serde_json::Value;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_mins(1);
/// In the environment of a run and of its children, so that a test finds its own.
const MARK: &str = "LOADLINE_TEST_STORAGE_FAULTS";
const MIB: u64 = 1 << 20;
/// What is measured unless a test says otherwise.
const WRITE: [[&str; 2]; 6] = [
    ["--rw", "write"],
    ["--size", "8m"],
    ["--runtime", "30s"],
    ["--trials", "1"],
    ["--stall-timeout", "5s"],
    // The time shall end a trial that nothing else ends.
    ["--max-write", "100TiB"],
];

#[expect(clippy::print_stderr, reason = "a test that is left out must say so")]
fn left_out(why: &str) {
    eprintln!("LEFT OUT: {why}");
}

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

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A run under way; it is killed when the test ends before it.
struct Run {
    child: Option<Child>,
    out: PathBuf,
    mark: String,
}

impl Run {
    /// Measures a directory by [`WRITE`], with other values of flags that are given; runs are kept in
    /// `out`.
    fn start(at: &Path, out: &Path, given: &[&str]) -> Self {
        let kept = WRITE.iter().filter(|[flag, _]| !given.contains(flag)).flatten();
        let mark = format!("{MARK}={}", out.display());
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = Command::new(cargo_bin("loadline"));
        command.arg("storage").arg(at).args(["--yes", "--json"]).args(kept).args(given);
        command.arg("--out").arg(out);
        // Files, since a pipe that nobody reads would keep the end waiting.
        let to = |name: &str| std::fs::File::create(out.with_extension(name)).unwrap();
        command.env(name, value).stdin(Stdio::null()).stdout(to("stdout")).stderr(to("stderr"));
        Self { child: Some(command.spawn().unwrap()), out: out.to_owned(), mark }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The process that does the I/O.
    fn worker(&self) -> u32 {
        let pid = self.pid();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(path).unwrap();
        let pids: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(pids.len(), 1, "{pids:?}");
        pids[0]
    }

    fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits until rows of the trial are stored.
    fn wait_for_rows(&self) {
        wait_for("the first rows", || {
            let runs = names(&self.out);
            let records = names(&self.out.join(runs.first()?).join("records"));
            (!records.is_empty()).then_some(())
        });
    }

    /// How it ended, and what it said to stdout and stderr.
    fn ended(&mut self) -> (Option<i32>, String, String) {
        let child = self.child.as_mut().unwrap();
        let status = wait_for("the end of the run", || child.try_wait().unwrap());
        let said = |name: &str| std::fs::read_to_string(self.out.with_extension(name)).unwrap();
        (status.code(), said("stdout"), said("stderr"))
    }

    /// What it said to stdout and stderr until its end with this code.
    fn end(&mut self, expected: i32) -> (String, String) {
        let (code, text, words) = self.ended();
        assert_eq!(code, Some(expected), "{words}");
        assert!(!words.contains("panicked"), "{words}");
        (text, words)
    }

    /// Its document at its end.
    fn document(&mut self, expected: i32) -> Value {
        serde_json::from_str(&self.end(expected).0).unwrap()
    }

    /// Processes that still run and are of this run.
    fn processes(&self) -> Vec<String> {
        let is_ours = |environment: Vec<u8>| {
            environment.split(|byte| *byte == 0).any(|one| one == self.mark.as_bytes())
        };
        let mut pids = names(Path::new("/proc"));
        pids.retain(|pid| std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(is_ours));
        pids
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A faulty file system, and a folder beside it for runs. It goes first, or the folder could not.
struct Faulty {
    fs: FaultyFs,
    dir: tempfile::TempDir,
}

impl Faulty {
    /// `None`, said aloud, where this user may not mount.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            left_out("the faulty file system needs root and /dev/fuse");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("mount");
        std::fs::create_dir(&at).unwrap();
        Some(Self { fs: FaultyFs::mount(&at).unwrap(), dir })
    }

    fn run(&self, more: &[&str]) -> Run {
        Run::start(self.fs.path(), &self.dir.path().join("runs"), more)
    }

    fn wait_for_written(&self, bytes: u64) {
        wait_for("bytes that are written", || (self.fs.written_bytes() >= bytes).then_some(()));
    }

    fn nothing_is_left(&self, run: &Run) {
        wait_for("the end of every process", || run.processes().is_empty().then_some(()));
        assert_eq!(self.fs.paths(), Vec::<String>::new());
        wait_for("the last file to be closed", || (self.fs.open_files() == 0).then_some(()));
    }

    /// The cell says which file failed, how, and what can be done.
    fn says(&self, cell: &Value, parts: &[&str]) {
        let failed = cell["failed"].as_str().unwrap_or_else(|| panic!("nothing failed: {cell}"));
        let file = format!("{}/loadline-work-", self.fs.path().display());
        for part in [&[&file[..], "/job-0"], parts].concat() {
            assert!(failed.contains(part), "'{part}' is missing in: {failed}");
        }
    }
}

fn n(cell: &Value, direction: &str) -> u64 {
    cell["directions"][direction]["lat_ns"]["n"].as_u64().unwrap_or_default()
}

/// Writes go well for 64 MiB and then fail.
fn writes_fail(errno: Errno, parts: &[&str]) {
    let Some(faulty) = Faulty::new() else { return };
    faulty.fs.set_for("job", FsFault::Write { after_bytes: 64 * MIB, errno });
    let mut run = faulty.run(&[]);
    let document = run.document(6);
    let cell = &document["storage"][0];
    faulty.says(cell, parts);
    assert!((1..=64).contains(&n(cell, "write")), "{cell}");
    faulty.nothing_is_left(&run);
}

#[test]
fn a_full_storage() {
    writes_fail(Errno::NOSPC, &["write of", "No space left on device", "free space there"]);
}

#[test]
fn a_device_that_fails() {
    writes_fail(Errno::IO, &["write of", "Input/output error", "dmesg"]);
}

#[test]
fn a_quota_that_is_used_up() {
    writes_fail(Errno::DQUOT, &["write of", "Disk quota exceeded", "smaller size"]);
}

#[test]
fn a_file_system_that_turns_read_only() {
    writes_fail(Errno::ROFS, &["write of", "Read-only file system", "dmesg"]);
}

#[test]
fn a_read_that_fails() {
    let Some(faulty) = Faulty::new() else { return };
    faulty.fs.set_for("job", FsFault::Read { after_bytes: 64 * MIB, errno: Errno::IO });
    let mut run = faulty.run(&["--rw", "read"]);
    let document = run.document(6);
    let cell = &document["storage"][0];
    faulty.says(cell, &["read of", "Input/output error", "dmesg"]);
    assert!((1..=64).contains(&n(cell, "read")), "{cell}");
    faulty.nothing_is_left(&run);
}

#[test]
fn an_fsync_that_fails() {
    let Some(faulty) = Faulty::new() else { return };
    let mut run = faulty.run(&["--fsync", "16"]);
    faulty.wait_for_written(64 * MIB);
    faulty.fs.set_for("job", FsFault::Fsync { errno: Errno::IO });
    let document = run.document(6);
    let cell = &document["storage"][0];
    faulty.says(cell, &["fsync of", "Input/output error", "dmesg"]);
    assert!(n(cell, "write") > 0, "{cell}");
    faulty.nothing_is_left(&run);
}

#[test]
fn the_last_fsync_fails() {
    let Some(faulty) = Faulty::new() else { return };
    faulty.fs.set_for("job", FsFault::Fsync { errno: Errno::IO });
    let mut run = faulty.run(&["--size-bound"]);
    let document = run.document(6);
    let cell = &document["storage"][0];
    faulty.says(cell, &["fsync of", "Input/output error", "dmesg"]);
    assert_eq!(n(cell, "write"), 8, "{cell}");
    faulty.nothing_is_left(&run);
}

#[test]
fn no_working_directory_can_be_made() {
    let Some(faulty) = Faulty::new() else { return };
    faulty.fs.set(FsFault::Write { after_bytes: 0, errno: Errno::NOSPC });
    let mut run = faulty.run(&[]);
    let document = run.document(6);
    let failed = document["storage"][0]["failed"].as_str().unwrap();
    let mount = faulty.fs.path().display().to_string();
    assert!(failed.contains("No space left") && failed.contains(&mount), "{failed}");
    faulty.nothing_is_left(&run);
}

/// Released, everything goes: the process that hung, too. What it left, the next run removes.
fn released(faulty: &Faulty, run: &Run) {
    faulty.fs.set(FsFault::None);
    wait_for("the end of every process", || run.processes().is_empty().then_some(()));
    wait_for("the last file to be closed", || (faulty.fs.open_files() == 0).then_some(()));
    let again = ["--rw", "read", "--size", "1m", "--runtime", "100ms"];
    let out = faulty.dir.path().join("again");
    let mut next = Run::start(faulty.fs.path(), &out, &again);
    let document = next.document(0);
    assert!(document["storage"][0]["failed"].is_null(), "{document}");
    faulty.nothing_is_left(&next);
}

#[test]
fn a_hang_ends_the_run_and_keeps_what_was_measured() {
    let Some(faulty) = Faulty::new() else { return };
    let mut run = faulty.run(&[]);
    run.wait_for_rows();
    let worker = run.worker();
    faulty.fs.set(FsFault::Hang);
    let document = run.document(6);
    let cell = &document["storage"][0];
    let failed = cell["failed"].as_str().unwrap();
    let (mount, process) = (faulty.fs.path().display().to_string(), format!("process {worker} "));
    for part in ["hangs", &mount, &process, "--stall-timeout"] {
        assert!(failed.contains(part), "'{part}' is missing in: {failed}");
    }
    // The kernel lets nobody go whose request the file system has taken.
    assert!(faulty.fs.withheld() > 0);
    assert!(failed.contains("cannot be killed"), "{failed}");
    assert!(n(cell, "write") > 0, "{cell}");
    released(&faulty, &run);
}

#[test]
fn ctrl_c_during_a_hang() {
    let Some(faulty) = Faulty::new() else { return };
    let mut run = faulty.run(&["--stall-timeout", "1h"]);
    run.wait_for_rows();
    faulty.fs.set(FsFault::Hang);
    wait_for("I/Os that hang", || (faulty.fs.withheld() > 0).then_some(()));
    run.interrupt();
    let document = run.document(6);
    assert!(n(&document["storage"][0], "write") > 0, "{document}");
    released(&faulty, &run);
}

#[test]
fn a_mount_that_hangs_from_the_beginning_is_refused() {
    let Some(faulty) = Faulty::new() else { return };
    faulty.fs.set(FsFault::Hang);
    let mut run = faulty.run(&["--stall-timeout", "1s"]);
    let (_, words) = run.end(2);
    let mount = faulty.fs.path().display().to_string();
    for part in ["hangs", &mount, "--stall-timeout"] {
        assert!(words.contains(part), "'{part}' is missing in: {words}");
    }
    released(&faulty, &run);
}

#[test]
fn ctrl_c_at_a_mount_that_hangs_from_the_beginning() {
    let Some(faulty) = Faulty::new() else { return };
    faulty.fs.set(FsFault::Hang);
    let mut run = faulty.run(&["--stall-timeout", "1h"]);
    wait_for("the first look", || (faulty.fs.withheld() > 0).then_some(()));
    run.interrupt();
    let (code, _, words) = run.ended();
    assert_ne!(code, Some(0), "{words}");
    assert!(words.contains("did not stop"), "{words}");
    released(&faulty, &run);
}

#[test]
fn a_slow_device_is_measured_as_slow() {
    let Some(faulty) = Faulty::new() else { return };
    faulty.fs.set_for("job", FsFault::Slow(Duration::from_millis(5)));
    let mut run = faulty.run(&["--rw", "write,read", "--size-bound"]);
    let document = run.document(0);
    for cell in document["storage"].as_array().unwrap() {
        let p50 = cell["clat_ns"]["p50"].as_u64().unwrap();
        // Buckets are right to 0.4 %.
        assert!(p50 as f64 >= 5e6 * 0.996, "{cell}");
        assert!(cell["failed"].is_null(), "{cell}");
    }
    faulty.nothing_is_left(&run);
}

/// An ext4 of 64 MiB in a file, unmounted at the end.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, said aloud, where this user may not mount.
    fn new(features: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("mount"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(64 * MIB).unwrap();
        let mut make = Command::new("mkfs.ext4");
        let made = succeeds(make.args(["-q", "-F", "-m", "0", "-O", features]).arg(&image));
        let mut mount = Command::new("mount");
        if made && succeeds(mount.args(["-o", "loop"]).arg(&image).arg(&at)) {
            return Some(Self { dir });
        }
        left_out("the small disk needs mkfs.ext4 and the right to mount");
        None
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    fn run(&self, more: &[&str]) -> Run {
        let small = ["--reserve", "0", "--bs", "1m", "--iodepth", "1"];
        let arguments = [&small, more].concat();
        Run::start(&self.at(), &self.dir.path().join("runs"), &arguments)
    }

    /// The first job's file, once so many bytes of it lie on the disk.
    fn wait_for_job(&self, bytes: u64) {
        wait_for("a job's file", || {
            let all = names(&self.at());
            let work = all.iter().find(|name| name.starts_with("loadline-work-"))?;
            let job = std::fs::metadata(self.at().join(work).join("job-0")).ok()?;
            (job.blocks() * 512 >= bytes).then_some(())
        });
    }

    /// Somebody else takes all the space that is left.
    fn fill_up(&self) {
        let mut hog = std::fs::File::create(self.at().join("hog")).unwrap();
        let full = std::iter::repeat_with(|| hog.write_all(&[1; 1 << 16])).find_map(Result::err);
        assert_eq!(full.unwrap().raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    }

    fn nothing_is_left(&self, run: &Run) {
        wait_for("the end of every process", || run.processes().is_empty().then_some(()));
        assert_eq!(names(&self.at()), ["hog", "lost+found"]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.at()).status();
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn contains_all(text: &impl Debug, parts: &[&str]) {
    let text = format!("{text:?}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}

/// Without extents ext4 cannot set space aside, so that writes find the disk full.
#[test]
fn a_disk_that_somebody_else_fills_up_during_a_trial() {
    let Some(disk) = SmallDisk::new("^extent,^64bit") else { return };
    // Eight seconds for the first way through the file: time enough to fill up the rest.
    let mut run = disk.run(&["--size", "40m", "--rate-iops", "5"]);
    disk.wait_for_job(2 * MIB);
    disk.fill_up();
    let document = run.document(6);
    let cell = &document["storage"][0];
    contains_all(&cell["failed"], &["write of", "/job-0", "No space left", "free space there"]);
    assert!((1..40).contains(&n(cell, "write")), "{cell}");
    disk.nothing_is_left(&run);
}

/// The second cell has no room for its second file; the first one stays.
#[test]
fn a_disk_that_somebody_else_fills_up_between_two_trials() {
    let Some(disk) = SmallDisk::new("extent") else { return };
    let mut run = disk.run(&["--size", "20m", "--numjobs", "1,2", "--runtime", "5s"]);
    disk.wait_for_job(20 * MIB);
    disk.fill_up();
    let document = run.document(6);
    let cells = document["storage"].as_array().unwrap();
    assert!(cells[0]["failed"].is_null() && n(&cells[0], "write") > 0, "{}", cells[0]);
    contains_all(&cells[1]["failed"], &["/job-1", "No space left", "free space there"]);
    disk.nothing_is_left(&run);
}
