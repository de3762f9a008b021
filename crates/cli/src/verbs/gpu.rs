//! `loadline gpu`: GPUs once, for a time, around a command or a process; and what can be read at all.

mod process;
mod progress;
mod show;
mod sources;
mod watch;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use loadline_clock::RunClock;
use loadline_observe::gpu::Opened;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::{Exit, Failure};
use crate::gpu_args::GpuArgs;
use crate::output::say;
use crate::signals::{Heard, Signals};
use loadline_schema::gpu::GpuSource;
use process::Followed;
use progress::Progress;
use show::{Place, result};
use sources::{checked, no_gpu, opened};
use watch::{Pace, Watch, unwritable};

/// Time between the two looks without a flag, ns: twice what GPM's samples need.
const ONCE_NS: u64 = 200_000_000;
/// How often a process that is no child is looked for, ns.
const PROCESS_NS: u64 = 200_000_000;
/// Where a shell would say that the wrapper failed, not the command.
const OUR_FAULT: Exit = Exit::Command(125);

pub(crate) fn run(args: &GpuArgs) -> Result<Exit, Failure> {
    if args.command.is_empty() {
        return alone(args);
    }
    around(args).map_err(|failure| Failure { exit: OUR_FAULT, ..failure })
}

/// Once, for a time, or as long as a process lives.
fn alone(args: &GpuArgs) -> Result<Exit, Failure> {
    let signals = Signals::listen()?;
    let clock = RunClock::start();
    let opened = opened(args, clock)?;
    if args.check {
        return checked(args, opened, clock);
    }
    if opened.readers.is_empty() {
        return Err(Failure::usage(no_gpu(&opened.passed_over)));
    }
    let mut followed = args
        .pid
        .map(|pid| Followed::new(pid, &args.hardware.proc, &args.hardware.nvml))
        .transpose()?;
    let mut watch = started(args, opened, clock)?;
    let is_once = args.is_once();
    let end = args.duration.map(|time| time.0).or(is_once.then_some(ONCE_NS));
    let pace = Pace {
        interval_ns: if is_once { ONCE_NS } else { args.interval.0 },
        most_wait_ns: if args.pid.is_some() { PROCESS_NS } else { u64::MAX / 4 },
        end_ns: end.map(|ns| clock.now_ns().saturating_add(ns)),
    };
    let mut progress = Progress::new(args.quiet || is_once, end);
    let (mut stopped, mut seen) = (false, 0);
    watch.run(pace, &signals, |watch, heard| {
        stopped = matches!(heard, Some(Heard::Stop { .. }));
        if watch.readings.len() != seen {
            seen = watch.readings.len();
            progress.show(watch);
            if let Some(followed) = &mut followed {
                followed.look();
            }
        }
        stopped || followed.as_ref().is_some_and(Followed::has_ended)
    });
    // From here on Ctrl-C ends at once, as usual.
    drop((signals, progress));
    if let Some(followed) = &followed
        && !followed.gpus.is_empty()
    {
        // Processes are known of NVIDIA's driver alone.
        watch.readings.retain(|reading| {
            reading.source != GpuSource::Amdgpu && followed.gpus.contains_key(&reading.index)
        });
    }
    watch.finish_csv()?;
    let mut warnings = watch.warnings();
    warnings.extend(followed.as_ref().and_then(Followed::warning));
    let gave_nothing = watch.readings.is_empty();
    let sentence = followed.as_ref().and_then(Followed::sentence);
    let shown = result(args, &watch.readings, warnings, sentence, Place::Stdout)?;
    Ok(match shown {
        Exit::Ok if gave_nothing => Exit::Internal,
        Exit::Ok if stopped && args.duration.is_some() => Exit::Incomplete,
        shown => shown,
    })
}

/// As long as a command runs.
fn around(args: &GpuArgs) -> Result<Exit, Failure> {
    let Some((program, words)) = args.command.split_first() else { return Ok(Exit::Ok) };
    let signals = Signals::listen()?;
    let clock = RunClock::start();
    let opened = opened(args, clock)?;
    let has_gpu = !opened.readers.is_empty();
    if !has_gpu {
        say(&format!(
            "loadline: {}\nloadline: the command runs unwatched",
            no_gpu(&opened.passed_over)
        ));
    }
    let mut watch = started(args, opened, clock)?;
    let mut child = signals.spawn(Command::new(program).args(words)).map_err(|error| {
        Failure::usage(format!("cannot start {}: {error}", Path::new(program).display()))
    })?;
    let pace = Pace { interval_ns: args.interval.0, most_wait_ns: u64::MAX / 4, end_ns: None };
    let mut ended = None;
    watch.run(pace, &signals, |_, heard| {
        if let Some(Heard::Stop { signal, from_terminal: false }) = heard {
            pass_on(&child, signal);
        }
        ended = child.try_wait().transpose();
        ended.is_some()
    });
    drop(signals);
    let lost = |error| Failure::internal(format!("the command cannot be waited for: {error}"));
    let status = ended.transpose().map_err(lost)?;
    let shown = watch.finish_csv().and_then(|()| {
        if has_gpu || args.json || args.output.is_some() {
            let place = if args.json { Place::Stdout } else { Place::Stderr };
            result(args, &watch.readings, watch.warnings(), None, place)
        } else {
            Ok(Exit::Ok)
        }
    });
    match (status.map_or(OUR_FAULT, exit_of), shown) {
        // What the command says of itself comes first; ours is told beside it.
        (Exit::Command(0), Err(failure)) => Err(failure),
        (Exit::Command(0), Ok(Exit::Ok)) => Ok(Exit::Ok),
        (Exit::Command(0), Ok(_)) => Ok(OUR_FAULT),
        (ended, Err(failure)) => {
            say(&format!("loadline: {}", failure.message));
            Ok(ended)
        }
        (ended, Ok(_)) => Ok(ended),
    }
}

/// As a shell tells it: 128 + n after signal n.
fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(OUR_FAULT, Exit::Command)
}

fn pass_on(child: &Child, signal: Signal) {
    // It is not waited for yet, so that its number is its own; it may have ended all the same.
    let _ = kill(Pid::from_raw(child.id() as i32), signal);
}

/// The watch after its first look. Files are made before anything is measured.
fn started(args: &GpuArgs, opened: Opened, clock: RunClock) -> Result<Watch, Failure> {
    if let Some(path) = &args.output {
        std::fs::write(path, "").map_err(|error| unwritable(path, &error))?;
    }
    let mut watch = Watch::new(clock, opened.readers, args.csv.as_deref())?;
    watch.look();
    Ok(watch)
}
