//! What is measured and shown.

use serde_json::Value;

use super::Scratch;

const QUICK: [&str; 6] = ["--runtime", "300ms", "--trials", "2", "--size", "8MiB"];

#[test]
fn the_three_workloads_are_measured_and_the_run_says_the_same_again() {
    let scratch = Scratch::new();
    let (code, text, words) =
        scratch.loadline(&[&["storage", "work", "--json"][..], &QUICK].concat());
    assert_eq!(code, Some(0), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let cells = document["storage"].as_array().unwrap();
    let workloads: Vec<&str> =
        cells.iter().map(|cell| cell["workload"].as_str().unwrap()).collect();
    assert_eq!(workloads, ["seq-write", "seq-read", "rand-read"]);
    for cell in cells {
        assert!(cell["bytes_per_s"]["value"].as_f64().unwrap() > 1e5, "{cell}");
        assert!(cell["iops"]["value"].as_f64().unwrap() > 1.0, "{cell}");
        assert_eq!(cell["bytes_per_s"]["n"], 2, "{cell}");
        for latency in ["slat_ns", "clat_ns", "lat_ns"] {
            let latency = &cell[latency];
            let (p50, p99) = (latency["p50"].as_u64(), latency["p99"].as_u64());
            assert!(latency["n"].as_u64().unwrap() > 0, "{cell}");
            assert!(p99.is_none_or(|p99| p50.unwrap() <= p99), "{latency}");
        }
        assert!(cell["cpu_ns_per_io"].as_f64().unwrap() > 0.0, "{cell}");
        assert_eq!(cell["path"], "work");
        assert!(cell["filesystem"].as_str().unwrap().len() > 1, "{cell}");
    }
    let facts = &document["storage_stages"][0]["filesystems"][0];
    assert!(facts["free_bytes"].as_u64().unwrap() > 0, "{facts}");
    scratch.nothing_is_left();
    let run = scratch.only_run();
    let again = |format: &str| scratch.loadline(&["report", &run, "--format", format]).1;
    assert!(again("json") == text, "the run says something else than at first");
    let page = again("text");
    assert!(page.lines().all(|line| line.chars().count() <= 80 || line.contains('/')), "{page}");
    assert_eq!(again("csv").lines().count(), 4, "{}", again("csv"));
    assert!(again("md").contains("seq-write"), "{}", again("md"));
}

#[test]
fn every_pattern_engine_and_ending_gives_whole_numbers_of_blocks() {
    let scratch = Scratch::new();
    for engine in ["io_uring", "psync"] {
        let arguments = [
            "storage",
            "work",
            "--rw",
            "write,read,randwrite,randread,rw,randrw",
            "--ioengine",
            engine,
            "--size",
            "1m",
            "--bs",
            "16k",
            "--iodepth",
            "4",
            "--numjobs",
            "2",
            "--trials",
            "1",
            "--size-bound",
        ];
        let document = scratch.document(&arguments, 0);
        let cells = document["storage"].as_array().unwrap();
        assert_eq!(cells.len(), 6);
        for cell in cells {
            // Two jobs of 64 blocks, each read or written once.
            let lat = |direction: &str| cell["directions"][direction]["lat_ns"]["n"].as_u64();
            let all = lat("read").unwrap_or(0) + lat("write").unwrap_or(0);
            assert_eq!(all, 128, "{engine}: {cell}");
            assert_eq!(cell["engine"], engine);
        }
    }
    scratch.nothing_is_left();
}

#[test]
fn what_was_written_is_verified() {
    let scratch = Scratch::new();
    let arguments = [
        "storage",
        "work",
        "--rw",
        "randwrite",
        "--verify",
        "--size",
        "2m",
        "--bs",
        "8k",
        "--trials",
        "1",
        "--size-bound",
    ];
    let document = scratch.document(&arguments, 0);
    let cell = &document["storage"][0];
    assert!(cell["failed"].is_null(), "{cell}");
    scratch.nothing_is_left();
}

#[test]
fn a_checkpoint_is_saved_and_restored_scaled() {
    let scratch = Scratch::new();
    let arguments = [
        "storage",
        "work",
        "--checkpoint",
        "llama3-8b",
        "--ranks",
        "4",
        "--scale",
        "0.0005",
        "--trials",
        "2",
        "--mtbf",
        "24h",
    ];
    // Whether 500 MB/s are reached is not this test's business.
    let (code, text, words) = scratch.loadline(&[&arguments[..], &["--json"]].concat());
    assert!(matches!(code, Some(0 | 4)), "{words}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let cell = &document["storage"][0];
    let checkpoint = &cell["checkpoint"];
    assert_eq!(checkpoint["parameters"], 8_030_261_248_u64);
    assert_eq!(checkpoint["full_bytes"], 8_030_261_248_u64 * 14);
    let bytes = checkpoint["bytes"].as_f64().unwrap();
    assert!((bytes / (8_030_261_248.0 * 14.0 * 0.0005) - 1.0).abs() < 0.01, "{checkpoint}");
    assert!(checkpoint["save_s"]["value"].as_f64().unwrap() > 0.0, "{checkpoint}");
    assert!(checkpoint["restore_s"]["value"].as_f64().unwrap() > 0.0, "{checkpoint}");
    assert!(checkpoint["optimum_s"].as_f64().unwrap() > 0.0, "{checkpoint}");
    assert_eq!(cell["target"]["bytes_per_s"], 500e6);
    scratch.nothing_is_left();
}

#[test]
fn a_model_is_loaded_in_every_way() {
    let scratch = Scratch::new();
    let arguments =
        ["storage", "work", "--model-size", "32MiB", "--readers", "1,2", "--trials", "2"];
    let document = scratch.document(&arguments, 0);
    let cells = document["storage"].as_array().unwrap();
    assert_eq!(cells.len(), 7, "three ways with one and two readers, and the first one warm");
    for cell in cells {
        assert!(cell["model_load"]["load_s"]["value"].as_f64().unwrap() > 0.0, "{cell}");
    }
    let load = &document["storage_stages"][0]["model_loads"][0];
    assert!(load["sentence"].as_str().unwrap().len() > 20, "{load}");
    assert!(load["evidence"].as_array().unwrap().len() >= 6, "{load}");
    scratch.nothing_is_left();
}

#[test]
fn memory_is_not_sold_as_storage() {
    let memory = std::path::Path::new("/dev/shm");
    let Ok(work) = tempfile::tempdir_in(memory) else {
        eprintln!("no /dev/shm here: the test of file systems in memory is left out");
        return;
    };
    let scratch = Scratch::new();
    let path = work.path().display().to_string();
    let document = scratch.document(&[&["storage", &path, "--rw", "read"][..], &QUICK].concat(), 0);
    let cell = &document["storage"][0];
    assert_eq!((&cell["cached"], &cell["filesystem"]), (&true.into(), &"tmpfs".into()), "{cell}");
    let (_, page, _) = scratch.loadline(&["report", &scratch.only_run()]);
    assert!(page.contains("memory"), "{page}");
    assert_eq!(super::names(work.path()), Vec::<String>::new());
}

#[test]
fn a_target_that_is_missed_is_exit_code_4() {
    let scratch = Scratch::new();
    let target = ["storage", "work", "--rw", "write", "--target", "999TB/s"];
    let document = scratch.document(&[&target[..], &QUICK].concat(), 4);
    assert_eq!(document["storage"][0]["target"]["met"], false);
}

#[test]
fn max_write_ends_a_trial() {
    let scratch = Scratch::new();
    let arguments = [
        "storage",
        "work",
        "--rw",
        "write",
        "--max-write",
        "8MiB",
        "--size",
        "4m",
        "--trials",
        "1",
    ];
    let document = scratch.document(&arguments, 0);
    let cell = &document["storage"][0];
    let codes: Vec<&str> =
        cell["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"ended_by_max_write"), "{codes:?}");
    let written = cell["directions"]["write"]["lat_ns"]["n"].as_u64().unwrap();
    assert!(written <= 8, "{cell}");
}

#[test]
fn a_plan_has_storage_stages() {
    let scratch = Scratch::new();
    let plan = "name = \"disks\"\n[[storage]]\npath = \"work\"\nworkload = [\"seq-write\", \"randread\"]\nsize = \"4MiB\"\nruntime = \"200ms\"\ntrials = 1\n";
    std::fs::write(scratch.path().join("plan.toml"), plan).unwrap();
    let (code, page, words) = scratch.loadline(&["check", "plan.toml"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(page.contains("work: ") && page.contains("free"), "{page}");
    scratch.nothing_is_left();
    let (code, page, words) = scratch.loadline(&["run", "plan.toml", "--dry-run"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(page.contains("rand-read") && page.contains("--max-write"), "{page}");
    let document = scratch.document(&["run", "plan.toml"], 0);
    assert_eq!(document["storage"].as_array().unwrap().len(), 2);
    scratch.nothing_is_left();
}
