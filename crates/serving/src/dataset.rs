//! Prompts from a file: one a line, or JSON lines with `prompt` or `messages`.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Prompts of the user's, in the order of the file.
#[derive(Debug)]
pub struct Dataset {
    pub(crate) rows: Vec<Row>,
}

/// One prompt.
#[derive(Debug)]
pub(crate) struct Row {
    pub text: RowText,
    /// Output tokens that the row asks for.
    pub output_tokens: Option<u32>,
}

/// What a row sends.
#[derive(Debug)]
pub(crate) enum RowText {
    /// A text.
    Prompt(String),
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
    /// Reads a file. Names ending in `.jsonl` or `.json` are JSON lines, others have one prompt a
    /// line; empty lines are passed over.
    ///
    /// # Errors
    /// The file cannot be read, a line is not understood (named), or there is no prompt.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let fail = |line, why: String| DatasetError { path: path.display().to_string(), line, why };
        let text = std::fs::read_to_string(path)
            .map_err(|error| fail(None, format!("cannot read the prompts: {error}")))?;
        let json = path.extension().is_some_and(|end| end == "jsonl" || end == "json");
        let mut rows = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            rows.push(if json {
                row(line).map_err(|why| fail(Some(number), why))?
            } else {
                Row { text: RowText::Prompt(line.to_owned()), output_tokens: None }
            });
        }
        if rows.is_empty() {
            return Err(fail(None, "it holds no prompt".to_owned()));
        }
        Ok(Self { rows })
    }

    /// The row of an operation: an order of its own for each seed, from the start again after the
    /// last.
    pub(crate) fn row(&self, seed: u64, op: u64) -> &Row {
        let n = self.rows.len() as u64;
        let lap = op / n;
        // A step that shares no factor with n visits each row once a lap.
        let mut step = ((seed ^ lap.wrapping_mul(0x9E37_79B9_7F4A_7C15)) % n) | 1;
        while gcd(step, n) != 1 {
            step += 1;
        }
        &self.rows[((u128::from(op % n) * u128::from(step) + u128::from(seed % n)) % u128::from(n))
            as usize]
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn row(line: &str) -> Result<Row, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| {
        format!(
            "expected {{\"prompt\": …}} or {{\"messages\": […]}}, optionally output_tokens: {error}"
        )
    })?;
    let text = match (line.prompt, line.messages) {
        (Some(prompt), None) => RowText::Prompt(prompt),
        (None, Some(messages)) if messages.get().starts_with('[') => RowText::Messages(messages),
        (None, Some(_)) => return Err("messages is not a list".to_owned()),
        (Some(_), Some(_)) => return Err("it has both prompt and messages".to_owned()),
        (None, None) => return Err("it has neither prompt nor messages".to_owned()),
    };
    Ok(Row { text, output_tokens: line.output_tokens })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, text: &str) -> Result<Dataset, DatasetError> {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        Dataset::read(&path)
    }

    #[test]
    fn text_and_json_lines() {
        let text = file("p.txt", "one\n\ntwo words\n").expect("valid");
        assert!(matches!(&text.rows[1].text, RowText::Prompt(p) if p == "two words"));
        let json = "{\"prompt\":\"a\",\"max_tokens\":5}\n{\"messages\":[{\"role\":\"user\"}]}\n";
        let json = file("p.jsonl", json).expect("valid");
        assert_eq!(json.rows[0].output_tokens, Some(5));
        assert!(matches!(&json.rows[1].text, RowText::Messages(m) if m.get().starts_with('[')));
    }

    #[test]
    fn errors_name_file_and_line() {
        let message =
            file("p.jsonl", "{\"prompt\":\"a\"}\n{\"x\":1}\n").expect_err("bad").to_string();
        assert!(message.contains("p.jsonl:2: "), "{message}");
        assert!(file("p.txt", "\n").expect_err("empty").to_string().contains("no prompt"));
        assert!(Dataset::read(Path::new("/no/such")).is_err());
    }

    proptest! {
        #[test]
        fn each_row_comes_once_a_lap(n in 1_usize..40, seed: u64) {
            let text: Vec<String> = (0..n).map(|row| row.to_string()).collect();
            let data = file("p.txt", &text.join("\n")).expect("valid");
            for lap in 0..3 {
                let first = lap * n as u64;
                let seen: HashSet<*const Row> =
                    (first..first + n as u64).map(|op| std::ptr::from_ref(data.row(seed, op))).collect();
                prop_assert_eq!(seen.len(), n);
            }
        }
    }
}
