//! fio's JSON output: nothing panics, errors have words, and what is imported can be computed with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadline_schema::storage::{Buckets, StorageLoad};
use loadline_storage::{import_fio, looks_like_fio};

fuzz_target!(|bytes: &[u8]| {
    let imported = match import_fio(bytes) {
        Ok(imported) => imported,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(!imported.is_empty());
    // A key with an escape in it is the same key and does not look like it.
    assert!(looks_like_fio(bytes) || bytes.contains(&b'\\'));
    for one in &imported {
        let StorageLoad::Io(load) = &one.cell.load else { panic!("fio has blocks only") };
        assert!(load.bs_bytes > 0 && load.numjobs > 0 && load.iodepth > 0);
        assert!((0.0..=1.0).contains(&load.read_share));
        let trial = &one.trial;
        assert!(trial.start_ns <= trial.measure_ns && trial.measure_ns <= trial.end_ns);
        assert!(trial.workers.iter().all(|worker| worker.last_ns <= trial.end_ns));
        for latency in &trial.imported {
            assert!(latency.n > 0 && latency.min <= latency.max && latency.mean.is_finite());
            assert!(latency.percentiles.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        }
        for row in &one.intervals {
            assert!(usize::from(row.worker) < trial.workers.len());
            for latencies in [&row.slat, &row.clat, &row.lat] {
                assert!(latencies.buckets.0.is_sorted_by(|a, b| a.0 < b.0));
                assert!(latencies.buckets.0.iter().all(|pair| (pair.0 as usize) < Buckets::LEN));
                if let Some(median) = latencies.percentile_ns(0.5) {
                    assert!((latencies.min_ns..=latencies.max_ns).contains(&median));
                }
            }
        }
    }
});
