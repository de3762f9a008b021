//! Trials made by hand, for the tests of the analysis.
#![allow(dead_code, reason = "each test file uses a part of it")]

use loadline_analysis::{StageInput, TrialInput, serving_point};
use loadline_schema::document::Point;
use loadline_schema::event::{ClientFigures, TrialEnd};
use loadline_schema::outcome::{ErrorKind, Outcome, Phase, TimestampSource, TokenSource};
use loadline_schema::plan::{
    Api, Extent, Length, Load, Output, Prompt, ServingStage, Timeouts, Warmup,
};
use loadline_schema::record::{ChunkTimes, MergedRead, RequestRecord, RequestRow, Start, TrialId};

/// A millisecond, ns.
pub(crate) const MS: u64 = 1_000_000;
/// A second, ns.
pub(crate) const S: u64 = 1_000_000_000;

/// A stage of one closed-loop point, 1 trial of 10 s.
pub(crate) fn stage() -> ServingStage {
    ServingStage {
        name: "made".to_owned(),
        endpoints: vec!["http://server:8000".to_owned()],
        embedded: None,
        api: Api::Chat,
        model: None,
        prompt: Prompt::Synthetic { tokens: Length::Fixed { tokens: 512 }, shared_prefix: 0 },
        output: Output { tokens: Length::Fixed { tokens: 5 }, ignore_eos: true },
        points: vec![Load::Closed { concurrency: 1 }],
        find: None,
        extent: Extent::Duration { duration_ns: 10 * S },
        warmup: Warmup::Steady { least_ns: 0, answers_per_slot: 0 },
        trials: 1,
        stagger_ns: None,
        think_time_ns: 0,
        timeouts: Timeouts::default(),
        retries: 0,
        stop_after_errors: 0.5,
        max_in_flight: None,
        max_tokens_total: None,
        headers: Vec::new(),
        extra_body: None,
        api_key: None,
        ca_file: None,
        insecure: false,
        discover: true,
        per_chunk_usage: false,
        chunk_times: true,
        reactors: None,
    }
}

/// Nothing known but the plan.
pub(crate) fn input(stage: &ServingStage) -> StageInput<'_> {
    StageInput {
        stage,
        facts: None,
        calibration: None,
        selftest: None,
        sla: &[],
        cost: None,
        observed: None,
    }
}

/// The id of a trial.
pub(crate) fn id(trial: u16) -> TrialId {
    TrialId { stage: 0, point: 0, trial, part: 0 }
}

/// An ok answer of 5 tokens in 5 events: sent when intended, first token `ttft` ms later, 10 ms
/// between tokens, done 1 ms after the last. Times in ms.
pub(crate) fn ok(op: u64, intended: u64, ttft: u64) -> RequestRow {
    answer(op, intended * MS, ttft * MS, &[10 * MS; 4])
}

/// An ok answer, times in ns: a token for each event.
pub(crate) fn answer(op: u64, intended: u64, ttft: u64, gaps: &[u64]) -> RequestRow {
    let first = intended + ttft;
    let last = first + gaps.iter().sum::<u64>();
    let events = gaps.len() as u32 + 1;
    let record = RequestRecord {
        op,
        trial: id(0),
        phase: Phase::Measure,
        endpoint: 0,
        answer_id: None,
        intended_ns: intended,
        write_begin_ns: Some(intended),
        write_end_ns: Some(intended),
        headers_ns: Some(first),
        first_chunk_ns: Some(first),
        first_token_ns: Some(first),
        first_output_ns: Some(first),
        last_token_ns: Some(last),
        done_ns: Some(last + MS),
        ended_ns: last + MS,
        dns_ns: None,
        connect_ns: None,
        tls_ns: None,
        input_tokens: Some(512),
        output_tokens: Some(events),
        reasoning_tokens: None,
        cached_tokens: None,
        token_source: Some(TokenSource::Usage),
        asked_tokens: Some(events),
        chunks: events + 2,
        token_chunks: events,
        merged_chunks: 0,
        outcome: Outcome::Ok,
        error: None,
        error_text: None,
        http_status: Some(200),
        finish_reason: Some("length".into()),
        bytes_in: 1000,
        reused: true,
        retries: 0,
        timestamp_source: Some(TimestampSource::KernelRx),
        empty_poll_ns: None,
    };
    let gaps_100ns = gaps.iter().map(|g| (g / 100) as u32).collect();
    RequestRow { record, chunks: Some(ChunkTimes { gaps_100ns, ..ChunkTimes::default() }) }
}

