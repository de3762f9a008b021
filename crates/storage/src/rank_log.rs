//! The account of one rank: its I/Os by second and direction as rows, and its sums at the end.

use std::collections::BTreeMap;

use loadline_schema::outcome::Phase;
use loadline_schema::storage::{Buckets, Direction, IoInterval, Latencies, WorkerEnd};
use std::sync::atomic::Ordering;

use crate::Trial;

const SECOND_NS: u64 = 1_000_000_000;
/// The shared counters grow at least so often while I/Os end.
const COUNTERS_NS: u64 = 50_000_000;

/// A second under way.
struct Second {
    /// Which one, counted from the begin of the measured part.
    number: u64,
    /// Its begin, or that of the first I/O in it where the rank began late.
    start_ns: u64,
    ios: u64,
    bytes: u64,
    errors: u64,
    sum_ns: u64,
    min_ns: u64,
    max_ns: u64,
    counts: BTreeMap<u32, u64>,
}

/// The account of one rank; its readers share it.
pub(crate) struct RankLog<'a> {
    trial: &'a Trial<'a>,
    worker: u16,
    measure_ns: u64,
    end: WorkerEnd,
    began: bool,
    /// Of reads, writes and syncs.
    seconds: [Option<Second>; 3],
    counted_ns: u64,
    ios: u64,
    bytes: u64,
}

impl<'a> RankLog<'a> {
    /// Of a rank that begins at `measure_ns`, as the others.
    pub(crate) fn new(trial: &'a Trial<'a>, worker: u16, measure_ns: u64) -> Self {
        let end = WorkerEnd { first_ns: measure_ns, last_ns: measure_ns, ..WorkerEnd::default() };
        let seconds = [None, None, None];
        let counted_ns = measure_ns;
        Self { trial, worker, measure_ns, end, began: false, seconds, counted_ns, ios: 0, bytes: 0 }
    }

    /// An I/O ended well.
    pub(crate) fn io(&mut self, direction: Direction, start_ns: u64, end_ns: u64, bytes: u64) {
        match direction {
            Direction::Read => {
                self.end.read_ios += 1;
                self.end.read_bytes += bytes;
            }
            Direction::Write => {
                self.end.write_ios += 1;
                self.end.write_bytes += bytes;
            }
            Direction::Sync => self.end.sync_ios += 1,
        }
        self.seen(start_ns, end_ns);
        let took = end_ns.saturating_sub(start_ns);
        let second = self.second(direction, start_ns, end_ns);
        second.ios += 1;
        second.bytes += bytes;
        second.sum_ns += took;
        second.min_ns = second.min_ns.min(took);
        second.max_ns = second.max_ns.max(took);
        *second.counts.entry(Buckets::index(took) as u32).or_insert(0) += 1;
        self.ios += 1;
        self.bytes += bytes;
        if end_ns.saturating_sub(self.counted_ns) >= COUNTERS_NS {
            self.count(end_ns);
        }
    }

    /// An I/O failed or was short.
    pub(crate) fn failed(&mut self, direction: Direction, start_ns: u64, end_ns: u64) {
        self.end.errors += 1;
        self.seen(start_ns, end_ns);
        self.second(direction, start_ns, end_ns).errors += 1;
    }

    /// I/Os whose end was not awaited.
    pub(crate) fn unknown(&mut self, ios: u64) {
        self.end.unknown += ios;
    }

    /// CPU time of a thread of the rank.
    pub(crate) fn cpu(&mut self, ns: u64) {
        self.end.cpu_ns += ns;
    }

    /// Ends the seconds under way: the rank pauses, or is done.
    pub(crate) fn pause(&mut self, now_ns: u64) {
        for (at, second) in std::mem::take(&mut self.seconds).into_iter().enumerate() {
            if let Some(second) = second {
                let length = now_ns.saturating_sub(second.start_ns);
                let rest = self.measure_ns + (second.number + 1) * SECOND_NS - second.start_ns;
                self.report(DIRECTIONS[at], second, length.clamp(1, rest));
            }
        }
        self.count(now_ns);
    }

    /// The sums.
    pub(crate) fn end(&self) -> WorkerEnd {
        self.end.clone()
    }

    fn seen(&mut self, start_ns: u64, end_ns: u64) {
        self.end.first_ns = if self.began { self.end.first_ns.min(start_ns) } else { start_ns };
        self.began = true;
        self.end.last_ns = self.end.last_ns.max(end_ns);
    }

