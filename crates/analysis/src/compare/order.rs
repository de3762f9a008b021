//! Whether the trials of two runs took turns, from the times at which they began.

use std::collections::BTreeMap;

use loadline_schema::record::TrialId;

use crate::compare::effect::TrialOrder;

/// A complete trial and when it began, ns since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialStart {
    /// Which trial.
    pub trial: TrialId,
    /// When, on the realtime clock.
    pub at_unix_ns: i128,
}

/// In turns, where at every point the trials of one side strictly alternate with those of the
/// other, the same side first everywhere; apart otherwise.
pub fn trial_order(baseline: &[TrialStart], candidate: &[TrialStart]) -> TrialOrder {
    let mut points: BTreeMap<(u16, u16), Vec<(i128, bool)>> = BTreeMap::new();
    for (starts, is_candidate) in [(baseline, false), (candidate, true)] {
        for start in starts {
            let point = points.entry((start.trial.stage, start.trial.point)).or_default();
            point.push((start.at_unix_ns, is_candidate));
        }
    }
    let mut first = None;
    for sequence in points.values_mut() {
        sequence.sort_unstable();
        let candidate_first = sequence[0].1;
        let alternates = sequence.len() % 2 == 0
            && sequence.windows(2).all(|pair| pair[0].1 != pair[1].1 && pair[0].0 < pair[1].0);
        if !alternates || *first.get_or_insert(candidate_first) != candidate_first {
            return TrialOrder::Apart;
        }
    }
    match first {
        Some(false) => TrialOrder::BaselineFirst,
        Some(true) => TrialOrder::CandidateFirst,
        None => TrialOrder::Apart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(point: u16, at: &[i128]) -> Vec<TrialStart> {
        let id = |trial| TrialId { stage: 0, point, trial, part: 0 };
        (0..).zip(at).map(|(trial, at)| TrialStart { trial: id(trial), at_unix_ns: *at }).collect()
    }

    #[test]
    fn turns_are_recognised() {
        let (a, b) = (starts(0, &[0, 20, 40]), starts(0, &[10, 30, 50]));
        assert_eq!(trial_order(&a, &b), TrialOrder::BaselineFirst);
        assert_eq!(trial_order(&b, &a), TrialOrder::CandidateFirst);
    }

    #[test]
    fn one_after_the_other_is_apart() {
        let (a, b) = (starts(0, &[0, 10, 20]), starts(0, &[30, 40, 50]));
        assert_eq!(trial_order(&a, &b), TrialOrder::Apart);
        // A, B, B, A: not in turns as this comparison takes them.
        assert_eq!(trial_order(&starts(0, &[0, 30]), &starts(0, &[10, 20])), TrialOrder::Apart);
        // A trial too few on one side, and the same run on both.
        assert_eq!(trial_order(&starts(0, &[0, 20]), &starts(0, &[10])), TrialOrder::Apart);
        assert_eq!(trial_order(&a, &a), TrialOrder::Apart);
        assert_eq!(trial_order(&[], &[]), TrialOrder::Apart);
    }

    #[test]
    fn every_point_must_take_turns_in_the_same_order() {
        let mut a = starts(0, &[0, 20]);
        let mut b = starts(0, &[10, 30]);
        a.extend(starts(1, &[110, 130]));
        b.extend(starts(1, &[100, 120]));
        assert_eq!(trial_order(&a, &b), TrialOrder::Apart);
    }
}
