//! Two plans whose trials take turns, A B A B, so that a drift of the machine meets both sides.

use std::sync::Arc;

use loadline_runner::{Finished, Hardware, Request, Session};
use loadline_schema::plan::Plan;
use loadline_schema::plan_file::PlanFile;
use loadline_serving::trial::Stop;

use crate::args::CompareArgs;
use crate::exit::Failure;
use crate::find::LoadLineSearch;
use crate::launch::Launcher;
use crate::measure::{ask_before_large, fresh_seed, resolve, stop_on_signals};
use crate::progress::View;
use crate::verbs::selftest;

/// Trials of each point where a plan names none: fewer give no verdict.
const TRIALS: u32 = 5;

/// One side of a comparison.
struct Side {
    plan: Plan,
    name: &'static str,
    launch: Launcher,
    hardware: Hardware,
}

/// Carries out both plans. Each has its own run directory.
///
/// # Errors
/// One of the plans is impossible; or as [`loadline_runner::run`].
pub(crate) fn interleave(
    baseline: &PlanFile,
    candidate: &PlanFile,
    args: &CompareArgs,
) -> Result<[Finished; 2], Failure> {
    // Both sides draw the same prompts and arrivals, so that they differ in the target alone.
    let seed = fresh_seed()?;
    let side = |file: &PlanFile, name| -> Result<Side, Failure> {
        let plan = resolved(file, seed, name)?;
        ask_before_large(&plan, args.yes)?;
        Ok(Side { plan, name, launch: Launcher::default(), hardware: Hardware::default() })
    };
    let sides = [side(baseline, "baseline")?, side(candidate, "candidate")?];
    let stop = Arc::new(Stop::default());
    stop_on_signals(&stop)?;
    let [mut a, mut b] = sides.each_ref().map(|side| Turn::begin(side, args, &stop));
    let (a, b) = (&mut a, &mut b);
    let (mut first, mut second) = (a.open()?, b.open()?);
    loop {
        let goes_on = a.step(&mut first)?;
        if !(b.step(&mut second)? || goes_on) {
            break;
        }
    }
    Ok([a.finish(first)?, b.finish(second)?])
}

fn resolved(file: &PlanFile, seed: u64, name: &str) -> Result<Plan, Failure> {
    let mut file = file.clone();
    for stage in &mut file.serving {
        stage.trials.get_or_insert(TRIALS);
    }
    resolve(&file, seed).map_err(|error| Failure::usage(format!("{name}: {error}")))
}

/// What one side needs for its trials.
struct Turn<'a> {
    request: Request<'a>,
    search: LoadLineSearch<'a>,
    view: View<'a>,
    stop: Arc<Stop>,
}

impl<'a> Turn<'a> {
    fn begin(side: &'a Side, args: &'a CompareArgs, stop: &Arc<Stop>) -> Self {
        let request = Request {
            plan: &side.plan,
            plan_toml: None,
            out_dir: &args.out,
            tool_version: env!("CARGO_PKG_VERSION"),
            selftest: selftest::cached(),
            resume: None,
            show_exchange: None,
            launch: &side.launch,
            hardware: &side.hardware,
        };
        Self {
            request,
            search: LoadLineSearch::new(&side.plan),
            view: View::of_side(&side.plan, side.name, false),
            stop: Arc::clone(stop),
        }
    }

    fn open(&mut self) -> Result<Session<'a>, Failure> {
        let Self { request, view, stop, .. } = self;
        Ok(Session::open(request, stop, &mut |event| view.event(event))?)
    }

    fn step(&mut self, session: &mut Session<'a>) -> Result<bool, Failure> {
        let Self { search, view, .. } = self;
        Ok(session.step(search, &mut |event| view.event(event))?)
    }

    fn finish(&mut self, session: Session<'a>) -> Result<Finished, Failure> {
        Ok(session.finish(&mut |event| self.view.event(event))?)
    }
}
