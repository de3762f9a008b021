//! The analysis document as text for people and for programs: terminal, JSON, CSV, Markdown. It
//! renders what analysis computed, and computes no statistic of its own.

mod compare_markdown;
mod compare_words;
mod csv;
mod engine_csv;
mod gpu_csv;
mod json;
mod latency_csv;
mod list;
mod markdown;
mod metrics;
mod observed_csv;
pub mod quantity;
mod rows_csv;
mod schema;
mod storage_csv;
mod style;
mod table;
mod terminal;
mod words;

pub use compare_markdown::compare_markdown;
pub use csv::csv;
pub use gpu_csv::gpu_csv;
pub use json::json;
pub use list::{ListEntry, list};
pub use markdown::markdown;
pub use metrics::metrics_markdown;
pub use schema::analysis_schema_json;
pub use style::Style;
pub use terminal::{
    compare_terminal, cost_terminal, gpu_check, gpu_terminal, model_words, terminal,
};
pub use words::indented;
