//! The analysis document as text for people and for programs: terminal, JSON, CSV, Markdown. It
//! renders what analysis computed, and computes no statistic of its own.

mod csv;
mod json;
mod list;
mod markdown;
mod metrics;
pub mod quantity;
mod schema;
mod style;
mod table;
mod terminal;
mod words;

pub use csv::csv;
pub use json::json;
pub use list::{ListEntry, list};
pub use markdown::markdown;
pub use metrics::metrics_markdown;
pub use schema::analysis_schema_json;
pub use style::Style;
pub use terminal::terminal;
