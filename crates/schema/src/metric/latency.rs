//! Latencies: distributions over the ok answers of the cohort.

use super::{BLANK, Metric, Section};

const LATENCY_ENTRY: Metric =
    Metric { section: Section::Latency, unit: "ns", shape: "distribution", ..BLANK };

pub(super) const LATENCY: &[Metric] = &[
    Metric {
        key: "ttft_ns",
        name: "Time to first token (TTFT)",
        formula: "`first_token_ns − start`, where `start` is `intended_ns` in open loop and for bursts, `write_begin_ns` in closed loop",
        from: &["intended_ns", "write_begin_ns", "first_token_ns"],
        vllm: "`ttft`: to the first chunk with `choices`, which in chat is the empty role delta: smaller wherever the server sends that before the prefill has ended. Counted from after the client's own semaphore.",
        aiperf: "`time_to_first_token`: to the first non-empty content or reasoning, counted from the moment a worker sends; no count from the intended time.",
        guidellm: "`time_to_first_token_ms`: the same first token, from the wall clock (`time.time()`), which may step.",
        notes: "The first token is the first non-empty content, reasoning *or tool-call* delta. In closed loop a request that waits for its slot is not seen: that loop cannot show queueing before sending. A first token in a late merged read is an upper bound (`client.late_first_tokens`).",
        source: "vLLM `lib/endpoint_request_func.py`, issues vllm#15106 and #3759; AIPerf `docs/metrics-reference.md`; GuideLLM `backends/openai/http.py`",
        ..LATENCY_ENTRY
    },
    Metric {
        key: "ttft_service_ns",
        name: "Service TTFT",
        formula: "`first_token_ns − write_begin_ns`; open loop and bursts only",
        from: &["write_begin_ns", "first_token_ns"],
        vllm: "`ttft` with `--request-rate`, but for the role delta.",
        aiperf: "`time_to_first_token`.",
        notes: "What the server took once it had the request. The difference to TTFT is the time the request was due and not sent: the queue in front of the client's limit, connecting, or the client's own lateness.",
        ..LATENCY_ENTRY
    },
    Metric {
        key: "ttfo_ns",
        name: "Time to first output (TTFO)",
        formula: "`first_output_ns − start`, `start` as for TTFT; present where it differs from TTFT in any answer",
        from: &["intended_ns", "write_begin_ns", "first_output_ns"],
        aiperf: "Time to first output token (TTFO).",
        guidellm: "`time_to_first_output_token_ms`.",
        notes: "For reasoning models the whole thinking phase lies before it. Tools that know content only (inference-perf, Hugging Face inference-benchmarker) call this TTFT.",
        source: "inference-perf#559",
        ..LATENCY_ENTRY
    },
    Metric {
        key: "ttfc_ns",
        name: "Time to first chunk (TTFC)",
        formula: "`first_chunk_ns − start`, `start` as for TTFT; a chunk of any kind counts",
        from: &["intended_ns", "write_begin_ns", "first_chunk_ns"],
        vllm: "`ttft` in chat is nearest to this one.",
        notes: "Shows that the server has begun, not that it has a token. llama-benchy calls it TTFR.",
        source: "vLLM `lib/endpoint_request_func.py`; llama-benchy's README",
        ..LATENCY_ENTRY
    },
    Metric {
        key: "itl_ns",
        name: "Inter-token latency (ITL)",
        formula: "gaps between neighbouring tokens of an answer, pooled over answers: an event that bears k tokens adds its chunk gap and k − 1 zeros, where the server tells k; otherwise each event counts as one token",
        from: &["gaps_100ns", "tokens", "merged"],
        vllm: "`itl` pools gaps between *chunks*: our chunk gap. With several tokens in a chunk it is larger by that factor.",
        aiperf: "Its `inter_token_latency` is one mean per request, (request latency − TTFT) / (output tokens − 1): our TPOT. Its `inter_chunk_latency` is our chunk gap.",
        guidellm: "Its `inter_token_latency_ms` is one mean per request, (last token − first token) / (tokens − 1): our TPOT. It keeps no single gaps.",
        notes: "`n` counts requests and `values` gaps: gaps of one request are not independent, so intervals count requests. Several events in one read of the socket share a stamp: if the socket was seen empty at most 0.1 ms before, the server wrote them together (zeros); if not, the client was late, the gap is split evenly and flagged (`client.late_gaps`). Where the server bundles tokens and does not tell how many, this equals the chunk gap, and a warning says so.",
        source: "vllm#42661, sglang#12064; ai-dynamo/dynamo#12883 lists the names",
        ..LATENCY_ENTRY
    },
    Metric {
        key: "chunk_gap_ns",
        name: "Chunk gap",
        formula: "gaps between neighbouring token-bearing events of an answer, pooled over answers",
        from: &["gaps_100ns", "merged"],
        vllm: "`itl`, but for the role delta at the start.",
        aiperf: "`inter_chunk_latency` (ICL).",
        notes: "What a user sees as a step of the text. Role, usage and `[DONE]` events bear no token. Late merged reads as for ITL.",
        source: "AIPerf `docs/metrics-reference.md`",
        ..LATENCY_ENTRY
    },
    Metric {
        key: "tpot_ns",
        name: "Time per output token (TPOT)",
        formula: "`(last_token_ns − first_token_ns) / (output_tokens − 1)`, one value for each answer with at least two tokens in at least two events, rounded to 1 ns",
        from: &["first_token_ns", "last_token_ns", "output_tokens", "token_chunks"],
        vllm: "`tpot` = (E2E − TTFT) / (output tokens − 1): the same but for where E2E and TTFT begin and end.",
        aiperf: "`inter_token_latency` (ITL): (request latency − TTFT) / (output tokens − 1).",
        guidellm: "**Misleads:** its `time_per_output_token_ms` is (last token − start) / tokens and holds the TTFT; its `inter_token_latency_ms` is our TPOT.",
        notes: "A mean per request hides stalls: look at P99 of ITL and at the longest gap. Where the first event bears several tokens, this is too small by their share. It needs a count by the server; counted by events it is the mean chunk gap.",
        source: "GuideLLM `schemas/request_stats.py`; aiperf#1279; genai-bench#31",
        ..LATENCY_ENTRY
    },
    Metric {
        key: "max_gap_ns",
        name: "Longest gap",
        formula: "largest chunk gap of each answer, one value for each answer with a gap",
        from: &["gaps_100ns", "merged"],
        notes: "The stall a user notices. A limit on it holds for every answer, where a percentile of pooled gaps lets long answers hide one.",
        ..LATENCY_ENTRY
    },
    Metric {
        key: "e2e_ns",
        name: "End-to-end latency (E2E)",
        formula: "`done_ns − start`, `start` as for TTFT; `done_ns` is the last byte of the answer, usage and `[DONE]` included",
        from: &["intended_ns", "write_begin_ns", "done_ns"],
        vllm: "`e2el`: to the last chunk with `choices` (older versions: to the last message of any kind).",
        aiperf: "`request_latency`: to the last non-empty content.",
        guidellm: "`request_latency`: to the end of the stream, as here.",
        notes: "The time to the last token alone is TTFT + TPOT × (output tokens − 1).",
        source: "vLLM `lib/endpoint_request_func.py`; AIPerf `aiperf/metrics/types`",
        ..LATENCY_ENTRY
    },
];
