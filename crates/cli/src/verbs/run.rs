//! `loadline run PLAN`.

use loadline_schema::plan_file::PlanFile;

use crate::args::RunArgs;
use crate::exit::{Exit, Failure};
use crate::measure::measure;

pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let name = args.plan.display();
    let text = std::fs::read_to_string(&args.plan).map_err(|error| {
        Failure::usage(format!(
            "cannot read the plan {name}: {error}; `loadline run --help` shows how"
        ))
    })?;
    let mut file =
        PlanFile::parse(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    file.seed = args.seed.or(file.seed);
    measure(&file, Some(&text), &args.options)
}
