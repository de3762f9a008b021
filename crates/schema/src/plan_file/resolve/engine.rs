//! `[[engine]]` and the embedded server of `[[serving]]`.

use super::super::error::Fault;
use super::super::{EngineFile, ServingFile};
use super::{at_least_one, check_name};
use crate::engine::{EmbeddedServer, EngineCell, EngineStage, ModelSource};
use crate::plan::{Load, Output, Prompt};

/// Batches of a stage that names none.
const DEFAULT_BATCH: [u64; 3] = [1, 4, 16];
const DEFAULT_TRIALS: u32 = 5;
/// Cells beyond which a grid is taken for a slip.
const MOST_CELLS: usize = 10_000;
/// Largest value of any axis.
const MOST: u64 = 16 << 20;
/// Answers at once of an embedded server that does not say: the largest concurrency, at most these.
const MOST_PARALLEL: u64 = 64;
/// The same where the load is no concurrency.
const DEFAULT_PARALLEL: u64 = 16;

/// Types of keys and values in a KV cache.
const KV_TYPES: [&str; 9] =
    ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"];

pub(super) fn stage(given: &EngineFile, index: usize) -> Result<EngineStage, Fault> {
    let fallback = if index == 0 { "engine".to_owned() } else { format!("engine-{}", index + 1) };
    let name = given.name.clone().unwrap_or(fallback);
    check_name(&name, "name")?;
    let default = EngineCell::default();
    let output_tokens = given.output_tokens.unwrap_or(default.output_tokens);
    let prompt_tokens = given.prompt_tokens.unwrap_or(default.prompt_tokens);
    if output_tokens == 0 && prompt_tokens == 0 {
        let help = "one of `prompt_tokens` and `output_tokens` is what is timed";
        return Err(Fault::at(&["output_tokens"], "no tokens are processed", help));
    }
    let trials = at_least_one("trials", given.trials.map(u64::from))?;
    Ok(EngineStage {
        name,
        model: model("model", given.model.as_deref().unwrap_or("made"))?,
        with: given.with.clone(),
        cells: cells(given, prompt_tokens, output_tokens)?,
        trials: trials.map_or(DEFAULT_TRIALS, |trials| trials as u32),
        memory_bandwidth: given.memory_bandwidth.unwrap_or(true),
        imported: None,
    })
}

fn model(key: &str, text: &str) -> Result<ModelSource, Fault> {
    if text.trim().is_empty() {
        let help = "write the path of a GGUF file, or `made` for random weights made on the spot";
        return Err(Fault::at(&[key], format!("`{key}` is empty"), help));
    }
    Ok(ModelSource::from_text(text))
}

/// Every combination, the last axis moving fastest: threads, GPU layers, n_ubatch, context, batch.
fn cells(given: &EngineFile, prompt: u32, output: u32) -> Result<Vec<EngineCell>, Fault> {
    let default = EngineCell::default();
    let batch = axis("batch", given.batch.as_deref(), &DEFAULT_BATCH, 1)?;
    let context = axis("context", given.context.as_deref(), &[0], 0)?;
    let threads = axis("threads", given.threads.as_deref(), &[1], 1)?;
    let gpu_layers =
        axis("gpu_layers", given.gpu_layers.as_deref(), &[u64::from(default.gpu_layers)], 0)?;
    let n_ubatch = axis("n_ubatch", given.n_ubatch.as_deref(), &[u64::from(default.n_ubatch)], 1)?;
    let n_batch = given.n_batch.unwrap_or(default.n_batch);
    if n_batch == 0 {
        return Err(Fault::at(&["n_batch"], "`n_batch` is 0", "write at least 1, as in 2048"));
    }
    let all = [&batch, &context, &threads, &gpu_layers, &n_ubatch];
    let count = all.iter().try_fold(1_usize, |all, axis| all.checked_mul(axis.len()));
    if count.is_none_or(|count| count > MOST_CELLS) {
        let message = format!("the grid has more than {MOST_CELLS} cells");
        return Err(Fault::at(&["batch"], message, "name fewer values, or use several stages"));
    }
    let type_k = kv_type("type_k", given.type_k.as_deref())?;
    let type_v = kv_type("type_v", given.type_v.as_deref())?;
    let mut cells = Vec::new();
    for (threads, gpu_layers) in pairs(&threads, &gpu_layers) {
        for (n_ubatch, context) in pairs(&n_ubatch, &context) {
            cells.extend(batch.iter().map(|batch| EngineCell {
                batch: *batch,
                context,
                prompt_tokens: prompt,
                output_tokens: output,
                threads,
                gpu_layers,
                n_batch,
                n_ubatch,
                flash_attention: given.flash_attention.unwrap_or(default.flash_attention),
                type_k: type_k.clone(),
                type_v: type_v.clone(),
            }));
        }
    }
    Ok(cells)
}

