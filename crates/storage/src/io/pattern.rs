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

/// Random bytes that repeat no earlier than after so many: file systems compress 128 KiB together,
/// at most 1 MiB where somebody set it so.
const POOL: usize = 1 << 20;

/// Contents of blocks. A block is a part of a pool of random bytes with a stamp laid over the
/// beginning of each piece. So the whole block follows from what it is: nothing of it need be kept
/// to compare it, and making one costs no more than a copy, or of large blocks the stamps alone.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pool: Arc<[u8]>,
    bytes: usize,
    variants: u64,
    key: u64,
    dedupe_percent: u8,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// The number of the write that it comes from.
    identity: u64,
    /// Which part of the pool.
    variant: u64,
}

impl Pattern {
    /// Contents of blocks of `bytes`. Pool and key follow from `seed`. Of each piece the last
    /// `compress_percent` are zeros, the stamp excepted.
    pub(super) fn new(bytes: usize, shape: DataShape, seed: u64) -> Self {
        let bytes = bytes.max(1);
        let variants = (POOL / bytes).max(1);
        let mut pool = vec![0; variants * bytes];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut pool);
        for piece in pool.chunks_mut(bytes).flat_map(|block| block.chunks_mut(PIECE)) {
            let zeros = piece.len() * usize::from(shape.compress_percent.min(100)) / 100;
            let kept = (piece.len() - zeros).max(STAMP.min(piece.len()));
            piece[kept..].fill(0);
        }
        Self {
            pool: pool.into(),
            bytes,
            variants: variants as u64,
            key: random(seed, 0),
            dedupe_percent: shape.dedupe_percent,
        }
    }

    /// The same pool under another key: no block is equal to one of the first.
    pub(super) fn with_key(&self, key: u64) -> Self {
        Self { key, ..self.clone() }
    }

    /// What the `nth` write of a job puts into a block: something of its own, or with the
    /// probability `dedupe_percent` what an earlier one wrote. Neighbours in the file have
    /// different parts of the pool, or they would compress together.
    #[inline]
    pub(super) fn content(&self, nth: u64, block: u64) -> Content {
        if self.dedupe_percent == 0 {
            return Content { identity: nth, variant: block % self.variants };
        }
        let identity = self.earlier(nth);
        Content { identity, variant: identity % self.variants }
    }

    fn earlier(&self, nth: u64) -> u64 {
        let mut identity = nth;
        while identity > 0 && random(self.key, 2 * identity) % 100 < u64::from(self.dedupe_percent)
        {
            identity = random(self.key, 2 * identity + 1) % identity;
        }
        identity
    }

    #[inline]
    fn base(&self, variant: u64) -> &[u8] {
        let from = variant as usize * self.bytes;
        &self.pool[from..from + self.bytes]
    }

    /// To be called once for each buffer before [`Self::fill`].
    pub(super) fn prefill(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.base(0)[..buffer.len()]);
    }

    /// Makes a buffer a block. Of a block as large as the pool only the stamps are written, since
    /// [`Self::prefill`] did the rest.
    #[inline]
    pub(super) fn fill(&self, buffer: &mut [u8], content: Content) {
        let base = self.base(content.variant);
        if self.variants > 1 {
            buffer.copy_from_slice(&base[..buffer.len()]);
        }
        let pieces = buffer.chunks_mut(PIECE).zip(base.chunks(PIECE)).enumerate();
        for (number, (piece, base)) in pieces {
            let stamp = self.stamp_of(base, content.identity, number as u64);
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

    /// Whether a buffer is this block.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn check(&self, buffer: &[u8], content: Content) -> Result<(), String> {
        let base = self.base(content.variant);
        let pieces = buffer.chunks(PIECE).zip(base.chunks(PIECE)).enumerate();
        for (number, (piece, base)) in pieces {
            let stamp = self.stamp_of(base, content.identity, number as u64);
            let length = STAMP.min(piece.len());
            if piece[..length] == stamp[..length] && piece[length..] == base[length..piece.len()] {
                continue;
            }
            return Err(self.what_is_wrong(piece, base, &stamp, number));
        }
        Ok(())
    }

    /// What a buffer says that it is, if it is one of these blocks.
    pub(super) fn read_content(&self, buffer: &[u8]) -> Option<Content> {
        (0..self.variants).find_map(|variant| {
            let words = words(buffer, self.base(variant))?;
            let ours = words[1..] == [self.key, 0, MARK];
            ours.then_some(Content { identity: words[0], variant })
        })
    }

    fn what_is_wrong(&self, piece: &[u8], base: &[u8], stamp: &[u8], number: usize) -> String {
        let right = stamp.iter().chain(base.iter().skip(stamp.len()));
        let differing = piece.iter().zip(right).enumerate().filter(|(_, (is, right))| is != right);
        let (n, first) = differing.fold((0, None), |(n, first), (at, (is, right))| {
            (n + 1, first.or(Some((at, *is, *right))))
        });
        let (at, is, right) = first.unwrap_or_default();
        let old = words(piece, base).is_some_and(|words| words[3] == MARK && words[1] == self.key);
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

/// The words of a piece's stamp.
fn words(piece: &[u8], base: &[u8]) -> Option<[u64; 4]> {
    let (piece, base) = (piece.get(..STAMP)?, base.get(..STAMP)?);
    let mut words = [0; 4];
    for (at, word) in words.iter_mut().enumerate() {
        let bytes = std::array::from_fn(|i| piece[8 * at + i] ^ base[8 * at + i]);
        *word = u64::from_le_bytes(bytes);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn block(pattern: &Pattern, bytes: usize, identity: u64) -> Vec<u8> {
        of(pattern, bytes, pattern.content(identity, identity))
    }

    fn of(pattern: &Pattern, bytes: usize, content: Content) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        pattern.prefill(&mut buffer);
        pattern.fill(&mut buffer, content);
        buffer
    }

    /// What is left of a file of such blocks.
    fn compressed_share(bytes: usize, percent: u8) -> f64 {
        let shape = DataShape { compress_percent: percent, dedupe_percent: 0 };
        let pattern = Pattern::new(bytes, shape, 1);
        let blocks = (2 << 20) / bytes as u64;
        let data: Vec<u8> = (0..blocks).flat_map(|nth| block(&pattern, bytes, nth)).collect();
        lz4_flex::block::compress(&data).len() as f64 / data.len() as f64
    }

    #[test]
    fn nothing_compresses_unless_asked_for() {
        for bytes in [512, 4096, 65_536, 1 << 20, 2 << 20] {
            let share = compressed_share(bytes, 0);
            assert!(share > 0.999, "{share} of blocks of {bytes}");
            for percent in [25, 50, 90] {
                let share = compressed_share(bytes, percent);
                let wanted = 1.0 - f64::from(percent) / 100.0;
                assert!((share - wanted).abs() < 0.05, "{share} at {percent} of blocks of {bytes}");
            }
        }
        assert!(compressed_share(4096, 100) < 0.03);
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
            let repeats =
                (0..10_000).filter(|nth| !seen.insert(block(&pattern, 4096, *nth))).count();
            let wanted = 100 * usize::from(percent);
            assert!(repeats.abs_diff(wanted) <= 200, "{repeats} of 10000 at {percent} %");
        }
    }

    #[test]
    fn another_block_and_zeros_are_told_apart() {
        let pattern = Pattern::new(8192, DataShape::default(), 1);
        let five = pattern.content(5, 5);
        let old = pattern.check(&of(&pattern, 8192, pattern.content(4, 5)), five);
        let old = old.expect_err("it is block 4");
        assert!(old.contains("another block that was written"), "{old}");
        let zeros = pattern.check(&[0; 8192], five).expect_err("it is empty");
        assert!(zeros.contains("all are zero"), "{zeros}");
        let four = pattern.content(4, 4);
        assert_eq!(pattern.read_content(&block(&pattern, 8192, 4)), Some(four));
        assert_eq!(pattern.read_content(&[0; 8192]), None);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(
            at in 0..6_000_usize, bit in 0..8_u8, identity in any::<u64>(), compress in 0..=100_u8,
        ) {
            let shape = DataShape { compress_percent: compress, dedupe_percent: 0 };
            let pattern = Pattern::new(6_000, shape, 1);
            let content = pattern.content(identity, identity);
            let mut block = of(&pattern, 6_000, content);
            prop_assert_eq!(pattern.check(&block, content), Ok(()));
            block[at] ^= 1 << bit;
            let wrong = pattern.check(&block, content).expect_err("a bit was flipped");
            let place = format!("the first at byte {at} (");
            prop_assert!(wrong.contains(&place), "{} at {}", wrong, at);
        }
    }
}
