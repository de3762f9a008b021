//! Sends what is due: finds or opens a connection, builds the request, hands it to the socket.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write as _;

use loadline_load::{Control, Op};
use loadline_schema::outcome::{ErrorKind, Outcome};
use loadline_schema::record::Start;

use super::Reactor;
use super::connection::State;
use super::exchange::{Exchange, empty_record};
use super::figures::SLOW_WRITE_NS;
use crate::answer::Expect;
use crate::keep_alive::KEPT_AFTER_NS;
use loadline_schema::record::RequestRow;

/// Operations that wait to be sent again, by when.
#[derive(Debug, Default)]
pub(super) struct Retries {
    due: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: Vec<Exchange>,
}

impl Retries {
    pub(crate) fn push(&mut self, at_ns: u64, exchange: Box<Exchange>) {
        self.due.push(Reverse((at_ns, exchange.op.id)));
        self.waiting.push(*exchange);
    }

    pub(crate) fn next_ns(&self) -> u64 {
        self.due.peek().map_or(u64::MAX, |Reverse((at, _))| *at)
    }

    fn pop(&mut self, now: u64) -> Option<Box<Exchange>> {
        if self.next_ns() > now {
            return None;
        }
        let Reverse((_, id)) = self.due.pop()?;
        let at = self.waiting.iter().position(|exchange| exchange.op.id == id)?;
        Some(Box::new(self.waiting.swap_remove(at)))
    }

    pub(crate) fn take_all(&mut self) -> Vec<Exchange> {
        self.due.clear();
        std::mem::take(&mut self.waiting)
    }
}

impl Reactor<'_> {
    /// Starts an operation that is due.
    pub(super) fn start(&mut self, control: &mut Control, op: Op, now: u64) {
        let trial = self.settings.trial;
        self.batch.starts.push(Start {
            op: op.id,
            trial,
            intended_ns: op.intended_ns,
            started_ns: now,
        });
        let endpoint = (op.id % self.target.endpoints.len() as u64) as u16;
        let exchange = Exchange::new(op, trial, endpoint, self.settings.keep_chunks);
        self.dispatch(control, Box::new(exchange), now);
    }

    /// Sends again what has waited for it. Returns when the next one is due.
    pub(super) fn start_retries(&mut self, control: &mut Control, now: u64) -> u64 {
        while let Some(exchange) = self.retries.pop(now) {
            self.dispatch(control, exchange, now);
        }
        self.retries.next_ns()
    }

    /// Puts an operation on a connection.
    fn dispatch(&mut self, control: &mut Control, mut exchange: Box<Exchange>, now: u64) {
        let endpoint = exchange.row.record.endpoint;
        exchange.row.record.reused = false;
        if let Some(index) = self.idle_connection(endpoint, now) {
            let connection =
                self.connections[index as usize].as_mut().expect("invariant: idle means live");
            exchange.row.record.reused = connection.served > 0;
            connection.exchange = Some(exchange);
            self.send(control, index);
            return;
        }
        exchange.connect_begin_ns = now;
        match self.connect(endpoint, now) {
            Ok(index) => {
                let connection =
                    self.connections[index as usize].as_mut().expect("invariant: just opened");
                connection.exchange = Some(exchange);
                if connection.state == State::Open {
                    connection.note_connect_times(connection.connected_ns);
                    self.send(control, index);
                } else {
                    self.note_deadline(index);
                }
            }
            Err(error) => self.connect_failed(control, exchange, &error),
        }
    }

    /// An idle connection that the server has not closed and is not about to close.
    fn idle_connection(&mut self, endpoint: u16, now: u64) -> Option<u32> {
        let keep_alive = &self.target.endpoints[usize::from(endpoint)].keep_alive;
        while let Some(index) = self.take_idle(endpoint, keep_alive.is_unknown(), now) {
            let connection = self.connection(index);
            let fresh = now < connection.usable_until_ns;
            // Session tickets may wait on an encrypted connection: bytes there are no bad sign.
            let usable = match connection.socket.peek() {
                crate::socket::Peek::Quiet => true,
                crate::socket::Peek::Bytes => connection.tls.is_some(),
                crate::socket::Peek::Closed => {
                    if connection.served > 0 {
                        keep_alive.saw_close(now.saturating_sub(connection.freed_ns));
                    }
                    false
                }
            };
            if fresh && usable {
                if connection.served > 0 {
                    keep_alive.saw_open();
                }
                return Some(index);
            }
            self.close(index);
        }
        None
    }

    /// The idle connection used last; with `proven` only one that is new, or has stayed open for a
    /// while after its answer.
    fn take_idle(&mut self, endpoint: u16, proven: bool, now: u64) -> Option<u32> {
        let idle = &self.idle[usize::from(endpoint)];
        let is_proven = |index: &u32| {
            let connection = self.connection(*index);
            connection.served == 0 || now >= connection.freed_ns + KEPT_AFTER_NS
        };
        let at = if proven { idle.iter().rposition(is_proven) } else { idle.len().checked_sub(1) };
        at.map(|at| self.idle[usize::from(endpoint)].remove(at))
    }

    /// Sends the request of the operation on this open connection.
    pub(super) fn send(&mut self, control: &mut Control, index: u32) {
        let place = index as usize;
        let connection = self.connections[place].as_mut().expect("invariant: the caller's");
        let exchange = connection.exchange.as_mut().expect("invariant: there is something to send");
        self.body.clear();
        self.request.clear();
        let asked = self.requests.write_body(exchange.op.id, &mut self.body);
        exchange.asked(asked);
        self.request.extend_from_slice(&self.heads[usize::from(connection.endpoint)]);
        write!(self.request, "{}\r\n\r\n", self.body.len()).expect("invariant: memory takes all");
        self.request.extend_from_slice(&self.body);
        connection.answer.reset(Expect { stream: true, keep_text: self.settings.keep_text });

        let begin = self.clock.now_ns();
        exchange.row.record.write_begin_ns.get_or_insert(begin);
        match connection.send(&self.request) {
            Ok(true) => self.written(index),
            Ok(false) => {
                if let Err(error) = self.watch(index) {
                    self.broken(control, index, &error);
                    return;
                }
            }
            Err(error) => {
                self.broken(control, index, &error);
                return;
            }
        }
        self.note_deadline(index);
    }

    /// The socket has taken the last byte of the request.
    pub(super) fn written(&mut self, index: u32) {
        let now = self.clock.now_ns();
        let connection =
            self.connections[index as usize].as_mut().expect("invariant: the caller's");
        let Some(exchange) = connection.exchange.as_mut() else { return };
        let record = &mut exchange.row.record;
        if record.write_end_ns.is_none() {
            record.write_end_ns = Some(now);
            let took = now - record.write_begin_ns.unwrap_or(now);
            self.tally.slow_writes += u64::from(took > SLOW_WRITE_NS);
        }
    }

    /// An operation that was due and is never sent.
    pub(super) fn drop_op(&mut self, control: &Control, op: Op, why: ErrorKind, now: u64) {
        let endpoint = (op.id % self.target.endpoints.len() as u64) as u16;
        let mut record = empty_record(op, self.settings.trial, endpoint);
        record.phase = control.shared().phase_of(op);
        record.outcome = Outcome::Dropped;
        record.error = Some(why);
        record.ended_ns = now;
        self.batch.rows.push(RequestRow { record, chunks: None });
    }
}
