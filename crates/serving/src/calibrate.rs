//! Finds out, before the load, how words become prompt tokens on this server and how long one
//! answer takes.

use loadline_schema::event::{Calibration, Warning};
use loadline_schema::plan::{Api, Timeouts};

use crate::ask::{AskError, OneAnswer, stream_once};
use crate::prompt::WordModel;
use crate::request_body::BodyWriter;
use crate::target::Target;
use crate::tokenize::Tokenizer;

/// What calibration is for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// API dialect.
    pub api: Api,
    /// Prompt length that the load will use (the mean of a law), tokens; absent for prompts from a
    /// file.
    pub prompt_tokens: Option<u32>,
    /// Output tokens that the load will ask for (the mean of a law).
    pub output_tokens: u32,
    /// Limits of a request.
    pub timeouts: Timeouts,
}

/// What it found.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// For the record.
    pub calibration: Calibration,
    /// For the prompts.
    pub words: WordModel,
    /// What the reader must know.
    pub warnings: Vec<Warning>,
}

/// Output tokens of the probes.
const PROBE_TOKENS: u32 = 1;
/// Output tokens of the last request at most: its time is scaled to the full answer.
const ANSWER_TOKENS: u32 = 64;
/// Words of the first probe.
const FEW_WORDS: u32 = 8;
/// Words of the second probe at most: enough to tell tokens per word, and quickly read.
const MANY_WORDS: u32 = 256;
/// Length of the last prompt where the load's prompts come from a file, tokens.
const FILE_GOAL: u32 = 64;

/// Sends three requests, or four where the third is not as long as wanted, one after the other to
/// the first endpoint.
///
/// # Errors
/// The server does not answer, or refuses: with its own words.
pub fn calibrate(
    target: &Target,
    writer: &mut BodyWriter,
    wanted: &Wanted,
) -> Result<Calibrated, AskError> {
    let mut probes = Probes { target, writer, wanted, number: 0 };
    let few = probes.send(FEW_WORDS, PROBE_TOKENS)?;
    match few.facts.prompt_tokens() {
        Some(tokens) => probes.with_usage(tokens),
        None => probes.without_usage(&few.facts.model),
    }
}

struct Probes<'a> {
    target: &'a Target,
    writer: &'a mut BodyWriter,
    wanted: &'a Wanted,
    number: u64,
}

