//! Answers: from the request to a slot, through its writes, to the end.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::ask::Ask;
use crate::connection::{Answer, Connection, Key, Stage};
use crate::delay::Draws;
use crate::frame::{self, Frame, TokenEvent};
use crate::law::{Law, RoleChunk, Usage, UsagePlace};
use crate::metrics::Metrics;
use crate::record::{Outcome, TruthRecord};
use crate::server::Truth;
use crate::wire::realtime_ns;

const JSON: &str = "application/json";

/// When a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) kernel_ns: u64,
    pub(crate) user_ns: u64,
}

/// How many tokens the law and the request's limits give, and why the answer ends.
fn length(law: &Law, ask: &Ask, draws: &mut Draws) -> (u32, &'static str) {
    let drawn = law.tokens.draw(draws);
    if !law.honour_limits {
        return (drawn.max(1), "length");
    }
    let most = ask.max_tokens.unwrap_or(u32::MAX);
    let wanted = match ask.max_tokens {
        Some(limit) if ask.ignore_eos => limit,
        _ => drawn.max(ask.min_tokens.unwrap_or(0)),
    };
    let total = wanted.min(most).max(1);
    (total, if total >= most { "length" } else { "stop" })
}

/// The record of an answer before anything was sent.
fn begun(
    connection: u32,
    id: u64,
    chat: bool,
    ask: &Ask,
    law: &Law,
    arrival: Arrival,
) -> TruthRecord {
    TruthRecord {
        connection,
        id,
        stream: ask.stream,
        chat,
        body_bytes: 0,
        arrival_kernel_ns: arrival.kernel_ns,
        arrival_user_ns: arrival.user_ns,
        start_ns: arrival.kernel_ns,
        role_ns: None,
        first_ns: None,
        last_ns: None,
        end_ns: 0,
        prompt_tokens: ask.prompt_words.saturating_add(if chat { law.template_tokens } else { 0 }),
        tokens: 0,
        reasoning_tokens: if chat { law.reasoning_tokens } else { 0 },
        tokens_per_write: law.tokens_per_write(),
        max_lag_ns: 0,
        write_times_ns: Vec::new(),
        outcome: Outcome::Completed,
    }
}

impl Answer {
    fn new(
        law: Arc<Law>,
        ask: &Ask,
        mut record: TruthRecord,
        mut draws: Draws,
        epoch: u64,
    ) -> Self {
        let (total, finish) = length(&law, ask, &mut draws);
        let width = law.tokens_per_event.max(1);
        record.reasoning_tokens = (record.reasoning_tokens / width * width).min(total);
        if law.gaps {
            let writes = total.div_ceil(record.tokens_per_write.max(1));
            record.write_times_ns.reserve_exact(if record.stream { writes as usize } else { 1 });
        }
        Self {
            frame: Frame::new(record.chat, record.id),
            draws,
            stage: Stage::Waiting,
            total,
            finish,
            usage: law.usage == Usage::Always
                || (law.usage == Usage::WhenAsked && ask.include_usage),
            continuous_usage: law.continuous_usage || (ask.include_usage && ask.continuous_usage),
            epoch,
            record,
            law,
        }
    }

    /// The delay of the first write (of the only one, when the answer is not streamed), ns.
    fn first_delay_ns(&mut self) -> u64 {
        let law = Arc::clone(&self.law);
        let id = self.record.id;
        let mut delay = law.ttft.draw(&mut self.draws);
        if law.spread {
            let gap = (law.itl.mean_ns() as u64).max(1);
            delay += id.wrapping_mul(0x9E37_79B9_7F4A_7C15) % gap;
        }
        delay += law.stall_ns(id, 0);
        if !self.record.stream {
            let mut token = law.tokens_per_write();
            while token < self.total {
                delay += law.itl.draw(&mut self.draws) + law.stall_ns(id, token);
                token += law.tokens_per_write();
            }
        }
        delay
    }

    /// The delay of the write that begins with token `token` after the one before, ns.
    fn next_delay_ns(&mut self, token: u32) -> u64 {
        let law = Arc::clone(&self.law);
        law.itl.draw(&mut self.draws) + law.stall_ns(self.record.id, token)
    }

    fn role_usage(&self) -> Option<frame::Counts> {
        self.continuous_usage.then(|| self.counts(0))
    }

    /// Appends the events of the next write.
    fn append_write(&mut self, out: &mut Vec<u8>) -> u64 {
        let law = Arc::clone(&self.law);
        let mut events = 0;
        if self.record.tokens == 0 {
            if law.late_head {
                out.extend_from_slice(frame::STREAM_HEAD);
            }
            let with_first = law.role == RoleChunk::WithFirstToken
                || law.role == RoleChunk::AtOnce && law.late_head;
            if self.record.chat && with_first {
                let usage = self.role_usage();
                self.frame.role(usage, out);
            }
        }
        while events < u64::from(law.events_per_write.max(1)) && self.record.tokens < self.total {
            self.append_event(&law, out);
            events += 1;
        }
        events
    }

