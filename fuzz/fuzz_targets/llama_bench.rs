//! Stored results of llama-bench and llama-batched-bench: nothing panics, errors have words, each
//! trial has a time, and chunks change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadline_engine::{JsonLines, import};

fuzz_target!(|bytes: &[u8]| {
    match import(bytes) {
        Ok(imported) => {
            assert!(imported.iter().any(|one| !one.cells.is_empty()));
            for (cell, trials) in imported.iter().flat_map(|one| &one.cells) {
                assert!(cell.batch > 0 && cell.prompt_tokens.max(cell.output_tokens) > 0);
                assert!(!trials.is_empty());
                for trial in trials {
                    assert!(trial.prompt_ns.is_some() || trial.decode_ns.is_some());
                    assert_eq!(trial.prompt_ns.is_some(), trial.prompt_tokens > 0);
                    assert_eq!(trial.decode_ns.is_some(), trial.decode_tokens > 0);
                    assert!(trial.prompt_ns.is_none_or(|ns| ns > 0));
                    assert!(trial.decode_ns.is_none_or(|ns| ns > 0));
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // The first byte is the length of the chunks, too.
    let length = bytes.first().map_or(1, |byte| usize::from(*byte) + 1);
    assert_eq!(lines(bytes, length), lines(bytes, bytes.len().max(1)));
});

fn lines(
    bytes: &[u8],
    length: usize,
) -> Result<Vec<loadline_engine::Imported>, loadline_engine::ImportError> {
    let mut lines = JsonLines::default();
    for chunk in bytes.chunks(length) {
        lines.push(chunk)?;
    }
    lines.finish()
}
