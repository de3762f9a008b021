//! Why an answer is no answer: kinds of failure, and what the server said about it.

use std::fmt;

/// Longest detail of a failure, in characters.
const DETAIL_CHARS: usize = 300;

/// What kind of failure ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Status 400 to 499, 429 apart.
    Http4xx,
    /// Status 429: too many requests.
    Http429,
    /// Status 500 to 599.
    Http5xx,
    /// Status 300 to 399; the detail names the target.
    Redirect,
    /// The body is compressed although `identity` was asked for.
    Encoding,
    /// A stream was asked for and something else came: an HTML page, or another type.
    NotSse,
    /// An event or document is not JSON.
    BadJson,
    /// The server reported an error inside the answer (`{"error": …}`).
    ServerErrorEvent,
    /// The bytes are not HTTP/1.1: head or chunk framing cannot be read.
    BadHttp,
    /// The connection closed before the head was complete.
    EofBeforeHeaders,
    /// The connection closed inside the body.
    EofMidStream,
}

impl FailureKind {
    /// The kind's name in records and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http4xx => "http_4xx",
            Self::Http429 => "http_429",
            Self::Http5xx => "http_5xx",
            Self::Redirect => "redirect",
            Self::Encoding => "encoding",
            Self::NotSse => "not_sse",
            Self::BadJson => "bad_json",
            Self::ServerErrorEvent => "server_error_event",
            Self::BadHttp => "bad_http",
            Self::EofBeforeHeaders => "eof_before_headers",
            Self::EofMidStream => "eof_mid_stream",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed answer. Details quote the server as it was: the caller masks secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// For people, one line of at most 300 characters: the server's message, the redirect's target
    /// or an excerpt of what could not be read.
    pub detail: String,
    /// Seconds the server asks to wait before the next try (`Retry-After`).
    pub retry_after_s: Option<u32>,
    /// The HTTP status, once a head was read.
    pub status: Option<u16>,
    /// Whether `detail` is the server's own message.
    pub(crate) by_server: bool,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl AsRef<str>) -> Self {
        let detail = one_line(detail.as_ref());
        Self { kind, detail, retry_after_s: None, status: None, by_server: false }
    }

    /// A failure in the server's own words.
    pub(crate) fn said_by_server(kind: FailureKind, message: &str) -> Self {
        Self { by_server: true, ..Self::new(kind, message) }
    }

    /// What the server itself said was wrong, when it said something that could be understood.
    pub fn server_message(&self) -> Option<&str> {
        self.by_server.then_some(self.detail.as_str())
    }
}

/// Bytes as one short line for people: lossy UTF-8, white space folded, cut with an ellipsis.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    // Four bytes a character at most, and a little more so that the cut is noticed.
    let head = &bytes[..bytes.len().min(4 * (DETAIL_CHARS + 1))];
    one_line(&String::from_utf8_lossy(head))
}

/// Folds white space and control characters into single spaces and cuts at the longest detail.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut chars = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            gap = !line.is_empty();
            continue;
        }
        let wanted = 1 + usize::from(gap);
        if chars + wanted > DETAIL_CHARS - 1 {
            line.push('…');
            break;
        }
        if std::mem::take(&mut gap) {
            line.push(' ');
        }
        line.push(c);
        chars += wanted;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_one_line_of_at_most_300_characters() {
        assert_eq!(one_line("  a\r\n\tb \u{7}c "), "a b c");
        let long = one_line(&"é ".repeat(400));
        assert!(long.chars().count() <= DETAIL_CHARS);
        assert!(long.ends_with('…'));
        assert_eq!(one_line(&"x".repeat(299)), "x".repeat(299));
    }

    #[test]
    fn an_excerpt_survives_bytes_that_are_not_utf8() {
        assert_eq!(excerpt(b"\xff\xfeab"), "\u{fffd}\u{fffd}ab");
        assert!(excerpt(&[0xf0; 10_000]).chars().count() <= DETAIL_CHARS);
    }
}
