//! Storage for a plan: a child process of this program for each directory.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use loadline_clock::RunClock;
use loadline_runner::{Storage, StorageRow};
use loadline_schema::record::TrialId;
use loadline_schema::storage::{
    FilesystemFacts, Leftover, StorageCell, StorageLimits, StorageStage, StorageTrial,
};
use loadline_serving::trial::Stop;
use loadline_storage::{Open, Row, StorageProcess};

/// Hidden verb: the child that does the I/O.
pub(crate) const WORKER: &str = "storage-worker";

/// Measures the directories of a stage.
pub(crate) struct Directories {
    stage: StorageStage,
    limits: StorageLimits,
    seed: u64,
    stop: Arc<Stop>,
    open: Option<StorageProcess>,
}

impl Directories {
    /// For a stage; `mount_root`: work in the root of a mount, whatever the plan says; `stop` ends
    /// looks, too.
    pub(crate) fn new(stage: &StorageStage, seed: u64, mount_root: bool, stop: &Arc<Stop>) -> Self {
        let allow_mount_root = stage.limits.allow_mount_root || mount_root;
        let limits = StorageLimits { allow_mount_root, ..stage.limits.clone() };
        Self { stage: stage.clone(), limits, seed, stop: Arc::clone(stop), open: None }
    }

    fn start(
        &self,
        path: &str,
        look_only: bool,
        stopped: &dyn Fn() -> bool,
    ) -> Result<StorageProcess, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let command = Box::new(move || {
            let mut command = Command::new(&program);
            // Ctrl-C in a terminal is for this process, which has the child stop and clean up.
            command.arg(WORKER).process_group(0);
            command
        });
        let open = Open {
            path,
            limits: &self.limits,
            file_bytes: self.stage.space_bytes(path),
            seed: self.seed,
            look_only,
        };
        StorageProcess::open(command, &open, stopped).map_err(|error| error.to_string())
    }
}

impl Storage for Directories {
    fn look(&mut self, path: &str) -> Result<(FilesystemFacts, Vec<Leftover>), String> {
        let process = self.start(path, true, &|| self.stop.why().is_some())?;
        let found = (process.facts().clone(), process.leftovers().to_vec());
        process.close(true);
        Ok(found)
    }

    fn open(
        &mut self,
        path: &str,
        stop: &Stop,
    ) -> Result<(FilesystemFacts, Vec<Leftover>), String> {
        let process = self.start(path, false, &|| stop.why().is_some())?;
        let found = (process.facts().clone(), process.leftovers().to_vec());
        self.open = Some(process);
        Ok(found)
    }

    fn measure(
        &mut self,
        id: TrialId,
        cell: &StorageCell,
        clock: RunClock,
        stop: &Stop,
        each: &mut dyn FnMut(StorageRow),
    ) -> Result<StorageTrial, String> {
        let Some(process) = &mut self.open else {
            return Err(format!("{}: it is not open", cell.path));
        };
        let stopped = || stop.why().is_some();
        let origin_ns = clock.origin_monotonic_ns();
        let measured = process.measure(id, cell, origin_ns, &stopped, &mut |row| {
            each(match row {
                Row::Interval(row) => StorageRow::Interval(row),
                Row::Slow(row) => StorageRow::Slow(row),
                Row::Progress(doing, done, bytes_per_s) => {
                    StorageRow::Progress { doing, done, bytes_per_s }
                }
            });
        });
        measured.map_err(|error| error.to_string())
    }

    fn close(&mut self, quick: bool) -> Vec<String> {
        self.open.take().map_or_else(Vec::new, |process| process.close(quick))
    }
}
