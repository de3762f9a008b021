//! Pure parsers of procfs: text in, counters out, with the file's name and the odd line in the error.

use std::collections::BTreeMap;

use loadline_schema::gpu::{Missing, MissingKind};
use loadline_schema::host_sample::{CpuTimes, DiskCounters, MemoryUse, NetworkCounters, Pressure};

const SECTOR_BYTES: u64 = 512;

fn odd(file: &str, line: &str) -> Missing {
    let shown: String = line.chars().take(60).collect();
    Missing::new(MissingKind::Failed, format!("{file}: not understood: “{shown}”"))
}

/// `/proc/stat`: all processors together, and each. Times are in ticks, so many a second. Guests are
/// counted in `user` and `nice` by the kernel, and taken out of them here.
///
/// # Errors
///
/// Where there is no line of all processors, or a line of a processor is no numbers.
pub fn parse_stat(
    text: &str,
    ticks_per_s: u64,
) -> Result<(CpuTimes, BTreeMap<u32, CpuTimes>), Missing> {
    let tick_ns = 1_000_000_000 / ticks_per_s.max(1);
    let mut all = None;
    let mut cores = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("cpu")) {
        let (name, numbers) = line.split_once(' ').ok_or_else(|| odd("stat", line))?;
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map(|word| word.parse::<u64>().map(|ticks| ticks.saturating_mul(tick_ns)))
            .collect::<Result<_, _>>()
            .map_err(|_| odd("stat", line))?;
        let [user, nice, system, idle, rest @ ..] = numbers.as_slice() else {
            return Err(odd("stat", line));
        };
        let rest = |at: usize| rest.get(at).copied().unwrap_or_default();
        let (guest, guest_nice) = (rest(4), rest(5));
        let times = CpuTimes {
            user_ns: user.saturating_sub(guest),
            nice_ns: nice.saturating_sub(guest_nice),
            system_ns: *system,
            idle_ns: *idle,
            iowait_ns: rest(0),
            irq_ns: rest(1).saturating_add(rest(2)),
            steal_ns: rest(3),
            guest_ns: guest.saturating_add(guest_nice),
        };
        match &name[3..] {
            "" => all = Some(times),
            number => {
                let number = number.parse().map_err(|_| odd("stat", line))?;
                cores.insert(number, times);
            }
        }
    }
    let all = all.ok_or_else(|| odd("stat", text))?;
    Ok((all, cores))
}

/// `/proc/loadavg`.
///
/// # Errors
///
/// Where it does not begin with three numbers.
pub fn parse_loadavg(text: &str) -> Result<[f64; 3], Missing> {
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>().ok());
    let mut next = || words.next().flatten().filter(|load| load.is_finite());
    match (next(), next(), next()) {
        (Some(one), Some(five), Some(fifteen)) => Ok([one, five, fifteen]),
        _ => Err(odd("loadavg", text)),
    }
}

/// `/proc/meminfo`, KiB to bytes. Kernels without `MemAvailable` get what is free and cached.
///
/// # Errors
///
/// Where `MemTotal` is not there.
pub fn parse_meminfo(text: &str) -> Result<MemoryUse, Missing> {
    let field = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(name, _)| *name == wanted)?;
        value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let some = |wanted: &str| field(wanted).unwrap_or_default();
    let total_bytes = field("MemTotal").ok_or_else(|| odd("meminfo", text))?;
    Ok(MemoryUse {
        total_bytes,
        available_bytes: field("MemAvailable")
            .unwrap_or_else(|| some("MemFree").saturating_add(some("Cached"))),
        cached_bytes: some("Cached"),
        dirty_bytes: some("Dirty"),
        writeback_bytes: some("Writeback"),
        swap_total_bytes: some("SwapTotal"),
        swap_free_bytes: some("SwapFree"),
    })
}

/// A file of `/proc/pressure`: totals in µs. `irq` has no `some`; its `full` counts as both.
///
/// # Errors
///
/// Where there is no total.
pub fn parse_pressure(text: &str) -> Result<Pressure, Missing> {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(kind))?;
        let total = line.split_whitespace().find_map(|word| word.strip_prefix("total="))?;
        total.parse::<u64>().ok()?.checked_mul(1_000)
    };
    let full_ns = total("full");
    let some_ns = total("some").or(full_ns).ok_or_else(|| odd("pressure", text))?;
    Ok(Pressure { some_ns, full_ns })
}

/// `/proc/diskstats`: every device, partitions too. Sectors are of 512 bytes, whatever the device has.
///
/// # Errors
///
/// Where a line has too few numbers.
pub fn parse_diskstats(text: &str) -> Result<BTreeMap<String, DiskCounters>, Missing> {
    let mut disks = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace().skip(2);
        let name = words.next().ok_or_else(|| odd("diskstats", line))?;
        let numbers: Vec<u64> =
            words.map(str::parse).collect::<Result<_, _>>().map_err(|_| odd("diskstats", line))?;
        let [reads, _, sectors_read, read_ms, writes, _, sectors_written, write_ms, _, busy_ms, ..] =
            numbers[..]
        else {
            return Err(odd("diskstats", line));
        };
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        let counters = DiskCounters {
            reads,
            read_bytes: sectors_read.saturating_mul(SECTOR_BYTES),
            read_ns: ns(read_ms),
            writes,
            written_bytes: sectors_written.saturating_mul(SECTOR_BYTES),
            write_ns: ns(write_ms),
            busy_ns: ns(busy_ms),
        };
        disks.insert(name.to_owned(), counters);
    }
    Ok(disks)
}

