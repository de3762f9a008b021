//! Golden vectors worked out by hand from the rules of Prometheus 3, and what holds for every histogram.

use loadline_schema::metric_window::Bucket;
use proptest::prelude::*;

use super::*;

const INF: f64 = f64::INFINITY;

fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
    pairs.iter().map(|(le, count)| Bucket { le: *le, count: *count }).collect()
}

#[track_caller]
fn assert_quantile(pairs: &[(f64, f64)], q: f64, expected: f64) -> BucketQuantile {
    let found = bucket_quantile(q, &buckets(pairs));
    assert!(is_same(found.value, expected), "{} instead of {expected}", found.value);
    found
}

fn is_same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * b.abs()
}

const PLAIN: [(f64, f64); 4] = [(0.1, 10.0), (0.2, 30.0), (1.0, 30.0), (INF, 40.0)];

#[test]
fn linear_inside_the_bucket_of_the_rank() {
    let found = assert_quantile(&PLAIN, 0.5, 0.15);
    assert_eq!((found.low, found.high, found.n_in_bucket, found.n), (0.1, 0.2, 20.0, 40.0));
    assert!(!found.first_bucket && !found.inf_bucket && found.too_few);
    // A rank on the edge belongs to the bucket below: empty buckets are passed over.
    let found = assert_quantile(&PLAIN, 0.75, 0.2);
    assert_eq!((found.low, found.high), (0.1, 0.2));
}

#[test]
fn first_and_last_bucket_are_told() {
    // As of a server whose first bound is above all its values: any q is a share of that bound.
    let found = assert_quantile(&[(0.3, 100.0), (0.5, 100.0), (INF, 100.0)], 0.99, 0.297);
    assert!(found.first_bucket);
    assert_eq!((found.low, found.high), (0.0, 0.3));
    let found = assert_quantile(&PLAIN, 0.9, 1.0);
    assert!(found.inf_bucket);
    assert_eq!((found.low, found.high, found.n_in_bucket), (1.0, INF, 10.0));
}

#[test]
fn edges_of_q() {
    assert_quantile(&PLAIN, -0.1, f64::NEG_INFINITY);
    assert_quantile(&PLAIN, 1.1, INF);
    assert_quantile(&PLAIN, f64::NAN, f64::NAN);
    assert_quantile(&PLAIN, 0.0, 0.0);
    assert_quantile(&PLAIN, 1.0, 1.0);
    // Nothing in the first bucket: 0 of 0 values.
    assert_quantile(&[(1.0, 0.0), (2.0, 5.0), (INF, 5.0)], 0.0, f64::NAN);
}

#[test]
fn what_is_no_histogram_gives_nan() {
    assert_quantile(&[], 0.5, f64::NAN);
    assert_quantile(&[(INF, 5.0)], 0.5, f64::NAN);
    assert_quantile(&[(1.0, 5.0), (2.0, 5.0)], 0.5, f64::NAN);
    assert_quantile(&[(1.0, 0.0), (INF, 0.0)], 0.5, f64::NAN);
    assert_quantile(&[(1.0, f64::NAN), (INF, f64::NAN)], 0.5, f64::NAN);
    assert_quantile(&[(f64::NAN, 1.0), (INF, 1.0)], 0.5, f64::NAN);
}

#[test]
fn bounds_at_and_below_zero() {
    let pairs = [(-1.0, 10.0), (0.0, 20.0), (1.0, 40.0), (INF, 40.0)];
    let found = assert_quantile(&pairs, 0.1, -1.0);
    assert_eq!((found.low, found.high), (f64::NEG_INFINITY, -1.0));
    assert_quantile(&pairs, 0.375, -0.5);
    assert_quantile(&pairs, 0.75, 0.5);
    assert_quantile(&[(0.0, 10.0), (INF, 20.0)], 0.2, 0.0);
}

#[test]
fn equal_bounds_are_added_in_any_order() {
    let pairs = [(INF, 20.0), (1.0, 5.0), (2.0, 20.0), (1.0, 5.0)];
    assert_quantile(&pairs, 0.5, 1.0);
    assert_quantile(&pairs, 0.75, 1.5);
}

#[test]
fn counts_that_fall_are_raised() {
    // Raised to 10, 10, 20, 20: the rank 10 lies in the first bucket.
    let pairs = [(0.1, 10.0), (0.2, 8.0), (0.4, 20.0), (INF, 20.0)];
    assert!(assert_quantile(&pairs, 0.5, 0.1).forced_monotonic);
    assert!(assert_quantile(&pairs, 0.75, 0.3).forced_monotonic);
    // The last one, too: n is 10.
    let found = assert_quantile(&[(1.0, 4.0), (2.0, 10.0), (INF, 9.0)], 0.7, 1.5);
    assert_eq!(found.n, 10.0);
    assert!(found.forced_monotonic);
}

