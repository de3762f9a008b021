//! When I/Os are due under a rate, and how late they were.

use loadline_schema::storage::{LatenessNs, RateProcess};

use super::permutation::random;

/// An I/O issued so much after it was due is late, ns.
const LATE_NS: u64 = 1_000_000;

/// Due times of one job, on any clock in ns. They do not move when I/Os are late: what was missed
/// is caught up, as fio does.
#[derive(Debug)]
pub(super) struct Pacer {
    gap_ns: f64,
    poisson: Option<u64>,
    index: u64,
    /// The next due time, ns from the start; a float keeps fractions of a ns over all gaps.
    next: f64,
    start: u64,
    measure: u64,
    end: u64,
    limit: u64,
    due: u64,
    issued: u64,
    late: u64,
    sum: u64,
    max: u64,
}

impl Pacer {
    /// So many I/Os per second from `start` on, `limit` at most. Those that are due from `measure`
    /// up to `end` count.
    pub(super) fn new(
        (iops, process, seed): (f64, RateProcess, u64),
        (start, measure, end): (u64, u64, u64),
        limit: u64,
    ) -> Self {
        let mut pacer = Self {
            gap_ns: 1e9 / iops,
            poisson: (process == RateProcess::Poisson).then_some(seed),
            index: 0,
            next: 0.0,
            start,
            measure,
            end,
            limit,
            due: 0,
            issued: 0,
            late: 0,
            sum: 0,
            max: 0,
        };
        pacer.next += pacer.poisson_gap();
        pacer
    }

    fn advance(&mut self) {
        self.index += 1;
        match self.poisson {
            // From the number, not from the last one: sums of floats drift.
            None => self.next = self.index as f64 * self.gap_ns,
            Some(_) => self.next += self.poisson_gap(),
        }
    }

    fn poisson_gap(&self) -> f64 {
        let Some(seed) = self.poisson else { return 0.0 };
        let uniform = ((random(seed, self.index) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln() * self.gap_ns
    }

    /// When the next I/O is due.
    pub(super) fn peek(&self) -> u64 {
        self.start.saturating_add(self.next as u64)
    }

    /// Takes the next I/O: when it is due.
    pub(super) fn take(&mut self) -> u64 {
        let due = self.peek();
        self.due += u64::from(self.index < self.limit && self.counts(due));
        self.advance();
        due
    }

    fn counts(&self, due: u64) -> bool {
        (self.measure..self.end).contains(&due)
    }

    /// An I/O that was taken is issued now.
    pub(super) fn issued(&mut self, due: u64, now: u64) {
        if !self.counts(due) {
            return;
        }
        let by = now.saturating_sub(due);
        self.issued += 1;
        self.late += u64::from(by > LATE_NS);
        self.sum += by;
        self.max = self.max.max(by);
    }

    /// The trial is over, and nothing was issued from `end` on: sums and counts, with the sum of
    /// lateness in place of the mean.
    pub(super) fn finish(mut self, end: u64) -> LatenessNs {
        self.end = self.end.min(end);
        while self.peek() < self.end && self.index < self.limit {
            self.take();
        }
        LatenessNs {
            due: self.due,
            late: self.late,
            never: self.due.saturating_sub(self.issued),
            mean: if self.issued == 0 { 0.0 } else { self.sum as f64 / self.issued as f64 },
            max: self.max,
        }
    }
}

/// Lateness of several jobs together.
pub(super) fn together(jobs: &[LatenessNs]) -> LatenessNs {
    let mut all = LatenessNs::default();
    let mut sum = 0.0;
    for job in jobs {
        sum += job.mean * (job.due - job.never) as f64;
        all.due += job.due;
        all.late += job.late;
        all.never += job.never;
        all.max = all.max.max(job.max);
    }
    if all.due > all.never {
        all.mean = sum / (all.due - all.never) as f64;
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn linear(iops: f64, span: (u64, u64, u64)) -> Pacer {
        Pacer::new((iops, RateProcess::Linear, 0), span, u64::MAX)
    }

    #[test]
    fn linear_due_times_are_even_and_do_not_drift() {
        let mut pacer = linear(3_000.0, (S, S, u64::MAX));
        let times: Vec<u64> = (0..=3_000_000).map(|_| pacer.take()).collect();
        assert_eq!((times[0], times[1], times[3_000]), (S, S + 333_333, 2 * S));
        assert_eq!(times[3_000_000], 1_001 * S);
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let mut pacer = Pacer::new((1_000.0, RateProcess::Poisson, 5), (0, 0, u64::MAX), u64::MAX);
        let times: Vec<u64> = (0..100_000).map(|_| pacer.take()).collect();
        let gaps: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let square = gaps.iter().map(|gap| gap * gap).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((square - 2.0).abs() < 0.1, "E[x²] = 2 for a mean of 1, got {square}");
        let long = gaps.iter().filter(|gap| **gap > 3.0).count() as f64 / gaps.len() as f64;
        assert!((long - (-3.0_f64).exp()).abs() < 0.004, "{long}");
    }

    #[test]
    fn lateness_is_counted_in_the_measured_part_only() {
        let mut pacer = linear(1_000.0, (0, S, 2 * S));
        while pacer.peek() < S {
            let due = pacer.take();
            pacer.issued(due, due + 5_000_000);
        }
        for by in [0, 1_000_000, 1_000_001, 3_000_000] {
            let due = pacer.take();
            pacer.issued(due, due + by);
        }
        pacer.take();
        let lateness = pacer.finish(u64::MAX);
        assert_eq!(
            lateness,
            LatenessNs { due: 1_000, late: 2, never: 996, mean: 5_000_001.0 / 4.0, max: 3_000_000 }
        );
    }

    #[test]
    fn a_trial_that_was_cut_short_has_fewer_due() {
        let pacer = linear(1_000.0, (0, 0, 10 * S));
        assert_eq!(pacer.finish(S).due, 1_000);
    }

    #[test]
    fn no_more_are_due_than_there_are() {
        let mut pacer = Pacer::new((1_000.0, RateProcess::Linear, 0), (0, 0, u64::MAX), 3);
        (0..5).for_each(|_| assert!(pacer.take() < S));
        assert_eq!(pacer.finish(u64::MAX).due, 3);
    }

    proptest! {
        #[test]
        fn as_many_are_due_as_the_rate_says(iops in 1.0..50_000.0_f64, poisson in any::<bool>()) {
            let process = if poisson { RateProcess::Poisson } else { RateProcess::Linear };
            let due = Pacer::new((iops, process, 9), (7, 7, 7 + 2 * S), u64::MAX);
            let due = due.finish(u64::MAX).due as f64;
            let spread = if poisson { 6.0 * (2.0 * iops).sqrt() } else { 0.0 };
            prop_assert!((due - 2.0 * iops).abs() <= 1.0 + spread, "{due} at {iops}");
        }
    }

    #[test]
    fn jobs_together() {
        let a = LatenessNs { due: 10, late: 1, never: 0, mean: 100.0, max: 900 };
        let b = LatenessNs { due: 10, late: 5, never: 5, mean: 400.0, max: 700 };
        let all = together(&[a, b]);
        assert_eq!(all, LatenessNs { due: 20, late: 6, never: 5, mean: 200.0, max: 900 });
    }
}
