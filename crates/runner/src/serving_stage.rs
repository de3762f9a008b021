//! A serving stage made ready: target reached, facts and prompt lengths known, limits checked.

use std::path::Path;
use std::sync::Arc;

use loadline_clock::RunClock;
use loadline_load::TrialLoad;
use loadline_schema::event::{Calibration, EventKind, Progress, TargetFacts, TrialEnd, Warning};
use loadline_schema::observe::{ObservePlan, Observing};
use loadline_schema::plan::{Extent, Load, Plan, Prompt, ServingStage};
use loadline_schema::record::TrialId;
use loadline_serving::Sink;
use loadline_serving::ask::stream_once;
use loadline_serving::calibrate::{Wanted, calibrate};
use loadline_serving::dataset::Dataset;
use loadline_serving::discover::discover;
use loadline_serving::prompt::WordModel;
use loadline_serving::request_body::{BodySettings, BodyWriter, PromptSource};
use loadline_serving::socket::Address;
use loadline_serving::target::{Target, TargetSettings};
use loadline_serving::tokenize::Tokenizer;
use loadline_serving::trial::{Parts, Stop, Trial, run_trial};

use crate::RunError;
use crate::key;
use crate::launch::{Launch, Server};
use crate::limits::{Limits, check_limits};
use crate::observers::{Course, Hardware, Machine, Observers, Pages, is_here};

/// Limit for each question to the server before the load, ns.
const QUESTION_NS: u64 = 10_000_000_000;

/// A stage whose target was reached.
pub struct Prepared<'a> {
    index: u16,
    stage: &'a ServingStage,
    seed: u64,
    target: Target,
    /// The server that was started for it; ends when this is dropped.
    _server: Option<Box<dyn Server>>,
    max_in_flight: u64,
    facts: Option<TargetFacts>,
    calibration: Option<Calibration>,
    warnings: Vec<Warning>,
    settings: BodySettings,
    prompts: PromptSource,
    observe: &'a ObservePlan,
    pages: Pages,
}

impl<'a> Prepared<'a> {
    /// Reaches the target, asks it about itself, calibrates prompts, checks limits.
    ///
    /// # Errors
    /// Whatever makes the stage impossible; nothing was measured yet.
    pub fn new(
        index: u16,
        stage: &'a ServingStage,
        plan: &'a Plan,
        launch: &dyn Launch,
    ) -> Result<Self, RunError> {
        let server = stage.embedded.as_ref().map(|server| launch.server(server)).transpose()?;
        let started = server.as_ref().map(|server| vec![server.url()]);
        let headers = stage.headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect();
        let dataset = match &stage.prompt {
            Prompt::File { path } => Some(
                Dataset::read(Path::new(path))
                    .and_then(|dataset| dataset.check(stage.api).map(|()| dataset))
                    .map_err(|error| RunError::Prompts(error.to_string()))?,
            ),
            Prompt::Synthetic { .. } => None,
        };
        let target_settings = TargetSettings {
            urls: started.as_ref().unwrap_or(&stage.endpoints),
            headers,
            api_key: stage.api_key.as_ref().map(key::read).transpose()?,
            ca_file: stage.ca_file.as_deref().map(Path::new),
            insecure: stage.insecure,
            connect_timeout_ns: stage.timeouts.connect_ns,
        };
        let target = Target::resolve(&target_settings)?;
        let addresses: Vec<&Address> = target.endpoints.iter().map(|one| &one.address).collect();
        let limits = Limits::raise();
        check_limits(&limits, stage, &addresses)?;
        let max_in_flight = limits.in_flight(stage, &addresses);
        let prompts = match (&stage.prompt, dataset) {
            (_, Some(dataset)) => PromptSource::Dataset(Arc::new(dataset)),
            (Prompt::Synthetic { tokens, shared_prefix }, None) => PromptSource::Synthetic {
                tokens: *tokens,
                shared_prefix: *shared_prefix,
                words: WordModel::default(),
            },
            (Prompt::File { .. }, None) => unreachable!("invariant: a file was read above"),
        };
        let settings = BodySettings {
            api: stage.api,
            model: stage.model.clone(),
            engine: None,
            ignore_eos: stage.output.ignore_eos,
            per_chunk_usage: stage.per_chunk_usage,
            extra_body: stage.extra_body.clone().unwrap_or_default(),
        };
        let mut prepared = Self {
            index,
            stage,
            seed: plan.seed,
            target,
            _server: server,
            max_in_flight,
            facts: None,
            calibration: None,
            warnings: Vec::new(),
            settings,
            prompts,
            observe: &plan.observe,
            pages: Pages::default(),
        };
        if stage.discover {
            prepared.discover()?;
            prepared.calibrate()?;
        }
        // Headers of the load are none of a page that somebody else may serve.
        let of_pages = TargetSettings { headers: Vec::new(), ..target_settings };
        prepared.pages = Pages::open(&plan.observe, &prepared.target, &of_pages, stage.discover)?;
        Ok(prepared)
    }

