//! fio's jobs as a storage stage.

use std::collections::BTreeMap;

use loadline_schema::event::{EventKind, Warning};
use loadline_schema::plan::Stage;
use loadline_schema::record::TrialId;
use loadline_schema::storage::{FilesystemFacts, IoInterval, StorageLimits, StorageStage};
use loadline_storage::ImportedFio;

use super::Results;

/// One stage, with a cell for each job.
pub(super) fn results(jobs: Vec<ImportedFio>, file: &str) -> Results {
    let mut events: Vec<EventKind> = Vec::new();
    let mut intervals = Vec::new();
    let mut cells = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    for (point, job) in (0..).zip(jobs) {
        let trial = TrialId { stage: 0, point, trial: 0, part: 0 };
        if !paths.contains(&job.cell.path) {
            paths.push(job.cell.path.clone());
        }
        cells.push(job.cell);
        let of_trial = |row| IoInterval { trial, ..row };
        intervals.extend(job.intervals.into_iter().map(of_trial));
        events.push(EventKind::StorageTrial { trial, measured: Box::new(job.trial) });
        events.extend(job.notes.into_iter().map(|note| {
            let message = format!("{}: {note}", job.job);
            EventKind::Warning(Warning::new("import_note", message, ""))
        }));
    }
    let stage = StorageStage {
        name: "storage".to_owned(),
        cells,
        trials: 1,
        target: BTreeMap::new(),
        limits: StorageLimits {
            max_write_bytes: 0,
            reserve_bytes: None,
            allow_mount_root: false,
            drop_caches: false,
            stall_ns: 0,
        },
        imported: Some(file.to_owned()),
    };
    // Of the other machine only the paths are known.
    let facts = paths.into_iter().map(|path| EventKind::StorageFacts {
        stage: 0,
        facts: Box::new(FilesystemFacts { path, ..FilesystemFacts::default() }),
        leftovers: Vec::new(),
    });
    events.splice(0..0, facts);
    Results { stages: vec![Stage::Storage(Box::new(stage))], events, intervals }
}
