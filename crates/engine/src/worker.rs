//! The embedded engine in a child process, seen from the parent: a crash of the engine ends one cell
//! and not the run.

use std::time::Duration;

use loadline_child::{JsonChild, Line, MakeCommand};
use loadline_schema::engine::{EngineCell, EngineFacts, EngineTrial};
use loadline_schema::engine_protocol::{Reply, Request};

/// How often a waiting parent looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(50);

/// Why the embedded engine did not measure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The child cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// What was to be started.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The engine says no, in its own words.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
    },
    /// The child is gone.
    #[error("the engine's process {how}{}", last_words(.said))]
    ProcessEnded {
        /// How it ended.
        how: String,
        /// The last lines that it wrote to stderr.
        said: String,
    },
    /// It was stopped.
    #[error("stopped")]
    Stopped,
}

fn last_words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; its last words: {said}") }
}

/// A child that measures, and the model that it holds.
pub struct Worker {
    command: MakeCommand,
    open: Request,
    running: Option<JsonChild>,
    facts: EngineFacts,
}

impl Worker {
    /// Starts the child and has it load a model.
    ///
    /// # Errors
    /// The child cannot be started, it ends, or it cannot load the model.
    pub fn start(command: MakeCommand, open: Request) -> Result<Self, WorkerError> {
        let mut worker = Self { command, open, running: None, facts: EngineFacts::default() };
        worker.reopen(&|| false)?;
        Ok(worker)
    }

    /// What the engine says about itself and its model.
    pub fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    /// Measures a cell; `each` takes every trial as soon as it has ended. A child that ended in an
    /// earlier cell is started again. `stopped` is asked several times a second; then the child ends.
    ///
    /// # Errors
    /// The engine refuses the cell, its process ended, or it was stopped.
    pub fn measure(
        &mut self,
        cell: &EngineCell,
        trials: u32,
        stopped: &dyn Fn() -> bool,
        each: &mut dyn FnMut(EngineTrial),
    ) -> Result<(), WorkerError> {
        if self.running.is_none() {
            self.reopen(stopped)?;
        }
        let request = Request::Measure { cell: cell.clone(), trials };
        self.ask(&request)?;
        loop {
            match self.reply(stopped)? {
                Reply::Trial { trial, .. } => each(trial),
                Reply::Done => return Ok(()),
                Reply::Failed { message } => return Err(WorkerError::Refused { message }),
                Reply::Opened { .. } => return Err(self.lost("a reply to another question".into())),
            }
        }
    }

    fn reopen(&mut self, stopped: &dyn Fn() -> bool) -> Result<(), WorkerError> {
        let command = (self.command)();
        let program = command.get_program().display().to_string();
        let start = JsonChild::start(command);
        self.running = Some(start.map_err(|source| WorkerError::Start { program, source })?);
        let open = self.open.clone();
        self.ask(&open)?;
        match self.reply(stopped)? {
            Reply::Opened { facts } => {
                self.facts = *facts;
                Ok(())
            }
            Reply::Failed { message } => Err(WorkerError::Refused { message }),
            _ => Err(self.lost("a reply to another question".into())),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<(), WorkerError> {
        let line = serde_json::to_string(request).expect("invariant: a request has a JSON form");
        let written = self.running.as_mut().map(|running| running.send(&line));
        match written {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(self.ended()),
        }
    }

    /// The next reply, or why there is none.
    fn reply(&mut self, stopped: &dyn Fn() -> bool) -> Result<Reply, WorkerError> {
        let Some(running) = &mut self.running else { return Err(self.ended()) };
        let line = loop {
            match running.line(LOOK) {
                Line::Whole(line) => break line,
                Line::End => return Err(self.ended()),
                Line::Nothing if stopped() => {
                    self.running = None;
                    return Err(WorkerError::Stopped);
                }
                Line::Nothing => {}
            }
        };
        serde_json::from_str(&line)
            .map_err(|error| self.lost(format!("a line that is no reply: {error}")))
    }

    /// The child is of no use any more.
    fn lost(&mut self, why: String) -> WorkerError {
        self.running = None;
        WorkerError::ProcessEnded { how: format!("sent {why}"), said: String::new() }
    }

    fn ended(&mut self) -> WorkerError {
        let Some(running) = self.running.take() else {
            let how = "is not there".to_owned();
            return WorkerError::ProcessEnded { how, said: String::new() };
        };
        let ended = running.ended();
        WorkerError::ProcessEnded { how: ended.how, said: ended.said }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use loadline_schema::engine::FlashAttention;

    use super::*;

    fn shell(script: &'static str) -> MakeCommand {
        Box::new(move || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        })
    }

    fn open() -> Request {
        Request::Open { model: "m.gguf".into(), mmap: true, gpu_layers: 0 }
    }

    fn cell() -> EngineCell {
        EngineCell {
            batch: 1,
            context: 0,
            prompt_tokens: 1,
            output_tokens: 1,
            threads: 1,
            gpu_layers: 0,
            n_batch: 1,
            n_ubatch: 1,
            flash_attention: FlashAttention::Auto,
            type_k: "f16".into(),
            type_v: "f16".into(),
        }
    }

    const OPENED: &str = r#"{"reply":"opened","facts":{"name":"e","measured_by":"embedded","model":{"name":"m","source":"","random_weights":false}}}"#;

    #[test]
    fn trials_come_as_they_end() {
        let script = Box::leak(
            format!(
                "read l; echo '{OPENED}'; read l; \
                 echo '{{\"reply\":\"trial\",\"index\":0,\"trial\":{{\"prompt_tokens\":5,\"decode_tokens\":0}}}}'; \
                 echo '{{\"reply\":\"done\"}}'; read l"
            )
            .into_boxed_str(),
        );
        let mut worker = Worker::start(shell(script), open()).expect("opened");
        assert_eq!(worker.facts().name, "e");
        let mut trials = Vec::new();
        worker.measure(&cell(), 1, &|| false, &mut |trial| trials.push(trial)).expect("measured");
        assert_eq!(trials.len(), 1);
        assert_eq!(trials[0].prompt_tokens, 5);
    }

    #[test]
    fn a_child_that_dies_tells_how_and_its_last_words_and_starts_again() {
        let script = Box::leak(
            format!(
                "read l; echo '{OPENED}'; read l; echo 'GGML_ASSERT failed' >&2; kill -ABRT $$"
            )
            .into_boxed_str(),
        );
        let mut worker = Worker::start(shell(script), open()).expect("opened");
        for _ in 0..2 {
            let error = worker.measure(&cell(), 1, &|| false, &mut |_| {}).expect_err("dies");
            let text = error.to_string();
            assert!(text.contains("signal 6") && text.contains("GGML_ASSERT failed"), "{text}");
        }
    }

    #[test]
    fn a_stop_ends_the_child() {
        let script =
            Box::leak(format!("read l; echo '{OPENED}'; read l; exec sleep 60").into_boxed_str());
        let mut worker = Worker::start(shell(script), open()).expect("opened");
        let error = worker.measure(&cell(), 1, &|| true, &mut |_| {}).expect_err("stopped");
        assert!(matches!(error, WorkerError::Stopped), "{error}");
        assert!(worker.running.is_none());
    }

    #[test]
    fn a_model_that_is_refused_is_an_error_at_once() {
        let script = "read l; echo '{\"reply\":\"failed\",\"message\":\"no such file\"}'; read l";
        let error = Worker::start(shell(script), open()).err().expect("refused");
        assert_eq!(error.to_string(), "no such file");
    }
}
