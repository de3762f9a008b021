//! What the operations of a point add up to over its trials: outcomes, latencies, gaps, tokens.

use std::collections::{BTreeMap, BTreeSet};

use loadline_schema::document::{OutcomeCounts, Tokens};
use loadline_schema::outcome::{ErrorKind, Outcome, TimestampSource, TokenSource};
use loadline_schema::record::{ChunkTimes, RequestRecord, RequestRow, TrialId};
use loadline_schema::sla::Latency;

use crate::attempt::{Attempt, TrialAttempts};
use crate::gaps::{GapPool, first_token_is_late};
use crate::pool::Pool;

/// A stamp may lie this much before the clock reading it is compared with, for the error of
/// mapping one clock to the other; it then counts as equal. Beyond that there is no value, ns.
const CLOCK_SLACK_NS: u64 = 1_000_000;

/// Sums over the cohort of all trials.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: OutcomeCounts,
    pub(crate) outside: OutcomeCounts,
    pub(crate) errors: BTreeMap<ErrorKind, u64>,
    pub(crate) examples: BTreeMap<ErrorKind, (TrialId, u64, String)>,
    pub(crate) finish_reasons: BTreeMap<String, u64>,
    pub(crate) sources: BTreeMap<TimestampSource, u64>,
    pub(crate) pools: Pools,
    pub(crate) gaps: GapPool,
    /// The attempts of the trial that is being taken.
    pub(crate) attempts: TrialAttempts,
    /// The limits on gaps that they are counted against, ns.
    pub(crate) itl_limits: Vec<f64>,
    pub(crate) tokens: TokenTally,
    /// Answers of the cohort whose first content came after their first token.
    pub(crate) later_output: u64,
    /// Answers of the cohort without any token.
    pub(crate) empty: u64,
    /// Answers of several tokens that came in one event.
    pub(crate) single_event: u64,
    /// Answers without chunk times.
    pub(crate) without_chunk_times: u64,
    /// Answers whose first token is an upper bound.
    pub(crate) late_first_tokens: u64,
}

/// Latencies of the cohort.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pub(crate) ttft: Pool,
    pub(crate) ttft_service: Pool,
    pub(crate) ttfo: Pool,
    pub(crate) ttfc: Pool,
    pub(crate) tpot: Pool,
    pub(crate) max_gap: Pool,
    pub(crate) e2e: Pool,
    /// Sent − intended.
    pub(crate) send_lag: Pool,
    /// The same without look-up, connecting and TLS: the client's own share.
    pub(crate) own_lag: Pool,
}

impl Tally {
    /// Takes an operation outside the cohort.
    pub(crate) fn outside(&mut self, record: &RequestRecord) {
        count(&mut self.outside, record.outcome, 1);
    }

    /// Takes an operation of the cohort. `open`: latencies count from its intended time.
    pub(crate) fn cohort(&mut self, row: &RequestRow, open: bool) {
        let record = &row.record;
        count(&mut self.requests, record.outcome, 1);
        let lag = record.write_begin_ns.and_then(|sent| since(record.intended_ns, sent));
        self.pools.send_lag.push(lag);
        let connecting = [record.dns_ns, record.connect_ns, record.tls_ns];
        let connecting: u64 = connecting.into_iter().flatten().sum();
        self.pools.own_lag.push(lag.map(|lag| lag.saturating_sub(connecting)));
        if record.outcome == Outcome::Ok {
            self.answer(record, row.chunks.as_ref(), open);
        } else {
            self.error(record);
            if record.outcome.is_attempt() {
                self.attempts.push(Attempt::not_ok(record.intended_ns));
            }
        }
    }

    fn error(&mut self, record: &RequestRecord) {
        let Some(kind) = record.error else { return };
        *self.errors.entry(kind).or_default() += 1;
        let Some(text) = record.error_text.as_deref() else { return };
        let candidate = (record.trial, record.op, text.to_owned());
        let kept = self.examples.entry(kind).or_insert_with(|| candidate.clone());
        // The earliest, so that the order of the rows does not matter.
        if candidate < *kept {
            *kept = candidate;
        }
    }

