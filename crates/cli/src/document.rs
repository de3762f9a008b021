//! From a run directory to the analysis document: reads trial by trial, so that memory holds one
//! trial's records.

use std::collections::BTreeMap;
use std::path::Path;

use loadline_analysis::{
    PointAnalysis, StageInput, StageResult, TrialInput, document, latest_parts,
};
use loadline_schema::document::{Document, RunSummary};
use loadline_schema::event::{Calibration, Event, EventKind, TargetFacts, TrialEnd, Warning};
use loadline_schema::manifest::RunStatus;
use loadline_schema::outcome::{Phase, TokenSource};
use loadline_schema::plan::{ServingStage, Stage};
use loadline_schema::record::{RequestRow, TrialId};
use loadline_store::{RunReader, RunState, StoreError};

/// What the event log says, by trial and stage.
#[derive(Default)]
struct Log {
    started: Vec<TrialId>,
    ends: BTreeMap<TrialId, TrialEnd>,
    measure_from: BTreeMap<TrialId, u64>,
    facts: BTreeMap<u16, TargetFacts>,
    calibrations: BTreeMap<u16, Calibration>,
    warnings: Vec<Warning>,
    /// Output tokens by operation, where `/tokenize` counted them.
    tokens: BTreeMap<TrialId, BTreeMap<u64, u32>>,
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
            EventKind::TrialStarted { trial } => self.started.push(trial),
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
            EventKind::TokenCounts { trial, tokens } => {
                self.tokens.insert(trial, tokens.into_iter().collect());
            }
            EventKind::Warning(warning) => self.warnings.push(warning),
            _ => {}
        }
    }
}

/// The analysis of a run.
pub(crate) fn analyse(dir: &Path) -> Result<Document, StoreError> {
    let run = RunReader::open(dir)?;
    let manifest = run.manifest().clone();
    let plan = run.plan()?;
    let mut log = Log::new(run.events()?.events);
    log.warnings.extend(state_warnings(&run));
    let trials = latest_parts(log.started.iter().copied().chain(run.trials()));
    let mut stages = Vec::with_capacity(plan.stages.len());
    for (index, Stage::Serving(stage)) in (0..).zip(&plan.stages) {
        let input = StageInput {
            stage,
            facts: log.facts.get(&index),
            calibration: log.calibrations.get(&index),
            selftest: manifest.selftest.as_ref(),
        };
        let of_stage = trials.iter().copied().filter(|id| id.stage == index).collect::<Vec<_>>();
        stages.push(StageResult { input, points: points(&run, &log, stage, input, &of_stage)? });
    }
    let summary = RunSummary {
        id: manifest.id,
        name: manifest.name,
        directory: dir.display().to_string(),
        started: manifest.started,
        status: match run.state() {
            RunState::Sealed => RunStatus::Sealed,
            RunState::Running | RunState::Elsewhere => RunStatus::Running,
            RunState::Killed | RunState::Interrupted | RunState::Unreadable => {
                RunStatus::Interrupted
            }
        },
        seed: manifest.seed,
        hosts: manifest.hosts,
    };
    Ok(document(summary, stages, manifest.selftest.clone(), log.warnings.clone()))
}

fn points(
    run: &RunReader,
    log: &Log,
    stage: &ServingStage,
    input: StageInput<'_>,
    trials: &[TrialId],
) -> Result<Vec<loadline_schema::document::Point>, StoreError> {
    let mut points = Vec::with_capacity(stage.points.len());
    for (index, load) in (0..).zip(&stage.points) {
        let mut analysis = PointAnalysis::new(input, *load);
        let mut any = false;
        for id in trials.iter().copied().filter(|id| id.point == index) {
            let mut rows = run.read_trial(id)?;
            if let Some(counts) = log.tokens.get(&id) {
                count_anew(&mut rows.requests, counts);
            }
            any = true;
            analysis.add(&TrialInput {
                id,
                rows: rows.requests,
                starts: rows.starts,
                end: log.ends.get(&id).cloned(),
                measure_from_ns: log.measure_from.get(&id).copied(),
            });
        }
        if any {
            points.push(analysis.finish());
        }
    }
    Ok(points)
}

/// Puts the counts of `/tokenize` in the place of numbers of chunks.
fn count_anew(rows: &mut [RequestRow], counts: &BTreeMap<u64, u32>) {
    for record in rows.iter_mut().map(|row| &mut row.record) {
        if let Some(tokens) = counts.get(&record.op)
            && record.token_source == Some(TokenSource::Chunks)
        {
            record.output_tokens = Some(*tokens);
            record.token_source = Some(TokenSource::Tokenize);
        }
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
