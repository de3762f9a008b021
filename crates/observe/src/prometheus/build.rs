//! From samples to a snapshot: which sample belongs to which metric, and what that metric is.
//!
//! The declared type decides, never the ending of a name: `vllm:iteration_tokens_total` is a
//! histogram. Only where a page declares no type do buckets with `le` make a histogram.

use std::collections::{BTreeMap, BTreeSet};

use loadline_schema::metric_window::{Family, Labels, Series};

use super::histograms::{Parts, assembled};
use super::parse::MetricType;
use super::series_in_words;
use super::snapshot::{Problem, Snapshot};

/// What a sample is of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Bucket,
    Count,
    Sum,
    Counter,
    Gauge,
    Created,
    /// A histogram's or summary's own name, where only its parts may stand.
    Bare,
    /// No type is declared.
    Untyped,
}

/// A sample whose type is open.
struct Untyped {
    name: String,
    labels: Labels,
    value: f64,
    line: u64,
}

/// Values with the lines they stand on.
type Plain = BTreeMap<String, BTreeMap<Labels, (f64, u64)>>;

/// Makes a snapshot of samples from any source. Types first, then samples, then [`Self::finish`].
#[derive(Default)]
pub struct SnapshotBuilder {
    types: BTreeMap<String, MetricType>,
    units: BTreeMap<String, String>,
    histograms: BTreeMap<String, BTreeMap<Labels, Parts>>,
    counters: Plain,
    gauges: Plain,
    created: BTreeMap<(String, Labels), f64>,
    untyped: Vec<Untyped>,
    problems: Vec<Problem>,
}

impl SnapshotBuilder {
    /// Declares the type of a metric.
    pub fn add_type(&mut self, name: &str, metric_type: MetricType, line: u64) {
        let before = self.types.insert(name.to_owned(), metric_type);
        if before.is_some_and(|before| before != metric_type) {
            self.problem(name, line, "its type is declared twice, differently".into());
        }
    }

    /// States the unit of a metric.
    pub fn add_unit(&mut self, name: &str, unit: &str) {
        if !unit.is_empty() {
            self.units.insert(name.to_owned(), unit.to_owned());
        }
    }

