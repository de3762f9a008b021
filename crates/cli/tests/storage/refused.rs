//! What is refused before anything is written, and what is never touched.

use std::os::unix::fs::symlink;

use super::{Scratch, names};

/// The words on stderr of a command that is refused.
fn refusal(scratch: &Scratch, arguments: &[&str]) -> String {
    let (code, text, words) = scratch.loadline(arguments);
    assert_eq!(code, Some(2), "{text}{words}");
    assert!(
        !scratch.path().join("runs").exists() || names(&scratch.path().join("runs")).is_empty()
    );
    words
}

#[test]
fn unsafe_directories_are_refused() {
    let scratch = Scratch::new();
    symlink("work", scratch.path().join("link")).unwrap();
    std::fs::write(scratch.path().join("file"), "mine").unwrap();
    for (path, hint) in [
        ("/dev/null", "device"),
        ("link", "symbolic link"),
        ("file", "not a directory"),
        ("missing", "missing"),
        ("/proc", "proc"),
        ("/", "root"),
    ] {
        let words = refusal(&scratch, &["storage", path, "--rw", "read"]);
        assert!(words.to_lowercase().contains(hint), "{path}: {words}");
    }
    assert_eq!(std::fs::read_to_string(scratch.path().join("file")).unwrap(), "mine");
    scratch.nothing_is_left();
}

#[test]
fn more_than_fits_is_refused() {
    let scratch = Scratch::new();
    let words = refusal(&scratch, &["storage", "work", "--size", "900TiB", "--rw", "write"]);
    assert!(words.contains("--size") && words.contains("free"), "{words}");
    let full = ["storage", "work", "--checkpoint", "llama3-405b"];
    let words = refusal(&scratch, &full);
    assert!(words.contains("scale"), "{words}");
    scratch.nothing_is_left();
}

#[test]
fn flags_that_make_no_sense_are_told() {
    let scratch = Scratch::new();
    for (flags, hint) in [
        (&["--rw", "trim"][..], "`trim` is no workload"),
        (&["--iodepth", "0"], "`iodepth` is 0"),
        (&["--size", "1000"], "no whole number of blocks"),
        (&["--rw", "read", "--ranks", "2"], "--workload does not name it"),
        (&["--ioengine", "libaio"], "io_uring, psync"),
        (&["--direct", "maybe"], "neither 1 nor 0"),
        (&["--target", "fast"], "--target"),
        (&["--checkpoint", "gpt"], "is no model"),
    ] {
        let words = refusal(&scratch, &[&["storage", "work"], flags].concat());
        assert!(words.contains(hint), "{flags:?}: {words}");
    }
    scratch.nothing_is_left();
}

#[test]
fn what_dead_processes_left_is_removed_and_the_rest_stays() {
    let scratch = Scratch::new();
    // A run that is killed together with its child leaves its directory.
    let mut run = scratch
        .command(&[
            "storage",
            "work",
            "--rw",
            "write",
            "--size",
            "8m",
            "--runtime",
            "60",
            "--quiet",
        ])
        .spawn()
        .unwrap();
    let work = scratch.work();
    let made = super::stopped::work_directory(&work);
    super::stopped::kill_with_children(&mut run);
    assert!(made.exists(), "nobody was left to remove it");
    // Neighbours that look alike and are not ours.
    std::fs::create_dir(work.join("loadline-work-abcdefgh")).unwrap();
    std::fs::write(work.join("loadline-work-abcdefgh/precious"), "mine").unwrap();
    std::fs::write(work.join("other"), "mine").unwrap();
    let quick = ["--runtime", "100ms", "--trials", "1", "--size", "1m", "--rw", "read"];
    std::fs::remove_dir_all(scratch.path().join("runs")).unwrap();
    // A check names it, and removes nothing.
    std::fs::write(scratch.path().join("plan.toml"), "[[storage]]\npath = \"work\"\n").unwrap();
    let (code, page, words) = scratch.loadline(&["check", "plan.toml"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(page.contains("left by an earlier run") && made.exists(), "{page}");
    let document = scratch.document(&[&["storage", "work"][..], &quick].concat(), 0);
    let leftovers = document["storage_stages"][0]["leftovers"].as_array().unwrap();
    assert_eq!(leftovers.len(), 1, "{leftovers:?}");
    assert_eq!(leftovers[0]["removed"], true, "{leftovers:?}");
    let mut left = names(&work);
    left.sort();
    assert_eq!(left, ["loadline-work-abcdefgh", "other"]);
    assert!(work.join("loadline-work-abcdefgh/precious").exists());
}
