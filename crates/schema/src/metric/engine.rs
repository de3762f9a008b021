//! Cells of an engine's grid.

use super::{BLANK, Metric, Section};

const ENGINE: Metric = Metric { section: Section::Engine, shape: "number", ..BLANK };

pub(super) const ENGINES: &[Metric] = &[
    Metric {
        key: "engine.prompt_tokens_per_s",
        name: "Prompt processing",
        unit: "tokens/s",
        shape: "estimate",
        formula: "mean over trials of batch · `prompt_tokens` / `prompt_ns` · 10⁹; t-interval over trials",
        from: &["prompt_tokens", "prompt_ns"],
        notes: "All sequences together, each on top of `context` tokens that are in the KV cache before the clock starts. llama-bench: `pp<N> @ d<depth>`, `avg_ts`; llama-batched-bench: `S_PP`, always at depth 0.",
        source: "tools/llama-bench, tools/batched-bench of llama.cpp",
        ..ENGINE
    },
    Metric {
        key: "engine.decode_tokens_per_s",
        name: "Generation",
        unit: "tokens/s",
        shape: "estimate",
        formula: "mean over trials of batch · `output_tokens` / `decode_ns` · 10⁹; t-interval over trials",
        from: &["decode_tokens", "decode_ns"],
        notes: "All sequences together, one token of each in every step, at `context`. llama-bench: `tg<N> @ d<depth>`; llama-batched-bench: `S_TG` at a depth of its `PP`.",
        source: "tools/llama-bench, tools/batched-bench of llama.cpp",
        ..ENGINE
    },
    Metric {
        key: "engine.decode_tokens_per_s_per_user",
        name: "Generation of each sequence",
        unit: "tokens/s",
        formula: "`decode_tokens_per_s` / batch",
        ..ENGINE
    },
    Metric {
        key: "engine.memory_bytes",
        name: "Memory of the engine",
        unit: "bytes",
        shape: "count",
        formula: "largest resident set of the engine's process after a trial",
        from: &["memory_bytes"],
        notes: "Weights that are mapped from the file count as far as they were touched. Memory of a GPU is not in it.",
        ..ENGINE
    },
    Metric {
        key: "engine.decode_bytes_per_s",
        name: "Bytes that generation reads",
        unit: "bytes/s",
        formula: "(`step_bytes` + batch · `kv_elements_per_token` · bytes of an element · (`context` + `output_tokens` / 2)) · `decode_tokens_per_s` / batch",
        notes: "What the algorithm must read, by the model's own metadata: all weights once in each step (of the embedding single rows only, unless it is the output matrix, too), and keys and values of all tokens held by then, on average. Only for dense models whose layers are on the CPU.",
        source: "counted from the GGUF file's tensors",
        ..ENGINE
    },
    Metric {
        key: "engine.mbu",
        name: "Model-bandwidth utilisation",
        unit: "ratio",
        formula: "`decode_bytes_per_s` / the larger of `memory_bandwidth.read_bytes_per_s` and `.triad_bytes_per_s`",
        notes: "Near 1: memory holds generation back, so more sequences at once cost little. Over 1: the weights come from a cache, and the figure says nothing about memory.",
        source: "Databricks, LLM Inference Performance Engineering (2023)",
        ..ENGINE
    },
    Metric {
        key: "engine.noisy",
        name: "Noisy cell",
        unit: "–",
        shape: "flag",
        formula: "standard deviation of a rate over three trials or more beyond 5 % of its mean, or other processes kept more than 0.1 processors busy, or the hypervisor took more than 1 % of the time",
        from: &["others_cpu", "steal"],
        notes: "What it was stands in the cell's warnings.",
        ..ENGINE
    },
    Metric {
        key: "engine.cost.per_mtok_output",
        name: "Cost per million generated tokens",
        unit: "currency",
        formula: "`per_hour` / (`decode_tokens_per_s` · 3,600) · 10⁶",
        notes: "Generation alone, all the time. `per_mtok_total` is that of whole answers, prompt and output: over (p + n) / (p / `prompt_tokens_per_s` + n / `decode_tokens_per_s`) tokens/s.",
        ..ENGINE
    },
    Metric {
        key: "memory_bandwidth.triad_bytes_per_s",
        name: "Memory bandwidth (triad)",
        unit: "bytes/s",
        formula: "best trial of a[i] = b[i] + s · c[i]: 3 arrays' bytes / time",
        notes: "Over all processors; arrays larger than the last-level cache. As STREAM counts: the lines that a write fetches first are not counted.",
        source: "J. D. McCalpin, STREAM",
        ..ENGINE
    },
    Metric {
        key: "memory_bandwidth.read_bytes_per_s",
        name: "Memory bandwidth (reading)",
        unit: "bytes/s",
        formula: "best trial of a sum over an array: its bytes / time",
        notes: "What generation does with weights.",
        ..ENGINE
    },
];
