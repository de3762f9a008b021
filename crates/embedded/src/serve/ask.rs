//! What a client asks for: the body of a request, checked.

use serde::Deserialize;

use super::refusal::Refusal;
use crate::llama::Token;

/// Which of the two ways to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// Tokens of an answer where a completion does not say, as OpenAI's.
const COMPLETION_TOKENS: u32 = 16;

/// The body as it comes. Fields that are unknown here change nothing.
#[derive(Debug, Default, Deserialize)]
struct Body {
    model: Option<String>,
    prompt: Option<Prompts>,
    messages: Option<Vec<Message>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    min_tokens: Option<u32>,
    ignore_eos: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<i64>,
    stop: Option<Stops>,
    n: Option<u32>,
}

/// `prompt`: text or tokens, or a list of one of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompts {
    Text(String),
    Tokens(Vec<i64>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<i64>>),
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

/// `content`: text or a list of parts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Many(Vec<String>),
}

/// What the answer is to continue.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prompt {
    /// Text.
    Text(String),
    /// Tokens, not yet held against the vocabulary.
    Tokens(Vec<Token>),
    /// A chat of (role, content).
    Chat(Vec<(String, String)>),
}

/// A request that can be fulfilled if its prompt fits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub(super) model: Option<String>,
    pub(super) prompt: Prompt,
    pub(super) stream: bool,
    /// Whether the stream ends with a chunk that has the usage.
    pub(super) include_usage: bool,
    /// Whether every chunk has the usage until then.
    pub(super) continuous_usage: bool,
    /// Tokens of the answer; none: until the slot is full.
    pub(super) max_tokens: Option<u32>,
    /// Whether the client named `max_tokens` itself.
    pub(super) max_tokens_asked: bool,
    pub(super) min_tokens: u32,
    pub(super) ignore_eos: bool,
    pub(super) temperature: f32,
    pub(super) top_p: f32,
    pub(super) seed: Option<u64>,
    pub(super) stops: Vec<String>,
}

/// Reads and checks a body.
pub(super) fn ask(kind: Kind, body: &[u8]) -> Result<Ask, Refusal> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(None, format!("body: {error}")))?;
    if body.n.is_some_and(|n| n != 1) {
        return Err(Refusal::invalid(Some("n"), "n must be 1: one answer for each request"));
    }
    let temperature = body.temperature.unwrap_or(1.0);
    if !(0.0..=2.0).contains(&temperature) {
        return Err(Refusal::invalid(Some("temperature"), "temperature lies between 0 and 2"));
    }
    let top_p = body.top_p.unwrap_or(1.0);
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Refusal::invalid(Some("top_p"), "top_p lies above 0 and up to 1"));
    }
    let asked = body.max_completion_tokens.or(body.max_tokens);
    if asked == Some(0) {
        return Err(Refusal::invalid(Some("max_tokens"), "max_tokens is at least 1"));
    }
    let max_tokens = match kind {
        Kind::Chat => asked,
        Kind::Completion => asked.or(Some(COMPLETION_TOKENS)),
    };
    let min_tokens = body.min_tokens.unwrap_or(0);
    if max_tokens.is_some_and(|most| min_tokens > most) {
        return Err(Refusal::invalid(Some("min_tokens"), "min_tokens is at most max_tokens"));
    }
    let stream = body.stream.unwrap_or(false);
    let stream_options = body.stream_options.unwrap_or_default();
    let stops = match body.stop {
        None => Vec::new(),
        Some(Stops::One(stop)) => vec![stop],
        Some(Stops::Many(stops)) => stops,
    };
    if stops.iter().any(String::is_empty) {
        return Err(Refusal::invalid(Some("stop"), "stop strings are not empty"));
    }
    let prompt = match kind {
        Kind::Chat => chat(body.messages)?,
        Kind::Completion => prompt(body.prompt)?,
    };
    Ok(Ask {
        model: body.model,
        prompt,
        stream,
        include_usage: stream_options.include_usage.unwrap_or(false),
        continuous_usage: stream_options.continuous_usage_stats.unwrap_or(false),
        max_tokens,
        max_tokens_asked: asked.is_some(),
        min_tokens,
        ignore_eos: body.ignore_eos.unwrap_or(false),
        temperature,
        top_p,
        seed: body.seed.map(i64::cast_unsigned),
        stops,
    })
}

fn prompt(prompts: Option<Prompts>) -> Result<Prompt, Refusal> {
    let refused = |message: &str| Err(Refusal::invalid(Some("prompt"), message));
    let tokens = |tokens: Vec<i64>| {
        let tokens: Option<Vec<Token>> =
            tokens.into_iter().map(|token| Token::try_from(token).ok()).collect();
        tokens.map(Prompt::Tokens).ok_or_else(|| {
            Refusal::invalid(Some("prompt"), "a token of the prompt is not in the vocabulary")
        })
    };
    match prompts {
        None => refused("prompt is missing"),
        Some(Prompts::Text(text)) => Ok(Prompt::Text(text)),
        Some(Prompts::Tokens(list)) => tokens(list),
        Some(Prompts::Texts(mut texts)) => match (texts.pop(), texts.is_empty()) {
            (Some(text), true) => Ok(Prompt::Text(text)),
            _ => refused("one prompt for each request"),
        },
        Some(Prompts::TokenLists(mut lists)) => match (lists.pop(), lists.is_empty()) {
            (Some(list), true) => tokens(list),
            _ => refused("one prompt for each request"),
        },
    }
}

