//! What a server's counts are at one moment, apart from the page that told them.

use std::collections::BTreeMap;

use loadline_schema::metric_window::{BoundsDiffer, Family, Histogram, Labels};

use super::build::SnapshotBuilder;
use super::parse::{Scrape, Told};

/// A metric that a page tells in a way that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The metric, which is left out.
    pub metric: String,
    /// Line of the page; 0 where there is none.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

/// Histograms, counters and gauges at one moment. Families ascend by name, series by labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Histograms. Sound ones only: each has a +Inf bucket, and no bound twice.
    pub histograms: Vec<Family<Histogram>>,
    /// Counters; the sums and counts of summaries among them.
    pub counters: Vec<Family<f64>>,
    /// Gauges, and whatever a page states no type for.
    pub gauges: Vec<Family<f64>>,
    /// When a series was made, s since the Unix epoch, by metric and labels: from `_created`.
    pub created: BTreeMap<(String, Labels), f64>,
    /// `process_start_time_seconds`, by labels.
    pub process_starts: BTreeMap<Labels, f64>,
    /// What was left out because it cannot be right.
    pub problems: Vec<Problem>,
}

impl Snapshot {
    /// What a page tells. Never fails: what cannot be right is left out and stands in `problems`.
    pub fn of(scrape: &Scrape<'_>) -> Self {
        let mut builder = SnapshotBuilder::default();
        for metadata in &scrape.metadata {
            match &metadata.told {
                Told::Type(metric_type) => {
                    builder.add_type(&metadata.name, *metric_type, metadata.line);
                }
                Told::Unit(unit) => builder.add_unit(&metadata.name, unit),
                Told::Help(_) => {}
            }
        }
        for sample in &scrape.samples {
            let labels = scrape.labels(sample);
            let labels = labels.iter().map(|label| (label.name.as_ref(), label.value.as_ref()));
            builder.add_sample(&sample.name, labels, sample.value, sample.line);
        }
        builder.finish()
    }

    /// The same with the series of each histogram and counter added up by the labels `by`. `_created`
    /// is dropped, since a sum was never made.
    ///
    /// # Errors
    /// Series of one histogram have different bounds: the metric, and how they differ.
    pub fn summed(&self, by: &[&str]) -> Result<Self, (String, BoundsDiffer)> {
        let histograms = self.histograms.iter().map(|family| {
            let series = family.summed(by).map_err(|differ| (family.name.clone(), differ))?;
            Ok(Family { name: family.name.clone(), unit: family.unit.clone(), series })
        });
        let counters = self.counters.iter().map(|family| Family {
            name: family.name.clone(),
            unit: family.unit.clone(),
            series: family.summed(by),
        });
        Ok(Self {
            histograms: histograms.collect::<Result<_, _>>()?,
            counters: counters.collect(),
            created: BTreeMap::new(),
            ..self.clone()
        })
    }
}
