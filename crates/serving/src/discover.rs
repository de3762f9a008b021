//! What a server says about itself: engine, version, models, context, slots.

mod facts;

use std::time::Duration;

use loadline_clock::monotonic_ns;
use loadline_schema::event::{TargetFacts, Warning};
use loadline_schema::outcome::ErrorKind;

use crate::answer::head::ContentType;
use crate::ask::{AskError, Reply, ask};
use crate::target::Target;

/// What was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Discovered {
    /// Of the target as a whole: engine, version and models of its first endpoint, the smallest
    /// context of all, the sum of their slots.
    pub facts: TargetFacts,
    /// What the reader of a result must know.
    pub warnings: Vec<Warning>,
}

/// A target that cannot be measured as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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

/// How long a server that says it is loading is waited for, ns.
const LOADING_NS: u64 = 10_000_000_000;
/// Pause before it is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Limit of questions that need no answer, ns.
const OPTIONAL_NS: u64 = 3_000_000_000;
/// Models that a message lists.
const LISTED: usize = 20;

/// Asks every endpoint. All must offer the model; which one, if none is asked for, decides the
/// first endpoint. `timeout_ns` bounds each question.
///
/// # Errors
/// Not an LLM server, no such model (those there are are named), a key is missing or wrong, it is
/// loading its model for longer than 10 s, or no answer.
pub fn discover(
    target: &Target,
    asked_model: Option<&str>,
    timeout_ns: u64,
) -> Result<Discovered, DiscoverError> {
    discover_patiently(target, asked_model, timeout_ns, LOADING_NS)
}

fn discover_patiently(
    target: &Target,
    asked_model: Option<&str>,
    timeout_ns: u64,
    loading_ns: u64,
) -> Result<Discovered, DiscoverError> {
    let mut found: Vec<TargetFacts> = Vec::with_capacity(target.endpoints.len());
    let mut warnings = Vec::new();
    for endpoint in 0..target.endpoints.len() {
        let question = Question { target, endpoint, asked_model, first: found.first(), timeout_ns };
        let one = question.facts(loading_ns, &mut warnings)?;
        found.push(one);
    }
    if let Some(warning) = differing_endpoints(target, &found) {
        warnings.push(warning);
    }
    Ok(Discovered { facts: together(found), warnings })
}

/// The facts of several endpoints as those of one target.
fn together(found: Vec<TargetFacts>) -> TargetFacts {
    let context_tokens = found.iter().filter_map(|facts| facts.context_tokens).min();
    let slots = found.iter().map(|facts| facts.slots).sum();
    let has_metrics = found.iter().all(|facts| facts.has_metrics);
    let first = found.into_iter().next().unwrap_or_default();
    TargetFacts { context_tokens, slots, has_metrics, ..first }
}

fn differing_endpoints(target: &Target, found: &[TargetFacts]) -> Option<Warning> {
    let first = found.first()?;
    let key = |facts: &TargetFacts| {
        (facts.engine.clone(), facts.version.clone(), facts.context_tokens, facts.slots)
    };
    let other = found.iter().position(|facts| key(facts) != key(first))?;
    let words = |at: usize| {
        let facts: &TargetFacts = &found[at];
        let number = |value: Option<u64>| value.map_or("unknown".to_owned(), |n| n.to_string());
        format!(
            "{} ({} {}, context {}, slots {})",
            target.endpoints[at].endpoint,
            facts.engine.as_deref().unwrap_or("unknown engine"),
            facts.version.as_deref().unwrap_or("of unknown version"),
            number(facts.context_tokens),
            number(facts.slots)
        )
    };
    Some(Warning::new(
        "endpoints_differ",
        format!("the endpoints are not alike: {} and {}", words(0), words(other)),
        "measure them one by one, or make them alike; the result mixes them",
    ))
}

/// Questions to one endpoint.
struct Question<'t> {
    target: &'t Target,
    endpoint: usize,
    asked_model: Option<&'t str>,
    /// What the first endpoint said, when this is another one.
    first: Option<&'t TargetFacts>,
    timeout_ns: u64,
}

