//! Cells with known answers.

use loadline_schema::document::StorageResult;
use loadline_schema::outcome::Phase;
use loadline_schema::storage::{
    CacheState, Checkpoint, Direction, EndedBy, FileOp, FilesystemFacts, IoFailure, IoKind,
    LatenessNs, LoadMethod, PercentilesNs, Rw, StorageLoad, StorageTrial, Verified, WorkerEnd,
    Workload,
};
use proptest::prelude::*;

use super::made::{
    BEGIN, S, analysed, cell, checkpoint, filesystem, id, io, model_load, passes, row, stage,
    trial, writer,
};
use super::*;

fn codes(result: &StorageResult) -> Vec<&str> {
    result.warnings.iter().map(|warning| warning.code.as_str()).collect()
}

fn writes(jobs: u32) -> StorageStage {
    stage(vec![cell("/d", Workload::SeqWrite, io(Rw::Write, jobs))])
}

#[track_caller]
fn close(left: f64, right: f64) {
    assert!((left - right).abs() <= 1e-9 * right.abs().max(1.0), "{left} is not {right}");
}

#[test]
fn bandwidth_is_bytes_over_first_to_last() {
    let stage = writes(2);
    let late = |mut worker: WorkerEnd, by: u64| {
        worker.first_ns += by;
        worker
    };
    // 3 GB in 10 s, 3.2 GB in 8 s: 300 and 400 MB/s.
    let trials = [
        (id(0, 0, 0), trial(vec![writer(2_000_000_000, 2_000, 10 * S), writer(S, 1_000, 9 * S)])),
        (id(0, 1, 0), trial(vec![late(writer(1_600_000_000, 1_600, 10 * S), 2 * S); 2])),
    ];
    let (_, results) = analysed(&stage, &[filesystem("/d")], &trials, &[]);
    let rate = results[0].bytes_per_s.expect("two trials");
    close(rate.value, 350e6);
    // Standard deviation 70.7 MB/s, t(1) = 12.706: 50 · 12.706 = 635, so the bound is 0.
    assert_eq!((rate.low, rate.n), (Some(0.0), 2));
    assert!((rate.high.expect("two trials") - 985.3e6).abs() < 0.1e6);
    close(results[0].iops.expect("two trials").value, 350.0);
    assert_eq!(results[0].per_trial[1]["bytes_per_s"], 400e6);
    let write = &results[0].directions["write"];
    close(write.bytes_per_s.expect("writes").value, 350e6);
    assert_eq!(results[0].directions.len(), 1);
    assert_eq!(results[0].steady, None);
}

#[test]
fn the_latest_part_of_a_trial_counts_and_cells_that_were_not_reached_are_left_out() {
    let stage = stage(vec![
        cell("/d", Workload::SeqWrite, io(Rw::Write, 1)),
        cell("/d", Workload::SeqRead, io(Rw::Read, 1)),
    ]);
    let trials = [
        (id(0, 0, 1), trial(vec![writer(20 * S, 20_000, 10 * S)])),
        (id(0, 0, 0), trial(vec![writer(10 * S, 10_000, 10 * S)])),
    ];
    let rows = [row(id(0, 0, 0), 0, 0, 1 << 20, &[1]), row(id(0, 0, 1), 0, 0, 1 << 20, &[5])];
    let (_, results) = analysed(&stage, &[], &trials, &rows);
    assert_eq!(results.len(), 1);
    close(results[0].bytes_per_s.expect("one").value, 2e9);
    assert_eq!(results[0].clat_ns.as_ref().map(|l| (l.n, l.max)), Some((1, 5)));
    let input = StorageInput {
        stage: &stage,
        filesystems: &[],
        leftovers: &[],
        trials: &trials,
        intervals: &[],
        failures: &[(id(1, 0, 0), "no space".to_owned()), (id(0, 0, 0), "old".to_owned())],
    };
    let (_, results) = storage(&input);
    assert_eq!(results[1].failed.as_deref(), Some("no space"));
    assert_eq!(results[0].failed, None, "the failure was of a part that was carried out again");
}

