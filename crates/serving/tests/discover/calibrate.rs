//! Calibration: prompts as long as asked by the server's own count.

use std::time::Duration;

use loadline_schema::plan::{Api, Length, Output, Timeouts};
use loadline_schema::record::TrialId;
use loadline_serving::Requests;
use loadline_serving::ask::stream_once;
use loadline_serving::calibrate::{Calibrated, Wanted, calibrate};
use loadline_serving::prompt::WordModel;
use loadline_serving::request_body::{BodySettings, BodyWriter, PromptSource};
use loadline_testkit::{Action, FaultServer, Law, Reply, TruthThread, json_reply};

use super::target;

const ID: TrialId = TrialId { stage: 0, point: 0, trial: 0, part: 0 };

fn writer(api: Api, prompt_tokens: u32, words: WordModel) -> BodyWriter {
    let settings = BodySettings {
        api,
        model: Some("m".to_owned()),
        engine: Some("vllm".to_owned()),
        ignore_eos: true,
        per_chunk_usage: false,
        extra_body: serde_json::Map::new(),
    };
    let tokens = Length::Fixed { tokens: prompt_tokens };
    let prompts = PromptSource::Synthetic { tokens, shared_prefix: 0, words };
    let output = Output { tokens: Length::Fixed { tokens: 16 }, ignore_eos: true };
    BodyWriter::new(settings, prompts, output, 1, ID)
}

fn wanted(api: Api, prompt_tokens: u32, output_tokens: u32) -> Wanted {
    Wanted { api, prompt_tokens: Some(prompt_tokens), output_tokens, timeouts: Timeouts::default() }
}

fn calibrated(url: &str, wanted: &Wanted) -> Calibrated {
    let mut writer = writer(wanted.api, wanted.prompt_tokens.unwrap_or(1), WordModel::default());
    calibrate(&target(url), &mut writer, wanted).expect("the server answers")
}

fn truth(law: &str) -> TruthThread {
    let fixed = Law::fixed(Duration::from_millis(1), Duration::ZERO, 4);
    TruthThread::start(fixed.with(law).expect("a law")).expect("it starts")
}

#[test]
fn prompts_are_exactly_as_long_as_asked() {
    let server = truth("template=13&limits=1");
    for (api, template, goal) in [
        (Api::Chat, 13, 100),
        (Api::Chat, 13, 2_000),
        (Api::Completions, 0, 100),
        (Api::Chat, 13, 14),
    ] {
        server.reset();
        let found = calibrated(&server.url(), &wanted(api, goal, 16));
        assert_eq!(server.log().len(), 3, "three requests are enough");
        assert_eq!(found.calibration.template_tokens, Some(template));
        assert_eq!(found.calibration.tokens_per_word, Some(1.0));
        assert_eq!(found.calibration.prompt_tokens, Some(goal));
        assert!(found.calibration.has_usage && found.warnings.is_empty());
        let target = target(&server.url());
        let mut writer = writer(api, goal, found.words);
        for op in 0..3 {
            let mut body = Vec::new();
            writer.write_body(op, &mut body);
            let answer =
                stream_once(&target, 0, api, &body, &Timeouts::default()).expect("answered");
            assert_eq!(answer.facts.prompt_tokens(), Some(goal));
        }
    }
}

#[test]
fn a_prompt_shorter_than_the_template_is_told() {
    let server = truth("template=50");
    let found = calibrated(&server.url(), &wanted(Api::Chat, 20, 4));
    assert_eq!(found.calibration.prompt_tokens, Some(51), "one word is the least");
    let warning = &found.warnings[0];
    assert_eq!(warning.code, "prompt_length_differs");
    assert!(warning.message.contains("20 tokens") && warning.message.contains("51"));
    assert!(warning.advice.contains("the chat template alone takes 50"), "{}", warning.advice);
}

fn words_of(request: &loadline_testkit::ReceivedRequest) -> usize {
    let content = request.json()["messages"][0]["content"].as_str().expect("text").to_owned();
    content.split_whitespace().count()
}