    fn append_event(&mut self, law: &Law, out: &mut Vec<u8>) {
        let first = self.record.tokens;
        let reasons = first < self.record.reasoning_tokens;
        // Reasoning and output never share an event.
        let border = if reasons { self.record.reasoning_tokens } else { self.total };
        let tokens = law.tokens_per_event.max(1).min(border - first);
        self.record.tokens += tokens;
        let last = self.record.tokens == self.total;
        let in_token = law.usage_place == UsagePlace::LastToken && self.usage && last;
        let event = TokenEvent {
            first,
            tokens,
            reasoning: reasons.then_some(law.reasoning_field),
            role: first == 0 && law.role == RoleChunk::InFirstToken,
            finish: (last && law.usage_place != UsagePlace::FinishChunk).then_some(self.finish),
            usage: (self.continuous_usage || in_token).then(|| self.counts(self.record.tokens)),
        };
        self.frame.token(&event, out);
    }

    /// Appends what follows the last token of a stream.
    fn append_end(&mut self, out: &mut Vec<u8>) {
        let counts = self.counts(self.record.tokens);
        match self.law.usage_place {
            UsagePlace::OwnChunk if self.usage => self.frame.usage_chunk(counts, out),
            UsagePlace::FinishChunk => {
                let usage = self.usage.then_some(counts);
                self.frame.finish_chunk(self.finish, usage, out);
            }
            UsagePlace::OwnChunk | UsagePlace::LastToken => {}
        }
        Frame::done(out);
    }

    /// Notes a write at `now`, before which `tokens_before` tokens were out.
    fn note_write(&mut self, now: u64, tokens_before: u32, metrics: &mut Metrics) {
        let (record, told) = (&self.record, &self.law.told);
        let tokens = record.tokens - tokens_before;
        match record.last_ns {
            None => {
                let after_ns = now.saturating_sub(record.arrival_kernel_ns);
                metrics.first_write(told, after_ns, record.prompt_tokens, tokens);
            }
            Some(last) => metrics.later_write(told, now.saturating_sub(last), tokens),
        }
        self.record.first_ns.get_or_insert(now);
        self.record.last_ns = Some(now);
        if self.law.gaps {
            self.record.write_times_ns.push(now);
        }
        if let Stage::Due(due) = self.stage {
            self.record.max_lag_ns = self.record.max_lag_ns.max(now.saturating_sub(due));
        }
    }
}

/// Appends the whole answer that is not streamed.
fn append_whole(connection: &mut Connection, answer: &mut Answer) {
    answer.record.tokens = answer.total;
    let usage = (answer.law.usage != Usage::Never).then(|| answer.counts(answer.total));
    let reasoning = (answer.record.reasoning_tokens, answer.law.reasoning_field);
    let body = answer.frame.whole(answer.total, Some(reasoning), answer.finish, usage);
    frame::response(&mut connection.outbox, "200 OK", JSON, "", &body);
}

impl Truth {
    /// Takes up a generation request: refuses it, queues it, or starts its answer.
    pub(crate) fn take_up(&mut self, key: Key, chat: bool, ask: &Ask, bytes: usize, at: Arrival) {
        let law = Arc::clone(&self.law);
        let id = self.book.next_id;
        self.book.next_id += 1;
        let mut draws = Draws::new(law.seed, id);
        if law.error_rate > 0.0 && draws.unit() < law.error_rate {
            self.book.errors += 1;
            return self.refuse(key, "503 Service Unavailable", "the server is not available");
        }
        let full = law.slots.is_some_and(|slots| self.running >= slots);
        if full && law.shed_above.is_some_and(|most| self.waiting.len() >= most as usize) {
            self.book.shed += 1;
            return self.refuse(key, "429 Too Many Requests", "too many requests are waiting");
        }
        let epoch = self.book.epoch;
        let Some(connection) = self.connection(key) else { return };
        let mut record = begun(connection.number, id, chat, ask, &law, at);
        record.body_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let sends_head = ask.stream && !law.late_head;
        connection.answer = Some(Box::new(Answer::new(law, ask, record, draws, epoch)));
        if sends_head {
            connection.outbox.extend_from_slice(frame::STREAM_HEAD);
        }
        self.book.begin();
        if full {
            self.waiting.push_back(key);
            self.flush(key);
        } else {
            self.start(key, at.kernel_ns);
        }
    }

    fn refuse(&mut self, key: Key, status: &str, message: &str) {
        self.book.metrics.refused += 1;
        let body = crate::control::error_body(message);
        self.reply(key, status, JSON, "retry-after: 1\r\n", body.as_bytes());
    }

