//! The buckets, count and sum of one series put together, or why they make no histogram.

use std::collections::BTreeMap;

use loadline_schema::metric_window::{Bucket, Family, Histogram, Labels, Series};

use super::series_in_words;
use super::snapshot::Problem;

/// What a page has of one series of a histogram.
#[derive(Debug)]
pub(super) struct Parts {
    line: u64,
    buckets: Vec<Bucket>,
    count: Option<f64>,
    sum: Option<f64>,
    wrong: Option<String>,
}

impl Parts {
    pub(super) fn new(line: u64) -> Self {
        Self { line, buckets: Vec::new(), count: None, sum: None, wrong: None }
    }

    /// A bucket by the text of its bound: "0.3" and "0.30" are one bound.
    pub(super) fn add_bucket(&mut self, le: Option<&str>, count: f64) {
        let bound = le.and_then(|le| le.parse::<f64>().ok()).filter(|le| !le.is_nan());
        match (bound, le) {
            // −0 is 0.
            (Some(le), _) => self.buckets.push(Bucket { le: le + 0.0, count }),
            (None, Some(le)) => self.is_wrong(format!("has a bucket with the bound {le:?}")),
            (None, None) => self.is_wrong("has a bucket without a bound (le)".into()),
        }
    }

    pub(super) fn add_count(&mut self, count: f64) {
        if self.count.replace(count).is_some() {
            self.is_wrong("has its _count twice".into());
        }
    }

    pub(super) fn add_sum(&mut self, sum: f64) {
        if self.sum.replace(sum).is_some() {
            self.is_wrong("has its _sum twice".into());
        }
    }

    fn is_wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// The histogram.
    fn put_together(mut self) -> Result<Histogram, String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        self.buckets.sort_by(|a, b| a.le.total_cmp(&b.le));
        for pair in self.buckets.windows(2) {
            if pair[0].le == pair[1].le {
                let le = pair[0].le;
                let le = if le == f64::INFINITY { "+Inf".to_owned() } else { le.to_string() };
                return Err(format!("has the bucket {le} twice"));
            }
        }
        let last = self.buckets.last().filter(|last| last.le == f64::INFINITY);
        let Some(last) = last else {
            return Err("has no +Inf bucket, without which no quantile can be told".into());
        };
        let counts = self.buckets.iter().map(|bucket| bucket.count).chain(self.count);
        if let Some(bad) = counts.into_iter().find(|count| !count.is_finite() || *count < 0.0) {
            return Err(format!("has a count of {bad}"));
        }
        let count = self.count.unwrap_or(last.count);
        Ok(Histogram { count, sum: self.sum, buckets: self.buckets })
    }
}

/// The family, and what is wrong with its series.
pub(super) fn assembled(
    metric: &str,
    series: BTreeMap<Labels, Parts>,
) -> (Family<Histogram>, Vec<Problem>) {
    let mut family = Family { name: metric.to_owned(), unit: None, series: Vec::new() };
    let mut problems = Vec::new();
    for (labels, parts) in series {
        let line = parts.line;
        match parts.put_together() {
            Ok(value) => family.series.push(Series { labels, value }),
            Err(what) => problems.push(Problem {
                metric: metric.to_owned(),
                line,
                message: format!("{} {what}", series_in_words(metric, &labels)),
            }),
        }
    }
    (family, problems)
}
