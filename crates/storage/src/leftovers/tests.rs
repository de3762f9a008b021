//! Which leftovers go, which stay, and that nothing else is touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::OFlags;
use tempfile::TempDir;

use super::*;
use crate::listing::LISTING;
use crate::marker::{Host, MARKER};
use crate::work_dir::WorkDir;

/// A directory with one leftover that holds `job-0`.
struct Case {
    parent: TempDir,
    left: PathBuf,
    here: Here,
}

impl Case {
    /// Left by a process whose pid this process has now.
    fn dead() -> Self {
        let case = Self::alive();
        case.mark(|marker| marker.pid_start = Some(1));
        case
    }

    /// Of this process, which lives.
    fn alive() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let work = WorkDir::create(parent.path()).unwrap();
        work.create_file("job-0", OFlags::empty()).unwrap();
        let left = work.path().to_path_buf();
        // As if the process were killed here.
        std::mem::forget(work);
        let here = Here {
            host: Host {
                hostname: "node1".to_owned(),
                machine_id: Some("m1".to_owned()),
                boot_id: Some("b1".to_owned()),
                pid_namespace: Some(0xEFFF_FFFC),
            },
            booted_unix_s: Some(1000),
            proc: PathBuf::from("/proc"),
        };
        let case = Self { parent, left, here };
        case.mark(|marker| marker.host = case.here.host.clone());
        case
    }

    fn mark(&self, change: impl FnOnce(&mut Marker)) {
        let path = self.left.join(MARKER);
        let mut marker = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut marker);
        fs::write(path, serde_json::to_vec(&marker).unwrap()).unwrap();
    }

    fn found(&self) -> Vec<Leftover> {
        leftovers_seen_from(self.parent.path(), &self.here, true)
    }

    fn goes(&self) {
        let found = self.found();
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert!(one.removed && one.why.is_none() && one.host == "node1", "{one:?}");
        assert_eq!(Path::new(&one.path), self.left);
        assert!(!self.left.exists());
        assert_eq!(self.found(), []);
    }

    fn stays(&self, why: &str) {
        let found = self.found();
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert!(!one.removed && one.why.as_ref().unwrap().contains(why), "{one:?}");
        assert!(self.left.join("job-0").exists());
    }
}

#[test]
fn of_a_pid_that_is_used_again() {
    Case::dead().goes();
}

#[test]
fn of_a_process_that_is_no_more() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let case = Case::alive();
    case.mark(|marker| marker.pid = child.id());
    case.goes();
}

#[test]
fn of_a_killed_process_that_nobody_asked_about() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let case = Case::alive();
    case.mark(|marker| {
        marker.pid = child.id();
        marker.pid_start = None;
    });
    case.stays("still runs");
    child.kill().unwrap();
    let exited = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), exited).unwrap();
    case.goes();
    child.wait().unwrap();
}

#[test]
fn of_a_process_that_lives() {
    Case::alive().stays("still runs");
}

#[test]
fn of_another_machine() {
    let case = Case::dead();
    case.mark(|marker| marker.host.hostname = "node2".to_owned());
    case.stays("made on node2");
    let case = Case::dead();
    case.mark(|marker| marker.host.machine_id = None);
    case.stays("made on node1");
    let case = Case::dead();
    case.mark(|marker| marker.host.boot_id = None);
    case.stays("made on node1");
}

#[test]
fn of_another_container() {
    let case = Case::dead();
    case.mark(|marker| marker.host.pid_namespace = Some(7));
    case.stays("another pid namespace");
    case.mark(|marker| marker.host.pid_namespace = None);
    case.stays("another pid namespace");
}

#[test]
fn of_an_earlier_boot_of_this_machine() {
    let rebooted = |change: fn(&mut Marker)| {
        let case = Case::alive();
        case.mark(|marker| {
            marker.host.boot_id = Some("b0".to_owned());
            marker.created_unix_s = 999;
            change(marker);
        });
        case
    };
    rebooted(|_| ()).goes();
    rebooted(|marker| marker.created_unix_s = 1000).stays("not certain");
    rebooted(|marker| marker.host.pid_namespace = Some(7)).stays("not certain");
    rebooted(|marker| marker.host.hostname = "node2".to_owned()).stays("made on node2");
}

#[test]
fn a_marker_that_names_no_process() {
    for pid in [0, u32::MAX] {
        let case = Case::dead();
        case.mark(|marker| marker.pid = pid);
        case.stays("names no process");
    }
}

#[test]
fn without_a_marker_it_is_not_ours() {
    let case = Case::dead();
    fs::remove_file(case.left.join(MARKER)).unwrap();
    fs::write(case.parent.path().join("loadline-work-file"), "").unwrap();
    symlink("/etc", case.parent.path().join("loadline-work-link")).unwrap();
    assert_eq!(case.found(), []);
    assert!(case.left.join("job-0").exists());
}

