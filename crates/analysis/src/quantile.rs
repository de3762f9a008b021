//! Exact percentiles by nearest rank, without sorting the whole sample.

/// One-based nearest rank of the percentile `per_mille / 1000` of `n` values:
/// `ceil(n × per_mille / 1000)`, at least 1. `n` must not be 0.
pub fn nearest_rank(n: u64, per_mille: u32) -> u64 {
    let rank = (u128::from(n) * u128::from(per_mille)).div_ceil(1000);
    (rank as u64).max(1)
}

/// The values of the one-based `ranks` (ascending, each within `1..=values.len()`) of the sorted
/// sample. `values` is reordered. Time is linear in the sample and logarithmic in the number of
/// ranks.
pub fn select_ranks<T: Copy + Ord>(values: &mut [T], ranks: &[u64]) -> Vec<T> {
    let mut found = Vec::with_capacity(ranks.len());
    select(values, ranks, 0, &mut found);
    found
}

/// Places the middle rank, then looks for the lower ranks below it and the higher ones above it.
fn select<T: Copy + Ord>(values: &mut [T], ranks: &[u64], before: u64, found: &mut Vec<T>) {
    if ranks.is_empty() {
        return;
    }
    let middle = ranks.len() / 2;
    let index = (ranks[middle] - before - 1) as usize;
    let (_, value, _) = values.select_nth_unstable(index);
    let value = *value;
    // Equal ranks share one value: they must not be looked for on either side.
    let lower = ranks.partition_point(|r| *r < ranks[middle]);
    let higher = ranks.partition_point(|r| *r <= ranks[middle]);
    select(&mut values[..index], &ranks[..lower], before, found);
    found.extend(std::iter::repeat_n(value, higher - lower));
    select(&mut values[index + 1..], &ranks[higher..], before + index as u64 + 1, found);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nearest_ranks() {
        assert_eq!(nearest_rank(1, 500), 1);
        assert_eq!(nearest_rank(4, 500), 2);
        assert_eq!(nearest_rank(5, 500), 3);
        assert_eq!(nearest_rank(100, 990), 99);
        assert_eq!(nearest_rank(101, 990), 100);
        assert_eq!(nearest_rank(100, 999), 100);
        assert_eq!(nearest_rank(1000, 999), 999);
        assert_eq!(nearest_rank(7, 0), 1);
    }

    proptest! {
        #[test]
        fn selection_equals_the_sorted_vector(
            mut values in prop::collection::vec(0u64..50, 1..300),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut ranks: Vec<u64> =
                picks.iter().map(|p| p.index(values.len()) as u64 + 1).collect();
            ranks.sort_unstable();
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let expected: Vec<u64> = ranks.iter().map(|r| sorted[*r as usize - 1]).collect();
            prop_assert_eq!(select_ranks(&mut values, &ranks), expected);
        }
    }
}
