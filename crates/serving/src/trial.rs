//! One trial: as many reactors as the load needs, connections opened before the clock starts, one
//! common start, and the figures of the client at the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use loadline_clock::{RunClock, thread_cpu_ns};
use loadline_load::{Control, Shared, TrialLoad};
use loadline_schema::document::Distribution;
use loadline_schema::event::{ClientFigures, EndedEarly, Progress, TrialEnd};
use loadline_schema::plan::{Api, Load, Timeouts};
use loadline_schema::record::TrialId;

use crate::reactor::{Live, Reactor, Requests, Settings, Sink, Tally};
use crate::target::Target;

/// Between the last preparation and the first due time, ns: every thread is awake by then.
const START_IN_NS: u64 = 1_000_000;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Most connections that are opened beforehand for an open loop.
const OPEN_LOOP_CONNECTIONS: f64 = 256.0;

/// What one trial does.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Which one it is.
    pub id: TrialId,
    /// Its load; `start_ns` is filled in when it starts.
    pub load: TrialLoad,
    /// API dialect.
    pub api: Api,
    /// Time limits.
    pub timeouts: Timeouts,
    /// How often a failed request is sent again.
    pub retries: u16,
    /// Keep the arrival times of chunks.
    pub keep_chunks: bool,
    /// Keep the texts of answers without usage, so that their tokens can be counted afterwards.
    pub keep_text: bool,
    /// Threads; absent: as many as the load needs.
    pub reactors: Option<u32>,
    /// Time of one answer where it is known, ns: tells how many connections an open loop needs.
    pub answer_ns: Option<u64>,
    /// Tokens that may still be used.
    pub max_tokens: Option<u64>,
}

/// Stops a trial from outside: an interrupt, a full disk.
#[derive(Debug, Default)]
pub struct Stop(std::sync::Mutex<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    why: Option<EndedEarly>,
    trial: Option<Arc<Shared>>,
}

impl Stop {
    /// Stops the trial under way and every later one.
    pub fn stop(&self, why: EndedEarly) {
        let mut state = self.lock();
        let why = *state.why.get_or_insert(why);
        if let Some(trial) = &state.trial {
            trial.stop(why);
        }
    }

    /// Why, if it was stopped.
    pub fn why(&self) -> Option<EndedEarly> {
        self.lock().why
    }

    fn watch(&self, trial: Option<&Arc<Shared>>) {
        let mut state = self.lock();
        state.trial = trial.cloned();
        if let (Some(trial), Some(why)) = (&state.trial, state.why) {
            trial.stop(why);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stopping> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A reactor's own parts.
pub struct Parts<'a> {
    /// Makes the bodies.
    pub requests: Box<dyn Requests + 'a>,
    /// Takes the records.
    pub sink: Box<dyn Sink + 'a>,
}

/// Carries out a trial and returns its end. `parts` is called once for each reactor; `progress`
/// about five times a second from the calling thread.
///
/// # Errors
/// The system gives no epoll.
pub fn run_trial<'a>(
    target: &'a Target,
    trial: &Trial,
    clock: RunClock,
    stop: &Stop,
    mut parts: impl FnMut(u32) -> Parts<'a>,
    mut progress: impl FnMut(Progress),
) -> std::io::Result<TrialEnd> {
    let reactors = trial.reactors.unwrap_or_else(|| reactors_for(trial)).max(1);
    let live = Live::default();
    let common = Common {
        trial,
        clock,
        reactors,
        ready: Barrier::new(reactors as usize + 1),
        go: Barrier::new(reactors as usize + 1),
        start: std::sync::OnceLock::new(),
        running: AtomicU64::new(u64::from(reactors)),
        waiting: thread::current(),
    };
    let parts: Vec<Parts<'a>> = (0..reactors).map(&mut parts).collect();
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(reactors as usize);
        for (number, parts) in (0..).zip(parts) {
            let (common, live) = (&common, &live);
            let life = move || common.carry(target, live, parts, number);
            // A thread that the system does not give would leave the others waiting: `spawn` panics.
            threads.push(scope.spawn(life));
        }
        common.ready.wait();
        let shared = common.begin(stop);
        let (start_ns, start_cpu) = (clock.now_ns(), thread_cpu_ns());
        common.go.wait();
        common.watch(&shared, &live, stop, &mut progress);
        let mut total = Tally::default();
        for thread in threads {
            total.add(&thread.join().expect("invariant: reactors do not panic")?);
        }
        stop.watch(None);
        total.cpu_ns += thread_cpu_ns() - start_cpu;
        Ok(trial_end(trial, &shared, &total, clock, reactors, start_ns))
    })
}

