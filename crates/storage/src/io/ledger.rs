//! What was written into each block last, so that it can be compared afterwards.

use std::sync::atomic::{AtomicU64, Ordering};

use super::pattern::Pattern;

/// One write in flight, in the upper bits of a word.
const BUSY: u64 = 1 << 48;
/// Two writes were in flight at once: either may have been last.
const EITHER: u64 = 1 << 47;
/// A write failed: the contents are unknown.
const LOST: u64 = 1 << 46;
/// The number of the last write, plus one.
const LAST: u64 = LOST - 1;

/// Most blocks that a ledger has: its words take 1 GiB of memory then.
pub(super) const MOST_BLOCKS: u64 = 1 << 27;

/// A word for each block of a file.
#[derive(Debug)]
pub(super) struct Ledger(Vec<AtomicU64>);

impl Ledger {
    /// A ledger of an unwritten file.
    pub(super) fn new(blocks: u64) -> Self {
        Self((0..blocks).map(|_| AtomicU64::new(0)).collect())
    }

    fn change(&self, block: u64, change: impl Fn(u64) -> u64) {
        if let Some(word) = self.0.get(block as usize) {
            let _ =
                word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(change(old)));
        }
    }

    /// A write of this block is issued.
    pub(super) fn begin(&self, block: u64) {
        let alone = |word: u64| word & LAST;
        self.change(block, |old| if old < BUSY { alone(old) } else { old | EITHER } + BUSY);
    }

    /// It ended well: it was the job's `nth` write.
    pub(super) fn end(&self, block: u64, nth: u64) {
        self.change(block, |old| ((old - BUSY) & !LAST) | ((nth + 1) & LAST));
    }

    /// It failed.
    pub(super) fn lose(&self, block: u64) {
        self.change(block, |old| (old - BUSY) | LOST);
    }

    /// Whether a block's contents are known.
    pub(super) fn is_known(&self, block: u64) -> bool {
        let word = self.word(block);
        word & LAST > 0 && word & LOST == 0 && word < BUSY
    }

    fn word(&self, block: u64) -> u64 {
        self.0.get(block as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Compares what was read with what was written. Where two writes of the block were in flight
    /// at once, either is right.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn check(&self, block: u64, read: &[u8], pattern: &Pattern) -> Result<(), String> {
        let word = self.word(block);
        let last = (word & LAST).saturating_sub(1);
        let found = if word & EITHER == 0 { None } else { pattern.read_content(read) };
        pattern.check(read, found.unwrap_or_else(|| pattern.content(last, block)))
    }
}

#[cfg(test)]
mod tests {
    use loadline_schema::storage::DataShape;

    use super::*;

    #[test]
    fn only_blocks_written_to_the_end_are_known() {
        let ledger = Ledger::new(4);
        assert!(!ledger.is_known(0));
        ledger.begin(0);
        assert!(!ledger.is_known(0), "it is in flight");
        ledger.end(0, 0);
        assert!(ledger.is_known(0));
        ledger.begin(0);
        ledger.lose(0);
        assert!(!ledger.is_known(0), "it failed");
        ledger.begin(0);
        ledger.end(0, 7);
        assert!(ledger.is_known(0), "it was written again");
        assert!(!ledger.is_known(4), "there is no such block");
    }

    #[test]
    fn of_two_writes_at_once_either_is_right_and_of_one_the_last() {
        let pattern = Pattern::new(4096, DataShape::default(), 3);
        let block = |identity| {
            let mut buffer = vec![0; 4096];
            pattern.prefill(&mut buffer);
            pattern.fill(&mut buffer, pattern.content(identity, 0));
            buffer
        };
        let ledger = Ledger::new(1);
        ledger.begin(0);
        ledger.begin(0);
        ledger.end(0, 5);
        ledger.end(0, 4);
        assert!(ledger.is_known(0));
        assert_eq!(ledger.check(0, &block(5), &pattern), Ok(()));
        assert_eq!(ledger.check(0, &block(4), &pattern), Ok(()));
        assert!(ledger.check(0, &[0; 4096], &pattern).is_err());
        ledger.begin(0);
        ledger.end(0, 9);
        assert_eq!(ledger.check(0, &block(9), &pattern), Ok(()));
        assert!(ledger.check(0, &block(5), &pattern).is_err(), "the last write is lost");
    }
}
