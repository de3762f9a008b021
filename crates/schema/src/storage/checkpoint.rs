//! The shape of a training checkpoint: which rank writes which files of which size.
//!
//! Sizes are those of mixed-precision training with Adam: 2 bytes a parameter for the weights, and
//! 12 for the optimizer (master weights, first and second moment, 4 bytes each). The layout is
//! DeepSpeed's, as in DLIO (`base_checkpointing.py`): below ZeRO-3 the weights are one file for each
//! layer and tensor-parallel rank, written by the first data-parallel replica; with ZeRO-3 every rank
//! writes its share of them. From ZeRO-1 on every rank writes its share of the optimizer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size_words;

/// Bytes of weights for each parameter.
const WEIGHT_BYTES: u64 = 2;
/// Bytes of optimizer state for each parameter.
const OPTIMIZER_BYTES: u64 = 12;
/// A LoRA adapter is trained in 32 bits (PEFT's `autocast_adapter_dtype`), and has two moments.
const ADAPTER_BYTES: u64 = 4;
const ADAPTER_OPTIMIZER_BYTES: u64 = 8;
/// Sizes are whole multiples of this, and no file is smaller.
const GRAIN: u64 = 4096;

/// A checkpoint that is saved, and restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoint {
    /// What is trained.
    pub model: CheckpointModel,
    /// Processes that save at once.
    pub ranks: u32,
    /// Tensor-parallel ranks among them.
    pub tensor_parallel: u32,
    /// Pipeline-parallel ranks among them.
    pub pipeline_parallel: u32,
    /// ZeRO stage, 0–3.
    pub zero: u8,
    /// Files are this share of their real size, 0–1.
    pub scale: f64,
    /// Bytes of each write and read.
    pub bs_bytes: u64,
    /// Past the page cache; trainers write through it.
    pub direct: bool,
    /// Read everything back, too.
    pub restore: bool,
    /// Time between two saves, ns; absent: the optimum for `mtbf_ns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<u64>,
    /// Mean time between failures of the whole job, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtbf_ns: Option<u64>,
}

/// What is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum CheckpointModel {
    /// A model by its shape.
    Shape {
        /// Name.
        name: String,
        /// Shape.
        shape: TransformerShape,
    },
    /// So many parameters.
    Parameters {
        /// Number.
        parameters: u64,
    },
    /// LoRA adapters on all linear layers of a model.
    Lora {
        /// Name of the model.
        name: String,
        /// Its shape.
        shape: TransformerShape,
        /// Rank of the adapters.
        rank: u64,
    },
}

/// A decoder with gated MLP, grouped-query attention and an output matrix of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransformerShape {
    /// Tokens in the vocabulary (V).
    pub vocabulary: u64,
    /// Width (h).
    pub hidden: u64,
    /// Width inside the MLP (f).
    pub mlp: u64,
    /// Layers (L).
    pub layers: u64,
    /// Attention heads.
    pub heads: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
}

impl TransformerShape {
    /// Width of keys, and of values: ⌊h ÷ heads⌋ · kv_heads.
    fn kv_width(&self) -> u64 {
        self.hidden / self.heads * self.kv_heads
    }

    /// Parameters of a layer: 2h + h(h + 2·d_kv) + h² + 3hf.
    pub fn layer_parameters(&self) -> u64 {
        let h = self.hidden;
        2 * h + h * (h + 2 * self.kv_width()) + h * h + 3 * h * self.mlp
    }

    /// All parameters: 2Vh + h + L · layer.
    pub fn parameters(&self) -> u64 {
        2 * self.vocabulary * self.hidden + self.hidden + self.layers * self.layer_parameters()
    }

    /// Parameters of LoRA adapters of this rank on all seven linear layers: Σ rank · (in + out).
    pub fn lora_parameters(&self, rank: u64) -> u64 {
        let (h, kv, f) = (self.hidden, self.kv_width(), self.mlp);
        let sides = 2 * (h + h) + 2 * (h + kv) + 3 * (h + f);
        self.layers * rank * sides
    }
}

const fn llama3(hidden: u64, mlp: u64, layers: u64, heads: u64) -> TransformerShape {
    TransformerShape { vocabulary: 128_256, hidden, mlp, layers, heads, kv_heads: 8 }
}

