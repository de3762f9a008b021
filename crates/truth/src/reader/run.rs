//! The bare reader's loop: connect, send when due, receive what is there.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::result::{ReaderRow, Reading};
use super::stream::{Seen, Stream};
use super::{Load, ReaderPlan};
use crate::book::cpu_user_and_system_ns;
use crate::error::TruthError;
use crate::wire::{
    Received, SECOND_NS, ask_for_stamps, control_buffer, realtime_ns, receive, sharpen_timers,
    timespec,
};

const BUFFER_BYTES: usize = 1 << 17;
/// Longest sleep; also how late the limit is noticed.
const MAX_SLEEP_NS: u64 = 100_000_000;
/// In open loop it polls instead of sleeping when a request is due within this time …
const SPIN_NS: u64 = 70_000;
/// … and wakes up so long before it otherwise.
const WAKE_EARLY_NS: u64 = 60_000;
/// Connections opened before an open loop begins.
const OPEN_LOOP_CONNECTIONS: u32 = 256;
/// From the end of connecting to the first request of an open loop.
const LEAD_NS: u64 = 10_000_000;

#[derive(Debug)]
struct Slot {
    socket: OwnedFd,
    stream: Stream,
    intended_ns: u64,
    sent_ns: u64,
}

#[derive(Debug)]
struct Reader<'a> {
    plan: &'a ReaderPlan,
    request: Vec<u8>,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    control: Vec<u8>,
    reading: Reading,
    started: u64,
    total: u64,
}

/// Applies the load of `plan` and returns what came; gives up with what there is at its limit.
/// Sets the timer slack of this thread. CPU and memory are those of the whole process: run it in
/// one that does nothing else.
pub fn read(plan: &ReaderPlan) -> Result<Reading, TruthError> {
    sharpen_timers();
    let begin = realtime_ns();
    let mut reader = Reader::new(plan)?;
    match plan.load {
        Load::Closed { concurrency, .. } => {
            reader.connect(concurrency)?;
            for _ in 0..u64::from(concurrency).min(reader.total) {
                reader.send_from_free(None)?;
            }
        }
        Load::Open { .. } => reader.connect(OPEN_LOOP_CONNECTIONS)?,
    }
    reader.run(begin + plan.limit.as_nanos() as u64)?;
    Ok(reader.finish(begin))
}

