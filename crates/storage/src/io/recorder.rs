//! Counts I/Os as they end and makes rows of them once a second. Recording touches flat arrays
//! only: no allocation, no lock.

use std::sync::atomic::Ordering;

use loadline_schema::outcome::Phase;
use loadline_schema::storage::{Buckets, Direction, IoInterval, Latencies, SlowIo, WorkerEnd};

use super::shared::{Shared, Times};

/// Length of a row, ns.
const ROW_NS: u64 = 1_000_000_000;
/// An I/O that takes so long is kept by itself: a hundred times what a busy disk needs, ns.
const SLOW_NS: u64 = 100_000_000;
/// After so many I/Os, or so long, a watcher is told that they ended.
const TELL_IOS: u64 = 64;
/// See [`TELL_IOS`].
const TELL_NS: u64 = 100_000_000;

/// One kind of latency.
#[derive(Debug)]
struct Histogram {
    sum: u64,
    min: u64,
    max: u64,
    buckets: Box<[u32]>,
}

impl Histogram {
    fn new() -> Self {
        Self { sum: 0, min: u64::MAX, max: 0, buckets: vec![0; Buckets::LEN].into() }
    }

    #[inline]
    fn add(&mut self, value: u64) {
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if let Some(count) = self.buckets.get_mut(Buckets::index(value)) {
            *count += 1;
        }
    }

    fn take(&mut self) -> Latencies {
        if self.min > self.max {
            return Latencies::default();
        }
        let (low, high) = (Buckets::index(self.min), Buckets::index(self.max));
        let filled = self.buckets[low..=high].iter_mut().zip(low as u32..);
        let buckets = filled
            .filter(|(count, _)| **count > 0)
            .map(|(count, index)| (index, u64::from(std::mem::take(count))))
            .collect();
        let taken = Latencies {
            sum_ns: self.sum,
            min_ns: self.min,
            max_ns: self.max,
            buckets: Buckets(buckets),
        };
        (self.sum, self.min, self.max) = (0, u64::MAX, 0);
        taken
    }
}

/// One direction in the present second.
#[derive(Debug)]
struct Tally {
    direction: Direction,
    ios: u64,
    bytes: u64,
    errors: u64,
    slat: Histogram,
    clat: Histogram,
    lat: Histogram,
}

impl Tally {
    fn new(direction: Direction) -> Self {
        let [slat, clat, lat] = std::array::from_fn(|_| Histogram::new());
        Self { direction, ios: 0, bytes: 0, errors: 0, slat, clat, lat }
    }
}

/// An I/O that ended. Times are of the monotonic clock, ns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// What it did.
    pub(super) direction: Direction,
    /// Where in the file.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) bytes: u64,
    /// When it was made ready.
    pub(super) start: u64,
    /// When the call that submitted it returned.
    pub(super) issue: u64,
    /// When its end was seen.
    pub(super) end: u64,
}

/// Counts the I/Os of one thread.
pub(super) struct Recorder<'a> {
    shared: &'a Shared<'a>,
    times: Times,
    worker: u16,
    tallies: [Option<Box<Tally>>; 3],
    row_start: u64,
    row_end: u64,
    untold: u64,
    untold_bytes: u64,
    told_at: u64,
    end: WorkerEnd,
    cpu_at_measure: u64,
    first: Option<u64>,
    last: u64,
}

impl<'a> Recorder<'a> {
    /// A recorder for a thread of this worker, whose I/O begins now.
    pub(super) fn new(shared: &'a Shared<'a>, times: Times, worker: u16) -> Self {
        let load = shared.load;
        let wanted = [load.reads(), load.writes(), load.writes()];
        let directions = [Direction::Read, Direction::Write, Direction::Sync];
        let tallies =
            std::array::from_fn(|at| wanted[at].then(|| Box::new(Tally::new(directions[at]))));
        let mut recorder = Self {
            shared,
            times,
            worker,
            tallies,
            row_start: times.start,
            row_end: 0,
            untold: 0,
            untold_bytes: 0,
            told_at: times.start,
            end: WorkerEnd::default(),
            cpu_at_measure: loadline_clock::thread_cpu_ns(),
            first: None,
            last: 0,
        };
        recorder.row_end = recorder.end_of_row();
        recorder
    }

    /// Rows end a second after they began, and where the measured part begins or ends.
    fn end_of_row(&self) -> u64 {
        let cuts = [self.times.measure, self.times.deadline];
        let cut = cuts.into_iter().filter(|cut| *cut > self.row_start).min();
        (self.row_start + ROW_NS).min(cut.unwrap_or(u64::MAX))
    }

    /// Counts an I/O that ended well.
    #[inline]
    pub(super) fn record(&mut self, io: Ended) {
        if io.end >= self.row_end {
            self.roll(io.end);
        }
        if self.first.is_none() {
            self.first = Some(io.start);
        }
        self.last = io.end;
        if let Some(tally) = &mut self.tallies[io.direction as usize] {
            tally.ios += 1;
            tally.bytes += io.bytes;
            tally.slat.add(io.issue - io.start);
            tally.clat.add(io.end - io.issue);
            tally.lat.add(io.end - io.start);
        }
        self.untold += 1;
        self.untold_bytes += io.bytes;
        if io.end - io.start >= SLOW_NS {
            self.slow(io);
        }
    }

