//! What a server's metrics say of the time between two looks at them: histograms and counters as
//! differences, gauges as they were at both ends. Data only; `loadline-observe` makes it from two
//! pages, `loadline-analysis` reads it.

use std::collections::BTreeMap;

use crate::event::Warning;
use crate::outcome::spelled;

/// Labels of a series by name.
pub type Labels = BTreeMap<String, String>;

/// A bucket of a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Upper bound, included; the last one of a histogram is +Inf.
    pub le: f64,
    /// Values at or below the bound: cumulative. Whole, but for what came out of a rate.
    pub count: f64,
}

/// A classic histogram, or the difference of two of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Cumulative buckets, ascending by bound, each bound once.
    pub buckets: Vec<Bucket>,
    /// Values, as the server counts them apart from the buckets.
    pub count: f64,
    /// Sum of the values; absent where the server tells none.
    pub sum: Option<f64>,
}

impl Histogram {
    /// Whether both have the same bounds, bit for bit.
    pub fn has_bounds_of(&self, other: &Self) -> bool {
        let bits = |histogram: &Self| -> Vec<u64> {
            histogram.buckets.iter().map(|bucket| bucket.le.to_bits()).collect()
        };
        bits(self) == bits(other)
    }

    /// Adds a histogram with the same bounds. Returns false, and adds nothing, where they differ.
    pub fn add(&mut self, other: &Self) -> bool {
        if !self.has_bounds_of(other) {
            return false;
        }
        for (bucket, added) in self.buckets.iter_mut().zip(&other.buckets) {
            bucket.count += added.count;
        }
        self.count += other.count;
        self.sum = self.sum.zip(other.sum).map(|(a, b)| a + b);
        true
    }

    /// What came since `first`, which must have the same bounds; `None` where they differ.
    pub fn since(&self, first: &Self) -> Option<Self> {
        let pairs = self.buckets.iter().zip(&first.buckets);
        self.has_bounds_of(first).then(|| Self {
            buckets: pairs
                .map(|(last, first)| Bucket { le: last.le, count: last.count - first.count })
                .collect(),
            count: self.count - first.count,
            sum: self.sum.zip(first.sum).map(|(last, first)| last - first),
        })
    }

    /// "0.1, 0.5, 1, +Inf": the bounds in words, the middle of many left out.
    pub fn bounds_in_words(&self) -> String {
        let bounds: Vec<String> = self.buckets.iter().map(|bucket| bound_text(bucket.le)).collect();
        match bounds.as_slice() {
            [first, second, .., last] if bounds.len() > 8 => {
                format!("{first}, {second}, … {last} ({} bounds)", bounds.len())
            }
            _ => bounds.join(", "),
        }
    }
}

/// A bound as Prometheus writes it.
fn bound_text(le: f64) -> String {
    if le == f64::INFINITY { "+Inf".to_owned() } else { le.to_string() }
}

/// A value with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Series<V> {
    /// Labels, without `le`.
    pub labels: Labels,
    /// Value.
    pub value: V,
}

/// All series of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Family<V> {
    /// Name; of a counter as its samples have it, with `_total` where they do.
    pub name: String,
    /// Unit as the page states it (`# UNIT`).
    pub unit: Option<String>,
    /// Series, ascending by labels.
    pub series: Vec<Series<V>>,
}

/// Two series of a family cannot be added: their buckets differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "its series have different buckets ({one} against {other}), which cannot be added; group by the \
     label that tells them apart"
)]
pub struct BoundsDiffer {
    /// Bounds of the one, in words.
    pub one: String,
    /// Bounds of the other.
    pub other: String,
}

/// The labels of the group that a series belongs to: of its own those named in `by`.
pub fn group_of(labels: &Labels, by: &[&str]) -> Labels {
    let named = labels.iter().filter(|(name, _)| by.contains(&name.as_str()));
    named.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Family<Histogram> {
    /// The series added up, one for each combination of the labels `by`; without any, one for all.
    ///
    /// # Errors
    /// Series of a group have different bounds.
    pub fn summed(&self, by: &[&str]) -> Result<Vec<Series<Histogram>>, BoundsDiffer> {
        let mut groups: BTreeMap<Labels, Histogram> = BTreeMap::new();
        for series in &self.series {
            let labels = group_of(&series.labels, by);
            let Some(sum) = groups.get_mut(&labels) else {
                groups.insert(labels, series.value.clone());
                continue;
            };
            if !sum.add(&series.value) {
                let (one, other) = (sum.bounds_in_words(), series.value.bounds_in_words());
                return Err(BoundsDiffer { one, other });
            }
        }
        Ok(groups.into_iter().map(|(labels, value)| Series { labels, value }).collect())
    }
}

impl Family<f64> {
    /// The series added up, one for each combination of the labels `by`; without any, one for all.
    pub fn summed(&self, by: &[&str]) -> Vec<Series<f64>> {
        let mut groups: BTreeMap<Labels, f64> = BTreeMap::new();
        for series in &self.series {
            *groups.entry(group_of(&series.labels, by)).or_default() += series.value;
        }
        groups.into_iter().map(|(labels, value)| Series { labels, value }).collect()
    }
}

/// A gauge at both ends of a window; an end where the series was not there is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GaugeEnds {
    /// At the first look.
    pub first: Option<f64>,
    /// At the second.
    pub last: Option<f64>,
}

