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
    /// Sum of all delays at the last look, ns.
    seen_ns: Option<u64>,
    waits_left: u32,
}

impl RunDelay {
    pub(super) fn of_this_thread() -> Self {
        Self {
            file: File::open("/proc/thread-self/schedstat").ok(),
            seen_ns: None,
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
    /// the end. The delay since the last look bounds the delay of this wait from above.
    pub(super) fn empty_until(&mut self, begin: u64, end: u64) -> u64 {
        if self.waits_left == 0 {
            return begin;
        }
        self.waits_left -= 1;
        if !slept(begin, end, 0) {
            return begin;
        }
        let before = self.seen_ns;
        // The next watch does not begin with all that comes until then.
        self.seen_ns = if self.waits_left > 0 { self.total_ns() } else { None };
        match before.zip(self.seen_ns) {
            Some((before, now)) => narrowed(begin, end, now.saturating_sub(before)),
            None => begin,
        }
    }

    /// Sum of all delays of the thread, ns: the second number of its `schedstat`
    /// (Documentation/scheduler/sched-stats.rst in the kernel's source).
    fn total_ns(&self) -> Option<u64> {
        let mut text = [0_u8; 64];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

/// Whether a wait that was ready for so long before it ran took longer than that accounts for.
fn slept(begin: u64, end: u64, delay_ns: u64) -> bool {
    end.saturating_sub(begin) > delay_ns.saturating_add(RETURN_NS + SLEPT_NS)
}

fn narrowed(begin: u64, end: u64, delay_ns: u64) -> u64 {
    if slept(begin, end, delay_ns) { end - delay_ns - RETURN_NS } else { begin }
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
        let mut delay = RunDelay::of_this_thread();
        assert!(delay.is_watching());
        assert_eq!(delay.empty_until(1, 9_000_001), 1, "the first look has nothing to go by");
        if delay.seen_ns.is_some() {
            let end = 3_600_000_000_001;
            assert!(delay.empty_until(1, end) > 1, "no thread waits an hour for its core");
        }
        for _ in 0..WATCHED_WAITS {
            delay.empty_until(1, 9_000_001);
        }
        assert!(!delay.is_watching() && delay.seen_ns.is_none());
        assert_eq!(delay.empty_until(1, 9_000_001), 1, "nobody watches");
        delay.watch();
        assert!(delay.is_watching());
    }
}
