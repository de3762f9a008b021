//! The threads of a trial: started together, watched, and waited for.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use loadline_schema::storage::{IoEngine, IoExtent, IoLoad, WorkerEnd};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::job::Job;
use super::memory::Buffers;
use super::ring::Rig;
use super::setup::Setup;
use super::shared::{Shared, Times};
use super::{psync, ring_worker};
use crate::TrialError;

/// Progress is told so often.
const TELL: Duration = Duration::from_millis(200);

/// What a thread says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It can begin.
    Ready,
    /// It has ended.
    Gone,
}

/// What threads wait for.
#[derive(Debug, Clone, Copy, Default)]
enum Start {
    /// Not all are ready.
    #[default]
    Wait,
    /// The trial begins.
    Now(Times),
    /// It does not.
    Never,
}

/// Holds all threads until they can begin together.
#[derive(Default)]
struct Gate {
    start: Mutex<Start>,
    changed: Condvar,
}

impl Gate {
    fn open(&self, times: Option<Times>) {
        let start = times.map_or(Start::Never, Start::Now);
        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = start;
        self.changed.notify_all();
    }

    fn wait(&self) -> Option<Times> {
        let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *start {
                Start::Now(times) => return Some(times),
                Start::Never => return None,
                Start::Wait => {}
            }
            start = self.changed.wait(start).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A thread's side: it is told gone however the thread ends, a panic included.
struct Member<'a> {
    words: SyncSender<Word>,
    gate: &'a Gate,
}

impl Member<'_> {
    fn wait(&self) -> Option<Times> {
        // Nobody listens only when the trial was given up; then the gate says so.
        let _ = self.words.send(Word::Ready);
        self.gate.wait()
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let _ = self.words.send(Word::Gone);
    }
}

/// What a trial's threads left.
pub(super) struct Outcome {
    /// When it began and would end.
    pub(super) times: Times,
    /// Each thread's end, with its job.
    pub(super) ends: Vec<(u16, WorkerEnd)>,
    /// CPU time of the process in the measured part, user and system, ns.
    pub(super) cpu: (u64, u64),
    /// Whether buffers were registered.
    pub(super) fixed: bool,
}

type Handle<'scope> = ScopedJoinHandle<'scope, Result<Option<(WorkerEnd, bool)>, TrialError>>;