/// A reactor's thread is at work; when it ends, also by a panic, nobody waits for it any longer.
struct Running<'c, 't>(&'c Common<'t>);

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.waiting.unpark();
    }
}

struct Common<'t> {
    trial: &'t Trial,
    clock: RunClock,
    reactors: u32,
    ready: Barrier,
    go: Barrier,
    start: std::sync::OnceLock<(TrialLoad, Arc<Shared>)>,
    running: AtomicU64,
    /// The thread that waits for the reactors.
    waiting: thread::Thread,
}

impl Common<'_> {
    /// The life of one reactor's thread.
    fn carry<'a>(
        &self,
        target: &'a Target,
        live: &'a Live,
        parts: Parts<'a>,
        number: u32,
    ) -> std::io::Result<Tally> {
        let slack = std::num::NonZeroU64::MIN;
        // Without it the default slack of 50 µs adds to every wait; nothing else depends on it.
        let _ = rustix::thread::set_current_timer_slack(Some(slack));
        let reactor = Reactor::new(
            target,
            settings(self.trial),
            self.clock,
            live,
            parts.requests,
            parts.sink,
        );
        let reactor = reactor.map(|mut reactor| {
            let until_ns = self.clock.now_ns() + self.trial.timeouts.connect_ns;
            reactor.open_connections(self.connections(number), until_ns);
            reactor
        });
        let _running = Running(self);
        self.ready.wait();
        self.go.wait();
        reactor.map(|reactor| self.run(reactor, number))
    }

    fn run(&self, reactor: Reactor<'_>, number: u32) -> Tally {
        let (load, shared) = self.start.get().expect("invariant: set before the go");
        let mut control = Control::new(load, Arc::clone(shared), number, self.reactors);
        let cpu = thread_cpu_ns();
        let mut tally = reactor.run(&mut control);
        tally.cpu_ns = thread_cpu_ns() - cpu;
        tally
    }

    /// Connections that this reactor opens beforehand.
    fn connections(&self, number: u32) -> u64 {
        let share = |total: u64| {
            let (reactors, number) = (u64::from(self.reactors), u64::from(number));
            total / reactors + u64::from(number < total % reactors)
        };
        match self.trial.load.load {
            Load::Closed { concurrency } => share(concurrency),
            Load::Burst { requests } => share(requests.min(self.trial.load.max_in_flight)),
            Load::Open { rate_per_s, .. } => {
                // Twice the mean number in flight, where one answer's time is known.
                let answer_s = self.trial.answer_ns.map_or(0.05, |ns| 2.0 * ns as f64 / 1e9);
                let wanted = (rate_per_s * answer_s).clamp(4.0, OPEN_LOOP_CONNECTIONS);
                share((wanted as u64).min(self.trial.load.max_in_flight))
            }
        }
    }

    /// Everything is open: fixes the start.
    fn begin(&self, stop: &Stop) -> Arc<Shared> {
        let load = TrialLoad { start_ns: self.clock.now_ns() + START_IN_NS, ..self.trial.load };
        let shared = Shared::new(&load, self.reactors);
        stop.watch(Some(&shared));
        self.start.set((load, Arc::clone(&shared))).expect("invariant: a trial begins once");
        shared
    }

    /// Tells progress until all reactors have ended.
    fn watch(
        &self,
        shared: &Shared,
        live: &Live,
        stop: &Stop,
        progress: &mut impl FnMut(Progress),
    ) {
        let (mut last_ok, mut last_ok_ns) = (0, self.clock.now_ns());
        while self.running.load(Ordering::Acquire) > 0 {
            thread::park_timeout(PROGRESS_EVERY);
            let now = self.clock.now_ns();
            let counts = shared.counts();
            if counts.ok > last_ok {
                (last_ok, last_ok_ns) = (counts.ok, now);
            }
            if now - last_ok_ns > 3 * self.trial.timeouts.total_ns && counts.not_ok > 0 {
                stop.stop(EndedEarly::NoAnswers);
            }
            progress(Progress {
                trial: self.trial.id,
                phase: shared.phase_at(now),
                phase_done: shared.phase_done(now).unwrap_or(1.0),
                in_flight: counts.in_flight,
                ok: counts.ok,
                not_ok: counts.not_ok,
                token_chunks: live.token_chunks.load(Ordering::Relaxed),
                ttft_p50_ns: None,
            });
        }
    }
}

