//! A trial second by second, when its first and its last worker were done, and whether its
//! bandwidth was steady.

use loadline_schema::storage::{
    Direction, IoInterval, StorageResult, StorageTimeline, StorageTrial, WorkerEnd,
};

use super::{Cell, NS_PER_S, Trial};

const SECOND_NS: u64 = 1_000_000_000;
/// A second that lacks so much at its end still counts as a whole one: the last I/O ends a little
/// before the time is over.
const SLACK_NS: u64 = 10_000_000;
/// Whole seconds below which nothing is said about steadiness.
const LEAST_SECONDS: usize = 5;
/// Largest |second − mean| ÷ mean of a steady trial: SNIA, Solid State Storage Performance Test
/// Specification, data excursion (20 % of the average from the least to the largest).
const MOST_DEVIATION: f64 = 0.1;
/// Largest rise or fall of the fitted line ÷ mean: the same place, slope excursion.
const MOST_SLOPE: f64 = 0.1;

pub(super) fn fill(cell: &Cell<'_>, result: &mut StorageResult) {
    let known = cell.trials.iter().filter(|trial| !trial.rows.is_empty());
    result.timeline = known.map(of_trial).collect();
    let is_whole = !result.timeline.is_empty() && result.timeline.len() == cell.trials.len();
    let steady: Vec<Option<bool>> = result.timeline.iter().map(is_steady).collect();
    result.steady = if steady.contains(&Some(false)) {
        Some(false)
    } else if steady.contains(&None) || !is_whole {
        None
    } else {
        Some(true)
    };
}

/// By the limits above; `None` where the trial is too short.
fn is_steady(timeline: &StorageTimeline) -> Option<bool> {
    Some(timeline.deviation? <= MOST_DEVIATION && timeline.slope?.abs() <= MOST_SLOPE)
}

fn of_trial(trial: &Trial<'_>) -> StorageTimeline {
    let bytes = seconds(trial, bytes_of);
    let ios = seconds(trial, |row| if row.direction == Direction::Sync { 0 } else { row.ios });
    let (first, last) = done(trial.end);
    let since = |at: u64| at.saturating_sub(trial.end.measure_ns);
    let (deviation, slope) = shape(&bytes).unzip();
    StorageTimeline {
        bytes,
        ios,
        first_done_ns: since(first),
        last_done_ns: since(last),
        first_done_bytes_per_s: until(trial, first),
        deviation,
        slope,
    }
}

/// Bytes that a row adds to the bandwidth.
pub(super) fn bytes_of(row: &IoInterval) -> u64 {
    if row.direction == Direction::Sync { 0 } else { row.bytes }
}

/// An amount in each whole second of the measured part; a row belongs to the second in which it
/// begins. Empty where the trial has no rows.
pub(super) fn seconds(trial: &Trial<'_>, amount: impl Fn(&IoInterval) -> u64) -> Vec<u64> {
    if trial.rows.is_empty() {
        return Vec::new();
    }
    let begin = trial.end.measure_ns;
    let (_, last) = done(trial.end);
    let whole = (last.saturating_sub(begin) + SLACK_NS) / SECOND_NS;
    let mut seconds = vec![0_u64; usize::try_from(whole).unwrap_or(0)];
    for row in &trial.rows {
        // A row that begins a hair early belongs to the second that it covers.
        let at = (row.start_ns + SLACK_NS).saturating_sub(begin) / SECOND_NS;
        if let Some(second) = usize::try_from(at).ok().and_then(|at| seconds.get_mut(at)) {
            *second += amount(row);
        }
    }
    seconds
}

/// When the first worker was done, and the last; the end of the trial where that is not known.
fn done(trial: &StorageTrial) -> (u64, u64) {
    let worked = trial.workers.iter().filter(|worker| has_worked(worker));
    let ends = worked.map(|worker| worker.last_ns);
    let (first, last) = (ends.clone().min(), ends.max());
    (first.unwrap_or(trial.end_ns), last.unwrap_or(trial.end_ns))
}

fn has_worked(worker: &WorkerEnd) -> bool {
    worker.read_ios + worker.write_ios > 0
}

/// Bandwidth from the begin of the measured part until `at`; a row that lasts longer counts for
/// its share. `None` with a single worker.
fn until(trial: &Trial<'_>, at: u64) -> Option<f64> {
    let workers = trial.end.workers.iter().filter(|worker| has_worked(worker)).count();
    let begin = trial.end.measure_ns;
    let length = at.saturating_sub(begin);
    if workers < 2 || length == 0 {
        return None;
    }
    let share = |row: &IoInterval| {
        let inside = at.saturating_sub(row.start_ns).min(row.length_ns);
        inside as f64 / row.length_ns.max(1) as f64
    };
    let bytes: f64 = trial.rows.iter().map(|row| bytes_of(row) as f64 * share(row)).sum();
    Some(bytes / (length as f64 / NS_PER_S))
}

/// Largest |second − mean| ÷ mean, and slope by least squares × length ÷ mean.
fn shape(bytes: &[u64]) -> Option<(f64, f64)> {
    let values: Vec<f64> = bytes.iter().map(|b| *b as f64).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < LEAST_SECONDS || mean <= 0.0 {
        return None;
    }
    let deviation = values.iter().map(|v| (v - mean).abs()).fold(0.0, f64::max);
    let middle = (n - 1.0) / 2.0;
    let products: f64 =
        values.iter().enumerate().map(|(i, v)| (i as f64 - middle) * (v - mean)).sum();
    let slope = products / (n * (n * n - 1.0) / 12.0);
    Some((deviation / mean, slope * n / mean))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shape_by_hand() {
        // 96, 98, 100, 102, 104: mean 100, off by 4 %; slope 2 a second over 5 s: 10 %.
        let (deviation, slope) = shape(&[96, 98, 100, 102, 104]).expect("five seconds");
        assert!((deviation - 0.04).abs() < 1e-12);
        assert!((slope - 0.1).abs() < 1e-12);
        assert_eq!(shape(&[100; 4]), None);
        assert_eq!(shape(&[0; 9]), None);
    }

    #[test]
    fn both_limits_count() {
        let of = |deviation, slope| StorageTimeline {
            deviation: Some(deviation),
            slope: Some(slope),
            ..StorageTimeline::default()
        };
        assert_eq!(is_steady(&of(0.1, -0.1)), Some(true));
        assert_eq!(is_steady(&of(0.11, 0.0)), Some(false));
        assert_eq!(is_steady(&of(0.0, -0.11)), Some(false));
        assert_eq!(is_steady(&StorageTimeline::default()), None);
    }

    proptest! {
        #[test]
        fn backwards_it_falls_as_much(bytes in prop::collection::vec(1..1_000_u64, 5..40)) {
            let back: Vec<u64> = bytes.iter().rev().copied().collect();
            let (a, b) = (shape(&bytes).expect("long"), shape(&back).expect("long"));
            prop_assert!((a.0 - b.0).abs() < 1e-9 && (a.1 + b.1).abs() < 1e-9);
        }
    }
}
