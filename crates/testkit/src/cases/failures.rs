//! Answers that are none: error statuses, wrong types, broken streams.

use std::time::Duration;

use super::{Case, Expect};
use crate::fault::{Action, Script};
use crate::sse::{Framing, Reply, chat_event, json_reply};

fn case(name: &'static str, script: Script, expect: Expect) -> Case {
    Case { name, script, expect }
}

/// Longer than any time-out a test would wait for.
const LONG: Duration = Duration::from_hours(1);

/// Answers that a client must record as failed, cut short or timed out, each with its reason.
/// Those named "stall…" and "silence…" never end: test them with short time-outs.
pub fn failures() -> Vec<Case> {
    let mut cases = statuses();
    cases.extend(types());
    cases.extend(broken_streams());
    cases.extend(endless());
    cases
}

fn statuses() -> Vec<Case> {
    let busy = |status: &str, after: &str| {
        Reply::new(status, "application/json")
            .framing(Framing::Length)
            .header(&format!("retry-after: {after}"))
            .piece("{\"error\":{\"message\":\"too busy\",\"type\":\"overloaded\"}}")
            .script()
    };
    let page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    let unauthorized = "{\"error\":{\"message\":\"Incorrect API key provided: sk-secret\",\
                        \"type\":\"invalid_request_error\",\"code\":\"invalid_api_key\"}}";
    vec![
        case(
            "429 with Retry-After",
            busy("429 Too Many Requests", "7"),
            Expect::failed(&["http_429"], Some(429)),
        ),
        case(
            "503 with Retry-After",
            busy("503 Service Unavailable", "Wed, 21 Oct 2026 07:28:00 GMT"),
            Expect::failed(&["http_5xx"], Some(503)),
        ),
        case(
            "HTML error page",
            Reply::new("502 Bad Gateway", "text/html").piece(page).script(),
            Expect::failed(&["http_5xx"], Some(502)),
        ),
        case(
            "401 with JSON",
            Action::answer_each(json_reply("401 Unauthorized", unauthorized)),
            Expect::failed(&["http_4xx"], Some(401)),
        ),
        case(
            "redirect 307",
            Reply::new("307 Temporary Redirect", "text/plain")
                .header("location: https://elsewhere.example/v1/chat/completions")
                .framing(Framing::Length)
                .script(),
            Expect::failed(&["redirect"], Some(307)),
        ),
    ]
}

fn types() -> Vec<Case> {
    let hello = chat_event("\"content\":\"Hello\"", None);
    vec![
        case(
            "gzip content-encoding",
            // The first bytes of any gzip member; what follows is never to be looked at.
            Reply::stream().header("content-encoding: gzip").piece(b"\x1f\x8b\x08\x00").script(),
            Expect::failed(&["encoding"], Some(200)),
        ),
        case(
            "HTML page with status 200",
            Reply::new("200 OK", "text/html").piece("<html><title>Welcome</title></html>").script(),
            Expect::failed(&["not_sse"], Some(200)),
        ),
        case(
            "garbage instead of a head",
            vec![Action::ReadRequest, Action::send("SSH-2.0-OpenSSH_9.2\r\n"), Action::Close],
            Expect::failed(&["bad_http"], None),
        ),
        case(
            "chunk that is not JSON",
            Reply::stream().event(&hello).event("{\"choices\":[{").done().script(),
            Expect { outcome: "failed", ..Expect::cut_short(&["bad_json"], "Hello", 1) },
        ),
        case(
            "error inside the stream",
            Reply::stream()
                .event(&hello)
                .event("{\"error\":{\"message\":\"out of memory\",\"code\":500}}")
                .done()
                .script(),
            Expect { outcome: "failed", ..Expect::cut_short(&["server_error_event"], "Hello", 1) },
        ),
    ]
}

/// A head and one token, without an end.
fn begun() -> Vec<u8> {
    Reply::stream().event(&chat_event("\"content\":\"Hello\"", None)).unfinished_bytes()
}

fn broken_streams() -> Vec<Case> {
    let then = |last: Action| vec![Action::ReadRequest, Action::Send(begun()), last];
    let length = Reply::stream()
        .framing(Framing::Length)
        .event(&chat_event("\"content\":\"Hello\"", None))
        .event(&chat_event("\"content\":\" there\"", None));
    let mut short = length.bytes();
    short.truncate(short.len() - 20);
    vec![
        case(
            "early close in mid-stream",
            then(Action::Close),
            Expect::cut_short(&["eof_mid_stream"], "Hello", 1),
        ),
        case(
            "early close of a length-delimited body",
            vec![Action::ReadRequest, Action::Send(short), Action::Close],
            Expect::cut_short(&["eof_mid_stream"], "Hello", 1),
        ),
        case(
            "half-open",
            vec![
                Action::ReadRequest,
                Action::Send(begun()),
                Action::HalfClose,
                Action::WaitForClientClose,
            ],
            Expect::cut_short(&["eof_mid_stream"], "Hello", 1),
        ),
        case(
            "reset in mid-stream",
            // The pause lets the client read the token before the reset discards it.
            vec![
                Action::ReadRequest,
                Action::Send(begun()),
                Action::Pause(Duration::from_millis(100)),
                Action::Reset,
            ],
            Expect::cut_short(&["reset"], "Hello", 1),
        ),
        case(
            "close before any byte",
            vec![Action::ReadRequest, Action::Close],
            Expect::failed(&["eof_before_headers"], None),
        ),
        case(
            "reset before any byte",
            vec![Action::ReadRequest, Action::Reset],
            Expect::failed(&["reset"], None),
        ),
        case(
            "close inside the head",
            vec![
                Action::ReadRequest,
                Action::send("HTTP/1.1 200 OK\r\ncontent-type: text/ev"),
                Action::Close,
            ],
            Expect::failed(&["eof_before_headers"], None),
        ),
        case(
            "no sign of an end",
            Reply::stream().event(&chat_event("\"content\":\"Hello\"", None)).script(),
            Expect::cut_short(&["eof_mid_stream"], "Hello", 1),
        ),
    ]
}

fn endless() -> Vec<Case> {
    vec![
        case(
            "silence instead of an answer",
            vec![Action::ReadRequest, Action::WaitForClientClose],
            Expect {
                status: None,
                token_events: None,
                ..Expect::timed_out(&["first_token_timeout", "total_timeout"], "", 0)
            },
        ),
        case(
            "silence after the head",
            vec![
                Action::ReadRequest,
                Action::Send(Reply::stream().head_bytes()),
                Action::WaitForClientClose,
            ],
            Expect::timed_out(&["first_token_timeout", "total_timeout"], "", 0),
        ),
        case(
            "stall in mid-stream",
            vec![Action::ReadRequest, Action::Send(begun()), Action::WaitForClientClose],
            Expect::timed_out(&["gap_timeout", "total_timeout"], "Hello", 1),
        ),
        case(
            "stall with comments",
            vec![
                Action::ReadRequest,
                Action::Send(begun()),
                Action::Repeat(vec![
                    Action::send("8\r\n: ping\n\n\r\n"),
                    Action::Pause(Duration::from_millis(20)),
                ]),
            ],
            Expect::timed_out(&["gap_timeout", "total_timeout"], "Hello", 1),
        ),
        case(
            "stall that would end",
            vec![Action::ReadRequest, Action::Send(begun()), Action::Pause(LONG), Action::Close],
            Expect::timed_out(&["gap_timeout", "total_timeout"], "Hello", 1),
        ),
    ]
}
