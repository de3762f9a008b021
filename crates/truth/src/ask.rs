//! What a generation request asks for, read from its JSON body. Pure.

use serde::Deserialize;

/// The parts of a request that change the answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage: bool,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) min_tokens: Option<u32>,
    pub(crate) ignore_eos: bool,
    /// Words (or token numbers) of the prompt or of all messages.
    pub(crate) prompt_words: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    min_tokens: Option<u32>,
    ignore_eos: Option<bool>,
    messages: Option<Vec<Message>>,
    prompt: Option<Prompt>,
    content: Option<Prompt>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

impl Prompt {
    fn words(&self) -> usize {
        match self {
            Self::Text(text) => words(text),
            Self::Tokens(tokens) => tokens.len(),
            Self::Texts(texts) => texts.iter().map(|text| words(text)).sum(),
            Self::TokenLists(lists) => lists.iter().map(Vec::len).sum(),
        }
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

impl Message {
    fn words(&self) -> usize {
        match &self.content {
            None => 0,
            Some(Content::Text(text)) => words(text),
            Some(Content::Parts(parts)) => {
                parts.iter().filter_map(|part| part.text.as_deref()).map(words).sum()
            }
        }
    }
}

/// Reads a chat or completion request. The error says what is wrong with the JSON.
pub(crate) fn parse(body: &[u8]) -> Result<Ask, serde_json::Error> {
    let body: Body = serde_json::from_slice(body)?;
    let options = body.stream_options.unwrap_or_default();
    let messages: usize = body.messages.iter().flatten().map(Message::words).sum();
    let prompt = body.prompt.as_ref().map_or(0, Prompt::words);
    Ok(Ask {
        stream: body.stream.unwrap_or(false),
        include_usage: options.include_usage.unwrap_or(false),
        continuous_usage: options.continuous_usage_stats.unwrap_or(false),
        max_tokens: body.max_completion_tokens.or(body.max_tokens),
        min_tokens: body.min_tokens,
        ignore_eos: body.ignore_eos.unwrap_or(false),
        prompt_words: u32::try_from(messages + prompt).unwrap_or(u32::MAX),
    })
}

/// What `/tokenize` was asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenizeShape {
    /// llama.cpp: `{"content": "…"}` → `{"tokens": […]}`.
    LlamaCpp,
    /// vLLM: `{"prompt": "…"}` → `{"count": n, "max_model_len": m, "tokens": […]}`.
    VllmPrompt,
    /// vLLM: `{"messages": […]}`, the chat template included.
    VllmChat,
}

/// Reads a `/tokenize` request: its shape and the number of words in it.
pub(crate) fn parse_tokenize(body: &[u8]) -> Result<(TokenizeShape, usize), serde_json::Error> {
    let body: Body = serde_json::from_slice(body)?;
    Ok(match (&body.content, &body.messages, &body.prompt) {
        (Some(content), _, _) => (TokenizeShape::LlamaCpp, content.words()),
        (None, Some(messages), _) => {
            (TokenizeShape::VllmChat, messages.iter().map(Message::words).sum())
        }
        (None, None, prompt) => {
            (TokenizeShape::VllmPrompt, prompt.as_ref().map_or(0, Prompt::words))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_in_every_form_of_a_prompt() {
        let count = |body: &str| parse(body.as_bytes()).expect("valid").prompt_words;
        assert_eq!(count(r#"{"prompt":" a  b\nc "}"#), 3);
        assert_eq!(count(r#"{"prompt":[5,6]}"#), 2);
        assert_eq!(count(r#"{"prompt":["a b","c"]}"#), 3);
        assert_eq!(count(r#"{"prompt":[[1,2],[3]]}"#), 3);
        assert_eq!(
            count(
                r#"{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"x y z"},{"type":"image_url"}]},{"role":"assistant","content":null}]}"#
            ),
            5
        );
        assert_eq!(count("{}"), 0);
    }

    #[test]
    fn limits_and_stream_options_are_read() {
        let ask = parse(br#"{"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"max_tokens":5,"max_completion_tokens":6,"min_tokens":2,"ignore_eos":true}"#).expect("valid");
        let want = Ask {
            stream: true,
            include_usage: true,
            continuous_usage: true,
            max_tokens: Some(6),
            min_tokens: Some(2),
            ignore_eos: true,
            prompt_words: 0,
        };
        assert_eq!(ask, want);
        assert!(parse(b"{\"stream\":").is_err());
    }

    #[test]
    fn tokenize_knows_both_engines() {
        let read = |body: &str| parse_tokenize(body.as_bytes()).expect("valid");
        assert_eq!(read(r#"{"content":"a b"}"#), (TokenizeShape::LlamaCpp, 2));
        assert_eq!(read(r#"{"model":"m","prompt":"a b c"}"#), (TokenizeShape::VllmPrompt, 3));
        assert_eq!(read(r#"{"messages":[{"content":"a"}]}"#), (TokenizeShape::VllmChat, 1));
    }
}
