//! What two looks at a host come to: shares of time and rates.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CpuTimes, DiskCounters, HostReading, NetworkCounters, Pressure};

/// Shares of a processor's time, 0–1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CpuShares {
    /// At work for this host: everything but idle, iowait and steal.
    pub busy: f64,
    /// In the kernel and in interrupts.
    pub system: f64,
    /// Waiting for I/O.
    pub iowait: f64,
    /// Taken by the hypervisor.
    pub steal: f64,
}

/// Rates of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DiskRates {
    /// Bytes/s read.
    pub read_bytes_per_s: f64,
    /// Bytes/s written.
    pub write_bytes_per_s: f64,
    /// Reads and writes per second.
    pub iops: f64,
    /// Share of time with an I/O under way, 0–1. Of a device that does many at once it says little.
    pub busy: f64,
}

/// Rates of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetworkRates {
    /// Bytes/s received.
    pub rx_bytes_per_s: f64,
    /// Bytes/s sent.
    pub tx_bytes_per_s: f64,
    /// Packets lost (errors and drops, both ways) in the time.
    pub lost: u64,
}

/// What happened on a host between two looks. A counter that went back (a device came anew, the host
/// was started again) leaves its entry out and its name in `reset`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostDelta {
    /// Time between the looks, ns.
    pub over_ns: u64,
    /// All processors together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuShares>,
    /// Each processor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cores: BTreeMap<u32, CpuShares>,
    /// Share of time in which some task waited for the resource, 0–1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pressure_some: BTreeMap<String, f64>,
    /// Share of time in which no task could go on, 0–1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pressure_full: BTreeMap<String, f64>,
    /// Block devices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<String, DiskRates>,
    /// Network interfaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, NetworkRates>,
    /// Share of time in which the cgroup was stopped for using up its processor time, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_throttled: Option<f64>,
    /// Counters that went back: "cpu 3", "disk sda", "network eth0", "pressure io", "cgroup".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reset: Vec<String>,
}

impl HostDelta {
    /// What happened from `first` to `last`; `None` where `last` is not later.
    pub fn between(first: &HostReading, last: &HostReading) -> Option<Self> {
        let over_ns = last.at_ns.checked_sub(first.at_ns).filter(|ns| *ns > 0)?;
        let mut delta = Self { over_ns, ..Self::default() };
        if let (Some(a), Some(b)) = (&first.cpu, &last.cpu) {
            delta.cpu = delta.kept("cpu", shares(a, b));
        }
        for (core, a, b) in pairs(&first.cores, &last.cores) {
            if let Some(found) = delta.kept(&format!("cpu {core}"), shares(a, b)) {
                delta.cores.insert(*core, found);
            }
        }
        for (resource, a, b) in pairs(&first.pressure, &last.pressure) {
            let name = format!("pressure {resource}");
            if let Some((some, full)) = delta.kept(&name, stalls(a, b, over_ns)) {
                delta.pressure_some.insert(resource.clone(), some);
                full.map(|full| delta.pressure_full.insert(resource.clone(), full));
            }
        }
        for (disk, a, b) in pairs(&first.disks, &last.disks) {
            if let Some(found) = delta.kept(&format!("disk {disk}"), disk_rates(a, b, over_ns)) {
                delta.disks.insert(disk.clone(), found);
            }
        }
        for (net, a, b) in pairs(&first.networks, &last.networks) {
            if let Some(found) = delta.kept(&format!("network {net}"), net_rates(a, b, over_ns)) {
                delta.networks.insert(net.clone(), found);
            }
        }
        let stopped = |reading: &HostReading| reading.cgroup.as_ref()?.throttled_ns;
        if let (Some(a), Some(b)) = (stopped(first), stopped(last)) {
            let share = b.checked_sub(a).map(|ns| ns as f64 / over_ns as f64);
            delta.cgroup_throttled = delta.kept("cgroup", share);
        }
        Some(delta)
    }

    /// The value, or a note that its counter went back.
    fn kept<T>(&mut self, name: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.reset.push(name.to_owned());
        }
        value
    }
}

fn pairs<'a, K: Ord, V>(
    first: &'a BTreeMap<K, V>,
    last: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V, &'a V)> {
    last.iter().filter_map(|(key, b)| first.get(key).map(|a| (key, a, b)))
}

/// `None` where any part went back; the kernel lets iowait shrink now and then (proc(5)), and idle
/// with it, which counts as nothing.
fn shares(a: &CpuTimes, b: &CpuTimes) -> Option<CpuShares> {
    let work = [
        (a.user_ns, b.user_ns),
        (a.nice_ns, b.nice_ns),
        (a.guest_ns, b.guest_ns),
        (a.system_ns, b.system_ns),
        (a.irq_ns, b.irq_ns),
        (a.steal_ns, b.steal_ns),
    ];
    let mut grown = [0_u64; 6];
    for (into, (from, to)) in grown.iter_mut().zip(work) {
        *into = to.checked_sub(from)?;
    }
    let idle = b.idle_ns.saturating_sub(a.idle_ns);
    let iowait = b.iowait_ns.saturating_sub(a.iowait_ns);
    let [user, nice, guest, system, irq, steal] = grown;
    let total = grown.iter().fold(idle.saturating_add(iowait), |sum, ns| sum.saturating_add(*ns));
    if total == 0 {
        // Two looks inside one tick: nothing is known to have happened.
        return Some(CpuShares::default());
    }
    let share = |ns: u64| ns as f64 / total as f64;
    let kernel = system.saturating_add(irq);
    let busy = user.saturating_add(nice).saturating_add(guest).saturating_add(kernel);
    Some(CpuShares {
        busy: share(busy),
        system: share(kernel),
        iowait: share(iowait),
        steal: share(steal),
    })
}

