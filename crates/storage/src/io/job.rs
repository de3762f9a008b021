//! A job: a file, what comes next in it, and when.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use loadline_schema::storage::{Direction, IoExtent, IoLoad, LatenessNs, RateProcess};

use super::failure::What;
use super::ledger::Ledger;
use super::pace::Pacer;
use super::pattern::Pattern;
use super::permutation::random;
use super::sequence::Sequence;
use super::shared::Times;

/// fsync or fdatasync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncKind {
    /// fsync.
    Full,
    /// fdatasync.
    Data,
}

/// An I/O to be issued.
#[derive(Debug, Clone, Copy)]
pub(super) struct Op {
    /// Read or write.
    pub(super) direction: Direction,
    /// How many of its direction came before it.
    pub(super) nth: u64,
    /// Where.
    pub(super) offset: u64,
}

/// A job's state. Its numbers are taken by one thread alone (io_uring) or by several (psync).
pub(super) struct Job {
    /// Which, from 0.
    pub(super) number: u16,
    /// Its file.
    pub(super) file: OwnedFd,
    /// The file's path, for messages.
    pub(super) path: String,
    /// What is written.
    pub(super) pattern: Option<Pattern>,
    /// What was written where, when it is to be verified.
    pub(super) ledger: Option<Ledger>,
    /// Bytes that a short direct I/O must be a multiple of to be continued.
    pub(super) align: u64,
    bs: u64,
    sequence: Sequence,
    limit: u64,
    fsync_every: u64,
    fdatasync_every: u64,
    alone: bool,
    threads: AtomicU32,
    rate: Option<(f64, RateProcess, u64)>,
    pacer: OnceLock<Mutex<Pacer>>,
    issued: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
}

/// What a job is made of.
pub(super) struct Parts<'a> {
    /// Which, from 0.
    pub(super) number: u16,
    /// Its file, and the path of it.
    pub(super) file: (OwnedFd, String),
    /// The load.
    pub(super) load: &'a IoLoad,
    /// Seed of the trial.
    pub(super) seed: u64,
    /// What is written.
    pub(super) pattern: Option<&'a Pattern>,
    /// Threads that take its I/Os.
    pub(super) threads: u32,
    /// Alignment of offsets; 1 without O_DIRECT.
    pub(super) align: u64,
}

impl Job {
    /// A job that has done nothing yet.
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts { number, file: (file, path), load, seed, pattern, threads, align } = parts;
        let key = random(seed, u64::from(number));
        let sequence = Sequence::new(load, key);
        let limit = match load.extent {
            IoExtent::Runtime { .. } => u64::MAX,
            IoExtent::Size { .. } => sequence.blocks(),
        };
        Self {
            number,
            file,
            path,
            pattern: pattern.map(|pattern| pattern.with_key(random(key, 3))),
            ledger: (load.verify && load.writes()).then(|| Ledger::new(sequence.blocks())),
            align,
            bs: load.bs_bytes,
            sequence,
            limit,
            fsync_every: load.fsync_every,
            fdatasync_every: load.fdatasync_every,
            alone: threads == 1,
            threads: AtomicU32::new(threads),
            rate: load.rate_iops.map(|iops| (iops, load.rate_process, random(key, 4))),
            pacer: OnceLock::new(),
            issued: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }
    }

    /// It begins: due times are known from here on.
    pub(super) fn begin(&self, times: Times) {
        if let Some(rate) = self.rate {
            let span = (times.start, times.measure, times.deadline);
            self.pacer.get_or_init(|| Mutex::new(Pacer::new(rate, span, self.limit)));
        }
    }

    /// Its due times, where it has a rate.
    pub(super) fn pacer(&self) -> Option<MutexGuard<'_, Pacer>> {
        let pacer = self.pacer.get()?;
        Some(match pacer.lock() {
            Ok(pacer) => pacer,
            Err(poisoned) => poisoned.into_inner(),
        })
    }

    /// How late it was, where it has a rate; nothing was issued from `end` on.
    pub(super) fn lateness(&mut self, end: u64) -> Option<LatenessNs> {
        let pacer = self.pacer.take()?;
        let pacer = match pacer.into_inner() {
            Ok(pacer) => pacer,
            Err(poisoned) => poisoned.into_inner(),
        };
        Some(pacer.finish(end))
    }

    /// Takes a number. A thread alone needs no locked instruction.
    #[inline]
    fn count(&self, counter: &AtomicU64) -> u64 {
        if self.alone {
            let value = counter.load(Ordering::Relaxed);
            counter.store(value + 1, Ordering::Relaxed);
            return value;
        }
        counter.fetch_add(1, Ordering::Relaxed)
    }

    /// The next I/O; `None` when the extent is through.
    #[inline]
    pub(super) fn next(&self) -> Option<Op> {
        let index = self.count(&self.issued);
        if index >= self.limit {
            return None;
        }
        let direction = self.sequence.direction(index);
        let counter = if direction == Direction::Read { &self.reads } else { &self.writes };
        let nth = self.count(counter);
        Some(Op { direction, nth, offset: self.sequence.offset(index, nth) })
    }

    /// Whether the `nth` write is followed by a sync. Of both kinds at once fsync is the stronger.
    #[inline]
    pub(super) fn sync_after(&self, nth: u64) -> Option<SyncKind> {
        let hits = |every: u64| every > 0 && (nth + 1).is_multiple_of(every);
        if hits(self.fsync_every) {
            return Some(SyncKind::Full);
        }
        hits(self.fdatasync_every).then_some(SyncKind::Data)
    }

    /// Makes a buffer the contents of a write, and notes that it is under way.
    #[inline]
    pub(super) fn prepare(&self, op: Op, buffer: &mut [u8]) {
        if let Some(pattern) = &self.pattern {
            pattern.fill(buffer, pattern.content(op.nth, op.offset / self.bs));
        }
        if let Some(ledger) = &self.ledger {
            ledger.begin(op.offset / self.bs);
        }
    }

    /// A write ended well, or not.
    #[inline]
    pub(super) fn wrote(&self, offset: u64, nth: u64, well: bool) {
        if let Some(ledger) = &self.ledger {
            let block = offset / self.bs;
            if well { ledger.end(block, nth) } else { ledger.lose(block) }
        }
    }

    /// What an I/O was doing, for a message.
    pub(super) fn what(&self, direction: Direction, offset: u64) -> What<'_> {
        What { direction, bytes: self.bs, offset, path: &self.path }
    }

    /// Bytes of an I/O.
    pub(super) fn bs(&self) -> u64 {
        self.bs
    }

    /// A thread is through; whether it was the last one.
    pub(super) fn leave(&self) -> bool {
        self.threads.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether anything was written.
    pub(super) fn has_written(&self) -> bool {
        self.writes.load(Ordering::Relaxed) > 0
    }
}
