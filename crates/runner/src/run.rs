//! A whole run: targets first, then the directory, then trial after trial, then the seal. A session
//! does it step by step, so that two of them can take turns.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loadline_clock::{RunClock, unix_ns};
use loadline_schema::document::Selftest;
use loadline_schema::event::{EndedEarly, Event, EventKind, Progress, TrialEnd, Warning};
use loadline_schema::manifest::RunStatus;
use loadline_schema::plan::{Load, Plan, Stage};
use loadline_schema::record::TrialId;
use loadline_serving::trial::Stop;
use loadline_store::{RunReader, RunStart, RunWriter, SealReport, StoreError, this_process};

use crate::RunError;
use crate::engine_stage::PreparedEngine;
use crate::launch::Launch;
use crate::observers::{Hardware, Observers};
use crate::past::Past;
use crate::recorder::Recorder;
use crate::serving_stage::{Pace, Prepared};
use crate::storage_stage::PreparedStorage;

mod cells;
mod observed;

/// What to run, and where to keep it.
pub struct Request<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The plan as given, where it came from a file.
    pub plan_toml: Option<&'a str>,
    /// Folder that holds runs.
    pub out_dir: &'a Path,
    /// Version of the program.
    pub tool_version: &'a str,
    /// The client's selftest on this machine, where there is one.
    pub selftest: Option<Selftest>,
    /// The run to go on with.
    pub resume: Option<Resume>,
    /// Shown one exchange of each stage before the load, secrets masked.
    pub show_exchange: Option<fn(&str)>,
    /// Opens engines and starts servers.
    pub launch: &'a dyn Launch,
    /// Where the hardware's libraries and files are.
    pub hardware: &'a Hardware,
}

/// A run to go on with.
#[derive(Debug, Clone)]
pub struct Resume {
    /// Its directory.
    pub dir: PathBuf,
}

/// A run that was carried out, as far as it went.
#[derive(Debug)]
pub struct Finished {
    /// Its directory.
    pub dir: PathBuf,
    /// Why it ended short of its plan, if it did.
    pub ended_early: Option<EndedEarly>,
    /// Whether a cell of an engine or of storage could not be measured.
    pub cell_failed: bool,
    /// The failure of the store that ended it.
    pub store_failure: Option<StoreError>,
    /// What sealing did.
    pub seal: SealReport,
}

/// Chooses the loads of a search while it runs.
pub trait Choose {
    /// The load of the next trial; `None` when the search of this stage is over. Called before each
    /// trial; the trials in [`Asked::done`] can be read in the run directory.
    ///
    /// # Errors
    /// The run directory cannot be read.
    fn next(&mut self, asked: &Asked<'_>) -> Result<Option<Load>, StoreError>;
}

/// What a search may go by.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Index of the stage.
    pub stage: u16,
    /// The run directory.
    pub dir: &'a Path,
    /// Trials that ended, in order, with their loads; those of earlier parts of the run, too.
    pub done: &'a [(TrialId, Load)],
    /// Most requests that this machine can have in flight.
    pub max_in_flight: u64,
}

/// For plans without a search.
#[derive(Debug, Clone, Copy)]
pub struct NoSearch;

impl Choose for NoSearch {
    fn next(&mut self, _: &Asked<'_>) -> Result<Option<Load>, StoreError> {
        Ok(None)
    }
}

/// Carries out a plan. `watch` sees every event as it happens, progress included.
///
/// # Errors
/// Nothing was measured: the target cannot be used, the system does not allow the load, or the
/// directory cannot be made.
pub fn run(
    request: &Request<'_>,
    stop: &Arc<Stop>,
    choose: &mut dyn Choose,
    watch: &mut dyn FnMut(&Event),
) -> Result<Finished, RunError> {
    let mut session = Session::open(request, stop, watch)?;
    while session.step(choose, watch)? {}
    session.finish(watch)
}

