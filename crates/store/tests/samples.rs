//! Samples of observers survive storing, sealing and a torn file.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

mod rows;

use loadline_schema::manifest::RunStatus;
use loadline_schema::sample::Sample;
use loadline_store::RunReader;

fn samples(n: u64) -> Vec<Sample> {
    (0..n)
        .map(|i| Sample {
            stage: 0,
            at_ns: i * 1_000_000_000,
            source: "http://localhost:8000/metrics".into(),
            series: format!("vllm:num_requests_running{{engine=\"{}\"}}", i % 2).into(),
            value: if i == 3 { f64::INFINITY } else { i as f64 / 3.0 },
        })
        .collect()
}

#[test]
fn samples_read_as_written_before_and_after_the_seal() {
    let out = tempfile::tempdir().unwrap();
    let mut writer = rows::create(out.path(), &["a", "b"]);
    let written = samples(5_000);
    writer.append_samples(&written[..10]).unwrap();
    writer.append_samples(&written[10..]).unwrap();
    let dir = writer.dir().to_owned();
    let of_stage = |dir: &std::path::Path, stage| {
        let mut all = Vec::new();
        RunReader::open(dir).unwrap().each_sample(stage, &mut |one| all.push(one)).unwrap();
        all
    };
    let read = |dir: &std::path::Path| of_stage(dir, 0);
    assert_eq!(read(&dir), written);
    assert!(writer.seal(RunStatus::Sealed, 0).unwrap().kept.is_empty());
    assert_eq!(read(&dir), written);
    assert_eq!(of_stage(&dir, 1), []);
}
