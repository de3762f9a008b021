//! Quantiles and shares of classic histograms by Prometheus's rules (`histogram_quantile` and
//! `histogram_fraction` of release 3), with what Prometheus does not tell: the bounds between which
//! the truth lies.

use loadline_schema::metric_window::Bucket;

/// Counts closer than this, relative to their sum, are the same but for rounding.
const SMALL_DELTA: f64 = 1e-12;
/// Values that should lie above a quantile for it to be worth its name.
const ENOUGH_ABOVE: f64 = 30.0;

/// A quantile of a classic histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketQuantile {
    /// What Prometheus answers. NaN where there are no values, fewer than two buckets or no +Inf
    /// bucket, and for q = 0 with an empty first bucket.
    pub value: f64,
    /// Lower bound of the bucket that it lies in; 0 for a first bucket with a positive bound. NaN
    /// where no bucket was found.
    pub low: f64,
    /// Upper bound of that bucket.
    pub high: f64,
    /// Values in that bucket.
    pub n_in_bucket: f64,
    /// Values in all.
    pub n: f64,
    /// It lies in the first bucket.
    pub first_bucket: bool,
    /// It lies in the +Inf bucket: the value is the highest finite bound.
    pub inf_bucket: bool,
    /// n < 30 ÷ (1 − q): fewer than 30 values are expected above it.
    pub too_few: bool,
    /// A count smaller than the one before it was raised.
    pub forced_monotonic: bool,
}

/// Buckets in order, each bound once, counts that do not fall.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Repaired {
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) forced_monotonic: bool,
}

/// The quantile `q` (0–1) of cumulative buckets in any order. Linear inside the bucket that holds the
/// rank `q`·n; the first bucket begins at 0 where its bound is positive; of the +Inf bucket the
/// highest finite bound is given. `q` below 0 gives −∞, above 1 gives +∞, NaN gives NaN.
pub fn bucket_quantile(q: f64, buckets: &[Bucket]) -> BucketQuantile {
    let out_of_range = match q {
        _ if q.is_nan() => Some(f64::NAN),
        _ if q < 0.0 => Some(f64::NEG_INFINITY),
        _ if q > 1.0 => Some(f64::INFINITY),
        _ => None,
    };
    if let Some(value) = out_of_range {
        return nowhere(value, 0.0, false);
    }
    match repaired(buckets) {
        Some(repaired) => quantile_of(q, &repaired),
        None => nowhere(f64::NAN, 0.0, false),
    }
}

/// The same of buckets in order, for `q` from 0 to 1.
pub(crate) fn quantile_of(q: f64, repaired: &Repaired) -> BucketQuantile {
    let Repaired { buckets, forced_monotonic } = repaired;
    let n = buckets.last().map_or(0.0, |last| last.count);
    if buckets.len() < 2 || n == 0.0 || n.is_nan() {
        return nowhere(f64::NAN, n, *forced_monotonic);
    }
    let last = buckets.len() - 1;
    let rank = q * n;
    // The +Inf bucket holds what no other does. Counts do not fall, so the first is found by halves.
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank);
    let below = at.checked_sub(1).map_or(0.0, |before| buckets[before].count);
    let high = buckets[at].le;
    let low = match at.checked_sub(1) {
        Some(before) => buckets[before].le,
        None if high > 0.0 => 0.0,
        None => f64::NEG_INFINITY,
    };
    let n_in_bucket = buckets[at].count - below;
    let value = if at == last {
        buckets[last - 1].le
    } else if at == 0 && high <= 0.0 {
        high
    } else {
        low + (high - low) * ((rank - below) / n_in_bucket)
    };
    BucketQuantile {
        value,
        low,
        high,
        n_in_bucket,
        n,
        first_bucket: at == 0,
        inf_bucket: at == last,
        too_few: n < ENOUGH_ABOVE / (1.0 - q),
        forced_monotonic: *forced_monotonic,
    }
}

/// An answer that lies in no bucket.
fn nowhere(value: f64, n: f64, forced_monotonic: bool) -> BucketQuantile {
    BucketQuantile {
        value,
        low: f64::NAN,
        high: f64::NAN,
        n_in_bucket: 0.0,
        n,
        first_bucket: false,
        inf_bucket: false,
        too_few: true,
        forced_monotonic,
    }
}

/// The share of values above `lower` and at or below `upper`, 0–1, of cumulative buckets in any order:
/// linear inside a bucket, nothing inside the +Inf bucket; the first bucket begins at 0 where its bound
/// is positive, else at −∞ (a bound inside it then gives NaN). As in Prometheus counts that fall are
/// not raised. NaN without values or a +Inf bucket, and for a bound that is NaN; 0 for `lower` ≥ `upper`.
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(buckets) = ordered(buckets) else { return f64::NAN };
    let n = buckets.last().map_or(0.0, |last| last.count);
    if n == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, &buckets) - rank_of(lower, &buckets)) / n
}

/// How many values lie at or below `bound`; never more than there are.
fn rank_of(bound: f64, buckets: &[Bucket]) -> f64 {
    let n = buckets.last().map_or(0.0, |last| last.count);
    let mut below = 0.0;
    let mut start = match buckets.first() {
        Some(first) if first.le > 0.0 => 0.0,
        _ => f64::NEG_INFINITY,
    };
    for bucket in buckets {
        if start >= bound {
            return capped(below, n);
        }
        if bucket.le > bound {
            let inside = (bucket.count - below) * (bound - start) / (bucket.le - start);
            return capped(below + inside, n);
        }
        (below, start) = (bucket.count, bucket.le);
    }
    n
}

/// `f64::min` would hide a NaN.
fn capped(rank: f64, most: f64) -> f64 {
    if rank > most { most } else { rank }
}

/// Buckets ascending, counts of equal bounds added. `None` without any, without a +Inf bucket, or with
/// a bound that is NaN.
fn ordered(buckets: &[Bucket]) -> Option<Vec<Bucket>> {
    if buckets.iter().any(|bucket| bucket.le.is_nan()) {
        return None;
    }
    let mut sorted = buckets.to_vec();
    sorted.sort_by(|a, b| a.le.total_cmp(&b.le));
    if sorted.last()?.le != f64::INFINITY {
        return None;
    }
    let mut merged: Vec<Bucket> = Vec::with_capacity(sorted.len());
    for bucket in sorted {
        match merged.last_mut() {
            // 0 and −0 are one bound.
            Some(last) if last.le == bucket.le => last.count += bucket.count,
            _ => merged.push(bucket),
        }
    }
    Some(merged)
}

/// The buckets as quantiles are read from them; `None` as for [`ordered`].
pub(crate) fn repaired(buckets: &[Bucket]) -> Option<Repaired> {
    let mut buckets = ordered(buckets)?;
    let mut forced_monotonic = false;
    let mut before = buckets.first()?.count;
    for bucket in &mut buckets[1..] {
        if bucket.count == before {
            continue;
        }
        if almost_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            forced_monotonic = true;
        } else {
            before = bucket.count;
        }
    }
    Some(Repaired { buckets, forced_monotonic })
}

/// Whether two counts differ by less than [`SMALL_DELTA`] of their sum. Next to zero nothing is small.
fn almost_equal(a: f64, b: f64) -> bool {
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

#[cfg(test)]
mod tests;
