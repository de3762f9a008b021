//! The names themselves.

use super::Meaning as M;
use super::{MetricKind, ServerEngine, ServerMetric};

/// One table for each engine.
pub(super) const TABLES: [&[ServerMetric]; 8] =
    [&VLLM, &SGLANG, &TENSORRT_LLM, &TGI, &DYNAMO, &LLAMA_CPP, &TRITON, &LOADLINE];

const S: &str = "seconds";
const TOKENS: &str = "tokens";
const REQUESTS: &str = "requests";
const RATIO: &str = "ratio";

/// Metrics of one engine by their names.
struct Of(ServerEngine);

impl Of {
    const fn metric(
        &self,
        name: &'static str,
        kind: MetricKind,
        meaning: M,
        unit: &'static str,
    ) -> ServerMetric {
        ServerMetric { engine: self.0, name, kind, meaning, unit, apart: &[] }
    }

    const fn h(&self, name: &'static str, meaning: M, unit: &'static str) -> ServerMetric {
        self.metric(name, MetricKind::Histogram, meaning, unit)
    }

    const fn c(&self, name: &'static str, meaning: M, unit: &'static str) -> ServerMetric {
        self.metric(name, MetricKind::Counter, meaning, unit)
    }

    const fn g(&self, name: &'static str, meaning: M, unit: &'static str) -> ServerMetric {
        self.metric(name, MetricKind::Gauge, meaning, unit)
    }
}

/// The same, with labels that tell different things apart.
const fn apart(metric: ServerMetric, labels: &'static [&'static str]) -> ServerMetric {
    ServerMetric { apart: labels, ..metric }
}

const V: Of = Of(ServerEngine::Vllm);
const VLLM: [ServerMetric; 35] = [
    V.h("vllm:time_to_first_token_seconds", M::Ttft, S),
    V.h("vllm:inter_token_latency_seconds", M::Itl, S),
    // The older name of the same.
    V.h("vllm:time_per_output_token_seconds", M::Itl, S),
    V.h("vllm:request_time_per_output_token_seconds", M::Tpot, S),
    V.h("vllm:e2e_request_latency_seconds", M::E2e, S),
    V.h("vllm:request_queue_time_seconds", M::Queue, S),
    V.h("vllm:request_prefill_time_seconds", M::Prefill, S),
    V.h("vllm:request_decode_time_seconds", M::Decode, S),
    V.h("vllm:request_inference_time_seconds", M::Inference, S),
    V.h("vllm:request_prompt_tokens", M::RequestPromptTokens, TOKENS),
    V.h("vllm:request_generation_tokens", M::RequestOutputTokens, TOKENS),
    V.h("vllm:iteration_tokens_total", M::StepTokens, TOKENS),
    V.g("vllm:num_requests_running", M::Running, REQUESTS),
    V.g("vllm:num_requests_waiting", M::Waiting, REQUESTS),
    apart(V.g("vllm:num_requests_waiting_by_reason", M::Waiting, REQUESTS), &["reason"]),
    V.g("vllm:kv_cache_usage_perc", M::KvUsage, RATIO),
    // The older name of the same.
    V.g("vllm:gpu_cache_usage_perc", M::KvUsage, RATIO),
    V.c("vllm:prefix_cache_queries", M::PrefixQueries, TOKENS),
    V.c("vllm:prefix_cache_hits", M::PrefixHits, TOKENS),
    V.c("vllm:gpu_prefix_cache_queries", M::PrefixQueries, TOKENS),
    V.c("vllm:gpu_prefix_cache_hits", M::PrefixHits, TOKENS),
    V.g("vllm:gpu_prefix_cache_hit_rate", M::PrefixHitRate, RATIO),
    V.c("vllm:prompt_tokens_cached", M::CachedTokens, TOKENS),
    V.c("vllm:prompt_tokens", M::PromptTokens, TOKENS),
    V.c("vllm:generation_tokens", M::OutputTokens, TOKENS),
    V.c("vllm:num_preemptions", M::Preemptions, REQUESTS),
    apart(V.c("vllm:request_success", M::Succeeded, REQUESTS), &["finished_reason"]),
    V.c("vllm:spec_decode_num_drafts", M::Drafts, ""),
    V.c("vllm:spec_decode_num_draft_tokens", M::DraftTokens, TOKENS),
    V.c("vllm:spec_decode_num_accepted_tokens", M::AcceptedTokens, TOKENS),
    apart(
        V.c("vllm:spec_decode_num_accepted_tokens_per_pos", M::AcceptedTokens, TOKENS),
        &["position"],
    ),
    V.c("vllm:estimated_flops_per_gpu", M::Flops, ""),
    V.c("vllm:estimated_read_bytes_per_gpu", M::ReadBytes, "bytes"),
    V.c("vllm:estimated_write_bytes_per_gpu", M::WriteBytes, "bytes"),
    V.g("vllm:cache_config_info", M::Settings, ""),
];

