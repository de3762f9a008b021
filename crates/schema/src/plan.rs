//! The resolved plan: every default filled in, nothing left to decide. `plan.resolved.json`.

use serde::{Deserialize, Serialize};

use crate::cost::CostPlan;
use crate::engine::{EmbeddedServer, EngineStage};
use crate::observe::ObservePlan;
use crate::outcome::spelled;
use crate::sla::Sla;
use crate::storage::StorageStage;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the run.
    pub name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Service-level targets that every serving stage is judged by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sla: Vec<Sla>,
    /// What prices are computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostPlan>,
    /// What is observed beside the load.
    #[serde(default = "ObservePlan::off")]
    pub observe: ObservePlan,
    /// Stages in the order in which they are carried out.
    pub stages: Vec<Stage>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stage {
    /// Load on an LLM endpoint.
    Serving(Box<ServingStage>),
    /// An engine over a grid of settings.
    Engine(Box<EngineStage>),
    /// Storage under workloads.
    Storage(Box<StorageStage>),
}

impl Stage {
    /// Its name, unique in the plan.
    pub fn name(&self) -> &str {
        match self {
            Self::Serving(stage) => &stage.name,
            Self::Engine(stage) => &stage.name,
            Self::Storage(stage) => &stage.name,
        }
    }

    /// The stage, where it puts load on an endpoint.
    pub fn serving(&self) -> Option<&ServingStage> {
        match self {
            Self::Serving(stage) => Some(stage),
            Self::Engine(_) | Self::Storage(_) => None,
        }
    }
}

impl Plan {
    /// The stages that put load on endpoints, with their indices.
    pub fn serving(&self) -> impl Iterator<Item = (u16, &ServingStage)> {
        (0..).zip(&self.stages).filter_map(|(index, stage)| Some((index, stage.serving()?)))
    }
}

/// Load on an OpenAI-compatible target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServingStage {
    /// Name, unique in the plan.
    pub name: String,
    /// URLs of the target, used in rotation; passwords in them are never stored. For an embedded
    /// server `embedded:MODEL`: its port is chosen when it starts.
    pub endpoints: Vec<String>,
    /// The server that Loadline starts itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<EmbeddedServer>,
    /// API dialect.
    pub api: Api,
    /// Model to ask for; absent: the first that the endpoint offers.
    pub model: Option<String>,
    /// What to send.
    pub prompt: Prompt,
    /// How much to ask for.
    pub output: Output,
    /// The sweep; empty where the points are found during the run.
    pub points: Vec<Load>,
    /// Find the load line instead: points are chosen one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// How long a trial is.
    pub extent: Extent,
    /// What goes before the measure window.
    pub warmup: Warmup,
    /// Repetitions of each point; of a search: looks at each point at most.
    pub trials: u32,
    /// Time over which the slots of a closed loop start, ns; absent: one mean answer.
    pub stagger_ns: Option<u64>,
    /// Pause of a slot after each answer, ns.
    pub think_time_ns: u64,
    /// Time limits.
    pub timeouts: Timeouts,
    /// How often a failed request is sent again.
    pub retries: u16,
    /// Share of errors (of at least 20 operations) at which a trial stops, 0–1.
    pub stop_after_errors: f64,
    /// Most requests in flight in open loop; absent: 10,000 or what the limits of the system allow.
    pub max_in_flight: Option<u64>,
    /// Stop when this many tokens (prompt and output) have been used.
    pub max_tokens_total: Option<u64>,
    /// Additional header lines.
    pub headers: Vec<Header>,
    /// JSON object merged into each request's body.
    pub extra_body: Option<serde_json::Map<String, serde_json::Value>>,
    /// Where the key comes from; never the key.
    pub api_key: Option<KeySource>,
    /// File with CA certificates (PEM) to trust beside the system's.
    pub ca_file: Option<String>,
    /// Do not check certificates.
    pub insecure: bool,
    /// Ask the server about itself and calibrate.
    pub discover: bool,
    /// Ask for usage in each chunk where the server offers it.
    pub per_chunk_usage: bool,
    /// Store the arrival times of chunks.
    pub chunk_times: bool,
    /// Threads that carry the load; absent: as many as the load needs, at most one per core.
    pub reactors: Option<u32>,
}