/// A stage made ready.
pub enum PreparedStage<'a> {
    /// Its target was reached.
    Serving(Box<Prepared<'a>>),
    /// Its engine is open.
    Engine(Box<PreparedEngine<'a>>),
    /// Its paths were looked at.
    Storage(Box<PreparedStorage<'a>>),
}

impl PreparedStage<'_> {
    /// What is known before the stage begins.
    pub fn opening_events(&self) -> Vec<EventKind> {
        match self {
            Self::Serving(stage) => stage.opening_events(),
            Self::Engine(stage) => stage.opening_events(),
            Self::Storage(stage) => stage.opening_events(),
        }
    }
}

/// Makes every stage of a plan ready, in order.
///
/// # Errors
/// The first stage that is impossible.
pub fn prepare<'a>(
    plan: &'a Plan,
    launch: &dyn Launch,
) -> Result<Vec<PreparedStage<'a>>, RunError> {
    let stages = (0..).zip(&plan.stages);
    let prepared = stages.map(|(index, stage)| {
        Ok(match stage {
            Stage::Serving(stage) => {
                PreparedStage::Serving(Box::new(Prepared::new(index, stage, plan, launch)?))
            }
            Stage::Engine(stage) => {
                PreparedStage::Engine(Box::new(PreparedEngine::new(index, stage, launch)?))
            }
            Stage::Storage(stage) => {
                let prepared = PreparedStorage::new(index, stage, plan.seed, launch)?;
                PreparedStage::Storage(Box::new(prepared))
            }
        })
    });
    prepared.collect()
}

fn open_writer(request: &Request<'_>, clock: RunClock) -> Result<RunWriter, StoreError> {
    let start = RunStart {
        tool_version: request.tool_version.to_owned(),
        unix_ns: clock.origin_unix_ns(),
        host: this_process(),
        selftest: request.selftest.clone(),
    };
    match &request.resume {
        Some(resume) => RunWriter::resume(&resume.dir, request.plan, &start),
        None => RunWriter::create(
            request.out_dir,
            &request.plan.name,
            request.plan_toml,
            request.plan,
            &start,
        ),
    }
}

/// What kind of stage is under way.
#[derive(Clone, Copy)]
enum Kind {
    Serving,
    Engine,
    Storage,
}

/// Whether nothing more is to be sent; other reasons end their trial alone.
fn ends_the_run(why: EndedEarly) -> bool {
    matches!(why, EndedEarly::TokenCap | EndedEarly::StoreFailed | EndedEarly::Interrupted)
}

/// A run under way.
pub struct Session<'a> {
    clock: RunClock,
    /// Those that are over are gone: their engines and servers end with them.
    stages: VecDeque<PreparedStage<'a>>,
    launch: &'a dyn Launch,
    hardware: &'a Hardware,
    stop: Arc<Stop>,
    recorder: Recorder,
    /// Those of the stage under way.
    observers: Observers,
    dir: PathBuf,
    part: u16,
    past: Past,
    /// The next trial of the sweep of the first stage.
    next: u64,
    ended_early: Option<EndedEarly>,
    /// Whether a cell of an engine failed: a resume tries it again.
    cell_failed: bool,
    /// Stages whose target was found to close connections: told once.
    learned: BTreeSet<u16>,
}

impl<'a> Session<'a> {
    /// Reaches the targets and opens the run directory.
    ///
    /// # Errors
    /// As [`run`].
    pub fn open(
        request: &Request<'a>,
        stop: &Arc<Stop>,
        watch: &mut dyn FnMut(&Event),
    ) -> Result<Self, RunError> {
        let resumed = request.resume.as_ref().map(|resume| RunReader::open(&resume.dir));
        let resumed = resumed.transpose()?;
        let clock = match &resumed {
            Some(run) => RunClock::resume(run.manifest().origin_unix_ns),
            None => RunClock::start(),
        };
        let stages = VecDeque::from(prepare(request.plan, request.launch)?);
        if let Some(show) = request.show_exchange {
            for stage in &stages {
                if let PreparedStage::Serving(stage) = stage {
                    show(&stage.transcript());
                }
            }
        }
        let past = match resumed {
            Some(run) => Past::of(run.events()?.events, request.plan),
            None => Past::default(),
        };
        for stage in &stages {
            if let PreparedStage::Engine(stage) = stage {
                stage.check_same(&past)?;
            }
        }
        let writer = open_writer(request, clock)?;
        let (dir, part) = (writer.dir().to_owned(), writer.part());
        let recorder = Recorder::start(writer, Arc::clone(stop));
        let mut session = Self {
            clock,
            stages,
            stop: Arc::clone(stop),
            recorder,
            dir,
            part,
            past,
            launch: request.launch,
            hardware: request.hardware,
            observers: Observers::default(),
            next: 0,
            ended_early: None,
            cell_failed: false,
            learned: BTreeSet::new(),
        };
        session.tell(watch, EventKind::PartStarted { part });
        session.open_stage(watch);
        Ok(session)
    }

