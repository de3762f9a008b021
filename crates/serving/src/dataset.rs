//! Prompts from a file: one a line, or JSON lines with `prompt` or `messages`.

use std::path::Path;

use loadline_schema::plan::Api;
use loadline_schema::record::TrialId;
use rand::Rng as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::prompt::{mix, op_rng};

/// Prompts of the user's, in the order of the file.
#[derive(Debug)]
pub struct Dataset {
    path: String,
    rows: Vec<Row>,
}

/// One prompt.
#[derive(Debug)]
pub(crate) struct Row {
    /// Line of the file, from 1.
    line: usize,
    pub(crate) text: RowText,
    /// Output tokens that the row asks for.
    pub(crate) output_tokens: Option<u32>,
}

/// What a row sends, as it goes into a body.
#[derive(Debug)]
pub(crate) enum RowText {
    /// A text, as a JSON string with its quotes.
    Prompt(Box<str>),
    /// A JSON array of chat messages, as it stands in the file.
    Messages(Box<RawValue>),
}

/// A file that gives no prompts.
#[derive(Debug, thiserror::Error)]
#[error("{path}{line}: {why}", line = line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct DatasetError {
    path: String,
    line: Option<usize>,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: Option<String>,
    messages: Option<Box<RawValue>>,
    #[serde(alias = "max_tokens")]
    output_tokens: Option<u32>,
}