    fn discover(&mut self) -> Result<(), RunError> {
        let found =
            discover(&self.target, self.stage.model.as_deref(), QUESTION_NS).map_err(|error| {
                RunError::Discovery { message: error.message, unreachable: error.unreachable }
            })?;
        self.warnings.extend(found.warnings);
        let facts = found.facts;
        self.settings.model.clone_from(&facts.model);
        self.settings.engine.clone_from(&facts.engine);
        self.check_context(&facts)?;
        self.facts = Some(facts);
        Ok(())
    }

    fn check_context(&self, facts: &TargetFacts) -> Result<(), RunError> {
        let Prompt::Synthetic { tokens, .. } = &self.stage.prompt else { return Ok(()) };
        let needed = tokens.most() + self.stage.output.tokens.most();
        match facts.context_tokens {
            Some(context) if needed > context as f64 => Err(RunError::Limits(format!(
                "prompt and output need {needed:.0} tokens, the server's context holds {context} for each \
                 request: lower --prompt-tokens or --output-tokens, or start it with a larger context"
            ))),
            _ => Ok(()),
        }
    }

    fn calibrate(&mut self) -> Result<(), RunError> {
        let prompt_tokens = match &self.stage.prompt {
            Prompt::Synthetic { tokens, .. } => Some(tokens.mean().round() as u32),
            Prompt::File { .. } => None,
        };
        let wanted = Wanted {
            api: self.stage.api,
            prompt_tokens,
            output_tokens: self.stage.output.tokens.mean().round() as u32,
            timeouts: self.stage.timeouts,
        };
        let id = TrialId { stage: self.index, point: u16::MAX, trial: 0, part: 0 };
        let found = calibrate(&self.target, &mut self.writer(id), &wanted).map_err(|error| {
            let unreachable = !matches!(error.status, Some(400 | 402 | 404..=499));
            RunError::Discovery { message: error.to_string(), unreachable }
        })?;
        if let PromptSource::Synthetic { words, .. } = &mut self.prompts {
            *words = found.words;
        }
        self.warnings.extend(found.warnings);
        self.calibration = Some(found.calibration);
        Ok(())
    }

    fn writer(&self, trial: TrialId) -> BodyWriter {
        let (settings, prompts) = (self.settings.clone(), self.prompts.clone());
        BodyWriter::new(settings, prompts, self.stage.output, self.seed, trial)
    }

    /// Sends one request of the load and returns what went over the wire, secrets masked.
    pub fn transcript(&self) -> String {
        let mut body = Vec::new();
        let id = TrialId { stage: self.index, point: u16::MAX, trial: 1, part: 0 };
        loadline_serving::Requests::write_body(&mut self.writer(id), 0, &mut body);
        // A failure is part of what is shown; the load will tell the rest.
        match stream_once(&self.target, 0, self.stage.api, &body, &self.stage.timeouts) {
            Ok(answer) => answer.transcript.to_string(),
            Err(failed) => format!("{}! {}\n", failed.transcript, failed.error),
        }
    }

    /// What there is to observe, opened.
    pub(crate) fn observing(&self, hardware: &Hardware, clock: RunClock) -> (Machine, Observing) {
        let mut endpoints = self.target.endpoints.iter();
        let mut observing = Observing {
            is_here: endpoints.all(|one| is_here(&one.address)),
            ..Observing::default()
        };
        self.pages.tell(&mut observing);
        let machine = Machine::open(self.observe, hardware, &self.pages, clock, &mut observing);
        (machine, observing)
    }

    /// What could be observed beside the load, and what could not.
    pub fn evidence(&self, hardware: &Hardware, clock: RunClock) -> Observing {
        self.observing(hardware, clock).1
    }

    /// Starts the observers.
    pub(crate) fn observers(
        &self,
        machine: Machine,
        observing: &Observing,
        course: &Course,
    ) -> Observers {
        let mut observers = Observers::default();
        self.pages.start(&mut observers, course);
        machine.start(observing, &mut observers, course);
        observers
    }

