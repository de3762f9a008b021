//! The server's sockets and its loop: one thread that accepts, reads, and keeps due times.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::book::Book;
use crate::connection::{Connection, Flushed, Key, Stage};
use crate::error::TruthError;
use crate::law::Law;
use crate::request::MAX_REQUEST_BYTES;
use crate::thread::Command;
use crate::wire::{ask_for_stamps, control_buffer, realtime_ns, receive, sharpen_timers, timespec};

const LISTENER: u64 = u64::MAX;
const DOORBELL: u64 = u64::MAX - 1;

/// Longest sleep: how late a stop flag is seen when nobody rings the doorbell.
const MAX_SLEEP_NS: u64 = 100_000_000;
/// The loop polls instead of sleeping when the next write is due within this time …
const SPIN_NS: u64 = 40_000;
/// … and wakes up so long before it otherwise.
const WAKE_EARLY_NS: u64 = 30_000;
/// Due writes made between two polls of the sockets.
const WRITES_PER_TURN: usize = 64;
/// Connections accepted between two polls.
const ACCEPTS_PER_TURN: usize = 256;
const READ_BYTES: usize = 1 << 20;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket; a file in its place is removed first.
    Unix(PathBuf),
}

impl Listen {
    /// A free port of 127.0.0.1.
    pub fn loopback() -> Self {
        Self::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Path> for Listen {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    connection: Option<Connection>,
}

/// An OpenAI-compatible server whose every token is one `send` at a known time.
#[derive(Debug)]
pub struct Truth {
    epoll: OwnedFd,
    listener: OwnedFd,
    listen: Listen,
    doorbell: Arc<OwnedFd>,
    pub(crate) commands: Option<Receiver<Command>>,
    pub(crate) law: Arc<Law>,
    places: Vec<Place>,
    free: Vec<u32>,
    connections_made: u32,
    pub(crate) due: BinaryHeap<Reverse<(u64, Key)>>,
    pub(crate) fast: Vec<Key>,
    pub(crate) waiting: VecDeque<Key>,
    pub(crate) running: u32,
    pub(crate) book: Book,
    buffer: Vec<u8>,
    control: Vec<u8>,
}

fn open_listener(listen: &Listen) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let family = match listen {
        Listen::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
        Listen::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
        Listen::Unix(_) => AddressFamily::UNIX,
    };
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    match listen {
        Listen::Tcp(address) => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            net::bind(&socket, address)?;
        }
        Listen::Unix(path) => {
            // Left over from a server that was killed; a live one loses its name, as with others.
            let _ = std::fs::remove_file(path);
            net::bind(&socket, &net::SocketAddrUnix::new(path)?)?;
        }
    }
    // On the listener too: the first segments may come before `accept`.
    ask_for_stamps(&socket);
    net::listen(&socket, 8_192)?;
    Ok(socket)
}

impl Truth {
    /// Opens the socket; `law` answers until another one is set.
    pub fn bind(listen: impl Into<Listen>, law: Law) -> Result<Self, TruthError> {
        let mut listen = listen.into();
        let listener = open_listener(&listen)
            .map_err(|source| TruthError::Bind { listen: listen.clone(), source })?;
        if let Listen::Tcp(address) = &mut listen
            && let Ok(bound) = net::getsockname(&listener)
        {
            *address = SocketAddr::try_from(bound).unwrap_or(*address);
        }
        let setup = |source| TruthError::Setup { source };
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(setup)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let doorbell = Arc::new(eventfd(0, flags).map_err(setup)?);
        for (socket, name) in [(&listener, LISTENER), (&*doorbell, DOORBELL)] {
            epoll::add(&epoll, socket, EventData::new_u64(name), EventFlags::IN).map_err(setup)?;
        }
        Ok(Self {
            epoll,
            listener,
            listen,
            doorbell,
            commands: None,
            law: Arc::new(law),
            places: Vec::new(),
            free: Vec::new(),
            connections_made: 0,
            due: BinaryHeap::new(),
            fast: Vec::new(),
            waiting: VecDeque::new(),
            running: 0,
            book: Book::new(),
            buffer: vec![0; READ_BYTES],
            control: control_buffer(),
        })
    }

    /// Where it listens; the port is the one it got.
    pub fn listen(&self) -> &Listen {
        &self.listen
    }

