//! Properties: facts do not depend on how bytes are cut nor on the fast path, and nothing panics.

use loadline_serving::answer::{Answer, Expect};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::wire::{Decoded, EVENT_HEAD, decode_with, push_chunk};

/// Texts as they stand in JSON: plain ones, escapes, look-alikes of structure, wrong escapes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ a-zé日🦀{}:,]{1,6}",
        1 => Just(String::new()),
        1 => Just(r#"\",\"content\":\""#.to_owned()),
        1 => Just(r#"\"}}]}"#.to_owned()),
        1 => r#"(\\n|\\\\|\\"|\\u00e9|\\ud800|x){1,4}"#,
        1 => Just(r#""},"content":""#.to_owned()),
        1 => Just("\\q".to_owned()),
        1 => Just("\u{1}".to_owned()),
    ]
}

/// Documents of one chunk; few shapes, so that neighbours often differ in their text alone.
fn document() -> impl Strategy<Value = String> {
    let chat = |t| format!(r#"{{"id":"a","choices":[{{"index":0,"delta":{{"content":"{t}"}}}}]}}"#);
    let twice = |(a, b)| {
        format!(r#"{{"choices":[{{"index":0,"text":"{a}"}},{{"index":1,"text":"{b}"}}]}}"#)
    };
    let duplicate =
        |(a, b)| format!(r#"{{"choices":[{{"delta":{{"content":"{a}","content":"{b}"}}}}]}}"#);
    let both = |(a, b)| {
        format!(r#"{{"choices":[{{"delta":{{"reasoning":"{a}","reasoning_content":"{b}"}}}}]}}"#)
    };
    let usage =
        |(t, n)| format!(r#"{{"choices":[{{"text":"{t}"}}],"usage":{{"completion_tokens":{n}}}}}"#);
    let finish = |(t, r)| format!(r#"{{"choices":[{{"text":"{t}","finish_reason":"{r}"}}]}}"#);
    let tool = |t| {
        format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{"function":{{"arguments":"{t}"}}}}]}}}}]}}"#
        )
    };
    prop_oneof![
        8 => text().prop_map(chat),
        2 => text().prop_map(|t| format!(r#"{{"choices":[{{"delta":{{"reasoning_content":"{t}"}}}}]}}"#)),
        2 => text().prop_map(|t| format!(r#"{{"choices":[{{"index":1,"text":"{t}"}}]}}"#)),
        1 => text().prop_map(|t| format!(r#"{{"id":"{t}","model":"m","choices":[{{"text":"x"}}]}}"#)),
        1 => (text(), text()).prop_map(twice),
        1 => (text(), text()).prop_map(duplicate),
        1 => (text(), text()).prop_map(both),
        1 => (text(), 0..4_u32).prop_map(usage),
        1 => (text(), "stop|length|[a-b]").prop_map(finish),
        1 => text().prop_map(tool),
        1 => Just(r#"{"choices":[{"delta":{"content":null}}],"usage":null}"#.to_owned()),
        1 => Just(r#"{"choices":[],"timings":{"cache_n":1,"prompt_n":2,"predicted_n":3}}"#.to_owned()),
        1 => Just(r#"{"choices":[{"delta":{"content":[{"type":"text","text":"p"}]}}]}"#.to_owned()),
    ]
}

/// How an event stands in the stream.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Line,
    Typed,
    Commented,
    SeveralLines,
    Ping,
    NoData,
    Empty,
    Done,
}

/// The bytes of one event, its empty line included.
fn event_bytes(document: &str, shape: Shape, end: &str) -> Vec<u8> {
    let lines: Vec<String> = match shape {
        Shape::Line => vec![format!("data: {document}")],
        Shape::Typed => vec!["event: message".to_owned(), format!("data:{document}")],
        Shape::Commented => vec![format!("data: {document}"), ": comment".to_owned()],
        Shape::SeveralLines => {
            document.split_inclusive(',').map(|part| format!("data: {part}")).collect()
        }
        Shape::Ping => vec![": ping".to_owned()],
        Shape::NoData => vec!["data:".to_owned()],
        Shape::Empty => Vec::new(),
        Shape::Done => vec!["data: [DONE]".to_owned()],
    };
    lines.iter().flat_map(|line| [line, end].concat().into_bytes()).chain(end.bytes()).collect()
}

/// Events made from few documents, so that they come again after others.
fn events() -> impl Strategy<Value = Vec<u8>> {
    let shape = prop_oneof![
        40 => Just(Shape::Line),
        4 => Just(Shape::Typed),
        2 => Just(Shape::Commented),
        2 => Just(Shape::SeveralLines),
        2 => Just(Shape::Ping),
        2 => Just(Shape::NoData),
        2 => Just(Shape::Empty),
        1 => Just(Shape::Done),
    ];
    let end = prop_oneof![8 => Just("\n"), 2 => Just("\r\n"), 1 => Just("\r")];
    let documents = proptest::collection::vec(document(), 1..4);
    let order = proptest::collection::vec((any::<Index>(), shape, end), 0..24);
    (documents, order).prop_map(|(documents, order)| {
        let event = |(which, shape, end): &(Index, Shape, &str)| {
            event_bytes(&documents[which.index(documents.len())], *shape, end)
        };
        order.iter().flat_map(event).collect()
    })
}

/// A body: events, sometimes with wrong bytes, then some kind of end.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![
        4 => Just("data: [DONE]\n\n"),
        1 => Just("data: [DONE]"),
        1 => Just("data: {\"choices\":[{\"text\":\"a\"}]}"),
        1 => Just("data: {\"choi"),
        1 => Just("data: {\"error\":{\"message\":\"m\"}}\n\n"),
        1 => Just("event: error\ndata: x\n\n"),
        1 => Just(""),
    ];
    let wrong = proptest::option::weighted(0.1, (any::<Index>(), any::<u8>()));
    let mark = proptest::bool::weighted(0.1);
    (events(), end, wrong, mark).prop_map(|(events, end, wrong, mark)| {
        let mut body = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        body.extend(events);
        body.extend_from_slice(end.as_bytes());
        if let Some((at, byte)) = wrong.filter(|_| !body.is_empty()) {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body
    })
}

#[derive(Debug, Clone)]
enum Frame {
    Chunks(Vec<usize>),
    Length,
    UntilClose,
}

/// A whole answer, and sometimes only its begin or more than it.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![
        3 => proptest::collection::vec(1..200_usize, 1..8).prop_map(Frame::Chunks),
        1 => Just(Frame::Length),
        1 => Just(Frame::UntilClose),
    ];
    let cut = proptest::option::weighted(0.2, any::<Index>());
    (body(), frame, cut, "(HTTP)?").prop_map(|(body, frame, cut, tail)| {
        let mut bytes = EVENT_HEAD.as_bytes().to_vec();
        match frame {
            Frame::Chunks(sizes) => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                let mut rest = &body[..];
                for size in sizes.iter().cycle() {
                    let Some((chunk, more)) = rest.split_at_checked(*size) else { break };
                    push_chunk(&mut bytes, chunk);
                    rest = more;
                }
                if !rest.is_empty() {
                    push_chunk(&mut bytes, rest);
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            Frame::Length => {
                bytes.extend_from_slice(
                    format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
                );
                bytes.extend_from_slice(&body);
            }
            Frame::UntilClose => {
                bytes.extend_from_slice(b"\r\n");
                bytes.extend_from_slice(&body);
                return bytes;
            }
        }
        bytes.extend_from_slice(tail.as_bytes());
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

/// Pieces of the bytes, none empty.
fn pieces<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    sizes.iter().cycle().map_while(move |&size| {
        let (piece, more) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What must not depend on the cuts: all but how many bytes of a broken answer were quoted, and
/// whether a tail arrived with the last byte.
fn essence(mut decoded: Decoded) -> Decoded {
    decoded.reusable = false;
    if let Err(failure) = &mut decoded.result
        && failure.kind.as_str() == "bad_http"
    {
        failure.detail.clear();
    }
    decoded
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn facts_do_not_depend_on_cuts_or_fast_path(
        bytes in answer(),
        sizes in proptest::collection::vec(prop_oneof![1..4_usize, 1..400_usize], 1..6),
        keep_text: bool,
    ) {
        let expect = Expect { stream: true, keep_text };
        let mut answer = Answer::new();
        let whole = essence(decode_with(&mut answer, expect, [&bytes[..]]));
        let cut = essence(decode_with(&mut answer, expect, pieces(&bytes, &sizes)));
        prop_assert_eq!(&cut, &whole);
        let single = essence(decode_with(&mut answer, expect, bytes.chunks(1)));
        prop_assert_eq!(&single, &whole);
        let mut plain = Answer::new();
        plain.set_fast_path(false);
        prop_assert_eq!(essence(decode_with(&mut plain, expect, [&bytes[..]])), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        begin in 0..4_usize,
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        cut in 1..50_usize,
    ) {
        let head = [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ",
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        ][begin];
        let bytes = [head.as_bytes(), &noise].concat();
        let expect = Expect { stream: true, keep_text: true };
        let mut answer = Answer::new();
        let whole = essence(decode_with(&mut answer, expect, [&bytes[..]]));
        prop_assert_eq!(essence(decode_with(&mut answer, expect, bytes.chunks(cut))), whole);
    }
}
