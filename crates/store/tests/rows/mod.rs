//! Rows, plans and starts for the tests of the store.
#![allow(dead_code, reason = "each test binary uses its share")]

use std::path::Path;

use loadline_schema::outcome::{ErrorKind, Outcome, Phase, TimestampSource, TokenSource};
use loadline_schema::plan::Plan;
use loadline_schema::record::{ChunkTimes, MergedRead, RequestRecord, RequestRow, Start, TrialId};
use loadline_store::{RunReader, RunStart, RunWriter, this_process};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

/// 2026-11-24T10:15:00Z.
pub(crate) const ORIGIN_UNIX_NS: u64 = 1_795_515_300_000_000_000;

/// A plan with stages of these names.
pub(crate) fn plan(stages: &[&str]) -> Plan {
    let stage = |name: &&str| {
        serde_json::json!({
            "kind": "serving", "name": name, "endpoints": ["http://user:SECRET@localhost:8000"],
            "api": "chat", "model": null,
            "prompt": {"source": "synthetic", "tokens": {"law": "fixed", "tokens": 8}, "shared_prefix": 0},
            "output": {"tokens": {"law": "fixed", "tokens": 8}, "ignore_eos": false},
            "points": [{"loop": "closed", "concurrency": 1}],
            "extent": {"by": "requests", "requests": 10}, "warmup": {"by": "requests", "requests": 0},
            "trials": 1, "stagger_ns": null, "think_time_ns": 0,
            "timeouts": {"connect_ns": 1, "first_token_ns": 1, "gap_ns": 1, "total_ns": 1},
            "retries": 0, "stop_after_errors": 0.5, "max_in_flight": null, "max_tokens_total": null,
            "headers": [{"name": "Authorization", "value": "Bearer SECRET"}],
            "extra_body": {"user": {"api_key": "SECRET"}}, "api_key": {"env": "LLM_KEY"},
            "ca_file": null, "insecure": false, "discover": false, "per_chunk_usage": false,
            "chunk_times": true, "reactors": null
        })
    };
    let stages: Vec<_> = stages.iter().map(stage).collect();
    serde_json::from_value(serde_json::json!({"name": "test", "seed": 7, "stages": stages}))
        .expect("the plan of the tests is one")
}

/// What a writer is told at its start.
pub(crate) fn start() -> RunStart {
    RunStart {
        tool_version: "0.1.0".to_owned(),
        unix_ns: ORIGIN_UNIX_NS,
        host: this_process(),
        selftest: None,
    }
}

/// A new run with these stages.
pub(crate) fn create(out_dir: &Path, stages: &[&str]) -> RunWriter {
    RunWriter::create(out_dir, "test", None, &plan(stages), &start()).expect("a run is created")
}

/// All requests of a run, in order.
pub(crate) fn requests(run: &RunReader) -> Vec<RequestRow> {
    let mut rows = Vec::new();
    run.each_request(None, true, |_, row| {
        rows.push(row);
        Ok::<(), loadline_store::StoreError>(())
    })
    .expect("requests are readable");
    rows
}

/// A request row of a trial with this many gaps.
pub(crate) fn row(op: u64, trial: TrialId, gaps: usize) -> RequestRow {
    let at = 1_000_000 * (op + 1);
    let record = RequestRecord {
        op,
        trial,
        phase: Phase::Measure,
        endpoint: 0,
        answer_id: Some(format!("chatcmpl-{op:08}").into()),
        intended_ns: at,
        write_begin_ns: Some(at + 5_000),
        write_end_ns: Some(at + 9_000),
        headers_ns: Some(at + 200_000_000),
        first_chunk_ns: Some(at + 200_100_000),
        first_token_ns: Some(at + 200_100_000 + op % 977 * 31),
        first_output_ns: Some(at + 200_100_000),
        last_token_ns: Some(at + 2_200_100_000 + op % 977 * 57),
        done_ns: Some(at + 2_200_200_000),
        ended_ns: at + 2_200_200_000,
        dns_ns: None,
        connect_ns: None,
        tls_ns: None,
        input_tokens: Some(512),
        output_tokens: Some(gaps as u32 + 1),
        reasoning_tokens: None,
        cached_tokens: None,
        token_source: Some(TokenSource::Usage),
        asked_tokens: Some(128),
        chunks: gaps as u32 + 3,
        token_chunks: gaps as u32 + 1,
        merged_chunks: 0,
        outcome: Outcome::Ok,
        error: None,
        error_text: None,
        http_status: Some(200),
        finish_reason: Some("length".into()),
        bytes_in: 20_000,
        reused: op > 0,
        retries: 0,
        timestamp_source: Some(TimestampSource::KernelRx),
        empty_poll_ns: Some(at + 200_000_000),
    };
    let noise = |gap: usize| (op as u32).wrapping_mul(2_654_435_761).rotate_left(gap as u32 % 31);
    let chunks = ChunkTimes {
        gaps_100ns: (0..gaps).map(|gap| 200_000 + noise(gap) % 3_000).collect(),
        tokens: Vec::new(),
        merged: Vec::new(),
    };
    RequestRow { record, chunks: Some(chunks) }
}

