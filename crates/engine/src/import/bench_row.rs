//! What a row of llama-bench or llama-batched-bench measured, and what it says about the engine.

use std::collections::BTreeMap;

use loadline_schema::engine::{EngineCell, EngineDevice, EngineFacts, ModelFacts};

use super::fields::Fields;
use crate::error::ImportError;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Prompt,
    Decode,
}

/// One part of one cell, with its times.
#[derive(Debug)]
pub(super) struct Timed {
    /// The cell without its prompt and output tokens.
    pub(super) cell: EngineCell,
    pub(super) part: Part,
    /// Tokens of each sequence.
    pub(super) tokens: u32,
    /// Times of the trials, ns.
    pub(super) times_ns: Vec<u64>,
}

/// A row as understood.
#[derive(Debug)]
pub(super) struct Understood {
    /// Whatever is neither in a cell nor measured: build, machine, model, other settings.
    pub(super) setup: BTreeMap<String, String>,
    pub(super) timed: Vec<Timed>,
    pub(super) notes: Vec<String>,
    /// Why it is left out.
    pub(super) skipped: Option<&'static str>,
}

const BENCH_ROW: [&str; 16] = [
    "n_batch",
    "n_ubatch",
    "n_threads",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "flash_attn",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ts",
];

const BATCHED_ROW: [&str; 19] = [
    "n_kv_max",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "n_threads_batch",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "flash_attn",
    "is_pp_shared",
    "pp",
    "tg",
    "pl",
    "n_kv",
    "t_pp",
    "speed_pp",
    "t_tg",
    "speed_tg",
    "speed",
];

pub(super) fn understand(row: &Fields) -> Result<Understood, ImportError> {
    if row.has("n_prompt") || row.has("n_gen") {
        bench(row)
    } else if row.has("pp") || row.has("pl") {
        batched(row)
    } else {
        let what = "neither `n_prompt` and `n_gen` nor `pp`, `tg` and `pl` are there";
        let expected = "expected a row of llama-bench or of llama-batched-bench";
        Err(ImportError::row(row.place, what, expected))
    }
}

fn bench(row: &Fields) -> Result<Understood, ImportError> {
    let (prompt, output) = (row.count("n_prompt")?, row.count("n_gen")?);
    let cell = EngineCell {
        batch: 1,
        context: row.count_or_0("n_depth")?,
        prompt_tokens: 0,
        output_tokens: 0,
        threads: row.count("n_threads")?,
        gpu_layers: row.gpu_layers()?,
        n_batch: row.count("n_batch")?,
        n_ubatch: row.count("n_ubatch")?,
        flash_attention: row.flash_attention()?,
        type_k: row.text("type_k")?.to_owned(),
        type_v: row.text("type_v")?.to_owned(),
    };
    let (part, tokens) = match (prompt, output) {
        (0, 0) => {
            let expected = "expected one of `n_prompt` and `n_gen` above 0";
            return Err(ImportError::row(row.place, "no token is timed", expected));
        }
        (prompt, 0) => (Part::Prompt, prompt),
        (0, output) => (Part::Decode, output),
        _ => {
            return Ok(Understood {
                setup: row.without(&BENCH_ROW),
                timed: Vec::new(),
                notes: Vec::new(),
                skipped: Some("with one time for prompt and generation together (-pg)"),
            });
        }
    };
    let mut notes = Vec::new();
    let times_ns = match row.samples() {
        Some(samples) => samples.to_vec(),
        None => {
            let note = "there are no samples (csv has none): a trial is the mean of all \
                        repetitions of its test; their standard deviation is left out";
            notes.push(note.to_owned());
            vec![row.ns("avg_ns")?]
        }
    };
    let timed = vec![Timed { cell, part, tokens, times_ns }];
    Ok(Understood { setup: row.without(&BENCH_ROW), timed, notes, skipped: None })
}

