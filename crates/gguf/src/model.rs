//! Reads what a GGUF file says before its weights, and checks that the weights are all there.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use crate::error::{FormatError, GgufError, clip};
use crate::source::Source;
use crate::tensor_type::TensorType;
use crate::value::{Array, KEPT_ELEMENTS, Value, ValueKind};

/// First bytes of a GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment of tensors where the file names none, bytes.
pub const ALIGNMENT_DEFAULT: u64 = 32;
/// Most tensors that are read.
pub const TENSORS_MAX: u64 = 65_536;
/// Most metadata entries that are read: files have some dozens.
pub const ENTRIES_MAX: u64 = 4096;
/// Longest key and longest name, bytes.
pub const NAME_MAX_BYTES: u64 = 65_535;
/// Longest text, bytes: chat templates have some ten thousand.
pub const STRING_MAX_BYTES: u64 = 16 << 20;
/// Longest array, elements: vocabularies have a few hundred thousand.
pub const ARRAY_MAX: u64 = 1 << 28;
/// Most sizes of a tensor.
pub const SIZES_MAX: u32 = 4;
/// Arrays of arrays are read to this depth.
const NESTING_MAX: usize = 4;
const ALIGNMENT_MAX: u64 = 1 << 20;
const ENTRY_MIN_BYTES: u64 = 8 + 4 + 1;
const TENSOR_MIN_BYTES: u64 = 8 + 4 + 4 + 8;

/// What a GGUF file says before its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// Tensors in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Where the first tensor may begin, bytes from the start of the file.
    pub weights_offset: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
}

/// One tensor: its weights are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name: `blk.0.attn_q.weight`.
    pub name: String,
    /// Its sizes, elements, the contiguous one first: 0 to 4 of them.
    pub sizes: Vec<u64>,
    /// The type of its weights.
    pub kind: TensorType,
    /// Where its weights begin, bytes from the model's `weights_offset`.
    pub offset: u64,
    /// Product of its sizes.
    pub elements: u64,
    /// Bytes of its weights.
    pub bytes: u64,
}

impl Model {
    /// Reads the file at `path`.
    ///
    /// Refused, in words: other formats, versions other than 2 and 3, big endian files, truncated
    /// files, parts of a split model, types of weights that ggml does not know.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        // Opening a pipe would wait for whoever writes into it.
        let found = fs::metadata(path).map_err(GgufError::io("open", path))?;
        if !found.is_file() {
            let source = std::io::Error::other("it is not a file but a directory or a device");
            return Err(GgufError::io("read", path)(source));
        }
        let file = File::open(path).map_err(GgufError::io("open", path))?;
        let file_bytes = file.metadata().map_err(GgufError::io("read", path))?.len();
        Self::read(BufReader::with_capacity(1 << 16, file), file_bytes)
            .map_err(|source| GgufError::Format { path: path.to_owned(), source })
    }

    /// Reads a model from the start of a file of `file_bytes` bytes. Only what comes before the
    /// weights is read.
    pub fn read(reader: impl Read, file_bytes: u64) -> Result<Self, FormatError> {
        let mut source = Source::new(reader, file_bytes);
        let version = read_version(&mut source)?;
        let tensor_count = source.count("the number of tensors", TENSORS_MAX, TENSOR_MIN_BYTES)?;
        let entries =
            source.count("the number of metadata entries", ENTRIES_MAX, ENTRY_MIN_BYTES)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let offset = source.offset();
            let key = source.string("a metadata key", NAME_MAX_BYTES)?;
            let value = read_value(&mut source, &key)?;
            if metadata.contains_key(&key) {
                let name = clip(&key);
                return Err(FormatError::Duplicate { what: "the metadata", name, offset });
            }
            metadata.insert(key, value);
        }
        check_metadata(&metadata)?;
        let alignment = read_alignment(&metadata)?;
        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        for _ in 0..tensor_count {
            let offset = source.offset();
            let tensor = read_tensor(&mut source, alignment)?;
            if !names.insert(tensor.name.clone()) {
                let name = clip(&tensor.name);
                return Err(FormatError::Duplicate { what: "the tensor", name, offset });
            }
            tensors.push(tensor);
        }
        let weights_offset = source.offset().next_multiple_of(alignment);
        let file_bytes = source.file_bytes();
        let model = Self { version, metadata, tensors, weights_offset, file_bytes };
        model.check_places()?;
        Ok(model)
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Every tensor lies inside the file, and no two in the same place.
    fn check_places(&self) -> Result<(), FormatError> {
        let mut by_place: Vec<&Tensor> = self.tensors.iter().collect();
        by_place.sort_by_key(|tensor| (tensor.offset, tensor.bytes));
        let mut before: Option<(&Tensor, u64)> = None;
        for tensor in by_place {
            let begin = self.weights_offset.saturating_add(tensor.offset);
            let end = begin.saturating_add(tensor.bytes);
            if end > self.file_bytes {
                return Err(FormatError::MissingWeights {
                    tensor: clip(&tensor.name),
                    missing: (end - self.file_bytes).min(tensor.bytes),
                    bytes: tensor.bytes,
                    end,
                    file_bytes: self.file_bytes,
                });
            }
            if let Some((first, before_end)) = before
                && begin < before_end
            {
                let (first, second) = (clip(&first.name), clip(&tensor.name));
                return Err(FormatError::Overlap { first, second, offset: begin });
            }
            before = Some((tensor, end));
        }
        Ok(())
    }
}

