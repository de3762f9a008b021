//! The law an answer follows: when its tokens come, how many there are, in what form.

use std::time::Duration;

use crate::delay::{Delay, Length};

/// When the chunk that carries only `"role":"assistant"` is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChunk {
    /// There is none: the first token's chunk carries the role.
    InFirstToken,
    /// By itself, as soon as the answer has a slot (an engine that has not computed anything yet).
    AtOnce,
    /// In the same write as the first token, before it.
    WithFirstToken,
}

/// Name of the field that carries reasoning tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningField {
    /// `delta.reasoning_content` (DeepSeek, llama.cpp, older vLLM).
    ReasoningContent,
    /// `delta.reasoning` (newer vLLM, OpenRouter).
    Reasoning,
}

/// When a stream tells its token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// When the request has `stream_options.include_usage`.
    WhenAsked,
    /// In every stream.
    Always,
    /// Never, not even in answers that are not streamed.
    Never,
}

/// Which chunk of a stream carries the usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsagePlace {
    /// A chunk of its own with `"choices":[]`.
    OwnChunk,
    /// A last chunk with an empty delta and the finish reason.
    FinishChunk,
    /// The chunk of the last token.
    LastToken,
}

/// A pause put into the middle of some answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Every so manyth request stalls: ids `every - 1`, `2 * every - 1`, …; at least 1.
    pub every: u64,
    /// The token (zero-based) before whose write the pause is; 0 makes the first token late.
    pub at_token: u32,
    /// Length of the pause, ns, on top of the law's own delay.
    pub for_ns: u64,
}

/// What `/metrics` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsPage {
    /// The page.
    Ok,
    /// 404, as of a server without one.
    Absent,
    /// 200 and a page in HTML, as a login sends it.
    Html,
    /// 200, the right content type, and lines that are no samples.
    Garbage,
}

/// What the server tells of itself on `/metrics`, beside what it measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// Share (0 to 1) of the KV cache that each running request takes.
    pub kv_per_request: f64,
    /// Share (0 to 1) of the prompt tokens that the prefix cache is said to have had.
    pub prefix_hit_ratio: f64,
    /// Every so manyth request counts one preemption: ids `n - 1`, `2 * n - 1`, …; 0 for never.
    pub preempt_every: u64,
    /// The counters of tokens count so many times what there was; anything but 1 is a lie.
    pub token_factor: f64,
    /// How long `/metrics` waits before it answers, ns. The page is of the moment it leaves.
    pub delay_ns: u64,
    /// What it answers then.
    pub page: MetricsPage,
}

impl Default for Told {
    /// 1 % of the KV cache per request, no prefix cache, no preemption, the truth, at once.
    fn default() -> Self {
        Self {
            kv_per_request: 0.01,
            prefix_hit_ratio: 0.0,
            preempt_every: 0,
            token_factor: 1.0,
            delay_ns: 0,
            page: MetricsPage::Ok,
        }
    }
}

/// Everything that decides how a request is answered. A request keeps the law it arrived under.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    /// From the request's start (its arrival, or the moment it got a slot) to its first token.
    pub ttft: Delay,
    /// From one write to the next. With both delays fixed at 0 the server sends as fast as it can.
    pub itl: Delay,
    /// Tokens of an answer (before the request's own limits, see `honour_limits`).
    pub tokens: Length,
    /// Tokens in the text of one event, at least 1.
    pub tokens_per_event: u32,
    /// Events sent by one write, at least 1.
    pub events_per_write: u32,
    /// Adds a share of the mean gap to the first delay, different for each request, so that
    /// streams which start together do not send together.
    pub spread: bool,
    /// Whether the time of every write is kept. Without it a record has its first and last only,
    /// and memory does not grow with the tokens sent.
    pub gaps: bool,
    /// The role-only first chunk (chat only).
    pub role: RoleChunk,
    /// Whether the response head (and a role chunk) waits for the first token.
    pub late_head: bool,
    /// So many of an answer's first tokens are reasoning (chat only), rounded down to whole events.
    pub reasoning_tokens: u32,
    /// The field they are sent in.
    pub reasoning_field: ReasoningField,
    /// When usage is told.
    pub usage: Usage,
    /// In which chunk.
    pub usage_place: UsagePlace,
    /// Usage so far in every chunk, also when the request does not ask for it.
    pub continuous_usage: bool,
    /// A pause in every nth answer.
    pub stall: Option<Stall>,
    /// Answers made at the same time; more wait in the order of their arrival.
    pub slots: Option<u32>,
    /// With so many waiting, a further request gets 429 and `Retry-After: 1`.
    pub shed_above: Option<u32>,
    /// Share of requests (0 to 1) answered with 503 instead.
    pub error_rate: f64,
    /// Whether `max_tokens`, `min_tokens` and `ignore_eos` of a request bound its answer.
    pub honour_limits: bool,
    /// Prompt tokens that a chat template adds to the words of the messages.
    pub template_tokens: u32,
    /// What `/metrics` tells.
    pub told: Told,
    /// Seed of everything random; a request's draws depend on it and on the request's id alone.
    pub seed: u64,
}

impl Default for Law {
    /// TTFT 200 ms, 20 ms between tokens, 100 tokens, one per write.
    fn default() -> Self {
        Self {
            ttft: Delay::Fixed(200_000_000),
            itl: Delay::Fixed(20_000_000),
            tokens: Length::Fixed(100),
            tokens_per_event: 1,
            events_per_write: 1,
            spread: false,
            gaps: true,
            role: RoleChunk::InFirstToken,
            late_head: false,
            reasoning_tokens: 0,
            reasoning_field: ReasoningField::ReasoningContent,
            usage: Usage::WhenAsked,
            usage_place: UsagePlace::OwnChunk,
            continuous_usage: false,
            stall: None,
            slots: None,
            shed_above: None,
            error_rate: 0.0,
            honour_limits: false,
            template_tokens: 7,
            told: Told::default(),
            seed: 1,
        }
    }
}

impl Law {
    /// Fixed delays and a fixed length; everything else as by default.
    pub fn fixed(ttft: Duration, itl: Duration, tokens: u32) -> Self {
        Self {
            ttft: Delay::fixed(ttft),
            itl: Delay::fixed(itl),
            tokens: Length::Fixed(tokens),
            ..Self::default()
        }
    }

    /// Answers of `tokens` tokens as fast as the sockets take them.
    pub fn saturated(tokens: u32) -> Self {
        Self::fixed(Duration::ZERO, Duration::ZERO, tokens)
    }

    /// Whether answers follow no clock at all.
    pub fn is_saturated(&self) -> bool {
        self.ttft == Delay::Fixed(0) && self.itl == Delay::Fixed(0)
    }

    /// Tokens carried by a full write.
    pub fn tokens_per_write(&self) -> u32 {
        self.tokens_per_event.max(1).saturating_mul(self.events_per_write.max(1))
    }

    /// The pause before the write that begins with token `token` of request `id`, ns.
    pub(crate) fn stall_ns(&self, id: u64, token: u32) -> u64 {
        let width = self.tokens_per_write();
        match self.stall {
            Some(stall)
                if (id + 1).is_multiple_of(stall.every.max(1))
                    && (token..token.saturating_add(width)).contains(&stall.at_token) =>
            {
                stall.for_ns
            }
            _ => 0,
        }
    }
}
