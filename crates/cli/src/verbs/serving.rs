//! `loadline serving URL`: a plan of one stage from flags, carried out like any other.

use crate::exit::{Exit, Failure};
use crate::measure::measure;
use crate::serving_args::ServingArgs;

pub(crate) fn run(args: &ServingArgs) -> Result<Exit, Failure> {
    measure(&args.plan_file()?, None, &args.options)
}
