//! `loadline gpu`: GPUs once, for a time, around a command or a process; and what can be read at all.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use loadline_analysis::{energy_sum, gpu_summaries};
use loadline_clock::RunClock;
use loadline_observe::gpu::{
    DcgmExporter, Fetch, GpuRoots, NvmlSettings, Opened, PassedOver, check, open,
};
use loadline_report::{Style, quantity};
use loadline_schema::SCHEMA_VERSION;
use loadline_schema::document::Document;
use loadline_schema::event::Warning;
use loadline_schema::gpu::{GpuField, GpuReading, GpuSummary};
use loadline_serving::ask::ask;
use loadline_serving::target::{Target, TargetSettings};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::{Exit, Failure};
use crate::gpu_args::GpuArgs;
use crate::gpu_process::Followed;
use crate::gpu_watch::{Pace, Watch, unwritable};
use crate::output::{print, say, style};
use crate::signals::{Heard, Signals};

/// Time between the two looks without a flag, ns: twice what GPM's samples need.
const ONCE_NS: u64 = 200_000_000;
/// How often a process that is no child is looked for, ns.
const PROCESS_NS: u64 = 200_000_000;
/// Shortest time between two looks, ns.
const LEAST_INTERVAL_NS: u64 = 10_000_000;
/// Limit for a page of an exporter, ns.
const PAGE_NS: u64 = 5_000_000_000;
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
    let mut followed =
        args.pid.map(|pid| Followed::new(pid, &args.proc, &args.nvml)).transpose()?;
    let mut watch = started(args, opened, clock)?;
    let is_once = args.duration.is_none() && args.pid.is_none();
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
        watch.readings.retain(|reading| followed.gpus.contains_key(&reading.index));
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
    let mut child =
        signals.without(|| Command::new(program).args(words).spawn()).map_err(|error| {
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

/// The sources that the flags name.
fn opened(args: &GpuArgs, clock: RunClock) -> Result<Opened, Failure> {
    if args.interval.0 < LEAST_INTERVAL_NS {
        return Err(Failure::usage(format!("--interval {}: at least 10ms", args.interval)));
    }
    if let Some(url) = &args.exporter {
        let reader = DcgmExporter::new(page(url)?);
        return Ok(Opened { readers: vec![Box::new(reader)], passed_over: Vec::new() });
    }
    let roots = GpuRoots {
        nvml: args.nvml.clone(),
        nvml_settings: NvmlSettings::default(),
        exporter: None,
        dcgmi: (!args.no_dcgmi).then(|| "dcgmi".into()),
        interval_ms: u32::try_from(args.interval.0 / 1_000_000).unwrap_or(u32::MAX),
        sys: args.sys.clone(),
    };
    Ok(open(roots, clock))
}

/// Gets an exporter's page, which must be there at once.
fn page(url: &str) -> Result<Fetch, Failure> {
    let base = url.trim_end_matches('/').trim_end_matches("/metrics").to_owned();
    let settings =
        TargetSettings { urls: &[base], connect_timeout_ns: PAGE_NS, ..TargetSettings::default() };
    let target = Target::resolve(&settings).map_err(loadline_runner::RunError::from)?;
    Ok(Box::new(move || {
        let reply = ask(&target, 0, "GET", "/metrics", None, PAGE_NS);
        let reply = reply.map_err(|error| error.to_string())?;
        if reply.is_success() {
            return Ok(reply.body);
        }
        Err(reply.message.unwrap_or_else(|| format!("status {}", reply.status)))
    }))
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

fn no_gpu(passed_over: &[PassedOver]) -> String {
    let looked: String = passed_over
        .iter()
        .map(|passed| format!("\n  {}: {}", passed.source, passed.reason))
        .collect();
    format!("there is no GPU that can be read; looked for:{looked}")
}

/// `--check`.
fn checked(args: &GpuArgs, opened: Opened, clock: RunClock) -> Result<Exit, Failure> {
    let mut passed: Vec<PassedOver> = opened.passed_over;
    let mut readings = Vec::new();
    for mut reader in opened.readers {
        match check(reader.as_mut(), &clock) {
            Ok(found) => readings.extend(found),
            Err(error) => {
                passed.push(PassedOver { source: reader.source(), reason: error.to_string() });
            }
        }
    }
    let text = if args.json {
        let warnings = passed.iter().map(|passed| {
            let message = format!("{}: {}", passed.source, passed.reason);
            Warning::new("gpu_source_passed_over", message, "")
        });
        loadline_report::json(&document(&readings, warnings.collect()))
    } else {
        let passed: Vec<_> =
            passed.into_iter().map(|passed| (passed.source, passed.reason)).collect();
        loadline_report::gpu_check(&readings, &passed, &page_style(args, Place::Stdout))
    };
    let shown = put(args, &text, Place::Stdout)?;
    Ok(if shown == Exit::Ok && readings.is_empty() { Exit::Usage } else { shown })
}

/// Where the result goes without `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Stdout,
    Stderr,
}

fn document(readings: &[GpuReading], warnings: Vec<Warning>) -> Document {
    Document {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        gpu: gpu_summaries(readings),
        warnings,
        ..Document::default()
    }
}

fn result(
    args: &GpuArgs,
    readings: &[GpuReading],
    warnings: Vec<Warning>,
    sentence: Option<String>,
    place: Place,
) -> Result<Exit, Failure> {
    let document = document(readings, warnings);
    if args.json {
        return put(args, &loadline_report::json(&document), place);
    }
    let mut text = loadline_report::gpu_terminal(&document.gpu, &page_style(args, place));
    let lines = whole_energy(&document.gpu).into_iter().chain(sentence);
    for line in lines.chain(document.warnings.iter().map(in_words)) {
        text.push_str(&format!("\n{line}\n"));
    }
    put(args, &text, place)
}

fn in_words(warning: &Warning) -> String {
    let advice = if warning.advice.is_empty() { "" } else { ": " };
    format!("! {}{advice}{}", warning.message, warning.advice)
}

/// The energy of several GPUs together; their instances are parts of them.
fn whole_energy(gpus: &[GpuSummary]) -> Option<String> {
    let whole: Vec<&GpuSummary> = gpus.iter().filter(|gpu| gpu.mig.is_none()).collect();
    let figures: Vec<_> = whole.iter().filter_map(|gpu| gpu.energy_j.clone()).collect();
    if figures.len() < 2 || figures.len() < whole.len() {
        return None;
    }
    let sum = energy_sum(&figures)?;
    let (doubt, n) = (if sum.valid { "" } else { "?" }, figures.len());
    Some(format!("Energy of {n} GPUs: {doubt}{} J", quantity::number(sum.joules)))
}

fn page_style(args: &GpuArgs, place: Place) -> Style {
    if args.output.is_some() || place == Place::Stderr {
        return Style { width: 80, colour: false };
    }
    style()
}

fn put(args: &GpuArgs, text: &str, place: Place) -> Result<Exit, Failure> {
    if let Some(path) = &args.output {
        std::fs::write(path, text).map_err(|error| unwritable(path, &error))?;
        return Ok(Exit::Ok);
    }
    if place == Place::Stdout {
        return Ok(print(text));
    }
    say(text.trim_end());
    Ok(Exit::Ok)
}

/// A line that moves, in a terminal; one line at the begin elsewhere.
struct Progress {
    bar: Option<indicatif::ProgressBar>,
    is_quiet: bool,
    end_ns: Option<u64>,
}

impl Progress {
    fn new(is_quiet: bool, end_ns: Option<u64>) -> Self {
        use std::io::IsTerminal;
        let is_terminal = std::io::stderr().is_terminal();
        let bar = (!is_quiet && is_terminal).then(indicatif::ProgressBar::new_spinner);
        Self { bar, is_quiet, end_ns }
    }

    fn show(&mut self, watch: &Watch) {
        if self.is_quiet {
            return;
        }
        let end = self.end_ns.map(|ns| format!(" of {}", quantity::duration(ns as f64)));
        let end = end.unwrap_or_default();
        let Some(bar) = &self.bar else {
            self.is_quiet = true;
            let gpus = watch.latest().count();
            let noun = if gpus == 1 { "GPU or instance" } else { "GPUs and instances" };
            say(&format!("watching {gpus} {noun}{}", end.replace(" of ", " for ")));
            return;
        };
        let mut sums: BTreeMap<GpuField, (f64, u32)> = BTreeMap::new();
        for reading in watch.latest().filter(|reading| reading.mig.is_none()) {
            for field in [GpuField::PowerW, GpuField::SmActive] {
                if let Some(value) = reading.get(field) {
                    let (sum, n) = sums.entry(field).or_default();
                    (*sum, *n) = (*sum + value, *n + 1);
                }
            }
        }
        let mut words = format!("{}{end}", quantity::duration(watch.clock.now_ns() as f64));
        if let Some((watts, _)) = sums.get(&GpuField::PowerW) {
            words += &format!("  power {} W", quantity::number(*watts));
        }
        if let Some((active, n)) = sums.get(&GpuField::SmActive) {
            words += &format!("  SM active {}", quantity::percent(active / f64::from(*n)));
        }
        bar.set_message(words);
        bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
