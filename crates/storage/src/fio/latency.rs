//! Latencies as fio states them: whether they can be true, and the buckets of json+ as ours.

use std::collections::BTreeMap;

use loadline_schema::storage::{Buckets, Latencies};
use serde_json::Value;

use super::document::Object;

/// fio's buckets end here, ns: all that took longer is counted in the last one, which stands for
/// this value (8.5 s · 2, less half a bucket; `FIO_IO_U_PLAT_GROUP_NR` 29 with 64 buckets each).
const LAST_BUCKET_NS: u64 = 17_112_760_320;

/// Nothing that is true has more I/Os, or a larger sum of latencies, ns: what adds jobs up need not
/// look out for overflow.
const MOST_IOS: u64 = 1 << 56;
const MOST_SUM_NS: f64 = 4e18;

/// Latencies of one kind of one job in one direction.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stated {
    /// I/Os.
    pub(super) n: u64,
    /// Least, ns.
    pub(super) min: u64,
    /// Largest, ns.
    pub(super) max: u64,
    /// Mean, ns.
    pub(super) mean: f64,
    /// Pairs of percentile (0–100) and ns, ascending.
    pub(super) percentiles: Vec<(f64, u64)>,
    /// Buckets of json+: value in the middle of the bucket, ns, and I/Os.
    pub(super) bins: BTreeMap<u64, u64>,
    /// Percentiles were left out or buckets misjudge, since fio's buckets ended.
    pub(super) beyond: bool,
}

/// What became of a kind of latency.
#[derive(Debug, PartialEq)]
pub(super) enum Reading {
    /// fio did not measure it.
    Absent,
    /// It can be true.
    Stated(Box<Stated>),
    /// It cannot; why, as a phrase.
    Wrong(String),
}

impl Reading {
    /// Reads `slat_ns`, `clat_ns` or `lat_ns` of a direction. No I/O can have taken longer than
    /// `limit_ns`.
    pub(super) fn of(side: &Object, kind: &str, limit_ns: u64) -> Self {
        let Some(object) = side.get(kind).and_then(Value::as_object) else { return Self::Absent };
        let n = object.get("N").map_or(0, whole);
        if n == 0 {
            return Self::Absent;
        }
        let number = |name: &str| object.get(name).and_then(Value::as_f64);
        let (Some(min), Some(max), Some(mean)) = (number("min"), number("max"), number("mean"))
        else {
            return Self::Wrong("a mean, a least or a largest value is missing".to_owned());
        };
        if n > MOST_IOS || mean * n as f64 > MOST_SUM_NS {
            return Self::Wrong(format!("{n} I/Os of {mean:.0} ns are more than can be"));
        }
        if min > max || mean < min * 0.999 - 1.0 || mean > max * 1.001 + 1.0 {
            return Self::Wrong(format!(
                "a mean of {mean:.0} ns does not lie between {min:.0} and {max:.0} ns"
            ));
        }
        if max > limit_ns as f64 {
            return Self::Wrong(format!(
                "an I/O of {:.3} s is longer than the job, {:.3} s",
                max / 1e9,
                limit_ns as f64 / 1e9
            ));
        }
        let mut stated = Stated { n, min: min as u64, max: max as u64, mean, ..Stated::default() };
        if let Err(what) = stated.read_lists(object) {
            return Self::Wrong(what);
        }
        Self::Stated(Box::new(stated))
    }

    /// The latency, where it can be true.
    pub(super) fn stated(&self) -> Option<&Stated> {
        match self {
            Self::Stated(stated) => Some(stated),
            _ => None,
        }
    }
}

impl Stated {
    fn read_lists(&mut self, object: &Object) -> Result<(), String> {
        if let Some(list) = object.get("percentile").and_then(Value::as_object) {
            let pair = |(name, value): (&String, &Value)| {
                let percentile: f64 = name.parse().ok()?;
                (0.0..=100.0).contains(&percentile).then(|| (percentile, whole(value)))
            };
            self.percentiles = list.iter().filter_map(pair).collect();
            self.percentiles.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !self.percentiles.is_sorted_by_key(|pair| pair.1) {
                return Err("its percentiles do not ascend".to_owned());
            }
            let before = self.percentiles.len();
            let told = |value: u64| value < LAST_BUCKET_NS || self.max <= LAST_BUCKET_NS;
            self.percentiles.retain(|pair| told(pair.1));
            self.beyond = self.percentiles.len() < before;
        }
        if let Some(list) = object.get("bins").and_then(Value::as_object) {
            for (name, count) in list {
                let value = name.parse().map_err(|_| format!("a bucket is called {name:?}"))?;
                let bin = self.bins.entry(value).or_insert(0);
                *bin = bin.saturating_add(whole(count));
            }
            let sum = self.bins.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
            if !self.bins.is_empty() && sum != self.n {
                return Err(format!("its buckets hold {sum} I/Os of {}", self.n));
            }
            self.beyond |= self.max > LAST_BUCKET_NS && self.bins.contains_key(&LAST_BUCKET_NS);
        }
        Ok(())
    }

