//! What one SLA still needs: the gaps around its line, and the load that narrows them most.

use crate::load_line::{Judged, bounds};

use super::{SearchOver, SearchSettings};

/// How far below its first load a search goes for one that is inside: four halvings. A target that
/// misses its SLA nearly idle will not keep it.
const LEAST_SHARE: f64 = 1.0 / 16.0;
/// Loads above the line that are open for good (too long a memory for the trials) before the search
/// no longer goes up.
const HOPELESS: usize = 2;

/// The line of one SLA so far.
pub(super) struct Target<'a> {
    settings: &'a SearchSettings,
    start: f64,
    /// Largest load certainly inside.
    pub(super) low: Option<f64>,
    /// Smallest load certainly outside.
    pub(super) high: Option<f64>,
    /// Measured loads between the two that are neither, ascending.
    open: Vec<Judged>,
}

impl<'a> Target<'a> {
    /// From judged loads in ascending order.
    pub(super) fn new(settings: &'a SearchSettings, start: f64, judged: &[Judged]) -> Self {
        let bounds = bounds(judged);
        let load = |index: Option<usize>| index.map(|i| judged[i].load);
        let (low, high) = (load(bounds.low), load(bounds.high));
        let between = |one: &&Judged| {
            low.is_none_or(|low| one.load > low) && high.is_none_or(|high| one.load < high)
        };
        let open = judged.iter().filter(between).copied().collect();
        Self { settings, start, low, high, open }
    }

    /// Measured loads between the bounds that are neither, ascending.
    pub(super) fn open(&self) -> &[Judged] {
        &self.open
    }

    /// Whether nothing fits between the bounds.
    pub(super) fn is_narrow(&self) -> bool {
        self.low.zip(self.high).is_some_and(|(low, high)| self.middle(low, high).is_none())
    }

    /// The next new load; `None` when none would tell more.
    pub(super) fn next(&self) -> Option<f64> {
        if self.is_narrow() {
            return None;
        }
        let Some(lowest) = self.open.first().map(|one| one.load).or(self.high).or(self.low) else {
            return Some(self.start);
        };
        let highest = self.open.last().map(|one| one.load).or(self.low).unwrap_or(lowest);
        let down = || if self.low.is_none() { self.below(lowest) } else { None };
        let up = || if self.high.is_none() { self.above(highest) } else { None };
        let within = || self.within_widest();
        if self.wall().is_some() {
            // What lies above takes even longer to forget.
            down().or_else(within).or_else(up)
        } else if self.open.last().is_some_and(|one| one.likely) {
            up().or_else(down).or_else(within)
        } else {
            down().or_else(up).or_else(within)
        }
    }

    /// The smallest load that looks outside, but whose trials are too short to say so: near
    /// saturation a target forgets slowly. What can be certainly outside lies below it.
    fn wall(&self) -> Option<usize> {
        self.open.iter().position(|one| one.too_short && !one.likely)
    }

    /// The middle of the widest gap that the bounds and the open loads leave: from the largest
    /// inside to the first open, or from the last open to the smallest outside (or the wall). Between
    /// two open loads there is nothing to learn.
    fn within_widest(&self) -> Option<f64> {
        let wall = self.wall();
        let open = &self.open[..wall.unwrap_or(self.open.len())];
        let top = wall.map(|at| self.open[at].load).or(self.high);
        let (first, last) = (open.first(), open.last());
        let lower = self.low.zip(first.map(|one| one.load).or(top));
        let upper = last.map(|one| one.load).or(self.low).zip(top);
        let mut gaps: Vec<(f64, f64)> = [lower, upper].into_iter().flatten().collect();
        // Stable: of equal gaps the lower one first, since that one raises `low`.
        gaps.sort_by(|a, b| (b.1 / b.0).total_cmp(&(a.1 / a.0)));
        gaps.into_iter().find_map(|(from, to)| self.middle(from, to))
    }

    fn below(&self, load: f64) -> Option<f64> {
        let half = rounded(self.settings.over, load / 2.0);
        let least = match self.settings.over {
            SearchOver::Concurrency => 1.0,
            SearchOver::Rate => self.start * LEAST_SHARE,
        };
        // Rounding may have moved the last halving by half a digit.
        (half < load && half >= least * 0.99).then_some(half)
    }

    fn above(&self, load: f64) -> Option<f64> {
        let hopeless = self.open.iter().rev().take_while(|one| !one.likely).count();
        let double = rounded(self.settings.over, load * 2.0);
        let next = self.settings.max.map_or(double, |max| double.min(max));
        (next > load && hopeless < HOPELESS).then_some(next)
    }

    /// The geometric middle of two loads; `None` when they are close enough.
    fn middle(&self, from: f64, to: f64) -> Option<f64> {
        if to / from <= self.settings.tolerance {
            return None;
        }
        let exact = (from * to).sqrt();
        let round = rounded(self.settings.over, exact);
        if round > from && round < to {
            return Some(round);
        }
        // The root rounds to an end: 1 and 3 slots have 2 between them; rates may be finer.
        let between = match self.settings.over {
            SearchOver::Concurrency => from + 1.0,
            SearchOver::Rate => exact,
        };
        (between > from && between < to).then_some(between)
    }
}

/// A load as it is tried: whole slots, or a rate of three digits.
pub(super) fn rounded(over: SearchOver, load: f64) -> f64 {
    match over {
        SearchOver::Concurrency => load.round().max(1.0),
        SearchOver::Rate => {
            // Through text, since only that gives the float nearest to the decimal number: the
            // rate that a plan or a report shows is then the rate that was offered.
            format!("{load:.2e}").parse().expect("invariant: a formatted float is a float")
        }
    }
}
