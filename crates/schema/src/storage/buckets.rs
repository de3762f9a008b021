//! Log-linear histogram of latencies: 128 buckets for each power of two, so that a value read from
//! it is off by at most 1/256 = 0.4 %. fio has the same form with 64 buckets (0.8 %) and ends at
//! 17 seconds; this one ends at the end of u64.

use serde::{Deserialize, Serialize};

/// Bits of a value that are kept below its leading one.
const BITS: u32 = 7;
/// Buckets for each power of two.
const PER_OCTAVE: u64 = 1 << BITS;

/// Values in buckets, as pairs of index and count, ascending by index. Values below 128 have
/// buckets of their own; of larger ones the leading one and the seven bits below it are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Buckets(pub Vec<(u32, u64)>);

impl Buckets {
    /// Number of buckets that the whole of u64 needs.
    pub const LEN: usize = (64 - BITS as usize + 1) << BITS;

    /// The bucket of a value.
    #[inline]
    pub fn index(value: u64) -> usize {
        if value < PER_OCTAVE {
            return value as usize;
        }
        let shift = value.ilog2() - BITS;
        ((u64::from(shift + 1) << BITS) + ((value >> shift) & (PER_OCTAVE - 1))) as usize
    }

    /// Least value of a bucket.
    pub fn low(index: u32) -> u64 {
        let (octave, within) = (u64::from(index) >> BITS, u64::from(index) & (PER_OCTAVE - 1));
        if octave == 0 { within } else { (PER_OCTAVE + within) << (octave - 1) }
    }

    /// The value that stands for a bucket: its middle.
    pub fn middle(index: u32) -> u64 {
        let octave = u64::from(index) >> BITS;
        let width = if octave == 0 { 1 } else { 1 << (octave - 1) };
        Self::low(index) + width / 2
    }

    /// Values in all buckets.
    pub fn n(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Adds another histogram.
    pub fn add(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let mut merged = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
            merged.push(match left.0.cmp(&right.0) {
                std::cmp::Ordering::Less => *a.next().expect("invariant: it was peeked at"),
                std::cmp::Ordering::Greater => *b.next().expect("invariant: it was peeked at"),
                std::cmp::Ordering::Equal => {
                    let sum = (left.0, left.1 + right.1);
                    a.next();
                    b.next();
                    sum
                }
            });
        }
        merged.extend(a.chain(b));
        self.0 = merged;
    }

    /// Percentile by nearest rank over buckets: the middle of the bucket that holds the value of
    /// rank ⌈q·n⌉; `None` without values. `q` is 0–1.
    pub fn percentile(&self, q: f64) -> Option<u64> {
        let n = self.n();
        let rank = ((q * n as f64).ceil() as u64).clamp(1, n.max(1));
        let mut seen = 0;
        let found = self.0.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map(|(index, _)| Self::middle(*index))
    }
}

/// Latencies of many I/Os: exact sum, least and largest value, and buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Latencies {
    /// Sum, ns.
    pub sum_ns: u64,
    /// Least, ns; 0 without values.
    pub min_ns: u64,
    /// Largest, ns.
    pub max_ns: u64,
    /// All of them.
    pub buckets: Buckets,
}

impl Latencies {
    /// Adds other latencies.
    pub fn add(&mut self, other: &Self) {
        let (mine, others) = (self.buckets.0.is_empty(), other.buckets.0.is_empty());
        self.min_ns = match (mine, others) {
            (true, _) => other.min_ns,
            (_, true) => self.min_ns,
            _ => self.min_ns.min(other.min_ns),
        };
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.buckets.add(&other.buckets);
    }

    /// Mean, ns.
    pub fn mean_ns(&self) -> Option<f64> {
        let n = self.buckets.n();
        (n > 0).then(|| self.sum_ns as f64 / n as f64)
    }

    /// Percentile, ns, never beyond the least and the largest value; `q` is 0–1.
    pub fn percentile_ns(&self, q: f64) -> Option<u64> {
        Some(self.buckets.percentile(q)?.clamp(self.min_ns, self.max_ns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Buckets {
        let mut counts = std::collections::BTreeMap::new();
        for value in values {
            *counts.entry(Buckets::index(*value) as u32).or_insert(0) += 1;
        }
        Buckets(counts.into_iter().collect())
    }

    #[test]
    fn the_ends_have_buckets() {
        assert_eq!(Buckets::index(0), 0);
        assert_eq!(Buckets::index(127), 127);
        assert_eq!(Buckets::index(128), 128);
        assert_eq!(Buckets::index(u64::MAX), Buckets::LEN - 1);
        assert_eq!(Buckets::low(Buckets::index(1 << 40) as u32), 1 << 40);
    }

    proptest! {
        #[test]
        fn a_value_stands_in_its_bucket_and_is_off_by_at_most_a_256th(value in 0..=u64::MAX) {
            let index = Buckets::index(value) as u32;
            prop_assert!(Buckets::low(index) <= value);
            if (index as usize) < Buckets::LEN - 1 {
                prop_assert!(value < Buckets::low(index + 1));
            }
            let off = Buckets::middle(index).abs_diff(value) as f64;
            prop_assert!(off <= value as f64 / 256.0 + 0.5, "{value} reads {}", Buckets::middle(index));
        }

        #[test]
        fn merging_is_counting_together(a in prop::collection::vec(0..1_000_000_u64, 0..50),
                                        b in prop::collection::vec(0..1_000_000_u64, 0..50)) {
            let mut merged = of(&a);
            merged.add(&of(&b));
            prop_assert_eq!(merged, of(&[a, b].concat()));
        }

        #[test]
        fn a_percentile_is_that_of_the_sorted_values(
            mut values in prop::collection::vec(0..10_000_000_000_u64, 1..200), q in 0.0..=1.0_f64,
        ) {
            let read = of(&values).percentile(q).expect("there are values");
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            prop_assert!(read.abs_diff(exact) as f64 <= exact as f64 / 256.0 + 0.5);
        }
    }
}
