//! Random weights, fast: a pool of quantized blocks, and tensors cut from it at random places.
//!
//! Weights are about normal with deviation 0.02, as those of trained models. The values of a large
//! model are not all drawn: 4 Mi of them are, and quantized once, and every tensor is made of
//! pieces of the pool that begin at a random block. Blocks stay whole, so every one is valid.

use std::io::{self, Write};

use crate::quantize::{self, BLOCK};
use crate::tensor_type::TensorType;

/// Most values of a pool.
pub const POOL_VALUES: u64 = 4 << 20;
/// Deviation of the weights.
pub const DEVIATION: f32 = 0.02;
/// Blocks of a piece.
const PIECE_BLOCKS: u64 = 8192;

/// A fast generator of numbers, the same on every machine: splitmix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for each pair of numbers.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let start = Self(seed).next().wrapping_add(stream.wrapping_mul(0xd134_2543_de82_ef95));
        Self(Self(start).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0 to `limit` - 1.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// About normal with deviation 1, never beyond 3.5: the sum of four uniform numbers.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u32 = (0..4).map(|part| (bits >> (16 * part) & 0xffff) as u32).sum();
        // The sum of four uniform numbers from 0 to 1 has the variance 4/12.
        (sum as f32 / 65_536.0 - 2.0) * 3_f32.sqrt()
    }
}

/// Quantized random blocks of one type.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes: Vec<u8>,
    blocks: u64,
    block_bytes: u64,
}

impl Pool {
    /// A pool for tensors of at most `values` elements of one of the types that can be made.
    pub(crate) fn new(kind: TensorType, values: u64, seed: u64) -> Self {
        let blocks = values.min(POOL_VALUES).div_ceil(BLOCK as u64).max(1);
        let mut random = Random::new(seed, kind.id.into());
        let mut bytes = Vec::new();
        for _ in 0..blocks {
            let values = std::array::from_fn(|_| random.normal() * DEVIATION);
            append(kind, &values, &mut bytes);
        }
        Self { block_bytes: bytes.len() as u64 / blocks, bytes, blocks }
    }

    /// Writes the weights of the tensor number `index`, `blocks` blocks of 32 elements.
    pub(crate) fn write(
        &self,
        file: &mut impl Write,
        blocks: u64,
        seed: u64,
        index: u64,
    ) -> io::Result<()> {
        // Types have the low numbers of streams.
        let mut random = Random::new(seed, 1 << 32 | index);
        let mut left = blocks;
        while left > 0 {
            let now = left.min(PIECE_BLOCKS).min(self.blocks);
            let begin = random.below(self.blocks - now + 1) * self.block_bytes;
            let end = begin + now * self.block_bytes;
            file.write_all(&self.bytes[begin as usize..end as usize])?;
            left -= now;
        }
        Ok(())
    }
}

fn append(kind: TensorType, values: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    match kind {
        TensorType::Q8_0 => quantize::q8_0(values, bytes),
        TensorType::Q4_0 => quantize::q4_0(values, bytes),
        TensorType::Q4_1 => quantize::q4_1(values, bytes),
        TensorType::F16 => {
            bytes.extend(values.iter().flat_map(|value| quantize::f16_bits(*value).to_le_bytes()));
        }
        _ => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_the_deviation_and_no_mean() {
        let mut random = Random::new(1, 2);
        let values: Vec<f32> = (0..100_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        assert!(values.iter().all(|value| value.abs() <= 3.5));
    }

    #[test]
    fn pieces_are_whole_blocks_of_the_pool() {
        let pool = Pool::new(TensorType::Q4_1, 3200, 9);
        let mut bytes = Vec::new();
        pool.write(&mut bytes, 250, 9, 3).unwrap();
        assert_eq!(bytes.len(), 250 * 20);
        let blocks: std::collections::HashSet<&[u8]> = pool.bytes.chunks(20).collect();
        assert!(bytes.chunks(20).all(|block| blocks.contains(block)));
    }

    #[test]
    fn a_seed_always_gives_the_same_weights() {
        let first = Pool::new(TensorType::Q8_0, 320, 5).bytes;
        assert_eq!(first, Pool::new(TensorType::Q8_0, 320, 5).bytes);
        assert_ne!(first, Pool::new(TensorType::Q8_0, 320, 6).bytes);
    }
}
