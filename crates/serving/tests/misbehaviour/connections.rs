//! Connections: reuse, transports, TLS, large requests, retries.

use loadline_schema::outcome::{ErrorKind, Outcome, TimestampSource};
use loadline_serving::target::TargetSettings;
use loadline_testkit::Reply;
use loadline_testkit::TestCa;
use loadline_testkit::cases::{connections, named};
use loadline_testkit::{Action, FaultServer};

use crate::drive::{Drive, MS, assert_as_expected, target, with_settings};

fn good() -> Vec<u8> {
    Reply::chat(&["Hello", " there"]).usage(9, 2).done().bytes()
}

#[test]
fn the_second_request_meets_what_the_server_does_in_between() {
    for case in connections() {
        let server = FaultServer::start(case.script.clone());
        // Long enough to see that a connection stays open; longer than half the announced second.
        let think_ns = if case.name.contains("timeout=1") { 700 * MS } else { 30 * MS };
        let drive = Drive { think_ns, ..Drive::requests(2) };
        let (rows, _) = drive.run(&target(&server.url()));
        assert_eq!(rows[0].record.outcome, Outcome::Ok, "{}", case.name);
        assert_as_expected(case.name, &rows[1], &case.expect);
    }
}

/// llama-server does so: without the habit being learned every second request was lost.
#[test]
fn a_server_that_closes_after_each_answer_loses_no_request() {
    let server = FaultServer::start(named("closed after each answer without saying so").script);
    let target = target(&server.url());
    let (rows, end) = Drive::requests(30).run(&target);
    assert!(rows.iter().all(|row| row.record.outcome == Outcome::Ok));
    assert!(rows[2..].iter().all(|row| !row.record.reused && row.record.connect_ns.is_some()));
    assert!(target.endpoints[0].keep_alive.closes());
    assert!(end.client.connects >= 30);
}

#[test]
fn a_server_that_keeps_connections_gets_few() {
    let server = FaultServer::start(Action::answer_each(good()));
    let drive = Drive { think_ns: 10 * MS, ..Drive::requests(20) };
    let (rows, end) = drive.run(&target(&server.url()));
    assert!(rows.iter().all(|row| row.record.outcome == Outcome::Ok));
    assert!(rows[2..].iter().all(|row| row.record.reused));
    assert!(end.client.connects <= 2, "{}", end.client.connects);
}

#[test]
fn a_long_prompt_arrives_whole() {
    let server = FaultServer::start(Action::answer_once(good()));
    let content = "word ".repeat(50_000);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{content}"}}],"stream":true}}"#);
    let drive = Drive { body: body.clone().into_bytes(), ..Drive::requests(1) };
    let (rows, _) = drive.run(&target(&server.url()));
    assert_eq!(rows[0].record.outcome, Outcome::Ok);
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].body(), body.as_bytes());
    assert_eq!(requests[0].header("accept-encoding").as_deref(), Some("identity"));
}

#[test]
fn a_unix_socket_has_no_kernel_stamps_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.sock");
    let server = FaultServer::with(Action::answer_each(good())).unix(&path).start();
    let (rows, end) = Drive::requests(3).run(&target(&format!("unix:{}", path.display())));
    assert!(rows.iter().all(|row| row.record.outcome == Outcome::Ok));
    assert_eq!(rows[0].record.timestamp_source, Some(TimestampSource::User));
    assert_eq!(end.client.fallbacks, 0, "nothing was expected, so nothing fell back");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn certificates_are_checked_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new(dir.path());
    let outcome = |cert, settings: TargetSettings<'_>| {
        let server = FaultServer::with(Action::answer_each(good())).tls(&cert).start();
        let url = server.url().replace("127.0.0.1", "localhost");
        let (rows, _) = Drive::requests(2).run(&with_settings(&url, settings).unwrap());
        (rows[1].record.outcome, rows[1].record.error)
    };
    let ca_file = || TargetSettings { ca_file: Some(ca.path()), ..TargetSettings::default() };
    let refused = (Outcome::Failed, Some(ErrorKind::Tls));
    assert_eq!(outcome(ca.localhost(), ca_file()), (Outcome::Ok, None));
    assert_eq!(outcome(ca.wrong_name(), ca_file()), refused);
    assert_eq!(outcome(ca.localhost(), TargetSettings::default()), refused);
    let insecure = TargetSettings { insecure: true, ..TargetSettings::default() };
    assert_eq!(outcome(ca.wrong_name(), insecure), (Outcome::Ok, None));
}

#[test]
fn a_retry_keeps_the_first_clock() {
    let busy = Action::answer_once(
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_vec(),
    );
    // Connection 0 is the look whether the server is there.
    let server =
        FaultServer::choosing(
            move |number| {
                if number <= 1 { busy.clone() } else { Action::answer_each(good()) }
            },
        )
        .start();
    let drive = Drive { retries: 1, ..Drive::requests(1) };
    let (rows, _) = drive.run(&target(&server.url()));
    let record = &rows[0].record;
    assert_eq!((record.outcome, record.retries), (Outcome::Ok, 1), "{record:?}");
    let waited = record.first_token_ns.unwrap() - record.write_begin_ns.unwrap();
    assert!(waited >= 900 * MS, "the pause that the server asked for counts: {waited}");
}

#[test]
fn keys_do_not_come_back_in_error_texts() {
    let body = r#"{"error":{"message":"bad key sk-very-secret"}}"#;
    let reply = format!(
        "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = FaultServer::start(Action::answer_each(reply.into_bytes()));
    let api_key = Some("sk-very-secret".to_owned());
    let settings = TargetSettings { api_key, ..TargetSettings::default() };
    let (rows, _) = Drive::requests(1).run(&with_settings(&server.url(), settings).unwrap());
    assert_eq!(rows[0].record.error_text.as_deref(), Some("bad key ***"));
    assert_eq!(
        server.requests()[0].header("authorization").as_deref(),
        Some("Bearer sk-very-secret")
    );
}
