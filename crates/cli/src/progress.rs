//! The live view on stderr: one line that moves in a terminal, one line for each trial elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use loadline_report::quantity;
use loadline_schema::engine::{EngineStage, EngineTrial};
use loadline_schema::event::{Event, EventKind, Progress, StorageProgress, TrialEnd};
use loadline_schema::outcome::Phase;
use loadline_schema::plan::{Load, Plan, Stage};
use loadline_schema::record::TrialId;
use loadline_schema::storage::{EndedBy, StorageStage, StorageTrial};

use crate::output::say;

/// Steps of the bar.
const STEPS: u64 = 1_000;

/// Watches a run.
pub(crate) struct View<'a> {
    plan: &'a Plan,
    /// Which side of a comparison it is; empty otherwise.
    side: &'static str,
    /// Points that searches chose, by stage.
    chosen: BTreeMap<u16, Vec<Load>>,
    bar: Option<ProgressBar>,
    quiet: bool,
    last: Option<Progress>,
    tokens_before: (u64, u64),
    rate: f64,
}

/// "batch 4, context 512, trial 1 of 3": what a cell differs in from others comes first.
fn cell_name(stage: &EngineStage, id: TrialId) -> String {
    let Some(cell) = stage.cells.get(usize::from(id.point)) else { return String::new() };
    let mut words = vec![cell.place(stage.cells.iter())];
    words.push(format!("trial {} of {}", id.trial + 1, stage.trials));
    words.join(", ")
}

/// "/shared: rand-read, bs 4 KiB, iodepth 32, 1 job, trial 1 of 3".
fn storage_name(stage: &StorageStage, id: TrialId) -> String {
    let Some(cell) = stage.cells.get(usize::from(id.point)) else { return String::new() };
    let several = stage.paths().len() > 1;
    let path = if several { format!("{}: ", cell.path) } else { String::new() };
    let trial = if stage.trials > 1 {
        format!(", trial {} of {}", id.trial + 1, stage.trials)
    } else {
        String::new()
    };
    format!("{path}{}{trial}", cell.in_words())
}

/// "512 MB/s in 10.0 s", or why it ended early.
fn storage_words(trial: &StorageTrial) -> String {
    if let Some(failure) = &trial.failure {
        return failure.message.clone();
    }
    let bytes: u64 = trial.workers.iter().map(|w| w.read_bytes + w.write_bytes).sum();
    let first = trial.workers.iter().map(|worker| worker.first_ns).min().unwrap_or(0);
    let last = trial.workers.iter().map(|worker| worker.last_ns).max().unwrap_or(0);
    let seconds = last.saturating_sub(first) as f64 / 1e9;
    let early = match trial.ended_by {
        EndedBy::Interrupted => ", interrupted",
        EndedBy::MaxWrite => ", ended by --max-write",
        _ => "",
    };
    if seconds <= 0.0 {
        return format!("nothing measured{early}");
    }
    let rate = quantity::bandwidth(bytes as f64 / seconds);
    format!("{rate} in {seconds:.1} s{early}")
}

