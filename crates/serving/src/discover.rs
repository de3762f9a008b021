//! What a server says about itself: engine, version, models, context, slots.

use loadline_schema::event::TargetFacts;
use loadline_schema::outcome::ErrorKind;
use serde::Deserialize;

use crate::ask::{AskError, Reply, ask};
use crate::target::Target;

/// A target that cannot be measured as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct DiscoverError {
    /// What was found, and what to do.
    pub message: String,
    /// Nothing answers, or it refuses everything: as opposed to a wrong name or a wrong server.
    pub unreachable: bool,
    /// The kind of the underlying error.
    pub kind: Option<ErrorKind>,
}

impl From<AskError> for DiscoverError {
    fn from(error: AskError) -> Self {
        Self { message: error.to_string(), unreachable: true, kind: Some(error.kind) }
    }
}

/// How long a server that is still loading its model is waited for, ns, and between two looks.
const LOADING_NS: u64 = 10_000_000_000;
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    owned_by: Option<String>,
    max_model_len: Option<u64>,
    meta: Option<ModelMeta>,
}

#[derive(Deserialize)]
struct ModelMeta {
    n_ctx: Option<u64>,
    n_ctx_train: Option<u64>,
}

#[derive(Deserialize)]
struct Props {
    total_slots: Option<u64>,
    build_info: Option<String>,
    default_generation_settings: Option<PropsSettings>,
}

#[derive(Deserialize)]
struct PropsSettings {
    n_ctx: Option<u64>,
}

#[derive(Deserialize)]
struct Version {
    version: Option<String>,
}

/// Asks every endpoint. They must offer the same model.
///
/// # Errors
/// Not an LLM server, no such model (those there are are named), a key is missing, or no answer.
pub fn discover(
    target: &Target,
    asked_model: Option<&str>,
    timeout_ns: u64,
) -> Result<TargetFacts, DiscoverError> {
    let mut first: Option<TargetFacts> = None;
    for endpoint in 0..target.endpoints.len() {
        let facts = one_endpoint(target, endpoint, asked_model, timeout_ns)?;
        if let Some(first) = &first
            && first.model != facts.model
        {
            let name = |facts: &TargetFacts| facts.model.clone().unwrap_or_default();
            return Err(wrong(format!(
                "the endpoints serve different models: {} has {}, {} has {}; name one that all have with \
                 --model",
                target.endpoints[0].endpoint,
                name(first),
                target.endpoints[endpoint].endpoint,
                name(&facts)
            )));
        }
        first.get_or_insert(facts);
    }
    Ok(first.unwrap_or_default())
}

fn one_endpoint(
    target: &Target,
    endpoint: usize,
    asked_model: Option<&str>,
    timeout_ns: u64,
) -> Result<TargetFacts, DiscoverError> {
    let url = target.endpoints[endpoint].endpoint.to_string();
    let reply = models_reply(target, endpoint, timeout_ns)?;
    check_status(&url, &reply)?;
    let mut facts = from_models(&url, &reply.body, asked_model)?;
    let get = |call: &str| {
        ask(target, endpoint, "GET", call, None, timeout_ns)
            .ok()
            .filter(|reply| reply.status == 200)
            .map(|reply| reply.body)
    };
    if let Some(text) = get("/metrics") {
        from_metrics(&mut facts, &text);
    }
    if facts.engine.as_deref().is_none_or(|engine| engine == "llama.cpp")
        && let Some(body) = get("/props")
    {
        from_props(&mut facts, &body);
    }
    if facts.version.is_none()
        && facts.engine.as_deref() != Some("llama.cpp")
        && let Some(body) = get("/version")
    {
        facts.version = version(&body);
    }
    if facts.engine.is_none()
        && let Some(body) = get("/api/version")
        && let Some(version) = version(&body)
    {
        facts.engine = Some("ollama".to_owned());
        facts.version = Some(version);
    }
    Ok(facts)
}

