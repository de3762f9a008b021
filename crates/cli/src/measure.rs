//! What `serving` and `run` have in common: from a plan to the printed result.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use loadline_runner::{Finished, Request, Resume};
use loadline_schema::document::{Document, Point, Serving};
use loadline_schema::event::EndedEarly;
use loadline_schema::plan::Plan;
use loadline_schema::plan_file::{PlanError, PlanFile};
use loadline_serving::endpoint::Endpoint;
use loadline_serving::trial::Stop;

use crate::args::RunOptions;
use crate::document::analyse;
use crate::exit::{Exit, Failure};
use crate::find::LoadLineSearch;
use crate::launch::Launcher;
use crate::output::{print, say, style};
use crate::preview;
use crate::progress::View;
use crate::verbs::selftest;

/// Most connections at once that a plan means.
fn streams(plan: &Plan) -> u64 {
    let stages = plan.serving().map(|(_, stage)| preview::largest(stage).1);
    stages.max().unwrap_or(0)
}

/// Against addresses outside, more than this needs `--yes`.
const REQUESTS_OUTSIDE: u64 = 10_000;
const STREAMS_OUTSIDE: u64 = 1_000;

/// The plan on this machine: engines take as many threads as it has processors.
pub(crate) fn resolve(file: &PlanFile, seed: u64) -> Result<Plan, PlanError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    file.clone().on_cores(cores as u64).resolve(seed)
}

/// Carries out a plan and prints its result.
pub(crate) fn measure(
    file: &PlanFile,
    plan_toml: Option<&str>,
    options: &RunOptions,
) -> Result<Exit, Failure> {
    let resume = options
        .resume
        .as_deref()
        .map(|text| loadline_store::find(&options.out, text))
        .transpose()?;
    let seed = match &resume {
        Some(dir) => loadline_store::RunReader::open(dir)?.manifest().seed,
        None => fresh_seed()?,
    };
    let plan = resolve(file, seed).map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(place) = loadline_store::masked_place(&plan) {
        return Err(Failure::usage(format!(
            "{place} is masked (***): a run directory keeps no secrets; put yours in again"
        )));
    }
    if options.dry_run {
        return Ok(print(&preview::dry_run(&plan)));
    }
    ask_before_large(&plan, options.yes)?;
    // Before the first thread: see there.
    loadline_runner::reserve_files(streams(&plan));
    let stop = Arc::new(Stop::default());
    stop_on_signals(&stop)?;
    let mut view = View::new(&plan, options.quiet);
    let launcher = Launcher::new(options.yes, &stop);
    for words in preview::writes(&plan) {
        say(&format!("loadline: {words}"));
    }
    let request = Request {
        plan: &plan,
        plan_toml,
        out_dir: &options.out,
        tool_version: env!("CARGO_PKG_VERSION"),
        selftest: selftest::cached(),
        resume: resume.map(|dir| Resume { dir }),
        show_exchange: options.verbose.then_some(say),
        launch: &launcher,
        hardware: &options.hardware.hardware(),
    };
    let mut search = LoadLineSearch::new(&plan);
    let finished =
        loadline_runner::run(&request, &stop, &mut search, &mut |event| view.event(event))?;
    drop(view);
    conclude(&finished, options)
}

fn conclude(finished: &Finished, options: &RunOptions) -> Result<Exit, Failure> {
    for kept in &finished.seal.kept {
        say(&format!(
            "loadline: {} stays as it is ({}); it is readable all the same",
            kept.path.display(),
            kept.why
        ));
    }
    if let Some(error) = &finished.store_failure {
        say(&format!("loadline: {error}"));
    }
    let early =
        finished.ended_early.is_some() || finished.store_failure.is_some() || finished.cell_failed;
    let incomplete = |exit| if early { Exit::Incomplete } else { exit };
    if options.no_report {
        print(&format!("{}\n", finished.dir.display()));
        return Ok(incomplete(Exit::Ok));
    }
    let document = analyse(&finished.dir)?;
    store_analysis(&finished.dir, &document);
    if options.json {
        print(&loadline_report::json(&document));
    } else {
        print(&loadline_report::terminal(&document, &style()));
    }
    if let Some(why) = finished.ended_early {
        say(&format!("loadline: {}", early_words(why, &finished.dir)));
    }
    Ok(if refused_everything(&document) {
        Exit::Unreachable
    } else {
        incomplete(judged_exit(&document))
    })
}

/// `analysis.json` beside the records; derived, so that a failure costs nothing.
fn store_analysis(dir: &Path, document: &Document) {
    let written = std::fs::write(dir.join("analysis.json"), loadline_report::json(document));
    if let Err(error) = written {
        say(&format!("loadline: cannot keep analysis.json: {error}"));
    }
}