fn pairs<'a>(outer: &'a [u32], inner: &'a [u32]) -> impl Iterator<Item = (u32, u32)> + 'a {
    outer.iter().flat_map(|a| inner.iter().map(|b| (*a, *b)))
}

/// The values of one axis: each once, none below `least`.
fn axis(key: &str, given: Option<&[u64]>, default: &[u64], least: u64) -> Result<Vec<u32>, Fault> {
    let Some(values) = given else {
        return Ok(default.iter().map(|value| *value as u32).collect());
    };
    if values.is_empty() {
        return Err(Fault::at(
            &[key],
            format!("`{key}` is an empty list"),
            "write one value or more",
        ));
    }
    let mut axis: Vec<u32> = Vec::with_capacity(values.len());
    for value in values {
        if *value < least || *value > MOST {
            let message = format!("`{key}` is {value}");
            return Err(Fault::at(&[key], message, format!("write {least} to {MOST}")));
        }
        let value = *value as u32;
        if axis.contains(&value) {
            let message = format!("`{key}` has {value} twice");
            return Err(Fault::at(&[key], message, "name each value once; `trials` repeats"));
        }
        axis.push(value);
    }
    Ok(axis)
}

fn kv_type(key: &str, given: Option<&str>) -> Result<String, Fault> {
    let text = given.unwrap_or("f16").to_lowercase();
    if KV_TYPES.contains(&text.as_str()) {
        return Ok(text);
    }
    let message = format!("`{key}` is `{text}`, which is no type of a KV cache");
    Err(Fault::at(&[key], message, format!("write one of {}", KV_TYPES.join(", "))))
}

/// The server that a serving stage brings along; refuses its settings where it brings none.
pub(super) fn embedded(
    given: &ServingFile,
    points: &[Load],
    prompt: &Prompt,
    output: &Output,
) -> Result<Option<EmbeddedServer>, Fault> {
    let Some(text) = &given.embedded else {
        let of_embedded = [
            ("parallel", given.parallel),
            ("threads", given.threads),
            ("gpu_layers", given.gpu_layers),
        ];
        return match of_embedded.iter().find(|(_, value)| value.is_some()) {
            Some((key, _)) => Err(Fault::at(
                &[key],
                format!("`{key}` belongs to `embedded`, which is not there"),
                "a server of yours is not started by Loadline: set it there",
            )),
            None => Ok(None),
        };
    };
    if !given.endpoint.is_empty() {
        let message = "both `endpoint` and `embedded`: a stage has one target";
        return Err(Fault::at(&["embedded"], message, "remove one of the two"));
    }
    let slots = points.iter().filter_map(|point| match point {
        Load::Closed { concurrency } => Some(*concurrency),
        Load::Open { .. } | Load::Burst { .. } => None,
    });
    let parallel = match at_least_one("parallel", given.parallel.map(u64::from))? {
        Some(parallel) => parallel,
        None => slots.max().unwrap_or(DEFAULT_PARALLEL).min(MOST_PARALLEL),
    };
    let prompt = match prompt {
        Prompt::Synthetic { tokens, .. } => tokens.most(),
        Prompt::File { .. } => f64::from(EngineCell::default().n_batch),
    };
    // Prompts come out a few tokens longer than asked for at times.
    let need = (prompt * 1.25 + 64.0 + output.tokens.most()).ceil() as u32;
    Ok(Some(EmbeddedServer {
        model: model("embedded", text)?,
        parallel: parallel as u32,
        context_per_slot: need.next_multiple_of(256),
        threads: at_least_one("threads", given.threads.map(u64::from))?.map(|n| n as u32),
        gpu_layers: given.gpu_layers.unwrap_or(EngineCell::AUTO),
    }))
}