    fn count(&mut self, now_ns: u64) {
        self.trial.ended.fetch_add(std::mem::take(&mut self.ios), Ordering::Relaxed);
        self.trial.ended_bytes.fetch_add(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        self.counted_ns = now_ns;
    }

    /// The second in which an I/O ended; those before it become rows, empty ones too, so that a
    /// pause of the storage shows.
    fn second(&mut self, direction: Direction, start_ns: u64, end_ns: u64) -> &mut Second {
        let at = DIRECTIONS.iter().position(|known| *known == direction).unwrap_or(0);
        let number = end_ns.saturating_sub(self.measure_ns) / SECOND_NS;
        let begin_of = |number: u64| self.measure_ns + number * SECOND_NS;
        let mut open = self.seconds[at].take().unwrap_or_else(|| {
            let first = start_ns.saturating_sub(self.measure_ns) / SECOND_NS;
            Second::new(first.min(number), start_ns.max(begin_of(first.min(number))))
        });
        // Of several readers one may tell late of an I/O that ended a moment before another's.
        while open.number < number {
            let next = open.number + 1;
            let length = begin_of(next) - open.start_ns;
            let ended = std::mem::replace(&mut open, Second::new(next, begin_of(next)));
            self.report(direction, ended, length);
        }
        self.seconds[at].insert(open)
    }

    fn report(&self, direction: Direction, second: Second, length_ns: u64) {
        let clat = Latencies {
            sum_ns: second.sum_ns,
            min_ns: if second.ios == 0 { 0 } else { second.min_ns },
            max_ns: second.max_ns,
            buckets: Buckets(second.counts.into_iter().collect()),
        };
        self.trial.report.interval(IoInterval {
            trial: self.trial.id,
            worker: self.worker,
            direction,
            phase: Phase::Measure,
            start_ns: second.start_ns,
            length_ns,
            ios: second.ios,
            bytes: second.bytes,
            errors: second.errors,
            slat: Latencies::default(),
            lat: clat.clone(),
            clat,
        });
    }
}

const DIRECTIONS: [Direction; 3] = [Direction::Read, Direction::Write, Direction::Sync];

impl Second {
    fn new(number: u64, start_ns: u64) -> Self {
        Self {
            number,
            start_ns,
            ios: 0,
            bytes: 0,
            errors: 0,
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            counts: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::Ground;

    const MS: u64 = 1_000_000;

    #[test]
    fn seconds_become_rows_and_a_pause_of_the_storage_shows() {
        let ground = Ground::new();
        let trial = ground.trial();
        let mut log = RankLog::new(&trial, 3, 1000 * MS);
        log.io(Direction::Write, 1200 * MS, 1300 * MS, 10);
        log.io(Direction::Write, 1300 * MS, 1999 * MS, 20);
        // Began in the first second, seen in the fourth.
        log.io(Direction::Write, 1999 * MS, 4500 * MS, 40);
        log.failed(Direction::Write, 4500 * MS, 4600 * MS);
        log.io(Direction::Sync, 4600 * MS, 4700 * MS, 0);
        log.pause(4700 * MS);
        let rows = ground.intervals();
        let of = |direction: Direction| rows.iter().filter(move |row| row.direction == direction);
        let told: Vec<_> = of(Direction::Write)
            .map(|row| (row.start_ns / MS, row.length_ns / MS, row.ios, row.bytes, row.errors))
            .collect();
        assert_eq!(
            told,
            [
                (1200, 800, 2, 30, 0),
                (2000, 1000, 0, 0, 0),
                (3000, 1000, 0, 0, 0),
                (4000, 700, 1, 40, 1)
            ]
        );
        let first = of(Direction::Write).next().expect("a row");
        assert_eq!((first.worker, first.slat.clone()), (3, Latencies::default()));
        let clat = &first.clat;
        assert_eq!((clat.sum_ns, clat.min_ns, clat.max_ns), (799 * MS, 100 * MS, 699 * MS));
        assert_eq!(of(Direction::Sync).map(|row| row.ios).sum::<u64>(), 1);
        let end = log.end();
        assert_eq!((end.first_ns, end.last_ns), (1200 * MS, 4700 * MS));
        assert_eq!((end.write_ios, end.write_bytes, end.sync_ios, end.errors), (3, 70, 1, 1));
        assert_eq!(ground.ended.load(Ordering::Relaxed), 4);
        assert_eq!(ground.ended_bytes.load(Ordering::Relaxed), 70);
    }

    #[test]
    fn a_reader_that_tells_late_is_counted_in_the_second_under_way() {
        let ground = Ground::new();
        let trial = ground.trial();
        let mut log = RankLog::new(&trial, 0, 0);
        log.io(Direction::Read, 900 * MS, 1001 * MS, 1);
        log.io(Direction::Read, 800 * MS, 999 * MS, 1);
        log.pause(1001 * MS);
        let rows: Vec<_> =
            ground.intervals().iter().map(|row| (row.start_ns / MS, row.ios)).collect();
        assert_eq!(rows, [(900, 0), (1000, 2)]);
        assert_eq!(log.end().first_ns, 800 * MS);
    }

    #[test]
    fn a_rank_without_work_has_no_rows() {
        let ground = Ground::new();
        let trial = ground.trial();
        let mut log = RankLog::new(&trial, 0, 5);
        log.pause(10);
        assert!(ground.intervals().is_empty());
        assert_eq!((log.end().first_ns, log.end().last_ns), (5, 5));
    }
}
