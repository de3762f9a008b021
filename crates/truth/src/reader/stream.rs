//! One stream of the bare reader: counting events and finding the end, byte by byte. Pure.

use memchr::{memchr_iter, memmem};

use super::result::TokenRead;

/// The last chunk of a chunked body, after the line end of the one before.
const END: [u8; 7] = *b"\r\n0\r\n\r\n";

/// What a read did to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It goes on.
    More,
    /// The answer is whole.
    End,
    /// Not the head of a stream with status 200.
    Strange,
}

/// State of the answer that a connection is reading; reused from answer to answer.
#[derive(Debug, Default)]
pub(super) struct Stream {
    head_seen: bool,
    tail: [u8; 7],
    /// Whether the body so far ends with a newline that may begin an event's blank line.
    newline: bool,
    /// Events so far.
    pub(super) events: u32,
    /// The hex digits of the answer's id, once seen.
    pub(super) answer: Option<u64>,
    /// Each read with body, and the events that were whole after it.
    pub(super) reads: Vec<TokenRead>,
}

impl Stream {
    /// Forgets the last answer.
    pub(super) fn restart(&mut self) {
        let mut reads = std::mem::take(&mut self.reads);
        reads.clear();
        *self = Self { reads, ..Self::default() };
    }

    /// Takes the bytes of one read that arrived `after_sent_ns` after the request was sent.
    pub(super) fn take(&mut self, bytes: &[u8], after_sent_ns: u64) -> Seen {
        let mut body = bytes;
        if !self.head_seen {
            if !bytes.starts_with(b"HTTP/1.1 200 ") {
                return Seen::Strange;
            }
            // The server writes its head at once: it is whole in the first read.
            let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Seen::Strange };
            self.head_seen = true;
            body = &bytes[end + 4..];
        }
        if body.is_empty() {
            return Seen::More;
        }
        if self.answer.is_none() {
            self.answer = answer_number(body);
        }
        self.count_events(body);
        self.reads.push(TokenRead::new(after_sent_ns, self.events));
        if let Some(last) = body.last_chunk() {
            self.tail = *last;
        } else {
            self.tail.rotate_left(body.len());
            self.tail[END.len() - body.len()..].copy_from_slice(body);
        }
        if self.tail == END { Seen::End } else { Seen::More }
    }

    /// Counts pairs of newlines, also across reads.
    fn count_events(&mut self, body: &[u8]) {
        let mut pending = self.newline;
        let mut next = 0;
        for at in memchr_iter(b'\n', body) {
            let closes = pending && at == next;
            self.events += u32::from(closes);
            pending = !closes;
            next = at + 1;
        }
        self.newline = pending && next == body.len();
    }

    /// Drops the reads at the end that brought no token, given that the last `trailing` events
    /// of an answer have none.
    pub(super) fn drop_trailing_reads(&mut self, trailing: u32) {
        let tokens = self.events.saturating_sub(trailing);
        while let [.., before, _] = self.reads[..]
            && before.events() >= tokens
        {
            self.reads.pop();
        }
        if let Some(last) = self.reads.last_mut() {
            *last = TokenRead::new(last.after_sent_ns(), tokens);
        }
    }
}

/// The number in the first `"id":"…-<16 hex digits>"`.
fn answer_number(body: &[u8]) -> Option<u64> {
    let start = memmem::find(body, b"\"id\":\"")? + 6;
    let rest = &body[start..];
    let end = memchr::memchr(b'"', rest)?;
    let digits = rest[..end].rsplit(|byte| *byte == b'-').next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Counts, Frame, STREAM_HEAD, TokenEvent};

    /// An answer of `tokens` events with usage and `[DONE]`.
    fn answer(tokens: u32) -> Vec<u8> {
        let mut out = STREAM_HEAD.to_vec();
        let mut frame = Frame::new(true, 0xbeef);
        for first in 0..tokens {
            let event = TokenEvent {
                first,
                tokens: 1,
                reasoning: None,
                role: first == 0,
                finish: None,
                usage: None,
            };
            frame.token(&event, &mut out);
        }
        frame.usage_chunk(Counts { prompt: 1, completion: tokens, reasoning: 0 }, &mut out);
        Frame::done(&mut out);
        out
    }

    #[test]
    fn events_are_counted_however_the_bytes_are_cut() {
        let bytes = answer(3);
        for piece in 1..bytes.len() - STREAM_HEAD.len() {
            let mut stream = Stream::default();
            let (head, body) = bytes.split_at(STREAM_HEAD.len());
            assert_eq!(stream.take(head, 0), Seen::More);
            let ends: Vec<Seen> = body.chunks(piece).map(|part| stream.take(part, 1)).collect();
            assert_eq!(ends.iter().position(|end| *end == Seen::End), Some(ends.len() - 1));
            assert_eq!(stream.events, 5, "pieces of {piece}");
            if piece > 200 {
                assert_eq!(stream.answer, Some(0xbeef));
            }
        }
    }

    #[test]
    fn reads_after_the_last_token_are_dropped_and_its_own_is_not() {
        let bytes = answer(2);
        let done = bytes.len() - b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n".len();
        let mut alone = Stream::default();
        alone.take(&bytes[..done], 10);
        assert_eq!(alone.take(&bytes[done..], 20), Seen::End);
        alone.drop_trailing_reads(2);
        assert_eq!(alone.reads, [TokenRead::new(10, 2)]);

        let mut together = Stream::default();
        assert_eq!(together.take(&bytes, 10), Seen::End);
        together.drop_trailing_reads(2);
        assert_eq!(together.reads, [TokenRead::new(10, 2)]);
    }

    #[test]
    fn an_error_is_not_taken_for_a_stream() {
        assert_eq!(Stream::default().take(b"HTTP/1.1 429 Busy\r\n\r\n", 0), Seen::Strange);
    }
}