fn chat(messages: Option<Vec<Message>>) -> Result<Prompt, Refusal> {
    let refused = |message: String| Err(Refusal::invalid(Some("messages"), message));
    let Some(messages) = messages.filter(|messages| !messages.is_empty()) else {
        return refused("messages is missing or empty".to_owned());
    };
    let mut chat = Vec::with_capacity(messages.len());
    for message in messages {
        let content = match message.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                if let Some(part) = parts.iter().find(|part| part.kind != "text") {
                    return refused(format!("content of type {:?}: only text is known", part.kind));
                }
                parts.into_iter().filter_map(|part| part.text).collect()
            }
        };
        chat.push((message.role, content));
    }
    Ok(Prompt::Chat(chat))
}

/// The body of `/tokenize`: llama-server's (`content`) or vLLM's (`prompt`, `messages`).
#[derive(Debug, Deserialize)]
struct TokenizeBody {
    content: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    add_special: Option<bool>,
    add_special_tokens: Option<bool>,
}

/// What `/tokenize` is to count, and whether with the model's first token.
pub(super) fn tokenize(body: &[u8]) -> Result<(Prompt, bool), Refusal> {
    let body: TokenizeBody = serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(None, format!("body: {error}")))?;
    let special = body.add_special.or(body.add_special_tokens);
    match (body.content, body.prompt, body.messages) {
        (Some(content), ..) => Ok((Prompt::Text(content), special.unwrap_or(false))),
        (None, Some(prompt), _) => Ok((Prompt::Text(prompt), special.unwrap_or(true))),
        (None, None, Some(messages)) => Ok((chat(Some(messages))?, true)),
        (None, None, None) => Err(Refusal::invalid(None, "content, prompt or messages is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(body: &str) -> Result<Ask, Refusal> {
        ask(Kind::Completion, body.as_bytes())
    }

    #[test]
    fn prompts_are_text_or_tokens() {
        let prompt = |body: &str| completion(body).map(|ask| ask.prompt);
        assert_eq!(prompt(r#"{"prompt":"hi"}"#), Ok(Prompt::Text("hi".into())));
        assert_eq!(prompt(r#"{"prompt":["hi"]}"#), Ok(Prompt::Text("hi".into())));
        assert_eq!(prompt(r#"{"prompt":[1,2]}"#), Ok(Prompt::Tokens(vec![1, 2])));
        assert_eq!(prompt(r#"{"prompt":[[1,2]]}"#), Ok(Prompt::Tokens(vec![1, 2])));
        for wrong in ["{}", r#"{"prompt":["a","b"]}"#, r#"{"prompt":[99999999999]}"#, "[", ""] {
            let refusal = prompt(wrong).expect_err(wrong);
            assert_eq!(refusal.status, 400, "{wrong}");
        }
    }

    #[test]
    fn chats_join_their_parts() {
        let body = r#"{"messages":[{"role":"system","content":null},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],
            "stream":true,"stream_options":{"include_usage":true},"max_tokens":5,
            "max_completion_tokens":7,"unknown":{"field":1}}"#;
        let ask = ask(Kind::Chat, body.as_bytes()).expect("valid");
        let chat = vec![("system".into(), String::new()), ("user".into(), "ab".into())];
        assert_eq!(ask.prompt, Prompt::Chat(chat));
        assert!(ask.stream && ask.include_usage && !ask.continuous_usage);
        assert_eq!(ask.max_tokens, Some(7));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (field, wrong) in [
            ("n", r#"{"prompt":"a","n":2}"#),
            ("temperature", r#"{"prompt":"a","temperature":-1}"#),
            ("top_p", r#"{"prompt":"a","top_p":0}"#),
            ("max_tokens", r#"{"prompt":"a","max_tokens":0}"#),
            ("min_tokens", r#"{"prompt":"a","max_tokens":2,"min_tokens":3}"#),
            ("stop", r#"{"prompt":"a","stop":["x",""]}"#),
        ] {
            let refusal = completion(wrong).expect_err(wrong);
            assert_eq!(refusal.json()["error"]["param"], field);
        }
        let image = r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#;
        let refusal = ask(Kind::Chat, image.as_bytes()).expect_err("an image");
        assert_eq!(refusal.json()["error"]["param"], "messages");
    }

    #[test]
    fn defaults_are_openai_s() {
        let ask = completion(r#"{"prompt":"a","stop":null,"seed":-1}"#).expect("valid");
        assert_eq!((ask.max_tokens, ask.temperature, ask.top_p), (Some(16), 1.0, 1.0));
        assert!(!ask.stream && !ask.ignore_eos && ask.stops.is_empty());
        assert_eq!(ask.seed, Some(u64::MAX));
    }

    #[test]
    fn tokenize_takes_both_forms() {
        let read = |body: &str| tokenize(body.as_bytes());
        assert_eq!(read(r#"{"content":"a"}"#), Ok((Prompt::Text("a".into()), false)));
        assert_eq!(read(r#"{"prompt":"a"}"#), Ok((Prompt::Text("a".into()), true)));
        assert!(read(r#"{"messages":[{"role":"user","content":"a"}]}"#).is_ok());
        assert!(read("{}").is_err());
    }
}
