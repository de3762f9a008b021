//! Good answers in unusual forms: a client must take every one of them.

use std::time::Duration;

use super::{Case, Expect};
use crate::fault::{Action, Script};
use crate::sse::{Framing, Reply, chat_event, json_reply};

fn case(name: &'static str, script: Script, expect: Expect) -> Case {
    Case { name, script, expect }
}

/// The usual good answer: "Hello", " there" in two events, usage, `[DONE]`.
fn usual() -> Reply {
    Reply::chat(&["Hello", " there"]).usage(9, 2).done()
}

fn usual_expect() -> Expect {
    Expect::stream("Hello there", 2).usage(9, 2)
}

fn content(text: &str) -> String {
    chat_event(&format!("\"content\":{}", serde_json::Value::from(text)), None)
}

fn stop() -> String {
    chat_event("", Some("stop"))
}

/// Good streams of every form.
pub fn streams() -> Vec<Case> {
    let mut cases = first_and_empty_chunks();
    cases.extend(token_fields());
    cases.extend(usage_places());
    cases.extend(ends());
    cases.extend(lines());
    cases.extend(framings());
    cases
}

fn first_and_empty_chunks() -> Vec<Case> {
    let role = chat_event("\"role\":\"assistant\",\"content\":\"\"", None);
    let null = chat_event("\"role\":\"assistant\",\"content\":null", None);
    vec![
        case(
            "role-only first chunk",
            Reply::stream()
                .event(&chat_event("\"role\":\"assistant\"", None))
                .event(&content("Hi"))
                .event(&stop())
                .done()
                .script(),
            Expect::stream("Hi", 1),
        ),
        case(
            "empty and null content",
            Reply::stream()
                .event(&role)
                .event(&null)
                .event(&content("Hi"))
                .event(&content(""))
                .event(&stop())
                .done()
                .script(),
            Expect::stream("Hi", 1),
        ),
        case(
            "empty choices first",
            Reply::stream()
                .event("{\"id\":\"chatcmpl-test\",\"choices\":[]}")
                .event(&content("Hi"))
                .event(&stop())
                .done()
                .script(),
            Expect::stream("Hi", 1),
        ),
        case(
            "one-token answer",
            Reply::chat(&["Yes"]).usage(9, 1).done().script(),
            Expect::stream("Yes", 1).usage(9, 1),
        ),
    ]
}

fn token_fields() -> Vec<Case> {
    let reasoning = |field: &str| {
        let think = |text: &str| chat_event(&format!("\"{field}\":\"{text}\""), None);
        Reply::stream()
            .event(&think("Let me"))
            .event(&think(" think."))
            .event(&content("42"))
            .event(&stop())
            .done()
            .script()
    };
    let thought = Expect { reasoning: "Let me think.".to_owned(), ..Expect::stream("42", 3) };
    let call = |rest: &str| chat_event(&format!("\"tool_calls\":[{{\"index\":0,{rest}}}]"), None);
    let named = "\"id\":\"call_1\",\"type\":\"function\",\
                 \"function\":{\"name\":\"weather\",\"arguments\":\"\"}";
    let called = "\"function\":{\"arguments\":\"{\\\"city\\\":1}\"}";
    vec![
        case("reasoning_content", reasoning("reasoning_content"), thought.clone()),
        case("reasoning", reasoning("reasoning"), thought),
        case(
            "tool-call deltas",
            Reply::stream()
                .event(&call(named))
                .event(&call(called))
                .event(&chat_event("", Some("tool_calls")))
                .done()
                .script(),
            Expect { finish_reason: Some("tool_calls"), ..Expect::stream("", 2) },
        ),
        case(
            "several tokens in one chunk",
            Reply::chat(&["one two three", " four five"]).usage(9, 5).done().script(),
            Expect::stream("one two three four five", 2).usage(9, 5),
        ),
    ]
}

fn usage_places() -> Vec<Case> {
    let with_choices = stop().replacen(
        '{',
        "{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"total_tokens\":10},",
        1,
    );
    vec![
        case("usage on a last chunk without choices", usual().script(), usual_expect()),
        case(
            "usage on the last chunk with choices",
            Reply::stream().event(&content("Hi")).event(&with_choices).done().script(),
            Expect::stream("Hi", 1).usage(9, 1),
        ),
        case(
            "no usage",
            Reply::chat(&["Hello", " there"]).done().script(),
            Expect::stream("Hello there", 2),
        ),
        case(
            "usage null in every chunk",
            Reply::stream()
                .event(&content("Hi").replacen('{', "{\"usage\":null,", 1))
                .event(&stop().replacen('{', "{\"usage\":null,", 1))
                .usage(9, 1)
                .done()
                .script(),
            Expect::stream("Hi", 1).usage(9, 1),
        ),
    ]
}

