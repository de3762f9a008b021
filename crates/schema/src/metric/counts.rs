//! Counts: outcomes, tokens, and how large a point is.

use super::{BLANK, Metric, Section};

const OUTCOME: Metric = Metric {
    section: Section::Outcomes,
    unit: "requests",
    shape: "count",
    from: &["outcome"],
    ..BLANK
};
const TOKENS: Metric =
    Metric { section: Section::Tokens, unit: "tokens", shape: "number", ..BLANK };
const EXTENT: Metric = Metric { section: Section::Extent, unit: "trials", shape: "count", ..BLANK };

pub(super) const COUNTS: &[Metric] = &[
    Metric {
        key: "requests.ok",
        name: "Ok",
        formula: "operations of the cohort with a complete, understood answer",
        vllm: "`completed`; also answers without any token.",
        ..OUTCOME
    },
    Metric {
        key: "requests.failed",
        name: "Failed",
        formula: "operations of the cohort with a bad answer or none: refused, an error status, unreadable, the connection lost before the answer began",
        vllm: "Failures are in no latency and not in the denominator of goodput.",
        aiperf: "Counted in the denominator of `good_request_fraction`.",
        notes: "Here every attempt that is not ok counts as +∞: it moves percentiles and may withhold them.",
        ..OUTCOME
    },
    Metric {
        key: "requests.timed_out",
        name: "Timed out",
        formula: "operations of the cohort that a time limit ended (connect limits count as failed)",
        ..OUTCOME
    },
    Metric {
        key: "requests.cut_short",
        name: "Cut short",
        formula: "operations of the cohort whose answer began and ended early",
        notes: "Some tools count such an answer as a success with few tokens.",
        ..OUTCOME
    },
    Metric {
        key: "requests.cancelled",
        name: "Cancelled",
        formula: "operations of the cohort that the client stopped; no attempts",
        guidellm: "`incomplete`, with partial timings.",
        ..OUTCOME
    },
    Metric {
        key: "requests.dropped",
        name: "Dropped",
        formula: "operations of the cohort that were due and never sent, since the limit of requests in flight was reached or the trial ended first; attempts that are not ok",
        notes: "Tools that skip due requests, or let them wait for a free connection, show better tails the more a server is overloaded.",
        source: "guidellm#1048; Hugging Face inference-benchmarker `executors.rs`",
        ..OUTCOME
    },
    Metric {
        key: "requests.unknown",
        name: "Unknown",
        formula: "operations of the cohort started − recorded: still open when the client was killed; no attempts",
        notes: "A trial with unknowns is incomplete and not judged.",
        ..OUTCOME
    },
    Metric {
        key: "outside_cohort",
        name: "Outside the cohort",
        shape: "counts by outcome",
        formula: "operations of warm-up and drain, by outcome; in no statistic but those of events in the window",
        from: &["outcome", "phase", "intended_ns"],
        ..OUTCOME
    },
    Metric {
        key: "errors",
        name: "Errors by kind",
        shape: "counts by kind",
        formula: "operations of the cohort that are not ok, by `error`",
        from: &["error"],
        notes: "`stale_connection` is a reused connection that the server had closed: a matter of keep-alive, not of load.",
        ..OUTCOME
    },
    Metric {
        key: "finish_reasons",
        name: "Finish reasons",
        shape: "counts by reason",
        formula: "ok answers of the cohort by the server's `finish_reason`",
        from: &["finish_reason"],
        notes: "`stop` where a fixed length was asked for: the model ended by itself and the answers are shorter than meant.",
        ..OUTCOME
    },
    Metric {
        key: "tokens.input",
        name: "Input tokens per request",
        formula: "mean `input_tokens` of the ok answers of the cohort that tell them",
        from: &["input_tokens"],
        vllm: "`total_input_tokens` ÷ completed, by the client's tokenizer for synthetic prompts.",
        aiperf: "`input_sequence_length`, by the client's tokenizer and without the chat template.",
        notes: "The server's own count, chat template included: so \"512 in\" is what the server worked on.",
        ..TOKENS
    },
    Metric {
        key: "tokens.output",
        name: "Output tokens per request",
        formula: "mean `output_tokens` of the ok answers of the cohort",
        from: &["output_tokens"],
        vllm: "`total_output_tokens` ÷ completed; by `usage`, else by the client's tokenizer.",
        aiperf: "`output_sequence_length`; by the client's tokenizer over the text unless told otherwise.",
        notes: "Reasoning included.",
        ..TOKENS
    },
    Metric {
        key: "tokens.reasoning",
        name: "Reasoning tokens per request",
        formula: "mean `reasoning_tokens` of the ok answers of the cohort that tell them",
        from: &["reasoning_tokens"],
        ..TOKENS
    },
    Metric {
        key: "tokens.cached",
        name: "Cached input tokens per request",
        formula: "mean `cached_tokens` of the ok answers of the cohort that tell them",
        from: &["cached_tokens"],
        notes: "Prompts are salted: more than the chat template's own blocks is an accident, and a warning says so. Tools with a fixed seed measure the prefix cache from the second run on.",
        source: "vllm#52884, #54227",
        ..TOKENS
    },
    Metric {
        key: "tokens.output_total",
        name: "Output tokens in all",
        shape: "count",
        formula: "sum of `output_tokens` over the ok answers of the cohort",
        from: &["output_tokens"],
        ..TOKENS
    },
    Metric {
        key: "tokens.input_total",
        name: "Input tokens in all",
        shape: "count",
        formula: "sum of `input_tokens` over the ok answers of the cohort that tell them",
        from: &["input_tokens"],
        ..TOKENS
    },
    Metric {
        key: "tokens.source",
        name: "Source of the counts",
        unit: "–",
        shape: "text",
        formula: "`usage`, `tokenize` or `chunks`; several joined by `+`",
        from: &["token_source"],
        ..TOKENS
    },
    Metric {
        key: "tokens.per_chunk",
        name: "Tokens per chunk",
        unit: "tokens/event",
        formula: "Σ `output_tokens` ÷ Σ `token_chunks` over the ok answers of the cohort; absent where any answer was counted by its events",
        from: &["output_tokens", "token_chunks"],
        notes: "1 where each event bears one token. More: the server bundles (speculative decoding, stream intervals), and chunk gap and ITL differ by about this factor.",
        source: "vllm#42661, sglang#33193",
        ..TOKENS
    },
    Metric {
        key: "trials",
        name: "Trials",
        formula: "trials that ended and are in the figures",
        from: &["trial"],
        ..EXTENT
    },
    Metric {
        key: "trials_planned",
        name: "Trials planned",
        formula: "`trials` of the plan",
        ..EXTENT
    },
    Metric {
        key: "window_ns",
        name: "Measured time",
        unit: "ns",
        formula: "sum of the lengths of the measure windows of the trials in the figures",
        from: &["window"],
        ..EXTENT
    },
];
