//! What is written: incompressible and unique unless the load says otherwise, and known again when
//! it is read back.

use std::sync::Arc;

use loadline_schema::storage::DataShape;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::permutation::random;

/// Each piece of this size carries a stamp, since storage looks for equal blocks of 4 KiB.
const PIECE: usize = 4096;
/// Bytes of a stamp: what the block is, whose, which piece of it, and a mark.
const STAMP: usize = 32;
/// The mark of a stamp.
const MARK: u64 = 0x4c4f_4144_4c49_4e45;

/// Contents of blocks. A block is the base with a stamp laid over the beginning of each piece, so
/// that making one costs a few instructions for each 4 KiB, and so that the whole block follows
/// from its identity: nothing of it need be kept to compare it.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    base: Arc<[u8]>,
    key: u64,
    dedupe_percent: u8,
}

impl Pattern {
    /// Contents of blocks of `bytes`. Base and key follow from `seed`. Of each piece the last
    /// `compress_percent` are zeros, the stamp excepted.
    pub(super) fn new(bytes: usize, shape: DataShape, seed: u64) -> Self {
        let mut base = vec![0; bytes];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut base);
        for piece in base.chunks_mut(PIECE) {
            let zeros = piece.len() * usize::from(shape.compress_percent.min(100)) / 100;
            let kept = (piece.len() - zeros).max(STAMP.min(piece.len()));
            piece[kept..].fill(0);
        }
        Self { base: base.into(), key: random(seed, 0), dedupe_percent: shape.dedupe_percent }
    }

    /// The same base under another key: no block is equal to one of the first.
    pub(super) fn with_key(&self, key: u64) -> Self {
        Self { key, ..self.clone() }
    }

    /// What the `nth` block of a job is: itself, or with the probability `dedupe_percent` an
    /// earlier one again.
    #[inline]
    pub(super) fn identity(&self, nth: u64) -> u64 {
        if self.dedupe_percent == 0 { nth } else { self.earlier(nth) }
    }

    fn earlier(&self, nth: u64) -> u64 {
        let mut identity = nth;
        while identity > 0 && random(self.key, 2 * identity) % 100 < u64::from(self.dedupe_percent)
        {
            identity = random(self.key, 2 * identity + 1) % identity;
        }
        identity
    }

    /// Lays the base into a buffer; [`Self::stamp`] makes blocks of it.
    pub(super) fn prefill(&self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(self.base.len()) {
            part.copy_from_slice(&self.base[..part.len()]);
        }
    }

    /// Makes a prefilled buffer the block of this identity.
    #[inline]
    pub(super) fn stamp(&self, buffer: &mut [u8], identity: u64) {
        let pieces = buffer.chunks_mut(PIECE).zip(self.base.chunks(PIECE)).enumerate();
        for (number, (piece, base)) in pieces {
            let stamp = self.stamp_of(base, identity, number as u64);
            let length = STAMP.min(piece.len());
            piece[..length].copy_from_slice(&stamp[..length]);
        }
    }

    /// Stamps are masked with the base, or their zeros would compress.
    #[inline]
    fn stamp_of(&self, base: &[u8], identity: u64, piece: u64) -> [u8; STAMP] {
        let mut stamp = [0; STAMP];
        let words = [identity, self.key, piece, MARK];
        for (place, word) in stamp.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        for (byte, mask) in stamp.iter_mut().zip(base) {
            *byte ^= mask;
        }
        stamp
    }

    /// Whether a buffer is the block of this identity.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn check(&self, buffer: &[u8], identity: u64) -> Result<(), String> {
        let pieces = buffer.chunks(PIECE).zip(self.base.chunks(PIECE)).enumerate();
        for (number, (piece, base)) in pieces {
            let stamp = self.stamp_of(base, identity, number as u64);
            let length = STAMP.min(piece.len());
            if piece[..length] == stamp[..length] && piece[length..] == base[length..piece.len()] {
                continue;
            }
            return Err(self.what_is_wrong(piece, base, &stamp, number));
        }
        Ok(())
    }

    /// The identity that the first stamp of a buffer tells, if it is one of ours.
    pub(super) fn read_identity(&self, buffer: &[u8]) -> Option<u64> {
        let words = self.words(buffer, &self.base)?;
        (words[1..] == [self.key, 0, MARK]).then_some(words[0])
    }

    fn words(&self, piece: &[u8], base: &[u8]) -> Option<[u64; 4]> {
        let (piece, base) = (piece.get(..STAMP)?, base.get(..STAMP)?);
        let mut words = [0; 4];
        for (at, word) in words.iter_mut().enumerate() {
            let bytes = std::array::from_fn(|i| piece[8 * at + i] ^ base[8 * at + i]);
            *word = u64::from_le_bytes(bytes);
        }
        Some(words)
    }

    fn what_is_wrong(&self, piece: &[u8], base: &[u8], stamp: &[u8], number: usize) -> String {
        let right = stamp.iter().chain(base.iter().skip(stamp.len()));
        let differing = piece.iter().zip(right).enumerate().filter(|(_, (is, right))| is != right);
        let (n, first) = differing.fold((0, None), |(n, first), (at, (is, right))| {
            (n + 1, first.or(Some((at, *is, *right))))
        });
        let (at, is, right) = first.unwrap_or_default();
        let old =
            self.words(piece, base).is_some_and(|words| words[3] == MARK && words[1] == self.key);
        let hint = match (piece.iter().all(|byte| *byte == 0), old) {
            (true, _) => ": all are zero",
            (_, true) if at < 8 => ": it is another block that was written",
            _ => "",
        };
        format!(
            "{n} bytes of the 4 KiB at byte {} of the block differ, the first at byte {} \
             ({is:#04x} instead of {right:#04x}){hint}",
            number * PIECE,
            number * PIECE + at
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn block(pattern: &Pattern, bytes: usize, identity: u64) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        pattern.prefill(&mut buffer);
        pattern.stamp(&mut buffer, identity);
        buffer
    }

    fn compressed_share(percent: u8) -> f64 {
        let shape = DataShape { compress_percent: percent, dedupe_percent: 0 };
        let data = block(&Pattern::new(1 << 20, shape, 1), 1 << 20, 5);
        lz4_flex::block::compress(&data).len() as f64 / data.len() as f64
    }

    #[test]
    fn nothing_compresses_unless_asked_for() {
        assert!(compressed_share(0) > 0.999, "{}", compressed_share(0));
        for percent in [25, 50, 90] {
            let share = compressed_share(percent);
            let wanted = 1.0 - f64::from(percent) / 100.0;
            assert!((share - wanted).abs() < 0.02, "{share} at {percent}");
        }
        assert!(compressed_share(100) < 0.03);
    }

    #[test]
    fn no_two_pieces_are_equal() {
        let pattern = Pattern::new(16_384, DataShape::default(), 1);
        let other = pattern.with_key(99);
        let mut seen = HashSet::new();
        for identity in 0..200 {
            for pattern in [&pattern, &other] {
                for piece in block(pattern, 16_384, identity).chunks(4096) {
                    assert!(seen.insert(piece.to_vec()), "a piece of block {identity} repeats");
                }
            }
        }
    }

    #[test]
    fn so_many_blocks_repeat_an_earlier_one() {
        for percent in [0, 30, 75, 100] {
            let shape = DataShape { compress_percent: 0, dedupe_percent: percent };
            let pattern = Pattern::new(4096, shape, 1);
            let mut seen = HashSet::new();
            let repeats = (0..10_000)
                .filter(|nth| !seen.insert(block(&pattern, 4096, pattern.identity(*nth))))
                .count();
            let wanted = 100 * usize::from(percent);
            assert!(repeats.abs_diff(wanted) <= 200, "{repeats} of 10000 at {percent} %");
        }
    }

    #[test]
    fn another_block_and_zeros_are_told_apart() {
        let pattern = Pattern::new(8192, DataShape::default(), 1);
        let old = pattern.check(&block(&pattern, 8192, 4), 5).expect_err("it is block 4");
        assert!(old.contains("another block that was written"), "{old}");
        let zeros = pattern.check(&[0; 8192], 5).expect_err("it is empty");
        assert!(zeros.contains("all are zero"), "{zeros}");
        assert_eq!(pattern.read_identity(&block(&pattern, 8192, 4)), Some(4));
        assert_eq!(pattern.read_identity(&[0; 8192]), None);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(
            at in 0..6_000_usize, bit in 0..8_u8, identity in any::<u64>(), compress in 0..=100_u8,
        ) {
            let shape = DataShape { compress_percent: compress, dedupe_percent: 0 };
            let pattern = Pattern::new(6_000, shape, 1);
            let mut block = block(&pattern, 6_000, identity);
            prop_assert_eq!(pattern.check(&block, identity), Ok(()));
            block[at] ^= 1 << bit;
            let wrong = pattern.check(&block, identity).expect_err("a bit was flipped");
            let place = format!("the first at byte {at} (");
            prop_assert!(wrong.contains(&place), "{} at {}", wrong, at);
        }
    }
}