#[test]
fn a_single_trial_has_an_interval_from_its_seconds() {
    let stage = writes(1);
    let rows = |seconds: u64| -> Vec<IoInterval> {
        (0..seconds).map(|s| row(id(0, 0, 0), 0, s, (100 + s * s % 7) << 20, &[])).collect()
    };
    let of = |seconds: u64| {
        let bytes = rows(seconds).iter().map(|row| row.bytes).sum();
        let trials = [(id(0, 0, 0), trial(vec![writer(bytes, bytes >> 20, seconds * S)]))];
        analysed(&stage, &[], &trials, &rows(seconds)).1.remove(0)
    };
    let long = of(20);
    let rate = long.bytes_per_s.expect("one trial");
    assert!(rate.low.expect("twenty seconds") < rate.value && rate.n == 1);
    assert_eq!(long.steady, Some(true));
    assert_eq!(of(9).bytes_per_s.expect("one trial").low, None);
    assert_eq!(of(4).steady, None);
    assert_eq!(long.timeline[0].bytes.len(), 20);
    assert_eq!(long.timeline[0].bytes[2], 104 << 20);
}

#[test]
fn ramps_are_in_no_figure() {
    let stage = writes(1);
    let mut ramp = row(id(0, 0, 0), 0, 0, 1 << 30, &[9; 100]);
    ramp.phase = Phase::WarmUp;
    let rows = [ramp, row(id(0, 0, 0), 0, 0, 1 << 20, &[5; 2])];
    let trials = [(id(0, 0, 0), trial(vec![writer(1 << 20, 1, 6 * S)]))];
    let result = analysed(&stage, &[], &trials, &rows).1.remove(0);
    assert_eq!(result.clat_ns.map(|latency| latency.n), Some(2));
    assert_eq!(result.timeline[0].bytes[0], 1 << 20);
}

#[test]
fn percentiles_need_values_beyond_them() {
    let stage = writes(1);
    let of = |n: u64| {
        let values: Vec<u64> = (1..=n).collect();
        let rows = [row(id(0, 0, 0), 0, 0, n << 20, &values)];
        let trials = [(id(0, 0, 0), trial(vec![writer(n << 20, n, S)]))];
        analysed(&stage, &[], &trials, &rows).1.remove(0).clat_ns.expect("values")
    };
    assert_eq!((of(10).p90, of(9).p90), (Some(9), None));
    assert_eq!((of(100).p99, of(99).p99), (Some(99), None));
    assert_eq!(of(100).p999, None);
    assert_eq!((of(1).p50, of(2).p50, of(2).p90), (None, Some(1), None));
    close(of(100).mean, 50.5);
}

#[test]
fn a_tail_is_told_with_the_bandwidth_before_it() {
    let stage = writes(2);
    let trials =
        [(id(0, 0, 0), trial(vec![writer(600 << 20, 600, 6 * S), writer(900 << 20, 900, 9 * S)]))];
    let mut rows: Vec<IoInterval> =
        (0..6).map(|s| row(id(0, 0, 0), 0, s, 100 << 20, &[])).collect();
    rows.extend((0..9).map(|s| row(id(0, 0, 0), 1, s, 100 << 20, &[])));
    let result = analysed(&stage, &[], &trials, &rows).1.remove(0);
    let timeline = &result.timeline[0];
    assert_eq!((timeline.first_done_ns, timeline.last_done_ns), (6 * S, 9 * S));
    close(timeline.first_done_bytes_per_s.expect("two workers"), f64::from(200 << 20));
    assert_eq!(result.steady, Some(false));
    assert_eq!(codes(&result), ["not_steady", "tail"]);
}

#[test]
fn targets_are_met_for_certain_or_likely() {
    let mut stage = writes(1);
    let of = |stage: &StorageStage, rates: &[u64]| {
        let trials: Vec<_> = (0..)
            .zip(rates)
            .map(|(n, mb)| (id(0, n, 0), trial(vec![writer(mb * 10_000_000, 5_000, 10 * S)])))
            .collect();
        analysed(stage, &[], &trials, &[]).1.remove(0).target
    };
    assert_eq!(of(&stage, &[100]), None);
    stage.target.insert(Workload::SeqWrite, 100e6);
    let found = |rates: &[u64]| {
        let target = of(&stage, rates).expect("stated");
        (target.met, target.certain, target.assumed)
    };
    assert_eq!(found(&[110, 111, 112]), (true, true, false));
    assert_eq!(found(&[80, 110, 120]), (true, false, false));
    assert_eq!(found(&[80, 81, 82]), (false, true, false));
    assert_eq!(found(&[99, 99, 101]), (false, false, false));
    assert_eq!(found(&[500]), (true, false, false), "one trial of a few seconds is not certain");
}

