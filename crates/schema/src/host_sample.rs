//! What is read from a host: counters since it was started, and what they come to between two looks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gpu::Missing;

mod delta;

pub use delta::{CpuShares, DiskRates, HostDelta, NetworkRates};

/// One look at a host. Counters grow since the start of the host; what could not be read is in
/// `missing` under the name of its part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostReading {
    /// When, run-relative monotonic ns.
    pub at_ns: u64,
    /// All processors together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuTimes>,
    /// Each processor by its number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cores: BTreeMap<u32, CpuTimes>,
    /// Load average over 1, 5 and 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_average: Option<[f64; 3]>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryUse>,
    /// Pressure stalls (PSI) by resource: `cpu`, `memory`, `io`, `irq`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pressure: BTreeMap<String, Pressure>,
    /// Whole block devices by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<String, DiskCounters>,
    /// Network interfaces by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, NetworkCounters>,
    /// The limits of the cgroup that this process is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<CgroupLimits>,
    /// NUMA nodes by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numa: BTreeMap<u32, NumaNode>,
    /// Clocks of processors by number, kHz.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub frequency_khz: BTreeMap<u32, CpuFrequency>,
    /// What could not be read, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, Missing>,
}

/// Time that a processor spent, ns, in the words of `/proc/stat`. `user` has no guests in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CpuTimes {
    /// Programs.
    pub user_ns: u64,
    /// Programs with a low priority.
    pub nice_ns: u64,
    /// The kernel.
    pub system_ns: u64,
    /// Nothing to do.
    pub idle_ns: u64,
    /// Nothing to do but to wait for I/O.
    pub iowait_ns: u64,
    /// Interrupts, hard and soft.
    pub irq_ns: u64,
    /// The hypervisor had the processor elsewhere.
    pub steal_ns: u64,
    /// Guests of this host.
    pub guest_ns: u64,
}

impl CpuTimes {
    /// All of it, ns.
    pub fn total_ns(&self) -> u64 {
        [
            self.user_ns,
            self.nice_ns,
            self.system_ns,
            self.idle_ns,
            self.iowait_ns,
            self.irq_ns,
            self.steal_ns,
            self.guest_ns,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// Memory of the host, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MemoryUse {
    /// All of it.
    pub total_bytes: u64,
    /// What programs could still get without swapping.
    pub available_bytes: u64,
    /// Page cache.
    pub cached_bytes: u64,
    /// Written and not yet on disk.
    pub dirty_bytes: u64,
    /// On its way to disk.
    pub writeback_bytes: u64,
    /// Swap.
    pub swap_total_bytes: u64,
    /// Swap that is free.
    pub swap_free_bytes: u64,
}

/// Stalls for lack of a resource (PSI): cumulative time, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// Some task waited.
    pub some_ns: u64,
    /// No task could go on; absent where the kernel does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_ns: Option<u64>,
}

/// A block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DiskCounters {
    /// Reads done.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Time that reads took, summed, ns.
    pub read_ns: u64,
    /// Writes done.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Time that writes took, summed, ns.
    pub write_ns: u64,
    /// Time with at least one I/O under way, ns.
    pub busy_ns: u64,
}

/// A network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetworkCounters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors and drops.
    pub rx_lost: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors and drops.
    pub tx_lost: u64,
}

/// What the cgroups from this process's own up to the root allow: of each limit the tightest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CgroupLimits {
    /// 1 or 2.
    pub version: u8,
    /// Processors' worth of time; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Memory, bytes; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory in use, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Times the group was stopped for using up its processor time: a counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<u64>,
    /// Time it was stopped for, ns: a counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_ns: Option<u64>,
    /// Times that memory ran out and a process was killed: a counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NumaNode {
    /// Its processors as the kernel lists them ("0-7,16-23").
    #[serde(default)]
    pub cpus: String,
    /// Memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory that is free, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Pages that were wanted here and came from elsewhere: a counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_pages: Option<u64>,
}

/// Clock of a processor, kHz.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CpuFrequency {
    /// Now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_khz: Option<u64>,
    /// The most that the hardware can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_khz: Option<u64>,
    /// The governor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
}
