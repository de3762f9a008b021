//! The state of a host from procfs, sysfs and cgroups, all three given as folders. Each file has a
//! pure parser; a file that is missing or odd costs its own part alone, and is named.

use std::collections::BTreeMap;
use std::path::PathBuf;

use loadline_schema::gpu::{Missing, MissingKind};
use loadline_schema::host_sample::{CpuFrequency, HostReading, NumaNode};

use crate::sys_file::{number, numbered, text};

mod cgroup;
mod procfs;

pub use cgroup::cgroup_limits;
pub use procfs::{
    parse_diskstats, parse_loadavg, parse_meminfo, parse_net_dev, parse_pressure, parse_stat,
};

/// Where the kernel's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Usually `/proc`.
    pub proc: PathBuf,
    /// Usually `/sys`.
    pub sys: PathBuf,
    /// Usually `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

impl Roots {
    /// The same three folders inside another one, as in a container that has its host's mounted.
    pub fn under(folder: &std::path::Path) -> Self {
        Self {
            proc: folder.join("proc"),
            sys: folder.join("sys"),
            cgroup: folder.join("sys/fs/cgroup"),
        }
    }
}

/// Reads everything at this moment, run-relative monotonic ns.
pub fn read(roots: &Roots, now_ns: u64) -> HostReading {
    let mut reading = HostReading { at_ns: now_ns, ..HostReading::default() };
    let proc = |name: &str| roots.proc.join(name);
    let ticks = rustix::param::clock_ticks_per_second();
    if let Some((cpu, cores)) =
        take(&mut reading.missing, "cpu", || parse_stat(&text(&proc("stat"))?, ticks))
    {
        (reading.cpu, reading.cores) = (Some(cpu), cores);
    }
    reading.load_average =
        take(&mut reading.missing, "load_average", || parse_loadavg(&text(&proc("loadavg"))?));
    reading.memory =
        take(&mut reading.missing, "memory", || parse_meminfo(&text(&proc("meminfo"))?));
    for resource in ["cpu", "memory", "io", "irq"] {
        let path = roots.proc.join("pressure").join(resource);
        let name = format!("pressure_{resource}");
        if let Some(found) = take(&mut reading.missing, &name, || parse_pressure(&text(&path)?)) {
            reading.pressure.insert(resource.to_owned(), found);
        }
    }
    if let Some(all) =
        take(&mut reading.missing, "disks", || parse_diskstats(&text(&proc("diskstats"))?))
    {
        reading.disks = whole_disks(roots, all);
    }
    reading.networks =
        take(&mut reading.missing, "networks", || parse_net_dev(&text(&proc("net/dev"))?))
            .map(|all| own_networks(roots, all))
            .unwrap_or_default();
    reading.cgroup = take(&mut reading.missing, "cgroup", || cgroup_limits(roots));
    reading.numa = numa(roots, &mut reading.missing);
    reading.frequency_khz = frequencies(roots, &mut reading.missing);
    reading
}

/// The value, or its reason under the part's name.
fn take<T>(
    missing: &mut BTreeMap<String, Missing>,
    part: &str,
    read: impl FnOnce() -> Result<T, Missing>,
) -> Option<T> {
    match read() {
        Ok(value) => Some(value),
        Err(why) => {
            missing.insert(part.to_owned(), why);
            None
        }
    }
}

/// Partitions are left out, since their disk has their I/O too; and so are devices that never did
/// anything (unused loops and RAM disks). Without sysfs every device counts.
fn whole_disks<V: PartialEq + Default>(
    roots: &Roots,
    all: BTreeMap<String, V>,
) -> BTreeMap<String, V> {
    let blocks = roots.sys.join("block");
    let known = blocks.is_dir();
    all.into_iter()
        .filter(|(name, counters)| {
            let is_whole = !known || blocks.join(name.replace('/', "!")).exists();
            is_whole && *counters != V::default()
        })
        .collect()
}

/// Bridges, bonds, VLANs and the ends of containers pass on what a device of the machine carries: it
/// would count twice. Where no interface is a device (in a container) all but the loopback count.
fn own_networks<V>(roots: &Roots, all: BTreeMap<String, V>) -> BTreeMap<String, V> {
    let devices = roots.sys.join("class/net");
    let is_device = |name: &str| name == "lo" || devices.join(name).join("device").exists();
    let has_device = all.keys().any(|name| name != "lo" && is_device(name));
    all.into_iter().filter(|(name, _)| !has_device || is_device(name)).collect()
}

fn numa(roots: &Roots, missing: &mut BTreeMap<String, Missing>) -> BTreeMap<u32, NumaNode> {
    let folder = roots.sys.join("devices/system/node");
    let nodes = numbered(&folder, "node");
    if nodes.is_empty() {
        let reason = format!("{}: no NUMA nodes are listed", folder.display());
        missing.insert("numa".into(), Missing::new(MissingKind::Unsupported, reason));
    }
    let node = |path: PathBuf| {
        let memory = text(&path.join("meminfo")).ok();
        let kib = |key: &str| {
            let line = memory.as_ref()?.lines().find(|line| line.contains(key))?;
            line.split_whitespace().nth(3)?.parse::<u64>().ok()?.checked_mul(1024)
        };
        let statistics = text(&path.join("numastat")).ok();
        let missed = statistics.as_ref().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("numa_miss "))?.trim().parse().ok()
        });
        NumaNode {
            cpus: text(&path.join("cpulist")).unwrap_or_default(),
            memory_bytes: kib("MemTotal:"),
            free_bytes: kib("MemFree:"),
            missed_pages: missed,
        }
    };
    nodes.into_iter().map(|(number, path)| (number, node(path))).collect()
}