    fn answer(&mut self, record: &RequestRecord, chunks: Option<&ChunkTimes>, open: bool) {
        let begin = if open { Some(record.intended_ns) } else { record.write_begin_ns };
        let from = |start: Option<u64>, end: Option<u64>| since(start?, end?);
        let ttft = from(begin, record.first_token_ns);
        let ttfo = from(begin, record.first_output_ns);
        let e2e = from(begin, record.done_ns);
        let tpot = tpot_ns(record);
        let attempt = Attempt::ok(record.intended_ns)
            .with(Latency::Ttft, ttft)
            .with(Latency::Ttfo, ttfo)
            .with(Latency::E2e, e2e);
        // An answer of one token has no gaps to limit, and is none the worse for it.
        let attempt = tpot.map_or(attempt, |ns| attempt.with(Latency::Tpot, Some(ns)));
        let pools = &mut self.pools;
        pools.ttft.push(ttft);
        pools.ttfc.push(from(begin, record.first_chunk_ns));
        pools.ttfo.push(ttfo);
        pools.e2e.push(e2e);
        if open {
            pools.ttft_service.push(from(record.write_begin_ns, record.first_token_ns));
        }
        pools.tpot.push(tpot);
        self.later_output += u64::from(record.first_output_ns != record.first_token_ns);
        self.empty += u64::from(record.first_token_ns.is_none());
        let several = record.output_tokens.is_some_and(|n| n >= 2);
        self.single_event += u64::from(several && record.token_chunks == 1);
        if let Some(source) = record.timestamp_source {
            *self.sources.entry(source).or_default() += 1;
        }
        if let Some(reason) = &record.finish_reason {
            *self.finish_reasons.entry(reason.to_string()).or_default() += 1;
        }
        self.tokens.take(record, chunks);
        self.chunks(record, chunks, attempt);
    }

    fn chunks(&mut self, record: &RequestRecord, chunks: Option<&ChunkTimes>, attempt: Attempt) {
        let Some(chunks) = chunks else {
            self.without_chunk_times += u64::from(record.token_chunks > 1);
            self.attempts.push(attempt);
            return;
        };
        self.late_first_tokens += u64::from(first_token_is_late(chunks));
        let Some(gaps) = self.gaps.push(chunks) else {
            self.attempts.push(attempt);
            return;
        };
        self.pools.max_gap.push(Some(gaps.longest_ns));
        self.pools.max_gap.flagged += u64::from(gaps.uncertain);
        let attempt = attempt.with(Latency::MaxGap, Some(gaps.longest_ns));
        let (values, limits) = (self.gaps.of_answer(), &self.itl_limits);
        self.attempts.push_with_gaps(attempt, values, gaps.zeros, limits);
    }

    /// Errors by name, and an example of each.
    pub(crate) fn errors_by_name(&self) -> (BTreeMap<String, u64>, BTreeMap<String, String>) {
        let counts = self.errors.iter().map(|(kind, n)| (kind.to_string(), *n)).collect();
        let examples =
            self.examples.iter().map(|(kind, (_, _, t))| (kind.to_string(), t.clone())).collect();
        (counts, examples)
    }
}

/// Operations by outcome: adds `n`.
pub(crate) fn count(counts: &mut OutcomeCounts, outcome: Outcome, n: u64) {
    *match outcome {
        Outcome::Ok => &mut counts.ok,
        Outcome::Failed => &mut counts.failed,
        Outcome::TimedOut => &mut counts.timed_out,
        Outcome::CutShort => &mut counts.cut_short,
        Outcome::Cancelled => &mut counts.cancelled,
        Outcome::Dropped => &mut counts.dropped,
        Outcome::Unknown => &mut counts.unknown,
    } += n;
}

/// Attempts: the denominator of attainment and of the share left out.
pub(crate) fn attempts(counts: &OutcomeCounts) -> u64 {
    counts.ok + counts.failed + counts.timed_out + counts.cut_short + counts.dropped
}

