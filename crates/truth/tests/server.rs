//! The server as a client sees it: forms of the stream, control, queueing, and the log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use loadline_truth::{Law, Listen, Outcome, TruthThread};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

fn quick() -> Law {
    Law::fixed(Duration::from_millis(5), Duration::from_millis(2), 4)
}

fn with(parameters: &str) -> Law {
    quick().with(parameters).expect("valid parameters")
}

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends one request and reads to the end of the connection.
fn exchange(mut socket: impl Read + Write, request: &str) -> String {
    socket.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("answered");
    answer
}

fn ask(server: &TruthThread, path: &str, body: &str) -> String {
    let socket = TcpStream::connect(server.addr()).expect("connected");
    exchange(socket, &request("POST", path, body))
}

fn get(server: &TruthThread, path: &str) -> String {
    let socket = TcpStream::connect(server.addr()).expect("connected");
    let answer = exchange(socket, &request("GET", path, ""));
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

fn chat(server: &TruthThread, extra: &str) -> String {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"one two three"}}]{extra}}}"#);
    ask(server, "/v1/chat/completions", &body)
}

fn stream(server: &TruthThread) -> Vec<Value> {
    events(&chat(server, r#","stream":true,"stream_options":{"include_usage":true}"#))
}

fn events(answer: &str) -> Vec<Value> {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer}");
    let lines = answer.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .filter(|json| *json != "[DONE]")
        .map(|json| serde_json::from_str(json).expect(json))
        .collect()
}

#[test]
fn a_plain_stream_is_logged_as_it_was_sent() {
    let server = TruthThread::start(quick()).expect("started");
    let events = stream(&server);
    assert_eq!(events.len(), 5);
    assert_eq!(events[0]["id"], "chatcmpl-0000000000000000");
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[3]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[4]["choices"], serde_json::json!([]));
    assert_eq!(events[4]["usage"]["prompt_tokens"], 3 + 7);
    assert_eq!(events[4]["usage"]["completion_tokens"], 4);

    let log = server.log();
    let record = &log[0];
    assert_eq!(record.answer_id(), "chatcmpl-0000000000000000");
    assert_eq!((record.tokens, record.outcome), (4, Outcome::Completed));
    assert_eq!(record.write_times_ns.len(), 4);
    // A write is never before its due time, and due times follow from arrival and law alone.
    for (index, time) in record.write_times_ns.iter().enumerate() {
        let due = record.arrival_kernel_ns + 5_000_000 + 2_000_000 * index as u64;
        assert!((due..=due + record.max_lag_ns).contains(time), "write {index}");
    }
    assert!(record.end_ns >= record.last_ns.expect("a last write"));
    assert!(record.arrival_user_ns >= record.arrival_kernel_ns);
}

#[test]
fn random_laws_give_the_same_times_for_the_same_seed() {
    let due = |seed: u32| {
        let law =
            with(&format!("ttft=exponential:3000&itl=lognormal:1000,0.5&tokens=2-9&seed={seed}"));
        let server = TruthThread::start(law).expect("started");
        stream(&server);
        let record = server.log().remove(0);
        (record.tokens, record.ttft_ns().expect("a token"), record.max_lag_ns)
    };
    let (first, again, other) = (due(1), due(1), due(2));
    assert_eq!(first.0, again.0);
    // Equal laws differ by nothing but how late the writes were.
    assert!(first.1.abs_diff(again.1) <= first.2 + again.2, "{first:?} {again:?}");
    assert_ne!((first.0, first.1 / 1_000_000), (other.0, other.1 / 1_000_000));
}

#[test]
fn bundles_and_several_tokens_an_event_are_counted_in_the_log() {
    let server = TruthThread::start(with("tokens=11&per_event=2&burst=3")).expect("started");
    let events = stream(&server);
    assert_eq!(events.len(), 6 + 1);
    assert_eq!(events[0]["choices"][0]["delta"]["content"], " the of");
    assert_eq!(events[5]["choices"][0]["delta"]["content"], " and");
    let record = server.log().remove(0);
    let counts: Vec<u32> = record.writes().map(|(_, tokens)| tokens).collect();
    assert_eq!(counts, [6, 5]);
}

