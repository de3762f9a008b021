//! Whether the target no longer kept up with the load that was offered.

use loadline_schema::event::Warning;
use loadline_schema::plan::Load;

use crate::flight::Residence;
use crate::trend::trend;
use crate::warnings::Evidence;

/// Share of what was due that must be sent.
const ACHIEVED: f64 = 0.95;
/// One-sided level at which requests in flight must grow.
const LEVEL: f64 = 0.025;
/// Share of the arrivals that must pile up by the end of the window, so that the target answered
/// less than 95 % of what was offered. A smaller growth is seen in queues that only wander.
const PILED_UP: f64 = 1.0 - ACHIEVED;
/// Parts of a window in which requests in flight are averaged.
const PARTS: usize = 200;

/// Whether requests in flight grew over `[from_ns, to_ns)` with `due` arrivals; a residence is
/// (sent, ended), ns.
pub fn piles_up(residences: &[(u64, u64)], from_ns: u64, to_ns: u64, due: u64) -> bool {
    let levels = levels(residences, from_ns, to_ns);
    let Some(trend) = trend(&levels) else { return false };
    trend.change >= (PILED_UP * due as f64).max(1.0) && trend.grows(LEVEL)
}

/// Mean number in flight in equal parts of the time.
fn levels(residences: &[Residence], from_ns: u64, to_ns: u64) -> Vec<f64> {
    let part = to_ns.saturating_sub(from_ns) as f64 / PARTS as f64;
    if part <= 0.0 {
        return Vec::new();
    }
    // What each residence adds to its first and last part, and a step for those between them.
    let mut partial = vec![0.0; PARTS];
    let mut steps = vec![0.0; PARTS + 1];
    for (sent, ended) in residences {
        let place = |at: u64| (at.clamp(from_ns, to_ns) - from_ns) as f64 / part;
        let (begin, end) = (place(*sent), place(*ended));
        if end <= begin {
            continue;
        }
        let first = (begin as usize).min(PARTS - 1);
        let last = (end as usize).min(PARTS - 1);
        if first == last {
            partial[first] += end - begin;
            continue;
        }
        partial[first] += first as f64 + 1.0 - begin;
        partial[last] += end - last as f64;
        steps[first + 1] += 1.0;
        steps[last] -= 1.0;
    }
    let mut level = 0.0;
    let whole = steps.iter().map(|step| {
        level += step;
        level
    });
    partial.iter().zip(whole).map(|(a, b)| a + b).collect()
}

/// Open loop: less than 95 % of what was due was sent (dropped operations were not), or requests in
/// flight grew in at least half of the trials. A closed loop offers only what the target takes, and
/// a burst is no rate.
pub(crate) fn is_saturated(load: &Load, due: u64, sent: u64, piling: &[bool]) -> bool {
    if !matches!(load, Load::Open { .. }) {
        return false;
    }
    let grew = piling.iter().filter(|p| **p).count();
    (sent as f64) < ACHIEVED * due as f64 || (grew > 0 && grew * 2 >= piling.len())
}

pub(crate) fn saturated(e: &Evidence) -> Option<Warning> {
    e.point.saturated.then(|| {
        let message = "the target did not keep up with the rate: requests piled up or were dropped, \
                       so latencies depend on how long was measured";
        Warning::new("saturated", message, "offer less")
    })
}

#[cfg(test)]
mod tests {
    use loadline_schema::plan::Arrival;
    use proptest::prelude::*;

    use super::*;
    use crate::noise::Noise;

    const S: f64 = 1e9;

    /// One server, exponential service of 1 s in the mean, requests at `rate` per second.
    fn queue(rate: f64, seconds: f64, seed: u64) -> Vec<Residence> {
        let mut noise = Noise::new(seed);
        let (mut at, mut free) = (0.0_f64, 0.0_f64);
        let mut rows = Vec::new();
        // Warm-up of a fifth.
        while at < 1.2 * seconds {
            at += noise.exponential() / rate;
            free = free.max(at) + noise.exponential();
            rows.push(((at * S) as u64, (free * S) as u64));
        }
        rows
    }

    fn grown(rate: f64, seconds: f64) -> usize {
        let grows = |seed: &u64| {
            let rows = queue(rate, seconds, *seed);
            let due = (rate * seconds) as u64;
            piles_up(&rows, (0.2 * seconds * S) as u64, (1.2 * seconds * S) as u64, due)
        };
        (0..200).filter(grows).count()
    }

    #[test]
    fn a_queue_that_wanders_is_not_taken_for_one_that_grows() {
        assert!(grown(0.5, 500.0) <= 4, "{}", grown(0.5, 500.0));
        assert!(grown(0.9, 5_000.0) <= 10, "{}", grown(0.9, 5_000.0));
    }

    #[test]
    fn an_overloaded_queue_is_found() {
        assert!(grown(1.2, 2_000.0) >= 180, "{}", grown(1.2, 2_000.0));
    }

    #[test]
    fn only_an_open_loop_saturates() {
        let open = Load::Open { rate_per_s: 1.0, arrival: Arrival::Constant };
        assert!(is_saturated(&open, 100, 94, &[false]));
        assert!(!is_saturated(&open, 100, 95, &[false]));
        assert!(is_saturated(&open, 100, 100, &[true, false]));
        assert!(!is_saturated(&open, 100, 100, &[true, false, false]));
        assert!(!is_saturated(&open, 0, 0, &[]));
        assert!(!is_saturated(&Load::Closed { concurrency: 4 }, 100, 10, &[true]));
        assert!(!piles_up(&[], 0, 0, 0));
    }

    proptest! {
        #[test]
        fn levels_add_up_to_the_time_in_flight(
            rows in prop::collection::vec((0u64..2_000, 0u64..900), 0..60),
        ) {
            let rows: Vec<Residence> = rows.iter().map(|(s, d)| (*s, s + d)).collect();
            let clipped = |(s, e): &Residence| e.min(&1_500).saturating_sub(*s.max(&500)) as f64;
            let area = rows.iter().map(clipped).sum::<f64>();
            let sum = levels(&rows, 500, 1_500).iter().sum::<f64>() * 1_000.0 / PARTS as f64;
            prop_assert!((area - sum).abs() < 1e-6 * area.max(1.0), "{area} {sum}");
        }
    }
}
