//! Gaps between tokens: what the chunk times of an answer say, and what merged reads leave open.
//!
//! The kernel gives one stamp for a read. Where a read held several token-bearing events, their
//! recorded gaps are the whole gap and then zeros. If the socket was known to be empty at most
//! [`BUNDLE_WINDOW_100NS`] before the stamp, that is the truth: the server wrote them together. If
//! not, we read late: only the sum is known, so it is split evenly, and the parts are flagged.

use std::ops::Range;

use loadline_schema::record::{ChunkTimes, MergedRead};

use crate::pool::{Described, Shape, describe, is_uncertain, mean};

/// Longest time between the last poll that showed the socket empty and the stamp at which several
/// events of a read count as one write of the server: 0.1 ms in units of 100 ns.
pub(crate) const BUNDLE_WINDOW_100NS: u32 = 1_000;

/// Whether the events of this read arrived at unknown times before its stamp. A window that is not
/// known (`u32::MAX`) counts as long.
fn is_late(read: MergedRead) -> bool {
    read.window_100ns > BUNDLE_WINDOW_100NS
}

/// Whether the first token lies in a late read, so that its time is an upper bound.
pub(crate) fn first_token_is_late(chunks: &ChunkTimes) -> bool {
    chunks.merged.iter().any(|read| read.first == 0 && is_late(*read))
}

/// What one answer added to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerGaps {
    /// Longest gap, ns.
    pub(crate) longest_ns: u64,
    /// Whether a split gap may hide a longer one.
    pub(crate) uncertain: bool,
    /// Zeros between the tokens of one event.
    pub(crate) zeros: u64,
}

/// Gaps of one trial in units of 100 ns, which may be put into another order.
pub(crate) struct TrialGaps<'a> {
    /// The gaps between events.
    pub(crate) values: &'a mut [u32],
    /// Zeros between the tokens of one event.
    pub(crate) zeros: u64,
    /// Gaps that were split or hidden by our own lateness.
    pub(crate) flagged: u64,
}

/// Gaps of all answers of a point in units of 100 ns. The zeros between the tokens of one event
/// are only counted: so one vector holds the gaps between events and those between tokens.
#[derive(Debug, Default)]
pub(crate) struct GapPool {
    gaps: Vec<u32>,
    zeros: u64,
    answers: u64,
    /// Gaps that were split or hidden by our own lateness.
    pub(crate) flagged: u64,
    /// Answers whose events carried a token count.
    pub(crate) counted: u64,
    longest_certain: u32,
    longest_split: u32,
    answer_start: usize,
    trial_start: usize,
    trial_zeros: u64,
    trial_flagged: u64,
    chunk_means: Vec<f64>,
    token_means: Vec<f64>,
}

impl GapPool {
    /// Makes room for so many gaps, and no more: the pool is the largest thing of a point.
    pub(crate) fn reserve(&mut self, gaps: usize) {
        self.gaps.reserve_exact(gaps);
    }

    /// Adds an answer; `None` when it has no gap.
    pub(crate) fn push(&mut self, chunks: &ChunkTimes) -> Option<AnswerGaps> {
        let zeros = chunks.tokens.iter().map(|k| u64::from(k.saturating_sub(1))).sum::<u64>();
        self.counted += u64::from(!chunks.tokens.is_empty());
        self.zeros += zeros;
        if chunks.gaps_100ns.is_empty() {
            return None;
        }
        self.answers += 1;
        let start = self.gaps.len();
        self.answer_start = start;
        self.gaps.extend_from_slice(&chunks.gaps_100ns);
        let of_answer = &mut self.gaps[start..];
        let mut late = Lateness::default();
        for read in chunks.merged.iter().filter(|r| is_late(**r)) {
            late.split(of_answer, *read);
        }
        let longest = of_answer.iter().copied().max().unwrap_or(0);
        self.flagged += late.flagged;
        self.longest_split = self.longest_split.max(late.longest_whole);
        self.longest_certain = self.longest_certain.max(longest);
        Some(AnswerGaps {
            longest_ns: u64::from(longest) * 100,
            uncertain: late.longest_whole > longest,
            zeros,
        })
    }

    /// Number of gaps between events.
    pub(crate) fn n(&self) -> u64 {
        self.gaps.len() as u64
    }

