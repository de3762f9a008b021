//! The process that does the I/O, seen from the parent: asked, watched, stopped, and killed when the
//! file system hangs. The parent itself never touches the directory.

use std::time::Duration;

use loadline_child::{JsonChild, Line, MakeCommand};
use loadline_clock::monotonic_ns;
use loadline_schema::record::TrialId;
use loadline_schema::storage::protocol::{Reply, Request};
use loadline_schema::storage::{
    FilesystemFacts, IoInterval, Leftover, SlowIo, StorageCell, StorageLimits, StorageTrial,
};

mod seen;
mod watch;

use seen::Seen;
use watch::Watch;

/// How often a waiting parent looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(50);
/// How long removing may take before the child is killed, when it must be quick: with the time to
/// stop it makes the two seconds after which nothing is left.
const REMOVE_NS: u64 = 900_000_000;
/// The same at an orderly end: unlinking large files takes its time.
const CLOSE_NS: u64 = 60_000_000_000;

/// Why storage is not measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The child cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// What was to be started.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The directory is refused, or a trial cannot be carried out.
    #[error("{message}")]
    Refused {
        /// Why, and what to do.
        message: String,
    },
    /// The child is gone.
    #[error("the process that measures {how}{}", last_words(.said))]
    Ended {
        /// How it ended.
        how: String,
        /// The last lines that it wrote to stderr.
        said: String,
    },
    /// The file system does not answer.
    #[error("{message}")]
    Hangs {
        /// What hangs, and what became of the process.
        message: String,
    },
    /// It was stopped.
    #[error("stopped")]
    Stopped,
}

fn last_words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; its last words: {said}") }
}

/// What comes while a trial is under way.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A second of a worker.
    Interval(IoInterval),
    /// A slow I/O.
    Slow(SlowIo),
    /// What is done now: the words, the share that is over, bytes/s.
    Progress(String, Option<f64>, f64),
}

/// A directory that is measured, and the process that does it.
pub struct StorageProcess {
    command: MakeCommand,
    path: String,
    stall_ns: u64,
    running: Option<JsonChild>,
    /// A killed child is still there: whoever touches the mount hangs as it does.
    is_stuck: bool,
    facts: FilesystemFacts,
    leftovers: Vec<Leftover>,
    work_dir: Option<String>,
}

/// What to open.
#[derive(Debug, Clone)]
pub struct Open<'a> {
    /// The directory.
    pub path: &'a str,
    /// What may be done.
    pub limits: &'a StorageLimits,
    /// Bytes of files that will be there at once.
    pub file_bytes: u64,
    /// Seed of everything random.
    pub seed: u64,
    /// Only look: nothing is made.
    pub look_only: bool,
}

impl StorageProcess {
    /// Starts the child, has it look at the directory, and make its own unless it only looks.
    /// `stopped` is asked several times a second.
    ///
    /// # Errors
    /// The child cannot be started, it ends, the directory is refused, or it does not answer.
    pub fn open(
        command: MakeCommand,
        open: &Open<'_>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, ProcessError> {
        let mut process = Self {
            command,
            path: open.path.to_owned(),
            stall_ns: open.limits.stall_ns,
            running: None,
            is_stuck: false,
            facts: FilesystemFacts::default(),
            leftovers: Vec::new(),
            work_dir: None,
        };
        process.start()?;
        process.ask(&Request::Open {
            path: open.path.to_owned(),
            limits: open.limits.clone(),
            file_bytes: open.file_bytes,
            seed: open.seed,
            look_only: open.look_only,
            remove: None,
        })?;
        let mut watch = Watch::new(process.stall_ns);
        loop {
            match process.reply(&mut watch, stopped)? {
                Reply::Opened { facts, work_dir, leftovers } => {
                    process.facts = *facts;
                    process.work_dir = work_dir;
                    process.leftovers = leftovers;
                    return Ok(process);
                }
                Reply::Refused { message } => return Err(ProcessError::Refused { message }),
                _ => {}
            }
        }
    }

    /// Its file system.
    pub fn facts(&self) -> &FilesystemFacts {
        &self.facts
    }

