//! The csv output of llama-bench: a heading, then one row for each test, without its samples.

use std::collections::BTreeMap;

use super::Imported;
use super::collected::Collected;
use super::fields::Fields;
use crate::error::{ImportError, Place};

/// Reads the rows of a text whose heading begins at byte `start`, on line `line`.
pub(super) fn read(text: &str, start: usize, line: u64) -> Result<Vec<Imported>, ImportError> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(&text.as_bytes()[start..]);
    let at = |offset: u64| Place::Line(line + offset.saturating_sub(1));
    let unread = |error: csv::Error| {
        let place = at(error.position().map_or(1, csv::Position::line));
        ImportError::row(place, error.to_string(), "check the quotes of this line")
    };
    let headings = reader.headers().map_err(unread)?.clone();
    let mut collected = Collected::default();
    for record in reader.records() {
        let record = record.map_err(unread)?;
        let place = at(record.position().map_or(1, csv::Position::line));
        if record.len() != headings.len() {
            let what = format!("{} fields under {} headings", record.len(), headings.len());
            let expected = "expected a field for each heading; was the file cut short?";
            return Err(ImportError::row(place, what, expected));
        }
        let pairs = headings.iter().zip(&record);
        let values: BTreeMap<String, String> =
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        collected.add(&Fields::of_texts(values, place))?;
    }
    collected.finish()
}
