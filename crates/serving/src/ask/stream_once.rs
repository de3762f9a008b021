//! One streamed answer, waited for and understood: for calibration and to show an exchange.

use std::fmt;

use loadline_clock::monotonic_ns;
use loadline_schema::outcome::ErrorKind;
use loadline_schema::plan::{Api, Timeouts};

use super::error::{AskError, Trouble};
use super::wire::Connection;
use super::{READ_BYTES, io_trouble, request};
use crate::answer::{Answer, Ended, Event, Expect, Facts, Failure, Head, Progress};
use crate::target::{Target, api_path};

/// Bytes of a request's body and of an answer that a transcript keeps.
pub const TRANSCRIPT_BYTES: usize = 16 * 1024;

/// A complete answer.
#[derive(Debug, Clone)]
pub struct OneAnswer {
    /// What it said; the text is kept.
    pub facts: Facts,
    /// Its HTTP head.
    pub head: Head,
    /// From the begin of sending to the read with the first token, ns; absent where no chunk bore
    /// a token. Connecting is not in it.
    pub ttft_ns: Option<u64>,
    /// From the same begin to the read with the last byte, ns.
    pub e2e_ns: u64,
    /// What went over the wire.
    pub transcript: Transcript,
}

/// An exchange that failed, with as much of it as there was.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct StreamError {
    /// Why.
    pub error: AskError,
    /// What went over the wire.
    pub transcript: Transcript,
}

/// One exchange as text, secrets masked, long parts cut. Shown, lines of the request begin with
/// `> `, those of the answer with `< `.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    /// Head and body of the request, the body's first [`TRANSCRIPT_BYTES`] bytes.
    pub request: String,
    /// The first [`TRANSCRIPT_BYTES`] bytes of the answer as they came, framing included.
    pub answer: String,
    /// Bytes of the request and of the answer that are left out.
    pub left_out_bytes: (usize, usize),
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (request, answer) = self.left_out_bytes;
        for (mark, text, left_out) in [('>', &self.request, request), ('<', &self.answer, answer)] {
            for line in text.lines() {
                writeln!(f, "{mark} {line}")?;
            }
            if left_out > 0 {
                writeln!(f, "{mark} … {left_out} more bytes")?;
            }
        }
        Ok(())
    }
}

/// Sends one generation request with this JSON body and waits for its whole answer.
///
/// # Errors
/// The kind that a request under load would be recorded with.
///
/// # Panics
/// When the target has no endpoint of this index.
pub fn stream_once(
    target: &Target,
    endpoint: usize,
    api: Api,
    body: &[u8],
    timeouts: &Timeouts,
) -> Result<OneAnswer, Box<StreamError>> {
    let request = request(target, endpoint, "POST", api_path(api), Some(body));
    let mut exchange = Exchange { answer: Answer::new(), kept: Vec::new(), bytes: 0, first: None };
    let result = exchange.carry(target, endpoint, &request, timeouts);
    let transcript = exchange.transcript(target, &request, body.len());
    match result {
        Ok((begin_ns, end_ns)) => {
            let Exchange { answer, first, .. } = exchange;
            let head = answer.head().cloned().expect("invariant: a complete answer has a head");
            Ok(OneAnswer {
                facts: answer.facts().clone(),
                head,
                ttft_ns: first.map(|at| at - begin_ns),
                e2e_ns: end_ns - begin_ns,
                transcript,
            })
        }
        Err(trouble) => {
            let error = trouble.at(target, endpoint, "POST", api_path(api));
            Err(Box::new(StreamError { error, transcript }))
        }
    }
}

struct Exchange {
    answer: Answer,
    /// Begin of the answer's bytes.
    kept: Vec<u8>,
    /// All bytes of the answer.
    bytes: usize,
    /// When the first token was read, monotonic ns.
    first: Option<u64>,
}

