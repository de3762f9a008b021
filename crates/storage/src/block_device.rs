//! What sysfs tells of a block device: the disk of a partition, what lies below a mapped one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Mapped devices stand on mapped devices, but hardly deeper than this.
const MAX_DEPTH: u32 = 8;

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BlockDevice {
    /// `nvme0n1`, or `dm-0 (vg-root) on sda` for a mapped one.
    pub name: String,
    /// Model of the disk, where there is exactly one below.
    pub model: Option<String>,
    /// I/O scheduler, of the disk where there is exactly one below.
    pub scheduler: Option<String>,
    /// Whether it has spinning platters.
    pub rotational: Option<bool>,
    /// Read-ahead of the device that the file system lies on, bytes.
    pub read_ahead_bytes: Option<u64>,
}

/// The block device with these numbers, below this root of sysfs; `None` where it has none.
pub(crate) fn look(sys: &Path, (major, minor): (u32, u32)) -> Option<BlockDevice> {
    let entry = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))).ok()?;
    let disk = disk_of(entry);
    let own = name_of(&disk)?;
    let mut below = BTreeSet::new();
    leaves(&disk, 0, &mut below);
    let below: Vec<PathBuf> = below.into_iter().collect();
    let one = match below.as_slice() {
        [] => Some(&disk),
        [one] => Some(one),
        _ => None,
    };
    let model = |disk: &PathBuf| {
        // SD cards and eMMC have a name in its place.
        word(disk, "device/model").or_else(|| word(disk, "device/name"))
    };
    Some(BlockDevice {
        name: in_words(&disk, own, &below),
        model: one.and_then(model),
        scheduler: one.and_then(|disk| scheduler(disk)).or_else(|| scheduler(&disk)),
        rotational: word(&disk, "queue/rotational").map(|flag| flag == "1"),
        read_ahead_bytes: kib(&disk, "queue/read_ahead_kb"),
    })
}