spelled! {
    /// Why a metric, or the whole window, says nothing.
    InvalidKind {
        /// `process_start_time_seconds` changed: another process answered.
        Restarted = "restarted",
        /// `_created` of a series changed: it was made anew.
        Recreated = "recreated",
        /// A count that only grows became smaller.
        Decreased = "decreased",
        /// A series or a metric of the first page is not on the second.
        Vanished = "vanished",
        /// The bounds of a histogram changed.
        BoundsChanged = "bounds_changed",
        /// A series of one of the pages cannot be read as what it says it is: it stands twice, has no
        /// +Inf bucket, or a count that is NaN.
        BadSeries = "bad_series",
        /// The type of a metric changed.
        TypeChanged = "type_changed",
    }
}

/// What could not be had from a window, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The metric; absent where the whole window is meant.
    pub metric: Option<String>,
    /// Why.
    pub kind: InvalidKind,
    /// Why, in words: which series, from what to what.
    pub message: String,
}

/// The time between two looks at a server's metrics. What is listed is sound; what is not sound is
/// left out and stands in `invalid`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricWindow {
    /// What came into the histograms.
    pub histograms: Vec<Family<Histogram>>,
    /// What came onto the counters.
    pub counters: Vec<Family<f64>>,
    /// Gauges at both ends.
    pub gauges: Vec<Family<GaugeEnds>>,
    /// What was left out.
    pub invalid: Vec<Invalid>,
    /// What the reader should know and what spoils nothing.
    pub notes: Vec<Warning>,
}

impl MetricWindow {
    /// Whether another process answered at the second look: then nothing but gauges is left.
    pub fn is_invalid(&self) -> bool {
        self.invalid.iter().any(|invalid| invalid.metric.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [f64; 2], sum: f64) -> Histogram {
        let [a, b] = counts;
        let buckets = vec![Bucket { le: 1.0, count: a }, Bucket { le: f64::INFINITY, count: b }];
        Histogram { buckets, count: b, sum: Some(sum) }
    }

    fn family(series: &[(&str, &str, Histogram)]) -> Family<Histogram> {
        let series = series.iter().map(|(model, engine, value)| Series {
            labels: [("model_name", *model), ("engine", *engine)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            value: value.clone(),
        });
        Family { name: "h".into(), unit: None, series: series.collect() }
    }

    #[test]
    fn series_are_added_by_group() {
        let family = family(&[
            ("a", "0", histogram([1.0, 2.0], 3.0)),
            ("a", "1", histogram([10.0, 20.0], 30.0)),
            ("b", "0", histogram([100.0, 200.0], 300.0)),
        ]);
        let all = family.summed(&[]).expect("equal bounds");
        assert_eq!(
            all,
            [Series { labels: Labels::new(), value: histogram([111.0, 222.0], 333.0) }]
        );
        let by_model = family.summed(&["model_name"]).expect("equal bounds");
        assert_eq!(by_model[0].value, histogram([11.0, 22.0], 33.0));
        assert_eq!(by_model[1].labels["model_name"], "b");
        assert_eq!(by_model[1].labels.len(), 1);
    }

    #[test]
    fn different_bounds_are_not_added() {
        let mut other = histogram([1.0, 1.0], 1.0);
        other.buckets[0].le = 2.0;
        let family = family(&[("a", "0", histogram([1.0, 2.0], 3.0)), ("a", "1", other)]);
        let error = family.summed(&[]).expect_err("1 is not 2");
        assert!(error.to_string().contains("1, +Inf against 2, +Inf"), "{error}");
        assert!(family.summed(&["engine"]).is_ok());
    }

    #[test]
    fn a_sum_that_one_lacks_is_not_made_up() {
        let mut one = histogram([1.0, 2.0], 3.0);
        let without = Histogram { sum: None, ..one.clone() };
        assert!(one.add(&without));
        assert_eq!(one.sum, None);
    }
}
