//! The truth server as a program: `loadline-truth PORT` or `loadline-truth --unix PATH`.
#![expect(clippy::print_stderr, reason = "a program speaks to whoever started it")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use loadline_truth::{Law, Listen, PARAMETERS, Truth};

fn usage() -> String {
    let mut text = String::from(
        "An OpenAI-compatible server with exactly known timing.\n\n\
         loadline-truth [PORT | ADDRESS:PORT | --unix PATH] [NAME=VALUE]...   (port 8000 of 127.0.0.1)\n\n\
         GET /stats, /dump?path=FILE[&all=1], /metrics, and /reset?NAME=VALUE&... with:\n",
    );
    for (form, meaning) in PARAMETERS {
        let _ = writeln!(text, "  {form:<48} {meaning}");
    }
    text
}

fn parse(arguments: &[String]) -> Result<(Listen, Law), String> {
    let mut listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8_000)));
    let mut law = Law::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--unix" {
            let path = arguments.next().ok_or("--unix needs a path")?;
            listen = Listen::Unix(PathBuf::from(path));
        } else if let Ok(port) = argument.parse::<u16>() {
            listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        } else if let Ok(address) = argument.parse::<SocketAddr>() {
            listen = Listen::Tcp(address);
        } else if argument.contains('=') {
            law = law.with(argument).map_err(|error| error.to_string())?;
        } else {
            return Err(format!("{argument:?} is no port, address or NAME=VALUE\n\n{}", usage()));
        }
    }
    Ok((listen, law))
}

fn serve(listen: Listen, law: Law) -> Result<(), loadline_truth::TruthError> {
    let mut truth = Truth::bind(listen, law)?;
    eprintln!("listening on {:?}", truth.listen());
    truth.run(&AtomicBool::new(false))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        eprintln!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let (listen, law) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(reason) => {
            eprintln!("loadline-truth: {reason}");
            return ExitCode::from(2);
        }
    };
    match serve(listen, law) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadline-truth: {error}");
            ExitCode::FAILURE
        }
    }
}