    #[cold]
    fn slow(&self, io: Ended) {
        let trial = self.shared.trial;
        self.shared.slow(SlowIo {
            trial: trial.id,
            worker: self.worker,
            direction: io.direction,
            offset: io.offset,
            bytes: io.bytes,
            start_ns: io.start.wrapping_sub(trial.origin_ns),
            slat_ns: io.issue - io.start,
            clat_ns: io.end - io.issue,
        });
    }

    /// Counts an I/O that failed.
    pub(super) fn error(&mut self, direction: Direction, now: u64) {
        self.tick(now);
        if let Some(tally) = &mut self.tallies[direction as usize] {
            tally.errors += 1;
        }
        self.last = self.last.max(now);
    }

    /// To be called now and then, at least every 100 ms: hands out rows that are over, and tells
    /// the watcher what ended.
    #[inline]
    pub(super) fn tick(&mut self, now: u64) {
        if now >= self.row_end {
            self.roll(now);
        }
        if self.untold >= TELL_IOS || (self.untold > 0 && now >= self.told_at + TELL_NS) {
            self.tell(now);
        }
    }

    fn tell(&mut self, now: u64) {
        let trial = self.shared.trial;
        trial.ended.fetch_add(std::mem::take(&mut self.untold), Ordering::Relaxed);
        trial.ended_bytes.fetch_add(std::mem::take(&mut self.untold_bytes), Ordering::Relaxed);
        self.told_at = now;
    }

    #[cold]
    fn roll(&mut self, now: u64) {
        while now >= self.row_end {
            self.hand_out(self.row_end, true);
            self.row_start = self.row_end;
            if self.row_start == self.times.measure {
                self.cpu_at_measure = loadline_clock::thread_cpu_ns();
                self.first = Some(self.row_start);
            }
            self.row_end = self.end_of_row();
        }
    }

    /// Hands out the rows of the present second, which ends at `end`; without `all` only those
    /// with an I/O in them.
    fn hand_out(&mut self, end: u64, all: bool) {
        let trial = self.shared.trial;
        let measured = self.row_start >= self.times.measure;
        for tally in self.tallies.iter_mut().flatten() {
            let all = all && tally.direction != Direction::Sync;
            if tally.ios == 0 && tally.errors == 0 && !all {
                continue;
            }
            let row = IoInterval {
                trial: trial.id,
                worker: self.worker,
                direction: tally.direction,
                phase: if measured { Phase::Measure } else { Phase::WarmUp },
                start_ns: self.row_start.wrapping_sub(trial.origin_ns),
                length_ns: end - self.row_start,
                ios: std::mem::take(&mut tally.ios),
                bytes: std::mem::take(&mut tally.bytes),
                errors: std::mem::take(&mut tally.errors),
                slat: tally.slat.take(),
                clat: tally.clat.take(),
                lat: tally.lat.take(),
            };
            if measured {
                add(&mut self.end, &row);
            }
            trial.report.interval(row);
        }
    }

    /// The thread has ended: hands out the last rows. `unknown`: I/Os that are in flight still.
    pub(super) fn finish(mut self, now: u64, unknown: u64) -> WorkerEnd {
        self.tick(now);
        let now = self.last.max(self.row_start);
        self.hand_out(now, false);
        self.tell(now);
        let origin = self.shared.trial.origin_ns;
        let first = self.first.unwrap_or(now);
        WorkerEnd {
            first_ns: first.wrapping_sub(origin),
            last_ns: self.last.max(first).wrapping_sub(origin),
            unknown,
            cpu_ns: loadline_clock::thread_cpu_ns() - self.cpu_at_measure,
            ..self.end
        }
    }
}

fn add(end: &mut WorkerEnd, row: &IoInterval) {
    end.errors += row.errors;
    match row.direction {
        Direction::Read => {
            end.read_ios += row.ios;
            end.read_bytes += row.bytes;
        }
        Direction::Write => {
            end.write_ios += row.ios;
            end.write_bytes += row.bytes;
        }
        Direction::Sync => end.sync_ios += row.ios,
    }
}

/// The threads of one job together.
pub(super) fn together(threads: &[WorkerEnd]) -> WorkerEnd {
    let mut all = WorkerEnd {
        first_ns: threads.iter().map(|end| end.first_ns).min().unwrap_or_default(),
        last_ns: threads.iter().map(|end| end.last_ns).max().unwrap_or_default(),
        ..WorkerEnd::default()
    };
    for end in threads {
        all.read_ios += end.read_ios;
        all.read_bytes += end.read_bytes;
        all.write_ios += end.write_ios;
        all.write_bytes += end.write_bytes;
        all.sync_ios += end.sync_ios;
        all.errors += end.errors;
        all.unknown += end.unknown;
        all.cpu_ns += end.cpu_ns;
    }
    all
}

