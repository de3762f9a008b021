//! The grid of an engine benchmark: lists of settings, and every cell that they span.

use std::collections::HashSet;

use loadline_schema::engine::{EngineCell, FlashAttention};

/// [`EngineCell::gpu_layers`] when the engine decides how many layers go to the GPU (`-ngl -1`).
pub const AUTO_GPU_LAYERS: u32 = u32::MAX;

/// The settings of an engine benchmark; those with several values span the grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Sequences that are computed together.
    pub batch: Vec<u32>,
    /// Tokens in the KV cache of each sequence before the clock starts.
    pub context: Vec<u32>,
    /// Threads of the CPU.
    pub threads: Vec<u32>,
    /// Layers on the GPU; [`AUTO_GPU_LAYERS`]: the engine decides.
    pub gpu_layers: Vec<u32>,
    /// Most tokens that are computed at once.
    pub n_ubatch: Vec<u32>,
    /// Most tokens of one call.
    pub n_batch: u32,
    /// Prompt tokens of each sequence that are timed; 0: none.
    pub prompt_tokens: u32,
    /// Tokens that each sequence generates; 0: none.
    pub output_tokens: u32,
    /// Flash attention.
    pub flash_attention: FlashAttention,
    /// Type of the keys in the KV cache.
    pub type_k: String,
    /// Type of the values in the KV cache.
    pub type_v: String,
}

impl Default for Grid {
    /// One cell with the defaults of llama-bench, on one thread.
    fn default() -> Self {
        Self {
            batch: vec![1],
            context: vec![0],
            threads: vec![1],
            gpu_layers: vec![AUTO_GPU_LAYERS],
            n_ubatch: vec![512],
            n_batch: 2048,
            prompt_tokens: 512,
            output_tokens: 128,
            flash_attention: FlashAttention::Auto,
            type_k: "f16".to_owned(),
            type_v: "f16".to_owned(),
        }
    }
}

impl Grid {
    /// Every cell once: threads vary slowest, then GPU layers, n_ubatch, context, and the batch
    /// fastest, each in the order of its list. A value that a list repeats counts once.
    pub fn cells(&self) -> Vec<EngineCell> {
        let mut seen = HashSet::new();
        let mut cells = Vec::new();
        for &threads in &self.threads {
            for &gpu_layers in &self.gpu_layers {
                for &n_ubatch in &self.n_ubatch {
                    for &context in &self.context {
                        let cell = |&batch: &u32| EngineCell {
                            batch,
                            context,
                            prompt_tokens: self.prompt_tokens,
                            output_tokens: self.output_tokens,
                            threads,
                            gpu_layers,
                            n_batch: self.n_batch,
                            n_ubatch,
                            flash_attention: self.flash_attention,
                            type_k: self.type_k.clone(),
                            type_v: self.type_v.clone(),
                        };
                        let row = self.batch.iter().map(cell);
                        cells.extend(row.filter(|cell| seen.insert(cell.clone())));
                    }
                }
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_varies_fastest() {
        let grid = Grid {
            batch: vec![1, 4],
            context: vec![512, 0],
            threads: vec![2, 1],
            ..Grid::default()
        };
        let settings: Vec<_> =
            grid.cells().iter().map(|cell| (cell.threads, cell.context, cell.batch)).collect();
        let expected = [
            (2, 512, 1),
            (2, 512, 4),
            (2, 0, 1),
            (2, 0, 4),
            (1, 512, 1),
            (1, 512, 4),
            (1, 0, 1),
            (1, 0, 4),
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_repeated_value_makes_no_second_cell() {
        let grid = Grid { batch: vec![4, 1, 4], ..Grid::default() };
        let batches: Vec<u32> = grid.cells().iter().map(|cell| cell.batch).collect();
        assert_eq!(batches, [4, 1]);
    }

    #[test]
    fn an_empty_list_makes_no_cell() {
        assert!(Grid { threads: Vec::new(), ..Grid::default() }.cells().is_empty());
    }
}
