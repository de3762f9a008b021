//! What is counted: I/Os, bytes, latencies, syncs, due times, and what lies in the files then.

use std::collections::HashSet;

use super::*;

/// The figures agree with each other.
fn agree(trial: &StorageTrial, rows: &[IoInterval], context: &str) {
    for direction in Direction::ALL {
        assert_eq!(in_rows(rows, *direction), in_ends(trial, *direction), "{context} {direction}");
    }
    for row in rows {
        for (name, part) in [("slat", &row.slat), ("clat", &row.clat), ("lat", &row.lat)] {
            assert_eq!(part.buckets.n(), row.ios, "{context} {name}: each I/O is in a bucket");
            assert!(part.min_ns <= part.max_ns && part.max_ns <= part.sum_ns, "{context} {name}");
            assert!(part.sum_ns <= part.max_ns * row.ios, "{context} {name}");
        }
        assert_eq!(row.slat.sum_ns + row.clat.sum_ns, row.lat.sum_ns, "{context}");
        assert!(row.lat.max_ns >= row.clat.max_ns.max(row.slat.max_ns), "{context}");
        assert!(row.length_ns <= 1_000_000_000, "{context}: {}", row.length_ns);
        if trial.engine == IoEngine::Psync {
            assert_eq!(row.slat.sum_ns, 0, "{context}: pread submits and does in one");
        }
    }
    for worker in &trial.workers {
        assert!(trial.start_ns <= worker.first_ns && worker.first_ns <= worker.last_ns);
        assert!(worker.last_ns <= trial.end_ns && worker.cpu_ns > 0, "{context}");
        assert_eq!((worker.errors, worker.unknown), (0, 0), "{context}");
    }
    assert!(trial.cpu_user_ns + trial.cpu_system_ns > 0, "{context}");
}

#[test]
fn every_pattern_counts_right_on_every_engine() {
    for engine in ENGINES {
        for rw in Rw::ALL {
            let bench = Bench::new();
            let once = IoLoad { engine, numjobs: 2, verify: true, ..load(*rw) };
            let context = format!("{rw} {engine}");
            let (trial, rows) = bench.run(&once);
            agree(&trial, &rows, &context);
            let (reads, writes) =
                (in_ends(&trial, Direction::Read).0, in_ends(&trial, Direction::Write).0);
            assert_eq!(trial.ended_by, EndedBy::Size, "{context}");
            assert_eq!(reads + writes, 128, "{context}: two files of 64 blocks");
            assert_eq!((reads > 0, writes > 0), (once.reads(), once.writes()), "{context}");
            assert_eq!(trial.engine, engine);
            let verified = trial.verified.unwrap_or_default();
            assert_eq!((verified.blocks, verified.bad), (writes, 0), "{context}: {verified:?}");

            let timed = IoLoad { extent: SHORT, ..once };
            let before = bench.ended.load(Ordering::Relaxed);
            let (trial, rows) = bench.run(&IoLoad { verify: false, ..timed });
            agree(&trial, &rows, &context);
            let ios = in_ends(&trial, Direction::Read).0 + in_ends(&trial, Direction::Write).0;
            assert_eq!(trial.ended_by, EndedBy::Runtime, "{context}");
            assert!(ios > 0 && trial.end_ns - trial.start_ns >= 60_000_000, "{context}: {ios}");
            assert_eq!(bench.ended.load(Ordering::Relaxed) - before, ios, "{context}: all told");
        }
    }
}

#[test]
fn overwritten_blocks_hold_what_was_written_last() {
    for engine in ENGINES {
        for (rw, direct) in [(Rw::RandWrite, true), (Rw::RandRw, true), (Rw::Write, false)] {
            let load =
                IoLoad { engine, direct, extent: SHORT, verify: true, iodepth: 8, ..load(rw) };
            let (trial, _) = Bench::new().run(&load);
            let verified = trial.verified.expect("it was asked for");
            assert_eq!(verified.bad, 0, "{rw} {engine}: {verified:?}");
            assert!(verified.blocks > 0 && verified.blocks <= 64, "{rw} {engine}: {verified:?}");
        }
    }
}

#[test]
fn a_flipped_byte_is_found() {
    for direct in [true, false] {
        let bench = Bench::new();
        let flipped = AtomicBool::new(false);
        let hook: Hook = Box::new(move |bench, what| {
            if what == "verifying" && !flipped.swap(true, Ordering::Relaxed) {
                let mut options = std::fs::File::options();
                let file = options.read(true).write(true).open(bench.path(0)).unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, 20_000).unwrap();
                file.write_all_at(&[byte[0] ^ 4], 20_000).unwrap();
            }
        });
        let load = IoLoad { verify: true, direct, ..load(Rw::RandWrite) };
        let (trial, _) = bench.try_run(&load, Some(&hook)).unwrap();
        let verified = trial.verified.unwrap();
        assert_eq!((verified.blocks, verified.bad), (64, 1));
        let first = verified.first_bad.unwrap();
        assert!(first.contains("offset 16384") && first.contains("at byte 3616 ("), "{first}");
    }
}

