//! Metrics pages of servers: Prometheus text (0.0.4 and 1.0.0) and OpenMetrics 1.0, read without
//! copies; what they hold as histograms, counters and gauges; and what came between two of them.
//!
//! Nothing here reads a file or a socket: bytes come in, [`MetricWindow`] goes out.
//!
//! [`MetricWindow`]: loadline_schema::metric_window::MetricWindow

mod build;
mod cursor;
mod dialect;
mod error;
mod histograms;
mod parse;
mod snapshot;
mod stored;
mod window;

pub use build::SnapshotBuilder;
pub use dialect::{ACCEPT, ContentTypeError, Dialect};
pub use error::{ParseError, What};
pub use parse::{Label, Limits, Metadata, MetricType, Sample, Scrape, Told, parse};
pub use snapshot::{Problem, Snapshot};
pub use stored::{stored_series, stored_snapshot};
pub use window::window;

/// A series as Prometheus writes it: `name{a="b"}`.
pub(crate) fn series_in_words<'a>(
    name: &str,
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> String {
    let labels: Vec<String> =
        labels.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}
