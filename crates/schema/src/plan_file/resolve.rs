//! From `PlanFile` to `Plan`: defaults filled in, contradictions refused.

use super::error::Fault;
use super::{
    DEFAULT_DURATION, DEFAULT_LOOKS, DEFAULT_STOP_AFTER_ERRORS, DEFAULT_TRIALS, DEFAULT_WARMUP,
    DEFAULT_WARMUP_ANSWERS, PlanFile, ServingFile, WarmupFile,
};
use crate::plan::{
    Api, Extent, Header, KeySource, Load, Plan, ServingStage, Stage, Timeouts, Warmup,
};
use crate::units::DurationNs;

mod cost;
mod engine;
mod load;
mod observe;
mod request;
mod storage;
mod targets;

/// Names of runs, stages and models are shown in tables and file names.
const NAME_MAX: usize = 100;

pub(super) fn plan(file: &PlanFile, fresh_seed: u64) -> Result<Plan, Fault> {
    if file.serving.is_empty() && file.engine.is_empty() && file.storage.is_empty() {
        let help = "add one: `[[serving]]` with `endpoint = \"http://host:8000\"`, `[[engine]]` with \
                    `model = \"model.gguf\"`, or `[[storage]]` with `path = \"/shared\"`";
        return Err(Fault::at(&[], "the plan has no stage", help));
    }
    let fallback = match (file.serving.is_empty(), file.engine.is_empty()) {
        (false, _) => "serving",
        (true, false) => "engine",
        (true, true) => "storage",
    };
    let name = file.name.clone().unwrap_or_else(|| fallback.into());
    check_name(&name, "name")?;
    let stages = stages(file)?;
    let serving: Vec<&ServingStage> = stages.iter().filter_map(Stage::serving).collect();
    let sla = targets::slas(&file.sla)?;
    let searches = serving.iter().position(|stage| stage.find.is_some());
    if let Some(index) = searches.filter(|_| sla.is_empty()) {
        let help = "add one: `[sla]` with `interactive = { ttft_p99 = \"800ms\" }` (--sla)";
        let message = "a load line is searched and no SLA says what to hold";
        return Err(Fault::at(&["serving", &index.to_string(), "load", "find"], message, help));
    }
    let points = stages.iter().map(|stage| match stage {
        Stage::Serving(stage) => stage.points.len(),
        Stage::Engine(stage) => stage.cells.len(),
        Stage::Storage(_) => 0,
    });
    let observe = file.observe.as_ref().map(observe::observe).transpose();
    let observe = observe.map_err(|fault| fault.under(&["observe"]))?.unwrap_or_default();
    // Only endpoints are observed.
    let is_measured = observe.may_measure_power() && !serving.is_empty();
    let points = points.max().unwrap_or(0);
    let cost = file.cost.as_ref().map(|cost| cost::cost(cost, points, is_measured));
    let cost = cost.transpose().map_err(|fault| fault.under(&["cost"]))?;
    Ok(Plan { name, seed: file.seed.unwrap_or(fresh_seed), sla, cost, observe, stages })
}

/// Engines first, then storage, then servers: from the machine upwards.
fn stages(file: &PlanFile) -> Result<Vec<Stage>, Fault> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut add = |section: &str, index: usize, stage: Result<Stage, Fault>| {
        let under = |fault: Fault| fault.under(&[section, &index.to_string()]);
        let stage = stage.map_err(under)?;
        if stages.iter().any(|other| other.name() == stage.name()) {
            let message = format!("two stages are called `{}`", stage.name());
            return Err(under(Fault::at(&["name"], message, "give each stage its own `name`")));
        }
        stages.push(stage);
        Ok(())
    };
    for (index, given) in file.engine.iter().enumerate() {
        let stage = engine::stage(given, index).map(|stage| Stage::Engine(Box::new(stage)));
        add("engine", index, stage)?;
    }
    for (index, given) in file.storage.iter().enumerate() {
        let stage = storage::stage(given, index).map(|stage| Stage::Storage(Box::new(stage)));
        add("storage", index, stage)?;
    }
    for (index, given) in file.serving.iter().enumerate() {
        let stage = stage(given, index).map(|stage| Stage::Serving(Box::new(stage)));
        add("serving", index, stage)?;
    }
    Ok(stages)
}

fn check_name(name: &str, key: &str) -> Result<(), Fault> {
    let what = if name.trim().is_empty() {
        "is empty"
    } else if name.chars().count() > NAME_MAX {
        "is longer than 100 characters"
    } else if name.chars().any(char::is_control) {
        "has control characters"
    } else {
        return Ok(());
    };
    Err(Fault::at(&[key], format!("`{key}` {what}"), "write a short text, as in `llama3-8b`"))
}

