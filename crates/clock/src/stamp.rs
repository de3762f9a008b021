//! Kernel receive stamps on the run's time line.
//!
//! A stamp (`SO_TIMESTAMPNS`) is taken from CLOCK_REALTIME. Right after each read both clocks are
//! read: arrival = monotonic now − (realtime now − stamp). A realtime clock that moved against
//! the monotonic one between two reads makes the difference meaningless for every byte that was
//! already waiting: then the read time is taken for each socket until it has been seen empty once.

use crate::{RunClock, monotonic_ns, unix_ns};

/// Realtime and monotonic clock must agree on a pair of readings within this, ns.
const BRACKET_NS: u64 = 5_000;
/// A move of one clock against the other beyond this is a step, ns.
const STEP_NS: i64 = 1_000_000;

/// Where an arrival time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The kernel's receive stamp.
    Kernel,
    /// The clock after the read, since this kind of socket gives no stamp.
    User,
    /// The clock after the read, though a stamp was expected: none came, or it cannot be trusted.
    Fallback,
}

/// When bytes arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Arrival, ns since the run's origin.
    pub at_ns: u64,
    /// The clock right after the read, ns since the run's origin.
    pub read_ns: u64,
    /// Where `at_ns` comes from.
    pub source: Source,
}

/// Both clocks at one moment: (monotonic, realtime), ns. The realtime reading lies between two
/// monotonic ones at most 5 µs apart, unless the machine gives no such moment in four tries.
pub(crate) fn both_clocks() -> (u64, u64) {
    let mut before = monotonic_ns();
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..4 {
        let real = unix_ns();
        let after = monotonic_ns();
        let width = after - before;
        if width < best.0 {
            best = (width, before + width / 2, real);
        }
        if width <= BRACKET_NS {
            break;
        }
        before = after;
    }
    (best.1, best.2)
}

/// Maps stamps to the run's time line and watches for steps of the realtime clock.
#[derive(Debug)]
pub struct StampMapper {
    clock: RunClock,
    /// Realtime minus monotonic at the last read, ns.
    offset_ns: i64,
    /// Number of steps seen: what was waiting in a socket from before a step has no usable stamp.
    steps: u32,
}

impl StampMapper {
    /// A mapper for this run.
    pub fn new(clock: RunClock) -> Self {
        let (mono, real) = both_clocks();
        Self { clock, offset_ns: offset(mono, real), steps: 0 }
    }

    /// Steps of the realtime clock so far. A socket that was seen empty remembers this number:
    /// with it [`Self::arrival`] knows whether its bytes may be older than the last step.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The arrival of the bytes of a read that has just returned. `stamp_unix_ns`: the kernel's
    /// stamp; `expected`: whether the socket gives stamps at all; `clean_since`: the number of
    /// steps ([`Self::steps`]) when the socket was last known to be empty.
    pub fn arrival(
        &mut self,
        stamp_unix_ns: Option<u64>,
        expected: bool,
        clean_since: u32,
    ) -> Arrival {
        if !expected {
            let read_ns = self.clock.now_ns();
            return Arrival { at_ns: read_ns, read_ns, source: Source::User };
        }
        let (mono, real) = both_clocks();
        self.map(mono, real, stamp_unix_ns, clean_since)
    }

    fn map(&mut self, mono: u64, real: u64, stamp: Option<u64>, clean_since: u32) -> Arrival {
        let offset_ns = offset(mono, real);
        if offset_ns.wrapping_sub(self.offset_ns).abs() > STEP_NS {
            self.steps += 1;
        }
        self.offset_ns = offset_ns;
        let read_ns = self.clock.at_monotonic(mono);
        let fallback = Arrival { at_ns: read_ns, read_ns, source: Source::Fallback };
        match stamp.and_then(|stamp| real.checked_sub(stamp)) {
            Some(lag) if clean_since == self.steps && lag <= read_ns => {
                Arrival { at_ns: read_ns - lag, read_ns, source: Source::Kernel }
            }
            _ => fallback,
        }
    }
}

fn offset(mono: u64, real: u64) -> i64 {
    real.wrapping_sub(mono) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: u64 = 1_000_000_000;
    const EPOCH: u64 = 1_700_000_000_000_000_000;

    fn mapper() -> StampMapper {
        let clock = RunClock { origin_ns: ORIGIN, origin_unix_ns: EPOCH };
        StampMapper { clock, offset_ns: (EPOCH - ORIGIN) as i64, steps: 0 }
    }

    #[test]
    fn stamp_is_mapped_by_the_lag() {
        let got = mapper().map(ORIGIN + 500, EPOCH + 500, Some(EPOCH + 380), 0);
        assert_eq!(got, Arrival { at_ns: 380, read_ns: 500, source: Source::Kernel });
    }

    #[test]
    fn a_long_lag_is_valid_while_the_clocks_agree() {
        let s = 1_000_000_000;
        let got = mapper().map(ORIGIN + 9 * s, EPOCH + 9 * s, Some(EPOCH + 2 * s), 0);
        assert_eq!((got.at_ns, got.source), (2 * s, Source::Kernel));
    }

    #[test]
    fn a_stamp_from_the_future_or_none_falls_back() {
        let future = mapper().map(ORIGIN + 500, EPOCH + 500, Some(EPOCH + 501), 0);
        assert_eq!(future, Arrival { at_ns: 500, read_ns: 500, source: Source::Fallback });
        assert_eq!(mapper().map(ORIGIN + 500, EPOCH + 500, None, 0).source, Source::Fallback);
    }

    #[test]
    fn after_a_step_each_socket_falls_back_until_it_was_empty() {
        let mut mapper = mapper();
        let step = 5_000_000;
        let got = mapper.map(ORIGIN + 500, EPOCH + 500 + step, Some(EPOCH + 400), 0);
        assert_eq!(got.source, Source::Fallback, "stamped before the step");
        assert_eq!(mapper.steps(), 1);
        let other = mapper.map(ORIGIN + 900, EPOCH + 900 + step, Some(EPOCH + 450), 0);
        assert_eq!(other.source, Source::Fallback, "another socket, not yet seen empty");
        let clean = mapper.map(ORIGIN + 2_000, EPOCH + 2_000 + step, Some(EPOCH + 1_900 + step), 1);
        assert_eq!(clean, Arrival { at_ns: 1_900, read_ns: 2_000, source: Source::Kernel });
        assert_eq!(mapper.steps(), 1, "a step is counted once");
    }

    proptest! {
        #[test]
        fn arrival_never_lies_after_the_read(
            mono in ORIGIN..ORIGIN * 1_000, real in EPOCH..EPOCH + ORIGIN * 1_000,
            stamp in EPOCH..EPOCH + ORIGIN * 1_000, clean in 0_u32..3,
        ) {
            let got = mapper().map(mono, real, Some(stamp), clean);
            prop_assert!(got.at_ns <= got.read_ns);
            prop_assert_eq!(got.read_ns, mono - ORIGIN);
        }
    }
}
