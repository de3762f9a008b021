//! The report that answers at the terminal: what was measured, what to beware of, the trade-off
//! between load, speed and latency, then the details behind it.

use loadline_schema::document::{Document, Point, Serving};

use crate::style::{Style, Tone};
use crate::table::Table;
use crate::words::{self, plain};

mod answer;
mod caveats;
mod client;
mod compare;
mod cost;
pub(crate) mod engine;
mod gpu;
mod head;
mod latency;
mod observed;
mod outcomes;
mod rates;
mod scalability;
mod server_latency;
pub(crate) mod storage;
mod storage_blocks;
mod storage_whole;
pub(crate) mod table_report;
mod targets;
mod tokens;
pub(crate) mod tradeoff;

pub use compare::compare_terminal;
pub(crate) use cost::cost_column;
pub use cost::cost_terminal;
pub use engine::model_words;
pub use gpu::{gpu_check, gpu_terminal};

/// The whole report as text. No line is wider than the style allows, but for a path that would be
/// useless if broken.
pub fn terminal(document: &Document, style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    head::run(&mut page, document);
    for (index, stage) in document.engine_stages.iter().enumerate() {
        engine::section(&mut page, document, stage, index == 0);
    }
    for (index, stage) in document.storage_stages.iter().enumerate() {
        storage::section(
            &mut page,
            document,
            stage,
            index == 0 && document.engine_stages.is_empty(),
        );
    }
    for (index, stage) in document.serving.iter().enumerate() {
        let is_first = document.engine_stages.is_empty() && document.storage_stages.is_empty();
        serving(&mut page, document, stage, index == 0 && is_first);
    }
    let is_alone = document.serving.is_empty() && document.engine_stages.is_empty();
    if !document.latency.is_empty() {
        server_latency::section(&mut page, document, is_alone && document.rows.is_empty());
    }
    if !document.rows.is_empty() {
        table_report::section(&mut page, document);
    } else if is_alone && document.latency.is_empty() && document.storage_stages.is_empty() {
        caveats::of_run(&mut page, document);
    }
    gpu::section(&mut page, document);
    head::footer(&mut page, document);
    page.text
}

/// What holds for the whole run stands with the first stage, after its answer.
fn serving(page: &mut Page, document: &Document, stage: &Serving, is_first: bool) {
    head::stage(page, stage, document.serving.len() > 1);
    if stage.points.is_empty() {
        page.paragraph("Nothing was measured: no trial reached its measure window.", 0, Tone::Bad);
    } else {
        answer::section(page, document, stage);
    }
    if is_first {
        caveats::of_run(page, document);
    }
    if stage.points.is_empty() {
        return;
    }
    caveats::of_stage(page, stage);
    tradeoff::section(page, document, stage);
    targets::sections(page, document, stage);
    cost::section(page, stage);
    scalability::section(page, stage);
    rates::section(page, stage);
    latency::sections(page, stage);
    tokens::section(page, stage);
    observed::sections(page, stage);
    outcomes::section(page, stage);
    client::section(page, document, stage);
}

/// The column that says which load a row is about.
fn key_column(points: &[Point]) -> crate::table::Column {
    let (group, label) = words::load_head(points);
    let loads = points.iter().map(|point| words::load_short(&point.load)).collect();
    crate::table::Column::numbers(group, label, loads).toned(Tone::Strong)
}

/// Text under construction.
struct Page {
    style: Style,
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A blank line, then a title and a note in the same line where both fit.
    fn heading(&mut self, title: &str, note: &str) {
        self.blank();
        let style = self.style;
        let painted = style.paint(title, Tone::Strong);
        let width = style.columns();
        if note.is_empty() {
            self.line(&painted);
        } else if words::columns(title) + 2 + words::columns(note) <= width {
            self.line(&format!("{painted}  {}", style.paint(note, Tone::Faint)));
        } else {
            self.line(&painted);
            self.paragraph(note, 0, Tone::Faint);
        }
    }

    /// Running text, wrapped, every line indented.
    fn paragraph(&mut self, text: &str, indent: usize, tone: Tone) {
        let blanks = " ".repeat(indent);
        self.hanging(&blanks, &blanks, text, tone);
    }

    /// Running text whose first line starts with `first` and the others with `rest`.
    fn hanging(&mut self, first: &str, rest: &str, text: &str, tone: Tone) {
        let style = self.style;
        let width = style.columns().saturating_sub(words::columns(first));
        for (index, line) in words::wrap(text, width).into_iter().enumerate() {
            let start = if index == 0 { first } else { rest };
            self.line(&style.paint(&format!("{start}{line}"), tone));
        }
    }

    fn table(&mut self, table: &Table) {
        for line in table.lines(self.style) {
            self.line(&line);
        }
    }
}

/// "at concurrency 4 and 16": the points in running text.
fn at_points<'a>(points: impl Iterator<Item = &'a Point>) -> String {
    let mut shorts: Vec<String> = Vec::new();
    let mut first = None;
    for point in points {
        first.get_or_insert(point);
        shorts.push(words::load_short(&point.load));
    }
    let Some(first) = first else { return String::new() };
    let last = shorts.pop().unwrap_or_default();
    let list = if shorts.is_empty() { last } else { format!("{} and {last}", shorts.join(", ")) };
    if first.load.concurrency.is_some() {
        format!("at concurrency {list}")
    } else if first.load.rate_per_s.is_some() {
        format!("at {list} requests/s")
    } else {
        format!("at bursts of {list}")
    }
}

/// A text from outside in quotes.
fn quoted(text: &str) -> String {
    format!("“{}”", words::cut(&plain(text), 300))
}
