//! Discovery against servers that answer by a script.

use loadline_testkit::{Action, FaultServer, Reply, Script, json_reply};

use super::*;
use crate::target::TargetSettings;

const SECOND_NS: u64 = 1_000_000_000;
const MODELS: &str = include_str!("../../tests/fixtures/llama-models.json");

/// Replies by the end of the path; anything else is not found.
fn paths(replies: &[(&str, Vec<u8>)]) -> Script {
    let nothing = json_reply("404 Not Found", r#"{"error":{"message":"File Not Found"}}"#);
    let last = vec![Action::send(nothing), Action::Close];
    let script = replies.iter().rev().fold(last, |otherwise, (ends_with, reply)| {
        let then = vec![Action::send(reply.clone()), Action::Close];
        vec![Action::ByPath { ends_with: (*ends_with).to_owned(), then, otherwise }]
    });
    [vec![Action::ReadRequest], script].concat()
}

fn list(ids: &[&str]) -> Vec<u8> {
    let data: Vec<_> = ids.iter().map(|id| serde_json::json!({"id": id})).collect();
    json_reply("200 OK", &serde_json::json!({"data": data}).to_string())
}

fn target(servers: &[&FaultServer], key: Option<&str>) -> Target {
    let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
    let settings = TargetSettings {
        urls: &urls,
        api_key: key.map(str::to_owned),
        connect_timeout_ns: SECOND_NS,
        ..TargetSettings::default()
    };
    Target::resolve(&settings).expect("the server takes connections")
}

fn ask_about(server: &FaultServer, model: Option<&str>) -> Result<Discovered, DiscoverError> {
    discover(&target(&[server], None), model, 5 * SECOND_NS)
}

fn message(server: &FaultServer, model: Option<&str>) -> String {
    ask_about(server, model).expect_err("it is refused").message
}

#[test]
fn llama_cpp_is_asked_for_its_slots() {
    let props = include_str!("../../tests/fixtures/llama-props.json");
    let metrics = include_str!("../../tests/fixtures/llama-metrics.txt");
    let server = FaultServer::start(paths(&[
        ("/v1/models", json_reply("200 OK", MODELS)),
        ("/metrics", Reply::new("200 OK", "text/plain").piece(metrics).bytes()),
        ("/props", json_reply("200 OK", props)),
    ]));
    let found = ask_about(&server, None).expect("found");
    let expected = TargetFacts {
        engine: Some("llama.cpp".to_owned()),
        version: Some("b0-unknown".to_owned()),
        model: Some("smollm2-135m".to_owned()),
        models: vec!["smollm2-135m".to_owned()],
        context_tokens: Some(2048),
        slots: Some(4),
        has_metrics: true,
    };
    assert_eq!(found, Discovered { facts: expected, warnings: Vec::new() });
}

#[test]
fn vllm_is_asked_for_its_version() {
    let models = include_str!("../../tests/fixtures/vllm-models.json");
    let server = FaultServer::start(paths(&[
        ("/v1/models", json_reply("200 OK", models)),
        ("/version", json_reply("200 OK", r#"{"version":"0.32.0"}"#)),
    ]));
    let facts = ask_about(&server, None).expect("found").facts;
    assert_eq!((facts.engine.as_deref(), facts.version.as_deref()), (Some("vllm"), Some("0.32.0")));
    assert_eq!((facts.context_tokens, facts.slots, facts.has_metrics), (Some(1024), None, false));
}

#[test]
fn engines_that_their_list_does_not_name_are_found_by_their_own_questions() {
    let sglang = r#"{"model_path":"m","version":"0.5.9","max_running_requests":8}"#;
    let tgi = r#"{"model_id":"m","version":"3.3.5","max_total_tokens":512}"#;
    for (path, body, engine) in [
        ("/server_info", sglang, "sglang"),
        ("/get_server_info", sglang, "sglang"),
        ("/info", tgi, "tgi"),
        ("/api/version", r#"{"version":"0.12.1"}"#, "ollama"),
    ] {
        let server = FaultServer::start(paths(&[
            ("/v1/models", list(&["m"])),
            (path, json_reply("200 OK", body)),
        ]));
        let facts = ask_about(&server, None).expect(path).facts;
        assert_eq!(facts.engine.as_deref(), Some(engine), "{path}");
        assert!(facts.version.is_some(), "{path}");
    }
}

#[test]
fn an_unknown_model_is_answered_with_those_there_are() {
    let server = FaultServer::start(paths(&[("/v1/models", list(&["a/b", "lora"]))]));
    let url = server.url();
    let expected = format!("{url} has no model 'x'; it offers: a/b, lora");
    assert_eq!(message(&server, Some("x")), expected);
    assert_eq!(ask_about(&server, Some("b")).expect("named").facts.model.as_deref(), Some("a/b"));
    let none = FaultServer::start(paths(&[("/v1/models", list(&[]))]));
    assert!(message(&none, None).contains("offers no model: load one"));
}

#[test]
fn a_web_page_is_not_an_llm_server() {
    let page = Reply::new("200 OK", "text/html").piece("<title>Welcome to nginx!</title>").bytes();
    let server = FaultServer::start(paths(&[("/v1/models", page)]));
    for model in [None, Some("m")] {
        let message = message(&server, model);
        assert!(message.contains("does not look like an OpenAI-compatible server"), "{message}");
        assert!(
            message.contains("a web page") && message.contains("Welcome to nginx!"),
            "{message}"
        );
        assert!(message.contains("--no-discover"), "{message}");
    }
}

#[test]
fn a_server_without_a_list_needs_the_name_of_the_model() {
    let server = FaultServer::start(paths(&[]));
    let message = message(&server, None);
    assert!(message.contains("HTTP status 404: File Not Found"), "{message}");
    assert!(message.contains("--model NAME"), "{message}");
    let found = ask_about(&server, Some("m")).expect("the name is enough");
    assert_eq!(found.facts.model.as_deref(), Some("m"));
    assert_eq!(found.warnings[0].code, "no_model_list");
}

#[test]
fn a_missing_and_a_wrong_key_are_told_apart() {
    let no = json_reply("401 Unauthorized", r#"{"error":{"message":"Invalid API Key sk-wrong"}}"#);
    let server = FaultServer::start(paths(&[("/v1/models", no)]));
    let error = ask_about(&server, None).expect_err("no key");
    assert!(error.message.contains("wants a key") && error.message.contains("--api-key-env NAME"));
    assert_eq!((error.unreachable, error.kind), (true, Some(ErrorKind::Http4xx)));
    let target = target(&[&server], Some("sk-wrong"));
    let error = discover(&target, None, SECOND_NS).expect_err("wrong key").message;
    assert!(error.contains("refuses the key"), "{error}");
    assert!(error.contains("***") && !error.contains("sk-wrong"), "{error}");
}

#[test]
fn a_server_that_loads_is_waited_for_a_while() {
    let loading = || {
        json_reply(
            "503 Service Unavailable",
            r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#,
        )
    };
    // The first connection is that of the look-up.
    let server = FaultServer::choosing(move |connection| match connection {
        0..3 => paths(&[("/v1/models", loading())]),
        _ => paths(&[("/v1/models", json_reply("200 OK", MODELS))]),
    })
    .start();
    let facts = ask_about(&server, None).expect("loaded in the end").facts;
    assert_eq!(facts.model.as_deref(), Some("smollm2-135m"));

    let server = FaultServer::start(paths(&[("/v1/models", loading())]));
    let error = discover_patiently(&target(&[&server], None), None, SECOND_NS, 0)
        .expect_err("it goes on loading");
    assert!(error.message.contains("still loading its model"), "{}", error.message);
    assert!(error.unreachable);
    assert_eq!(server.requests().len(), 1, "its patience was none");
}

#[test]
fn a_failing_server_is_quoted() {
    let broken = json_reply("500 Internal Server Error", r#"{"detail":"out of memory"}"#);
    let server = FaultServer::start(paths(&[("/v1/models", broken)]));
    let error = ask_about(&server, None).expect_err("it failed");
    assert!(error.message.contains("HTTP status 500: out of memory"), "{}", error.message);
    assert!(error.unreachable);
}

#[test]
fn several_endpoints_serve_one_model_or_none_is_measured() {
    let one = FaultServer::start(paths(&[("/v1/models", list(&["a", "b"]))]));
    let two = FaultServer::start(paths(&[("/v1/models", list(&["b", "c"]))]));
    let both = target(&[&one, &two], None);
    let error = discover(&both, None, SECOND_NS).expect_err("different models").message;
    let expected = format!(
        "the endpoints serve different models: {} serves 'a', but {} offers: b, c; name one that all \
         have with --model NAME",
        one.url(),
        two.url()
    );
    assert_eq!(error, expected);
    assert_eq!(discover(&both, Some("b"), SECOND_NS).expect("both").warnings, []);
    let swapped = target(&[&two, &one], None);
    let found = discover(&swapped, None, SECOND_NS).expect("the first one's first is in both");
    assert_eq!(found.facts.model.as_deref(), Some("b"));
}

#[test]
fn endpoints_that_are_not_alike_are_told() {
    let server = |slots: u32| {
        let props = format!(
            r#"{{"total_slots":{slots},"build_info":"b1","default_generation_settings":{{"n_ctx":{}}}}}"#,
            slots * 100
        );
        FaultServer::start(paths(&[
            ("/v1/models", list(&["m"])),
            ("/props", json_reply("200 OK", &props)),
        ]))
    };
    let (one, two) = (server(4), server(2));
    let found = discover(&target(&[&one, &two], None), None, SECOND_NS).expect("found");
    assert_eq!((found.facts.slots, found.facts.context_tokens), (Some(6), Some(200)));
    assert_eq!(found.warnings[0].code, "endpoints_differ");
    assert!(
        found.warnings[0].message.contains("slots 4")
            && found.warnings[0].message.contains("slots 2")
    );
}
