//! One trial against a truth server, and its rows held against the server's log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loadline_clock::RunClock;
use loadline_load::TrialLoad;
use loadline_schema::event::{EndedEarly, TrialEnd};
use loadline_schema::outcome::{Outcome, TokenSource};
use loadline_schema::plan::{Api, Arrival, Extent, Length, Load, Output, Timeouts, Warmup};
use loadline_schema::record::{RequestRecord, RequestRow, Start, TrialId};
use loadline_serving::prompt::WordModel;
use loadline_serving::request_body::{BodySettings, BodyWriter, PromptSource};
use loadline_serving::target::{Target, TargetSettings};
use loadline_serving::trial::{Parts, Stop, Trial, run_trial};
use loadline_serving::{Batch, Requests, Sink};
use loadline_testkit::known_answer::{ClientRow, Errors, compare, nearest_rank};
use loadline_testkit::{Law, TruthRecord, TruthThread};

const ID: TrialId = TrialId { stage: 0, point: 3, trial: 1, part: 0 };
/// Prompt tokens asked for, by the server's count.
pub(crate) const PROMPT_TOKENS: u32 = 40;
pub(crate) const MS: u64 = 1_000_000;

/// What a trial left.
pub(crate) struct Ran {
    pub(crate) rows: Vec<RequestRow>,
    pub(crate) starts: Vec<Start>,
    pub(crate) end: TrialEnd,
    pub(crate) log: Vec<TruthRecord>,
    /// Most answers that the server had in hand at once.
    pub(crate) server_most: usize,
    pub(crate) server_shed: u64,
    origin_unix_ns: u64,
}

/// Settings of a trial that differ from test to test.
pub(crate) struct Drive {
    pub(crate) load: Load,
    pub(crate) extent: Extent,
    pub(crate) warmup: Warmup,
    pub(crate) reactors: Option<u32>,
    pub(crate) max_in_flight: u64,
    pub(crate) stop_after_errors: f64,
    pub(crate) output_tokens: u32,
    /// Stop the trial when so many operations have ended ok.
    pub(crate) stop_after_ok: Option<u64>,
    /// Keeps the reactor from reading for this long before each fourth request.
    pub(crate) held_up: Duration,
}

impl Drive {
    pub(crate) fn new(load: Load, requests: u64) -> Self {
        Self {
            load,
            extent: Extent::Requests { requests },
            warmup: Warmup::Requests { requests: 0 },
            reactors: None,
            max_in_flight: 1_000,
            stop_after_errors: 0.5,
            output_tokens: 20,
            stop_after_ok: None,
            held_up: Duration::ZERO,
        }
    }

    pub(crate) fn closed(concurrency: u64, requests: u64) -> Self {
        Self::new(Load::Closed { concurrency }, requests)
    }

    pub(crate) fn constant(rate_per_s: f64, requests: u64) -> Self {
        Self::new(Load::Open { rate_per_s, arrival: Arrival::Constant }, requests)
    }

    fn trial(&self) -> Trial {
        Trial {
            id: ID,
            load: TrialLoad {
                load: self.load,
                extent: self.extent,
                warmup: self.warmup,
                start_ns: 0,
                stagger_ns: 0,
                think_time_ns: 0,
                max_in_flight: self.max_in_flight,
                seed: 5,
                stop_after_errors: self.stop_after_errors,
            },
            api: Api::Chat,
            timeouts: Timeouts::default(),
            retries: 0,
            keep_chunks: true,
            keep_text: false,
            reactors: self.reactors,
            answer_ns: None,
            max_tokens: None,
        }
    }

    /// The bodies that a run would send, for a server with this template.
    fn writer(&self, template_tokens: u32) -> BodyWriter {
        let settings = BodySettings {
            api: Api::Chat,
            model: Some("mock".to_owned()),
            engine: None,
            ignore_eos: false,
            per_chunk_usage: false,
            extra_body: serde_json::Map::new(),
        };
        let prompts = PromptSource::Synthetic {
            tokens: Length::Fixed { tokens: PROMPT_TOKENS },
            shared_prefix: 0,
            words: WordModel { template_tokens: f64::from(template_tokens), tokens_per_word: 1.0 },
        };
        let output =
            Output { tokens: Length::Fixed { tokens: self.output_tokens }, ignore_eos: false };
        BodyWriter::new(settings, prompts, output, 11, ID)
    }

