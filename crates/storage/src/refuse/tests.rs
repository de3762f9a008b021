//! Each refusal, and that a plain directory passes.

use std::os::unix::fs::symlink;

use rustix::fs::{Mode, chmod};

use super::*;
use crate::facts::tests::Fake;

fn limits() -> StorageLimits {
    StorageLimits {
        max_write_bytes: u64::MAX,
        reserve_bytes: Some(0),
        allow_mount_root: false,
        drop_caches: false,
        stall_ns: 1,
    }
}

fn disk(below: &str) -> Fake {
    Fake::new("rw", "ext4 /dev/sda1 rw", below)
}

fn refused(path: &Path, roots: &Roots) -> String {
    check(path, &limits(), 4096, roots).unwrap_err().to_string()
}

#[test]
fn a_plain_directory_passes() {
    let fake = disk("work");
    check(&fake.path, &limits(), 4096, &fake.roots).unwrap();
    let here = tempfile::tempdir().unwrap();
    check(here.path(), &limits(), 4096, &Roots::default()).unwrap();
}

#[test]
fn what_does_not_exist_or_is_a_file() {
    let fake = disk("work");
    assert!(refused(&fake.path.join("none"), &fake.roots).contains("does not exist"));
    fs::write(fake.path.join("file"), "").unwrap();
    assert!(refused(&fake.path.join("file"), &fake.roots).contains("is not a directory"));
    assert!(refused(Path::new(""), &fake.roots).contains("does not exist"));
}

#[test]
fn a_link_even_with_a_slash_behind_it() {
    let fake = disk("work");
    let link = fake.root.path().join("link");
    symlink(&fake.path, &link).unwrap();
    for spelled in ["", "/", "/.", "//./"] {
        let spelled = PathBuf::from(format!("{}{spelled}", link.display()));
        let message = refused(&spelled, &fake.roots);
        let expected = format!("is a symbolic link to {0}: name {0}", fake.path.display());
        assert!(message.contains(&expected), "{message}");
    }
    symlink("/nowhere", fake.path.join("dangling")).unwrap();
    assert!(refused(&fake.path.join("dangling"), &fake.roots).contains("symbolic link"));
}

#[test]
fn a_raw_device() {
    assert!(refused(Path::new("/dev/null"), &Roots::default()).contains("is a raw device"));
}

#[test]
fn the_kernels_own_directories_whatever_is_allowed() {
    let allowed = StorageLimits { allow_mount_root: true, ..limits() };
    for path in ["/proc", "/proc/sys", "/sys", "/dev"] {
        let message = check(Path::new(path), &allowed, 1, &Roots::default()).unwrap_err();
        assert!(message.to_string().contains("no storage"), "{message}");
    }
    let message = check(Path::new("/"), &allowed, 1, &Roots::default()).unwrap_err().to_string();
    assert!(message.contains("root of the whole system"), "{message}");
    for kind in ["cgroup2", "configfs", "hugetlbfs"] {
        let fake = Fake::new("rw", &format!("{kind} none rw"), "work");
        assert!(refused(&fake.path, &fake.roots).contains(kind));
    }
}

#[test]
fn a_mount_that_is_read_only() {
    let fake = Fake::new("ro,noatime", "squashfs /dev/loop0 ro", "work");
    assert!(refused(&fake.path, &fake.roots).contains("mounted read-only"));
}

#[test]
fn the_root_of_a_mount_unless_allowed() {
    let fake = disk("");
    let message = refused(&fake.path, &fake.roots);
    assert!(message.contains("root of a mount") && message.contains("--yes"), "{message}");
    let allowed = StorageLimits { allow_mount_root: true, ..limits() };
    check(&fake.path, &allowed, 4096, &fake.roots).unwrap();
}

#[test]
fn a_directory_of_somebody_else() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    chmod(dir.path(), Mode::from_raw_mode(0o755)).unwrap();
    chmod(&closed, Mode::from_raw_mode(0o555)).unwrap();
    // Root may write everywhere: the thread gives that up.
    let message = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        refused(&closed, &Roots::default())
    })
    .join()
    .unwrap();
    assert!(message.contains("cannot be written by this user"), "{message}");
}

#[test]
fn refusals_of_the_system_are_told_apart() {
    let told = |error| writable(Path::new("/d"), Err(error)).unwrap_err();
    assert!(told(Errno::ROFS).contains("read-only"));
    assert!(told(Errno::IO).contains("cannot tell"));
    writable(Path::new("/d"), Err(Errno::NOSYS)).unwrap();
}

#[test]
fn too_little_space_names_everything() {
    let fake = disk("work");
    let keep = StorageLimits { reserve_bytes: Some(3 << 30), ..limits() };
    let message = check(&fake.path, &keep, 1 << 60, &fake.roots).unwrap_err().to_string();
    for part in ["free space", "1048576 TiB of files", "3 GiB that stay", "--size", "--reserve"] {
        assert!(message.contains(part), "{message}");
    }
    check(&fake.path, &keep, u64::MAX, &fake.roots).unwrap_err();
    let keep = StorageLimits { reserve_bytes: Some(u64::MAX), ..limits() };
    check(&fake.path, &keep, 0, &fake.roots).unwrap_err();
}

#[test]
fn memory_that_is_left_bounds_what_lives_in_it() {
    // The fake machine has 1 MiB available.
    let fake = Fake::new("rw", "tmpfs tmpfs rw", "work");
    check(&fake.path, &limits(), 1 << 20, &fake.roots).unwrap();
    let message = check(&fake.path, &limits(), (1 << 20) + 1, &fake.roots).unwrap_err();
    assert!(message.to_string().contains("1 MiB of memory for its tmpfs"), "{message}");
}

#[test]
fn the_reserve_is_a_twentieth_and_at_most_10_gib() {
    let default = StorageLimits { reserve_bytes: None, ..limits() };
    assert_eq!(reserve(&default, 100 << 30), 5 << 30);
    assert_eq!(reserve(&default, 1 << 50), 10 << 30);
    assert_eq!(reserve(&limits(), 1 << 50), 0);
}
