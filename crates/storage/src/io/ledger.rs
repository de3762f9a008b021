//! What was written into each block last, so that it can be compared afterwards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pattern::Pattern;

/// One write in flight, in the upper bits of a word.
const BUSY: u64 = 1 << 48;
/// Two writes were in flight at once: any that ended after the last one began may be what is there.
const EITHER: u64 = 1 << 47;
/// A write failed: the contents are unknown.
const LOST: u64 = 1 << 46;
/// The number of the last write, plus one.
const LAST: u64 = LOST - 1;

/// Most blocks that a ledger has: its words take 1 GiB of memory then.
pub(super) const MOST_BLOCKS: u64 = 1 << 27;

/// A word for each block of a file.
#[derive(Debug)]
pub(super) struct Ledger {
    words: Vec<AtomicU64>,
    /// Of blocks with [`EITHER`]: the writes that ended after the last one began. That bit changes
    /// only under this lock, so that a word and its list agree.
    either: Mutex<HashMap<u64, Vec<u64>>>,
}

impl Ledger {
    /// A ledger of an unwritten file.
    pub(super) fn new(blocks: u64) -> Self {
        let words = (0..blocks).map(|_| AtomicU64::new(0)).collect();
        Self { words, either: Mutex::default() }
    }

    fn either(&self) -> MutexGuard<'_, HashMap<u64, Vec<u64>>> {
        self.either.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a word where `change` gives one; whether it did.
    fn change(&self, block: u64, change: impl Fn(u64) -> Option<u64>) -> bool {
        self.words.get(block as usize).is_some_and(|word| {
            word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
        })
    }

    /// A write of this block is issued.
    pub(super) fn begin(&self, block: u64) {
        let alone = |old: u64| (old & LAST) + BUSY;
        if self.change(block, |old| (old < BUSY && old & EITHER == 0).then(|| alone(old))) {
            return;
        }
        let mut either = self.either();
        self.change(block, |old| Some(if old < BUSY { alone(old) } else { (old | EITHER) + BUSY }));
        // What ended before is not what stays.
        either.remove(&block);
    }

    /// It ended well: it was the job's `nth` write.
    pub(super) fn end(&self, block: u64, nth: u64) {
        let ended = |old: u64| ((old - BUSY) & !LAST) | ((nth + 1) & LAST);
        if self.change(block, |old| (old & EITHER == 0).then(|| ended(old))) {
            return;
        }
        let mut either = self.either();
        if self.change(block, |old| Some(ended(old))) {
            either.entry(block).or_default().push(nth);
        }
    }

    /// It failed.
    pub(super) fn lose(&self, block: u64) {
        self.change(block, |old| Some((old - BUSY) | LOST));
    }

    /// Whether a block's contents are known.
    pub(super) fn is_known(&self, block: u64) -> bool {
        let word = self.word(block);
        word & LAST > 0 && word & LOST == 0 && word < BUSY
    }

    fn word(&self, block: u64) -> u64 {
        self.words.get(block as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Compares what was read with what was written. Where several writes of the block were in
    /// flight at once, each of them is right, and nothing else.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn check(&self, block: u64, read: &[u8], pattern: &Pattern) -> Result<(), String> {
        let word = self.word(block);
        let last = (word & LAST).saturating_sub(1);
        let is = |nth: u64| pattern.check(read, pattern.content(nth, block));
        let wrong = is(last);
        if wrong.is_ok() || word & EITHER == 0 {
            return wrong;
        }
        let either = self.either();
        let mut others = either.get(&block).into_iter().flatten();
        if others.any(|nth| is(*nth).is_ok()) { Ok(()) } else { wrong }
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
            pattern.fill(&mut buffer, pattern.content(identity, 0), &mut 0);
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

    #[test]
    fn what_belongs_elsewhere_or_was_written_over_is_wrong_among_several_writes_too() {
        let pattern = Pattern::new(4096, DataShape::default(), 3);
        let of = |nth, block| {
            let mut buffer = vec![0; 4096];
            pattern.prefill(&mut buffer);
            pattern.fill(&mut buffer, pattern.content(nth, block), &mut 0);
            buffer
        };
        let ledger = Ledger::new(2);
        for (block, first) in [(0, 10), (1, 20)] {
            ledger.begin(block);
            ledger.begin(block);
            ledger.end(block, first);
            ledger.end(block, first + 1);
        }
        for nth in [10, 11] {
            assert_eq!(ledger.check(0, &of(nth, 0), &pattern), Ok(()));
            // The write of block 0 went to block 1, also where their parts of the pool are alike.
            for block in [0, 1] {
                assert!(ledger.check(1, &of(nth, block), &pattern).is_err(), "it is misdirected");
            }
        }
        // 30 and 31 began together, 32 after 30 had ended.
        ledger.begin(0);
        ledger.begin(0);
        ledger.end(0, 30);
        ledger.begin(0);
        ledger.end(0, 32);
        ledger.end(0, 31);
        assert_eq!(ledger.check(0, &of(31, 0), &pattern), Ok(()));
        assert_eq!(ledger.check(0, &of(32, 0), &pattern), Ok(()));
        assert!(ledger.check(0, &of(30, 0), &pattern).is_err(), "it was written over");
        ledger.begin(0);
        ledger.end(0, 33);
        assert!(ledger.either().get(&0).is_none(), "nothing is kept of what is over");
    }
}
