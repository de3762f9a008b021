//! One operation in flight: its record under way, and the rules by which arrivals become times.

use loadline_clock::{Arrival, Source};
use loadline_load::Op;
use loadline_schema::outcome::{Outcome, Phase, TimestampSource, TokenSource};
use loadline_schema::plan::Timeouts;
use loadline_schema::record::{ChunkTimes, MergedRead, RequestRecord, RequestRow, TrialId};

use crate::answer::{ChunkFacts, Event, Facts};

/// Room for at most this many gaps is taken before the first comes.
const MOST_RESERVED: u32 = 4_096;

/// An operation that has been started and has not ended.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub op: Op,
    pub row: RequestRow,
    /// When its connection began to be opened; 0 when it found one open.
    pub connect_begin_ns: u64,
    /// Its text, where that is kept and the server told no usage.
    pub text: Option<Box<str>>,
    /// Bytes of the answer were received.
    pub began: bool,
    kernel_reads: u32,
    user_reads: u32,
    /// Tokens told so far by chunks that tell; absent once a token-bearing one did not.
    tokens_told: Option<u32>,
    /// Events and token-bearing events of the read under way.
    in_read: (u32, u32),
}

impl Exchange {
    pub(crate) fn new(op: Op, trial: TrialId, endpoint: u16, keep_chunks: bool) -> Self {
        let record = empty_record(op, trial, endpoint);
        Self {
            op,
            row: RequestRow { record, chunks: keep_chunks.then(ChunkTimes::default) },
            connect_begin_ns: 0,
            text: None,
            began: false,
            kernel_reads: 0,
            user_reads: 0,
            tokens_told: Some(0),
            in_read: (0, 0),
        }
    }

    /// The request asks for this many output tokens.
    pub(crate) fn asked(&mut self, tokens: u32) {
        self.row.record.asked_tokens = Some(tokens);
        if let Some(chunks) = &mut self.row.chunks {
            chunks.gaps_100ns.reserve_exact(tokens.min(MOST_RESERVED) as usize);
        }
    }

    /// Forgets the failed try; what was intended and when it was first sent stay.
    pub(crate) fn prepare_retry(&mut self) {
        let record = &mut self.row.record;
        record.retries += 1;
        record.write_end_ns = None;
        record.headers_ns = None;
        record.http_status = None;
        self.began = false;
        self.tokens_told = Some(0);
    }

    /// A read of this answer has arrived; its events follow.
    pub(crate) fn begin_read(&mut self, arrival: &Arrival, bytes: usize) {
        self.began = true;
        self.in_read = (0, 0);
        self.row.record.bytes_in += bytes as u64;
        match arrival.source {
            Source::Kernel => self.kernel_reads += 1,
            Source::User | Source::Fallback => self.user_reads += 1,
        }
    }

    /// The earliest time that an event of this answer can have now: not before what was sent or
    /// has already arrived. Stamps of one socket only grow; a fallback may have been later.
    pub(crate) fn not_before(&self, at_ns: u64) -> u64 {
        let record = &self.row.record;
        let floor = record.last_token_ns.or(record.first_chunk_ns).or(record.headers_ns);
        at_ns.max(floor.or(record.write_begin_ns).unwrap_or(0))
    }

    /// An event of the answer arrived at `at_ns`; `empty_ns`: when the socket was last known to be
    /// empty.
    pub(crate) fn event(&mut self, event: Event, at_ns: u64, empty_ns: Option<u64>) {
        let record = &mut self.row.record;
        match event {
            Event::Head => record.headers_ns = Some(at_ns),
            Event::DoneMarker => {}
            Event::Chunk(facts) => {
                record.chunks += 1;
                self.in_read.0 += 1;
                record.first_chunk_ns.get_or_insert(at_ns);
                if facts.content {
                    record.first_output_ns.get_or_insert(at_ns);
                }
                if facts.token_bearing() {
                    self.token_chunk(facts, at_ns, empty_ns);
                }
            }
        }
    }

    fn token_chunk(&mut self, facts: ChunkFacts, at_ns: u64, empty_ns: Option<u64>) {
        let record = &mut self.row.record;
        if record.first_token_ns.is_none() {
            record.first_token_ns = Some(at_ns);
            record.empty_poll_ns = empty_ns;
        }
        record.token_chunks += 1;
        self.in_read.1 += 1;
        let last = record.last_token_ns.replace(at_ns);
        let Some(chunks) = &mut self.row.chunks else { return };
        if let Some(last) = last {
            let gap = at_ns / 100 - last / 100;
            chunks.gaps_100ns.push(u32::try_from(gap).unwrap_or(u32::MAX));
        }
        match (self.tokens_told, facts.completion_tokens) {
            (Some(before), Some(now)) if now >= before => {
                chunks.tokens.push(u16::try_from(now - before).unwrap_or(u16::MAX));
                self.tokens_told = Some(now);
            }
            _ => {
                self.tokens_told = None;
                chunks.tokens = Vec::new();
            }
        }
    }