#[test]
fn a_save_is_as_long_as_its_slowest_rank() {
    let load =
        Checkpoint { interval_ns: Some(1_000 * S), mtbf_ns: Some(100_000 * S), ..checkpoint(1e-3) };
    let stage = stage(vec![cell("/d", Workload::Checkpoint, StorageLoad::Checkpoint(load))]);
    let mut both = passes(FileOp::Save, 100_000_000, &[1.0, 2.0, 1.5], 0.5);
    both.passes.extend(passes(FileOp::Restore, 100_000_000, &[0.5, 0.5, 0.6], 0.0).passes);
    let broken = StorageTrial { ended_by: EndedBy::Stalled, ..both.clone() };
    let trials = [(id(0, 0, 0), both.clone()), (id(0, 1, 0), both), (id(0, 2, 0), broken)];
    let result = analysed(&stage, &[filesystem("/d")], &trials, &[]).1.remove(0);
    let found = result.checkpoint.as_ref().expect("a checkpoint");
    let save = found.save_s.expect("saved");
    assert_eq!((save.value, save.low, save.n), (2.0, Some(2.0), 2));
    assert_eq!((found.fsync_share, found.slowest_rank), (Some(0.25), Some(1)));
    close(found.slowest_ratio.expect("ranks"), 2.0 / 1.5);
    close(result.bytes_per_s.expect("saved").value, 150e6);
    close(found.restore_s.expect("restored").value, 0.6);
    close(found.restore_bytes_per_s.expect("restored").value, 500e6);
    // 14 GB at 150 MB/s: 93.3 s of every 1,000; √(2 · 93.3 · 100,000) = 4,320 s.
    close(found.full_save_s.expect("scaled"), 14e9 / 150e6);
    close(found.time_share.expect("stated"), 14e9 / 150e6 / 1_000.0);
    assert_eq!(found.interval_s, Some(1_000.0));
    assert!((found.optimum_s.expect("stated") - 4_320.494).abs() < 1e-3);
    let target = result.target.expect("the default");
    assert_eq!((target.bytes_per_s, target.met, target.assumed), (500e6, false, true));
    assert_eq!((result.trials, codes(&result)), (2, vec!["stalled"]));
    assert_eq!(result.per_trial[0]["save_s"], 2.0);
}

#[test]
fn trials_that_went_wrong_say_how() {
    let stage = writes(1);
    let good = || trial(vec![writer(10 * S, 10_000, 10 * S)]);
    let of = |trial: StorageTrial| {
        let result = analysed(&stage, &[], &[(id(0, 0, 0), trial)], &[]).1.remove(0);
        result.warnings.into_iter().map(|warning| warning.code).collect::<Vec<_>>()
    };
    let failure = IoFailure { kind: IoKind::NoSpace, message: "write d: no space".to_owned() };
    let bad = Verified { blocks: 10, bad: 1, first_bad: Some("job 0 at 4096".to_owned()) };
    let late = LatenessNs { due: 100, late: 1, never: 4, mean: 1.0, max: 2 };
    let cached = CacheState { cached: true, ..CacheState::default() };
    assert!(of(good()).is_empty());
    for (code, trial) in [
        ("ended_by_max_write", StorageTrial { ended_by: EndedBy::MaxWrite, ..good() }),
        ("stalled", StorageTrial { ended_by: EndedBy::Stalled, ..good() }),
        ("interrupted", StorageTrial { ended_by: EndedBy::Interrupted, ..good() }),
        ("io_failure", StorageTrial { failure: Some(failure), ..good() }),
        ("verify_failed", StorageTrial { verified: Some(bad), ..good() }),
        ("direct_refused", StorageTrial { direct_note: Some("EINVAL".into()), ..good() }),
        ("engine_fallback", StorageTrial { engine_note: Some("seccomp".into()), ..good() }),
        ("late_rate", StorageTrial { lateness: Some(late), ..good() }),
        ("cached", StorageTrial { cache: cached, ..good() }),
        ("too_short", trial(vec![writer(10 * S, 10_000, 4 * S)])),
        ("too_short", trial(vec![writer(10 * S, 999, 10 * S)])),
    ] {
        assert_eq!(of(trial), [code]);
    }
}

#[test]
fn a_cell_whose_io_failed_has_failed() {
    let failure = IoFailure { kind: IoKind::NoSpace, message: "write d: no space".to_owned() };
    let good = || trial(vec![writer(10 * S, 10_000, 10 * S)]);
    let broken = StorageTrial { ended_by: EndedBy::Failure, failure: Some(failure), ..good() };
    let trials = [(id(0, 0, 0), good()), (id(0, 1, 0), broken)];
    let result = analysed(&writes(2), &[], &trials, &[]).1.remove(0);
    assert_eq!(result.failed.as_deref(), Some("write d: no space"));
    assert_eq!(result.per_trial.len(), 1, "no comparison rests on the trial that failed");
}

