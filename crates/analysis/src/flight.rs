//! Requests in flight over a window: their mean, Little's law, and where the tail begins.

/// When a request was in flight, ns: from sent to ended.
pub(crate) type Residence = (u64, u64);

/// What the requests in flight say about a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Flight {
    /// Time integral of the number in flight over the window, request ns.
    pub(crate) area: u128,
    /// Little's law with residence clipped to the window, |L − λW| / L; an identity.
    pub(crate) little_residual: Option<f64>,
    /// When the number in flight fell under the threshold for good, ns.
    pub(crate) tail_from_ns: Option<u64>,
}

/// Sweeps over the starts and ends. `full` is the number in flight below which the tail begins (in
/// percent of a request, so that 95 % of 4 is 380); `None` looks for no tail.
pub(crate) fn measure(residences: &[Residence], from: u64, to: u64, full: Option<u64>) -> Flight {
    let mut steps: Vec<(u64, bool)> = Vec::with_capacity(residences.len() * 2);
    for (sent, ended) in residences {
        steps.push((*sent, false));
        steps.push(((*ended).max(*sent), true));
    }
    steps.sort_unstable();
    let (mut level, mut area, mut at) = (0u64, 0u128, from);
    let mut tail_from_ns = None;
    let is_full = |level: u64| full.is_some_and(|full| level * 100 >= full);
    // Steps of one moment are one step: a slot that is filled again at once was never empty.
    for moment in steps.chunk_by(|a, b| a.0 == b.0) {
        let clipped = moment[0].0.clamp(from, to);
        area += u128::from(level) * u128::from(clipped - at);
        at = clipped;
        let was_full = is_full(level);
        let ends = moment.iter().filter(|(_, ends)| *ends).count() as u64;
        level = level + (moment.len() as u64 - ends) - ends;
        if was_full && !is_full(level) {
            tail_from_ns = Some(moment[0].0);
        }
    }
    let little_residual = little(residences, from, to, area);
    Flight { area, little_residual, tail_from_ns }
}

/// Little's law over the requests that were in flight in the window at all: λ of them per second,
/// each for W within the window.
fn little(residences: &[Residence], from: u64, to: u64, area: u128) -> Option<f64> {
    let clipped = residences
        .iter()
        .map(|(sent, ended)| ended.min(&to).saturating_sub(*sent.max(&from)))
        .filter(|w| *w > 0);
    let (count, sum) = clipped.fold((0u64, 0u128), |(n, s), w| (n + 1, s + u128::from(w)));
    if area == 0 || to <= from {
        return None;
    }
    let window = (to - from) as f64;
    let level = area as f64 / window;
    let product =
        if count == 0 { 0.0 } else { count as f64 / window * (sum as f64 / count as f64) };
    Some((level - product).abs() / level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_requests_in_a_window() {
        // One over the whole window 100..200, one from 150 to beyond it: area 100 + 50.
        let flight = measure(&[(50, 200), (150, 400)], 100, 200, None);
        assert_eq!(flight.area, 150);
        assert_eq!(flight.little_residual, Some(0.0));
        assert_eq!(flight.tail_from_ns, None);
    }

    #[test]
    fn nothing_in_flight_has_no_residual() {
        assert_eq!(measure(&[], 0, 10, None).little_residual, None);
        assert_eq!(measure(&[(0, 5)], 5, 10, None).area, 0);
    }

    #[test]
    fn the_tail_begins_where_the_level_falls_for_good() {
        // Two slots; slot 1 pauses from 10 to 12 and comes back; slot 2 ends for good at 30.
        let rows = [(0, 10), (12, 40), (0, 20), (20, 30)];
        assert_eq!(measure(&rows, 0, 40, Some(190)).tail_from_ns, Some(30));
        // As many as the threshold is full.
        assert_eq!(measure(&rows, 0, 40, Some(100)).tail_from_ns, Some(40));
        // Never full: no tail to speak of.
        assert_eq!(measure(&rows, 0, 40, Some(285)).tail_from_ns, None);
    }

    proptest! {
        #[test]
        fn little_is_an_identity(
            rows in prop::collection::vec((0u64..2_000_000, 0u64..500_000), 0..200),
            from in 0u64..1_000_000,
            length in 1u64..1_000_000,
        ) {
            let rows: Vec<Residence> = rows.iter().map(|(s, d)| (*s, s + d)).collect();
            let flight = measure(&rows, from, from + length, None);
            let by_request: u128 = rows
                .iter()
                .map(|(s, e)| u128::from(e.min(&(from + length)).saturating_sub(*s.max(&from))))
                .sum();
            prop_assert_eq!(flight.area, by_request);
            prop_assert!(flight.little_residual.unwrap_or(0.0) <= 1e-9);
        }
    }
}
