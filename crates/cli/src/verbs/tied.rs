//! Becomes another program that ends with the process that started it, however that ends.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::args::TiedArgs;
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &TiedArgs) -> Result<Exit, Failure> {
    end_with_parent()?;
    let [program, arguments @ ..] = &args.words[..] else {
        return Err(Failure::usage("no program is named"));
    };
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::internal(format!("cannot start {}: {error}", program.display())))
}

/// Has the kernel kill this process when its parent ends.
pub(crate) fn end_with_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::internal)
}
