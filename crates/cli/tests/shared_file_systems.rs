//! `loadline storage` on real shared file systems: GlusterFS with two clients, sshfs, and a mount whose
//! server stops answering. `scripts/shared-file-systems` brings them and runs this test among them;
//! without it the tests say that they were left out.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// One test at a time: two cores carry servers and clients.
static TURN: Mutex<()> = Mutex::new(());
const PATIENCE: Duration = Duration::from_secs(60);

/// A mount that the script brought.
fn mount(variable: &str) -> Option<PathBuf> {
    let mount = std::env::var_os(variable).map(PathBuf::from);
    if mount.is_none() {
        eprintln!(
            "LEFT OUT: {variable} is not set; scripts/shared-file-systems runs these tests among real \
             file systems"
        );
    }
    mount
}

/// A new directory in a mount.
fn work_in(mount: &Path) -> tempfile::TempDir {
    tempfile::tempdir_in(mount).unwrap()
}

fn command(out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin("loadline"));
    command.arg("storage").args(arguments).arg("--out").arg(out).stdin(Stdio::null());
    command
}

fn document(out: &Path, arguments: &[&str], expected: i32) -> Value {
    let output = command(out, &[arguments, &["--json"]].concat()).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(expected), "{words}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

const QUICK: [&str; 6] = ["--runtime", "1s", "--trials", "2", "--size", "16MiB"];

fn measures(variable: &str, kind: &str) {
    let Some(mount) = mount(variable) else { return };
    let _turn = TURN.lock().unwrap();
    let (work, out) = (work_in(&mount), tempfile::tempdir().unwrap());
    let path = work.path().display().to_string();
    let document = document(out.path(), &[&[&path[..]], &QUICK[..]].concat(), 0);
    let facts = &document["storage_stages"][0]["filesystems"][0];
    assert_eq!(facts["kind"], kind, "{facts}");
    assert_eq!(facts["shared"], true, "{facts}");
    for cell in document["storage"].as_array().unwrap() {
        assert!(cell["bytes_per_s"]["value"].as_f64().unwrap() > 1e4, "{cell}");
        assert!(cell["failed"].is_null(), "{cell}");
    }
    assert_eq!(names(work.path()), Vec::<String>::new());
}

#[test]
fn glusterfs_is_measured() {
    measures("LOADLINE_GLUSTER_A", "fuse.glusterfs");
}

#[test]
fn sshfs_is_measured() {
    measures("LOADLINE_SSHFS", "fuse.sshfs");
}

/// Two clients work in one directory of the same volume at once: each sees the other's directory as
/// that of a living process, and leaves it alone.
#[test]
fn two_clients_do_not_touch_each_other() {
    let (Some(a), Some(b)) = (mount("LOADLINE_GLUSTER_A"), mount("LOADLINE_GLUSTER_B")) else {
        return;
    };
    let _turn = TURN.lock().unwrap();
    let (work, out) = (work_in(&a), tempfile::tempdir().unwrap());
    let name = work.path().file_name().unwrap();
    let (path_a, path_b) = (work.path().display().to_string(), b.join(name).display().to_string());
    let long = ["--rw", "write", "--size", "8m", "--runtime", "20s", "--trials", "1", "--quiet"];
    let mut first = command(&out.path().join("a"), &[&[&path_a[..]], &long[..]].concat())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the first client's directory", || (!names(work.path()).is_empty()).then_some(()));
    let second = document(&out.path().join("b"), &[&[&path_b[..]], &QUICK[..]].concat(), 0);
    let leftovers = second["storage_stages"][0]["leftovers"].as_array().unwrap();
    assert!(leftovers.iter().all(|leftover| leftover["removed"] == false), "{leftovers:?}");
    assert!(first.try_wait().unwrap().is_none(), "the first client goes on");
    let status = Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(first.wait().unwrap().code(), Some(6));
    assert_eq!(names(work.path()), Vec::<String>::new());
}

#[test]
fn a_checkpoint_and_a_model_go_through_a_network() {
    let Some(mount) = mount("LOADLINE_GLUSTER_A") else { return };
    let _turn = TURN.lock().unwrap();
    let (work, out) = (work_in(&mount), tempfile::tempdir().unwrap());
    let path = work.path().display().to_string();
    let checkpoint = [
        "--checkpoint",
        "llama3-8b",
        "--ranks",
        "2",
        "--scale",
        "0.0005",
        "--model-size",
        "32MiB",
        "--trials",
        "2",
        "--target",
        "checkpoint=1kB/s",
        "--workload",
        "checkpoint,model-load",
    ];
    let document = document(out.path(), &[&[&path[..]], &checkpoint[..]].concat(), 0);
    let cells = document["storage"].as_array().unwrap();
    assert!(cells[0]["checkpoint"]["save_s"]["value"].as_f64().unwrap() > 0.0, "{}", cells[0]);
    assert_eq!(cells[0]["target"]["met"], true);
    assert!(cells[1]["model_load"]["load_s"]["value"].as_f64().unwrap() > 0.0, "{}", cells[1]);
    assert_eq!(names(work.path()), Vec::<String>::new());
}

/// The server of the mount is stopped (SIGSTOP) while data is written: the run ends by itself, says
/// what hangs, keeps what was measured, and its process does not stay.
#[test]
fn a_mount_that_hangs_ends_the_run() {
    let Some(mount) = mount("LOADLINE_SSHFS") else { return };
    let _turn = TURN.lock().unwrap();
    let (work, out) = (work_in(&mount), tempfile::tempdir().unwrap());
    let path = work.path().display().to_string();
    let arguments = [
        &path,
        "--rw",
        "write",
        "--size",
        "8m",
        "--runtime",
        "60s",
        "--trials",
        "1",
        "--stall-timeout",
        "3s",
        "--json",
    ];
    let run = command(out.path(), &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let rows = || {
        let run = std::fs::read_dir(out.path()).ok()?.next()?.ok()?.path();
        let records = names(&run.join("records"));
        (!records.is_empty()).then_some(())
    };
    wait_for("the first rows", rows);
    let servers = servers();
    assert!(!servers.is_empty());
    let all = |signal: &str| {
        for pid in &servers {
            let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
        }
    };
    all("-STOP");
    let output = run.wait_with_output().unwrap();
    all("-CONT");
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{words}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cell = &told["storage"][0];
    let failed = cell["failed"].as_str().unwrap();
    assert!(failed.contains("hangs") && failed.contains("process"), "{failed}");
    assert!(cell["directions"]["write"]["lat_ns"]["n"].as_u64().unwrap() > 0, "{cell}");
    // Once the server answers again, the next run removes what is left.
    let quick = ["--rw", "read", "--size", "1m", "--runtime", "100ms", "--trials", "1"];
    let again = tempfile::tempdir().unwrap();
    let next = document(again.path(), &[&[&path[..]], &quick[..]].concat(), 0);
    assert!(next["storage"][0]["failed"].is_null(), "{next}");
    assert_eq!(names(work.path()), Vec::<String>::new());
}

/// Processes of the sshd that the script started: everything here lives in a process name space of
/// the script's own.
fn servers() -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            name.starts_with("sshd").then_some(pid)
        })
        .collect()
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