impl Question<'_> {
    fn url(&self) -> String {
        self.target.endpoints[self.endpoint].endpoint.to_string()
    }

    fn facts(
        &self,
        loading_ns: u64,
        warnings: &mut Vec<Warning>,
    ) -> Result<TargetFacts, DiscoverError> {
        let asked = self.asked_model.or(self.first.and_then(|first| first.model.as_deref()));
        let reply = self.models(loading_ns)?;
        self.check_access(&reply)?;
        let mut facts = TargetFacts::default();
        match facts::models(&reply.body).filter(|_| reply.is_success()) {
            Some(models) => {
                facts.models = models.iter().map(|model| model.id.clone()).collect();
                let Some((model, name)) = facts::choose(&models, asked) else {
                    return Err(self.no_such_model(&facts.models));
                };
                model.add_to(&mut facts);
                facts.model = Some(name);
            }
            // Older servers have no list, but say elsewhere what they are.
            None if self.get("/info").is_some_and(|body| facts::add_tgi(&body, &mut facts)) => {
                facts.model = asked.map(str::to_owned).or(facts.models.first().cloned());
            }
            None => match asked.filter(|_| may_be_an_api(&reply)) {
                Some(name) => {
                    facts.model = Some(name.to_owned());
                    warnings.push(self.no_list(&reply));
                }
                None => return Err(self.no_llm_server(&reply)),
            },
        }
        self.add_engine(&mut facts);
        Ok(facts)
    }

    /// What engine it is, and what that engine tells.
    fn add_engine(&self, facts: &mut TargetFacts) {
        if let Some(text) = self.get("/metrics") {
            facts::add_metrics(&text, facts);
        }
        match facts.engine.as_deref() {
            Some("llama.cpp") => self.add("/props", facts, facts::add_props),
            Some("sglang") => self.add_sglang(facts),
            Some("tgi") if facts.version.is_none() => self.add("/info", facts, facts::add_tgi),
            Some("ollama") => self.add_ollama(facts),
            Some("tgi" | "lmdeploy") => false,
            Some(_) => {
                facts.version = self.get("/version").and_then(|body| facts::version(&body));
                facts.version.is_some()
            }
            None => {
                self.add("/props", facts, facts::add_props)
                    || self.add_sglang(facts)
                    || self.add("/info", facts, facts::add_tgi)
                    || self.add_ollama(facts)
            }
        };
    }

    fn add(
        &self,
        path: &str,
        facts: &mut TargetFacts,
        understand: impl Fn(&[u8], &mut TargetFacts) -> bool,
    ) -> bool {
        self.get(path).is_some_and(|body| understand(&body, facts))
    }

    fn add_sglang(&self, facts: &mut TargetFacts) -> bool {
        // The first is its name since 2026, the second the one before.
        ["/server_info", "/get_server_info"]
            .iter()
            .any(|path| self.add(path, facts, facts::add_sglang))
    }

    fn add_ollama(&self, facts: &mut TargetFacts) -> bool {
        let Some(version) = self.get("/api/version").and_then(|body| facts::version(&body)) else {
            return false;
        };
        facts.engine = Some("ollama".to_owned());
        facts.version = Some(version);
        if let Some(model) = &facts.model {
            let loaded = self.get("/api/ps");
            facts.context_tokens = loaded.and_then(|body| facts::ollama_context(&body, model));
        }
        true
    }

    /// The body of an answer with status 200, when there is one.
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let timeout_ns = self.timeout_ns.min(OPTIONAL_NS);
        let reply = ask(self.target, self.endpoint, "GET", path, None, timeout_ns).ok()?;
        (reply.status == 200 && reply.content_type != ContentType::Html).then_some(reply.body)
    }

    /// `/v1/models`, waiting for a server that says it is still loading.
    fn models(&self, loading_ns: u64) -> Result<Reply, DiscoverError> {
        let until = monotonic_ns().saturating_add(loading_ns);
        loop {
            let reply =
                ask(self.target, self.endpoint, "GET", "/v1/models", None, self.timeout_ns)?;
            let loading =
                reply.status == 503 && reply.message.as_deref().is_some_and(facts::is_loading);
            if !loading || monotonic_ns() >= until {
                return Ok(reply);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Statuses that say: this is the right server, but not now or not for you.
    fn check_access(&self, reply: &Reply) -> Result<(), DiscoverError> {
        let (url, said) = (self.url(), reply.message.as_deref().unwrap_or_default());
        let kind = match reply.status {
            429 => ErrorKind::Http429,
            400..=499 => ErrorKind::Http4xx,
            _ => ErrorKind::Http5xx,
        };
        let message = match reply.status {
            401 | 403 if self.sends_key() => format!(
                "{url} refuses the key ({said}); is it the right one for this server, and still valid?"
            ),
            401 | 403 => format!(
                "{url} wants a key ({said}); put it into an environment variable and name that with \
                 --api-key-env NAME"
            ),
            429 => {
                format!("{url} limits requests ({said}); wait, and measure a server of your own")
            }
            503 if facts::is_loading(said) => format!(
                "{url} is still loading its model ({said}); start again when its /health says ok"
            ),
            500..=599 => {
                format!("{url}/v1/models failed ({said}); the server's log will say why")
            }
            _ => return Ok(()),
        };
        Err(DiscoverError { message, unreachable: true, kind: Some(kind) })
    }

    fn sends_key(&self) -> bool {
        let lines = self.target.endpoints[self.endpoint].head_lines.to_ascii_lowercase();
        lines.contains("\r\nauthorization:") || lines.contains("\r\nx-api-key:")
    }

    fn no_such_model(&self, offered: &[String]) -> DiscoverError {
        let url = self.url();
        if offered.is_empty() {
            return wrong(format!(
                "{url} offers no model: load one into the server, then start again"
            ));
        }
        let more = match offered.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let offered = format!("{}{more}", offered[..offered.len().min(LISTED)].join(", "));
        if let Some(name) = self.asked_model {
            return wrong(format!("{url} has no model '{name}'; it offers: {offered}"));
        }
        wrong(format!(
            "the endpoints serve different models: {} serves '{}', but {url} offers: {offered}; name one \
             that all have with --model NAME",
            self.target.endpoints[0].endpoint,
            self.first.and_then(|first| first.model.as_deref()).unwrap_or_default(),
        ))
    }

    fn no_list(&self, reply: &Reply) -> Warning {
        Warning::new(
            "no_model_list",
            format!("{} has no list of models: {}", self.url(), found(reply)),
            "nothing is known of its context; the model's name is sent as it was given",
        )
    }

    fn no_llm_server(&self, reply: &Reply) -> DiscoverError {
        wrong(format!(
            "{} does not look like an OpenAI-compatible server: /v1/models answered: {}; check the port \
             and the path (the address is what stands before /v1), or name the model with --model NAME \
             and skip these questions with --no-discover",
            self.url(),
            found(reply)
        ))
    }
}

/// Whether a server without a list of models can still be an API: it refuses the path, and not in
/// a web page.
fn may_be_an_api(reply: &Reply) -> bool {
    matches!(reply.status, 404 | 405 | 501) && reply.content_type != ContentType::Html
}

/// What came instead of a list of models, in words.
fn found(reply: &Reply) -> String {
    let page = if reply.content_type == ContentType::Html { "a web page, " } else { "" };
    let said = reply.message.clone().unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(640)]).into_owned();
        let line: String =
            text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect();
        format!("HTTP status {}, '{line}'", reply.status)
    });
    format!("{page}{said}")
}

fn wrong(message: String) -> DiscoverError {
    DiscoverError { message, unreachable: false, kind: None }
}

#[cfg(test)]
#[path = "discover/tests.rs"]
mod tests;
