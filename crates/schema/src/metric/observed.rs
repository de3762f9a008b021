//! What observers read beside the load.

use super::{BLANK, Metric, Section};

const OBSERVED: Metric = Metric { section: Section::Observed, ..BLANK };

pub(super) const OBSERVATIONS: &[Metric] = &[
    Metric {
        key: "observed.server.running",
        name: "Requests running in the server",
        unit: "requests",
        shape: "gauge",
        formula: "mean over the looks whose time lies in a measure window; several series of a page and several pages add up",
        from: &["series", "value", "at_ns"],
        notes: "of meaning `running`: `vllm:num_requests_running`, `sglang:num_running_reqs`, `llamacpp:requests_processing`, …",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.waiting",
        name: "Requests waiting in the server",
        unit: "requests",
        shape: "gauge",
        formula: "as `running`",
        from: &["series", "value", "at_ns"],
        notes: "of meaning `waiting`: `vllm:num_requests_waiting`, `sglang:num_queue_reqs`, `llamacpp:requests_deferred`, …",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.in_flight",
        name: "Our requests in flight at those moments",
        unit: "requests",
        shape: "gauge",
        formula: "number of requests with `write_begin_ns` ≤ t < `ended_ns`, mean over the times t of the same looks",
        from: &["write_begin_ns", "ended_ns"],
        notes: "`running` + `waiting` above it: somebody else uses the server; below it: something before the server holds requests. A difference of more than 10 % (and one request) over at least 5 looks is a warning.",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.kv_usage",
        name: "KV cache in use",
        unit: "ratio",
        shape: "gauge",
        formula: "mean and maximum over the looks in measure windows; of several engines the mean of their shares",
        from: &["series", "value", "at_ns"],
        notes: "`vllm:kv_cache_usage_perc`, `sglang:token_usage`, `trtllm_kv_cache_utilization`. A gauge each second misses what happens between two looks.",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.preemptions",
        name: "Preemptions",
        unit: "count",
        shape: "number",
        formula: "counter at the look after the last answer of a trial − counter at the look before its first request, summed over trials",
        from: &["series", "value", "at_ns"],
        notes: "`vllm:num_preemptions_total`, `sglang:num_retracted_requests_total`.",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.prefix_hit_ratio",
        name: "Prefix cache hits",
        unit: "ratio",
        shape: "number",
        formula: "Δ hit tokens / Δ looked-up tokens over whole trials; where the server has no such pair: Δ cached prompt tokens / Δ prompt tokens",
        from: &["series", "value", "at_ns"],
        notes: "`vllm:prefix_cache_hits_total` / `vllm:prefix_cache_queries_total` count tokens, not requests. llama.cpp's prompt counter leaves cached tokens out, so they are added.",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.output_tokens",
        name: "Output tokens, server against client",
        unit: "tokens",
        shape: "object",
        formula: "`server`: Δ counter over whole trials (warm-up and drain included). `client_low`: Σ `output_tokens` of ok answers; `client_high`: the same + `asked_tokens` of every other request that was sent. `difference`: how far `server` lies outside of the two, as a share of the nearer one; 0 inside",
        from: &["series", "value", "write_begin_ns", "first_token_ns", "output_tokens"],
        notes: "More than 1 % is a warning.",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.prompt_tokens",
        name: "Prompt tokens, server against client",
        unit: "tokens",
        shape: "object",
        formula: "as `output_tokens`, with `input_tokens` and the longest prompt of the plan",
        from: &["series", "value", "write_begin_ns", "first_token_ns", "output_tokens"],
        ..OBSERVED
    },
    Metric {
        key: "observed.server.outside_server",
        name: "TTFT outside the server",
        unit: "ns",
        shape: "object",
        formula: "`outside_ns` = mean of (`first_token_ns` − `write_begin_ns`) over all requests of whole trials with a first token − (Δ sum / Δ count of the server’s TTFT histogram): network, proxies, HTTP, and what the client adds",
        from: &["series", "value", "write_begin_ns", "first_token_ns", "output_tokens"],
        notes: "Only where the numbers of requests of both differ by at most 2 %. The mean of a histogram is exact; its quantiles are not.",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.latency",
        name: "The server’s own latencies",
        unit: "as told",
        shape: "list",
        formula: "Δ histograms over whole trials, series added up, then as `loadline latency`",
        from: &["series", "value", "at_ns"],
        notes: "See the entry of `latency`: a quantile is known to its bucket.",
        ..OBSERVED
    },
    Metric {
        key: "observed.server.trials",
        name: "Trials whose counters count",
        unit: "count",
        shape: "count",
        formula: "trials with both looks, without a restart of the server between them, and with a record of every request",
        from: &["looks", "cpu_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.gpu",
        name: "GPUs under load",
        unit: "as told",
        shape: "list",
        formula: "readings whose time lies in a measure window, as of `loadline gpu`; `energy_j` by the counter (or trapezoids of power) over the windows",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.over_ns",
        name: "Time that the host’s figures rest on",
        unit: "ns",
        shape: "number",
        formula: "Σ trials (last − first look in the measure window)",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.cpu",
        name: "Processor time",
        unit: "ratio",
        shape: "object",
        formula: "Δ of `/proc/stat` between the first and the last look in each window ÷ Δ of all its columns; windows weighted with their lengths. `busy`: without idle, iowait and steal",
        from: &["series", "value", "at_ns"],
        notes: "The client’s own work is in it where it shares the machine.",
        ..OBSERVED
    },
    Metric {
        key: "observed.host.busiest_core",
        name: "Busiest core",
        unit: "ratio",
        shape: "number and share",
        formula: "the core with the largest `busy` over the windows",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.cores",
        name: "Cores",
        unit: "count",
        shape: "count",
        formula: "processors with both looks",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.pressure_some",
        name: "Pressure stalls, some",
        unit: "ratio",
        shape: "map of numbers",
        formula: "Δ `total` of the line `some` of `/proc/pressure/*` ÷ time",
        from: &["series", "value", "at_ns"],
        source: "https://docs.kernel.org/accounting/psi.html",
        ..OBSERVED
    },
    Metric {
        key: "observed.host.pressure_full",
        name: "Pressure stalls, full",
        unit: "ratio",
        shape: "map of numbers",
        formula: "the same of the line `full`",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.disks",
        name: "Block devices",
        unit: "bytes/s, 1/s, ratio",
        shape: "map of objects",
        formula: "Δ of `/proc/diskstats` ÷ time; whole devices only",
        from: &["series", "value", "at_ns"],
        notes: "`busy` is iostat’s %util: of a device that does many I/Os at once it says little.",
        ..OBSERVED
    },
    Metric {
        key: "observed.host.networks",
        name: "Network interfaces",
        unit: "bytes/s",
        shape: "map of objects",
        formula: "Δ of `/proc/net/dev` ÷ time; the loopback is left out; `lost`: errors and drops in the windows",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.cgroup_throttled",
        name: "Stopped by the cgroup",
        unit: "ratio",
        shape: "number",
        formula: "Δ `throttled_usec` of `cpu.stat` (v1: `throttled_time`) ÷ time",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.cgroup_cpus",
        name: "Processors that the cgroup allows",
        unit: "count",
        shape: "number",
        formula: "quota ÷ period, the tightest from the own group to the root",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.memory_available_min_bytes",
        name: "Least memory available",
        unit: "bytes",
        shape: "number",
        formula: "smallest `MemAvailable` of the looks",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.host.frequency_mhz",
        name: "Clock of the processors",
        unit: "MHz",
        shape: "number",
        formula: "mean of `scaling_cur_freq` over cores and looks",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.gross",
        name: "Energy",
        unit: "J",
        shape: "object",
        formula: "Σ over the meters in `added` and over the measure windows: Δ counter (readings interpolated at the ends of a window), or trapezoids between samples of power no more than 3 s apart (2 s for GPUs). `class` is the worst of the parts; `low` and `high` bound what the readings leave open",
        from: &["series", "value", "at_ns"],
        notes: "Valid only where each window has at least 100 steps of a counter, or 10 averaging times of a power meter, and no reading is missing. A counter and the samples of power of one GPU that are more than 25 % apart make it invalid.",
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.net",
        name: "Energy above idle",
        unit: "J",
        shape: "object",
        formula: "`gross` − idle power × time; idle power: the same meters over the time without load before the stage",
        from: &["series", "value", "at_ns"],
        notes: "Absent where the server was at work during that time.",
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.watts",
        name: "Power",
        unit: "W",
        shape: "number",
        formula: "`gross.joules` / time",
        from: &["series", "value", "at_ns"],
        notes: "What `[cost]` is computed with where no watts are stated.",
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.idle_watts",
        name: "Idle power of the same meters",
        unit: "W",
        shape: "number",
        formula: "energy ÷ time of the meters in `added` over the time without load before the stage",
        from: &["series", "value", "at_ns"],
        notes: "Absent where other meters were sound then, or the server was at work. `[cost]` prices idle hours with it.",
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.meters",
        name: "Meters",
        unit: "J",
        shape: "list",
        formula: "each meter over the windows, parts that are not in the sum included",
        from: &["series", "value", "at_ns"],
        notes: "RAPL: packages and DRAM count; cores and uncore are inside packages, psys is the platform, and neither is added.",
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.added",
        name: "Meters in the sum",
        unit: "–",
        shape: "list",
        formula: "ACPI’s power meter (the whole machine) where there is a sound one; else GPUs, processor packages, and their memory",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.is_whole",
        name: "Whether they measure the whole machine",
        unit: "–",
        shape: "yes or no",
        formula: "true for ACPI’s power meter",
        from: &["series", "value", "at_ns"],
        notes: "Otherwise mainboard, fans, disks and the losses of the power supply are missing.",
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.joules_per_output_token",
        name: "Energy per output token",
        unit: "J",
        shape: "number",
        formula: "`gross.joules` / Σ trials (output tokens per second · window)",
        from: &["series", "value", "at_ns"],
        notes: "Of an output token it depends on the length of prompts: compare with `joules_per_total_token`.",
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.joules_per_total_token",
        name: "Energy per token",
        unit: "J",
        shape: "number",
        formula: "`gross.joules` / Σ trials (prompt and output tokens per second · window)",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.joules_per_request",
        name: "Energy per request",
        unit: "J",
        shape: "number",
        formula: "`gross.joules` / Σ trials (ok answers per second · window)",
        from: &["series", "value", "at_ns"],
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.net_joules_per_output_token",
        name: "Energy above idle per output token",
        unit: "J",
        shape: "number",
        formula: "`net.joules` / Σ trials (output tokens per second · window)",
        from: &["series", "value", "at_ns"],
        notes: "Absent where the bounds of `net` contain 0.",
        ..OBSERVED
    },
    Metric {
        key: "observed.energy.net_joules_per_request",
        name: "Energy above idle per request",
        unit: "J",
        shape: "number",
        formula: "`net.joules` / Σ trials (ok answers per second · window)",
        from: &["series", "value", "at_ns"],
        notes: "Absent where the bounds of `net` contain 0.",
        ..OBSERVED
    },
    Metric {
        key: "serving.observed.idle",
        name: "Idle power",
        unit: "W",
        shape: "object",
        formula: "energy ÷ time of the meters in the sum over the time without load",
        from: &["series", "value", "at_ns"],
        notes: "`--idle` sets the time. Not subtracted from what `[cost]` is computed with: it prices idle hours.",
        ..OBSERVED
    },
    Metric {
        key: "serving.observed.observers",
        name: "The observers themselves",
        unit: "as told",
        shape: "list",
        formula: "`cpu_ratio`: CPU time of the observer’s thread / time; `interval_ns` doubles while a look takes more than 5 % of it",
        from: &["looks", "cpu_ns"],
        ..OBSERVED
    },
];