fn read_version<R: Read>(source: &mut Source<R>) -> Result<u32, FormatError> {
    let magic: [u8; 4] = source.array("the magic")?;
    if magic != MAGIC {
        let found = String::from_utf8_lossy(&magic).into_owned();
        return Err(FormatError::Magic { found });
    }
    let version = source.u32("the version")?;
    // A small number with its bytes the other way round.
    if version != 0 && version.trailing_zeros() >= 16 {
        return Err(FormatError::BigEndian);
    }
    if matches!(version, 2 | 3) { Ok(version) } else { Err(FormatError::Version { version }) }
}

fn read_value<R: Read>(source: &mut Source<R>, key: &str) -> Result<Value, FormatError> {
    let kind = read_kind(source, key)?;
    if kind == ValueKind::Array {
        return read_array(source, key, 1).map(Value::Array);
    }
    read_scalar(source, kind)
}

fn read_kind<R: Read>(source: &mut Source<R>, key: &str) -> Result<ValueKind, FormatError> {
    let offset = source.offset();
    let id = source.u32("the type of a metadata value")?;
    ValueKind::from_id(id).ok_or_else(|| FormatError::UnknownValueKind {
        key: clip(key),
        kind: id,
        offset,
    })
}

/// A number, a truth value or a text.
fn read_scalar<R: Read>(source: &mut Source<R>, kind: ValueKind) -> Result<Value, FormatError> {
    const WHAT: &str = "a metadata value";
    let offset = source.offset();
    Ok(match kind {
        ValueKind::U8 => Value::U8(u8::from_le_bytes(source.array(WHAT)?)),
        ValueKind::I8 => Value::I8(i8::from_le_bytes(source.array(WHAT)?)),
        ValueKind::U16 => Value::U16(u16::from_le_bytes(source.array(WHAT)?)),
        ValueKind::I16 => Value::I16(i16::from_le_bytes(source.array(WHAT)?)),
        ValueKind::U32 => Value::U32(source.u32(WHAT)?),
        ValueKind::I32 => Value::I32(i32::from_le_bytes(source.array(WHAT)?)),
        ValueKind::F32 => Value::F32(f32::from_le_bytes(source.array(WHAT)?)),
        ValueKind::U64 => Value::U64(source.u64(WHAT)?),
        ValueKind::I64 => Value::I64(i64::from_le_bytes(source.array(WHAT)?)),
        ValueKind::F64 => Value::F64(f64::from_le_bytes(source.array(WHAT)?)),
        ValueKind::Bool => match source.array(WHAT)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [value] => return Err(FormatError::NotBoolean { offset, value }),
        },
        ValueKind::String => Value::String(source.string("a metadata text", STRING_MAX_BYTES)?),
        ValueKind::Array => return Err(FormatError::Nesting { offset, limit: 0 }),
    })
}