/// Runs the threads of all jobs until the trial is over.
///
/// # Errors
/// A thread could not begin.
pub(super) fn run(shared: &Shared<'_>, setup: &Setup, jobs: &[Job]) -> Result<Outcome, TrialError> {
    let threads = match setup.engine {
        IoEngine::Psync => shared.load.iodepth,
        _ => 1,
    };
    let all = jobs.len() * threads as usize;
    let gate = Gate::default();
    let (words, heard) = sync_channel(2 * all);
    std::thread::scope(|scope| {
        let mut handles: Vec<(u16, Handle<'_>)> = Vec::with_capacity(all);
        let mut refused = None;
        for job in jobs.iter().flat_map(|job| (0..threads).map(move |_| job)) {
            let member = Member { words: words.clone(), gate: &gate };
            match start(scope, shared, setup, job, member) {
                Ok(handle) => handles.push((job.number, handle)),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let ready = refused.is_none() && all_ready(&heard, all);
        let times = ready.then(|| begin(shared.load, jobs));
        let before = usage();
        gate.open(times);
        let cpu = times.map(|times| watch(shared, times, &heard, all, before));
        let mut outcome = Outcome {
            times: times.unwrap_or(Times { start: 0, measure: 0, deadline: 0 }),
            ends: Vec::with_capacity(all),
            cpu: cpu.unwrap_or_default(),
            fixed: true,
        };
        for (number, handle) in handles {
            match join(handle) {
                Ok(None) => {}
                Ok(Some((end, fixed))) => {
                    outcome.ends.push((number, end));
                    outcome.fixed &= fixed;
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(outcome), Err)
    })
}

fn join(handle: Handle<'_>) -> Result<Option<(WorkerEnd, bool)>, TrialError> {
    handle.join().unwrap_or_else(|_| {
        let message = "a worker ended unexpectedly: a fault of this program, please report it";
        Err(TrialError { message: message.to_owned() })
    })
}

fn start<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared<'a>,
    setup: &'scope Setup,
    job: &'scope Job,
    member: Member<'scope>,
) -> Result<Handle<'scope>, TrialError> {
    std::thread::Builder::new()
        .name(format!("io-{}", job.number))
        .spawn_scoped(scope, move || work(shared, setup, job, &member))
        .map_err(|error| TrialError {
            message: format!("cannot start a thread: {error}; use a smaller iodepth or fewer jobs"),
        })
}

/// A thread's life: everything is made ready, then it waits for the others.
fn work(
    shared: &Shared<'_>,
    setup: &Setup,
    job: &Job,
    member: &Member<'_>,
) -> Result<Option<(WorkerEnd, bool)>, TrialError> {
    let load = shared.load;
    // Waiting for due times shall not be rounded up by the usual 50 µs.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let slots = if setup.engine == IoEngine::Psync { 1 } else { load.iodepth as usize };
    let buffers = buffers(shared, job, slots).map_err(|errno| TrialError {
        message: format!(
            "no memory for {slots} blocks of {} bytes: {errno}; use a smaller bs or iodepth",
            load.bs_bytes
        ),
    })?;
    if setup.engine == IoEngine::Psync {
        let Some(times) = member.wait() else { return Ok(None) };
        return Ok(Some((psync::work(shared, job, times, buffers), true)));
    }
    let mut rig = Rig::new(job, load.iodepth, buffers).map_err(|error| TrialError {
        message: format!(
            "cannot set up io_uring for {} I/Os in flight: {error}; use a smaller iodepth, fewer \
             jobs or engine psync",
            load.iodepth
        ),
    })?;
    let Some(times) = member.wait() else { return Ok(None) };
    let end = ring_worker::work(shared, job, times, &mut rig);
    Ok(Some((end, rig.fixed)))
}

/// Buffers for so many I/Os in flight, touched; of a mixed load those for writes, then those for
/// reads.
fn buffers(shared: &Shared<'_>, job: &Job, slots: usize) -> rustix::io::Result<Buffers> {
    let (reads, writes) = (shared.load.reads(), shared.load.writes());
    let count = slots * (1 + usize::from(reads && writes));
    let align = shared.trial.direct().memory_align as usize;
    let mut buffers = Buffers::new(count, job.bs() as usize, align)?;
    for index in 0..count {
        match &job.pattern {
            Some(pattern) => pattern.prefill(buffers.buffer(index)),
            None => buffers.buffer(index).fill(0),
        }
    }
    Ok(buffers)
}

/// Whether all threads can begin.
fn all_ready(heard: &Receiver<Word>, all: usize) -> bool {
    let mut words = (0..all).map(|_| heard.recv());
    words.all(|word| word == Ok(Word::Ready))
}

/// The trial begins now.
fn begin(load: &IoLoad, jobs: &[Job]) -> Times {
    let start = loadline_clock::monotonic_ns();
    let measure = start + load.ramp_ns;
    let longest = match load.extent {
        IoExtent::Runtime { runtime_ns } => Some(runtime_ns),
        IoExtent::Size { runtime_ns } => runtime_ns,
    };
    let deadline = longest.map_or(u64::MAX, |ns| measure.saturating_add(ns));
    let times = Times { start, measure, deadline };
    jobs.iter().for_each(|job| job.begin(times));
    times
}

fn usage() -> Option<Usage> {
    getrusage(UsageWho::RUSAGE_SELF).ok()
}

/// CPU time between two readings, user and system, ns.
fn between(before: Option<Usage>, after: Option<Usage>) -> (u64, u64) {
    let (Some(before), Some(after)) = (before, after) else { return (0, 0) };
    let ns = |after: nix::sys::time::TimeVal, before: nix::sys::time::TimeVal| {
        (after - before).num_nanoseconds().max(0) as u64
    };
    (ns(after.user_time(), before.user_time()), ns(after.system_time(), before.system_time()))
}

/// Tells progress until all threads are gone; CPU time of the measured part.
fn watch(
    shared: &Shared<'_>,
    times: Times,
    heard: &Receiver<Word>,
    all: usize,
    mut before: Option<Usage>,
) -> (u64, u64) {
    let trial = shared.trial;
    let ended_before = trial.ended.load(std::sync::atomic::Ordering::Relaxed);
    let ios = shared.load.size_bytes / shared.load.bs_bytes * u64::from(shared.load.numjobs);
    let mut measuring = times.measure <= times.start;
    let mut gone = 0;
    while gone < all {
        let now = loadline_clock::monotonic_ns();
        if !measuring && now >= times.measure {
            (before, measuring) = (usage(), true);
        }
        let over = match shared.load.extent {
            IoExtent::Runtime { .. } => {
                (now - times.start) as f64 / (times.deadline - times.start).max(1) as f64
            }
            IoExtent::Size { .. } => {
                let ended = trial.ended.load(std::sync::atomic::Ordering::Relaxed);
                (ended - ended_before) as f64 / ios.max(1) as f64
            }
        };
        let doing = if measuring { "measuring" } else { "warming up" };
        trial.report.doing(doing, Some(over.clamp(0.0, 1.0)));
        let to_measure = Duration::from_nanos(times.measure.saturating_sub(now));
        let wait = if measuring { TELL } else { TELL.min(to_measure) };
        match heard.recv_timeout(wait) {
            Ok(Word::Gone) => gone += 1,
            Ok(Word::Ready) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    between(before, usage())
}
