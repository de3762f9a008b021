//! An order in which each of n numbers comes once, without memory for each of them.

/// Rounds of mixing: three leave neighbours correlated for small n, four do not show it.
const ROUNDS: usize = 4;

/// Mixes all bits of a number: a bijection on u64 (the finaliser of `SplitMix64`).
#[inline]
pub(super) const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The `index`th random number of a key.
#[inline]
pub(super) const fn random(key: u64, index: u64) -> u64 {
    mix(key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// A number from 0 to n − 1, from a random number. Off from uniform by at most n / 2⁶⁴.
#[inline]
pub(super) const fn below(random: u64, n: u64) -> u64 {
    ((random as u128 * n as u128) >> 64) as u64
}

/// A permutation of 0 … n − 1. Each round (times an odd number, plus a number, modulo 2ᵏ; then the
/// upper half of the bits onto the lower one) is a bijection on k bits; what falls on or above n is
/// mixed again (cycle walking), which stays a bijection on 0 … n − 1.
#[derive(Debug, Clone)]
pub(super) struct Permutation {
    n: u64,
    mask: u64,
    shift: u32,
    keys: [(u64, u64); ROUNDS],
}

impl Permutation {
    /// A permutation of 0 … n − 1; `n` is at least 1.
    pub(super) fn new(n: u64, key: u64) -> Self {
        let bits = 64 - n.saturating_sub(1).leading_zeros();
        let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        let keys = std::array::from_fn(|round| {
            (random(key, 2 * round as u64) | 1, random(key, 2 * round as u64 + 1))
        });
        Self { n, mask, shift: bits.div_ceil(2).max(1), keys }
    }

    /// What comes at this place. `index` is less than n.
    #[inline]
    pub(super) fn at(&self, index: u64) -> u64 {
        let mut x = index;
        loop {
            for (odd, plus) in self.keys {
                x = x.wrapping_mul(odd).wrapping_add(plus) & self.mask;
                x ^= x >> self.shift;
            }
            if x < self.n {
                return x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_number_comes_once(n in 1..5_000_u64, key in any::<u64>()) {
            let permutation = Permutation::new(n, key);
            let mut seen = vec![false; n as usize];
            for index in 0..n {
                let x = permutation.at(index);
                prop_assert!(x < n);
                prop_assert!(!std::mem::replace(&mut seen[x as usize], true), "{x} comes twice");
            }
        }

        #[test]
        fn a_large_one_stays_inside(n in 1..=u64::MAX, key in any::<u64>(), at in any::<u64>()) {
            prop_assert!(Permutation::new(n, key).at(at % n) < n);
        }
    }

    #[test]
    fn neighbours_do_not_stay_neighbours() {
        let n = 10_000;
        let order = Permutation::new(n, 7);
        let close = (1..n).filter(|i| order.at(*i).abs_diff(order.at(i - 1)) < n / 10).count();
        // Of random places 19 % are so close.
        assert!((1_400..2_400).contains(&close), "{close} of {n}");
    }

    #[test]
    fn keys_make_different_orders() {
        let (a, b) = (Permutation::new(1_000, 1), Permutation::new(1_000, 2));
        let same = (0..1_000).filter(|i| a.at(*i) == b.at(*i)).count();
        assert!(same < 20, "{same} places are the same");
    }
}