/// `/v1/models`, waiting for a server that says it is still loading.
fn models_reply(target: &Target, endpoint: usize, timeout_ns: u64) -> Result<Reply, DiscoverError> {
    let until = loadline_clock::monotonic_ns() + LOADING_NS;
    loop {
        let reply = ask(target, endpoint, "GET", "/v1/models", None, timeout_ns)?;
        if reply.status != 503 || loadline_clock::monotonic_ns() > until {
            return Ok(reply);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn check_status(url: &str, reply: &Reply) -> Result<(), DiscoverError> {
    let words = words(&reply.body);
    let fail = |unreachable, kind, message| Err(DiscoverError { message, unreachable, kind });
    match reply.status {
        200..=299 => Ok(()),
        401 | 403 => fail(
            true,
            Some(ErrorKind::Http4xx),
            format!(
                "{url} refuses access (status {}{words}); name the variable that holds the key with \
                 --api-key-env NAME",
                reply.status
            ),
        ),
        503 => fail(
            true,
            Some(ErrorKind::Http5xx),
            format!(
                "{url} is not ready (status 503{words}); try again when it has loaded its model"
            ),
        ),
        500..=599 => fail(
            true,
            Some(ErrorKind::Http5xx),
            format!(
                "{url}/v1/models answered with status {}{words}; see the server's log",
                reply.status
            ),
        ),
        status => fail(
            false,
            None,
            format!(
                "{url} does not look like an OpenAI-compatible server: /v1/models answered with status \
                 {status}{words}; check the port and the path, or skip this question with --no-discover \
                 and --model NAME"
            ),
        ),
    }
}

/// The server's own words, shortened, for a message.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(160).collect();
    if line.is_empty() { String::new() } else { format!(": {line}") }
}

/// Facts from the answer of `/v1/models`.
fn from_models(url: &str, body: &[u8], asked: Option<&str>) -> Result<TargetFacts, DiscoverError> {
    let models: Models = serde_json::from_slice(body).map_err(|_| {
        wrong(format!(
            "{url} does not look like an OpenAI-compatible server: /v1/models answered{}; check the port \
             and the path",
            words(body)
        ))
    })?;
    let names: Vec<String> = models.data.iter().map(|model| model.id.clone()).collect();
    let chosen = match asked {
        None => models.data.first(),
        Some(name) => {
            let is = |model: &&Model| {
                model.id == name || model.aliases.iter().any(|alias| alias == name)
            };
            let found = models.data.iter().find(is);
            if found.is_none() {
                let offered = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(wrong(format!("{url} has no model '{name}'; it offers: {offered}")));
            }
            found
        }
    };
    let Some(chosen) = chosen else {
        return Err(wrong(format!(
            "{url} offers no model; load one, or name it with --model NAME"
        )));
    };
    let engine = match chosen.owned_by.as_deref() {
        Some("llamacpp") => Some("llama.cpp"),
        Some("vllm") => Some("vllm"),
        Some("sglang") => Some("sglang"),
        _ => None,
    };
    let meta = chosen.meta.as_ref();
    Ok(TargetFacts {
        engine: engine.map(str::to_owned),
        model: Some(asked.map_or_else(|| chosen.id.clone(), str::to_owned)),
        context_tokens: chosen
            .max_model_len
            .or_else(|| meta.and_then(|m| m.n_ctx.or(m.n_ctx_train))),
        models: names,
        ..TargetFacts::default()
    })
}

/// Engine by the names of its metrics.
fn from_metrics(facts: &mut TargetFacts, text: &[u8]) {
    const ENGINES: [(&str, &str); 5] = [
        ("vllm:", "vllm"),
        ("sglang:", "sglang"),
        ("llamacpp:", "llama.cpp"),
        ("tgi_", "tgi"),
        ("trtllm_", "tensorrt-llm"),
    ];
    let text = String::from_utf8_lossy(text);
    let mut names = text.lines().filter(|line| !line.starts_with('#'));
    let looks_right =
        text.lines().any(|line| line.starts_with("# TYPE") || line.starts_with("# HELP"));
    facts.has_metrics = looks_right;
    let found = names
        .find_map(|line| ENGINES.iter().find(|(start, _)| line.starts_with(start)))
        .map(|(_, engine)| (*engine).to_owned());
    facts.engine = found.or_else(|| facts.engine.take());
}

/// llama.cpp's `/props`.
fn from_props(facts: &mut TargetFacts, body: &[u8]) {
    let Ok(props) = serde_json::from_slice::<Props>(body) else { return };
    if props.total_slots.is_some() {
        facts.engine = Some("llama.cpp".to_owned());
        facts.slots = props.total_slots;
        facts.version = props.build_info.or(facts.version.take());
    }
    if let Some(tokens) = props.default_generation_settings.and_then(|settings| settings.n_ctx) {
        facts.context_tokens = Some(tokens);
    }
}

fn version(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Version>(body).ok()?.version
}

fn wrong(message: String) -> DiscoverError {
    DiscoverError { message, unreachable: false, kind: None }
}

#[cfg(test)]
mod tests {
    use crate::answer::head::ContentType;

    use super::*;

    const LLAMA: &[u8] = br#"{"models":[],"object":"list","data":[{"id":"smol","aliases":["small"],
        "object":"model","owned_by":"llamacpp","meta":{"n_ctx":2048,"n_ctx_train":8192}}]}"#;
    const VLLM: &[u8] =
        br#"{"object":"list","data":[{"id":"a/b","object":"model","owned_by":"vllm",
        "max_model_len":4096},{"id":"lora","object":"model"}]}"#;

    #[test]
    fn models_give_name_engine_and_context() {
        let facts = from_models("u", LLAMA, None).expect("valid");
        assert_eq!(facts.model.as_deref(), Some("smol"));
        assert_eq!(
            (facts.engine.as_deref(), facts.context_tokens),
            (Some("llama.cpp"), Some(2048))
        );
        assert_eq!(
            from_models("u", LLAMA, Some("small")).expect("alias").model.as_deref(),
            Some("small")
        );
        let facts = from_models("u", VLLM, Some("lora")).expect("valid");
        assert_eq!(facts.models, ["a/b", "lora"]);
        assert_eq!(facts.context_tokens, None);
    }

    #[test]
    fn an_unknown_model_is_answered_with_those_there_are() {
        let error = from_models("u", VLLM, Some("x")).expect_err("unknown");
        assert_eq!(error.message, "u has no model 'x'; it offers: a/b, lora");
        assert!(!error.unreachable);
    }

    #[test]
    fn other_servers_are_told_from_llm_servers() {
        let error = from_models("http://h", b"<html>hello</html>", None).expect_err("a page");
        assert!(error.message.contains("does not look like") && error.message.contains("<html>"));
        let reply = |status| Reply {
            status,
            content_type: ContentType::Other,
            body: b"nope".to_vec(),
            message: None,
        };
        assert!(check_status("u", &reply(404)).expect_err("404").message.contains("--no-discover"));
        let denied = check_status("u", &reply(401)).expect_err("401");
        assert!(denied.unreachable && denied.message.contains("--api-key-env"));
        assert!(check_status("u", &reply(503)).expect_err("503").message.contains("not ready"));
    }

    #[test]
    fn engines_are_known_by_their_metrics_and_props() {
        let mut facts = TargetFacts::default();
        from_metrics(&mut facts, b"# TYPE vllm:x counter\nvllm:x 1\n");
        assert_eq!((facts.engine.as_deref(), facts.has_metrics), (Some("vllm"), true));
        let mut facts = TargetFacts::default();
        let props =
            br#"{"total_slots":4,"build_info":"b1-x","default_generation_settings":{"n_ctx":512}}"#;
        from_props(&mut facts, props);
        assert_eq!((facts.slots, facts.context_tokens), (Some(4), Some(512)));
        assert_eq!(
            (facts.engine.as_deref(), facts.version.as_deref()),
            (Some("llama.cpp"), Some("b1-x"))
        );
    }
}