    /// Carries the trial out on a server.
    pub(crate) fn run(&self, server: &TruthThread) -> Ran {
        // One at a time: servers and clients of several tests would take each other's cores.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let url = match server.unix_path() {
            Some(path) => format!("unix:{}", path.display()),
            None => server.url(),
        };
        let urls = [url];
        let settings =
            TargetSettings { urls: &urls, connect_timeout_ns: 5_000 * MS, ..Default::default() };
        let target = Target::resolve(&settings).expect("the server is there");
        let clock = RunClock::start();
        let kept = Arc::new(Mutex::new(Batch::default()));
        let writer = self.writer(Law::default().template_tokens);
        let stop = Stop::default();
        let parts = |_| Parts {
            requests: Box::new(HeldUp { writer: writer.clone(), by: self.held_up }),
            sink: Box::new(Keep(Arc::clone(&kept))),
        };
        let end = run_trial(&target, &self.trial(), clock, &stop, parts, |progress| {
            if self.stop_after_ok.is_some_and(|ok| progress.ok >= ok) {
                stop.stop(EndedEarly::Interrupted);
            }
        })
        .expect("an epoll");
        let batch = std::mem::take(&mut *kept.lock().expect("not poisoned"));
        let stats = server.stats();
        Ran {
            rows: batch.rows,
            starts: batch.starts,
            end,
            log: server.log(),
            server_most: usize::try_from(stats.max_inflight).expect("small"),
            server_shed: stats.shed,
            origin_unix_ns: clock.origin_unix_ns(),
        }
    }
}

struct Keep(Arc<Mutex<Batch>>);

/// A writer of bodies that takes its time, so that what arrives meanwhile is read late.
struct HeldUp {
    writer: BodyWriter,
    by: Duration,
}

impl Requests for HeldUp {
    fn write_body(&mut self, op: u64, body: &mut Vec<u8>) -> u32 {
        if op % 4 == 3 {
            std::thread::sleep(self.by);
        }
        self.writer.write_body(op, body)
    }
}

impl Sink for Keep {
    fn batch(&mut self, batch: Batch) -> bool {
        let mut kept = self.0.lock().expect("not poisoned");
        kept.rows.extend(batch.rows);
        kept.starts.extend(batch.starts);
        false
    }
}

impl Ran {
    /// Client minus server for each request and each gap.
    pub(crate) fn errors(&self) -> Errors {
        let rows: Vec<ClientRow> = self.rows.iter().map(|row| self.client_row(row)).collect();
        compare(&rows, &self.log)
    }

    /// Every event has as many tokens as the server says it put into each.
    fn client_row(&self, row: &RequestRow) -> ClientRow {
        let record = &row.record;
        let chunks = row.chunks.as_ref().expect("chunk times are kept");
        let mut at = record.first_token_ns.map(|at| at / 100 * 100);
        let mut times: Vec<u64> = at.into_iter().collect();
        for gap in &chunks.gaps_100ns {
            at = at.map(|at| at + u64::from(*gap) * 100);
            times.extend(at);
        }
        assert_eq!(times.last().map(|at| at / 100), record.last_token_ns.map(|at| at / 100));
        ClientRow {
            answer_id: record.answer_id.as_deref().unwrap_or("").to_owned(),
            sent_ns: self.origin_unix_ns + record.write_begin_ns.expect("sent"),
            token_times_ns: times.iter().map(|at| self.origin_unix_ns + at).collect(),
        }
    }

    /// What the server says of a row's answer.
    pub(crate) fn truth(&self, record: &RequestRecord) -> &TruthRecord {
        let id = record.answer_id.as_deref().expect("an answer id");
        self.log.iter().find(|truth| truth.answer_id() == id).expect("in the log")
    }

