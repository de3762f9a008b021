//! The table of llama-batched-bench: a line with its settings, headings, then the rows.

use std::collections::BTreeMap;

use super::Imported;
use super::collected::Collected;
use super::fields::Fields;
use crate::error::{ImportError, Place, quoted};

/// The headings in their order, and the names of the same figures in its jsonl output.
const COLUMNS: [(&str, &str); 10] = [
    ("PP", "pp"),
    ("TG", "tg"),
    ("B", "pl"),
    ("N_KV", "n_kv"),
    ("T_PP s", "t_pp"),
    ("S_PP t/s", "speed_pp"),
    ("T_TG s", "t_tg"),
    ("S_TG t/s", "speed_tg"),
    ("T s", "t"),
    ("S t/s", "speed"),
];

/// Reads the rows of one or several tables.
pub(super) fn read(text: &str) -> Result<Vec<Imported>, ImportError> {
    let mut collected = Collected::default();
    let mut settings: Option<BTreeMap<String, String>> = None;
    for (index, line) in text.lines().enumerate() {
        let place = Place::Line(index as u64 + 1);
        let line = line.trim();
        if let Some(at) = line.find("n_kv_max = ") {
            settings = Some(pairs(&line[at..]));
        }
        let Some(cells) = cells(line) else { continue };
        if cells.iter().all(|cell| !cell.is_empty() && cell.bytes().all(|byte| byte == b'-')) {
            continue;
        }
        if cells.first() == Some(&"PP") {
            headings(&cells, place)?;
            continue;
        }
        let Some(settings) = &settings else {
            let what = "the line with `n_kv_max = …, n_batch = …` before the table is missing";
            let expected = "expected the whole output, or that of `--output-format jsonl`";
            return Err(ImportError::row(place, what, expected));
        };
        if cells.len() != COLUMNS.len() {
            let what = format!("{} cells in the row {}", cells.len(), quoted(line));
            let expected = format!("expected {}; was the file cut short?", COLUMNS.len());
            return Err(ImportError::row(place, what, expected));
        }
        let mut values = settings.clone();
        let named = COLUMNS.iter().zip(&cells);
        values.extend(named.map(|((_, name), cell)| ((*name).to_owned(), (*cell).to_owned())));
        values.insert("table".to_owned(), "1".to_owned());
        collected.add(&Fields::of_texts(values, place))?;
    }
    collected.finish()
}

/// The cells of a line, if it is a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?;
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    Some(inner.split('|').map(str::trim).collect())
}

fn headings(cells: &[&str], place: Place) -> Result<(), ImportError> {
    let expected: Vec<&str> = COLUMNS.iter().map(|(heading, _)| *heading).collect();
    if cells == expected {
        return Ok(());
    }
    let what = format!("the headings are {}", cells.join(", "));
    Err(ImportError::row(place, what, format!("expected {}", expected.join(", "))))
}

/// `name = value` apart by commas.
fn pairs(line: &str) -> BTreeMap<String, String> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    line.split(',').filter_map(pair).collect()
}
