//! The paths of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use loadline_clock::{monotonic_ns, unix_ns};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, channel};

use super::Shared;
use super::ask::{self, Ask, Kind, Prompt};
use super::engine::{Event, Job};
use super::refusal::Refusal;
use super::reply::{Shape, Usage};
use super::sampler::Sampler;
use super::stream::Events;
use crate::llama::{Model, Token};

/// Longest body of a request, bytes.
const BODY_BYTES: usize = 16 << 20;

/// What handlers need.
struct App {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    /// Requests that may wait.
    queue: u32,
    /// Requests so far, for their names.
    asked: AtomicU64,
}

/// All paths, with and without `/v1`.
pub(super) fn router(shared: Arc<Shared>, jobs: SyncSender<Job>, queue: u32) -> Router {
    let app = Arc::new(App { shared, jobs, queue, asked: AtomicU64::new(0) });
    let openai = || {
        Router::new()
            .route("/chat/completions", post(chat))
            .route("/completions", post(completion))
            .route("/models", get(models))
            .route("/health", get(health))
            .route("/tokenize", post(tokenize))
    };
    Router::new()
        .nest("/v1", openai())
        .merge(openai())
        .route("/metrics", get(metrics))
        .fallback(|uri: Uri| async move { Refusal::route(uri.path()) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Refusal::method(method.as_str(), uri.path())
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
}

type Answer = Result<Response, Refusal>;
type Read = Result<Bytes, BytesRejection>;

async fn chat(State(app): State<Arc<App>>, body: Read) -> Answer {
    generate(&app, Kind::Chat, body).await
}

async fn completion(State(app): State<Arc<App>>, body: Read) -> Answer {
    generate(&app, Kind::Completion, body).await
}

async fn health(State(app): State<Arc<App>>) -> Answer {
    app.model()?;
    Ok(Json(json!({"status": "ok"})).into_response())
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let shared = &app.shared;
    Json(json!({"object": "list", "data": [{
        "id": shared.name,
        "object": "model",
        "created": shared.created,
        "owned_by": "loadline",
        "max_model_len": shared.context_per_slot,
    }]}))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let shared = &app.shared;
    let capacity = u64::from(shared.parallel) * u64::from(shared.context_per_slot);
    let text = shared.metrics.text(&shared.name, capacity);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn tokenize(State(app): State<Arc<App>>, body: Read) -> Answer {
    let body = read(body)?;
    let (prompt, special) = ask::tokenize(&body)?;
    let tokens = tokens(app.model()?, prompt, special)?;
    Ok(Json(json!({
        "count": tokens.len(),
        "max_model_len": app.shared.context_per_slot,
        "tokens": tokens,
    }))
    .into_response())
}

fn read(body: Read) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| Refusal::body(rejection.status(), rejection.body_text()))
}

/// Text or chat as tokens of the model.
fn tokens(model: &Model, prompt: Prompt, special: bool) -> Result<Vec<Token>, Refusal> {
    let (text, special, markup) = match prompt {
        Prompt::Tokens(tokens) => {
            let size = model.vocabulary_size();
            let known = |token: &Token| u32::try_from(*token).is_ok_and(|token| token < size);
            return match tokens.iter().find(|token| !known(token)) {
                None => Ok(tokens),
                Some(token) => {
                    let message = format!("token {token} is not in the vocabulary of {size}");
                    Err(Refusal::invalid(Some("prompt"), message))
                }
            };
        }
        Prompt::Text(text) => (text, special, false),
        // llama.cpp's templates leave the model's first token out.
        Prompt::Chat(messages) => match model.chat_text(&messages) {
            Some(text) => (text, true, true),
            None => (plain_chat(&messages), true, false),
        },
    };
    model.tokenize(&text, special, markup).ok_or_else(|| {
        let message = "this model has no vocabulary of text: send the prompt as a list of tokens";
        Refusal::invalid(Some("prompt"), message)
    })
}

/// A chat for a model that has no template.
fn plain_chat(messages: &[(String, String)]) -> String {
    let turns: String =
        messages.iter().map(|(role, content)| format!("{role}: {content}\n")).collect();
    turns + "assistant:"
}

impl App {
    /// The model, or why it cannot be used now.
    fn model(&self) -> Result<&Arc<Model>, Refusal> {
        if self.shared.is_ending() {
            return Err(Refusal::unavailable("the server is shutting down"));
        }
        self.shared.loaded.get().ok_or_else(|| Refusal::unavailable("loading the model"))
    }

    /// Hands a request to the engine.
    fn submit(&self, ask: Ask, prompt: Vec<Token>) -> Result<(Receiver<Event>, u32), Refusal> {
        let slot = self.shared.context_per_slot;
        let room = u32::try_from(prompt.len()).ok().and_then(|count| slot.checked_sub(count));
        let Some(room) = room.filter(|room| *room > 0) else {
            return Err(Refusal::too_long(prompt.len(), None, slot));
        };
        let most = match ask.max_tokens {
            Some(asked) if asked > room && ask.max_tokens_asked => {
                return Err(Refusal::too_long(prompt.len(), Some(asked), slot));
            }
            Some(asked) => asked.min(room),
            None => room,
        };
        let metrics = &self.shared.metrics;
        let waiting = &metrics.waiting;
        let full = || Refusal::unavailable(format!("{} requests are waiting already", self.queue));
        let most_open = u64::from(self.queue) + u64::from(self.shared.parallel);
        let running = metrics.running.load(Ordering::Relaxed);
        if waiting.fetch_add(1, Ordering::AcqRel) + running >= most_open {
            waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(full());
        }
        let count = prompt.len() as u32;
        // One event for each token, the end, and one to spare: sending never waits.
        let (events, told) = channel(most as usize + 2);
        let seed = ask.seed.unwrap_or_else(|| unix_ns() ^ self.asked.load(Ordering::Relaxed));
        let job = Job {
            prompt,
            max_tokens: most,
            min_tokens: ask.min_tokens.min(most),
            ignore_eos: ask.ignore_eos,
            sampler: Sampler::new(ask.temperature, ask.top_p, seed),
            stops: ask.stops,
            arrived_ns: monotonic_ns(),
            events,
        };
        self.jobs.try_send(job).map_err(|_| {
            waiting.fetch_sub(1, Ordering::AcqRel);
            full()
        })?;
        Ok((told, count))
    }

    fn shape(&self, kind: Kind, ask: &Ask) -> Shape {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        Shape {
            kind,
            id: format!("{prefix}-{:x}-{number:x}", self.shared.created),
            created: unix_ns() / 1_000_000_000,
            model: self.shared.name.clone(),
            include_usage: ask.include_usage,
            continuous_usage: ask.continuous_usage,
        }
    }
}

async fn generate(app: &App, kind: Kind, body: Read) -> Answer {
    let body = read(body)?;
    let model = app.model()?;
    let ask = ask::ask(kind, &body)?;
    let name = &app.shared.name;
    if let Some(asked) = ask.model.as_ref().filter(|asked| *asked != name) {
        return Err(Refusal::model(asked, name));
    }
    let prompt = tokens(model, ask.prompt.clone(), true)?;
    if prompt.is_empty() {
        return Err(Refusal::invalid(Some("prompt"), "the prompt is empty"));
    }
    let shape = app.shape(kind, &ask);
    let stream = ask.stream;
    let (told, prompt) = app.submit(ask, prompt)?;
    if stream {
        let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
        return Ok((headers, Body::from_stream(Events::new(shape, told))).into_response());
    }
    whole(shape, told, prompt).await
}

/// Waits for the whole answer. A client that leaves ends the wait, and the request with it.
async fn whole(shape: Shape, mut told: Receiver<Event>, prompt: u32) -> Answer {
    let mut text = String::new();
    loop {
        match told.recv().await {
            Some(Event::Text { text: part, .. }) => text.push_str(&part),
            Some(Event::Finished { text: part, finish, usage }) => {
                text.push_str(&part);
                let usage = Usage { prompt, ..usage };
                return Ok(Json(shape.whole(&text, finish, usage)).into_response());
            }
            Some(Event::Failed(message)) => return Err(Refusal::engine(message)),
            None => return Err(Refusal::engine("the engine ended")),
        }
    }
}