fn stalls(a: &Pressure, b: &Pressure, over_ns: u64) -> Option<(f64, Option<f64>)> {
    let share = |a: u64, b: u64| Some((b.checked_sub(a)? as f64 / over_ns as f64).min(1.0));
    let full = match (a.full_ns, b.full_ns) {
        (Some(a), Some(b)) => Some(share(a, b)?),
        _ => None,
    };
    Some((share(a.some_ns, b.some_ns)?, full))
}

fn disk_rates(a: &DiskCounters, b: &DiskCounters, over_ns: u64) -> Option<DiskRates> {
    let seconds = over_ns as f64 / 1e9;
    let rate = |a: u64, b: u64| Some(b.checked_sub(a)? as f64 / seconds);
    Some(DiskRates {
        read_bytes_per_s: rate(a.read_bytes, b.read_bytes)?,
        write_bytes_per_s: rate(a.written_bytes, b.written_bytes)?,
        iops: rate(a.reads, b.reads)? + rate(a.writes, b.writes)?,
        busy: (b.busy_ns.checked_sub(a.busy_ns)? as f64 / over_ns as f64).min(1.0),
    })
}

fn net_rates(a: &NetworkCounters, b: &NetworkCounters, over_ns: u64) -> Option<NetworkRates> {
    let seconds = over_ns as f64 / 1e9;
    let rate = |a: u64, b: u64| Some(b.checked_sub(a)? as f64 / seconds);
    Some(NetworkRates {
        rx_bytes_per_s: rate(a.rx_bytes, b.rx_bytes)?,
        tx_bytes_per_s: rate(a.tx_bytes, b.tx_bytes)?,
        lost: b.rx_lost.checked_sub(a.rx_lost)?.saturating_add(b.tx_lost.checked_sub(a.tx_lost)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_sample::CgroupLimits;

    fn reading(at_ns: u64, factor: u64) -> HostReading {
        let cpu = CpuTimes {
            user_ns: 30 * factor,
            system_ns: 10 * factor,
            irq_ns: 5 * factor,
            iowait_ns: 5 * factor,
            steal_ns: 10 * factor,
            idle_ns: 40 * factor,
            ..CpuTimes::default()
        };
        let mut reading = HostReading { at_ns, cpu: Some(cpu), ..HostReading::default() };
        reading.cores.insert(3, cpu);
        let pressure = Pressure { some_ns: 200 * factor, full_ns: Some(100 * factor) };
        reading.pressure.insert("io".into(), pressure);
        let disk = DiskCounters { reads: factor, read_bytes: 4096 * factor, ..Default::default() };
        reading.disks.insert("sda".into(), disk);
        let net = NetworkCounters { rx_bytes: 7 * factor, rx_lost: factor, ..Default::default() };
        reading.networks.insert("eth0".into(), net);
        reading.cgroup =
            Some(CgroupLimits { throttled_ns: Some(500 * factor), ..Default::default() });
        reading
    }

    #[test]
    fn differences_become_shares_and_rates() {
        let delta =
            HostDelta::between(&reading(0, 0), &reading(1_000_000_000, 1_000_000)).expect("later");
        let cpu = delta.cpu.expect("cpu");
        assert!((cpu.busy - 0.45).abs() < 1e-12 && (cpu.system - 0.15).abs() < 1e-12);
        assert!((cpu.steal - 0.10).abs() < 1e-12 && (cpu.iowait - 0.05).abs() < 1e-12);
        assert_eq!(delta.cores[&3], cpu);
        assert!((delta.pressure_some["io"] - 0.2).abs() < 1e-12);
        assert!((delta.pressure_full["io"] - 0.1).abs() < 1e-12);
        assert!((delta.disks["sda"].read_bytes_per_s - 4.096e9).abs() < 1.0);
        assert_eq!(delta.networks["eth0"].lost, 1_000_000);
        assert!((delta.cgroup_throttled.expect("cgroup") - 0.5).abs() < 1e-12);
        assert!(delta.reset.is_empty());
    }

    #[test]
    fn a_counter_that_goes_back_is_named_and_left_out() {
        let delta = HostDelta::between(&reading(1, 9), &reading(2, 1)).expect("later");
        assert_eq!(delta.cpu, None);
        assert!(delta.disks.is_empty() && delta.networks.is_empty());
        assert_eq!(
            delta.reset,
            ["cpu", "cpu 3", "pressure io", "disk sda", "network eth0", "cgroup"]
        );
        assert_eq!(HostDelta::between(&reading(2, 1), &reading(2, 2)), None);
    }

    #[test]
    fn a_device_that_came_later_has_no_rate() {
        let mut first = reading(0, 1);
        first.disks.clear();
        let delta = HostDelta::between(&first, &reading(1, 1)).expect("later");
        assert!(delta.disks.is_empty() && delta.reset.is_empty());
    }
}
