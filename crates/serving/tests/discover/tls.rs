//! TLS of control requests: trust, names, and the wrong scheme.

use std::path::Path;

use loadline_schema::outcome::ErrorKind;
use loadline_serving::ask::{AskError, Reply, ask};
use loadline_serving::target::TargetSettings;
use loadline_testkit::{Action, FaultServer, ServerCert, TestCa, json_reply};

use super::{SECOND_NS, with_settings};

fn server(cert: &ServerCert) -> FaultServer {
    FaultServer::with(Action::answer_each(json_reply("200 OK", "{}"))).tls(cert).start()
}

fn get(url: &str, ca_file: Option<&Path>, insecure: bool) -> Result<Reply, AskError> {
    let settings = TargetSettings { ca_file, insecure, ..TargetSettings::default() };
    ask(&with_settings(url, settings), 0, "GET", "/health", None, 5 * SECOND_NS)
}

#[test]
fn a_known_authority_is_trusted_and_an_unknown_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = TestCa::new(folder.path());
    let server = server(&ca.localhost());
    let url = server.url();
    assert_eq!(get(&url, Some(ca.path()), false).expect("trusted").status, 200);
    assert_eq!(get(&url, None, true).expect("not checked").status, 200);
    let error = get(&url, None, false).expect_err("unknown");
    assert_eq!(error.kind, ErrorKind::Tls);
    assert!(error.why.contains("--cacert FILE") && error.why.contains("--insecure"), "{error}");
}

#[test]
fn a_certificate_of_another_name_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = TestCa::new(folder.path());
    let server = server(&ca.wrong_name());
    let error = get(&server.url(), Some(ca.path()), false).expect_err("another name");
    assert_eq!(error.kind, ErrorKind::Tls);
    assert!(error.why.contains("for another name"), "{error}");
    assert!(error.why.contains("elsewhere.example"), "{error}");
}

#[test]
fn the_wrong_scheme_is_recognised_both_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    let encrypted = server(&TestCa::new(folder.path()).localhost());
    let address = encrypted.addr();
    let error = get(&format!("http://{address}"), None, false).expect_err("plain to TLS");
    assert!(error.why.contains(&format!("the server wants TLS: use https://{address}")), "{error}");

    let bad = json_reply("400 Bad Request", "{}");
    let plain = FaultServer::start(vec![Action::send(bad), Action::WaitForClientClose]);
    let address = plain.addr();
    let error = get(&format!("https://{address}"), None, true).expect_err("TLS to plain");
    assert_eq!(error.kind, ErrorKind::Tls);
    let words = format!("the server speaks plain HTTP on this port: use http://{address}");
    assert!(error.why.contains(&words), "{error}");

    let silent = FaultServer::start(vec![Action::Close]);
    let url = format!("https://{}", silent.addr());
    let error = get(&url, None, true).expect_err("closed in the handshake");
    assert!(error.why.contains("closed the connection in the TLS handshake"), "{error}");
    assert!(error.why.contains("use http://"), "{error}");

    // Some servers wait for the end of a head that will never come.
    let waiting = FaultServer::start(vec![Action::WaitForClientClose]);
    let settings = TargetSettings { insecure: true, ..TargetSettings::default() };
    let target = with_settings(&format!("https://{}", waiting.addr()), settings);
    let error = ask(&target, 0, "GET", "/", None, SECOND_NS / 20).expect_err("no handshake");
    assert_eq!(error.kind, ErrorKind::ConnectTimeout);
    assert!(error.why.contains("unanswered") && error.why.contains("use http://"), "{error}");
}
