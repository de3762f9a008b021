//! What a reactor counts about itself.

use hdrhistogram::Histogram;
use loadline_clock::{Arrival, Source, StampMapper};

/// A request whose bytes took longer than this to hand over is counted, ns.
pub(crate) const SLOW_WRITE_NS: u64 = 1_000_000;

/// Counters of one reactor in one trial.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub spin_ns: u64,
    pub reads: u64,
    pub chunks: u64,
    pub token_chunks: u64,
    pub merged_reads: u64,
    pub merged_chunks: u64,
    pub fallbacks: u64,
    pub slow_writes: u64,
    pub connects: u64,
    pub late_connects: u64,
    pub clock_steps: u64,
    pub store_waits: u64,
    pub cpu_ns: u64,
    /// Token-bearing events not yet added to the live counter.
    pub live_token_chunks: u64,
    /// Read time − kernel stamp, ns; two digits.
    pub read_lag: Histogram<u32>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            spin_ns: 0,
            reads: 0,
            chunks: 0,
            token_chunks: 0,
            merged_reads: 0,
            merged_chunks: 0,
            fallbacks: 0,
            slow_writes: 0,
            connects: 0,
            late_connects: 0,
            clock_steps: 0,
            store_waits: 0,
            cpu_ns: 0,
            live_token_chunks: 0,
            read_lag: Histogram::new_with_bounds(1, 3_600_000_000_000, 2)
                .expect("invariant: these bounds are valid"),
        }
    }
}

impl Tally {
    pub(crate) fn read(&mut self, arrival: &Arrival) {
        self.reads += 1;
        match arrival.source {
            Source::Kernel => self.read_lag.saturating_record(arrival.read_ns - arrival.at_ns),
            Source::Fallback => self.fallbacks += 1,
            Source::User => {}
        }
    }

    pub(crate) fn tokens(&mut self, in_read: u32) {
        self.token_chunks += u64::from(in_read);
        self.live_token_chunks += u64::from(in_read);
        if in_read > 1 {
            self.merged_reads += 1;
            self.merged_chunks += u64::from(in_read);
        }
    }

    pub(crate) fn finish(&mut self, mapper: &StampMapper) {
        self.clock_steps = u64::from(mapper.steps());
    }

    /// Adds the counts of another reactor.
    pub(crate) fn add(&mut self, other: &Self) {
        self.spin_ns += other.spin_ns;
        self.reads += other.reads;
        self.chunks += other.chunks;
        self.token_chunks += other.token_chunks;
        self.merged_reads += other.merged_reads;
        self.merged_chunks += other.merged_chunks;
        self.fallbacks += other.fallbacks;
        self.slow_writes += other.slow_writes;
        self.connects += other.connects;
        self.late_connects += other.late_connects;
        self.clock_steps = self.clock_steps.max(other.clock_steps);
        self.store_waits += other.store_waits;
        self.cpu_ns += other.cpu_ns;
        self.read_lag.add(&other.read_lag).expect("invariant: both have the same bounds");
    }
}
