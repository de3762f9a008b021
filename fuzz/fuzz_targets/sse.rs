//! Server-sent events: the same events however the bytes are cut, and as a plain reading of the
//! standard has them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadline_serving::answer::sse::{Splitter, SseEvent};

type Owned = (Vec<u8>, bool);

fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Owned> {
    let mut splitter = Splitter::default();
    let mut events = Vec::new();
    for mut piece in pieces {
        while let Some(event) = splitter.next(&mut piece).expect("short events") {
            check_raw(event);
            events.push((event.data.to_vec(), event.is_error));
        }
    }
    let last = splitter.finish().expect("short events");
    events.extend(last.map(|event| (event.data.to_vec(), event.is_error)));
    events
}

/// The raw bytes of an event are that event, at the begin of any stream position.
fn check_raw(event: SseEvent<'_>) {
    let Some(raw) = event.raw else { return };
    let again = plain(&[b"x\n", raw].concat());
    assert_eq!(again, [(event.data.to_vec(), event.is_error)]);
}

/// The standard word for word: lines, then fields, then events. An event without its empty line
/// counts too, as the decoder leaves judging it to its caller.
fn plain(bytes: &[u8]) -> Vec<Owned> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\r' | b'\n' => {
                lines.push(std::mem::take(&mut line));
                at += usize::from(text[at..].starts_with(b"\r\n"));
            }
            byte => line.push(byte),
        }
        at += 1;
    }
    lines.extend([line, Vec::new()]);
    let mut events = Vec::new();
    let mut data: Option<Vec<u8>> = None;
    let mut is_error = false;
    for line in lines {
        if line.is_empty() {
            let error = std::mem::take(&mut is_error);
            events.extend(data.take().map(|data| (data, error)));
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => is_error = value == b"error",
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            },
            _ => {}
        }
    }
    events
}

fuzz_target!(|input: &[u8]| {
    let Some((&length, bytes)) = input.split_first() else { return };
    let expected = plain(bytes);
    assert_eq!(split(std::iter::once(bytes)), expected, "whole");
    assert_eq!(split(bytes.chunks(1 + usize::from(length))), expected, "cut");
    assert_eq!(split(bytes.chunks(1)), expected, "byte by byte");
});