    /// The read is understood: notes whether several tokens shared it. Returns how many events
    /// and how many token-bearing events it held.
    pub(crate) fn end_read(&mut self, at_ns: u64, empty_ns: Option<u64>) -> (u32, u32) {
        let (events, count) = std::mem::take(&mut self.in_read);
        if count < 2 {
            return (events, count);
        }
        let record = &mut self.row.record;
        record.merged_chunks += count;
        if let Some(chunks) = &mut self.row.chunks {
            let window_100ns = empty_ns.map_or(u32::MAX, |empty| {
                u32::try_from(at_ns.saturating_sub(empty) / 100).unwrap_or(u32::MAX)
            });
            chunks.merged.push(MergedRead {
                first: record.token_chunks - count,
                count,
                window_100ns,
            });
        }
        (events, count)
    }

    /// Takes over what the answer said of itself.
    pub(crate) fn take_facts(&mut self, facts: &Facts) {
        let record = &mut self.row.record;
        if !facts.id.is_empty() {
            record.answer_id = Some(facts.id.as_str().into());
        }
        record.input_tokens = facts.prompt_tokens();
        record.reasoning_tokens = facts.reasoning_tokens();
        record.cached_tokens = facts.cached_tokens();
        record.finish_reason = facts.finish_reason.as_ref().map(|reason| reason.as_str().into());
        if let Some(tokens) = facts.completion_tokens() {
            record.output_tokens = Some(tokens);
            record.token_source = Some(TokenSource::Usage);
        } else if record.token_chunks > 0 {
            let text = [facts.reasoning_text.as_str(), facts.text.as_str()].concat();
            self.text = (!text.is_empty()).then(|| text.into());
            record.output_tokens = Some(record.token_chunks);
            record.token_source = Some(TokenSource::Chunks);
        }
    }

    /// When this operation has taken too long, by what is known now, ns.
    pub(crate) fn deadline(&self, timeouts: &Timeouts, open_loop: bool) -> u64 {
        let record = &self.row.record;
        let total_from = if open_loop { Some(record.intended_ns) } else { record.write_begin_ns };
        let total = total_from.map(|from| from.saturating_add(timeouts.total_ns));
        let stage = match (record.write_begin_ns, record.last_token_ns) {
            (_, Some(last)) => last.saturating_add(timeouts.gap_ns),
            (Some(sent), None) => sent.saturating_add(timeouts.first_token_ns),
            (None, None) => self.connect_begin_ns.saturating_add(timeouts.connect_ns),
        };
        total.map_or(stage, |total| total.min(stage))
    }

    /// Closes the record.
    pub(crate) fn finish(mut self, outcome: Outcome, phase: Phase, ended_ns: u64) -> RequestRow {
        let record = &mut self.row.record;
        record.outcome = outcome;
        record.phase = phase;
        record.ended_ns = ended_ns;
        record.timestamp_source = match (self.kernel_reads, self.user_reads) {
            (0, 0) => None,
            (_, 0) => Some(TimestampSource::KernelRx),
            (0, _) => Some(TimestampSource::User),
            _ => Some(TimestampSource::Mixed),
        };
        if let Some(chunks) = &mut self.row.chunks {
            chunks.gaps_100ns.shrink_to_fit();
        }
        self.row
    }
}

/// The record of an operation of which nothing has happened yet.
pub(crate) fn empty_record(op: Op, trial: TrialId, endpoint: u16) -> RequestRecord {
    RequestRecord {
        op: op.id,
        trial,
        phase: Phase::WarmUp,
        endpoint,
        answer_id: None,
        intended_ns: op.intended_ns,
        write_begin_ns: None,
        write_end_ns: None,
        headers_ns: None,
        first_chunk_ns: None,
        first_token_ns: None,
        first_output_ns: None,
        last_token_ns: None,
        done_ns: None,
        ended_ns: op.intended_ns,
        dns_ns: None,
        connect_ns: None,
        tls_ns: None,
        input_tokens: None,
        output_tokens: None,
        reasoning_tokens: None,
        cached_tokens: None,
        token_source: None,
        asked_tokens: None,
        chunks: 0,
        token_chunks: 0,
        merged_chunks: 0,
        outcome: Outcome::Ok,
        error: None,
        error_text: None,
        http_status: None,
        finish_reason: None,
        bytes_in: 0,
        reused: false,
        retries: 0,
        timestamp_source: None,
        empty_poll_ns: None,
    }
}

