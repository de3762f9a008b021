//! Tests of saves and restores.

use loadline_schema::storage::{CheckpointModel, EndedBy, IoKind, MODELS};

use super::*;
use crate::ground::Ground;
use crate::trial::WriteBudget;

fn llama(ranks: u32, zero: u8, scale: f64) -> Checkpoint {
    let (name, shape) = MODELS[1];
    Checkpoint {
        model: CheckpointModel::Shape { name: name.to_owned(), shape },
        ranks,
        tensor_parallel: 1,
        pipeline_parallel: 1,
        zero,
        scale,
        bs_bytes: 1 << 18,
        direct: false,
        restore: true,
        interval_ns: None,
        mtbf_ns: None,
    }
}

fn total(trial: &StorageTrial, op: FileOp) -> u64 {
    trial.passes.iter().filter(|pass| pass.op == op).map(|pass| pass.bytes).sum()
}

fn check_whole(ground: &Ground, load: &Checkpoint, measured: &StorageTrial) {
    assert_eq!((measured.ended_by, &measured.failure), (EndedBy::Size, &None));
    assert_eq!(measured.workers.len(), load.ranks as usize);
    assert_eq!(total(measured, FileOp::Save), load.bytes());
    assert_eq!(ground.agrees_with(measured), (total(measured, FileOp::Restore), load.bytes()));
    let mut saved: Vec<(u32, &str)> = Vec::new();
    for pass in &measured.passes {
        assert!(pass.start_ns <= pass.end_ns && pass.end_ns <= measured.end_ns, "{pass:?}");
        if pass.op == FileOp::Save {
            assert!(pass.fsync_ns.expect("synced") <= pass.end_ns - pass.start_ns);
            saved.push((pass.rank, &pass.file));
        }
    }
    let files = load.files();
    let mut planned: Vec<(u32, &str)> = files.iter().map(|f| (f.rank, &f.name[..])).collect();
    saved.sort_unstable();
    planned.sort_unstable();
    assert_eq!(saved, planned);
    assert_eq!(ground.files(), Vec::<String>::new(), "the space is given back");
    assert_eq!(
        ground.ended_bytes.load(Ordering::Relaxed),
        load.bytes() + total(measured, FileOp::Restore)
    );
}

#[test]
fn four_ranks_save_and_restore_with_zero_3() {
    let (ground, load) = (Ground::new(), llama(4, 3, 1e-4));
    let measured = run(&ground.trial(), &load).expect("carried out");
    check_whole(&ground, &load, &measured);
    assert_eq!(total(&measured, FileOp::Restore), load.bytes());
    assert!(measured.workers.iter().all(|end| end.write_bytes == load.bytes() / 4));
    assert_eq!(measured.workers[2].sync_ios, 2, "weights and optimizer");
    let doings = ground.doings();
    assert!(doings.contains(&"saving") && doings.contains(&"restoring"), "{doings:?}");
    // Every save is over before the first restore begins.
    let ends = measured.passes.iter().filter(|pass| pass.op == FileOp::Save).map(|p| p.end_ns);
    let begins = measured.passes.iter().filter(|pass| pass.op == FileOp::Restore);
    assert!(ends.max() <= begins.map(|pass| pass.start_ns).min());
}

#[test]
fn layers_are_files_of_their_own_below_zero_3() {
    let (ground, load) = (Ground::new(), Checkpoint { restore: false, ..llama(2, 1, 1e-5) });
    let measured = run(&ground.trial(), &load).expect("carried out");
    check_whole(&ground, &load, &measured);
    assert_eq!(total(&measured, FileOp::Restore), 0);
    assert!(!measured.cache.cached && measured.cache.resident_before.is_none());
}

#[test]
fn adapters_are_saved_by_the_first_rank() {
    let (name, shape) = MODELS[1];
    let model = CheckpointModel::Lora { name: name.to_owned(), shape, rank: 16 };
    let load = Checkpoint { model, ..llama(4, 0, 0.01) };
    let ground = Ground::new();
    let measured = run(&ground.trial(), &load).expect("carried out");
    check_whole(&ground, &load, &measured);
    assert!(measured.workers[1..].iter().all(|end| end.write_ios == 0));
}

#[test]
fn a_restore_is_cold() {
    if crate::ground::on_disk().is_none() {
        return;
    }
    let (ground, load) = (Ground::new(), llama(2, 3, 1e-4));
    let measured = run(&ground.trial(), &load).expect("carried out");
    assert_eq!(measured.cache.resident_before, Some(0.0));
    assert!(!measured.cache.cached && !measured.cache.dropped);
}

