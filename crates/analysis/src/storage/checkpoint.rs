//! Saves and restores of a checkpoint, at its real size, too, and the interval between saves that
//! costs the least time.

use std::collections::BTreeMap;

use loadline_schema::storage::{Checkpoint, CheckpointResult, FileOp, FilePass, StorageResult};

use super::{Cell, NS_PER_S, Trial, rates, warn};

/// One save, restore or load by all ranks.
pub(super) struct Round {
    /// From the begin of the first file to the end of the last one, s.
    pub(super) seconds: f64,
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Time of each rank until its last file was done, s.
    ranks: BTreeMap<u32, f64>,
    /// Time of each rank in fsync, s.
    fsync: BTreeMap<u32, f64>,
}

/// What a trial did to whole files; `None` unless it was carried out as planned.
pub(super) fn round(trial: &Trial<'_>, op: FileOp) -> Option<Round> {
    let passes: Vec<&FilePass> = trial.end.passes.iter().filter(|pass| pass.op == op).collect();
    let first = passes.iter().map(|pass| pass.start_ns).min()?;
    let seconds = |ns: u64| ns as f64 / NS_PER_S;
    let mut ranks: BTreeMap<u32, f64> = BTreeMap::new();
    let mut fsync: BTreeMap<u32, f64> = BTreeMap::new();
    for pass in &passes {
        let done = seconds(pass.end_ns.saturating_sub(first));
        let of_rank = ranks.entry(pass.rank).or_default();
        *of_rank = of_rank.max(done);
        *fsync.entry(pass.rank).or_default() += seconds(pass.fsync_ns.unwrap_or(0));
    }
    let longest = ranks.values().copied().fold(0.0, f64::max);
    let bytes = passes.iter().map(|pass| pass.bytes).sum();
    let is_good = trial.is_complete() && longest > 0.0 && bytes > 0;
    is_good.then_some(Round { seconds: longest, bytes, ranks, fsync })
}

impl Round {
    /// The rank that was done last.
    fn slowest(&self) -> Option<u32> {
        let last = self.ranks.iter().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0)));
        last.map(|(rank, _)| *rank)
    }

    pub(super) fn bytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    /// Time of the slowest rank ÷ median of the ranks.
    fn slowest_ratio(&self) -> Option<f64> {
        let mut times: Vec<f64> = self.ranks.values().copied().collect();
        times.sort_by(f64::total_cmp);
        let n = times.len();
        let median = f64::midpoint(*times.get(n.checked_sub(1)? / 2)?, *times.get(n / 2)?);
        (n > 1 && median > 0.0).then(|| self.seconds / median)
    }

    /// Share of the slowest rank's time that was fsync.
    fn fsync_share(&self) -> Option<f64> {
        let rank = self.slowest()?;
        Some((self.fsync.get(&rank)? / self.seconds).min(1.0))
    }
}

/// The rank that was slowest in most of these; of equals the lowest.
pub(super) fn slowest_rank(rounds: &[Round]) -> Option<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for rank in rounds.iter().filter_map(Round::slowest) {
        *counts.entry(rank).or_default() += 1;
    }
    counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0))).map(|(rank, _)| rank)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    rates::mean(&values.collect::<Vec<_>>()).map(|estimate| estimate.value)
}

