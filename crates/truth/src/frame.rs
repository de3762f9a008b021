//! The bytes of an answer: response heads, events, usage, and whole answers. Pure.

use std::io::Write as _;

use crate::law::ReasoningField;

/// `created` of every answer: a constant, so that equal runs give equal bytes.
const CREATED: u64 = 1_764_000_000;

/// The name of the only model.
pub(crate) const MODEL: &str = "mock";

/// Head of every streamed answer.
pub(crate) const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; \
charset=utf-8\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

const WORDS: [&str; 8] = [" the", " of", " and", " to", " in", " is", " on", " for"];

/// Token counts of an answer so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) prompt: u32,
    pub(crate) completion: u32,
    pub(crate) reasoning: u32,
}

impl Counts {
    fn write(self, out: &mut Vec<u8>) {
        let Self { prompt, completion, reasoning } = self;
        let total = prompt.saturating_add(completion);
        put(
            out,
            format_args!(
                r#""usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}"#
            ),
        );
        if reasoning > 0 {
            put(
                out,
                format_args!(r#","completion_tokens_details":{{"reasoning_tokens":{reasoning}}}"#),
            );
        }
        out.push(b'}');
    }
}

/// One event with text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenEvent {
    /// Index of its first token.
    pub(crate) first: u32,
    /// Tokens in it.
    pub(crate) tokens: u32,
    /// The field they are in when they are reasoning.
    pub(crate) reasoning: Option<ReasoningField>,
    /// Whether the delta carries the role.
    pub(crate) role: bool,
    /// Why the answer ends here, if it does.
    pub(crate) finish: Option<&'static str>,
    /// Usage inside the chunk.
    pub(crate) usage: Option<Counts>,
}

/// Writes the events of one answer; holds what they have in common.
#[derive(Debug)]
pub(crate) struct Frame {
    chat: bool,
    id: u64,
    /// `data: {"id":…,"choices":[`
    prefix: Vec<u8>,
    scratch: Vec<u8>,
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("invariant: writing to a Vec cannot fail");
}

/// Wraps `body` as one chunk of the chunked transfer coding.
fn transfer_chunk(out: &mut Vec<u8>, body: &[u8]) {
    put(out, format_args!("{:x}\r\n", body.len()));
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

impl Frame {
    pub(crate) fn new(chat: bool, id: u64) -> Self {
        let mut prefix = Vec::with_capacity(192);
        prefix.extend_from_slice(b"data: {");
        let object = if chat { "chat.completion.chunk" } else { "text_completion" };
        identity(&mut prefix, chat, id, object);
        prefix.extend_from_slice(b",\"choices\":[");
        Self { chat, id, prefix, scratch: Vec::with_capacity(384) }
    }

    fn begin(&mut self) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.prefix);
    }

    /// Closes the choices, adds usage, and moves the event to `out`.
    fn end(&mut self, usage: Option<Counts>, out: &mut Vec<u8>) {
        self.scratch.push(b']');
        if let Some(counts) = usage {
            self.scratch.push(b',');
            counts.write(&mut self.scratch);
        }
        self.scratch.extend_from_slice(b"}\n\n");
        transfer_chunk(out, &self.scratch);
    }

    /// The words of `tokens` tokens from index `first`.
    fn words(&mut self, first: u32, tokens: u32) {
        for token in first..first + tokens {
            let word = WORDS[((u64::from(token) + self.id) & 7) as usize];
            self.scratch.extend_from_slice(word.as_bytes());
        }
    }

    fn finish(&mut self, reason: Option<&str>) {
        self.scratch.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":");
        match reason {
            None => self.scratch.extend_from_slice(b"null"),
            Some(reason) => put(&mut self.scratch, format_args!("\"{reason}\"")),
        }
        self.scratch.push(b'}');
    }

    /// An event with text.
    pub(crate) fn token(&mut self, event: &TokenEvent, out: &mut Vec<u8>) {
        self.begin();
        if self.chat {
            self.scratch.extend_from_slice(b"{\"index\":0,\"delta\":{");
            if event.role {
                self.scratch.extend_from_slice(b"\"role\":\"assistant\",");
            }
            self.scratch.extend_from_slice(match event.reasoning {
                None => b"\"content\":\"",
                Some(ReasoningField::ReasoningContent) => b"\"reasoning_content\":\"",
                Some(ReasoningField::Reasoning) => b"\"reasoning\":\"",
            });
            self.words(event.first, event.tokens);
            self.scratch.extend_from_slice(b"\"}");
        } else {
            self.scratch.extend_from_slice(b"{\"index\":0,\"text\":\"");
            self.words(event.first, event.tokens);
            self.scratch.push(b'"');
        }
        self.finish(event.finish);
        self.end(event.usage, out);
    }

    /// The chunk with the role and an empty text.
    pub(crate) fn role(&mut self, usage: Option<Counts>, out: &mut Vec<u8>) {
        self.begin();
        let delta = br#"{"index":0,"delta":{"role":"assistant","content":""}"#;
        self.scratch.extend_from_slice(delta);
        self.finish(None);
        self.end(usage, out);
    }

    /// A last chunk with nothing but the finish reason and perhaps the usage.
    pub(crate) fn finish_chunk(&mut self, reason: &str, usage: Option<Counts>, out: &mut Vec<u8>) {
        self.begin();
        self.scratch.extend_from_slice(if self.chat {
            br#"{"index":0,"delta":{}"#
        } else {
            br#"{"index":0,"text":"""#
        });
        self.finish(Some(reason));
        self.end(usage, out);
    }

    /// The chunk with `"choices":[]` and the usage.
    pub(crate) fn usage_chunk(&mut self, counts: Counts, out: &mut Vec<u8>) {
        self.begin();
        self.end(Some(counts), out);
    }

    /// The end of a stream.
    pub(crate) fn done(out: &mut Vec<u8>) {
        transfer_chunk(out, b"data: [DONE]\n\n");
        out.extend_from_slice(b"0\r\n\r\n");
    }

    /// The body of an answer that is not streamed.
    pub(crate) fn whole(
        &mut self,
        tokens: u32,
        reasoning: Option<(u32, ReasoningField)>,
        finish: &str,
        usage: Option<Counts>,
    ) -> Vec<u8> {
        self.scratch.clear();
        self.scratch.push(b'{');
        let object = if self.chat { "chat.completion" } else { "text_completion" };
        identity(&mut self.scratch, self.chat, self.id, object);
        self.scratch.extend_from_slice(b",\"choices\":[{\"index\":0,");
        let (silent, field) = reasoning.unwrap_or((0, ReasoningField::ReasoningContent));
        let silent = silent.min(tokens);
        if self.chat {
            self.scratch.extend_from_slice(b"\"message\":{\"role\":\"assistant\",");
            if silent > 0 {
                self.scratch.extend_from_slice(match field {
                    ReasoningField::ReasoningContent => b"\"reasoning_content\":\"",
                    ReasoningField::Reasoning => b"\"reasoning\":\"",
                });
                self.words(0, silent);
                self.scratch.extend_from_slice(b"\",");
            }
            self.scratch.extend_from_slice(b"\"content\":\"");
            self.words(silent, tokens - silent);
            self.scratch.extend_from_slice(b"\"}");
        } else {
            self.scratch.extend_from_slice(b"\"text\":\"");
            self.words(0, tokens);
            self.scratch.push(b'"');
        }
        self.finish(Some(finish));
        self.scratch.push(b']');
        if let Some(counts) = usage {
            self.scratch.push(b',');
            counts.write(&mut self.scratch);
        }
        self.scratch.push(b'}');
        std::mem::take(&mut self.scratch)
    }
}

