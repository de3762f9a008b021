//! The arrival laws keep their rate, their spread and their seed.

use loadline_load::arrivals;
use loadline_schema::plan::Arrival;
use proptest::prelude::*;

/// Mean and coefficient of variation of the gaps (the first from the start), in mean gaps.
fn spread(arrival: Arrival, rate: f64, seed: u64, n: usize) -> (f64, f64) {
    let times: Vec<u64> = arrivals(arrival, rate, seed).take(n + 1).collect();
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 * rate / 1e9);
    let gaps: Vec<f64> = gaps.collect();
    let mean = gaps.iter().sum::<f64>() / n as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    (mean, variance.sqrt() / mean)
}

#[test]
fn gamma_spread_is_one_over_root_of_shape() {
    for shape in [0.25_f64, 1.0, 4.0, 25.0] {
        let (mean, cv) = spread(Arrival::Gamma { shape }, 300.0, 7, 40_000);
        let expected = 1.0 / shape.sqrt();
        // Five standard errors of the mean.
        assert!((mean - 1.0).abs() < 5.0 * expected / 200.0, "shape {shape}: mean {mean}");
        assert!((cv / expected - 1.0).abs() < 0.06, "shape {shape}: {cv} for {expected}");
    }
}

#[test]
fn impossible_laws_have_no_arrivals() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(arrivals(Arrival::Constant, rate, 1).next(), None, "rate {rate}");
        assert_eq!(arrivals(Arrival::Poisson, rate, 1).next(), None, "rate {rate}");
    }
    for shape in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(arrivals(Arrival::Gamma { shape }, 1.0, 1).next(), None, "shape {shape}");
    }
}

#[test]
fn a_day_of_constant_arrivals_is_exact() {
    // 500 per second over a day: 2 ms apart to the last one.
    let last = 500 * 86_400 - 1;
    let at = arrivals(Arrival::Constant, 500.0, 1).nth(last as usize);
    assert_eq!(at, Some(last * 2_000_000));
}

proptest! {
    #[test]
    fn constant_arrivals_are_rounded_once(per_hour in 1_u64..40_000_000, skip in 0_u64..200_000) {
        // A rate of per_hour/3600 per second: the exact time is i · 3.6e12 / per_hour.
        let rate = per_hour as f64 / 3600.0;
        let mut times = arrivals(Arrival::Constant, rate, 0);
        let at = times.nth(skip as usize).expect("endless");
        let exact = u128::from(skip) * 3_600_000_000_000 / u128::from(per_hour);
        // 1 ns for the two roundings, and the precision of the rate itself.
        let slack = 1 + (exact as f64 * 4e-16) as u128;
        prop_assert!(u128::from(at).abs_diff(exact) <= slack, "{at} for {exact}");
    }

    #[test]
    fn poisson_keeps_rate_and_spread(rate in 0.1_f64..20_000.0, seed: u64) {
        let n = 10_000;
        let (mean, cv) = spread(Arrival::Poisson, rate, seed, n);
        // Six standard errors: of the mean 1/√n, of the deviation of an exponential √2/√n.
        prop_assert!((mean - 1.0).abs() < 0.06, "mean {mean}");
        prop_assert!((cv - 1.0).abs() < 0.085, "cv {cv}");
    }

    #[test]
    fn same_seed_same_times(seed: u64, shape in 0.1_f64..10.0) {
        for law in [Arrival::Constant, Arrival::Poisson, Arrival::Gamma { shape }] {
            let one: Vec<u64> = arrivals(law, 50.0, seed).take(100).collect();
            let two: Vec<u64> = arrivals(law, 50.0, seed).take(100).collect();
            prop_assert!(one.is_sorted());
            prop_assert_eq!(&one, &two);
            let other: Vec<u64> = arrivals(law, 50.0, seed ^ 1).take(100).collect();
            prop_assert_eq!(one == other, law == Arrival::Constant);
        }
    }
}
