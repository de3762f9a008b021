//! The tools, played by small scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;

use super::*;

/// A program that writes what a script says.
fn fake(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

static NEVER: AtomicBool = AtomicBool::new(false);

fn cell(batch: u32, context: u32) -> EngineCell {
    let default = EngineCell::default();
    EngineCell { batch, context, threads: 2, prompt_tokens: 64, output_tokens: 32, ..default }
}

/// Rows of llama-bench with two samples each.
fn bench_rows(context: u32) -> String {
    let row = |prompt: u32, output: u32| {
        format!(
            r#"{{"build_commit": "abc", "build_number": 7, "model_filename": "m.gguf", "n_batch": 2048, "n_ubatch": 512, "n_threads": 2, "type_k": "f16", "type_v": "f16", "n_gpu_layers": -1, "flash_attn": -1, "n_prompt": {prompt}, "n_gen": {output}, "n_depth": {context}, "samples_ns": [1000, 2000]}}"#
        )
    };
    format!("{}\n{}", row(64, 0), row(0, 32))
}

/// A llama-batched-bench that reads its own arguments and takes 1, 2, … ms.
const BATCHED_SCRIPT: &str = r#"
while [ $# -gt 1 ]; do case $1 in -npp) pp=$2;; -ntg) tg=$2;; -npl) npl=$2;; esac; shift; done
echo
i=0; for pl in $(echo $npl | tr , ' '); do i=$((i + 1)); echo "{\"n_kv_max\": 2048, \"n_batch\": 2048, \"n_ubatch\": 512, \"flash_attn\": -1, \"is_pp_shared\": 0, \"n_gpu_layers\": -1, \"n_threads\": 2, \"n_threads_batch\": 2, \"pp\": $pp, \"tg\": $tg, \"pl\": $pl, \"n_kv\": 1, \"t_pp\": 0.00$i, \"speed_pp\": -nan, \"t_tg\": 0.01$i, \"speed_tg\": 1.0, \"t\": 1.0, \"speed\": 1.0}"; done
"#;

#[test]
fn programs_are_found_in_a_folder_and_below_it_and_beside_one() {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("build/bin");
    fs::create_dir_all(&bin).unwrap();
    fake(&bin, BENCH, "");
    fs::write(bin.join(BATCHED), "not to be executed").unwrap();
    for given in [root.path().to_owned(), bin.clone(), bin.join(BENCH)] {
        let found = Found::given(&given).unwrap();
        assert_eq!(found.bench, Some(bin.join(BENCH)));
        assert_eq!(found.batched, None);
        let error = found.program_for(4).unwrap_err().to_string();
        assert!(error.starts_with("no program llama-batched-bench in "), "{error}");
    }
}

#[test]
fn an_empty_folder_has_no_program() {
    let root = tempfile::tempdir().unwrap();
    let error = Found::given(root.path()).unwrap_err().to_string();
    assert!(error.starts_with("no program llama-bench in "), "{error}");
}

#[test]
fn one_sequence_is_measured_by_llama_bench() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), BENCH, &format!("cat <<'END'\n{}\nEND", bench_rows(256)));
    let found = Found::given(root.path()).unwrap();
    let measured = found.measure(Path::new("m.gguf"), &cell(1, 256), 2, &NEVER).unwrap();
    let times: Vec<_> =
        measured.trials.iter().map(|trial| (trial.prompt_ns, trial.decode_ns)).collect();
    assert_eq!(times, [(Some(1000), Some(1000)), (Some(2000), Some(2000))]);
    assert_eq!(measured.facts.version.as_deref(), Some("b7 (abc)"));
    assert_eq!(measured.facts.measured_by, root.path().join(BENCH).display().to_string());
    assert_eq!(measured.commands.len(), 1);
}

#[test]
fn missing_samples_are_an_error() {
    let root = tempfile::tempdir().unwrap();
    let script = format!("echo slow >&2; cat <<'END'\n{}\nEND", bench_rows(0));
    fake(root.path(), BENCH, &script);
    let found = Found::given(root.path()).unwrap();
    for (cell, trials) in [(cell(1, 0), 3), (cell(1, 256), 2)] {
        let error = found.measure(Path::new("m"), &cell, trials, &NEVER).unwrap_err().to_string();
        assert!(error.contains("ended without"), "{error}");
        assert!(error.ends_with(":\n  slow"), "{error}");
    }
}

#[test]
fn a_failing_tool_and_an_odd_output_are_told() {
    let root = tempfile::tempdir().unwrap();
    let found = |script: &str| {
        fake(root.path(), BENCH, script);
        let found = Found::given(root.path()).unwrap();
        found.measure(Path::new("m"), &cell(1, 0), 2, &NEVER).unwrap_err()
    };
    let error = found("echo 'error: failed to load model' >&2; exit 1").to_string();
    assert!(
        error.ends_with("ended with exit status: 1:\n  error: failed to load model"),
        "{error}"
    );
    let error = found("echo '{\"n_prompt\": 1'");
    let EngineError::Output { source, .. } = error else { panic!("{error:?}") };
    let expected = "line 1: the row is cut short; expected one whole JSON object on each line";
    assert_eq!(source.to_string(), expected);
    let error = found("exit 0").to_string();
    assert!(error.ends_with("ended without a row of figures"), "{error}");
}

#[test]
fn several_sequences_at_an_empty_context_take_two_runs() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), BATCHED, BATCHED_SCRIPT);
    let found = Found::given(root.path()).unwrap();
    let measured = found.measure(Path::new("m"), &cell(4, 0), 2, &NEVER).unwrap();
    let trial = |prompt_ns, decode_ns| EngineTrial {
        prompt_tokens: 4 * 64,
        prompt_ns: Some(prompt_ns),
        decode_tokens: 4 * 32,
        decode_ns: Some(decode_ns),
        ..EngineTrial::default()
    };
    // The first of three rows is the warm-up.
    assert_eq!(measured.trials, [trial(2_000_000, 12_000_000), trial(3_000_000, 13_000_000)]);
    assert_eq!(measured.commands.len(), 2);
    assert!(measured.notes.is_empty());
}

#[test]
fn several_sequences_at_a_context_have_no_prompt_time() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), BATCHED, BATCHED_SCRIPT);
    let found = Found::given(root.path()).unwrap();
    let measured = found.measure(Path::new("m"), &cell(4, 256), 1, &NEVER).unwrap();
    assert_eq!(measured.trials.len(), 1);
    assert_eq!(measured.trials[0].prompt_ns, None);
    assert_eq!(measured.trials[0].decode_ns, Some(12_000_000));
    assert_eq!(measured.notes.len(), 1);
    let only_prompt = EngineCell { output_tokens: 0, ..cell(4, 256) };
    let error = found.measure(Path::new("m"), &only_prompt, 1, &NEVER).unwrap_err().to_string();
    assert!(error.starts_with("llama-batched-bench cannot process prompts of 4"), "{error}");
}
