//! A whole answer: the same facts however its bytes are cut, and with or without the fast path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadline_serving::answer::{
    Answer, Event, Expect, Facts, Failure, FailureKind, Framing, Head, Progress,
};

/// What the bytes lie behind, so that a run need not find a head first.
const HEADS: [&str; 4] = [
    "",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {\"id\":\"1\",\"choices\":[{\"text\":\"a\"}]}\n\n",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
];

#[derive(Debug, PartialEq)]
struct Decoded {
    events: Vec<Event>,
    result: Result<usize, Failure>,
    facts: Facts,
    head: Option<Head>,
}

fn decode<'a>(
    answer: &mut Answer,
    expect: Expect,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Decoded {
    answer.reset(expect);
    let mut events = Vec::new();
    let mut on = |event| events.push(event);
    let mut pieces = pieces;
    let mut progress = Ok(Progress::NeedMore);
    while progress == Ok(Progress::NeedMore) {
        let Some(piece) = pieces.next() else {
            progress = answer.end_of_file(&mut on);
            break;
        };
        progress = answer.feed(piece, &mut on);
    }
    // A body without framing may end at [DONE]; what follows belongs to it still.
    let framed = answer.head().is_none_or(|head| head.framing != Framing::UntilClose);
    let unread = if framed { pieces.map(<[u8]>::len).sum() } else { 0 };
    let mut result = progress.map(|progress| match progress {
        Progress::Done { leftover } => leftover + unread,
        Progress::NeedMore => panic!("more is wanted after the end of file"),
    });
    if let Err(failure) = &mut result {
        assert!(failure.detail.chars().count() <= 300);
        if failure.kind == FailureKind::BadHttp {
            // It quotes what had arrived by then.
            failure.detail.clear();
        }
    }
    Decoded { events, result, facts: answer.facts().clone(), head: answer.head().cloned() }
}

/// Pieces of the bytes whose lengths are these, over and over.
fn cut<'a>(bytes: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    lengths.iter().cycle().map_while(move |&length| {
        let (piece, more) = rest.split_at((1 + usize::from(length)).min(rest.len()));
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, ref lengths @ ..], body)) = input.split_first_chunk::<4>() else { return };
    let bytes = [HEADS[usize::from(choice % 4)].as_bytes(), body].concat();
    let expect = Expect { stream: choice & 4 == 0, keep_text: choice & 8 == 0 };
    let mut answer = Answer::new();
    let whole = decode(&mut answer, expect, std::iter::once(bytes.as_slice()));
    assert_eq!(decode(&mut answer, expect, cut(&bytes, lengths)), whole, "cut");
    assert_eq!(decode(&mut answer, expect, bytes.chunks(1)), whole, "byte by byte");
    answer.set_fast_path(false);
    let plain = decode(&mut answer, expect, std::iter::once(bytes.as_slice()));
    assert_eq!(plain, whole, "fast path off");
});
