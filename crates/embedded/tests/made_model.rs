//! The engine with a small model of random weights, made on the spot: needs nothing from outside.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use loadline_embedded::protocol::{Reply, Request};
use loadline_embedded::{Error, ServeOptions, serve, worker};
use loadline_gguf::{Made, Weights};
use loadline_schema::engine::{EngineCell, FlashAttention};
use serde_json::{Value, json};
use tokio::sync::oneshot;

const SHAPE: &str =
    "layers=2,embedding=64,feed_forward=128,heads=2,kv_heads=1,vocab=512,context=512";

fn make(path: &Path) {
    let made = Made::new(SHAPE.parse().expect("a shape"), Weights::Q8_0).expect("a model");
    made.write(path, 1).expect("written");
}

fn send(address: SocketAddr, path: &str, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let method = if path == "/health" { "GET" } else { "POST" };
    let mut socket = TcpStream::connect(address).expect("a connection");
    let length = body.len();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, text)
}

#[test]
fn its_cells_are_measured_and_its_facts_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("made.gguf");
    make(&path);
    let cell = EngineCell {
        batch: 4,
        context: 33,
        prompt_tokens: 20,
        output_tokens: 5,
        threads: 1,
        gpu_layers: 0,
        n_batch: 16,
        n_ubatch: 16,
        flash_attention: FlashAttention::On,
        type_k: "q8_0".into(),
        type_v: "f16".into(),
    };
    let requests = [
        Request::Open { model: path.display().to_string(), mmap: false, gpu_layers: 0 },
        Request::Measure { cell: cell.clone(), trials: 3 },
        Request::Measure { cell: EngineCell { context: 500, ..cell }, trials: 1 },
    ];
    let lines: String = requests
        .iter()
        .map(|request| serde_json::to_string(request).expect("a line") + "\n")
        .collect();
    let mut output = Vec::new();
    worker(lines.as_bytes(), &mut output).expect("the pipes hold");
    let text = String::from_utf8(output).expect("text");
    let replies: Vec<Reply> =
        text.lines().map(|line| serde_json::from_str(line).expect("a reply")).collect();
    let Reply::Opened { facts } = &replies[0] else { panic!("{text}") };
    assert!(facts.model.random_weights);
    assert_eq!((facts.model.layers, facts.model.context), (Some(2), Some(512)));
    assert_eq!(facts.model.kv_elements_per_token, Some(2 * (32 + 32)));
    let trials = replies.iter().filter(|reply| matches!(reply, Reply::Trial { .. })).count();
    assert_eq!((trials, &replies[4]), (3, &Reply::Done));
    let Reply::Failed { message } = &replies[5] else { panic!("{text}") };
    assert!(message.starts_with("520 tokens of context"), "{message}");
}

/// A server over a made model, until its first part is dropped.
fn start(
    options: ServeOptions,
) -> (oneshot::Sender<()>, SocketAddr, JoinHandle<Result<(), Error>>) {
    let (end, ended) = oneshot::channel();
    let (tell, told) = sync_channel(1);
    let server = std::thread::spawn(move || {
        let shutdown = async move { drop(ended.await) };
        serve(options, shutdown, |address| tell.send(address).expect("a listener"))
    });
    let address = told.recv().expect("an address");
    while send(address, "/health", &Value::Null).0 != 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
    (end, address, server)
}

#[test]
fn every_token_of_random_weights_is_a_chunk() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("made.gguf");
    make(&path);
    let options = ServeOptions {
        name: Some("made".into()),
        parallel: 2,
        context_per_slot: 512,
        n_batch: 64,
        every_token_visible: true,
        ..ServeOptions::new(path)
    };
    let (end, address, server) = start(options);
    let prompt: Vec<u32> = (0..200).map(|token| 3 + token % 250).collect();
    let body = json!({
        "model": "made", "prompt": prompt, "max_tokens": 100, "min_tokens": 100, "seed": 3,
        "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true},
    });
    let (status, text) = send(address, "/v1/completions", &body);
    assert_eq!(status, 200, "{text}");
    let told = text.matches("\"text\":\"").count() - text.matches("\"text\":\"\"").count();
    assert_eq!(told, 100, "{text}");
    assert!(text.contains("\"completion_tokens\":100,\"prompt_tokens\":200"));
    let chat = json!({"messages": [{"role": "user", "content": "hi €"}], "max_tokens": 3});
    let (status, text) = send(address, "/chat/completions", &chat);
    assert_eq!(status, 200, "{text}");
    drop(end);
    server.join().expect("no panic").expect("a clean end");
}

#[test]
fn a_full_queue_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("made.gguf");
    make(&path);
    let options =
        ServeOptions { parallel: 1, queue: 1, context_per_slot: 512, ..ServeOptions::new(path) };
    let (end, address, server) = start(options);
    let body = json!({"prompt": [5, 6], "max_tokens": 500, "ignore_eos": true});
    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..24).map(|_| scope.spawn(|| send(address, "/completions", &body))).collect();
        asked.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert!(answers.iter().any(|(status, _)| *status == 200));
    let refused: Vec<_> = answers.iter().filter(|(status, _)| *status != 200).collect();
    assert!(!refused.is_empty(), "24 requests, room for 2");
    for (status, text) in refused {
        assert_eq!(*status, 503, "{text}");
        assert!(text.contains("unavailable_error"), "{text}");
    }
    drop(end);
    server.join().expect("no panic").expect("a clean end");
}