fn ends() -> Vec<Case> {
    let before_done = || Reply::chat(&["Hello", " there"]).usage(9, 2);
    vec![
        case(
            "[DONE] with one newline",
            before_done().piece("data: [DONE]\n").script(),
            usual_expect(),
        ),
        case(
            "[DONE] without newline",
            before_done().piece("data: [DONE]").script(),
            usual_expect(),
        ),
        case(
            "[DONE] without blank",
            before_done().piece("data:[DONE]\n\n").script(),
            usual_expect(),
        ),
        case("[DONE] missing", before_done().script(), usual_expect()),
        case(
            "non-stream answer",
            Action::answer_each(json_reply("200 OK", WHOLE)),
            Expect { token_events: None, ..usual_expect() },
        ),
    ]
}

const WHOLE: &str = r#"{"id":"chatcmpl-test","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;

fn lines() -> Vec<Case> {
    let big = "x".repeat(10 << 20);
    vec![
        case(
            "comments and pings",
            Reply::stream()
                .piece(": OPENROUTER PROCESSING\n\n")
                .piece("event: ping\ndata: {\"type\":\"ping\"}\n\n")
                .event(&content("Hi"))
                .piece(":\n\n: keep-alive\n")
                .event(&stop())
                .done()
                .script(),
            Expect::stream("Hi", 1),
        ),
        case(
            "event, id and retry lines",
            Reply::stream()
                .piece(format!("event: message\nid: 1\ndata: {}\n\n", content("Hi")))
                .piece("retry: 1000\n\n")
                .piece(format!("data: {}\nid: 2\nevent: message\n\n", stop()))
                .done()
                .script(),
            Expect::stream("Hi", 1),
        ),
        case(
            "CRLF line ends",
            Reply::stream().crlf().event(&content("Hi")).event(&stop()).usage(9, 1).done().script(),
            Expect::stream("Hi", 1).usage(9, 1),
        ),
        case("split UTF-8", split_utf8(), Expect::stream("Grüße 🦙!", 1)),
        case(
            "a byte at a time",
            slowly(&usual().bytes(), 1, Duration::from_micros(50)),
            usual_expect(),
        ),
        case(
            "a 10 MB chunk",
            Reply::stream().event(&content(&big)).event(&stop()).done().script(),
            Expect::stream(&big, 1),
        ),
    ]
}

fn slowly(bytes: &[u8], piece: usize, pause: Duration) -> Script {
    let send = Action::SendSlowly { bytes: bytes.to_vec(), piece, pause };
    vec![Action::Repeat(vec![Action::ReadRequest, send])]
}

/// Cuts in the middle of the characters, as transfer chunks and as segments.
fn split_utf8() -> Script {
    let event = format!("data: {}\n\n", content("Grüße 🦙!"));
    let at = event.find('ü').expect("invariant: the text has it") + 1;
    let llama = event.find('🦙').expect("invariant: the text has it") + 2;
    let bytes = event.as_bytes();
    let reply = Reply::stream()
        .piece(&bytes[..at])
        .piece(&bytes[at..llama])
        .piece(&bytes[llama..])
        .event(&stop())
        .done();
    let mut script = vec![Action::ReadRequest, Action::Send(reply.head_bytes())];
    for piece in reply.framed_pieces() {
        script.push(Action::Send(piece));
        script.push(Action::Pause(Duration::from_millis(2)));
    }
    script.push(Action::send("0\r\n\r\n"));
    vec![Action::Repeat(script)]
}

fn framings() -> Vec<Case> {
    let interim = |lines: &str| {
        let mut bytes = format!("HTTP/1.1 {lines}\r\n\r\n").into_bytes();
        bytes.extend(usual().bytes());
        Action::answer_each(bytes)
    };
    let one_chunk = {
        let whole = usual().framing(Framing::UntilClose);
        let body: Vec<u8> = whole.framed_pieces().concat();
        Reply::stream().piece(body)
    };
    vec![
        case("length-delimited body", usual().framing(Framing::Length).script(), usual_expect()),
        case("body until close", usual().framing(Framing::UntilClose).script(), usual_expect()),
        case("all events in one chunk", one_chunk.script(), usual_expect()),
        case("chunk extensions and trailer", extensions(), usual_expect()),
        case("HTTP/1.0", usual().framing(Framing::UntilClose).http_1_0().script(), usual_expect()),
        case("100 continue first", interim("100 Continue"), usual_expect()),
        case(
            "103 early hints first",
            interim("103 Early Hints\r\nlink: </a.css>; rel=preload"),
            usual_expect(),
        ),
        case(
            "huge header",
            usual().header(&format!("x-long: {}", "y".repeat(12 * 1024))).script(),
            usual_expect(),
        ),
    ]
}

fn extensions() -> Script {
    let body = usual().framing(Framing::UntilClose).framed_pieces().concat();
    let mut bytes = Reply::stream().head_bytes();
    bytes.extend(format!("{:X};name=\"value\"\r\n", body.len()).into_bytes());
    bytes.extend(body);
    bytes.extend_from_slice(b"\r\n0;last\r\nx-trailer: 1\r\n\r\n");
    Action::answer_each(bytes)
}
