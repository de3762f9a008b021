//! How much a stage writes, and how much room its files take: told before anything is written.

use std::collections::BTreeMap;

use super::{IoExtent, IoLoad, ModelLoad, StorageLoad, StorageStage};

/// Bytes that a stage writes on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Writes {
    /// Files that are laid out before reads, and writes whose end is a size.
    pub certain: u64,
    /// Whether trials write for a time, too, as fast as it goes, up to the limit of the stage.
    pub timed: bool,
}

impl StorageStage {
    /// The paths, each once, in order.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !paths.contains(&&cell.path[..]) {
                paths.push(&cell.path);
            }
        }
        paths
    }

    fn loads_on<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a StorageLoad> {
        self.cells.iter().filter(move |cell| cell.path == path).map(|cell| &cell.load)
    }

    /// Bytes of all files that lie on a path at once: those of jobs and models stay until the stage
    /// is over, of checkpoints there is one at a time.
    pub fn space_bytes(&self, path: &str) -> u64 {
        let (mut jobs, mut models, mut checkpoint) = (BTreeMap::new(), BTreeMap::new(), 0);
        for load in self.loads_on(path) {
            match load {
                StorageLoad::Io(load) => {
                    let most: &mut u32 = jobs.entry(load.size_bytes).or_default();
                    *most = load.numjobs.max(*most);
                }
                StorageLoad::Checkpoint(load) => checkpoint = load.bytes().max(checkpoint),
                StorageLoad::ModelLoad(load) => {
                    models.insert(model_key(load), load.bytes);
                }
            }
        }
        let jobs = jobs.iter().map(|(size, jobs)| size.saturating_mul(u64::from(*jobs)));
        jobs.chain(models.into_values()).chain([checkpoint]).fold(0, u64::saturating_add)
    }

    /// Bytes that the stage writes on a path.
    pub fn writes(&self, path: &str) -> Writes {
        let trials = u64::from(self.trials);
        let (mut laid_out, mut models) = (BTreeMap::new(), BTreeMap::new());
        let mut writes = Writes::default();
        for load in self.loads_on(path) {
            match load {
                StorageLoad::Io(load) => {
                    if load.reads() {
                        let most: &mut u32 = laid_out.entry(load.size_bytes).or_default();
                        *most = load.numjobs.max(*most);
                    }
                    match load.extent {
                        _ if !load.writes() => {}
                        IoExtent::Runtime { .. } => writes.timed = true,
                        IoExtent::Size { .. } => writes.certain += written(load) * trials,
                    }
                }
                StorageLoad::Checkpoint(load) => writes.certain += load.bytes() * trials,
                StorageLoad::ModelLoad(load) => {
                    models.insert(model_key(load), load.bytes);
                }
            }
        }
        let laid_out = laid_out.iter().map(|(size, jobs)| size.saturating_mul(u64::from(*jobs)));
        let files = laid_out.chain(models.into_values());
        writes.certain = files.fold(writes.certain, u64::saturating_add);
        writes
    }
}

/// Models that are the same files.
fn model_key(load: &ModelLoad) -> (u64, u64, String, u32) {
    let sharing = format!("{}{}", load.format, load.sharing);
    (load.bytes, load.shard_bytes, sharing, load.ranks)
}

/// Bytes that one trial writes that ends after once through its files.
fn written(load: &IoLoad) -> u64 {
    let all = load.size_bytes.saturating_mul(u64::from(load.numjobs));
    if load.reads() { (all as f64 * (1.0 - load.read_share)) as u64 } else { all }
}

#[cfg(test)]
mod tests {
    use crate::plan::Stage;
    use crate::plan_file::PlanFile;
    use crate::storage::StorageStage;

    fn stage(text: &str) -> StorageStage {
        let text = format!("[[storage]]\npath = [\"/a\", \"/b\"]\n{text}");
        let plan = PlanFile::parse(&text).expect("a plan").resolve(1).expect("it resolves");
        match plan.stages.into_iter().next() {
            Some(Stage::Storage(stage)) => *stage,
            _ => panic!("a storage stage"),
        }
    }

    #[test]
    fn files_are_counted_once() {
        let stage = stage(
            "size = \"1GiB\"\nnumjobs = [1, 4]\nmodel_load = { size = \"2GiB\" }\nworkload = [\"seq-write\", \"seq-read\", \"rand-read\", \"model-load\"]",
        );
        assert_eq!(stage.paths(), ["/a", "/b"]);
        assert_eq!(stage.space_bytes("/a"), 6 << 30);
        let writes = stage.writes("/b");
        assert_eq!((writes.certain, writes.timed), (6 << 30, true));
    }

    #[test]
    fn writes_that_end_with_a_size_are_certain() {
        let stage =
            stage("size = \"1GiB\"\ntrials = 2\ntime_based = false\nworkload = \"seq-write\"");
        let writes = stage.writes("/a");
        assert_eq!((writes.certain, writes.timed), (2 << 30, false));
        assert_eq!(stage.space_bytes("/c"), 0);
    }
}
