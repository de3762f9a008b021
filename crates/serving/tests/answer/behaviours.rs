//! Each behaviour of the decoder on good answers, by name.

use loadline_serving::answer::{ChunkFacts, Ended, Event, Expect, FinishReason, Framing, Usage};

use crate::wire::{EVENT_HEAD, chunked, decode, decode_as, json_stream, response, stream};

/// Facts of the only chunk of a stream.
fn chunk(document: &str) -> ChunkFacts {
    let decoded = decode(&json_stream(&[document]));
    assert_eq!(decoded.result, Ok(0), "{document}");
    assert_eq!(decoded.chunks().len(), 1, "{document}");
    decoded.chunks()[0]
}

fn bears_nothing(document: &str) {
    assert!(!chunk(document).token_bearing(), "{document}");
}

#[test]
fn a_role_only_first_chunk_bears_no_token() {
    bears_nothing(r#"{"choices":[{"delta":{"role":"assistant"}}]}"#);
    bears_nothing(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#);
}

#[test]
fn empty_and_null_content_bears_no_token() {
    bears_nothing(r#"{"choices":[{"delta":{"content":null}}]}"#);
    bears_nothing(r#"{"choices":[{"delta":{"content":""}}]}"#);
    bears_nothing(r#"{"choices":[{"text":""}]}"#);
    bears_nothing(r#"{"choices":[{"delta":null,"finish_reason":null}],"usage":null}"#);
    bears_nothing(r#"{"choices":[{"delta":{"content":7}}]}"#);
    bears_nothing(r#"{"choices":[{"delta":{"content":[]}}]}"#);
}

#[test]
fn empty_choices_are_no_token() {
    bears_nothing(r#"{"choices":[]}"#);
    bears_nothing(r#"{"choices":null}"#);
    bears_nothing("{}");
}

#[test]
fn content_of_either_api_bears_a_token() {
    assert!(chunk(r#"{"choices":[{"delta":{"content":"a"}}]}"#).content);
    assert!(chunk(r#"{"choices":[{"text":" "}]}"#).content);
    assert!(chunk(r#"{"choices":[{"delta":{"refusal":"no"}}]}"#).content);
    assert!(chunk(r#"{ "choices" : [ { "delta" : { "content" : "\n" } } ] }"#).content);
    assert!(chunk(r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"}]}}]}"#).content);
}

#[test]
fn usage_on_the_last_chunk_with_and_without_choices() {
    let usage = r#""usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,
        "prompt_tokens_details":{"cached_tokens":4},
        "completion_tokens_details":{"reasoning_tokens":2}}"#;
    let usage = usage.replace('\n', " ");
    let expected = Usage {
        prompt_tokens: Some(9),
        completion_tokens: Some(3),
        reasoning_tokens: Some(2),
        cached_tokens: Some(4),
    };
    let choice = r#"{"delta":{},"finish_reason":"stop"}"#;
    for choices in ["", r#""choices":[],"#, &format!(r#""choices":[{choice}],"#)] {
        let document = format!("{{{choices}{usage}}}");
        let decoded = decode(&json_stream(&[&document]));
        assert_eq!(decoded.facts.usage, expected, "{document}");
        assert_eq!(decoded.chunks()[0].completion_tokens, Some(3));
        assert!(!decoded.chunks()[0].token_bearing());
    }
}

#[test]
fn usage_of_other_dialects() {
    let usage = |text: &str| decode(&json_stream(&[&format!(r#"{{"usage":{text}}}"#)])).facts.usage;
    assert_eq!(usage(r#"{"reasoning_tokens":5}"#).reasoning_tokens, Some(5));
    assert_eq!(usage(r#"{"prompt_cache_hit_tokens":6}"#).cached_tokens, Some(6));
    assert_eq!(usage(r#"{"prompt_tokens":7.0,"completion_tokens":-1}"#).prompt_tokens, Some(7));
    let odd = r#"{"prompt_tokens":"7","completion_tokens":1e40,"prompt_tokens_details":[{}]}"#;
    assert_eq!(usage(odd), Usage::default());
}

#[test]
fn the_last_usage_counts_and_timings_stand_in() {
    let decoded = decode(&json_stream(&[
        r#"{"choices":[],"timings":{"cache_n":2,"prompt_n":5,"predicted_n":1}}"#,
        r#"{"choices":[],"usage":{"completion_tokens":1}}"#,
        r#"{"choices":[],"usage":{"completion_tokens":2},"timings":{"predicted_n":9}}"#,
    ]));
    let facts = &decoded.facts;
    assert_eq!(facts.completion_tokens(), Some(2));
    assert_eq!(facts.prompt_tokens(), Some(7));
    assert_eq!(facts.cached_tokens(), Some(2));
    assert_eq!(facts.reasoning_tokens(), None);
    assert_eq!(facts.timings.completion_tokens, Some(9));
}

#[test]
fn a_server_without_usage_leaves_counts_absent() {
    let decoded = decode(&json_stream(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#]));
    assert_eq!(decoded.facts.usage, Usage::default());
    assert_eq!(decoded.facts.completion_tokens(), None);
}

#[test]
fn several_tokens_in_one_chunk_are_told_by_its_usage() {
    let facts =
        chunk(r#"{"choices":[{"delta":{"content":"a b c"}}],"usage":{"completion_tokens":3}}"#);
    assert!(facts.content);
    assert_eq!(facts.completion_tokens, Some(3));
}

#[test]
fn reasoning_is_told_apart_under_either_name() {
    let decoded = decode(&json_stream(&[
        r#"{"choices":[{"delta":{"reasoning_content":"a","content":null}}]}"#,
        r#"{"choices":[{"delta":{"reasoning":"b","content":""}}]}"#,
        r#"{"choices":[{"delta":{"reasoning":"c","reasoning_content":"c"}}]}"#,
        r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"text":"d"}]}]}}]}"#,
        r#"{"choices":[{"delta":{"reasoning_content":"","content":"e"}}]}"#,
    ]));
    let kinds: Vec<_> = decoded.chunks().iter().map(|c| (c.reasoning, c.content)).collect();
    let (reasoning, content) = ((true, false), (false, true));
    assert_eq!(kinds, [reasoning, reasoning, reasoning, reasoning, content]);
    assert_eq!(decoded.facts.text, "de");
    assert_eq!(decoded.facts.reasoning_text, "abc");
}

#[test]
fn tool_call_deltas_bear_tokens() {
    for call in [
        r#"{"index":0,"id":"call_1","function":{"name":"","arguments":""}}"#,
        r#"{"index":0,"function":{"name":"f"}}"#,
        r#"{"index":0,"function":{"arguments":"{"}}"#,
        r#"{"index":0},{"index":1,"function":{"arguments":"{"}}"#,
    ] {
        let facts = chunk(&format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}"#));
        assert!(facts.tool_call && facts.token_bearing() && !facts.content, "{call}");
    }
    assert!(chunk(r#"{"choices":[{"delta":{"function_call":{"arguments":"{"}}}]}"#).tool_call);
    bears_nothing(r#"{"choices":[{"delta":{"tool_calls":null}}]}"#);
    bears_nothing(r#"{"choices":[{"delta":{"tool_calls":[]}}]}"#);
    bears_nothing(
        r#"{"choices":[{"delta":{"tool_calls":[{"id":"","function":{"arguments":""}}]}}]}"#,
    );
}

#[test]
fn several_choices_are_folded_and_the_first_ones_text_is_kept() {
    let decoded = decode(&json_stream(&[
        r#"{"choices":[{"delta":{"content":""},"index":0},{"delta":{"content":"x"},"index":1}]}"#,
        r#"{"choices":[{"delta":{"content":"y"},"index":1}]}"#,
        r#"{"choices":[{"delta":{"content":"a"},"index":0}]}"#,
        r#"{"choices":[{"delta":{"content":"z"},"index":1}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{}}]}"#,
    ]));
    assert_eq!(decoded.facts.token_events, 4);
    assert_eq!(decoded.facts.text, "a");
    assert_eq!(decoded.facts.finish_reason, Some(FinishReason::Stop));
}

#[test]
fn finish_reasons_are_told() {
    let reason = |word: &str| {
        let document = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{word}"}}]}}"#);
        let decoded = decode(&json_stream(&[&document]));
        assert!(decoded.chunks()[0].finish);
        decoded.facts.finish_reason.unwrap()
    };
    assert_eq!(reason("stop"), FinishReason::Stop);
    assert_eq!(reason("length"), FinishReason::Length);
    assert_eq!(reason("tool_calls"), FinishReason::ToolCalls);
    assert_eq!(reason("function_call"), FinishReason::ToolCalls);
    assert_eq!(reason("content_filter"), FinishReason::ContentFilter);
    assert_eq!(reason("abort").as_str(), "abort");
}

#[test]
fn done_with_or_without_newline_or_missing() {
    let first =
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";
    for done in ["data: [DONE]\n\n", "data: [DONE]\n", "data: [DONE]", "data:[DONE]\r\n\r\n"] {
        let decoded = decode(&chunked([first, done]));
        assert_eq!(decoded.facts.ended, Ended::DoneMarker, "{done:?}");
        assert!(decoded.facts.done_marker);
        assert_eq!(decoded.events.last(), Some(&Event::DoneMarker));
    }
    let decoded = decode(&chunked([first]));
    assert_eq!(decoded.facts.ended, Ended::Finish);
    assert!(!decoded.facts.done_marker);
}

#[test]
fn a_stream_that_ends_without_any_sign_is_told() {
    let decoded = decode(&stream(&[r#"data: {"choices":[{"delta":{"content":"a"}}]}"#]));
    assert_eq!(decoded.result, Ok(0));
    assert_eq!(decoded.facts.ended, Ended::WithoutFinish);
    assert_eq!(decode(&chunked([""; 0])).facts.ended, Ended::WithoutFinish);
}

#[test]
fn an_event_cut_at_the_end_of_the_body_is_dropped_and_a_whole_one_counts() {
    let event = r#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
    let cut = decode(&chunked([&event[..event.len() - 3]]));
    assert_eq!((cut.facts.events, cut.facts.ended), (0, Ended::WithoutFinish));
    assert_eq!(decode(&chunked([event])).facts.token_events, 1);
}

#[test]
fn what_follows_done_is_ignored() {
    let event = r#"data: {"choices":[{"text":"a"}]}"#;
    let after = ["data: {\"error\":1}", "data: x", "data: [DONE]", event];
    let decoded = decode(&stream(&[&["data: {}", event, "data: [DONE]"][..], &after].concat()));
    assert_eq!(decoded.result, Ok(0));
    assert_eq!((decoded.events.len(), decoded.facts.events), (4, 2));
}

#[test]
fn comments_pings_and_other_fields_are_no_chunks() {
    let decoded = decode(&stream(&[
        ": connected",
        "event: ping\ndata:",
        "event: message\nid: 1\nretry: 5\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n: c",
        ": ping",
        "data: [DONE]",
    ]));
    assert_eq!(decoded.result, Ok(0));
    assert_eq!((decoded.facts.events, decoded.facts.token_events), (1, 1));
}

#[test]
fn line_ends_of_all_kinds_and_a_byte_order_mark() {
    for end in ["\n", "\r\n", "\r"] {
        let event = r#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
        let body = format!("\u{feff}{event}{end}{end}{event}{end}{end}data: [DONE]{end}{end}");
        let decoded = decode(&chunked([body]));
        assert_eq!(decoded.facts.text, "aa", "{end:?}");
        assert_eq!(decoded.facts.ended, Ended::DoneMarker, "{end:?}");
    }
}

#[test]
fn data_on_several_lines_is_one_document() {
    let decoded = decode(&stream(&["data: {\"choices\":\ndata: [{\"text\":\"a\"}]\ndata: }"]));
    assert_eq!(decoded.facts.text, "a");
}

#[test]
fn characters_cut_in_the_middle_come_out_whole() {
    let decoded = decode(&json_stream(&[
        r#"{"choices":[{"delta":{"content":"日本"}}]}"#,
        r#"{"choices":[{"delta":{"content":"🦀é"}}]}"#,
    ]));
    assert_eq!(decoded.facts.text, "日本🦀é");
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    let event =
        |text: &[u8]| [&b"data: {\"choices\":[{\"text\":\""[..], text, b"\"}]}\n\n"].concat();
    let decoded = decode(&chunked([event(b"a"), event(b"\xff"), event(b"\xf0\x9f"), event(b"b")]));
    assert_eq!(decoded.result, Ok(0));
    assert_eq!(decoded.facts.token_events, 4);
    assert_eq!(decoded.facts.text, "a\u{fffd}\u{fffd}b");
}

#[test]
fn texts_that_look_like_json_do_not_fool_the_fast_path() {
    let texts = [
        r"plain",
        r#"\",\"content\":\"x"#,
        r#"\"}}]}"#,
        r"\\",
        r"\\\\\n",
        r"\u0041\ud83e\udd80",
        r"",
        r"{}[],:",
        r"after",
    ];
    let documents =
        texts.map(|text| format!(r#"{{"id":"1","choices":[{{"delta":{{"content":"{text}"}}}}]}}"#));
    let decoded = decode(&json_stream(&documents.each_ref().map(String::as_str)));
    let kept: String = texts
        .iter()
        .map(|text| serde_json::from_str::<String>(&format!("\"{text}\"")).unwrap())
        .collect();
    assert_eq!(decoded.facts.text, kept);
    assert_eq!((decoded.facts.events, decoded.facts.token_events), (9, 8));
}

#[test]
fn a_repeated_event_does_not_hide_a_change_of_state() {
    // Were the first of three remembered, the third would change nothing. (The very first event of
    // a stream is never remembered.)
    let last = |events: [&str; 3]| {
        let [first, between, again] = events;
        decode(&json_stream(&["{}", first, between, again])).facts
    };
    let one = r#"{"choices":[{"text":"a"}],"usage":{"completion_tokens":1}}"#;
    let two = r#"{"choices":[{"text":""}],"usage":{"completion_tokens":2}}"#;
    assert_eq!(last([one, two, one]).completion_tokens(), Some(1));
    let stop = r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#;
    let length = r#"{"choices":[{"text":"","finish_reason":"length"}]}"#;
    assert_eq!(last([stop, length, stop]).finish_reason, Some(FinishReason::Stop));
    let both = r#"{"choices":[{"text":"a"},{"index":1,"text":"b"}]}"#;
    assert_eq!(last([both, both, both]).text, "aaa");
}

#[test]
fn a_chunk_of_10_mb_is_one_event() {
    let text = "x".repeat(10_000_000);
    let decoded = decode(&json_stream(&[&format!(r#"{{"choices":[{{"text":"{text}"}}]}}"#)]));
    assert_eq!(decoded.result, Ok(0));
    assert_eq!(decoded.facts.text.len(), text.len());
    assert_eq!(decoded.facts.events, 1);
}

#[test]
fn chunk_borders_inside_events_make_no_difference() {
    let whole = json_stream(&[r#"{"choices":[{"text":"a"}]}"#, r#"{"choices":[{"text":"b"}]}"#]);
    let body: Vec<u8> = b"data: {\"choices\":[{\"text\":\"a\"}]}\n\n"
        .iter()
        .chain(b"data: {\"choices\":[{\"text\":\"b\"}]}\n\ndata: [DONE]\n\n")
        .copied()
        .collect();
    let expected = decode(&whole);
    for size in 1..body.len() {
        let decoded = decode(&chunked(body.chunks(size)));
        assert_eq!(decoded.events, expected.events);
        assert_eq!(decoded.facts, expected.facts);
    }
}

#[test]
fn a_body_of_known_length_ends_there() {
    let body = "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: [DONE]\n\n";
    let mut bytes = response("200 OK", "Content-Type: text/event-stream\r\n", body);
    let decoded = decode(&bytes);
    assert_eq!(decoded.result, Ok(0));
    assert!(decoded.reusable);
    bytes.extend_from_slice(b"HTTP");
    let decoded = decode(&bytes);
    assert_eq!(decoded.result, Ok(4), "leftover is told");
}

#[test]
fn what_follows_an_answer_in_the_same_read_makes_the_connection_unusable() {
    let mut bytes = json_stream(&["{}"]);
    bytes.extend_from_slice(b"x");
    let mut answer = loadline_serving::answer::Answer::new();
    let decoded = crate::wire::decode_with(&mut answer, crate::wire::STREAM, [&bytes[..]]);
    assert_eq!(decoded.result, Ok(1));
    assert!(!decoded.reusable);
}

#[test]
fn a_body_that_ends_with_the_connection() {
    let event = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]}\n\n";
    let open = decode(format!("{EVENT_HEAD}\r\n{event}").as_bytes());
    assert_eq!(open.result, Ok(0));
    assert_eq!(open.facts.ended, Ended::Finish);
    assert!(!open.reusable);
    assert_eq!(open.head.unwrap().framing, Framing::UntilClose);
    // After [DONE] nobody waits for a server that leaves closing to us.
    let mut answer = loadline_serving::answer::Answer::new();
    answer.reset(crate::wire::STREAM);
    let bytes = format!("{EVENT_HEAD}\r\n{event}data: [DONE]\n\n");
    let progress = answer.feed(bytes.as_bytes(), &mut |_| ());
    assert_eq!(progress, Ok(loadline_serving::answer::Progress::Done { leftover: 0 }));
    assert!(!answer.connection_reusable());
}

#[test]
fn http_1_0_without_keep_alive_cannot_be_reused() {
    let bytes = response("200 OK", "Content-Type: text/event-stream\r\n", "data: [DONE]\n\n");
    let old = String::from_utf8(bytes).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let decoded = decode(old.as_bytes());
    assert_eq!(decoded.result, Ok(0));
    assert!(decoded.head.unwrap().http_1_0 && !decoded.reusable);
}

#[test]
fn interim_heads_are_skipped() {
    let mut bytes =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec();
    bytes.extend_from_slice(&json_stream(&["{}"]));
    let decoded = decode(&bytes);
    assert_eq!(decoded.head.unwrap().status, 200);
    assert_eq!(decoded.events[0], Event::Head);
    assert_eq!(decoded.facts.events, 1);
}

#[test]
fn a_whole_answer_is_understood_although_a_stream_was_asked() {
    let body = r#"{"id":"x","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],
        "usage":{"completion_tokens":2}}"#;
    for headers in ["Content-Type: application/json\r\n", ""] {
        let decoded = decode(&response("200 OK", headers, body));
        assert_eq!(decoded.result, Ok(0));
        assert!(!decoded.facts.streamed);
        assert_eq!(decoded.facts.ended, Ended::Finish);
        assert_eq!((decoded.facts.text.as_str(), decoded.facts.events), ("hi", 1));
        assert!(decoded.reusable);
    }
}

#[test]
fn a_stream_is_understood_although_a_whole_answer_was_asked() {
    let expect = Expect { stream: false, keep_text: true };
    let decoded = decode_as(expect, &json_stream(&[r#"{"choices":[{"text":"a"}]}"#]));
    assert!(decoded.facts.streamed);
    assert_eq!(decoded.facts.text, "a");
}

#[test]
fn without_content_type_the_first_byte_decides() {
    let body = "\n: hello\n\ndata: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: [DONE]\n\n";
    let decoded = decode(&response("200 OK", "", body));
    assert_eq!(decoded.facts.ended, Ended::DoneMarker);
    let page = decode(&response("200 OK", "", "<html><title>Login</title></html>"));
    assert_eq!(page.failure().kind.as_str(), "not_sse");
}

#[test]
fn a_one_token_answer() {
    let decoded = decode(&json_stream(&[
        r#"{"choices":[{"delta":{"content":"Yes"},"finish_reason":"length"}]}"#,
    ]));
    let facts = decoded.chunks()[0];
    assert!(facts.content && facts.finish);
    assert_eq!(decoded.facts.token_events, 1);
}

#[test]
fn text_is_kept_only_when_asked() {
    let bytes = json_stream(&[r#"{"choices":[{"text":"a"}]}"#, r#"{"choices":[{"text":"b"}]}"#]);
    let decoded = decode_as(Expect { stream: true, keep_text: false }, &bytes);
    assert_eq!(decoded.facts.text, "");
    assert_eq!(decoded.facts.token_events, 2);
}

#[test]
fn the_answer_id_is_the_first_one_with_escapes_resolved() {
    let decoded = decode(&json_stream(&[
        r#"{"id":""}"#,
        r#"{"id":null}"#,
        r#"{"id":"a\/b"}"#,
        r#"{"id":"c"}"#,
    ]));
    assert_eq!(decoded.facts.id, "a/b");
}
