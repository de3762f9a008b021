//! The files of a model as they are on disk: header and tensors of a Llama-like model, scaled so that
//! they fill each file to the byte.
//!
//! Safetensors: length of the header (8 bytes, little-endian), a JSON object of tensors with type,
//! shape and offsets, spaces up to the data, then the data without gaps. GGUF version 3: magic,
//! version, counts, metadata, tensors with offsets that are multiples of 32, then the data.

use loadline_schema::storage::{MODELS, ModelFormat, ModelLoad, Sharing, TransformerShape};

/// A tensor in a file; the header counts as one, for it is read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where it begins.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) bytes: u64,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelFile {
    /// Its name, which tells what the file holds.
    pub(super) name: String,
    /// Its size, bytes.
    pub(super) bytes: u64,
    /// What it begins with.
    pub(super) header: Vec<u8>,
    /// Header and tensors, in order and without gaps.
    pub(super) extents: Vec<Extent>,
}

/// Least bytes of a file: room for a header.
const LEAST: u64 = 4096;
/// Bytes of an element (BF16, F16).
const ELEMENT: u64 = 2;
/// Widths are multiples of this, so that every row is one of GGUF's alignment of 32 bytes.
const WIDTH: u64 = 16;
const ALIGNMENT: u64 = 32;

/// All files of a model.
///
/// # Errors
/// A file would be too small for a header; in words.
pub(super) fn files(load: &ModelLoad) -> Result<Vec<ModelFile>, String> {
    let sizes = load.files();
    let count = sizes.len() as u64;
    let ending = load.format.as_str();
    let set = match load.sharing {
        Sharing::OneFile => format!("model-{ending}-{}", load.bytes),
        Sharing::Shards => format!("model-{ending}-{}-shards-{}", load.bytes, load.ranks),
    };
    let shape = scaled(load.bytes);
    let file = |(n, bytes): (usize, u64)| {
        if bytes < LEAST {
            return Err(format!(
                "a file of {bytes} bytes is too small for a model: use at least {LEAST} for each \
                 of the {count} files"
            ));
        }
        // A shard of a rank has a part of every tensor, a file of several its own tensors.
        let (part, parts) = match load.sharing {
            Sharing::OneFile => (n as u64, count),
            Sharing::Shards => (0, 1),
        };
        let name = format!("{set}-{:05}-of-{count:05}.{ending}", n + 1);
        let (header, tensors) = filled(load.format, &shape, (part, parts), bytes);
        let mut offset = header.len() as u64;
        let mut extents = vec![Extent { offset: 0, bytes: offset }];
        for tensor in tensors {
            extents.push(Extent { offset, bytes: tensor.bytes() });
            offset += tensor.bytes();
        }
        Ok(ModelFile { name, bytes, header, extents })
    };
    sizes.into_iter().enumerate().map(file).collect()
}

/// A tensor by its sizes; without columns it is a vector of bytes that fills a file up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tensor {
    name: String,
    rows: u64,
    columns: u64,
}

impl Tensor {
    fn bytes(&self) -> u64 {
        if self.columns == 0 { self.rows } else { self.rows * self.columns * ELEMENT }
    }
}

/// The known model nearest in size, with its widths scaled to so many bytes.
fn scaled(bytes: u64) -> TransformerShape {
    let parameters = (bytes / ELEMENT).max(1) as f64;
    let far = |shape: &TransformerShape| (shape.parameters() as f64 / parameters).ln().abs();
    let nearest = MODELS.iter().map(|(_, shape)| *shape);
    let nearest = nearest.min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(MODELS[0].1);
    // Every matrix has two widths, so that its size goes with the square.
    let scale = (parameters / nearest.parameters() as f64).sqrt();
    let width = |of: u64| ((of as f64 * scale) as u64 / WIDTH * WIDTH).max(WIDTH);
    TransformerShape {
        vocabulary: width(nearest.vocabulary),
        hidden: width(nearest.hidden),
        mlp: width(nearest.mlp),
        ..nearest
    }
}