#[test]
fn slow_ios_and_file_systems_are_told() {
    let reads = stage(vec![cell("/d", Workload::SeqRead, io(Rw::Read, 1))]);
    let reader = WorkerEnd {
        read_ios: 10_000,
        read_bytes: 10 * S,
        first_ns: BEGIN,
        last_ns: BEGIN + 10 * S,
        ..WorkerEnd::default()
    };
    let trials = [(id(0, 0, 0), trial(vec![reader]))];
    let rows = [row(id(0, 0, 0), 0, 0, 1 << 20, &[5, 2 * S, 3 * S])];
    let facts = FilesystemFacts { shared: true, ..filesystem("/d") };
    let shared = analysed(&reads, &[facts], &trials, &rows).1.remove(0);
    assert_eq!(codes(&shared), ["server_cache", "not_steady", "slow_ios"]);
    assert!(shared.warnings[2].message.starts_with("2 I/Os"), "{:?}", shared.warnings[2]);
    let facts = FilesystemFacts { in_memory: true, ..filesystem("/d") };
    let memory = analysed(&reads, &[facts], &trials, &[]).1.remove(0);
    assert_eq!((memory.cached, codes(&memory)), (true, vec!["memory_filesystem"]));
}

#[test]
fn a_killed_process_leaves_its_seconds() {
    let stage = writes(1);
    let killed =
        StorageTrial { ended_by: EndedBy::Stalled, end_ns: BEGIN + 10 * S, ..trial(Vec::new()) };
    let rows: Vec<IoInterval> = (0..4).map(|s| row(id(0, 0, 0), 0, s, 500 << 20, &[])).collect();
    let result = analysed(&stage, &[], &[(id(0, 0, 0), killed)], &rows).1.remove(0);
    close(result.bytes_per_s.expect("rows").value, f64::from(200 << 20));
    assert!(result.per_trial.is_empty(), "no comparison rests on it");
    assert_eq!(codes(&result)[0], "stalled");
}

#[test]
fn imported_percentiles_are_shown_as_stated() {
    let mut stage = writes(1);
    stage.imported = Some("fio.json".to_owned());
    let of = |p99: &[u64]| {
        let trials: Vec<_> = (0..)
            .zip(p99)
            .map(|(n, p99)| {
                let stated = PercentilesNs {
                    direction: Direction::Write,
                    kind: "clat".to_owned(),
                    n: 50,
                    min: 1,
                    max: 2 * p99,
                    mean: *p99 as f64 / 2.0,
                    percentiles: vec![(50.0, 7), (99.0, *p99)],
                };
                let trial = trial(vec![writer(10 * S, 10_000, 10 * S)]);
                let engine_note = Some("libaio".to_owned());
                (id(0, n, 0), StorageTrial { imported: vec![stated], engine_note, ..trial })
            })
            .collect();
        analysed(&stage, &[], &trials, &[]).1.remove(0)
    };
    let one = of(&[90]);
    let clat = one.clat_ns.as_ref().expect("stated");
    assert_eq!((clat.n, clat.p50, clat.p99, clat.p90), (50, Some(7), Some(90), None));
    assert_eq!((one.engine.as_str(), one.timeline.len()), ("libaio", 0));
    assert!(one.warnings.is_empty(), "{:?}", one.warnings);
    let three = of(&[90, 10, 40]);
    let clat = three.clat_ns.as_ref().expect("stated");
    assert_eq!((clat.n, clat.p99, clat.max, clat.min), (150, Some(40), 180, 1));
    assert_eq!(codes(&three), ["imported_percentiles"]);
    assert_eq!(three.directions["write"].clat_ns, three.clat_ns);
}

