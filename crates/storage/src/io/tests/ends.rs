//! How trials begin and end: layout, budget, stops, failures, and what cannot be had.

use super::*;

#[test]
fn what_a_trial_wrote_in_full_serves_the_next_one() {
    let bench = Bench::new();
    bench.run(&load(Rw::Write));
    let left = bench.budget.left();
    let (trial, _) = bench.run(&load(Rw::RandRead));
    assert_eq!(bench.budget.left(), left, "nothing was laid out");
    assert_eq!(in_ends(&trial, Direction::Read).0, 64);

    let larger = IoLoad { size_bytes: 384 << 10, ..load(Rw::Read) };
    bench.run(&larger);
    assert_eq!(bench.budget.left(), left - (128 << 10), "only the rest was laid out");
    assert_eq!(std::fs::metadata(bench.path(0)).unwrap().len(), 384 << 10);
}

#[test]
fn a_file_with_holes_is_laid_out_before_it_is_read() {
    let bench = Bench::new();
    let some = IoLoad { size_bytes: 64 << 20, extent: SHORT, ..load(Rw::RandWrite) };
    bench.run(&some);
    let left = bench.budget.left();
    bench.run(&IoLoad { extent: SHORT, rw: Rw::Read, ..some });
    assert_eq!(bench.budget.left(), left - (64 << 20));
    let file = std::fs::read(bench.path(0)).unwrap();
    assert!(file.chunks(4096).all(|piece| piece.iter().any(|byte| *byte != 0)), "a hole is left");
}

#[test]
fn the_budget_ends_writes_and_refuses_layouts() {
    for engine in ENGINES {
        let mut bench = Bench::new();
        bench.budget = WriteBudget::new(10 * 4096 + 100);
        let (trial, _) =
            bench.run(&IoLoad { engine, numjobs: 2, extent: LONG, ..load(Rw::RandWrite) });
        assert_eq!(trial.ended_by, EndedBy::MaxWrite);
        assert_eq!(in_ends(&trial, Direction::Write).0, 10, "{engine}");
        let why = bench.refusal(&load(Rw::Read));
        assert!(why.contains("262144 bytes") && why.contains("--max-write"), "{why}");
    }
    let bench = Bench::new();
    bench.run(&load(Rw::Write));
    assert_eq!(bench.budget.left(), (1 << 30) - (256 << 10), "what was not written is given back");
}

#[test]
fn a_stop_ends_it_at_once() {
    for engine in ENGINES {
        for rate_iops in [None, Some(0.001)] {
            let hook: Hook = Box::new(|bench, what| {
                bench.stop.store(what == "measuring", Ordering::Relaxed);
            });
            let load = IoLoad {
                engine,
                rate_iops,
                extent: LONG,
                end_fsync: true,
                numjobs: 2,
                ..load(Rw::RandWrite)
            };
            let (trial, rows) = Bench::new().try_run(&load, Some(&hook)).unwrap();
            assert_eq!(trial.ended_by, EndedBy::Interrupted, "{engine}");
            assert_eq!(in_rows(&rows, Direction::Write), in_ends(&trial, Direction::Write));
            assert_eq!(in_ends(&trial, Direction::Sync).0, 0, "no fsync while the user waits");
            let due = trial.lateness.map(|lateness| lateness.due);
            assert!(due.is_none_or(|due| due <= 2), "what was due later is not missed: {due:?}");
        }
    }
    let bench = Bench::new();
    bench.stop.store(true, Ordering::Relaxed);
    let (trial, _) = bench.run(&load(Rw::Read));
    assert_eq!((trial.ended_by, trial.workers.len()), (EndedBy::Interrupted, 0));
    assert_eq!(bench.budget.left(), 1 << 30, "nothing was laid out");
}

