//! `--dry-run`: what would be sent, how long it would take, and the same request with curl.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use loadline_report::quantity;
use loadline_schema::engine::{EngineCell, EngineStage};
use loadline_schema::observe::{GpuChoice, MetricsPages, ObservePlan};
use loadline_schema::plan::{
    Api, Extent, Find, Length, Load, Plan, Prompt, ServingStage, Stage, Warmup,
};
use loadline_schema::storage::StorageStage;

/// The preview of a plan.
pub(crate) fn dry_run(plan: &Plan) -> String {
    let mut text = format!("Plan \"{}\", seed {}: nothing is sent.\n", plan.name, plan.seed);
    for stage in &plan.stages {
        match stage {
            Stage::Serving(stage) => stage_preview(&mut text, stage, &plan.observe),
            Stage::Engine(stage) => engine_preview(&mut text, stage),
            Stage::Storage(stage) => storage_preview(&mut text, stage),
        }
    }
    text
}

/// Requests and streams at most, where the plan tells them.
pub(crate) fn largest(stage: &ServingStage) -> (Option<u64>, u64) {
    let mut requests = Some(0_u64);
    let mut streams = 0;
    for load in &stage.points {
        let of_point = match (*load, stage.extent) {
            (Load::Burst { requests }, _) | (_, Extent::Requests { requests }) => Some(requests),
            (Load::Open { rate_per_s, .. }, Extent::Duration { duration_ns }) => {
                Some((rate_per_s * (duration_ns + warmup_ns(stage)) as f64 / 1e9).ceil() as u64)
            }
            (Load::Closed { .. }, Extent::Duration { .. }) => None,
        };
        let trials = u64::from(stage.trials);
        requests = requests.zip(of_point).map(|(sum, of_point)| sum + of_point * trials);
        streams = streams.max(match *load {
            Load::Closed { concurrency } => concurrency,
            Load::Burst { requests } => requests,
            Load::Open { rate_per_s, .. } => rate_per_s.ceil() as u64,
        });
    }
    (requests, streams)
}

fn warmup_ns(stage: &ServingStage) -> u64 {
    match stage.warmup {
        Warmup::Steady { least_ns, .. } => least_ns,
        Warmup::Duration { duration_ns } => duration_ns,
        Warmup::Requests { .. } => 0,
    }
}

/// An address without what may be a key.
pub(crate) fn masked(url: &str) -> String {
    loadline_serving::endpoint::mask_url(url)
}

fn engine_preview(text: &mut String, stage: &EngineStage) {
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<10} {value}").expect("invariant: text grows");
    };
    line("stage", &stage.name);
    line("model", &stage.model.to_string());
    line("engine", stage.with.as_deref().unwrap_or("embedded"));
    let axis = |of: fn(&EngineCell) -> u32| {
        let values: BTreeSet<u32> = stage.cells.iter().map(of).collect();
        values.iter().map(|v| EngineCell::setting_words(*v)).collect::<Vec<_>>().join(", ")
    };
    line("batch", &axis(|cell| cell.batch));
    line("context", &axis(|cell| cell.context));
    line("threads", &axis(|cell| cell.threads));
    line("GPU layers", &axis(|cell| cell.gpu_layers));
    line("n_ubatch", &axis(|cell| cell.n_ubatch));
    line("prompt", &format!("{} tokens", axis(|cell| cell.prompt_tokens)));
    line("output", &format!("{} tokens", axis(|cell| cell.output_tokens)));
    line("trials", &format!("{} of each of {} cells", stage.trials, stage.cells.len()));
}

fn storage_preview(text: &mut String, stage: &StorageStage) {
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<10} {value}").expect("invariant: text grows");
    };
    line("stage", &stage.name);
    for path in stage.paths() {
        line("path", path);
        for cell in stage.cells.iter().filter(|cell| cell.path == path) {
            line("", &cell.in_words());
        }
        line("files", &quantity::binary_bytes(stage.space_bytes(path)));
        line("writes", &writes_words(stage, path));
    }
    line("trials", &format!("{} of each of {} cells", stage.trials, stage.cells.len()));
}

/// What the storage stages of a plan write, told before anything is written.
pub(crate) fn writes(plan: &Plan) -> Vec<String> {
    let mut words = Vec::new();
    for stage in &plan.stages {
        let Stage::Storage(stage) = stage else { continue };
        words.extend(stage.paths().into_iter().map(|path| {
            let files = quantity::binary_bytes(stage.space_bytes(path));
            format!("{path}: files of {files}; writes {}", writes_words(stage, path))
        }));
    }
    words
}