pub(super) fn fill(cell: &Cell<'_>, load: &Checkpoint, result: &mut StorageResult) {
    let of = |op| cell.trials.iter().filter_map(|trial| round(trial, op)).collect::<Vec<_>>();
    let (saves, restores): (Vec<Round>, Vec<Round>) = (of(FileOp::Save), of(FileOp::Restore));
    let over = |rounds: &[Round], value: fn(&Round) -> f64| {
        rates::mean(&rounds.iter().map(value).collect::<Vec<_>>())
    };
    result.trials = saves.len() as u32;
    result.bytes_per_s = over(&saves, Round::bytes_per_s);
    let of_trial = cell.trials.iter().filter_map(|trial| {
        let save = round(trial, FileOp::Save)?;
        let mut figures = BTreeMap::from([
            ("bytes_per_s".to_owned(), save.bytes_per_s()),
            ("save_s".to_owned(), save.seconds),
        ]);
        let restore = round(trial, FileOp::Restore);
        figures.extend(restore.map(|restore| ("restore_s".to_owned(), restore.seconds)));
        Some(figures)
    });
    result.per_trial = of_trial.collect();
    let save_s = over(&saves, |save| save.seconds);
    let full_bytes = load.full_bytes();
    let full_save_s = if load.scale < 1.0 {
        result.bytes_per_s.map(|rate| full_bytes as f64 / rate.value)
    } else {
        save_s.map(|save| save.value)
    };
    let mut found = CheckpointResult {
        model: load.model.in_words(),
        parameters: load.parameters(),
        full_bytes,
        bytes: saves.first().map_or_else(|| load.bytes(), |save| save.bytes),
        save_s,
        fsync_share: mean(saves.iter().filter_map(Round::fsync_share)),
        slowest_rank: slowest_rank(&saves).filter(|_| load.ranks > 1),
        slowest_ratio: mean(saves.iter().filter_map(Round::slowest_ratio)),
        restore_s: over(&restores, |restore| restore.seconds),
        restore_bytes_per_s: over(&restores, Round::bytes_per_s),
        full_save_s,
        ..CheckpointResult::default()
    };
    if let Some(save) = full_save_s {
        plan_saves(&mut found, load, save, result);
    }
    result.checkpoint = Some(found);
}

/// What saves of this length cost at the stated interval, or at the best one.
fn plan_saves(
    found: &mut CheckpointResult,
    load: &Checkpoint,
    save: f64,
    result: &mut StorageResult,
) {
    let seconds = |ns: u64| ns as f64 / NS_PER_S;
    let (stated, mtbf) = (load.interval_ns.map(seconds), load.mtbf_ns.map(seconds));
    let best = mtbf.and_then(|mtbf| optimum(save, mtbf));
    (found.optimum_s, found.optimum_loss) = best.unzip();
    found.interval_s = stated.or(found.optimum_s).filter(|interval| *interval > 0.0);
    found.time_share = found.interval_s.map(|interval| (save / interval).min(1.0));
    if stated.is_some_and(|stated| stated <= save) {
        let message = "a save takes longer than the time between two saves".to_owned();
        warn(result, "save_exceeds_interval", message, "save less often, or to faster storage");
    }
    if mtbf.is_some() && best.is_none() {
        let message = "failures come so often that saves cost all the time".to_owned();
        let advice = "there is no best interval: make saves faster, or failures rarer";
        warn(result, "failures_too_often", message, advice);
    }
}

/// The interval with the least loss, s, and that loss: T = √(2δM) and δ/T + T/(2M), with δ the time
/// of a save and M the mean time between failures (J. W. Young, *Communications of the ACM* 17 (1974)
/// 530; J. T. Daly, *Future Generation Computer Systems* 22 (2006) 303). It is a first order: `None`
/// where it would lose all the time, which is when δ ≥ M/2.
fn optimum(save: f64, mtbf: f64) -> Option<(f64, f64)> {
    let interval = (2.0 * save * mtbf).sqrt();
    let loss = save / interval + interval / (2.0 * mtbf);
    (save > 0.0 && loss < 1.0).then_some((interval, loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimum_by_hand() {
        // 50 s and 100,000 s: √10⁷ = 3,162.3 s; loss 50/3162.3 + 3162.3/200000 = 3.162 %.
        let (interval, loss) = optimum(50.0, 100_000.0).expect("seldom enough");
        assert!((interval - 3_162.277_66).abs() < 1e-4);
        assert!((loss - 0.031_622_776).abs() < 1e-8);
        assert_eq!(optimum(50.0, 100.0), None);
        assert_eq!(optimum(0.0, 100.0), None);
    }

    proptest::proptest! {
        #[test]
        fn no_other_interval_loses_less(save in 0.1..100.0_f64, mtbf in 1e3..1e7_f64, by in 0.5..2.0_f64) {
            let (interval, loss) = optimum(save, mtbf).expect("seldom enough");
            let other = interval * by;
            proptest::prop_assert!(save / other + other / (2.0 * mtbf) >= loss * (1.0 - 1e-12));
        }
    }
}
