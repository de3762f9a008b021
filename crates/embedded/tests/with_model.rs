//! The engine with a real model: `LOADLINE_MODEL` names a GGUF file with text (SmolLM2-135M is
//! enough). Without it these tests say that they were skipped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use loadline_embedded::protocol::{Reply, Request};
use loadline_embedded::{Error, ServeOptions, serve, worker};
use loadline_schema::engine::{EngineCell, FlashAttention};
use serde_json::{Value, json};

const SKIPPED: &str = "SKIPPED: LOADLINE_MODEL names no GGUF file";

fn model() -> Option<PathBuf> {
    std::env::var_os("LOADLINE_MODEL").map(PathBuf::from).filter(|path| path.is_file())
}

fn cell() -> EngineCell {
    EngineCell {
        batch: 1,
        context: 0,
        prompt_tokens: 24,
        output_tokens: 4,
        threads: 2,
        gpu_layers: 0,
        n_batch: 16,
        n_ubatch: 8,
        flash_attention: FlashAttention::Auto,
        type_k: "f16".into(),
        type_v: "f16".into(),
    }
}

fn replies(requests: &[Request]) -> Vec<Reply> {
    let lines: String = requests
        .iter()
        .map(|request| serde_json::to_string(request).expect("a line") + "\n")
        .collect();
    let mut output = Vec::new();
    worker(lines.as_bytes(), &mut output).expect("the pipes hold");
    let text = String::from_utf8(output).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a reply")).collect()
}

#[test]
fn cells_are_measured_and_impossible_ones_refused() {
    let Some(path) = model() else {
        eprintln!("{SKIPPED}");
        return;
    };
    let measure = |cell, trials| Request::Measure { cell, trials };
    let replies = replies(&[
        Request::Open { model: path.display().to_string(), mmap: true, gpu_layers: 0 },
        measure(EngineCell { batch: 3, context: 40, ..cell() }, 2),
        measure(EngineCell { n_batch: 0, ..cell() }, 1),
        measure(EngineCell { context: 1 << 30, ..cell() }, 1),
        measure(
            EngineCell { type_v: "q8_0".into(), flash_attention: FlashAttention::Off, ..cell() },
            1,
        ),
        measure(EngineCell { prompt_tokens: 0, ..cell() }, 1),
    ]);
    let Reply::Opened { facts } = &replies[0] else { panic!("{:?}", replies[0]) };
    assert_eq!(facts.name, "llama.cpp");
    assert!(facts.model.parameters.is_some_and(|count| count > 1_000));
    for (index, reply) in replies[1..3].iter().enumerate() {
        let Reply::Trial { index: told, trial } = reply else { panic!("{reply:?}") };
        assert_eq!(*told as usize, index);
        assert_eq!((trial.prompt_tokens, trial.decode_tokens), (3 * 24, 3 * 4));
        assert!(trial.prompt_ns > Some(0) && trial.decode_ns > Some(0) && trial.cpu_ns > Some(0));
        assert!(trial.memory_bytes > Some(1 << 20));
    }
    assert_eq!(replies[3], Reply::Done);
    for (reply, why) in replies[4..7].iter().zip(["n_batch is 0", "was trained for", "V cache"]) {
        let Reply::Failed { message } = reply else { panic!("{reply:?}") };
        assert!(message.contains(why), "{message}");
    }
    let Reply::Trial { trial, .. } = &replies[7] else { panic!("{:?}", replies[7]) };
    assert_eq!((trial.prompt_tokens, trial.prompt_ns), (0, None));
    assert_eq!((trial.decode_tokens, replies.len()), (4, 9));
}

/// A server in this process.
struct Server {
    address: SocketAddr,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Server {
    fn start(options: ServeOptions) -> Self {
        let (end, ended) = tokio::sync::oneshot::channel();
        let (tell, told) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let shutdown = async move { drop(ended.await) };
            serve(options, shutdown, |address| tell.send(address).expect("a listener"))
        });
        let address = told.recv().expect("an address");
        let server = Self { address, end: Some(end), thread: Some(thread) };
        while server.get("/health").0 != 200 {
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn send(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).expect("a connection");
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sent");
        socket
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut text = String::new();
        self.send(method, path, body).read_to_string(&mut text).expect("an answer");
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        (status, body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "")
    }

