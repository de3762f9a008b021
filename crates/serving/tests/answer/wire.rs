//! What the tests share: bytes of answers as they come over the wire, and decoding them in pieces.

use loadline_serving::answer::{
    Answer, ChunkFacts, Event, Expect, Facts, Failure, Framing, Head, Progress,
};

/// An expected stream whose text is kept.
pub(crate) const STREAM: Expect = Expect { stream: true, keep_text: true };

/// Everything that decoding an answer yields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) events: Vec<Event>,
    /// Bytes left over, or the failure.
    pub(crate) result: Result<usize, Failure>,
    pub(crate) facts: Facts,
    pub(crate) head: Option<Head>,
    pub(crate) reusable: bool,
}

impl Decoded {
    pub(crate) fn chunks(&self) -> Vec<ChunkFacts> {
        let chunk = |event: &Event| match event {
            Event::Chunk(facts) => Some(*facts),
            _ => None,
        };
        self.events.iter().filter_map(chunk).collect()
    }

    pub(crate) fn failure(&self) -> &Failure {
        self.result.as_ref().expect_err("this answer fails")
    }
}

/// Feeds `pieces` to `answer` up to its end; then the peer closes.
pub(crate) fn decode_with<'a>(
    answer: &mut Answer,
    expect: Expect,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Decoded {
    answer.reset(expect);
    let mut events = Vec::new();
    let mut on = |event| events.push(event);
    let mut pieces = pieces.into_iter();
    let mut progress = Ok(Progress::NeedMore);
    while progress == Ok(Progress::NeedMore)
        && let Some(piece) = pieces.next()
    {
        progress = answer.feed(piece, &mut on);
    }
    // A body without framing may end at [DONE]; what follows belongs to it still.
    let framed = answer.head().is_none_or(|head| head.framing != Framing::UntilClose);
    let unread = if framed { pieces.map(<[u8]>::len).sum() } else { 0 };
    let result = match progress {
        Ok(Progress::NeedMore) => answer.end_of_file(&mut on),
        other => other,
    };
    let result = result.map(|progress| match progress {
        Progress::Done { leftover } => leftover + unread,
        Progress::NeedMore => panic!("more is wanted after the end of file"),
    });
    Decoded {
        events,
        result,
        facts: answer.facts().clone(),
        head: answer.head().cloned(),
        reusable: answer.connection_reusable(),
    }
}

/// Decodes an answer in one piece and byte by byte, with and without the fast path: all the same.
pub(crate) fn decode_as(expect: Expect, bytes: &[u8]) -> Decoded {
    let mut answer = Answer::new();
    let whole = decode_with(&mut answer, expect, [bytes]);
    let mut same = |cut: usize| {
        let pieces = decode_with(&mut answer, expect, bytes.chunks(cut));
        let leftover = |decoded: &Decoded| decoded.result.as_ref().ok().copied();
        assert_eq!(pieces.events, whole.events, "pieces of {cut}");
        assert_eq!(pieces.facts, whole.facts, "pieces of {cut}");
        assert_eq!(pieces.head, whole.head, "pieces of {cut}");
        assert_eq!(leftover(&pieces), leftover(&whole), "pieces of {cut}");
        let kind = |decoded: &Decoded| decoded.result.as_ref().err().map(|failure| failure.kind);
        assert_eq!(kind(&pieces), kind(&whole), "pieces of {cut}");
    };
    if bytes.len() < 100_000 {
        (1..40).for_each(&mut same);
    } else {
        [4_093, 65_536].into_iter().for_each(&mut same);
    }
    answer.set_fast_path(false);
    assert_eq!(decode_with(&mut answer, expect, [bytes]), whole, "fast path off");
    whole
}

pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    decode_as(STREAM, bytes)
}

/// A stream in one chunk, with the events' lines as given and each event's empty line added.
pub(crate) fn stream(events: &[&str]) -> Vec<u8> {
    chunked(events.iter().map(|event| format!("{event}\n\n")))
}

/// A stream of `data:` events with this JSON, then `[DONE]`.
pub(crate) fn json_stream(documents: &[&str]) -> Vec<u8> {
    let events = documents.iter().copied().chain(["[DONE]"]);
    chunked(events.map(|event| format!("data: {event}\n\n")))
}

/// A stream whose chunks are these.
pub(crate) fn chunked(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut bytes = EVENT_HEAD.as_bytes().to_vec();
    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    for chunk in chunks {
        push_chunk(&mut bytes, chunk.as_ref());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

pub(crate) const EVENT_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";

pub(crate) fn push_chunk(to: &mut Vec<u8>, body: &[u8]) {
    to.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
    to.extend_from_slice(body);
    to.extend_from_slice(b"\r\n");
}

/// An answer with this status line and headers, and a body of known length.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}