#[test]
fn a_file_system_in_memory_is_marked() {
    let mut ground = Ground::new();
    ground.facts.in_memory = true;
    let measured = run(&ground.trial(), &llama(1, 3, 1e-5)).expect("carried out");
    assert!(measured.cache.cached && measured.cache.reason.expect("why").contains("memory"));
}

#[test]
fn past_the_page_cache_or_a_note_why_not() {
    let load = Checkpoint { direct: true, ..llama(2, 3, 1e-4) };
    let ground = Ground::new();
    let measured = run(&ground.trial(), &load).expect("carried out");
    check_whole(&ground, &load, &measured);
    assert_eq!(measured.direct, ground.facts.direct.supported);
    assert_eq!(measured.direct_note.is_none(), measured.direct);

    let mut ground = Ground::new();
    ground.facts.direct.supported = false;
    let measured = run(&ground.trial(), &load).expect("carried out");
    check_whole(&ground, &load, &measured);
    assert!(!measured.direct && measured.direct_note.expect("why").contains("O_DIRECT"));
}

#[test]
fn a_tail_below_the_alignment_is_written_buffered_and_said() {
    let mut ground = Ground::new();
    if !ground.facts.direct.supported {
        return;
    }
    ground.facts.direct.offset_align = 1 << 16;
    let load = Checkpoint { direct: true, ..llama(1, 3, 1e-5) };
    assert!(load.files().iter().any(|file| !file.bytes.is_multiple_of(1 << 16)));
    let measured = run(&ground.trial(), &load).expect("carried out");
    check_whole(&ground, &load, &measured);
    assert!(measured.direct && measured.direct_note.expect("said").contains("end of each file"));
}

#[test]
fn a_budget_too_small_ends_the_trial_and_leaves_nothing() {
    let load = llama(4, 3, 1e-4);
    let mut ground = Ground::new();
    let budget = load.bytes() / 2;
    ground.budget = WriteBudget::new(budget);
    let measured = run(&ground.trial(), &load).expect("carried out");
    assert_eq!(measured.ended_by, EndedBy::MaxWrite);
    assert!(total(&measured, FileOp::Save) < load.bytes());
    assert_eq!(total(&measured, FileOp::Restore), 0);
    let (_, written) = ground.agrees_with(&measured);
    assert_eq!(ground.budget.left(), budget - written, "what was not written is given back");
    assert_eq!(ground.files(), Vec::<String>::new());
}

#[test]
fn a_stop_ends_the_trial_before_a_byte_is_written() {
    let ground = Ground::new();
    ground.stop.store(true, Ordering::Relaxed);
    let measured = run(&ground.trial(), &llama(4, 3, 1e-4)).expect("carried out");
    assert_eq!(measured.ended_by, EndedBy::Interrupted);
    assert_eq!((measured.passes.len(), ground.agrees_with(&measured)), (0, (0, 0)));
    assert_eq!(ground.files(), Vec::<String>::new());
}

#[test]
fn a_stop_in_the_middle_keeps_the_passes_that_ended() {
    let (ground, load) = (Ground::new(), Checkpoint { restore: false, ..llama(1, 3, 2e-3) });
    let trial = ground.trial();
    let measured = std::thread::scope(|scope| {
        let work = scope.spawn(|| run(&trial, &load).expect("carried out"));
        while ground.ended.load(Ordering::Relaxed) == 0 && !work.is_finished() {
            std::thread::yield_now();
        }
        ground.stop.store(true, Ordering::Relaxed);
        work.join().expect("no panic")
    });
    let (_, written) = ground.agrees_with(&measured);
    assert!(written > 0 && total(&measured, FileOp::Save) <= written);
    if measured.ended_by == EndedBy::Interrupted {
        assert!(total(&measured, FileOp::Save) < load.bytes());
    }
    assert_eq!(ground.files(), Vec::<String>::new());
}

#[test]
fn a_failure_is_told_with_file_reason_and_advice() {
    let (ground, load) = (Ground::new(), llama(1, 3, 1e-5));
    let blocked = load.files()[1].name.clone();
    // A directory in place of the second file: it cannot be made, and is not ours to remove.
    std::fs::create_dir(ground.dir.path().join(&blocked)).expect("made");
    let measured = run(&ground.trial(), &load).expect("carried out");
    assert_eq!((measured.ended_by, measured.passes.len()), (EndedBy::Failure, 1));
    let failure = measured.failure.expect("why");
    assert_eq!(failure.kind, IoKind::Other);
    assert!(failure.message.contains(&blocked), "{}", failure.message);
    assert!(ground.dir.path().join(&blocked).exists());
}

#[test]
fn nonsense_is_refused() {
    let ground = Ground::new();
    for load in [llama(0, 3, 1e-4), Checkpoint { bs_bytes: 0, ..llama(1, 3, 1e-4) }] {
        assert!(run(&ground.trial(), &load).is_err());
    }
}
