//! The server in a thread of this process, for tests and the self-test.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::book::Stats;
use crate::error::TruthError;
use crate::law::Law;
use crate::record::TruthRecord;
use crate::server::{Listen, Truth};

/// What the thread is asked; each carries the way back, so that a call returns when it is done.
#[derive(Debug)]
pub(crate) enum Command {
    SetLaw(Box<Law>, SyncSender<()>),
    Reset(SyncSender<()>),
    Log(SyncSender<Vec<TruthRecord>>),
    Stats(SyncSender<Box<Stats>>),
}

impl Truth {
    pub(crate) fn obey(&mut self, command: Command) {
        // A caller that no longer waits needs no answer.
        match command {
            Command::SetLaw(law, done) => {
                self.law = Arc::new(*law);
                let _ = done.try_send(());
            }
            Command::Reset(done) => {
                self.book.reset();
                let _ = done.try_send(());
            }
            Command::Log(reply) => {
                let _ = reply.try_send(self.book.records.clone());
            }
            Command::Stats(reply) => {
                let _ = reply.try_send(Box::new(self.book.stats()));
            }
        }
    }
}

/// A truth server that runs in its own thread until it is dropped.
#[derive(Debug)]
pub struct TruthThread {
    listen: Listen,
    stop: Arc<AtomicBool>,
    doorbell: Arc<OwnedFd>,
    commands: SyncSender<Command>,
    thread: Option<JoinHandle<Result<(), TruthError>>>,
}

impl TruthThread {
    /// Starts on a free port of 127.0.0.1.
    pub fn start(law: Law) -> Result<Self, TruthError> {
        Self::start_at(Listen::loopback(), law)
    }

    /// Starts on a given address or unix socket.
    pub fn start_at(listen: impl Into<Listen>, law: Law) -> Result<Self, TruthError> {
        let mut truth = Truth::bind(listen, law)?;
        let (commands, queue) = sync_channel(16);
        truth.commands = Some(queue);
        let stop = Arc::new(AtomicBool::new(false));
        let (listen, doorbell, seen) =
            (truth.listen().clone(), truth.doorbell(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("truth".to_owned())
            .spawn(move || truth.run(&seen))
            .map_err(|source| TruthError::Thread { source })?;
        Ok(Self { listen, stop, doorbell, commands, thread: Some(thread) })
    }

    /// Its TCP address.
    ///
    /// # Panics
    /// When it listens on a unix socket.
    pub fn addr(&self) -> SocketAddr {
        match &self.listen {
            Listen::Tcp(address) => *address,
            Listen::Unix(path) => panic!("{} is a unix socket", path.display()),
        }
    }

    /// `http://ADDRESS`, without `/v1`. Panics as [`Self::addr`] does.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The path of its unix socket, if it is one.
    pub fn unix_path(&self) -> Option<&Path> {
        match &self.listen {
            Listen::Tcp(_) => None,
            Listen::Unix(path) => Some(path),
        }
    }

    fn ring(&self) {
        let _ = rustix::io::write(&*self.doorbell, &1_u64.to_ne_bytes());
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> T {
        let (reply, answer) = sync_channel(1);
        self.commands.send(command(reply)).expect("invariant: the thread runs until it is dropped");
        self.ring();
        answer.recv().expect("invariant: the thread answers every command")
    }

    /// Answers requests that arrive from now on by another law; the log goes on.
    pub fn set_law(&self, law: Law) {
        self.ask(|done| Command::SetLaw(Box::new(law), done));
    }

    /// Empties the log and starts ids at 0 again. Answers in flight will not be logged.
    pub fn reset(&self) {
        self.ask(Command::Reset);
    }

    /// The log so far, in order of ending. An answer is in it before its last bytes are sent, so
    /// a client that has read an answer to its end finds it here.
    pub fn log(&self) -> Vec<TruthRecord> {
        self.ask(Command::Log)
    }

    /// Waits until the log holds at least `count` answers, at most about `limit`; returns what it
    /// holds then. For answers whose end the client does not see, such as those it leaves.
    pub fn log_of(&self, count: usize, limit: Duration) -> Vec<TruthRecord> {
        let pause = Duration::from_millis(2);
        for _ in 0..limit.as_millis() / pause.as_millis() {
            let log = self.log();
            if log.len() >= count {
                return log;
            }
            std::thread::sleep(pause);
        }
        self.log()
    }

    /// The figures of the log so far.
    pub fn stats(&self) -> Stats {
        *self.ask(Command::Stats)
    }
}

impl Drop for TruthThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.ring();
        if let Some(thread) = self.thread.take() {
            // Its error, if any, has shown itself to whoever waited for an answer.
            let _ = thread.join();
        }
    }
}
