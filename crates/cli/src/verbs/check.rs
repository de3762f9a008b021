//! `loadline check PLAN`: everything that can be found out before the load is applied.

use std::fmt::Write as _;

use loadline_analysis::{SearchSettings, requirements};
use loadline_clock::RunClock;
use loadline_report::quantity;
use loadline_runner::PreparedStage;
use loadline_schema::engine::EngineStage;
use loadline_schema::event::{Calibration, EventKind, TargetFacts};
use loadline_schema::observe::Observing;
use loadline_schema::plan::{Extent, Load, Plan, ServingStage, Stage};
use loadline_schema::plan_file::PlanFile;
use loadline_schema::sla::Sla;
use loadline_schema::storage::StorageStage;

use crate::args::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::launch::Launcher;
use crate::measure::resolve;
use crate::output::print;
use crate::preview;
use crate::verbs::selftest;

/// Error probability of the one-sided test that a number of attempts is stated for.
const ALPHA: f64 = 0.05;

pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let name = args.plan.display();
    let text = std::fs::read_to_string(&args.plan)
        .map_err(|error| Failure::usage(format!("cannot read the plan {name}: {error}")))?;
    let file =
        PlanFile::parse(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let plan = resolve(&file, 1).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let mut page = format!("{name}: a valid plan, \"{}\".\n", plan.name);
    let launcher = Launcher::default();
    let stages = loadline_runner::prepare(&plan, &launcher)?;
    let (hardware, clock) = (args.hardware.hardware(), RunClock::start());
    for (prepared, stage) in stages.iter().zip(&plan.stages) {
        match stage {
            Stage::Serving(stage) => {
                Checked::new(prepared.opening_events(), stage).tell(&mut page, &plan);
                if let PreparedStage::Serving(prepared) = prepared {
                    tell_evidence(&mut page, &prepared.evidence(&hardware, clock), &plan);
                }
            }
            Stage::Engine(stage) => tell_engine(&mut page, prepared.opening_events(), stage),
            Stage::Storage(stage) => tell_storage(&mut page, prepared.opening_events(), stage),
        }
    }
    missing_for_all(&mut page, &plan);
    Ok(print(&page))
}

/// A stage whose target answered.
struct Checked<'a> {
    stage: &'a ServingStage,
    facts: Option<TargetFacts>,
    calibration: Option<Calibration>,
    warnings: Vec<String>,
}

impl<'a> Checked<'a> {
    fn new(events: Vec<EventKind>, stage: &'a ServingStage) -> Self {
        let mut checked = Self { stage, facts: None, calibration: None, warnings: Vec::new() };
        for event in events {
            match event {
                EventKind::TargetFacts { facts, .. } => checked.facts = Some(facts),
                EventKind::Calibrated { calibration, .. } => {
                    checked.calibration = Some(calibration);
                }
                EventKind::Warning(warning) => {
                    checked.warnings.push(format!("{} → {}", warning.message, warning.advice));
                }
                _ => {}
            }
        }
        checked
    }

    fn tell(&self, page: &mut String, plan: &Plan) {
        let endpoints: Vec<String> =
            self.stage.endpoints.iter().map(|url| preview::masked(url)).collect();
        page.push('\n');
        line(page, 0, &format!("{}: {}", self.stage.name, endpoints.join(", ")));
        self.tell_target(page);
        for missing in self.missing() {
            line(page, 2, &format!("missing: {missing}"));
        }
        for warning in &self.warnings {
            line(page, 2, &format!("! {warning}"));
        }
        for sla in &plan.sla {
            line(page, 2, &sla.to_string());
            self.tell_needs(page, sla, plan.sla.len());
        }
        if plan.sla.is_empty() {
            line(page, 2, "no SLA: the report will not say how much load fits one ([sla], --sla)");
        }
    }

    fn tell_target(&self, page: &mut String) {
        let Some(facts) = &self.facts else {
            line(page, 2, "reached; not asked about itself (discover = false)");
            return;
        };
        let engine = facts.engine.as_deref().unwrap_or("an unknown engine");
        let version = facts.version.as_deref().unwrap_or("");
        let model = facts.model.as_deref().unwrap_or("no named model");
        let mut text = format!("reached: {engine} {version}, model {model}");
        if let Some(context) = facts.context_tokens {
            let _ = write!(text, ", context {} tokens", quantity::count(context));
        }
        if let Some(slots) = facts.slots {
            let _ = write!(text, ", {slots} slots");
        }
        if let Some(e2e_ns) = self.answer_ns() {
            let _ = write!(text, "; one answer alone takes {}", quantity::duration(e2e_ns));
        }
        line(page, 2, &text);
    }

    /// Time of one answer alone, ns.
    fn answer_ns(&self) -> Option<f64> {
        self.calibration.as_ref()?.e2e_ns.map(|ns| ns as f64)
    }

