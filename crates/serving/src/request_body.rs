//! The JSON body of a request, written into a reused buffer.

use std::io::Write as _;
use std::sync::Arc;

use loadline_schema::plan::{Api, Length, Output};
use loadline_schema::record::TrialId;
use serde_json::{Map, Value};

use crate::Requests;
use crate::dataset::{Dataset, Order, RowText};
use crate::prompt::{Texts, WordModel, op_rng, sample};

/// What every body of a stage has in common.
#[derive(Debug, Clone)]
pub struct BodySettings {
    /// API dialect.
    pub api: Api,
    /// Model to name; absent: none is named.
    pub model: Option<String>,
    /// Engine, where it is known: decides which additional options it understands.
    pub engine: Option<String>,
    /// Ask the server not to end an answer early.
    pub ignore_eos: bool,
    /// Ask for usage in each chunk.
    pub per_chunk_usage: bool,
    /// The user's own fields; they win. They are merged as RFC 7396 says: objects field by field,
    /// and a `null` takes a field away. `messages`, `prompt` and `stream` are not theirs to set.
    pub extra_body: Map<String, Value>,
}

/// Where prompts come from. Cheap to clone.
#[derive(Debug, Clone)]
pub enum PromptSource {
    /// Made up.
    Synthetic {
        /// Law of lengths, tokens by the server's count.
        tokens: Length,
        /// Leading tokens that all prompts share.
        shared_prefix: u32,
        /// How words become tokens.
        words: WordModel,
    },
    /// The user's.
    Dataset(Arc<Dataset>),
}

/// Writes the bodies of one trial.
#[derive(Debug, Clone)]
pub struct BodyWriter {
    output: Output,
    prompts: PromptSource,
    texts: Texts,
    /// Order of a dataset's rows.
    order: Order,
    seed: u64,
    trial: TrialId,
    lengths: LengthFields,
    /// Everything before the prompt, and what stands around a text.
    start: Vec<u8>,
    text_start: &'static [u8],
    text_end: &'static [u8],
}

/// Which fields say how long an answer may be and must be.
#[derive(Debug, Clone, Copy)]
struct LengthFields {
    /// The user's own limit.
    fixed: Option<u32>,
    max_tokens: bool,
    min_tokens: bool,
}

/// Fields whose values this client sets.
const OWN_FIELDS: [&str; 3] = ["messages", "prompt", "stream"];

impl BodyWriter {
    /// A writer for a trial.
    pub fn new(
        settings: BodySettings,
        prompts: PromptSource,
        output: Output,
        seed: u64,
        trial: TrialId,
    ) -> Self {
        let shared_words = match &prompts {
            PromptSource::Synthetic { shared_prefix, words, .. } => {
                (f64::from(*shared_prefix) / words.tokens_per_word).round() as u32
            }
            PromptSource::Dataset(_) => 0,
        };
        let (text_start, text_end): (&[u8], &[u8]) = match settings.api {
            Api::Chat => (b"\"messages\":[{\"role\":\"user\",\"content\":", b"}]"),
            Api::Completions => (b"\"prompt\":", b""),
        };
        let lengths = LengthFields::new(&settings);
        Self {
            output,
            prompts,
            texts: Texts::new(seed, trial, shared_words),
            order: Order::new(seed, trial),
            seed,
            trial,
            lengths,
            start: start(settings),
            text_start,
            text_end,
        }
    }

    /// A body with a synthetic prompt of so many words, asking for so many tokens: for calibration.
    /// Each number gives another text.
    pub fn probe(&mut self, words: u32, tokens: u32, number: u64, body: &mut Vec<u8>) {
        self.write_synthetic(body, |texts, body| {
            texts.push_unshared(body, words, u64::MAX - number);
        });
        self.write_end(tokens, body);
    }

    fn write_synthetic(&self, body: &mut Vec<u8>, push: impl FnOnce(&Texts, &mut Vec<u8>)) {
        body.extend_from_slice(&self.start);
        body.extend_from_slice(self.text_start);
        body.push(b'"');
        push(&self.texts, body);
        body.push(b'"');
        body.extend_from_slice(self.text_end);
    }