impl<'a> View<'a> {
    pub(crate) fn new(plan: &'a Plan, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:16} {wide_msg}")
                .expect("invariant: the template is valid");
            let bar = ProgressBar::new(STEPS);
            bar.set_style(style);
            bar
        });
        Self {
            plan,
            side: "",
            chosen: BTreeMap::new(),
            bar,
            quiet,
            last: None,
            tokens_before: (0, 0),
            rate: 0.0,
        }
    }

    /// One side of a comparison: a line for each trial, since the sides share the terminal.
    pub(crate) fn of_side(plan: &'a Plan, side: &'static str, quiet: bool) -> Self {
        Self { bar: None, side, ..Self::new(plan, quiet) }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::TargetFacts { facts, .. } => {
                let engine = facts.engine.as_deref().unwrap_or("unknown engine");
                let version = facts.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
                let model = facts.model.as_deref().unwrap_or("no model");
                self.line(&format!("{engine}{version}, model {model}"));
            }
            EventKind::PointChosen { stage, load, .. } => {
                self.chosen.entry(*stage).or_default().push(*load);
            }
            EventKind::TrialStarted { trial } => {
                self.last = None;
                self.tokens_before = (event.at_ns, 0);
                if let Some(bar) = &self.bar {
                    bar.set_position(0);
                    bar.set_prefix(self.name(*trial));
                }
            }
            EventKind::IdlePower { to_ns, .. } => {
                let left = quantity::duration(to_ns.saturating_sub(event.at_ns) as f64);
                self.line(&format!("measuring the power without load for {left} (--idle)"));
            }
            EventKind::EngineFacts { facts, .. } => {
                let version = facts.version.as_deref().unwrap_or_default();
                let model = loadline_report::model_words(&facts.model);
                self.line(&format!("{} {version}, {model}", facts.name));
            }
            EventKind::EngineTrial { trial, measured } => self.cell_ended(*trial, measured),
            EventKind::EngineCellFailed { trial, why }
            | EventKind::StorageCellFailed { trial, why } => {
                self.line(&format!("{}: {why}", self.name(*trial)));
            }
            EventKind::StorageTrial { trial, measured } => {
                self.line(&format!("{}: {}", self.name(*trial), storage_words(measured)));
            }
            EventKind::StorageProgress(progress) => self.storage_progress(progress),
            EventKind::Progress(progress) => self.progress(event.at_ns, progress),
            EventKind::TrialEnded(end) => self.ended(end),
            EventKind::Warning(warning) => self.line(&format!("warning: {}", warning.message)),
            EventKind::PartEnded { .. } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    fn progress(&mut self, at_ns: u64, progress: &Progress) {
        self.last = Some(*progress);
        let (before_ns, before) = self.tokens_before;
        if at_ns > before_ns + 1_000_000_000 {
            self.rate = (progress.token_chunks - before) as f64 * 1e9 / (at_ns - before_ns) as f64;
            self.tokens_before = (at_ns, progress.token_chunks);
        }
        let Some(bar) = &self.bar else { return };
        bar.set_position((progress.phase_done * STEPS as f64) as u64);
        let phase = match progress.phase {
            Phase::WarmUp => "warm-up",
            Phase::Measure => "measure",
            Phase::Drain => "drain",
        };
        let ttft = progress.ttft_p50_ns.map(|ns| format!(", TTFT ~{:.0} ms", ns as f64 / 1e6));
        let bad = if progress.not_ok > 0 {
            format!(", {} not ok", progress.not_ok)
        } else {
            String::new()
        };
        bar.set_message(format!(
            "{phase}: {} in flight, {} ok{bad}, {:.0} chunks/s{}",
            progress.in_flight,
            quantity::count(progress.ok),
            self.rate,
            ttft.unwrap_or_default()
        ));
    }

    fn storage_progress(&self, progress: &StorageProgress) {
        let Some(bar) = &self.bar else { return };
        bar.set_position((progress.done.unwrap_or(0.0) * STEPS as f64) as u64);
        let rate = quantity::bandwidth(progress.bytes_per_s);
        bar.set_message(format!("{}: {rate}", progress.doing));
    }

    fn ended(&self, end: &TrialEnd) {
        let Some(last) = self.last else { return };
        let early = end
            .ended_early
            .map(|why| format!(", ended early: {}", why.in_words()))
            .unwrap_or_default();
        let seconds = end.client.wall_ns as f64 / 1e9;
        let (ok, bad) = (quantity::count(last.ok), quantity::count(last.not_ok));
        self.line(&format!(
            "{}: {ok} ok, {bad} not ok in {seconds:.1} s{early}",
            self.name(end.trial)
        ));
    }

    fn cell_ended(&self, id: TrialId, measured: &EngineTrial) {
        let rate = |name: &str, tokens: u64, ns: Option<u64>| {
            let ns = ns.filter(|ns| *ns > 0)?;
            let rate = quantity::number(tokens as f64 * 1e9 / ns as f64);
            Some(format!("{name} {rate} tokens/s"))
        };
        let parts = [
            rate("prompt", measured.prompt_tokens, measured.prompt_ns),
            rate("generation", measured.decode_tokens, measured.decode_ns),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        self.line(&format!("{}: {}", self.name(id), parts.join(", ")));
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.quiet => {}
            None => say(text),
        }
    }

    fn name(&self, id: TrialId) -> String {
        let stage = match self.plan.stages.get(usize::from(id.stage)) {
            Some(Stage::Serving(stage)) => stage,
            Some(Stage::Engine(stage)) => return cell_name(stage, id),
            Some(Stage::Storage(stage)) => return storage_name(stage, id),
            None => return String::new(),
        };
        let points = match stage.find {
            Some(_) => self.chosen.get(&id.stage).map_or(&[][..], Vec::as_slice),
            None => &stage.points,
        };
        let load = match points.get(usize::from(id.point)) {
            Some(Load::Closed { concurrency }) => format!("concurrency {concurrency}"),
            Some(Load::Open { rate_per_s, .. }) => {
                format!("{} requests/s", quantity::number(*rate_per_s))
            }
            Some(Load::Burst { requests }) => format!("burst of {requests}"),
            None => String::new(),
        };
        let load = if self.side.is_empty() { load } else { format!("{}: {load}", self.side) };
        if stage.find.is_some() {
            format!("{load}, look {}", id.trial + 1)
        } else if stage.trials > 1 {
            format!("{load}, trial {} of {}", id.trial + 1, stage.trials)
        } else {
            load
        }
    }
}
