//! Ends an operation: outcome, record, and what becomes of its connection.

use std::io;
use std::sync::atomic::Ordering;

use loadline_clock::Arrival;
use loadline_load::Control;
use loadline_schema::event::EndedEarly;
use loadline_schema::outcome::{ErrorKind, Outcome};

use super::Reactor;
use super::connection::State;
use super::exchange::Exchange;
use crate::answer::{Ended, Failure, FailureKind};

/// An idle connection is not used after this long: servers close idle ones from about 5 s on.
const IDLE_NS: u64 = 4_000_000_000;
/// A server that names its limit may count from a little earlier than we do.
const KEEP_ALIVE_MARGIN_NS: u64 = 500_000_000;
/// Pause before a request is sent again when the server names none; doubled each time.
const RETRY_NS: u64 = 100_000_000;
/// Longest error text that is kept, bytes.
const ERROR_TEXT_BYTES: usize = 400;

impl Reactor<'_> {
    /// The answer is complete; its last byte came with this read.
    pub(super) fn complete(&mut self, control: &mut Control, index: u32, arrival: &Arrival) {
        self.complete_at(control, index, arrival.at_ns, arrival.read_ns);
    }

    pub(super) fn complete_at(&mut self, control: &mut Control, index: u32, at_ns: u64, now: u64) {
        let Some(mut exchange) = self.take_exchange(index) else { return };
        let ended = self.connection(index).answer.facts().ended;
        self.let_go(index, now);
        if ended == Ended::WithoutFinish {
            let what = "the stream ended with neither a finish reason nor [DONE]";
            let kind = ErrorKind::EofMidStream;
            self.conclude(control, exchange, Outcome::CutShort, Some((kind, what)), now);
            return;
        }
        let done_ns = exchange.not_before(at_ns);
        exchange.row.record.done_ns = Some(done_ns);
        self.conclude(control, exchange, Outcome::Ok, None, done_ns);
    }

    /// The answer is a failure, by itself or by how it ended.
    pub(super) fn fail(&mut self, control: &mut Control, index: u32, failure: &Failure, now: u64) {
        let Some(exchange) = self.take_exchange(index) else { return };
        self.let_go(index, now);
        let kind = error_kind(failure.kind);
        let cut = kind == ErrorKind::EofMidStream && exchange.row.record.first_chunk_ns.is_some();
        let outcome = if cut { Outcome::CutShort } else { Outcome::Failed };
        let pause_ns = failure.retry_after_s.map(|seconds| u64::from(seconds) * 1_000_000_000);
        if let Some(exchange) = self.try_again(exchange, kind, pause_ns, now) {
            let text = failure.detail.as_str();
            self.conclude(control, exchange, outcome, Some((kind, text)), now);
        }
    }

    /// The connection failed under an operation, or while idle.
    pub(super) fn broken(&mut self, control: &mut Control, index: u32, error: &io::Error) {
        let now = self.clock.now_ns();
        let connection = self.connection(index);
        let state = connection.state;
        let Some(exchange) = &connection.exchange else {
            self.close(index);
            return;
        };
        let untouched = !exchange.began && exchange.row.record.reused;
        let cut = exchange.row.record.first_chunk_ns.is_some();
        let (outcome, kind) = match state {
            State::Connecting => (Outcome::Failed, connect_kind(error)),
            State::Handshaking => (Outcome::Failed, ErrorKind::Tls),
            State::Open if error.kind() == io::ErrorKind::InvalidData => {
                (Outcome::Failed, ErrorKind::Tls)
            }
            State::Open if untouched => (Outcome::Failed, ErrorKind::StaleConnection),
            State::Open if cut => (Outcome::CutShort, ErrorKind::Reset),
            State::Open => (Outcome::Failed, ErrorKind::Reset),
        };
        self.end_unfinished(control, index, outcome, kind, &error.to_string(), now);
    }

    /// Ends an operation whose answer will not be waited for; its connection cannot be used again.
    pub(super) fn end_unfinished(
        &mut self,
        control: &mut Control,
        index: u32,
        outcome: Outcome,
        kind: ErrorKind,
        text: &str,
        now: u64,
    ) {
        let exchange = self.take_exchange(index);
        self.close(index);
        let again = exchange.and_then(|exchange| match outcome {
            Outcome::Failed => self.try_again(exchange, kind, None, now),
            _ => Some(exchange),
        });
        if let Some(exchange) = again {
            self.conclude(control, exchange, outcome, Some((kind, text)), now);
        }
    }

    /// An operation that could not even begin to connect.
    pub(super) fn connect_failed(
        &mut self,
        control: &mut Control,
        exchange: Box<Exchange>,
        error: &io::Error,
    ) {
        let now = self.clock.now_ns();
        let kind = connect_kind(error);
        if let Some(exchange) = self.try_again(exchange, kind, None, now) {
            let text = error.to_string();
            self.conclude(control, exchange, Outcome::Failed, Some((kind, &text)), now);
        }
    }

    /// Cancels everything that is still in flight.
    pub(super) fn cancel_all(&mut self, control: &mut Control, now: u64) {
        for index in 0..self.connections.len() as u32 {
            if self.connections[index as usize].is_none() {
                continue;
            }
            if let Some(exchange) = self.take_exchange(index) {
                self.conclude(control, exchange, Outcome::Cancelled, None, now);
            }
            self.close(index);
        }
        for exchange in self.retries.take_all() {
            self.conclude(control, Box::new(exchange), Outcome::Cancelled, None, now);
        }
    }

    /// Takes the operation off its connection, with what the answer said so far.
    fn take_exchange(&mut self, index: u32) -> Option<Box<Exchange>> {
        let connection = self.connections[index as usize].as_mut()?;
        let mut exchange = connection.exchange.take()?;
        if exchange.began {
            exchange.row.record.http_status = connection.answer.head().map(|head| head.status);
            exchange.take_facts(connection.answer.facts());
        }
        Some(exchange)
    }

    /// The connection is free: kept for the next request if the server keeps it, else closed.
    fn let_go(&mut self, index: u32, now: u64) {
        let connection =
            self.connections[index as usize].as_mut().expect("invariant: the caller's");
        if !connection.answer.connection_reusable() || connection.has_unsent() {
            self.close(index);
            return;
        }
        let told = connection.answer.head().and_then(|head| head.keep_alive_timeout_s);
        let told_ns = told.map_or(u64::MAX, |seconds| {
            (u64::from(seconds) * 1_000_000_000).saturating_sub(KEEP_ALIVE_MARGIN_NS)
        });
        connection.served += 1;
        connection.freed_ns = now;
        if self.target.endpoints[usize::from(connection.endpoint)].keep_alive.closes() {
            self.close(index);
            return;
        }
        connection.usable_until_ns = now + IDLE_NS.min(told_ns);
        self.idle[usize::from(connection.endpoint)].push(index);
    }

    /// Puts an operation back to be sent again, where retries are on and this failure allows one.
    /// No clock of the operation is reset.
    fn try_again(
        &mut self,
        mut exchange: Box<Exchange>,
        kind: ErrorKind,
        pause_ns: Option<u64>,
        now: u64,
    ) -> Option<Box<Exchange>> {
        let retries = exchange.row.record.retries;
        let worth_it = matches!(
            kind,
            ErrorKind::ConnectRefused
                | ErrorKind::StaleConnection
                | ErrorKind::Reset
                | ErrorKind::EofBeforeHeaders
                | ErrorKind::Http429
                | ErrorKind::Http5xx
        );
        let begun = exchange.row.record.first_chunk_ns.is_some();
        if retries >= self.settings.retries || !worth_it || begun {
            return Some(exchange);
        }
        let pause_ns = pause_ns.unwrap_or(RETRY_NS << retries.min(10));
        exchange.prepare_retry();
        let limit = exchange.deadline(&self.settings.timeouts, self.settings.open_loop);
        self.retries.push((now + pause_ns).min(limit), exchange);
        None
    }

    /// Writes the record of an operation that is over.
    fn conclude(
        &mut self,
        control: &mut Control,
        mut exchange: Box<Exchange>,
        outcome: Outcome,
        error: Option<(ErrorKind, &str)>,
        when_ns: u64,
    ) {
        let record = &mut exchange.row.record;
        if let Some((kind, text)) = error {
            record.error = Some(kind);
            let mut text = self.target.masked(text);
            text.truncate(text.floor_char_boundary(ERROR_TEXT_BYTES));
            record.error_text = Some(text.into());
        }
        self.count_tokens(control, record.input_tokens, record.output_tokens);
        let op = exchange.op;
        if let (Outcome::Ok, Some(text)) = (outcome, exchange.text.take()) {
            self.batch.texts.push((op.id, text));
        }
        control.ended(op, when_ns, outcome == Outcome::Ok);
        let phase = control.shared().phase_of(op);
        self.batch.rows.push(exchange.finish(outcome, phase, when_ns));
    }

    fn count_tokens(&self, control: &Control, input: Option<u32>, output: Option<u32>) {
        let Some(limit) = self.settings.max_tokens else { return };
        let used = u64::from(input.unwrap_or(0)) + u64::from(output.unwrap_or(0));
        if self.live.tokens_used.fetch_add(used, Ordering::Relaxed) + used >= limit {
            control.shared().stop(EndedEarly::TokenCap);
        }
    }
}

fn connect_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
        _ => ErrorKind::ConnectRefused,
    }
}

fn error_kind(kind: FailureKind) -> ErrorKind {
    match kind {
        FailureKind::Http4xx => ErrorKind::Http4xx,
        FailureKind::Http429 => ErrorKind::Http429,
        FailureKind::Http5xx => ErrorKind::Http5xx,
        FailureKind::Redirect => ErrorKind::Redirect,
        FailureKind::Encoding => ErrorKind::Encoding,
        FailureKind::NotSse => ErrorKind::NotSse,
        FailureKind::BadJson => ErrorKind::BadJson,
        FailureKind::ServerErrorEvent => ErrorKind::ServerErrorEvent,
        FailureKind::BadHttp => ErrorKind::BadHttp,
        FailureKind::EofBeforeHeaders => ErrorKind::EofBeforeHeaders,
        FailureKind::EofMidStream => ErrorKind::EofMidStream,
    }
}
