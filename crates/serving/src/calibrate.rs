//! Finds out, before the load, how words become prompt tokens on this server and how long one
//! answer takes.

use loadline_schema::event::{Calibration, Warning};
use loadline_schema::plan::{Api, Timeouts};

use crate::ask::{AskError, OneAnswer, stream_once};
use crate::prompt::WordModel;
use crate::request_body::BodyWriter;
use crate::target::Target;

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
const ANSWER_TOKENS: u32 = 32;
/// Words of the first probe.
const FEW_WORDS: u32 = 8;

/// Sends up to four requests, one after the other.
///
/// # Errors
/// The server does not answer, or not as asked: with its own words.
pub fn calibrate(
    target: &Target,
    writer: &mut BodyWriter,
    wanted: &Wanted,
) -> Result<Calibrated, AskError> {
    let mut number = 0;
    let mut send = |words: u32, tokens: u32| -> Result<OneAnswer, AskError> {
        let mut body = Vec::new();
        number += 1;
        writer.probe(words, tokens, number, &mut body);
        stream_once(target, 0, wanted.api, &body, &wanted.timeouts).map_err(|failed| failed.error)
    };
    let goal = wanted.prompt_tokens.unwrap_or(64);
    let few = send(FEW_WORDS, PROBE_TOKENS)?;
    let Some(few_tokens) = few.facts.prompt_tokens() else {
        return without_usage(&mut send, wanted, goal);
    };
    // The second probe is as long as the load's prompts, if they had nothing but words.
    let many_words = goal.saturating_sub(few_tokens.saturating_sub(FEW_WORDS)).max(2 * FEW_WORDS);
    let many = send(many_words, PROBE_TOKENS)?;
    let many_tokens = many.facts.prompt_tokens().unwrap_or(few_tokens);
    let words = WordModel::through((FEW_WORDS, few_tokens), (many_words, many_tokens));
    let asked = wanted.output_tokens.min(ANSWER_TOKENS);
    let last = send(words.words(goal), asked)?;
    let counted = last.facts.prompt_tokens();
    let mut warnings = Vec::new();
    if let (Some(goal), Some(counted)) = (wanted.prompt_tokens, counted)
        && counted != goal
    {
        warnings.push(Warning::new(
            "prompt_length_differs",
            format!("a prompt of {goal} tokens was asked for; the server counts {counted}"),
            "its vocabulary splits some words, or the length is shorter than the chat template",
        ));
    }
    let calibration = Calibration {
        template_tokens: Some(words.template_tokens.round().max(0.0) as u32),
        tokens_per_word: Some(words.tokens_per_word),
        prompt_tokens: counted,
        e2e_ns: Some(full_answer_ns(&last, wanted.output_tokens)),
        has_usage: true,
    };
    Ok(Calibrated { calibration, words, warnings })
}

fn without_usage(
    send: &mut impl FnMut(u32, u32) -> Result<OneAnswer, AskError>,
    wanted: &Wanted,
    goal: u32,
) -> Result<Calibrated, AskError> {
    let last = send(goal, wanted.output_tokens.min(ANSWER_TOKENS))?;
    let calibration = Calibration {
        e2e_ns: Some(full_answer_ns(&last, wanted.output_tokens)),
        has_usage: false,
        ..Calibration::default()
    };
    let warnings = vec![Warning::new(
        "prompt_length_estimated",
        "the server sends no usage: prompt lengths are numbers of words, one token each is assumed",
        "switch usage on in the server, or read token figures as estimates",
    )];
    Ok(Calibrated { calibration, words: WordModel::default(), warnings })
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
