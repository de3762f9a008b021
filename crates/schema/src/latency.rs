//! Latencies that a server's own histograms tell, in the analysis document: quantiles with the bounds
//! of their buckets, and shares of values within a bound.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Warning;
use crate::outcome::spelled;
use crate::sla::Statistic;
use crate::units::{DurationNs, UnitError};

/// A histogram over a window. Values (`value`, `low`, `high`, `le`, `mean`) are in `unit`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LatencyResult {
    /// Where it comes from: a URL, files, a query.
    pub source: String,
    /// Name of the metric, as the source has it.
    pub metric: String,
    /// `seconds`, `milliseconds`, `tokens`, …; empty where neither the page nor the name tells.
    pub unit: String,
    /// Labels that all of its values share because results are grouped by them.
    pub labels: BTreeMap<String, String>,
    /// What it is, where the name is known: `ttft`, `itl`, `queue`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// The engine that the name belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Series that were added up before anything else.
    pub series: u64,
    /// Labels in which they differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summed_over: Vec<String>,
    /// Values in the window.
    pub n: u64,
    /// Arithmetic mean, exact: difference of the sums ÷ difference of the counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Quantiles, ascending.
    pub quantiles: Vec<QuantileResult>,
    /// Shares of values within a bound, by the bound's term as it was written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attainment: BTreeMap<String, Attainment>,
    /// The buckets, ascending, made monotonic as for the quantiles.
    pub buckets: Vec<BucketCount>,
    /// What the reader must know about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A quantile as Prometheus's `histogram_quantile` gives it. The true value lies between `low` and
/// `high`; where it lies there is a guess.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct QuantileResult {
    /// Which, 0–1.
    pub q: f64,
    /// Linear inside its bucket; for the +Inf bucket the highest finite bound. Absent where the
    /// algorithm gives NaN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Lower bound of its bucket; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper bound of its bucket; absent: none (+Inf).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Values in that bucket.
    pub n_in_bucket: u64,
    /// What to beware of.
    pub flags: Vec<QuantileFlag>,
}

spelled! {
    /// What to beware of in a quantile.
    QuantileFlag {
        /// It lies in the first bucket: the value is a share of that bucket's bound, whatever the
        /// values were.
        FirstBucket = "first_bucket",
        /// It lies above the highest finite bound: the value is that bound, and the truth is larger.
        InfBucket = "inf_bucket",
        /// n < 30 ÷ (1 − q): fewer than 30 values are expected above it.
        TooFew = "too_few",
        /// Cumulative counts fell from one bucket to the next and were raised.
        ForcedMonotonic = "forced_monotonic",
    }
}

/// Values in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketCount {
    /// Upper bound, included; absent: +Inf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub le: Option<f64>,
    /// Values above the bound before and at or below this one.
    pub n: u64,
}

/// Share of values within a bound.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Attainment {
    /// The bound, in the metric's unit.
    pub bound: f64,
    /// Share of values at or below it, 0–1, linear inside a bucket; absent where that gives NaN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Share that is certainly within it: up to the next bucket bound below.
    pub low: f64,
    /// Share that may be within it: up to the next bucket bound above.
    pub high: f64,
    /// Whether the share is exact: the bound is one of the histogram's, or no value lies between the
    /// two around it.
    pub exact: bool,
    /// Share that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<f64>,
    /// Whether it is reached; absent where nothing is asked for or the buckets cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// A bound in a term: a duration, or a plain number in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BoundValue {
    /// `300ms`.
    Duration(DurationNs),
    /// `2048`.
    Number(f64),
}

/// A bound on a histogram: `ttft<=300ms`, `ttft_p99<=300ms` (99 % within 300 ms),
/// `my_histogram_seconds<=0.3`.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyBound {
    /// A meaning (`ttft`, `itl`, …) or the name of a metric.
    pub of: String,
    /// The bound.
    pub bound: BoundValue,
    /// Share that must be within it, 0–1; absent where the term names no quantile.
    pub required: Option<f64>,
    /// The term as it was written, without blanks.
    pub text: String,
}

impl fmt::Display for LatencyBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for LatencyBound {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |what: String| UnitError::new(text, "a bound on a server's latency", what);
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let signs = plain.split_once("<=").or_else(|| plain.split_once('≤'));
        let (of, limit) = signs
            .filter(|(of, limit)| !of.is_empty() && !limit.is_empty())
            .ok_or_else(|| wrong("write it as in `ttft<=300ms` or `ttft_p99<=300ms`".into()))?;
        let bound = match limit.parse::<f64>() {
            Ok(number) if number.is_finite() => BoundValue::Number(number),
            Ok(_) => return Err(wrong("the bound is not a finite number".into())),
            Err(_) => BoundValue::Duration(limit.parse()?),
        };
        let statistic = of
            .rsplit_once('_')
            .and_then(|(of, statistic)| Some((of, Statistic::from_text(statistic)?)));
        let (of, required) = match statistic {
            Some((of, statistic)) => match statistic.per_mille() {
                Some(per_mille) => (of, Some(f64::from(per_mille) / 1e3)),
                // A metric may well be named `…_max`.
                None => (plain_name(&plain), None),
            },
            None => (of, None),
        };
        Ok(Self { of: of.to_owned(), bound, required, text: plain.clone() })
    }
}

/// What stands before the sign.
fn plain_name(term: &str) -> &str {
    term.split(['<', '≤']).next().unwrap_or(term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_read() {
        let bound: LatencyBound = "ttft_p99 <= 300ms".parse().expect("a term");
        assert_eq!(bound.of, "ttft");
        assert_eq!(bound.required, Some(0.99));
        assert_eq!(bound.bound, BoundValue::Duration(DurationNs(300_000_000)));
        assert_eq!(bound.to_string(), "ttft_p99<=300ms");
        let bound: LatencyBound = "vllm:request_prompt_tokens<=2048".parse().expect("a term");
        assert_eq!(bound.of, "vllm:request_prompt_tokens");
        assert_eq!(bound.bound, BoundValue::Number(2048.0));
        assert_eq!(bound.required, None);
        let bound: LatencyBound = "queue_depth_max≤3".parse().expect("a term");
        assert_eq!(bound.of, "queue_depth_max");
    }

    #[test]
    fn what_is_no_bound_is_told() {
        for text in ["ttft", "<=3s", "ttft<=", "ttft<=inf", "ttft<=3 parsecs", "ttft>=3s"] {
            assert!(text.parse::<LatencyBound>().is_err(), "{text}");
        }
    }
}
