//! Each way in which an answer can fail, by name.

use loadline_serving::answer::FailureKind;

use crate::wire::{Decoded, EVENT_HEAD, chunked, decode, decode_as, json_stream, response, stream};

fn fails(bytes: &[u8], kind: FailureKind) -> Decoded {
    let decoded = decode(bytes);
    assert_eq!(decoded.failure().kind, kind, "{:?}", decoded.failure());
    decoded
}

#[test]
fn statuses_name_their_kind_and_the_servers_message() {
    let json = "Content-Type: application/json\r\n";
    for (status, kind) in [
        ("400 Bad Request", FailureKind::Http4xx),
        ("401 Unauthorized", FailureKind::Http4xx),
        ("404 Not Found", FailureKind::Http4xx),
        ("429 Too Many Requests", FailureKind::Http429),
        ("500 Oops", FailureKind::Http5xx),
        ("503 Service Unavailable", FailureKind::Http5xx),
    ] {
        let bytes = response(status, json, r#"{"error":{"message":"the reason"}}"#);
        let decoded = fails(&bytes, kind);
        let failure = decoded.failure();
        assert_eq!(failure.server_message(), Some("the reason"));
        assert_eq!(failure.status, status[..3].parse().ok());
        assert!(decoded.reusable, "the body was read to its end");
    }
}

#[test]
fn retry_after_is_handed_on() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let decoded = decode(&response(status, "Retry-After: 7\r\n", ""));
        assert_eq!(decoded.failure().retry_after_s, Some(7));
        assert_eq!(decoded.failure().server_message(), None);
        assert!(decoded.failure().detail.contains("empty body"));
    }
}

#[test]
fn html_error_pages_are_told_by_their_title() {
    let page = "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>…</body></html>";
    let bytes = response("502 Bad Gateway", "Content-Type: text/html\r\n", page);
    let decoded = fails(&bytes, FailureKind::Http5xx);
    assert_eq!(decoded.failure().server_message(), Some("502 Bad Gateway"));
    let plain = response("500 Oops", "Content-Type: text/plain\r\n", "it broke\n");
    let decoded = fails(&plain, FailureKind::Http5xx);
    assert!(decoded.failure().detail.ends_with("it broke"));
}

#[test]
fn the_message_of_an_error_whose_connection_closes_early_is_kept() {
    let bytes = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 900\r\n\r\n{\"detail\":\"no\"}";
    let decoded = fails(bytes, FailureKind::Http4xx);
    assert_eq!(decoded.failure().server_message(), Some("no"));
    assert!(!decoded.reusable);
}

#[test]
fn an_endless_error_body_is_given_up() {
    let mut bytes = b"HTTP/1.1 500 Oops\r\n\r\nbroken ".to_vec();
    bytes.resize(1_200_000, b'x');
    let decoded = fails(&bytes, FailureKind::Http5xx);
    assert!(decoded.failure().detail.contains("broken"));
    assert!(decoded.failure().detail.chars().count() <= 300);
}

#[test]
fn redirects_name_their_target() {
    let bytes = response("307 Temporary Redirect", "Location: https://b/v1\r\n", "moved");
    let decoded = fails(&bytes, FailureKind::Redirect);
    assert_eq!(decoded.failure().detail, "https://b/v1");
    assert!(decoded.reusable);
    let decoded = fails(&response("302 Found", "", ""), FailureKind::Redirect);
    assert!(decoded.failure().detail.contains("without naming a target"));
}

#[test]
fn compressed_bodies_are_refused() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n";
    let decoded = fails(format!("{head}\r\n").as_bytes(), FailureKind::Encoding);
    assert!(decoded.failure().detail.contains("gzip"));
    // The status says more than the encoding.
    let bytes = response("502 Bad Gateway", "Content-Encoding: br\r\n", "\u{1}\u{2}");
    assert!(fails(&bytes, FailureKind::Http5xx).failure().detail.contains("br encoding"));
}

#[test]
fn a_page_instead_of_a_stream() {
    let page = "<!doctype html><title>Welcome to nginx!</title>";
    let bytes = response("200 OK", "Content-Type: text/html\r\n", page);
    let decoded = fails(&bytes, FailureKind::NotSse);
    assert!(decoded.failure().detail.contains("Welcome to nginx!"));
    let lines = response("200 OK", "Content-Type: application/x-ndjson\r\n", "{}\n{}\n");
    fails(&lines, FailureKind::NotSse);
    let expect = loadline_serving::answer::Expect { stream: false, keep_text: false };
    assert_eq!(decode_as(expect, &bytes).failure().kind, FailureKind::BadJson);
}

