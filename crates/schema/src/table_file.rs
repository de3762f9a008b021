//! Tables measured elsewhere, as CSV text: one row for each load, columns found by their names.

use std::collections::BTreeMap;
use std::fmt;

use crate::event::Warning;
use crate::verdict::Row;

mod cell;
mod column;
mod read;

/// A table as understood: only what its cells say, nothing computed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableFile {
    /// Its rows in the order of the file; at least one, each with another load of the same kind.
    pub rows: Vec<TableRow>,
    /// Columns that were left out, and why.
    pub warnings: Vec<Warning>,
}

/// A row, and how exactly its figures were written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableRow {
    /// The figures.
    pub row: Row,
    /// Line of the file, from 1.
    pub line: u64,
    /// Largest error of `requests_per_s` by the rounding of its digits, requests/s.
    pub requests_rounding_per_s: f64,
    /// Largest error of the mean E2E by the rounding of its digits, ns.
    pub e2e_mean_rounding_ns: Option<f64>,
}

impl TableFile {
    /// Reads a table: fields apart by `,`, `;` or tab, a first line with the names of the columns.
    ///
    /// | column | names |
    /// |---|---|
    /// | load (required) | `concurrency`, `batch` (`Batch Size`) or `rate` |
    /// | requests/s (required) | `requests_per_s`, `Requests/Second`, `rps` |
    /// | a latency | `<metric>_<statistic>`, as in `ttft_p99_ms`; without a metric (`Avg Latency`, `P99 Latency`) it is E2E |
    /// | others | `output_tokens_per_s`, `output_tokens_per_s_per_user`, `error_rate`, `watts` |
    ///
    /// Units stand in the heading (`_ms`, `(ms)`) or in the cells (`435ms`). Empty cells are absent.
    ///
    /// # Errors
    /// What cannot be read without guessing, with its line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        read::table(bytes)
    }

    /// The latency figures that a row of the table has: `e2e_mean`, `e2e_p99`, ….
    pub fn latency_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (metric, figures) in self.rows.iter().flat_map(|row| &row.row.latency_ns) {
            for statistic in figures.keys() {
                let name = format!("{metric}_{statistic}");
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names.sort();
        names
    }
}

impl TableRow {
    /// A latency figure, ns.
    pub fn latency_ns(&self, metric: &str, statistic: &str) -> Option<f64> {
        self.row.latency_ns.get(metric)?.get(statistic).copied()
    }
}

/// Latencies by metric and statistic.
type Latencies = BTreeMap<String, BTreeMap<String, f64>>;

/// Why a text is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TableError {
    /// Line, from 1, where there is one to name.
    pub line: Option<u64>,
    /// Column: its number, from 1, and its name.
    pub column: Option<(usize, String)>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl TableError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { line: None, column: None, message: message.into(), help: help.into() }
    }

    fn on(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }

    fn in_column(self, index: usize, name: &str) -> Self {
        Self { column: Some((index + 1, name.to_owned())), ..self }
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}")?;
            if let Some((number, name)) = &self.column {
                write!(f, ", column {number} (`{name}`)")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "; {}", self.help) }
    }
}

/// A text from a file in an error: not too long, nothing that steers a terminal.
fn quoted(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut kept: String = text.chars().take(40).map(clean).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    format!("`{kept}`")
}

#[cfg(test)]
mod tests;