/// `/proc/net/dev`.
///
/// # Errors
///
/// Where there is no interface, or a line has too few numbers.
pub fn parse_net_dev(text: &str) -> Result<BTreeMap<String, NetworkCounters>, Missing> {
    let mut networks = BTreeMap::new();
    // Names of interfaces may hold a colon (old aliases), their numbers never.
    for line in text.lines().filter(|line| !line.contains('|')) {
        let Some((name, numbers)) = line.rsplit_once(':') else { continue };
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| odd("net/dev", line))?;
        let [rx_bytes, rx_packets, rx_errors, rx_drops, _, _, _, _, tx_bytes, tx_packets, ..] =
            numbers[..]
        else {
            return Err(odd("net/dev", line));
        };
        let tx = |at: usize| numbers.get(at).copied().unwrap_or_default();
        let counters = NetworkCounters {
            rx_bytes,
            rx_packets,
            rx_lost: rx_errors.saturating_add(rx_drops),
            tx_bytes,
            tx_packets,
            tx_lost: tx(10).saturating_add(tx(11)),
        };
        networks.insert(name.trim().to_owned(), counters);
    }
    if networks.is_empty() {
        return Err(odd("net/dev", text));
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stat_takes_guests_out_of_user() {
        let text = "cpu  100 20 30 400 5 6 7 8 9 10\ncpu12 1 2 3 4\nintr 5\n";
        let (all, cores) = parse_stat(text, 100).expect("parses");
        let tick = 10_000_000;
        assert_eq!(all.user_ns, 91 * tick);
        assert_eq!((all.nice_ns, all.guest_ns), (10 * tick, 19 * tick));
        assert_eq!((all.irq_ns, all.steal_ns), (13 * tick, 8 * tick));
        // Guests are inside user and nice: the sum of all is that of the first eight columns.
        assert_eq!(all.total_ns(), (100 + 20 + 30 + 400 + 5 + 6 + 7 + 8) * tick);
        assert_eq!(cores[&12].idle_ns, 4 * tick);
        assert!(parse_stat("cpu0 1 2 3 4\n", 100).is_err());
        assert!(parse_stat("cpu  1 2 3\n", 100).is_err());
    }

    #[test]
    fn memory_pressure_and_load() {
        let memory = parse_meminfo("MemTotal: 100 kB\nMemFree: 10 kB\nCached: 20 kB\n");
        let memory = memory.expect("parses");
        assert_eq!((memory.total_bytes, memory.available_bytes), (102_400, 30_720));
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 total=5\n";
        let pressure = parse_pressure(text).expect("parses");
        assert_eq!((pressure.some_ns, pressure.full_ns), (12_000, Some(5_000)));
        let irq = parse_pressure("full avg10=0.00 avg60=0.00 avg300=0.00 total=7").expect("irq");
        assert_eq!(irq.some_ns, 7_000);
        assert_eq!(parse_loadavg("0.5 1 2 1/200 7"), Ok([0.5, 1.0, 2.0]));
        assert!(parse_loadavg("0.5 1").is_err());
    }

    #[test]
    fn disks_and_networks() {
        let disks = parse_diskstats(" 259 0 nvme0n1 1 2 8 4 5 6 16 8 9 10 11 0 0 0 0 1 1\n");
        let disk = disks.expect("parses")["nvme0n1"];
        assert_eq!(
            (disk.reads, disk.read_bytes, disk.writes, disk.written_bytes),
            (1, 4096, 5, 8192)
        );
        assert_eq!(disk.busy_ns, 10_000_000);
        let text = "Inter-|  Receive | Transmit\n face |bytes | bytes\n\
                    eth0:1 2 3 4 0 0 0 0 9 10 11 12 0 0 0 0\n";
        let net = parse_net_dev(text).expect("parses")["eth0"];
        assert_eq!((net.rx_bytes, net.rx_lost, net.tx_bytes, net.tx_lost), (1, 7, 9, 23));
        assert!(parse_net_dev("eth0: 1 2\n").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "((cpu|MemTotal:|some|full|eth0:|8 0 sda)?[ 0-9a-z=.:|\u{80}]{0,40}\n){0,5}", ticks in 0_u64..2_000_000_000) {
            let _ = parse_stat(&text, ticks);
            let _ = parse_loadavg(&text);
            let _ = parse_meminfo(&text);
            let _ = parse_pressure(&text);
            let _ = parse_diskstats(&text);
            let _ = parse_net_dev(&text);
        }

        #[test]
        fn large_counters_do_not_overflow(n in any::<u64>()) {
            let _ = parse_stat(&format!("cpu {n} {n} {n} {n} {n} {n} {n} {n} {n} {n}"), 100).map(|(cpu, _)| cpu.total_ns());
            let _ = parse_diskstats(&format!("8 0 sda {n} {n} {n} {n} {n} {n} {n} {n} {n} {n} {n}"));
            let _ = parse_meminfo(&format!("MemTotal: {n} kB\nMemFree: {n}\nCached: {n}"));
        }
    }
}
