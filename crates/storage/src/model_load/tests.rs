//! Tests of loads.

use std::os::fd::OwnedFd;

use loadline_schema::storage::{ModelFormat, Sharing};
use rustix::fs::OFlags;

use super::*;
use crate::ground::{Ground, on_disk};
use crate::trial::WriteBudget;

/// A small model in two files.
pub(super) fn load() -> ModelLoad {
    ModelLoad {
        format: ModelFormat::Safetensors,
        bytes: 3_000_001,
        shard_bytes: 2_000_000,
        method: LoadMethod::Mmap,
        readers: 1,
        ranks: 1,
        sharing: Sharing::OneFile,
        cold: true,
        bs_bytes: 1 << 16,
        iodepth: 4,
    }
}

fn check_whole(ground: &Ground, load: &ModelLoad, measured: &StorageTrial, before: u64) {
    assert_eq!((measured.ended_by, &measured.failure), (EndedBy::Size, &None), "{load:?}");
    assert_eq!(ground.agrees_with(measured), (before + load.bytes, 0), "{load:?}");
    assert_eq!(measured.passes.iter().map(|pass| pass.bytes).sum::<u64>(), load.bytes);
    assert_eq!(measured.workers.len(), load.ranks as usize);
    let each = load.bytes / u64::from(load.ranks);
    let tensors = 500;
    assert!(measured.workers.iter().all(|end| end.read_bytes.abs_diff(each) <= tensors));
    let passes = match load.sharing {
        Sharing::OneFile => load.files().len() * load.ranks as usize,
        Sharing::Shards => load.files().len(),
    };
    assert_eq!(measured.passes.len(), passes, "{load:?}");
    for pass in &measured.passes {
        assert!(measured.measure_ns <= pass.start_ns && pass.end_ns <= measured.end_ns);
    }
}

#[test]
fn every_way_reads_every_byte_once() {
    for format in ModelFormat::ALL {
        for sharing in Sharing::ALL {
            let ground_of_set = Ground::new();
            for method in LoadMethod::ALL {
                for (readers, ranks, cold) in
                    [(1, 1, true), (3, 1, false), (1, 4, true), (3, 2, true)]
                {
                    let load = ModelLoad {
                        format: *format,
                        sharing: *sharing,
                        method: *method,
                        readers,
                        ranks,
                        cold,
                        ..load()
                    };
                    ground_of_set.clear_rows();
                    let measured = run(&ground_of_set.trial(), &load).expect("carried out");
                    check_whole(&ground_of_set, &load, &measured, 0);
                }
            }
        }
    }
}

fn resident(ground: &Ground, load: &ModelLoad) -> f64 {
    let names: Vec<(String, u64)> = layout::files(load)
        .expect("large enough")
        .into_iter()
        .map(|file| (file.name, file.bytes))
        .collect();
    page_cache::resident_of(&ground.trial(), &names).expect("told")
}

#[test]
fn a_cold_load_faults_the_files_in_and_a_direct_one_leaves_them_out() {
    if on_disk().is_none() {
        return;
    }
    let ground = Ground::new();
    for method in LoadMethod::ALL {
        let load = ModelLoad { method: *method, ..load() };
        let measured = run(&ground.trial(), &load).expect("carried out");
        assert_eq!(measured.cache.resident_before, Some(0.0), "{method}");
        assert!(!measured.cache.cached, "{method}");
        let after = resident(&ground, &load);
        if *method == LoadMethod::Direct && measured.direct {
            assert!(after < 0.05, "{after}");
        } else {
            assert!(after > 0.99, "{method}: {after}");
        }
    }
}

#[test]
fn a_warm_load_is_marked() {
    let (ground, load) = (Ground::new(), ModelLoad { cold: false, ..load() });
    let measured = run(&ground.trial(), &load).expect("carried out");
    assert!(measured.cache.cached && measured.cache.reason.expect("why").contains("warm"));
    assert!(measured.cache.resident_before.is_none_or(|share| share > 0.99));
}

#[test]
fn files_are_made_once_for_all_ways_and_another_model_takes_their_place() {
    let ground = Ground::new();
    run(&ground.trial(), &load()).expect("carried out");
    let left = ground.budget.left();
    assert_eq!(left, u64::MAX - load().bytes);
    let other_way = ModelLoad { method: LoadMethod::Pread, ranks: 2, ..load() };
    run(&ground.trial(), &other_way).expect("carried out");
    assert_eq!(ground.budget.left(), left, "nothing was written");
    let other_model = ModelLoad { bytes: 1_000_000, shard_bytes: 1_000_000, ..load() };
    run(&ground.trial(), &other_model).expect("carried out");
    assert_eq!(ground.files().len(), 1);
    assert_eq!(ground.budget.left(), left - 1_000_000);
}

