//! Cost of decoding an event, by what it is and by which path it takes.
//!
//! Each sample decodes one answer of 1,000 events, a chunk each; divide by 1,000 for an event (or
//! read "item" throughput).

use divan::{Bencher, black_box, counter::ItemsCount};
use loadline_serving::answer::{Answer, Event, Expect};

const EVENTS: usize = 1_000;

fn main() {
    divan::main();
}

/// An answer whose events are made from their number, `per_read` events in each read.
fn reads(per_read: usize, event: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let framed = |body: &str| format!("{:x}\r\n{body}\r\n", body.len()).into_bytes();
    let mut reads = vec![head.as_bytes().to_vec()];
    let numbers: Vec<usize> = (0..EVENTS).collect();
    for group in numbers.chunks(per_read) {
        reads
            .push(group.iter().flat_map(|&n| framed(&format!("data: {}\n\n", event(n)))).collect());
    }
    reads.push([framed("data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat());
    reads
}

const TOKENS: [&str; 8] = [" the", " most", ",", " obvious", "1", " colour", " is", "."];

/// A chat chunk as vLLM and llama.cpp send it (250 bytes), with something at its end.
fn chat(text: &str, tail: &str) -> String {
    format!(
        "{{\"id\":\"chatcmpl-a53d22847ec5cba7\",\"object\":\"chat.completion.chunk\",\
         \"created\":1795486768,\"model\":\"dummy-135m\",\"choices\":[{{\"index\":0,\"delta\":\
         {{\"content\":\"{text}\"}},\"logprobs\":null,\"finish_reason\":null,\"token_ids\":null}}]{tail}}}"
    )
}

fn decode(bencher: Bencher<'_, '_>, fast_path: bool, reads: &[Vec<u8>]) {
    let mut answer = Answer::new();
    answer.set_fast_path(fast_path);
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        answer.reset(Expect { stream: true, keep_text: false });
        let mut tokens = 0_u32;
        for read in reads {
            let mut on = |event: Event| {
                if let Event::Chunk(facts) = event {
                    tokens += u32::from(facts.token_bearing());
                }
            };
            black_box(answer.feed(black_box(read), &mut on)).expect("a good answer");
        }
        assert_eq!(tokens as usize, EVENTS);
    });
}

/// Events that repeat but for their text: the usual stream.
#[divan::bench(args = [1, 16])]
fn repeated(bencher: Bencher<'_, '_>, per_read: usize) {
    decode(bencher, true, &reads(per_read, |n| chat(TOKENS[n % 8], "")));
}

/// The same with every event parsed in full.
#[divan::bench(args = [1, 16])]
fn parsed(bencher: Bencher<'_, '_>, per_read: usize) {
    decode(bencher, false, &reads(per_read, |n| chat(TOKENS[n % 8], "")));
}

/// A usage object that changes with each event: the fast path never fits.
#[divan::bench]
fn usage_in_each(bencher: Bencher<'_, '_>) {
    let usage = |n| {
        format!(
            ",\"usage\":{{\"prompt_tokens\":24,\"total_tokens\":{n},\"completion_tokens\":{n}}}"
        )
    };
    decode(bencher, true, &reads(1, |n| chat(TOKENS[n % 8], &usage(n))));
}

/// A text whose escapes keep it from the fast path.
#[divan::bench]
fn escaped(bencher: Bencher<'_, '_>) {
    decode(bencher, true, &reads(1, |_| chat("\\n", "")));
}

/// The members that a chunk is read for, as a type.
#[derive(serde::Deserialize)]
struct Typed<'a> {
    id: &'a str,
    #[serde(borrow)]
    choices: Vec<TypedChoice<'a>>,
    usage: Option<TypedUsage>,
}

#[derive(serde::Deserialize)]
struct TypedChoice<'a> {
    #[serde(borrow)]
    delta: TypedDelta<'a>,
    finish_reason: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct TypedDelta<'a> {
    #[serde(borrow)]
    content: Option<std::borrow::Cow<'a, str>>,
    reasoning_content: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct TypedUsage {
    completion_tokens: u32,
}

/// Reference: the JSON of the same events alone, by serde_json into a type.
#[divan::bench]
fn reference_serde_json(bencher: Bencher<'_, '_>) {
    let documents: Vec<String> = (0..EVENTS).map(|n| chat(TOKENS[n % 8], "")).collect();
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        let mut tokens = 0;
        for document in &documents {
            let chunk: Typed<'_> = serde_json::from_slice(document.as_bytes()).expect("a chunk");
            let choice = &chunk.choices[0];
            let text = choice.delta.content.as_deref().or(choice.delta.reasoning_content);
            tokens += usize::from(text.is_some_and(|text| !text.is_empty()));
            black_box((chunk.id, choice.finish_reason, chunk.usage.map(|u| u.completion_tokens)));
        }
        assert_eq!(tokens, EVENTS);
    });
}