    /// What wakes the loop: writing 8 bytes of a number to it.
    pub(crate) fn doorbell(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.doorbell)
    }

    /// Serves until `stop` is set (seen after at most 0.1 s). Sets the timer slack of this thread.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), TruthError> {
        sharpen_timers();
        let mut events = Vec::with_capacity(1_024);
        while !stop.load(Ordering::Relaxed) {
            let timeout = timespec(self.sleep_ns());
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(source) => return Err(TruthError::Poll { source }),
            }
            for event in &events {
                self.on_event(*event);
            }
            self.write_what_is_due();
            self.write_fast();
        }
        Ok(())
    }

    fn sleep_ns(&self) -> u64 {
        if !self.fast.is_empty() {
            return 0;
        }
        let Some(Reverse((due, _))) = self.due.peek() else { return MAX_SLEEP_NS };
        match due.saturating_sub(realtime_ns()) {
            0..=SPIN_NS => 0,
            wait => (wait - WAKE_EARLY_NS).min(MAX_SLEEP_NS),
        }
    }

    fn on_event(&mut self, event: Event) {
        let flags = event.flags;
        match event.data.u64() {
            LISTENER => self.accept(),
            DOORBELL => self.on_doorbell(),
            name => {
                let key = Key::from_u64(name);
                if flags.contains(EventFlags::OUT) {
                    self.on_room(key);
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.read(key);
                }
            }
        }
    }

    fn on_doorbell(&mut self) {
        let mut rings = [0; 8];
        let _ = rustix::io::read(&*self.doorbell, &mut rings);
        while let Some(command) = self.commands.as_ref().and_then(|queue| queue.try_recv().ok()) {
            self.obey(command);
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for _ in 0..ACCEPTS_PER_TURN {
            let Ok(socket) = net::accept_with(&self.listener, flags) else { return };
            if matches!(self.listen, Listen::Tcp(_)) {
                let _ = sockopt::set_tcp_nodelay(&socket, true);
            }
            ask_for_stamps(&socket);
            let index = self.free.pop().unwrap_or_else(|| {
                self.places.push(Place::default());
                self.places.len() as u32 - 1
            });
            let place = &mut self.places[index as usize];
            let key = Key { index, generation: place.generation };
            let data = EventData::new_u64(key.to_u64());
            if epoll::add(&self.epoll, &socket, data, EventFlags::IN).is_err() {
                self.free.push(index);
                continue;
            }
            place.connection = Some(Connection::new(socket, self.connections_made));
            self.connections_made = self.connections_made.wrapping_add(1);
            self.book.accepted += 1;
        }
    }

    /// The connection that `key` names, unless it is closed.
    pub(crate) fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        self.connection_and_book(key).map(|(connection, _)| connection)
    }

    /// The same together with the log, which most changes touch too.
    pub(crate) fn connection_and_book(&mut self, key: Key) -> Option<(&mut Connection, &mut Book)> {
        let place = self.places.get_mut(key.index as usize)?;
        let connection =
            place.connection.as_mut().filter(|_| place.generation == key.generation)?;
        Some((connection, &mut self.book))
    }

    fn read(&mut self, key: Key) {
        let Some(place) = self.places.get_mut(key.index as usize) else { return };
        if place.generation != key.generation {
            return;
        }
        let Some(connection) = place.connection.as_mut() else { return };
        let received = receive(&connection.socket, &mut self.buffer, &mut self.control);
        let now = realtime_ns();
        match received {
            Ok(received) if received.bytes > 0 => {
                connection.inbox.extend_from_slice(&self.buffer[..received.bytes]);
                if connection.inbox.len() > MAX_REQUEST_BYTES + READ_BYTES {
                    return self.close(key);
                }
                let stamp = received.stamp_ns.filter(|stamp| *stamp <= now).unwrap_or(now);
                self.process(key, stamp, now);
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            Ok(_) | Err(_) => self.close(key),
        }
    }

    /// Writes what a connection holds back; false when it is gone or its socket is full.
    pub(crate) fn flush(&mut self, key: Key) -> bool {
        let Some((connection, book)) = self.connection_and_book(key) else { return false };
        let flushed = connection.flush(&mut book.writes);
        let wants_room = flushed == Flushed::Blocked;
        let changed = connection.wants_room != wants_room;
        connection.wants_room = wants_room;
        book.blocked += u64::from(wants_room && changed);
        let finished = flushed == Flushed::All && connection.close_after && !connection.is_busy();
        if flushed == Flushed::Broken || finished {
            self.close(key);
            return false;
        }
        if changed {
            self.watch_for_room(key, wants_room);
        }
        flushed == Flushed::All
    }

    fn watch_for_room(&mut self, key: Key, wants_room: bool) {
        let Some(connection) = self.places[key.index as usize].connection.as_ref() else { return };
        let room = if wants_room { EventFlags::OUT } else { EventFlags::empty() };
        let data = EventData::new_u64(key.to_u64());
        let _ = epoll::modify(&self.epoll, &connection.socket, data, EventFlags::IN | room);
    }

    fn on_room(&mut self, key: Key) {
        if !self.flush(key) {
            return;
        }
        let is_fast = self
            .connection(key)
            .and_then(|connection| connection.answer.as_ref())
            .is_some_and(|answer| answer.stage == Stage::Fast);
        if is_fast && !self.fast.contains(&key) {
            self.fast.push(key);
        }
    }

    /// Closes a connection; an unfinished answer is logged as left by the client.
    pub(crate) fn close(&mut self, key: Key) {
        let Some(place) = self.places.get_mut(key.index as usize) else { return };
        if place.generation != key.generation {
            return;
        }
        let Some(mut connection) = place.connection.take() else { return };
        place.generation = place.generation.wrapping_add(1) & 0x7FFF_FFFF;
        self.free.push(key.index);
        if let Some(answer) = connection.answer.take() {
            self.abandon(key, *answer);
        }
    }

    fn write_what_is_due(&mut self) {
        for _ in 0..WRITES_PER_TURN {
            let Some(Reverse((due, key))) = self.due.peek().copied() else { return };
            if due > realtime_ns() {
                return;
            }
            self.due.pop();
            self.write_due(key, due);
        }
    }

    fn write_fast(&mut self) {
        if self.fast.is_empty() {
            return;
        }
        for key in std::mem::take(&mut self.fast) {
            if self.write_next(key) {
                self.fast.push(key);
            }
        }
    }
}

impl Drop for Truth {
    fn drop(&mut self) {
        if let Listen::Unix(path) = &self.listen {
            let _ = std::fs::remove_file(path);
        }
    }
}