#[test]
fn a_file_that_becomes_short_fails_the_trial_and_what_was_measured_stands() {
    for engine in ENGINES {
        let hook: Hook = Box::new(|bench, what| {
            if what == "measuring" && bench.ended.load(Ordering::Relaxed) > 2 {
                let file = std::fs::File::options().write(true).open(bench.path(0)).unwrap();
                file.set_len(0).unwrap();
            }
        });
        let load = IoLoad { engine, extent: LONG, ..load(Rw::RandRead) };
        let (trial, rows) = Bench::new().try_run(&load, Some(&hook)).unwrap();
        assert_eq!(trial.ended_by, EndedBy::Failure, "{engine}");
        let failure = trial.failure.as_ref().expect("it says what failed");
        assert_eq!(failure.kind, IoKind::Short);
        for part in ["read of 4096 bytes", "job-0", "ended after 0 bytes"] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        assert!(trial.workers[0].errors >= 1);
        assert_eq!(rows.iter().map(|row| row.errors).sum::<u64>(), trial.workers[0].errors);
    }
}

#[test]
fn without_o_direct_it_is_buffered_and_says_so() {
    let mut bench = Bench::new();
    bench.facts.direct.supported = false;
    bench.facts.kind = "fuse.test".to_owned();
    let (trial, _) = bench.run(&load(Rw::Read));
    assert!(!trial.direct && trial.cache.cached);
    assert!(trial.direct_note.unwrap().contains("fuse.test"));
    assert!(trial.cache.reason.is_some());
    let (trial, _) = bench.run(&load(Rw::Write));
    assert!(trial.cache.reason.unwrap().contains("writes ended in the page cache"));
    bench.facts.in_memory = true;
    let (trial, _) = bench.run(&IoLoad { end_fsync: true, ..load(Rw::Write) });
    assert!(trial.cache.cached && trial.cache.reason.unwrap().contains("memory"));
}

#[test]
fn special_files_are_read_as_they_are() {
    for engine in ENGINES {
        let zero = IoLoad {
            engine,
            special_file: Some("/dev/zero".to_owned()),
            extent: SHORT,
            iodepth: 2,
            ..load(Rw::RandRead)
        };
        let bench = Bench::new();
        let (trial, _) = bench.run(&zero);
        assert!(in_ends(&trial, Direction::Read).0 > 0 && !trial.direct && trial.cache.cached);
        assert!(!bench.path(0).exists(), "no file of its own is made");
        let absent = IoLoad { special_file: Some("/dev/no-such-file".to_owned()), ..zero };
        assert!(bench.refusal(&absent).contains("/dev/no-such-file"));
    }
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let bench = Bench::new();
    let read = load(Rw::Read);
    for (refused, wanted) in [
        (IoLoad { bs_bytes: 0, ..read.clone() }, "bs is 0 bytes"),
        (IoLoad { bs_bytes: 1 << 20, ..read.clone() }, "holds no block"),
        (IoLoad { bs_bytes: 5_000, ..read.clone() }, "a multiple of 4096"),
        (IoLoad { iodepth: 0, ..read.clone() }, "at least 1"),
        (IoLoad { rate_iops: Some(0.0), ..read.clone() }, "rate_iops"),
        (IoLoad { iodepth: 100_000, engine: IoEngine::IoUring, ..read.clone() }, "iodepth is 8192"),
        (IoLoad { iodepth: 100_000, engine: IoEngine::Psync, ..read.clone() }, "a thread for each"),
        (IoLoad { special_file: Some("/x".to_owned()), ..load(Rw::Write) }, "only read"),
    ] {
        let why = bench.refusal(&refused);
        assert!(why.contains(wanted), "{why}");
    }
}

#[test]
fn more_in_flight_than_there_are_blocks_is_fine() {
    for engine in ENGINES {
        let (trial, _) = Bench::new().run(&IoLoad { engine, iodepth: 100, ..load(Rw::RandRead) });
        assert_eq!(in_ends(&trial, Direction::Read).0, 64);
    }
}

#[test]
fn odd_block_sizes_work_through_the_page_cache() {
    for engine in ENGINES {
        let odd =
            IoLoad { engine, bs_bytes: 1_000, direct: false, verify: true, ..load(Rw::RandRw) };
        let (trial, _) = Bench::new().run(&odd);
        let verified = trial.verified.clone().unwrap();
        let (reads, writes) =
            (in_ends(&trial, Direction::Read).0, in_ends(&trial, Direction::Write).0);
        assert_eq!(reads + writes, (256 << 10) / 1_000);
        assert_eq!((verified.blocks, verified.bad), (writes, 0), "{verified:?}");
    }
}
