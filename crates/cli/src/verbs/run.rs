//! `loadline run PLAN`; without a plan the quick look.

use std::path::Path;
use std::sync::Arc;

use loadline_schema::plan_file::PlanFile;

use crate::args::RunArgs;
use crate::exit::{Exit, Failure};
use crate::launch::Launcher;
use crate::measure::measure;
use crate::output::say;
use crate::quick_look;

/// The plan that is carried out where none is named.
const DEFAULT_PLAN: &str = "loadline.toml";

pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let path = args.plan.as_deref().unwrap_or(Path::new(DEFAULT_PLAN));
    if args.plan.is_none() && !path.exists() {
        say(&format!(
            "loadline: no plan and no {DEFAULT_PLAN}: a quick look at this machine, with a model made \
             on the spot (under three minutes on two cores). It prices with 65 W and 0.30 EUR/kWh, which \
             are assumptions: `loadline cost RUN --watts … --electricity …` takes yours"
        ));
        let mut file = quick_look::plan();
        file.seed = args.seed;
        let mut options = args.options.clone();
        // Everything happens in a new directory, also where the current one is the root of a mount.
        options.yes = true;
        let launcher = Launcher::new(true, &Arc::default());
        if let Some(why) = quick_look::storage_refusal(&file, &launcher) {
            say(&format!("loadline: storage is left out: {why}"));
            file.storage.clear();
        }
        return measure(&file, Some(quick_look::PLAN), &options);
    }
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "cannot read the plan {name}: {error}; `loadline run --help` shows how"
        ))
    })?;
    let mut file =
        PlanFile::parse(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    file.seed = args.seed.or(file.seed);
    measure(&file, Some(&text), &args.options)
}
