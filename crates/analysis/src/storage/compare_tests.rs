//! Storage runs side by side.

use loadline_schema::document::{Document, StorageResult};
use loadline_schema::observe::ObservePlan;
use loadline_schema::plan::Plan;
use loadline_schema::storage::{FileOp, Rw, StorageCell, StorageLoad, StorageTrial, Workload};
use loadline_schema::verdict::{Change, Comparison};

use super::made::{
    S, analysed, cell, checkpoint, filesystem, id, io, passes, stage, trial, writer,
};
use crate::{CompareError, CompareOptions, CompareSubject, compare};

/// A run of these cells, each with these trials.
fn run(cells: Vec<(StorageCell, Vec<StorageTrial>)>) -> Document {
    let (cells, of_cells): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
    let stage = stage(cells);
    let mut trials = Vec::new();
    for (point, of_cell) in (0..).zip(of_cells) {
        trials.extend((0..).zip(of_cell).map(|(n, trial)| (id(point, n, 0), trial)));
    }
    let facts: Vec<_> = stage.cells.iter().map(|cell| filesystem(&cell.path)).collect();
    let (summary, storage) = analysed(&stage, &facts, &trials, &[]);
    Document { storage, storage_stages: vec![summary], ..Document::default() }
}

/// Five trials of 10 s around so many MB/s.
fn around(mb: u64) -> Vec<StorageTrial> {
    let noise = [0, 1, 2, 1, 0];
    noise.map(|n| trial(vec![writer((mb + n) * 10_000_000, (mb + n) * 10, 10 * S)])).to_vec()
}

fn writes(path: &str) -> StorageCell {
    cell(path, Workload::SeqWrite, io(Rw::Write, 1))
}

fn compared(a: &Document, b: &Document) -> Result<Comparison, CompareError> {
    let plan = Plan {
        name: "made".into(),
        seed: 1,
        sla: Vec::new(),
        cost: None,
        observe: ObservePlan::off(),
        stages: Vec::new(),
    };
    let subject = |document| CompareSubject { document, plan: &plan };
    compare(subject(a), subject(b), &CompareOptions::default())
}

#[test]
fn a_slower_file_system_is_found_though_its_path_is_another() {
    let (a, b) = (run(vec![(writes("/a"), around(500))]), run(vec![(writes("/b"), around(400))]));
    let found = compared(&a, &b).expect("the same cell");
    let names: Vec<&str> = found.metrics.iter().map(|metric| metric.metric.as_str()).collect();
    assert_eq!(names, ["bytes_per_s", "iops"]);
    assert!(found.metrics.iter().all(|metric| metric.verdict == Change::Regressed), "{found:?}");
    assert!((found.metrics[0].change + 0.2).abs() < 1e-3);
    assert!(found.differences.iter().any(|told| told.contains("/a in the baseline, /b in the")));
    assert!(found.unmatched.is_empty());
}

#[test]
fn of_several_paths_each_is_compared_with_itself() {
    let two = |a, b| run(vec![(writes("/a"), around(a)), (writes("/b"), around(b))]);
    let found = compared(&two(500, 300), &two(500, 200)).expect("the same cells");
    let of = |path: &str| -> Vec<Change> {
        let at = |setting: &Option<String>| setting.as_ref().is_some_and(|s| s.starts_with(path));
        let mine = found.metrics.iter().filter(|metric| at(&metric.point.setting));
        mine.map(|metric| metric.verdict).collect()
    };
    assert_eq!(of("/a"), [Change::NoChange; 2]);
    assert_eq!(of("/b"), [Change::Regressed; 2]);
}

#[test]
fn longer_saves_are_worse() {
    let save = |s: f64| {
        let saves = [0.0, 0.01, 0.02, 0.01, 0.0].map(|more| {
            let mut both = passes(FileOp::Save, 1_000_000, &[s + more, s], 0.1);
            both.passes.extend(passes(FileOp::Restore, 1_000_000, &[1.0 + more], 0.0).passes);
            both
        });
        let load = StorageLoad::Checkpoint(checkpoint(1e-3));
        run(vec![(cell("/a", Workload::Checkpoint, load), saves.to_vec())])
    };
    let found = compared(&save(2.0), &save(3.0)).expect("the same cell");
    let of = |name: &str| {
        let metric = found.metrics.iter().find(|metric| metric.metric == name);
        metric.map(|metric| metric.verdict)
    };
    assert_eq!(of("save_s"), Some(Change::Regressed));
    assert_eq!(of("bytes_per_s"), Some(Change::Regressed));
    assert_eq!(of("restore_s"), Some(Change::NoChange));
    assert_eq!(of("iops"), None);
}

#[test]
fn other_work_is_refused() {
    let small = run(vec![(writes("/a"), around(500))]);
    let mut large = small.clone();
    let StorageResult { cell, .. } = &mut large.storage[0];
    if let StorageLoad::Io(load) = &mut cell.load {
        load.size_bytes *= 16;
    }
    let refused = compared(&small, &large).expect_err("files of another size").to_string();
    assert!(refused.contains("size of a file at seq-write"), "{refused}");
    let other = run(vec![(cell_of_reads(), around(500))]);
    let refused = compared(&small, &other).expect_err("another workload").to_string();
    assert!(refused.contains("no load in common"), "{refused}");
}

fn cell_of_reads() -> StorageCell {
    cell("/a", Workload::SeqRead, io(Rw::Read, 1))
}
