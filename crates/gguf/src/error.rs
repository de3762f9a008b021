//! Why a file is not a model that can be read, and why a model cannot be made.

use std::io;
use std::path::{Path, PathBuf};

/// A file that could not be read as a model, or a model that could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not a GGUF file that can be used.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The file system has no room for the model.
    #[error(
        "no space for {}: the model has {needed} bytes and {free} are free; free some, make a \
         smaller model, or name another folder", path.display()
    )]
    NoSpace {
        /// The file that would have been written.
        path: PathBuf,
        /// Bytes that it would have.
        needed: u64,
        /// Bytes that may be written.
        free: u64,
    },
    /// No model has this shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl GgufError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Bytes that are not a GGUF file, or one that this program does not read. Offsets are in bytes
/// from the start of the file; names and texts from the file are quoted and cut to 80 characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file: it begins with {found:?} and not with \"GGUF\"")]
    Magic {
        /// What it begins with.
        found: String,
    },
    /// The file is of a machine with the other byte order.
    #[error("the file is big endian; only little endian is read: convert the model again")]
    BigEndian,
    /// A version of the format that is not read.
    #[error("GGUF version {version}: only 2 and 3 are read{}", if *version == 1 {
        "; convert the model again, as llama.cpp refuses version 1 too"
    } else {
        ""
    })]
    Version {
        /// The version in the file.
        version: u32,
    },
    /// The file ends inside its header.
    #[error("the file ends at byte {file_bytes}, inside {what} at byte {offset}: it is truncated")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// Where the file ends.
        file_bytes: u64,
    },
    /// A length or a count that no model has, or that the rest of the file cannot hold.
    #[error("{what} at byte {offset} is {value}: at most {limit} can be in a file of this size")]
    TooLarge {
        /// Which length or count.
        what: &'static str,
        /// Where it stands.
        offset: u64,
        /// What it says.
        value: u64,
        /// The most that is possible there.
        limit: u64,
    },
    /// A text that is not UTF-8.
    #[error("{what} at byte {offset} is not UTF-8")]
    NotUtf8 {
        /// Which text.
        what: &'static str,
        /// Where it begins.
        offset: u64,
    },
    /// A type of metadata value that the format does not have.
    #[error("the metadata {key:?} has a value of unknown type {kind} at byte {offset}")]
    UnknownValueKind {
        /// The key.
        key: String,
        /// The number of the type.
        kind: u32,
        /// Where it stands.
        offset: u64,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("a boolean at byte {offset} is {value}, neither 0 nor 1")]
    NotBoolean {
        /// Where it stands.
        offset: u64,
        /// Its byte.
        value: u8,
    },
    /// Arrays in arrays in arrays.
    #[error("arrays at byte {offset} are nested deeper than {limit}")]
    Nesting {
        /// Where the innermost begins.
        offset: u64,
        /// The deepest that is read.
        limit: usize,
    },
    /// A name that stands twice.
    #[error("{what} {name:?} stands twice, again at byte {offset}")]
    Duplicate {
        /// `the metadata` or `the tensor`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where the second one begins.
        offset: u64,
    },
    /// Metadata that must be there, or has another type or value than it must have.
    #[error("the metadata {key} is {found}; {wanted}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// One part of a model in many files.
    #[error(
        "the file is part {part} of {count} of a split model: join the parts first with \
         `llama-gguf-split --merge FIRST_PART OUTPUT`"
    )]
    Split {
        /// Number of this part, from 1.
        part: u64,
        /// How many parts there are.
        count: u64,
    },
    /// A type of weights that ggml does not have.
    #[error("the tensor {tensor:?} has the unknown type {id}{}", if *removed {
        ", which ggml no longer reads: quantize the model again"
    } else {
        ": made by a newer ggml than this program knows, or by a fork"
    })]
    UnknownTensorType {
        /// The tensor.
        tensor: String,
        /// The number of the type.
        id: u32,
        /// ggml had such a type and dropped it.
        removed: bool,
    },
    /// Sizes of a tensor that cannot be.
    #[error("the tensor {tensor:?} of sizes {sizes:?} and type {type_name}: {reason}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// Its sizes, elements, the contiguous one first.
        sizes: Vec<u64>,
        /// Its type.
        type_name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The weights of a tensor are not all in the file.
    #[error(
        "the file is truncated: {missing} of the {bytes} bytes of the tensor {tensor:?} are \
         missing (it should end at byte {end}, the file ends at byte {file_bytes})"
    )]
    MissingWeights {
        /// The first tensor in the file that is not whole.
        tensor: String,
        /// How many of its bytes are missing.
        missing: u64,
        /// How many it should have.
        bytes: u64,
        /// Where it should end.
        end: u64,
        /// Where the file ends.
        file_bytes: u64,
    },
    /// Two tensors claim the same bytes.
    #[error("the tensors {first:?} and {second:?} overlap at byte {offset}")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other.
        second: String,
        /// Where the other begins.
        offset: u64,
    },
    /// Reading failed, or the file became shorter while it was read.
    #[error("cannot read at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// A shape that no model can have, or a text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The text is neither a preset nor a shape.
    #[error("`{text}` is not the shape of a model: {reason}")]
    Text {
        /// What was given, cut to 80 characters.
        text: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// Numbers that do not go together.
    #[error("no model has {field}={value}: {reason}")]
    Field {
        /// The number that is wrong.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        reason: String,
    },
    /// The text is no preset.
    #[error("`{text}` is not a made model: there are {known}")]
    Preset {
        /// What was given, cut to 80 characters.
        text: String,
        /// The names of the presets.
        known: String,
    },
    /// The text is no type of weights.
    #[error("`{text}` is not a type of weights: there are {known}")]
    Weights {
        /// What was given, cut to 80 characters.
        text: String,
        /// The names of the types.
        known: String,
    },
}

/// A text for a message: at most 80 characters.
pub(crate) fn clip(text: &str) -> String {
    if text.chars().count() > 80 {
        text.chars().take(80).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}
