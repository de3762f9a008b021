//! Rows of JSON, one a line, as they come out of a program or a file, in chunks of any size.

use serde_json::{Map, Value};

use crate::error::{ImportError, Place, quoted};
use crate::import::{Collected, Fields, Imported};

/// Longest line that is read, bytes.
const LONGEST: usize = 1 << 20;

/// Decodes `llama-bench -o jsonl` and `llama-batched-bench --output-format jsonl`. What comes out
/// does not depend on how the bytes are cut.
#[derive(Debug, Default)]
pub struct JsonLines {
    unfinished: Vec<u8>,
    lines: u64,
    others: u64,
    first_other: String,
    rows: Collected,
}

impl JsonLines {
    /// Takes the next bytes, and understands every row that they complete.
    ///
    /// # Errors
    /// The first row that is none, with its line. Lines that do not begin with `{` are messages of
    /// the program, which are counted and left out.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if self.unfinished.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.unfinished);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
        }
        self.unfinished.extend_from_slice(rest);
        if self.unfinished.len() > LONGEST { Err(too_long(self.lines + 1)) } else { Ok(()) }
    }

    /// What was read, when there is no more: one entry for each model and build.
    ///
    /// # Errors
    /// A last line that is cut short, or no row at all.
    pub fn finish(mut self) -> Result<Vec<Imported>, ImportError> {
        let last = std::mem::take(&mut self.unfinished);
        if !last.is_empty() {
            self.line(&last)?;
        }
        if self.rows.is_empty() && self.others > 0 {
            return Err(ImportError::Unknown { start: quoted(&self.first_other) });
        }
        if self.others > 0 {
            self.rows.skip(self.others, "of messages between the rows");
        }
        self.rows.finish()
    }

    fn line(&mut self, line: &[u8]) -> Result<(), ImportError> {
        self.lines += 1;
        if line.len() > LONGEST {
            return Err(too_long(self.lines));
        }
        let line =
            if self.lines == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        if !line.starts_with(b"{") {
            if self.others == 0 {
                self.first_other =
                    String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
            }
            self.others += 1;
            return Ok(());
        }
        let text =
            std::str::from_utf8(line).map_err(|_| ImportError::NotText { line: self.lines })?;
        let place = Place::Line(self.lines);
        self.rows.add(&Fields::of_json(object(text, place)?, place)?)
    }
}

/// One line as an object.
fn object(text: &str, place: Place) -> Result<Map<String, Value>, ImportError> {
    let read = serde_json::from_str(text).or_else(|_| serde_json::from_str(&without_nan(text)));
    read.map_err(|error| {
        let what = if error.is_eof() {
            "the row is cut short".to_owned()
        } else {
            format!("this is no JSON: {error}")
        };
        ImportError::row(place, what, "expected one whole JSON object on each line")
    })
}

/// llama-batched-bench prints the rate of a part that it left out as `-nan`, which is no JSON: such
/// words become text, and are an error only where the figure is needed.
fn without_nan(text: &str) -> String {
    let mut clean = text.to_owned();
    for word in ["nan", "inf"] {
        for sign in ["", "-"] {
            for end in [",", "}"] {
                let bare = format!(": {sign}{word}{end}");
                clean = clean.replace(&bare, &format!(": \"{sign}{word}\"{end}"));
            }
        }
    }
    clean
}

fn too_long(line: u64) -> ImportError {
    let what = format!("the line is longer than {LONGEST} bytes");
    ImportError::row(Place::Line(line), what, "expected one JSON object on each line")
}