/// The first trial of the first stage.
pub(crate) const TRIAL: TrialId = TrialId { stage: 0, point: 0, trial: 0, part: 0 };

/// The start that belongs to a row.
pub(crate) fn start_of(row: &RequestRow) -> Start {
    let RequestRecord { op, trial, intended_ns, .. } = row.record;
    Start { op, trial, intended_ns, started_ns: intended_ns + 5_000 }
}

fn any_text() -> impl Strategy<Value = Option<Box<str>>> {
    of("\\PC{0,12}|[\\x00-\\x7f]{0,8}").prop_map(|text| text.map(String::into_boxed_str))
}

fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(move |index| all[index])
}

prop_compose! {
    /// Times in the order of the record's fields from `write_begin_ns` to `done_ns`, and more.
    fn any_times()(times in proptest::array::uniform13(of(any::<u64>()))) -> [Option<u64>; 13] {
        times
    }
}

prop_compose! {
    fn any_record(stages: u16)(
        op in any::<u64>(),
        (stage, point, trial) in (0..stages, 0..3u16, 0..3u16),
        (phase, outcome) in (any_of(Phase::ALL), any_of(Outcome::ALL)),
        error in of(any_of(ErrorKind::ALL)),
        (token_source, timestamp_source) in
            (of(any_of(TokenSource::ALL)), of(any_of(TimestampSource::ALL))),
        (answer_id, error_text, finish_reason) in (any_text(), any_text(), any_text()),
        times in any_times(),
        tokens in proptest::array::uniform5(of(any::<u32>())),
        counts in any::<[u32; 3]>(),
        (intended_ns, ended_ns, bytes_in) in any::<(u64, u64, u64)>(),
        (endpoint, retries, http_status, reused) in
            (any::<u16>(), any::<u16>(), of(any::<u16>()), any::<bool>()),
    ) -> RequestRecord {
        RequestRecord {
            op, trial: TrialId { stage, point, trial, part: 0 }, phase, endpoint, answer_id,
            intended_ns, write_begin_ns: times[0], write_end_ns: times[1], headers_ns: times[2],
            first_chunk_ns: times[3], first_token_ns: times[4], first_output_ns: times[5],
            last_token_ns: times[6], done_ns: times[7], ended_ns, dns_ns: times[8],
            connect_ns: times[9], tls_ns: times[10], empty_poll_ns: times[11],
            input_tokens: tokens[0], output_tokens: tokens[1], reasoning_tokens: tokens[2],
            cached_tokens: tokens[3], asked_tokens: tokens[4], token_source,
            chunks: counts[0], token_chunks: counts[1], merged_chunks: counts[2],
            outcome, error, error_text, http_status, finish_reason, bytes_in, reused, retries,
            timestamp_source,
        }
    }
}

fn any_chunks() -> impl Strategy<Value = Option<ChunkTimes>> {
    let merged = (any::<u32>(), any::<u32>(), any::<u32>())
        .prop_map(|(first, count, window_100ns)| MergedRead { first, count, window_100ns });
    of((vec(any::<u32>(), 0..20), vec(any::<u16>(), 0..20), vec(merged, 0..4))
        .prop_map(|(gaps_100ns, tokens, merged)| ChunkTimes { gaps_100ns, tokens, merged }))
}

/// Rows of a run with so many stages: any values, operation numbers unique in the whole run.
pub(crate) fn any_rows(stages: u16) -> impl Strategy<Value = Vec<RequestRow>> {
    vec((any_record(stages), any_chunks()), 0..40).prop_map(|rows| {
        let unique = |(index, (mut record, chunks)): (usize, (RequestRecord, _))| {
            record.op = record.op << 8 | index as u64;
            RequestRow { record, chunks }
        };
        rows.into_iter().enumerate().map(unique).collect()
    })
}
