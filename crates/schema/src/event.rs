//! Events: what happens in a run, in one type for every watcher (terminal, log, web page). The
//! stored ones are the lines of `events.jsonl`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Distribution;
use crate::engine::{EngineFacts, EngineTrial, MemoryBandwidth};
use crate::observe::{ObserverEnd, Observing};
use crate::outcome::Phase;
use crate::plan::Load;
use crate::record::TrialId;
use crate::storage::{FilesystemFacts, Leftover, StorageTrial};

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Run-relative monotonic time, ns.
    pub at_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A part of the run began (part 0: the run itself; later ones: a resume).
    PartStarted {
        /// Zero-based part.
        part: u16,
    },
    /// What the target says about itself.
    TargetFacts {
        /// Stage index.
        stage: u16,
        /// Facts of the endpoint.
        facts: TargetFacts,
    },
    /// What the calibration request found.
    Calibrated {
        /// Stage index.
        stage: u16,
        /// The findings.
        calibration: Calibration,
    },
    /// A search chose its next point.
    PointChosen {
        /// Stage index.
        stage: u16,
        /// Index of the point, from 0 in the order of choice.
        point: u16,
        /// Its load.
        load: Load,
    },
    /// A trial began.
    TrialStarted {
        /// Which.
        trial: TrialId,
    },
    /// A phase of a trial began.
    PhaseStarted {
        /// Which trial.
        trial: TrialId,
        /// Which phase.
        phase: Phase,
    },
    /// State of the running trial, several times a second. Shown, not stored.
    Progress(Progress),
    /// Output tokens counted by the server's `/tokenize` after a trial, for answers without usage:
    /// they replace the numbers of chunks in the records.
    TokenCounts {
        /// Which trial.
        trial: TrialId,
        /// Operation and its output tokens.
        tokens: Vec<(u64, u32)>,
    },
    /// A trial ended; with it the figures of the client itself.
    TrialEnded(Box<TrialEnd>),
    /// What the engine of a stage says about itself and its model.
    EngineFacts {
        /// Stage index.
        stage: u16,
        /// The facts.
        facts: Box<EngineFacts>,
    },
    /// The memory bandwidth of this machine, measured before the engine of a stage.
    MemoryBandwidth {
        /// Stage index.
        stage: u16,
        /// The figures.
        bandwidth: MemoryBandwidth,
    },
    /// A trial of an engine's cell ended.
    EngineTrial {
        /// Which; the point is the cell's index.
        trial: TrialId,
        /// The figures.
        measured: EngineTrial,
    },
    /// A cell could not be measured.
    EngineCellFailed {
        /// The trial that failed.
        trial: TrialId,
        /// Why.
        why: String,
    },
    /// What is known about the file systems of a stage, in the order of its paths.
    StorageFacts {
        /// Stage index.
        stage: u16,
        /// A file system.
        facts: Box<FilesystemFacts>,
        /// What earlier runs left there.
        leftovers: Vec<Leftover>,
    },
    /// A trial of a storage cell ended.
    StorageTrial {
        /// Which; the point is the cell's index.
        trial: TrialId,
        /// The figures.
        measured: Box<StorageTrial>,
    },
    /// A storage cell could not be measured.
    StorageCellFailed {
        /// The trial that failed.
        trial: TrialId,
        /// Why.
        why: String,
    },
    /// What storage work does now, for live views; not stored.
    StorageProgress(StorageProgress),
    /// The power without load is being measured, until then. Before the first trial of a stage.
    IdlePower {
        /// Stage index.
        stage: u16,
        /// Its end, run-relative ns.
        to_ns: u64,
    },
    /// What the observers of a stage have in front of them; told before its first trial.
    Observing {
        /// Stage index.
        stage: u16,
        /// What there is, and what there is not.
        observing: Box<Observing>,
    },
    /// An observer of a stage ended.
    ObserverEnded {
        /// Stage index.
        stage: u16,
        /// How it fared.
        observer: ObserverEnd,
    },
    /// Something about the measurement that the reader of a result must know.
    Warning(Warning),
    /// What went wrong with the run itself.
    Error {
        /// One sentence.
        message: String,
    },
    /// The part ended.
    PartEnded {
        /// Whether everything planned was carried out.
        complete: bool,
        /// Why not.
        reason: Option<String>,
    },
}

/// What storage work does now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StorageProgress {
    /// Which trial.
    pub trial: TrialId,
    /// `laying out files`, `measuring`, `verifying`, ….
    pub doing: String,
    /// Share of the trial that is over, 0–1, where it is known.
    pub done: Option<f64>,
    /// Bandwidth of the last second, bytes/s.
    pub bytes_per_s: f64,
}