    /// The observers as planned.
    pub(crate) fn observe_plan(&self) -> &'a ObservePlan {
        self.observe
    }

    /// Position in the plan.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Points of the sweep; `None` where a search chooses them.
    pub fn points(&self) -> Option<&'a [Load]> {
        self.stage.find.is_none().then_some(self.stage.points.as_slice())
    }

    /// Most requests that may be in flight.
    pub fn max_in_flight(&self) -> u64 {
        self.max_in_flight
    }

    /// Repetitions.
    pub fn trials(&self) -> u16 {
        self.stage.trials.min(u32::from(u16::MAX)) as u16
    }

    /// What is known before the first trial, for the log.
    pub fn opening_events(&self) -> Vec<EventKind> {
        let stage = self.index;
        let facts = self.facts.iter().cloned();
        let calibrations = self.calibration.iter().cloned();
        facts
            .map(|facts| EventKind::TargetFacts { stage, facts })
            .chain(calibrations.map(|calibration| EventKind::Calibrated { stage, calibration }))
            .chain(self.warnings.iter().cloned().map(EventKind::Warning))
            .collect()
    }

    /// Carries out one trial.
    ///
    /// # Errors
    /// The system gives no epoll.
    pub(crate) fn run_trial(
        &self,
        (id, load): (TrialId, Load),
        clock: RunClock,
        stop: &Stop,
        pace: Pace,
        sink: impl Fn() -> Box<dyn Sink>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<TrialEnd, RunError> {
        let stage = self.stage;
        let answer_ns = pace
            .mean_answer_ns
            .or_else(|| self.calibration.as_ref().and_then(|found| found.e2e_ns));
        let extent = match load {
            Load::Burst { requests } => Extent::Requests { requests },
            _ => stage.extent,
        };
        let trial = Trial {
            id,
            load: TrialLoad {
                load,
                extent,
                warmup: stage.warmup,
                start_ns: 0,
                stagger_ns: stage.stagger_ns.or(answer_ns).unwrap_or(0),
                think_time_ns: stage.think_time_ns,
                max_in_flight: self.max_in_flight,
                seed: self.seed ^ u64::from(id.trial) << 32 ^ u64::from(id.point) << 48,
                stop_after_errors: stage.stop_after_errors,
            },
            api: stage.api,
            timeouts: stage.timeouts,
            retries: stage.retries,
            keep_chunks: stage.chunk_times,
            keep_text: self.counts_texts(),
            reactors: stage.reactors,
            answer_ns,
            max_tokens: pace.tokens_left,
        };
        let parts = |_| Parts { requests: Box::new(self.writer(id)), sink: sink() };
        Ok(run_trial(&self.target, &trial, clock, stop, parts, progress)?)
    }

    /// Whether answers come without usage, so that their texts are counted after each trial.
    fn counts_texts(&self) -> bool {
        self.calibration.as_ref().is_some_and(|found| !found.has_usage)
    }

    /// Tokens of texts by the server's own `/tokenize`, asked when the load is over. Empty where it
    /// has none.
    pub(crate) fn count_tokens(&self, texts: Vec<(u64, Box<str>)>) -> Vec<(u64, u32)> {
        if texts.is_empty() {
            return Vec::new();
        }
        let model = self.settings.model.as_deref();
        let Some(tokenizer) = Tokenizer::find(&self.target, model, QUESTION_NS) else {
            return Vec::new();
        };
        texts
            .into_iter()
            .filter_map(|(op, text)| Some((op, tokenizer.count(&text).ok()?)))
            .collect()
    }

    /// What the trials so far have shown about the target.
    pub(crate) fn learned(&self) -> Option<Warning> {
        let closing = self.target.endpoints.iter().find(|one| one.keep_alive.closes())?;
        Some(Warning::new(
            "server_closes_connections",
            format!(
                "{} closes the connection after each answer: every request connects anew, between its \
                 intended time and sent",
                closing.endpoint
            ),
            "TTFT and E2E of a closed loop count from sent and do not hold it; an open loop's do",
        ))
    }

    /// Tokens that the stage may use in all.
    pub(crate) fn max_tokens(&self) -> Option<u64> {
        self.stage.max_tokens_total
    }
}

/// What earlier trials tell the next one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Mean time of an answer in the last trial, ns.
    pub(crate) mean_answer_ns: Option<u64>,
    /// Tokens that may still be used.
    pub(crate) tokens_left: Option<u64>,
}
