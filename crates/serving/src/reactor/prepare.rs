//! Opens connections before the clock starts.

use std::mem;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::Reactor;
use super::connection::{Connection, State};
use crate::socket::{Connect, Socket};

/// Connects under way at once: more could overflow the server's backlog, and a dropped SYN comes
/// again only after a second.
const CONNECTING: usize = 64;

impl Reactor<'_> {
    /// Opens `count` connections, spread over the endpoints, and waits for them until `until_ns`.
    /// What cannot be opened now is opened by the request that needs it, and fails there.
    pub(crate) fn open_connections(&mut self, count: u64, until_ns: u64) {
        let endpoints = self.target.endpoints.len() as u64;
        self.connections.reserve(count as usize);
        self.generations.reserve(count as usize);
        let mut pending = 0;
        for number in 0..count {
            let endpoint = (number % endpoints) as u16;
            let Ok(index) = self.connect(endpoint, self.clock.now_ns()) else { return };
            if self.connection(index).state == State::Open {
                self.idle[usize::from(endpoint)].push(index);
            } else {
                pending += 1;
            }
            if pending >= CONNECTING {
                pending = self.await_connections(pending, CONNECTING / 2, until_ns);
            }
        }
        self.await_connections(pending, 0, until_ns);
    }

    /// Serves connects and handshakes until at most `leave` are pending.
    fn await_connections(&mut self, mut pending: usize, leave: usize, until_ns: u64) -> usize {
        while pending > leave {
            let now = self.clock.now_ns();
            if now >= until_ns {
                return pending;
            }
            self.wait(until_ns - now);
            let listed = mem::take(&mut self.listed);
            for event in &listed {
                let (index, generation) = super::place(event.data.u64());
                if self.generations[index as usize] != generation {
                    continue;
                }
                match self.establish(index) {
                    Ok(true) => {
                        let endpoint = usize::from(self.connection(index).endpoint);
                        self.idle[endpoint].push(index);
                        pending -= 1;
                    }
                    Ok(false) => {}
                    Err(_) => {
                        self.close(index);
                        pending -= 1;
                    }
                }
            }
            self.listed = listed;
        }
        pending
    }

    /// Takes a connection one step towards `Open`. Returns whether it has just got there.
    ///
    /// # Errors
    /// The connect or the handshake failed.
    pub(super) fn establish(&mut self, index: u32) -> std::io::Result<bool> {
        let now = self.clock.now_ns();
        if self.connection(index).state == State::Connecting {
            self.connected(index, now)?;
            return Ok(self.connection(index).state == State::Open);
        }
        let connection = self.connections[index as usize]
            .as_mut()
            .expect("invariant: the generation was checked");
        connection.flush()?;
        match connection.socket.read(&mut self.buffer, &mut self.stamp) {
            Ok((0, _)) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok((bytes, _)) => {
                let (mut at, mut filled) = (0, 1);
                while at < bytes || filled > 0 {
                    let (used, got) =
                        connection.decrypt(&self.buffer[at..bytes], &mut self.plain)?;
                    at += used;
                    filled = got;
                }
            }
            Err(error) if super::connection::is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        connection.flush()?;
        let done = connection.tls.as_ref().is_none_or(|tls| !tls.is_handshaking());
        if done {
            connection.state = State::Open;
        }
        self.watch(index)?;
        Ok(done)
    }

    /// Begins a connection and puts it under watch.
    pub(super) fn connect(&mut self, endpoint: u16, now: u64) -> std::io::Result<u32> {
        let one = &self.target.endpoints[usize::from(endpoint)];
        let (socket, state) = Socket::connect(&one.address)?;
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.generations.push(0);
            (self.connections.len() - 1) as u32
        });
        self.generations[index as usize] = self.generations[index as usize].wrapping_add(1);
        let data = EventData::new_u64(super::token(index, self.generations[index as usize]));
        let wanted = if state == Connect::Done { EventFlags::IN } else { EventFlags::OUT };
        epoll::add(&self.epoll, &socket, data, wanted | EventFlags::RDHUP)?;
        let connection =
            Connection::new(socket, State::Connecting, endpoint, now, self.mapper.steps());
        self.connections[index as usize] = Some(connection);
        self.tally.connects += 1;
        self.tally.late_connects += u64::from(self.started);
        if state == Connect::Done
            && let Err(error) = self.go_on_connected(index, self.clock.now_ns())
        {
            self.close(index);
            return Err(error);
        }
        Ok(index)
    }

    /// The connect is through: goes on with TLS where there is any.
    pub(super) fn connected(&mut self, index: u32, now: u64) -> std::io::Result<()> {
        self.connection(index).socket.connect_result()?;
        self.go_on_connected(index, now)?;
        self.watch(index)
    }

    fn go_on_connected(&mut self, index: u32, now: u64) -> std::io::Result<()> {
        let target = self.target;
        let connection = self.connections[index as usize]
            .as_mut()
            .expect("invariant: the caller holds a live index");
        connection.connected_ns = now;
        connection.state = State::Open;
        let one = &target.endpoints[usize::from(connection.endpoint)];
        if let (Some(config), Some(name)) = (&target.tls, &one.server_name) {
            connection.start_tls(config, name)?;
            if connection.has_unsent() {
                return self.watch(index);
            }
        }
        Ok(())
    }

    /// Tells epoll what this connection waits for.
    pub(super) fn watch(&mut self, index: u32) -> std::io::Result<()> {
        let data = EventData::new_u64(super::token(index, self.generations[index as usize]));
        let connection = self.connection(index);
        let mut wanted = EventFlags::IN | EventFlags::RDHUP;
        if connection.has_unsent() {
            wanted |= EventFlags::OUT;
        }
        Ok(epoll::modify(&self.epoll, &connection.socket, data, wanted)?)
    }

    pub(super) fn connection(&self, index: u32) -> &Connection {
        self.connections[index as usize].as_ref().expect("invariant: the caller holds a live index")
    }

    /// Closes a connection for good.
    pub(super) fn close(&mut self, index: u32) {
        let place = index as usize;
        if let Some(connection) = self.connections[place].take() {
            let endpoint = usize::from(connection.endpoint);
            self.idle[endpoint].retain(|idle| *idle != index);
            self.generations[place] = self.generations[place].wrapping_add(1);
            self.vacant.push(index);
        }
    }
}