fn settings(trial: &Trial) -> Settings {
    Settings {
        trial: trial.id,
        timeouts: trial.timeouts,
        open_loop: !matches!(trial.load.load, Load::Closed { .. }),
        api: trial.api,
        retries: trial.retries,
        keep_chunks: trial.keep_chunks,
        keep_text: trial.keep_text,
        max_tokens: trial.max_tokens,
    }
}

/// Streams that one core carries with room to spare, and requests/s likewise.
const STREAMS_PER_REACTOR: u64 = 512;
const RATE_PER_REACTOR: f64 = 2_500.0;

/// Reactors that a load needs, at most one for each core that this process may use.
fn reactors_for(trial: &Trial) -> u32 {
    let needed = match trial.load.load {
        Load::Closed { concurrency } => concurrency.div_ceil(STREAMS_PER_REACTOR),
        Load::Burst { requests } => requests.div_ceil(STREAMS_PER_REACTOR),
        Load::Open { rate_per_s, .. } => (rate_per_s / RATE_PER_REACTOR).ceil() as u64,
    };
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    needed.clamp(1, cores) as u32
}

fn trial_end(
    trial: &Trial,
    shared: &Shared,
    tally: &Tally,
    clock: RunClock,
    reactors: u32,
    start_ns: u64,
) -> TrialEnd {
    let counts = shared.counts();
    TrialEnd {
        trial: trial.id,
        ended_early: shared.ended_early(),
        start_ns,
        window: shared.window().and_then(|(from, to)| Some((from, to?))),
        by_count: shared.by_count(),
        started: counts.started,
        max_in_flight: counts.max_in_flight,
        client: ClientFigures {
            reactors,
            cpu_ns: tally.cpu_ns,
            spin_ns: tally.spin_ns,
            wall_ns: clock.now_ns() - start_ns,
            reads: tally.reads,
            token_chunks: tally.token_chunks,
            chunks: tally.chunks,
            merged_reads: tally.merged_reads,
            merged_chunks: tally.merged_chunks,
            fallbacks: tally.fallbacks,
            read_lag: read_lag(tally),
            slow_writes: tally.slow_writes,
            connects: tally.connects,
            late_connects: tally.late_connects,
            clock_step_ns: clock.step_ns(),
            clock_steps: tally.clock_steps,
            store_waits: tally.store_waits,
        },
    }
}

fn read_lag(tally: &Tally) -> Option<Distribution> {
    let lag = &tally.read_lag;
    (!lag.is_empty()).then(|| Distribution {
        n: lag.len(),
        mean: Some(lag.mean()),
        p50: Some(lag.value_at_quantile(0.5)),
        p90: Some(lag.value_at_quantile(0.9)),
        p95: Some(lag.value_at_quantile(0.95)),
        p99: Some(lag.value_at_quantile(0.99)),
        p999: Some(lag.value_at_quantile(0.999)),
        max: Some(lag.max()),
        bucketed: true,
        ..Distribution::default()
    })
}
