//! `cargo xtask bench-client`: the client beside the bare reader, on a server whose timing is known.
//! Server on core 0, clients on core 1, one after the other in the same run; medians of several
//! rounds, ratios of pairs. The table in docs/performance.md is its output.

mod measure;
mod row;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use row::{LOADS, Round, table};

use crate::workspace;

/// What to compare with what.
struct Options {
    /// One round and few requests: shows that it works, measures nothing.
    quick: bool,
    /// Rounds of each row.
    rounds: usize,
    /// Other server and reader with the same arguments as ours.
    truth: Option<PathBuf>,
    reader: Option<PathBuf>,
    /// Only rows whose name holds this.
    only: Option<String>,
}

impl Options {
    /// From the words after `bench-client`.
    fn parse(words: &[&str]) -> Option<Self> {
        let mut options = Self { quick: false, rounds: 5, truth: None, reader: None, only: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => (options.quick, options.rounds) = (true, 1),
                "--rounds" => options.rounds = words.next()?.parse().ok().filter(|n| *n > 0)?,
                "--truth" => options.truth = Some(PathBuf::from(words.next()?)),
                "--reader" => options.reader = Some(PathBuf::from(words.next()?)),
                "--only" => options.only = Some((*words.next()?).to_owned()),
                _ => return None,
            }
        }
        Some(options)
    }
}

/// The programs that take part.
struct Programs {
    truth: PathBuf,
    reader: PathBuf,
    loadline: PathBuf,
    /// Scratch folder for dumps and runs.
    scratch: PathBuf,
    port: u16,
}

/// Measures and gives the table; `None` when the words are no options.
pub(crate) fn run_with(words: &[&str]) -> Option<Result<String>> {
    Options::parse(words).map(|options| run(&options))
}

fn run(options: &Options) -> Result<String> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores < 2 {
        bail!("server and client need a core each, and this process may use {cores}");
    }
    let programs = build(options)?;
    let server = measure::Server::start(&programs)?;
    let mut rows = Vec::new();
    for load in LOADS.iter().filter(|load| wanted(load.name, options)) {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            rounds.push(round(&programs, &server, load, options.quick)?);
        }
        rows.push((load, rounds));
    }
    drop(server);
    let _ = fs::remove_dir_all(&programs.scratch);
    Ok(table(&rows, options.quick))
}

fn wanted(name: &str, options: &Options) -> bool {
    options.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
}

/// One pair: the bare reader, then ours, under the same law.
fn round(
    programs: &Programs,
    server: &measure::Server,
    load: &row::LoadRow,
    quick: bool,
) -> Result<Round> {
    let busy = load.busy.then(measure::Busy::start).transpose()?;
    server.reset(load)?;
    let reader = measure::reader(programs, load, quick)?;
    server.reset(load)?;
    let ours = measure::ours(programs, server, load, quick)
        .with_context(|| format!("loadline at {}", load.name))?;
    drop(busy);
    Ok(Round { reader, ours })
}

fn build(options: &Options) -> Result<Programs> {
    let root = workspace::root();
    let status = Command::new("cargo")
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "-p",
            "loadline-cli",
            "-p",
            "loadline-truth",
        ])
        .current_dir(root)
        .status()?;
    if !status.success() {
        bail!("the release build failed");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let built = |name: &str| target.join("release").join(name);
    let scratch = std::env::temp_dir().join(format!("loadline-bench-{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    Ok(Programs {
        truth: given(options.truth.as_deref(), built("loadline-truth"))?,
        reader: given(options.reader.as_deref(), built("loadline-reader"))?,
        loadline: built("loadline"),
        scratch,
        port: std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
    })
}

fn given(path: Option<&Path>, ours: PathBuf) -> Result<PathBuf> {
    match path {
        Some(path) if !path.is_file() => bail!("there is no program {}", path.display()),
        Some(path) => Ok(path.to_owned()),
        None => Ok(ours),
    }
}