#[cfg(test)]
mod tests {
    use loadline_schema::storage::Rw;
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn ended(start: u64, end: u64) -> Ended {
        let (direction, offset, bytes) = (Direction::Read, 0, 4096);
        Ended { direction, offset, bytes, start, issue: start + 10, end }
    }

    /// Rows of reads as (begin, length, measured, I/Os) of what ended at these times.
    fn rows(times: Times, ends: &[u64], now: u64) -> (Vec<(u64, u64, bool, u64)>, WorkerEnd) {
        let load = crate::io::tests::load(Rw::Read);
        crate::io::tests::with_trial(|trial, reported| {
            let shared = Shared::new(trial, &load);
            let mut recorder = Recorder::new(&shared, times, 3);
            ends.iter().for_each(|end| recorder.record(ended(end - 30, *end)));
            let end = recorder.finish(now, 0);
            let rows = reported().0.into_iter().map(|row| {
                assert_eq!((row.worker, row.bytes), (3, row.ios * 4096));
                assert_eq!((row.slat.sum_ns, row.lat.sum_ns), (row.ios * 10, row.ios * 30));
                (row.start_ns, row.length_ns, row.phase == Phase::Measure, row.ios)
            });
            (rows.collect(), end)
        })
    }

    #[test]
    fn rows_are_seconds_cut_at_the_ramp_and_at_the_deadline() {
        let times = Times { start: S, measure: 2 * S + S / 2, deadline: 4 * S };
        let ends = [S + 40, 2 * S + 1, 2 * S + S / 2, 3 * S, 4 * S - 1, 4 * S, 4 * S + 7];
        let (rows, end) = rows(times, &ends, 4 * S + 100);
        assert_eq!(
            rows,
            [
                (S, S, false, 1),
                (2 * S, S / 2, false, 1),
                (2 * S + S / 2, S, true, 2),
                (3 * S + S / 2, S / 2, true, 1),
                (4 * S, 7, true, 2),
            ]
        );
        assert_eq!((end.read_ios, end.read_bytes), (5, 5 * 4096), "those of the ramp do not count");
        assert_eq!((end.first_ns, end.last_ns), (2 * S + S / 2, 4 * S + 7));
    }

    #[test]
    fn seconds_without_an_io_have_rows_too() {
        let times = Times { start: S, measure: S, deadline: u64::MAX };
        let (rows, end) = rows(times, &[S + 50, 4 * S + 50], 4 * S + 60);
        assert_eq!(
            rows,
            [(S, S, true, 1), (2 * S, S, true, 0), (3 * S, S, true, 0), (4 * S, 50, true, 1)]
        );
        assert_eq!((end.first_ns, end.last_ns), (S + 20, 4 * S + 50));
    }

    #[test]
    fn slow_ios_are_kept_up_to_a_number_and_counted_beyond() {
        let load = crate::io::tests::load(Rw::Read);
        crate::io::tests::with_trial(|trial, reported| {
            let shared = Shared::new(trial, &load);
            let times = Times { start: 0, measure: 0, deadline: u64::MAX };
            let mut recorder = Recorder::new(&shared, times, 0);
            recorder.record(ended(0, SLOW_NS - 1));
            assert_eq!(reported().1, 0);
            (0..10_003).for_each(|_| recorder.record(ended(0, SLOW_NS)));
            assert_eq!((reported().1, shared.slow_left_out()), (10_000, 3));
        });
    }

    #[test]
    fn a_watcher_is_told_after_so_many_ios_or_so_long() {
        let load = crate::io::tests::load(Rw::Read);
        crate::io::tests::with_trial(|trial, _| {
            let shared = Shared::new(trial, &load);
            let times = Times { start: 0, measure: 0, deadline: u64::MAX };
            let mut recorder = Recorder::new(&shared, times, 0);
            let told = || trial.ended.load(Ordering::Relaxed);
            (0..63).for_each(|_| recorder.record(ended(0, 100)));
            recorder.tick(100);
            assert_eq!(told(), 0);
            recorder.record(ended(0, 100));
            recorder.tick(100);
            assert_eq!((told(), trial.ended_bytes.load(Ordering::Relaxed)), (64, 64 * 4096));
            recorder.record(ended(0, 100));
            recorder.tick(TELL_NS + 100);
            assert_eq!(told(), 65);
        });
    }

    proptest! {
        #[test]
        fn a_histogram_keeps_count_sum_and_ends(
            values in prop::collection::vec(0..10_000_000_000_u64, 1..100),
        ) {
            let mut histogram = Histogram::new();
            for round in 0..2 {
                values.iter().for_each(|value| histogram.add(*value));
                let taken = histogram.take();
                prop_assert_eq!(taken.buckets.n(), values.len() as u64, "round {}", round);
                prop_assert_eq!(taken.sum_ns, values.iter().sum::<u64>());
                prop_assert_eq!(Some(&taken.min_ns), values.iter().min());
                prop_assert_eq!(Some(&taken.max_ns), values.iter().max());
            }
            prop_assert_eq!(histogram.take(), Latencies::default());
        }
    }
}