fn early_words(why: EndedEarly, dir: &Path) -> String {
    let flag = match why {
        EndedEarly::StopAfterErrors => " (--stop-after-errors sets the limit)",
        EndedEarly::TokenCap => " (--max-tokens-total)",
        EndedEarly::Interrupted | EndedEarly::NoAnswers | EndedEarly::StoreFailed => "",
    };
    let what = why.in_words();
    format!("the run is incomplete: {what}{flag}; go on with --resume {}", dir.display())
}

fn points(document: &Document) -> impl Iterator<Item = &Point> {
    document.serving.iter().flat_map(|stage| &stage.points)
}

/// Incomplete before missed.
fn judged_exit(document: &Document) -> Exit {
    // In a search a load that the target refuses is a finding.
    let is_finding = |stage: &Serving, point: &Point| {
        let refused = Some(EndedEarly::StopAfterErrors);
        stage.searched && point.incomplete.as_ref().is_some_and(|i| i.reason == refused)
    };
    let is_incomplete = |stage: &Serving| {
        stage.points.iter().any(|p| p.incomplete.is_some() && !is_finding(stage, p))
    };
    let is_cut_short = document.engine.iter().any(|cell| cell.failed.is_some())
        || document.storage.iter().any(|cell| cell.failed.is_some());
    if is_cut_short || document.serving.iter().any(is_incomplete) {
        Exit::Incomplete
    } else if misses_an_sla(document) || misses_a_target(document) {
        Exit::SlaMissed
    } else {
        Exit::Ok
    }
}

/// Whether a bandwidth that was stated is not reached.
fn misses_a_target(document: &Document) -> bool {
    document
        .storage
        .iter()
        .any(|cell| cell.target.is_some_and(|target| !target.met && !target.assumed))
}

/// Whether there is an SLA that no point of a stage keeps, by the estimates.
pub(crate) fn misses_an_sla(document: &Document) -> bool {
    document.serving.iter().any(|stage| {
        document.sla.keys().any(|name| {
            let results = || stage.points.iter().filter_map(|point| point.sla.get(name));
            results().next().is_some() && !results().any(|result| result.likely)
        })
    })
}

/// Not one answer, and every request was refused: no connection, or no access.
fn refused_everything(document: &Document) -> bool {
    const REFUSALS: [&str; 4] = ["connect_refused", "connect_timeout", "dns", "tls"];
    let mut any = false;
    for point in points(document) {
        let all: u64 = point.errors.values().sum();
        let refused: u64 = REFUSALS.iter().filter_map(|kind| point.errors.get(*kind)).sum();
        let denied = point.error_examples.get("http_4xx").is_some_and(|text| text.contains("401"));
        let denied = if denied { point.errors.get("http_4xx").copied().unwrap_or(0) } else { 0 };
        if point.requests.ok > 0 || refused + denied < all {
            return false;
        }
        any |= all > 0;
    }
    any
}

pub(crate) fn ask_before_large(plan: &Plan, yes: bool) -> Result<(), Failure> {
    for (_, stage) in plan.serving() {
        let outside = stage
            .endpoints
            .iter()
            .filter_map(|url| Endpoint::parse(url).ok())
            .find(|endpoint| !endpoint.is_private());
        let (requests, streams) = preview::largest(stage);
        let large = requests.is_some_and(|n| n > REQUESTS_OUTSIDE) || streams > STREAMS_OUTSIDE;
        if let (Some(endpoint), true, false) = (outside, large, yes) {
            let requests = requests.map_or_else(String::new, |n| format!("{n} requests, "));
            return Err(Failure::usage(format!(
                "{endpoint} is not on this machine or a private network, and the plan means {requests}up to \
                 {streams} at once: if that is yours to load, say --yes"
            )));
        }
    }
    Ok(())
}

/// Ctrl-C and SIGTERM stop the trial; what was measured is sealed. A second one ends at once.
pub(crate) fn stop_on_signals(stop: &Arc<Stop>) -> Result<(), Failure> {
    let stop = Arc::clone(stop);
    ctrlc::set_handler(move || {
        if stop.why().is_some() {
            // The run directory stays readable: nothing in it depends on an orderly end.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .expect("invariant: a process may end itself");
        }
        stop.stop(EndedEarly::Interrupted);
        say("loadline: stopping, keeping what was measured (again to stop at once)");
    })
    .map_err(Failure::internal)
}

pub(crate) fn fresh_seed() -> Result<u64, Failure> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Failure::internal(format!("no random numbers: {error}")))?;
    // Small enough for every JSON reader, TOML included.
    Ok(u64::from_le_bytes(bytes) >> 12)
}

/// The folder of a run that the user named.
pub(crate) fn find_run(out: &Path, text: &str) -> Result<PathBuf, Failure> {
    Ok(loadline_store::find(out, text)?)
}
