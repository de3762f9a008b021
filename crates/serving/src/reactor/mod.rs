//! The reactor: one thread, one epoll, many connections. It asks the load control what is due,
//! sends it, stamps what comes back and hands finished records on in batches.
//!
//! Invariants: no task or thread per request; nothing between a read and its stamp; every operation
//! that was started ends in exactly one record; nothing is sent before it is due.

mod connection;
mod deadlines;
mod exchange;
mod figures;
mod finish;
mod prepare;
mod receive;
mod run_delay;
mod start;

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use loadline_clock::{RunClock, StampMapper};
use loadline_load::{Control, Step};
use loadline_schema::plan::{Api, Timeouts};
use loadline_schema::record::{RequestRow, Start, TrialId};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::target::Target;
use connection::{ClearPoll, Connection};
pub(crate) use figures::Tally;

/// Longest time before a due time that is spent spinning, ns: a sleeping core wakes up to some
/// 0.15 ms late.
const SPIN_NS: u64 = 200_000;
/// Longest sleep: stops and ends that other threads decide on are seen within it, ns.
const NAP_NS: u64 = 50_000_000;
/// Finished records are handed on at least this often, ns …
const BATCH_NS: u64 = 500_000_000;
/// … and at the latest when there are this many.
const BATCH_ROWS: usize = 4_096;
/// Requests sent before answers are looked at again.
const SENDS_PER_POLL: u32 = 4;
/// Sockets that one poll can list.
const POLL_LIST: usize = 1_024;
/// One read takes at most this much.
const READ_BYTES: usize = 64 * 1024;

/// What a reactor makes of an operation: the body of its request.
pub trait Requests: Send {
    /// Appends the body of operation `op` to `body` and returns the output tokens that it asks for.
    fn write_body(&mut self, op: u64, body: &mut Vec<u8>) -> u32;
}

/// Records and starts on their way to the store.
#[derive(Debug, Default)]
pub struct Batch {
    /// Finished operations.
    pub rows: Vec<RequestRow>,
    /// Operations started since the last batch.
    pub starts: Vec<Start>,
    /// Texts of ok answers without usage, by operation, where they are kept to be counted.
    pub texts: Vec<(u64, Box<str>)>,
}

/// Takes batches. Called by a reactor between reads: it should not block.
pub trait Sink: Send {
    /// Hands a batch on. Returns whether the call had to wait (a full queue).
    fn batch(&mut self, batch: Batch) -> bool;
}

/// What all reactors of a trial have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub trial: TrialId,
    pub timeouts: Timeouts,
    pub open_loop: bool,
    pub api: Api,
    pub retries: u16,
    pub keep_chunks: bool,
    /// Keep the texts of answers without usage.
    pub keep_text: bool,
    /// Stop the trial when so many tokens have been used.
    pub max_tokens: Option<u64>,
}

/// Counters that the thread of the trial reads while reactors write.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub token_chunks: AtomicU64,
    /// Prompt and output tokens of the whole run so far.
    pub tokens_used: AtomicU64,
}

pub(crate) struct Reactor<'a> {
    target: &'a Target,
    settings: Settings,
    clock: RunClock,
    live: &'a Live,
    requests: Box<dyn Requests + 'a>,
    sink: Box<dyn Sink + 'a>,
    /// First lines of a request for each endpoint.
    heads: Vec<Vec<u8>>,

    epoll: OwnedFd,
    listed: Vec<epoll::Event>,
    polls: u64,
    clear: ClearPoll,
    run_delay: run_delay::RunDelay,
    mapper: StampMapper,
    stamp: crate::socket::StampBuffer,
    buffer: Vec<u8>,
    plain: Vec<u8>,
    request: Vec<u8>,
    body: Vec<u8>,

    connections: Vec<Option<Connection>>,
    /// Bumped when a place is reused, so that an event of the last poll finds no stranger.
    generations: Vec<u32>,
    vacant: Vec<u32>,
    /// Idle connections for each endpoint, the last used one last.
    idle: Vec<Vec<u32>>,
    retries: start::Retries,

    /// No operation is late before this, ns. A lower bound: answers only move deadlines back.
    next_deadline_ns: u64,
    /// When the next operation is due, as the control said last, ns.
    next_due_ns: u64,
    batch: Batch,
    batch_since_ns: u64,
    started: bool,
    tally: Tally,
}

