//! Reading a model's weights, as an inference server does when it starts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size_words;
use crate::outcome::spelled;

/// One way to read the weights of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelLoad {
    /// Shape of the files.
    pub format: ModelFormat,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of a file (shard) at most; a GGUF model is one file.
    pub shard_bytes: u64,
    /// How it is read.
    pub method: LoadMethod,
    /// Readers of each rank: threads, each with its own part.
    pub readers: u32,
    /// Ranks (GPUs) that load at the same time.
    pub ranks: u32,
    /// What each rank reads.
    pub sharing: Sharing,
    /// Nothing of it is in the page cache of this machine at the start; else it was just read.
    pub cold: bool,
    /// Bytes of each read.
    pub bs_bytes: u64,
    /// I/Os in flight of each reader, for [`LoadMethod::Direct`].
    pub iodepth: u32,
}

spelled! {
    /// How weights are read.
    LoadMethod {
        /// Mapped, and copied by page faults: the default of safetensors and llama.cpp.
        Mmap = "mmap",
        /// pread through the page cache.
        Pread = "pread",
        /// io_uring past the page cache.
        Direct = "direct",
    }
}

spelled! {
    /// Shape of a model's files.
    ModelFormat {
        /// Shards of about 5 GB.
        Safetensors = "safetensors",
        /// One file.
        Gguf = "gguf",
    }
}

spelled! {
    /// What each of several ranks reads.
    Sharing {
        /// Its own slice of every tensor of the same files (tensor parallelism).
        OneFile = "one-file",
        /// Files of its own (weights saved as shards of ranks).
        Shards = "shards",
    }
}

impl ModelLoad {
    /// Bytes of each file, in order.
    pub fn files(&self) -> Vec<u64> {
        let most = match self.format {
            ModelFormat::Gguf => self.bytes,
            ModelFormat::Safetensors => self.shard_bytes.max(1),
        };
        let count = match self.sharing {
            Sharing::OneFile => self.bytes.div_ceil(most.max(1)).max(1),
            Sharing::Shards => u64::from(self.ranks.max(1)),
        };
        let each = self.bytes / count;
        (0..count).map(|n| if n == 0 { self.bytes - each * (count - 1) } else { each }).collect()
    }

    /// "mmap, 1 reader, cold": the way in words.
    pub fn in_words(&self) -> String {
        let plural =
            |n: u32, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
        let mut words = vec![
            format!("{} {}", size_words(self.bytes), self.format),
            self.method.to_string(),
            plural(self.readers, "reader"),
        ];
        if self.ranks > 1 {
            let on = match self.sharing {
                Sharing::OneFile => "on the same files",
                Sharing::Shards => "on shards of their own",
            };
            words.push(format!("{} {on}", plural(self.ranks, "rank")));
        }
        words.push(if self.cold { "cold" } else { "warm" }.to_owned());
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_whole_model() {
        let load = ModelLoad {
            format: ModelFormat::Safetensors,
            bytes: 16_000_000_001,
            shard_bytes: 5_000_000_000,
            method: LoadMethod::Mmap,
            readers: 1,
            ranks: 1,
            sharing: Sharing::OneFile,
            cold: true,
            bs_bytes: 1 << 20,
            iodepth: 8,
        };
        assert_eq!(load.files().len(), 4);
        assert_eq!(load.files().iter().sum::<u64>(), load.bytes);
        let gguf = ModelLoad { format: ModelFormat::Gguf, ..load.clone() };
        assert_eq!(gguf.files(), [load.bytes]);
        let shards = ModelLoad { ranks: 8, sharing: Sharing::Shards, ..load };
        assert_eq!(shards.files().len(), 8);
    }
}