fn writes_words(stage: &StorageStage, path: &str) -> String {
    let writes = stage.writes(path);
    let most = quantity::binary_bytes(stage.limits.max_write_bytes);
    let certain = quantity::binary_bytes(writes.certain);
    match (writes.timed, writes.certain > stage.limits.max_write_bytes) {
        (_, true) => format!("{certain} and more, but ends at {most} (--max-write)"),
        (true, false) if writes.certain == 0 => {
            format!("as much as goes in the time, at most {most} (--max-write)")
        }
        (true, false) => {
            format!("{certain}, and as much as goes in the time, at most {most} (--max-write)")
        }
        (false, false) => certain,
    }
}

fn stage_preview(text: &mut String, stage: &ServingStage, observe: &ObservePlan) {
    let endpoints: Vec<String> = stage.endpoints.iter().map(|url| masked(url)).collect();
    let model = stage.model.as_deref().unwrap_or("the first that the server offers");
    let points: Vec<String> = match stage.find {
        Some(Find::Concurrency { .. }) => vec!["the load line, over concurrency".to_owned()],
        Some(Find::Rate { .. }) => vec!["the load line, over requests/s".to_owned()],
        None => stage.points.iter().map(point).collect(),
    };
    let (requests, _) = largest(stage);
    let prompt = match &stage.prompt {
        Prompt::Synthetic { tokens, .. } => format!("{tokens} tokens"),
        Prompt::File { path } => format!("from {path}"),
    };
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<10} {value}").expect("invariant: text grows");
    };
    line("stage", &stage.name);
    line("target", &endpoints.join(", "));
    line("model", model);
    line("points", &points.join(", "));
    line("prompt", &prompt);
    line("output", &format!("{} tokens", stage.output.tokens));
    let most = if stage.find.is_some() { "at most " } else { "" };
    line("trials", &format!("{most}{} of each point", stage.trials));
    match requests {
        Some(requests) if requests > 0 => {
            line("requests", &quantity::count(requests));
            let prompt_tokens = match &stage.prompt {
                Prompt::Synthetic { tokens, .. } => tokens.mean(),
                Prompt::File { .. } => 0.0,
            };
            let tokens = requests as f64 * (prompt_tokens + stage.output.tokens.mean());
            line("tokens", &format!("about {}", quantity::count(tokens.round() as u64)));
        }
        _ => line("requests", "as many as the server answers in the time"),
    }
    if let Extent::Duration { duration_ns } = stage.extent
        && stage.find.is_none()
    {
        let trials = u64::from(stage.trials) * stage.points.len() as u64;
        let least = trials * (duration_ns + warmup_ns(stage));
        line("duration", &format!("at least {:.0} s, answers in flight apart", least as f64 / 1e9));
    }
    line("observed", &observed(observe, stage));
    if stage.embedded.is_none() {
        text.push_str(&curl(stage, endpoints.first().map_or("", String::as_str)));
    }
}

/// What is read beside the load.
fn observed(observe: &ObservePlan, stage: &ServingStage) -> String {
    let mut sources = Vec::new();
    match &observe.metrics {
        MetricsPages::Auto if stage.discover => sources.push("its /metrics".to_owned()),
        MetricsPages::Auto | MetricsPages::Off => {}
        MetricsPages::Urls(urls) => sources.extend(urls.iter().map(|url| masked(url))),
    }
    match &observe.gpu {
        GpuChoice::Off => {}
        GpuChoice::Auto => sources.push("this machine's GPUs".to_owned()),
        GpuChoice::Exporter(url) => sources.push(masked(url)),
    }
    let own = [(observe.power, "power"), (observe.host, "host")];
    sources.extend(own.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned()));
    if sources.is_empty() {
        return "nothing".to_owned();
    }
    format!("{}, each {}", sources.join(", "), quantity::duration(observe.interval_ns as f64))
}

/// The load of a point in words.
pub(crate) fn point(load: &Load) -> String {
    match *load {
        Load::Closed { concurrency } => format!("concurrency {concurrency}"),
        Load::Open { rate_per_s, arrival } => format!("{rate_per_s}/s {arrival}"),
        Load::Burst { requests } => format!("burst of {requests}"),
    }
}

fn curl(stage: &ServingStage, endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/').trim_end_matches("/v1");
    let model = stage.model.as_deref().unwrap_or("MODEL");
    let tokens = match stage.output.tokens {
        Length::Fixed { tokens } => tokens,
        other => other.mean().round() as u32,
    };
    let (path, prompt) = match stage.api {
        Api::Chat => ("chat/completions", r#""messages":[{"role":"user","content":"…"}]"#),
        Api::Completions => ("completions", r#""prompt":"…""#),
    };
    let key = if stage.api_key.is_some() { " -H 'Authorization: Bearer ***'" } else { "" };
    format!(
        "  one request, with curl:\n  curl -N {base}/v1/{path} -H 'Content-Type: application/json'{key} \\\n    \
         -d '{{\"model\":\"{model}\",{prompt},\"max_tokens\":{tokens},\"stream\":true,\
         \"stream_options\":{{\"include_usage\":true}}}}'\n"
    )
}
