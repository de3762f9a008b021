//! `loadline storage DIR…`: a plan of one stage from flags, carried out like any other; and the child
//! that does the I/O.

use std::io::{BufReader, stdin, stdout};

use crate::exit::{Exit, Failure};
use crate::measure::measure;
use crate::storage_args::StorageArgs;

pub(crate) fn run(args: &StorageArgs) -> Result<Exit, Failure> {
    measure(&args.plan_file()?, None, &args.options)
}

/// Carries out trials as the parent asks for them. It is not killed with its parent: its stdin closes
/// then, and it removes what it made.
pub(crate) fn worker() -> Exit {
    loadline_storage::child(BufReader::new(stdin()), stdout());
    Exit::Ok
}
