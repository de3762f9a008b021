//! Which block comes when, and whether it is read or written: pure functions of the I/O's number.

use loadline_schema::storage::{Direction, IoExtent, IoLoad};

use super::permutation::{Permutation, below, random};

/// Order of the blocks.
#[derive(Debug, Clone)]
enum Order {
    /// One after the other, from the beginning again at the end. Reads and writes of a mixed load
    /// have a place each, as fio has it.
    Sequential,
    /// Any block at any time.
    Random,
    /// Each block once, in random order (fio's random map).
    Once(Permutation),
}

/// The I/Os of one job.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    blocks: u64,
    bs: u64,
    order: Order,
    offset_key: u64,
    direction_key: u64,
    reads: bool,
    /// Of a mixed load: random numbers below this one are reads.
    mixed_below: Option<u64>,
}

impl Sequence {
    /// The sequence of a job: `key` differs from job to job.
    pub(super) fn new(load: &IoLoad, key: u64) -> Self {
        let blocks = (load.size_bytes / load.bs_bytes.max(1)).max(1);
        let once = matches!(load.extent, IoExtent::Size { .. });
        let order = match (load.is_random(), once) {
            (false, _) => Order::Sequential,
            (true, false) => Order::Random,
            (true, true) => Order::Once(Permutation::new(blocks, random(key, 0))),
        };
        let mixed = load.reads() && load.writes();
        Self {
            blocks,
            bs: load.bs_bytes,
            order,
            offset_key: random(key, 1),
            direction_key: random(key, 2),
            reads: load.reads(),
            mixed_below: mixed.then_some((load.read_share * u64::MAX as f64) as u64),
        }
    }

    /// Blocks of the file.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Whether the I/O of this number reads or writes.
    #[inline]
    pub(super) fn direction(&self, index: u64) -> Direction {
        let reads = match self.mixed_below {
            None => self.reads,
            Some(below) => random(self.direction_key, index) < below,
        };
        if reads { Direction::Read } else { Direction::Write }
    }

    /// Offset of the I/O: `index` counts all I/Os of the job, `nth` those in its direction.
    #[inline]
    pub(super) fn offset(&self, index: u64, nth: u64) -> u64 {
        let block = match &self.order {
            Order::Sequential if nth < self.blocks => nth,
            Order::Sequential => nth % self.blocks,
            Order::Random => below(random(self.offset_key, index), self.blocks),
            Order::Once(permutation) => permutation.at(index % self.blocks),
        };
        block * self.bs
    }
}

#[cfg(test)]
mod tests {
    use loadline_schema::storage::Rw;
    use proptest::prelude::*;

    use super::*;
    use crate::io::tests::load;

    fn of(rw: Rw, blocks: u64, once: bool, read_share: f64) -> Sequence {
        let extent = if once {
            IoExtent::Size { runtime_ns: None }
        } else {
            IoExtent::Runtime { runtime_ns: 1 }
        };
        let size_bytes = blocks * 4096 + 100;
        Sequence::new(
            &loadline_schema::storage::IoLoad { extent, read_share, size_bytes, ..load(rw) },
            3,
        )
    }

    proptest! {
        #[test]
        fn offsets_lie_on_whole_blocks_inside_the_file(
            blocks in 1..100_000_u64, index in any::<u32>(), once in any::<bool>(), rw in 0..6_usize,
        ) {
            let sequence = of(Rw::ALL[rw], blocks, once, 0.5);
            let index = u64::from(index);
            let offset = sequence.offset(index, index);
            prop_assert!(offset.is_multiple_of(4096) && offset < blocks * 4096);
        }
    }

    #[test]
    fn a_sequential_file_is_gone_through_again() {
        let sequence = of(Rw::Read, 3, false, 1.0);
        let offsets: Vec<u64> = (0..5).map(|i| sequence.offset(i, i) / 4096).collect();
        assert_eq!(offsets, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn random_blocks_are_uniform() {
        let sequence = of(Rw::RandRead, 100, false, 1.0);
        let mut counts = [0_u32; 100];
        for index in 0..100_000 {
            counts[(sequence.offset(index, index) / 4096) as usize] += 1;
        }
        // Chi square with 99 degrees of freedom: mean 99, standard deviation 14.
        let chi: f64 = counts.iter().map(|n| (f64::from(*n) - 1_000.0).powi(2) / 1_000.0).sum();
        assert!((40.0..180.0).contains(&chi), "{chi}");
    }

    #[test]
    fn the_share_of_reads_is_kept() {
        for (share, range) in [(0.0, 0..=0), (0.7, 68_500..=71_500), (1.0, 100_000..=100_000)] {
            let sequence = of(Rw::RandRw, 100, false, share);
            let reads = (0..100_000).filter(|i| sequence.direction(*i) == Direction::Read).count();
            assert!(range.contains(&reads), "{reads} at {share}");
        }
    }
}
