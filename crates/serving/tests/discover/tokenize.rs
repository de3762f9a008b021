//! Counting with the server's own `/tokenize`.

use loadline_schema::plan::Api;
use loadline_serving::tokenize::{PromptCount, TokenizeError, Tokenizer};
use loadline_testkit::{Action, FaultServer, Law, Script, TruthThread, json_reply};

use super::{SECOND_NS, target};

const CHAT: &[u8] = br#"{"messages":[{"role":"user","content":"a b c d"}]}"#;

#[test]
fn texts_and_prompts_are_counted_as_the_server_counts() {
    let server =
        TruthThread::start(Law::default().with("template=7").expect("a law")).expect("it starts");
    let target = target(&server.url());
    let tokenizer = Tokenizer::find(&target, None, SECOND_NS).expect("it has one");
    assert_eq!(tokenizer.count("one two three four").expect("counted"), 4);
    let body = br#"{"prompt":"a b c"}"#;
    let count = tokenizer.count_prompt(Api::Completions, body).expect("counted");
    assert_eq!(count, PromptCount { tokens: 3, with_template: true });
    // That server does not apply its template on demand.
    let count = tokenizer.count_prompt(Api::Chat, CHAT).expect("counted");
    assert_eq!(count, PromptCount { tokens: 4, with_template: false });
}

#[test]
fn llama_cpp_applies_its_template_first() {
    let by_path = |ends_with: &str, body: &str, otherwise| Action::ByPath {
        ends_with: ends_with.to_owned(),
        then: vec![Action::send(json_reply("200 OK", body)), Action::Close],
        otherwise,
    };
    let tokens = by_path("/tokenize", r#"{"tokens":[1,2,3,4,5]}"#, vec![]);
    let template = by_path("/apply-template", r#"{"prompt":"<user>a b c d"}"#, vec![tokens]);
    let server = FaultServer::start(vec![Action::ReadRequest, template]);
    let target = target(&server.url());
    let tokenizer = Tokenizer::find(&target, None, SECOND_NS).expect("it has one");
    let count = tokenizer.count_prompt(Api::Chat, CHAT).expect("counted");
    assert_eq!(count, PromptCount { tokens: 5, with_template: true });
    let requests = server.requests();
    assert_eq!(requests[requests.len() - 1].json()["content"], "<user>a b c d");
    assert_eq!(requests[requests.len() - 2].json()["messages"][0]["content"], "a b c d");
}

/// A server that wants `prompt`, and counts nothing for `content`.
fn vllm(content: Vec<u8>) -> FaultServer {
    let counted = json_reply("200 OK", r#"{"count":9,"max_model_len":64,"tokens":[]}"#);
    // Connection 0 is that of the look-up, 1 asks in llama.cpp's way.
    FaultServer::choosing(move |connection| -> Script {
        Action::answer_each(if connection < 2 { content.clone() } else { counted.clone() })
    })
    .start()
}

#[test]
fn vllm_is_asked_in_its_own_way() {
    let refused = json_reply("400 Bad Request", r#"{"error":{"message":"Field required"}}"#);
    let empty = json_reply("200 OK", r#"{"tokens":[]}"#);
    for content in [refused, empty] {
        let server = vllm(content);
        let target = target(&server.url());
        let tokenizer = Tokenizer::find(&target, Some("m"), SECOND_NS).expect("it has one");
        assert_eq!(tokenizer.count("hello").expect("counted"), 9);
        let count = tokenizer.count_prompt(Api::Chat, CHAT).expect("counted");
        assert_eq!(count, PromptCount { tokens: 9, with_template: true });
        let requests = server.requests();
        let text = requests[requests.len() - 2].json();
        assert_eq!((text["model"].as_str(), text["prompt"].as_str()), (Some("m"), Some("hello")));
        assert_eq!(text["add_special_tokens"], false);
        assert_eq!(requests[requests.len() - 1].json()["messages"][0]["content"], "a b c d");
    }
}

#[test]
fn a_server_without_a_tokenizer_has_none() {
    let server = FaultServer::start(Action::answer_each(json_reply("404 Not Found", "{}")));
    assert!(Tokenizer::find(&target(&server.url()), None, SECOND_NS).is_none());
}

#[test]
fn a_tokenizer_that_stops_answering_says_why() {
    let tokens = json_reply("200 OK", r#"{"tokens":[1,2,3]}"#);
    let busy = json_reply("503 Service Unavailable", r#"{"error":"busy"}"#);
    let server = FaultServer::choosing(move |connection| {
        Action::answer_each(if connection < 2 { tokens.clone() } else { busy.clone() })
    })
    .start();
    let target = target(&server.url());
    let tokenizer = Tokenizer::find(&target, None, SECOND_NS).expect("it has one");
    let error = tokenizer.count("x").expect_err("busy");
    assert!(matches!(error, TokenizeError::Refused { .. }));
    assert!(error.to_string().ends_with("/tokenize refuses: HTTP status 503: busy"), "{error}");
}
