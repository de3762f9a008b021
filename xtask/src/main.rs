//! The project's own chores, run as `cargo xtask <command>`; this file only picks the command.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program speaks on stdout and stderr"
)]

mod bench_client;
mod bench_engine;
mod bench_judge;
mod bench_observers;
mod bench_storage;
mod docs;
mod paired;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  tidy             checks the rules that no compiler checks: which crate may use which, purity
                   of analysis and report, file length, names, left-overs
  docs [--check]   writes METRICS.md and docs/analysis.schema.json anew from the code, or with
                   --check says which of them is out of date
  bench-client [--quick] [--rounds N] [--only PART] [--truth PROGRAM] [--reader PROGRAM]
                   the client beside a bare reader on a server with known timing: the table of
                   docs/performance.md; nothing else should run meanwhile
  bench-judge [LINES PAIRS]
                   load lines found and comparisons made against servers with a known law, in real
                   time: so many searches (20) and pairs of each kind (20)
  bench-engine TOOLS Q4_1 Q8_0 [PAIRS]
                   the embedded engine beside llama-bench and llama-batched-bench (in the folder
                   TOOLS), and made models beside real ones (SmolLM2-135M, two files), in turns
  bench-observers [PAIRS]
                   load with observers beside the same load without, in turns (15 pairs)
  bench-storage DIR [PAIRS] [--only WORD]
                   loadline storage beside fio on the storage of DIR, in turns (15 pairs)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["tidy"] => tidy::run(),
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["bench-client", words @ ..] => match bench_client::run_with(words) {
            Some(table) => table.map(|table| println!("{table}")),
            None => return wrong_usage(),
        },
        ["bench-judge", words @ ..] => match bench_judge::run_with(words) {
            Some(table) => table.map(|table| println!("{table}")),
            None => return wrong_usage(),
        },
        ["bench-engine", words @ ..] => match bench_engine::run_with(words) {
            Some(table) => table.map(|table| println!("{table}")),
            None => return wrong_usage(),
        },
        ["bench-observers", words @ ..] => match bench_observers::run_with(words) {
            Some(table) => table.map(|table| println!("{table}")),
            None => return wrong_usage(),
        },
        ["bench-storage", words @ ..] => match bench_storage::run_with(words) {
            Some(table) => table.map(|table| println!("{table}")),
            None => return wrong_usage(),
        },
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => return wrong_usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wrong_usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
