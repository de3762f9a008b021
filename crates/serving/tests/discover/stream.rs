//! One streamed answer: what it says, how long it took, and its transcript.

use std::time::Duration;

use loadline_schema::outcome::ErrorKind;
use loadline_schema::plan::{Api, Timeouts};
use loadline_serving::answer::FinishReason;
use loadline_serving::ask::{TRANSCRIPT_BYTES, stream_once};
use loadline_testkit::{Action, FaultServer, Law, Reply, TruthThread, chat_event, json_reply};

use super::{KEY, SECOND_NS, target};

const BODY: &[u8] = br#"{"messages":[{"role":"user","content":"one two"}],"stream":true,
    "stream_options":{"include_usage":true}}"#;

#[test]
fn times_and_counts_are_those_of_the_server() {
    let law = Law::fixed(Duration::from_millis(30), Duration::from_millis(2), 11);
    let law = law.with("template=7").expect("a law");
    let server = TruthThread::start(law).expect("it starts");
    let target = target(&server.url());
    let answer = stream_once(&target, 0, Api::Chat, BODY, &Timeouts::default()).expect("answered");
    assert_eq!(
        (answer.facts.prompt_tokens(), answer.facts.completion_tokens()),
        (Some(9), Some(11))
    );
    assert_eq!(answer.facts.finish_reason, Some(FinishReason::Length));
    assert_eq!(answer.head.status, 200);
    let truth = &server.log()[0];
    let first_ns = truth.first_ns.expect("a first token") - truth.arrival_kernel_ns;
    let end_ns = truth.end_ns - truth.arrival_kernel_ns;
    let ttft_ns = answer.ttft_ns.expect("a first token");
    assert!(ttft_ns >= first_ns && answer.e2e_ns >= end_ns, "nothing is seen before it is sent");
    assert!(ttft_ns < answer.e2e_ns);
}

#[test]
fn a_transcript_has_both_halves_and_no_key() {
    let server = FaultServer::start(Reply::chat(&[KEY, "b"]).usage(3, 2).done().script());
    let target = target(&server.url());
    let answer = stream_once(&target, 0, Api::Chat, BODY, &Timeouts::default()).expect("answered");
    let text = answer.transcript.to_string();
    assert!(text.starts_with("> POST /v1/chat/completions HTTP/1.1\n> Host: 127.0.0.1"), "{text}");
    assert!(text.contains("\n> Authorization: Bearer ***\n"), "{text}");
    assert!(text.contains("\"one two\"") && text.contains("\n< HTTP/1.1 200 OK\n"), "{text}");
    assert!(text.contains("\n< data: [DONE]\n") && !text.contains(KEY), "{text}");
    assert_eq!(answer.transcript.left_out_bytes, (0, 0));
}

#[test]
fn a_long_transcript_is_cut_and_says_so() {
    let long = "x".repeat(2 * TRANSCRIPT_BYTES);
    let server = FaultServer::start(Reply::chat(&[&long]).done().script());
    let target = target(&server.url());
    let body = format!(r#"{{"prompt":"{long}"}}"#);
    let answer = stream_once(&target, 0, Api::Completions, body.as_bytes(), &Timeouts::default())
        .expect("answered");
    assert_eq!(answer.facts.text.len(), long.len());
    let (request, reply) = answer.transcript.left_out_bytes;
    assert_eq!(request, body.len() - TRANSCRIPT_BYTES);
    assert!(reply > TRANSCRIPT_BYTES);
    assert!(answer.transcript.to_string().contains(&format!("> … {request} more bytes\n")));
}

#[test]
fn a_failure_keeps_its_transcript_and_says_what_to_do() {
    let no = json_reply("401 Unauthorized", r#"{"error":{"message":"Invalid API Key"}}"#);
    let server = FaultServer::start(Action::answer_each(no));
    let target = target(&server.url());
    let failed =
        stream_once(&target, 0, Api::Chat, BODY, &Timeouts::default()).expect_err("refused");
    assert_eq!((failed.error.kind, failed.error.status), (ErrorKind::Http4xx, Some(401)));
    let words = "HTTP status 401: Invalid API Key; put the right key into an environment variable";
    assert!(failed.to_string().contains(words), "{failed}");
    assert!(failed.transcript.to_string().contains("< HTTP/1.1 401 Unauthorized"));
}

#[test]
fn every_time_limit_has_its_kind() {
    let begun = Reply::stream().event(&chat_event("\"content\":\"a\"", None)).unfinished_bytes();
    let wait = |begin: Vec<Action>| {
        [vec![Action::ReadRequest], begin, vec![Action::WaitForClientClose]].concat()
    };
    let short = SECOND_NS / 20;
    let first = Timeouts { first_token_ns: short, ..Timeouts::default() };
    let gap = Timeouts { gap_ns: short, ..Timeouts::default() };
    let total = Timeouts { total_ns: short, ..Timeouts::default() };
    for (script, timeouts, kind) in [
        (wait(vec![]), first, ErrorKind::FirstTokenTimeout),
        (wait(vec![Action::send(begun.clone())]), gap, ErrorKind::GapTimeout),
        (wait(vec![Action::send(begun)]), total, ErrorKind::TotalTimeout),
    ] {
        let server = FaultServer::start(script);
        let target = target(&server.url());
        let failed = stream_once(&target, 0, Api::Chat, BODY, &timeouts).expect_err("too slow");
        assert_eq!(failed.error.kind, kind, "{failed}");
    }
}

#[test]
fn a_stream_without_an_end_is_no_answer() {
    let reply = Reply::stream().event(&chat_event("\"content\":\"a\"", None));
    let server = FaultServer::start(reply.script());
    let target = target(&server.url());
    let failed = stream_once(&target, 0, Api::Chat, BODY, &Timeouts::default()).expect_err("cut");
    assert_eq!(failed.error.kind, ErrorKind::EofMidStream, "{failed}");
}