/// Models by name, with their usual ranks (tensor × pipeline × data) and ZeRO stage.
pub const MODELS: [(&str, TransformerShape); 4] = [
    ("llama3-1b", llama3(2048, 8192, 16, 32)),
    ("llama3-8b", llama3(4096, 14_336, 32, 32)),
    ("llama3-70b", llama3(8192, 28_672, 80, 64)),
    ("llama3-405b", llama3(16_384, 53_248, 126, 128)),
];

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFile {
    /// The rank that saves it.
    pub rank: u32,
    /// Its name, as the trainer calls it.
    pub name: String,
    /// Its size, scaled, bytes.
    pub bytes: u64,
}

impl Checkpoint {
    /// Parameters that are trained.
    pub fn parameters(&self) -> u64 {
        match &self.model {
            CheckpointModel::Shape { shape, .. } => shape.parameters(),
            CheckpointModel::Parameters { parameters } => *parameters,
            CheckpointModel::Lora { shape, rank, .. } => shape.lora_parameters(*rank),
        }
    }

    /// Bytes of the whole checkpoint at its real size.
    pub fn full_bytes(&self) -> u64 {
        let (weights, optimizer) = self.bytes_per_parameter();
        self.parameters() * (weights + optimizer)
    }

    /// Bytes of all files as they are written, scaled.
    pub fn bytes(&self) -> u64 {
        self.files().iter().map(|file| file.bytes).sum()
    }

    fn bytes_per_parameter(&self) -> (u64, u64) {
        match self.model {
            CheckpointModel::Lora { .. } => (ADAPTER_BYTES, ADAPTER_OPTIMIZER_BYTES),
            _ => (WEIGHT_BYTES, OPTIMIZER_BYTES),
        }
    }

    /// Every file with the rank that saves it, in the order in which a rank saves its own.
    pub fn files(&self) -> Vec<CheckpointFile> {
        let parameters = self.parameters();
        let (weights, optimizer) = self.bytes_per_parameter();
        let scaled = |bytes: u64| {
            let scaled = (bytes as f64 * self.scale).round() as u64;
            scaled.max(1).div_ceil(GRAIN) * GRAIN
        };
        let mut files = Vec::new();
        let mut add = |rank: u32, name: String, bytes: u64| {
            files.push(CheckpointFile { rank, name, bytes: scaled(bytes) });
        };
        if let CheckpointModel::Lora { .. } = self.model {
            add(0, "adapter_model.safetensors".to_owned(), parameters * weights);
            add(0, "optimizer.pt".to_owned(), parameters * optimizer);
            return files;
        }
        let (tensor, pipeline) = (self.tensor_parallel.max(1), self.pipeline_parallel.max(1));
        let model_ranks = (tensor * pipeline).min(self.ranks.max(1));
        if self.zero >= 3 {
            for rank in 0..self.ranks {
                let name = format!("zero_pp_rank_{rank}_mp_rank_00_model_states.pt");
                add(rank, name, parameters * weights / u64::from(self.ranks));
            }
        } else if let CheckpointModel::Shape { shape, .. } = &self.model {
            let stage_layers = shape.layers.div_ceil(u64::from(pipeline));
            let outside = 2 * shape.vocabulary * shape.hidden + shape.hidden;
            for layer in 0..shape.layers {
                for part in 0..tensor {
                    let rank = (layer / stage_layers) as u32 * tensor + part;
                    let name = format!("layer_{layer:02}-model_{part:02}-model_states.pt");
                    add(rank, name, shape.layer_parameters() * weights / u64::from(tensor));
                }
            }
            for part in 0..tensor {
                let name = format!("embeddings-model_{part:02}-model_states.pt");
                add(part, name, outside * weights / u64::from(tensor));
            }
        } else {
            for rank in 0..model_ranks {
                let name = format!("mp_rank_{rank:02}_model_states.pt");
                add(rank, name, parameters * weights / u64::from(model_ranks));
            }
        }
        let sharers = if self.zero >= 1 { self.ranks } else { model_ranks };
        for rank in 0..sharers {
            let (data, model) = (rank / model_ranks, rank % model_ranks);
            let name = format!("zero_pp_rank_{data}_mp_rank_{model:02}_optim_states.pt");
            add(rank, name, parameters * optimizer / u64::from(sharers));
        }
        files
    }

