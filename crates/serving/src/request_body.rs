//! The JSON body of a request, written into a reused buffer.

use std::io::Write as _;
use std::sync::Arc;

use loadline_schema::plan::{Api, Length, Output};
use loadline_schema::record::TrialId;
use serde_json::{Map, Value};

use crate::Requests;
use crate::dataset::{Dataset, RowText};
use crate::prompt::{WordModel, op_rng, push_text, sample};

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
    /// The user's own fields; they win.
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
    settings: BodySettings,
    prompts: PromptSource,
    output: Output,
    seed: u64,
    trial: TrialId,
    /// Everything before and after what changes from request to request.
    start: Vec<u8>,
    end: Vec<u8>,
    text: String,
}

impl BodyWriter {
    /// A writer for a trial.
    pub fn new(
        settings: BodySettings,
        prompts: PromptSource,
        output: Output,
        seed: u64,
        trial: TrialId,
    ) -> Self {
        let (start, end) = (start(&settings), end(&settings));
        Self { settings, prompts, output, seed, trial, start, end, text: String::new() }
    }

    /// A body with a synthetic prompt of so many words, asking for so many tokens: for calibration.
    pub fn probe(&mut self, words: u32, tokens: u32, number: u64, body: &mut Vec<u8>) {
        self.text.clear();
        let mut rng = op_rng(self.seed, self.trial, u64::MAX - number);
        push_text(&mut self.text, words, 0, self.seed, &mut rng);
        self.write_text(tokens, body);
    }

    fn write_text(&self, tokens: u32, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.start);
        match self.settings.api {
            Api::Chat => {
                body.extend_from_slice(b"\"messages\":[{\"role\":\"user\",\"content\":");
                write_json(body, &self.text);
                body.extend_from_slice(b"}]");
            }
            Api::Completions => {
                body.extend_from_slice(b"\"prompt\":");
                write_json(body, &self.text);
            }
        }
        self.write_tokens(tokens, body);
    }

    fn write_tokens(&self, tokens: u32, body: &mut Vec<u8>) {
        if !self.settings.extra_body.contains_key("max_tokens") {
            write!(body, ",\"max_tokens\":{tokens}").expect("invariant: memory takes all");
        }
        if self.settings.ignore_eos && knows_min_tokens(self.settings.engine.as_deref()) {
            write!(body, ",\"min_tokens\":{tokens}").expect("invariant: memory takes all");
        }
        body.extend_from_slice(&self.end);
    }
}

impl Requests for BodyWriter {
    fn write_body(&mut self, op: u64, body: &mut Vec<u8>) -> u32 {
        let mut rng = op_rng(self.seed, self.trial, op);
        let mut asked = sample(&self.output.tokens, &mut rng);
        self.text.clear();
        match &self.prompts {
            PromptSource::Synthetic { tokens, shared_prefix, words } => {
                let count = words.words(sample(tokens, &mut rng));
                let shared = (f64::from(*shared_prefix) / words.tokens_per_word).round() as u32;
                push_text(&mut self.text, count, shared, self.seed, &mut rng);
            }
            PromptSource::Dataset(dataset) => {
                let row = dataset.row(self.seed, op);
                asked = row.output_tokens.unwrap_or(asked);
                match &row.text {
                    RowText::Prompt(text) => self.text.push_str(text),
                    RowText::Messages(messages) => {
                        body.extend_from_slice(&self.start);
                        body.extend_from_slice(b"\"messages\":");
                        body.extend_from_slice(messages.get().as_bytes());
                        self.write_tokens(asked, body);
                        return asked;
                    }
                }
            }
        }
        self.write_text(asked, body);
        asked
    }
}

fn start(settings: &BodySettings) -> Vec<u8> {
    let mut out = b"{".to_vec();
    if let Some(model) = &settings.model {
        out.extend_from_slice(b"\"model\":");
        write_json(&mut out, model);
        out.push(b',');
    }
    out
}

fn end(settings: &BodySettings) -> Vec<u8> {
    let engine = settings.engine.as_deref();
    let mut fields = Map::new();
    fields.insert("stream".to_owned(), true.into());
    let mut options = Map::new();
    options.insert("include_usage".to_owned(), true.into());
    if settings.per_chunk_usage && matches!(engine, Some("vllm" | "sglang")) {
        options.insert("continuous_usage_stats".to_owned(), true.into());
    }
    fields.insert("stream_options".to_owned(), options.into());
    if settings.ignore_eos && knows_ignore_eos(engine) {
        fields.insert("ignore_eos".to_owned(), true.into());
    }
    for (name, value) in &settings.extra_body {
        fields.insert(name.clone(), value.clone());
    }
    let mut out = Vec::new();
    for (name, value) in &fields {
        out.push(b',');
        write_json(&mut out, name);
        out.push(b':');
        write_json(&mut out, value);
    }
    out.push(b'}');
    out
}

fn knows_ignore_eos(engine: Option<&str>) -> bool {
    matches!(engine, Some("vllm" | "sglang" | "llama.cpp"))
}

fn knows_min_tokens(engine: Option<&str>) -> bool {
    matches!(engine, Some("vllm" | "sglang"))
}

fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("invariant: text and JSON values always serialise");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TrialId = TrialId { stage: 0, point: 0, trial: 0, part: 0 };

    fn body(settings: BodySettings, prompts: PromptSource) -> (Value, u32) {
        let output =
            Output { tokens: Length::Fixed { tokens: 9 }, ignore_eos: settings.ignore_eos };
        let mut out = Vec::new();
        let asked = BodyWriter::new(settings, prompts, output, 3, ID).write_body(0, &mut out);
        (serde_json::from_slice(&out).expect("valid JSON"), asked)
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

    fn words(tokens: u32) -> PromptSource {
        let tokens = Length::Fixed { tokens };
        PromptSource::Synthetic { tokens, shared_prefix: 0, words: WordModel::default() }
    }

    #[test]
    fn a_chat_body_has_what_the_api_wants() {
        let (json, asked) = body(settings(Some("vllm")), words(12));
        assert_eq!(json["model"], "m \"quoted\"");
        assert_eq!(json["messages"][0]["content"].as_str().expect("text").split(' ').count(), 12);
        assert_eq!((json["max_tokens"].clone(), json["min_tokens"].clone()), (9.into(), 9.into()));
        assert_eq!(json["stream_options"]["continuous_usage_stats"], true);
        assert_eq!(
            (json["ignore_eos"].clone(), json["stream"].clone(), asked),
            (true.into(), true.into(), 9)
        );
    }

    #[test]
    fn unknown_engines_get_standard_fields_only() {
        let (json, _) = body(BodySettings { api: Api::Completions, ..settings(None) }, words(3));
        assert!(json.get("ignore_eos").is_none() && json.get("min_tokens").is_none());
        assert!(json["stream_options"].get("continuous_usage_stats").is_none());
        assert!(json["prompt"].is_string());
    }

    #[test]
    fn the_users_fields_win() {
        let mut extra = Map::new();
        extra.insert("temperature".to_owned(), 0.into());
        extra.insert("max_tokens".to_owned(), 4.into());
        extra.insert("ignore_eos".to_owned(), false.into());
        let (json, _) =
            body(BodySettings { extra_body: extra, ..settings(Some("llama.cpp")) }, words(3));
        assert_eq!((json["temperature"].clone(), json["max_tokens"].clone()), (0.into(), 4.into()));
        assert_eq!(json["ignore_eos"], false);
    }
}