impl<'a> Reactor<'a> {
    pub(crate) fn new(
        target: &'a Target,
        settings: Settings,
        clock: RunClock,
        live: &'a Live,
        requests: Box<dyn Requests + 'a>,
        sink: Box<dyn Sink + 'a>,
    ) -> std::io::Result<Self> {
        let endpoints = target.endpoints.len();
        let encrypted = target.tls.is_some();
        Ok(Self {
            target,
            settings,
            clock,
            live,
            requests,
            sink,
            heads: (0..endpoints).map(|at| target.post_head(at, settings.api)).collect(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            listed: Vec::with_capacity(POLL_LIST),
            polls: 0,
            clear: ClearPoll::default(),
            run_delay: run_delay::RunDelay::of_this_thread(),
            mapper: StampMapper::new(clock),
            stamp: crate::socket::StampBuffer::default(),
            buffer: vec![0; READ_BYTES],
            plain: if encrypted { vec![0; READ_BYTES] } else { Vec::new() },
            request: Vec::new(),
            body: Vec::new(),
            connections: Vec::new(),
            generations: Vec::new(),
            vacant: Vec::new(),
            idle: vec![Vec::new(); endpoints],
            retries: start::Retries::default(),
            next_deadline_ns: u64::MAX,
            next_due_ns: u64::MAX,
            batch: Batch::default(),
            batch_since_ns: 0,
            started: false,
            tally: Tally::default(),
        })
    }

    /// Carries this reactor's share of the trial to its end.
    pub(crate) fn run(mut self, control: &mut Control) -> Tally {
        self.started = true;
        let mut now = self.clock.now_ns();
        self.batch_since_ns = now;
        loop {
            if !self.start_due(control, &mut now) {
                break;
            }
            if now >= self.next_deadline_ns {
                self.end_overdue(control, now);
            }
            self.hand_on_if_due(now);
            now = self.poll(control, now);
        }
        self.cancel_all(control, now);
        self.hand_on();
        self.tally.finish(&self.mapper);
        self.tally
    }

    /// Starts what is due. Returns false when the trial is over.
    fn start_due(&mut self, control: &mut Control, now: &mut u64) -> bool {
        self.next_due_ns = self.start_retries(control, *now);
        for _ in 0..SENDS_PER_POLL {
            match control.next(*now) {
                Step::Start(op) => self.start(control, op, *now),
                Step::Drop(op, why) => self.drop_op(control, op, why, *now),
                Step::WaitUntil(at) => {
                    self.next_due_ns = self.next_due_ns.min(at);
                    return true;
                }
                Step::WaitForEnd => return true,
                Step::Done => return false,
            }
            *now = self.clock.now_ns();
        }
        self.next_due_ns = 0;
        true
    }

    /// Waits for the sockets until something is due, then serves those that are ready. Returns the
    /// clock.
    fn poll(&mut self, control: &mut Control, now: u64) -> u64 {
        let batch_due =
            if self.batch_is_empty() { u64::MAX } else { self.batch_since_ns + BATCH_NS };
        let wake = self.next_deadline_ns.min(batch_due).min(now + NAP_NS);
        let spin_from = self.next_due_ns.saturating_sub(SPIN_NS);
        let spinning = now >= spin_from && now < self.next_due_ns;
        let wait_ns = wake.min(spin_from).saturating_sub(now);
        let begin = if self.run_delay.is_watching() { self.clock.now_ns() } else { now };
        let listed = self.wait(wait_ns);
        let polled = self.clock.now_ns();
        if listed == Some(0) && spinning {
            self.tally.spin_ns += polled - now;
        }
        let before = self.note_wait(listed, begin, polled);
        self.serve(control, &before, polled)
    }

    /// Remembers what a wait says of the sockets, and returns when those that it listed were empty.
    ///
    /// The clock after a wait is no such time: what comes between the kernel's look at the sockets
    /// and that reading, when the thread loses its core or is stopped, would count as not yet there.
    fn note_wait(&mut self, listed: Option<usize>, begin: u64, polled: u64) -> ClearPoll {
        let before = self.clear;
        // A wait that a signal ended has looked at no socket.
        let Some(listed) = listed else { return before };
        let at_ns = self.run_delay.empty_until(begin, polled);
        let this = ClearPoll { number: self.polls, at_ns, steps: self.mapper.steps() };
        if listed < POLL_LIST {
            self.clear = this;
        }
        // It slept, so that nothing was there when it began: that holds for what it lists, too.
        if at_ns > begin { this } else { before }
    }

    /// Returns how many sockets are ready; `None` when a signal ended the wait.
    fn wait(&mut self, wait_ns: u64) -> Option<usize> {
        let timeout = Timespec {
            tv_sec: (wait_ns / 1_000_000_000) as i64,
            tv_nsec: (wait_ns % 1_000_000_000) as i64,
        };
        self.listed.clear();
        self.polls += 1;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.listed), Some(&timeout)) {
            Ok(count) => Some(count),
            // A signal: whatever it means is told through the shared state.
            Err(Errno::INTR) => None,
            Err(error) => unreachable!("invariant: waiting on our own epoll cannot fail: {error}"),
        }
    }

    /// Serves the listed sockets; in between it starts what falls due.
    fn serve(&mut self, control: &mut Control, before: &ClearPoll, polled: u64) -> u64 {
        let listed = mem::take(&mut self.listed);
        let mut now = polled;
        for event in &listed {
            let (index, generation) = place(event.data.u64());
            if self.generations[index as usize] != generation {
                continue;
            }
            now = self.ready(control, index, event.flags, before, now);
            if now >= self.next_due_ns {
                self.start_due(control, &mut now);
            }
        }
        self.listed = listed;
        let token_chunks = mem::take(&mut self.tally.live_token_chunks);
        if token_chunks > 0 {
            self.live.token_chunks.fetch_add(token_chunks, Ordering::Relaxed);
        }
        if self.listed.is_empty() { polled } else { now }
    }

    fn batch_is_empty(&self) -> bool {
        self.batch.rows.is_empty() && self.batch.starts.is_empty()
    }

    fn hand_on_if_due(&mut self, now: u64) {
        if self.batch_is_empty() {
            self.batch_since_ns = now;
        } else if self.batch.rows.len() >= BATCH_ROWS || now >= self.batch_since_ns + BATCH_NS {
            self.hand_on();
            self.batch_since_ns = now;
        }
    }

    fn hand_on(&mut self) {
        if !self.batch_is_empty() && self.sink.batch(mem::take(&mut self.batch)) {
            self.tally.store_waits += 1;
        }
    }
}

/// Epoll data of a connection: its place and its generation.
fn token(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn place(token: u64) -> (u32, u32) {
    (token as u32, (token >> 32) as u32)
}
