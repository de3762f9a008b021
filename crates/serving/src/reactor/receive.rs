//! Serves a socket that is ready: finishes a connect or handshake, writes on, reads and stamps.

use std::io;

use loadline_clock::Arrival;
use loadline_load::Control;
use loadline_schema::outcome::{ErrorKind, Outcome};
use rustix::event::epoll::EventFlags;

use super::Reactor;
use super::connection::{ClearPoll, Connection, State, is_transient};
use super::figures::Tally;
use crate::answer::{Event, Failure, Progress};

/// What became of the bytes of a read.
enum Fed {
    /// The answer goes on.
    More,
    /// The answer is complete.
    Done,
    /// The answer failed.
    Failed(Failure),
    /// Nobody waits for an answer on this connection.
    Unasked,
}

impl Reactor<'_> {
    /// Serves one listed socket. `before`: the last poll before this one whose list was not full.
    /// Returns the clock.
    pub(super) fn ready(
        &mut self,
        control: &mut Control,
        index: u32,
        flags: EventFlags,
        before: &ClearPoll,
        now: u64,
    ) -> u64 {
        if self.connection(index).state != State::Open {
            self.go_on_establishing(control, index);
            return self.clock.now_ns();
        }
        if flags.contains(EventFlags::OUT) && !self.write_on(control, index) {
            return now;
        }
        let readable = EventFlags::IN | EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP;
        if flags.intersects(readable) { self.receive(control, index, before, now) } else { now }
    }

    fn go_on_establishing(&mut self, control: &mut Control, index: u32) {
        match self.establish(index) {
            Ok(false) => {}
            Ok(true) => {
                let now = self.clock.now_ns();
                let connection =
                    self.connections[index as usize].as_mut().expect("invariant: just served");
                if connection.exchange.is_some() {
                    connection.note_connect_times(now);
                    self.send(control, index);
                } else {
                    let endpoint = usize::from(connection.endpoint);
                    self.idle[endpoint].push(index);
                }
            }
            Err(error) => self.broken(control, index, &error),
        }
    }

    /// Writes what the socket did not take before. Returns false when the connection is gone.
    fn write_on(&mut self, control: &mut Control, index: u32) -> bool {
        let connection = self.connections[index as usize].as_mut().expect("invariant: listed");
        let result = match connection.flush() {
            Ok(true) => {
                self.written(index);
                self.watch(index)
            }
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.broken(control, index, &error);
            return false;
        }
        true
    }

    /// Reads once, and understands what came.
    fn receive(&mut self, control: &mut Control, index: u32, before: &ClearPoll, now: u64) -> u64 {
        let connection = self.connections[index as usize].as_mut().expect("invariant: listed");
        let read = connection.receive(&mut self.buffer, &mut self.stamp, &mut self.mapper, before);
        connection.listed_poll = self.polls;
        let read = match read {
            Ok(read) => read,
            Err(error) if is_transient(&error) => return now,
            Err(error) => {
                self.broken(control, index, &error);
                return self.clock.now_ns();
            }
        };
        let arrival = read.arrival;
        if read.bytes == 0 {
            self.end_of_file(control, index, arrival.read_ns);
            return arrival.read_ns;
        }
        self.tally.read(&arrival);
        let bytes = &self.buffer[..read.bytes];
        if let Some(exchange) = &mut connection.exchange {
            exchange.begin_read(&arrival, bytes.len());
        }
        let fed = if connection.tls.is_some() {
            feed_encrypted(connection, bytes, &mut self.plain, &arrival, read.empty_ns)
        } else {
            Ok(feed(connection, bytes, &arrival, read.empty_ns))
        };
        if end_read(connection, &arrival, read.empty_ns, &mut self.tally) {
            self.run_delay.watch();
        }
        self.act(control, index, fed, &arrival);
        arrival.read_ns
    }

    fn act(&mut self, control: &mut Control, index: u32, fed: io::Result<Fed>, arrival: &Arrival) {
        match fed {
            Ok(Fed::More) => {}
            Ok(Fed::Done) => self.complete(control, index, arrival),
            Ok(Fed::Failed(failure)) => self.fail(control, index, &failure, arrival.read_ns),
            Ok(Fed::Unasked) => self.close(index),
            Err(error) => self.broken(control, index, &error),
        }
    }

    /// The server closed the connection.
    fn end_of_file(&mut self, control: &mut Control, index: u32, now: u64) {
        let connection = self.connections[index as usize].as_mut().expect("invariant: listed");
        if connection.served > 0 && !connection.exchange.as_ref().is_some_and(|one| one.began) {
            let keep_alive = &self.target.endpoints[usize::from(connection.endpoint)].keep_alive;
            keep_alive.saw_close(now.saturating_sub(connection.freed_ns));
        }
        let Some(exchange) = &mut connection.exchange else {
            self.close(index);
            return;
        };
        if !exchange.began && exchange.row.record.reused {
            let what = "the server closed the reused connection before any byte of the answer";
            let kind = ErrorKind::StaleConnection;
            self.end_unfinished(control, index, Outcome::Failed, kind, what, now);
            return;
        }
        let result = connection.answer.end_of_file(&mut |event| exchange.event(event, now, None));
        match result {
            Ok(_) => self.complete_at(control, index, now, now),
            Err(failure) => self.fail(control, index, &failure, now),
        }
    }
}

/// Hands bytes to the answer's decoder; every event gets the time of the read.
fn feed(
    connection: &mut Connection,
    bytes: &[u8],
    arrival: &Arrival,
    empty_ns: Option<u64>,
) -> Fed {
    let Some(exchange) = &mut connection.exchange else { return Fed::Unasked };
    let at_ns = exchange.not_before(arrival.at_ns);
    let mut on = |event: Event| exchange.event(event, at_ns, empty_ns);
    match connection.answer.feed(bytes, &mut on) {
        Ok(Progress::NeedMore) => Fed::More,
        Ok(Progress::Done { .. }) => Fed::Done,
        Err(failure) => Fed::Failed(failure),
    }
}

fn feed_encrypted(
    connection: &mut Connection,
    cipher: &[u8],
    plain: &mut [u8],
    arrival: &Arrival,
    empty_ns: Option<u64>,
) -> io::Result<Fed> {
    let mut at = 0;
    loop {
        let (used, filled) = connection.decrypt(&cipher[at..], plain)?;
        at += used;
        if filled > 0 {
            match feed(connection, &plain[..filled], arrival, empty_ns) {
                Fed::More => {}
                other => return Ok(other),
            }
        } else if at == cipher.len() {
            return Ok(Fed::More);
        }
    }
}

/// Counts what a read held. Returns whether it held several tokens.
fn end_read(
    connection: &mut Connection,
    arrival: &Arrival,
    empty_ns: Option<u64>,
    tally: &mut Tally,
) -> bool {
    let Some(exchange) = &mut connection.exchange else { return false };
    let (chunks, tokens) = exchange.end_read(arrival.at_ns, empty_ns);
    tally.chunks += u64::from(chunks);
    tally.tokens(tokens);
    tokens > 1
}