impl<'a> Reader<'a> {
    fn new(plan: &'a ReaderPlan) -> Result<Self, TruthError> {
        let epoll =
            epoll::create(CreateFlags::CLOEXEC).map_err(|source| TruthError::Setup { source })?;
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{}",
            plan.path,
            plan.address,
            plan.body.len(),
            plan.body
        );
        let total = match plan.load {
            Load::Closed { requests, .. } => requests,
            Load::Open { rate_per_s, seconds } => u64::from(rate_per_s) * u64::from(seconds),
        };
        let reading = Reading {
            rows: Vec::new(),
            reads: Vec::new(),
            wall_s: 0.0,
            user_s: 0.0,
            system_s: 0.0,
            receives: 0,
            bytes: 0,
            events: 0,
            connections: 0,
            vm_hwm_kib: None,
        };
        Ok(Self {
            plan,
            request: request.into_bytes(),
            epoll,
            slots: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            control: control_buffer(),
            reading,
            started: 0,
            total,
        })
    }

    fn connect(&mut self, count: u32) -> Result<(), TruthError> {
        for _ in 0..count {
            let address = self.plan.address;
            let socket = connected(self.plan)
                .map_err(|source| TruthError::Connect { address: address.to_string(), source })?;
            let index = self.slots.len();
            epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)
                .map_err(|source| TruthError::Setup { source })?;
            self.slots.push(Slot { socket, stream: Stream::default(), intended_ns: 0, sent_ns: 0 });
            self.free.push(index);
        }
        Ok(())
    }

    /// Sends a request on a free connection, or on a new one; due now unless told otherwise.
    fn send_from_free(&mut self, intended_ns: Option<u64>) -> Result<(), TruthError> {
        if self.free.is_empty() {
            self.connect(1)?;
        }
        let index = self.free.pop().expect("invariant: one was just made");
        self.send(index, intended_ns)
    }

    fn send(&mut self, index: usize, intended_ns: Option<u64>) -> Result<(), TruthError> {
        let slot = &mut self.slots[index];
        slot.stream.restart();
        slot.sent_ns = realtime_ns();
        slot.intended_ns = intended_ns.unwrap_or(slot.sent_ns);
        self.started += 1;
        match net::send(&slot.socket, &self.request, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == self.request.len() => Ok(()),
            Ok(_) => Err(self.ended("a request did not fit into the socket's buffer")),
            Err(error) => Err(self.ended(&error.to_string())),
        }
    }

    fn ended(&self, reason: &str) -> TruthError {
        TruthError::Ended { address: self.plan.address.to_string(), reason: reason.to_owned() }
    }

    fn run(&mut self, limit_ns: u64) -> Result<(), TruthError> {
        let begin_ns = realtime_ns() + LEAD_NS;
        let mut events: Vec<Event> = Vec::with_capacity(1_024);
        while (self.reading.rows.len() as u64) < self.total && realtime_ns() < limit_ns {
            if let Some(nap) = self.plan.nap {
                std::thread::sleep(nap);
            }
            let sleep_ns = self.send_what_is_due(begin_ns)?;
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, Some(&timespec(sleep_ns))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(source) => return Err(TruthError::Poll { source }),
            }
            for event in &events {
                self.on_ready(event.data.u64() as usize)?;
            }
        }
        Ok(())
    }

    /// Sends the requests of an open loop whose time has come; returns how long to sleep, ns.
    fn send_what_is_due(&mut self, begin_ns: u64) -> Result<u64, TruthError> {
        let Load::Open { rate_per_s, .. } = self.plan.load else { return Ok(MAX_SLEEP_NS) };
        while self.started < self.total {
            // From the begin each time: no drift by a period that is no whole number of ns.
            let due = begin_ns + self.started * SECOND_NS / u64::from(rate_per_s.max(1));
            match due.saturating_sub(realtime_ns()) {
                0 => self.send_from_free(Some(due))?,
                1..SPIN_NS => return Ok(0),
                wait => return Ok((wait - WAKE_EARLY_NS).min(MAX_SLEEP_NS)),
            }
        }
        Ok(MAX_SLEEP_NS)
    }

    fn receive(&mut self, index: usize) -> Result<Received, Errno> {
        let socket = &self.slots[index].socket;
        if self.plan.kernel_stamps {
            return receive(socket, &mut self.buffer, &mut self.control)
                .map_err(|error| Errno::from_raw_os_error(error as i32));
        }
        let (bytes, _) = net::recv(socket, &mut self.buffer[..], RecvFlags::empty())?;
        Ok(Received { bytes, stamp_ns: None })
    }

    fn on_ready(&mut self, index: usize) -> Result<(), TruthError> {
        let received = match self.receive(index) {
            Ok(received) if received.bytes > 0 => received,
            Ok(_) => return Err(self.ended("closed before the end of an answer")),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(self.ended(&error.to_string())),
        };
        let arrival_ns = received.stamp_ns.unwrap_or_else(realtime_ns);
        self.reading.receives += 1;
        self.reading.bytes += received.bytes as u64;
        let slot = &mut self.slots[index];
        let bytes = &self.buffer[..received.bytes];
        match slot.stream.take(bytes, arrival_ns.saturating_sub(slot.sent_ns)) {
            Seen::More => Ok(()),
            Seen::End => self.end(index, arrival_ns),
            Seen::Strange => Err(TruthError::Answer {
                address: self.plan.address.to_string(),
                answer: String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned(),
            }),
        }
    }

    /// Files a whole answer; in closed loop the next request follows at once.
    fn end(&mut self, index: usize, end_ns: u64) -> Result<(), TruthError> {
        let slot = &mut self.slots[index];
        let reading = &mut self.reading;
        reading.events += u64::from(slot.stream.events);
        slot.stream.drop_trailing_reads(self.plan.trailing_events);
        let from = reading.reads.len();
        reading.reads.extend_from_slice(&slot.stream.reads);
        reading.rows.push(ReaderRow {
            answer: slot.stream.answer,
            intended_ns: slot.intended_ns,
            sent_ns: slot.sent_ns,
            end_ns,
            token_events: slot.stream.events.saturating_sub(self.plan.trailing_events),
            reads: (from, reading.reads.len()),
        });
        if matches!(self.plan.load, Load::Closed { .. }) {
            return if self.started < self.total { self.send(index, None) } else { Ok(()) };
        }
        self.free.push(index);
        Ok(())
    }

    fn finish(self, begin_ns: u64) -> Reading {
        let wall_s = realtime_ns().saturating_sub(begin_ns) as f64 / 1e9;
        let (user, system) = cpu_user_and_system_ns();
        Reading {
            wall_s,
            user_s: user as f64 / 1e9,
            system_s: system as f64 / 1e9,
            connections: self.slots.len(),
            vm_hwm_kib: vm_hwm_kib(),
            ..self.reading
        }
    }
}

/// A connected, non-blocking socket.
fn connected(plan: &ReaderPlan) -> Result<OwnedFd, Errno> {
    let family = if plan.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if plan.kernel_stamps {
        ask_for_stamps(&socket);
    }
    net::connect(&socket, &plan.address)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Peak memory of this process. Not `ru_maxrss`, which a process inherits from its parent.
fn vm_hwm_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
