//! Rates: events in the measure window per second of it, as means over trials.

use super::{BLANK, Metric, Section};

const RATE: Metric = Metric { section: Section::Rates, unit: "1/s", shape: "estimate", ..BLANK };

pub(super) const RATES: &[Metric] = &[
    Metric {
        key: "requests_per_s",
        name: "Requests per second",
        formula: "number of ok answers whose `done_ns` lies in the window ÷ window length; mean over trials",
        from: &["done_ns", "outcome"],
        vllm: "`request_throughput`: completed ÷ wall time until the last straggler has ended.",
        aiperf: "`request_throughput`: completed ÷ (last response − first request).",
        guidellm: "`requests_per_second`: a distribution weighted by time.",
        notes: "By duration the load goes on while the window lasts, so that no ramp-down is in it. By count the window reaches from the first intended time to the last end, as in other tools, and holds the tail.",
        source: "vLLM `serve.py`; AIPerf `docs/metrics-reference.md`",
        ..RATE
    },
    Metric {
        key: "requests_per_s_without_tail",
        name: "Requests per second without the tail",
        formula: "the same over the window cut at the moment from which fewer than 95 % of the slots were in flight for good (closed loop), or at the last intended time (open loop); by count only",
        from: &["write_begin_ns", "ended_ns", "done_ns", "outcome"],
        vllm: "The Rust client's *steady state* figure, a plateau at 95 % of the concurrency, is near to it.",
        notes: "A count of N requests over C slots spends its last answers with idle slots: the difference to the figure with the tail says how much of the test that was.",
        ..RATE
    },
    Metric {
        key: "output_tokens_per_s",
        name: "Output tokens per second, total",
        formula: "output tokens that *arrived* in the window, of whatever request, ÷ window length; mean over trials",
        from: &["output_tokens", "first_token_ns", "last_token_ns", "gaps_100ns", "tokens"],
        vllm: "`output_throughput`: all output tokens of completed requests ÷ wall time.",
        aiperf: "`output_token_throughput`: the same sum ÷ benchmark duration.",
        notes: "Tokens of an answer that straddles an edge of the window count by their own arrival: by the tokens the server told for each event, scaled to the answer's count; else an even share for each event; without chunk times spread evenly from first to last token. Reasoning tokens count.",
        ..RATE
    },
    Metric {
        key: "output_tokens_per_s_without_tail",
        name: "Output tokens per second without the tail",
        formula: "the same over the window without the tail; by count only",
        from: &["output_tokens", "first_token_ns", "last_token_ns", "gaps_100ns", "tokens"],
        ..RATE
    },
    Metric {
        key: "output_tokens_per_s_per_user",
        name: "Output tokens per second per user",
        formula: "1 / mean TPOT of the trial's answers; mean over trials",
        from: &["first_token_ns", "last_token_ns", "output_tokens"],
        aiperf: "`output_token_throughput_per_user`: mean of 1 / ITL over requests, which is at least 1 / mean and larger the more requests differ.",
        notes: "The speed at which one user sees text, after the first token. It is *not* the total ÷ concurrency, which also holds the time to the first token.",
        ..RATE
    },
    Metric {
        key: "input_tokens_per_s",
        name: "Input tokens per second",
        formula: "sum of `input_tokens` of ok answers whose `done_ns` lies in the window ÷ window length; mean over trials",
        from: &["input_tokens", "done_ns", "outcome"],
        vllm: "`total_token_throughput` minus `output_throughput`.",
        notes: "By the server's count, so with the chat template and with what came from its prefix cache. Absent unless every answer tells its prompt tokens.",
        ..RATE
    },
    Metric {
        key: "achieved_rate_per_s",
        name: "Achieved rate",
        formula: "open loop: operations of the cohort that were sent ÷ window length; by count (sent − 1) ÷ (last sent − first sent); mean over trials",
        from: &["write_begin_ns", "intended_ns"],
        notes: "Beside the offered rate it shows what was dropped. Of a random arrival law it differs from the offered rate by chance as well.",
        ..RATE
    },
    Metric {
        key: "in_flight_mean",
        name: "Requests in flight, mean",
        unit: "requests",
        shape: "number",
        formula: "∫ (requests sent and not ended) dt over the window ÷ window length, over the windows of all trials",
        from: &["write_begin_ns", "ended_ns"],
        notes: "Measured, where concurrency is a limit. Every request counts, warm-up and drain included.",
        ..RATE
    },
    Metric {
        key: "little_residual",
        name: "Little's law, identity",
        unit: "ratio",
        shape: "number",
        formula: "|L − λW| / L with L the mean in flight, λ the number of requests in flight in the window at all ÷ its length, W their mean residence clipped to the window; largest over trials",
        from: &["write_begin_ns", "ended_ns"],
        notes: "An identity: more than 1e-9 is a fault of this program.",
        source: "J. D. C. Little, Operations Research 9 (1961) 383",
        ..RATE
    },
    Metric {
        key: "stationarity_residual",
        name: "Little's law, stationarity",
        unit: "ratio",
        shape: "number",
        formula: "|L − λW| / L with λ and W of the cohort, each request as long as it took; largest over trials",
        from: &["write_begin_ns", "ended_ns", "intended_ns"],
        notes: "Small only while the load is steady: what enters the window unfinished leaves as much unfinished. A warning comes above max(2 %, W ÷ window).",
        source: "J. D. C. Little, Operations Research 9 (1961) 383",
        ..RATE
    },
];
