//! A running `dcgmi dmon`: a child whose lines a thread of its own stamps and hands over.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
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

use super::dmon::{DmonParser, dmon_arguments};
use super::{GpuError, GpuReader};

/// Readings that may wait for the next look; more are lost and counted.
const QUEUE: usize = 4_096;
/// How long the first line may take, ns.
const FIRST_WITHIN_NS: u64 = 3_000_000_000;
/// Lines of an error message that are kept.
const MESSAGES: usize = 5;

/// `dcgmi dmon` at work.
#[derive(Debug)]
pub struct Dcgmi {
    child: Child,
    program: String,
    readings: Receiver<GpuReading>,
    lost: Arc<AtomicU64>,
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
            .spawn()
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let output = child.stdout.take();
        let messages = child.stderr.take();
        let (sender, readings) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let watcher = std::thread::Builder::new().name("dcgmi".into()).spawn(move || {
            let mut unread = VecDeque::new();
            if let Some(output) = output {
                watch(output, &sender, &counter, clock, &mut unread);
            }
            if let Some(messages) = messages {
                for line in BufReader::new(messages).lines().map_while(Result::ok) {
                    keep(&mut unread, line);
                }
            }
            unread
        });
        let watcher = watcher.map_err(|error| failed(format!("no thread for it: {error}")))?;
        Ok(Self { child, program: name, readings, lost, watcher: Some(watcher) })
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
                Ok(reading) if !activity || reading.get(GpuField::SmActive).is_some() => {
                    return Ok(self);
                }
                Ok(reading) => {
                    if let Some(missing) = reading.missing.get(&GpuField::SmActive) {
                        reason.clone_from(&missing.reason);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(GpuError::Dcgmi { program: self.program.clone(), reason });
                }
            }
        }
    }

    fn ended(&mut self) -> GpuError {
        let said = self.watcher.take().and_then(|watcher| watcher.join().ok()).unwrap_or_default();
        let said: Vec<String> = said.into();
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
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

    fn read(&mut self, _now_ns: u64) -> Result<Vec<GpuReading>, GpuError> {
        let mut readings = Vec::new();
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
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
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