    /// Evidence that the report will lack, with what grants it.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.calibration.as_ref().is_some_and(|found| !found.has_usage) {
            missing.push(
                "token counts by the server (no usage in its stream): they come from /tokenize or \
                 the number of chunks; for vLLM and llama.cpp stream_options.include_usage gives them"
                    .to_owned(),
            );
        }
        missing
    }

    /// Attempts that each term needs, and how long they take at each point.
    fn tell_needs(&self, page: &mut String, sla: &Sla, slas: usize) {
        let search = SearchSettings::of_stage(self.stage, slas);
        let alpha = search.as_ref().map_or(ALPHA, SearchSettings::alpha);
        let search = search.is_some();
        let mut most = 0;
        for (term, needed) in requirements(sla, alpha) {
            let Some(needed) = needed else { continue };
            most = most.max(needed);
            let text = format!("{term} needs {} attempts, all inside", quantity::count(needed));
            line(page, 4, &text);
        }
        if most == 0 {
            line(page, 4, "its terms need no fixed number of attempts: more trials narrow them");
            return;
        }
        if search {
            line(page, 4, "at each load that the search looks at, since it looks often");
        }
        for load in &self.stage.points {
            self.tell_time(page, load, most);
        }
    }

    fn tell_time(&self, page: &mut String, load: &Load, needed: u64) {
        let rate_per_s = match *load {
            Load::Open { rate_per_s, .. } => Some(rate_per_s),
            Load::Closed { concurrency } => {
                self.answer_ns().map(|ns| concurrency as f64 * 1e9 / ns)
            }
            Load::Burst { .. } => None,
        };
        let trials = u64::from(self.stage.trials);
        let (planned, at_least) = match self.stage.extent {
            Extent::Requests { requests } => (Some((requests * trials) as f64), ""),
            Extent::Duration { duration_ns } => (
                rate_per_s.map(|rate| rate * duration_ns as f64 / 1e9 * trials as f64),
                if matches!(load, Load::Closed { .. }) { "at most about " } else { "about " },
            ),
        };
        let Some(planned) = planned else { return };
        let planned_text = quantity::count(planned as u64);
        let name = preview::point(load);
        let verdict = if planned >= needed as f64 {
            "enough".to_owned()
        } else if let Some(rate) = rate_per_s {
            let seconds = needed as f64 / rate / trials as f64;
            let each = quantity::duration(seconds.ceil() * 1e9);
            format!("too few: {trials} trials of {each} or more would do")
        } else {
            "too few: more trials or requests would do".to_owned()
        };
        line(page, 4, &format!("{name}: the plan gives {at_least}{planned_text}, {verdict}"));
    }
}

/// What will be observed beside the load, and what cannot be.
fn tell_evidence(page: &mut String, observing: &Observing, plan: &Plan) {
    let mut found = observing.pages.clone();
    found.extend(observing.gpus.iter().map(|gpu| format!("GPU {} ({})", gpu.label(), gpu.name)));
    found.extend(observing.meters.iter().map(|meter| format!("power of {}", meter.name)));
    found.extend(observing.host.then(|| "this host".to_owned()));
    if !found.is_empty() {
        line(page, 2, &format!("observed beside the load: {}", found.join(", ")));
    }
    for (kind, missing) in &observing.missing {
        let grant = missing.grant.as_ref().map(|grant| format!(" (grant it: {grant})"));
        let grant = grant.unwrap_or_default();
        line(page, 2, &format!("missing: {kind}: {}{grant}", missing.reason));
    }
    let pays_power = plan
        .cost
        .as_ref()
        .is_some_and(|cost| cost.electricity_per_kwh.is_some() && cost.watts.is_empty());
    if pays_power && observing.gpus.is_empty() && observing.meters.is_empty() {
        let text = "missing: the power that electricity is paid for: no meter is in sight; state it \
                    (watts in [cost])";
        line(page, 2, text);
    }
}

/// An engine that opened its model.
fn tell_engine(page: &mut String, events: Vec<EventKind>, stage: &EngineStage) {
    page.push('\n');
    line(page, 0, &format!("{}: {}", stage.name, stage.model));
    for event in events {
        let EventKind::EngineFacts { facts, .. } = event else { continue };
        let version = facts.version.as_deref().unwrap_or_default();
        let model = loadline_report::model_words(&facts.model);
        line(page, 2, &format!("loaded: {} {version}, {model}", facts.name));
    }
    let (cells, trials) = (stage.cells.len() as u64, u64::from(stage.trials));
    let text = format!("{} cells, {trials} trials each", quantity::count(cells));
    line(page, 2, &text);
}

/// Paths that were looked at.
fn tell_storage(page: &mut String, events: Vec<EventKind>, stage: &StorageStage) {
    page.push('\n');
    line(page, 0, &stage.name);
    for event in events {
        let EventKind::StorageFacts { facts, leftovers, .. } = event else { continue };
        let free = quantity::binary_bytes(facts.free_bytes);
        let text = format!(
            "{}: {} ({}), {free} free, needs {}",
            facts.path,
            facts.kind,
            facts.source,
            quantity::binary_bytes(stage.space_bytes(&facts.path))
        );
        line(page, 2, &text);
        for leftover in leftovers {
            line(
                page,
                2,
                &format!("! left by an earlier run on {}: {}", leftover.host, leftover.path),
            );
        }
        if facts.in_memory {
            line(page, 2, "! it lives in memory: figures are not those of storage");
        }
    }
    let (cells, trials) = (stage.cells.len() as u64, u64::from(stage.trials));
    line(page, 2, &format!("{} cells, {trials} trials each", quantity::count(cells)));
}

/// What no stage has.
fn missing_for_all(page: &mut String, plan: &Plan) {
    page.push('\n');
    if selftest::cached().is_none() {
        line(page, 0, "missing: how far this client can be trusted here (`loadline selftest`)");
    }
    if plan.cost.is_none() {
        line(page, 0, "missing: what a token costs ([cost] with electricity and watts)");
    }
}

/// A paragraph, wrapped at 80 columns.
fn line(page: &mut String, indent: usize, text: &str) {
    page.push_str(&loadline_report::indented(text, indent, 80));
}
