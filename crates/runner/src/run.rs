//! A whole run: targets first, then the directory, then trial after trial, then the seal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loadline_clock::{RunClock, unix_ns};
use loadline_schema::document::Selftest;
use loadline_schema::event::{EndedEarly, Event, EventKind, Progress, TrialEnd, Warning};
use loadline_schema::manifest::RunStatus;
use loadline_schema::plan::{Plan, Stage};
use loadline_schema::record::TrialId;
use loadline_serving::trial::Stop;
use loadline_store::{RunReader, RunStart, RunWriter, SealReport, StoreError, this_process};

use crate::RunError;
use crate::recorder::Recorder;
use crate::serving_stage::{Pace, Prepared};

/// What to run, and where to keep it.
#[derive(Debug)]
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
    /// The failure of the store that ended it.
    pub store_failure: Option<StoreError>,
    /// What sealing did.
    pub seal: SealReport,
}

/// Carries out a plan. `watch` sees every event as it happens, progress included.
///
/// # Errors
/// Nothing was measured: the target cannot be used, the system does not allow the load, or the
/// directory cannot be made.
pub fn run(
    request: &Request<'_>,
    stop: &Arc<Stop>,
    watch: &mut dyn FnMut(&Event),
) -> Result<Finished, RunError> {
    let clock = match &request.resume {
        Some(resume) => RunClock::resume(RunReader::open(&resume.dir)?.manifest().origin_unix_ns),
        None => RunClock::start(),
    };
    let stages = prepare(request.plan)?;
    if let Some(show) = request.show_exchange {
        for stage in &stages {
            show(&stage.transcript());
        }
    }
    let complete = request.resume.as_ref().map(complete_trials).transpose()?.unwrap_or_default();
    let writer = open_writer(request, clock)?;
    let dir = writer.dir().to_owned();
    let part = writer.part();
    let recorder = Recorder::start(writer, Arc::clone(stop));
    let mut run = Run {
        clock,
        recorder: &recorder,
        watch,
        part,
        complete,
        ended_early: None,
        learned: BTreeSet::new(),
    };
    run.tell(EventKind::PartStarted { part });
    for stage in &stages {
        run.stage(stage, stop)?;
    }
    let ended_early = run.ended_early;
    let reason = ended_early.map(|why| format!("{why:?}"));
    run.tell(EventKind::PartEnded { complete: ended_early.is_none(), reason });
    let (writer, store_failure) = recorder.finish();
    let sealed = ended_early.is_none() && store_failure.is_none();
    let status = if sealed { RunStatus::Sealed } else { RunStatus::Interrupted };
    let seal = writer.seal(status, unix_ns())?;
    Ok(Finished { dir, ended_early, store_failure, seal })
}

/// Makes every stage of a plan ready, in order.
///
/// # Errors
/// The first stage that is impossible.
pub fn prepare(plan: &Plan) -> Result<Vec<Prepared<'_>>, RunError> {
    let stages = (0..).zip(&plan.stages);
    stages.map(|(index, Stage::Serving(stage))| Prepared::new(index, stage, plan.seed)).collect()
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

/// (stage, point, trial) of the trials that ended as planned.
fn complete_trials(resume: &Resume) -> Result<BTreeSet<(u16, u16, u16)>, StoreError> {
    let events = RunReader::open(&resume.dir)?.events()?.events;
    let ended = events.into_iter().filter_map(|event| match event.kind {
        EventKind::TrialEnded(end) if end.ended_early.is_none() => Some(end.trial),
        _ => None,
    });
    Ok(ended.map(|trial| (trial.stage, trial.point, trial.trial)).collect())
}

/// Whether nothing more is to be sent; other reasons end their trial alone.
fn ends_the_run(why: EndedEarly) -> bool {
    matches!(why, EndedEarly::TokenCap | EndedEarly::StoreFailed | EndedEarly::Interrupted)
}

struct Run<'r> {
    clock: RunClock,
    recorder: &'r Recorder,
    watch: &'r mut dyn FnMut(&Event),
    part: u16,
    complete: BTreeSet<(u16, u16, u16)>,
    ended_early: Option<EndedEarly>,
    /// Stages whose target was found to close connections: told once.
    learned: BTreeSet<u16>,
}

impl Run<'_> {
    fn tell(&mut self, kind: EventKind) {
        let event = Event { at_ns: self.clock.now_ns(), kind };
        (self.watch)(&event);
        self.recorder.event(&event);
    }

    fn stage(&mut self, stage: &Prepared<'_>, stop: &Stop) -> Result<(), RunError> {
        for kind in stage.opening_events() {
            self.tell(kind);
        }
        for trial in 0..stage.trials() {
            for point in 0..stage.points() {
                let id = TrialId { stage: stage.index(), point, trial, part: self.part };
                if self.complete.contains(&(id.stage, point, trial)) {
                    continue;
                }
                if let Some(why) = stop.why().or(self.ended_early.filter(|why| ends_the_run(*why)))
                {
                    self.ended_early.get_or_insert(why);
                    return Ok(());
                }
                self.trial(stage, id, stop)?;
            }
        }
        Ok(())
    }

    fn trial(&mut self, stage: &Prepared<'_>, id: TrialId, stop: &Stop) -> Result<(), RunError> {
        self.tell(EventKind::TrialStarted { trial: id });
        let seen = &self.recorder.seen;
        let pace = Pace {
            mean_answer_ns: seen.mean_answer_ns(),
            tokens_left: stage.max_tokens().map(|most| most.saturating_sub(seen.tokens())),
        };
        seen.reset();
        let mut phase = None;
        let (clock, recorder, watch) = (self.clock, self.recorder, &mut *self.watch);
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
        let end = stage.run_trial(id, clock, stop, pace, sink, &mut progress)?;
        // The log says that a trial ended only when its records are in their files.
        self.recorder.flush();
        let tokens = stage.count_tokens(self.recorder.seen.take_texts());
        if !tokens.is_empty() {
            self.tell(EventKind::TokenCounts { trial: id, tokens });
            self.recorder.flush();
        }
        self.trial_ended(end);
        if let Some(warning) = stage.learned()
            && self.learned.insert(stage.index())
        {
            self.tell(EventKind::Warning(warning));
        }
        Ok(())
    }

    fn trial_ended(&mut self, end: TrialEnd) {
        let why = end.ended_early;
        self.tell(EventKind::TrialEnded(Box::new(end)));
        if let Some(why) = why {
            self.ended_early.get_or_insert(why);
        }
        if why == Some(EndedEarly::StoreFailed) {
            self.tell(EventKind::Warning(Warning::new(
                "store_failed",
                "records could not be stored: the trial ended there",
                "free space on the disk, then continue with --resume",
            )));
        }
    }
}
