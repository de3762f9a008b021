//! How trials begin and end: layout, budget, stops, failures, and what cannot be had.

use super::*;
use crate::io::job::{Job, Parts};
use crate::io::memory::Buffers;
use crate::io::pattern::Pattern;
use crate::io::ring::Rig;
use crate::io::ring_worker;
use crate::io::shared::{Shared, Times};

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
fn reads_that_hang_are_counted_as_unknown_after_a_stop() {
    let mut bench = Bench::new();
    let fifo = bench.dir.as_ref().unwrap().path().with_file_name("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Reads of it wait as long as somebody could write.
    let _writer = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let hook: Hook = Box::new(|bench, what| {
        let told = bench.trials.fetch_add(u64::from(what == "measuring"), Ordering::Relaxed);
        bench.stop.store(told > 3, Ordering::Relaxed);
    });
    let hanging = IoLoad {
        engine: IoEngine::IoUring,
        special_file: Some(fifo.display().to_string()),
        extent: LONG,
        iodepth: 3,
        ..load(Rw::Read)
    };
    bench.facts.direct.supported = false;
    let Ok((trial, _)) = bench.try_run(&hanging, Some(&hook)) else { return };
    assert_eq!((trial.ended_by, trial.workers[0].unknown), (EndedBy::Interrupted, 3));
}

#[test]
fn only_a_stop_and_a_failure_end_the_wait_for_what_is_in_flight() {
    let bench = Bench::new();
    let load = IoLoad { end_fsync: true, ..load(Rw::Write) };
    let rows = Rows { bench: &bench, hook: None, kept: Mutex::default(), slow: AtomicU64::new(0) };
    let trial = bench.trial(&rows);
    let shared = Shared::new(&trial, &load);
    assert!(!shared.is_cut());
    shared.end(EndedBy::MaxWrite, None);
    assert!(shared.is_over() && !shared.is_cut() && shared.wants_end_fsync(), "it is synced");
    bench.stop.store(true, Ordering::Relaxed);
    assert!(shared.is_cut() && !shared.wants_end_fsync());
    bench.stop.store(false, Ordering::Relaxed);
    let shared = Shared::new(&trial, &load);
    shared.end(EndedBy::Failure, None);
    assert!(shared.is_cut());
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

#[test]
fn without_registered_buffers_it_works_too() {
    let bench = Bench::new();
    for rw in [Rw::RandWrite, Rw::RandRead] {
        let load = load(rw);
        let slow = AtomicU64::new(0);
        let rows = Rows { bench: &bench, hook: None, kept: Mutex::default(), slow };
        let trial = bench.trial(&rows);
        bench.run(&IoLoad { rw: Rw::Write, ..load.clone() });
        let file = trial.dir.open_file("job-0", rustix::fs::OFlags::empty()).unwrap();
        let pattern = Pattern::new(4096, load.data, 1);
        let job = Job::new(Parts {
            number: 0,
            file: (file, "job-0".to_owned()),
            load: &load,
            seed: 1,
            pattern: Some(&pattern),
            threads: 1,
            align: 1,
        });
        let Ok(mut rig) = Rig::new(&job, 4, Buffers::new(4, 4096, 4096).unwrap()) else { return };
        rig.fixed = false;
        let shared = Shared::new(&trial, &load);
        let now = loadline_clock::monotonic_ns();
        let times = Times { start: now, measure: now, deadline: u64::MAX };
        let end = ring_worker::work(&shared, &job, times, &mut rig);
        assert_eq!((end.read_ios + end.write_ios, end.errors, rig.in_flight), (64, 0, 0));
    }
}

#[test]
fn blocks_of_many_sizes_hold_what_was_written() {
    for engine in ENGINES {
        for (bs_bytes, iodepth) in [(512, 3), (16_384, 1), (65_536, 5), (131_072, 32), (1 << 20, 2)]
        {
            let load = IoLoad {
                engine,
                bs_bytes,
                iodepth,
                size_bytes: 4 << 20,
                direct: bs_bytes >= 4096,
                verify: true,
                ..load(Rw::RandWrite)
            };
            let verified = Bench::new().run(&load).0.verified.unwrap();
            let context = format!("{engine} {bs_bytes} {iodepth}: {verified:?}");
            assert_eq!((verified.blocks, verified.bad), ((4 << 20) / bs_bytes, 0), "{context}");
        }
    }
}