/// Header and tensors of a file of so many bytes. Where it is too small for the headers of all
/// layers it has fewer.
fn filled(
    format: ModelFormat,
    shape: &TransformerShape,
    part: (u64, u64),
    bytes: u64,
) -> (Vec<u8>, Vec<Tensor>) {
    let header = |tensors: &[Tensor], room: u64| match format {
        ModelFormat::Safetensors => safetensors(tensors, room as usize),
        ModelFormat::Gguf => gguf(tensors),
    };
    let mut layers = shape.layers;
    loop {
        let names = tensors_of(format, &TransformerShape { layers, ..*shape }, part);
        let room = room(format, &names, bytes);
        let data = bytes.saturating_sub(room);
        let tensors = if room < bytes / 2 { fitted(&names, data) } else { None };
        if let Some(tensors) = tensors {
            return (header(&tensors, room), tensors);
        }
        if layers == 0 {
            let room = self::room(format, &[], bytes);
            let tensors = vec![rest(bytes - room)];
            return (header(&tensors, room), tensors);
        }
        layers /= 2;
    }
}

/// Bytes of the header of these tensors and a rest, whatever their sizes turn out to be.
fn room(format: ModelFormat, tensors: &[Tensor], bytes: u64) -> u64 {
    let of = |tensors: &[Tensor]| match format {
        // Spaces may follow the JSON text, whose numbers are no larger than `bytes`.
        ModelFormat::Safetensors => (safetensors(tensors, 0).len() + 16 * tensors.len()) as u64,
        // All numbers have a fixed width.
        ModelFormat::Gguf => gguf(tensors).len() as u64,
    };
    let widest = |tensor: &Tensor| match format {
        ModelFormat::Safetensors => Tensor { rows: bytes, columns: 0, ..tensor.clone() },
        ModelFormat::Gguf => tensor.clone(),
    };
    let widest: Vec<Tensor> = tensors.iter().map(widest).chain([rest(bytes)]).collect();
    of(&widest).next_multiple_of(ALIGNMENT)
}

fn rest(bytes: u64) -> Tensor {
    Tensor { name: "rest".to_owned(), rows: bytes, columns: 0 }
}

/// The tensors with as many rows as fill so many bytes, in proportion; the rest, which is never
/// empty, goes into a tensor of its own. `None` where the fewest rows are too much.
fn fitted(tensors: &[Tensor], bytes: u64) -> Option<Vec<Tensor>> {
    let all: u64 = tensors.iter().map(Tensor::bytes).sum();
    let mut factor = bytes as f64 / all.max(1) as f64;
    for _ in 0..64 {
        let scaled = |tensor: &Tensor| {
            let rows = (tensor.rows as f64 * factor) as u64;
            // A matrix stays one.
            Tensor { rows: if tensor.rows == 1 { 1 } else { rows.max(2) }, ..tensor.clone() }
        };
        let mut fitted: Vec<Tensor> = tensors.iter().map(scaled).collect();
        let used: u64 = fitted.iter().map(Tensor::bytes).sum();
        if used < bytes {
            fitted.push(rest(bytes - used));
            return Some(fitted);
        }
        factor *= 0.9;
    }
    None
}

/// The tensors of one of several files, with their names in this format.
fn tensors_of(format: ModelFormat, shape: &TransformerShape, part: (u64, u64)) -> Vec<Tensor> {
    let (part, parts) = part;
    let (h, f) = (shape.hidden, shape.mlp);
    let kv = (h * shape.kv_heads / shape.heads).max(1);
    let gguf = format == ModelFormat::Gguf;
    let name = |safetensors: &str, in_gguf: &str| {
        if gguf { format!("{in_gguf}.weight") } else { format!("{safetensors}.weight") }
    };
    let mut tensors = Vec::new();
    let mut add = |name, rows, columns| tensors.push(Tensor { name, rows, columns });
    if part == 0 {
        add(name("model.embed_tokens", "token_embd"), shape.vocabulary, h);
    }
    for layer in shape.layers * part / parts..shape.layers * (part + 1) / parts {
        let of_layer = |safetensors: &str, in_gguf: &str| {
            name(&format!("model.layers.{layer}.{safetensors}"), &format!("blk.{layer}.{in_gguf}"))
        };
        add(of_layer("input_layernorm", "attn_norm"), 1, h);
        add(of_layer("self_attn.q_proj", "attn_q"), h, h);
        add(of_layer("self_attn.k_proj", "attn_k"), kv, h);
        add(of_layer("self_attn.v_proj", "attn_v"), kv, h);
        add(of_layer("self_attn.o_proj", "attn_output"), h, h);
        add(of_layer("post_attention_layernorm", "ffn_norm"), 1, h);
        add(of_layer("mlp.gate_proj", "ffn_gate"), f, h);
        add(of_layer("mlp.up_proj", "ffn_up"), f, h);
        add(of_layer("mlp.down_proj", "ffn_down"), h, f);
    }
    if part + 1 == parts {
        add(name("model.norm", "output_norm"), 1, h);
        add(name("lm_head", "output"), shape.vocabulary, h);
    }
    tensors
}