    fn write_end(&self, tokens: u32, body: &mut Vec<u8>) {
        if self.lengths.max_tokens {
            write!(body, ",\"max_tokens\":{tokens}").expect("invariant: memory takes all");
        }
        if self.lengths.min_tokens {
            write!(body, ",\"min_tokens\":{tokens}").expect("invariant: memory takes all");
        }
        body.push(b'}');
    }
}

impl Requests for BodyWriter {
    fn write_body(&mut self, op: u64, body: &mut Vec<u8>) -> u32 {
        let mut rng = op_rng(self.seed, self.trial, op);
        let mut asked = sample(&self.output.tokens, &mut rng);
        match &self.prompts {
            PromptSource::Synthetic { tokens, words, .. } => {
                let count = words.words(sample(tokens, &mut rng));
                self.write_synthetic(body, |texts, body| texts.push(body, count, op));
            }
            PromptSource::Dataset(dataset) => {
                let row = dataset.row(self.order, op);
                asked = row.output_tokens.unwrap_or(asked);
                body.extend_from_slice(&self.start);
                match &row.text {
                    RowText::Prompt(json) => {
                        body.extend_from_slice(self.text_start);
                        body.extend_from_slice(json.as_bytes());
                        body.extend_from_slice(self.text_end);
                    }
                    RowText::Messages(json) => {
                        body.extend_from_slice(b"\"messages\":");
                        body.extend_from_slice(json.get().as_bytes());
                    }
                }
            }
        }
        asked = self.lengths.fixed.unwrap_or(asked);
        self.write_end(asked, body);
        asked
    }
}

impl LengthFields {
    /// `max_tokens` is ours unless the user sets it, takes it away or uses its newer name. The least
    /// length goes with `ignore_eos`, where the engine has it and the user does not say otherwise.
    fn new(settings: &BodySettings) -> Self {
        let extra = &settings.extra_body;
        let limits = ["max_completion_tokens", "max_tokens"];
        let limit =
            limits.iter().find_map(|name| extra.get(*name).filter(|value| !value.is_null()));
        let fixed = limit.and_then(Value::as_u64).map(|tokens| tokens.min(u32::MAX.into()) as u32);
        let off = extra.get("ignore_eos").is_some_and(|value| *value != Value::Bool(true));
        Self {
            fixed,
            max_tokens: limit.is_none() && !extra.contains_key("max_tokens"),
            min_tokens: settings.ignore_eos
                && !off
                && knows_min_tokens(settings.engine.as_deref())
                && !extra.contains_key("min_tokens"),
        }
    }
}

/// The opening bracket and the fields that are the same in every body.
fn start(settings: BodySettings) -> Vec<u8> {
    let engine = settings.engine.as_deref();
    let mut options = Map::new();
    options.insert("include_usage".to_owned(), true.into());
    if settings.per_chunk_usage && matches!(engine, Some("vllm" | "sglang")) {
        options.insert("continuous_usage_stats".to_owned(), true.into());
    }
    let mut fields = Map::new();
    fields.insert("stream_options".to_owned(), options.into());
    if settings.ignore_eos && knows_ignore_eos(engine) {
        fields.insert("ignore_eos".to_owned(), true.into());
    }
    if let Some(model) = settings.model {
        fields.insert("model".to_owned(), model.into());
    }
    let mut extra = settings.extra_body;
    extra.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
    merge(&mut fields, extra);
    fields.insert("stream".to_owned(), true.into());
    let mut out = b"{".to_vec();
    for (name, value) in &fields {
        serde_json::to_writer(&mut out, name).expect("invariant: memory takes all");
        out.push(b':');
        serde_json::to_writer(&mut out, value).expect("invariant: memory takes all");
        out.push(b',');
    }
    out
}