/// A stage with ways to load, each with its trials in seconds, and whether they were cached.
fn loads(ways: &[(LoadMethod, u32, bool, &[f64], bool)]) -> LoadSentence {
    let cells = ways.iter().map(|(method, readers, cold, ..)| {
        cell("/d", Workload::ModelLoad, model_load(*method, *readers, *cold))
    });
    let stage = stage(cells.collect());
    let mut trials = Vec::new();
    for (point, (_, _, _, times, cached)) in (0..).zip(ways) {
        for (n, s) in (0..).zip(*times) {
            let mut trial = passes(FileOp::Load, 16_000_000_000, &[*s], 0.0);
            trial.cache.cached = *cached;
            trial.cache.reason = cached.then(|| "90 % was in the page cache".to_owned());
            trials.push((id(point, n, 0), trial));
        }
    }
    analysed(&stage, &[filesystem("/d")], &trials, &[]).0.model_loads.remove(0)
}

use LoadMethod::{Direct, Mmap, Pread};
use loadline_schema::storage::LoadSentence;

#[test]
fn a_clearly_faster_way_is_named_with_its_flags() {
    let found = loads(&[
        (Mmap, 1, true, &[41.0, 40.5, 41.5], false),
        (Direct, 8, true, &[12.0, 12.1, 11.9], false),
        (Mmap, 1, false, &[3.0, 3.1, 3.2], true),
    ]);
    assert_eq!(
        found.sentence,
        "A cold start takes 41 s by page faults; direct reads with 8 readers take 12 s. A warm start \
         takes 3.1 s."
    );
    assert_eq!(found.evidence[1], "14.9 GiB safetensors, direct, 8 readers, cold: 12 s, 1.33 GB/s");
    assert!(found.flags.iter().any(|(engine, flag)| engine == "vLLM" && flag.contains('8')));
}

#[test]
fn what_chance_explains_is_no_faster_way() {
    let close = loads(&[
        (Mmap, 1, true, &[41.0, 39.0], false),
        (Pread, 4, true, &[38.0, 40.0], false),
        (Mmap, 1, false, &[38.5], true),
    ]);
    assert_eq!(
        close.sentence,
        "No way of reading is clearly faster than page faults here: a cold start takes 40 s, by reads \
         through the page cache with 4 readers 39 s. A warm start takes 38 s, no less: not storage is \
         what limits loading."
    );
    assert!(close.flags.is_empty());
    let single = loads(&[(Mmap, 1, true, &[41.0], false), (Direct, 8, true, &[12.0], false)]);
    assert!(single.sentence.ends_with("12 s; single trials prove nothing."), "{single:?}");
}

#[test]
fn cached_loads_are_no_cold_ones() {
    let found = loads(&[(Mmap, 1, true, &[2.0, 2.0], true), (Mmap, 1, false, &[1.9], true)]);
    assert_eq!(
        found.sentence,
        "Nothing is known of a cold start here (90 % was in the page cache). From memory loading takes \
         1.9 s by page faults."
    );
    assert!(found.evidence[0].ends_with("(from memory)"));
    // Of two ways only the one that was cold is judged.
    let mixed = loads(&[(Mmap, 1, true, &[2.0], true), (Direct, 1, true, &[9.0], false)]);
    assert_eq!(mixed.sentence, "A cold start takes 9.0 s by direct reads.");
}

proptest! {
    #[test]
    fn the_order_of_rows_and_trials_does_not_matter(
        amounts in prop::collection::vec(1..500_u64, 12..30), seed in 0..1_000_usize,
    ) {
        let stage = writes(2);
        let seconds = amounts.len() as u64;
        let rows: Vec<IoInterval> = (0..seconds)
            .zip(&amounts)
            .flat_map(|(s, n)| (0..2).map(move |w| {
                row(id(0, (s % 2) as u16, 0), w, s, n << 20, &[*n, n * 1_000])
            }))
            .collect();
        let trials: Vec<_> = (0..2)
            .map(|n| (id(0, n, 0), trial(vec![writer(S, 2_000, seconds * S); 2])))
            .collect();
        let mut other = (trials.clone(), rows.clone());
        other.0.reverse();
        let by = seed % rows.len();
        other.1.rotate_left(by);
        prop_assert_eq!(
            analysed(&stage, &[], &trials, &rows),
            analysed(&stage, &[], &other.0, &other.1)
        );
    }

    #[test]
    fn bandwidth_is_that_of_the_whole(parts in prop::collection::vec(1..1_000_000_u64, 1..9)) {
        let stage = writes(parts.len() as u32);
        let workers = parts.iter().map(|n| writer(*n, 1, S)).collect();
        let result = analysed(&stage, &[], &[(id(0, 0, 0), trial(workers))], &[]).1.remove(0);
        prop_assert_eq!(
            result.bytes_per_s.expect("bytes").value,
            parts.iter().sum::<u64>() as f64
        );
    }
}