fn batched(row: &Fields) -> Result<Understood, ImportError> {
    let (prompt, output, batch) = (row.count("pp")?, row.count("tg")?, row.count("pl")?);
    let (prompt_ns, output_ns) = (row.seconds_ns("t_pp")?, row.seconds_ns("t_tg")?);
    if batch == 0 || (prompt == 0 && output == 0) {
        let expected = "expected `pl`, and one of `pp` and `tg`, above 0";
        return Err(ImportError::row(row.place, "no token is timed", expected));
    }
    let threads = row.count("n_threads")?;
    // llama.cpp computes with n_threads_batch threads whatever is more than one token.
    let threads_batch =
        if row.has("n_threads_batch") { row.count("n_threads_batch")? } else { threads };
    let type_of = |name| row.text(name).unwrap_or("f16").to_owned();
    let cell = |context, threads| -> Result<EngineCell, ImportError> {
        Ok(EngineCell {
            batch,
            context,
            prompt_tokens: 0,
            output_tokens: 0,
            threads,
            gpu_layers: row.gpu_layers()?,
            n_batch: row.count("n_batch")?,
            n_ubatch: row.count("n_ubatch")?,
            flash_attention: row.flash_attention()?,
            type_k: type_of("type_k"),
            type_v: type_of("type_v"),
        })
    };
    let mut understood = Understood {
        setup: row.without(&[&BATCHED_ROW[..], &["t", "is_tg_separate", "table"]].concat()),
        timed: Vec::new(),
        notes: vec![
            "llama-batched-bench does not tell the model, the build or the types of the KV cache: \
             f16 is assumed"
                .to_owned(),
        ],
        skipped: None,
    };
    if row.has("table") {
        understood.notes.push("the table has times to the millisecond".to_owned());
    }
    let flag = |name| row.text(name).is_ok_and(|text| text != "0" && text != "false");
    if flag("is_pp_shared") {
        understood.skipped = Some("with one prompt for all sequences (-pps)");
    } else if flag("is_tg_separate") {
        understood.skipped = Some("with one sequence after the other");
    } else if (prompt > 0 && prompt_ns == 0) || (output > 0 && output_ns == 0) {
        understood.skipped = Some("with a time that is rounded to 0");
    }
    if understood.skipped.is_none() {
        let decode_threads = if batch == 1 { threads } else { threads_batch };
        let prompt = (cell(0, threads_batch)?, Part::Prompt, prompt, prompt_ns);
        let decode = (cell(row.count("pp")?, decode_threads)?, Part::Decode, output, output_ns);
        for (cell, part, tokens, ns) in [prompt, decode] {
            if tokens > 0 {
                understood.timed.push(Timed { cell, part, tokens, times_ns: vec![ns] });
            }
        }
    }
    Ok(understood)
}

/// The facts that a setup tells. `llama-bench` writes them, `llama-batched-bench` does not.
pub(super) fn facts(setup: &BTreeMap<String, String>) -> EngineFacts {
    let known = |name: &str| {
        let value = setup.get(name).map(String::as_str);
        value.filter(|text| !text.is_empty() && *text != "unknown")
    };
    let number = known("build_number").filter(|number| *number != "0");
    let version = match (number, known("build_commit")) {
        (Some(number), Some(commit)) => Some(format!("b{number} ({commit})")),
        (Some(number), None) => Some(format!("b{number}")),
        (None, commit) => commit.map(str::to_owned),
    };
    let is_bench = setup.contains_key("model_filename");
    let tool = if is_bench { "llama-bench" } else { "llama-batched-bench" };
    EngineFacts {
        name: "llama.cpp".to_owned(),
        version,
        build: known("backends").map(|backends| format!("back ends: {backends}")),
        devices: devices(known("backends"), known("cpu_info"), known("gpu_info")),
        measured_by: tool.to_owned(),
        model: model(setup),
        ..EngineFacts::default()
    }
}

/// The processors, then the GPUs by the number of their back end.
fn devices(backends: Option<&str>, cpu: Option<&str>, gpus: Option<&str>) -> Vec<EngineDevice> {
    let device = |name: String, description: &str| EngineDevice {
        name,
        description: description.trim().to_owned(),
        memory_bytes: None,
    };
    let backend = backends.filter(|names| !names.contains(',')).unwrap_or("GPU");
    let cpus = cpu.map(|cpu| device("CPU".to_owned(), cpu));
    let gpus = gpus.into_iter().flat_map(|gpus| gpus.split(", ")).enumerate();
    cpus.into_iter().chain(gpus.map(|(n, gpu)| device(format!("{backend}{n}"), gpu))).collect()
}

fn model(setup: &BTreeMap<String, String>) -> ModelFacts {
    let source = setup.get("model_filename").cloned().unwrap_or_default();
    let file = source.rsplit(['/', '\\']).next().unwrap_or_default();
    let size = |name: &str| setup.get(name)?.parse().ok().filter(|size: &u64| *size > 0);
    // llama 256M Q4_1; gemma3 270M Q4_K - Medium; llama 7B mostly Q4_0.
    let mut words = setup.get("model_type").map_or("", String::as_str).splitn(3, ' ');
    let architecture = words.next().filter(|word| !word.is_empty()).map(str::to_owned);
    let _size = words.next();
    let quantization =
        words.next().map(|rest| rest.trim_start_matches("mostly ").trim().to_owned());
    ModelFacts {
        name: file.strip_suffix(".gguf").unwrap_or(file).to_owned(),
        architecture,
        parameters: size("model_n_params"),
        quantization: quantization.filter(|text| !text.is_empty()),
        weight_bytes: size("model_size"),
        source,
        ..ModelFacts::default()
    }
}