fn identity(out: &mut Vec<u8>, chat: bool, id: u64, object: &str) {
    let kind = if chat { "chatcmpl" } else { "cmpl" };
    put(
        out,
        format_args!(
            r#""id":"{kind}-{id:016x}","object":"{object}","created":{CREATED},"model":"{MODEL}""#
        ),
    );
}

/// A whole response with a body of known length. `extra` is complete header lines or nothing.
pub(crate) fn response(out: &mut Vec<u8>, status: &str, kind: &str, extra: &str, body: &[u8]) {
    let length = body.len();
    put(
        out,
        format_args!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{extra}\r\n"
        ),
    );
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The JSON of each event in a chunked stream.
    fn events(bytes: &[u8]) -> Vec<serde_json::Value> {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(|json| serde_json::from_str(json).expect("JSON")).collect()
    }

    fn token(first: u32, tokens: u32) -> TokenEvent {
        TokenEvent { first, tokens, reasoning: None, role: false, finish: None, usage: None }
    }

    const COUNTS: Counts = Counts { prompt: 9, completion: 3, reasoning: 1 };

    #[test]
    fn chat_events_have_the_fields_of_the_protocol() {
        let mut out = Vec::new();
        let mut frame = Frame::new(true, 10);
        frame.role(None, &mut out);
        let reasoning = Some(ReasoningField::Reasoning);
        frame.token(&TokenEvent { reasoning, ..token(0, 1) }, &mut out);
        frame.token(&TokenEvent { finish: Some("length"), ..token(1, 2) }, &mut out);
        frame.usage_chunk(COUNTS, &mut out);
        let events = events(&out);
        assert_eq!(events[0]["id"], "chatcmpl-000000000000000a");
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(events[1]["choices"][0]["delta"]["reasoning"], " and");
        assert_eq!(events[2]["choices"][0]["delta"]["content"], " to in");
        assert_eq!(events[2]["choices"][0]["finish_reason"], "length");
        assert_eq!(events[3]["choices"], serde_json::json!([]));
        assert_eq!(events[3]["usage"]["total_tokens"], 12);
        assert_eq!(events[3]["usage"]["completion_tokens_details"]["reasoning_tokens"], 1);
    }

    #[test]
    fn completion_events_carry_text() {
        let mut out = Vec::new();
        let mut frame = Frame::new(false, 0);
        frame.token(&TokenEvent { usage: Some(COUNTS), ..token(0, 2) }, &mut out);
        frame.finish_chunk("stop", None, &mut out);
        let events = events(&out);
        assert_eq!(events[0]["choices"][0]["text"], " the of");
        assert_eq!(events[0]["usage"]["prompt_tokens"], 9);
        assert_eq!(events[1]["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn every_chunk_states_its_own_length() {
        let mut out = Vec::new();
        Frame::new(true, 0).token(&token(0, 1), &mut out);
        Frame::done(&mut out);
        let mut rest = out.as_slice();
        loop {
            let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest)
            else {
                panic!("no chunk in {rest:?}")
            };
            let end = start + size as usize;
            assert_eq!(&rest[end..end + 2], b"\r\n");
            rest = &rest[end + 2..];
            if size == 0 {
                break;
            }
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn whole_answers_are_valid_json() {
        let reasoning = Some((1, ReasoningField::ReasoningContent));
        let chat = Frame::new(true, 1).whole(3, reasoning, "length", Some(COUNTS));
        let chat: serde_json::Value = serde_json::from_slice(&chat).expect("JSON");
        assert_eq!(chat["choices"][0]["message"]["content"], " and to");
        assert_eq!(chat["choices"][0]["message"]["reasoning_content"], " of");
        let text = Frame::new(false, 1).whole(2, None, "stop", None);
        let text: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(text["choices"][0]["text"], " of and");
        assert!(text.get("usage").is_none());
    }
}