    /// Carries out the next trial. Returns whether there may be another.
    ///
    /// # Errors
    /// The system gives no epoll, or a search cannot read what was measured.
    pub fn step(
        &mut self,
        choose: &mut dyn Choose,
        watch: &mut dyn FnMut(&Event),
    ) -> Result<bool, RunError> {
        while let Some(stage) = self.stages.front() {
            let kind = match stage {
                PreparedStage::Serving(_) => Kind::Serving,
                PreparedStage::Engine(_) => Kind::Engine,
                PreparedStage::Storage(_) => Kind::Storage,
            };
            if let Some(why) = self.stop.why().or(self.ended_early.filter(|why| ends_the_run(*why)))
            {
                self.ended_early.get_or_insert(why);
                self.close_storage(true, watch);
                return Ok(false);
            }
            let more = match kind {
                Kind::Engine => self.cell(watch),
                Kind::Storage => self.storage_trial(watch),
                Kind::Serving => match self.next_trial(choose, watch)? {
                    Some((id, load)) => {
                        self.trial(id, load, watch)?;
                        true
                    }
                    None => false,
                },
            };
            if more {
                return Ok(true);
            }
            self.close_storage(false, watch);
            self.stop_observers(watch);
            self.stages.pop_front();
            self.next = 0;
            self.open_stage(watch);
        }
        Ok(false)
    }

    /// Seals the run.
    ///
    /// # Errors
    /// The directory cannot be closed; what was measured stays readable.
    pub fn finish(mut self, watch: &mut dyn FnMut(&Event)) -> Result<Finished, RunError> {
        self.stop_observers(watch);
        let ended_early = self.ended_early;
        let failed = self.cell_failed.then_some("a cell could not be measured");
        let reason = ended_early.map(EndedEarly::in_words).or(failed).map(str::to_owned);
        let complete = reason.is_none();
        self.tell(watch, EventKind::PartEnded { complete, reason });
        let (writer, store_failure) = self.recorder.finish();
        let sealed = complete && store_failure.is_none();
        let status = if sealed { RunStatus::Sealed } else { RunStatus::Interrupted };
        let seal = writer.seal(status, unix_ns())?;
        Ok(Finished {
            dir: self.dir,
            ended_early,
            cell_failed: self.cell_failed,
            store_failure,
            seal,
        })
    }

    fn tell(&mut self, watch: &mut dyn FnMut(&Event), kind: EventKind) {
        let event = Event { at_ns: self.clock.now_ns(), kind };
        watch(&event);
        self.recorder.event(&event);
    }

    fn open_stage(&mut self, watch: &mut dyn FnMut(&Event)) {
        let Some(stage) = self.stages.front() else { return };
        let mut events = stage.opening_events();
        if let PreparedStage::Engine(stage) = stage {
            events.extend(stage.bandwidth(self.launch, &self.past));
        }
        for kind in events {
            self.tell(watch, kind);
        }
        self.start_observers(watch);
    }