    /// The sum, ns.
    pub(super) fn sum_ns(&self) -> u64 {
        (self.mean * self.n as f64).round() as u64
    }

    /// Latencies with the buckets of json+; `None` without them.
    ///
    /// A bucket of fio is two of ours (64 for each power of two, and 128); its I/Os go half into each,
    /// the odd one into the upper. A value read from them is off by at most 1.2 %.
    pub(super) fn latencies(&self) -> Option<Latencies> {
        if self.bins.is_empty() {
            return None;
        }
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for (&value, &count) in &self.bins {
            let upper = Buckets::index(value) as u32;
            // fio's middle is the edge between our two; below 128 both have buckets of one value.
            let halves = value >= 128 && Buckets::low(upper) == value;
            let lower = if halves { count / 2 } else { 0 };
            for (index, part) in [(upper.saturating_sub(1), lower), (upper, count - lower)] {
                if part > 0 {
                    *counts.entry(index).or_insert(0) += part;
                }
            }
        }
        let (sum_ns, buckets) = (self.sum_ns(), Buckets(counts.into_iter().collect()));
        Some(Latencies { sum_ns, min_ns: self.min, max_ns: self.max, buckets })
    }
}

/// A whole number, also where it is written with a fraction; 0 for what is none.
pub(super) fn whole(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_f64().map(|number| number as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(latency: Value) -> Reading {
        let side = json!({ "clat_ns": latency });
        Reading::of(side.as_object().unwrap(), "clat_ns", 20_000_000_000)
    }

    /// Index and representative of a value, by fio's rule: 64 buckets for each power of two.
    fn fio_middle(value: u64) -> u64 {
        if value < 128 {
            return value;
        }
        let bits = value.ilog2() - 6;
        ((value >> bits) << bits) + (1 << bits) / 2
    }

    #[test]
    fn what_cannot_be_is_wrong() {
        let wrong = |latency: Value, what: &str| match read(latency) {
            Reading::Wrong(why) => assert!(why.contains(what), "{why}"),
            other => panic!("{other:?}"),
        };
        wrong(json!({"N": 2, "min": 5, "max": 3, "mean": 4.0}), "does not lie between");
        wrong(json!({"N": 2, "min": 1, "max": 3, "mean": 9.0}), "does not lie between");
        wrong(json!({"N": 2, "min": 1, "max": 3, "mean": null}), "missing");
        wrong(json!({"N": 2, "min": 1, "max": 3e10, "mean": 2.0}), "longer than the job, 20.000 s");
        wrong(
            json!({"N": 2, "min": 1, "max": 3, "mean": 2.0, "percentile": {"50.0": 3, "9.0": 4}}),
            "do not ascend",
        );
        wrong(json!({"N": 2, "min": 1, "max": 3, "mean": 2.0, "bins": {"1": 1}}), "1 I/Os of 2");
        wrong(json!({"N": 2, "min": 1, "max": 3, "mean": 2.0, "bins": {"x": 2}}), "called \"x\"");
        assert_eq!(read(json!({"N": 0, "min": 0, "max": 0, "mean": 0.0})), Reading::Absent);
    }

    #[test]
    fn percentiles_beyond_fios_last_bucket_are_left_out() {
        let latency = json!({"N": 4, "min": 1_000, "max": 18_000_000_000_u64, "mean": 9e9,
            "percentile": {"99.0": 17_112_760_320_u64, "50.0": 5_000, "5.0": 1_000}});
        let reading = read(latency);
        let stated = reading.stated().unwrap();
        assert_eq!(stated.percentiles, [(5.0, 1_000), (50.0, 5_000)]);
        assert!(stated.beyond);
    }

    proptest! {
        #[test]
        fn percentiles_of_fios_buckets_are_near_the_values(
            mut values in prop::collection::vec(0..10_000_000_000_u64, 1..200), q in 0.0..=1.0_f64,
        ) {
            let mut bins = serde_json::Map::new();
            for value in &values {
                let count = bins.entry(fio_middle(*value).to_string()).or_insert(json!(0));
                *count = json!(count.as_u64().unwrap() + 1);
            }
            values.sort_unstable();
            let sum: u64 = values.iter().sum();
            let latency = json!({"N": values.len(), "min": values[0], "max": values.last(),
                "mean": sum as f64 / values.len() as f64, "bins": bins});
            let reading = read(latency);
            let latencies = reading.stated().unwrap().latencies().unwrap();
            prop_assert_eq!(latencies.buckets.n(), values.len() as u64);
            prop_assert!(latencies.buckets.0.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert!(latencies.sum_ns.abs_diff(sum) <= 1 + (sum >> 40));
            let exact = values[((q * values.len() as f64).ceil() as usize).max(1) - 1];
            let told = latencies.percentile_ns(q).unwrap();
            prop_assert!(told.abs_diff(exact) as f64 <= exact as f64 * 0.0125 + 1.0, "{told} {exact}");
        }
    }
}
