//! Made models: random weights in the shape of a real model, in a file that llama.cpp loads.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{GgufError, ShapeError, clip};
use crate::header;
use crate::model::{ALIGNMENT_DEFAULT, Model};
use crate::pool::Pool;
use crate::preset::Preset;
use crate::quantize::BLOCK;
use crate::shape::Shape;
use crate::summary::Summary;
use crate::tensor_type::TensorType;

/// The type of the matrices of a made model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weights {
    /// 16-bit floats.
    F16,
    /// 8.5 bits an element.
    Q8_0,
    /// 4.5 bits an element.
    Q4_0,
    /// 5 bits an element.
    Q4_1,
}

impl Weights {
    /// Every type that can be made.
    pub const ALL: [Self; 4] = [Self::F16, Self::Q8_0, Self::Q4_0, Self::Q4_1];

    /// The type of most matrices.
    pub fn kind(self) -> TensorType {
        match self {
            Self::F16 => TensorType::F16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4_0 => TensorType::Q4_0,
            Self::Q4_1 => TensorType::Q4_1,
        }
    }

    /// The type of the output matrix, also where it is the embedding: 8 bits in models of 4. Real
    /// files have it so where rows are not multiples of 256, and Q6_K where they are.
    pub fn output_kind(self) -> TensorType {
        match self {
            Self::F16 => TensorType::F16,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => TensorType::Q8_0,
        }
    }

    /// Its number in `llama_ftype` of llama.h.
    pub(crate) fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 7,
        }
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

impl FromStr for Weights {
    type Err = ShapeError;

    /// The name of a type, in any case of letters: `Q4_1`.
    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let wanted = text.trim();
        let found = Self::ALL.into_iter().find(|w| w.kind().name.eq_ignore_ascii_case(wanted));
        found.ok_or_else(|| ShapeError::Weights {
            text: clip(wanted),
            known: Self::ALL.map(|weights| weights.to_string()).join(", "),
        })
    }
}

/// A model to be made: a shape that was checked, and the type of its matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Made {
    shape: Shape,
    weights: Weights,
}

/// A tensor of a model to be made: a matrix, or the weights of a norm, which are all 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedTensor {
    pub(crate) name: String,
    pub(crate) sizes: Vec<u64>,
    pub(crate) kind: TensorType,
}

impl PlannedTensor {
    fn matrix(name: impl Into<String>, columns: u32, rows: u32, kind: TensorType) -> Self {
        Self { name: name.into(), sizes: vec![columns.into(), rows.into()], kind }
    }

    fn norm(name: impl Into<String>, width: u32) -> Self {
        Self { name: name.into(), sizes: vec![width.into()], kind: TensorType::F32 }
    }

    fn is_norm(&self) -> bool {
        self.sizes.len() == 1
    }

    fn elements(&self) -> u64 {
        self.sizes.iter().product()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.kind.bytes(self.elements()).expect("invariant: the shape was checked")
    }
}

impl Made {
    /// A model of this shape, if there can be one.
    pub fn new(shape: Shape, weights: Weights) -> Result<Self, ShapeError> {
        shape.check()?;
        Ok(Self { shape, weights })
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The type of its matrices.
    pub fn weights(&self) -> Weights {
        self.weights
    }

    /// Its name in the file: `made smollm2-135m Q4_1`.
    pub fn name(&self) -> String {
        match Preset::of(&self.shape) {
            Some(preset) => format!("made {} {}", preset.name, self.weights),
            None => format!("made {} {}", self.shape, self.weights),
        }
    }

    /// Bytes that the file will have, whatever the seed.
    pub fn file_bytes(&self) -> u64 {
        let tensors = self.tensors();
        let weights: u64 =
            tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(ALIGNMENT_DEFAULT)).sum();
        header::bytes(self, &tensors, 0).len() as u64 + weights
    }

