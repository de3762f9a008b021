//! Errors of a plan, with the line they are about.

use std::fmt;

use super::place;

/// Where in the text of a plan an error lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line (long ones are cut around the column), with control characters blanked.
    pub text: String,
    /// Characters of `text` before the marked part.
    pub mark_start: usize,
    /// Characters marked, at least 1.
    pub mark_width: usize,
}

/// Why a plan cannot be carried out. Printed, it is one or several lines: what is wrong, the line
/// of the plan with a mark under the place, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What is allowed or what to do; may be empty.
    pub help: String,
    /// The key it is about, as in `serving[0].load.rate`; may be empty.
    pub key: String,
    /// Where it stands, for a plan that was read from a text.
    pub place: Option<Box<Place>>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "line {}, column {}: ", place.line, place.column)?;
        }
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            let margin = place.line.to_string().len();
            let (start, mark) = (" ".repeat(place.mark_start), "^".repeat(place.mark_width));
            write!(f, "\n  {} | {}", place.line, place.text)?;
            write!(f, "\n  {:margin$} | {start}{mark}", "")?;
        }
        if !self.help.is_empty() {
            write!(f, "\n{}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {}

/// A contradiction found while resolving, before its place is looked up.
#[derive(Debug)]
pub(super) struct Fault {
    /// Keys and indices from the root to the offending value.
    pub(super) steps: Vec<String>,
    pub(super) message: String,
    pub(super) help: String,
}

impl Fault {
    /// A fault at `keys`, relative to the table that is being checked.
    pub(super) fn at(keys: &[&str], message: impl Into<String>, help: impl Into<String>) -> Self {
        let steps = keys.iter().map(|key| (*key).to_owned()).collect();
        Self { steps, message: message.into(), help: help.into() }
    }

    /// The same, seen from the table above.
    pub(super) fn under(mut self, keys: &[&str]) -> Self {
        self.steps.splice(0..0, keys.iter().map(|key| (*key).to_owned()));
        self
    }

    /// With the place in the source, where there is one.
    pub(super) fn located(self, source: Option<&str>) -> PlanError {
        let span = source.and_then(|text| place::span_of(text, &self.steps));
        PlanError {
            place: source.zip(span).map(|(text, span)| Box::new(place::at(text, span))),
            key: place::spelled(&self.steps),
            message: self.message,
            help: self.help,
        }
    }
}
