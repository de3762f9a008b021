//! Where text goes: results to stdout, words to stderr. A closed pipe is not an error.

use std::io::{IsTerminal, Write};

use loadline_report::Style;

use crate::exit::{Exit, Failure};

/// Writes to stdout.
pub(crate) fn print(text: &str) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Ok,
        // Nobody reads on, as in `loadline report … | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(_) => Exit::Internal,
    }
}

/// Writes a line to stderr. If that fails there is nowhere left to say so.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Style of a report on stdout: as wide as the terminal, coloured unless NO_COLOR is set.
pub(crate) fn style() -> Style {
    let out = std::io::stdout();
    let terminal = out.is_terminal();
    let width = if terminal {
        rustix::termios::tcgetwinsize(&out).map_or(80, |size| size.ws_col)
    } else {
        80
    };
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style { width: usize::from(width.clamp(40, 160)), colour: terminal && !plain }
}

/// What went wrong, on stderr.
pub(crate) fn failure(failure: &Failure) -> Exit {
    say(&format!("loadline: {}", failure.message));
    failure.exit
}

/// A wrong command line, or a request for help.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    // If that fails there is nowhere left to say so.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Ok }
}

/// What this is, for somebody who typed the name alone.
pub(crate) fn welcome() -> Exit {
    print(
        "Loadline tells how much load an LLM server carries inside your targets, and what a token costs.\n\n\
         \x20 loadline serving http://host:8000     load a server at concurrency 1, 4, 16, 64\n\
         \x20 loadline run plan.toml                the same from a plan, with targets and prices\n\
         \x20 loadline report RUN                   show a result again\n\
         \x20 loadline compare BASE CANDIDATE       what got better or worse\n\
         \x20 loadline analyze TABLE.csv            what rows measured elsewhere say\n\
         \x20 loadline selftest                     how far the client itself can be trusted here\n\n\
         Each has --help with examples.\n",
    )
}