    /// Writes the model: first to `<path>.tmp`, which is renamed when all of it is on the disk and
    /// removed when something fails. The same seed gives the same bytes. Fails before writing when
    /// the file system has not enough free space. A kill leaves the `.tmp` behind; the next write
    /// replaces it.
    pub fn write(&self, path: &Path, seed: u64) -> Result<Summary, GgufError> {
        if path.is_dir() {
            let source = io::ErrorKind::IsADirectory.into();
            return Err(GgufError::Io { action: "write", path: path.to_owned(), source });
        }
        self.check_space(path)?;
        let temporary = temporary(path);
        let written = self
            .write_synced(&temporary, seed)
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| File::open(folder_of(path))?.sync_all());
        if let Err(source) = written {
            let _ = fs::remove_file(&temporary);
            return Err(GgufError::io("write", path)(source));
        }
        Model::open(path).map(|model| model.summary())
    }

    fn check_space(&self, path: &Path) -> Result<(), GgufError> {
        let folder = folder_of(path);
        let space = rustix::fs::statvfs(folder)
            .map_err(|errno| GgufError::io("write into", folder)(errno.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let needed = self.file_bytes();
        if needed > free {
            return Err(GgufError::NoSpace { path: path.to_owned(), needed, free });
        }
        Ok(())
    }

    fn write_synced(&self, path: &Path, seed: u64) -> io::Result<()> {
        let mut file = File::create(path)?;
        self.write_to(&mut file, seed)?;
        file.sync_all()
    }

    /// Writes the bytes of the file, [`Made::file_bytes`] of them, in pieces of up to some MiB.
    pub fn write_to(&self, file: &mut impl Write, seed: u64) -> io::Result<()> {
        let tensors = self.tensors();
        file.write_all(&header::bytes(self, &tensors, seed))?;
        let mut pools: Vec<(TensorType, Pool)> = Vec::new();
        for (index, tensor) in tensors.iter().enumerate() {
            if tensor.is_norm() {
                file.write_all(&1_f32.to_le_bytes().repeat(tensor.elements() as usize))?;
            } else {
                let pool = pool_of(&mut pools, &tensors, tensor.kind, seed);
                pool.write(file, tensor.elements() / BLOCK as u64, seed, index as u64)?;
            }
            let padding = tensor.bytes().next_multiple_of(ALIGNMENT_DEFAULT) - tensor.bytes();
            file.write_all(&[0; ALIGNMENT_DEFAULT as usize][..padding as usize])?;
        }
        Ok(())
    }

    /// The tensors in the order of the file, with the names and sizes that llama.cpp expects.
    pub(crate) fn tensors(&self) -> Vec<PlannedTensor> {
        let Shape { layers, embedding, feed_forward, vocab, tied, .. } = self.shape;
        let (kind, output) = (self.weights.kind(), self.weights.output_kind());
        let embedding_kind = if tied { output } else { kind };
        let mut tensors =
            vec![PlannedTensor::matrix("token_embd.weight", embedding, vocab, embedding_kind)];
        let kv = self.shape.kv_length();
        for layer in 0..layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            tensors.extend([
                PlannedTensor::norm(name("attn_norm"), embedding),
                PlannedTensor::matrix(name("ffn_down"), feed_forward, embedding, kind),
                PlannedTensor::matrix(name("ffn_gate"), embedding, feed_forward, kind),
                PlannedTensor::matrix(name("ffn_up"), embedding, feed_forward, kind),
                PlannedTensor::norm(name("ffn_norm"), embedding),
                PlannedTensor::matrix(name("attn_k"), embedding, kv, kind),
                PlannedTensor::matrix(name("attn_output"), embedding, embedding, kind),
                PlannedTensor::matrix(name("attn_q"), embedding, embedding, kind),
                PlannedTensor::matrix(name("attn_v"), embedding, kv, kind),
            ]);
        }
        tensors.push(PlannedTensor::norm("output_norm.weight", embedding));
        if !tied {
            tensors.push(PlannedTensor::matrix("output.weight", embedding, vocab, output));
        }
        tensors
    }
}

/// The pool of a type, made when it is first asked for, as large as its largest tensor needs.
fn pool_of<'a>(
    pools: &'a mut Vec<(TensorType, Pool)>,
    tensors: &[PlannedTensor],
    kind: TensorType,
    seed: u64,
) -> &'a Pool {
    let at = pools.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
        let same = tensors.iter().filter(|tensor| tensor.kind == kind);
        let largest = same.map(PlannedTensor::elements).max().unwrap_or(0);
        pools.push((kind, Pool::new(kind, largest, seed)));
        pools.len() - 1
    });
    &pools[at].1
}

/// `<path>.tmp`.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
