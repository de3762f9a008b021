//! What the metrics of inference servers mean: names by engine, with kind and unit. Taken from the
//! servers' sources and documentation up to November 2026. Data only.

use crate::outcome::spelled;

mod names;

spelled! {
    /// An engine, or a front end, with metrics of its own.
    ServerEngine {
        /// vLLM.
        Vllm = "vllm",
        /// SGLang.
        Sglang = "sglang",
        /// Text Generation Inference.
        Tgi = "tgi",
        /// TensorRT-LLM's `trtllm-serve`.
        TensorrtLlm = "tensorrt-llm",
        /// Triton Inference Server.
        Triton = "triton",
        /// Dynamo's front end.
        Dynamo = "dynamo",
        /// llama.cpp's `llama-server`.
        LlamaCpp = "llama.cpp",
        /// The server that Loadline starts itself.
        Loadline = "loadline",
    }
}

spelled! {
    /// How a metric's values behave.
    MetricKind {
        /// Buckets of values.
        Histogram = "histogram",
        /// A number that only grows.
        Counter = "counter",
        /// A number that goes up and down.
        Gauge = "gauge",
    }
}

spelled! {
    /// What a metric means, whatever an engine calls it. Where two engines measure from different
    /// moments, they have the same meaning all the same; what one means exactly, its own
    /// documentation says.
    Meaning {
        /// Time to first token, as the server sees it: without network and client.
        Ttft = "ttft",
        /// Time between two tokens: one value for each token.
        Itl = "itl",
        /// Mean time per output token after the first: one value for each request.
        Tpot = "tpot",
        /// Time of a whole request.
        E2e = "e2e",
        /// Time of a request until it is scheduled. A count where the engine has no times.
        Queue = "queue",
        /// Time of a request in prefill.
        Prefill = "prefill",
        /// Time of a request in decode.
        Decode = "decode",
        /// Time of a request from scheduled to its end.
        Inference = "inference",
        /// Time of one stage of a request, by label.
        Stage = "stage",
        /// Time of one batch on the device, by label.
        Batch = "batch",
        /// Time until a request is checked and tokenised.
        Validation = "validation",
        /// Requests being worked on.
        Running = "running",
        /// Requests that wait.
        Waiting = "waiting",
        /// Share of the KV cache in use, 0–1.
        KvUsage = "kv_usage",
        /// Times that a running request lost its place.
        Preemptions = "preemptions",
        /// Tokens that the prefix cache was asked for.
        PrefixQueries = "prefix_queries",
        /// Tokens that it had.
        PrefixHits = "prefix_hits",
        /// Share of tokens that it had, 0–1, as the engine averages it.
        PrefixHitRate = "prefix_hit_rate",
        /// Prompt tokens.
        PromptTokens = "prompt_tokens",
        /// Prompt tokens taken from a cache.
        CachedTokens = "cached_tokens",
        /// Output tokens.
        OutputTokens = "output_tokens",
        /// Prompt tokens of a request.
        RequestPromptTokens = "request_prompt_tokens",
        /// Output tokens of a request.
        RequestOutputTokens = "request_output_tokens",
        /// Tokens of one step of the engine.
        StepTokens = "step_tokens",
        /// Steps of the engine.
        Steps = "steps",
        /// Time that the engine spent on prompts.
        PromptTime = "prompt_time",
        /// Time that the engine spent on output.
        OutputTime = "output_time",
        /// Output tokens/s as the engine averages it.
        OutputRate = "output_rate",
        /// Requests that ended well.
        Succeeded = "succeeded",
        /// Requests that were given up.
        Aborted = "aborted",
        /// Requests.
        Requests = "requests",
        /// Drafts of speculative decoding.
        Drafts = "drafts",
        /// Tokens drafted.
        DraftTokens = "draft_tokens",
        /// Drafted tokens that were kept.
        AcceptedTokens = "accepted_tokens",
        /// Share of drafted tokens kept, 0–1.
        AcceptRate = "accept_rate",
        /// Tokens kept of a draft.
        AcceptLength = "accept_length",
        /// Floating-point operations, as the engine computes them from shapes.
        Flops = "flops",
        /// Bytes read from device memory, computed likewise.
        ReadBytes = "read_bytes",
        /// Bytes written to device memory, computed likewise.
        WriteBytes = "write_bytes",
        /// Tokens that the KV cache holds at most.
        KvCapacity = "kv_capacity",
        /// Settings, as labels.
        Settings = "settings",
    }
}

