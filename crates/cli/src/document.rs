//! From a run directory to the analysis document: reads trial by trial, so that memory holds one
//! trial's records.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use loadline_analysis::{
    EngineInput, PointAnalysis, SearchSettings, StageInput, StageObservation, StageResult,
    StorageInput, TrialInput, TrialStart, TrialTime, document, engine_results, gpu_summaries,
    latest_parts, load_value,
};
use loadline_schema::document::{Document, Point, RunSummary, StorageResult, StorageSummary};
use loadline_schema::engine::{EngineFacts, EngineStage, EngineTrial, MemoryBandwidth};
use loadline_schema::event::{Calibration, Event, EventKind, TargetFacts, TrialEnd, Warning};
use loadline_schema::gpu::GpuReading;
use loadline_schema::manifest::RunStatus;
use loadline_schema::observe::{ObserverEnd, Observing};
use loadline_schema::outcome::Phase;
use loadline_schema::plan::{Load, Plan, ServingStage, Stage};
use loadline_schema::record::TrialId;
use loadline_schema::storage::{FilesystemFacts, Leftover, StorageStage, StorageTrial};
use loadline_store::{RunReader, RunState, StoreError};

use crate::cost_args::CostArgs;
use crate::exit::Failure;
use crate::sla_args::SlaArgs;

use crate::find::is_probe;
use crate::observation::{Times, observation};

/// What the event log says, by trial and stage.
#[derive(Default)]
struct Log {
    /// Trials that began, and when, ns.
    started: Vec<(TrialId, u64)>,
    ends: BTreeMap<TrialId, TrialEnd>,
    measure_from: BTreeMap<TrialId, u64>,
    facts: BTreeMap<u16, TargetFacts>,
    calibrations: BTreeMap<u16, Calibration>,
    /// Points that searches chose, by stage, in the order of choice.
    chosen: BTreeMap<u16, Vec<Load>>,
    engines: BTreeMap<u16, EngineFacts>,
    bandwidths: BTreeMap<u16, MemoryBandwidth>,
    cells: BTreeMap<TrialId, EngineTrial>,
    failed: BTreeMap<TrialId, String>,
    /// File systems of storage stages, each path once, as last looked at.
    filesystems: BTreeMap<u16, Vec<FilesystemFacts>>,
    leftovers: BTreeMap<u16, Vec<Leftover>>,
    storage: BTreeMap<TrialId, StorageTrial>,
    /// What the observers of a stage had in front of them, part after part.
    observing: BTreeMap<u16, Vec<Observing>>,
    observers: BTreeMap<u16, Vec<ObserverEnd>>,
    warnings: Vec<Warning>,
}

impl Log {
    fn new(events: Vec<Event>) -> Self {
        let mut log = Self::default();
        for event in events {
            log.take(event);
        }
        log
    }

    fn take(&mut self, event: Event) {
        match event.kind {
            EventKind::TrialStarted { trial } => self.started.push((trial, event.at_ns)),
            EventKind::TrialEnded(end) => {
                self.ends.insert(end.trial, *end);
            }
            EventKind::PhaseStarted { trial, phase: Phase::Measure } => {
                self.measure_from.insert(trial, event.at_ns);
            }
            EventKind::TargetFacts { stage, facts } => {
                self.facts.insert(stage, facts);
            }
            EventKind::Calibrated { stage, calibration } => {
                self.calibrations.insert(stage, calibration);
            }
            EventKind::PointChosen { stage, load, .. } => {
                self.chosen.entry(stage).or_default().push(load);
            }
            EventKind::EngineFacts { stage, facts } => {
                self.engines.insert(stage, *facts);
            }
            EventKind::MemoryBandwidth { stage, bandwidth } => {
                // A resumed run keeps what its first cells were measured beside.
                self.bandwidths.entry(stage).or_insert(bandwidth);
            }
            EventKind::EngineTrial { trial, measured } => {
                self.cells.insert(trial, measured);
            }
            EventKind::EngineCellFailed { trial, why }
            | EventKind::StorageCellFailed { trial, why } => {
                self.failed.insert(trial, why);
            }
            EventKind::StorageFacts { stage, facts, leftovers } => {
                self.storage_facts(stage, *facts, leftovers);
            }
            EventKind::StorageTrial { trial, measured } => {
                self.storage.insert(trial, *measured);
            }
            EventKind::Observing { stage, observing } => {
                self.observing.entry(stage).or_default().push(*observing);
            }
            EventKind::ObserverEnded { stage, observer } => {
                self.observers.entry(stage).or_default().push(observer);
            }
            EventKind::Warning(warning) => self.warnings.push(warning),
            _ => {}
        }
    }
}

