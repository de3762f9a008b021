//! What the machine's process table says around a timed part: processor time of everybody, memory
//! of this process.

use std::path::Path;

use loadline_clock::{monotonic_ns, process_cpu_ns};

/// Shortest timed part of which the machine's coarse counters (ticks of 10 ms) say something, ns.
const TELLING_NS: u64 = 50_000_000;

/// Processor time of the whole machine since its start, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    steal: u64,
    all: u64,
}

/// Reads the first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal …`.
fn parse_ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let mut counts = [0_u64; 8];
    let mut fields = line.split_ascii_whitespace();
    for count in &mut counts {
        *count = fields.next()?.parse().ok()?;
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal] = counts;
    let busy = user + nice + system + irq + softirq;
    Some(Ticks { busy, steal, all: busy + idle + iowait + steal })
}

/// A number in kB of a `/proc/…/status` or `/proc/meminfo` line, as bytes.
pub(crate) fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let count: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(count * 1024)
}

/// Resident memory of this process, bytes.
pub(crate) fn resident_bytes(proc_root: &Path) -> Option<u64> {
    kilobytes(&std::fs::read_to_string(proc_root.join("self/status")).ok()?, "VmRSS")
}

/// Processors that this process may run on, as the kernel lists them (`0-7`).
pub(crate) fn allowed_cpus(proc_root: &Path) -> Option<String> {
    let status = std::fs::read_to_string(proc_root.join("self/status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned())
}

/// Time and processor time of a trial's timed parts, added up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Time, ns.
    pub(crate) wall_ns: u64,
    /// CPU time of this process, ns.
    pub(crate) cpu_ns: u64,
    /// The whole machine; absent where it could not be read.
    machine: Option<Ticks>,
}

impl Spent {
    /// Adds another timed part.
    pub(crate) fn add(&mut self, part: Self) {
        let first = self.wall_ns == 0;
        self.wall_ns += part.wall_ns;
        self.cpu_ns += part.cpu_ns;
        self.machine = match (self.machine, part.machine) {
            (None, part) if first => part,
            (Some(sum), Some(part)) => Some(Ticks {
                busy: sum.busy + part.busy,
                steal: sum.steal + part.steal,
                all: sum.all + part.all,
            }),
            _ => None,
        };
    }

    /// Processors that others kept busy, and the share of all processors' time that was stolen.
    pub(crate) fn others(&self) -> Option<(f64, f64)> {
        let machine = self.machine.filter(|ticks| ticks.all > 0 && self.wall_ns >= TELLING_NS)?;
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        // A tick may be counted that began before, and one of our own.
        let others_ns = (machine.busy * tick_ns).saturating_sub(self.cpu_ns + 2 * tick_ns);
        let steal = machine.steal as f64 / machine.all as f64;
        Some((others_ns as f64 / self.wall_ns as f64, steal))
    }
}

/// Runs a timed part. The counters of the machine are read outside of the time.
pub(crate) fn timed<E>(proc_root: &Path, part: impl FnOnce() -> Result<(), E>) -> Result<Spent, E> {
    let stat = proc_root.join("stat");
    let ticks = || parse_ticks(&std::fs::read_to_string(&stat).ok()?);
    let machine = ticks();
    let cpu_ns = process_cpu_ns();
    let start_ns = monotonic_ns();
    part()?;
    let wall_ns = monotonic_ns() - start_ns;
    let cpu_ns = process_cpu_ns() - cpu_ns;
    let machine = machine.zip(ticks()).map(|(before, after)| Ticks {
        busy: after.busy.saturating_sub(before.busy),
        steal: after.steal.saturating_sub(before.steal),
        all: after.all.saturating_sub(before.all),
    });
    Ok(Spent { wall_ns, cpu_ns, machine })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_stat_file() {
        let ticks = parse_ticks("cpu  10 1 5 100 4 2 3 25 7 0\ncpu0 1 1 1\n").expect("ticks");
        assert_eq!(ticks, Ticks { busy: 21, steal: 25, all: 150 });
        assert_eq!(parse_ticks("cpu  10 1\n"), None);
    }

    #[test]
    fn memory_lines_are_kilobytes() {
        let text = "VmPeak:\t  900 kB\nVmRSS:\t  123 kB\n";
        assert_eq!(kilobytes(text, "VmRSS"), Some(123 * 1024));
        assert_eq!(kilobytes(text, "VmSwap"), None);
    }

    #[test]
    fn others_are_what_this_process_did_not_use() {
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let spent = Spent {
            wall_ns: 100 * tick_ns,
            cpu_ns: 150 * tick_ns,
            machine: Some(Ticks { busy: 180, steal: 10, all: 200 }),
        };
        let (others, steal) = spent.others().expect("told");
        // 180 ticks of all, 150 of ours, and two that may be a matter of when they are counted.
        assert!((others - 0.28).abs() < 1e-9 && (steal - 0.05).abs() < 1e-9);
        assert_eq!(Spent { wall_ns: 1_000, ..spent }.others(), None, "too short to tell");
    }

    #[test]
    fn a_part_that_was_not_read_makes_the_sum_unknown() {
        let read = Spent { wall_ns: 1, cpu_ns: 1, machine: Some(Ticks::default()) };
        let mut sum = Spent::default();
        sum.add(read);
        assert!(sum.machine.is_some());
        sum.add(Spent { machine: None, ..read });
        assert!(sum.machine.is_none());
        sum.add(read);
        assert!(sum.machine.is_none(), "stays unknown");
    }
}
