//! Decodes the answer to one request: bytes in, facts out. No IO, no clock, no allocation per event,
//! and the same facts however the bytes were cut.
//!
//! [`Answer`] chains the stages: [`head`] (HTTP/1.1 head), [`body`] (framing), [`sse`] (events),
//! then the JSON of each chunk, parsed in full unless it repeats the last one but for its text.

pub mod body;
mod chunk;
mod facts;
mod failure;
pub mod head;
mod json;
mod message;
mod sink;
pub mod sse;
mod template;

use body::{BodyDecoder, Piece};
use head::{ContentType, HEAD_LIMIT_BYTES, HeadEnd};
use sink::Sink;
use sse::{EventTooLong, Splitter};
use template::Template;

pub use facts::{ChunkFacts, Ended, Facts, FinishReason, Usage};
pub use failure::{Failure, FailureKind};
pub use head::{Framing, Head};

/// Buffers up to this many bytes are kept from one answer to the next.
const KEPT_CAPACITY: usize = 16 * 1024;
/// Bytes of an error's body that are kept for its message.
const ERROR_BODY_KEPT_BYTES: usize = 64 * 1024;
/// Bytes of an error's body that are read at all before the connection is given up.
const ERROR_BODY_LIMIT_BYTES: u64 = 1024 * 1024;
/// Longest JSON document that is understood as an answer.
const DOCUMENT_LIMIT_BYTES: usize = sse::EVENT_LIMIT_BYTES;

/// What is expected of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expect {
    /// A stream was asked for. What comes is understood either way; this decides what a wrong
    /// content type is called.
    pub stream: bool,
    /// Keep the answer's text in [`Facts::text`] and [`Facts::reasoning_text`].
    pub keep_text: bool,
}

/// Whether the answer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    NeedMore,
    /// The answer is complete.
    Done {
        /// Bytes of this read that lie behind the answer. Nothing may follow an answer to the only
        /// request on a connection, so more than 0 is an error of the server's.
        leftover: usize,
    },
}

/// What was found, in the order of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The head of the final answer is complete: see [`Answer::head`].
    Head,
    /// A chunk: an event with JSON, or the whole of an answer that was not streamed.
    Chunk(ChunkFacts),
    /// `[DONE]`.
    DoneMarker,
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    /// A body without content type: its first byte decides.
    Unknown,
    Events,
    /// The answer in one JSON document.
    Document,
    /// The body of an answer that failed by its head: kept for its message.
    Refused(FailureKind),
    Ended,
}

