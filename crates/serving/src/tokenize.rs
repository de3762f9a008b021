//! Counts tokens with the server's own `/tokenize`, for servers that send no usage.

use loadline_schema::plan::Api;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ask::{AskError, ask};
use crate::target::Target;

/// A count that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizeError {
    /// No answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The server refused.
    #[error("{url}{path} refuses: {said}")]
    Refused {
        /// The endpoint, without secrets.
        url: String,
        /// The path asked.
        path: &'static str,
        /// The server's words.
        said: String,
    },
    /// The answer holds no count.
    #[error("{url}{path} answered without a count of tokens")]
    NoCount {
        /// The endpoint, without secrets.
        url: String,
        /// The path asked.
        path: &'static str,
    },
}

/// How a server wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// llama.cpp: `{"content": …}` → `{"tokens": […]}`.
    Content,
    /// vLLM and SGLang: `{"model": …, "prompt": …}` → `{"count": n, …}`.
    Prompt,
}

/// The tokenizer of a server, asked over its first endpoint. Cheap to make, one connection for each
/// question: for use beside the load, not under it.
#[derive(Debug)]
pub struct Tokenizer<'t> {
    target: &'t Target,
    shape: Shape,
    model: Option<&'t str>,
    timeout_ns: u64,
}

/// Tokens of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptCount {
    /// How many.
    pub tokens: u32,
    /// Whether the chat template is among them; always true where there is none.
    pub with_template: bool,
}

impl<'t> Tokenizer<'t> {
    /// Finds out whether the server has one, and how it wants to be asked. `timeout_ns` bounds each
    /// question, here and later.
    pub fn find(target: &'t Target, model: Option<&'t str>, timeout_ns: u64) -> Option<Self> {
        [Shape::Content, Shape::Prompt]
            .into_iter()
            .map(|shape| Self { target, shape, model, timeout_ns })
            // A server that does not know the field counts nothing, or refuses.
            .find(|tokenizer| tokenizer.count("one two three").is_ok_and(|tokens| tokens > 0))
    }

    /// Tokens of a text by itself: no begin or end token, no template. For an answer's text this is
    /// at most the number generated but for the end token, and less where the model wrote a text in
    /// more tokens than needed.
    ///
    /// # Errors
    /// No answer, or one without a count.
    pub fn count(&self, text: &str) -> Result<u32, TokenizeError> {
        let body = match self.shape {
            Shape::Content => json!({"content": text, "add_special": false}),
            Shape::Prompt => {
                json!({"model": self.model, "prompt": text, "add_special_tokens": false})
            }
        };
        self.ask_count(&body)
    }

    /// Tokens of a request's prompt as the server would count them: begin token included, and the
    /// chat template where the server can be asked to apply it. `body` is the request's body.
    ///
    /// # Errors
    /// No answer, or one without a count; a body without a prompt in text is [`TokenizeError::NoCount`].
    pub fn count_prompt(&self, api: Api, body: &[u8]) -> Result<PromptCount, TokenizeError> {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let model = self.model;
        let (question, with_template) = match (api, self.shape) {
            (Api::Chat, Shape::Prompt) => {
                (json!({"model": model, "messages": request["messages"]}), true)
            }
            (Api::Completions, Shape::Prompt) => {
                (json!({"model": model, "prompt": request["prompt"]}), true)
            }
            (Api::Completions, Shape::Content) => {
                (json!({"content": request["prompt"], "add_special": true}), true)
            }
            (Api::Chat, Shape::Content) => match self.applied_template(&request) {
                Some(text) => (json!({"content": text, "add_special": true}), true),
                None => (json!({"content": plain_text(&request), "add_special": false}), false),
            },
        };
        Ok(PromptCount { tokens: self.ask_count(&question)?, with_template })
    }

    /// The prompt with its template applied, by llama.cpp.
    fn applied_template(&self, request: &Value) -> Option<String> {
        #[derive(Deserialize)]
        struct Applied {
            prompt: String,
        }
        let body = json!({"messages": request["messages"]});
        let reply = self.post("/apply-template", &body).ok()?;
        Some(serde_json::from_slice::<Applied>(&reply).ok()?.prompt)
    }

    fn ask_count(&self, body: &Value) -> Result<u32, TokenizeError> {
        let path = "/tokenize";
        let reply = self.post(path, body)?;
        counted(&reply).ok_or_else(|| TokenizeError::NoCount { url: self.url(), path })
    }

    fn post(&self, path: &'static str, body: &Value) -> Result<Vec<u8>, TokenizeError> {
        let body = body.to_string();
        let reply = ask(self.target, 0, "POST", path, Some(body.as_bytes()), self.timeout_ns)?;
        if reply.is_success() {
            return Ok(reply.body);
        }
        let said = reply.message.unwrap_or_else(|| format!("HTTP status {}", reply.status));
        Err(TokenizeError::Refused { url: self.url(), path, said })
    }

    fn url(&self) -> String {
        self.target.endpoints[0].endpoint.to_string()
    }
}

/// The count in an answer of either shape.
fn counted(body: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Tokenized {
        count: Option<u32>,
        tokens: Option<Vec<serde::de::IgnoredAny>>,
    }
    let found = serde_json::from_slice::<Tokenized>(body).ok()?;
    found.count.or_else(|| u32::try_from(found.tokens?.len()).ok())
}

/// The texts of all messages, one after the other.
fn plain_text(request: &Value) -> String {
    let messages = request["messages"].as_array().into_iter().flatten();
    messages.filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_both_shapes_are_read() {
        assert_eq!(counted(br#"{"tokens":[28120,905]}"#), Some(2));
        assert_eq!(counted(br#"{"tokens":[{"id":1,"piece":"a"}]}"#), Some(1));
        let vllm = br#"{"count":3,"max_model_len":1024,"tokens":[1,2,3],"token_strs":null}"#;
        assert_eq!(counted(vllm), Some(3));
        assert_eq!(counted(br#"{"error":"no"}"#), None);
        assert_eq!(counted(b"ok"), None);
    }
}
