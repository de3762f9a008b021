//! Records: one row for each operation, and the arrival times of its tokens.
//!
//! Every time is u64 ns from the run's origin on the monotonic clock. What did not happen is
//! absent (`None`), never zero.

use crate::outcome::{ErrorKind, Outcome, Phase, TimestampSource, TokenSource};

/// Which trial of which point of which stage, and the part of the run that carried it out (a
/// resumed run starts a new part, so that a trial begun twice can be told apart).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct TrialId {
    /// Zero-based index of the stage in the plan.
    pub stage: u16,
    /// Zero-based index of the point in the stage.
    pub point: u16,
    /// Zero-based repetition.
    pub trial: u16,
    /// Zero-based part of the run.
    pub part: u16,
}

/// One LLM request, from its intended time to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRecord {
    /// Number of the operation in its trial, from 0; unique over all reactors of the trial.
    pub op: u64,
    /// The trial it belongs to.
    pub trial: TrialId,
    /// Where its intended time lies.
    pub phase: Phase,
    /// Index into the stage's endpoints.
    pub endpoint: u16,
    /// The `id` of the answer.
    pub answer_id: Option<Box<str>>,

    /// When it was due, ns.
    pub intended_ns: u64,
    /// Clock before the first byte was handed to the socket (= sent), ns.
    pub write_begin_ns: Option<u64>,
    /// Clock after the socket accepted the last byte, ns.
    pub write_end_ns: Option<u64>,
    /// Arrival of the read that completed the answer's head, ns.
    pub headers_ns: Option<u64>,
    /// Arrival of the first event of any kind, ns.
    pub first_chunk_ns: Option<u64>,
    /// Arrival of the first non-empty content, reasoning or tool-call delta, ns.
    pub first_token_ns: Option<u64>,
    /// Arrival of the first non-reasoning content, ns.
    pub first_output_ns: Option<u64>,
    /// Arrival of the last token-bearing event, ns.
    pub last_token_ns: Option<u64>,
    /// Arrival of the last byte of the answer (`[DONE]` and usage included), ns. Only complete
    /// answers have one.
    pub done_ns: Option<u64>,
    /// When the operation was over for the client, whatever its outcome, ns.
    pub ended_ns: u64,
    /// How long the name look-up took, where this request waited for one, ns.
    pub dns_ns: Option<u64>,
    /// How long connecting took, where this request opened its connection, ns.
    pub connect_ns: Option<u64>,
    /// How long the TLS handshake took, likewise, ns.
    pub tls_ns: Option<u64>,

    /// Prompt tokens by the server's count, template included.
    pub input_tokens: Option<u32>,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: Option<u32>,
    /// Reasoning tokens among them.
    pub reasoning_tokens: Option<u32>,
    /// Prompt tokens served from the prefix cache.
    pub cached_tokens: Option<u32>,
    /// Where `output_tokens` comes from.
    pub token_source: Option<TokenSource>,
    /// Output tokens asked for.
    pub asked_tokens: Option<u32>,
    /// Events of any kind in the stream.
    pub chunks: u32,
    /// Token-bearing events.
    pub token_chunks: u32,
    /// Token-bearing events that shared their read (and so their stamp) with another.
    pub merged_chunks: u32,

    /// How it ended.
    pub outcome: Outcome,
    /// Why, when not `ok`.
    pub error: Option<ErrorKind>,
    /// The server's or the system's own words about it, masked and shortened.
    pub error_text: Option<Box<str>>,
    /// HTTP status.
    pub http_status: Option<u16>,
    /// The server's finish reason (`stop`, `length`, …).
    pub finish_reason: Option<Box<str>>,
    /// Bytes received for it.
    pub bytes_in: u64,
    /// Whether it went out on a connection that had served a request before.
    pub reused: bool,
    /// How often it was sent again.
    pub retries: u16,
    /// Source of the arrival times.
    pub timestamp_source: Option<TimestampSource>,
    /// The last poll before the first token's read that showed the socket empty, ns: where the
    /// first token lies in a merged read, it arrived between this and `first_token_ns`.
    pub empty_poll_ns: Option<u64>,
}

/// Arrival times of one request's token-bearing events, the child table of [`RequestRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkTimes {
    /// Differences between neighbouring arrivals in units of 100 ns, from the first token on: one
    /// entry fewer than token-bearing events. Each is a difference of floored absolute times, so
    /// that sums carry no error over 100 ns.
    pub gaps_100ns: Vec<u32>,
    /// Tokens in each token-bearing event, when the server tells them; empty otherwise.
    pub tokens: Vec<u16>,
    /// Reads that held several token-bearing events, in order.
    pub merged: Vec<MergedRead>,
}

/// A read that brought two or more token-bearing events of one request: they share one stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergedRead {
    /// Index (from 0) of the first token-bearing event in it.
    pub first: u32,
    /// How many token-bearing events it held, at least 2.
    pub count: u32,
    /// Stamp minus the last poll that showed the socket empty, in units of 100 ns: a short one is
    /// the server's bundle, a long one the client's lateness. `u32::MAX` when not known.
    pub window_100ns: u32,
}

/// A request together with its chunk times (absent when they are switched off).
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRow {
    /// The record.
    pub record: RequestRecord,
    /// Its chunk times.
    pub chunks: Option<ChunkTimes>,
}

/// A started operation, stored in small batches so that a kill can be accounted for:
/// unknown = started − recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The operation.
    pub op: u64,
    /// Its trial.
    pub trial: TrialId,
    /// When it was due, ns.
    pub intended_ns: u64,
    /// When it was started, ns.
    pub started_ns: u64,
}
