//! A connection of the reactor: socket, TLS, what is still to be written, and the answer's decoder.

use std::io::{self, Read, Write};
use std::sync::Arc;

use loadline_clock::{Arrival, StampMapper};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::exchange::Exchange;
use crate::answer::Answer;
use crate::socket::{Socket, StampBuffer};

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waiting for the connect.
    Connecting,
    /// Waiting for the TLS handshake.
    Handshaking,
    /// Ready to carry a request, or carrying one.
    Open,
}

/// A connection, idle or with one operation.
#[derive(Debug)]
pub(crate) struct Connection {
    pub socket: Socket,
    pub tls: Option<Box<ClientConnection>>,
    pub state: State,
    pub endpoint: u16,
    /// Answers it has carried.
    pub served: u32,
    /// Bytes that the socket did not take yet, and how many of them it has taken since.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// When it began to connect, ns.
    pub begin_ns: u64,
    /// When the connect was through, ns.
    pub connected_ns: u64,
    /// When its last answer ended, ns.
    pub freed_ns: u64,
    /// An idle connection is not used after this, ns.
    pub usable_until_ns: u64,
    pub answer: Answer,
    pub exchange: Option<Box<Exchange>>,
    /// A time after which nothing had come when a read took everything that was there, ns.
    emptied_ns: Option<u64>,
    /// Number of the last poll that listed this socket.
    pub listed_poll: u64,
    /// Clock steps when the socket was last known to be empty.
    clean_steps: u32,
}

/// A poll whose list was not full: every socket that it did not list was empty at this time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClearPoll {
    pub number: u64,
    pub at_ns: u64,
    pub steps: u32,
}

/// What one read brought.
pub(crate) struct Received {
    pub bytes: usize,
    pub arrival: Arrival,
    /// When the socket was last known to be empty before this read, ns.
    pub empty_ns: Option<u64>,
}

impl Connection {
    pub(crate) fn new(
        socket: Socket,
        state: State,
        endpoint: u16,
        begin_ns: u64,
        steps: u32,
    ) -> Self {
        Self {
            socket,
            tls: None,
            state,
            endpoint,
            served: 0,
            unsent: Vec::new(),
            unsent_at: 0,
            begin_ns,
            connected_ns: begin_ns,
            freed_ns: 0,
            usable_until_ns: u64::MAX,
            answer: Answer::new(),
            exchange: None,
            emptied_ns: None,
            listed_poll: 0,
            clean_steps: steps,
        }
    }

    /// Begins the TLS handshake.
    ///
    /// # Errors
    /// What the TLS library says.
    pub(crate) fn start_tls(
        &mut self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> io::Result<()> {
        let mut tls =
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
        // A long prompt is handed over whole.
        tls.set_buffer_limit(None);
        self.tls = Some(Box::new(tls));
        self.state = State::Handshaking;
        self.flush().map(|_| ())
    }

    /// Notes in the operation that waited for it how long connecting and the handshake took.
    pub(crate) fn note_connect_times(&mut self, now: u64) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.row.record.connect_ns = Some(self.connected_ns - self.begin_ns);
        if self.tls.is_some() {
            exchange.row.record.tls_ns = Some(now - self.connected_ns);
        }
    }

    /// Whether bytes wait for the socket to take them.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent_at < self.unsent.len() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Hands a request to the socket. Returns whether it took everything.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(request)?;
            return self.flush();
        }
        let taken = match self.socket.write(request) {
            Ok(taken) => taken,
            Err(error) if is_transient(&error) => 0,
            Err(error) => return Err(error),
        };
        if taken == request.len() {
            return Ok(true);
        }
        self.unsent.clear();
        self.unsent.extend_from_slice(&request[taken..]);
        self.unsent_at = 0;
        self.flush()
    }

    /// Writes what is still to be written. Returns whether everything is out.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        loop {
            while self.unsent_at < self.unsent.len() {
                match self.socket.write(&self.unsent[self.unsent_at..]) {
                    Ok(taken) => self.unsent_at += taken,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            // Most requests fit the socket at once: their buffer is not kept per connection.
            self.unsent = Vec::new();
            self.unsent_at = 0;
            match &mut self.tls {
                Some(tls) if tls.wants_write() => {
                    tls.write_tls(&mut self.unsent)?;
                }
                _ => return Ok(true),
            }
        }
    }

    /// Reads once and tells when the bytes arrived.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else the connection is broken.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        stamp: &mut StampBuffer,
        mapper: &mut StampMapper,
        clear: &ClearPoll,
    ) -> io::Result<Received> {
        let (bytes, stamp_ns) = self.socket.read(buffer, stamp)?;
        let mut empty_ns = self.emptied_ns;
        if clear.number > self.listed_poll {
            empty_ns = Some(empty_ns.map_or(clear.at_ns, |at| at.max(clear.at_ns)));
            self.clean_steps = self.clean_steps.max(clear.steps);
        }
        let expected = self.socket.has_stamps() && bytes > 0;
        let arrival = mapper.arrival(stamp_ns, expected, self.clean_steps);
        if bytes < buffer.len() {
            // The stamp and not the time after the read, as with polls: the thread may have lost
            // its core in between.
            self.emptied_ns = Some(arrival.at_ns);
            self.clean_steps = mapper.steps();
        }
        let empty_ns = empty_ns.map(|empty| empty.min(arrival.at_ns));
        Ok(Received { bytes, arrival, empty_ns })
    }

    /// Decrypts what was read into `plain` and returns how many bytes of `cipher` were used and how
    /// many of `plain` were filled. Call until all of `cipher` is used and nothing more comes.
    ///
    /// # Errors
    /// The TLS library's words.
    pub(crate) fn decrypt(
        &mut self,
        cipher: &[u8],
        plain: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        let tls = self.tls.as_mut().expect("invariant: called for encrypted connections only");
        let mut rest = cipher;
        if !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            tls.process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        let used = cipher.len() - rest.len();
        match tls.reader().read(plain) {
            Ok(filled) => Ok((used, filled)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((used, 0)),
            Err(error) => Err(error),
        }
    }
}

/// Nothing is wrong with the connection: try again later.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
