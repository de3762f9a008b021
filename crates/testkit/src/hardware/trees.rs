//! Folders like `/proc` and `/sys` of such machines, written into a folder of a test.

use std::fs;
use std::io;
use std::path::Path;

/// Paths and texts.
type Files = &'static [(&'static str, &'static str)];

/// What every Linux has.
const PROC: Files = &[
    (
        "proc/stat",
        "cpu  400 0 200 3000 40 0 0 20 0 0\ncpu0 100 0 50 750 10 0 0 5 0 0\n\
         cpu1 100 0 50 750 10 0 0 5 0 0\ncpu2 100 0 50 750 10 0 0 5 0 0\n\
         cpu3 100 0 50 750 10 0 0 5 0 0\nintr 1\nctxt 2\n",
    ),
    ("proc/loadavg", "1.50 1.20 0.90 3/400 999\n"),
    (
        "proc/meminfo",
        "MemTotal:       2097152 kB\nMemFree:         524288 kB\nMemAvailable:   1048576 kB\n\
         Cached:          262144 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n\
         Dirty:                40 kB\nWriteback:              0 kB\n",
    ),
    (
        "proc/net/dev",
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop\n    \
         lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  \
         eth0: 5000 50 1 2 0 0 0 0 6000 60 0 1 0 0 0 0\n",
    ),
];

/// A server with two processors, RAPL, a power meter and PSI.
const SERVER: Files = &[
    ("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n"),
    (
        "proc/pressure/memory",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    ),
    (
        "proc/pressure/io",
        "some avg10=1.00 avg60=0.00 avg300=0.00 total=500000\n\
         full avg10=1.00 avg60=0.00 avg300=0.00 total=250000\n",
    ),
    ("proc/pressure/irq", "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"),
    (
        "proc/diskstats",
        " 259 0 nvme0n1 10 0 80 4 20 0 160 8 0 10 12 0 0 0 0 0 0\n \
         259 1 nvme0n1p1 9 0 72 4 20 0 160 8 0 10 12 0 0 0 0 0 0\n   \
         7 0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
    ),
    ("sys/block/nvme0n1/size", "1000\n"),
    ("sys/block/loop0/size", "0\n"),
    ("proc/self/cgroup", "0::/user.slice/job\n"),
    ("sys/fs/cgroup/cgroup.controllers", "cpu memory io\n"),
    ("sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n"),
    ("sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n"),
    ("sys/fs/cgroup/user.slice/job/memory.max", "max\n"),
    ("sys/fs/cgroup/user.slice/job/memory.current", "4096\n"),
    ("sys/fs/cgroup/user.slice/job/cpu.stat", "nr_periods 9\nnr_throttled 7\nthrottled_usec 5\n"),
    ("sys/devices/system/node/node0/cpulist", "0-1\n"),
    (
        "sys/devices/system/node/node0/meminfo",
        "Node 0 MemTotal:        1048576 kB\nNode 0 MemFree:          262144 kB\n",
    ),
    ("sys/devices/system/node/node0/numastat", "numa_hit 5\nnuma_miss 17\nnuma_foreign 0\n"),
    ("sys/devices/system/node/node1/cpulist", "2-3\n"),
    (
        "sys/devices/system/node/node1/meminfo",
        "Node 1 MemTotal:        1048576 kB\nNode 1 MemFree:          262144 kB\n",
    ),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "3500000\n"),
    ("sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq", "3800000\n"),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance\n"),
    ("sys/class/hwmon/hwmon0/name", "nvme\n"),
    ("sys/class/hwmon/hwmon1/name", "power_meter\n"),
    ("sys/class/hwmon/hwmon1/power1_average", "4200000000\n"),
    ("sys/class/hwmon/hwmon1/power1_label", "chassis\n"),
    ("sys/class/hwmon/hwmon2/name", "xe\n"),
    ("sys/class/hwmon/hwmon2/energy1_input", "12500000\n"),
];

const RAPL: [(&str, &str); 8] = [
    ("intel-rapl:0", "package-0"),
    ("intel-rapl:0:0", "dram"),
    ("intel-rapl:0:1", "core"),
    ("intel-rapl:1", "package-1"),
    ("intel-rapl:1:0", "dram"),
    ("intel-rapl:2", "psys"),
    ("intel-rapl-mmio:0", "package-0"),
    ("intel-rapl-mmio:0:0", "dram"),
];

