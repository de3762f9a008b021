//! A child process that is asked and answers in lines of JSON: it can be waited for with an end, its
//! last words are kept, and it is dead when dropped.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Last lines of the child's stderr that are kept.
const LINES: usize = 20;
/// How long a killed child is waited for: one that the kernel does not let go is left alone.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How often a killed child is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Makes the command that starts a child.
pub type MakeCommand = Box<dyn Fn() -> Command>;

/// A child while it lives.
#[derive(Debug)]
pub struct JsonChild {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    said: Said,
    /// The kernel did not let it go when it was killed: it is not waited for again.
    is_stuck: bool,
}

/// What came from a child.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line.
    Whole(String),
    /// Nothing in the time given.
    Nothing,
    /// The end of its output: it ends, or has ended.
    End,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// "ended with code 1", "was ended by signal 9 (killed …)".
    pub how: String,
    /// The last lines that it wrote to stderr.
    pub said: String,
}

impl JsonChild {
    /// Starts a child.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (requests, replies, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Self {
            requests,
            replies: BufReader::new(replies.expect("invariant: stdout was piped")),
            said: Said::listen(errors.expect("invariant: stderr was piped")),
            child,
            is_stuck: false,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line.
    ///
    /// # Errors
    /// The child does not read any more.
    pub fn send(&mut self, line: &str) -> io::Result<()> {
        match &mut self.requests {
            Some(requests) => requests.write_all(format!("{line}\n").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Closes its stdin: a child that reads requests ends then by itself.
    pub fn close_requests(&mut self) {
        self.requests = None;
    }

    /// The next line, for which it waits so long.
    pub fn line(&mut self, wait: Duration) -> Line {
        if self.replies.buffer().is_empty() {
            let wait =
                Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
            let mut ready = [PollFd::new(self.replies.get_ref(), PollFlags::IN)];
            match poll(&mut ready, Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Line::Nothing,
                Ok(_) | Err(_) => {}
            }
        }
        let mut line = String::new();
        // An error is an end, too: the child is asked for its own then.
        match self.replies.read_line(&mut line) {
            Ok(0) | Err(_) => Line::End,
            Ok(_) => Line::Whole(line),
        }
    }

    /// Kills it; whether the kernel let it go within two seconds. A second call does not wait again.
    pub fn kill(&mut self) -> bool {
        let _ = self.child.kill();
        let most = if self.is_stuck { Duration::ZERO } else { LAST_WAIT };
        let mut waited = Duration::ZERO;
        loop {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            if waited >= most {
                self.is_stuck = true;
                return false;
            }
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
    }

    /// How it ended, after the end of its output.
    pub fn ended(mut self) -> Ended {
        self.close_requests();
        let mut waited = Duration::ZERO;
        let how = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break how_it_ended(status),
                Err(error) => break error.to_string(),
                Ok(None) if waited >= LAST_WAIT => {
                    let gone = self.kill();
                    let how = if gone { "had to be killed" } else { "cannot be killed" };
                    return Ended { how: how.to_owned(), said: String::new() };
                }
                Ok(None) => {}
            }
            std::thread::sleep(LOOK);
            waited += LOOK;
        };
        Ended { how, said: self.said.text() }
    }
}

impl Drop for JsonChild {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a child's stderr.
#[derive(Debug)]
pub struct Said {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Said {
    /// Listens on a thread of its own, so that the child never waits.
    pub fn listen(from: impl Read + Send + 'static) -> Self {
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
    pub fn text(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let lines = self.lines.lock().map(|lines| Vec::from(lines.clone())).unwrap_or_default();
        lines.join("\n")
    }
}

/// "ended with code 1", "was ended by signal 6 (aborted)".
pub fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                4 => " (an instruction that this processor does not have)",
                6 => " (aborted: one of its own checks failed)",
                7 => " (a mapped file could not be read)",
                9 => " (killed: most often because memory ran out)",
                11 => " (invalid memory access)",
                _ => "",
            };
            format!("was ended by signal {signal}{name}")
        }
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn shell(script: &str) -> JsonChild {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        JsonChild::start(command).expect("it starts")
    }

    #[test]
    fn it_is_asked_and_answers() {
        let mut child = shell("read line; echo \"got $line\"; read line");
        child.send("a").expect("it reads");
        assert_eq!(child.line(LONG), Line::Whole("got a\n".into()));
        assert_eq!(child.line(Duration::from_millis(1)), Line::Nothing);
        child.close_requests();
        assert_eq!(child.line(LONG), Line::End);
    }

    #[test]
    fn its_end_and_last_words_are_kept() {
        let mut child = shell("echo oops >&2; kill -ABRT $$");
        assert_eq!(child.line(LONG), Line::End);
        let ended = child.ended();
        assert!(ended.how.contains("signal 6") && ended.said == "oops", "{ended:?}");
    }

    #[test]
    fn it_dies_when_killed() {
        let mut child = shell("exec sleep 600");
        assert!(child.kill());
        assert_eq!(child.line(LONG), Line::End);
    }
}
