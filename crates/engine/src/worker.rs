//! The embedded engine in a child process, seen from the parent: a crash of the engine ends one cell
//! and not the run.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use loadline_schema::engine::{EngineCell, EngineFacts, EngineTrial};
use loadline_schema::engine_protocol::{Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often a waiting parent looks whether it shall stop.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Last lines of the child's stderr that are kept.
const LINES: usize = 20;

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

/// Makes the command that starts the child.
pub type MakeCommand = Box<dyn Fn() -> Command>;

/// A child that measures, and the model that it holds.
pub struct Worker {
    command: MakeCommand,
    open: Request,
    running: Option<Running>,
    facts: EngineFacts,
}

/// The child while it lives; it is killed when dropped.
struct Running {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    said: Said,
}

/// The last lines of a child's stderr.
pub(crate) struct Said {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
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
        self.running = Some(Running::start((self.command)())?);
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
        let mut line =
            serde_json::to_string(request).expect("invariant: a request has a JSON form");
        line.push('\n');
        let written =
            self.running.as_mut().map(|running| running.requests.write_all(line.as_bytes()));
        match written {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(self.ended()),
        }
    }

    /// The next reply, or why there is none.
    fn reply(&mut self, stopped: &dyn Fn() -> bool) -> Result<Reply, WorkerError> {
        let Some(running) = &mut self.running else { return Err(self.ended()) };
        let line = loop {
            if let Some(line) = running.line() {
                break line;
            }
            if stopped() {
                self.running = None;
                return Err(WorkerError::Stopped);
            }
        };
        if line.is_empty() {
            return Err(self.ended());
        }
        serde_json::from_str(&line)
            .map_err(|error| self.lost(format!("a line that is no reply: {error}")))
    }

    /// The child is of no use any more.
    fn lost(&mut self, why: String) -> WorkerError {
        self.running = None;
        WorkerError::ProcessEnded { how: format!("sent {why}"), said: String::new() }
    }

    fn ended(&mut self) -> WorkerError {
        let Some(mut running) = self.running.take() else {
            return WorkerError::ProcessEnded {
                how: "is not there".to_owned(),
                said: String::new(),
            };
        };
        let how = running.child.wait().map_or_else(|error| error.to_string(), how_it_ended);
        WorkerError::ProcessEnded { how, said: running.said.text() }
    }
}

/// "ended with code 1", "was ended by signal 6 (aborted)".
pub(crate) fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                4 => " (an instruction that this processor does not have)",
                6 => " (aborted: one of its own checks failed)",
                9 => " (killed: most often because memory ran out)",
                11 => " (invalid memory access)",
                _ => "",
            };
            format!("was ended by signal {signal}{name}")
        }
        (None, None) => "ended".to_owned(),
    }
}

impl Running {
    fn start(mut command: Command) -> Result<Self, WorkerError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().display().to_string();
        let mut child = command.spawn().map_err(|source| WorkerError::Start { program, source })?;
        let (requests, replies, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Self {
            requests: requests.expect("invariant: stdin was piped"),
            replies: BufReader::new(replies.expect("invariant: stdout was piped")),
            said: Said::listen(errors.expect("invariant: stderr was piped")),
            child,
        })
    }

    /// A whole line, an empty one at the end of the child's output, or nothing yet.
    fn line(&mut self) -> Option<String> {
        if self.replies.buffer().is_empty() {
            let mut ready = [PollFd::new(self.replies.get_ref(), PollFlags::IN)];
            match poll(&mut ready, Some(&LOOK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return None,
                Ok(_) | Err(_) => {}
            }
        }
        let mut line = String::new();
        // An error is an end, too: the child is asked for its own then.
        Some(self.replies.read_line(&mut line).map_or_else(|_| String::new(), |_| line))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    pub(crate) fn listen(from: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let Ok(mut kept) = kept.lock() else { return };
                if kept.len() == LINES {
                    kept.pop_front();
                }
                kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        });
        Self { lines, reader: Some(reader) }
    }

    /// All that was said, once the child has ended.
    pub(crate) fn text(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let lines = self.lines.lock().map(|lines| Vec::from(lines.clone())).unwrap_or_default();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
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
