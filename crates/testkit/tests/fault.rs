//! The fault server: that it does what its scripts say, over every kind of socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use loadline_testkit::{Action, FaultServer, Reply, ServerCert, TestCa, cases};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const LIMIT: Duration = Duration::from_secs(20);
const REQUEST: &[u8] = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nhost: a\r\nx-key: k\r\n\
content-length: 8\r\n\r\n{\"a\":12}";

fn read_all(socket: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).expect("a good end");
    bytes
}

fn connect(server: &FaultServer) -> TcpStream {
    let mut socket = TcpStream::connect(server.addr()).expect("connected");
    socket.write_all(REQUEST).expect("sent");
    socket
}

#[test]
fn requests_are_recorded_as_they_came() {
    let reply = Reply::chat(&["Hi"]).done();
    let server = FaultServer::start(reply.script());
    let mut socket = connect(&server);
    socket.write_all(REQUEST).expect("sent");
    assert!(server.wait_for_requests(2, LIMIT));
    let mut both = vec![0; reply.bytes().len() * 2];
    socket.read_exact(&mut both).expect("two replies");
    assert_eq!(both, [reply.bytes(), reply.bytes()].concat());

    let request = &server.requests()[1];
    assert_eq!(request.raw, REQUEST);
    assert_eq!(
        (request.method().as_str(), request.header("X-Key").as_deref()),
        ("POST", Some("k"))
    );
    assert_eq!(request.json()["a"], 12);
    assert_eq!((server.connections(), server.open_connections()), (1, 1));
    drop(socket);
    assert!(server.wait_until_idle(LIMIT));
}

#[test]
fn each_way_to_end_looks_different_to_the_client() {
    let server = FaultServer::start(vec![Action::ReadRequest, Action::send("x"), Action::Close]);
    assert_eq!(read_all(&mut connect(&server)), b"x");

    let server = FaultServer::start(vec![Action::ReadRequest, Action::Reset]);
    let error = connect(&server).read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let half = vec![Action::ReadRequest, Action::HalfClose, Action::ReadRequest];
    let server = FaultServer::start(half);
    let mut socket = connect(&server);
    assert_eq!(read_all(&mut socket), b"");
    socket.write_all(REQUEST).expect("our direction is open");
    assert!(server.wait_for_requests(2, LIMIT));

    let silent = vec![Action::ReadRequest, Action::WaitForClientClose];
    let server = FaultServer::start(silent);
    let socket = connect(&server);
    assert!(server.wait_for_requests(1, LIMIT));
    assert_eq!(server.open_connections(), 1);
    drop(socket);
    assert!(server.wait_until_idle(LIMIT));
}

#[test]
fn a_slow_reply_arrives_whole() {
    let slow = Action::SendSlowly {
        bytes: b"0123456789".to_vec(),
        piece: 3,
        pause: Duration::from_millis(1),
    };
    let server = FaultServer::start(vec![Action::ReadRequest, slow]);
    assert_eq!(read_all(&mut connect(&server)), b"0123456789");
}

#[test]
fn scripts_differ_by_connection_and_by_path() {
    let server = FaultServer::choosing(|connection| match connection {
        0 => vec![Action::Close],
        _ => vec![
            Action::ReadRequest,
            Action::ByPath {
                ends_with: "/completions".to_owned(),
                then: vec![Action::send("answer")],
                otherwise: vec![Action::send("other")],
            },
        ],
    })
    .start();
    let mut first = TcpStream::connect(server.addr()).expect("connected");
    assert_eq!(read_all(&mut first), b"");
    assert_eq!(read_all(&mut connect(&server)), b"answer");
    let mut other = TcpStream::connect(server.addr()).expect("connected");
    other.write_all(b"GET /v1/models HTTP/1.1\r\n\r\n").expect("sent");
    assert_eq!(read_all(&mut other), b"other");
}

#[test]
fn a_server_that_is_dropped_lets_nobody_hang() {
    let server = FaultServer::start(vec![Action::Pause(Duration::from_hours(1))]);
    let mut waiting = TcpStream::connect(server.addr()).expect("connected");
    while server.connections() == 0 {
        std::thread::yield_now();
    }
    drop(server);
    assert!(matches!(waiting.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fault.sock");
    let server = FaultServer::with(Action::answer_once("hello")).unix(&path).start();
    let mut socket = UnixStream::connect(&path).expect("connected");
    socket.write_all(REQUEST).expect("sent");
    assert_eq!(read_all(&mut socket), b"hello");
    assert_eq!(server.unix_path(), Some(path.as_path()));
    drop(server);
    assert!(!path.exists());
}

/// Talks TLS to a server with `cert`, trusting `ca`.
fn talk(ca: &TestCa, cert: &ServerCert, script: Vec<Action>) -> std::io::Result<Vec<u8>> {
    let server = FaultServer::with(script).tls(cert).start();
    assert!(server.url().starts_with("https://localhost:"));
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(ca.path()).expect("the authority's file");
    roots.add(CertificateDer::from_pem_slice(&pem).expect("PEM")).expect("an authority");
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut stream = StreamOwned::new(session, TcpStream::connect(server.addr())?);
    stream.write_all(REQUEST)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn tls_serves_and_a_wrong_name_or_authority_is_refused() {
    let (folder, other) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (ca, stranger) = (TestCa::new(folder.path()), TestCa::new(other.path()));
    assert_eq!(
        talk(&ca, &ca.localhost(), Action::answer_once("hello")).expect("trusted"),
        b"hello"
    );
    assert!(talk(&ca, &ca.wrong_name(), Action::answer_once("hello")).is_err());
    assert!(talk(&ca, &stranger.localhost(), Action::answer_once("hello")).is_err());
    // Cut leaves out close_notify, which a client must not take for a good end.
    let cut = vec![Action::ReadRequest, Action::send("half"), Action::Cut];
    let error = talk(&ca, &ca.localhost(), cut).expect_err("truncated");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn every_case_can_be_played() {
    let mut names = std::collections::BTreeSet::new();
    for case in cases::all() {
        assert!(names.insert(case.name), "two cases are called {:?}", case.name);
        assert_eq!(case.expect.errors.is_empty(), case.expect.outcome == "ok", "{}", case.name);
        let server = FaultServer::start(case.script);
        let mut socket = connect(&server);
        socket.shutdown(std::net::Shutdown::Write).expect("open");
        assert!(server.wait_for_requests(1, LIMIT), "{}", case.name);
        if case.expect.outcome != "timed_out" {
            // All others end by themselves once the client has no more requests.
            let mut bytes = Vec::new();
            let _ = socket.read_to_end(&mut bytes);
            let good = case.expect.outcome == "ok";
            assert!(!good || bytes.starts_with(b"HTTP/1."), "{}", case.name);
        }
    }
    assert_eq!(cases::named("redirect 307").expect.status, Some(307));
}