#[test]
fn events_that_are_not_json() {
    for document in ["{\"choices\":", "hello", "[1]", "7", "null", "{} {}", "{\"a\":01}"] {
        let decoded = fails(&json_stream(&["{}", document]), FailureKind::BadJson);
        assert!(decoded.failure().detail.ends_with(document), "{:?}", decoded.failure());
        assert_eq!(decoded.facts.events, 1);
        assert_eq!(decoded.failure().status, Some(200));
    }
    let json = "Content-Type: application/json\r\n";
    fails(&response("200 OK", json, "{\"choices\":["), FailureKind::BadJson);
    fails(&response("200 OK", json, ""), FailureKind::BadJson);
}

#[test]
fn errors_inside_a_stream() {
    for (event, message) in [
        (r#"data: {"error":{"message":"out of memory","code":500}}"#, Some("out of memory")),
        (r#"data: {"error":"overloaded"}"#, Some("overloaded")),
        (r#"data: {"object":"error","message":"too long","code":400}"#, Some("too long")),
        ("event: error\ndata: {\"message\":\"slow down\"}", Some("slow down")),
        ("event: error\ndata: gone", None),
        (r#"data: {"error":{"code":7}}"#, None),
    ] {
        let first = r#"data: {"choices":[{"text":"a"}]}"#;
        let decoded = fails(&stream(&[first, event]), FailureKind::ServerErrorEvent);
        assert_eq!(decoded.failure().server_message(), message);
        assert_eq!(decoded.facts.token_events, 1);
    }
    for fine in [r#"{"error":null}"#, r#"{"error":""}"#, r#"{"error":false}"#] {
        assert_eq!(decode(&json_stream(&[fine])).result, Ok(0));
    }
    let json = response("200 OK", "Content-Type: application/json\r\n", r#"{"error":"no"}"#);
    let decoded = fails(&json, FailureKind::ServerErrorEvent);
    assert_eq!(decoded.failure().server_message(), Some("no"));
}

#[test]
fn what_is_not_http() {
    let tls = fails(b"\x15\x03\x01\x00\x02\x02\x28", FailureKind::BadHttp);
    assert!(tls.failure().detail.contains("https"));
    fails(b"SSH-2.0-OpenSSH_9.2\r\n", FailureKind::BadHttp);
    fails(b"HTTP/2 200 OK\r\n\r\n", FailureKind::BadHttp);
    fails(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", FailureKind::BadHttp);
    let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
    while endless.len() < 70_000 {
        endless.extend_from_slice(b"x: y\r\n");
    }
    fails(&endless, FailureKind::BadHttp);
    let broken = format!("{EVENT_HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(fails(broken.as_bytes(), FailureKind::BadHttp).failure().status, Some(200));
}

#[test]
fn a_close_before_the_head() {
    let decoded = fails(b"", FailureKind::EofBeforeHeaders);
    assert!(decoded.failure().detail.contains("before any byte"));
    fails(b"HTTP/1.1 200 OK\r\nConte", FailureKind::EofBeforeHeaders);
}

#[test]
fn a_close_inside_the_body() {
    let whole = chunked(["data: {\"choices\":[{\"text\":\"a\"}]}\n\n"]);
    let decoded = fails(&whole[..whole.len() - 5], FailureKind::EofMidStream);
    assert_eq!(decoded.facts.token_events, 1, "what came counts");
    assert!(!decoded.reusable);
    let json = response("200 OK", "Content-Type: application/json\r\n", "{\"choices\":[]}");
    fails(&json[..json.len() - 1], FailureKind::EofMidStream);
    let open = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"choices\":[";
    fails(open, FailureKind::EofMidStream);
}

#[test]
fn a_close_after_done_but_before_the_end_of_framing_loses_nothing() {
    let whole = json_stream(&[r#"{"choices":[{"text":"a"}]}"#]);
    let decoded = decode(&whole[..whole.len() - 5]);
    assert_eq!(decoded.result, Ok(0));
    assert!(!decoded.reusable);
}
