//! Made models: written, read again, and compared with a real one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use loadline_gguf::{GgufError, Made, Model, PerLayer, Preset, Shape, TensorType, Weights};
use proptest::prelude::*;

const SMALL: &str = "layers=2,embedding=64,feed_forward=96,heads=4,kv_heads=2,vocab=600";

fn made(shape: &str, weights: Weights) -> Made {
    Made::new(shape.parse().unwrap(), weights).unwrap()
}

fn bytes(made: &Made, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    made.write_to(&mut bytes, seed).unwrap();
    bytes
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    for (index, weights) in Weights::ALL.into_iter().enumerate() {
        for tied in [true, false] {
            let made = made(&format!("{SMALL},context=777,tied={tied}"), weights);
            let path = dir.path().join(format!("{index}-{tied}.gguf"));
            let summary = made.write(&path, 3).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), made.file_bytes());
            assert_eq!(summary, Model::open(&path).unwrap().summary());
            assert_eq!(summary.architecture, "llama");
            assert!(summary.made);
            assert_eq!(summary.parameters, made.shape().parameters());
            assert_eq!(summary.file_bytes, made.file_bytes());
            assert_eq!((summary.context_length, summary.block_count), (Some(777), Some(2)));
            assert_eq!(summary.feed_forward_length, Some(PerLayer::Same(96)));
            assert_eq!(summary.head_count_kv, Some(PerLayer::Same(2)));
            assert_eq!((summary.key_length, summary.vocabulary), (Some(16), Some(600)));
            assert_eq!(summary.kv_elements_per_token, Some(2 * 2 * 32));
            assert_eq!(summary.tied, tied);
            let rows_only = if tied { 0 } else { weights.kind().bytes(600 * 64).unwrap() };
            assert_eq!(summary.step_bytes, Some(summary.weight_bytes - rows_only));
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 8, "no temporary file is left");
}

#[test]
fn most_weights_are_of_the_type_asked_for() {
    for weights in Weights::ALL {
        let large = "layers=4,embedding=64,feed_forward=512,heads=4,kv_heads=2,vocab=600";
        let bytes = bytes(&made(large, weights), 1);
        let summary = Model::read(bytes.as_slice(), bytes.len() as u64).unwrap().summary();
        assert_eq!(summary.quantization, Some(weights.kind()));
    }
}

#[test]
fn a_seed_gives_the_same_bytes() {
    let made = made(SMALL, Weights::Q4_1);
    let first = bytes(&made, 1);
    assert!(first == bytes(&made, 1));
    let second = bytes(&made, 2);
    assert!(first != second);
    assert_eq!(first.len(), second.len());
}

/// Blocks of Q8_0 and halves: every number is finite, and none is so small that a processor would
/// stumble over it.
#[test]
fn weights_are_plain_numbers() {
    for (weights, step) in [(Weights::Q8_0, 34), (Weights::F16, 2)] {
        let bytes = bytes(&made(SMALL, weights), 1);
        let model = Model::read(bytes.as_slice(), bytes.len() as u64).unwrap();
        let tensor = model.tensor("blk.1.ffn_up.weight").unwrap();
        let begin = (model.weights_offset + tensor.offset) as usize;
        let blocks = bytes[begin..begin + tensor.bytes as usize].chunks(step);
        let scales = blocks.map(|block| u16::from_le_bytes([block[0], block[1]]));
        for scale in scales.map(loadline_gguf::quantize::f16_value) {
            assert!(scale.is_finite() && scale.abs() < 0.08, "{scale}");
            assert!(weights == Weights::F16 || scale > 2_f32.powi(-14), "{scale}");
        }
        let norm = model.tensor("blk.0.attn_norm.weight").unwrap();
        let begin = (model.weights_offset + norm.offset) as usize;
        let ones = bytes[begin..begin + norm.bytes as usize].chunks(4);
        assert!(ones.into_iter().all(|one| one == 1_f32.to_le_bytes()));
    }
}

#[test]
fn sizes_of_presets_are_known_before_writing() {
    let preset: Preset = "smollm2-135m".parse().unwrap();
    let made = Made::new(preset.shape, Weights::Q4_1).unwrap();
    // The real file has 96,576,768 bytes of weights; the rest is the vocabulary.
    assert_eq!(made.file_bytes() / 1_000_000, 97);
    assert_eq!(made.name(), "made smollm2-135m Q4_1");
}