#[test]
fn small_differences_are_rounding() {
    // 1e-13 of the sum: taken as equal, down and up, and no reason for a flag.
    let n = 1e6;
    let pairs = [(1.0, n), (2.0, n * (1.0 - 1e-13)), (3.0, n * (1.0 + 1e-13)), (INF, 2.0 * n)];
    let found = assert_quantile(&pairs, 0.5, 1.0);
    assert!(!found.forced_monotonic);
    assert_quantile(&pairs, 0.6, 3.0);
    // 1e-11 of the sum is a difference.
    let pairs = [(1.0, n), (2.0, n * (1.0 - 1e-10)), (INF, n)];
    assert!(bucket_quantile(0.5, &buckets(&pairs)).forced_monotonic);
    // Next to zero nothing is small.
    let pairs = [(1.0, 0.0), (2.0, 1e-300), (INF, 1e-300)];
    assert_quantile(&pairs, 0.5, 1.5);
}

#[test]
fn too_few_is_fewer_than_thirty_above() {
    let of = |n: f64, q| bucket_quantile(q, &buckets(&[(1.0, n), (INF, n)])).too_few;
    assert!(of(2_999.0, 0.99) && !of(3_001.0, 0.99));
    assert!(of(59.0, 0.5) && !of(60.0, 0.5));
    assert!(of(1e12, 1.0));
}

#[test]
fn fractions() {
    let of = |lower: f64, upper: f64, pairs: &[(f64, f64)]| {
        bucket_fraction(lower, upper, &buckets(pairs))
    };
    let below = f64::NEG_INFINITY;
    for (upper, share) in [
        (0.1, 0.25),
        (0.15, 0.5),
        (0.2, 0.75),
        (0.7, 0.75),
        (1.0, 0.75),
        // Inside the +Inf bucket nothing is known to lie below.
        (1e9, 0.75),
        (INF, 1.0),
        (0.0, 0.0),
        (-1.0, 0.0),
        (0.05, 0.125),
    ] {
        let found = of(below, upper, &PLAIN);
        assert!(is_same(found, share), "{upper}: {found} instead of {share}");
    }
    assert!(is_same(of(0.1, 0.2, &PLAIN), 0.5));
    assert_eq!(of(0.2, 0.1, &PLAIN), 0.0);
    assert_eq!(of(0.2, 0.2, &PLAIN), 0.0);
    assert!(of(f64::NAN, 1.0, &PLAIN).is_nan());
    assert!(of(below, 1.0, &[(1.0, 0.0), (INF, 0.0)]).is_nan());
    assert!(of(below, 1.0, &[(1.0, 1.0), (2.0, 1.0)]).is_nan());
    assert!(of(below, 1.0, &[]).is_nan());
    // A first bucket that ends at or below zero begins nowhere.
    let signed = [(-1.0, 10.0), (1.0, 30.0), (INF, 40.0)];
    assert!(is_same(of(below, -1.0, &signed), 0.25));
    assert!(is_same(of(below, 0.0, &signed), 0.5));
    assert!(of(below, -2.0, &signed).is_nan());
    // Counts that fall stay: 8 of 20 lie at or below 0.2; and never more than all.
    let falling = [(0.1, 10.0), (0.2, 8.0), (0.4, 20.0), (INF, 20.0)];
    assert!(is_same(of(below, 0.2, &falling), 0.4));
    assert!(is_same(of(below, 1.0, &[(1.0, 30.0), (INF, 20.0)]), 1.0));
}

prop_compose! {
    /// A histogram with ascending bounds and whole counts.
    fn histograms()(steps in prop::collection::vec((1e-6..10.0_f64, 0_u32..1_000), 1..30), over in 0_u32..100)
        -> Vec<Bucket> {
        let (mut le, mut count) = (0.0, 0.0);
        let mut buckets: Vec<Bucket> = steps.into_iter().map(|(width, n)| {
            le += width;
            count += f64::from(n);
            Bucket { le, count }
        }).collect();
        buckets.push(Bucket { le: INF, count: count + f64::from(over) });
        buckets
    }
}

proptest! {
    #[test]
    fn quantiles_do_not_fall_and_lie_in_their_buckets(buckets in histograms(), a in 0.0..1.0_f64, b in 0.0..1.0_f64) {
        prop_assume!(buckets.last().is_some_and(|last| last.count > 0.0));
        let (low, high) = (bucket_quantile(a.min(b), &buckets), bucket_quantile(a.max(b), &buckets));
        prop_assume!(!low.value.is_nan());
        prop_assert!(low.value <= high.value * (1.0 + 1e-12));
        for found in [low, high] {
            prop_assert!(found.low <= found.value * (1.0 + 1e-12));
            prop_assert!(found.value <= found.high * (1.0 + 1e-12));
            prop_assert!(!found.forced_monotonic);
        }
    }

    #[test]
    fn a_fraction_undoes_a_quantile(buckets in histograms(), q in 0.01..0.99_f64) {
        let found = bucket_quantile(q, &buckets);
        prop_assume!(!found.inf_bucket && !found.value.is_nan());
        let share = bucket_fraction(f64::NEG_INFINITY, found.value, &buckets);
        prop_assert!((share - q).abs() < 1e-9, "{share} for {q}");
    }

    #[test]
    fn nothing_panics(pairs in prop::collection::vec((any::<f64>(), any::<f64>()), 0..12), q in any::<f64>()) {
        let buckets = buckets(&pairs);
        let _ = bucket_quantile(q, &buckets);
        let _ = bucket_fraction(q, -q, &buckets);
    }
}
