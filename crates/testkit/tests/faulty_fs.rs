//! The faulty file system: that the kernel serves it, and that a program meets the faults that were
//! asked for.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use loadline_testkit::{FaultyFs, FsFault, FsSpace};
use rustix::fs::{Mode, OFlags, open, statvfs};
use rustix::io::Errno;

/// Mounted on a new directory; `None`, said aloud, where this user may not mount.
#[expect(clippy::print_stderr, reason = "a test that is left out must say so")]
fn mounted(at: &Path) -> Option<FaultyFs> {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        eprintln!("LEFT OUT: the faulty file system needs root and /dev/fuse");
        return None;
    }
    Some(FaultyFs::mount(at).expect("mounted"))
}

fn errno(result: std::io::Result<impl Sized>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Looks again and again, for a minute at most.
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain for {what}");
}

#[test]
fn files_and_directories_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let Some(faulty) = mounted(dir.path()) else { return };
    let at = |name: &str| faulty.path().join(name);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/f"), vec![7; 3 << 20]).unwrap();
    fs::OpenOptions::new().append(true).open(at("d/f")).unwrap().write_all(b"end").unwrap();
    let read = fs::read(at("d/f")).unwrap();
    assert_eq!((read.len(), read.ends_with(b"\x07end")), ((3 << 20) + 3, true));
    assert_eq!(faulty.paths(), ["d", "d/f"]);
    assert_eq!(faulty.len("d/f"), Some((3 << 20) + 3));
    for number in 0..300 {
        fs::write(at(&format!("d/{number}")), b"").unwrap();
    }
    assert_eq!(fs::read_dir(at("d")).unwrap().count(), 301);
    fs::remove_dir_all(at("d")).unwrap();
    assert_eq!(faulty.paths(), Vec::<String>::new());
    faulty.set_space(FsSpace { total_bytes: 1 << 40, free_bytes: 1 << 30 });
    let space = statvfs(faulty.path()).unwrap();
    assert_eq!(space.f_blocks * space.f_frsize, 1 << 40);
    assert_eq!(space.f_bavail * space.f_frsize, 1 << 30);
}

#[test]
fn direct_io_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let Some(faulty) = mounted(dir.path()) else { return };
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::DIRECT;
    let file = open(faulty.path().join("f"), flags, Mode::RUSR | Mode::WUSR).unwrap();
    fs::File::from(file).write_all_at(&[1; 4096], 8192).unwrap();
    assert_eq!(faulty.len("f"), Some(12288));
}

#[test]
fn every_fault_reaches_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let Some(faulty) = mounted(dir.path()) else { return };
    let path = faulty.path().join("file");
    fs::write(&path, vec![1; 64 << 10]).unwrap();
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    for wanted in [Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::ROFS] {
        faulty.set(FsFault::Write { after_bytes: 4096, errno: wanted });
        file.write_all_at(&[2; 4096], 0).unwrap();
        assert_eq!(errno(file.write_all_at(&[2; 4096], 0)), Some(wanted.raw_os_error()));
        assert_eq!(file.read(&mut [0; 100]).unwrap(), 100);
        file.sync_all().unwrap();
    }
    faulty.set(FsFault::Read { after_bytes: 0, errno: Errno::IO });
    assert_eq!(errno(file.read(&mut [0; 100])), Some(Errno::IO.raw_os_error()));
    file.write_all_at(&[2; 4096], 0).unwrap();
    faulty.set(FsFault::Fsync { errno: Errno::IO });
    assert_eq!(errno(file.sync_all()), Some(Errno::IO.raw_os_error()));
    assert_eq!(errno(file.sync_data()), Some(Errno::IO.raw_os_error()));
    faulty.set_for("job", FsFault::Fsync { errno: Errno::IO });
    file.sync_all().unwrap();
    faulty.set(FsFault::None);
    file.sync_all().unwrap();
}

#[test]
fn a_hang_ends_when_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let Some(faulty) = mounted(dir.path()) else { return };
    let path = faulty.path().join("file");
    let file = Arc::new(fs::File::create(&path).unwrap());
    faulty.set(FsFault::Hang);
    let write = std::thread::spawn({
        let file = Arc::clone(&file);
        move || file.write_all_at(&[3; 4096], 0)
    });
    let look = std::thread::spawn(move || fs::metadata(path).map(|found| found.len()));
    wait_for("the answers that are withheld", || faulty.withheld() == 2);
    assert!(!write.is_finished() && !look.is_finished());
    faulty.set(FsFault::None);
    write.join().unwrap().unwrap();
    look.join().unwrap().unwrap();
    drop(file);
    wait_for("the file to be closed", || faulty.open_files() == 0);
}

#[test]
fn it_goes_though_a_file_is_open_and_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let Some(faulty) = mounted(dir.path()) else { return };
    let path = faulty.path().join("file");
    let file = fs::File::create(&path).unwrap();
    faulty.set(FsFault::Hang);
    drop(faulty);
    assert!(!path.exists());
    assert!(file.sync_all().is_err(), "nobody answers any more, and that is said");
    drop(dir);
}
