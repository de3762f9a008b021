//! Stored results of llama-bench and llama-batched-bench, as bytes: which format, then its rows.

use loadline_schema::engine::{EngineCell, EngineFacts, EngineTrial};
use serde_json::{Map, Value};

use crate::error::{ImportError, Place, quoted};
use crate::json_lines::JsonLines;

mod bench_row;
mod collected;
mod csv_rows;
mod fields;
mod table;

pub(crate) use collected::Collected;
pub(crate) use fields::Fields;

/// What was measured with one build, one model and one set of the settings that are not in a cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Imported {
    /// What the tool says about itself and the model.
    pub facts: EngineFacts,
    /// Cells in the order of their first rows, each with its trials; never without trials, each
    /// trial with a time for prompt processing, generation or both.
    pub cells: Vec<(EngineCell, Vec<EngineTrial>)>,
    /// What a reader of the figures should know.
    pub notes: Vec<String>,
    /// Rows that were left out: how many, and why.
    pub skipped: Vec<String>,
}

/// Reads stored results: the json, jsonl and csv output of llama-bench, the jsonl output and the
/// table of llama-batched-bench. One entry for each model, build, and set of settings that are not
/// in a cell (`n_cpu_moe`, `split_mode`, …); at least one, at least one with cells.
///
/// A row of llama-bench is prompt processing or generation at a depth: those of otherwise equal
/// settings are one cell, the first prompt length with the first output length and so on; what is
/// left over is a cell of its own. Its samples are the trials. Rows with both (`-pg`) are one time
/// for two things and are left out.
///
/// A row of llama-batched-bench is prompt processing of `pp` tokens at an empty context, then
/// generation at a context of `pp` tokens: two cells, as each is timed at its cell's context. Rows
/// with a shared prompt (`-pps`) are left out.
///
/// # Errors
/// What cannot be read without guessing, with its line or row.
pub fn import(bytes: &[u8]) -> Result<Vec<Imported>, ImportError> {
    match format(bytes)? {
        Format::Json { start, line } => json(&bytes[start..], line),
        Format::JsonLines => {
            let mut lines = JsonLines::default();
            lines.push(bytes)?;
            lines.finish()
        }
        Format::Csv { start, line } => csv_rows::read(text(bytes)?, start, line),
        Format::Table => table::read(text(bytes)?),
        Format::Refused { format, why } => Err(ImportError::Refused { format, why }),
    }
}

/// What the bytes are, and where they begin when messages of the program come first.
enum Format {
    /// One array, from this byte, on this line.
    Json { start: usize, line: u64 },
    /// An object on each line.
    JsonLines,
    /// A heading and rows, from this byte, on this line.
    Csv { start: usize, line: u64 },
    /// The table of llama-batched-bench.
    Table,
    /// A format of llama-bench that is not read.
    Refused { format: &'static str, why: &'static str },
}

/// The format, by the first line that tells.
fn format(bytes: &[u8]) -> Result<Format, ImportError> {
    let (mut start, mut number) = (0, 0_u64);
    let mut first: Option<&[u8]> = None;
    for whole in bytes.split_inclusive(|byte| *byte == b'\n') {
        number += 1;
        let bare =
            if number == 1 { whole.strip_prefix(b"\xef\xbb\xbf").unwrap_or(whole) } else { whole };
        let line = bare.trim_ascii();
        let begin = start + (whole.len() - bare.len());
        start += whole.len();
        if line.is_empty() {
            continue;
        }
        first.get_or_insert(line);
        if line.starts_with(b"{") {
            return Ok(Format::JsonLines);
        }
        if line.starts_with(b"[") && is_array(&bytes[begin..]) {
            return Ok(Format::Json { start: begin, line: number });
        }
        if line.starts_with(b"|") {
            return Ok(if has(line, b"T_PP") { Format::Table } else { MARKDOWN });
        }
        if line.starts_with(b"CREATE TABLE") || line.starts_with(b"INSERT INTO") {
            return Ok(SQL);
        }
        if has(line, b"n_prompt") && has(line, b"n_gen") && has(line, b"avg_ns") {
            return Ok(Format::Csv { start: begin, line: number });
        }
    }
    let Some(first) = first else { return Err(ImportError::Empty) };
    let start = quoted(&String::from_utf8_lossy(&first[..first.len().min(200)]));
    Err(ImportError::Unknown { start })
}

const MARKDOWN: Format = Format::Refused {
    format: "Markdown",
    why: "has rounded rates only, without the settings that have their default value",
};

const SQL: Format =
    Format::Refused { format: "SQL", why: "has no samples and is a program to run, not data" };

/// Whether these bytes begin like an array of objects, or an empty one.
fn is_array(bytes: &[u8]) -> bool {
    let inner = bytes.trim_ascii_start()[1..].trim_ascii_start();
    inner.first().is_none_or(|byte| matches!(byte, b'{' | b']'))
}

fn has(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}

fn text(bytes: &[u8]) -> Result<&str, ImportError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        ImportError::NotText { line: before.split(|byte| *byte == b'\n').count() as u64 }
    })
}

/// One array of rows; what comes after it is not looked at.
fn json(bytes: &[u8], line: u64) -> Result<Vec<Imported>, ImportError> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Vec<Value>>();
    let read = values.next().unwrap_or_else(|| Ok(Vec::new()));
    let rows = read.map_err(|error| {
        let place = Place::Line(line + (error.line() as u64).saturating_sub(1));
        let what = if error.is_eof() {
            "the array of rows is cut short".to_owned()
        } else {
            format!("this is no JSON: {error}")
        };
        ImportError::row(place, what, "expected a whole array of objects, as `-o json` writes it")
    })?;
    let mut collected = Collected::default();
    for (index, row) in rows.into_iter().enumerate() {
        let place = Place::Row(index as u64 + 1);
        collected.add(&Fields::of_json(object(row, place)?, place)?)?;
    }
    collected.finish()
}

fn object(row: Value, place: Place) -> Result<Map<String, Value>, ImportError> {
    match row {
        Value::Object(fields) => Ok(fields),
        _ => Err(ImportError::row(place, "this is no object", "expected one object for each row")),
    }
}

#[cfg(test)]
mod tests;