#[test]
fn a_length_that_the_probes_missed_is_corrected_once() {
    // Slope 1 and 12 beside the words by the probes, but one token more at the wanted length.
    let counts = [20, 112, 101, 100];
    let server = FaultServer::choosing(move |connection| {
        // Connection 0 is that of the look-up.
        let prompt = counts[connection.clamp(1, 4) - 1];
        Reply::chat(&["a"]).usage(prompt, 1).done().script()
    })
    .start();
    let found = calibrated(&server.url(), &wanted(Api::Chat, 100, 1));
    let words: Vec<usize> = server.requests().iter().map(words_of).collect();
    assert_eq!(words, [8, 100, 88, 87]);
    assert_eq!(found.words.words(100), 87);
    assert_eq!(found.calibration.prompt_tokens, Some(100));
    assert!(found.warnings.is_empty());
}

#[test]
fn a_long_answer_is_scaled_from_a_short_one() {
    let law = "ttft_us=20000&itl_us=1000&limits=1";
    let server = truth(law);
    let found = calibrated(&server.url(), &wanted(Api::Chat, 64, 256));
    let asked = server.log().iter().map(|record| record.tokens).max();
    assert_eq!(asked, Some(64), "calibration asks for no more");
    let e2e_ns = found.calibration.e2e_ns.expect("measured");
    let truth_ns = 20_000_000 + 255 * 1_000_000;
    assert!(e2e_ns > truth_ns * 95 / 100, "{e2e_ns} for {truth_ns}");
    assert!(e2e_ns < truth_ns * 4, "{e2e_ns} for {truth_ns}");
}

#[test]
fn without_usage_the_servers_tokenizer_counts() {
    let server = truth("usage=never&template=5");
    let found = calibrated(&server.url(), &wanted(Api::Completions, 100, 4));
    assert_eq!(found.calibration.template_tokens, Some(0));
    assert_eq!(found.calibration.tokens_per_word, Some(1.0));
    assert_eq!((found.calibration.prompt_tokens, found.calibration.has_usage), (None, false));
    assert_eq!(found.warnings[0].code, "prompt_length_estimated");
    assert!(found.warnings[0].message.ends_with("those of its /tokenize"));
    assert!(found.calibration.e2e_ns.is_some());

    let found = calibrated(&server.url(), &wanted(Api::Chat, 100, 4));
    assert_eq!(found.calibration.template_tokens, None);
    assert!(found.warnings[0].message.ends_with("without the chat template"));
}

#[test]
fn without_usage_and_tokenizer_words_are_counted() {
    let server = FaultServer::start(vec![
        Action::ReadRequest,
        Action::ByPath {
            ends_with: "/chat/completions".to_owned(),
            then: vec![Action::send(Reply::chat(&["a", "b"]).done().bytes())],
            otherwise: vec![Action::send(json_reply("404 Not Found", "{}"))],
        },
    ]);
    let found = calibrated(&server.url(), &wanted(Api::Chat, 40, 2));
    assert_eq!(found.words, WordModel::default());
    assert_eq!(
        (found.calibration.template_tokens, found.calibration.tokens_per_word),
        (None, None)
    );
    assert!(found.warnings[0].message.contains("numbers of words"));
    let requests = server.requests();
    assert_eq!(words_of(requests.last().expect("the last request")), 40);
}

#[test]
fn a_refusal_is_in_the_servers_words() {
    let said = "request (4001 tokens) exceeds the available context size (2048 tokens)";
    let body = format!(r#"{{"error":{{"code":400,"message":"{said}"}}}}"#);
    let server = FaultServer::start(Action::answer_each(json_reply("400 Bad Request", &body)));
    let mut writer = writer(Api::Chat, 4_000, WordModel::default());
    let error = calibrate(&target(&server.url()), &mut writer, &wanted(Api::Chat, 4_000, 16))
        .expect_err("refused");
    assert!(error.to_string().contains(said), "{error}");
    assert_eq!(error.status, Some(400));
}
