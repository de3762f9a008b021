//! The table that `list` prints: which runs there are.

use loadline_schema::manifest::RunStatus;

use crate::quantity::{self, ABSENT};
use crate::style::{Style, Tone};
use crate::table::{Column, Table};
use crate::words::plain;

/// A run, as `list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Eight base-32 letters.
    pub id: String,
    /// The plan's name.
    pub name: String,
    /// Start in UTC, RFC 3339.
    pub started: String,
    /// State; `None` where the manifest could not be read.
    pub status: Option<RunStatus>,
    /// Whether a process is still writing it.
    pub is_live: bool,
    /// Requests recorded, where known.
    pub requests: Option<u64>,
    /// Name of its directory.
    pub directory: String,
}

/// The runs in the order given, with a line that says so where there is none.
pub fn list(entries: &[ListEntry], style: &Style) -> String {
    if entries.is_empty() {
        return "No runs here.\n".to_owned();
    }
    let words = |label: &str, field: fn(&ListEntry) -> String| {
        Column::words(label, entries.iter().map(field).collect())
    };
    let requests = entries
        .iter()
        .map(|entry| entry.requests.map_or(ABSENT.to_owned(), quantity::count))
        .collect();
    let mut columns = vec![
        words("run", |entry| plain(&entry.id)).toned(Tone::Strong),
        words("started (UTC)", |entry| minute(&plain(&entry.started))),
        words("state", |entry| state(entry).to_owned()),
    ];
    let requests = Column::numbers("", "requests", requests);
    columns.extend(requests.has_content(&[ABSENT]).then_some(requests));
    columns.push(words("name", |entry| plain(&entry.name)));
    Table::new(columns).lines(*style).join("\n") + "\n"
}

fn state(entry: &ListEntry) -> &'static str {
    match entry.status {
        Some(RunStatus::Running) if entry.is_live => "running",
        Some(RunStatus::Running) => "killed",
        Some(RunStatus::Sealed) => "complete",
        Some(RunStatus::Interrupted) => "incomplete",
        None => "unreadable",
    }
}

/// "2026-11-24T10:15:00Z" as "2026-11-24 10:15".
fn minute(started: &str) -> String {
    started.replace('T', " ").chars().take(16).collect()
}
