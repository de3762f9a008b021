//! Streams and answers of real servers: llama.cpp b11434 (SmolLM2-135M) and vLLM 0.32.0 (CPU, random
//! weights), shortened by leaving out events in the middle.

use loadline_serving::answer::{Answer, ChunkFacts, Ended, Expect, FinishReason, Usage};

use crate::wire::{Decoded, chunked, decode, decode_as, decode_with, response};

const CONTENT: ChunkFacts = ChunkFacts {
    content: true,
    reasoning: false,
    tool_call: false,
    finish: false,
    completion_tokens: None,
};
const NOTHING: ChunkFacts = ChunkFacts { content: false, ..CONTENT };

/// A stream with every event in a chunk of its own.
fn framed(events: &str) -> Vec<u8> {
    chunked(events.split_inclusive("\n\n"))
}

fn ends_well(decoded: &Decoded) {
    assert_eq!(decoded.result, Ok(0));
    assert_eq!(decoded.facts.ended, Ended::DoneMarker);
    assert_eq!(decoded.facts.finish_reason, Some(FinishReason::Length));
    assert!(decoded.facts.streamed && decoded.reusable);
}

#[test]
fn llama_chat() {
    let decoded = decode(&framed(include_str!("../fixtures/llama-chat.sse")));
    ends_well(&decoded);
    let last = ChunkFacts { completion_tokens: Some(24), ..NOTHING };
    let finish = ChunkFacts { finish: true, ..NOTHING };
    assert_eq!(decoded.chunks(), [NOTHING, CONTENT, CONTENT, CONTENT, finish, last]);
    let facts = &decoded.facts;
    assert_eq!(facts.id, "chatcmpl-tT0opq3TO8AmP81rODWtGDePL3BJk7Fj");
    assert_eq!(facts.model, "smollm2-135m");
    assert_eq!(facts.text, "1. Red");
    assert_eq!((facts.events, facts.token_events), (6, 3));
    let usage = Usage {
        prompt_tokens: Some(34),
        completion_tokens: Some(24),
        reasoning_tokens: None,
        cached_tokens: Some(0),
    };
    assert_eq!((facts.usage, facts.timings), (usage, usage));
}

#[test]
fn llama_chat_with_timings_per_token_counts_each_chunk() {
    let decoded = decode(&framed(include_str!("../fixtures/llama-chat-timings.sse")));
    ends_well(&decoded);
    let counts: Vec<_> = decoded.chunks().iter().map(|chunk| chunk.completion_tokens).collect();
    assert_eq!(counts, [None, Some(1), Some(2), Some(3), None, Some(24)]);
    assert_eq!(decoded.facts.timings.prompt_tokens, Some(34));
    assert_eq!(decoded.facts.cached_tokens(), Some(33));
}

#[test]
fn llama_completions_with_usage_on_the_last_chunk_with_choices() {
    let decoded = decode(&framed(include_str!("../fixtures/llama-completions.sse")));
    ends_well(&decoded);
    assert_eq!(decoded.facts.text, " Paris.\n");
    assert_eq!(decoded.facts.token_events, 3);
    let last = decoded.chunks()[3];
    assert_eq!(last, ChunkFacts { finish: true, completion_tokens: Some(16), ..NOTHING });
    assert_eq!(decoded.facts.completion_tokens(), Some(16));
}

#[test]
fn vllm_chat_with_empty_contents() {
    let decoded = decode(&framed(include_str!("../fixtures/vllm-chat.sse")));
    ends_well(&decoded);
    assert_eq!((decoded.facts.events, decoded.facts.token_events), (5, 0));
    assert_eq!(decoded.facts.id, "chatcmpl-a53d22847ec5cba7");
    assert_eq!(decoded.facts.prompt_tokens(), Some(36));
    assert_eq!(decoded.facts.cached_tokens(), None);
}

#[test]
fn vllm_completions_with_usage_on_each_chunk() {
    let decoded = decode(&framed(include_str!("../fixtures/vllm-completions-usage.sse")));
    ends_well(&decoded);
    let counts: Vec<_> = decoded.chunks().iter().map(|chunk| chunk.completion_tokens).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5, 16, 16].map(Some));
    let content: Vec<_> = decoded.chunks().iter().map(|chunk| chunk.content).collect();
    assert_eq!(content, [false, true, false, true, false, true, false]);
}

#[test]
fn answers_without_stream() {
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let expect = Expect { stream: false, keep_text: true };
    let chat = include_str!("../fixtures/llama-chat.json");
    let decoded = decode_as(expect, &response("200 OK", json, chat));
    assert_eq!(decoded.result, Ok(0));
    assert_eq!(decoded.facts.ended, Ended::Finish);
    assert!(!decoded.facts.streamed && decoded.reusable);
    assert_eq!((decoded.facts.events, decoded.facts.token_events), (1, 1));
    assert!(decoded.facts.text.starts_with("1. Red: The most obvious colour"));
    assert_eq!(decoded.facts.completion_tokens(), Some(24));
    assert_eq!(decoded.facts.model, "smollm2-135m");

    let two = include_str!("../fixtures/llama-completions-2prompts.json");
    let decoded = decode_as(expect, &response("200 OK", json, two));
    assert_eq!(decoded.facts.text, ", 12");
    assert_eq!(decoded.facts.finish_reason, Some(FinishReason::Length));

    let vllm = include_str!("../fixtures/vllm-completions.json");
    let decoded = decode_as(expect, &response("200 OK", json, vllm));
    assert_eq!((decoded.facts.events, decoded.facts.token_events), (1, 0));
    assert_eq!(decoded.facts.completion_tokens(), Some(64));
}

#[test]
fn llama_refuses_a_bad_request() {
    let decoded = decode(include_bytes!("../fixtures/llama-error-400.http"));
    let failure = decoded.failure();
    assert_eq!(failure.kind.as_str(), "http_4xx");
    assert_eq!(failure.status, Some(400));
    assert_eq!(failure.server_message(), Some("Expected 'messages' to be an array"));
    assert!(!decoded.reusable, "the server said close");
}

#[test]
fn one_decoder_serves_many_answers() {
    let mut answer = Answer::new();
    let chat = framed(include_str!("../fixtures/llama-chat.sse"));
    let completions = framed(include_str!("../fixtures/vllm-completions-usage.sse"));
    let error = include_bytes!("../fixtures/llama-error-400.http");
    for bytes in [&chat[..], error, &completions, &chat[..chat.len() / 2], &completions] {
        let again = decode_with(&mut answer, crate::wire::STREAM, [bytes]);
        assert_eq!(again, decode_with(&mut Answer::new(), crate::wire::STREAM, [bytes]));
    }
}
