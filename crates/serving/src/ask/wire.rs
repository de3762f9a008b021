//! A blocking connection for one exchange: TCP, unix socket or TLS, every wait bounded by a deadline.

use std::io::{self, Read, Write};
use std::sync::Arc;

use loadline_clock::monotonic_ns;
use loadline_schema::outcome::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConnection, StreamOwned};

use super::error::{Trouble, handshake_trouble};
use crate::socket::{Connect, Socket, StampBuffer};
use crate::target::Target;

/// A socket whose reads and writes wait, at most until the deadline.
pub(super) struct Wire {
    socket: Socket,
    stamp: StampBuffer,
    deadline_ns: u64,
    /// The first bytes that came, whatever they mean: tells TLS from plain HTTP.
    first: Vec<u8>,
}

impl Wire {
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        loop {
            let left = self.deadline_ns.saturating_sub(monotonic_ns());
            if left == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = Timespec {
                tv_sec: (left / 1_000_000_000) as i64,
                tv_nsec: (left % 1_000_000_000) as i64,
            };
            match poll(&mut [PollFd::new(&self.socket, flags)], Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(buffer, &mut self.stamp) {
                Ok((bytes, _)) => {
                    let room = 8 - self.first.len().min(8);
                    self.first.extend_from_slice(&buffer[..bytes.min(room)]);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection ready for one exchange.
pub(super) enum Connection {
    Plain(Box<Wire>),
    Tls(Box<StreamOwned<ClientConnection, Wire>>),
}

impl Connection {
    /// Connects, and shakes hands where the endpoint is encrypted, until `deadline_ns`.
    pub(super) fn open(
        target: &Target,
        endpoint: usize,
        deadline_ns: u64,
    ) -> Result<Self, Trouble> {
        let one = &target.endpoints[endpoint];
        let (socket, state) = Socket::connect(&one.address).map_err(|e| connect_trouble(&e))?;
        let wire = Wire { socket, stamp: StampBuffer::default(), deadline_ns, first: Vec::new() };
        if state == Connect::Pending {
            wire.wait(PollFlags::OUT).map_err(|error| connect_trouble(&error))?;
            wire.socket.connect_result().map_err(|error| connect_trouble(&error))?;
        }
        let (Some(name), Some(config)) = (&one.server_name, &target.tls) else {
            return Ok(Self::Plain(Box::new(wire)));
        };
        let client = ClientConnection::new(Arc::clone(config), name.clone())
            .map_err(|error| Trouble::new(ErrorKind::Tls, error.to_string()))?;
        let mut stream = Box::new(StreamOwned::new(client, wire));
        while stream.conn.is_handshaking() {
            if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
                return Err(handshake_trouble(&error, &stream.sock.first));
            }
        }
        Ok(Self::Tls(stream))
    }

    /// Moves the deadline.
    pub(super) fn set_deadline(&mut self, deadline_ns: u64) {
        match self {
            Self::Plain(wire) => wire.deadline_ns = deadline_ns,
            Self::Tls(stream) => stream.sock.deadline_ns = deadline_ns,
        }
    }

    /// Sends a request whole.
    pub(super) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.write_all(request),
            Self::Tls(stream) => stream.write_all(request).and_then(|()| stream.flush()),
        }
    }

    /// Reads once; 0 is the end, also where TLS was not closed properly: the framing tells whether
    /// the answer was complete.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                result => result,
            },
        }
    }
}

fn connect_trouble(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::TimedOut => Trouble::new(
            ErrorKind::ConnectTimeout,
            "no connection within the time limit; does a firewall drop it?".to_owned(),
        ),
        _ => Trouble::new(
            ErrorKind::ConnectRefused,
            format!("cannot connect ({error}); is the server still running?"),
        ),
    }
}
