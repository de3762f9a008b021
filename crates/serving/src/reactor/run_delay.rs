//! How long this thread was ready to run and did not run, by the kernel's scheduler statistics: tells
//! a wait that ended at once from one whose end was noticed late.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// So many waits are watched from the start on, and after each read with several tokens: where a
/// server bundles, the next such read is not far.
const WATCHED_WAITS: u32 = 1_024;
/// A thread that has been given its core is back from the wait within this, ns.
const RETURN_NS: u64 = 20_000;
/// A wait that took longer than delay and return by this did sleep, ns.
const SLEPT_NS: u64 = 100_000;

/// The statistics of the thread that made it.
#[derive(Debug)]
pub(super) struct RunDelay {
    /// Absent where the kernel keeps none: then nothing is ever narrowed down.
    file: Option<File>,
    /// What they were at the last look.
    seen: Option<Counters>,
    waits_left: u32,
}

/// Sums over the life of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counters {
    /// Time ready to run and not running, ns.
    delay_ns: u64,
    /// Times it was given a core.
    runs: u64,
}

impl RunDelay {
    pub(super) fn of_this_thread() -> Self {
        Self {
            file: File::open("/proc/thread-self/schedstat").ok(),
            seen: None,
            waits_left: WATCHED_WAITS,
        }
    }

    /// The next waits are to be watched. Looking costs a system call, so that it is done only
    /// where reads with several tokens are likely.
    pub(super) fn watch(&mut self) {
        self.waits_left = WATCHED_WAITS;
    }

    /// Whether the wait that comes is watched: then its begin must be a fresh reading of the clock.
    pub(super) fn is_watching(&self) -> bool {
        self.waits_left > 0
    }

    /// The latest time at which no socket that a wait listed had anything yet, as far as that is
    /// known. `begin` and `end`: the clock before and after the wait.
    ///
    /// Nothing was there when a wait that slept began, and what came first woke it. From then on
    /// the thread was ready to run, so that it began to be ready no earlier than its delay before
    /// the end. That holds where it was given a core once: a second time would mean that it was
    /// stopped or lost its core, and a stopped thread is not ready, however much arrives.
    pub(super) fn empty_until(&mut self, begin: u64, end: u64) -> u64 {
        if self.waits_left == 0 {
            return begin;
        }
        self.waits_left -= 1;
        let before = self.seen;
        // The next watch does not begin with all that comes until then.
        self.seen = if self.waits_left > 0 { self.counters() } else { None };
        match before.zip(self.seen) {
            Some((before, now)) if now.runs == before.runs + 1 => {
                narrowed(begin, end, now.delay_ns.saturating_sub(before.delay_ns))
            }
            _ => begin,
        }
    }

    /// The second and third number of the thread's `schedstat`
    /// (Documentation/scheduler/sched-stats.rst in the kernel's source).
    fn counters(&self) -> Option<Counters> {
        let mut text = [0_u8; 64];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let mut numbers = text.split_ascii_whitespace().skip(1).map(str::parse);
        Some(Counters { delay_ns: numbers.next()?.ok()?, runs: numbers.next()?.ok()? })
    }
}

/// `end` less the time that the thread was ready and came back, if the wait took clearly longer.
fn narrowed(begin: u64, end: u64, delay_ns: u64) -> u64 {
    let ready_ns = delay_ns.saturating_add(RETURN_NS);
    let slept = end.saturating_sub(begin) > ready_ns.saturating_add(SLEPT_NS);
    if slept { end - ready_ns } else { begin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wait_that_slept_is_narrowed_down() {
        assert_eq!(narrowed(1_000, 10_001_000, 5_000), 10_001_000 - 25_000);
        assert_eq!(narrowed(1_000, 51_000, 5_000), 1_000, "busy in the kernel, not asleep");
        assert_eq!(narrowed(1_000, 5_001_000, 4_990_000), 1_000, "ready all the time");
        assert_eq!(narrowed(1_000, 900, u64::MAX), 1_000);
    }

    #[test]
    fn delays_are_read_and_watched_for_a_while() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let mut delay = RunDelay::of_this_thread();
        assert!(delay.is_watching());
        assert_eq!(delay.empty_until(1, HOUR_NS), 1, "the first look has nothing to go by");
        if let Some(seen) = delay.seen {
            delay.seen = Some(Counters { runs: seen.runs.wrapping_sub(5), ..seen });
            assert_eq!(delay.empty_until(1, HOUR_NS), 1, "it ran again and again");
        }
        for _ in 0..WATCHED_WAITS {
            delay.empty_until(1, 9_000_001);
        }
        assert!(!delay.is_watching() && delay.seen.is_none());
        assert_eq!(delay.empty_until(1, 9_000_001), 1, "nobody watches");
        delay.watch();
        assert!(delay.is_watching());
    }

    #[test]
    fn a_sleep_is_one_run_and_is_narrowed_down() {
        let mut delay = RunDelay::of_this_thread();
        if delay.counters().is_none() {
            return;
        }
        // Other threads may take the core away in between, but not every time.
        let slept = (0..100).any(|_| {
            delay.watch();
            delay.empty_until(1, 1);
            std::thread::sleep(std::time::Duration::from_millis(1));
            delay.empty_until(1, 3_600_000_000_000) > 1
        });
        assert!(slept);
    }
}
