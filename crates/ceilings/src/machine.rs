//! What the kernel tells about caches and memory, from trees of files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::CeilingError;

/// Least size of all arrays together, bytes.
const LEAST: u64 = 256 << 20;

/// Where the kernel's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { sys: PathBuf::from("/sys"), proc: PathBuf::from("/proc") }
    }
}

impl Machine {
    /// Bytes of all last-level caches together; none: sysfs does not tell.
    ///
    /// A cache that several processors share counts once.
    pub fn last_level_cache_bytes(&self) -> Option<u64> {
        let mut caches: BTreeMap<(u64, String), u64> = BTreeMap::new();
        for cpu in folders(&self.sys.join("devices/system/cpu"), "cpu") {
            for index in folders(&cpu.join("cache"), "index") {
                let word = |name: &str| {
                    let text = fs::read_to_string(index.join(name)).ok()?;
                    Some(text.trim().to_owned())
                };
                let level = word("level").and_then(|level| level.parse().ok());
                let size = word("size").and_then(|size| bytes(&size));
                let data = word("type").is_none_or(|kind| kind != "Instruction");
                // Without a list of sharers each processor is taken to have its own.
                let shared = word("shared_cpu_list").unwrap_or_else(|| cpu.display().to_string());
                if let (Some(level), Some(size), true) = (level, size, data) {
                    caches.insert((level, shared), size);
                }
            }
        }
        let last = caches.keys().map(|(level, _)| *level).max()?;
        let sizes = caches.iter().filter(|((level, _), _)| *level == last);
        Some(sizes.fold(0, |sum, (_, size)| sum.saturating_add(*size)))
    }

    /// `MemAvailable`: bytes that programs can still get without swapping.
    ///
    /// # Errors
    /// The file cannot be read or has no such line.
    pub fn available_bytes(&self) -> Result<u64, CeilingError> {
        let path = self.proc.join("meminfo");
        let text = fs::read_to_string(&path)
            .map_err(|source| CeilingError::Read { path: path.clone(), source })?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib: Option<u64> =
            line.and_then(|line| line.trim().strip_suffix("kB")?.trim_end().parse().ok());
        let bytes = kib.and_then(|kib| kib.checked_mul(1024));
        bytes.ok_or(CeilingError::NoLine { path, line: "MemAvailable" })
    }

    /// Bytes of all arrays together that measure memory and not caches: four times the last-level
    /// caches, at least 256 MiB, at most a quarter of the available memory.
    ///
    /// STREAM asks for *each* array to be four times the caches
    /// (<https://www.cs.virginia.edu/stream/ref.html>); virtual machines that show all cache of
    /// their host make that many GiB. All arrays are written or read once per trial, so that a
    /// cache that keeps what was used last finds nothing of the trial before.
    ///
    /// # Errors
    /// As [`Machine::available_bytes`], or a quarter of the memory is less than 256 MiB.
    pub fn working_set_bytes(&self) -> Result<u64, CeilingError> {
        let available = self.available_bytes()?;
        if available / 4 < LEAST {
            return Err(CeilingError::TooLittleMemory { asked: LEAST, available });
        }
        let caches = self.last_level_cache_bytes().unwrap_or(0).saturating_mul(4);
        Ok(caches.max(LEAST).min(available / 4))
    }
}

/// The folders of that name and a number.
fn folders(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let is_one = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries.filter_map(Result::ok).filter(is_one).map(|entry| entry.path()).collect()
}

/// `512K`, `32M`, …
fn bytes(size: &str) -> Option<u64> {
    let (number, factor) = match size.as_bytes().last()? {
        b'K' => (&size[..size.len() - 1], 1 << 10),
        b'M' => (&size[..size.len() - 1], 1 << 20),
        b'G' => (&size[..size.len() - 1], 1 << 30),
        _ => (size, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn cache(root: &Path, cpu: u32, index: u32, level: u32, size: &str, shared: &str) {
        let folder = root.join(format!("sys/devices/system/cpu/cpu{cpu}/cache/index{index}"));
        put(&folder.join("level"), &format!("{level}\n"));
        put(&folder.join("type"), "Unified\n");
        put(&folder.join("size"), &format!("{size}\n"));
        put(&folder.join("shared_cpu_list"), &format!("{shared}\n"));
    }

    fn machine(root: &Path, available_kib: u64) -> Machine {
        let text = format!("MemTotal:  99999999 kB\nMemAvailable:   {available_kib} kB\n");
        put(&root.join("proc/meminfo"), &text);
        Machine { sys: root.join("sys"), proc: root.join("proc") }
    }

    #[test]
    fn a_shared_cache_counts_once_and_each_socket_counts() {
        let root = tempfile::tempdir().unwrap();
        let machine = machine(root.path(), 64 << 20);
        for cpu in 0..4 {
            cache(root.path(), cpu, 2, 2, "1024K", &cpu.to_string());
            cache(root.path(), cpu, 3, 3, "96M", if cpu < 2 { "0-1" } else { "2-3" });
        }
        put(&root.path().join("sys/devices/system/cpu/cpufreq/x"), "no processor");
        assert_eq!(machine.last_level_cache_bytes(), Some(192 * MIB));
        assert_eq!(machine.working_set_bytes().unwrap(), 768 * MIB);
    }

    #[test]
    fn without_caches_it_is_256_mib() {
        let root = tempfile::tempdir().unwrap();
        let machine = machine(root.path(), 64 << 20);
        assert_eq!(machine.last_level_cache_bytes(), None);
        assert_eq!(machine.working_set_bytes().unwrap(), 256 * MIB);
    }

    #[test]
    fn it_is_at_most_a_quarter_of_the_memory() {
        let root = tempfile::tempdir().unwrap();
        cache(root.path(), 0, 3, 3, "491520K", "0-1");
        let machine = machine(root.path(), 4 << 20);
        assert_eq!(machine.working_set_bytes().unwrap(), 1024 * MIB);
    }

    #[test]
    fn too_little_memory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let error = machine(root.path(), 1000 << 10).working_set_bytes().unwrap_err();
        assert!(matches!(error, CeilingError::TooLittleMemory { .. }), "{error}");
    }

    #[test]
    fn a_missing_line_is_named() {
        let root = tempfile::tempdir().unwrap();
        let machine = machine(root.path(), 1);
        put(&root.path().join("proc/meminfo"), "MemTotal: 5 kB\n");
        let error = machine.available_bytes().unwrap_err().to_string();
        assert!(
            error.ends_with("meminfo has no line `MemAvailable` with a number of kB"),
            "{error}"
        );
    }
}