#[test]
fn a_model_that_cannot_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let made = made(SMALL, Weights::F16);
    let said = made.write(dir.path(), 1).unwrap_err().to_string();
    assert!(said.starts_with("cannot write "), "{said}");
    let missing = dir.path().join("missing").join("m.gguf");
    let said = made.write(&missing, 1).unwrap_err().to_string();
    assert!(said.starts_with("cannot write into "), "{said}");
    // A full disk: every write fails.
    assert!(made.write_to(&mut &mut [0_u8; 5000][..], 1).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_model_larger_than_the_disk_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    // 512 layers of 21 billion parameters each.
    let shape = "layers=512,embedding=65536,feed_forward=131072,heads=64,kv_heads=8,vocab=32000";
    let error = made(shape, Weights::F16).write(&dir.path().join("m.gguf"), 1).unwrap_err();
    assert!(matches!(error, GgufError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("no space for"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn types_are_read_by_name() {
    assert_eq!("q4_1".parse::<Weights>().unwrap(), Weights::Q4_1);
    let said = "Q4_K".parse::<Weights>().unwrap_err().to_string();
    assert_eq!(said, "`Q4_K` is not a type of weights: there are F16, Q8_0, Q4_0, Q4_1");
}

proptest! {
    #[test]
    fn a_made_model_cut_anywhere_is_an_error(part in 0.0..1.0_f64) {
        let whole = bytes(&made(SMALL, Weights::Q4_0), 1);
        let cut = (part * whole.len() as f64) as usize;
        // The last tensor may end before the padding of the file does.
        let whole_from = whole.len() - 31;
        let read = Model::read(&whole[..cut], cut as u64);
        prop_assert!(read.is_err() || cut >= whole_from);
    }

    #[test]
    fn damage_is_never_a_panic(damage in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..9)) {
        let mut bytes = bytes(&made(SMALL, Weights::Q4_0), 1);
        let header = Model::read(bytes.as_slice(), bytes.len() as u64).unwrap().weights_offset;
        for (part, byte) in damage {
            bytes[(part * header as f64) as usize] = byte;
        }
        if let Ok(model) = Model::read(bytes.as_slice(), bytes.len() as u64) {
            prop_assert!(model.summary().weight_bytes <= bytes.len() as u64);
        }
    }

    #[test]
    fn any_shape_that_is_accepted_is_read_again(
        layers in 1_u32..4,
        heads in 1_u32..9,
        kv_heads in 1_u32..9,
        head_length in 1_u32..40,
        feed_forward in 1_u32..200,
        vocab in 500_u32..700,
        tied: bool,
    ) {
        let shape = Shape {
            layers,
            embedding: heads * head_length,
            feed_forward,
            heads,
            kv_heads,
            vocab,
            context: 64,
            tied,
            rope_freq_base: 10_000.0,
        };
        let Ok(made) = Made::new(shape, Weights::Q4_1) else { return Ok(()) };
        let bytes = bytes(&made, 1);
        prop_assert_eq!(bytes.len() as u64, made.file_bytes());
        let summary = Model::read(bytes.as_slice(), bytes.len() as u64).unwrap().summary();
        prop_assert_eq!(summary.parameters, shape.parameters());
    }
}

/// Said past the test runner, which would keep the words of a test that passes to itself.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// A real file named by `LOADLINE_MODEL`; SmolLM2-135M in Q4_1 has the tensors of the made one.
#[test]
fn a_real_model_is_read() {
    let Some(path) = std::env::var_os("LOADLINE_MODEL") else {
        skipped("LOADLINE_MODEL names no model file; the reader met no real model");
        return;
    };
    let model = Model::open(Path::new(&path)).unwrap();
    let summary = model.summary();
    assert!(!summary.made);
    assert!(summary.parameters > 0 && summary.vocabulary.is_some());
    let preset: Preset = "smollm2-135m".parse().unwrap();
    if summary.parameters != preset.shape.parameters()
        || summary.quantization != Some(TensorType::Q4_1)
    {
        skipped(
            "LOADLINE_MODEL is not SmolLM2-135M in Q4_1; made models were not compared with it",
        );
        return;
    }
    let made = bytes(&Made::new(preset.shape, Weights::Q4_1).unwrap(), 1);
    let made = Model::read(made.as_slice(), made.len() as u64).unwrap();
    let tensors = |model: &Model| -> BTreeMap<String, _> {
        let tensors = model.tensors.iter().cloned();
        tensors.map(|t| (t.name, (t.sizes, t.kind, t.bytes))).collect()
    };
    assert_eq!(tensors(&model), tensors(&made));
    let made = made.summary();
    assert_eq!(summary.weight_bytes, made.weight_bytes);
    assert_eq!(summary.step_bytes, made.step_bytes);
    assert_eq!(summary.kv_elements_per_token, made.kv_elements_per_token);
    assert_eq!(summary.vocabulary, made.vocabulary);
    assert_eq!(summary.context_length, made.context_length);
    assert_eq!(summary.head_count, made.head_count);
    assert_eq!(summary.head_count_kv, made.head_count_kv);
    assert_eq!(summary.key_length, made.key_length);
}
