//! A running `dcgmi dmon`: a child whose lines a thread of its own stamps and hands over.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use loadline_clock::{RunClock, monotonic_ns};
use loadline_schema::gpu::{GpuField, GpuReading, GpuSource};
use rustix::process::{Pid, Signal, kill_process_group};

use super::dmon::{DmonParser, dmon_arguments};
use super::{GpuError, GpuReader};

/// Readings that may wait for the next look; more are lost and counted.
const QUEUE: usize = 4_096;
/// How long the first line may take, ns.
const FIRST_WITHIN_NS: u64 = 3_000_000_000;
/// Lines of an error message that are kept.
const MESSAGES: usize = 5;
/// How long its last lines may take once it has ended, ns.
const LAST_WITHIN_NS: u64 = 1_000_000_000;

/// `dcgmi dmon` at work.
#[derive(Debug)]
pub struct Dcgmi {
    child: Child,
    program: String,
    readings: Receiver<GpuReading>,
    /// Read while it was waited for.
    first: Vec<GpuReading>,
    interval_ns: u64,
    lost: Arc<AtomicU64>,
    /// How it ended, once it was ended and collected: its number may be another process's by then.
    status: Option<String>,
    /// Gives the last lines that were no readings, once the text has ended.
    watcher: Option<JoinHandle<VecDeque<String>>>,
}

impl Dcgmi {
    /// Starts `program` (usually "dcgmi") so that it looks every `interval_ms`.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn start(program: &Path, interval_ms: u32, clock: RunClock) -> Result<Self, GpuError> {
        let name = program.display().to_string();
        let failed = |reason: String| GpuError::Dcgmi { program: name.clone(), reason };
        let mut child = Command::new(program)
            .args(dmon_arguments(interval_ms))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it may start itself ends with it.
            .process_group(0)
            .spawn()
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let output = child.stdout.take();
        let messages = child.stderr.take();
        let (sender, readings) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        // Read beside the output, so that many messages do not stop it.
        let reads = || std::thread::Builder::new().name("dcgmi".into());
        let messages = reads().spawn(move || {
            let mut unread = VecDeque::new();
            let lines = messages.map(|messages| BufReader::new(messages).lines());
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                keep(&mut unread, line);
            }
            unread
        });
        let watcher = messages.and_then(|messages| {
            reads().spawn(move || {
                let mut unread = VecDeque::new();
                if let Some(output) = output {
                    watch(output, &sender, &counter, clock, &mut unread);
                }
                for line in messages.join().unwrap_or_default() {
                    keep(&mut unread, line);
                }
                unread
            })
        });
        let (watcher, no_thread) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(failed(format!("no thread for it: {error}")))),
        };
        let interval_ns = u64::from(interval_ms) * 1_000_000;
        let (first, status) = (Vec::new(), None);
        // Made all the same, so that dropping it ends the child.
        let dcgmi =
            Self { child, program: name, readings, first, interval_ns, lost, status, watcher };
        no_thread.map_or(Ok(dcgmi), Err)
    }

    /// Readings that were lost because nobody looked for too long.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits for the first line (with SM activity in it, where that is asked for), at most 3 s: DCGM
    /// switches the counters on only now.
    pub(super) fn first_reading(mut self, activity: bool) -> Result<Self, GpuError> {
        let until = monotonic_ns() + FIRST_WITHIN_NS;
        let mut reason = "shows nothing within 3 s; does nv-hostengine run?".to_owned();
        loop {
            let left = Duration::from_nanos(until.saturating_sub(monotonic_ns()));
            match self.readings.recv_timeout(left) {
                Ok(reading) => {
                    let is_it = !activity || reading.get(GpuField::SmActive).is_some();
                    if let Some(missing) = reading.missing.get(&GpuField::SmActive) {
                        reason.clone_from(&missing.reason);
                    }
                    self.first.push(reading);
                    if is_it {
                        return Ok(self);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(GpuError::Dcgmi { program: self.program.clone(), reason });
                }
            }
        }
    }

    /// The last lines that were no readings. What the program has started may hold its output open.
    fn said(&mut self) -> VecDeque<String> {
        const GLANCE: Duration = Duration::from_millis(5);
        let Some(watcher) = self.watcher.take() else { return VecDeque::new() };
        let until = monotonic_ns() + LAST_WITHIN_NS;
        while !watcher.is_finished() && monotonic_ns() < until {
            std::thread::sleep(GLANCE);
        }
        if watcher.is_finished() { watcher.join().unwrap_or_default() } else { VecDeque::new() }
    }

    /// Ends it with all that it has started, and tells how it ended.
    fn stop(&mut self) -> String {
        if let Some(status) = &self.status {
            return status.clone();
        }
        // What has ended by itself keeps its own status; until it is collected its number is its own.
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        self.status.insert(status).clone()
    }

    fn ended(&mut self) -> GpuError {
        let said: Vec<String> = self.said().into();
        let status = self.stop();
        let reason = match said.join("; ") {
            empty if empty.is_empty() => format!("ended ({status}) and said nothing"),
            said => format!("ended ({status}): {said}"),
        };
        GpuError::Dcgmi { program: self.program.clone(), reason }
    }
}

impl GpuReader for Dcgmi {
    fn source(&self) -> GpuSource {
        GpuSource::Dcgmi
    }

    fn settles_ns(&self) -> u64 {
        // One whole round of lines, and what a loaded machine adds.
        self.interval_ns + 200_000_000
    }

    fn read(&mut self, _now_ns: u64) -> Result<Vec<GpuReading>, GpuError> {
        let mut readings = std::mem::take(&mut self.first);
        loop {
            match self.readings.try_recv() {
                Ok(reading) => readings.push(reading),
                // What came before its end is not lost with it.
                Err(TryRecvError::Disconnected) if readings.is_empty() => return Err(self.ended()),
                Err(_) => return Ok(readings),
            }
        }
    }
}

impl Drop for Dcgmi {
    fn drop(&mut self) {
        self.stop();
        self.said();
    }
}

fn watch(
    output: impl Read,
    sender: &SyncSender<GpuReading>,
    lost: &AtomicU64,
    clock: RunClock,
    unread: &mut VecDeque<String>,
) {
    let mut parser = DmonParser::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        match parser.line(&line, clock.now_ns()) {
            None => {
                if line.starts_with("Error") || line.starts_with("Unable") {
                    keep(unread, line);
                }
            }
            Some(reading) => match sender.try_send(reading) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                Err(TrySendError::Disconnected(_)) => return,
            },
        }
    }
}

fn keep(lines: &mut VecDeque<String>, line: String) {
    if !line.trim().is_empty() && lines.len() < MESSAGES {
        lines.push_back(line.chars().take(300).collect());
    }
}
