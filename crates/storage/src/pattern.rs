//! What files are filled with: random bytes that no file system can compress or store only once.

use std::io;
use std::os::fd::AsFd;

use memmap2::MmapMut;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rustix::io::{pwrite, retry_on_intr};

/// Every piece of this size is unique.
const UNIQUE: usize = 4096;
/// Random bytes repeat only after this many: more than file systems compress as one record.
const LEAST_POOL: usize = 4 << 20;

/// A pool of random bytes that begins at a page; blocks of it are stamped and written in turn.
pub(crate) struct Pattern {
    pool: MmapMut,
    block: usize,
    turn: usize,
}

impl Pattern {
    /// Blocks of at most so many bytes.
    ///
    /// # Errors
    /// There is not enough memory.
    pub(crate) fn new(seed: u64, block_bytes: u64) -> io::Result<Self> {
        let block = usize::try_from(block_bytes.max(1)).map_err(io::Error::other)?;
        // Blocks begin at pages, so that O_DIRECT takes them.
        let step = block.next_multiple_of(rustix::param::page_size());
        let mut pool = MmapMut::map_anon(step * LEAST_POOL.div_ceil(step))?;
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut pool);
        Ok(Self { pool, block: step, turn: 0 })
    }

    /// The next block: for this offset of the file with this tag. Each 4 KiB of it begins with both.
    pub(crate) fn next(&mut self, tag: u64, offset: u64, bytes: usize) -> &[u8] {
        let begin = self.turn * self.block;
        self.turn = (self.turn + 1) % (self.pool.len() / self.block);
        let block = &mut self.pool[begin..begin + bytes];
        for (n, piece) in block.chunks_mut(UNIQUE).enumerate() {
            let at = offset + (n * UNIQUE) as u64;
            let stamp = [tag.to_le_bytes(), mixed(tag ^ at).to_le_bytes()].concat();
            let stamped = piece.len().min(stamp.len());
            piece[..stamped].copy_from_slice(&stamp[..stamped]);
        }
        block
    }
}

/// Mixes numbers that name a file (trial, rank, index) into its tag.
pub(crate) fn tag(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |tag, part| mixed(tag ^ part))
}

/// A bijection that spreads every bit (the finalizer of SplitMix64).
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Writes a block, in more than one call where the system takes less; returns how much it took.
pub(crate) fn write_block(fd: impl AsFd, block: &[u8], offset: u64) -> rustix::io::Result<usize> {
    let mut done = 0;
    while done < block.len() {
        match retry_on_intr(|| pwrite(&fd, &block[done..], offset + done as u64))? {
            0 => break,
            bytes => done += bytes,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_4_kib_is_unique_within_and_across_files() {
        let mut pattern = Pattern::new(7, 1 << 20).expect("memory");
        let mut seen = HashSet::new();
        for file in 0..3_u64 {
            for block in 0..10_u64 {
                let bytes = pattern.next(tag(&[1, file]), block << 20, 1 << 20);
                for piece in bytes.chunks(UNIQUE) {
                    assert!(seen.insert(piece.to_vec()), "file {file}, block {block}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_spread_evenly_and_blocks_begin_at_pages() {
        let mut pattern = Pattern::new(7, 100_000).expect("memory");
        let mut counts = [0_u32; 256];
        for n in 0..20 {
            let block = pattern.next(tag(&[1]), n * 100_000, 100_000);
            assert_eq!(block.as_ptr() as usize % 4096, 0);
            block.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        }
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(*least.expect("256") > 6_500 && *most.expect("256") < 9_500, "{counts:?}");
    }

    #[test]
    fn a_pool_of_small_blocks_is_still_large() {
        let pattern = Pattern::new(7, 4096).expect("memory");
        assert_eq!(pattern.pool.len(), LEAST_POOL);
    }
}
