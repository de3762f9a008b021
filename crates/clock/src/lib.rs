//! The run's clock: monotonic nanoseconds from one origin, and the mapping of kernel receive
//! stamps (realtime clock) onto it. The only crate that reads a clock.

mod stamp;

pub use stamp::{Arrival, Source, StampMapper};

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock, ns since an arbitrary point before the process started.
pub fn monotonic_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Monotonic))
}

/// The realtime clock, ns since the Unix epoch.
pub fn unix_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Realtime))
}

/// CPU time used by the calling thread, ns.
pub fn thread_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time used by the whole process, ns.
pub fn process_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ProcessCPUTime))
}

fn to_ns(time: rustix::time::Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The one time line of a run: nanoseconds since its origin on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunClock {
    origin_ns: u64,
    origin_unix_ns: u64,
}

impl RunClock {
    /// Starts a time line now.
    pub fn start() -> Self {
        let (origin_ns, origin_unix_ns) = stamp::both_clocks();
        Self { origin_ns, origin_unix_ns }
    }

    /// Continues a time line whose origin was at this realtime, as a resumed run does. After a
    /// step of the realtime clock or a reboot the new times are off by that step.
    pub fn resume(origin_unix_ns: u64) -> Self {
        let (mono, real) = stamp::both_clocks();
        let age = real.saturating_sub(origin_unix_ns);
        // A monotonic clock younger than the run (after a reboot) wraps: differences stay right.
        Self { origin_ns: mono.wrapping_sub(age), origin_unix_ns }
    }

    /// Time since the origin, ns.
    pub fn now_ns(&self) -> u64 {
        self.at_monotonic(monotonic_ns())
    }

    /// The origin on the realtime clock, ns since the Unix epoch.
    pub fn origin_unix_ns(&self) -> u64 {
        self.origin_unix_ns
    }

    /// The origin on the monotonic clock, ns: what a child process needs for the same time line.
    pub fn origin_monotonic_ns(&self) -> u64 {
        self.origin_ns
    }

    /// A reading of the monotonic clock as time since the origin, ns.
    pub fn at_monotonic(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.wrapping_sub(self.origin_ns)
    }

    /// Smallest step that two readings of the clock show, ns: its precision with its cost.
    pub fn step_ns(&self) -> u64 {
        (0..64)
            .filter_map(|_| {
                let first = monotonic_ns();
                (0..1_000).map(|_| monotonic_ns() - first).find(|step| *step > 0)
            })
            .min()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_time_starts_near_zero_and_grows() {
        let clock = RunClock::start();
        let first = clock.now_ns();
        let second = clock.now_ns();
        assert!(first <= second);
        assert!(second < 60_000_000_000, "the origin is now");
    }

    #[test]
    fn resumed_time_line_continues() {
        let clock = RunClock::resume(unix_ns() - 5_000_000_000);
        let now = clock.now_ns();
        assert!((4_900_000_000..65_000_000_000).contains(&now), "five seconds old, got {now}");
    }

    #[test]
    fn step_is_small_and_not_zero() {
        let step = RunClock::start().step_ns();
        assert!(step > 0 && step < 1_000_000, "got {step}");
    }
}