    /// Adds a sample. A label without a value is no label. `line` is 0 where there is none.
    pub fn add_sample<'l>(
        &mut self,
        name: &str,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        value: f64,
        line: u64,
    ) {
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
        let labels: Labels =
            labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (metric, role) = self.place(name);
        let metric = metric.to_owned();
        self.put(&metric, role, labels, value, line);
    }

    /// The metric that a sample's name belongs to, and as what.
    fn place<'n>(&self, name: &'n str) -> (&'n str, Role) {
        match self.types.get(name) {
            Some(MetricType::Counter) => return (name, Role::Counter),
            Some(MetricType::Histogram) => return (name, Role::Bare),
            Some(MetricType::Unknown) => return (name, Role::Untyped),
            // Quantiles of a summary are neither differences nor averages of anything.
            Some(_) => return (name, Role::Gauge),
            None => {}
        }
        for (suffix, role) in [
            ("_bucket", Role::Bucket),
            ("_count", Role::Count),
            ("_sum", Role::Sum),
            ("_total", Role::Counter),
            ("_created", Role::Created),
        ] {
            let Some(base) = name.strip_suffix(suffix) else { continue };
            let found = match (self.types.get(base), role) {
                (Some(MetricType::Histogram), Role::Bucket | Role::Count | Role::Sum) => {
                    (base, role)
                }
                (Some(MetricType::Summary), Role::Count | Role::Sum)
                | (Some(MetricType::Counter), Role::Counter) => (name, Role::Counter),
                (
                    Some(MetricType::Histogram | MetricType::Summary | MetricType::Counter),
                    Role::Created,
                ) => (base, role),
                _ => continue,
            };
            return found;
        }
        (name, Role::Untyped)
    }

    fn put(&mut self, metric: &str, role: Role, mut labels: Labels, value: f64, line: u64) {
        match role {
            Role::Bucket => {
                let le = labels.remove("le");
                let parts = self.parts(metric, labels, line);
                parts.add_bucket(le.as_deref(), value);
            }
            Role::Count => self.parts(metric, labels, line).add_count(value),
            Role::Sum => self.parts(metric, labels, line).add_sum(value),
            Role::Created => {
                self.created.insert((metric.to_owned(), labels), value);
            }
            Role::Counter => {
                if value.is_nan() || value < 0.0 {
                    let series = series_in_words(metric, &labels);
                    self.problem(metric, line, format!("{series} is a counter and is {value}"));
                }
                self.plain(metric, labels, value, line, true);
            }
            Role::Gauge => self.plain(metric, labels, value, line, false),
            Role::Bare => self.problem(
                metric,
                line,
                "it is declared a histogram and has a value of its own".into(),
            ),
            Role::Untyped => {
                let name = metric.to_owned();
                self.untyped.push(Untyped { name, labels, value, line });
            }
        }
    }

    fn parts(&mut self, metric: &str, labels: Labels, line: u64) -> &mut Parts {
        let series = self.histograms.entry(metric.to_owned()).or_default();
        series.entry(labels).or_insert_with(|| Parts::new(line))
    }

    fn plain(&mut self, metric: &str, labels: Labels, value: f64, line: u64, counter: bool) {
        let kind = if counter { &mut self.counters } else { &mut self.gauges };
        let series = kind.entry(metric.to_owned()).or_default();
        if let Some((_, first)) = series.get(&labels) {
            let message = twice(metric, &labels, *first);
            self.problem(metric, line, message);
        } else {
            series.insert(labels, (value, line));
        }
    }

    fn problem(&mut self, metric: &str, line: u64, message: String) {
        self.problems.push(Problem { metric: metric.to_owned(), line, message });
    }

    /// The snapshot.
    pub fn finish(mut self) -> Snapshot {
        self.settle_untyped();
        self.settle_created();
        let mut snapshot = Snapshot::default();
        for (metric, series) in std::mem::take(&mut self.histograms) {
            let (family, problems) = assembled(&metric, series);
            self.problems.extend(problems);
            snapshot.histograms.push(family);
        }
        snapshot.counters = families(std::mem::take(&mut self.counters));
        snapshot.gauges = families(std::mem::take(&mut self.gauges));
        if let Some(starts) =
            snapshot.gauges.iter().find(|f| f.name == "process_start_time_seconds")
        {
            let series = starts.series.iter();
            snapshot.process_starts =
                series.map(|series| (series.labels.clone(), series.value)).collect();
        }
        for family in &mut snapshot.histograms {
            family.unit = self.units.get(&family.name).cloned();
        }
        for family in snapshot.counters.iter_mut().chain(&mut snapshot.gauges) {
            let base = family.name.strip_suffix("_total").unwrap_or(&family.name);
            family.unit = self.units.get(&family.name).or_else(|| self.units.get(base)).cloned();
        }
        snapshot.created = self.created;
        let bad: BTreeSet<&str> = self.problems.iter().map(|p| p.metric.as_str()).collect();
        snapshot.histograms.retain(|family| !bad.contains(family.name.as_str()));
        snapshot.counters.retain(|family| !bad.contains(family.name.as_str()));
        snapshot.gauges.retain(|family| !bad.contains(family.name.as_str()));
        self.problems.sort_by_key(|problem| problem.line);
        snapshot.problems = self.problems;
        snapshot
    }

    /// Samples without a type: those of a histogram where buckets show that there is one, gauges
    /// otherwise.
    fn settle_untyped(&mut self) {
        let untyped = std::mem::take(&mut self.untyped);
        let bases: BTreeSet<String> = untyped
            .iter()
            .filter(|sample| sample.labels.contains_key("le"))
            .filter_map(|sample| sample.name.strip_suffix("_bucket").map(str::to_owned))
            .collect();
        for Untyped { name, labels, value, line } in untyped {
            let part = [("_bucket", Role::Bucket), ("_count", Role::Count), ("_sum", Role::Sum)]
                .into_iter()
                .find_map(|(suffix, role)| Some((name.strip_suffix(suffix)?, role)))
                .filter(|(base, _)| bases.contains(*base));
            match part {
                Some((base, role)) => self.put(base, role, labels, value, line),
                None => self.put(&name, Role::Gauge, labels, value, line),
            }
        }
    }

    /// In Prometheus text `_created` stands as a gauge of its own.
    fn settle_created(&mut self) {
        let names: Vec<String> =
            self.gauges.keys().filter(|name| name.ends_with("_created")).cloned().collect();
        for name in names {
            let base = name.strip_suffix("_created").unwrap_or(&name);
            let Some(of) = self.counted(base) else { continue };
            for (labels, (value, _)) in self.gauges.remove(&name).unwrap_or_default() {
                self.created.insert((of.clone(), labels), value);
            }
        }
        // OpenMetrics names the metric without what its samples end in.
        let created = std::mem::take(&mut self.created);
        for ((metric, labels), value) in created {
            let of = self.counted(&metric).unwrap_or(metric);
            self.created.insert((of, labels), value);
        }
    }

    /// The histogram or counter that a metric without an ending means.
    fn counted(&self, base: &str) -> Option<String> {
        let names = [base.to_owned(), format!("{base}_total"), format!("{base}_count")];
        names
            .into_iter()
            .find(|name| self.histograms.contains_key(name) || self.counters.contains_key(name))
    }
}

/// A series that stands on two lines.
pub(super) fn twice(metric: &str, labels: &Labels, first: u64) -> String {
    format!("{} stands twice, first on line {first}", series_in_words(metric, labels))
}

fn families(plain: Plain) -> Vec<Family<f64>> {
    let family = |(name, series): (String, BTreeMap<Labels, (f64, u64)>)| Family {
        name,
        unit: None,
        series: series.into_iter().map(|(labels, (value, _))| Series { labels, value }).collect(),
    };
    plain.into_iter().map(family).collect()
}