/// Decoder of one answer after another on a connection.
#[derive(Debug)]
pub struct Answer {
    expect: Expect,
    stage: Stage,
    head: Option<Head>,
    head_end: HeadEnd,
    body: BodyDecoder,
    body_bytes: u64,
    splitter: Splitter,
    template: Template,
    facts: Facts,
    /// Head while it is incomplete, then a document or an error's body.
    kept: Vec<u8>,
    reusable: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer {
    /// A decoder that expects an answer without stream; [`Answer::reset`] sets something else.
    pub fn new() -> Self {
        Self {
            expect: Expect::default(),
            stage: Stage::Head,
            head: None,
            head_end: HeadEnd::default(),
            body: BodyDecoder::new(Framing::UntilClose),
            body_bytes: 0,
            splitter: Splitter::default(),
            template: Template::default(),
            facts: Facts::default(),
            kept: Vec::new(),
            reusable: false,
        }
    }

    /// Makes ready for the next answer; buffers of ordinary size are kept.
    pub fn reset(&mut self, expect: Expect) {
        self.expect = expect;
        self.stage = Stage::Head;
        self.head = None;
        self.head_end = HeadEnd::default();
        self.body = BodyDecoder::new(Framing::UntilClose);
        self.body_bytes = 0;
        self.splitter.reset(KEPT_CAPACITY);
        self.template.forget(KEPT_CAPACITY);
        self.facts.clear();
        self.kept.clear();
        self.kept.shrink_to(KEPT_CAPACITY);
        self.reusable = false;
    }

    /// Switches the fast path for repeated events. It is on unless switched off, and changes no
    /// fact; tests and measurements switch it off.
    pub fn set_fast_path(&mut self, on: bool) {
        self.template.switch(on);
    }

    /// Decodes the bytes of one read and calls `on` for each thing found, in order.
    ///
    /// # Errors
    /// The failure that ended the answer. Whether the connection can be used again is told by
    /// [`Answer::connection_reusable`] in either case.
    pub fn feed(&mut self, bytes: &[u8], on: &mut impl FnMut(Event)) -> Result<Progress, Failure> {
        let mut input = bytes;
        let result = self.advance(&mut input, on);
        self.conclude(result)
    }

    /// The peer closed the connection.
    ///
    /// # Errors
    /// `eof_before_headers` or `eof_mid_stream`, unless the close was the proper end of the body or
    /// `[DONE]` had been seen; the answer's own failure when it had one already.
    pub fn end_of_file(&mut self, on: &mut impl FnMut(Event)) -> Result<Progress, Failure> {
        let result = match self.stage {
            Stage::Ended => Ok(Progress::Done { leftover: 0 }),
            Stage::Head => Err(self.eof_in_head()),
            Stage::Refused(kind) => Err(self.refusal(kind)),
            Stage::Document if self.is_close_delimited() && self.document_is_cut() => {
                Err(self.eof_in_body())
            }
            _ if self.is_close_delimited() || self.facts.done_marker => {
                self.end_of_body(on).map(|()| Progress::Done { leftover: 0 })
            }
            _ => Err(self.eof_in_body()),
        };
        self.reusable = false;
        self.conclude(result)
    }

    /// The head of the answer, once it was read.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// What is known of the answer so far; complete after [`Progress::Done`].
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the answer ended where its framing says, with nothing behind it, and the server
    /// keeps the connection open.
    pub fn connection_reusable(&self) -> bool {
        self.stage == Stage::Ended && self.reusable
    }

    fn is_close_delimited(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.framing == Framing::UntilClose)
    }

    /// Adds to a failure what the head says, and ends the answer.
    fn conclude(&mut self, result: Result<Progress, Failure>) -> Result<Progress, Failure> {
        if !matches!(result, Ok(Progress::NeedMore)) {
            self.stage = Stage::Ended;
        }
        result.map_err(|mut failure| {
            if let Some(head) = &self.head {
                failure.status = Some(head.status);
                failure.retry_after_s = head.retry_after_s;
            }
            failure
        })
    }

    fn advance(
        &mut self,
        input: &mut &[u8],
        on: &mut impl FnMut(Event),
    ) -> Result<Progress, Failure> {
        while self.stage == Stage::Head {
            if !self.take_head(input)? {
                return Ok(Progress::NeedMore);
            }
            if let Some(head) = &self.head {
                on(Event::Head);
                self.stage = stage_after(head, self.expect)?;
            }
        }
        if self.stage == Stage::Ended {
            return Ok(Progress::Done { leftover: input.len() });
        }
        loop {
            match self.body.next(input)? {
                Piece::Body(piece) => {
                    self.body_bytes += piece.len() as u64;
                    self.take_body(piece, on)?;
                }
                Piece::NeedMore if self.is_close_delimited() && self.facts.done_marker => {
                    // Nothing more is to come; some servers leave closing to the client.
                    self.end_of_body(on)?;
                    return Ok(Progress::Done { leftover: 0 });
                }
                Piece::NeedMore => return Ok(Progress::NeedMore),
                Piece::End => {
                    let keep_alive = self.head.as_ref().is_some_and(|head| head.keep_alive);
                    self.reusable = keep_alive && input.is_empty();
                    self.end_of_body(on)?;
                    return Ok(Progress::Done { leftover: input.len() });
                }
            }
        }
    }

