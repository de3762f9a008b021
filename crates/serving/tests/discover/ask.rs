//! Small requests: what is sent, what comes back, and what is said when nothing good does.

use std::time::Duration;

use loadline_schema::outcome::ErrorKind;
use loadline_serving::ask::{AskError, BODY_LIMIT_BYTES, Reply as Answered, ask};
use loadline_testkit::{Action, FaultServer, Framing, Reply, Script, json_reply};

use super::{KEY, SECOND_NS, target};

fn get(server: &FaultServer, timeout_ns: u64) -> Result<Answered, AskError> {
    ask(&target(&server.url()), 0, "GET", "/v1/models", None, timeout_ns)
}

fn error(script: Script) -> AskError {
    get(&FaultServer::start(script), 5 * SECOND_NS).expect_err("it fails")
}

#[test]
fn a_request_carries_what_the_load_carries() {
    let server = FaultServer::start(Action::answer_each(json_reply("200 OK", "{}")));
    let target = target(&format!("{}/base/v1?v=1", server.url()));
    let body = br#"{"a":1}"#;
    let reply = ask(&target, 0, "POST", "/tokenize", Some(body), SECOND_NS).expect("answered");
    assert_eq!((reply.status, reply.body.as_slice(), reply.message), (200, &b"{}"[..], None));
    let requests = server.requests();
    let request = requests.last().expect("one request");
    assert_eq!((request.method(), request.target()), ("POST".into(), "/base/tokenize?v=1".into()));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}")));
    assert_eq!(request.header("accept-encoding").as_deref(), Some("identity"));
    assert_eq!(request.header("connection").as_deref(), Some("close"));
    assert_eq!(request.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(request.body(), body);
}

#[test]
fn the_body_is_the_same_in_every_framing_and_over_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    for framing in [Framing::Chunked, Framing::Length, Framing::UntilClose] {
        let reply =
            Reply::new("200 OK", "application/json").framing(framing).piece("[1").piece(",2]");
        let over_tcp = FaultServer::start(reply.script());
        assert_eq!(get(&over_tcp, 5 * SECOND_NS).expect("answered").body, b"[1,2]");
        let path = folder.path().join(format!("{framing:?}"));
        let over_unix = FaultServer::with(reply.script()).unix(&path).start();
        let url = format!("unix:{}", path.display());
        let reply = ask(&target(&url), 0, "GET", "/x", None, 5 * SECOND_NS).expect("answered");
        assert_eq!(reply.body, b"[1,2]");
        drop(over_unix);
    }
}

#[test]
fn an_interim_head_is_skipped_and_bytes_may_come_one_by_one() {
    let mut bytes = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec();
    bytes.extend(json_reply("200 OK", r#"{"ok":true}"#));
    let script = vec![
        Action::ReadRequest,
        Action::SendSlowly { bytes, piece: 1, pause: Duration::ZERO },
        Action::Close,
    ];
    let reply = get(&FaultServer::start(script), 5 * SECOND_NS).expect("answered");
    assert_eq!((reply.status, reply.body.as_slice()), (200, &br#"{"ok":true}"#[..]));
}

#[test]
fn an_error_status_is_an_answer_with_the_servers_words() {
    let body = format!(r#"{{"error":{{"message":"no key {KEY}"}}}}"#);
    let server = FaultServer::start(Action::answer_each(json_reply("403 Forbidden", &body)));
    let reply = get(&server, SECOND_NS).expect("an answer");
    assert_eq!(reply.status, 403);
    assert_eq!(reply.message.as_deref(), Some("HTTP status 403: no key ***"));
    let page = Reply::new("502 Bad Gateway", "text/html").piece("<title>502 Bad Gateway</title>");
    let reply = get(&FaultServer::start(page.script()), SECOND_NS).expect("an answer");
    assert_eq!(reply.message.as_deref(), Some("HTTP status 502: 502 Bad Gateway"));
}

#[test]
fn what_is_no_answer_is_named_with_what_to_do() {
    let moved = Reply::new("307 Temporary Redirect", "text/plain")
        .header("location: https://elsewhere/v1/models");
    let zipped =
        Reply::new("200 OK", "application/json").header("content-encoding: gzip").piece("x");
    let cut = Reply::new("200 OK", "application/json").piece("{").unfinished_bytes();
    let ssh = b"SSH-2.0-OpenSSH_9.2\r\n".to_vec();
    let go = Reply::new("400 Bad Request", "text/plain")
        .piece("Client sent an HTTP request to an HTTPS server.\n");
    for (script, kind, words) in [
        (moved.script(), ErrorKind::Redirect, "points to https://elsewhere/v1/models: use that"),
        (zipped.script(), ErrorKind::Encoding, "gzip"),
        (Action::answer_once(cut), ErrorKind::EofMidStream, "closed inside the body"),
        (vec![Action::ReadRequest], ErrorKind::EofBeforeHeaders, "before any byte"),
        (vec![Action::ReadRequest, Action::Reset], ErrorKind::Reset, "the connection broke"),
        (Action::answer_once(ssh), ErrorKind::BadHttp, "does not speak HTTP/1: SSH-2.0"),
        (go.script(), ErrorKind::Http4xx, "the server wants TLS: use https://127.0.0.1:"),
    ] {
        let error = error(script);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.why.contains(words), "{error}");
        assert!(error.to_string().starts_with("GET http://127.0.0.1:"), "{error}");
        assert!(error.to_string().contains("/v1/models: "), "{error}");
    }
}

#[test]
fn a_silent_server_is_left_after_the_time_limit() {
    let script = vec![Action::ReadRequest, Action::WaitForClientClose];
    let error = get(&FaultServer::start(script), SECOND_NS / 20).expect_err("no answer");
    assert_eq!(error.kind, ErrorKind::TotalTimeout);
    assert!(error.why.contains("no answer within the time limit"), "{error}");
}

#[test]
fn a_closed_port_is_refused() {
    let server = FaultServer::start(vec![Action::Close]);
    let target = target(&server.url());
    drop(server);
    let error = ask(&target, 0, "GET", "/", None, SECOND_NS).expect_err("closed");
    assert_eq!(error.kind, ErrorKind::ConnectRefused);
    assert!(error.why.contains("is the server still running?"), "{error}");
}

#[test]
fn a_body_without_end_is_not_kept() {
    let length = BODY_LIMIT_BYTES + 1;
    let reply =
        Reply::new("200 OK", "text/plain").framing(Framing::Length).piece(vec![b'x'; length]);
    let error = error(reply.script());
    assert_eq!(error.kind, ErrorKind::BadHttp);
    assert!(error.why.contains("longer than 8 MiB"), "{error}");
}

#[test]
fn an_answer_before_the_request_was_taken_whole_counts() {
    // The server answers at once and closes without reading: the send may break, the answer stands.
    let reply = json_reply("413 Content Too Large", r#"{"error":"too large"}"#);
    let server = FaultServer::start(vec![
        Action::send(reply),
        Action::HalfClose,
        Action::WaitForClientClose,
    ]);
    let body = vec![b' '; 1 << 20];
    let reply = ask(&target(&server.url()), 0, "POST", "/x", Some(&body), 5 * SECOND_NS);
    assert_eq!(reply.expect("an answer").status, 413);
}
