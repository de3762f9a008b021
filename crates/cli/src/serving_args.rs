//! Flags of `loadline serving`, and the plan of one stage that they mean.

use clap::Args;
use loadline_schema::plan::{Api, Arrival, Length};
use loadline_schema::plan_file::{
    LoadFile, OutputFile, PlanFile, PromptFile, ServingFile, TimeoutsFile, WarmupFile,
};
use loadline_schema::units::{DurationNs, RatePerS, Ratio};

use crate::args::RunOptions;
use crate::cost_args::CostArgs;
use crate::exit::Failure;
use crate::observe_args::ObserveArgs;
use crate::sla_args::SlaArgs;

/// Puts load on a server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadline serving http://gpu1:8000 --concurrency 1,4,16,64
  loadline serving http://gpu1:8000 --rate 5,10,20 --arrival poisson --duration 60s
  loadline serving https://api.example.com/v1 --model m --api-key-env API_KEY --requests 200
  loadline serving http://a:8000 http://b:8000 --prompt-tokens lognormal:400,0.5
  loadline serving http://gpu1:8000 --sla 'ttft_p99<=800ms,itl_p99<=60ms,error_rate<=0.1%'
  loadline serving http://gpu1:8000 --find --sla 'ttft_p99<=800ms' --duration 60s
  loadline serving http://gpu1:8000 --find=rate --sla 'e2e_p99<=5s' --max 50
  loadline serving unix:/run/llm.sock --dry-run
  loadline serving --embedded model.gguf --concurrency 1,4

