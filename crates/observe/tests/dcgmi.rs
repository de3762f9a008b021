//! `dcgmi dmon` as a child: a script stands in for it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use loadline_clock::{RunClock, monotonic_ns};
use loadline_observe::gpu::{Dcgmi, GpuError, GpuReader, GpuRoots, open};
use loadline_schema::gpu::{GpuField, GpuReading, GpuSource};
use loadline_testkit::{FakeNvml, RTX_3090_SCRIPT, dmon_text, dmon_text_geforce};

fn script(folder: &tempfile::TempDir, text: &str, rest: &str) -> PathBuf {
    let (path, output) = (folder.path().join("dcgmi"), folder.path().join("output"));
    std::fs::write(&output, text).expect("writes");
    let program = format!("#!/bin/sh\necho \"$@\" > {0}.args\ncat {0}\n{rest}\n", output.display());
    std::fs::write(&path, program).expect("writes");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permits");
    path
}

/// Looks until there are so many readings, at most 20 s.
fn gathered(dcgmi: &mut Dcgmi, wanted: usize) -> Result<Vec<GpuReading>, GpuError> {
    let until = monotonic_ns() + 20_000_000_000;
    let mut readings = Vec::new();
    while readings.len() < wanted && monotonic_ns() < until {
        readings.extend(dcgmi.read(0)?);
        std::thread::yield_now();
    }
    Ok(readings)
}

#[test]
fn lines_become_readings_with_their_own_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = script(&folder, &dmon_text(8, 3), "exec sleep 60");
    let clock = RunClock::start();
    let mut dcgmi = Dcgmi::start(&program, 100, clock).expect("starts");
    let readings = gathered(&mut dcgmi, 24).expect("readings");
    assert_eq!(readings.len(), 24);
    assert!(readings.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns));
    assert!(readings.iter().all(|r| r.source == GpuSource::Dcgmi && r.at_ns <= clock.now_ns()));
    assert_eq!(readings[23].get(GpuField::SmOccupancy), Some(0.425));
    assert_eq!(dcgmi.lost(), 0);
    let arguments = std::fs::read_to_string(folder.path().join("output.args")).expect("said");
    assert!(
        arguments.starts_with("dmon -e 100,") && arguments.ends_with("-d 100\n"),
        "{arguments}"
    );
}

#[test]
fn an_end_is_told_with_its_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let rest = "echo 'Error setting watches: the profiling module is in use' >&2; exit 3";
    let program = script(&folder, "", rest);
    let mut dcgmi = Dcgmi::start(&program, 100, RunClock::start()).expect("starts");
    let error = gathered(&mut dcgmi, 1).expect_err("ended").to_string();
    assert!(error.contains("profiling module is in use") && error.contains('3'), "{error}");
}

#[test]
fn a_program_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Dcgmi::start(&folder.path().join("dcgmi"), 100, RunClock::start());
    assert!(error.expect_err("not there").to_string().contains("cannot be started"));
}

#[test]
fn it_is_taken_only_where_it_knows_more_than_nvml() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeNvml::new(folder.path(), RTX_3090_SCRIPT).expect("a C compiler");
    for (text, source) in
        [(dmon_text(2, 1), GpuSource::Dcgmi), (dmon_text_geforce(), GpuSource::Nvml)]
    {
        let roots = GpuRoots {
            nvml: fake.library().to_owned(),
            dcgmi: Some(script(&folder, &text, "")),
            sys: folder.path().join("sys"),
            ..GpuRoots::default()
        };
        let opened = open(roots, RunClock::start());
        assert_eq!(opened.readers[0].source(), source);
        let passed = |source| opened.passed_over.iter().any(|passed| passed.source == source);
        assert!(passed(GpuSource::Nvml));
        assert_eq!(passed(GpuSource::Dcgmi), source == GpuSource::Nvml);
    }
}

#[test]
fn every_gpu_is_seen_when_it_is_opened_however_rarely_it_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    // The first GPU's line at once, those of the others well after what one look takes.
    let text = dmon_text(8, 1);
    let first = text.find("GPU 0").expect("a line of it");
    let (begin, others) = text.split_at(first + text[first..].find('\n').expect("its end") + 1);
    let later = folder.path().join("later");
    std::fs::write(&later, others).expect("writes");
    let rest = format!("sleep 0.4; cat {}; exec sleep 60", later.display());
    let program = script(&folder, begin, &rest);
    let library = folder.path().join("nvml");
    std::fs::create_dir(&library).expect("makes");
    let nvml = FakeNvml::new(&library, "gpus 8\nname A100\ngpm 0\n").expect("a library");
    let clock = RunClock::start();
    let roots = GpuRoots {
        nvml: nvml.library().to_owned(),
        dcgmi: Some(program),
        interval_ms: 1000,
        sys: folder.path().to_owned(),
        ..GpuRoots::default()
    };
    let mut opened = open(roots, clock);
    let reader = opened.readers.first_mut().expect("dcgmi");
    assert_eq!(reader.source(), GpuSource::Dcgmi);
    let seen = loadline_observe::gpu::check(reader.as_mut(), &clock).expect("readings");
    let numbers: Vec<u32> = seen.iter().map(|reading| reading.index).collect();
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
}

#[test]
fn what_a_wrapper_started_ends_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    // A child that holds the output open, as `docker exec` does.
    let rest = format!("sleep 600 & echo $! > {}/child; wait", folder.path().display());
    let program = script(&folder, &dmon_text(1, 1), &rest);
    let mut dcgmi = Dcgmi::start(&program, 100, RunClock::start()).expect("starts");
    gathered(&mut dcgmi, 1).expect("readings");
    let child = folder.path().join("child");
    let until = monotonic_ns() + 20_000_000_000;
    let mut pid = String::new();
    while pid.trim().is_empty() && monotonic_ns() < until {
        pid = std::fs::read_to_string(&child).unwrap_or_default();
        std::thread::yield_now();
    }
    drop(dcgmi);
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let is_over = || match std::fs::read_to_string(&stat) {
        // A zombie that nobody has collected yet.
        Ok(text) => text.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    };
    while !is_over() && monotonic_ns() < until {
        std::thread::yield_now();
    }
    assert!(is_over(), "process {} lives on", pid.trim());
}

#[test]
fn a_child_that_closes_its_output_and_stays_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = script(&folder, "", "exec >&- 2>&-; exec sleep 30");
    let mut dcgmi = Dcgmi::start(&program, 100, RunClock::start()).expect("starts");
    // Waiting for it would take 30 s and tell of an exit without a signal.
    let error = gathered(&mut dcgmi, 1).expect_err("no output").to_string();
    assert!(error.contains("SIGKILL"), "{error}");
    // The same again: it is collected only once.
    assert!(dcgmi.read(0).expect_err("no output").to_string().contains("SIGKILL"));
}

#[test]
fn many_messages_do_not_hold_the_readings_up() {
    let folder = tempfile::tempdir().expect("a folder");
    // More than a pipe holds, before the second round of readings.
    let rest = "head -c 300000 /dev/zero | tr '\\0' '\\n' >&2; cat output; exec sleep 60";
    let rest = rest.replace("cat output", &format!("cat {}/output", folder.path().display()));
    let program = script(&folder, &dmon_text(1, 1), &rest);
    let mut dcgmi = Dcgmi::start(&program, 100, RunClock::start()).expect("starts");
    assert_eq!(gathered(&mut dcgmi, 2).expect("readings").len(), 2);
}
