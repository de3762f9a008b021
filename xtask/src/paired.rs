//! Two sides that take turns: ratios of their figures with an interval.

/// Pairs that an interval needs at least.
pub(crate) const LEAST_PAIRS: usize = 15;
/// Two-sided 95 % quantile of Student's t with so many degrees of freedom at least: 14 (15 pairs).
const T_14: f64 = 2.145;

/// Geometric mean of ratios and its 95 % interval by Student's t over their logarithms; for at least
/// [`LEAST_PAIRS`] the interval is no narrower than that.
pub(crate) fn interval(ratios: &[f64]) -> Option<(f64, f64, f64)> {
    let n = ratios.len() as f64;
    if ratios.len() < 2 {
        return None;
    }
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let mean = logs.iter().sum::<f64>() / n;
    let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    let half = T_14 * (squares / (n - 1.0) / n).sqrt();
    Some((mean.exp(), (mean - half).exp(), (mean + half).exp()))
}

/// The middle of some values; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => None,
        0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

/// Runs both sides in turns; which one goes first changes with each pair. Results are (a, b).
pub(crate) fn in_turns<T, E>(
    pairs: usize,
    mut a: impl FnMut() -> Result<T, E>,
    mut b: impl FnMut() -> Result<T, E>,
) -> Result<Vec<(T, T)>, E> {
    let mut results = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        results.push(if pair % 2 == 0 {
            let first = a()?;
            (first, b()?)
        } else {
            let first = b()?;
            (a()?, first)
        });
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn equal_ratios_have_no_spread() {
        let (mean, low, high) = interval(&[1.5; 15]).expect("an interval");
        assert!((mean - 1.5).abs() < 1e-12 && (low - high).abs() < 1e-12);
    }

    #[test]
    fn sides_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let side = |name: char| {
            order.borrow_mut().push(name);
            Ok::<char, ()>(name)
        };
        let results = in_turns(3, || side('a'), || side('b')).expect("no error");
        assert_eq!(results, [('a', 'b'); 3]);
        assert_eq!(*order.borrow(), "abbaab");
    }
}