impl Exchange {
    /// Returns begin and end, monotonic ns.
    fn carry(
        &mut self,
        target: &Target,
        endpoint: usize,
        request: &[u8],
        timeouts: &Timeouts,
    ) -> Result<(u64, u64), Trouble> {
        let connect_until = monotonic_ns().saturating_add(timeouts.connect_ns);
        let mut connection = Connection::open(target, endpoint, connect_until)?;
        let begin_ns = monotonic_ns();
        let mut limit = Limit::first_token(begin_ns, timeouts);
        connection.set_deadline(limit.at_ns);
        let sent = connection.send(request);
        self.answer.reset(Expect { stream: true, keep_text: true });
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = connection.read(&mut buffer).map_err(|error| match &sent {
                _ if error.kind() == std::io::ErrorKind::TimedOut => limit.trouble(),
                // What broke first says more, unless the server answered before it hung up.
                Err(first) if self.bytes == 0 => io_trouble(first),
                _ => io_trouble(&error),
            })?;
            let now = monotonic_ns();
            let mut token = false;
            let progress = self.take(&buffer[..count], &mut token).map_err(|failure| {
                Trouble::of_answer(&failure, &target.endpoints[endpoint].endpoint)
            })?;
            if token {
                self.first.get_or_insert(now);
                limit = Limit::gap(begin_ns, now, timeouts);
                connection.set_deadline(limit.at_ns);
            }
            if let Progress::Done { .. } = progress {
                return self.complete().map(|()| (begin_ns, now));
            }
        }
    }

    fn take(&mut self, bytes: &[u8], token: &mut bool) -> Result<Progress, Failure> {
        self.bytes += bytes.len();
        let room = TRANSCRIPT_BYTES - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let mut on = |event| {
            if let Event::Chunk(chunk) = event {
                *token |= chunk.token_bearing();
            }
        };
        if bytes.is_empty() {
            return self.answer.end_of_file(&mut on);
        }
        self.answer.feed(bytes, &mut on)
    }

    fn complete(&self) -> Result<(), Trouble> {
        if self.answer.facts().ended == Ended::WithoutFinish {
            let why = "the stream ended with neither a finish reason nor [DONE]";
            return Err(Trouble::new(ErrorKind::EofMidStream, why.to_owned()));
        }
        Ok(())
    }

    fn transcript(&self, target: &Target, request: &[u8], body_bytes: usize) -> Transcript {
        let head_bytes = request.len() - body_bytes;
        let shown = request.len().min(head_bytes + TRANSCRIPT_BYTES);
        let text = |bytes: &[u8]| target.masked(&String::from_utf8_lossy(bytes));
        Transcript {
            request: text(&request[..shown]),
            answer: text(&self.kept),
            left_out_bytes: (request.len() - shown, self.bytes - self.kept.len()),
        }
    }
}

/// The time limit that is nearest.
struct Limit {
    at_ns: u64,
    kind: ErrorKind,
}

impl Limit {
    fn first_token(begin_ns: u64, timeouts: &Timeouts) -> Self {
        let at_ns = begin_ns.saturating_add(timeouts.first_token_ns);
        Self { at_ns, kind: ErrorKind::FirstTokenTimeout }.or_total(begin_ns, timeouts)
    }

    fn gap(begin_ns: u64, now_ns: u64, timeouts: &Timeouts) -> Self {
        let at_ns = now_ns.saturating_add(timeouts.gap_ns);
        Self { at_ns, kind: ErrorKind::GapTimeout }.or_total(begin_ns, timeouts)
    }

    fn or_total(self, begin_ns: u64, timeouts: &Timeouts) -> Self {
        let total_ns = begin_ns.saturating_add(timeouts.total_ns);
        if total_ns >= self.at_ns {
            return self;
        }
        Self { at_ns: total_ns, kind: ErrorKind::TotalTimeout }
    }

    fn trouble(&self) -> Trouble {
        let what = match self.kind {
            ErrorKind::FirstTokenTimeout => "no first token",
            ErrorKind::GapTimeout => "no further token",
            _ => "no complete answer",
        };
        Trouble::new(self.kind, format!("{what} within the time limit"))
    }
}