spelled! {
    /// API dialect.
    Api {
        /// `/v1/chat/completions`.
        Chat = "chat",
        /// `/v1/completions`.
        Completions = "completions",
    }
}

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Prompt {
    /// Words made up on the spot.
    Synthetic {
        /// Prompt tokens by the server's count, template included.
        tokens: Length,
        /// Leading tokens that all prompts share.
        shared_prefix: u32,
    },
    /// One prompt per line (text) or per JSON object (JSONL with `prompt` or `messages`).
    File {
        /// The file.
        path: String,
    },
}

/// A law of lengths, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "law", rename_all = "snake_case")]
pub enum Length {
    /// Always the same.
    Fixed {
        /// Tokens.
        tokens: u32,
    },
    /// Every length from `min` to `max` alike.
    Uniform {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// Normal, cut at 1 token.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        sd: f64,
    },
    /// Log-normal with this median, cut at 1 token.
    LogNormal {
        /// Median.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
}

impl Length {
    /// Largest length where the law has one, else its mean, tokens.
    pub fn most(&self) -> f64 {
        match *self {
            Self::Uniform { max, .. } => f64::from(max),
            _ => self.mean(),
        }
    }

    /// Mean of the law, tokens (before cutting).
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Fixed { tokens } => f64::from(tokens),
            Self::Uniform { min, max } => f64::midpoint(f64::from(min), f64::from(max)),
            Self::Normal { mean, .. } => mean,
            Self::LogNormal { median, sigma } => median * (sigma * sigma / 2.0).exp(),
        }
    }
}

/// How much to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Tokens asked for (`max_tokens`).
    pub tokens: Length,
    /// Ask the server not to stop earlier (`ignore_eos`, `min_tokens`), where it knows how.
    pub ignore_eos: bool,
}

/// The load of a point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "loop", rename_all = "snake_case")]
pub enum Load {
    /// A fixed number of slots, each sending its next request when the last has ended.
    Closed {
        /// Slots.
        concurrency: u64,
    },
    /// Requests at intended times that do not depend on answers.
    Open {
        /// Offered rate, requests/s.
        rate_per_s: f64,
        /// Law of the times.
        arrival: Arrival,
    },
    /// So many requests at one instant.
    Burst {
        /// Requests.
        requests: u64,
    },
}

/// A search for the largest load that meets the SLAs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "over", rename_all = "snake_case")]
pub enum Find {
    /// Over slots of a closed loop.
    Concurrency {
        /// Largest to try; absent: the limit of requests in flight.
        max: Option<u64>,
    },
    /// Over offered rates.
    Rate {
        /// Law of the times.
        arrival: Arrival,
        /// Largest to try, requests/s; absent: no limit but the client's.
        max: Option<f64>,
    },
}

/// Law of arrival times in open loop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "law", rename_all = "snake_case")]
pub enum Arrival {
    /// Even.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// Gamma gaps with this shape: under 1 burstier than Poisson, over 1 more even.
    Gamma {
        /// Shape.
        shape: f64,
    },
}

/// How long the measured part of a trial is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Extent {
    /// Exactly so many operations, and nothing goes on after them.
    Requests {
        /// Operations.
        requests: u64,
    },
    /// A measure window of this length.
    Duration {
        /// Length, ns.
        duration_ns: u64,
    },
}

/// What goes before the measure window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Warmup {
    /// At least this long and at least so many answers per slot.
    Steady {
        /// Least length, ns.
        least_ns: u64,
        /// Answers per slot (closed loop).
        answers_per_slot: u32,
    },
    /// So many requests.
    Requests {
        /// Operations.
        requests: u64,
    },
    /// This long.
    Duration {
        /// Length, ns.
        duration_ns: u64,
    },
}

/// Time limits of a request, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// To a connection (look-up and TLS included).
    pub connect_ns: u64,
    /// From sent to the first token.
    pub first_token_ns: u64,
    /// Between two tokens.
    pub gap_ns: u64,
    /// From intended (open loop) or sent (closed loop) to the end.
    pub total_ns: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        const S: u64 = 1_000_000_000;
        Self { connect_ns: 5 * S, first_token_ns: 120 * S, gap_ns: 60 * S, total_ns: 600 * S }
    }
}

/// A header line. The value is stored only where it is not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value; replaced by `***` in what is stored.
    pub value: String,
}

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// An environment variable.
    Env(String),
    /// A file, its first line.
    File(String),
}