const G: Of = Of(ServerEngine::Sglang);
const SGLANG: [ServerMetric; 26] = [
    G.h("sglang:time_to_first_token_seconds", M::Ttft, S),
    G.h("sglang:inter_token_latency_seconds", M::Itl, S),
    G.h("sglang:time_per_output_token_seconds", M::Tpot, S),
    G.h("sglang:e2e_request_latency_seconds", M::E2e, S),
    G.h("sglang:queue_time_seconds", M::Queue, S),
    apart(G.h("sglang:per_stage_req_latency_seconds", M::Stage, S), &["stage"]),
    G.g("sglang:num_running_reqs", M::Running, REQUESTS),
    G.g("sglang:num_queue_reqs", M::Waiting, REQUESTS),
    // The largest of the shares of the full, sliding and Mamba pools.
    G.g("sglang:token_usage", M::KvUsage, RATIO),
    G.g("sglang:full_token_usage", M::KvUsage, RATIO),
    G.g("sglang:cache_hit_rate", M::PrefixHitRate, RATIO),
    G.c("sglang:cached_tokens", M::CachedTokens, TOKENS),
    // These two move only when a request ends.
    G.c("sglang:prompt_tokens", M::PromptTokens, TOKENS),
    G.c("sglang:generation_tokens", M::OutputTokens, TOKENS),
    apart(G.c("sglang:realtime_tokens", M::StepTokens, TOKENS), &["mode"]),
    G.g("sglang:gen_throughput", M::OutputRate, "tokens/s"),
    G.c("sglang:num_retracted_requests", M::Preemptions, REQUESTS),
    G.h("sglang:num_retractions", M::Preemptions, ""),
    G.c("sglang:num_requests", M::Requests, REQUESTS),
    G.c("sglang:num_aborted_requests", M::Aborted, REQUESTS),
    G.g("sglang:spec_accept_rate", M::AcceptRate, RATIO),
    G.g("sglang:spec_accept_length", M::AcceptLength, TOKENS),
    G.c("sglang:estimated_flops_per_gpu", M::Flops, ""),
    G.c("sglang:estimated_read_bytes_per_gpu", M::ReadBytes, "bytes"),
    G.c("sglang:estimated_write_bytes_per_gpu", M::WriteBytes, "bytes"),
    G.g("sglang:max_total_num_tokens", M::KvCapacity, TOKENS),
];

const T: Of = Of(ServerEngine::TensorrtLlm);
const TENSORRT_LLM: [ServerMetric; 18] = [
    T.h("trtllm_time_to_first_token_seconds", M::Ttft, S),
    T.h("trtllm_time_per_output_token_seconds", M::Tpot, S),
    T.h("trtllm_e2e_request_latency_seconds", M::E2e, S),
    T.h("trtllm_request_queue_time_seconds", M::Queue, S),
    T.h("trtllm_request_prefill_time_seconds", M::Prefill, S),
    T.h("trtllm_request_decode_time_seconds", M::Decode, S),
    T.h("trtllm_request_inference_time_seconds", M::Inference, S),
    T.g("trtllm_num_requests_running", M::Running, REQUESTS),
    T.g("trtllm_num_requests_waiting", M::Waiting, REQUESTS),
    T.g("trtllm_num_paused_requests", M::Preemptions, REQUESTS),
    T.g("trtllm_kv_cache_utilization", M::KvUsage, RATIO),
    T.g("trtllm_kv_cache_hit_rate", M::PrefixHitRate, RATIO),
    T.c("trtllm_prompt_cached_tokens", M::CachedTokens, TOKENS),
    T.c("trtllm_prompt_tokens", M::PromptTokens, TOKENS),
    T.c("trtllm_generation_tokens", M::OutputTokens, TOKENS),
    apart(T.c("trtllm_request_success", M::Succeeded, REQUESTS), &["finished_reason"]),
    T.c("trtllm_spec_decode_num_draft_tokens", M::DraftTokens, TOKENS),
    T.c("trtllm_spec_decode_num_accepted_tokens", M::AcceptedTokens, TOKENS),
];

