//! What one trial applies: the resolved settings, the same for all reactors.

use loadline_schema::plan::{Extent, Load, Warmup};

/// The settings of one trial. All reactors are given the same value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrialLoad {
    /// Closed loop, open loop or burst.
    pub load: Load,
    /// By duration or by count. A burst is always by its own count.
    pub extent: Extent,
    /// What goes before the measured part. A burst has none.
    pub warmup: Warmup,
    /// Clock at which the trial begins: no operation is due earlier, ns.
    pub start_ns: u64,
    /// Time over which the slots of a closed loop begin, ns; 0: all at once.
    pub stagger_ns: u64,
    /// Pause of a slot after each operation (closed loop), ns.
    pub think_time_ns: u64,
    /// Most operations in flight over all reactors (open loop and burst).
    pub max_in_flight: u64,
    /// Seed of the arrival times.
    pub seed: u64,
    /// Share of ended operations that were not ok at which the trial stops (of at least 20), 0–1;
    /// over 1: never.
    pub stop_after_errors: f64,
}

impl TrialLoad {
    /// Whether the trial is bounded by a number of operations (nothing goes on after the last).
    pub fn by_count(&self) -> bool {
        matches!(self.load, Load::Burst { .. }) || matches!(self.extent, Extent::Requests { .. })
    }

    /// Measured operations of a trial by count.
    pub(crate) fn requests(&self) -> Option<u64> {
        match (self.load, self.extent) {
            (Load::Burst { requests }, _) | (_, Extent::Requests { requests }) => Some(requests),
            (_, Extent::Duration { .. }) => None,
        }
    }

    /// Whether these settings can never start an operation (no slots, no rate, no requests).
    pub(crate) fn is_empty(&self) -> bool {
        let no_load = match self.load {
            Load::Closed { concurrency } => concurrency == 0,
            Load::Open { rate_per_s, .. } => !(rate_per_s.is_finite() && rate_per_s > 0.0),
            Load::Burst { requests } => requests == 0,
        };
        no_load || self.requests() == Some(0)
    }
}
