//! Which looks at a server belong to a trial: the last one before its first request and the last one
//! between its end and the next trial, when nothing of ours is in flight.

use std::collections::BTreeMap;

use loadline_schema::record::TrialId;

/// A look at a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// When it was asked for, ns.
    pub at_ns: u64,
    /// Whether it was taken at the edge of a trial, with everything.
    pub at_edge: bool,
}

/// A trial in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialTime {
    /// Which.
    pub id: TrialId,
    /// Its begin, ns.
    pub from_ns: u64,
    /// When the last of its requests had ended, ns.
    pub to_ns: u64,
}

/// Places of the looks before and after each trial. `glances` ascend by time; trials without both
/// looks are left out. `killed` are the begins (ns) of trials that never ended: looks after them have
/// their load in them.
pub fn edges(
    glances: &[Glance],
    trials: &[TrialTime],
    killed: &[u64],
) -> BTreeMap<TrialId, (usize, usize)> {
    let mut trials: Vec<&TrialTime> = trials.iter().collect();
    trials.sort_by_key(|trial| trial.from_ns);
    let at_edge = || glances.iter().enumerate().filter(|(_, glance)| glance.at_edge);
    let mut found = BTreeMap::new();
    for (place, trial) in trials.iter().enumerate() {
        let next_ns = trials.get(place + 1).map_or(u64::MAX, |next| next.from_ns);
        let killed = killed.iter().copied().filter(|at_ns| *at_ns >= trial.to_ns);
        let next_ns = killed.min().unwrap_or(u64::MAX).min(next_ns);
        let since_ns = place.checked_sub(1).map_or(0, |before| trials[before].to_ns);
        let before = at_edge()
            .rfind(|(_, glance)| glance.at_ns >= since_ns && glance.at_ns <= trial.from_ns);
        let after =
            at_edge().rfind(|(_, glance)| glance.at_ns >= trial.to_ns && glance.at_ns <= next_ns);
        if let (Some((before, _)), Some((after, _))) = (before, after) {
            found.insert(trial.id, (before, after));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(number: u16, from_ns: u64, to_ns: u64) -> TrialTime {
        let id = TrialId { stage: 0, point: 0, trial: number, part: 0 };
        TrialTime { id, from_ns, to_ns }
    }

    fn glances(times: &[(u64, bool)]) -> Vec<Glance> {
        times.iter().map(|(at_ns, at_edge)| Glance { at_ns: *at_ns, at_edge: *at_edge }).collect()
    }

    #[test]
    fn looks_around_a_trial_are_found() {
        let looks = glances(&[
            (1, true),
            (5, false),
            (9, true),
            (30, true),
            (31, true),
            (40, true),
            (70, true),
        ]);
        let found = edges(&looks, &[trial(1, 45, 60), trial(0, 10, 29)], &[]);
        let of = |number| found[&trial(number, 0, 0).id];
        // The looks between two trials serve both.
        assert_eq!((of(0), of(1)), ((2, 5), (5, 6)));
    }

    #[test]
    fn load_of_a_trial_that_was_killed_belongs_to_no_other() {
        let looks = glances(&[(9, true), (30, true), (60, true)]);
        let found = edges(&looks, &[trial(0, 10, 29)], &[31]);
        assert_eq!(found[&trial(0, 0, 0).id], (0, 1));
    }

    #[test]
    fn a_trial_without_both_looks_is_left_out() {
        let looks = glances(&[(5, true), (20, false), (50, true)]);
        let found = edges(&looks, &[trial(0, 10, 20), trial(1, 30, 40)], &[]);
        // No look at an edge between the two.
        assert!(found.is_empty(), "{found:?}");
    }
}