    pub(super) fn in_words(&self) -> String {
        let mut words = vec![self.model.in_words()];
        match self.ranks {
            1 => words.push("1 rank".to_owned()),
            ranks => words.push(format!("{ranks} ranks, ZeRO-{}", self.zero)),
        }
        if self.scale < 1.0 {
            words.push(format!("scaled to {}", size_words(self.bytes())));
        }
        if self.direct {
            words.push("direct".to_owned());
        }
        words.join(", ")
    }
}

impl CheckpointModel {
    /// "llama3-8b", "7.0 B parameters", "LoRA rank 16 of llama3-8b".
    pub fn in_words(&self) -> String {
        match self {
            Self::Shape { name, .. } => name.clone(),
            Self::Parameters { parameters } => {
                format!("{:.2} B parameters", *parameters as f64 / 1e9)
            }
            Self::Lora { name, rank, .. } => format!("LoRA rank {rank} of {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        name: &str,
        ranks: u32,
        tensor_parallel: u32,
        pipeline_parallel: u32,
        zero: u8,
    ) -> Checkpoint {
        let (name, shape) = MODELS.into_iter().find(|(known, _)| *known == name).expect("known");
        Checkpoint {
            model: CheckpointModel::Shape { name: name.to_owned(), shape },
            ranks,
            tensor_parallel,
            pipeline_parallel,
            zero,
            scale: 1.0,
            bs_bytes: 1 << 20,
            direct: false,
            restore: true,
            interval_ns: None,
            mtbf_ns: None,
        }
    }

    /// Published sizes: 8.03, 70.6 and 405.9 billion parameters, and 14 bytes for each.
    #[test]
    fn sizes_are_those_of_the_models() {
        assert_eq!(MODELS[1].1.parameters(), 8_030_261_248);
        assert_eq!(MODELS[2].1.parameters(), 70_553_706_496);
        assert_eq!(MODELS[3].1.parameters() / 1_000_000, 405_853);
        let gib = of("llama3-8b", 8, 1, 1, 3).full_bytes() as f64 / f64::from(1 << 30);
        assert!((gib - 104.7).abs() < 0.05, "{gib}");
    }

    #[test]
    fn the_files_of_every_layout_are_the_whole_checkpoint() {
        let layouts = [
            of("llama3-8b", 8, 1, 1, 3),
            of("llama3-8b", 1, 1, 1, 0),
            of("llama3-70b", 64, 8, 1, 3),
            of("llama3-405b", 512, 8, 32, 1),
            of("llama3-70b", 16, 4, 2, 0),
        ];
        for layout in layouts {
            let (files, full) = (layout.files(), layout.full_bytes());
            let off = layout.bytes().abs_diff(full);
            assert!(off <= files.len() as u64 * GRAIN, "{layout:?}: {off}");
            assert!(files.iter().all(|file| file.rank < layout.ranks), "{layout:?}");
            let mut names: Vec<&str> = files.iter().map(|file| &file.name[..]).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), files.len(), "{layout:?}");
        }
    }

    #[test]
    fn zero_3_gives_every_rank_the_same() {
        let files = of("llama3-8b", 8, 1, 1, 3).files();
        let of_rank = |rank| files.iter().filter(|f| f.rank == rank).map(|f| f.bytes).sum::<u64>();
        let gib = of_rank(3) as f64 / f64::from(1 << 30);
        assert!((gib - 13.1).abs() < 0.05, "{gib}");
        assert_eq!(of_rank(0), of_rank(7));
    }

    /// 41.9 million parameters: what PEFT prints for rank 16 on all linear layers of Llama 3 8B.
    #[test]
    fn adapters_are_small() {
        assert_eq!(MODELS[1].1.lora_parameters(16), 41_943_040);
    }

    #[test]
    fn scaling_keeps_every_file() {
        let full = of("llama3-8b", 4, 1, 1, 1);
        let scaled = Checkpoint { scale: 1e-4, ..full.clone() };
        assert_eq!(full.files().len(), scaled.files().len());
        let ratio = scaled.bytes() as f64 / full.full_bytes() as f64;
        assert!((ratio / 1e-4 - 1.0).abs() < 0.05, "{ratio}");
    }
}