impl Log {
    fn storage_facts(&mut self, stage: u16, facts: FilesystemFacts, leftovers: Vec<Leftover>) {
        let known = self.filesystems.entry(stage).or_default();
        known.retain(|other| other.path != facts.path);
        known.push(facts);
        // What was only seen at first may be removed later.
        let all = self.leftovers.entry(stage).or_default();
        all.retain(|other| leftovers.iter().all(|leftover| leftover.path != other.path));
        all.extend(leftovers);
    }
}

/// The analysis of a run.
pub(crate) fn analyse(dir: &Path) -> Result<Document, StoreError> {
    Stored::open(dir)?.analyse()
}

/// A run directory with its plan and log, ready to be analysed.
pub(crate) struct Stored {
    run: RunReader,
    pub(crate) plan: Plan,
    log: Log,
}

impl Stored {
    /// Reads everything but the records.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let run = RunReader::open(dir)?;
        let plan = run.plan()?;
        let mut log = Log::new(run.events()?.events);
        log.warnings.extend(state_warnings(&run));
        Ok(Self { run, plan, log })
    }

    /// Judges by the targets of flags instead of the plan's, where there are any.
    pub(crate) fn judge_by(&mut self, sla: &SlaArgs) -> Result<(), Failure> {
        let targets = sla.targets()?;
        if !targets.is_empty() {
            self.plan.sla = targets;
        }
        Ok(())
    }

    /// Puts the prices of flags in the place of the plan's.
    pub(crate) fn price_by(&mut self, cost: &CostArgs) -> Result<(), Failure> {
        let points = (0..).zip(&self.plan.stages).map(|(index, stage)| match stage {
            Stage::Serving(stage) => self.loads(index, stage).len(),
            Stage::Engine(stage) => stage.cells.len(),
            Stage::Storage(_) => 0,
        });
        let has_meter = |found: &Observing| !(found.gpus.is_empty() && found.meters.is_empty());
        let mut parts = self.log.observing.values().flatten();
        let is_measured = parts.any(has_meter);
        let points = points.max().unwrap_or(0);
        self.plan.cost = cost.plan_over(self.plan.cost.as_ref(), points, is_measured)?;
        Ok(())
    }

    /// When the trials that were carried out as planned began.
    pub(crate) fn trial_starts(&self) -> Vec<TrialStart> {
        let origin = i128::from(self.run.manifest().origin_unix_ns);
        let ends = self.log.ends.values().filter(|end| end.ended_early.is_none());
        let latest = latest_parts(ends.clone().map(|end| end.trial));
        ends.filter(|end| latest.contains(&end.trial))
            .map(|end| {
                let at_unix_ns = origin + i128::from(end.start_ns);
                TrialStart { trial: end.trial, at_unix_ns }
            })
            .collect()
    }

    /// The whole document.
    pub(crate) fn analyse(&self) -> Result<Document, StoreError> {
        let manifest = self.run.manifest().clone();
        let started = self.log.started.iter().map(|(trial, _)| *trial);
        let trials = latest_parts(started.chain(self.run.trials()));
        let mut observations = BTreeMap::new();
        for (index, _) in self.plan.serving() {
            if let Some(found) = self.observation(index)? {
                observations.insert(index, found);
            }
        }
        let mut stages = Vec::with_capacity(self.plan.stages.len());
        for (index, stage) in self.plan.serving() {
            let of_stage: Vec<TrialId> =
                trials.iter().copied().filter(|id| id.stage == index).collect();
            let observed = observations.get(&index);
            let points = self.points(index, stage, &of_stage, observed)?;
            let input = StageInput { observed, ..self.input(index, stage) };
            stages.push(StageResult { input, points });
        }
        let gpus: Vec<GpuReading> =
            observations.values().flat_map(|found| found.gpus.iter().cloned()).collect();
        let engines = (0..).zip(&self.plan.stages).filter_map(|(index, stage)| match stage {
            Stage::Engine(stage) => Some(engine_results(&self.engine_input(index, stage))),
            Stage::Serving(_) | Stage::Storage(_) => None,
        });
        let engines = engines.collect();
        let mut storages = Vec::new();
        for (index, stage) in (0..).zip(&self.plan.stages) {
            if let Stage::Storage(stage) = stage {
                storages.push(self.storage(index, stage)?);
            }
        }
        let summary = RunSummary {
            id: manifest.id,
            name: manifest.name,
            directory: self.run.dir().display().to_string(),
            started: manifest.started,
            status: match self.run.state() {
                RunState::Sealed => RunStatus::Sealed,
                RunState::Running | RunState::Elsewhere => RunStatus::Running,
                RunState::Killed | RunState::Interrupted | RunState::Unreadable => {
                    RunStatus::Interrupted
                }
            },
            seed: manifest.seed,
            hosts: manifest.hosts,
        };
        let warnings = self.log.warnings.clone();
        let document =
            document(summary, engines, storages, stages, manifest.selftest.clone(), warnings);
        Ok(Document { gpu: gpu_summaries(&gpus), ..document })
    }

    /// What the observers of a stage read; `None` where there were none.
    fn observation(&self, index: u16) -> Result<Option<StageObservation>, StoreError> {
        let Some(parts) = self.log.observing.get(&index) else { return Ok(None) };
        let mut times = Times::default();
        for end in self.log.ends.values().filter(|end| end.trial.stage == index) {
            times.trials.push(TrialTime {
                id: end.trial,
                from_ns: end.start_ns,
                to_ns: end.start_ns + end.client.wall_ns,
            });
            times.windows.extend(end.window);
        }
        // A trial that was killed has load of its own, which belongs to no other.
        let killed = self
            .log
            .started
            .iter()
            .filter(|(id, _)| id.stage == index && !self.log.ends.contains_key(id));
        times.killed.extend(killed.map(|(_, at_ns)| *at_ns));
        let observers = self.log.observers.get(&index).cloned().unwrap_or_default();
        observation(&self.run, index, parts, observers, &times).map(Some)
    }

    /// What a storage stage came to.
    fn storage(
        &self,
        index: u16,
        stage: &StorageStage,
    ) -> Result<(StorageSummary, Vec<StorageResult>), StoreError> {
        let of_stage = |id: &TrialId| id.stage == index;
        let trials: Vec<(TrialId, StorageTrial)> = self
            .log
            .storage
            .iter()
            .filter(|(id, _)| of_stage(id))
            .map(|(id, trial)| (*id, trial.clone()))
            .collect();
        let failures: Vec<(TrialId, String)> = self
            .log
            .failed
            .iter()
            .filter(|(id, _)| of_stage(id))
            .map(|(id, why)| (*id, why.clone()))
            .collect();
        let intervals = self.run.intervals(index)?;
        Ok(loadline_analysis::storage(&StorageInput {
            stage,
            filesystems: self.log.filesystems.get(&index).map_or(&[], Vec::as_slice),
            leftovers: self.log.leftovers.get(&index).map_or(&[], Vec::as_slice),
            trials: &trials,
            intervals: &intervals,
            failures: &failures,
        }))
    }

    fn engine_input<'a>(&'a self, index: u16, stage: &'a EngineStage) -> EngineInput<'a> {
        let ended = self.log.cells.iter().filter(|(id, _)| id.stage == index);
        let latest = latest_parts(ended.clone().map(|(id, _)| *id));
        let mut trials: BTreeMap<u16, Vec<EngineTrial>> = BTreeMap::new();
        for (id, trial) in ended.filter(|(id, _)| latest.contains(id)) {
            trials.entry(id.point).or_default().push(trial.clone());
        }
        // A cell that a later part could measure has not failed.
        let failed = self.log.failed.iter().filter(|(id, _)| id.stage == index);
        let failed = failed
            .filter(|(id, _)| trials.get(&id.point).map_or(0, Vec::len) < stage.trials as usize)
            .map(|(id, why)| (id.point, why.clone()));
        EngineInput {
            stage,
            facts: self.log.engines.get(&index),
            bandwidth: self.log.bandwidths.get(&index),
            failed: failed.collect(),
            trials,
            // What was imported was measured on another machine.
            cores: match stage.imported {
                Some(_) => None,
                None => self.run.manifest().hosts.first().map(|host| host.cores),
            },
            cost: self.plan.cost.as_ref(),
        }
    }

    fn input<'a>(&'a self, index: u16, stage: &'a ServingStage) -> StageInput<'a> {
        StageInput {
            stage,
            facts: self.log.facts.get(&index),
            calibration: self.log.calibrations.get(&index),
            selftest: self.run.manifest().selftest.as_ref(),
            sla: &self.plan.sla,
            cost: self.plan.cost.as_ref(),
            observed: None,
        }
    }

    /// Loads of a stage: planned, or chosen by its search.
    fn loads<'a>(&'a self, index: u16, stage: &'a ServingStage) -> &'a [Load] {
        match stage.find {
            Some(_) => self.log.chosen.get(&index).map_or(&[], Vec::as_slice),
            None => &stage.points,
        }
    }

    fn points(
        &self,
        index: u16,
        stage: &ServingStage,
        trials: &[TrialId],
        observed: Option<&StageObservation>,
    ) -> Result<Vec<Point>, StoreError> {
        let search = SearchSettings::of_stage(stage, self.plan.sla.len());
        let mut points = Vec::new();
        for (number, load) in (0..).zip(self.loads(index, stage)) {
            if is_probe(stage, load) {
                continue;
            }
            let input = StageInput { observed, ..self.input(index, stage) };
            let mut analysis = PointAnalysis::new(input, *load);
            if let Some(search) = &search {
                // The bounds of a line that was searched hold together, over all its looks.
                analysis = analysis.with_confidence(search.alpha());
            }
            let mut any = false;
            for id in trials.iter().copied().filter(|id| id.point == number) {
                any = true;
                analysis.add(&self.trial(id)?);
            }
            if any {
                points.push((load_value(load), analysis.finish()));
            }
        }
        if search.is_some() {
            // In order of load, whatever the order of choice.
            points.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        }
        Ok(points.into_iter().map(|(_, point)| point).collect())
    }

    /// One point from some of its trials, judged at a level of its own (each side).
    pub(crate) fn point(
        &self,
        stage: &ServingStage,
        load: Load,
        trials: &[TrialId],
        alpha: f64,
    ) -> Result<Point, StoreError> {
        let index = trials.first().map_or(0, |id| id.stage);
        let mut analysis =
            PointAnalysis::new(self.input(index, stage), load).with_confidence(alpha);
        for id in trials {
            analysis.add(&self.trial(*id)?);
        }
        Ok(analysis.finish())
    }

    /// Everything that one trial left behind.
    fn trial(&self, id: TrialId) -> Result<TrialInput, StoreError> {
        let rows = self.run.read_trial(id)?;
        Ok(TrialInput {
            id,
            rows: rows.requests,
            starts: rows.starts,
            end: self.log.ends.get(&id).cloned(),
            measure_from_ns: self.log.measure_from.get(&id).copied(),
        })
    }
}

/// What the state of the directory itself tells the reader.
fn state_warnings(run: &RunReader) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if run.state() == RunState::Killed {
        warnings.push(Warning::new(
            "killed",
            "the client was killed: operations in flight then are counted as unknown",
            "continue the run with --resume",
        ));
    }
    if run.state() == RunState::Running {
        warnings.push(Warning::new(
            "running",
            "the run is still going on: these are the figures so far",
            "look again when it has ended",
        ));
    }
    if run.torn_bytes() > 0 {
        warnings.push(Warning::new(
            "torn_files",
            format!("{} bytes at the end of its files hold no whole batch", run.torn_bytes()),
            "they are left out; operations in them are counted as unknown",
        ));
    }
    warnings
}
