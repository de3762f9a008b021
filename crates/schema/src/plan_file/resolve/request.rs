//! What a request holds: prompt, output length, additional body.

use super::super::error::Fault;
use super::super::{
    DEFAULT_OUTPUT_TOKENS, DEFAULT_PROMPT_TOKENS, OutputFile, PromptFile, ServingFile,
};
use crate::plan::{Length, Output, Prompt};

/// Keys of the body that the plan itself sets, and how.
const BODY_KEYS: [(&str, &str); 4] = [
    ("model", "write `model = \"…\"` in the stage"),
    ("messages", "write `prompt = { … }` in the stage"),
    ("prompt", "write `prompt = { … }` in the stage"),
    ("stream", "answers are always streamed, since their tokens are timed"),
];

pub(super) fn prompt(given: &PromptFile) -> Result<Prompt, Fault> {
    if let Some(path) = &given.file {
        for (key, is_there) in
            [("tokens", given.tokens.is_some()), ("shared_prefix", given.shared_prefix.is_some())]
        {
            if is_there {
                let message = format!("both `file` and `{key}`: a file's prompts are as they are");
                return Err(Fault::at(&[key], message, "remove one of the two"));
            }
        }
        if path.trim().is_empty() {
            return Err(Fault::at(&["file"], "`file` is empty", "write the path of a text file"));
        }
        return Ok(Prompt::File { path: path.clone() });
    }
    let tokens = given.tokens.unwrap_or(Length::Fixed { tokens: DEFAULT_PROMPT_TOKENS });
    check_length(&tokens)?;
    let shared_prefix = given.shared_prefix.unwrap_or(0);
    if f64::from(shared_prefix) >= least(&tokens) && shared_prefix > 0 {
        let message =
            format!("a shared prefix of {shared_prefix} tokens fills prompts of {tokens}");
        let help = "make it shorter than the shortest prompt: each needs a part of its own";
        return Err(Fault::at(&["shared_prefix"], message, help));
    }
    Ok(Prompt::Synthetic { tokens, shared_prefix })
}

/// The length that prompts are not meant to fall below: the least, or the mean or median of a law
/// without one.
fn least(tokens: &Length) -> f64 {
    match *tokens {
        Length::Fixed { tokens } => f64::from(tokens),
        Length::Uniform { min, .. } => f64::from(min),
        Length::Normal { mean, .. } => mean,
        Length::LogNormal { median, .. } => median,
    }
}

pub(super) fn output(given: &OutputFile) -> Result<Output, Fault> {
    let tokens = given.tokens.unwrap_or(Length::Fixed { tokens: DEFAULT_OUTPUT_TOKENS });
    check_length(&tokens)?;
    Ok(Output { tokens, ignore_eos: given.ignore_eos.unwrap_or(true) })
}

/// A length that was not read from text may be anything: its own spelling must read.
fn check_length(tokens: &Length) -> Result<(), Fault> {
    let reading = tokens.to_string().parse::<Length>();
    reading.map(|_| ()).map_err(|error| Fault::at(&["tokens"], error.to_string(), ""))
}

pub(super) fn extra_body(
    given: &ServingFile,
) -> Result<Option<serde_json::Map<String, serde_json::Value>>, Fault> {
    let Some(body) = &given.extra_body else { return Ok(None) };
    for (key, help) in BODY_KEYS {
        if body.contains_key(key) {
            let message = format!("`{key}` in the additional body is set by the plan itself");
            return Err(Fault::at(&["extra_body", key], message, help));
        }
    }
    Ok(Some(body.clone()))
}
