//! The client's error budget at a point, and whether the client was the limit.

use std::collections::BTreeMap;

use loadline_schema::document::{Client, Distribution};
use loadline_schema::event::ClientFigures;
use loadline_schema::outcome::TimestampSource;

/// Figures of the client, summed over trials.
#[derive(Debug, Default)]
pub(crate) struct ClientTally {
    trials: u64,
    /// Σ wall time × reactors, ns.
    reactor_wall_ns: u128,
    cpu_ns: u64,
    spin_ns: u64,
    chunks: u64,
    token_chunks: u64,
    merged_chunks: u64,
    fallbacks: u64,
    slow_writes: u64,
    clock_step_ns: u64,
    pub(crate) clock_steps: u64,
    pub(crate) store_waits: u64,
    pub(crate) read_lag: Option<Distribution>,
}

impl ClientTally {
    /// Adds a trial.
    pub(crate) fn take(&mut self, figures: &ClientFigures) {
        self.trials += 1;
        self.reactor_wall_ns += u128::from(figures.wall_ns) * u128::from(figures.reactors);
        self.cpu_ns += figures.cpu_ns;
        self.spin_ns += figures.spin_ns;
        self.chunks += figures.chunks;
        self.token_chunks += figures.token_chunks;
        self.merged_chunks += figures.merged_chunks;
        self.fallbacks += figures.fallbacks;
        self.slow_writes += figures.slow_writes;
        self.clock_step_ns = self.clock_step_ns.max(figures.clock_step_ns);
        self.clock_steps += figures.clock_steps;
        self.store_waits += figures.store_waits;
        if let Some(lag) = figures.read_lag.as_ref().filter(|lag| lag.n > 0) {
            self.read_lag = Some(match self.read_lag.take() {
                None => Distribution { bucketed: true, ..lag.clone() },
                Some(other) => merged(&other, lag),
            });
        }
    }

    /// Share of the reactors' time spent working: CPU time without spinning.
    pub(crate) fn busy_ratio(&self) -> Option<f64> {
        self.ratio(self.cpu_ns.saturating_sub(self.spin_ns))
    }

    fn ratio(&self, cpu_ns: u64) -> Option<f64> {
        (self.reactor_wall_ns > 0).then(|| cpu_ns as f64 / self.reactor_wall_ns as f64)
    }

    /// The budget; `limited` is set by the caller.
    pub(crate) fn budget(
        &self,
        sources: &BTreeMap<TimestampSource, u64>,
        late_gaps: Option<f64>,
        late_first_tokens: u64,
    ) -> Client {
        let (timestamp_source, timestamp_shares) = timestamps(sources);
        let work_ns = self.cpu_ns.saturating_sub(self.spin_ns);
        Client {
            cpu_ratio: self.ratio(self.cpu_ns),
            cpu_ns_per_event: share(work_ns, self.chunks),
            spin_ratio: share(self.spin_ns, self.cpu_ns),
            timestamp_source,
            timestamp_shares,
            merged_reads: share(self.merged_chunks, self.token_chunks),
            late_gaps,
            late_first_tokens,
            fallbacks: self.fallbacks,
            slow_writes: self.slow_writes,
            clock_step_ns: (self.trials > 0).then_some(self.clock_step_ns),
            limited: false,
        }
    }
}

/// A quotient; absent without a denominator.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// One source's name, or `mixed` with the share of each.
fn timestamps(sources: &BTreeMap<TimestampSource, u64>) -> (Option<String>, BTreeMap<String, f64>) {
    let all: u64 = sources.values().sum();
    match sources.len() {
        0 => (None, BTreeMap::new()),
        1 => (sources.keys().next().map(ToString::to_string), BTreeMap::new()),
        _ => {
            let shares = sources.iter().map(|(s, n)| (s.to_string(), *n as f64 / all as f64));
            (Some(TimestampSource::Mixed.to_string()), shares.collect())
        }
    }
}

/// Two histograms of which only percentiles are left: counts and means are exact, of each
/// percentile the larger one stands, so that the result is never better than the truth.
fn merged(a: &Distribution, b: &Distribution) -> Distribution {
    let mean =
        a.mean.zip(b.mean).map(|(x, y)| (x * a.n as f64 + y * b.n as f64) / (a.n + b.n) as f64);
    Distribution {
        n: a.n + b.n,
        left_out: a.left_out + b.left_out,
        mean,
        p50: a.p50.max(b.p50),
        p90: a.p90.max(b.p90),
        p95: a.p95.max(b.p95),
        p99: a.p99.max(b.p99),
        p999: a.p999.max(b.p999),
        max: a.max.max(b.max),
        bucketed: true,
        ..Distribution::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(n: u64, mean: f64, p99: u64) -> Distribution {
        Distribution { n, mean: Some(mean), p99: Some(p99), ..Distribution::default() }
    }

    #[test]
    fn read_lags_of_trials_merge_to_the_careful_side() {
        let mut tally = ClientTally::default();
        for (n, mean, p99) in [(100, 10.0, 90), (300, 30.0, 70)] {
            let read_lag = Some(lag(n, mean, p99));
            tally.take(&ClientFigures { read_lag, ..ClientFigures::default() });
        }
        let merged = tally.read_lag.expect("two trials had one");
        assert_eq!((merged.n, merged.mean, merged.p99), (400, Some(25.0), Some(90)));
        assert!(merged.bucketed && merged.p50.is_none());
    }

    #[test]
    fn cpu_without_spinning_is_what_an_event_costs() {
        let mut tally = ClientTally::default();
        for _ in 0..2 {
            tally.take(&ClientFigures {
                reactors: 2,
                cpu_ns: 1_000_000,
                spin_ns: 400_000,
                wall_ns: 1_000_000,
                chunks: 100,
                token_chunks: 80,
                merged_chunks: 8,
                ..ClientFigures::default()
            });
        }
        let budget = tally.budget(&BTreeMap::new(), None, 0);
        assert_eq!(budget.cpu_ratio, Some(0.5));
        assert_eq!(budget.cpu_ns_per_event, Some(6_000.0));
        assert_eq!(budget.spin_ratio, Some(0.4));
        assert_eq!(budget.merged_reads, Some(0.1));
        assert_eq!(tally.busy_ratio(), Some(0.3));
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let budget = ClientTally::default().budget(&BTreeMap::new(), None, 0);
        assert_eq!(budget, Client::default());
    }

    #[test]
    fn mixed_sources_come_with_shares() {
        let sources = BTreeMap::from([(TimestampSource::KernelRx, 3), (TimestampSource::User, 1)]);
        let (name, shares) = timestamps(&sources);
        assert_eq!(name.as_deref(), Some("mixed"));
        assert_eq!(shares.get("kernel_rx"), Some(&0.75));
        let (name, shares) = timestamps(&BTreeMap::from([(TimestampSource::User, 4)]));
        assert_eq!((name.as_deref(), shares.len()), (Some("user"), 0));
    }
}
