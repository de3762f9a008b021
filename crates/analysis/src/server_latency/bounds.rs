//! Shares of a histogram's values within bounds.

use loadline_schema::event::Warning;
use loadline_schema::latency::{Attainment, LatencyBound, LatencyResult};
use loadline_schema::metric_window::Histogram;
use loadline_schema::server_metrics::Known;

use super::{finite, is_named, unit};
use crate::histogram_quantile::{bucket_fraction, repaired};

/// Adds the attainment of every bound that means this histogram.
pub(super) fn judge(
    result: &mut LatencyResult,
    histogram: &Histogram,
    known: Option<Known>,
    bounds: &[LatencyBound],
) {
    for bound in bounds.iter().filter(|bound| is_named(&bound.of, &result.metric, known)) {
        let Some(limit) = unit::in_unit(bound.bound, &result.unit) else {
            let unit = if result.unit.is_empty() { "no unit" } else { &result.unit };
            result.warnings.push(Warning::new(
                "bound_unit",
                format!("{bound} is a time, and {} has {unit}", result.metric),
                "write the bound as a plain number in the metric's unit",
            ));
            continue;
        };
        let Some(attainment) = attainment(limit, histogram, bound.required) else { continue };
        if !attainment.exact {
            result.warnings.push(off_bound(bound, limit, histogram, &result.unit));
        }
        result.attainment.insert(bound.text.clone(), attainment);
    }
}

/// The share within a bound, and between which shares it certainly lies; `None` without values.
fn attainment(bound: f64, histogram: &Histogram, required: Option<f64>) -> Option<Attainment> {
    let buckets = repaired(&histogram.buckets)?.buckets;
    let n = buckets.last()?.count;
    if n <= 0.0 {
        return None;
    }
    let below = buckets.iter().rev().find(|bucket| bucket.le <= bound);
    let above = buckets.iter().find(|bucket| bucket.le >= bound);
    let low = below.map_or(0.0, |bucket| bucket.count / n);
    let high = above.map_or(1.0, |bucket| bucket.count / n);
    // Without a value in the bucket around the bound there is nothing to guess, either.
    let exact = above.is_some_and(|bucket| bucket.le == bound) || low == high;
    let met = required.and_then(|required| match () {
        () if low >= required => Some(true),
        () if high < required => Some(false),
        () => None,
    });
    let share = finite(bucket_fraction(f64::NEG_INFINITY, bound, &histogram.buckets));
    Some(Attainment { bound, share, low, high, exact, required, met })
}

/// A bound that lies inside a bucket.
fn off_bound(bound: &LatencyBound, limit: f64, histogram: &Histogram, unit: &str) -> Warning {
    let les = histogram.buckets.iter().map(|bucket| bucket.le).filter(|le| le.is_finite());
    let below = les.clone().filter(|le| *le < limit).reduce(f64::max);
    let above = les.filter(|le| *le > limit).reduce(f64::min);
    let near: Vec<String> = below.into_iter().chain(above).map(|le| le.to_string()).collect();
    Warning::new(
        "bound_inside_bucket",
        format!("{bound} is no bound of the histogram's buckets: its share is a guess inside one"),
        format!("the share is exact at {} {unit}", near.join(" or ")).trim_end().to_owned(),
    )
}
