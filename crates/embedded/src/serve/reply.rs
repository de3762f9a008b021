//! Answers in OpenAI's form: whole, or as chunks of a stream.

use serde_json::{Value, json};

use super::ask::Kind;
use super::engine::Finish;

/// Tokens of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: u32,
    pub(super) completion: u32,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": 0},
        })
    }
}

/// What all parts of one answer have in common.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// Seconds since the Unix epoch.
    pub(super) created: u64,
    pub(super) model: String,
    /// Whether the stream ends with the usage; other chunks then have a null one.
    pub(super) include_usage: bool,
    /// Whether every chunk has the usage until then.
    pub(super) continuous_usage: bool,
}

impl Shape {
    fn name(&self, stream: bool) -> &'static str {
        match (self.kind, stream) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Completion, _) => "text_completion",
        }
    }

    fn with_choices(&self, stream: bool, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": self.name(stream),
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// The whole answer.
    pub(super) fn whole(&self, text: &str, finish: Finish, usage: Usage) -> Value {
        let mut choice = json!({
            "index": 0, "finish_reason": finish.name(), "logprobs": null,
        });
        match self.kind {
            Kind::Chat => choice["message"] = json!({"role": "assistant", "content": text}),
            Kind::Completion => choice["text"] = text.into(),
        }
        let mut answer = self.with_choices(false, json!([choice]));
        answer["usage"] = usage.json();
        answer
    }

    /// A chunk of the stream as a server-sent event.
    fn chunk(&self, part: Value, finish: Option<Finish>, usage: Usage) -> String {
        let mut choice = json!({
            "index": 0, "finish_reason": finish.map(Finish::name), "logprobs": null,
        });
        match self.kind {
            Kind::Chat => choice["delta"] = part,
            Kind::Completion => choice["text"] = part,
        }
        let mut chunk = self.with_choices(true, json!([choice]));
        if self.continuous_usage {
            chunk["usage"] = usage.json();
        } else if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }

    /// The first chunk of a chat, which names the role.
    pub(super) fn first(&self, usage: Usage) -> Option<String> {
        let usage = Usage { completion: 0, ..usage };
        (self.kind == Kind::Chat)
            .then(|| self.chunk(json!({"role": "assistant", "content": ""}), None, usage))
    }

    /// A chunk with text.
    pub(super) fn text(&self, text: &str, usage: Usage) -> String {
        let part = match self.kind {
            Kind::Chat => json!({"content": text}),
            Kind::Completion => text.into(),
        };
        self.chunk(part, None, usage)
    }

    /// The end: why, the usage where it was asked for, `[DONE]`.
    pub(super) fn last(&self, finish: Finish, usage: Usage) -> String {
        let part = match self.kind {
            Kind::Chat => json!({}),
            Kind::Completion => "".into(),
        };
        let mut events = self.chunk(part, Some(finish), usage);
        if self.include_usage {
            let mut chunk = self.with_choices(true, json!([]));
            chunk["usage"] = usage.json();
            events.push_str(&event(&chunk));
        }
        events.push_str("data: [DONE]\n\n");
        events
    }
}

/// A server-sent event.
pub(super) fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: Kind) -> Shape {
        Shape {
            kind,
            id: "x-1".into(),
            created: 5,
            model: "m".into(),
            include_usage: false,
            continuous_usage: false,
        }
    }

    const USAGE: Usage = Usage { prompt: 3, completion: 2 };

    fn events(text: &str) -> Vec<Value> {
        let events = text.split_terminator("\n\n").map(|event| {
            let line = event.strip_prefix("data: ").expect("a data line");
            assert!(!line.contains('\n'));
            serde_json::from_str(line).unwrap_or(Value::Null)
        });
        events.collect()
    }

    #[test]
    fn a_chat_stream_has_openai_form() {
        let shape = shape(Kind::Chat);
        let first = &events(&shape.first(USAGE).expect("a role"))[0];
        assert_eq!(first["object"], "chat.completion.chunk");
        assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(first.get("usage"), None);
        let text = &events(&shape.text("a\nb", USAGE))[0];
        assert_eq!(text["choices"][0]["delta"], json!({"content": "a\nb"}));
        assert_eq!(text["choices"][0]["finish_reason"], Value::Null);
        let last = shape.last(Finish::Length, USAGE);
        assert!(last.ends_with("data: [DONE]\n\n"));
        let last = events(&last);
        assert_eq!(last[0]["choices"][0]["delta"], json!({}));
        assert_eq!(last[0]["choices"][0]["finish_reason"], "length");
        assert_eq!(last.len(), 2, "no usage that nobody asked for");
    }

    #[test]
    fn usage_comes_last_and_is_null_before() {
        let shape = Shape { include_usage: true, ..shape(Kind::Completion) };
        assert_eq!(shape.first(USAGE), None, "a completion has no role");
        let text = &events(&shape.text("a", USAGE))[0];
        assert_eq!(text["choices"][0]["text"], "a");
        assert_eq!(text["usage"], Value::Null);
        let last = events(&shape.last(Finish::Stop, USAGE));
        assert_eq!(last[1]["choices"], json!([]));
        assert_eq!(last[1]["usage"]["total_tokens"], 5);
        assert_eq!(last[1]["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    }

    #[test]
    fn continuous_usage_tells_tokens_so_far() {
        let shape = Shape { continuous_usage: true, ..shape(Kind::Chat) };
        let text = &events(&shape.text("a", USAGE))[0];
        assert_eq!(text["usage"]["completion_tokens"], 2);
        let first = &events(&shape.first(USAGE).expect("a role"))[0];
        assert_eq!(first["usage"]["completion_tokens"], 0);
    }

    #[test]
    fn whole_answers_have_openai_form() {
        let chat = shape(Kind::Chat).whole("hi", Finish::Stop, USAGE);
        assert_eq!(chat["object"], "chat.completion");
        assert_eq!(chat["choices"][0]["message"], json!({"role":"assistant","content":"hi"}));
        assert_eq!(chat["usage"]["prompt_tokens"], 3);
        let completion = shape(Kind::Completion).whole("hi", Finish::Length, USAGE);
        assert_eq!(completion["choices"][0]["text"], "hi");
        assert_eq!(completion["choices"][0]["finish_reason"], "length");
    }
}
