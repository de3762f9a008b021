//! The user's own llama-bench and llama-batched-bench: where they are, and cells measured by them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use loadline_schema::engine::{EngineCell, EngineFacts, EngineTrial};
use rustix::fs::{Access, access};

use crate::error::{EngineError, ImportError};
use crate::import::Imported;
use crate::json_lines::JsonLines;
use crate::{batched_bench, child, llama_bench};

const BENCH: &str = "llama-bench";
const BATCHED: &str = "llama-batched-bench";

/// The programs that were found; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// llama-bench: cells of one sequence.
    pub bench: Option<PathBuf>,
    /// llama-batched-bench: cells of several sequences.
    pub batched: Option<PathBuf>,
    /// Where they were looked for, in words.
    place: String,
    /// Words before each command line: a program that ties the tool to this process.
    through: Vec<OsString>,
}

/// A cell that was measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    /// What the tool says about itself and the model. `measured_by` is the program's path. Of
    /// llama-batched-bench there is no more than that: see [`Found::facts`].
    pub facts: EngineFacts,
    /// As many trials as were asked for.
    pub trials: Vec<EngineTrial>,
    /// What a reader of the figures should know.
    pub notes: Vec<String>,
    /// The command lines that were run.
    pub commands: Vec<Vec<OsString>>,
}

impl Found {
    /// Looks in the folders of `PATH`.
    ///
    /// # Errors
    /// Neither program is there.
    pub fn on_path() -> Result<Self, EngineError> {
        let path = env::var_os("PATH").unwrap_or_default();
        Self::among(env::split_paths(&path), "the folders of PATH".to_owned())
    }

    /// Looks in a folder (or its `bin` or `build/bin`); or takes the program at this path as it is
    /// (as llama-batched-bench where its name says so), and the other one beside it.
    ///
    /// # Errors
    /// Neither program is there.
    pub fn given(path: &Path) -> Result<Self, EngineError> {
        if !path.is_dir() {
            return Self::file(path);
        }
        let folder = path;
        let folders = [folder.to_owned(), folder.join("bin"), folder.join("build/bin")];
        Self::among(folders.into_iter(), folder.display().to_string())
    }

