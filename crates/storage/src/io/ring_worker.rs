//! I/O by io_uring: one thread of a job with all its I/Os in flight.
//!
//! Each turn makes free slots ready, hands them over in one system call, and takes every end
//! that is there; only when there was none does it wait, in a second call. So an I/O that ends while
//! it is handed over costs one call, and at any depth a turn costs two at most.

use std::io;

use io_uring::types::{Fixed, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, SubmissionQueue, Submitter, opcode, squeue};
use loadline_schema::storage::{Direction, EndedBy, IoFailure, IoKind, WorkerEnd};
use rustix::io::Errno;

use super::job::{Job, Op, SyncKind};
use super::memory::Buffers;
use super::recorder::{Ended, Recorder};
use super::ring::Rig;
use super::shared::{Allowance, Shared, Times};

/// Bytes that are made ready before they are handed over: of large blocks each goes by itself, or
/// the first would wait for the last.
const BATCH_BYTES: u64 = 256 << 10;
/// I/Os that are handed over at once: enough to spread the cost of the call; larger batches reach
/// the device in bursts, and its throughput falls.
const BATCH_IOS: u64 = 8;
/// A timer wakes the thread so often, to look whether it shall stop.
const LOOK: Timespec = Timespec::new().nsec(100_000_000);
/// What the timer's end is known by.
const TIMER: u64 = u64::MAX;
/// A trial that was stopped waits so long for I/Os in flight, ns.
const PATIENCE_NS: u64 = 5_000_000_000;

/// An I/O in flight.
#[derive(Debug, Clone, Copy)]
struct Slot {
    start: u64,
    issue: u64,
    offset: u64,
    nth: u64,
    done: u32,
    direction: Direction,
    kind: SyncKind,
}

/// Where one turn of the loop stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There may be more to issue as soon as a slot is free.
    Go,
    /// The next I/O is due then.
    Due(u64),
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    job: &'a Job,
    times: Times,
    recorder: Recorder<'a>,
    allowance: Allowance<'a>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    batch: Vec<u32>,
    most: usize,
    /// First buffer for reads.
    reads_at: usize,
    fixed: bool,
    issuing: bool,
    sync_next: Option<SyncKind>,
    end_fsync_asked: bool,
    timer_armed: bool,
    stopped_at: Option<u64>,
}

/// Issues I/Os until the trial is over.
pub(super) fn work<'a>(
    shared: &'a Shared<'a>,
    job: &'a Job,
    times: Times,
    rig: &mut Rig,
) -> WorkerEnd {
    let depth = shared.load.iodepth as usize;
    let slot = Slot {
        start: 0,
        issue: 0,
        offset: 0,
        nth: 0,
        done: 0,
        direction: Direction::Read,
        kind: SyncKind::Full,
    };
    let mut worker = Worker {
        shared,
        job,
        times,
        recorder: Recorder::new(shared, times, job.number),
        allowance: Allowance::new(shared.trial, job.bs()),
        slots: vec![slot; depth],
        free: (0..depth as u32).rev().collect(),
        batch: Vec::with_capacity(depth),
        most: (BATCH_BYTES / job.bs()).clamp(1, BATCH_IOS) as usize,
        reads_at: rig.buffers.count() - depth,
        fixed: rig.fixed,
        issuing: true,
        sync_next: None,
        end_fsync_asked: false,
        timer_armed: false,
        stopped_at: None,
    };
    let outcome = worker.run(rig);
    if let Err(error) = outcome {
        let message = format!("io_uring of {} failed: {error}; try engine psync", job.path);
        shared.end(EndedBy::Failure, Some(IoFailure { kind: IoKind::Other, message }));
    }
    worker.recorder.finish(loadline_clock::monotonic_ns(), rig.in_flight as u64)
}

