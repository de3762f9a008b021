//! Tells when a child that is waited for has to be given up.

use loadline_clock::monotonic_ns;
use loadline_schema::storage::protocol::Reply;

/// How long a child that was told to stop may take for its last reply.
const STOP_NS: u64 = 1_000_000_000;

/// Sees to it that waiting has an end.
pub(super) struct Watch {
    stall_ns: u64,
    /// I/Os that ended, as last heard.
    ios: u64,
    /// When something last moved.
    moved_ns: u64,
    stopped_ns: Option<u64>,
}

impl Watch {
    /// Waiting begins now.
    pub(super) fn new(stall_ns: u64) -> Self {
        Self { stall_ns, ios: 0, moved_ns: monotonic_ns(), stopped_ns: None }
    }

    /// A reply came.
    pub(super) fn saw(&mut self, reply: &Reply) {
        let moved = match reply {
            Reply::Progress { ios, .. } => std::mem::replace(&mut self.ios, *ios) != *ios,
            // Seconds in which nothing ended are reported, too.
            Reply::Interval(row) => row.ios + row.errors > 0,
            _ => true,
        };
        if moved {
            self.moved_ns = monotonic_ns();
        }
    }

    /// Whether a stop was sent before; notes that it is sent now.
    pub(super) fn stop_sent(&mut self) -> bool {
        self.stopped_ns.replace(self.stopped_ns.unwrap_or_else(monotonic_ns)).is_some()
    }

    /// Whether a stop was sent.
    pub(super) fn was_stopped(&self) -> bool {
        self.stopped_ns.is_some()
    }

    /// Whether it took too long.
    pub(super) fn must_kill(&self) -> bool {
        self.must_kill_at(monotonic_ns())
    }

    fn must_kill_at(&self, now: u64) -> bool {
        self.stopped_ns.is_some_and(|stopped| now - stopped > STOP_NS)
            || now - self.moved_ns > self.stall_ns
    }
}

#[cfg(test)]
mod tests {
    use loadline_schema::outcome::Phase;
    use loadline_schema::record::TrialId;
    use loadline_schema::storage::{Direction, IoInterval, Latencies};

    use super::*;

    fn second(ios: u64, errors: u64) -> Reply {
        Reply::Interval(IoInterval {
            trial: TrialId { stage: 0, point: 0, part: 0, trial: 0 },
            worker: 0,
            direction: Direction::Write,
            phase: Phase::Measure,
            start_ns: 0,
            length_ns: 1,
            ios,
            bytes: ios,
            errors,
            slat: Latencies::default(),
            clat: Latencies::default(),
            lat: Latencies::default(),
        })
    }

    fn beat(ios: u64) -> Reply {
        Reply::Progress { doing: "measuring".to_owned(), ios, done: None, bytes_per_s: 0.0 }
    }

    /// Whether a watch that last saw something move long ago sees it in this reply.
    fn moves(ios: u64, reply: &Reply) -> bool {
        let mut watch = Watch { ios, moved_ns: 0, ..Watch::new(1) };
        watch.saw(reply);
        watch.moved_ns > 0
    }

    #[test]
    fn what_ended_moves_and_what_was_only_told_does_not() {
        assert!(moves(7, &beat(8)) && !moves(7, &beat(7)));
        assert!(moves(0, &second(1, 0)) && moves(0, &second(0, 1)) && !moves(0, &second(0, 0)));
        assert!(moves(0, &Reply::Closed { left: Vec::new() }));
    }

    #[test]
    fn waiting_ends() {
        let mut watch = Watch { moved_ns: 100, ..Watch::new(50) };
        assert!(!watch.must_kill_at(150) && watch.must_kill_at(151));
        watch.stall_ns = u64::MAX;
        assert!(!watch.stop_sent() && watch.stop_sent(), "it is sent once");
        let stopped = watch.stopped_ns.expect("it was sent");
        assert!(
            !watch.must_kill_at(stopped + STOP_NS) && watch.must_kill_at(stopped + STOP_NS + 1)
        );
    }
}