    fn file(path: &Path) -> Result<Self, EngineError> {
        let place = path.display().to_string();
        if access(path, Access::EXEC_OK).is_err() {
            return Err(EngineError::NotFound { program: BENCH, place });
        }
        let folder = path.parent().unwrap_or(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let given = Some(path.to_owned());
        let (bench, batched) = if name.contains("batched") {
            (program(folder, BENCH), given)
        } else {
            (given, program(folder, BATCHED))
        };
        Ok(Self { bench, batched, place, through: Vec::new() })
    }

    fn among(folders: impl Iterator<Item = PathBuf>, place: String) -> Result<Self, EngineError> {
        let (mut bench, mut batched) = (None, None);
        for folder in folders {
            bench = bench.or_else(|| program(&folder, BENCH));
            batched = batched.or_else(|| program(&folder, BATCHED));
        }
        if bench.is_none() && batched.is_none() {
            return Err(EngineError::NotFound { program: BENCH, place });
        }
        Ok(Self { bench, batched, place, through: Vec::new() })
    }

    /// The same, started through another command: `[program, words…]` before each command line.
    #[must_use]
    pub fn through(self, words: Vec<OsString>) -> Self {
        Self { through: words, ..self }
    }

    /// The program that measures cells of this batch.
    ///
    /// # Errors
    /// It was not found.
    pub fn program_for(&self, batch: u32) -> Result<&Path, EngineError> {
        let (found, program) =
            if batch <= 1 { (&self.bench, BENCH) } else { (&self.batched, BATCHED) };
        let missing = || EngineError::NotFound { program, place: self.place.clone() };
        found.as_deref().ok_or_else(missing)
    }

    /// What llama-bench says about itself and a model, by a run of one token.
    ///
    /// # Errors
    /// As [`Found::measure`].
    pub fn facts(&self, model: &Path, cancel: &AtomicBool) -> Result<EngineFacts, EngineError> {
        let cell = EngineCell { prompt_tokens: 0, output_tokens: 1, ..EngineCell::default() };
        Ok(self.measure(model, &cell, 1, cancel)?.facts)
    }

    /// Measures one cell: with llama-bench when it has one sequence, else with llama-batched-bench
    /// (what that can measure at which context: see [`crate::decode_arguments`] and
    /// [`crate::prompt_arguments`]). Blocks until it is done; `cancel` is looked at every 50 ms.
    ///
    /// A trial's `memory_bytes`, `cpu_ns`, `others_cpu` and `steal` are absent: the tools do not
    /// tell when their timed parts begin.
    ///
    /// # Errors
    /// A setting that the tool cannot take, a tool that is missing, fails or writes what is not
    /// understood, or `cancel`.
    pub fn measure(
        &self,
        model: &Path,
        cell: &EngineCell,
        trials: u32,
        cancel: &AtomicBool,
    ) -> Result<Measured, EngineError> {
        let program = self.program_for(cell.batch)?;
        if cell.batch <= 1 {
            one(&self.through, program, model, cell, trials, cancel)
        } else {
            several(&self.through, program, model, cell, trials, cancel)
        }
    }
}

fn program(folder: &Path, name: &str) -> Option<PathBuf> {
    let path = folder.join(name);
    (path.is_file() && access(&path, Access::EXEC_OK).is_ok()).then_some(path)
}

/// One run: what it wrote, and the last lines of its stderr.
fn run(
    through: &[OsString],
    program: &Path,
    arguments: &[OsString],
    cancel: &AtomicBool,
) -> Result<(Vec<Imported>, String), EngineError> {
    let mut rows = JsonLines::default();
    let stderr = child::run(through, program, arguments, cancel, |chunk| rows.push(chunk))?;
    match rows.finish() {
        Ok(imported) => Ok((imported, stderr)),
        Err(ImportError::NoRows) => Err(EngineError::Missing {
            program: program.to_owned(),
            missing: "a row of figures".to_owned(),
            stderr,
        }),
        Err(source) => Err(EngineError::Output { program: program.to_owned(), source }),
    }
}

fn one(
    through: &[OsString],
    program: &Path,
    model: &Path,
    cell: &EngineCell,
    trials: u32,
    cancel: &AtomicBool,
) -> Result<Measured, EngineError> {
    let arguments = llama_bench::arguments(model, cell, trials)?;
    let (imported, stderr) = run(through, program, &arguments, cancel)?;
    let is_it = |made: &EngineCell| {
        made.context == cell.context
            && made.prompt_tokens == cell.prompt_tokens
            && made.output_tokens == cell.output_tokens
    };
    let (facts, mut made, notes) = find(imported, is_it);
    let complete = |trial: &EngineTrial| {
        trial.prompt_ns.is_some() == (cell.prompt_tokens > 0)
            && trial.decode_ns.is_some() == (cell.output_tokens > 0)
    };
    if made.len() != trials as usize || !made.iter().all(complete) {
        let missing = format!("{trials} times for each part of the cell");
        return Err(EngineError::Missing { program: program.to_owned(), missing, stderr });
    }
    made.truncate(trials as usize);
    Ok(Measured {
        facts: of_program(facts, program),
        trials: made,
        notes,
        commands: vec![command(program, arguments)],
    })
}

fn several(
    through: &[OsString],
    program: &Path,
    model: &Path,
    cell: &EngineCell,
    trials: u32,
    cancel: &AtomicBool,
) -> Result<Measured, EngineError> {
    let prompt = batched_bench::prompt_arguments(model, cell, trials)?;
    let decode = batched_bench::decode_arguments(model, cell, trials)?;
    let mut measured =
        Measured { trials: vec![EngineTrial::default(); trials as usize], ..Measured::default() };
    if cell.prompt_tokens > 0 && prompt.is_none() {
        let note = "llama-batched-bench processes prompts at an empty context only: prompt \
                    processing is left out";
        measured.notes.push(note.to_owned());
    }
    if prompt.is_none() && decode.is_none() {
        let what = format!(
            "llama-batched-bench cannot process prompts of {} sequences at a context of {} tokens",
            cell.batch, cell.context
        );
        let help = "set the context to 0, or output tokens to more than 0";
        return Err(EngineError::Setting { what, help });
    }
    for (arguments, is_prompt) in [(prompt, true), (decode, false)] {
        let Some(arguments) = arguments else { continue };
        let (imported, stderr) = run(through, program, &arguments, cancel)?;
        let (facts, made) = part(imported, cell, is_prompt);
        // The first one is the warm-up.
        if made.len() != trials as usize + 1 {
            let missing = format!("{} rows of the cell, {} came", trials + 1, made.len());
            return Err(EngineError::Missing { program: program.to_owned(), missing, stderr });
        }
        for (trial, made) in measured.trials.iter_mut().zip(&made[1..]) {
            if is_prompt {
                (trial.prompt_tokens, trial.prompt_ns) = (made.prompt_tokens, made.prompt_ns);
            } else {
                (trial.decode_tokens, trial.decode_ns) = (made.decode_tokens, made.decode_ns);
            }
        }
        measured.facts = of_program(facts, program);
        measured.commands.push(command(program, arguments));
    }
    Ok(measured)
}

/// The trials of one part of a cell.
fn part(
    imported: Vec<Imported>,
    cell: &EngineCell,
    is_prompt: bool,
) -> (EngineFacts, Vec<EngineTrial>) {
    let is_it = |made: &EngineCell| {
        let same = if is_prompt {
            made.context == 0 && made.prompt_tokens == cell.prompt_tokens
        } else {
            made.context == cell.context && made.output_tokens == cell.output_tokens
        };
        same && made.batch == cell.batch
    };
    let (facts, trials, _) = find(imported, is_it);
    (facts, trials)
}

/// The first cell of which this is true: facts, trials and notes.
fn find(
    imported: Vec<Imported>,
    is_it: impl Fn(&EngineCell) -> bool,
) -> (EngineFacts, Vec<EngineTrial>, Vec<String>) {
    for one in imported {
        if let Some((_, trials)) = one.cells.into_iter().find(|(cell, _)| is_it(cell)) {
            return (one.facts, trials, one.notes);
        }
    }
    Default::default()
}

fn of_program(facts: EngineFacts, program: &Path) -> EngineFacts {
    EngineFacts { measured_by: program.display().to_string(), ..facts }
}

fn command(program: &Path, arguments: Vec<OsString>) -> Vec<OsString> {
    [program.into()].into_iter().chain(arguments).collect()
}

#[cfg(test)]
mod tests;