    /// Reads on in a head. `false`: it is incomplete. Interim heads leave `self.head` empty.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<bool, Failure> {
        if self.kept.is_empty() {
            // Stray line breaks after an earlier answer are to be ignored (RFC 9112, section 2.2).
            while let Some(rest) = input.strip_prefix(b"\n").or(input.strip_prefix(b"\r")) {
                *input = rest;
            }
        }
        let before = self.kept.len();
        let found = if before == 0 {
            self.head_end.find(input)
        } else {
            self.kept.extend_from_slice(input);
            self.head_end.find(&self.kept)
        };
        if found.unwrap_or(before + input.len()) > HEAD_LIMIT_BYTES {
            let detail = "the HTTP head is longer than 64 KiB";
            return Err(Failure::new(FailureKind::BadHttp, detail));
        }
        let Some(length) = found else {
            if before == 0 {
                self.kept.extend_from_slice(input);
            }
            *input = &[];
            begins_like_http(&self.kept)?;
            return Ok(false);
        };
        let bytes = if before == 0 { &input[..length] } else { &self.kept[..length] };
        begins_like_http(bytes)?;
        let head = Head::parse(bytes)?;
        *input = &input[length - before..];
        self.kept.clear();
        self.head_end = HeadEnd::default();
        if head.status >= 200 {
            self.body = BodyDecoder::new(head.framing);
            self.head = Some(head);
        }
        Ok(true)
    }

    fn take_body(&mut self, piece: &[u8], on: &mut impl FnMut(Event)) -> Result<(), Failure> {
        if self.stage == Stage::Unknown {
            self.stage = match piece.trim_ascii_start().first() {
                None => return Ok(()),
                Some(b'{' | b'[') => Stage::Document,
                Some(b'<') => Stage::Refused(wrong_type(self.expect)),
                Some(_) => Stage::Events,
            };
        }
        match self.stage {
            Stage::Events => self.take_events(piece, on),
            Stage::Document => {
                if self.kept.len() + piece.len() > DOCUMENT_LIMIT_BYTES {
                    let detail = "the answer is a JSON document of more than 64 MiB";
                    return Err(Failure::new(FailureKind::BadJson, detail));
                }
                self.kept.extend_from_slice(piece);
                Ok(())
            }
            Stage::Refused(kind) => {
                let room = ERROR_BODY_KEPT_BYTES - self.kept.len();
                self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
                if self.body_bytes > ERROR_BODY_LIMIT_BYTES {
                    return Err(self.refusal(kind));
                }
                Ok(())
            }
            Stage::Head | Stage::Unknown | Stage::Ended => Ok(()),
        }
    }

    fn take_events(&mut self, piece: &[u8], on: &mut impl FnMut(Event)) -> Result<(), Failure> {
        let Self { splitter, template, facts, expect, .. } = self;
        facts.streamed = true;
        let mut sink = Sink { template, facts, keep_text: expect.keep_text };
        let mut input = piece;
        while !input.is_empty() {
            if splitter.at_boundary()
                && !sink.facts.done_marker
                && let Some((length, text)) = sink.template.matches(input)
            {
                input = &input[length..];
                sink.repeated(text, on);
                continue;
            }
            match splitter.next(&mut input).map_err(too_long)? {
                Some(event) => sink.event(event, on)?,
                None => break,
            }
        }
        Ok(())
    }

    /// The body is complete: what is still to be understood is, and the facts are closed.
    fn end_of_body(&mut self, on: &mut impl FnMut(Event)) -> Result<(), Failure> {
        match self.stage {
            Stage::Refused(kind) => return Err(self.refusal(kind)),
            Stage::Document => {
                let Self { kept, template, facts, expect, .. } = self;
                let mut sink = Sink { template, facts, keep_text: expect.keep_text };
                sink.chunk(kept, None, on)?;
                self.facts.ended = Ended::Finish;
                return Ok(());
            }
            Stage::Events => self.last_event(on)?,
            Stage::Head | Stage::Unknown | Stage::Ended => {}
        }
        self.facts.ended = if self.facts.done_marker {
            Ended::DoneMarker
        } else if self.facts.finish_reason.is_some() {
            Ended::Finish
        } else {
            Ended::WithoutFinish
        };
        Ok(())
    }

    /// The event at the end of a body that lacks its empty line. It counts when it is whole; the
    /// begin of an event is dropped, as the standard says.
    fn last_event(&mut self, on: &mut impl FnMut(Event)) -> Result<(), Failure> {
        let Self { splitter, template, facts, expect, .. } = self;
        let Some(event) = splitter.finish().map_err(too_long)? else { return Ok(()) };
        let mut sink = Sink { template, facts, keep_text: expect.keep_text };
        match sink.event(event, on) {
            Err(failure) if failure.kind == FailureKind::BadJson => Ok(()),
            result => result,
        }
    }

    /// The failure of an answer whose head already failed it, once its body is known.
    fn refusal(&self, kind: FailureKind) -> Failure {
        let head = self.head.as_ref();
        let status = head.map_or(0, |head| head.status);
        if let (FailureKind::Redirect, Some(target)) =
            (kind, head.and_then(|head| head.location.as_ref()))
        {
            return Failure::new(kind, target);
        }
        if let Some(encoding) = head.and_then(|head| head.content_encoding.as_ref()) {
            let detail = format!("HTTP status {status} with a body in {encoding} encoding");
            return Failure::new(kind, detail);
        }
        let (text, by_server) = message::or_excerpt(&self.kept);
        let status_failure =
            !matches!(kind, FailureKind::NotSse | FailureKind::BadJson | FailureKind::Redirect);
        if by_server && status_failure {
            return Failure::said_by_server(kind, &text);
        }
        let what = match kind {
            FailureKind::Redirect => "redirected without naming a target",
            FailureKind::NotSse => "not a stream of events",
            FailureKind::BadJson => "not JSON",
            _ => "no message",
        };
        let text = if text.is_empty() { "empty body" } else { &text };
        Failure::new(kind, format!("HTTP status {status}, {what}: {text}"))
    }

    /// Whether the document kept so far is the begin of one.
    fn document_is_cut(&self) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(&self.kept)
            .is_err_and(|error| error.is_eof())
    }

    fn eof_in_body(&self) -> Failure {
        let got = self.body_bytes;
        let detail = format!("the connection closed inside the body, after {got} bytes of it");
        Failure::new(FailureKind::EofMidStream, detail)
    }

    fn eof_in_head(&self) -> Failure {
        let detail = if self.kept.is_empty() {
            "the connection closed before any byte of an answer".to_owned()
        } else {
            format!("the connection closed inside the HTTP head: {}", failure::excerpt(&self.kept))
        };
        Failure::new(FailureKind::EofBeforeHeaders, detail)
    }
}

