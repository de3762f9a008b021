//! The `loadline` command: verbs, one file each.

mod args;
mod cost_args;
mod document;
mod engine_args;
mod exit;
mod find;
mod gpu_args;
mod interleave;
mod latency_args;
mod launch;
mod llama_bench_flags;
mod measure;
mod observation;
mod observe_args;
mod output;
mod preview;
mod progress;
mod quick_look;
mod serving_args;
mod signals;
mod sla_args;
mod storage_args;
mod storage_launch;
mod table_args;
mod verbs;

use clap::Parser;

use crate::args::{Cli, Verb};
use crate::exit::{Exit, Failure};

fn main() -> std::process::ExitCode {
    let words = llama_bench_flags::translated(std::env::args_os());
    if let Some(word) = llama_bench_flags::unknown(&words) {
        let text = format!(
            "llama-bench's {word} has no like here; `loadline engine --help` lists what has"
        );
        return output::failure(&Failure::usage(text)).into();
    }
    let verb = match Cli::try_parse_from(words) {
        Ok(Cli { verb: Some(verb) }) => verb,
        Ok(Cli { verb: None }) => return output::welcome().into(),
        Err(error) => return output::usage(&error).into(),
    };
    let result = match verb {
        Verb::Engine(args) => verbs::engine::run(&args),
        Verb::Serving(args) => verbs::serving::run(&args),
        Verb::Storage(args) => verbs::storage::run(&args),
        Verb::Latency(args) => verbs::latency::run(&args),
        Verb::Gpu(args) => verbs::gpu::run(&args),
        Verb::Run(args) => verbs::run::run(&args),
        Verb::Check(args) => verbs::check::run(&args),
        Verb::Report(args) => verbs::report::run(&args),
        Verb::Analyze(args) => verbs::analyze::run(&args),
        Verb::Cost(args) => verbs::cost::run(&args),
        Verb::Compare(args) => verbs::compare::run(&args),
        Verb::Import(args) => verbs::import::run(&args),
        Verb::Export(args) => verbs::export::run(&args),
        Verb::List(args) => verbs::list::run(&args),
        Verb::Selftest(args) => verbs::selftest::run(&args),
        Verb::Completions(args) => verbs::completions::run(&args),
        Verb::Tied(args) => verbs::tied::run(&args),
        Verb::StorageWorker => Ok(verbs::storage::worker()),
        #[cfg(feature = "embedded")]
        Verb::EmbeddedWorker => verbs::embedded::worker(),
        #[cfg(feature = "embedded")]
        Verb::EmbeddedServer(args) => verbs::embedded::server(&args),
    };
    result.unwrap_or_else(|error| output::failure(&error)).into()
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
