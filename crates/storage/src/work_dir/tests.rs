//! Own directory, own files, nothing followed, everything gone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::listing::LISTING;

fn work() -> (tempfile::TempDir, WorkDir) {
    let parent = tempfile::tempdir().unwrap();
    let work = WorkDir::create(parent.path()).unwrap();
    (parent, work)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn it_is_closed_to_others_and_marked() {
    let (parent, work) = work();
    assert_eq!(work.path().parent(), Some(parent.path()));
    let name = work.path().file_name().unwrap().to_str().unwrap();
    let random = name.strip_prefix(PREFIX).unwrap();
    assert!(
        random.len() == 8 && random.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    );
    assert_eq!(fs::metadata(work.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let marker: Marker =
        serde_json::from_slice(&fs::read(work.path().join(MARKER)).unwrap()).unwrap();
    assert_eq!(marker.pid, std::process::id());
    assert!(marker.pid_start > Some(0) && marker.host.pid_namespace.is_some());
    assert!(marker.note.contains("may be deleted"));
    assert!(marker.created_unix_s > 1_700_000_000);
    assert_eq!(work.remove(), Vec::<String>::new());
    assert!(is_empty(parent.path()));
}

#[test]
fn a_link_as_parent_is_not_followed() {
    let parent = tempfile::tempdir().unwrap();
    fs::create_dir(parent.path().join("real")).unwrap();
    let link = parent.path().join("link");
    symlink(parent.path().join("real"), &link).unwrap();
    for spelled in [link.clone(), link.join(".")] {
        let error = WorkDir::create(&spelled).unwrap_err().to_string();
        assert!(error.contains("cannot open the directory"), "{error}");
    }
    assert!(is_empty(&parent.path().join("real")));
}

#[test]
fn files_are_made_opened_removed_and_listed() {
    let (parent, work) = work();
    let name = "zero_pp_rank_0_mp_rank_00_model_states.pt";
    rustix::io::write(work.create_file(name, OFlags::DSYNC).unwrap(), b"abc").unwrap();
    assert_eq!(work.create_file(name, OFlags::empty()).unwrap_err(), Errno::EXIST);
    let mut read = [0; 3];
    rustix::io::read(work.open_file(name, OFlags::empty()).unwrap(), &mut read).unwrap();
    assert_eq!(&read, b"abc");
    work.announce(["job-0", "job-1"]).unwrap();
    work.create_file("job-0", OFlags::empty()).unwrap();
    assert_eq!(crate::listing::read(&work.dir).unwrap().len(), 3);
    work.remove_file(name).unwrap();
    work.remove_file(name).unwrap();
    assert_eq!(work.open_file(name, OFlags::empty()).unwrap_err(), Errno::NOENT);
    work.create_file(name, OFlags::empty()).unwrap();
    assert_eq!(work.remove(), Vec::<String>::new());
    assert!(is_empty(parent.path()));
}

#[test]
fn names_and_flags_that_lead_elsewhere() {
    let (_parent, work) = work();
    for name in ["../x", "/tmp/x", ".", "", MARKER, LISTING] {
        assert_eq!(work.create_file(name, OFlags::empty()).unwrap_err(), Errno::INVAL, "{name}");
        assert_eq!(work.open_file(name, OFlags::empty()).unwrap_err(), Errno::INVAL, "{name}");
        assert_eq!(work.announce([name]).unwrap_err(), Errno::INVAL, "{name}");
    }
    work.create_file("a", OFlags::empty()).unwrap();
    for flags in [OFlags::TRUNC, OFlags::CREATE] {
        assert_eq!(work.open_file("a", flags).unwrap_err(), Errno::INVAL);
    }
}

#[test]
fn what_somebody_put_in_the_place_of_a_file_is_not_followed() {
    let (parent, work) = work();
    let thesis = parent.path().join("thesis.tex");
    fs::write(&thesis, "years").unwrap();
    let inside = |name: &str| work.path().join(name);

    symlink(&thesis, inside("new")).unwrap();
    assert_eq!(work.create_file("new", OFlags::empty()).unwrap_err(), Errno::EXIST);
    assert_eq!(work.open_file("new", OFlags::empty()).unwrap_err(), Errno::NOENT);
    symlink(parent.path().join("not-there"), inside("dangling")).unwrap();
    assert_eq!(work.create_file("dangling", OFlags::empty()).unwrap_err(), Errno::EXIST);
    assert!(!parent.path().join("not-there").exists());
    assert!(crate::listing::read(&work.dir).unwrap().is_empty(), "neither is listed as ours");

    for name in ["swapped", "linked"] {
        work.create_file(name, OFlags::empty()).unwrap();
        fs::remove_file(inside(name)).unwrap();
    }
    symlink(&thesis, inside("swapped")).unwrap();
    assert_eq!(work.open_file("swapped", OFlags::empty()).unwrap_err(), Errno::LOOP);
    fs::hard_link(&thesis, inside("linked")).unwrap();
    assert_eq!(work.open_file("linked", OFlags::empty()).unwrap_err(), Errno::STALE);

    let left = work.remove();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].contains("not ours: dangling") && left[1].contains("not ours: new"));
    assert_eq!(fs::read(&thesis).unwrap(), b"years");
    assert_eq!(fs::metadata(&thesis).unwrap().nlink(), 1, "the second name alone is gone");
}

#[test]
fn a_file_that_is_not_ours_stays_and_is_told() {
    let (_parent, work) = work();
    work.create_file("job-0", OFlags::empty()).unwrap();
    let path = work.path().to_path_buf();
    fs::write(path.join("x"), "1").unwrap();
    work.remove_file("x").unwrap();
    let left = work.remove();
    assert_eq!(left, [format!("{} holds a file that is not ours: x", path.display())]);
    assert!(path.join("x").exists() && !path.join("job-0").exists());
    assert!(!path.join(MARKER).exists());
}

#[test]
fn a_directory_in_its_place_stays() {
    let (parent, work) = work();
    let path = work.path().to_path_buf();
    fs::rename(&path, parent.path().join("moved")).unwrap();
    fs::create_dir(&path).unwrap();
    let left = work.remove();
    assert!(left[0].contains("another directory now"), "{left:?}");
    assert!(path.exists());
}

#[test]
fn a_panic_removes_it() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().to_path_buf();
    let thread = std::thread::spawn(move || {
        let work = WorkDir::create(&place).unwrap();
        work.create_file("job-0", OFlags::empty()).unwrap();
        panic!("as if a worker had a bug");
    });
    thread.join().unwrap_err();
    assert!(is_empty(parent.path()));
}

#[test]
fn threads_make_files_at_once() {
    let (parent, work) = work();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let work = &work;
            scope.spawn(move || {
                for file in 0..20 {
                    work.create_file(&format!("job-{thread}.{file}"), OFlags::empty()).unwrap();
                }
            });
        }
    });
    assert_eq!(crate::listing::read(&work.dir).unwrap().len(), 160);
    assert_eq!(work.remove(), Vec::<String>::new());
    assert!(is_empty(parent.path()));
}

#[test]
fn o_direct_is_told_and_leaves_nothing() {
    let (parent, work) = work();
    let direct = work.direct_io();
    assert!(["statx", "tried"].contains(&direct.source.as_str()), "{direct:?}");
    if direct.supported {
        assert!(direct.offset_align.is_power_of_two() && direct.memory_align.is_power_of_two());
        work.create_file("job-0", OFlags::DIRECT).unwrap();
    } else {
        assert_eq!(direct.offset_align, 0);
    }
    work.remove_file("job-0").unwrap();
    assert!(!work.path().join("direct-io-probe").exists());
    assert_eq!(work.remove(), Vec::<String>::new());
    assert!(is_empty(parent.path()));
}
