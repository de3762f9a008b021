//! Observers of a stage: each reads its source in a thread of its own, at its own pace, and hands
//! rows to the writer; when that is busy, rows are dropped and counted, so that no driver waits.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use loadline_clock::{RunClock, thread_cpu_ns};
use loadline_observe::gpu::Nvml;
use loadline_observe::host::Roots;
use loadline_schema::observe::{ObserverEnd, ObserverKind};
use loadline_schema::sample::Sample;

use crate::recorder::SampleSink;

mod machine;
mod metrics;
mod page;

pub(crate) use machine::{Machine, is_here};
pub(crate) use metrics::Pages;

/// Share of the time between two looks that a look may take; one that takes longer makes the next
/// ones rarer.
const BUSY: f64 = 0.05;
/// How long a look at the begin or the end of a trial is waited for, ns: longer than a page may take.
const EDGE_NS: u64 = 2 * page::LIMIT_NS;

/// Where the hardware's libraries and files are.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// The driver's library.
    pub nvml: PathBuf,
    /// `dcgmi`, where it may be started.
    pub dcgmi: Option<PathBuf>,
    /// The kernel's files.
    pub roots: Roots,
}

impl Default for Hardware {
    fn default() -> Self {
        Self { nvml: Nvml::LIBRARY.into(), dcgmi: Some("dcgmi".into()), roots: Roots::default() }
    }
}

/// Something that is looked at again and again.
pub(crate) trait Look: Send {
    /// Series and values as they are now. At the edge of a trial everything is wanted.
    ///
    /// # Errors
    /// Why there is nothing, in words.
    fn look(&mut self, now_ns: u64, at_edge: bool) -> Result<Seen, String>;
}

/// What a look gave.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Series and values.
    pub(crate) rows: Vec<(String, f64)>,
    /// Whether the source is at work; `false` where it does not say.
    pub(crate) is_busy: bool,
}

/// A look out of turn; the answer says whether the source is still at work.
type Edge = SyncSender<bool>;

struct Running {
    edges: SyncSender<Edge>,
    thread: JoinHandle<ObserverEnd>,
}

/// The observers of a stage while it goes on.
#[derive(Default)]
pub(crate) struct Observers(Vec<Running>);

/// What every observer of a stage needs.
#[derive(Clone)]
pub(crate) struct Course {
    pub(crate) stage: u16,
    pub(crate) clock: RunClock,
    pub(crate) interval_ns: u64,
    pub(crate) sink: SampleSink,
}

impl Observers {
    /// Starts one.
    pub(crate) fn add(
        &mut self,
        kind: ObserverKind,
        source: String,
        look: Box<dyn Look>,
        course: &Course,
    ) {
        let (edges, asked) = sync_channel(1);
        let course = course.clone();
        let thread = std::thread::spawn(move || {
            let end = ObserverEnd {
                kind,
                source,
                looks: 0,
                failed: 0,
                first_failure: None,
                overflowed: 0,
                longest_ns: 0,
                interval_ns: course.interval_ns,
                cpu_ns: 0,
                wall_ns: 0,
            };
            Observer { end, look, course }.run(&asked)
        });
        self.0.push(Running { edges, thread });
    }

    /// Looks at everything at the edge of a trial, when nothing of ours is in flight, so that meters
    /// are read on both sides of it; and again shortly after while the server is still at work: some
    /// count a request when it is over.
    pub(crate) fn edge(&self) {
        const PAUSE: Duration = Duration::from_millis(100);
        for _ in 0..5 {
            let asked: Vec<Receiver<bool>> = self
                .0
                .iter()
                .filter_map(|one| {
                    let (answer, answered) = sync_channel(1);
                    one.edges.send(answer).ok().map(|()| answered)
                })
                .collect();
            let limit = Duration::from_nanos(EDGE_NS);
            let busy = asked.into_iter().filter(|one| one.recv_timeout(limit) == Ok(true)).count();
            if busy == 0 {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends all of them.
    pub(crate) fn finish(self) -> Vec<ObserverEnd> {
        let threads: Vec<_> = self.0.into_iter().map(|one| one.thread).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("invariant: an observer's thread does not panic"));
        ended.collect()
    }
}

struct Observer {
    end: ObserverEnd,
    look: Box<dyn Look>,
    course: Course,
}

impl Observer {
    fn run(mut self, asked: &Receiver<Edge>) -> ObserverEnd {
        let begin_ns = self.course.clock.now_ns();
        let mut next_ns = begin_ns;
        loop {
            let wait = next_ns.saturating_sub(self.course.clock.now_ns());
            match asked.recv_timeout(Duration::from_nanos(wait)) {
                Ok(answer) => {
                    let is_busy = self.once(true);
                    // Nobody may wait any more.
                    let _ = answer.try_send(is_busy);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.once(false);
                    let (now, interval) = (self.course.clock.now_ns(), self.end.interval_ns);
                    // Looks that took too long are left out, not made up for.
                    next_ns += interval * (now.saturating_sub(next_ns) / interval + 1);
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end.cpu_ns = thread_cpu_ns();
        self.end.wall_ns = self.course.clock.now_ns() - begin_ns;
        self.end
    }

    /// One look; whether the source is at work.
    fn once(&mut self, at_edge: bool) -> bool {
        let at_ns = self.course.clock.now_ns();
        let seen = self.look.look(at_ns, at_edge);
        let took_ns = self.course.clock.now_ns() - at_ns;
        self.end.longest_ns = self.end.longest_ns.max(took_ns);
        while took_ns as f64 > BUSY * self.end.interval_ns as f64 {
            self.end.interval_ns *= 2;
        }
        match seen {
            Ok(seen) => {
                self.end.looks += 1;
                self.end.overflowed += self.course.sink.put(self.samples(at_ns, seen.rows));
                seen.is_busy
            }
            Err(why) => {
                self.end.failed += 1;
                self.end.first_failure.get_or_insert(why);
                false
            }
        }
    }

    fn samples(&self, at_ns: u64, rows: Vec<(String, f64)>) -> Vec<Sample> {
        let (stage, source) = (self.course.stage, self.end.source.as_str());
        let sample = |(series, value): (String, f64)| Sample {
            stage,
            at_ns,
            source: source.into(),
            series: series.into(),
            value,
        };
        rows.into_iter().map(sample).collect()
    }
}