/// What a body is read as, by the head.
fn stage_after(head: &Head, expect: Expect) -> Result<Stage, Failure> {
    match head.status {
        200..300 => {}
        300..400 => return Ok(Stage::Refused(FailureKind::Redirect)),
        429 => return Ok(Stage::Refused(FailureKind::Http429)),
        400..500 => return Ok(Stage::Refused(FailureKind::Http4xx)),
        _ => return Ok(Stage::Refused(FailureKind::Http5xx)),
    }
    if let Some(encoding) = &head.content_encoding {
        let detail = format!("the body is in {encoding} encoding, but identity was asked for");
        return Err(Failure::new(FailureKind::Encoding, detail));
    }
    Ok(match head.content_type {
        ContentType::EventStream => Stage::Events,
        ContentType::Json => Stage::Document,
        ContentType::Absent => Stage::Unknown,
        ContentType::Html | ContentType::Other => Stage::Refused(wrong_type(expect)),
    })
}

/// What an answer of the wrong type is called.
fn wrong_type(expect: Expect) -> FailureKind {
    if expect.stream { FailureKind::NotSse } else { FailureKind::BadJson }
}

/// Fails as soon as the bytes cannot be HTTP/1.x any more, instead of waiting for a head's end.
fn begins_like_http(bytes: &[u8]) -> Result<(), Failure> {
    const BEGIN: &[u8] = b"HTTP/1.";
    /// First byte of the alert with which a TLS server answers plain HTTP.
    const TLS_ALERT: u8 = 0x15;
    let length = bytes.len().min(BEGIN.len());
    if bytes[..length] == BEGIN[..length] {
        return Ok(());
    }
    let detail = if bytes.first() == Some(&TLS_ALERT) {
        "the server answers in TLS: the address needs https".to_owned()
    } else {
        format!("the server does not speak HTTP/1: {}", failure::excerpt(bytes))
    };
    Err(Failure::new(FailureKind::BadHttp, detail))
}

fn too_long(error: EventTooLong) -> Failure {
    Failure::new(FailureKind::BadJson, error.to_string())
}