impl Probes<'_> {
    /// A body with so many words that no other probe begins with.
    fn body(&mut self, words: u32, tokens: u32) -> Vec<u8> {
        let mut body = Vec::new();
        self.number += 1;
        self.writer.probe(words, tokens, self.number, &mut body);
        body
    }

    fn send(&mut self, words: u32, tokens: u32) -> Result<OneAnswer, AskError> {
        let body = self.body(words, tokens);
        stream_once(self.target, 0, self.wanted.api, &body, &self.wanted.timeouts)
            .map_err(|failed| failed.error)
    }

    /// One answer as the load will ask for, as far as that takes no long time.
    fn send_answer(&mut self, words: u32) -> Result<OneAnswer, AskError> {
        self.send(words, self.wanted.output_tokens.clamp(1, ANSWER_TOKENS))
    }

    fn with_usage(mut self, few_tokens: u32) -> Result<Calibrated, AskError> {
        let goal = self.wanted.prompt_tokens.unwrap_or(FILE_GOAL);
        let many_words = goal.clamp(2 * FEW_WORDS, MANY_WORDS);
        let many = self.send(many_words, PROBE_TOKENS)?;
        let many_tokens = many.facts.prompt_tokens().unwrap_or(few_tokens);
        let mut words = WordModel::through((FEW_WORDS, few_tokens), (many_words, many_tokens));
        let template_tokens = words.template_tokens.round().max(0.0) as u32;
        let mut last = self.send_answer(words.words(goal))?;
        let off = |answer: &OneAnswer| {
            answer.facts.prompt_tokens().map(|tokens| f64::from(tokens) - f64::from(goal))
        };
        if let Some(off) = off(&last).filter(|off| *off != 0.0) {
            // At this length the words are a little longer or shorter than in the probes.
            let nearer = WordModel { template_tokens: words.template_tokens + off, ..words };
            if nearer.words(goal) != words.words(goal) {
                words = nearer;
                last = self.send_answer(words.words(goal))?;
            }
        }
        let counted = last.facts.prompt_tokens();
        let wrong_length = self.wanted.prompt_tokens.is_some() && off(&last) != Some(0.0);
        let warning = counted
            .filter(|_| wrong_length)
            .map(|counted| length_differs(goal, counted, template_tokens, &words));
        let calibration = Calibration {
            template_tokens: Some(template_tokens),
            tokens_per_word: Some(words.tokens_per_word),
            prompt_tokens: counted,
            e2e_ns: Some(full_answer_ns(&last, self.wanted.output_tokens)),
            has_usage: true,
        };
        Ok(Calibrated { calibration, words, warnings: warning.into_iter().collect() })
    }

    /// `model` is the name by which the server answered.
    fn without_usage(mut self, model: &str) -> Result<Calibrated, AskError> {
        let counted = self.tokenized(model);
        let goal = self.wanted.prompt_tokens.unwrap_or(FILE_GOAL);
        let words = counted.map_or(WordModel::default(), |(words, _)| words);
        let last = self.send_answer(words.words(goal))?;
        let how = match counted {
            Some((_, true)) => "prompt lengths are those of its /tokenize",
            Some((_, false)) => {
                "prompt lengths are those of its /tokenize, without the chat template"
            }
            None => {
                "it has no /tokenize either: prompt lengths are numbers of words, at one token each \
                 and without the chat template"
            }
        };
        let warning = Warning::new(
            "prompt_length_estimated",
            format!("the server sends no usage; {how}"),
            "switch usage on in the server, or read prompt tokens as estimates",
        );
        let with_template = counted.filter(|(_, with_template)| *with_template);
        let calibration = Calibration {
            template_tokens: with_template.map(|_| words.template_tokens.round().max(0.0) as u32),
            tokens_per_word: counted.map(|_| words.tokens_per_word),
            prompt_tokens: None,
            e2e_ns: Some(full_answer_ns(&last, self.wanted.output_tokens)),
            has_usage: false,
        };
        let warnings = if self.wanted.prompt_tokens.is_some() { vec![warning] } else { Vec::new() };
        Ok(Calibrated { calibration, words, warnings })
    }

    /// How words become tokens by the server's `/tokenize`, and whether that counts the template.
    fn tokenized(&mut self, model: &str) -> Option<(WordModel, bool)> {
        let model = (!model.is_empty()).then_some(model);
        let tokenizer = Tokenizer::find(self.target, model, self.wanted.timeouts.connect_ns)?;
        let mut count = |words| {
            let body = self.body(words, PROBE_TOKENS);
            tokenizer.count_prompt(self.wanted.api, &body).ok()
        };
        let (few, many) = (count(FEW_WORDS)?, count(MANY_WORDS)?);
        let words = WordModel::through((FEW_WORDS, few.tokens), (MANY_WORDS, many.tokens));
        Some((words, few.with_template && many.with_template))
    }
}

fn length_differs(goal: u32, counted: u32, template_tokens: u32, words: &WordModel) -> Warning {
    let message = format!(
        "a prompt of {goal} tokens was asked for; the nearest is {counted} by the server's count"
    );
    let advice = if goal <= template_tokens {
        format!(
            "the chat template alone takes {template_tokens}: ask for more, or use --api completions"
        )
    } else if (words.tokens_per_word - words.tokens_per_word.round()).abs() < 1e-9 {
        format!(
            "a word takes {:.0} tokens here; ask for a length that it divides",
            words.tokens_per_word
        )
    } else {
        format!(
            "its vocabulary splits some words ({:.2} tokens each): lengths vary a little from prompt to \
             prompt",
            words.tokens_per_word
        )
    };
    Warning::new("prompt_length_differs", message, advice)
}

/// Time of a full answer, from one that may be shorter: its time after the first token grows with
/// the number of tokens.
fn full_answer_ns(answer: &OneAnswer, tokens: u32) -> u64 {
    let had = answer.facts.completion_tokens().unwrap_or(answer.facts.token_events);
    let first = answer.ttft_ns.unwrap_or(answer.e2e_ns);
    if had < 2 || tokens <= had {
        return answer.e2e_ns;
    }
    let each = answer.e2e_ns.saturating_sub(first) / u64::from(had - 1);
    first + each * u64::from(tokens - 1)
}