fn stage(given: &ServingFile, index: usize) -> Result<ServingStage, Fault> {
    let fallback = if index == 0 { "serving".to_owned() } else { format!("serving-{}", index + 1) };
    let name = given.name.clone().unwrap_or(fallback);
    check_name(&name, "name")?;
    let model = given.model.clone().filter(|model| model != "auto");
    if let Some(model) = &model {
        check_name(model, "model")?;
    }
    let prompt = request::prompt(&given.prompt).map_err(|fault| fault.under(&["prompt"]))?;
    let output = request::output(&given.output).map_err(|fault| fault.under(&["output"]))?;
    let find = load::find(&given.load).map_err(|fault| fault.under(&["load"]))?;
    let points = match find {
        Some(_) => Vec::new(),
        None => load::points(&given.load).map_err(|fault| fault.under(&["load"]))?,
    };
    load::check_fit(given, &points, find.as_ref())?;
    let embedded = engine::embedded(given, &points, &prompt, &output)?;
    Ok(ServingStage {
        endpoints: match &embedded {
            Some(server) => vec![format!("embedded:{}", server.model)],
            None => endpoints(given)?,
        },
        embedded,
        api: given.api.unwrap_or(Api::Chat),
        model,
        prompt,
        output,
        extent: extent(given, &points)?,
        warmup: warmup(given, &points),
        trials: at_least_one("trials", given.trials.map(u64::from))?
            .map_or(if find.is_some() { DEFAULT_LOOKS } else { DEFAULT_TRIALS }, |n| n as u32),
        stagger_ns: given.stagger.map(|stagger| stagger.0),
        think_time_ns: given.think_time.map_or(0, |pause| pause.0),
        timeouts: timeouts(given)?,
        retries: given.retries.unwrap_or(0),
        stop_after_errors: stop_after_errors(given)?,
        max_in_flight: at_least_one("max_in_flight", given.max_in_flight)?,
        max_tokens_total: at_least_one("max_tokens_total", given.max_tokens_total)?,
        headers: headers(given)?,
        extra_body: request::extra_body(given)?,
        api_key: api_key(given)?,
        ca_file: ca_file(given)?,
        insecure: given.insecure.unwrap_or(false),
        discover: given.discover.unwrap_or(true),
        per_chunk_usage: given.per_chunk_usage.unwrap_or(true),
        chunk_times: given.chunk_times.unwrap_or(true),
        reactors: at_least_one("reactors", given.reactors.map(u64::from))?.map(|n| n as u32),
        points,
        find,
        name,
    })
}

fn endpoints(given: &ServingFile) -> Result<Vec<String>, Fault> {
    let help = "write `endpoint = \"http://host:8000\"`, or a list of such URLs, or `embedded = \
                \"made\"` for a server that Loadline starts itself";
    if given.endpoint.is_empty() {
        return Err(Fault::at(&["endpoint"], "the stage names no endpoint", help));
    }
    for (index, url) in given.endpoint.iter().enumerate() {
        let what = if url.trim().is_empty() {
            "an endpoint is empty".to_owned()
        } else if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            "an endpoint has blanks in it".to_owned()
        } else {
            continue;
        };
        return Err(Fault::at(&["endpoint", &index.to_string()], what, help));
    }
    Ok(given.endpoint.clone())
}

fn at_least_one(key: &str, value: Option<u64>) -> Result<Option<u64>, Fault> {
    let trials_max = u64::from(u16::MAX);
    match value {
        Some(0) => {
            Err(Fault::at(&[key], format!("`{key}` is 0"), "write at least 1, or leave it out"))
        }
        Some(value) if key == "trials" && value > trials_max => {
            let message = format!("{value} trials are more than {trials_max}");
            Err(Fault::at(&[key], message, "3 to 20 are usual"))
        }
        value => Ok(value),
    }
}

fn not_zero(keys: &[&str], value: DurationNs) -> Result<u64, Fault> {
    if value.0 > 0 {
        return Ok(value.0);
    }
    let key = keys.last().copied().unwrap_or_default();
    Err(Fault::at(keys, format!("`{key}` is 0"), "write a duration, as in `30s`"))
}

/// By count or by duration. A burst is its own extent: it ends with the last of its answers.
fn extent(given: &ServingFile, points: &[Load]) -> Result<Extent, Fault> {
    let largest_burst = points.iter().filter_map(|point| match point {
        Load::Burst { requests } => Some(*requests),
        _ => None,
    });
    if let Some(requests) = largest_burst.max() {
        let key = if given.duration.is_some() { "duration" } else { "requests" };
        if given.duration.is_some() || given.requests.is_some() {
            let message = format!("`{key}` with a burst: a burst ends with its last answer");
            return Err(Fault::at(&[key], message, "remove one of the two"));
        }
        return Ok(Extent::Requests { requests });
    }
    match (given.duration, given.requests) {
        (Some(_), Some(_)) => Err(Fault::at(
            &["requests"],
            "both `duration` and `requests`: a trial is bounded by one of them",
            "remove one of the two",
        )),
        (None, Some(0)) => {
            Err(Fault::at(&["requests"], "`requests` is 0", "write at least 1, or leave it out"))
        }
        (None, Some(requests)) => Ok(Extent::Requests { requests }),
        (duration, None) => {
            let duration_ns = not_zero(&["duration"], duration.unwrap_or(DEFAULT_DURATION))?;
            Ok(Extent::Duration { duration_ns })
        }
    }
}