    /// The serving stage that is under way.
    fn serving(&self) -> &Prepared<'a> {
        match self.stages.front() {
            Some(PreparedStage::Serving(stage)) => stage,
            _ => unreachable!("invariant: only asked for while a serving stage is under way"),
        }
    }

    /// The next trial of the stage that was not carried out yet.
    fn next_trial(
        &mut self,
        choose: &mut dyn Choose,
        watch: &mut dyn FnMut(&Event),
    ) -> Result<Option<(TrialId, Load)>, RunError> {
        let stage = self.serving();
        let index = stage.index();
        let id = |point, trial| TrialId { stage: index, point, trial, part: self.part };
        let Some(points) = stage.points() else {
            let asked = Asked {
                stage: index,
                dir: &self.dir,
                done: self.past.done(index),
                max_in_flight: stage.max_in_flight(),
            };
            let Some(load) = choose.next(&asked)? else { return Ok(None) };
            let (point, is_new) = self.past.point(index, load);
            let id = id(point, self.past.trials_of(index, point));
            if is_new {
                self.tell(watch, EventKind::PointChosen { stage: index, point, load });
            }
            return Ok(Some((id, load)));
        };
        // Trials are the outer loop, so that a drift of the target spreads over all points.
        let all = points.len() as u64 * u64::from(stage.trials());
        while self.next < all {
            let (trial, point) = (self.next / points.len() as u64, self.next % points.len() as u64);
            self.next += 1;
            let (trial, point) = (trial as u16, point as u16);
            if !self.past.is_done(index, point, trial) {
                return Ok(Some((id(point, trial), points[usize::from(point)])));
            }
        }
        Ok(None)
    }

    fn trial(
        &mut self,
        id: TrialId,
        load: Load,
        watch: &mut dyn FnMut(&Event),
    ) -> Result<(), RunError> {
        self.tell(watch, EventKind::TrialStarted { trial: id });
        let stage = self.serving();
        let seen = &self.recorder.seen;
        let pace = Pace {
            mean_answer_ns: seen.mean_answer_ns(),
            tokens_left: stage.max_tokens().map(|most| most.saturating_sub(seen.tokens())),
        };
        seen.reset();
        let mut phase = None;
        let (clock, recorder) = (self.clock, &self.recorder);
        let mut progress = |mut progress: Progress| {
            progress.ttft_p50_ns = recorder.seen.first_token_p50_ns();
            let at_ns = clock.now_ns();
            if phase.replace(progress.phase) != Some(progress.phase) {
                let kind = EventKind::PhaseStarted { trial: id, phase: progress.phase };
                let event = Event { at_ns, kind };
                watch(&event);
                recorder.event(&event);
            }
            watch(&Event { at_ns, kind: EventKind::Progress(progress) });
        };
        let sink = || Box::new(recorder.sink()) as Box<dyn loadline_serving::Sink>;
        self.observers.edge(&self.stop);
        let end = stage.run_trial((id, load), clock, &self.stop, pace, sink, &mut progress)?;
        self.observers.edge(&self.stop);
        // The log says that a trial ended only when its records are in their files.
        self.recorder.flush();
        let tokens = stage.count_tokens(self.recorder.seen.take_texts());
        let learned = stage.learned();
        let searches = stage.points().is_none();
        if !tokens.is_empty() {
            self.tell(watch, EventKind::TokenCounts { trial: id, tokens });
            self.recorder.flush();
        }
        self.trial_ended(end, load, searches, watch);
        if let Some(warning) = learned
            && self.learned.insert(id.stage)
        {
            self.tell(watch, EventKind::Warning(warning));
        }
        // A search reads the trial from the directory, its end included.
        self.recorder.flush();
        Ok(())
    }

    fn trial_ended(
        &mut self,
        end: TrialEnd,
        load: Load,
        searches: bool,
        watch: &mut dyn FnMut(&Event),
    ) {
        let (id, why) = (end.trial, end.ended_early);
        self.tell(watch, EventKind::TrialEnded(Box::new(end)));
        // For a search a load that the target refuses is a finding, not a fault.
        let is_finding = searches && why == Some(EndedEarly::StopAfterErrors);
        if why.is_none() || is_finding {
            self.past.add(id, load);
        }
        if let Some(why) = why.filter(|_| !is_finding) {
            self.ended_early.get_or_insert(why);
        }
        if why == Some(EndedEarly::StoreFailed) {
            let warning = Warning::new(
                "store_failed",
                "records could not be stored: the trial ended there",
                "free space on the disk, then continue with --resume",
            );
            self.tell(watch, EventKind::Warning(warning));
        }
    }
}