    /// The gaps of the answer that came last, in their order.
    pub(crate) fn of_answer(&self) -> &[u32] {
        &self.gaps[self.answer_start..]
    }

    /// Where the gaps lie that came since the last trial was closed, and the zeros among them.
    pub(crate) fn extent_of_trial(&self) -> (Range<usize>, u64) {
        (self.trial_start..self.gaps.len(), self.zeros - self.trial_zeros)
    }

    /// The gaps at such a place, in units of 100 ns. Not after a distribution was asked for.
    pub(crate) fn at(&self, extent: Range<usize>) -> &[u32] {
        &self.gaps[extent]
    }

    /// Whether so many gaps are uncertain that this percentile is withheld.
    pub(crate) fn withholds(&self, per_mille: u32) -> bool {
        is_uncertain(self.flagged, per_mille, self.n() + self.zeros)
    }

    /// What came since the last trial was closed.
    pub(crate) fn of_trial(&mut self) -> TrialGaps<'_> {
        TrialGaps {
            values: &mut self.gaps[self.trial_start..],
            zeros: self.zeros - self.trial_zeros,
            flagged: self.flagged - self.trial_flagged,
        }
    }

    /// Closes a trial.
    pub(crate) fn end_trial(&mut self) {
        let of_trial = &self.gaps[self.trial_start..];
        let sum = of_trial.iter().map(|g| u128::from(*g)).sum::<u128>() * 100;
        let n = of_trial.len() as u64;
        let zeros = self.zeros - self.trial_zeros;
        self.chunk_means.extend(mean(sum, n));
        self.token_means.extend(mean(sum, n + zeros).filter(|_| n > 0));
        self.trial_start = self.gaps.len();
        self.trial_zeros = self.zeros;
        self.trial_flagged = self.flagged;
    }

    /// Gaps between events; `left_out` of `attempts` have no complete answer. The answers are worth
    /// one independent one for each `tau` of them.
    pub(crate) fn chunk_gaps(
        &mut self,
        left_out: u64,
        attempts: u64,
        tau: f64,
    ) -> Option<Described> {
        let shape = self.shape(0, left_out, attempts, tau);
        describe(&mut self.gaps, &shape, &self.chunk_means)
    }

    /// Gaps between tokens: the gaps between events, and a zero for each further token of an event.
    pub(crate) fn token_gaps(
        &mut self,
        left_out: u64,
        attempts: u64,
        tau: f64,
    ) -> Option<Described> {
        if self.gaps.is_empty() {
            return None;
        }
        let shape = self.shape(self.zeros, left_out, attempts, tau);
        describe(&mut self.gaps, &shape, &self.token_means)
    }

    fn shape(&self, zeros: u64, left_out: u64, attempts: u64, tau: f64) -> Shape {
        Shape {
            n: self.answers,
            tau,
            zeros,
            unit_ns: 100,
            left_out,
            attempts,
            flagged: self.flagged,
            certain_max: self.longest_split <= self.longest_certain,
        }
    }
}

/// What late reads did to the gaps of one answer.
#[derive(Default)]
struct Lateness {
    flagged: u64,
    longest_whole: u32,
}

impl Lateness {
    /// Splits the gap before a late read evenly over its events; the sum stays exact. In a read
    /// that holds the first token there is no gap before it: the zeros stay, flagged.
    fn split(&mut self, gaps: &mut [u32], read: MergedRead) {
        let first = read.first as usize;
        let end = (first + read.count as usize).saturating_sub(1).min(gaps.len());
        let begin = first.saturating_sub(1).min(end);
        let part = &mut gaps[begin..end];
        if part.is_empty() {
            return;
        }
        self.flagged += part.len() as u64;
        let whole: u64 = part.iter().map(|g| u64::from(*g)).sum();
        self.longest_whole = self.longest_whole.max(u32::try_from(whole).unwrap_or(u32::MAX));
        let (each, rest) = (whole / part.len() as u64, whole % part.len() as u64);
        for (i, gap) in part.iter_mut().enumerate() {
            *gap = u32::try_from(each + u64::from((i as u64) < rest)).unwrap_or(u32::MAX);
        }
    }
}
