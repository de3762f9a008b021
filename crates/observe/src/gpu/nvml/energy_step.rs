//! How often the energy counters step: they are read again and again for a short while.
//!
//! A driver refreshes its counter each 10 to 100 ms, by the GPU. A window is good only from a hundred
//! of these steps on, whatever the time between our own looks.

use std::collections::BTreeMap;
use std::time::Duration;

use loadline_clock::RunClock;

/// Steps after which a counter is known well enough.
const ENOUGH: usize = 5;
/// Fewer tell nothing about how regular they are.
const LEAST: usize = 2;
/// Time between two rounds of reading, ns: the steps are told to about so much.
const ROUND_NS: u64 = 1_000_000;

/// What a counter showed.
#[derive(Debug, Default)]
struct Seen {
    value: Option<u64>,
    /// When it changed last, ns.
    changed_ns: Option<u64>,
    steps_ns: Vec<u64>,
    is_refused: bool,
}

impl Seen {
    fn note(&mut self, value: u64, at_ns: u64) {
        // The first value may be of any age: only from the first change on the time is known.
        if self.value.is_some_and(|before| before != value)
            && let Some(before) = self.changed_ns.replace(at_ns)
        {
            self.steps_ns.push(at_ns.saturating_sub(before));
        }
        self.value = Some(value);
    }

    fn is_done(&self) -> bool {
        self.is_refused || self.steps_ns.len() >= ENOUGH
    }

    /// The median, ns; of an even number the larger of the middle two.
    fn step_ns(mut self) -> Option<u64> {
        self.steps_ns.sort_unstable();
        (self.steps_ns.len() >= LEAST).then(|| self.steps_ns[self.steps_ns.len() / 2])
    }
}

/// Time between two steps of each GPU's counter, ns, as far as it showed in `within_ns`.
pub(super) fn measured(
    library: &nvml_wrapper::Nvml,
    clock: &RunClock,
    within_ns: u64,
) -> BTreeMap<u32, u64> {
    let mut seen: BTreeMap<u32, Seen> =
        (0..library.device_count().unwrap_or(0)).map(|index| (index, Seen::default())).collect();
    let end_ns = clock.now_ns().saturating_add(within_ns);
    while seen.values().any(|seen| !seen.is_done()) && clock.now_ns() < end_ns {
        for (index, seen) in seen.iter_mut().filter(|(_, seen)| !seen.is_done()) {
            let device = library.device_by_index(*index);
            match device.and_then(|device| device.total_energy_consumption()) {
                Ok(millijoules) => seen.note(millijoules, clock.now_ns()),
                // Why is said by the reading of the counter itself.
                Err(_) => seen.is_refused = true,
            }
        }
        std::thread::sleep(Duration::from_nanos(ROUND_NS));
    }
    seen.into_iter().filter_map(|(index, seen)| Some((index, seen.step_ns()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_times_between_changes() {
        let mut seen = Seen::default();
        // The first change has no known begin; one step was seen late.
        for (value, at_ns) in [(1, 0), (1, 10), (2, 15), (2, 20), (3, 35), (4, 75), (5, 94)] {
            seen.note(value, at_ns);
        }
        assert_eq!(seen.steps_ns, [20, 40, 19]);
        assert_eq!(seen.step_ns(), Some(20));
    }

    #[test]
    fn one_step_alone_tells_nothing() {
        let mut seen = Seen::default();
        for (value, at_ns) in [(1, 0), (2, 10), (3, 20)] {
            seen.note(value, at_ns);
        }
        assert_eq!(seen.step_ns(), None);
    }
}
