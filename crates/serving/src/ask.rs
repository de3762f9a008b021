//! Blocking requests beside the load: small questions to an endpoint, and one streamed answer for
//! calibration and `-v`. Same transports, headers and key as the load.

mod error;
mod stream_once;
mod wire;

use std::io;

use loadline_clock::monotonic_ns;
use loadline_schema::outcome::ErrorKind;

use crate::answer::body::{BodyDecoder, Piece};
use crate::answer::head::{ContentType, HEAD_LIMIT_BYTES, Head, HeadEnd};
use crate::answer::{Answer, Expect, Failure};
use crate::target::Target;
use error::Trouble;
use wire::Connection;

pub use error::AskError;
pub use stream_once::{OneAnswer, StreamError, TRANSCRIPT_BYTES, Transcript, stream_once};

/// Longest body of an answer to a control request, unless the caller says otherwise.
pub const BODY_LIMIT_BYTES: usize = 8 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// The answer to a control request, whatever its status but a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// What the body is, by its header.
    pub content_type: ContentType,
    /// The body, decoded from its framing.
    pub body: Vec<u8>,
    /// For people, where the status is not 2xx or the body is a web page: the status with the
    /// server's message, the page's title or how the body begins; one line, secrets masked.
    pub message: Option<String>,
}

impl Reply {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Asks one endpoint of a target and waits for the answer: `GET` or, with a body of JSON, `POST`.
/// `timeout_ns` bounds everything from the connect to the last byte.
///
/// # Errors
/// No answer, or one that is not HTTP, is compressed, redirects or is too long. An error status is
/// no error here.
///
/// # Panics
/// When the target has no endpoint of this index.
pub fn ask(
    target: &Target,
    endpoint: usize,
    method: &'static str,
    path: &str,
    body: Option<&[u8]>,
    timeout_ns: u64,
) -> Result<Reply, AskError> {
    ask_up_to(BODY_LIMIT_BYTES, target, endpoint, (method, path, body), timeout_ns)
}

/// The same with another limit for the body of the answer, bytes; the question is its method, path
/// and body.
///
/// # Errors
/// As [`ask`].
///
/// # Panics
/// As [`ask`].
pub fn ask_up_to(
    most_bytes: usize,
    target: &Target,
    endpoint: usize,
    (method, path, body): (&'static str, &str, Option<&[u8]>),
    timeout_ns: u64,
) -> Result<Reply, AskError> {
    let one = &target.endpoints[endpoint].endpoint;
    let deadline_ns = monotonic_ns().saturating_add(timeout_ns);
    let exchange = || {
        let mut connection = Connection::open(target, endpoint, deadline_ns)?;
        let sent = connection.send(&request(target, endpoint, method, path, body));
        let mut bytes = Vec::new();
        match whole_answer(&mut connection, &mut bytes, most_bytes) {
            Ok((head, body)) => reply(target, endpoint, &head, body, &bytes),
            // What went wrong first says more, unless the server answered before it hung up.
            Err(Broken::Io(error)) if bytes.is_empty() => {
                Err(io_trouble(sent.as_ref().err().unwrap_or(&error)))
            }
            Err(Broken::Io(error)) => Err(io_trouble(&error)),
            Err(Broken::Answer(failure)) => Err(Trouble::of_answer(&failure, one)),
            Err(Broken::TooLong) => {
                let most = most_bytes / (1024 * 1024);
                let why = format!("the answer is longer than {most} MiB");
                let advice = if most_bytes == BODY_LIMIT_BYTES {
                    "; is this the address of an LLM server?"
                } else {
                    ""
                };
                Err(Trouble::new(ErrorKind::BadHttp, why + advice))
            }
        }
    };
    exchange().map_err(|trouble: Trouble| trouble.at(target, endpoint, method, path))
}

/// A whole request, on a connection of its own.
fn request(
    target: &Target,
    endpoint: usize,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
) -> Vec<u8> {
    let one = &target.endpoints[endpoint];
    let path = one.endpoint.path(path);
    let mut request =
        format!("{method} {path} HTTP/1.1\r\n{}Connection: close\r\n", one.head_lines).into_bytes();
    if let Some(body) = body {
        let length = body.len();
        let lines = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        request.extend_from_slice(lines.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body.unwrap_or_default());
    request
}

enum Broken {
    Io(io::Error),
    Answer(Failure),
    TooLong,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Answer(failure)
    }
}

/// Reads head and body; `bytes` are those of the connection, for who wants to look again.
fn whole_answer(
    connection: &mut Connection,
    bytes: &mut Vec<u8>,
    most_bytes: usize,
) -> Result<(Head, Vec<u8>), Broken> {
    let mut buffer = vec![0; READ_BYTES];
    let (head, length) = final_head(connection, bytes, &mut buffer)?;
    let mut decoder = BodyDecoder::new(head.framing);
    let mut body = Vec::new();
    let mut done = take_body(&mut decoder, &bytes[length..], &mut body, most_bytes)?;
    while !done {
        let count = connection.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        if count == 0 {
            if head.framing == crate::answer::Framing::UntilClose {
                break;
            }
            return Err(eof(bytes).into());
        }
        done = take_body(&mut decoder, &buffer[..count], &mut body, most_bytes)?;
    }
    Ok((head, body))
}

/// The head of the final answer and where it ends in `bytes`. Interim heads are skipped.
fn final_head(
    connection: &mut Connection,
    bytes: &mut Vec<u8>,
    buffer: &mut [u8],
) -> Result<(Head, usize), Broken> {
    let mut start = 0;
    let mut end = HeadEnd::default();
    loop {
        if let Some(length) = end.find(&bytes[start..]) {
            let head = Head::parse(&bytes[start..start + length])?;
            start += length;
            if head.status >= 200 {
                return Ok((head, start));
            }
            end = HeadEnd::default();
            continue;
        }
        let hopeless = !bytes.is_empty() && !bytes.starts_with(&b"HTTP/1."[..bytes.len().min(7)]);
        let count =
            if hopeless || bytes.len() > HEAD_LIMIT_BYTES { 0 } else { connection.read(buffer)? };
        if count == 0 {
            return Err(eof(bytes).into());
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// Takes body bytes; `true` at the end of the body.
fn take_body(
    decoder: &mut BodyDecoder,
    bytes: &[u8],
    body: &mut Vec<u8>,
    most_bytes: usize,
) -> Result<bool, Broken> {
    let mut input = bytes;
    loop {
        match decoder.next(&mut input)? {
            Piece::NeedMore => return Ok(false),
            Piece::End => return Ok(true),
            Piece::Body(piece) if body.len() + piece.len() > most_bytes => {
                return Err(Broken::TooLong);
            }
            Piece::Body(piece) => body.extend_from_slice(piece),
        }
    }
}

/// What the answer's decoder makes of bytes that are not, or not all of, an answer.
fn eof(bytes: &[u8]) -> Failure {
    understood(bytes).unwrap_or_else(|| {
        Failure::new(crate::answer::FailureKind::EofMidStream, "the answer ended early")
    })
}

/// The failure of an answer by the same rules as under load.
fn understood(bytes: &[u8]) -> Option<Failure> {
    let mut answer = Answer::new();
    answer.reset(Expect::default());
    let ignore = &mut |_| {};
    answer.feed(bytes, ignore).err().or_else(|| answer.end_of_file(ignore).err())
}

fn reply(
    target: &Target,
    endpoint: usize,
    head: &Head,
    body: Vec<u8>,
    bytes: &[u8],
) -> Result<Reply, Trouble> {
    let odd = !head.is_success()
        || head.content_encoding.is_some()
        || head.content_type == ContentType::Html;
    let failure = odd.then(|| understood(bytes)).flatten();
    let mut message = None;
    if let Some(failure) = failure {
        let trouble = Trouble::of_answer(&failure, &target.endpoints[endpoint].endpoint);
        let refused = matches!(trouble.kind, ErrorKind::Redirect | ErrorKind::Encoding);
        if refused || head.content_encoding.is_some() || trouble.why.contains("wants TLS") {
            return Err(trouble);
        }
        message = Some(target.masked(&trouble.why));
    }
    Ok(Reply { status: head.status, content_type: head.content_type, body, message })
}

fn io_trouble(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            Trouble::new(ErrorKind::TotalTimeout, "no answer within the time limit".to_owned())
        }
        io::ErrorKind::InvalidData => {
            Trouble::new(ErrorKind::Tls, format!("the TLS connection broke: {error}"))
        }
        _ => Trouble::new(ErrorKind::Reset, format!("the connection broke: {error}")),
    }
}
