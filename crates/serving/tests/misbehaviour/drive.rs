//! One short trial against a server, and what its records have in common.

use std::sync::{Arc, Mutex};

use loadline_clock::RunClock;
use loadline_load::TrialLoad;
use loadline_schema::event::TrialEnd;
use loadline_schema::outcome::Outcome;
use loadline_schema::plan::{Api, Extent, Load, Timeouts, Warmup};
use loadline_schema::record::{RequestRecord, RequestRow, TrialId};
use loadline_serving::target::{Target, TargetError, TargetSettings};
use loadline_serving::trial::{Parts, Stop, Trial, run_trial};
use loadline_serving::{Batch, Requests, Sink};
use loadline_testkit::cases::Expect;

pub(crate) const MS: u64 = 1_000_000;
const ID: TrialId = TrialId { stage: 0, point: 0, trial: 0, part: 0 };

/// Sends the same body each time.
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Requests for Body {
    fn write_body(&mut self, _: u64, body: &mut Vec<u8>) -> u32 {
        body.extend_from_slice(&self.0);
        8
    }
}

struct Kept(Arc<Mutex<Vec<RequestRow>>>);

impl Sink for Kept {
    fn batch(&mut self, batch: Batch) -> bool {
        self.0.lock().unwrap().extend(batch.rows);
        false
    }
}

/// A closed loop with one slot, and limits short enough for a test.
pub(crate) struct Drive {
    pub(crate) requests: u64,
    pub(crate) think_ns: u64,
    pub(crate) retries: u16,
    pub(crate) timeouts: Timeouts,
    pub(crate) body: Vec<u8>,
}

impl Drive {
    pub(crate) fn requests(requests: u64) -> Self {
        let s = 1_000 * MS;
        Self {
            requests,
            think_ns: 0,
            retries: 0,
            timeouts: Timeouts {
                connect_ns: 5 * s,
                first_token_ns: 5 * s,
                gap_ns: 5 * s,
                total_ns: 9 * s,
            },
            body: br#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#.to_vec(),
        }
    }

    pub(crate) fn run(&self, target: &Target) -> (Vec<RequestRow>, TrialEnd) {
        let trial = Trial {
            id: ID,
            load: TrialLoad {
                load: Load::Closed { concurrency: 1 },
                extent: Extent::Requests { requests: self.requests },
                warmup: Warmup::Requests { requests: 0 },
                start_ns: 0,
                stagger_ns: 0,
                think_time_ns: self.think_ns,
                max_in_flight: 10,
                seed: 1,
                stop_after_errors: 2.0,
            },
            api: Api::Chat,
            timeouts: self.timeouts,
            retries: self.retries,
            keep_chunks: true,
            keep_text: false,
            reactors: Some(1),
            answer_ns: None,
            max_tokens: None,
        };
        let rows = Arc::new(Mutex::new(Vec::new()));
        let parts = |_| Parts {
            requests: Box::new(Body(self.body.clone())),
            sink: Box::new(Kept(Arc::clone(&rows))),
        };
        let (clock, stop) = (RunClock::start(), Stop::default());
        let end = run_trial(target, &trial, clock, &stop, parts, |_| {}).unwrap();
        let mut rows = std::mem::take(&mut *rows.lock().unwrap());
        rows.sort_by_key(|row| row.record.op);
        let ops: Vec<u64> = rows.iter().map(|row| row.record.op).collect();
        assert_eq!(ops, (0..self.requests).collect::<Vec<_>>(), "one record for each operation");
        for row in &rows {
            assert_times_ordered(&row.record);
        }
        (rows, end)
    }
}

pub(crate) fn target(url: &str) -> Target {
    with_settings(url, TargetSettings::default()).unwrap()
}

pub(crate) fn with_settings(
    url: &str,
    settings: TargetSettings<'_>,
) -> Result<Target, TargetError> {
    let urls = [url.to_owned()];
    Target::resolve(&TargetSettings { urls: &urls, connect_timeout_ns: 5_000 * MS, ..settings })
}

fn assert_times_ordered(record: &RequestRecord) {
    let times = [
        Some(record.intended_ns),
        record.write_begin_ns,
        record.headers_ns,
        record.first_chunk_ns,
        record.first_token_ns,
        record.last_token_ns,
        record.done_ns,
        Some(record.ended_ns),
    ];
    let known: Vec<u64> = times.into_iter().flatten().collect();
    assert!(known.is_sorted(), "{record:?}");
    assert_eq!(record.done_ns.is_some(), record.outcome == Outcome::Ok, "{record:?}");
    assert_eq!(record.error.is_some(), record.outcome != Outcome::Ok, "{record:?}");
}

/// Holds a record against what a case expects.
pub(crate) fn assert_as_expected(name: &str, row: &RequestRow, expect: &Expect) {
    let record = &row.record;
    let outcome = (record.outcome.as_str(), record.http_status);
    assert_eq!(outcome, (expect.outcome, expect.status), "{name}: {record:?}");
    match record.error {
        None => assert!(expect.errors.is_empty(), "{name}"),
        Some(kind) => assert!(expect.errors.contains(&kind.as_str()), "{name}: {record:?}"),
    }
    if expect.outcome == "ok" {
        let usage = record.token_source.is_some_and(|source| source.as_str() == "usage");
        let told = usage.then(|| record.input_tokens.zip(record.output_tokens)).flatten();
        assert_eq!(told, expect.usage, "{name}: {record:?}");
        assert_eq!(record.finish_reason.as_deref(), expect.finish_reason, "{name}");
    }
    if let Some(events) = expect.token_events {
        assert_eq!(record.token_chunks, events, "{name}: {record:?}");
        let gaps = row.chunks.as_ref().map(|chunks| chunks.gaps_100ns.len());
        assert_eq!(gaps, Some(events.saturating_sub(1) as usize), "{name}");
    }
}
