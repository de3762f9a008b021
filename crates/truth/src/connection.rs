//! A client's connection: its buffers, the answer it waits for, and writing to it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::delay::Draws;
use crate::frame::{Counts, Frame};
use crate::law::Law;
use crate::record::TruthRecord;

/// Names a connection; a later connection in the same place has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_u64(value: u64) -> Self {
        Self { index: value as u32, generation: (value >> 32) as u32 }
    }
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waits for a slot.
    Waiting,
    /// Is sent by the clock: the next write is due then.
    Due(u64),
    /// Is sent as fast as the socket takes it.
    Fast,
}

/// An answer in the making.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) law: Arc<Law>,
    pub(crate) record: TruthRecord,
    pub(crate) draws: Draws,
    pub(crate) frame: Frame,
    pub(crate) stage: Stage,
    /// Tokens it will have.
    pub(crate) total: u32,
    pub(crate) finish: &'static str,
    pub(crate) usage: bool,
    pub(crate) continuous_usage: bool,
    /// The count of resets when it began: an answer from before the last one is not logged.
    pub(crate) epoch: u64,
}

impl Answer {
    /// Token counts after `completion` tokens.
    pub(crate) fn counts(&self, completion: u32) -> Counts {
        let reasoning = self.record.reasoning_tokens.min(completion);
        Counts { prompt: self.record.prompt_tokens, completion, reasoning }
    }
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is with the kernel.
    All,
    /// The socket is full.
    Blocked,
    /// The client is gone.
    Broken,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) number: u32,
    pub(crate) inbox: Vec<u8>,
    pub(crate) outbox: Vec<u8>,
    sent: usize,
    /// Whether the epoll registration asks for room to write.
    pub(crate) wants_room: bool,
    /// Whether to close when the answer is out.
    pub(crate) close_after: bool,
    /// Whether `100 Continue` was sent for the request in the inbox.
    pub(crate) continued: bool,
    pub(crate) answer: Option<Box<Answer>>,
    /// When the page of metrics is due that was asked for here.
    pub(crate) page_due_ns: Option<u64>,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, number: u32) -> Self {
        Self {
            socket,
            number,
            inbox: Vec::new(),
            outbox: Vec::new(),
            sent: 0,
            wants_room: false,
            close_after: false,
            continued: false,
            answer: None,
            page_due_ns: None,
        }
    }

    /// Whether a request is not answered yet: the next one waits for it.
    pub(crate) fn is_busy(&self) -> bool {
        self.answer.is_some() || self.page_due_ns.is_some()
    }

    /// Whether everything written so far is with the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Writes what is in the outbox. Counts the system calls into `writes`.
    pub(crate) fn flush(&mut self, writes: &mut u64) -> Flushed {
        while self.sent < self.outbox.len() {
            *writes += 1;
            match send(&self.socket, &self.outbox[self.sent..], SendFlags::NOSIGNAL) {
                Ok(bytes) => self.sent += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Flushed::Blocked,
                Err(_) => return Flushed::Broken,
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Flushed::All
    }
}
