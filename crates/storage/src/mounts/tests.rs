//! Tables of mounts as real machines have them.

use proptest::prelude::*;

use super::*;

const TABLE: &str = r"22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
23 28 0:21 / /proc rw,relatime shared:13 - proc proc rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
40 28 0:35 / /tmp rw,nosuid,nodev shared:20 - tmpfs tmpfs rw,size=16G
90 28 0:52 / /mnt/nfs rw,relatime shared:50 - nfs4 store:/export/ai rw,vers=4.2,rsize=1048576,nconnect=8,proto=tcp
91 28 0:53 / /mnt/ceph rw,relatime shared:51 - ceph 10.0.0.1:6789,10.0.0.2:6789:/ rw,name=admin,secret=<hidden>
92 28 0:54 / /mnt/gluster rw,relatime shared:52 - fuse.glusterfs node1:/gv0 rw,user_id=0,group_id=0
93 28 259:2 /srv/models /models rw,relatime shared:1 master:3 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
94 28 8:17 / /mnt/My\040Disk\011\134x rw,relatime - xfs /dev/sdb1 rw
95 94 0:60 / /mnt/My\040Disk\011\134x/sub rw - tmpfs none rw
96 28 0:61 / /mnt/nfs rw,relatime - nfs4 other:/later rw,vers=4.1
";

fn at(path: &str, device: (u32, u32)) -> Mount {
    find(&parse(TABLE.as_bytes()), Path::new(path), device, None).unwrap().clone()
}

#[test]
fn every_line_is_read() {
    assert_eq!(parse(TABLE.as_bytes()).len(), TABLE.lines().count());
}

#[test]
fn ext4_on_a_partition() {
    let mount = at("/home/ada/work", (259, 2));
    assert_eq!((mount.kind.as_str(), mount.point.as_path()), ("ext4", Path::new("/")));
    assert_eq!(mount.source, "/dev/nvme0n1p2");
    assert_eq!(mount.options, ["rw", "relatime", "errors=remount-ro"]);
}

#[test]
fn nfs_tells_version_and_connections() {
    let mount = at("/mnt/nfs/a", (0, 52));
    assert_eq!(mount.source, "store:/export/ai");
    assert_eq!((mount.option("vers"), mount.option("nconnect")), (Some("4.2"), Some("8")));
    assert_eq!(mount.option("ver"), None);
    assert!(is_shared(&mount.kind));
}

#[test]
fn of_two_on_one_point_the_device_tells_and_else_the_last() {
    assert_eq!(at("/mnt/nfs/a", (0, 61)).source, "other:/later");
    assert_eq!(at("/mnt/nfs/a", (0, 999)).source, "other:/later");
}

#[test]
fn the_kernels_number_goes_before_everything() {
    let mounts = parse(TABLE.as_bytes());
    let found = find(&mounts, Path::new("/mnt/nfs/a"), (0, 61), Some(90)).unwrap();
    assert_eq!(found.source, "store:/export/ai");
    // A number of a mount that is not above the directory is another table's.
    let found = find(&mounts, Path::new("/mnt/nfs/a"), (0, 61), Some(40)).unwrap();
    assert_eq!(found.source, "other:/later");
}

#[test]
fn ceph_and_gluster_are_shared_and_the_others_are_not() {
    assert!(is_shared(&at("/mnt/ceph", (0, 53)).kind));
    assert!(is_shared(&at("/mnt/gluster/x", (0, 54)).kind));
    for kind in ["ext4", "xfs", "tmpfs", "fuse.ntfs-3g", "fuseblk", "overlay", "fuse."] {
        assert!(!is_shared(kind), "{kind}");
    }
}

#[test]
fn a_bind_mount_is_a_mount_of_its_own() {
    assert_eq!(at("/models/llama", (259, 2)).point, Path::new("/models"));
    assert_eq!(at("/models-old", (259, 2)).point, Path::new("/"));
}

#[test]
fn escaped_blanks_tabs_and_backslashes() {
    assert_eq!(at("/mnt/My Disk\t\\x/file", (8, 17)).point, Path::new("/mnt/My Disk\t\\x"));
    assert_eq!(at("/mnt/My Disk\t\\x/sub/file", (0, 60)).kind, "tmpfs");
    assert_eq!(unescape(br"\400\08\04"), br"\400\08\04");
}

#[test]
fn a_device_that_the_table_lacks_still_has_a_mount() {
    // btrfs gives each subvolume a device of its own.
    assert_eq!(at("/tmp/x", (0, 77)).kind, "tmpfs");
}

#[test]
fn read_only_on_either_side_is_read_only() {
    for line in ["1 1 8:1 / / ro,noatime - ext4 a rw,discard", "1 1 8:1 / / rw - ext4 a ro"] {
        let options = &parse(line.as_bytes())[0].options;
        assert!(options.contains(&"ro".to_owned()) && !options.contains(&"rw".to_owned()));
    }
}

#[test]
fn overlay_of_a_container_with_an_empty_source() {
    let text = b"600 500 0:70 / / rw,relatime master:1 - overlay  rw,lowerdir=/a:/b,upperdir=/c\n\
                 bad line\n700 600 0:x / /a rw - ext4 a rw\n701 600 0:1 / /a rw ext4 a rw\n";
    let mounts = parse(text);
    assert_eq!(mounts.len(), 1);
    assert_eq!((mounts[0].kind.as_str(), mounts[0].source.as_str()), ("overlay", ""));
    assert_eq!(mounts[0].option("upperdir"), Some("/c"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let mounts = parse(&text);
        prop_assert!(mounts.len() <= text.split(|byte| *byte == b'\n').count());
    }

    #[test]
    fn damaged_tables_are_read_without_panic(at in 0..TABLE.len(), byte in any::<u8>(), cut in 0..TABLE.len()) {
        let mut text = TABLE.as_bytes().to_vec();
        text[at] = byte;
        text.truncate(cut);
        for mount in parse(&text) {
            prop_assert!(!mount.options.iter().any(String::is_empty));
        }
    }

    #[test]
    fn escaping_is_undone(name in prop::collection::vec(1..=255_u8, 0..40)) {
        let mut escaped = Vec::new();
        for byte in &name {
            if b" \t\n\\".contains(byte) {
                escaped.extend(format!("\\{byte:03o}").bytes());
            } else {
                escaped.push(*byte);
            }
        }
        prop_assert_eq!(unescape(&escaped), name);
    }
}
