//! Tests of the head parser.

use super::*;

fn head(lines: &str) -> Head {
    Head::parse(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes()).unwrap()
}

fn kind(bytes: &[u8]) -> FailureKind {
    Head::parse(bytes).unwrap_err().kind
}

#[test]
fn a_streaming_head_is_read() {
    let head = head(
        "Server: llama.cpp\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
         Transfer-Encoding: chunked\r\nKeep-Alive: timeout=5, max=100\r\n",
    );
    let expected = Head {
        status: 200,
        keep_alive: true,
        keep_alive_timeout_s: Some(5),
        content_type: ContentType::EventStream,
        retry_after_s: None,
        location: None,
        content_encoding: None,
        framing: Framing::Chunked,
        http_1_0: false,
    };
    assert_eq!(head, expected);
}

#[test]
fn content_types_are_told_apart() {
    for (value, expected) in [
        ("text/event-stream", ContentType::EventStream),
        ("TEXT/Event-Stream;charset=UTF-8", ContentType::EventStream),
        ("application/json", ContentType::Json),
        ("application/problem+json; charset=utf-8", ContentType::Json),
        ("text/html", ContentType::Html),
        ("application/x-ndjson", ContentType::Other),
        ("application/stream+json", ContentType::Other),
        ("text/plain", ContentType::Other),
        ("", ContentType::Absent),
    ] {
        assert_eq!(head(&format!("content-type: {value}\r\n")).content_type, expected, "{value}");
    }
    assert_eq!(head("").content_type, ContentType::Absent);
}

#[test]
fn keep_alive_follows_version_and_connection_header() {
    let keeps = |version: &str, lines: &str| {
        let bytes = format!("HTTP/{version} 200 OK\r\ncontent-length: 1\r\n{lines}\r\n");
        Head::parse(bytes.as_bytes()).unwrap().keep_alive
    };
    assert!(keeps("1.1", ""));
    assert!(!keeps("1.1", "connection: Close\r\n"));
    assert!(!keeps("1.1", "connection: x, close\r\n"));
    assert!(!keeps("1.0", ""));
    assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
    // Without framing the close is the end of the body.
    assert!(!head("connection: keep-alive\r\n").keep_alive);
    assert_eq!(head("").framing, Framing::UntilClose);
}

#[test]
fn framing_headers_are_weighed() {
    assert_eq!(head("content-length: 12\r\n").framing, Framing::Length(12));
    assert_eq!(head("content-length: 12, 12\r\n").framing, Framing::Length(12));
    let both = head("content-length: 12\r\ntransfer-encoding: chunked\r\n");
    assert_eq!(both.framing, Framing::Chunked);
    assert_eq!(head("transfer-encoding: identity\r\n").framing, Framing::UntilClose);
    let empty = Head::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert_eq!(empty.framing, Framing::Length(0));
    for lines in ["content-length: 1, 2", "content-length: -1", "content-length: 1x"] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
        assert_eq!(kind(bytes.as_bytes()), FailureKind::BadHttp, "{lines}");
    }
    let gzip = b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n";
    assert_eq!(kind(gzip), FailureKind::Encoding);
}

#[test]
fn encoding_and_location_are_kept() {
    assert_eq!(head("content-encoding: gzip\r\n").content_encoding.as_deref(), Some("gzip"));
    assert_eq!(head("content-encoding: identity\r\n").content_encoding, None);
    assert_eq!(head("Location: /v1\r\n").location.as_deref(), Some("/v1"));
}

#[test]
fn retry_after_is_seconds_or_a_date_counted_from_the_servers_own_clock() {
    assert_eq!(head("retry-after: 30\r\n").retry_after_s, Some(30));
    let dated = head(
        "Date: Tue, 24 Nov 2026 02:19:27 GMT\r\nRetry-After: Tue, 24 Nov 2026 02:20:30 GMT\r\n",
    );
    assert_eq!(dated.retry_after_s, Some(63));
    let past = head(
        "Date: Tue, 24 Nov 2026 02:19:27 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    );
    assert_eq!(past.retry_after_s, Some(0));
    assert_eq!(head("Retry-After: Tue, 24 Nov 2026 02:20:30 GMT\r\n").retry_after_s, None);
    assert_eq!(head("Retry-After: soon\r\n").retry_after_s, None);
}

#[test]
fn dates_are_seconds_since_1970() {
    assert_eq!(http_date_s(b"Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    assert_eq!(http_date_s(b"Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    assert_eq!(http_date_s(b"Tue, 29 Feb 2000 12:00:00 GMT"), Some(951_825_600));
    assert_eq!(http_date_s(b"Fri, 31 Dec 2100 23:59:59 GMT"), Some(4_133_980_799));
    for odd in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nom 1994 08:49:37 GMT", ""] {
        assert_eq!(http_date_s(odd.as_bytes()), None, "{odd}");
    }
}

#[test]
fn what_is_no_head_is_refused() {
    for bytes in [
        &b"HTTP/1.1 abc\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"\r\n\r\n",
    ] {
        assert_eq!(kind(bytes), FailureKind::BadHttp, "{}", excerpt(bytes));
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADER_LIMIT + 1));
    assert_eq!(kind(many.as_bytes()), FailureKind::BadHttp);
    let most = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADER_LIMIT));
    assert!(Head::parse(most.as_bytes()).is_ok());
}

#[test]
fn the_end_of_a_head_is_found_however_it_arrives() {
    for bytes in [&b"A\r\nB\r\n\r\nrest"[..], b"A\nB\n\nrest\n\n", b"A\r\nB\n\r\nrest"] {
        let whole = HeadEnd::default().find(bytes).unwrap();
        assert!(bytes[whole..].starts_with(b"rest"));
        let mut piecewise = HeadEnd::default();
        let found = (1..=bytes.len()).find_map(|n| piecewise.find(&bytes[..n]));
        assert_eq!(found, Some(whole));
    }
}
