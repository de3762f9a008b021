//! The cells of an engine's grid as columns of a CSV table: base units, the same for every run.

use loadline_schema::document::{EngineResult, Estimate};

/// A column: its name and the field of a cell.
type Column = (String, Box<dyn Fn(&EngineResult) -> Option<String>>);
/// A named setting.
type Setting = (&'static str, fn(&EngineResult) -> u32);
/// A named rate.
type Rate = (&'static str, fn(&EngineResult) -> Option<Estimate>);
/// A named number.
type Number = (&'static str, fn(&EngineResult) -> Option<f64>);

const SETTINGS: [Setting; 8] = [
    ("batch", |r| r.cell.batch),
    ("context", |r| r.cell.context),
    ("prompt_tokens", |r| r.cell.prompt_tokens),
    ("output_tokens", |r| r.cell.output_tokens),
    ("threads", |r| r.cell.threads),
    ("gpu_layers", |r| r.cell.gpu_layers),
    ("n_batch", |r| r.cell.n_batch),
    ("n_ubatch", |r| r.cell.n_ubatch),
];
const RATES: [Rate; 2] = [
    ("prompt_tokens_per_s", |r| r.prompt_tokens_per_s),
    ("decode_tokens_per_s", |r| r.decode_tokens_per_s),
];
const NUMBERS: [Number; 7] = [
    ("decode_tokens_per_s_per_user", |r| r.decode_tokens_per_s_per_user),
    ("memory_bytes", |r| r.memory_bytes.map(|bytes| bytes as f64)),
    ("decode_bytes_per_s", |r| r.decode_bytes_per_s),
    ("mbu", |r| r.mbu),
    ("cost_per_mtok_output", |r| r.cost.as_ref()?.per_mtok_output),
    ("cost_per_mtok_total", |r| r.cost.as_ref()?.per_mtok_total),
    ("joules_per_output_token", |r| r.cost.as_ref()?.joules_per_output_token),
];

pub(crate) fn columns() -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |name: &str, field: Box<dyn Fn(&EngineResult) -> Option<String>>| {
        columns.push((name.to_owned(), field));
    };
    add("stage", Box::new(|r| Some(r.stage.clone())));
    add("model", Box::new(|r| Some(r.model.clone())));
    add("parameters", Box::new(|r| r.parameters.map(|n| n.to_string())));
    add("quantization", Box::new(|r| r.quantization.clone()));
    for (name, of) in SETTINGS {
        add(name, Box::new(move |r| Some(of(r).to_string())));
    }
    add("flash_attention", Box::new(|r| Some(r.cell.flash_attention.to_string())));
    add("type_k", Box::new(|r| Some(r.cell.type_k.clone())));
    add("type_v", Box::new(|r| Some(r.cell.type_v.clone())));
    add("trials", Box::new(|r| Some(r.trials.to_string())));
    for (name, of) in RATES {
        add(name, Box::new(move |r| of(r).map(|rate| rate.value.to_string())));
        add(&format!("{name}_low"), Box::new(move |r| of(r)?.low.map(|low| low.to_string())));
        add(&format!("{name}_high"), Box::new(move |r| of(r)?.high.map(|high| high.to_string())));
    }
    for (name, of) in NUMBERS {
        add(name, Box::new(move |r| of(r).map(|number| number.to_string())));
    }
    add("noisy", Box::new(|r| Some(r.noisy.to_string())));
    add("failed", Box::new(|r| r.failed.clone()));
    columns
}