/// A virtual machine: no sensors, no counters, no PSI, cgroup version 1.
const VM: Files = &[
    ("proc/diskstats", " 254 0 vda 1 0 8 1 1 0 8 1 0 2 2\n"),
    ("proc/self/cgroup", "4:memory:/\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n"),
    ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n"),
    ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
    ("sys/class/drm/version", "drm 1.1.0 20060810\n"),
];

/// An MI300X; its card is number 1 beside a chip that only drives a screen.
const MI300X: Files = &[
    ("sys/class/drm/card0/device/vendor", "0x1a03\n"),
    ("sys/class/drm/card1/device/vendor", "0x1002\n"),
    ("sys/class/drm/card1/device/device", "0x74a1\n"),
    ("sys/class/drm/card1/device/product_name", "AMD Instinct MI300X\n"),
    ("sys/class/drm/card1/device/unique_id", "c1bd7a0a2f1e6a3d\n"),
    ("sys/class/drm/card1/device/gpu_busy_percent", "97\n"),
    ("sys/class/drm/card1/device/mem_busy_percent", "41\n"),
    ("sys/class/drm/card1/device/mem_info_vram_used", "51539607552\n"),
    ("sys/class/drm/card1/device/mem_info_vram_total", "206141652992\n"),
    ("sys/class/drm/card1/device/current_link_speed", "32.0 GT/s PCIe\n"),
    ("sys/class/drm/card1/device/current_link_width", "16\n"),
    ("sys/class/drm/card1/device/hwmon/hwmon3/power1_input", "512000000\n"),
    ("sys/class/drm/card1/device/hwmon/hwmon3/power1_cap", "750000000\n"),
    ("sys/class/drm/card1/device/hwmon/hwmon3/temp2_label", "junction\n"),
    ("sys/class/drm/card1/device/hwmon/hwmon3/temp2_input", "55000\n"),
    ("sys/class/drm/card1/device/hwmon/hwmon3/temp3_label", "mem\n"),
    ("sys/class/drm/card1/device/hwmon/hwmon3/temp3_input", "48000\n"),
    ("sys/class/drm/card1/device/hwmon/hwmon3/freq1_input", "2100000000\n"),
    ("sys/class/drm/card1/device/hwmon/hwmon3/freq2_input", "1300000000\n"),
];

fn write(folder: &Path, path: &str, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let path = folder.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, bytes)
}

fn write_all(folder: &Path, files: Files) -> io::Result<()> {
    files.iter().try_for_each(|(path, text)| write(folder, path, text))
}

/// `proc` and `sys` of a server for eight H100 (which are seen through NVML, not through files).
pub fn h100_host_tree(folder: &Path) -> io::Result<()> {
    write_all(folder, PROC)?;
    write_all(folder, SERVER)?;
    for (zone, name) in RAPL {
        let zone = format!("sys/class/powercap/{zone}");
        write(folder, &format!("{zone}/name"), format!("{name}\n"))?;
        write(folder, &format!("{zone}/energy_uj"), "1000000\n")?;
        write(folder, &format!("{zone}/max_energy_range_uj"), "262143328850\n")?;
    }
    write(folder, "sys/class/powercap/intel-rapl/enabled", "1\n")
}

/// `proc` and `sys` of a bare virtual machine.
pub fn vm_tree(folder: &Path) -> io::Result<()> {
    write_all(folder, PROC)?;
    write_all(folder, VM)
}

/// `sys` of a machine with an MI300X, with a `gpu_metrics` of version 1.3.
pub fn mi300x_tree(folder: &Path) -> io::Result<()> {
    write_all(folder, MI300X)?;
    write(folder, "sys/class/drm/card1/device/gpu_metrics", amd_metrics_table(3))
}

/// A table `gpu_metrics` of version 1.`content` (3, 4 or 5): 512 W, 97 % and 41 % busy, 1,000 J.
pub fn amd_metrics_table(content: u8) -> Vec<u8> {
    let (size, power, activity, energy) = match content {
        3 => (120, 22, 16, 24),
        4 => (320, 10, 12, 24),
        _ => (384, 10, 12, 88),
    };
    let mut table = vec![0; size];
    let mut put = |at: usize, bytes: &[u8]| table[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(size as u16).to_le_bytes());
    put(2, &[1, content]);
    put(power, &512_u16.to_le_bytes());
    put(activity, &97_u16.to_le_bytes());
    put(activity + 2, &41_u16.to_le_bytes());
    put(energy, &(1_000_u64 * 65_536).to_le_bytes());
    if content == 3 {
        put(54, &2_100_u16.to_le_bytes());
        put(58, &1_300_u16.to_le_bytes());
        put(112, &(1_u64 | 1 << 32).to_le_bytes());
    }
    table
}
