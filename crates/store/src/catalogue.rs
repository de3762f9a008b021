//! The runs in a folder: listing them, and finding the one that is meant.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::identity::{self, RunState};
use crate::run_reader::{read_manifest, read_plan};
use crate::run_writer::{EVENTS, MANIFEST};

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEntry {
    /// Eight base-32 letters.
    pub id: String,
    /// The plan's name.
    pub name: String,
    /// Start in UTC, RFC 3339.
    pub started: String,
    /// State now.
    pub state: RunState,
    /// Names of the plan's stages; empty when the plan cannot be read.
    pub stages: Vec<String>,
    /// The run directory.
    pub directory: PathBuf,
}

/// The runs in a folder, oldest first. Folders that are no runs are passed over; a run whose
/// manifest cannot be read is listed as such. A folder that is not there has no runs.
///
/// # Errors
/// When the folder cannot be listed.
pub fn list(out_dir: &Path) -> Result<Vec<RunEntry>, StoreError> {
    let entries = match fs::read_dir(out_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", out_dir)(error)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", out_dir))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().join(MANIFEST).is_file() {
            runs.push(look_at(entry.path()));
        }
    }
    runs.sort_by(|a, b| (&a.started, &a.directory).cmp(&(&b.started, &b.directory)));
    Ok(runs)
}

fn look_at(directory: PathBuf) -> RunEntry {
    let Ok(manifest) = read_manifest(&directory) else {
        let name = folder_name(&directory);
        let id = name.rsplit_once('-').map_or(name.as_str(), |(_, id)| id).to_owned();
        let (started, state, stages) = (String::new(), RunState::Unreadable, Vec::new());
        return RunEntry { id, name, started, state, stages, directory };
    };
    let stages = read_plan(&directory).map_or_else(
        |_| Vec::new(),
        |plan| plan.stages.iter().map(|stage| stage.name().to_owned()).collect(),
    );
    RunEntry {
        state: identity::state(&manifest, &directory.join(EVENTS)),
        id: manifest.id,
        name: manifest.name,
        started: manifest.started,
        stages,
        directory,
    }
}

/// The run meant by a text: the path of a run directory, or in `out_dir` an id, a folder's name,
/// or the beginning of either that fits one run only.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::Ambiguous`] with the runs that fit.
pub fn find(out_dir: &Path, text: &str) -> Result<PathBuf, StoreError> {
    let path = Path::new(text);
    if path.join(MANIFEST).is_file() {
        return Ok(path.to_owned());
    }
    let runs = list(out_dir)?;
    if let Some(run) = runs.iter().find(|run| run.id == text || folder_name(&run.directory) == text)
    {
        return Ok(run.directory.clone());
    }
    let fits = |run: &&RunEntry| {
        !text.is_empty()
            && (run.id.starts_with(text) || folder_name(&run.directory).starts_with(text))
    };
    let fitting: Vec<&RunEntry> = runs.iter().filter(fits).collect();
    match fitting.as_slice() {
        [run] => Ok(run.directory.clone()),
        [] if path.is_dir() => Err(StoreError::NotARun { path: path.to_owned() }),
        [] => Err(StoreError::NotFound {
            text: text.to_owned(),
            dir: out_dir.to_owned(),
            known: runs.len(),
        }),
        several => Err(StoreError::Ambiguous {
            text: text.to_owned(),
            candidates: several.iter().map(|run| folder_name(&run.directory)).collect(),
        }),
    }
}

fn folder_name(directory: &Path) -> String {
    directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
