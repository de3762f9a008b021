//! Observers of a stage: each reads its source in a thread of its own, at its own pace, and hands
//! rows to the writer; when that is busy, rows are dropped and counted, so that no driver waits.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use loadline_clock::{RunClock, thread_cpu_ns};
use loadline_observe::gpu::Nvml;
use loadline_observe::host::Roots;
use loadline_schema::observe::{ObserverEnd, ObserverKind};
use loadline_schema::sample::Sample;
use loadline_serving::trial::Stop;

use crate::recorder::SampleSink;

mod machine;
mod metrics;
mod page;

pub(crate) use machine::{Machine, is_here};
pub(crate) use metrics::Pages;

/// Share of the time to the next look that a look may take; after one that takes longer the next
/// comes later.
const BUSY: f64 = 0.05;
/// The most turns that one look may cost.
const MOST_TURNS: u64 = 16;
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
    /// When (ns), series and value.
    pub(crate) rows: Vec<(u64, String, f64)>,
    /// Whether the source is at work; `false` where it does not say.
    pub(crate) is_busy: bool,
    /// Why a part of it is missing.
    pub(crate) partial: Option<String>,
}

/// A look out of turn; the answer says whether the source is still at work.
type Edge = SyncSender<bool>;

struct Running {
    kind: ObserverKind,
    source: String,
    edges: SyncSender<Edge>,
    ended: Receiver<ObserverEnd>,
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
        let (tell, ended) = sync_channel(1);
        let (course, end) = (course.clone(), nothing_seen(kind, source.clone()));
        std::thread::spawn(move || {
            // A run that does not wait any more has said so.
            let _ = tell.try_send(Observer { end, look, course, turns: 0 }.run(&asked));
        });
        self.0.push(Running { kind, source, edges, ended });
    }

    /// Looks at everything at the edge of a trial, when nothing of ours is in flight, so that meters
    /// are read on both sides of it; and again shortly after while the server is still at work: some
    /// count a request when it is over.
    pub(crate) fn edge(&self, stop: &Stop) {
        const PAUSE: Duration = Duration::from_millis(100);
        for _ in 0..5 {
            if stop.why().is_some() {
                return;
            }
            let asked: Vec<Receiver<bool>> = self
                .0
                .iter()
                .filter_map(|one| {
                    let (answer, answered) = sync_channel(1);
                    // One that still owes the last answer is stuck: nobody waits for it.
                    one.edges.try_send(answer).ok().map(|()| answered)
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

    /// Ends all of them. One whose look does not return is left behind, and says so.
    pub(crate) fn finish(self) -> Vec<ObserverEnd> {
        let asked: Vec<_> =
            self.0.into_iter().map(|one| (one.kind, one.source, one.ended)).collect();
        let limit = Duration::from_nanos(EDGE_NS);
        let ended = asked.into_iter().map(|(kind, source, ended)| {
            ended.recv_timeout(limit).unwrap_or_else(|_| ObserverEnd {
                failed: 1,
                first_failure: Some("its last look did not return".to_owned()),
                ..nothing_seen(kind, source)
            })
        });
        ended.collect()
    }
}

fn nothing_seen(kind: ObserverKind, source: String) -> ObserverEnd {
    ObserverEnd {
        kind,
        source,
        looks: 0,
        failed: 0,
        first_failure: None,
        overflowed: 0,
        longest_ns: 0,
        interval_ns: 0,
        cpu_ns: 0,
        wall_ns: 0,
    }
}

struct Observer {
    end: ObserverEnd,
    look: Box<dyn Look>,
    course: Course,
    /// Looks in turn.
    turns: u64,
}

impl Observer {
    fn run(mut self, asked: &Receiver<Edge>) -> ObserverEnd {
        let (begin_ns, interval_ns) = (self.course.clock.now_ns(), self.course.interval_ns);
        let mut next_ns = begin_ns;
        loop {
            let wait = next_ns.saturating_sub(self.course.clock.now_ns());
            match asked.recv_timeout(Duration::from_nanos(wait)) {
                Ok(answer) => {
                    let (is_busy, _) = self.once(true);
                    // Nobody may wait any more.
                    let _ = answer.try_send(is_busy);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.turns += 1;
                    let (_, took_ns) = self.once(false);
                    let most_ns = BUSY * interval_ns as f64;
                    let turns = (took_ns as f64 / most_ns).ceil().clamp(1.0, MOST_TURNS as f64);
                    next_ns += interval_ns * turns as u64;
                    let now = self.course.clock.now_ns();
                    // Looks that are overdue are left out, not made up for.
                    next_ns += now.saturating_sub(next_ns).div_ceil(interval_ns) * interval_ns;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end.cpu_ns = thread_cpu_ns();
        self.end.wall_ns = self.course.clock.now_ns() - begin_ns;
        self.end.interval_ns = (self.end.wall_ns / self.turns.max(1)).max(interval_ns);
        self.end
    }

    /// One look: whether the source is at work, and how long the look took, ns.
    fn once(&mut self, at_edge: bool) -> (bool, u64) {
        let at_ns = self.course.clock.now_ns();
        let seen = self.look.look(at_ns, at_edge);
        let took_ns = self.course.clock.now_ns() - at_ns;
        self.end.longest_ns = self.end.longest_ns.max(took_ns);
        let is_busy = match seen {
            Ok(seen) => {
                self.end.looks += 1;
                if let Some(why) = seen.partial {
                    self.end.failed += 1;
                    self.end.first_failure.get_or_insert(why);
                }
                self.end.overflowed += self.course.sink.put(self.samples(seen.rows));
                seen.is_busy
            }
            Err(why) => {
                self.end.failed += 1;
                self.end.first_failure.get_or_insert(why);
                false
            }
        };
        (is_busy, took_ns)
    }

    fn samples(&self, rows: Vec<(u64, String, f64)>) -> Vec<Sample> {
        let (stage, source) = (self.course.stage, self.end.source.as_str());
        let sample = |(at_ns, series, value): (u64, String, f64)| Sample {
            stage,
            at_ns,
            source: source.into(),
            series: series.into(),
            value,
        };
        rows.into_iter().map(sample).collect()
    }
}

/// Rows of one moment.
fn at(at_ns: u64, rows: Vec<(String, f64)>) -> Vec<(u64, String, f64)> {
    rows.into_iter().map(|(series, value)| (at_ns, series, value)).collect()
}
