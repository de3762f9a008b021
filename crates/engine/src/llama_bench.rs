//! llama-bench, the engine's own benchmark of one sequence: its command line.

use std::ffi::OsString;
use std::path::Path;

use loadline_schema::engine::{EngineCell, FlashAttention};

use crate::error::EngineError;

/// The arguments that measure a cell of one sequence: prompt processing and generation as tests of
/// their own, each `trials` times at the cell's context, after a warm-up, as rows of JSON.
///
/// What the engine decides (flash attention, layers on the GPU) is left out.
///
/// # Errors
/// More than one sequence, nothing to time, no trial, or a path with a comma in it, which
/// llama-bench reads as two.
pub fn arguments(
    model: &Path,
    cell: &EngineCell,
    trials: u32,
) -> Result<Vec<OsString>, EngineError> {
    check(cell, trials)?;
    if cell.batch != 1 {
        let what = format!("llama-bench computes one sequence, not {}", cell.batch);
        return Err(EngineError::Setting { what, help: "use llama-batched-bench" });
    }
    if model.as_os_str().as_encoded_bytes().contains(&b',') {
        let what = format!("the path {} has a comma in it", model.display());
        let help = "llama-bench reads it as two paths: give the model a link without a comma";
        return Err(EngineError::Setting { what, help });
    }
    let mut arguments = vec![OsString::from("-m"), model.into()];
    let mut push = |flag: &str, value: &str| {
        arguments.extend([OsString::from(flag), OsString::from(value)]);
    };
    push("-p", &cell.prompt_tokens.to_string());
    push("-n", &cell.output_tokens.to_string());
    push("-d", &cell.context.to_string());
    shared(cell, &mut push);
    match cell.flash_attention {
        FlashAttention::Auto => {}
        // Older builds know 0 and 1 only.
        FlashAttention::On => push("-fa", "1"),
        FlashAttention::Off => push("-fa", "0"),
    }
    push("-r", &trials.to_string());
    push("-o", "jsonl");
    Ok(arguments)
}

/// The settings that both tools take by the same names.
pub(crate) fn shared(cell: &EngineCell, push: &mut impl FnMut(&str, &str)) {
    push("-t", &cell.threads.to_string());
    if cell.gpu_layers != EngineCell::AUTO {
        push("-ngl", &cell.gpu_layers.to_string());
    }
    push("-b", &cell.n_batch.to_string());
    push("-ub", &cell.n_ubatch.to_string());
    push("-ctk", &cell.type_k);
    push("-ctv", &cell.type_v);
}

/// Refuses what neither tool can measure.
pub(crate) fn check(cell: &EngineCell, trials: u32) -> Result<(), EngineError> {
    let wrong = |what: &str, help| Err(EngineError::Setting { what: what.to_owned(), help });
    if trials == 0 {
        return wrong("0 trials measure nothing", "ask for at least one");
    }
    if cell.prompt_tokens == 0 && cell.output_tokens == 0 {
        return wrong("a cell without prompt and output tokens times nothing", "set one of them");
    }
    if cell.batch == 0 || cell.threads == 0 || cell.n_batch == 0 || cell.n_ubatch == 0 {
        let help = "set batch, threads, n_batch and n_ubatch to 1 or more";
        return wrong("a cell has a setting of 0", help);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn line(arguments: &[OsString]) -> String {
        arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn cell() -> EngineCell {
        EngineCell { threads: 2, context: 256, ..EngineCell::default() }
    }

    #[test]
    fn what_the_engine_decides_is_left_out() {
        let arguments = arguments(Path::new("m.gguf"), &cell(), 3).unwrap();
        assert_eq!(
            line(&arguments),
            "-m m.gguf -p 512 -n 128 -d 256 -t 2 -b 2048 -ub 512 -ctk f16 -ctv f16 -r 3 -o jsonl"
        );
    }

    #[test]
    fn every_setting_is_an_argument() {
        let cell = EngineCell {
            gpu_layers: 0,
            flash_attention: FlashAttention::On,
            type_k: "q8_0".to_owned(),
            type_v: "q4_0".to_owned(),
            prompt_tokens: 0,
            ..cell()
        };
        assert_eq!(
            line(&arguments(Path::new("m.gguf"), &cell, 1).unwrap()),
            "-m m.gguf -p 0 -n 128 -d 256 -t 2 -ngl 0 -b 2048 -ub 512 -ctk q8_0 -ctv q4_0 -fa 1 -r 1 -o jsonl"
        );
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let none = EngineCell { prompt_tokens: 0, output_tokens: 0, ..cell() };
        let cases = [
            arguments(Path::new("a,b.gguf"), &cell(), 1),
            arguments(Path::new("m.gguf"), &cell(), 0),
            arguments(Path::new("m.gguf"), &none, 1),
            arguments(Path::new("m.gguf"), &EngineCell { batch: 4, ..cell() }, 1),
            arguments(Path::new("m.gguf"), &EngineCell { threads: 0, ..cell() }, 1),
        ];
        let errors: Vec<String> =
            cases.into_iter().map(|case| case.unwrap_err().to_string()).collect();
        insta::assert_snapshot!(errors.join("\n"));
    }
}