impl Meaning {
    /// Short name for people: "TTFT", "Queue time".
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::Itl => "ITL",
            Self::Tpot => "TPOT",
            Self::E2e => "E2E",
            Self::Queue => "Queue time",
            Self::Prefill => "Prefill time",
            Self::Decode => "Decode time",
            Self::Inference => "Inference time",
            Self::Stage => "Stage time",
            Self::Batch => "Batch time",
            Self::Validation => "Validation time",
            Self::RequestPromptTokens => "Prompt tokens",
            Self::RequestOutputTokens => "Output tokens",
            Self::StepTokens => "Tokens per step",
            other => other.as_str(),
        }
    }
}

/// A metric of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerMetric {
    /// Whose.
    pub engine: ServerEngine,
    /// Name; of a counter without `_total`.
    pub name: &'static str,
    /// Kind.
    pub kind: MetricKind,
    /// Meaning.
    pub meaning: Meaning,
    /// `seconds`, `milliseconds`, `microseconds`, `tokens`, `ratio`, `requests`, `bytes`, …; empty:
    /// a plain number.
    pub unit: &'static str,
    /// Labels whose values are different things, which must not be added up.
    pub apart: &'static [&'static str],
}

spelled! {
    /// A layer that passes on an engine's metrics under other names.
    Relay {
        /// Ray Serve: `ray_vllm_…` for `vllm:…`.
        RayServe = "ray-serve",
        /// KServe: `kserve_vllm:…` for `vllm:…`.
        Kserve = "kserve",
    }
}

/// A metric that is known, and through which layer it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The metric.
    pub metric: &'static ServerMetric,
    /// The layer; absent: the engine itself.
    pub relay: Option<Relay>,
}

impl Known {
    /// "vllm", "vllm through ray-serve".
    pub fn engine_in_words(&self) -> String {
        match self.relay {
            Some(relay) => format!("{} through {relay}", self.metric.engine),
            None => self.metric.engine.to_string(),
        }
    }
}

/// Every metric that is known, engine by engine. Of several with one meaning the first that a page
/// has is meant to be used: the others are older names of it, or parts.
pub fn server_metrics() -> impl Iterator<Item = &'static ServerMetric> {
    names::TABLES.iter().copied().flatten()
}

/// The metric with this name, as it stands on a page: with or without the `_total` of a counter,
/// and under the names of [`Relay`].
pub fn known(name: &str) -> Option<Known> {
    let (engine_name, relay) = unwrapped(name);
    let plain = engine_name.strip_suffix("_total").unwrap_or(&engine_name);
    let metric = server_metrics().find(|metric| {
        // `vllm:iteration_tokens_total` is a histogram: of others than counters the name is whole.
        let name = if metric.kind == MetricKind::Counter { plain } else { engine_name.as_str() };
        metric.name == name
    })?;
    Some(Known { metric, relay })
}

/// The engine whose prefix this name has, whether or not the metric itself is known.
pub fn engine_of(name: &str) -> Option<ServerEngine> {
    let (name, _) = unwrapped(name);
    PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, engine)| *engine)
}

const PREFIXES: [(&str, ServerEngine); 8] = [
    ("vllm:", ServerEngine::Vllm),
    ("sglang:", ServerEngine::Sglang),
    ("tgi_", ServerEngine::Tgi),
    ("trtllm_", ServerEngine::TensorrtLlm),
    ("nv_", ServerEngine::Triton),
    ("dynamo_", ServerEngine::Dynamo),
    ("llamacpp:", ServerEngine::LlamaCpp),
    ("loadline_", ServerEngine::Loadline),
];