    /// What earlier runs left there.
    pub fn leftovers(&self) -> &[Leftover] {
        &self.leftovers
    }

    /// Carries out a trial; `each` takes rows as they come. A trial that `stopped` ends comes back as
    /// far as it went, and so does one whose file system hangs; after the latter every further trial
    /// is refused.
    ///
    /// # Errors
    /// The trial cannot be carried out, or the process ended.
    pub fn measure(
        &mut self,
        trial: TrialId,
        cell: &StorageCell,
        origin_ns: u64,
        stopped: &dyn Fn() -> bool,
        each: &mut dyn FnMut(Row),
    ) -> Result<StorageTrial, ProcessError> {
        let start_ns = monotonic_ns().wrapping_sub(origin_ns);
        self.ask(&Request::Measure { trial, cell: cell.clone(), origin_ns })?;
        let mut watch = Watch::new(self.stall_ns);
        let mut seen = Seen::default();
        loop {
            match self.reply(&mut watch, stopped) {
                Ok(Reply::Interval(row)) => {
                    seen.add(&row);
                    each(Row::Interval(row));
                }
                Ok(Reply::Slow(row)) => each(Row::Slow(row)),
                Ok(Reply::Progress { doing, done, bytes_per_s, .. }) => {
                    each(Row::Progress(doing, done, bytes_per_s));
                }
                Ok(Reply::Trial { measured, .. }) => return Ok(*measured),
                Ok(Reply::Failed { message }) => return Err(ProcessError::Refused { message }),
                Ok(_) => {}
                Err(ProcessError::Hangs { message }) => {
                    let now_ns = monotonic_ns().wrapping_sub(origin_ns);
                    return Ok(seen.trial(start_ns, now_ns, message));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes everything, at once where it must be quick, and ends the process. Returns what is
    /// left, each with its reason.
    pub fn close(mut self, quick: bool) -> Vec<String> {
        let within_ns = if quick { REMOVE_NS } else { CLOSE_NS };
        if let Some(mut running) = self.running.take() {
            let asked = running.send(r#"{"ask":"close"}"#);
            if asked.is_ok()
                && let Some(left) = wait_closed(&mut running, within_ns)
            {
                self.work_dir = None;
                return left;
            }
            self.is_stuck = !running.kill();
        }
        self.remove(within_ns)
    }

    /// Has another process remove what a killed one left. The mount may hang: this has an end, too.
    fn remove(&mut self, within_ns: u64) -> Vec<String> {
        let Some(work_dir) = self.work_dir.take() else { return Vec::new() };
        let start = || JsonChild::start((self.command)()).ok();
        let child = if self.is_stuck { None } else { start() };
        let removed = child.and_then(|mut child| {
            let request = Request::Open {
                path: self.path.clone(),
                limits: StorageLimits {
                    max_write_bytes: 0,
                    reserve_bytes: None,
                    allow_mount_root: true,
                    drop_caches: false,
                    stall_ns: within_ns,
                },
                file_bytes: 0,
                seed: 0,
                look_only: true,
                remove: Some(work_dir.clone()),
            };
            let line = serde_json::to_string(&request).ok()?;
            child.send(&line).ok()?;
            wait_closed(&mut child, within_ns)
        });
        removed.unwrap_or_else(|| {
            vec![format!(
                "{work_dir}: it could not be removed in time; the next `loadline storage` there \
                 removes it"
            )]
        })
    }

    fn start(&mut self) -> Result<(), ProcessError> {
        let command = (self.command)();
        let program = command.get_program().display().to_string();
        let started = JsonChild::start(command);
        self.running = Some(started.map_err(|source| ProcessError::Start { program, source })?);
        Ok(())
    }

    fn ask(&mut self, request: &Request) -> Result<(), ProcessError> {
        let line = serde_json::to_string(request).expect("invariant: a request has a JSON form");
        match self.running.as_mut().map(|running| running.send(&line)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(self.ended()),
            None => Err(ProcessError::Refused {
                message: format!("{}: given up after an earlier trial", self.path),
            }),
        }
    }

    /// The next reply, or why there is none.
    fn reply(
        &mut self,
        watch: &mut Watch,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Reply, ProcessError> {
        loop {
            let Some(running) = &mut self.running else { return Err(self.ended()) };
            let line = match running.line(LOOK) {
                Line::Whole(line) => line,
                Line::End => return Err(self.ended()),
                Line::Nothing => {
                    if stopped() && !watch.stop_sent() {
                        // A child that is gone is seen at the next line.
                        let _ = running.send(r#"{"ask":"stop"}"#);
                    }
                    if watch.must_kill() {
                        return Err(self.give_up(watch));
                    }
                    continue;
                }
            };
            let reply: Reply = serde_json::from_str(&line).map_err(|error| {
                self.running = None;
                let how = format!("sent a line that is no reply: {error}");
                ProcessError::Ended { how, said: String::new() }
            })?;
            watch.saw(&reply);
            if watch.must_kill() {
                return Err(self.give_up(watch));
            }
            if stopped() && !watch.stop_sent() {
                let _ = self.running.as_mut().map(|running| running.send(r#"{"ask":"stop"}"#));
            }
            return Ok(reply);
        }
    }

    /// Kills a child whose file system hangs, and says what became of it.
    fn give_up(&mut self, watch: &Watch) -> ProcessError {
        let Some(mut running) = self.running.take() else { return ProcessError::Stopped };
        let pid = running.pid();
        let state = process_state(pid);
        self.is_stuck = !running.kill();
        let fate = if self.is_stuck {
            let state = process_state(pid).or(state).unwrap_or_default();
            format!(
                "it cannot be killed{state} and is left behind: the mount has to answer, or go, first"
            )
        } else {
            "it was killed".to_owned()
        };
        if watch.was_stopped() {
            return ProcessError::Hangs {
                message: format!(
                    "process {pid} did not stop within a second on {}; {fate}",
                    self.place()
                ),
            };
        }
        ProcessError::Hangs {
            message: format!(
                "{} hangs: no I/O of process {pid} ended for {} s (--stall-timeout); {fate}",
                self.place(),
                self.stall_ns / 1_000_000_000
            ),
        }
    }

    /// "/shared (nfs4, server:/export on /shared)".
    fn place(&self) -> String {
        let facts = &self.facts;
        if facts.kind.is_empty() {
            return self.path.clone();
        }
        format!("{} ({}, {} on {})", self.path, facts.kind, facts.source, facts.mount_point)
    }

    fn ended(&mut self) -> ProcessError {
        let Some(running) = self.running.take() else {
            return ProcessError::Ended { how: "is not there".to_owned(), said: String::new() };
        };
        let ended = running.ended();
        ProcessError::Ended { how: ended.how, said: ended.said }
    }
}

impl Drop for StorageProcess {
    fn drop(&mut self) {
        // Without an orderly end the child sees its stdin close and removes what it made; it gets a
        // moment for that before it is killed.
        if let Some(mut running) = self.running.take() {
            running.close_requests();
            let _ = wait_closed(&mut running, REMOVE_NS);
        }
    }
}

/// Waits for `closed`.
fn wait_closed(running: &mut JsonChild, within_ns: u64) -> Option<Vec<String>> {
    let until = monotonic_ns() + within_ns;
    while monotonic_ns() < until {
        match running.line(LOOK) {
            Line::Whole(line) => {
                if let Ok(Reply::Closed { left }) = serde_json::from_str(&line) {
                    return Some(left);
                }
            }
            Line::End => return None,
            Line::Nothing => {}
        }
    }
    None
}

/// " (state D, uninterruptible sleep, in fuse_wait)", where the system tells.
fn process_state(pid: u32) -> Option<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut words = None;
    for thread in threads.flatten() {
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        let place = std::fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        let place = place.trim_matches(['0', '\n']);
        let place = if place.is_empty() { String::new() } else { format!(" in {place}") };
        match state {
            Some('D') => return Some(format!(" (state D: waits in the kernel{place})")),
            Some(state) => words = Some(format!(" (state {state}{place})")),
            None => {}
        }
    }
    words
}
