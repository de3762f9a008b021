//! Bytes of replies, good and odd: heads, framings, event streams.

use std::io::Write as _;

use crate::fault::{Action, Script};

/// How a reply's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Chunked transfer coding, one chunk for each piece of the body.
    Chunked,
    /// `Content-Length`.
    Length,
    /// Neither: the body ends with the connection.
    UntilClose,
}

/// A reply in the making: head lines and pieces of body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    version: &'static str,
    status: String,
    headers: Vec<String>,
    framing: Framing,
    line_end: &'static str,
    pieces: Vec<Vec<u8>>,
}

/// The `data:` document of one chat chunk: `delta` is the JSON inside `"delta":{…}`.
pub fn chat_event(delta: &str, finish_reason: Option<&str>) -> String {
    let reason = finish_reason.map_or("null".to_owned(), |reason| format!("\"{reason}\""));
    format!(
        "{{\"id\":\"chatcmpl-test\",\"object\":\"chat.completion.chunk\",\"created\":1,\
         \"model\":\"mock\",\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\
         \"finish_reason\":{reason}}}]}}"
    )
}

/// A whole reply with a JSON body of known length.
pub fn json_reply(status: &str, body: &str) -> Vec<u8> {
    Reply::new(status, "application/json").framing(Framing::Length).piece(body).bytes()
}

impl Reply {
    /// A reply with a status such as `"200 OK"` and a content type.
    pub fn new(status: &str, content_type: &str) -> Self {
        Self {
            version: "HTTP/1.1",
            status: status.to_owned(),
            headers: vec![format!("content-type: {content_type}")],
            framing: Framing::Chunked,
            line_end: "\n",
            pieces: Vec::new(),
        }
    }

    /// An event stream with status 200.
    pub fn stream() -> Self {
        Self::new("200 OK", "text/event-stream")
    }

    /// A chat stream: one event for each text, the role in the first; then the finish chunk with
    /// `stop`. Usage and `[DONE]` are to be added.
    pub fn chat(texts: &[&str]) -> Self {
        let mut reply = Self::stream();
        for (index, text) in texts.iter().enumerate() {
            let role = if index == 0 { "\"role\":\"assistant\"," } else { "" };
            let text = serde_json::Value::from(*text);
            reply = reply.event(&chat_event(&format!("{role}\"content\":{text}"), None));
        }
        reply.event(&chat_event("", Some("stop")))
    }

    /// Adds a header line, as in `"retry-after: 7"`.
    #[must_use]
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// Sets how the body is delimited; chunked otherwise.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Says HTTP/1.0.
    #[must_use]
    pub fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Ends the lines of the events that follow with CR LF.
    #[must_use]
    pub fn crlf(mut self) -> Self {
        self.line_end = "\r\n";
        self
    }

    /// Adds bytes to the body, a chunk by themselves when it is chunked.
    #[must_use]
    pub fn piece(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.pieces.push(bytes.as_ref().to_vec());
        self
    }

    /// Adds an event with this `data`.
    #[must_use]
    pub fn event(self, data: &str) -> Self {
        let end = self.line_end;
        self.piece(format!("data: {data}{end}{end}"))
    }

    /// Adds the chunk with usage and `"choices":[]`.
    #[must_use]
    pub fn usage(self, prompt: u32, completion: u32) -> Self {
        let total = prompt + completion;
        self.event(&format!(
            "{{\"id\":\"chatcmpl-test\",\"object\":\"chat.completion.chunk\",\"created\":1,\
             \"model\":\"mock\",\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\
             \"completion_tokens\":{completion},\"total_tokens\":{total}}}}}"
        ))
    }

    /// Adds `[DONE]`.
    #[must_use]
    pub fn done(self) -> Self {
        self.event("[DONE]")
    }

    /// The head with its blank line.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {}\r\n", self.version, self.status);
        for line in &self.headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        match self.framing {
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
            Framing::Length => {
                let length: usize = self.pieces.iter().map(Vec::len).sum();
                head.push_str("content-length: ");
                head.push_str(&length.to_string());
                head.push_str("\r\n");
            }
            Framing::UntilClose => {}
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The body's pieces as they go over the wire, without the end of a chunked body.
    pub fn framed_pieces(&self) -> Vec<Vec<u8>> {
        let framed = |piece: &Vec<u8>| match self.framing {
            Framing::Chunked => {
                let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                chunk.extend_from_slice(piece);
                chunk.extend_from_slice(b"\r\n");
                chunk
            }
            Framing::Length | Framing::UntilClose => piece.clone(),
        };
        self.pieces.iter().map(framed).collect()
    }

    /// Head and body without the end of a chunked body: to be followed by something wrong.
    pub fn unfinished_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        for piece in self.framed_pieces() {
            bytes.write_all(&piece).expect("invariant: writing to a Vec cannot fail");
        }
        bytes
    }

    /// The whole reply.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.unfinished_bytes();
        if self.framing == Framing::Chunked {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        bytes
    }

    /// A script that gives this reply to every request of a connection; where the body ends with
    /// the connection, to the first one.
    pub fn script(&self) -> Script {
        if self.framing == Framing::UntilClose {
            Action::answer_once(self.bytes())
        } else {
            Action::answer_each(self.bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framings_delimit_the_same_body() {
        let reply = Reply::new("200 OK", "text/plain").piece("ab").piece("c");
        let text =
            |framing| String::from_utf8(reply.clone().framing(framing).bytes()).expect("text");
        assert!(text(Framing::Chunked).ends_with("chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"));
        assert!(text(Framing::Length).ends_with("content-length: 3\r\n\r\nabc"));
        assert!(text(Framing::UntilClose).ends_with("text/plain\r\n\r\nabc"));
    }

    #[test]
    fn chat_events_are_json() {
        let bytes = Reply::chat(&["a\"b", "c"]).usage(3, 2).done().bytes();
        let text = String::from_utf8(bytes).expect("text");
        let documents: Vec<serde_json::Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect(data))
            .collect();
        assert_eq!(documents.len(), 4);
        assert_eq!(documents[0]["choices"][0]["delta"]["content"], "a\"b");
        assert_eq!(documents[3]["usage"]["total_tokens"], 5);
    }
}