/// An array whose type and length come next. Long ones and arrays of arrays are passed over.
fn read_array<R: Read>(
    source: &mut Source<R>,
    key: &str,
    depth: usize,
) -> Result<Array, FormatError> {
    if depth > NESTING_MAX {
        return Err(FormatError::Nesting { offset: source.offset(), limit: NESTING_MAX });
    }
    let element = read_kind(source, key)?;
    let len = source.count("the length of an array", ARRAY_MAX, element.min_bytes())?;
    let mut values = Vec::new();
    match element {
        ValueKind::Array => {
            for _ in 0..len {
                read_array(source, key, depth + 1)?;
            }
        }
        _ if len <= KEPT_ELEMENTS && depth == 1 => {
            for _ in 0..len {
                values.push(read_scalar(source, element)?);
            }
        }
        ValueKind::String => {
            for _ in 0..len {
                let bytes = source.count("the length of a text", STRING_MAX_BYTES, 1)?;
                source.skip("a text in an array", bytes)?;
            }
        }
        // The product is inside the file, as the count was checked against what is left.
        _ => source.skip("an array", len * element.min_bytes())?,
    }
    Ok(Array { element, len, values })
}

fn check_metadata(metadata: &BTreeMap<String, Value>) -> Result<(), FormatError> {
    const ARCHITECTURE: &str = "general.architecture";
    let architecture = metadata.get(ARCHITECTURE);
    if architecture.and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(FormatError::Metadata {
            key: ARCHITECTURE,
            found: architecture.map_or_else(|| "missing".into(), ToString::to_string),
            wanted: "every model names its architecture there",
        });
    }
    let count = metadata.get("split.count").and_then(Value::as_count).unwrap_or(0);
    if count > 1 {
        let part = metadata.get("split.no").and_then(Value::as_count).unwrap_or(0);
        return Err(FormatError::Split { part: part.saturating_add(1), count });
    }
    Ok(())
}

fn read_alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, FormatError> {
    const KEY: &str = "general.alignment";
    let Some(value) = metadata.get(KEY) else { return Ok(ALIGNMENT_DEFAULT) };
    match value.as_count() {
        Some(alignment) if alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX => {
            Ok(alignment)
        }
        _ => Err(FormatError::Metadata {
            key: KEY,
            found: value.to_string(),
            wanted: "it must be a power of two up to 1048576",
        }),
    }
}

fn read_tensor<R: Read>(source: &mut Source<R>, alignment: u64) -> Result<Tensor, FormatError> {
    let name = source.string("the name of a tensor", NAME_MAX_BYTES)?;
    let offset = source.offset();
    let dimensions = source.u32("the number of sizes of a tensor")?;
    if dimensions > SIZES_MAX {
        return Err(FormatError::TooLarge {
            what: "the number of sizes of a tensor",
            offset,
            value: dimensions.into(),
            limit: SIZES_MAX.into(),
        });
    }
    let sizes: Vec<u64> =
        (0..dimensions).map(|_| source.u64("the sizes of a tensor")).collect::<Result<_, _>>()?;
    let id = source.u32("the type of a tensor")?;
    let Some(kind) = TensorType::from_id(id) else {
        let removed = TensorType::is_removed(id);
        return Err(FormatError::UnknownTensorType { tensor: clip(&name), id, removed });
    };
    let offset = source.u64("the offset of a tensor")?;
    let refuse = |reason: String| FormatError::Tensor {
        tensor: clip(&name),
        sizes: sizes.clone(),
        type_name: kind.name,
        reason,
    };
    let row = sizes.first().copied().unwrap_or(1);
    if !row.is_multiple_of(kind.block_elements) {
        return Err(refuse(format!("rows are not whole blocks of {}", kind.block_elements)));
    }
    let elements = sizes.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    let bytes = elements.and_then(|elements| kind.bytes(elements));
    let (Some(elements), Some(bytes)) = (elements, bytes) else {
        return Err(refuse("more bytes than can be counted".into()));
    };
    if !offset.is_multiple_of(alignment) {
        return Err(refuse(format!("its offset {offset} is not a multiple of {alignment}")));
    }
    Ok(Tensor { name, sizes, kind, offset, elements, bytes })
}
