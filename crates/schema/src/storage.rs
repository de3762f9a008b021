//! What a storage benchmark asks for: workloads on directories, in fio's words.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::spelled;

mod amount;
mod buckets;
mod checkpoint;
mod facts;
mod load;
mod load_flags;
mod model_load;
pub mod protocol;
mod record;
mod result;

pub use amount::Writes;
pub use buckets::{Buckets, Latencies};
pub use checkpoint::{Checkpoint, CheckpointFile, CheckpointModel, MODELS, TransformerShape};
pub use facts::{DirectIo, FilesystemFacts, Leftover};
pub use load::{DataShape, IoEngine, IoExtent, IoLoad, RateProcess, Rw, SyncMode};
pub use load_flags::{LOAD_FLAGS, LoadFlag};
pub use model_load::{LoadMethod, ModelFormat, ModelLoad, Sharing};
pub use record::{
    CacheState, Direction, EndedBy, FileOp, FilePass, IoFailure, IoInterval, IoKind, LatenessNs,
    PercentilesNs, SlowIo, StorageTrial, Verified, WorkerEnd,
};
pub use result::{
    CheckpointResult, DirectionResult, IoLatency, LoadSentence, ModelLoadResult, StorageResult,
    StorageSummary, StorageTarget, StorageTimeline,
};

/// A stage that measures storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StorageStage {
    /// Name, unique in the plan.
    pub name: String,
    /// What is measured, in order: every workload on the first path, then on the next.
    pub cells: Vec<StorageCell>,
    /// Repetitions of each cell.
    pub trials: u32,
    /// Bandwidth that a workload should reach, bytes/s.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target: BTreeMap<Workload, f64>,
    /// What the work may do to the machine.
    pub limits: StorageLimits,
    /// The file of another tool that the figures come from; then nothing is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
}

/// What storage work may do to the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StorageLimits {
    /// Most bytes that the whole stage may write on each path.
    pub max_write_bytes: u64,
    /// Bytes of the file system that stay free; absent: 5 % of its size, at most 10 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve_bytes: Option<u64>,
    /// Work in the root of a mount, too.
    pub allow_mount_root: bool,
    /// Drop the page cache of the whole machine before reads (root alone may).
    pub drop_caches: bool,
    /// Without the end of a single I/O for so long, the file system counts as hanging, ns.
    pub stall_ns: u64,
}

spelled! {
    /// A workload.
    Workload {
        /// Sequential writes (fio `write`).
        SeqWrite = "seq-write",
        /// Sequential reads (fio `read`).
        SeqRead = "seq-read",
        /// Random writes (fio `randwrite`).
        RandWrite = "rand-write",
        /// Random reads (fio `randread`).
        RandRead = "rand-read",
        /// Sequential reads and writes, mixed (fio `rw`).
        SeqRw = "seq-rw",
        /// Random reads and writes, mixed (fio `randrw`).
        RandRw = "rand-rw",
        /// Save and restore of a training checkpoint.
        Checkpoint = "checkpoint",
        /// Reading a model's weights, as a server does when it starts.
        ModelLoad = "model-load",
    }
}

impl Workload {
    /// The workload by its name, by fio's word (`randread`) or with `_` for `-`.
    pub fn from_any(text: &str) -> Option<Self> {
        let plain = text.trim().to_ascii_lowercase().replace('_', "-");
        Some(match plain.as_str() {
            "write" => Self::SeqWrite,
            "read" => Self::SeqRead,
            "randwrite" => Self::RandWrite,
            "randread" => Self::RandRead,
            "rw" | "readwrite" => Self::SeqRw,
            "randrw" => Self::RandRw,
            other => return Self::from_text(other),
        })
    }

    /// What fio calls it, where it has the workload.
    pub const fn fio_word(self) -> Option<&'static str> {
        Some(match self {
            Self::SeqWrite => "write",
            Self::SeqRead => "read",
            Self::RandWrite => "randwrite",
            Self::RandRead => "randread",
            Self::SeqRw => "rw",
            Self::RandRw => "randrw",
            Self::Checkpoint | Self::ModelLoad => return None,
        })
    }
}

/// One workload with one setting on one path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StorageCell {
    /// The directory; the work happens in a new directory inside it.
    pub path: String,
    /// The workload.
    pub workload: Workload,
    /// Its setting.
    pub load: StorageLoad,
}

/// The setting of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum StorageLoad {
    /// Blocks.
    Io(IoLoad),
    /// A checkpoint.
    Checkpoint(Checkpoint),
    /// The weights of a model.
    ModelLoad(ModelLoad),
}

impl StorageCell {
    /// Bytes that its files take, all of them together.
    pub fn file_bytes(&self) -> u64 {
        match &self.load {
            StorageLoad::Io(load) => load.size_bytes.saturating_mul(u64::from(load.numjobs)),
            StorageLoad::Checkpoint(load) => load.bytes(),
            StorageLoad::ModelLoad(load) => load.bytes,
        }
    }

    /// "rand-read, bs 4 KiB, iodepth 32, 4 jobs": the cell in words, without its path.
    pub fn in_words(&self) -> String {
        match &self.load {
            StorageLoad::Io(load) => format!("{}, {}", self.workload, load.in_words()),
            StorageLoad::Checkpoint(load) => format!("{}, {}", self.workload, load.in_words()),
            StorageLoad::ModelLoad(load) => format!("{}, {}", self.workload, load.in_words()),
        }
    }
}

/// A size in binary units, exact where it is a whole number of them: "4 KiB", "1.5 GiB".
pub fn size_words(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, size)) = UNITS.iter().find(|(_, size)| bytes >= *size) else {
        return format!("{bytes} B");
    };
    if bytes.is_multiple_of(*size) {
        format!("{} {unit}", bytes / size)
    } else {
        format!("{:.1} {unit}", bytes as f64 / *size as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_have_fios_words() {
        for workload in Workload::ALL {
            assert_eq!(Workload::from_any(workload.as_str()), Some(*workload));
            if let Some(word) = workload.fio_word() {
                assert_eq!(Workload::from_any(word), Some(*workload));
            }
        }
        assert_eq!(Workload::from_any("seq_write"), Some(Workload::SeqWrite));
        assert_eq!(Workload::from_any("trim"), None);
    }

    #[test]
    fn sizes_in_words() {
        assert_eq!(size_words(4096), "4 KiB");
        assert_eq!(size_words(1 << 20), "1 MiB");
        assert_eq!(size_words(1_500_000_000), "1.4 GiB");
        assert_eq!(size_words(512), "512 B");
    }
}
