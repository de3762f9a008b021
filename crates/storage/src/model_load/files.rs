//! Makes the files of a model, once for each working directory.

use std::sync::atomic::Ordering;

use rustix::fs::OFlags;

use super::layout::ModelFile;
use crate::course::{Course, Halted, refusal};
use crate::pattern::{Pattern, tag, write_block};
use crate::{Trial, TrialError};

const BLOCK: u64 = 4 << 20;
/// Names of models begin with this.
const PREFIX: &str = "model-";

/// Makes every file that is not there with its size. Another model is removed first, so that there
/// is never more than one.
///
/// # Errors
/// The budget does not allow it, or the system says no. The inner error: it was stopped.
pub(super) fn lay_out(
    trial: &Trial<'_>,
    course: &Course<'_>,
    files: &[ModelFile],
) -> Result<Result<(), Halted>, TrialError> {
    let missing: Vec<&ModelFile> = files.iter().filter(|file| !is_there(trial, file)).collect();
    if missing.is_empty() {
        return Ok(Ok(()));
    }
    remove_others(trial, files)?;
    let total: u64 = missing.iter().map(|file| file.bytes).sum();
    if !trial.budget.take(total) {
        let message = format!(
            "the files of the model take {total} bytes, but only {} may still be written to {}; \
             raise --max-write, or use a smaller model",
            trial.budget.left(),
            trial.dir.path().display()
        );
        return Err(TrialError { message });
    }
    let mut written = 0;
    for file in missing {
        let made = make(trial, course, file, &mut |bytes| {
            written += bytes;
            trial.report.doing("laying out files", Some(written as f64 / total as f64));
        });
        if !matches!(made, Ok(Ok(()))) {
            trial.budget.give_back(total - written);
            trial
                .dir
                .remove_file(&file.name)
                .map_err(|e| refusal(trial, "remove", &file.name, e))?;
            return made;
        }
    }
    Ok(Ok(()))
}

fn is_there(trial: &Trial<'_>, file: &ModelFile) -> bool {
    let fd = trial.dir.open_file(&file.name, OFlags::empty());
    let size = fd.and_then(rustix::fs::fstat).map(|stat| stat.st_size.unsigned_abs());
    size == Ok(file.bytes)
}

/// Removes files of other models, and of this one those that have another size.
fn remove_others(trial: &Trial<'_>, files: &[ModelFile]) -> Result<(), TrialError> {
    let Ok(entries) = std::fs::read_dir(trial.dir.path()) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let keep = files.iter().any(|file| file.name == name && is_there(trial, file));
        if name.starts_with(PREFIX) && !keep {
            trial.dir.remove_file(&name).map_err(|e| refusal(trial, "remove", &name, e))?;
        }
    }
    Ok(())
}

fn make(
    trial: &Trial<'_>,
    course: &Course<'_>,
    file: &ModelFile,
    wrote: &mut dyn FnMut(u64),
) -> Result<Result<(), Halted>, TrialError> {
    let refused = |doing: &str, errno| refusal(trial, doing, &file.name, errno);
    let no_memory = |error: std::io::Error| TrialError {
        message: format!("no memory to write {}: {error}", file.name),
    };
    let numbers = [trial.seed, file.bytes, file.header.len() as u64];
    let name: Vec<u64> = file.name.bytes().map(u64::from).collect();
    let tag_of_file = tag(&[tag(&numbers), tag(&name)]);
    let mut pattern = Pattern::new(tag_of_file, BLOCK).map_err(no_memory)?;
    let fd = trial.dir.create_file(&file.name, OFlags::empty());
    let fd = fd.map_err(|errno| refused("make", errno))?;
    let mut at = 0;
    while at < file.bytes {
        if course.check().is_err() {
            return Ok(Err(Halted));
        }
        let header = file.header.get(at as usize..).unwrap_or_default();
        let block = if header.is_empty() {
            pattern.next(tag_of_file, at, BLOCK.min(file.bytes - at) as usize)
        } else {
            &header[..header.len().min(BLOCK as usize)]
        };
        let taken = write_block(&fd, block, at).map_err(|errno| refused("write", errno))?;
        if taken < block.len() {
            return Err(refused("write all of", rustix::io::Errno::NOSPC));
        }
        at += taken as u64;
        trial.ended.fetch_add(1, Ordering::Relaxed);
        trial.ended_bytes.fetch_add(taken as u64, Ordering::Relaxed);
        wrote(taken as u64);
    }
    rustix::fs::fdatasync(&fd).map_err(|errno| refused("fdatasync", errno))?;
    Ok(Ok(()))
}
