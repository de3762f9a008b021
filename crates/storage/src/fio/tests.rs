//! Recorded output of fio 3.33, and what becomes of it when it is changed.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use loadline_schema::storage::{
    Buckets, Direction, EndedBy, IoExtent, IoKind, IoLoad, StorageLoad, Workload,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fio")
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

/// Every fixture with its name, in order.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.collect();
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

fn import(name: &str) -> Vec<ImportedFio> {
    import_fio(&fixture(name)).unwrap()
}

fn one(name: &str) -> ImportedFio {
    let mut all = import(name);
    assert_eq!(all.len(), 1, "{name}");
    all.remove(0)
}

fn load(imported: &ImportedFio) -> &IoLoad {
    match &imported.cell.load {
        StorageLoad::Io(load) => load,
        other => panic!("{other:?}"),
    }
}

/// A fixture as a value to change, without fio's messages.
fn value(name: &str) -> Value {
    let bytes = fixture(name);
    let start = bytes.iter().position(|byte| *byte == b'{').unwrap();
    serde_json::from_slice(&bytes[start..]).unwrap()
}

/// A report with one job.
fn report() -> Value {
    value("fdatasync.json")
}

fn import_value(report: &Value) -> Result<Vec<ImportedFio>, FioError> {
    import_fio(&serde_json::to_vec(report).unwrap())
}

/// Everything but the buckets themselves.
fn shown(result: &Result<Vec<ImportedFio>, FioError>) -> String {
    let mut text = String::new();
    let imported = match result {
        Ok(imported) => imported,
        Err(error) => return format!("error: {error}\n"),
    };
    for one in imported {
        let line = |name: &str, value: &str| format!("{name}: {value}\n");
        text += &line("job", &format!("{} (fio {})", one.job, one.version));
        text += &line("written", &format!("{:?}", one.written_unix_ms));
        text += &line("cell", &serde_json::to_string(&one.cell).unwrap());
        let mut trial = one.trial.clone();
        let workers = std::mem::take(&mut trial.workers);
        let latencies = std::mem::take(&mut trial.imported);
        text += &line("trial", &serde_json::to_string(&trial).unwrap());
        for worker in workers {
            text += &line("  worker", &serde_json::to_string(&worker).unwrap());
        }
        for latency in latencies {
            text += &line("  latency", &serde_json::to_string(&latency).unwrap());
        }
        for row in &one.intervals {
            write!(
                text,
                "  row: {} {} {} I/Os, {} B",
                row.worker, row.direction, row.ios, row.bytes
            )
            .unwrap();
            for (name, latency) in [("slat", &row.slat), ("clat", &row.clat), ("lat", &row.lat)] {
                let (n, p99) = (latency.buckets.n(), latency.percentile_ns(0.99));
                write!(text, "; {name} n {n} max {} p99 {p99:?}", latency.max_ns).unwrap();
            }
            text.push('\n');
        }
        one.notes.iter().for_each(|note| text += &line("  note", note));
        text.push('\n');
    }
    text
}

#[test]
fn recorded_output_reads_the_same() {
    for (name, bytes) in fixtures() {
        assert!(looks_like_fio(&bytes), "{name}");
        insta::assert_snapshot!(name, shown(&import_fio(&bytes)));
    }
}

