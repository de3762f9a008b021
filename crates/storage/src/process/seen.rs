//! A trial whose process was killed, put together from the rows that it had sent.

use std::collections::BTreeMap;

use loadline_schema::outcome::Phase;
use loadline_schema::storage::{
    CacheState, Direction, EndedBy, IoEngine, IoFailure, IoInterval, IoKind, StorageTrial,
    WorkerEnd,
};

/// What was seen of a trial that has no end of its own.
#[derive(Default)]
pub(super) struct Seen {
    workers: BTreeMap<u16, WorkerEnd>,
}

impl Seen {
    /// Another second of a worker.
    pub(super) fn add(&mut self, row: &IoInterval) {
        if row.phase != Phase::Measure {
            return;
        }
        let worker = self
            .workers
            .entry(row.worker)
            .or_insert_with(|| WorkerEnd { first_ns: row.start_ns, ..WorkerEnd::default() });
        worker.last_ns = worker.last_ns.max(row.start_ns + row.length_ns);
        worker.errors += row.errors;
        let (ios, bytes) = match row.direction {
            Direction::Read => (&mut worker.read_ios, &mut worker.read_bytes),
            Direction::Write => (&mut worker.write_ios, &mut worker.write_bytes),
            Direction::Sync => {
                worker.sync_ios += row.ios;
                return;
            }
        };
        *ios += row.ios;
        *bytes += row.bytes;
    }

    /// The trial, as far as rows tell it.
    pub(super) fn trial(self, start_ns: u64, end_ns: u64, message: String) -> StorageTrial {
        let workers: Vec<WorkerEnd> = self.workers.into_values().collect();
        let measure_ns = workers.iter().map(|worker| worker.first_ns).min().unwrap_or(start_ns);
        StorageTrial {
            start_ns,
            measure_ns,
            end_ns,
            ended_by: EndedBy::Stalled,
            failure: Some(IoFailure { kind: IoKind::Other, message }),
            engine: IoEngine::Auto,
            engine_note: None,
            direct: false,
            direct_note: Some("the process was killed before it could tell".to_owned()),
            cache: CacheState::default(),
            workers,
            cpu_user_ns: 0,
            cpu_system_ns: 0,
            lateness: None,
            verified: None,
            passes: Vec::new(),
            slow_left_out: 0,
            imported: Vec::new(),
        }
    }
}