impl Worker<'_> {
    fn run(&mut self, rig: &mut Rig) -> io::Result<()> {
        let Rig { ring, buffers, in_flight, .. } = rig;
        let (mut submitter, mut sq, mut cq) = ring.split();
        // Spares a look-up for each call; kernels before 5.18 have none.
        let _ = submitter.register_ring_fd();
        loop {
            let turn = self.refill(&mut sq, buffers, in_flight);
            if !self.batch.is_empty() || !sq.is_empty() {
                self.hand_over(&submitter, &mut sq)?;
            }
            let reaped = self.reap(&mut sq, &mut cq, buffers, in_flight);
            if reaped || (self.batch.len() == self.most && !self.free.is_empty()) {
                continue;
            }
            if *in_flight == 0 && !self.issuing && self.sync_next.is_none() {
                if self.is_synced() {
                    return Ok(());
                }
                continue;
            }
            if self.has_lost_patience() {
                return Ok(());
            }
            wait(&submitter, &mut sq, turn)?;
        }
    }

    /// Whether nothing is left to be done at the end; asks for the last fsync otherwise.
    fn is_synced(&mut self) -> bool {
        let wanted = !self.end_fsync_asked && self.shared.wants_end_fsync();
        self.end_fsync_asked = true;
        if wanted && self.job.has_written() {
            self.sync_next = Some(SyncKind::Full);
            return false;
        }
        true
    }

    /// Makes free slots ready.
    #[inline]
    fn refill(
        &mut self,
        sq: &mut SubmissionQueue<'_>,
        buffers: &mut Buffers,
        in_flight: &mut usize,
    ) -> Turn {
        self.batch.clear();
        if !self.timer_armed {
            self.arm_timer(sq);
        }
        if self.free.is_empty() || !(self.issuing || self.sync_next.is_some()) {
            return Turn::Go;
        }
        // fio stamps each I/O; reads need no preparing, so one stamp is that of them all.
        let mut now = loadline_clock::monotonic_ns();
        while self.batch.len() < self.most {
            let Some(&slot) = self.free.last() else { break };
            if let Some(kind) = self.sync_next.take() {
                let op = Op { direction: Direction::Sync, nth: 0, offset: 0 };
                self.push(sq, buffers, slot, op, kind, now);
            } else {
                match self.take(now) {
                    Ok((op, due)) => {
                        if op.direction == Direction::Write {
                            self.job.prepare(op, buffers.buffer(slot as usize));
                            self.sync_next = self.job.sync_after(op.nth);
                            now = loadline_clock::monotonic_ns();
                        }
                        if let (Some(due), Some(mut pacer)) = (due, self.job.pacer()) {
                            pacer.issued(due, now);
                        }
                        self.push(sq, buffers, slot, op, SyncKind::Full, now);
                    }
                    Err(turn) => return turn,
                }
            }
            *in_flight += 1;
        }
        Turn::Go
    }

    /// The next I/O and when it was due, or what there is to wait for.
    #[inline]
    fn take(&mut self, now: u64) -> Result<(Op, Option<u64>), Turn> {
        if !self.issuing || now >= self.times.deadline || self.shared.is_over() {
            self.issuing = false;
            return Err(Turn::Go);
        }
        let mut due = None;
        if let Some(mut pacer) = self.job.pacer() {
            if pacer.peek() > now {
                return Err(Turn::Due(pacer.peek().min(self.times.deadline)));
            }
            due = Some(pacer.take());
        }
        let Some(op) = self.job.next() else {
            self.issuing = false;
            return Err(Turn::Go);
        };
        if op.direction == Direction::Write && !self.allowance.take(self.job.bs()) {
            self.shared.end(EndedBy::MaxWrite, None);
            self.issuing = false;
            return Err(Turn::Go);
        }
        Ok((op, due))
    }

    #[inline]
    fn push(
        &mut self,
        sq: &mut SubmissionQueue<'_>,
        buffers: &Buffers,
        slot: u32,
        op: Op,
        kind: SyncKind,
        start: u64,
    ) {
        let Op { direction, nth, offset } = op;
        let index = slot as usize;
        self.slots[index] = Slot { start, issue: start, offset, nth, done: 0, direction, kind };
        self.free.pop();
        self.batch.push(slot);
        let entry = self.entry(index, buffers);
        enqueue(sq, &entry);
    }

    /// What the kernel is told of a slot: the whole of it, or what is left of it.
    #[inline]
    fn entry(&self, index: usize, buffers: &Buffers) -> squeue::Entry {
        let slot = &self.slots[index];
        let done = slot.done as usize;
        let length = self.job.bs() as u32 - slot.done;
        let offset = slot.offset + u64::from(slot.done);
        let file = Fixed(0);
        let entry = match slot.direction {
            Direction::Read => {
                let buffer = self.reads_at + index;
                let to = buffers.pointer(buffer).wrapping_add(done);
                if self.fixed {
                    opcode::ReadFixed::new(file, to, length, buffer as u16).offset(offset).build()
                } else {
                    opcode::Read::new(file, to, length).offset(offset).build()
                }
            }
            Direction::Write => {
                let from = buffers.pointer(index).wrapping_add(done).cast_const();
                if self.fixed {
                    opcode::WriteFixed::new(file, from, length, index as u16).offset(offset).build()
                } else {
                    opcode::Write::new(file, from, length).offset(offset).build()
                }
            }
            Direction::Sync => {
                let flags = match slot.kind {
                    SyncKind::Full => FsyncFlags::empty(),
                    SyncKind::Data => FsyncFlags::DATASYNC,
                };
                opcode::Fsync::new(file).flags(flags).build()
            }
        };
        entry.user_data(index as u64)
    }

    #[cold]
    fn arm_timer(&mut self, sq: &mut SubmissionQueue<'_>) {
        enqueue(sq, &opcode::Timeout::new(&raw const LOOK_AT).build().user_data(TIMER));
        self.timer_armed = true;
    }

    /// Hands over what was made ready, and stamps it.
    #[inline]
    fn hand_over(
        &mut self,
        submitter: &Submitter<'_>,
        sq: &mut SubmissionQueue<'_>,
    ) -> io::Result<()> {
        loop {
            sq.sync();
            match submitter.submit() {
                Ok(_) => {}
                Err(error) if comes_again(&error) => break,
                Err(error) => return Err(error),
            }
            sq.sync();
            // The kernel stops at an entry that it refuses, and takes the rest when asked again.
            if sq.is_empty() {
                break;
            }
        }
        let now = loadline_clock::monotonic_ns();
        for slot in &self.batch {
            self.slots[*slot as usize].issue = now;
        }
        Ok(())
    }

    /// Takes every end that is there; whether there was one.
    #[inline]
    fn reap(
        &mut self,
        sq: &mut SubmissionQueue<'_>,
        cq: &mut CompletionQueue<'_>,
        buffers: &Buffers,
        in_flight: &mut usize,
    ) -> bool {
        cq.sync();
        // One stamp for all that is there, as fio takes it.
        let mut seen = None;
        for entry in &mut *cq {
            let now = *seen.get_or_insert_with(loadline_clock::monotonic_ns);
            if entry.user_data() == TIMER {
                self.timer_armed = false;
                continue;
            }
            let index = entry.user_data() as usize;
            if self.ended(index, entry.result(), now) {
                self.free.push(index as u32);
                *in_flight -= 1;
            } else {
                let rest = self.entry(index, buffers);
                enqueue(sq, &rest);
            }
        }
        let Some(now) = seen else { return false };
        cq.sync();
        self.recorder.tick(now);
        true
    }

    /// Counts an I/O that ended; `false`: it goes on with what is left of it.
    #[inline]
    fn ended(&mut self, index: usize, result: i32, end: u64) -> bool {
        let Slot { start, issue, offset, nth, done, direction, .. } = self.slots[index];
        let bytes = if direction == Direction::Sync { 0 } else { self.job.bs() };
        if result < 0 || u64::from(done) + result as u64 != bytes {
            return self.ended_oddly(index, result, end);
        }
        if direction == Direction::Write {
            self.job.wrote(offset, nth, true);
        }
        self.recorder.record(Ended { direction, offset, bytes, start, issue, end });
        true
    }

    #[cold]
    fn ended_oddly(&mut self, index: usize, result: i32, end: u64) -> bool {
        let Slot { offset, nth, direction, .. } = self.slots[index];
        let what = self.job.what(direction, offset);
        let failure = if result < 0 {
            let errno = Errno::from_raw_os_error(-result);
            if matches!(errno, Errno::INTR | Errno::AGAIN) {
                return false;
            }
            what.failed(errno)
        } else {
            let slot = &mut self.slots[index];
            slot.done += result as u32;
            if result > 0 && u64::from(slot.done).is_multiple_of(self.job.align) {
                return false;
            }
            what.short(u64::from(slot.done))
        };
        if direction == Direction::Write {
            self.job.wrote(offset, nth, false);
        }
        self.recorder.error(direction, end);
        self.shared.end(EndedBy::Failure, Some(failure));
        true
    }

    /// Whether a trial that was stopped has waited long enough for what is in flight.
    fn has_lost_patience(&mut self) -> bool {
        if !self.shared.is_over() {
            return false;
        }
        let now = loadline_clock::monotonic_ns();
        now > *self.stopped_at.get_or_insert(now) + PATIENCE_NS
    }
}