    /// Every planned operation is there once, was answered in full, and counted as the server did.
    pub(crate) fn assert_all_ok(&self, requests: u64) {
        assert_eq!(self.ops(), (0..requests).collect::<BTreeSet<u64>>());
        assert_eq!((self.rows.len() as u64, self.end.started), (requests, requests));
        assert_eq!(self.end.ended_early, None);
        for RequestRow { record, .. } in &self.rows {
            assert_eq!((record.outcome, record.error), (Outcome::Ok, None), "{record:?}");
            let truth = self.truth(record);
            assert_eq!(record.output_tokens, Some(truth.tokens));
            assert_eq!(record.token_source, Some(TokenSource::Usage));
            assert_eq!(
                (record.input_tokens, truth.prompt_tokens),
                (Some(PROMPT_TOKENS), PROMPT_TOKENS)
            );
            assert_eq!((record.http_status, record.retries), (Some(200), 0));
            assert_times_in_order(record);
        }
        let tokens: u64 = self.log.iter().map(|truth| u64::from(truth.tokens)).sum();
        assert_eq!(
            self.rows.iter().map(|r| u64::from(r.record.output_tokens.unwrap_or(0))).sum::<u64>(),
            tokens
        );
    }

    /// Times and gaps as the server knows them: median within 1 ms, nine tenths within 25 ms.
    pub(crate) fn assert_times_true(&self) {
        self.assert_times_within(MS);
    }

    /// The same with another bound for the median, where requests that are sent together are also
    /// late together.
    pub(crate) fn assert_times_within(&self, p50_ns: u64) {
        let errors = self.errors();
        assert!(errors.is_complete(), "{errors:?}");
        assert_eq!(errors.matched, self.rows.len());
        assert_small("TTFT", &errors.ttft_ns, p50_ns, 100 * MS);
        assert_small("gap", &errors.gap_ns, p50_ns, 100 * MS);
        // A client that stamps before the server has sent is wrong by more than a clock's step.
        let early = errors.ttft_ns.iter().filter(|error| **error < -20_000).count();
        assert!(early * 10 <= errors.ttft_ns.len(), "{early} first tokens before they were sent");
    }

    /// The operations that have a record; each has one.
    pub(crate) fn ops(&self) -> BTreeSet<u64> {
        let ops: BTreeSet<u64> = self.rows.iter().map(|row| row.record.op).collect();
        assert_eq!(ops.len(), self.rows.len(), "an operation has two records");
        ops
    }

    /// Mean number of answers in hand, by the server, from the first arrival to the last end.
    pub(crate) fn mean_in_flight(&self) -> f64 {
        let from = self.log.iter().map(|truth| truth.arrival_kernel_ns).min().expect("answers");
        let to = self.log.iter().map(|truth| truth.end_ns).max().expect("answers");
        self.log.iter().map(TruthRecord::e2e_ns).sum::<u64>() as f64 / (to - from) as f64
    }
}

fn assert_times_in_order(record: &RequestRecord) {
    let times = [
        Some(record.intended_ns),
        record.write_begin_ns,
        record.headers_ns,
        record.first_chunk_ns,
        record.first_token_ns,
        record.first_output_ns,
        record.last_token_ns,
        record.done_ns,
    ];
    assert!(times.is_sorted() && times.iter().all(Option::is_some), "{record:?}");
    assert!(record.write_end_ns >= record.write_begin_ns);
    assert_eq!(record.done_ns, Some(record.ended_ns));
}

/// Median and 90th percentile of the absolute errors stay within these bounds.
pub(crate) fn assert_small(what: &str, errors_ns: &[i64], p50_ns: u64, p90_ns: u64) {
    let mut sizes: Vec<u64> = errors_ns.iter().map(|error| error.unsigned_abs()).collect();
    sizes.sort_unstable();
    let at = |share| nearest_rank(&sizes, share).expect("there are errors to judge");
    let found = (at(0.5), at(0.9));
    assert!(found.0 <= p50_ns && found.1 <= p90_ns, "{what}: P50, P90 of the error {found:?} ns");
}