#[cfg(test)]
mod tests {
    use loadline_load::{Control, Shared, Step, TrialLoad};
    use loadline_schema::plan::{Extent, Load, Warmup};

    use super::*;

    const ID: TrialId = TrialId { stage: 0, point: 0, trial: 0, part: 0 };

    fn exchange() -> Exchange {
        let mut exchange = Exchange::new(op(), ID, 0, true);
        exchange.row.record.write_begin_ns = Some(100);
        exchange
    }

    /// The first operation of a closed loop that begins at 50 ns.
    fn op() -> Op {
        let load = TrialLoad {
            load: Load::Closed { concurrency: 1 },
            extent: Extent::Requests { requests: 1 },
            warmup: Warmup::Requests { requests: 0 },
            start_ns: 50,
            stagger_ns: 0,
            think_time_ns: 0,
            max_in_flight: 1,
            seed: 1,
            stop_after_errors: 1.0,
        };
        match Control::new(&load, Shared::new(&load, 1), 0, 1).next(50) {
            Step::Start(op) => op,
            other => panic!("due at once, got {other:?}"),
        }
    }

    fn token(completion_tokens: Option<u32>) -> Event {
        Event::Chunk(ChunkFacts { content: true, completion_tokens, ..Default::default() })
    }

    fn read(
        exchange: &mut Exchange,
        at_ns: u64,
        empty: Option<u64>,
        events: &[Event],
    ) -> (u32, u32) {
        exchange.begin_read(&Arrival { at_ns, read_ns: at_ns + 5, source: Source::Kernel }, 10);
        for event in events {
            exchange.event(*event, at_ns, empty);
        }
        exchange.end_read(at_ns, empty)
    }

    #[test]
    fn a_role_chunk_is_a_first_chunk_and_no_first_token() {
        let mut exchange = exchange();
        let role = Event::Chunk(ChunkFacts::default());
        read(&mut exchange, 1_000, None, &[Event::Head, role]);
        read(&mut exchange, 2_000, Some(1_500), &[token(None)]);
        let record = &exchange.row.record;
        assert_eq!((record.first_chunk_ns, record.first_token_ns), (Some(1_000), Some(2_000)));
        assert_eq!(record.empty_poll_ns, Some(1_500));
    }

    #[test]
    fn reasoning_counts_as_token_but_not_as_output() {
        let mut exchange = exchange();
        let thought = Event::Chunk(ChunkFacts { reasoning: true, ..Default::default() });
        read(&mut exchange, 1_000, None, &[thought]);
        read(&mut exchange, 3_000, None, &[token(None)]);
        let record = &exchange.row.record;
        assert_eq!((record.first_token_ns, record.first_output_ns), (Some(1_000), Some(3_000)));
    }

    #[test]
    fn tokens_of_one_read_share_a_stamp_and_are_marked() {
        let mut exchange = exchange();
        read(&mut exchange, 1_000, None, &[token(None)]);
        assert_eq!(read(&mut exchange, 90_050, Some(80_050), &[token(None), token(None)]), (2, 2));
        let row = exchange.finish(Outcome::Ok, Phase::Measure, 1);
        let chunks = row.chunks.expect("kept");
        assert_eq!(chunks.gaps_100ns, vec![890, 0]);
        assert_eq!(chunks.merged, vec![MergedRead { first: 1, count: 2, window_100ns: 100 }]);
        assert_eq!((row.record.merged_chunks, row.record.token_chunks), (2, 3));
    }

    #[test]
    fn token_counts_are_kept_only_when_every_chunk_tells_them() {
        let mut told = exchange();
        read(&mut told, 1_000, None, &[token(Some(2)), token(Some(5))]);
        assert_eq!(told.row.chunks.as_ref().expect("kept").tokens, vec![2, 3]);
        read(&mut told, 2_000, None, &[token(None), token(Some(9))]);
        assert!(told.row.chunks.expect("kept").tokens.is_empty());
    }

    #[test]
    fn deadlines_follow_the_stage_of_the_answer() {
        let timeouts = Timeouts { connect_ns: 1, first_token_ns: 20, gap_ns: 30, total_ns: 1_000 };
        let mut exchange = exchange();
        assert_eq!(exchange.deadline(&timeouts, false), 120, "first token from sent");
        assert_eq!(
            exchange.deadline(&Timeouts { total_ns: 10, ..timeouts }, true),
            60,
            "from intended"
        );
        read(&mut exchange, 500, None, &[token(None)]);
        assert_eq!(exchange.deadline(&timeouts, false), 530);
        exchange.row.record.write_begin_ns = None;
        exchange.row.record.last_token_ns = None;
        exchange.connect_begin_ns = 70;
        assert_eq!(exchange.deadline(&timeouts, false), 71, "connecting");
    }
}
