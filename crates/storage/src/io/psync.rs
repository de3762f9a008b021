//! I/O by pread and pwrite: as many threads as I/Os are to be in flight, which share a job's
//! sequence.

use std::time::Duration;

use loadline_schema::storage::{Direction, EndedBy, WorkerEnd};
use rustix::io::Errno;

use super::job::{Job, Op, SyncKind};
use super::memory::Buffers;
use super::recorder::{Ended, Recorder};
use super::shared::{Allowance, Shared, Times};

/// A thread that waits looks so often whether it shall stop.
const LOOK: Duration = Duration::from_millis(100);

/// One thread of a job.
pub(super) struct Thread<'a> {
    shared: &'a Shared<'a>,
    job: &'a Job,
    times: Times,
    recorder: Recorder<'a>,
    allowance: Allowance<'a>,
}

/// Issues I/Os until the trial is over.
pub(super) fn work<'a>(
    shared: &'a Shared<'a>,
    job: &'a Job,
    times: Times,
    mut buffers: Buffers,
) -> WorkerEnd {
    let mut thread = Thread {
        shared,
        job,
        times,
        recorder: Recorder::new(shared, times, job.number),
        allowance: Allowance::new(shared.trial, job.bs()),
    };
    // The second buffer, where there is one, is for reads: they would spoil what is written.
    let reads_at = buffers.count() - 1;
    while let Some((op, due)) = thread.next() {
        let buffer = buffers.buffer(if op.direction == Direction::Read { reads_at } else { 0 });
        if op.direction == Direction::Write {
            job.prepare(op, buffer);
        }
        let start = loadline_clock::monotonic_ns();
        if let (Some(due), Some(mut pacer)) = (due, job.pacer()) {
            pacer.issued(due, start);
        }
        let moved = thread.move_all(op, buffer);
        let wrote = thread.ended(op, start, moved) && op.direction == Direction::Write;
        if let Some(kind) = job.sync_after(op.nth).filter(|_| wrote) {
            thread.sync(kind);
        }
    }
    if job.leave() && shared.wants_end_fsync() && job.has_written() {
        thread.sync(SyncKind::Full);
    }
    thread.recorder.finish(loadline_clock::monotonic_ns(), 0)
}

impl Thread<'_> {
    /// The next I/O, when it is due, and when that was; `None` at the end.
    fn next(&mut self) -> Option<(Op, Option<u64>)> {
        let due = self.job.pacer().map(|mut pacer| pacer.take());
        if !self.wait_until(due) {
            return None;
        }
        let op = self.job.next()?;
        if op.direction == Direction::Write && !self.allowance.take(self.job.bs()) {
            self.shared.end(EndedBy::MaxWrite, None);
            return None;
        }
        Some((op, due))
    }

    /// Waits; `false` when the trial is over before.
    fn wait_until(&mut self, due: Option<u64>) -> bool {
        loop {
            let now = loadline_clock::monotonic_ns();
            if now >= self.times.deadline || self.shared.is_over() {
                return false;
            }
            let left = due.unwrap_or(now).saturating_sub(now);
            if left == 0 {
                return true;
            }
            self.recorder.tick(now);
            std::thread::sleep(Duration::from_nanos(left).min(LOOK));
        }
    }

    /// Reads or writes the whole block, in several calls where the system moves less at once.
    fn move_all(&self, op: Op, buffer: &mut [u8]) -> Result<u64, Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let (rest, offset) = (&mut buffer[done..], op.offset + done as u64);
            let moved = match op.direction {
                Direction::Read => rustix::io::pread(&self.job.file, rest, offset),
                _ => rustix::io::pwrite(&self.job.file, rest, offset),
            };
            match moved {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            if !(done as u64).is_multiple_of(self.job.align) {
                break;
            }
        }
        Ok(done as u64)
    }

    /// Counts an I/O; whether it ended well.
    fn ended(&mut self, op: Op, start: u64, moved: Result<u64, Errno>) -> bool {
        let end = loadline_clock::monotonic_ns();
        let Op { direction, nth, offset } = op;
        let bytes = self.job.bs();
        let well = moved == Ok(bytes);
        if direction == Direction::Write {
            self.job.wrote(offset, nth, well);
        }
        if well {
            // The call that submits is the one that does the work: as with fio, slat is 0.
            self.recorder.record(Ended { direction, offset, bytes, start, issue: start, end });
            self.recorder.tick(end);
            return true;
        }
        let what = self.job.what(direction, offset);
        self.recorder.error(direction, end);
        let failure = match moved {
            Ok(moved) => what.short(moved),
            Err(errno) => what.failed(errno),
        };
        self.shared.end(EndedBy::Failure, Some(failure));
        false
    }

    fn sync(&mut self, kind: SyncKind) {
        let start = loadline_clock::monotonic_ns();
        let result = match kind {
            SyncKind::Full => rustix::fs::fsync(&self.job.file),
            SyncKind::Data => rustix::fs::fdatasync(&self.job.file),
        };
        let end = loadline_clock::monotonic_ns();
        let direction = Direction::Sync;
        match result {
            Ok(()) => {
                let ended = Ended { direction, offset: 0, bytes: 0, start, issue: start, end };
                self.recorder.record(ended);
            }
            Err(errno) => {
                self.recorder.error(direction, end);
                let failure = self.job.what(direction, 0).failed(errno);
                self.shared.end(EndedBy::Failure, Some(failure));
            }
        }
    }
}
