//! What storing costs: memory of a process that writes and seals, bounded whatever the run's size.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a failed step fails the test, and the figures are worth seeing"
)]

mod rows;

use std::path::Path;
use std::process::Command;

use loadline_clock::process_cpu_ns;
use loadline_schema::manifest::RunStatus;
use loadline_schema::record::RequestRow;
use rows::{ORIGIN_UNIX_NS, TRIAL, create, row, start_of};

const OUT: &str = "LOADLINE_TEST_OUT";
const ROWS: &str = "LOADLINE_TEST_ROWS";

/// Peak resident memory of this process, KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

/// Not a test by itself: writes requests with 100 gaps each in batches as the runner does, seals,
/// and says its peak memory before, after writing and after sealing.
#[test]
fn child_writes_and_seals() {
    let Some(out) = std::env::var_os(OUT) else { return };
    let total: u64 = std::env::var(ROWS).unwrap().parse().unwrap();
    let before = peak_kib();
    let mut writer = create(Path::new(&out), &["a"]);
    let mut append_ns = 0;
    for first in (0..total).step_by(512) {
        let rows: Vec<RequestRow> =
            (first..(first + 512).min(total)).map(|op| row(op, TRIAL, 100)).collect();
        let begin = process_cpu_ns();
        writer.append_starts(&rows.iter().map(start_of).collect::<Vec<_>>()).unwrap();
        writer.append_requests(&rows).unwrap();
        append_ns += process_cpu_ns() - begin;
    }
    let written = peak_kib();
    let begin = process_cpu_ns();
    let report = writer.seal(RunStatus::Sealed, ORIGIN_UNIX_NS).unwrap();
    let seal_ns = process_cpu_ns() - begin;
    assert!(report.kept.is_empty(), "{report:?}");
    let sealed = peak_kib();
    println!(
        "peak {before} {written} {sealed} CPU ns of appending {append_ns}, of sealing {seal_ns}"
    );
}

/// Peak memory before, after writing and after sealing so many requests, KiB.
fn peaks(rows: u64) -> [u64; 3] {
    let out = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["child_writes_and_seals", "--exact", "--nocapture"])
        .env(OUT, out.path())
        .env(ROWS, rows.to_string())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{told}{}", String::from_utf8_lossy(&child.stderr));
    let line = told.lines().find_map(|line| line.split_once("peak ")).unwrap().1;
    println!("{rows} rows: {line}");
    let mut numbers = line.split(' ').map_while(|word| word.parse().ok());
    [(); 3].map(|()| numbers.next().unwrap())
}

#[test]
fn memory_is_bounded_whatever_the_size() {
    let small = peaks(64);
    let middle = peaks(4096);
    let large = peaks(40_960);
    assert!(small[2] < 15 << 10, "64 requests: {small:?} KiB");
    assert!(middle[2] < 30 << 10, "4,096 requests: {middle:?} KiB");
    // Ten times the rows cost next to nothing more: only the list of row groups grows.
    assert!(large[2] < middle[2] + (3 << 10), "{middle:?} KiB, then {large:?} KiB");
}
