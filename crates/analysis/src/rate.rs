//! Rates with their intervals: over trials by Student's t, and of a single trial by the block
//! bootstrap of what happened in equal parts of its window.

use loadline_schema::document::Estimate;

use crate::bootstrap::spread;
use crate::student::mean_interval;
use crate::window::Window;

/// Most parts that a window is cut into.
const MOST_PARTS: usize = 500;
/// Events that fall into a part in the mean, at least.
const LEAST_PER_PART: usize = 2;

/// How many events a trial had in its window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counted {
    pub(crate) per_s: f64,
    pub(crate) parts: Parts,
}

/// Events in equal parts of a window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parts {
    from_ns: u64,
    length_ns: u64,
    pub(crate) counts: Vec<f64>,
}

impl Parts {
    /// For so many events: none where they are too few to be looked at one by one.
    pub(crate) fn new(window: &Window, events: usize) -> Self {
        let parts = (events / LEAST_PER_PART).min(MOST_PARTS);
        Self { from_ns: window.from_ns, length_ns: window.length_ns(), counts: vec![0.0; parts] }
    }

    /// Adds an event of the window.
    pub(crate) fn add(&mut self, at_ns: u64) {
        self.add_at(self.place(at_ns), 1.0);
    }

    /// Adds `amount`, spread evenly over the time from `from_ns` to `to_ns`; what lies outside the
    /// window is left out.
    pub(crate) fn spread(&mut self, from_ns: u64, to_ns: u64, amount: f64) {
        let (from, to) = (self.place(from_ns), self.place(to_ns));
        if to <= from {
            self.add_at(from, amount);
            return;
        }
        let first = from.max(0.0) as usize;
        let end = (to.max(0.0).ceil() as usize).min(self.counts.len());
        for index in first..end {
            let inside = to.min(index as f64 + 1.0) - from.max(index as f64);
            self.counts[index] += amount * inside / (to - from);
        }
    }

    /// Adds at a place; the end of the window belongs to its last part.
    fn add_at(&mut self, place: f64, amount: f64) {
        let parts = self.counts.len();
        if place < 0.0 || place > parts as f64 {
            return;
        }
        if let Some(count) = self.counts.get_mut((place as usize).min(parts.saturating_sub(1))) {
            *count += amount;
        }
    }

    /// Where a moment lies, in parts from the window's begin.
    fn place(&self, at_ns: u64) -> f64 {
        let since = at_ns as f64 - self.from_ns as f64;
        since / self.length_ns as f64 * self.counts.len() as f64
    }
}

impl Counted {
    /// Events at these times, all of them in the window.
    pub(crate) fn of_times(window: &Window, times: &[u64]) -> Self {
        let mut parts = Parts::new(window, times.len());
        for at in times {
            parts.add(*at);
        }
        Self { per_s: times.len() as f64 * 1e9 / window.length_ns() as f64, parts }
    }

    /// Half width of the 95 % interval of the rate from this trial alone.
    fn half_width(&self) -> Option<f64> {
        let parts = &self.parts;
        let per_s = parts.counts.len() as f64 * 1e9 / parts.length_ns as f64;
        Some(spread(&[&parts.counts])?.half_width(0.025) * per_s)
    }
}

/// Mean of a rate over trials, with its interval; `None` without trials. It cannot be negative, so
/// neither can the lower bound. A single trial with too few events, or which hangs together over
/// more than a tenth of its window, has no interval.
pub(crate) fn rate(trials: &[Counted]) -> Option<Estimate> {
    let values: Vec<f64> = trials.iter().map(|t| t.per_s).collect();
    let (value, over_trials) = mean_interval(&values)?;
    let half = match trials {
        [only] => only.half_width(),
        _ => over_trials,
    };
    Some(Estimate {
        value,
        low: half.map(|h| (value - h).max(0.0)),
        high: half.map(|h| value + h),
        n: trials.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise::Noise;

    const WINDOW: Window = Window { from_ns: 1_000, to_ns: 1_000_001_000, closed: false };

    fn poisson(per_s: f64, seed: u64) -> Vec<u64> {
        let mut noise = Noise::new(seed);
        let mut at = 0.0;
        let step = || {
            at += noise.exponential() * 1e9 / per_s;
            (at < 1e9).then_some(1_000 + at as u64)
        };
        std::iter::from_fn(step).collect()
    }

    #[test]
    fn the_interval_of_one_poisson_trial_holds_the_rate() {
        let holds = |seed: &u64| {
            let found = rate(&[Counted::of_times(&WINDOW, &poisson(1_000.0, *seed))]);
            let found = found.expect("events");
            assert_eq!(found.n, 1);
            found.low.expect("many") <= 1_000.0 && found.high.expect("many") >= 1_000.0
        };
        let held = (0..400).filter(holds).count();
        assert!((366..=394).contains(&held), "{held} of 400");
    }

    #[test]
    fn few_events_have_a_rate_and_no_interval() {
        let found = rate(&[Counted::of_times(&WINDOW, &poisson(30.0, 1)[..20])]).expect("events");
        assert_eq!((found.value, found.low, found.high), (20.0, None, None));
        assert_eq!(rate(&[]), None);
    }

    #[test]
    fn several_trials_go_by_their_spread() {
        let trial = |n| Counted::of_times(&WINDOW, &poisson(1_000.0, 1)[..n]);
        let found = rate(&[trial(90), trial(100), trial(110)]).expect("trials");
        // Standard deviation 10: half width 4.3027 × 10 / √3.
        assert!((found.high.expect("three") - found.value - 24.84).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn what_is_spread_is_neither_lost_nor_doubled(
            begin in 0u64..1_000_000_000, length in 0u64..2_000_000_000, amount in 0.0..1e4f64,
        ) {
            let mut parts = Parts::new(&WINDOW, 200);
            let from = 1_000 + begin;
            parts.spread(from, from + length, amount);
            let inside = (WINDOW.to_ns - from).min(length) as f64;
            let expected = if length == 0 { amount } else { amount * inside / length as f64 };
            let sum = parts.counts.iter().sum::<f64>();
            prop_assert!((sum - expected).abs() <= 1e-6 * amount.max(1.0), "{sum} {expected}");
        }
    }
}