impl Dataset {
    /// Reads a file. Names ending in `.jsonl`, `.ndjson` or `.json` are JSON lines, others have one
    /// prompt a line; empty lines are passed over.
    ///
    /// # Errors
    /// The file cannot be read, a line is not understood (named), or there is no prompt.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let text = std::fs::read_to_string(path).map_err(|error| DatasetError {
            path: path.display().to_string(),
            line: None,
            why: format!("cannot read the prompts: {error}"),
        })?;
        Self::parse(path, &text)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, DatasetError> {
        let path_text = path.display().to_string();
        let fail = |line, why: String| DatasetError { path: path_text.clone(), line, why };
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let json = ["jsonl", "ndjson", "json"].contains(&ending.to_ascii_lowercase().as_str());
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rows = Vec::new();
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            rows.push(if json {
                row(line, text).map_err(|why| fail(Some(line), why))?
            } else {
                Row { line, text: RowText::Prompt(quoted(text)), output_tokens: None }
            });
        }
        if rows.is_empty() {
            return Err(fail(None, "it holds no prompt".to_owned()));
        }
        Ok(Self { path: path_text, rows })
    }

    /// Prompts in the file.
    pub fn prompts(&self) -> usize {
        self.rows.len()
    }

    /// Whether every row can be sent to this API.
    ///
    /// # Errors
    /// A row holds chat messages, and the API takes texts only: its line.
    pub fn check(&self, api: Api) -> Result<(), DatasetError> {
        let chat_only = |row: &&Row| matches!(row.text, RowText::Messages(_));
        match self.rows.iter().find(chat_only) {
            Some(row) if api == Api::Completions => Err(DatasetError {
                path: self.path.clone(),
                line: Some(row.line),
                why: "it holds messages, which only the chat API takes: use --api chat, or give a \
                      prompt"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The row of an operation: all rows once, then all again in another order.
    pub(crate) fn row(&self, order: Order, op: u64) -> &Row {
        &self.rows[order.place(self.rows.len() as u64, op) as usize]
    }
}

/// An order of rows for each trial, in which every row comes once a lap. Computed, not stored: a
/// million rows need no list for each reactor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    key: u64,
}

impl Order {
    pub(crate) fn new(seed: u64, trial: TrialId) -> Self {
        Self { key: op_rng(seed, trial, u64::MAX).next_u64() }
    }

    /// Place of the `op`-th row in a file of `n`.
    ///
    /// A Feistel network of four rounds permutes the smallest power of four that holds n; places
    /// beyond n are sent through it again until they fall inside (cycle walking: Black and Rogaway,
    /// "Ciphers with arbitrary finite domains", CT-RSA 2002).
    fn place(self, n: u64, op: u64) -> u64 {
        let half = (u64::BITS - (n - 1).leading_zeros()).div_ceil(2).max(1);
        let low = (1 << half) - 1;
        let key = mix(self.key ^ (op / n));
        let mut place = op % n;
        loop {
            let (mut left, mut right) = (place >> half, place & low);
            for round in 1..=4 {
                (left, right) = (right, left ^ (mix(key ^ (round << 56) ^ right) & low));
            }
            place = left << half | right;
            if place < n {
                return place;
            }
        }
    }
}

fn row(line: usize, text: &str) -> Result<Row, String> {
    let parsed: Line = serde_json::from_str(text).map_err(|error| {
        format!(
            "expected {{\"prompt\": …}} or {{\"messages\": […]}}, optionally output_tokens: {error}"
        )
    })?;
    let text = match (parsed.prompt, parsed.messages) {
        (Some(prompt), None) => RowText::Prompt(quoted(&prompt)),
        (None, Some(messages)) if messages.get().starts_with('[') => RowText::Messages(messages),
        (None, Some(_)) => return Err("messages is not a list".to_owned()),
        (Some(_), Some(_)) => return Err("it has both prompt and messages".to_owned()),
        (None, None) => return Err("it has neither prompt nor messages".to_owned()),
    };
    if parsed.output_tokens == Some(0) {
        return Err("output_tokens is 0: ask for at least 1".to_owned());
    }
    Ok(Row { line, text, output_tokens: parsed.output_tokens })
}

/// The text as a JSON string.
fn quoted(text: &str) -> Box<str> {
    serde_json::to_string(text).expect("invariant: text always serialises").into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const ID: TrialId = TrialId { stage: 0, point: 0, trial: 0, part: 0 };

    fn parse(name: &str, text: &str) -> Result<Dataset, String> {
        Dataset::parse(Path::new(name), text).map_err(|error| error.to_string())
    }

    #[test]
    fn text_and_json_lines() {
        let text = parse("p.txt", "\u{feff}one\r\n\n\"two\" words\n").expect("valid");
        assert!(matches!(&text.rows[0].text, RowText::Prompt(p) if **p == *"\"one\""));
        assert!(matches!(&text.rows[1].text, RowText::Prompt(p) if **p == *r#""\"two\" words""#));
        let json = "{\"prompt\":\"a\",\"max_tokens\":5}\n{\"messages\":[{\"role\":\"user\"}]}\n";
        let json = parse("p.jsonl", json).expect("valid");
        assert_eq!((json.rows[0].output_tokens, json.prompts()), (Some(5), 2));
        assert!(matches!(&json.rows[1].text, RowText::Messages(m) if m.get().starts_with('[')));
    }

    #[test]
    fn errors_name_file_and_line() {
        for (line, told) in [
            ("{\"x\":1}", "unknown field `x`"),
            ("hello", "expected {\"prompt\": …}"),
            ("{}", "neither"),
            ("{\"prompt\":\"a\",\"messages\":[]}", "both"),
            ("{\"messages\":\"a\"}", "not a list"),
            ("{\"prompt\":\"a\",\"output_tokens\":0}", "at least 1"),
            ("{\"prompt\":\"a\",\"output_tokens\":-1}", "invalid value"),
        ] {
            let text = format!("{{\"prompt\":\"a\"}}\n\n{line}\n");
            let message = parse("p.jsonl", &text).expect_err("bad");
            assert!(message.starts_with("p.jsonl:3: ") && message.contains(told), "{message}");
        }
        assert_eq!(parse("p.txt", "\n").expect_err("empty"), "p.txt: it holds no prompt");
    }

    #[test]
    fn files_are_read_from_disk() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("p.txt");
        std::fs::write(&path, "one\ntwo\n").expect("written");
        assert_eq!(Dataset::read(&path).expect("valid").prompts(), 2);
        let error = Dataset::read(&dir.path().join("none")).expect_err("not there").to_string();
        assert!(error.contains("none: cannot read the prompts: "), "{error}");
    }

    #[test]
    fn messages_need_the_chat_api() {
        let rows = parse("p.jsonl", "{\"prompt\":\"a\"}\n{\"messages\":[]}").expect("valid");
        assert!(rows.check(Api::Chat).is_ok());
        let error = rows.check(Api::Completions).expect_err("not there").to_string();
        assert!(error.starts_with("p.jsonl:2: ") && error.contains("--api chat"), "{error}");
        assert!(parse("p.txt", "a").expect("valid").check(Api::Completions).is_ok());
    }

    #[test]
    fn trials_and_laps_have_orders_of_their_own() {
        let order = |trial, from| -> Vec<u64> {
            let order = Order::new(1, TrialId { trial, ..ID });
            (from..from + 50).map(|op| order.place(50, op)).collect()
        };
        assert_eq!(order(0, 0), order(0, 0));
        assert_ne!(order(0, 0), order(1, 0));
        assert_ne!(order(0, 0), order(0, 50));
        assert!(!order(0, 0).is_sorted());
    }

    #[test]
    fn every_row_is_as_likely_everywhere() {
        // 5 rows over 20,000 orders: each comes first in a fifth, within five standard errors.
        let mut first = [0_u32; 5];
        for seed in 0..20_000 {
            first[Order::new(seed, ID).place(5, 0) as usize] += 1;
        }
        assert!(first.iter().all(|count| count.abs_diff(4_000) < 283), "{first:?}");
    }

    proptest! {
        #[test]
        fn each_row_comes_once_a_lap(n in 1_u64..300, seed: u64, lap in 0_u64..1_000) {
            let order = Order::new(seed, ID);
            let seen: HashSet<u64> = (lap * n..lap * n + n).map(|op| order.place(n, op)).collect();
            prop_assert_eq!(seen.len() as u64, n);
            prop_assert!(seen.iter().all(|place| *place < n));
        }
    }
}