Exit codes: 0 ok, 1 internal error, 2 usage or plan, 3 target unreachable, 4 SLA missed,
6 incomplete run.")]
pub(crate) struct ServingArgs {
    /// Server, with or without /v1; several are used in rotation
    #[arg(value_name = "URL", required_unless_present = "embedded")]
    pub(crate) endpoint: Vec<String>,
    /// Serve this model here, and load that: a GGUF file, or made[:SHAPE[:TYPE]] for random weights
    #[arg(
        long,
        value_name = "MODEL",
        conflicts_with = "endpoint",
        help_heading = "Embedded server"
    )]
    pub(crate) embedded: Option<String>,
    /// Answers that it computes at once [default: the largest concurrency, at most 64]
    #[arg(long, value_name = "N", requires = "embedded", help_heading = "Embedded server")]
    pub(crate) parallel: Option<u32>,
    /// Its threads [default: one for each processor, at most 8]
    #[arg(long, value_name = "N", requires = "embedded", help_heading = "Embedded server")]
    pub(crate) threads: Option<u32>,
    /// Its layers on the GPU [default: as many as fit]
    #[arg(long, value_name = "N", requires = "embedded", help_heading = "Embedded server")]
    pub(crate) gpu_layers: Option<u32>,

    /// Closed loop: so many requests in flight, one point for each [default: 1,4,16,64]
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = "Load")]
    pub(crate) concurrency: Option<Vec<u64>>,
    /// Open loop: requests/s at times that do not depend on answers
    #[arg(
        long,
        value_name = "R,…",
        value_delimiter = ',',
        help_heading = "Load",
        conflicts_with = "concurrency"
    )]
    pub(crate) rate: Option<Vec<RatePerS>>,
    /// Find the largest load that keeps the SLA, over concurrency (default) or rate
    #[arg(
        long,
        value_name = "OVER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = ["", "concurrency", "rate"],
        hide_possible_values = true,
        help_heading = "Load",
        conflicts_with_all = ["concurrency", "rate", "burst"],
        requires = "sla"
    )]
    pub(crate) find: Option<String>,
    /// Largest load that a search tries
    #[arg(long, value_name = "N", help_heading = "Load", requires = "find")]
    pub(crate) max: Option<f64>,
    /// Law of the times: poisson, constant, gamma:SHAPE [default: poisson]
    #[arg(long, value_name = "LAW", help_heading = "Load")]
    pub(crate) arrival: Option<Arrival>,
    /// So many requests at one instant
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = "Load", conflicts_with_all = ["concurrency", "rate"])]
    pub(crate) burst: Option<Vec<u64>>,
    /// Measure window of each trial [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub(crate) duration: Option<DurationNs>,
    /// Exactly so many requests for each trial instead of a duration
    #[arg(long, value_name = "N", help_heading = "Load", conflicts_with = "duration")]
    pub(crate) requests: Option<u64>,
    /// Before the window: a number of requests or a time [default: 5s and 2 answers per slot; with
    /// --requests none]
    #[arg(long, value_name = "N|TIME", help_heading = "Load")]
    pub(crate) warmup: Option<WarmupFile>,
    /// Repetitions of each point [default: 3]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) trials: Option<u32>,
    /// Time over which the slots start [default: one mean answer]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub(crate) stagger: Option<DurationNs>,
    /// Pause of a slot after each answer
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub(crate) think_time: Option<DurationNs>,
    /// Most requests in flight in open loop; what is due beyond is dropped and counted
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) max_in_flight: Option<u64>,
    /// Stop a trial at this share of errors [default: 50%]
    #[arg(long, value_name = "SHARE", help_heading = "Load")]
    pub(crate) stop_after_errors: Option<Ratio>,
    /// Stop the run when so many tokens (prompt and output) have been used
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) max_tokens_total: Option<u64>,
    /// Threads that carry the load [default: as many as it needs, at most one per core]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) reactors: Option<u32>,
    /// Seed of everything random [default: a fresh one, recorded]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) seed: Option<u64>,

    /// Prompt tokens by the server's count: 512, uniform:A-B, normal:MEAN,SD, lognormal:MEDIAN,SIGMA
    #[arg(long, value_name = "N|LAW", help_heading = "Prompts and answers")]
    pub(crate) prompt_tokens: Option<Length>,
    /// Leading tokens that all prompts share
    #[arg(long, value_name = "N", help_heading = "Prompts and answers")]
    pub(crate) shared_prefix: Option<u32>,
    /// Prompts from a file: one per line, or JSONL with "prompt" or "messages"
    #[arg(long, value_name = "FILE", help_heading = "Prompts and answers", conflicts_with_all = ["prompt_tokens", "shared_prefix"])]
    pub(crate) prompts: Option<String>,
    /// Output tokens to ask for: 128 or a law as above
    #[arg(long, value_name = "N|LAW", help_heading = "Prompts and answers")]
    pub(crate) output_tokens: Option<Length>,
    /// Let the server end an answer early
    #[arg(long, help_heading = "Prompts and answers")]
    pub(crate) no_ignore_eos: bool,
    /// API: chat or completions [default: chat]
    #[arg(long, value_name = "API", value_parser = api, help_heading = "Prompts and answers")]
    pub(crate) api: Option<Api>,
    /// Model to ask for [default: the first that the server offers]
    #[arg(long, value_name = "NAME", help_heading = "Prompts and answers")]
    pub(crate) model: Option<String>,
    /// JSON object merged into each request's body
    #[arg(long, value_name = "JSON", value_parser = json_object, help_heading = "Prompts and answers")]
    pub(crate) extra_body: Option<serde_json::Map<String, serde_json::Value>>,
    /// Do not ask for usage in each chunk
    #[arg(long, help_heading = "Prompts and answers")]
    pub(crate) no_per_chunk_usage: bool,

    /// Environment variable that holds the key
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub(crate) api_key_env: Option<String>,
    /// File whose first line is the key
    #[arg(long, value_name = "FILE", help_heading = "Connection", conflicts_with = "api_key_env")]
    pub(crate) api_key_file: Option<String>,
    /// Additional header
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header, help_heading = "Connection")]
    pub(crate) headers: Vec<(String, String)>,
    /// CA certificates (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) cacert: Option<String>,
    /// Do not check certificates; marked in the report
    #[arg(long, help_heading = "Connection")]
    pub(crate) insecure: bool,
    /// Ask the server nothing but the load itself
    #[arg(long, help_heading = "Connection")]
    pub(crate) no_discover: bool,
    /// Limit of a whole request [default: 600s]
    #[arg(long, value_name = "TIME", help_heading = "Connection")]
    pub(crate) timeout: Option<DurationNs>,
    /// Limit of connecting [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Connection")]
    pub(crate) connect_timeout: Option<DurationNs>,
    /// Limit to the first token [default: 120s]
    #[arg(long, value_name = "TIME", help_heading = "Connection")]
    pub(crate) first_token_timeout: Option<DurationNs>,
    /// Limit between two tokens [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Connection")]
    pub(crate) gap_timeout: Option<DurationNs>,
    /// Send a failed request again so many times [default: 0]
    #[arg(long, value_name = "N", help_heading = "Connection")]
    pub(crate) retries: Option<u16>,

    #[command(flatten, next_help_heading = "Judgement")]
    pub(crate) sla: SlaArgs,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    #[command(flatten)]
    pub(crate) observe: ObserveArgs,

    /// Name of the run
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    pub(crate) name: Option<String>,
    /// Do not store the arrival times of chunks
    #[arg(long, help_heading = "Run")]
    pub(crate) no_chunk_times: bool,
    #[command(flatten, next_help_heading = "Run")]
    pub(crate) options: RunOptions,
}