/// Before a burst nothing is sent unless asked for: it has no slots that could be warmed up.
fn warmup(given: &ServingFile, points: &[Load]) -> Warmup {
    let is_burst = points.iter().any(|point| matches!(point, Load::Burst { .. }));
    match given.warmup {
        Some(warmup) => warmup.resolved(),
        // By count exactly so many operations are sent: none before them unless asked for.
        None if is_burst || given.requests.is_some() => WarmupFile::Requests(0).resolved(),
        None => {
            Warmup::Steady { least_ns: DEFAULT_WARMUP.0, answers_per_slot: DEFAULT_WARMUP_ANSWERS }
        }
    }
}

/// A default never exceeds a total that was given; a limit that was given stands.
fn timeouts(given: &ServingFile) -> Result<Timeouts, Fault> {
    let default = Timeouts::default();
    let limit = |key: &str, value: Option<DurationNs>, default_ns: u64| match value {
        Some(value) => not_zero(&["timeouts", key], value),
        None => Ok(default_ns),
    };
    let file = &given.timeouts;
    let total_ns = limit("total", file.total, default.total_ns)?;
    Ok(Timeouts {
        connect_ns: limit("connect", file.connect, default.connect_ns.min(total_ns))?,
        first_token_ns: limit(
            "first_token",
            file.first_token,
            default.first_token_ns.min(total_ns),
        )?,
        gap_ns: limit("gap", file.gap, default.gap_ns.min(total_ns))?,
        total_ns,
    })
}

fn stop_after_errors(given: &ServingFile) -> Result<f64, Fault> {
    let ratio = given.stop_after_errors.unwrap_or(DEFAULT_STOP_AFTER_ERRORS);
    // From flags a ratio may be anything; the reader of plans refuses what is over 1.
    if ratio.0 > 0.0 && ratio.0 <= 1.0 {
        return Ok(ratio.0);
    }
    let message = format!("`stop_after_errors` is {}", ratio.0);
    let help = "write a share above 0 and up to 1, as in `5%`; a trial of 20 operations or more \
                stops when its share of errors reaches it";
    Err(Fault::at(&["stop_after_errors"], message, help))
}

fn headers(given: &ServingFile) -> Result<Vec<Header>, Fault> {
    let mut headers = Vec::new();
    for (name, value) in &given.headers {
        let at = |message: String, help: &str| Fault::at(&["headers", name], message, help);
        if name.is_empty() || !name.bytes().all(is_token) {
            let help = "a name has letters, digits and `-`, as in `X-Team`";
            return Err(at(format!("`{}` is no name of a header", name.escape_debug()), help));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            let message = format!("the value of `{name}` has control characters");
            return Err(at(message, "a header's value is one line of text"));
        }
        let is_bearer =
            value.trim_start().get(..7).is_some_and(|s| s.eq_ignore_ascii_case("bearer "));
        if name.eq_ignore_ascii_case("authorization") && is_bearer {
            let help = "name its source with `api_key_env` or `api_key_file`";
            return Err(at("a key never stands in a plan".into(), help));
        }
        headers.push(Header { name: name.clone(), value: value.clone() });
    }
    Ok(headers)
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn api_key(given: &ServingFile) -> Result<Option<KeySource>, Fault> {
    let named = |key: &str, value: &Option<String>| match value.as_deref().map(str::trim) {
        Some("") => {
            Err(Fault::at(&[key], format!("`{key}` is empty"), "write a name, or leave it out"))
        }
        value => Ok(value.map(str::to_owned)),
    };
    match (named("api_key_env", &given.api_key_env)?, named("api_key_file", &given.api_key_file)?) {
        (Some(_), Some(_)) => Err(Fault::at(
            &["api_key_file"],
            "both `api_key_env` and `api_key_file`: the key has one source",
            "remove one of the two",
        )),
        (Some(name), None) => Ok(Some(KeySource::Env(name))),
        (None, Some(path)) => Ok(Some(KeySource::File(path))),
        (None, None) => Ok(None),
    }
}

fn ca_file(given: &ServingFile) -> Result<Option<String>, Fault> {
    if given.ca_file.is_some() && given.insecure == Some(true) {
        return Err(Fault::at(
            &["ca_file"],
            "both `ca_file` and `insecure`: certificates that are not checked need no authority",
            "remove one of the two",
        ));
    }
    Ok(given.ca_file.clone())
}