#[test]
fn the_files_hold_their_headers_and_random_data() {
    let ground = Ground::new();
    run(&ground.trial(), &load()).expect("carried out");
    for file in layout::files(&load()).expect("large enough") {
        let written = std::fs::read(ground.dir.path().join(&file.name)).expect("readable");
        assert_eq!(written.len() as u64, file.bytes);
        assert!(written.starts_with(&file.header));
        let zeros = written[file.header.len()..].iter().filter(|byte| **byte == 0).count();
        assert!(zeros < written.len() / 100, "{zeros} of {}", written.len());
    }
}

#[test]
fn without_o_direct_the_load_is_buffered_and_says_so() {
    let mut ground = Ground::new();
    ground.facts.direct.supported = false;
    let load = ModelLoad { method: LoadMethod::Direct, readers: 2, ..load() };
    let measured = run(&ground.trial(), &load).expect("carried out");
    check_whole(&ground, &load, &measured, 0);
    assert!(!measured.direct && measured.direct_note.expect("why").contains("O_DIRECT"));
}

#[test]
fn without_io_uring_threads_read_and_the_note_says_so() {
    let ground = Ground::new();
    let (trial, load) = (ground.trial(), ModelLoad { method: LoadMethod::Direct, ..load() });
    run(&trial, &load).expect("carried out");
    ground.clear_rows();
    let files = layout::files(&load).expect("large enough");
    let bypass = Bypass::decide(true, trial.direct(), load.bs_bytes);
    let mut job = Job::new(&trial, &load, files, Course::new(&trial), bypass);
    job.engine = IoEngine::Psync;
    job.load_all().expect("threads");
    check_whole(&ground, &load, &job.finish(CacheState::default(), CpuTime::default()), 0);
}

#[test]
fn a_budget_too_small_is_refused_and_leaves_nothing() {
    let mut ground = Ground::new();
    ground.budget = WriteBudget::new(1_000_000);
    let error = run(&ground.trial(), &load()).expect_err("refused").message;
    assert!(error.contains("3000001") && error.contains("--max-write"), "{error}");
    assert_eq!((ground.files().len(), ground.budget.left()), (0, 1_000_000));
}

#[test]
fn a_stop_ends_the_trial_wherever_it_is() {
    let ground = Ground::new();
    ground.stop.store(true, Ordering::Relaxed);
    let measured = run(&ground.trial(), &load()).expect("carried out");
    assert_eq!((measured.ended_by, measured.passes.len()), (EndedBy::Interrupted, 0));
    assert_eq!((ground.files().len(), ground.budget.left()), (0, u64::MAX));

    ground.stop.store(false, Ordering::Relaxed);
    run(&ground.trial(), &load()).expect("carried out");
    ground.clear_rows();
    ground.stop.store(true, Ordering::Relaxed);
    for method in LoadMethod::ALL {
        for cold in [true, false] {
            let load = ModelLoad { method: *method, cold, ..load() };
            let measured = run(&ground.trial(), &load).expect("carried out");
            assert_eq!((measured.ended_by, measured.passes.len()), (EndedBy::Interrupted, 0));
            assert_eq!(ground.agrees_with(&measured), (0, 0));
        }
    }
}

#[test]
fn a_file_that_shrank_ends_the_trial_with_its_name() {
    for method in [LoadMethod::Pread, LoadMethod::Direct] {
        let ground = Ground::new();
        let (trial, load) = (ground.trial(), ModelLoad { method, ..load() });
        run(&trial, &load).expect("carried out");
        ground.clear_rows();
        let files = layout::files(&load).expect("large enough");
        let second = files[1].name.clone();
        let fd: OwnedFd = ground.dir.open_file(&second, OFlags::empty()).expect("there");
        rustix::fs::ftruncate(&fd, 100_000).expect("truncated");
        let direct = method == LoadMethod::Direct;
        let bypass = Bypass::decide(direct, trial.direct(), load.bs_bytes);
        let job = Job::new(&trial, &load, files, Course::new(&trial), bypass);
        job.load_all().expect("threads");
        let measured = job.finish(CacheState::default(), CpuTime::default());
        let message = &measured.failure;
        let ended = (measured.ended_by, measured.passes.len());
        assert_eq!(ended, (EndedBy::Failure, 1), "{method}: {message:?}");
        let failure = measured.failure.expect("why");
        assert!(failure.message.contains(&second), "{}", failure.message);
        assert!(measured.workers[0].errors > 0);
    }
}

#[test]
fn nonsense_is_refused() {
    let ground = Ground::new();
    for load in [
        ModelLoad { ranks: 0, ..load() },
        ModelLoad { readers: 0, ..load() },
        ModelLoad { bs_bytes: 0, ..load() },
        ModelLoad { iodepth: 0, ..load() },
        ModelLoad { ranks: 65_535, readers: 65_535, ..load() },
    ] {
        assert!(run(&ground.trial(), &load).is_err(), "{load:?}");
    }
}
