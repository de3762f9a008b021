//! Who reads what: the tensors of each rank, dealt out to its readers, as reads.

use loadline_schema::storage::{ModelLoad, Sharing};

use super::layout::ModelFile;
use crate::ring_reader::Block;

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Index of the file.
    pub(super) file: usize,
    /// Where it begins.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) bytes: u64,
}

/// What a rank reads: its slice of every tensor, or all tensors of its own file. A header counts as
/// a tensor, so that all ranks together read each byte once.
pub(super) fn of_rank(files: &[ModelFile], load: &ModelLoad, rank: u32) -> Vec<Span> {
    let (rank, ranks) = (u64::from(rank), u64::from(load.ranks.max(1)));
    let mut spans = Vec::new();
    for (n, file) in files.iter().enumerate() {
        for extent in &file.extents {
            let (begin, end) = match load.sharing {
                Sharing::OneFile => {
                    let cut = |rank: u64| u128::from(extent.bytes) * u128::from(rank);
                    let cut = |rank| (cut(rank) / u128::from(ranks)) as u64;
                    (cut(rank), cut(rank + 1))
                }
                Sharing::Shards if n as u64 == rank => (0, extent.bytes),
                Sharing::Shards => continue,
            };
            if end > begin {
                spans.push(Span { file: n, offset: extent.offset + begin, bytes: end - begin });
            }
        }
    }
    spans
}

/// Deals a rank's spans out to its readers: to each the same number of bytes, in one run.
pub(super) fn dealt(spans: &[Span], readers: u32) -> Vec<Vec<Span>> {
    let readers = u64::from(readers.max(1));
    let all: u64 = spans.iter().map(|span| span.bytes).sum();
    let mut dealt: Vec<Vec<Span>> = vec![Vec::new(); readers as usize];
    let end_of =
        |reader: u64| (u128::from(all) * u128::from(reader + 1) / u128::from(readers)) as u64;
    let (mut at, mut reader) = (0, 0);
    for span in spans {
        let mut left = *span;
        while left.bytes > 0 {
            while reader + 1 < readers && at >= end_of(reader) {
                reader += 1;
            }
            let bytes = left.bytes.min(end_of(reader) - at);
            dealt[reader as usize].push(Span { bytes, ..left });
            left = Span { offset: left.offset + bytes, bytes: left.bytes - bytes, ..left };
            at += bytes;
        }
    }
    dealt
}

/// Spans that follow each other become one: what is no memory mapping reads across tensors.
pub(super) fn joined(spans: &[Span]) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if last.file == span.file && last.offset + last.bytes == span.offset => {
                last.bytes += span.bytes;
            }
            _ => joined.push(*span),
        }
    }
    joined
}

/// The reads of these spans, of at most `bs_bytes` (a multiple of `align`) each: widened to the
/// alignment, and less at the end of a file.
pub(super) fn blocks<'a>(
    spans: &'a [Span],
    sizes: &'a [u64],
    bs_bytes: u64,
    align: u64,
) -> impl Iterator<Item = Block> + Send + 'a {
    spans.iter().flat_map(move |span| {
        let end = span.offset + span.bytes;
        let begin = span.offset / align * align;
        let count = (end - begin).div_ceil(bs_bytes);
        (0..count).map(move |n| {
            let offset = begin + n * bs_bytes;
            let wanted_end = end.min(offset + bs_bytes);
            let bytes = (wanted_end - offset).next_multiple_of(align);
            Block {
                file: span.file,
                offset,
                bytes: bytes as usize,
                least: (sizes[span.file] - offset).min(bytes) as usize,
                wanted: wanted_end - offset.max(span.offset),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model_load::layout;
    use crate::model_load::tests::load;

    /// How often each byte of each file is wanted, by stretches: sorted, they must join without a
    /// gap and without an overlap.
    fn cover_once(mut spans: Vec<Span>, sizes: &[u64]) {
        spans.sort_by_key(|span| (span.file, span.offset));
        let whole = sizes.iter().enumerate();
        let whole: Vec<Span> =
            whole.map(|(file, bytes)| Span { file, offset: 0, bytes: *bytes }).collect();
        assert_eq!(joined(&spans), whole);
    }

    proptest! {
        #[test]
        fn ranks_and_readers_share_every_byte_once(
            bytes in 100_000..3_000_000_u64, shards in any::<bool>(), ranks in 1..6_u32,
            readers in 1..9_u32, files in 1..4_u64, blocks_of in 1..40_u64,
        ) {
            let sharing = if shards { Sharing::Shards } else { Sharing::OneFile };
            let shard_bytes = bytes.div_ceil(files);
            let load = ModelLoad { bytes, shard_bytes, sharing, ranks, ..load() };
            let files = layout::files(&load).expect("large enough");
            let sizes: Vec<u64> = files.iter().map(|file| file.bytes).collect();
            let mut all = Vec::new();
            for rank in 0..ranks {
                let mine = of_rank(&files, &load, rank);
                let total: u64 = mine.iter().map(|span| span.bytes).sum();
                for part in dealt(&mine, readers) {
                    let part_bytes: u64 = part.iter().map(|span| span.bytes).sum();
                    prop_assert!(part_bytes.abs_diff(total / u64::from(readers)) <= 1);
                    let joined = joined(&part);
                    prop_assert_eq!(joined.iter().map(|span| span.bytes).sum::<u64>(), part_bytes);
                    let (bs, align) = (blocks_of * 4096, 4096);
                    let mut wanted = 0;
                    for block in blocks(&joined, &sizes, bs, align) {
                        prop_assert_eq!(block.offset % align, 0);
                        prop_assert_eq!(block.bytes as u64 % align, 0);
                        prop_assert!(block.bytes as u64 <= bs && block.least <= block.bytes);
                        prop_assert!(block.offset + block.least as u64 <= sizes[block.file]);
                        prop_assert!(block.wanted <= block.least as u64);
                        wanted += block.wanted;
                    }
                    prop_assert_eq!(wanted, part_bytes);
                    all.extend(part);
                }
            }
            cover_once(all, &sizes);
        }
    }

    #[test]
    fn blocks_are_widened_to_the_alignment_and_end_with_the_file() {
        let span = Span { file: 0, offset: 5000, bytes: 5000 };
        let blocks: Vec<Block> = blocks(&[span], &[10_000], 4096, 4096).collect();
        let block = |offset, least, wanted| Block { file: 0, offset, bytes: 4096, least, wanted };
        assert_eq!(blocks, [block(4096, 4096, 3192), block(8192, 1808, 1808)]);
    }
}