#[test]
fn markers_that_are_not_to_be_trusted() {
    let case = Case::dead();
    let marker = case.left.join(MARKER);
    let good = fs::read(&marker).unwrap();
    case.mark(|marker| marker.kind = "something else".to_owned());
    case.stays("another kind");
    for (text, why) in
        [("", "0 bytes"), ("{", "not one of ours"), ("\u{0}garbage", "not one of ours")]
    {
        fs::write(&marker, text).unwrap();
        case.stays(why);
    }
    fs::write(&marker, vec![b' '; 70_000]).unwrap();
    case.stays("70000 bytes");
    fs::remove_file(&marker).unwrap();
    fs::create_dir(&marker).unwrap();
    case.stays("no regular file");
    fs::remove_dir(&marker).unwrap();
    let elsewhere = case.parent.path().join("elsewhere");
    fs::write(&elsewhere, good).unwrap();
    symlink(&elsewhere, &marker).unwrap();
    case.stays("symbolic link");
}

#[test]
fn a_directory_behind_a_link_is_not_touched() {
    let case = Case::dead();
    let other = tempfile::tempdir().unwrap();
    symlink(&case.left, other.path().join("loadline-work-aaaaaaaa")).unwrap();
    assert_eq!(leftovers_seen_from(other.path(), &case.here, true), []);
    assert!(case.left.join("job-0").exists());
}

#[test]
fn what_is_not_listed_stays_and_is_told() {
    let case = Case::dead();
    fs::write(case.left.join("thesis.tex"), "years").unwrap();
    fs::create_dir(case.left.join("photos")).unwrap();
    let found = case.found();
    let why = found[0].why.as_ref().unwrap();
    assert!(why.contains("not ours: photos") && why.contains("not ours: thesis.tex"), "{why}");
    assert!(!found[0].removed && !case.left.join("job-0").exists());
    assert_eq!(fs::read(case.left.join("thesis.tex")).unwrap(), b"years");
    // What is left has no marker and is ours no longer.
    assert_eq!(case.found(), []);
}

#[test]
fn a_list_that_names_other_places_removes_nothing_there() {
    let case = Case::dead();
    let thesis = case.parent.path().join("thesis.tex");
    fs::write(&thesis, "years").unwrap();
    let text = format!("../thesis.tex\n{}\nlink\njob-0\n", thesis.display());
    fs::write(case.left.join(LISTING), text).unwrap();
    symlink(&thesis, case.left.join("link")).unwrap();
    case.goes();
    assert!(thesis.exists());
}

#[test]
fn a_listed_directory_stays_and_the_marker_with_it() {
    let case = Case::dead();
    fs::write(case.left.join(LISTING), "job-0\njob-1\n").unwrap();
    fs::create_dir(case.left.join("job-1")).unwrap();
    let found = case.found();
    assert!(found[0].why.as_ref().unwrap().contains("job-1 cannot be removed"), "{found:?}");
    fs::remove_dir(case.left.join("job-1")).unwrap();
    case.goes();
}

#[test]
fn a_list_that_is_a_link_is_not_read() {
    let case = Case::dead();
    let list = case.left.join(LISTING);
    fs::rename(&list, case.parent.path().join("elsewhere")).unwrap();
    symlink(case.parent.path().join("elsewhere"), &list).unwrap();
    case.stays("list of files cannot be opened");
}

#[test]
fn files_that_nfs_keeps_keep_the_marker() {
    let case = Case::dead();
    fs::write(case.left.join(".nfs0001"), "").unwrap();
    let found = case.found();
    assert!(found[0].why.as_ref().unwrap().contains("had it open"), "{found:?}");
    fs::remove_file(case.left.join(".nfs0001")).unwrap();
    case.goes();
}

#[test]
fn the_directory_of_a_killed_child() {
    // The real machine judges here: the pid is this process's, with another start time.
    let parent = tempfile::tempdir().unwrap();
    let work = WorkDir::create(parent.path()).unwrap();
    work.create_file("job-0", OFlags::empty()).unwrap();
    let path = work.path().to_path_buf();
    std::mem::forget(work);
    let lives = remove_work_dir(&path);
    assert!(!lives.removed && lives.why.unwrap().contains("still runs"));
    let text = fs::read_to_string(path.join(MARKER)).unwrap();
    let mut marker: Marker = serde_json::from_str(&text).unwrap();
    marker.pid_start = Some(1);
    fs::write(path.join(MARKER), serde_json::to_vec(&marker).unwrap()).unwrap();
    let removed = remove_work_dir(&path.join("."));
    assert!(removed.removed, "{removed:?}");
    assert!(!path.exists());
    assert!(remove_work_dir(&path).removed, "what is gone is removed");
}

#[test]
fn other_directories_are_not_removed() {
    let parent = tempfile::tempdir().unwrap();
    let named = parent.path().join("loadline-work-mine");
    fs::create_dir(&named).unwrap();
    assert!(remove_work_dir(&named).why.unwrap().contains("no marker"));
    assert!(remove_work_dir(parent.path()).why.unwrap().contains("does not begin"));
    assert!(!remove_work_dir(Path::new("/")).removed);
    assert!(named.exists());
}