    /// Gives an answer its slot at `start_ns`.
    fn start(&mut self, key: Key, start_ns: u64) {
        let Some((connection, book)) = self.connection_and_book(key) else { return };
        let Some(answer) = connection.answer.as_mut() else { return };
        answer.record.start_ns = start_ns;
        let (id, prompt_tokens) = (answer.record.id, answer.record.prompt_tokens);
        book.metrics.start(&answer.law.told, id, prompt_tokens);
        let fast = answer.law.is_saturated();
        let due = start_ns + answer.first_delay_ns();
        answer.stage = if fast { Stage::Fast } else { Stage::Due(due) };
        let says_role = answer.record.stream
            && answer.record.chat
            && answer.law.role == RoleChunk::AtOnce
            && !answer.law.late_head;
        if says_role {
            let usage = answer.role_usage();
            answer.frame.role(usage, &mut connection.outbox);
            answer.record.role_ns = Some(realtime_ns());
        }
        let holds_something = !connection.is_flushed();
        self.running += 1;
        if fast {
            // The head goes with the first tokens.
            self.fast.push(key);
        } else {
            self.due.push(Reverse((due, key)));
            if holds_something {
                self.flush(key);
            }
        }
    }

    /// Starts the answers that wait for a slot, as far as there are free ones.
    fn start_waiting(&mut self, now: u64) {
        while self.law.slots.is_none_or(|slots| self.running < slots) {
            let Some(key) = self.waiting.pop_front() else { return };
            self.start(key, now);
        }
    }

    /// The write that was due at `due`, and the appointment for the next.
    pub(crate) fn write_due(&mut self, key: Key, due: u64) {
        if self.send_page_due(key, due) {
            return;
        }
        let is_due = self
            .connection(key)
            .and_then(|connection| connection.answer.as_ref())
            .is_some_and(|answer| answer.stage == Stage::Due(due));
        if !is_due {
            return;
        }
        self.write_next(key);
        let Some(connection) = self.connection(key) else { return };
        let Some(answer) = connection.answer.as_mut() else { return };
        if answer.stage == Stage::Due(due) && answer.record.tokens > 0 {
            let token = answer.record.tokens;
            let next = due + answer.next_delay_ns(token);
            answer.stage = Stage::Due(next);
            self.due.push(Reverse((next, key)));
        }
    }

    /// Makes the next write of an answer; true when more can follow at once.
    pub(crate) fn write_next(&mut self, key: Key) -> bool {
        let Some((connection, book)) = self.connection_and_book(key) else { return false };
        if connection.wants_room
            && connection.answer.as_ref().is_some_and(|a| a.stage == Stage::Fast)
        {
            return false;
        }
        let Some(mut answer) = connection.answer.take() else { return false };
        let tokens_before = answer.record.tokens;
        if answer.record.stream {
            book.events += answer.append_write(&mut connection.outbox);
        } else {
            append_whole(connection, &mut answer);
        }
        let now = realtime_ns();
        answer.note_write(now, tokens_before, &mut book.metrics);
        if let Stage::Due(due) = answer.stage {
            book.lag(now.saturating_sub(due), answer.law.gaps);
        }
        let keep = answer.law.gaps;
        let (done, stream) = (answer.record.tokens >= answer.total, answer.record.stream);
        if done && !stream {
            return self.end(key, answer, now);
        }
        connection.answer = Some(answer);
        let more = self.flush(key);
        if keep {
            self.book.write_ns += realtime_ns().saturating_sub(now);
        }
        if done {
            return self.finish(key);
        }
        more
    }

    /// The end of a stream, in a write of its own.
    fn finish(&mut self, key: Key) -> bool {
        let Some(connection) = self.connection(key) else { return false };
        let Some(mut answer) = connection.answer.take() else { return false };
        answer.append_end(&mut connection.outbox);
        self.end(key, answer, realtime_ns())
    }

    /// Files the record, sends the last bytes, and goes on with what waits. Always false: this
    /// answer has nothing more to write.
    fn end(&mut self, key: Key, mut answer: Box<Answer>, now: u64) -> bool {
        answer.record.end_ns = now;
        // Filed before the last bytes leave: who has the whole answer finds it in the log.
        self.book.file(answer.record, answer.epoch);
        self.running -= 1;
        self.flush(key);
        self.start_waiting(now);
        if self.connection(key).is_some_and(|connection| !connection.inbox.is_empty()) {
            self.process(key, now, now);
        }
        false
    }

    /// Files an answer whose client is gone and frees its slot.
    pub(crate) fn abandon(&mut self, key: Key, mut answer: Answer) {
        let now = realtime_ns();
        answer.record.end_ns = now;
        answer.record.outcome = Outcome::ClientClosed;
        self.book.file(answer.record, answer.epoch);
        if answer.stage == Stage::Waiting {
            self.waiting.retain(|waiting| *waiting != key);
        } else {
            self.running -= 1;
            self.start_waiting(now);
        }
    }
}