fn frequencies(
    roots: &Roots,
    missing: &mut BTreeMap<String, Missing>,
) -> BTreeMap<u32, CpuFrequency> {
    let folder = roots.sys.join("devices/system/cpu");
    let found: BTreeMap<u32, CpuFrequency> = numbered(&folder, "cpu")
        .into_iter()
        .map(|(number, path)| (number, path.join("cpufreq")))
        .filter(|(_, path)| path.is_dir())
        .map(|(cpu, path)| {
            let frequency = CpuFrequency {
                now_khz: number(&path.join("scaling_cur_freq")).ok(),
                max_khz: number(&path.join("cpuinfo_max_freq")).ok(),
                governor: text(&path.join("scaling_governor")).ok(),
            };
            (cpu, frequency)
        })
        .collect();
    if found.is_empty() {
        let reason = format!("{}: no cpufreq; virtual machines have none", folder.display());
        missing.insert("frequency".into(), Missing::new(MissingKind::Unsupported, reason));
    }
    found
}

#[cfg(test)]
mod tests {
    use loadline_schema::host_sample::HostDelta;
    use loadline_testkit::{h100_host_tree, vm_tree};

    use super::*;

    #[test]
    fn this_very_host_can_be_read() {
        let reading = read(&Roots::default(), 1);
        assert!(reading.cpu.is_some_and(|cpu| cpu.total_ns() > 0), "{:?}", reading.missing);
        assert!(!reading.cores.is_empty());
        assert!(reading.memory.is_some_and(|m| m.total_bytes > m.available_bytes));
        assert!(reading.networks.contains_key("lo"));
        let later = read(&Roots::default(), 1_000_000_001);
        let delta = HostDelta::between(&reading, &later).expect("later");
        assert!(delta.cpu.is_some_and(|cpu| (0.0..=1.0).contains(&cpu.busy)));
    }

    #[test]
    fn a_server_with_two_nodes() {
        let folder = tempfile::tempdir().expect("a folder");
        h100_host_tree(folder.path()).expect("a tree");
        let reading = read(&Roots::under(folder.path()), 0);
        assert_eq!(reading.missing, BTreeMap::new());
        assert_eq!(reading.cores.len(), 4);
        assert_eq!(reading.numa[&1].cpus, "2-3");
        assert_eq!(reading.numa[&0].memory_bytes, Some(1_048_576 * 1024));
        assert_eq!(reading.numa[&0].missed_pages, Some(17));
        assert_eq!(reading.frequency_khz[&3].now_khz, Some(3_500_000));
        assert_eq!(reading.frequency_khz[&3].governor.as_deref(), Some("performance"));
        assert_eq!(reading.disks.keys().collect::<Vec<_>>(), ["nvme0n1"], "no partition, no loop");
        let cgroup = reading.cgroup.expect("limits");
        assert_eq!((cgroup.version, cgroup.cpus, cgroup.throttled), (2, Some(2.5), Some(7)));
        assert_eq!(reading.pressure["io"].full_ns, Some(250_000_000));
    }

    #[test]
    fn a_bare_vm_lacks_parts_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        vm_tree(folder.path()).expect("a tree");
        let reading = read(&Roots::under(folder.path()), 0);
        assert!(reading.cpu.is_some() && reading.memory.is_some());
        let parts: Vec<&str> = reading.missing.keys().map(String::as_str).collect();
        assert_eq!(
            parts,
            ["frequency", "numa", "pressure_cpu", "pressure_io", "pressure_irq", "pressure_memory"]
        );
        assert!(reading.missing["frequency"].reason.contains("virtual machines"));
        let cgroup = reading.cgroup.expect("limits");
        assert_eq!((cgroup.version, cgroup.cpus), (1, Some(1.5)));
        assert_eq!(cgroup.memory_bytes, Some(2 << 30));
    }

    #[test]
    fn each_file_may_be_missing() {
        for (file, part) in [
            ("proc/stat", "cpu"),
            ("proc/loadavg", "load_average"),
            ("proc/meminfo", "memory"),
            ("proc/diskstats", "disks"),
            ("proc/net/dev", "networks"),
            ("proc/self/cgroup", "cgroup"),
            ("proc/pressure/io", "pressure_io"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            h100_host_tree(folder.path()).expect("a tree");
            std::fs::write(folder.path().join(file), "\u{fffd} odd\n").expect("writes");
            let odd = read(&Roots::under(folder.path()), 0);
            assert!(odd.missing.contains_key(part), "odd {file}: {:?}", odd.missing);
            std::fs::remove_file(folder.path().join(file)).expect("removes");
            let gone = read(&Roots::under(folder.path()), 0);
            assert_eq!(gone.missing.keys().collect::<Vec<_>>(), [part], "{file}");
            assert!(gone.missing[part].reason.contains(file), "{}", gone.missing[part].reason);
        }
    }
}