/// What must hold of anything that is imported.
fn check(imported: &[ImportedFio]) {
    assert!(!imported.is_empty());
    for one in imported {
        let load = load(one);
        assert!(load.bs_bytes > 0 && load.numjobs > 0 && load.iodepth > 0);
        assert!((0.0..=1.0).contains(&load.read_share));
        let trial = &one.trial;
        assert!(trial.start_ns <= trial.measure_ns && trial.measure_ns <= trial.end_ns);
        assert!(!trial.workers.is_empty());
        for worker in &trial.workers {
            assert!(worker.first_ns <= worker.last_ns && worker.last_ns <= trial.end_ns);
        }
        for latency in &trial.imported {
            assert!(latency.n > 0 && latency.min <= latency.max && latency.mean.is_finite());
            assert!(latency.percentiles.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        }
        for row in &one.intervals {
            assert!(usize::from(row.worker) < trial.workers.len());
            for latencies in [&row.slat, &row.clat, &row.lat] {
                let buckets = &latencies.buckets.0;
                assert!(buckets.is_sorted_by(|a, b| a.0 < b.0));
                assert!(buckets.iter().all(|pair| (pair.0 as usize) < Buckets::LEN));
                assert!(latencies.min_ns <= latencies.max_ns);
                let _ = latencies.percentile_ns(0.5);
            }
        }
        assert!(one.notes.iter().all(|note| note.ends_with('.')), "{:?}", one.notes);
    }
}

#[test]
fn bandwidth_is_fios() {
    for name in ["json_plus_fsync.json", "json_plus_io_uring.json", "two_sections_grouped.json"] {
        let value = value(name);
        let one = one(name);
        let (worker, job) = (&one.trial.workers[0], &value["jobs"][0]);
        let seconds = (one.trial.end_ns - one.trial.measure_ns) as f64 / 1e9;
        for (side, bytes) in [("read", worker.read_bytes), ("write", worker.write_bytes)] {
            let stated = job[side]["bw_bytes"].as_f64().unwrap();
            assert!((bytes as f64 / seconds - stated).abs() <= 1.0, "{name} {side}");
        }
    }
}

#[test]
fn buckets_give_fios_percentiles() {
    for name in ["json_plus_fsync.json", "json_plus_io_uring.json"] {
        let value = value(name);
        let one = one(name);
        let row = &one.intervals[0];
        let stated = &value["jobs"][0][row.direction.as_str()]["clat_ns"]["percentile"];
        for (percentile, ns) in stated.as_object().unwrap() {
            let q = percentile.parse::<f64>().unwrap() / 100.0;
            let (told, ns) = (row.clat.percentile_ns(q).unwrap() as f64, ns.as_f64().unwrap());
            assert!((told - ns).abs() <= ns * 0.009, "{name}: p{percentile} {told} {ns}");
        }
    }
}

#[test]
fn numjobs_makes_workers_and_sections_make_cells() {
    let apart = import("two_sections_apart.json");
    let workers: Vec<usize> = apart.iter().map(|one| one.trial.workers.len()).collect();
    assert_eq!(workers, [2, 1]);
    assert_eq!((load(&apart[0]).numjobs, load(&apart[1]).bs_bytes), (2, 16_384));
    assert!(apart.iter().all(|one| one.notes.iter().any(|note| note.contains("same time"))));
    // Options of `[global]` hold where the job has none of its own.
    assert_eq!((load(&apart[0]).bs_bytes, load(&apart[0]).read_share), (4096, 0.7));
    assert_eq!(load(&apart[1]).rate_iops, Some(400.0));

    let client = import("client_of_server.json");
    let workers: Vec<usize> = client.iter().map(|one| one.trial.workers.len()).collect();
    assert_eq!(workers, [1, 2], "the sum of all clients is no job");
    assert_eq!(client[1].cell.path, "/srv/disk");
}

#[test]
fn a_group_of_sections_is_what_its_figures_say() {
    let group = one("json_plus_group_of_reader_and_writer.json");
    assert_eq!((group.cell.workload, load(&group).numjobs), (Workload::SeqRw, 3));
    assert!(group.notes.iter().any(|note| note.contains("rw=write")), "{:?}", group.notes);
    let directions: Vec<Direction> = group.intervals.iter().map(|row| row.direction).collect();
    assert_eq!(directions, [Direction::Read, Direction::Write, Direction::Sync]);
    assert_eq!(load(&one("two_sections_grouped.json")).numjobs, 3);
}

#[test]
fn syncs_are_counted_where_fio_counts_none() {
    let fdatasync = one("fdatasync.json");
    assert_eq!((fdatasync.trial.workers[0].sync_ios, load(&fdatasync).fdatasync_every), (127, 8));
    assert!(load(&fdatasync).end_fsync);
    assert_eq!(fdatasync.trial.workers[0].errors, 0, "fdatasyncs are no short reads");
    let sync = fdatasync.trial.imported.iter().find(|one| one.direction == Direction::Sync);
    assert_eq!(sync.map(|one| (one.kind.as_str(), one.n)), Some(("lat", 127)));
}

#[test]
fn latencies_that_cannot_be_are_left_out() {
    let sqpoll = one("sqpoll_with_impossible_clat.json");
    let kinds: Vec<&str> = sqpoll.trial.imported.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(kinds, ["lat"]);
    assert!(sqpoll.notes.iter().any(|note| note.starts_with("clat of read is left out")));

    // Without a lat to compare with, the length of the job shows it.
    let mut value = value("sqpoll_with_impossible_clat.json");
    value["jobs"][0]["read"]["lat_ns"] = json!({"min": 0, "max": 0, "mean": 0.0, "N": 0});
    let sqpoll = import_value(&value).unwrap();
    assert!(sqpoll[0].trial.imported.is_empty());
    assert!(sqpoll[0].notes.iter().any(|note| note.contains("longer than the job")));
}

#[test]
fn the_end_of_a_job_is_told() {
    let ended = |name| one(name).trial.ended_by;
    assert_eq!(ended("interrupted.json"), EndedBy::Interrupted);
    assert_eq!(ended("fdatasync.json"), EndedBy::Size);
    assert_eq!(ended("json_plus_io_uring.json"), EndedBy::Runtime);
    assert_eq!(ended("steadystate.json"), EndedBy::Runtime);
    let full = one("no_space.json").trial;
    assert_eq!(full.ended_by, EndedBy::Failure);
    let failure = full.failure.unwrap();
    assert_eq!(failure.kind, IoKind::NoSpace);
    assert!(failure.message.contains("No space left on device"), "{}", failure.message);
    assert_eq!((full.workers[0].errors, full.workers[0].write_ios), (1, 16));
}

#[test]
fn extents_are_told_apart() {
    // `time_based` as a bare flag is not in fio's output; the bytes tell.
    let runtime = IoExtent::Runtime { runtime_ns: 6_000_000_000 };
    assert_eq!(load(&one("steadystate.json")).extent, runtime);
    let limited = IoExtent::Size { runtime_ns: Some(4_000_000_000) };
    assert_eq!(load(&one("json_plus_fsync.json")).extent, limited);
    assert_eq!(load(&one("fdatasync.json")).extent, IoExtent::Size { runtime_ns: None });
}

#[test]
fn the_last_of_the_reports_of_a_run_counts() {
    let bytes = fixture("status_interval.json");
    let last = one("status_interval.json");
    assert_eq!(last.trial.end_ns / 1_000_000_000, 3);
    // The last one cut off: the one before counts, and that is said.
    let cut = import_fio(&bytes[..bytes.len() - 100]).unwrap();
    assert!(cut[0].notes.iter().any(|note| note.contains("cut off")), "{:?}", cut[0].notes);
    assert!(cut.len() == 1 && cut[0].trial.end_ns < last.trial.end_ns);
    // Two runs after each other are two.
    let two = [fixture("fdatasync.json"), fixture("verify.json")].concat();
    assert_eq!(import_fio(&two).unwrap().len(), 2);
}

#[test]
fn no_numbers_of_old_versions_are_not_measured() {
    let text = String::from_utf8(fixture("fdatasync.json")).unwrap();
    let broken = text.replace("\"bw_dev\" : 0.000000", "\"bw_dev\" : -nan");
    let imported = import_fio(broken.as_bytes()).unwrap();
    assert!(imported[0].notes.iter().any(|note| note.contains("no numbers")));
    assert_eq!(imported[0].trial, one("fdatasync.json").trial);
}

#[test]
fn what_is_not_fios_has_a_clear_error() {
    let error = |bytes: &[u8]| import_fio(bytes).unwrap_err();
    assert_eq!(error(b""), FioError::NotJson);
    assert_eq!(error(b"fio: no such file\n"), FioError::NotJson);
    assert_eq!(error(b"{\"jobs\": []}"), FioError::NotFio);
    let cut = &fixture("fdatasync.json")[..3000];
    assert!(matches!(error(cut), FioError::Broken { line: 50..200, .. }), "{}", error(cut));
    let noise = error(b"\nfio: note\n{ \"a\" : }\n");
    assert!(matches!(noise, FioError::Broken { line: 3, .. }), "{noise}");
    let nothing = error(b"{\"fio version\": \"fio-3.33\", \"jobs\": []}");
    assert_eq!(nothing, FioError::NoJob { why: vec!["it has no jobs".into()] });
    let nothing = error(&fixture("no_io.json")).to_string();
    assert!(nothing.contains("job `err`: it did no I/O"), "{nothing}");

    let mut old = report();
    old["fio version"] = json!("fio-2.16");
    old["jobs"][0]["write"]["lat"] = json!({"min": 1, "max": 2, "mean": 1.5});
    old["jobs"][0]["write"].as_object_mut().unwrap().remove("lat_ns");
    assert_eq!(import_value(&old), Err(FioError::TooOld { version: "2.16".into() }));
}

#[test]
fn options_that_are_nowhere_are_named() {
    let mut value = report();
    let options = value["jobs"][0]["job options"].as_object_mut().unwrap();
    options.insert("thinktime".into(), json!("20"));
    options.insert("iodepth".into(), json!("8"));
    options.remove("filename");
    options.remove("size");
    let imported = import_value(&value).unwrap();
    let said = imported[0].notes.join("\n");
    for what in
        ["`thinktime=20`", "iodepth=8 has no effect", "is not stated (directory", "4194304 B"]
    {
        assert!(said.contains(what), "{what} is missing in {said}");
    }
    assert_eq!((imported[0].cell.path.as_str(), load(&imported[0]).iodepth), ("?", 1));
}

#[test]
fn left_out_jobs_are_named() {
    let mut report = report();
    let trimmed = value("trim.json")["jobs"][0].clone();
    report["jobs"].as_array_mut().unwrap().push(trimmed);
    let imported = import_value(&report).unwrap();
    assert_eq!(imported.len(), 1);
    let said = "Left out: job `t`: its rw=`randtrim` is no workload of ours.";
    assert!(imported[0].notes.iter().any(|note| note == said), "{:?}", imported[0].notes);
}

/// Replaces the value at one of the places of a report.
fn change(value: &mut Value, place: &mut usize, new: &Value) -> bool {
    if *place == 0 {
        *value = new.clone();
        return true;
    }
    *place -= 1;
    match value {
        Value::Object(fields) => fields.values_mut().any(|field| change(field, place, new)),
        Value::Array(items) => items.iter_mut().any(|item| change(item, place, new)),
        _ => false,
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        any::<u64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,8}|[0-9]{1,20}[kmgt%]?|[0-9]{0,3},[0-9]{0,3}".prop_map(|text| json!(text)),
    ]
}

fn must_hold(result: Result<Vec<ImportedFio>, FioError>) {
    match result {
        Ok(imported) => check(&imported),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_results_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        must_hold(import_fio(&bytes));
        must_hold(import_fio(&[b"{\"fio version\": \"fio-3.33\", ", bytes.as_slice()].concat()));
    }

    #[test]
    fn changed_output_is_results_or_an_error(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let all = fixtures();
        let mut bytes = all[which.index(all.len())].1.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        must_hold(import_fio(&bytes));
        must_hold(import_fio(&bytes[..cut.index(bytes.len())]));
    }

    #[test]
    fn changed_values_are_results_or_an_error(
        changes in prop::collection::vec((0..160_usize, any_value()), 1..4),
        which in any::<prop::sample::Index>(),
    ) {
        let names =
            ["fdatasync.json", "two_sections_grouped.json", "rate_poisson.json", "verify.json"];
        let mut value = value(names[which.index(names.len())]);
        for (mut place, new) in changes {
            change(&mut value, &mut place, &new);
        }
        must_hold(import_value(&value));
    }
}
