//! `loadline completions SHELL`.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::{Exit, Failure};

#[expect(clippy::unnecessary_wraps, reason = "all verbs have one signature")]
pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "loadline", &mut text);
    Ok(crate::output::print(&String::from_utf8_lossy(&text)))
}