    fn complete(&self, body: &Value) -> Value {
        let (status, text) = self.ask("POST", "/v1/completions", &body.to_string());
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    fn metric(&self, line: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find(|told| told.starts_with(line)).expect("the metric");
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    fn stop(&mut self) -> Result<(), Error> {
        drop(self.end.take());
        self.thread.take().expect("running").join().expect("no panic")
    }
}

#[test]
fn requests_are_computed_together_and_alone_alike() {
    let Some(path) = model() else {
        eprintln!("{SKIPPED}");
        return;
    };
    // Steps of 8 tokens: prompts are cut, and read beside the generation of others.
    let options = ServeOptions { parallel: 3, n_batch: 8, threads: 2, ..ServeOptions::new(path) };
    let mut server = Server::start(options);
    let prompts =
        ["Once upon a time", "The capital of France is", "One, two, three, four, five, six"];
    let body = |prompt: &str| json!({"prompt": prompt, "max_tokens": 6, "temperature": 0, "ignore_eos": true});
    let text = |answer: &Value| answer["choices"][0]["text"].as_str().expect("text").to_owned();
    let alone: Vec<String> =
        prompts.iter().map(|prompt| text(&server.complete(&body(prompt)))).collect();
    let together: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = prompts
            .iter()
            .map(|prompt| scope.spawn(|| text(&server.complete(&body(prompt)))))
            .collect();
        asked.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(alone, together);
    assert_eq!(server.metric("loadline_generation_tokens_total"), 6 * 6);
    assert_eq!(server.metric("loadline_time_to_first_token_seconds_count"), 6);
    assert_eq!(server.metric("loadline_inter_token_latency_seconds_count"), 6 * 5);
    server.stop().expect("a clean end");
}

#[test]
fn streams_tell_every_token_and_clients_that_leave_free_their_slot() {
    let Some(path) = model() else {
        eprintln!("{SKIPPED}");
        return;
    };
    let options = ServeOptions {
        parallel: 1,
        threads: 2,
        name: Some("m".into()),
        every_token_visible: true,
        ..ServeOptions::new(path)
    };
    let mut server = Server::start(options);
    let body = json!({
        "model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9,
        "stream": true, "ignore_eos": true, "stream_options": {"include_usage": true},
    });
    let (status, text) = server.ask("POST", "/v1/chat/completions", &body.to_string());
    assert_eq!(status, 200);
    assert_eq!(text.matches("\"content\":").count(), 1 + 9, "the role and 9 tokens: {text}");
    assert!(text.contains("\"completion_tokens\":9") && text.contains("data: [DONE]"));
    let long = json!({"prompt": "Hi", "max_tokens": 2000, "stream": true, "ignore_eos": true});
    let mut client = server.send("POST", "/completions", &long.to_string());
    client.read_exact(&mut [0; 300]).expect("a beginning");
    assert_eq!(server.metric("loadline_num_requests_running"), 1);
    drop(client);
    let next = json!({"prompt": "Hi", "max_tokens": 1});
    server.complete(&next);
    assert_eq!(
        server.metric("loadline_requests_total{model_name=\"m\",finished_reason=\"abort\"}"),
        1
    );
    let too_long = json!({"prompt": "Hi", "max_tokens": 9999});
    let (status, text) = server.ask("POST", "/completions", &too_long.to_string());
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("exceed_context_size_error"));
    server.stop().expect("a clean end");
}

#[test]
fn a_server_without_a_model_says_why() {
    let options = ServeOptions::new("/nowhere/m.gguf".into());
    let error = serve(options, std::future::pending(), |_| {}).expect_err("no model");
    assert!(error.to_string().contains("/nowhere/m.gguf"), "{error}");
}
