//! Whether an endpoint really keeps a connection open after an answer. Some announce keep-alive and
//! close all the same, a moment after the last byte (llama-server after each streamed answer): a
//! request sent into that moment is lost. So it is learned from what the endpoint does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A connection that is still open this long after its answer is taken to be kept, ns.
pub(crate) const KEPT_AFTER_NS: u64 = 5_000_000;
/// A close within this time of an answer is a habit and not an idle limit, ns.
pub(crate) const CLOSED_WITHIN_NS: u64 = 1_000_000_000;

/// What is known about an endpoint; shared by all reactors of a run.
#[derive(Debug, Clone, Default)]
pub struct KeepAlive(Arc<AtomicU8>);

const UNKNOWN: u8 = 0;
const KEEPS: u8 = 1;
const CLOSES: u8 = 2;

impl KeepAlive {
    /// Nothing is known yet: only a connection that has shown that it stays open is used again.
    pub(crate) fn is_unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UNKNOWN
    }

    /// The endpoint closes connections right after its answers: each carries one request.
    pub fn closes(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CLOSES
    }

    /// A connection stayed open after an answer.
    pub(crate) fn saw_open(&self) {
        // Only from unknown: an endpoint that was seen closing does so, even if not every time.
        let _ = self.0.compare_exchange(UNKNOWN, KEEPS, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A connection was closed so many ns after its last answer.
    pub(crate) fn saw_close(&self, after_ns: u64) {
        if after_ns <= CLOSED_WITHIN_NS {
            self.0.store(CLOSES, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_endpoint_does_decides() {
        let habit = KeepAlive::default();
        assert!(habit.is_unknown() && !habit.closes());
        habit.saw_close(CLOSED_WITHIN_NS + 1);
        assert!(habit.is_unknown(), "an idle limit says nothing");
        habit.saw_open();
        assert!(!habit.is_unknown() && !habit.closes());
        habit.saw_close(100_000);
        assert!(habit.closes());
        habit.saw_open();
        assert!(habit.closes(), "one that closes is not trusted again");
    }
}