/// A safetensors header, with spaces up to `room` bytes.
fn safetensors(tensors: &[Tensor], room: usize) -> Vec<u8> {
    let mut json = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.bytes();
        let (kind, shape) = match (tensor.rows, tensor.columns) {
            (bytes, 0) => ("U8", bytes.to_string()),
            (1, columns) => ("BF16", columns.to_string()),
            (rows, columns) => ("BF16", format!("{rows},{columns}")),
        };
        json.push_str(&format!(
            ",\"{}\":{{\"dtype\":\"{kind}\",\"shape\":[{shape}],\"data_offsets\":[{offset},{end}]}}",
            tensor.name
        ));
        offset = end;
    }
    json.push('}');
    let length = json.len().max(room.saturating_sub(8));
    let mut header = (length as u64).to_le_bytes().to_vec();
    header.extend(json.as_bytes());
    header.resize(8 + length, b' ');
    header
}

/// A GGUF header, with zeros up to the alignment.
fn gguf(tensors: &[Tensor]) -> Vec<u8> {
    const STRING: u32 = 8;
    const UINT32: u32 = 4;
    const F16: u32 = 1;
    const I8: u32 = 24;
    let mut header = b"GGUF".to_vec();
    let text = |header: &mut Vec<u8>, text: &str| {
        header.extend((text.len() as u64).to_le_bytes());
        header.extend(text.as_bytes());
    };
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend(2_u64.to_le_bytes());
    text(&mut header, "general.architecture");
    header.extend(STRING.to_le_bytes());
    text(&mut header, "llama");
    text(&mut header, "general.alignment");
    header.extend(UINT32.to_le_bytes());
    header.extend((ALIGNMENT as u32).to_le_bytes());
    let mut offset = 0_u64;
    for tensor in tensors {
        text(&mut header, &tensor.name);
        // The contiguous size comes first.
        let (kind, sizes) = match (tensor.rows, tensor.columns) {
            (bytes, 0) => (I8, vec![bytes]),
            (1, columns) => (F16, vec![columns]),
            (rows, columns) => (F16, vec![columns, rows]),
        };
        header.extend((sizes.len() as u32).to_le_bytes());
        sizes.iter().for_each(|size| header.extend(size.to_le_bytes()));
        header.extend(kind.to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset += tensor.bytes();
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::model_load::tests::load;

    /// Follows the format's rules: the header's length, unique names, sizes as the shapes say, and
    /// offsets one after the other to the end of the file. Returns the names.
    fn check_safetensors(file: &ModelFile) -> Vec<String> {
        let (length, json) = file.header.split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
        assert_eq!(length, json.len() as u64);
        let header: Value = serde_json::from_slice(json).expect("JSON");
        let mut tensors: Vec<(u64, u64, String)> = Vec::new();
        for (name, tensor) in header.as_object().expect("an object") {
            if name == "__metadata__" {
                continue;
            }
            let numbers = |key: &str| -> Vec<u64> {
                let list = tensor[key].as_array().expect("a list").iter();
                list.map(|number| number.as_u64().expect("a number")).collect()
            };
            let (shape, offsets) = (numbers("shape"), numbers("data_offsets"));
            let width = if tensor["dtype"] == "BF16" { 2 } else { 1 };
            assert_eq!(shape.iter().product::<u64>() * width, offsets[1] - offsets[0], "{name}");
            tensors.push((offsets[0], offsets[1], name.clone()));
        }
        tensors.sort();
        let mut at = 0;
        for (begin, end, name) in &tensors {
            assert!(*begin == at && end > begin, "{name} is at {begin}, not at {at}");
            at = *end;
        }
        assert_eq!(8 + length + at, file.bytes);
        assert_eq!(tensors.len() + 1, file.extents.len());
        tensors.into_iter().map(|(_, _, name)| name).collect()
    }

    fn check_gguf(file: &ModelFile) -> usize {
        let mut rest = &file.header[..];
        let mut take = |bytes: usize| {
            let (taken, left) = rest.split_at(bytes);
            rest = left;
            taken.to_vec()
        };
        let four = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().expect("4"));
        let eight = |bytes: Vec<u8>| u64::from_le_bytes(bytes.try_into().expect("8"));
        assert_eq!((take(4), four(take(4))), (b"GGUF".to_vec(), 3));
        let (tensors, pairs) = (eight(take(8)), eight(take(8)));
        for _ in 0..pairs {
            let key = eight(take(8)) as usize;
            take(key);
            let length = if four(take(4)) == 8 { eight(take(8)) as usize } else { 4 };
            take(length);
        }
        let mut next = 0;
        for _ in 0..tensors {
            let name = eight(take(8)) as usize;
            take(name);
            let sizes = four(take(4));
            let elements: u64 = (0..sizes).map(|_| eight(take(8))).product();
            let width = if four(take(4)) == 1 { 2 } else { 1 };
            let offset = eight(take(8));
            assert!(offset == next && offset % 32 == 0, "{offset} {next}");
            next = offset + elements * width;
        }
        assert!(rest.len() < 32 && rest.iter().all(|byte| *byte == 0), "{} left", rest.len());
        assert_eq!((file.header.len() % 32, file.header.len() as u64 + next), (0, file.bytes));
        tensors as usize
    }

    fn check_extents(file: &ModelFile) {
        let mut at = 0;
        for extent in &file.extents {
            assert_eq!(extent.offset, at);
            at += extent.bytes;
        }
        assert_eq!(at, file.bytes);
    }

    proptest! {
        #[test]
        fn every_file_is_valid_and_full_to_the_byte(
            bytes in 25_000..40_000_000_000_u64, shard in 1..6_u64, ranks in 1..5_u32,
            shards in any::<bool>(), gguf in any::<bool>(),
        ) {
            let format = if gguf { ModelFormat::Gguf } else { ModelFormat::Safetensors };
            let sharing = if shards { Sharing::Shards } else { Sharing::OneFile };
            let shard_bytes = bytes.div_ceil(shard);
            let load = ModelLoad { format, bytes, shard_bytes, sharing, ranks, ..load() };
            let files = files(&load).expect("large enough");
            prop_assert_eq!(files.iter().map(|file| file.bytes).collect::<Vec<_>>(), load.files());
            for file in &files {
                check_extents(file);
                if gguf { check_gguf(file); } else { check_safetensors(file); }
            }
        }
    }

    #[test]
    fn a_model_of_8b_parameters_looks_like_one() {
        let load = ModelLoad {
            bytes: 16_060_522_496,
            shard_bytes: 5_000_000_000,
            sharing: Sharing::OneFile,
            ..load()
        };
        let files = files(&load).expect("large enough");
        let names: Vec<String> = files.iter().flat_map(check_safetensors).collect();
        let weights = names.iter().filter(|name| *name != "rest").count();
        assert_eq!(weights, 32 * 9 + 3, "nine of each layer, and three outside");
        assert!(names.contains(&"model.layers.31.mlp.down_proj.weight".to_owned()));
        // What fills the files up is next to nothing.
        let rest = |file: &ModelFile| file.extents.last().expect("there are tensors").bytes;
        assert!(files.iter().map(rest).sum::<u64>() < load.bytes / 500);
        let largest = files[1].extents.iter().map(|extent| extent.bytes).max().expect("some");
        assert!((100 << 20..140 << 20).contains(&largest), "an MLP matrix, not {largest}");
    }

    #[test]
    fn too_small_a_file_is_refused() {
        assert!(files(&ModelLoad { bytes: 4095, ..load() }).expect_err("no").contains("4096"));
    }

    #[test]
    fn names_tell_what_a_file_holds() {
        let one = files(&load()).expect("large enough");
        let more_ranks = files(&ModelLoad { ranks: 2, ..load() }).expect("large enough");
        assert_eq!(one, more_ranks, "the same files for any number of ranks");
        let shards = ModelLoad { ranks: 2, sharing: Sharing::Shards, ..load() };
        assert!(files(&shards).expect("large enough").iter().all(|file| !one.contains(file)));
    }
}
