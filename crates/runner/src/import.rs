//! Results that another tool measured, as a run like any other.

use std::path::{Path, PathBuf};

use loadline_clock::{RunClock, unix_ns};
use loadline_schema::event::{Event, EventKind};
use loadline_schema::manifest::RunStatus;
use loadline_schema::plan::Plan;
use loadline_schema::storage::IoInterval;
use loadline_store::{RunStart, RunWriter, StoreError, this_process};

/// Writes a run whose stages were imported: `events` and `intervals` say what was measured. Returns its
/// directory.
///
/// # Errors
/// The directory cannot be written.
pub fn import(
    plan: &Plan,
    events: Vec<EventKind>,
    intervals: &[IoInterval],
    out_dir: &Path,
    tool_version: &str,
) -> Result<PathBuf, StoreError> {
    let clock = RunClock::start();
    let start = RunStart {
        tool_version: tool_version.to_owned(),
        unix_ns: clock.origin_unix_ns(),
        host: this_process(),
        selftest: None,
    };
    let mut writer = RunWriter::create(out_dir, &plan.name, None, plan, &start)?;
    let dir = writer.dir().to_owned();
    let ended = EventKind::PartEnded { complete: true, reason: None };
    let part = EventKind::PartStarted { part: writer.part() };
    for kind in [part].into_iter().chain(events).chain([ended]) {
        writer.event(&Event { at_ns: clock.now_ns(), kind })?;
    }
    writer.append_intervals(intervals)?;
    // A stream that stays unsealed is as readable.
    let _ = writer.seal(RunStatus::Sealed, unix_ns())?;
    Ok(dir)
}
