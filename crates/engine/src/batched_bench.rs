//! llama-batched-bench, the engine's own benchmark of several sequences: its command lines.
//!
//! It processes a prompt of `-npp` tokens for each sequence at an empty context and then generates
//! from there, so its generation is at a context of `-npp` tokens and its prompt processing never
//! at any but an empty one. Therefore:
//!
//! - generation of a cell is measured with `-npp` = the cell's context (0: from nothing), and is
//!   comparable to llama-bench's `-d`;
//! - prompt processing is measured by a second run, with `-npp` = the cell's prompt tokens, only
//!   where the context is 0; elsewhere it is left out.
//!
//! A list that names the batch once more than there are trials makes the repetitions; the first is
//! a warm-up, as the tool itself warms up with one short batch only.

use std::ffi::OsString;
use std::path::Path;

use loadline_schema::engine::{EngineCell, FlashAttention};

use crate::error::EngineError;
use crate::llama_bench::{check, shared};

/// The arguments that measure generation, or nothing when the cell has no output tokens.
///
/// # Errors
/// Nothing to time, no trial, or more tokens than llama.cpp can count.
pub fn decode_arguments(
    model: &Path,
    cell: &EngineCell,
    trials: u32,
) -> Result<Option<Vec<OsString>>, EngineError> {
    check(cell, trials)?;
    if cell.output_tokens == 0 {
        return Ok(None);
    }
    arguments(model, cell, cell.context, cell.output_tokens, trials).map(Some)
}

/// The arguments that measure prompt processing, or nothing when the cell has no prompt tokens or
/// its context is not empty.
///
/// # Errors
/// As [`decode_arguments`].
pub fn prompt_arguments(
    model: &Path,
    cell: &EngineCell,
    trials: u32,
) -> Result<Option<Vec<OsString>>, EngineError> {
    check(cell, trials)?;
    if cell.prompt_tokens == 0 || cell.context > 0 {
        return Ok(None);
    }
    arguments(model, cell, cell.prompt_tokens, 0, trials).map(Some)
}

fn arguments(
    model: &Path,
    cell: &EngineCell,
    prompt: u32,
    output: u32,
    trials: u32,
) -> Result<Vec<OsString>, EngineError> {
    let mut arguments = vec![OsString::from("-m"), model.into()];
    let mut push = |flag: &str, value: &str| {
        arguments.extend([OsString::from(flag), OsString::from(value)]);
    };
    push("-c", &context_tokens(cell.batch, prompt, output)?.to_string());
    push("-npp", &prompt.to_string());
    push("-ntg", &output.to_string());
    let batch = cell.batch.to_string();
    push("-npl", &vec![batch.as_str(); trials as usize + 1].join(","));
    shared(cell, &mut push);
    push("-tb", &cell.threads.to_string());
    match cell.flash_attention {
        FlashAttention::Auto => {}
        FlashAttention::On => push("-fa", "on"),
        FlashAttention::Off => push("-fa", "off"),
    }
    push("--output-format", "jsonl");
    Ok(arguments)
}

/// Tokens that the KV cache must hold: those of all sequences, each share rounded up to the 256
/// that llama.cpp rounds to. With less, the tool leaves rows out without a word.
fn context_tokens(batch: u32, prompt: u32, output: u32) -> Result<u32, EngineError> {
    let each = prompt.checked_add(output).and_then(|sum| sum.checked_next_multiple_of(256));
    let all = each.and_then(|each| each.checked_mul(batch));
    all.filter(|all| i32::try_from(*all).is_ok()).ok_or_else(|| EngineError::Setting {
        what: format!(
            "{batch} sequences of {prompt} + {output} tokens are more than llama.cpp can count"
        ),
        help: "take a smaller batch or a shorter context",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama_bench::tests::line;

    fn cell(context: u32) -> EngineCell {
        EngineCell { batch: 4, context, threads: 2, gpu_layers: 0, ..EngineCell::default() }
    }

    #[test]
    fn generation_starts_at_the_context() {
        let model = Path::new("m.gguf");
        assert_eq!(
            line(&decode_arguments(model, &cell(256), 2).unwrap().unwrap()),
            "-m m.gguf -c 2048 -npp 256 -ntg 128 -npl 4,4,4 -t 2 -ngl 0 -b 2048 -ub 512 -ctk f16 \
             -ctv f16 -tb 2 --output-format jsonl"
        );
        assert_eq!(prompt_arguments(model, &cell(256), 2).unwrap(), None);
    }

    #[test]
    fn an_empty_context_takes_two_runs() {
        let model = Path::new("m.gguf");
        let cell = EngineCell { flash_attention: FlashAttention::Off, ..cell(0) };
        let decode = line(&decode_arguments(model, &cell, 1).unwrap().unwrap());
        assert!(decode.starts_with("-m m.gguf -c 1024 -npp 0 -ntg 128 -npl 4,4 "), "{decode}");
        let prompt = line(&prompt_arguments(model, &cell, 1).unwrap().unwrap());
        assert!(prompt.starts_with("-m m.gguf -c 2048 -npp 512 -ntg 0 -npl 4,4 "), "{prompt}");
        assert!(prompt.ends_with("-tb 2 -fa off --output-format jsonl"), "{prompt}");
    }

    #[test]
    fn parts_without_tokens_are_not_run() {
        let model = Path::new("m.gguf");
        let no_output = EngineCell { output_tokens: 0, ..cell(0) };
        assert_eq!(decode_arguments(model, &no_output, 1).unwrap(), None);
        let no_prompt = EngineCell { prompt_tokens: 0, ..cell(0) };
        assert_eq!(prompt_arguments(model, &no_prompt, 1).unwrap(), None);
    }

    #[test]
    fn too_many_tokens_are_refused() {
        let cell = EngineCell { batch: 1 << 20, context: 1 << 20, ..cell(0) };
        let error = decode_arguments(Path::new("m"), &cell, 1).unwrap_err().to_string();
        assert!(error.contains("more than llama.cpp can count"), "{error}");
    }
}