/// The engine's own name of a metric, and the layer that renamed it.
fn unwrapped(name: &str) -> (String, Option<Relay>) {
    if let Some(rest) = name.strip_prefix("kserve_") {
        return (rest.to_owned(), Some(Relay::Kserve));
    }
    // Ray writes every ':' as '_'.
    for engine in ["vllm", "sglang"] {
        let rest = name.strip_prefix("ray_").and_then(|rest| rest.strip_prefix(engine));
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix('_')) {
            return (format!("{engine}:{rest}"), Some(Relay::RayServe));
        }
    }
    match name.strip_prefix("trtllm:") {
        Some(rest) => (format!("trtllm_{rest}"), None),
        None => (name.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_have_their_engines_prefix() {
        let mut seen = BTreeSet::new();
        for metric in server_metrics() {
            assert!(seen.insert(metric.name), "{} stands twice", metric.name);
            assert_eq!(engine_of(metric.name), Some(metric.engine), "{}", metric.name);
            let is_counter = metric.kind == MetricKind::Counter;
            assert!(!is_counter || !metric.name.ends_with("_total"), "{}", metric.name);
            assert_eq!(known(metric.name).map(|known| known.metric), Some(metric));
            let is_rate = metric.unit == "tokens/s";
            let is_seconds = metric.name.ends_with("_seconds") && !is_rate;
            assert!(!is_seconds || metric.unit == "seconds", "{} in {}", metric.name, metric.unit);
        }
    }

    #[test]
    fn each_engine_has_what_it_is_asked_for() {
        use Meaning as M;
        use ServerEngine as E;
        let has = |engine, meaning| {
            server_metrics().any(|metric| metric.engine == engine && metric.meaning == meaning)
        };
        for engine in [E::Vllm, E::Sglang, E::TensorrtLlm, E::Dynamo] {
            for meaning in [M::Ttft, M::E2e, M::Running, M::OutputTokens] {
                assert!(has(engine, meaning), "{engine}: {meaning}");
            }
        }
        for engine in [E::Vllm, E::Sglang, E::TensorrtLlm] {
            for meaning in [M::Queue, M::Waiting, M::KvUsage, M::Preemptions, M::PromptTokens] {
                assert!(has(engine, meaning), "{engine}: {meaning}");
            }
        }
        for meaning in [M::PrefixQueries, M::PrefixHits, M::StepTokens, M::ReadBytes] {
            assert!(has(E::Vllm, meaning), "{meaning}");
        }
        for meaning in [M::Running, M::PromptTokens, M::OutputTokens] {
            assert!(has(E::LlamaCpp, meaning), "{meaning}");
        }
        for meaning in [M::Queue, M::E2e, M::Tpot] {
            assert!(has(E::Tgi, meaning), "{meaning}");
        }
    }

    #[test]
    fn relays_and_counters() {
        let of = |name: &str| known(name).map(|known| (known.metric.meaning, known.relay));
        let ttft = Meaning::Ttft;
        assert_eq!(of("vllm:time_to_first_token_seconds"), Some((ttft, None)));
        let ray = Some(Relay::RayServe);
        assert_eq!(of("ray_vllm_time_to_first_token_seconds"), Some((ttft, ray)));
        assert_eq!(
            of("kserve_vllm:time_to_first_token_seconds"),
            Some((ttft, Some(Relay::Kserve)))
        );
        assert_eq!(of("vllm:prompt_tokens_total"), Some((Meaning::PromptTokens, None)));
        assert_eq!(of("vllm:prompt_tokens"), Some((Meaning::PromptTokens, None)));
        assert_eq!(of("ray_vllm_prompt_tokens_total"), Some((Meaning::PromptTokens, ray)));
        assert_eq!(of("trtllm:kv_cache_utilization"), Some((Meaning::KvUsage, None)));
        assert_eq!(of("vllm:iteration_tokens_total"), Some((Meaning::StepTokens, None)));
        assert_eq!(of("vllm:iteration_tokens"), None);
        assert_eq!(of("http_requests_total"), None);
        let known = known("ray_vllm_e2e_request_latency_seconds").expect("known");
        assert_eq!(known.engine_in_words(), "vllm through ray-serve");
    }
}