/// The timer's length has an address that outlives every ring.
static LOOK_AT: Timespec = LOOK;

/// Puts an entry into the queue, which has room for all slots and the timer.
#[inline]
#[expect(unsafe_code, reason = "the kernel is told addresses")]
fn enqueue(sq: &mut SubmissionQueue<'_>, entry: &squeue::Entry) {
    // SAFETY: the entry points into the buffers of a slot, which Rig keeps while it is in flight,
    // or to a static.
    let pushed = unsafe { sq.push(entry) };
    debug_assert!(pushed.is_ok(), "invariant: the queue has room for every slot");
}

/// Waits for an end, or until the next I/O is due.
fn wait(submitter: &Submitter<'_>, sq: &mut SubmissionQueue<'_>, turn: Turn) -> io::Result<()> {
    sq.sync();
    let waited = match turn {
        Turn::Go => submitter.submit_and_wait(1),
        Turn::Due(due) => {
            let left = due.saturating_sub(loadline_clock::monotonic_ns());
            let (s, ns) = (left / 1_000_000_000, (left % 1_000_000_000) as u32);
            let left = Timespec::new().sec(s).nsec(ns);
            submitter.submit_with_args(1, &SubmitArgs::new().timespec(&left))
        }
    };
    match waited {
        Ok(_) => Ok(()),
        Err(error) if comes_again(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a call to the ring can simply be made again.
fn comes_again(error: &io::Error) -> bool {
    use nix::libc::{EAGAIN, EBUSY, EINTR, ETIME};
    matches!(error.raw_os_error(), Some(EINTR | EAGAIN | EBUSY | ETIME))
}
