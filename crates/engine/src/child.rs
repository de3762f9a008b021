//! A tool as a child process: its output as it comes, its last words in errors, dead when dropped.
//!
//! The child has a process group of its own, which is killed when the caller cancels, when the
//! output makes no sense and when this code panics. That it ends when this process is killed is for
//! the command that it is started through.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{EngineError, ImportError};

/// How often the cancel flag is looked at while the tool is silent.
const LOOK: Duration = Duration::from_millis(50);

/// How much of stderr is kept.
const LAST_BYTES: usize = 16 << 10;
const LAST_LINES: usize = 12;

/// Runs a program to its end and hands over its stdout, chunk by chunk. Returns the last lines of
/// its stderr, as in [`EngineError::Ended`].
///
/// # Errors
/// It does not start, cannot be read, ends with an error or is cancelled, or `take` refuses what it
/// writes. It is dead then.
pub(crate) fn run(
    through: &[OsString],
    program: &Path,
    arguments: &[OsString],
    cancel: &AtomicBool,
    mut take: impl FnMut(&[u8]) -> Result<(), ImportError>,
) -> Result<String, EngineError> {
    let read = |source| EngineError::Read { program: program.to_owned(), source };
    let mut guard = Guard::start(through, program, arguments)
        .map_err(|source| EngineError::Start { program: program.to_owned(), source })?;
    let chunks = guard.stdout().map_err(read)?;
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        match chunks.recv_timeout(LOOK) {
            Ok(Ok(chunk)) => {
                take(&chunk).map_err(|source| EngineError::Output {
                    program: program.to_owned(),
                    source,
                })?;
            }
            Ok(Err(error)) => return Err(read(error)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = loop {
        if let Some(status) = guard.child.try_wait().map_err(read)? {
            break status;
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        thread::sleep(LOOK);
    };
    let stderr = guard.last_words();
    if status.success() {
        Ok(stderr)
    } else {
        Err(EngineError::Ended { program: program.to_owned(), status, stderr })
    }
}

/// A running tool; dropping it kills and reaps it.
struct Guard {
    child: Child,
    stderr: Option<JoinHandle<VecDeque<u8>>>,
}

impl Guard {
    fn start(through: &[OsString], program: &Path, arguments: &[OsString]) -> io::Result<Self> {
        let mut words = through.iter().map(OsString::as_os_str).chain([program.as_os_str()]);
        let mut child = Command::new(words.next().unwrap_or(program.as_os_str()))
            .args(words)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let stderr = child.stderr.take();
        let mut guard = Self { child, stderr: None };
        if let Some(stderr) = stderr {
            let reader = thread::Builder::new().name("engine-stderr".to_owned());
            guard.stderr = Some(reader.spawn(move || last_bytes(stderr))?);
        }
        Ok(guard)
    }

    /// Chunks of stdout from a thread of its own, so that silence can be interrupted.
    fn stdout(&mut self) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
        let (sender, receiver) = sync_channel(16);
        if let Some(stdout) = self.child.stdout.take() {
            let reader = thread::Builder::new().name("engine-stdout".to_owned());
            reader.spawn(move || send_chunks(stdout, &sender))?;
        }
        Ok(receiver)
    }

    fn kill(&mut self) -> io::Result<ExitStatus> {
        // The group outlives its leader as long as the leader has children.
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.child.wait()
    }

    /// The last lines of stderr after a colon, or nothing.
    fn last_words(&mut self) -> String {
        // Nobody may hold the pipe open once the tool itself has ended.
        let _ = self.kill();
        let bytes = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        last_lines(&Vec::from(bytes))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn send_chunks(mut stdout: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let chunk = match stdout.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => Ok(buffer[..read].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let ended = chunk.is_err();
        if sender.send(chunk).is_err() || ended {
            return;
        }
    }
}

fn last_bytes(mut stderr: impl Read) -> VecDeque<u8> {
    let mut buffer = vec![0; 4096];
    let mut last = VecDeque::new();
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => return last,
            Ok(read) => {
                last.extend(&buffer[..read]);
                let surplus = last.len().saturating_sub(LAST_BYTES);
                last.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return last,
        }
    }
}

/// The last lines that have anything in them, each on a line of its own after a colon.
fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean = |line: &str| -> String {
        line.chars().filter(|c| !c.is_control()).take(300).collect::<String>().trim_end().to_owned()
    };
    let lines: Vec<String> =
        text.lines().map(clean).filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    if last.is_empty() { String::new() } else { format!(":\n  {}", last.join("\n  ")) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sh(script: &str, cancel: &AtomicBool) -> (Result<String, EngineError>, Vec<u8>) {
        let mut out = Vec::new();
        let arguments = [OsString::from("-c"), OsString::from(script)];
        let ended = run(&[], Path::new("/bin/sh"), &arguments, cancel, |chunk| {
            out.extend_from_slice(chunk);
            Ok(())
        });
        (ended, out)
    }

    #[test]
    fn stdout_is_handed_over_and_stderr_kept() {
        let (ended, out) = sh("echo one; echo hint >&2; echo two", &AtomicBool::new(false));
        assert_eq!(out, b"one\ntwo\n");
        assert_eq!(ended.unwrap(), ":\n  hint");
    }

    #[test]
    fn an_error_has_the_last_lines_of_stderr() {
        let script = "for i in $(seq 100); do echo \"line $i\" >&2; done; exit 3";
        let (ended, _) = sh(script, &AtomicBool::new(false));
        let text = ended.unwrap_err().to_string();
        assert!(text.starts_with("/bin/sh ended with exit status: 3:\n  line 89\n"), "{text}");
        assert!(text.ends_with("\n  line 100"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let ended =
            run(&[], Path::new("/nonexistent/tool"), &[], &AtomicBool::new(false), |_| Ok(()));
        assert_eq!(ended.unwrap_err().to_string(), "/nonexistent/tool did not start");
    }

    #[test]
    fn cancelling_kills_the_tool_and_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let cancel = AtomicBool::new(false);
        let script =
            format!("sleep 1000 & echo $! $$ > {0}.new; mv {0}.new {0}; wait", file.display());
        let pids = thread::scope(|scope| {
            let running = scope.spawn(|| sh(&script, &cancel).0);
            while !file.exists() {
                thread::sleep(Duration::from_millis(5));
            }
            cancel.store(true, Ordering::Relaxed);
            let ended = running.join().unwrap();
            assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
            fs::read_to_string(&file).unwrap()
        });
        // The orphan is a zombie until the system's first process reaps it.
        let is_alive = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z"))
        };
        for pid in pids.split_whitespace() {
            let mut looks = 0;
            while is_alive(pid) {
                looks += 1;
                assert!(looks < 1000, "process {pid} is alive");
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn a_refused_output_kills_the_tool() {
        let arguments = [OsString::from("-c"), OsString::from("echo x; exec sleep 1000")];
        let refuse = |_: &[u8]| Err(ImportError::NoRows);
        let ended = run(&[], Path::new("/bin/sh"), &arguments, &AtomicBool::new(false), refuse);
        assert!(matches!(ended, Err(EngineError::Output { .. })), "{ended:?}");
    }

    #[test]
    fn a_child_that_keeps_stderr_open_does_not_block() {
        let (ended, _) = sh("sleep 1000 >/dev/null & echo word >&2", &AtomicBool::new(false));
        assert_eq!(ended.unwrap(), ":\n  word");
    }
}