const H: Of = Of(ServerEngine::Tgi);
const TGI: [ServerMetric; 13] = [
    H.h("tgi_request_mean_time_per_token_duration", M::Tpot, S),
    H.h("tgi_request_duration", M::E2e, S),
    H.h("tgi_request_queue_duration", M::Queue, S),
    H.h("tgi_request_inference_duration", M::Inference, S),
    H.h("tgi_request_validation_duration", M::Validation, S),
    apart(H.h("tgi_batch_inference_duration", M::Batch, S), &["method"]),
    apart(H.h("tgi_batch_forward_duration", M::Batch, S), &["method"]),
    H.h("tgi_request_input_length", M::RequestPromptTokens, TOKENS),
    H.h("tgi_request_generated_tokens", M::RequestOutputTokens, TOKENS),
    H.g("tgi_batch_current_size", M::Running, REQUESTS),
    H.g("tgi_queue_size", M::Waiting, REQUESTS),
    H.c("tgi_request_count", M::Requests, REQUESTS),
    H.c("tgi_request_success", M::Succeeded, REQUESTS),
];

const D: Of = Of(ServerEngine::Dynamo);
const DYNAMO: [ServerMetric; 10] = [
    D.h("dynamo_frontend_time_to_first_token_seconds", M::Ttft, S),
    D.h("dynamo_frontend_inter_token_latency_seconds", M::Itl, S),
    D.h("dynamo_frontend_request_duration_seconds", M::E2e, S),
    D.h("dynamo_frontend_input_sequence_tokens", M::RequestPromptTokens, TOKENS),
    D.h("dynamo_frontend_output_sequence_tokens", M::RequestOutputTokens, TOKENS),
    D.h("dynamo_frontend_cached_tokens", M::CachedTokens, TOKENS),
    D.g("dynamo_frontend_inflight_requests", M::Running, REQUESTS),
    D.g("dynamo_frontend_queued_requests", M::Waiting, REQUESTS),
    D.c("dynamo_frontend_requests", M::Requests, REQUESTS),
    D.c("dynamo_frontend_output_tokens", M::OutputTokens, TOKENS),
];

const L: Of = Of(ServerEngine::LlamaCpp);
const LLAMA_CPP: [ServerMetric; 11] = [
    L.g("llamacpp:requests_processing", M::Running, REQUESTS),
    L.g("llamacpp:requests_deferred", M::Waiting, REQUESTS),
    L.g("llamacpp:kv_cache_usage_ratio", M::KvUsage, RATIO),
    // Without those that came from the cache.
    L.c("llamacpp:prompt_tokens", M::PromptTokens, TOKENS),
    L.c("llamacpp:prompt_tokens_cached", M::CachedTokens, TOKENS),
    L.c("llamacpp:tokens_predicted", M::OutputTokens, TOKENS),
    L.c("llamacpp:prompt_seconds", M::PromptTime, S),
    L.c("llamacpp:tokens_predicted_seconds", M::OutputTime, S),
    L.c("llamacpp:n_decode", M::Steps, ""),
    L.g("llamacpp:n_busy_slots_per_decode", M::StepTokens, REQUESTS),
    // Tokens per second, whatever the name says.
    L.g("llamacpp:predicted_tokens_seconds", M::OutputRate, "tokens/s"),
];

const OWN: Of = Of(ServerEngine::Loadline);
const LOADLINE: [ServerMetric; 9] = [
    OWN.h("loadline_time_to_first_token_seconds", M::Ttft, S),
    OWN.h("loadline_inter_token_latency_seconds", M::Itl, S),
    OWN.h("loadline_e2e_request_latency_seconds", M::E2e, S),
    OWN.h("loadline_request_queue_time_seconds", M::Queue, S),
    OWN.g("loadline_num_requests_running", M::Running, REQUESTS),
    OWN.g("loadline_num_requests_waiting", M::Waiting, REQUESTS),
    OWN.g("loadline_kv_cache_usage_ratio", M::KvUsage, RATIO),
    OWN.c("loadline_prompt_tokens", M::PromptTokens, TOKENS),
    OWN.c("loadline_generation_tokens", M::OutputTokens, TOKENS),
];

const N: Of = Of(ServerEngine::Triton);
const TRITON: [ServerMetric; 4] = [
    N.h("nv_inference_first_response_histogram_ms", M::Ttft, "milliseconds"),
    N.c("nv_inference_request_duration_us", M::E2e, "microseconds"),
    N.c("nv_inference_queue_duration_us", M::Queue, "microseconds"),
    apart(N.g("nv_trt_llm_request_metrics", M::Running, REQUESTS), &["request_type"]),
];
