//! `loadline import FILE`: results of another tool become a run.

mod fio;

use std::io::Read;

use loadline_engine::Imported;
use loadline_schema::engine::{EngineStage, ModelSource};
use loadline_schema::event::{EventKind, Warning};
use loadline_schema::observe::ObservePlan;
use loadline_schema::plan::{Plan, Stage};
use loadline_schema::record::TrialId;
use loadline_schema::storage::IoInterval;

use crate::args::ImportArgs;
use crate::document::Stored;
use crate::exit::{Exit, Failure};
use crate::output::{print, style};

pub(crate) fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let is_stdin = args.file.as_os_str() == "-";
    let name = if is_stdin { "stdin".to_owned() } else { args.file.display().to_string() };
    let mut bytes = Vec::new();
    let read = if is_stdin {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(&args.file).map(|read| bytes = read)
    };
    read.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let run_name = args.name.clone().or(stem.filter(|_| !is_stdin));
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{name}: {error}"));
    let results = if loadline_storage::looks_like_fio(&bytes) {
        let jobs = loadline_storage::import_fio(&bytes).map_err(|error| wrong(&error))?;
        fio::results(jobs, &name)
    } else {
        let imported = loadline_engine::import(&bytes).map_err(|error| wrong(&error))?;
        let stages = (1..).zip(&imported).map(|(number, one)| stage(one, number, &name)).collect();
        Results { stages, events: events(&imported), intervals: Vec::new() }
    };
    let plan = Plan {
        name: run_name.unwrap_or_else(|| "import".to_owned()),
        seed: 0,
        sla: Vec::new(),
        cost: None,
        observe: ObservePlan::off(),
        stages: results.stages,
    };
    let (events, rows) = (results.events, results.intervals);
    let dir = loadline_runner::import(&plan, events, &rows, &args.out, env!("CARGO_PKG_VERSION"))?;
    let mut stored = Stored::open(&dir)?;
    stored.price_by(&args.cost)?;
    let document = stored.analyse()?;
    Ok(print(&if args.json {
        loadline_report::json(&document)
    } else {
        loadline_report::terminal(&document, &style())
    }))
}

/// What was read, as stages of a plan and what happened in them.
struct Results {
    stages: Vec<Stage>,
    events: Vec<EventKind>,
    intervals: Vec<IoInterval>,
}

fn stage(one: &Imported, number: usize, file: &str) -> Stage {
    let name = if number == 1 { "engine".to_owned() } else { format!("engine-{number}") };
    let trials = one.cells.iter().map(|(_, trials)| trials.len()).max().unwrap_or(1);
    Stage::Engine(Box::new(EngineStage {
        name,
        model: ModelSource::File { path: one.facts.model.source.clone() },
        with: Some(one.facts.measured_by.clone()),
        cells: one.cells.iter().map(|(cell, _)| cell.clone()).collect(),
        trials: trials as u32,
        memory_bandwidth: false,
        imported: Some(file.to_owned()),
    }))
}

fn events(imported: &[Imported]) -> Vec<EventKind> {
    let mut events = Vec::new();
    for (stage, one) in (0..).zip(imported) {
        events.push(EventKind::EngineFacts { stage, facts: Box::new(one.facts.clone()) });
        for (point, (_, trials)) in (0..).zip(&one.cells) {
            events.extend((0..).zip(trials).map(|(trial, measured)| EventKind::EngineTrial {
                trial: TrialId { stage, point, trial, part: 0 },
                measured: measured.clone(),
            }));
        }
        let told = |code: &'static str, advice: &'static str| {
            move |text: &String| EventKind::Warning(Warning::new(code, text.clone(), advice))
        };
        events.extend(one.notes.iter().map(told("import_note", "")));
        let advice = "measure prompt processing (-p) and generation (-n) apart";
        events.extend(one.skipped.iter().map(told("import_skipped", advice)));
    }
    events
}