/// A number of KiB in a file below `dir`, as bytes.
pub(crate) fn kib(dir: &Path, file: &str) -> Option<u64> {
    word(dir, file)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The text of a file below `dir`, without blanks around it; `None` where it has none.
pub(crate) fn word(dir: &Path, file: &str) -> Option<String> {
    let text = fs::read(dir.join(file)).ok()?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A partition lies inside its disk.
fn disk_of(entry: PathBuf) -> PathBuf {
    match entry.parent() {
        Some(parent) if entry.join("partition").exists() => parent.to_path_buf(),
        _ => entry,
    }
}

fn name_of(disk: &Path) -> Option<String> {
    // The kernel writes `/` in names of devices (`cciss/c0d0`) as `!`.
    Some(disk.file_name()?.to_string_lossy().replace('!', "/"))
}

/// The disks below a mapped device (LVM, dm-crypt, RAID).
fn leaves(disk: &Path, depth: u32, found: &mut BTreeSet<PathBuf>) {
    let Ok(slaves) = fs::read_dir(disk.join("slaves")) else { return };
    for slave in slaves.flatten() {
        let Ok(slave) = fs::canonicalize(slave.path()) else { continue };
        let slave = disk_of(slave);
        let has_more =
            fs::read_dir(slave.join("slaves")).is_ok_and(|mut more| more.next().is_some());
        if has_more && depth < MAX_DEPTH {
            leaves(&slave, depth + 1, found);
        } else {
            found.insert(slave);
        }
    }
}

fn in_words(disk: &Path, own: String, below: &[PathBuf]) -> String {
    let mut text = own;
    if let Some(mapped) = word(disk, "dm/name") {
        text.push_str(&format!(" ({mapped})"));
    }
    let below: Vec<String> = below.iter().filter_map(|disk| name_of(disk)).collect();
    if !below.is_empty() {
        text.push_str(&format!(" on {}", below.join(", ")));
    }
    text
}

/// `none [mq-deadline] kyber`: the one in brackets is used.
fn scheduler(disk: &Path) -> Option<String> {
    let text = word(disk, "queue/scheduler")?;
    match (text.find('['), text.find(']')) {
        (Some(from), Some(to)) if from < to => Some(text[from + 1..to].to_owned()),
        _ => (!text.contains(' ')).then_some(text),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn number(root: &Path, number: &str, device: &str) {
        let dir = root.join("dev/block");
        fs::create_dir_all(&dir).unwrap();
        symlink(root.join(device), dir.join(number)).unwrap();
    }

    fn slave(root: &Path, of: &str, device: &str) {
        let dir = root.join(of).join("slaves");
        fs::create_dir_all(&dir).unwrap();
        symlink(root.join(device), dir.join(Path::new(device).file_name().unwrap())).unwrap();
    }

    fn sda(root: &Path) {
        put(root, "devices/sda/device/model", "WDC WD40EFRX    \n");
        put(root, "devices/sda/queue/scheduler", "none [bfq] mq-deadline\n");
        put(root, "devices/sda/queue/rotational", "1\n");
        put(root, "devices/sda/sda3/partition", "3\n");
    }

    #[test]
    fn a_partition_of_an_nvme_tells_its_disk() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "devices/nvme0n1/device/model", "Samsung SSD 990 PRO 2TB                 \n");
        put(root, "devices/nvme0n1/queue/scheduler", "[none] mq-deadline kyber bfq\n");
        put(root, "devices/nvme0n1/queue/rotational", "0\n");
        put(root, "devices/nvme0n1/queue/read_ahead_kb", "128\n");
        put(root, "devices/nvme0n1/nvme0n1p2/partition", "2\n");
        number(root, "259:2", "devices/nvme0n1/nvme0n1p2");
        let expected = BlockDevice {
            name: "nvme0n1".to_owned(),
            model: Some("Samsung SSD 990 PRO 2TB".to_owned()),
            scheduler: Some("none".to_owned()),
            rotational: Some(false),
            read_ahead_bytes: Some(128 << 10),
        };
        assert_eq!(look(root, (259, 2)), Some(expected));
        assert_eq!(look(root, (259, 3)), None);
    }

    #[test]
    fn a_volume_on_a_crypt_on_a_partition_tells_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        sda(root);
        put(root, "devices/dm-0/dm/name", "luks-1\n");
        put(root, "devices/dm-1/dm/name", "vg0-home\n");
        put(root, "devices/dm-1/queue/rotational", "1\n");
        slave(root, "devices/dm-0", "devices/sda/sda3");
        slave(root, "devices/dm-1", "devices/dm-0");
        number(root, "253:1", "devices/dm-1");
        let device = look(root, (253, 1)).unwrap();
        assert_eq!(device.name, "dm-1 (vg0-home) on sda");
        assert_eq!(device.model.as_deref(), Some("WDC WD40EFRX"));
        assert_eq!(device.scheduler.as_deref(), Some("bfq"));
        assert_eq!(device.rotational, Some(true));
    }

    #[test]
    fn a_raid_of_two_has_no_single_model() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        sda(root);
        put(root, "devices/sdb/device/model", "other");
        slave(root, "devices/md0", "devices/sda");
        slave(root, "devices/md0", "devices/sdb");
        number(root, "9:0", "devices/md0");
        let device = look(root, (9, 0)).unwrap();
        assert_eq!((device.name.as_str(), device.model), ("md0 on sda, sdb", None));
        assert_eq!((device.scheduler, device.rotational), (None, None));
    }

    #[test]
    fn devices_that_stand_on_each_other_end() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "devices/dm-0/dm/name", "a");
        put(root, "devices/dm-1/dm/name", "b");
        slave(root, "devices/dm-0", "devices/dm-1");
        slave(root, "devices/dm-1", "devices/dm-0");
        number(root, "253:0", "devices/dm-0");
        assert!(look(root, (253, 0)).unwrap().name.starts_with("dm-0 (a) on "));
    }
}