#[test]
fn syncs_are_counted_and_timed() {
    for engine in ENGINES {
        for (fsync_every, fdatasync_every, end_fsync, wanted) in [
            (4, 0, false, 16),
            (0, 16, false, 4),
            (8, 16, true, 9),
            (0, 0, true, 1),
            (100, 0, false, 0),
        ] {
            let load = IoLoad {
                engine,
                fsync_every,
                fdatasync_every,
                end_fsync,
                direct: false,
                ..load(Rw::Write)
            };
            let (trial, rows) = Bench::new().run(&load);
            let context = format!("{engine} {fsync_every} {fdatasync_every} {end_fsync}");
            agree(&trial, &rows, &context);
            assert_eq!(in_ends(&trial, Direction::Sync).0, wanted, "{context}");
            assert_eq!(in_ends(&trial, Direction::Write).0, 64, "{context}");
            assert_eq!(trial.cache.cached, wanted == 0 && fsync_every == 0, "{context}");
        }
        let dsync = IoLoad { engine, sync: SyncMode::Dsync, ..load(Rw::RandWrite) };
        let (trial, rows) = Bench::new().run(&dsync);
        agree(&trial, &rows, "dsync");
    }
}

#[test]
fn of_a_rate_as_many_are_issued_as_are_due() {
    for engine in ENGINES {
        for process in [RateProcess::Linear, RateProcess::Poisson] {
            let load = IoLoad {
                engine,
                rate_iops: Some(1_000.0),
                rate_process: process,
                extent: IoExtent::Runtime { runtime_ns: 200_000_000 },
                ..load(Rw::RandRead)
            };
            let (trial, _) = Bench::new().run(&load);
            let lateness = trial.lateness.expect("there is a rate");
            let reads = in_ends(&trial, Direction::Read).0;
            assert_eq!(reads, lateness.due - lateness.never, "{engine} {process} {lateness:?}");
            let tolerance = if process == RateProcess::Linear { 0 } else { 90 };
            assert!(lateness.due.abs_diff(200) <= tolerance, "{engine} {process} {lateness:?}");
            assert!(lateness.mean <= lateness.max as f64 && lateness.late <= lateness.due);
        }
        let once = IoLoad { engine, rate_iops: Some(5_000.0), ..load(Rw::Read) };
        let lateness = Bench::new().run(&once).0.lateness.expect("there is a rate");
        assert_eq!((lateness.due, lateness.never), (64, 0), "{engine}");
    }
}

#[test]
fn a_ramp_is_no_part_of_the_figures() {
    for engine in ENGINES {
        let load = IoLoad { engine, ramp_ns: 50_000_000, extent: SHORT, ..load(Rw::RandRead) };
        let (trial, rows) = Bench::new().run(&load);
        agree(&trial, &rows, "ramp");
        assert_eq!(trial.measure_ns - trial.start_ns, 50_000_000);
        assert!(trial.workers[0].first_ns == trial.measure_ns);
        let ramp: u64 =
            rows.iter().filter(|row| row.phase == Phase::WarmUp).map(|row| row.ios).sum();
        assert!(ramp > 0, "the ramp has rows");
        let inside = |row: &IoInterval| match row.phase {
            Phase::WarmUp => row.start_ns + row.length_ns <= trial.measure_ns,
            _ => row.start_ns >= trial.measure_ns,
        };
        assert!(rows.iter().all(inside), "no row lies across the ramp's end");
    }
}

#[test]
fn files_hold_the_data_that_was_asked_for() {
    let bench = Bench::new();
    let data = DataShape { compress_percent: 50, dedupe_percent: 50 };
    bench.run(&IoLoad { data, size_bytes: 4 << 20, ..load(Rw::Write) });
    let file = std::fs::read(bench.path(0)).unwrap();
    let different: HashSet<&[u8]> = file.chunks(4096).collect();
    assert_eq!(file.len(), 4 << 20);
    assert!((400..624).contains(&different.len()), "{} of 1024 blocks differ", different.len());
    let unique: Vec<u8> = different.into_iter().flatten().copied().collect();
    let compressed = lz4_flex::block::compress(&unique).len() as f64 / unique.len() as f64;
    assert!((0.45..0.55).contains(&compressed), "{compressed}");

    bench.run(&IoLoad { size_bytes: 4 << 20, ..load(Rw::Read) });
    let file = std::fs::read(bench.path(0)).unwrap();
    assert_eq!(file.chunks(4096).collect::<HashSet<_>>().len(), 1_024, "laid out anew: all unique");
    assert!(lz4_flex::block::compress(&file).len() as f64 > 0.99 * file.len() as f64);
}
