//! The limits of the cgroup that this process is in, versions 1 and 2: of each limit the tightest on
//! the way up to the root, since every ancestor's holds.

use std::path::{Path, PathBuf};

use loadline_schema::gpu::{Missing, MissingKind};
use loadline_schema::host_sample::CgroupLimits;

use super::Roots;
use crate::sys_file::{number, text};

/// Version 1 writes "no limit" as the largest number of whole pages.
const V1_UNLIMITED: u64 = 1 << 62;

/// Reads the limits.
///
/// # Errors
///
/// Where `/proc/self/cgroup` is missing or names no group that is there.
pub fn cgroup_limits(roots: &Roots) -> Result<CgroupLimits, Missing> {
    let path = roots.proc.join("self/cgroup");
    let groups = text(&path)?;
    let odd = || {
        let reason = format!(
            "{}: names no cgroup that lies under {}",
            path.display(),
            roots.cgroup.display()
        );
        Missing::new(MissingKind::Failed, reason)
    };
    // Lines "hierarchy:controllers:path"; version 2 is hierarchy 0 without controllers.
    let lines: Vec<(&str, &str)> =
        groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
    let find = |controller: &str| {
        lines.iter().find(|(names, _)| names.split(',').any(|name| name == controller))
    };
    if let (Some((cpu, cpu_path)), Some((memory, memory_path))) = (find("cpu"), find("memory")) {
        let cpu = v1_folder(roots, cpu, "cpu", cpu_path).ok_or_else(odd)?;
        let memory = v1_folder(roots, memory, "memory", memory_path).ok_or_else(odd)?;
        return Ok(v1(&cpu, &memory));
    }
    let (_, group) = find("").ok_or_else(odd)?;
    let ways = way_up(&roots.cgroup, group);
    if ways.iter().all(|folder| !folder.join("cgroup.controllers").exists()) {
        return Err(odd());
    }
    Ok(v2(&ways))
}

/// The folders from a group up to the root. In a container the group's path may be the host's, and
/// its folder not be there: then the root of what is mounted is the group.
fn way_up(root: &Path, group: &str) -> Vec<PathBuf> {
    // ".." at the begin stands for groups outside of this namespace.
    let group = group.trim_start_matches("/..").trim_start_matches('/');
    let start = root.join(group);
    let start = if start.is_dir() && start.starts_with(root) { start } else { root.to_owned() };
    start.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned).collect()
}

fn v1_folder(roots: &Roots, names: &str, controller: &str, group: &str) -> Option<Vec<PathBuf>> {
    let mounts = [names, controller].map(|name| roots.cgroup.join(name));
    let mounted = mounts.into_iter().find(|folder| folder.is_dir())?;
    Some(way_up(&mounted, group))
}

fn least<T: PartialOrd>(found: impl Iterator<Item = T>) -> Option<T> {
    found.reduce(|a, b| if b < a { b } else { a })
}

fn v2(ways: &[PathBuf]) -> CgroupLimits {
    let quota = |folder: &PathBuf| {
        let line = text(&folder.join("cpu.max")).ok()?;
        let (quota, period) = line.split_once(' ')?;
        share(quota.parse().ok()?, period.parse().ok()?)
    };
    let keyed = |file: &str, key: &str| {
        let lines = text(&ways.first()?.join(file)).ok()?;
        let value = lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        value.trim().parse::<u64>().ok()
    };
    CgroupLimits {
        version: 2,
        cpus: least(ways.iter().filter_map(quota)),
        memory_bytes: least(
            ways.iter().filter_map(|folder| number::<u64>(&folder.join("memory.max")).ok()),
        ),
        memory_used_bytes: ways.first().and_then(|own| number(&own.join("memory.current")).ok()),
        throttled: keyed("cpu.stat", "nr_throttled"),
        throttled_ns: keyed("cpu.stat", "throttled_usec").and_then(|us| us.checked_mul(1_000)),
        oom_kills: keyed("memory.events", "oom_kill"),
    }
}

fn v1(cpu: &[PathBuf], memory: &[PathBuf]) -> CgroupLimits {
    let quota = |folder: &PathBuf| {
        let quota: i64 = number(&folder.join("cpu.cfs_quota_us")).ok()?;
        let period = number(&folder.join("cpu.cfs_period_us")).ok()?;
        share(u64::try_from(quota).ok()?, period)
    };
    let keyed = |folders: &[PathBuf], file: &str, key: &str| {
        let lines = text(&folders.first()?.join(file)).ok()?;
        let value = lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        value.trim().parse::<u64>().ok()
    };
    let limit = |folder: &PathBuf| {
        let bytes: u64 = number(&folder.join("memory.limit_in_bytes")).ok()?;
        (bytes < V1_UNLIMITED).then_some(bytes)
    };
    let used = memory.first().and_then(|own| number(&own.join("memory.usage_in_bytes")).ok());
    CgroupLimits {
        version: 1,
        cpus: least(cpu.iter().filter_map(quota)),
        memory_bytes: least(memory.iter().filter_map(limit)),
        memory_used_bytes: used,
        throttled: keyed(cpu, "cpu.stat", "nr_throttled"),
        throttled_ns: keyed(cpu, "cpu.stat", "throttled_time"),
        oom_kills: keyed(memory, "memory.oom_control", "oom_kill"),
    }
}

/// Processors' worth of a quota in a period, both µs.
fn share(quota: u64, period: u64) -> Option<f64> {
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("makes");
            fs::write(path, text).expect("writes");
        }
        let roots = Roots::under(folder.path());
        (folder, roots)
    }

    #[test]
    fn the_tightest_limit_up_the_way_holds() {
        let (_folder, roots) = tree(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/memory.max", "4096\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "8192\n"),
            ("sys/fs/cgroup/a/b/memory.current", "77\n"),
            ("sys/fs/cgroup/a/b/cpu.stat", "usage_usec 5\nnr_throttled 3\nthrottled_usec 20\n"),
            ("sys/fs/cgroup/a/b/memory.events", "oom 9\noom_kill 2\n"),
        ]);
        let limits = cgroup_limits(&roots).expect("limits");
        assert_eq!((limits.cpus, limits.memory_bytes), (Some(1.5), Some(4096)));
        assert_eq!((limits.memory_used_bytes, limits.oom_kills), (Some(77), Some(2)));
        assert_eq!((limits.throttled, limits.throttled_ns), (Some(3), Some(20_000)));
    }

    #[test]
    fn a_container_sees_its_own_group_as_root() {
        let (_folder, roots) = tree(&[
            ("proc/self/cgroup", "0::/../../docker/abc\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu\n"),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
        ]);
        let limits = cgroup_limits(&roots).expect("limits");
        assert_eq!((limits.cpus, limits.memory_bytes), (Some(0.5), None));
    }

    #[test]
    fn version_1_has_a_number_for_no_limit() {
        let (_folder, roots) = tree(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n3:memory:/x\n0::/\n"),
            ("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576\n"),
        ]);
        let limits = cgroup_limits(&roots).expect("limits");
        assert_eq!((limits.version, limits.cpus, limits.memory_bytes), (1, None, Some(1_048_576)));
    }

    #[test]
    fn a_group_that_is_nowhere_is_said() {
        let (_folder, roots) = tree(&[("proc/self/cgroup", "0::/a\n")]);
        assert!(cgroup_limits(&roots).expect_err("nothing").reason.contains("self/cgroup"));
    }
}