impl ServingArgs {
    /// The plan that these flags mean.
    pub(crate) fn plan_file(&self) -> Result<PlanFile, Failure> {
        let stage = ServingFile {
            endpoint: self.endpoint.clone(),
            embedded: self.embedded.clone(),
            parallel: self.parallel,
            threads: self.threads,
            gpu_layers: self.gpu_layers,
            model: self.model.clone(),
            api: self.api,
            prompt: PromptFile {
                tokens: self.prompt_tokens,
                file: self.prompts.clone(),
                shared_prefix: self.shared_prefix,
            },
            output: OutputFile {
                tokens: self.output_tokens,
                ignore_eos: self.no_ignore_eos.then_some(false),
            },
            load: LoadFile {
                concurrency: self.concurrency.clone(),
                rate: self.rate.clone(),
                burst: self.burst.clone(),
                arrival: self.arrival,
                find: self.find.as_ref().map(|_| "load line".to_owned()),
                over: self.find.clone().filter(|over| !over.is_empty()),
                max: self.max,
            },
            duration: self.duration,
            requests: self.requests,
            warmup: self.warmup,
            trials: self.trials,
            stagger: self.stagger,
            think_time: self.think_time,
            timeouts: TimeoutsFile {
                connect: self.connect_timeout,
                first_token: self.first_token_timeout,
                gap: self.gap_timeout,
                total: self.timeout,
            },
            retries: self.retries,
            stop_after_errors: self.stop_after_errors,
            max_in_flight: self.max_in_flight,
            max_tokens_total: self.max_tokens_total,
            headers: self.headers.iter().cloned().collect(),
            extra_body: self.extra_body.clone(),
            api_key_env: self.api_key_env.clone(),
            api_key_file: self.api_key_file.clone(),
            ca_file: self.cacert.clone(),
            insecure: self.insecure.then_some(true),
            discover: self.no_discover.then_some(false),
            per_chunk_usage: self.no_per_chunk_usage.then_some(false),
            chunk_times: self.no_chunk_times.then_some(false),
            reactors: self.reactors,
            ..ServingFile::default()
        };
        let mut plan = PlanFile::of_stage(stage);
        plan.name.clone_from(&self.name);
        plan.seed = self.seed;
        plan.sla = self.sla.tables()?;
        plan.cost = self.cost.file()?;
        plan.observe = self.observe.file();
        Ok(plan)
    }
}

fn api(text: &str) -> Result<Api, String> {
    Api::from_text(text).ok_or_else(|| "expected chat or completions".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn json_object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
}