fn since(start_ns: u64, end_ns: u64) -> Option<u64> {
    match end_ns.checked_sub(start_ns) {
        Some(length) => Some(length),
        None if start_ns - end_ns <= CLOCK_SLACK_NS => Some(0),
        None => None,
    }
}

/// (last token − first token) / (output tokens − 1), rounded to a ns. Absent with fewer than two
/// tokens, and where all of them came in one event: their spacing was not seen.
fn tpot_ns(record: &RequestRecord) -> Option<u64> {
    let tokens = u64::from(record.output_tokens?);
    if tokens < 2 || record.token_chunks < 2 {
        return None;
    }
    let decode = record.last_token_ns?.checked_sub(record.first_token_ns?)?;
    let steps = tokens - 1;
    Some((decode + steps / 2) / steps)
}

/// A sum and the number of values in it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sum {
    pub(crate) sum: u64,
    pub(crate) n: u64,
}

impl Sum {
    fn take(&mut self, value: Option<u32>) {
        if let Some(value) = value {
            self.sum += u64::from(value);
            self.n += 1;
        }
    }

    /// The mean; `None` without values.
    pub(crate) fn mean(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum as f64 / self.n as f64)
    }
}

/// Tokens of the ok answers of the cohort.
#[derive(Debug, Default)]
pub(crate) struct TokenTally {
    pub(crate) input: Sum,
    pub(crate) output: Sum,
    pub(crate) reasoning: Sum,
    pub(crate) cached: Sum,
    /// Tokens asked for, and tokens got, of answers counted by the server.
    pub(crate) asked: Sum,
    pub(crate) got: Sum,
    sources: BTreeSet<&'static str>,
    /// Answers counted by their events.
    pub(crate) by_chunks: u64,
    /// Tokens and token-bearing events of answers counted by the server.
    counted: u64,
    counted_events: u64,
    /// Tokens by which count and events differ beyond one for each answer, where the server does
    /// not tell the tokens of each event.
    pub(crate) untold: u64,
}

impl TokenTally {
    fn take(&mut self, record: &RequestRecord, chunks: Option<&ChunkTimes>) {
        self.input.take(record.input_tokens);
        self.output.take(record.output_tokens);
        self.reasoning.take(record.reasoning_tokens);
        self.cached.take(record.cached_tokens);
        let (Some(tokens), Some(source)) = (record.output_tokens, record.token_source) else {
            return;
        };
        self.sources.insert(source.as_str());
        if source == TokenSource::Chunks {
            self.by_chunks += 1;
            return;
        }
        if record.asked_tokens.is_some() {
            self.asked.take(record.asked_tokens);
            self.got.take(Some(tokens));
        }
        if record.token_chunks > 0 {
            self.counted += u64::from(tokens);
            self.counted_events += u64::from(record.token_chunks);
        }
        if chunks.is_some_and(|c| c.tokens.is_empty()) {
            self.untold += u64::from(tokens.abs_diff(record.token_chunks)).saturating_sub(1);
        }
    }

    /// Output tokens per token-bearing event. Absent where an answer was counted by its events:
    /// the quotient would be 1 by definition.
    pub(crate) fn per_chunk(&self) -> Option<f64> {
        (self.by_chunks == 0 && self.counted_events > 0)
            .then(|| self.counted as f64 / self.counted_events as f64)
    }

    /// The block of the document; absent without any count.
    pub(crate) fn block(&self) -> Option<Tokens> {
        (self.output.n > 0).then(|| Tokens {
            input: self.input.mean(),
            output: self.output.mean(),
            reasoning: self.reasoning.mean(),
            cached: self.cached.mean(),
            output_total: self.output.sum,
            input_total: (self.input.n > 0).then_some(self.input.sum),
            source: self.sources.iter().copied().collect::<Vec<_>>().join("+"),
            per_chunk: self.per_chunk(),
        })
    }
}