/// A request that failed 5 ms after it was sent. Times in ms.
pub(crate) fn failed(op: u64, intended: u64, error: ErrorKind) -> RequestRow {
    let mut row = ok(op, intended, 1);
    let record = &mut row.record;
    record.outcome = Outcome::Failed;
    record.error = Some(error);
    record.error_text = Some(format!("words about {op}").into());
    record.ended_ns = (intended + 5) * MS;
    record.headers_ns = None;
    record.first_chunk_ns = None;
    record.first_token_ns = None;
    record.first_output_ns = None;
    record.last_token_ns = None;
    record.done_ns = None;
    record.output_tokens = None;
    record.input_tokens = None;
    record.token_source = None;
    record.finish_reason = None;
    record.token_chunks = 0;
    record.chunks = 0;
    row.chunks = None;
    row
}

/// An operation that was due and never sent. Time in ms.
pub(crate) fn dropped(op: u64, intended: u64) -> RequestRow {
    let mut row = failed(op, intended, ErrorKind::InFlightLimit);
    row.record.outcome = Outcome::Dropped;
    row.record.write_begin_ns = None;
    row.record.write_end_ns = None;
    row.record.ended_ns = intended * MS;
    row.record.error_text = None;
    row
}

/// A late or bundled read: `count` events from event `first` on share a stamp.
pub(crate) fn merge(row: &mut RequestRow, first: u32, count: u32, window_100ns: u32) {
    row.record.merged_chunks += count;
    let chunks = row.chunks.as_mut().expect("the row has chunk times");
    chunks.merged.push(MergedRead { first, count, window_100ns });
}

/// A client that was bored: 10 % busy.
pub(crate) fn bored() -> ClientFigures {
    ClientFigures {
        reactors: 1,
        cpu_ns: S,
        spin_ns: 0,
        wall_ns: 10 * S,
        chunks: 1000,
        token_chunks: 900,
        clock_step_ns: 20,
        ..ClientFigures::default()
    }
}

/// The end of a trial by duration, window `[0, 10 s)`.
pub(crate) fn end(trial: u16) -> TrialEnd {
    TrialEnd {
        trial: id(trial),
        ended_early: None,
        start_ns: 0,
        window: Some((0, 10 * S)),
        by_count: false,
        started: 0,
        max_in_flight: 1,
        client: bored(),
    }
}

/// A trial as planned, its rows moved to it.
pub(crate) fn trial(trial: u16, mut rows: Vec<RequestRow>) -> TrialInput {
    for row in &mut rows {
        row.record.trial = id(trial);
    }
    let starts = rows
        .iter()
        .filter(|r| r.record.outcome != Outcome::Dropped)
        .map(|r| start(trial, r.record.op, r.record.intended_ns))
        .collect();
    TrialInput { id: id(trial), rows, starts, end: Some(end(trial)), measure_from_ns: None }
}

/// A started operation, time in ns.
pub(crate) fn start(trial: u16, op: u64, at: u64) -> Start {
    Start { op, trial: id(trial), intended_ns: at, started_ns: at }
}

/// A point of one trial in closed loop.
pub(crate) fn closed(rows: Vec<RequestRow>) -> Point {
    serving_point(input(&stage()), Load::Closed { concurrency: 1 }, [trial(0, rows)])
}

/// The codes of a point's warnings.
pub(crate) fn codes(point: &Point) -> Vec<&str> {
    point.warnings.iter().map(|w| w.code.as_str()).collect()
}

/// Two floats that are the same but for rounding.
#[track_caller]
pub(crate) fn near(left: impl Into<Option<f64>>, right: f64) {
    let left = left.into().expect("a value");
    assert!((left - right).abs() <= 1e-9 * right.abs().max(1.0), "{left} is not {right}");
}
