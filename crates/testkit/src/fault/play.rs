//! Plays a script on one connection.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::action::Action;
use super::received::{ReceivedRequest, request_bytes};
use super::socket::{Plain, Socket};

/// What the connections of a server share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<ReceivedRequest>,
    connections: usize,
    /// A hold on every open connection, to end it when the server stops.
    open: Vec<(usize, Plain)>,
    stopping: bool,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        drop(state);
        self.changed.notify_all();
        result
    }

    pub(super) fn requests(&self) -> Vec<ReceivedRequest> {
        self.with(|state| state.requests.clone())
    }

    pub(super) fn connections(&self) -> usize {
        self.with(|state| state.connections)
    }

    pub(super) fn open_connections(&self) -> usize {
        self.with(|state| state.open.len())
    }

    /// Counts a connection; `None` when the server stops.
    pub(super) fn begin(&self, hold: Plain) -> Option<usize> {
        self.with(|state| {
            if state.stopping {
                return None;
            }
            let number = state.connections;
            state.connections += 1;
            state.open.push((number, hold));
            Some(number)
        })
    }

    pub(super) fn end(&self, number: usize) {
        self.with(|state| state.open.retain(|(open, _)| *open != number));
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.with(|state| state.stopping)
    }

    pub(super) fn stop(&self) {
        self.with(|state| {
            state.stopping = true;
            for (_, hold) in &state.open {
                hold.shutdown(Shutdown::Both);
            }
        });
    }

    /// Waits until `done` holds of the requests so far; false when `limit` passed first.
    pub(super) fn wait(&self, limit: Duration, done: impl Fn(usize, usize) -> bool) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = |state: &mut State| !done(state.requests.len(), state.open.len());
        let waited = self.changed.wait_timeout_while(state, limit, pending);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Sleeps, at most until the server stops.
    fn pause(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.changed.wait_timeout_while(state, time, |state| !state.stopping);
    }
}

/// `Break` ends the script: the connection is closed or the client is gone.
type Step = ControlFlow<()>;

/// A connection while its script is played.
#[derive(Debug)]
pub(super) struct Player<'a> {
    shared: &'a Shared,
    number: usize,
    socket: Socket,
    inbox: Vec<u8>,
    path: String,
}

impl<'a> Player<'a> {
    pub(super) fn new(shared: &'a Shared, number: usize, socket: Socket) -> Self {
        Self { shared, number, socket, inbox: Vec::new(), path: String::new() }
    }

    /// Plays the whole script, then closes.
    pub(super) fn play(mut self, script: &[Action]) {
        if self.all(script).is_continue() {
            self.close();
        }
        // Else a step has closed it, or there is nobody to be polite to.
    }

    fn all(&mut self, script: &[Action]) -> Step {
        script.iter().try_for_each(|action| self.step(action))
    }

    fn step(&mut self, action: &Action) -> Step {
        match action {
            Action::ReadRequest => self.read_request(),
            Action::Send(bytes) => self.send(bytes),
            Action::SendSlowly { bytes, piece, pause } => {
                bytes.chunks((*piece).max(1)).try_for_each(|part| {
                    self.send(part)?;
                    self.pause(*pause)
                })
            }
            Action::Pause(time) => self.pause(*time),
            Action::Close => {
                self.close();
                ControlFlow::Break(())
            }
            Action::Cut => {
                self.socket.plain().shutdown(Shutdown::Both);
                ControlFlow::Break(())
            }
            Action::Reset => {
                self.socket.plain().set_reset();
                ControlFlow::Break(())
            }
            Action::HalfClose => {
                self.socket.end_writing();
                ControlFlow::Continue(())
            }
            Action::WaitForClientClose => {
                while self.fill().is_continue() {
                    self.inbox.clear();
                }
                ControlFlow::Break(())
            }
            Action::Repeat(script) => loop {
                self.all(script)?;
                if self.shared.is_stopping() {
                    return ControlFlow::Break(());
                }
            },
            Action::ByPath { ends_with, then, otherwise } => {
                self.all(if self.path.ends_with(ends_with.as_str()) { then } else { otherwise })
            }
        }
    }

    fn pause(&mut self, time: Duration) -> Step {
        self.shared.pause(time);
        if self.shared.is_stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn send(&mut self, bytes: &[u8]) -> Step {
        let sent = self.socket.write_all(bytes).and_then(|()| self.socket.flush());
        if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Reads once more into the inbox.
    fn fill(&mut self) -> Step {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(count) if count > 0 => {
                self.inbox.extend_from_slice(&buffer[..count]);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }

    fn read_request(&mut self) -> Step {
        loop {
            if let Some((head_bytes, whole)) = request_bytes(&self.inbox) {
                let raw: Vec<u8> = self.inbox.drain(..whole).collect();
                let request = ReceivedRequest { connection: self.number, raw, head_bytes };
                let target = request.target();
                target.split('?').next().unwrap_or("").clone_into(&mut self.path);
                self.shared.with(|state| state.requests.push(request));
                return ControlFlow::Continue(());
            }
            self.fill()?;
        }
    }

    /// Ends our direction and reads what is on its way, so that the kernel sends no reset for
    /// bytes that nobody read; then the socket is dropped.
    fn close(&mut self) {
        self.socket.end_writing();
        if let Plain::Tcp(socket) = self.socket.plain() {
            let _ = socket.set_nonblocking(true);
            let mut rest = [0; 16 * 1024];
            let mut socket: &std::net::TcpStream = socket;
            while matches!(socket.read(&mut rest), Ok(count) if count > 0) {}
        }
    }
}
