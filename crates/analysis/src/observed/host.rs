//! The host over the measure windows of a point.

use std::collections::BTreeMap;

use loadline_schema::host_sample::{CpuShares, DiskRates, HostDelta, HostReading, NetworkRates};
use loadline_schema::observed::HostObserved;

use crate::window::Window;

/// Means over the windows, weighted with their lengths; `None` where no window has two looks.
pub(super) fn observed(readings: &[HostReading], windows: &[Window]) -> Option<HostObserved> {
    let within: Vec<Vec<&HostReading>> = windows
        .iter()
        .map(|window| readings.iter().filter(|r| window.contains(r.at_ns)).collect())
        .collect();
    let deltas: Vec<HostDelta> = within
        .iter()
        .filter_map(|looks| HostDelta::between(looks.first()?, looks.last()?))
        .collect();
    let over_ns: u64 = deltas.iter().map(|delta| delta.over_ns).sum();
    if over_ns == 0 {
        return None;
    }
    let looks = || within.iter().flatten();
    let memory = looks().filter_map(|r| r.memory.map(|memory| memory.available_bytes));
    let cgroup = looks().filter_map(|r| r.cgroup.as_ref()).next_back();
    let clocks: Vec<f64> = looks().filter_map(|reading| mean_clock_mhz(reading)).collect();
    let cores = means(&deltas, |delta| &delta.cores, cpu_shares);
    let disks = means(&deltas, |delta| &delta.disks, disk_rates);
    let networks = means(&deltas, |delta| &delta.networks, network_rates);
    Some(HostObserved {
        over_ns,
        cpu: mean(&deltas, |delta| delta.cpu, cpu_shares),
        busiest_core: cores
            .iter()
            .map(|(core, shares)| (*core, shares.busy))
            .reduce(|most, next| if next.1 > most.1 { next } else { most }),
        cores: (!cores.is_empty()).then_some(cores.len() as u64),
        pressure_some: means(&deltas, |delta| &delta.pressure_some, number),
        pressure_full: means(&deltas, |delta| &delta.pressure_full, number),
        disks: disks.into_iter().filter(|(_, rates)| rates.iops > 0.0).collect(),
        networks: networks
            .into_iter()
            .filter(|(name, rates)| {
                name != "lo" && rates.rx_bytes_per_s + rates.tx_bytes_per_s > 0.0
            })
            .collect(),
        cgroup_throttled: mean(&deltas, |delta| delta.cgroup_throttled, number),
        cgroup_cpus: cgroup.and_then(|limits| limits.cpus),
        memory_available_min_bytes: memory.min(),
        frequency_mhz: (!clocks.is_empty())
            .then(|| clocks.iter().sum::<f64>() / clocks.len() as f64),
    })
}

/// Of the cores at one look.
fn mean_clock_mhz(reading: &HostReading) -> Option<f64> {
    let clocks: Vec<u64> = reading.frequency_khz.values().filter_map(|one| one.now_khz).collect();
    let n = clocks.len() as f64;
    (n > 0.0).then(|| clocks.iter().map(|khz| *khz as f64).sum::<f64>() / n / 1e3)
}

/// Adds a value with its weight to a sum.
type Add<V> = fn(&mut V, V, f64);

/// The mean of those deltas that have a value.
fn mean<V: Default + Copy>(
    deltas: &[HostDelta],
    of: impl Fn(&HostDelta) -> Option<V>,
    add: Add<V>,
) -> Option<V> {
    let found: Vec<(f64, V)> =
        deltas.iter().filter_map(|delta| Some((delta.over_ns as f64, of(delta)?))).collect();
    let all: f64 = found.iter().map(|(weight, _)| weight).sum();
    let mut sum = V::default();
    for (weight, value) in &found {
        add(&mut sum, *value, weight / all);
    }
    (!found.is_empty()).then_some(sum)
}

fn means<K: Ord + Clone, V: Default + Copy>(
    deltas: &[HostDelta],
    of: impl Fn(&HostDelta) -> &BTreeMap<K, V>,
    add: Add<V>,
) -> BTreeMap<K, V> {
    let keys: std::collections::BTreeSet<&K> =
        deltas.iter().flat_map(|delta| of(delta).keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            Some((key.clone(), mean(deltas, |delta| of(delta).get(key).copied(), add)?))
        })
        .collect()
}

fn number(sum: &mut f64, value: f64, weight: f64) {
    *sum += value * weight;
}

fn cpu_shares(sum: &mut CpuShares, value: CpuShares, weight: f64) {
    sum.busy += value.busy * weight;
    sum.system += value.system * weight;
    sum.iowait += value.iowait * weight;
    sum.steal += value.steal * weight;
}

fn disk_rates(sum: &mut DiskRates, value: DiskRates, weight: f64) {
    sum.read_bytes_per_s += value.read_bytes_per_s * weight;
    sum.write_bytes_per_s += value.write_bytes_per_s * weight;
    sum.iops += value.iops * weight;
    sum.busy += value.busy * weight;
}

fn network_rates(sum: &mut NetworkRates, value: NetworkRates, weight: f64) {
    sum.rx_bytes_per_s += value.rx_bytes_per_s * weight;
    sum.tx_bytes_per_s += value.tx_bytes_per_s * weight;
    // A count, not a rate.
    sum.lost += value.lost;
}