#[test]
fn reasoning_comes_first_in_its_field_and_is_whole_events() {
    let law = with("tokens=6&per_event=2&reasoning=3&reasoning_field=reasoning");
    let server = TruthThread::start(law).expect("started");
    let events = stream(&server);
    assert_eq!(events[0]["choices"][0]["delta"]["reasoning"], " the of");
    assert_eq!(events[1]["choices"][0]["delta"]["content"], " and to");
    assert_eq!(events[3]["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    let record = server.log().remove(0);
    assert_eq!(record.first_output_ns(), Some(record.write_times_ns[1]));
}

#[test]
fn the_role_can_come_by_itself() {
    for (form, alone) in [("now", true), ("with", false)] {
        let server = TruthThread::start(with(&format!("role={form}"))).expect("started");
        let events = stream(&server);
        assert_eq!(
            events[0]["choices"][0]["delta"],
            serde_json::json!({"role":"assistant","content":""})
        );
        assert_eq!(events.len(), 1 + 4 + 1);
        let record = server.log().remove(0);
        assert_eq!(record.role_ns.is_some(), alone);
        assert!(record.role_ns.is_none_or(|role| Some(role) < record.first_ns));
        assert_eq!(record.tokens, 4);
    }
}

#[test]
fn usage_is_where_the_law_puts_it() {
    let usage = |parameters: &str| {
        let server = TruthThread::start(with(parameters)).expect("started");
        let events = stream(&server);
        events.iter().map(|event| event["usage"]["completion_tokens"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(usage("usage=never"), [None; 4]);
    assert_eq!(usage("usage_place=token"), [None, None, None, Some(4)]);
    assert_eq!(usage("usage_place=finish"), [None, None, None, None, Some(4)]);
    assert_eq!(usage("continuous=1"), [Some(1), Some(2), Some(3), Some(4), Some(4)]);
    let server = TruthThread::start(with("usage=always&usage_place=finish")).expect("started");
    let last = events(&chat(&server, r#","stream":true"#)).pop().expect("events");
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(last["usage"]["total_tokens"], 14);
}

#[test]
fn answers_that_are_not_streamed_take_as_long() {
    let server = TruthThread::start(quick()).expect("started");
    let answer = chat(&server, "");
    let body: Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], " the of and to");
    assert_eq!(body["usage"]["total_tokens"], 14);
    let record = server.log().remove(0);
    assert!(record.ttft_ns() >= Some(5_000_000 + 3 * 2_000_000));
    assert_eq!(record.token_times_ns(), [record.first_ns.expect("sent"); 4]);

    let answer = ask(&server, "/v1/completions", r#"{"prompt":"a b","stream":true}"#);
    assert_eq!(events(&answer)[0]["choices"][0]["text"], " of");
    let record = server.log().remove(1);
    assert_eq!((record.answer_id().as_str(), record.prompt_tokens), ("cmpl-0000000000000001", 2));
}

#[test]
fn limits_of_the_request_are_honoured_when_the_law_says_so() {
    let count = |parameters: &str, extra: &str| {
        let server = TruthThread::start(with(parameters)).expect("started");
        let events = events(&chat(&server, &format!(r#","stream":true{extra}"#)));
        let reason = events.last().expect("events")["choices"][0]["finish_reason"].clone();
        (events.len(), reason.as_str().expect("a reason").to_owned())
    };
    assert_eq!(count("limits=0", r#","max_tokens":2"#), (4, "length".to_owned()));
    assert_eq!(count("limits=1", r#","max_tokens":2"#), (2, "length".to_owned()));
    assert_eq!(count("limits=1", r#","max_tokens":9"#), (4, "stop".to_owned()));
    assert_eq!(count("limits=1", r#","max_tokens":9,"min_tokens":6"#), (6, "stop".to_owned()));
    assert_eq!(
        count("limits=1", r#","max_completion_tokens":9,"ignore_eos":true"#),
        (9, "length".to_owned())
    );
}

#[test]
fn a_stall_delays_the_tokens_from_there_on() {
    let server = TruthThread::start(with("stall=2,1,30000")).expect("started");
    stream(&server);
    stream(&server);
    let log = server.log();
    let gap = |index: usize| log[index].gaps_ns().next().expect("a gap");
    assert!(gap(1) + log[1].max_lag_ns >= 32_000_000, "{}", gap(1));
    assert!(gap(0) <= 2_000_000 + log[0].max_lag_ns, "{}", gap(0));
}

#[test]
fn with_one_slot_answers_queue_in_order_and_more_are_shed() {
    let server = TruthThread::start(with("slots=1&shed=1&ttft_us=30000")).expect("started");
    let body = r#"{"prompt":"a","stream":true}"#;
    let mut sockets = Vec::new();
    for count in 1..=3 {
        let mut socket = TcpStream::connect(server.addr()).expect("connected");
        socket.write_all(request("POST", "/v1/completions", body).as_bytes()).expect("sent");
        sockets.push(socket);
        while server.stats().inflight + server.stats().shed < count {
            std::thread::yield_now();
        }
    }
    let answers: Vec<String> = sockets
        .into_iter()
        .map(|mut socket| {
            let mut answer = String::new();
            socket.read_to_string(&mut answer).expect("answered");
            answer
        })
        .collect();
    assert!(answers[2].starts_with("HTTP/1.1 429"), "{}", answers[2]);
    assert!(answers[2].contains("retry-after: 1\r\n"));
    let log = server.log();
    assert_eq!(log.iter().map(|record| record.id).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(log[1].start_ns, log[0].end_ns);
    assert!(log[1].first_ns >= Some(log[1].start_ns + 30_000_000));
    assert_eq!(server.stats().max_inflight, 2);
}

#[test]
fn errors_come_at_their_rate_and_are_no_answers() {
    let server = TruthThread::start(with("errors=1")).expect("started");
    let answer = chat(&server, r#","stream":true"#);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!((server.stats().errors, server.log().len()), (1, 0));
}

#[test]
fn a_client_that_leaves_is_logged_as_gone() {
    let server = TruthThread::start(with("itl_us=3000&tokens=100000")).expect("started");
    let mut socket = TcpStream::connect(server.addr()).expect("connected");
    let body = r#"{"prompt":"a","stream":true}"#;
    socket.write_all(request("POST", "/v1/completions", body).as_bytes()).expect("sent");
    let mut first = [0; 1_024];
    assert!(socket.read(&mut first).expect("head") > 0);
    drop(socket);
    let log = server.log_of(1, LIMIT);
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].outcome, Outcome::ClientClosed);
    assert_eq!(server.stats().closed_mid, 1);
    assert_eq!((server.stats().n, server.stats().inflight), (0, 0));
}

#[test]
fn saturated_streams_arrive_whole_even_through_a_full_socket() {
    let server = TruthThread::start(Law::saturated(100_000)).expect("started");
    let socket = TcpStream::connect(server.addr()).expect("connected");
    let mut reader = socket.try_clone().expect("cloned");
    (&socket)
        .write_all(request("POST", "/v1/completions", r#"{"prompt":"a","stream":true}"#).as_bytes())
        .expect("sent");
    while server.stats().eagain == 0 {
        assert_eq!(server.stats().n, 0, "the socket took everything");
        std::thread::yield_now();
    }
    let mut answer = String::new();
    reader.read_to_string(&mut answer).expect("answered");
    assert_eq!(events(&answer).len(), 100_000);
    assert_eq!(server.log()[0].tokens, 100_000);
}

#[test]
fn requests_on_one_connection_are_answered_in_turn() {
    let server = TruthThread::start(quick()).expect("started");
    let body = r#"{"prompt":"a","stream":true}"#;
    let one =
        format!("POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let socket = TcpStream::connect(server.addr()).expect("connected");
    let answer = exchange(socket, &format!("{one}{one}{}", request("GET", "/health", "")));
    assert_eq!(answer.matches("data: [DONE]").count(), 2);
    assert!(answer.ends_with("ok\n"));
    let log = server.log();
    assert_eq!(log[0].connection, log[1].connection);
    assert!(log[1].arrival_kernel_ns >= log[0].end_ns);
}

#[test]
fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("truth.sock");
    let server = TruthThread::start_at(Listen::Unix(path.clone()), quick()).expect("started");
    let socket = UnixStream::connect(&path).expect("connected");
    let answer =
        exchange(socket, &request("POST", "/v1/completions", r#"{"prompt":"a","stream":true}"#));
    assert_eq!(events(&answer).len(), 4);
    assert_eq!(server.log()[0].tokens, 4);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn control_paths_answer() {
    let server = TruthThread::start(quick()).expect("started");
    assert_eq!(
        get(&server, "/reset?ttft_us=1000&itl_us=500&tokens=3&burst=1&spread=0&gaps=1"),
        "{}\n"
    );
    assert!(get(&server, "/reset?speed=1").contains("speed"));
    stream(&server);
    let stats: Value = serde_json::from_str(&get(&server, "/stats")).expect("JSON");
    assert_eq!((&stats["n"], &stats["events"]), (&Value::from(1), &Value::from(3)));
    assert!(stats["ttft_p50"].as_f64().expect("a number") >= 1.0);

    let file = tempfile::NamedTempFile::new().expect("a file");
    assert_eq!(get(&server, &format!("/dump?path={}", file.path().display())), "ok\n");
    assert_eq!(loadline_truth::dump::read(file.path()).expect("readable"), server.log());
    assert!(get(&server, "/dump?path=/nowhere/at/all").contains("cannot write"));

    let models: Value = serde_json::from_str(&get(&server, "/v1/models")).expect("JSON");
    assert_eq!(models["data"][0]["id"], "mock");
    assert!(
        get(&server, "/metrics").contains("vllm:generation_tokens_total{model_name=\"mock\"} 3\n")
    );
    assert!(get(&server, "/version").contains("loadline-truth"));
    assert!(get(&server, "/nothing").contains("nothing at this path"));

    let tokens = |body: &str| {
        let answer = ask(&server, "/tokenize", body);
        let body = answer.split_once("\r\n\r\n").expect("a head").1.to_owned();
        serde_json::from_str::<Value>(&body).expect("JSON")
    };
    assert_eq!(tokens(r#"{"content":"a b c"}"#)["tokens"].as_array().expect("a list").len(), 3);
    assert_eq!(tokens(r#"{"prompt":"a b"}"#)["count"], 2);
    assert_eq!(tokens(r#"{"messages":[{"role":"user","content":"a b"}]}"#)["count"], 9);
    assert!(ask(&server, "/v1/completions", "{").starts_with("HTTP/1.1 400"));
}

#[test]
fn the_log_can_be_kept_small() {
    let server = TruthThread::start(with("gaps=0")).expect("started");
    get(&server, "/reset?records=2&gaps=0");
    for _ in 0..3 {
        stream(&server);
    }
    let log = server.log();
    assert_eq!((log.len(), server.stats().unlogged), (2, 1));
    assert!(log[0].write_times_ns.is_empty());
    assert!(log[0].last_ns > log[0].first_ns);
}
