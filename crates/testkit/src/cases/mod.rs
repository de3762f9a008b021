//! Ready-made misbehaviour: scripts, each with what a client must make of it.

mod connections;
mod failures;
mod streams;

pub use connections::connections;
pub use failures::failures;
pub use streams::streams;

use crate::fault::Script;

/// A script and the only right way to record an operation that met it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name, in the words of the issue that asked for it.
    pub name: &'static str,
    /// What the server does on a connection.
    pub script: Script,
    /// What the client must record.
    pub expect: Expect,
}

/// What a client must record of an operation. Outcome and error kinds are spelled as in records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// `ok`, `failed`, `timed_out` or `cut_short`.
    pub outcome: &'static str,
    /// The error kinds that describe it; empty for `ok`.
    pub errors: &'static [&'static str],
    /// Status of the answer, where one came.
    pub status: Option<u16>,
    /// All text that is no reasoning.
    pub content: String,
    /// All reasoning.
    pub reasoning: String,
    /// Events with content, reasoning or tool calls; `None` for an answer that is not a stream.
    pub token_events: Option<u32>,
    /// Prompt and completion tokens as the server told them.
    pub usage: Option<(u32, u32)>,
    /// The finish reason told.
    pub finish_reason: Option<&'static str>,
}

impl Expect {
    /// A good stream of `token_events` events with this text, which ended with `stop`.
    pub fn stream(content: &str, token_events: u32) -> Self {
        Self {
            outcome: "ok",
            status: Some(200),
            content: content.to_owned(),
            token_events: Some(token_events),
            finish_reason: Some("stop"),
            ..Self::default()
        }
    }

    /// The same with usage.
    #[must_use]
    pub fn usage(self, prompt: u32, completion: u32) -> Self {
        Self { usage: Some((prompt, completion)), ..self }
    }

    /// No answer, for one of these reasons.
    pub fn failed(errors: &'static [&'static str], status: Option<u16>) -> Self {
        Self { outcome: "failed", errors, status, ..Self::default() }
    }

    /// An answer that began and was not ended.
    pub fn cut_short(errors: &'static [&'static str], content: &str, token_events: u32) -> Self {
        Self {
            outcome: "cut_short",
            errors,
            status: Some(200),
            content: content.to_owned(),
            token_events: Some(token_events),
            ..Self::default()
        }
    }

    /// An answer that never ends.
    pub fn timed_out(errors: &'static [&'static str], content: &str, token_events: u32) -> Self {
        Self { outcome: "timed_out", ..Self::cut_short(errors, content, token_events) }
    }
}

/// Every case there is.
pub fn all() -> Vec<Case> {
    let mut cases = streams();
    cases.extend(failures());
    cases.extend(connections());
    cases
}

/// The case of this name.
///
/// # Panics
/// When there is none (a test's typing error).
pub fn named(name: &str) -> Case {
    let found = all().into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("there is no case {name:?}"))
}