/// Applies a JSON merge patch (RFC 7396).
fn merge(to: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                to.remove(&name);
            }
            Value::Object(patch) => {
                let field = to.entry(name).or_insert(Value::Null);
                let mut merged = match field.take() {
                    Value::Object(fields) => fields,
                    _ => Map::new(),
                };
                merge(&mut merged, patch);
                *field = Value::Object(merged);
            }
            value => {
                to.insert(name, value);
            }
        }
    }
}

fn knows_ignore_eos(engine: Option<&str>) -> bool {
    matches!(engine, Some("vllm" | "sglang" | "llama.cpp"))
}

fn knows_min_tokens(engine: Option<&str>) -> bool {
    matches!(engine, Some("vllm" | "sglang"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: TrialId = TrialId { stage: 0, point: 0, trial: 0, part: 0 };

    fn write(settings: BodySettings, prompts: PromptSource) -> (String, u32) {
        let output =
            Output { tokens: Length::Fixed { tokens: 9 }, ignore_eos: settings.ignore_eos };
        let mut out = Vec::new();
        let asked = BodyWriter::new(settings, prompts, output, 3, ID).write_body(0, &mut out);
        (String::from_utf8(out).expect("text"), asked)
    }

    fn body(settings: BodySettings, prompts: PromptSource) -> (Value, u32) {
        let (text, asked) = write(settings, prompts);
        (serde_json::from_str(&text).expect("valid JSON"), asked)
    }

    fn settings(engine: Option<&str>) -> BodySettings {
        BodySettings {
            api: Api::Chat,
            model: Some("m \"quoted\"".to_owned()),
            engine: engine.map(str::to_owned),
            ignore_eos: true,
            per_chunk_usage: true,
            extra_body: Map::new(),
        }
    }

    fn with(engine: &str, extra: Value) -> BodySettings {
        let Value::Object(extra_body) = extra else { panic!("not an object") };
        BodySettings { extra_body, ..settings(Some(engine)) }
    }

    fn words(tokens: u32) -> PromptSource {
        let tokens = Length::Fixed { tokens };
        PromptSource::Synthetic { tokens, shared_prefix: 0, words: WordModel::default() }
    }

    #[test]
    fn a_chat_body_has_what_the_api_wants() {
        let (json, asked) = body(settings(Some("vllm")), words(12));
        let content = json["messages"][0]["content"].as_str().expect("text");
        assert_eq!(content.split(' ').count(), 12);
        let expected = json!({
            "model": "m \"quoted\"",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 9,
            "min_tokens": 9,
            "ignore_eos": true,
            "stream": true,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true},
        });
        assert_eq!((&json, asked), (&expected, 9));
    }

    #[test]
    fn engines_get_what_they_know() {
        let (json, _) = body(BodySettings { api: Api::Completions, ..settings(None) }, words(3));
        assert!(json.get("ignore_eos").is_none() && json.get("min_tokens").is_none());
        assert!(json["stream_options"].get("continuous_usage_stats").is_none());
        assert!(json["prompt"].is_string() && json.get("messages").is_none());
        let (json, _) = body(settings(Some("llama.cpp")), words(3));
        assert_eq!((&json["ignore_eos"], json.get("min_tokens")), (&json!(true), None));
        let unasked = BodySettings { ignore_eos: false, ..settings(Some("vllm")) };
        let (json, _) = body(unasked, words(3));
        assert!(json.get("ignore_eos").is_none() && json.get("min_tokens").is_none());
    }

    #[test]
    fn the_users_fields_win_and_no_field_stands_twice() {
        let extra = json!({
            "temperature": 0, "max_tokens": 4, "min_tokens": 2, "model": "theirs", "stream": false,
            "stream_options": {"x": 1}, "messages": [], "prompt": "no",
        });
        let (text, asked) = write(with("vllm", extra), words(3));
        let json: Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(asked, 4, "what is asked for is what the server is told");
        assert_eq!((&json["max_tokens"], &json["min_tokens"]), (&json!(4), &json!(2)));
        assert_eq!((&json["temperature"], &json["model"]), (&json!(0), &json!("theirs")));
        let options = json!({"include_usage": true, "continuous_usage_stats": true, "x": 1});
        assert_eq!((&json["stream_options"], &json["stream"]), (&options, &json!(true)));
        assert!(json["messages"][0].is_object() && json.get("prompt").is_none());
        for name in json.as_object().expect("an object").keys() {
            assert_eq!(text.matches(&format!("\"{name}\":")).count(), 1, "{name} in {text}");
        }
    }

    #[test]
    fn null_takes_a_field_away() {
        let extra = json!({"max_tokens": null, "stream_options": null, "ignore_eos": null});
        let (json, _) = body(with("vllm", extra), words(3));
        for name in ["max_tokens", "min_tokens", "stream_options", "ignore_eos"] {
            assert!(json.get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_newer_name_of_the_limit_replaces_the_older() {
        let (json, asked) = body(with("vllm", json!({"max_completion_tokens": 7})), words(3));
        assert_eq!((json.get("max_tokens"), &json["max_completion_tokens"]), (None, &json!(7)));
        assert_eq!((&json["min_tokens"], asked), (&json!(7), 7));
        let (json, _) = body(with("vllm", json!({"ignore_eos": false})), words(3));
        assert_eq!((&json["ignore_eos"], json.get("min_tokens")), (&json!(false), None));
    }

    #[test]
    fn shared_tokens_become_words_by_the_calibrated_share() {
        let prompts = PromptSource::Synthetic {
            tokens: Length::Fixed { tokens: 130 },
            shared_prefix: 60,
            words: WordModel { template_tokens: 10.0, tokens_per_word: 2.0 },
        };
        let output = Output { tokens: Length::Fixed { tokens: 1 }, ignore_eos: false };
        let mut writer = BodyWriter::new(settings(None), prompts, output, 3, ID);
        let mut text = |op| {
            let mut out = Vec::new();
            writer.write_body(op, &mut out);
            let json: Value = serde_json::from_slice(&out).expect("valid JSON");
            json["messages"][0]["content"].as_str().expect("text").to_owned()
        };
        let (one, two) = (text(1), text(2));
        assert_eq!(one.split(' ').count(), 60);
        let same = one.split(' ').zip(two.split(' ')).take_while(|(a, b)| a == b).count();
        assert_eq!(same, 30);
    }

    #[test]
    fn probes_share_nothing() {
        let prompts = PromptSource::Synthetic {
            tokens: Length::Fixed { tokens: 50 },
            shared_prefix: 20,
            words: WordModel::default(),
        };
        let output = Output { tokens: Length::Fixed { tokens: 1 }, ignore_eos: true };
        let mut writer = BodyWriter::new(settings(Some("vllm")), prompts, output, 3, ID);
        let mut first_word = |number| {
            let mut out = Vec::new();
            writer.probe(5, 2, number, &mut out);
            let json: Value = serde_json::from_slice(&out).expect("valid JSON");
            assert_eq!(json["max_tokens"], 2);
            let text = json["messages"][0]["content"].as_str().expect("text").to_owned();
            assert_eq!(text.split(' ').count(), 5);
            text.split(' ').next().map(str::to_owned)
        };
        assert_ne!(first_word(1), first_word(2));
    }

    #[test]
    fn rows_go_out_as_they_stand() {
        let lines = [
            r#"{"prompt":"say \"hä\"\n","output_tokens":3}"#,
            r#"{"messages":[{"role":"system","content":"x"},{"role":"user","content":"y"}]}"#,
        ];
        for (line, content, asked) in [(lines[0], "say \"hä\"\n", 3), (lines[1], "x", 9)] {
            let rows = Dataset::parse("p.jsonl".as_ref(), line).expect("valid");
            let (json, told) = body(settings(None), PromptSource::Dataset(Arc::new(rows)));
            assert_eq!(json["messages"][0]["content"], content);
            assert_eq!((told, &json["max_tokens"]), (asked, &json!(asked)));
        }
    }
}