/// Figures of the trial under way, for live views.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Which trial.
    pub trial: TrialId,
    /// Current phase.
    pub phase: Phase,
    /// Share of the phase that is over (by time or by count), 0–1.
    pub phase_done: f64,
    /// Requests in flight now.
    pub in_flight: u64,
    /// Requests ended ok in this trial.
    pub ok: u64,
    /// Requests ended otherwise in this trial.
    pub not_ok: u64,
    /// Token-bearing events received in this trial.
    pub token_chunks: u64,
    /// Median of TTFT so far, ns, from a histogram of two digits.
    pub ttft_p50_ns: Option<u64>,
}

/// Why a trial ended before its plan was fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedEarly {
    /// The user (or a signal) stopped the run.
    Interrupted,
    /// The share of errors reached `--stop-after-errors`.
    StopAfterErrors,
    /// No answer ended ok for three times the total timeout.
    NoAnswers,
    /// `--max-tokens-total` was reached.
    TokenCap,
    /// The records could not be stored (disk full, …).
    StoreFailed,
}

impl EndedEarly {
    /// The reason in a few words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::StopAfterErrors => "too many requests failed",
            Self::NoAnswers => "no answer came for three times the timeout",
            Self::TokenCap => "the most tokens that it may use were used",
            Self::StoreFailed => "the records could not be stored",
        }
    }
}

/// A trial's end: its windows and the figures of the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialEnd {
    /// Which trial.
    pub trial: TrialId,
    /// Absent when the plan was fulfilled.
    pub ended_early: Option<EndedEarly>,
    /// Clock at the start of the trial (the first operation may be due), ns.
    pub start_ns: u64,
    /// Measure window `[from, to)`, ns. Absent when the trial never reached it. By count: from the
    /// first intended time to the last end.
    pub window: Option<(u64, u64)>,
    /// Whether the trial was bounded by count (then nothing goes on after the last operation).
    pub by_count: bool,
    /// Operations started (sent or tried), all phases.
    pub started: u64,
    /// Most requests in flight at once.
    pub max_in_flight: u64,
    /// The client's own figures.
    pub client: ClientFigures,
}

/// The client's error budget in one trial.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientFigures {
    /// Reactors (threads) that carried the load.
    pub reactors: u32,
    /// CPU time of all reactors, ns (spinning included).
    pub cpu_ns: u64,
    /// Time spent spinning before due times, ns.
    pub spin_ns: u64,
    /// Wall time of the trial, ns.
    pub wall_ns: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Token-bearing events.
    pub token_chunks: u64,
    /// Events of any kind.
    pub chunks: u64,
    /// Reads with two or more token-bearing events.
    pub merged_reads: u64,
    /// Token-bearing events in such reads.
    pub merged_chunks: u64,
    /// Reads whose arrival was taken from the user clock though a kernel stamp was expected.
    pub fallbacks: u64,
    /// Read lag (read time − kernel stamp) of every read with a stamp.
    pub read_lag: Option<Distribution>,
    /// Requests whose write took longer than 1 ms from first to last byte.
    pub slow_writes: u64,
    /// Connections opened, and how many of them inside the timed part.
    pub connects: u64,
    /// Connections opened after the clock had started.
    pub late_connects: u64,
    /// Resolution of the monotonic clock, ns (smallest step seen).
    pub clock_step_ns: u64,
    /// Times the realtime clock moved more than 1 ms against the monotonic one.
    pub clock_steps: u64,
    /// Times a full queue of records made a reactor wait.
    pub store_waits: u64,
}

/// What a target says about itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Engine name: `vllm`, `llama.cpp`, `sglang`, `tgi`, `ollama`, ….
    pub engine: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Model that will be asked for.
    pub model: Option<String>,
    /// Every model the endpoint offers.
    pub models: Vec<String>,
    /// Context length, tokens.
    pub context_tokens: Option<u64>,
    /// Parallel slots, where the engine has a fixed number.
    pub slots: Option<u64>,
    /// Whether it offers Prometheus metrics.
    pub has_metrics: bool,
}

/// What one request before the load found out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Calibration {
    /// Prompt tokens that the chat template adds by the server's count.
    pub template_tokens: Option<u32>,
    /// Tokens of the server per word of the synthetic prompt.
    pub tokens_per_word: Option<f64>,
    /// Prompt tokens of the last calibration request by the server's count.
    pub prompt_tokens: Option<u32>,
    /// End-to-end time of one answer alone, ns.
    pub e2e_ns: Option<u64>,
    /// Whether `usage` came.
    pub has_usage: bool,
}

/// Something a reader must know, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// Stable short name, for scripts.
    pub code: String,
    /// What is wrong with the measurement.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl Warning {
    /// A warning from its three parts.
    pub fn new(code: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), advice: advice.into() }
    }
}
