//! `checkpoint = { … }` and `model_load = { … }`.

use super::super::super::error::Fault;
use super::super::super::{CheckpointFileTable, StorageFile};
use crate::storage::{
    Checkpoint, CheckpointModel, LoadMethod, MODELS, ModelFormat, ModelLoad, Sharing,
    TransformerShape,
};
use crate::units::{Bytes, Ratio};

const DEFAULT_MODEL: &str = "llama3-8b";
const DEFAULT_BS: u64 = 1 << 20;
const DEFAULT_MODEL_BYTES: u64 = 4 << 30;
const DEFAULT_SHARD: u64 = 5_000_000_000;
const DEFAULT_READERS: [u64; 2] = [1, 8];
const DEFAULT_IODEPTH: u32 = 8;
const MOST_RANKS: u32 = 4096;

pub(super) fn checkpoint(given: &StorageFile) -> Result<Checkpoint, Fault> {
    let table = &given.checkpoint;
    let under = |fault: Fault| fault.under(&["checkpoint"]);
    let ranks = count("ranks", table.ranks, 1).map_err(under)?;
    let tensor = count("tensor_parallel", table.tensor_parallel, 1).map_err(under)?;
    let pipeline = count("pipeline_parallel", table.pipeline_parallel, 1).map_err(under)?;
    if tensor * pipeline > ranks || !ranks.is_multiple_of(tensor * pipeline) {
        let message = format!("{ranks} ranks are no multiple of {tensor} × {pipeline}");
        let help = "ranks = tensor_parallel × pipeline_parallel × data-parallel replicas";
        return Err(under(Fault::at(&["ranks"], message, help)));
    }
    let zero = table.zero.unwrap_or(if ranks == 1 { 0 } else { 3 });
    if zero > 3 {
        let message = format!("`zero` is {zero}");
        return Err(under(Fault::at(&["zero"], message, "ZeRO has the stages 0 to 3")));
    }
    let model = model(table).map_err(under)?;
    if matches!(model, CheckpointModel::Lora { .. }) && ranks > 1 {
        let help = "adapters are saved by one process: leave `ranks` out";
        return Err(under(Fault::at(&["ranks"], "LoRA adapters with several ranks", help)));
    }
    let scale = table.scale.map_or(1.0, |Ratio(scale)| scale);
    if !(scale > 0.0 && scale <= 1.0) {
        let message = format!("`scale` is {scale}");
        return Err(under(Fault::at(&["scale"], message, "write a share above 0, up to 1")));
    }
    Ok(Checkpoint {
        model,
        ranks,
        tensor_parallel: tensor,
        pipeline_parallel: pipeline,
        zero: zero as u8,
        scale,
        bs_bytes: block("bs", table.bs).map_err(under)?,
        direct: table.direct.unwrap_or(false),
        restore: table.restore.unwrap_or(true),
        interval_ns: table.interval.map(|interval| interval.0).filter(|ns| *ns > 0),
        mtbf_ns: table.mtbf.map(|mtbf| mtbf.0).filter(|ns| *ns > 0),
    })
}

fn shape(name: &str) -> Option<TransformerShape> {
    MODELS.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
}

/// A name, a number of parameters (`7B`, `350M`), or `lora:MODEL:RANK`.
fn model(table: &CheckpointFileTable) -> Result<CheckpointModel, Fault> {
    let text = table.model.as_deref().unwrap_or(DEFAULT_MODEL).trim();
    let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
    let wrong = |what: String| {
        let help = format!(
            "write {}, a number of parameters as in `7B`, or `lora:MODEL:RANK`",
            names.join(", ")
        );
        Fault::at(&["model"], what, help)
    };
    if let Some(lora) = text.strip_prefix("lora:") {
        let (name, rank) = lora.rsplit_once(':').unwrap_or((lora, "16"));
        let found = shape(name).zip(rank.parse().ok().filter(|rank| (1..=65_536).contains(rank)));
        let (shape, rank) = found.ok_or_else(|| wrong(format!("`{text}` is no LoRA adapter")))?;
        return Ok(CheckpointModel::Lora { name: name.to_owned(), shape, rank });
    }
    if let Some(shape) = shape(text) {
        return Ok(CheckpointModel::Shape { name: text.to_owned(), shape });
    }
    let parameters = parameters(text).ok_or_else(|| wrong(format!("`{text}` is no model")))?;
    Ok(CheckpointModel::Parameters { parameters })
}

fn parameters(text: &str) -> Option<u64> {
    let (number, factor) = match text.chars().last()? {
        'B' | 'b' | 'G' => (&text[..text.len() - 1], 1e9),
        'M' | 'm' => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let parameters = number.trim().parse::<f64>().ok()? * factor;
    (parameters.is_finite() && (1.0..=1e15).contains(&parameters)).then_some(parameters as u64)
}

fn count(key: &str, value: Option<u32>, default: u32) -> Result<u32, Fault> {
    match value {
        Some(value) if value == 0 || value > MOST_RANKS => {
            let message = format!("`{key}` is {value}");
            Err(Fault::at(&[key], message, format!("write 1 to {MOST_RANKS}")))
        }
        value => Ok(value.unwrap_or(default)),
    }
}

fn block(key: &str, value: Option<Bytes>) -> Result<u64, Fault> {
    let bytes = value.map_or(DEFAULT_BS, |bytes| bytes.0);
    if bytes == 0 || !bytes.is_multiple_of(4096) || bytes > 1 << 30 {
        let message = format!("`{key}` is {bytes} bytes");
        return Err(Fault::at(&[key], message, "write a multiple of 4 KiB, as in 1MiB"));
    }
    Ok(bytes)
}

/// Every combination of methods and readers, cold; then the first one warm.
pub(super) fn model_loads(given: &StorageFile) -> Result<Vec<ModelLoad>, Fault> {
    let table = &given.model_load;
    let under = |fault: Fault| fault.under(&["model_load"]);
    let bytes = table.size.map_or(DEFAULT_MODEL_BYTES, |size| size.0);
    if bytes < 16 << 20 {
        let message = format!("a model of {bytes} bytes");
        return Err(under(Fault::at(&["size"], message, "write 16 MiB or more")));
    }
    let methods = match &table.method[..] {
        [] => LoadMethod::ALL.to_vec(),
        methods => methods.to_vec(),
    };
    let readers = table.readers.clone();
    if let Some(readers) = &readers {
        super::check_axis("readers", readers, 256).map_err(under)?;
    }
    let one = ModelLoad {
        format: table.format.unwrap_or(ModelFormat::Safetensors),
        bytes,
        shard_bytes: table.shard.map_or(DEFAULT_SHARD, |shard| shard.0.max(1 << 20)),
        method: LoadMethod::Mmap,
        readers: 1,
        ranks: count("ranks", table.ranks, 1).map_err(under)?,
        sharing: table.sharing.unwrap_or(Sharing::OneFile),
        cold: true,
        bs_bytes: block("bs", table.bs).map_err(under)?,
        iodepth: count("iodepth", table.iodepth, DEFAULT_IODEPTH).map_err(under)?,
    };
    let mut loads = Vec::new();
    for method in methods {
        let default: &[u64] =
            if method == LoadMethod::Mmap { &DEFAULT_READERS[..1] } else { &DEFAULT_READERS };
        let readers = readers.as_deref().unwrap_or(default);
        let cell = |readers: &u64| ModelLoad { method, readers: *readers as u32, ..one.clone() };
        loads.extend(readers.iter().map(cell));
    }
    if table.warm.unwrap_or(true) {
        loads.push(ModelLoad { cold: false, ..loads[0].clone() });
    }
    Ok(loads)
}
