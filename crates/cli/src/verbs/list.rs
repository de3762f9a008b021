//! `loadline list`: the runs in a folder.

use loadline_report::ListEntry;
use loadline_schema::manifest::RunStatus;
use loadline_store::{RunReader, RunState};

use crate::args::ListArgs;
use crate::exit::{Exit, Failure};
use crate::output::{print, style};

pub(crate) fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let runs = loadline_store::list(&args.out)?;
    if args.json {
        let rows: Vec<_> = runs
            .iter()
            .map(|run| {
                serde_json::json!({
                    "id": run.id, "name": run.name, "started": run.started, "state": run.state.as_str(),
                    "stages": run.stages, "directory": run.directory,
                })
            })
            .collect();
        let text = serde_json::to_string_pretty(&rows).map_err(Failure::internal)?;
        return Ok(print(&format!("{text}\n")));
    }
    let entries: Vec<ListEntry> = runs
        .iter()
        .map(|run| ListEntry {
            id: run.id.clone(),
            name: run.name.clone(),
            started: run.started.clone(),
            status: match run.state {
                RunState::Sealed => Some(RunStatus::Sealed),
                RunState::Unreadable => None,
                RunState::Running => Some(RunStatus::Running),
                _ => Some(RunStatus::Interrupted),
            },
            is_live: run.state == RunState::Running,
            requests: RunReader::open(&run.directory)
                .ok()
                .map(|run| run.trial_counts().values().map(|counts| counts.requests).sum()),
            directory: run.directory.display().to_string(),
        })
        .collect();
    Ok(print(&loadline_report::list(&entries, &style())))
}
