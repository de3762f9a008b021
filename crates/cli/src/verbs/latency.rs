//! `loadline latency SOURCE`: latencies by a server's own histograms, from two looks at its metrics.

mod page;
mod prometheus;
mod when;

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use loadline_analysis::{LatencyReport, LatencySettings, server_latency};
use loadline_clock::monotonic_ns;
use loadline_observe::prometheus::{Snapshot, window};
use loadline_schema::SCHEMA_VERSION;
use loadline_schema::document::Document;
use loadline_schema::event::Warning;
use loadline_schema::metric_window::{InvalidKind, MetricWindow};
use loadline_schema::units::DurationNs;

use crate::exit::{Exit, Failure};
use crate::latency_args::{LatencyArgs, LatencyFormat};
use crate::output::{print, say, style};
use page::{Source, Web};

const DEFAULT_WINDOW: DurationNs = DurationNs(60_000_000_000);

/// Two looks at a server, or at several.
struct Looks {
    /// Where they come from, for people.
    source: String,
    first: Snapshot,
    second: Snapshot,
    /// What the reader must know about them.
    warnings: Vec<Warning>,
    /// Two saved pages, by their names.
    pages: Option<[String; 2]>,
    /// The looks were taken now, so a restart between them is nobody's wrong input.
    is_live: bool,
}

pub(crate) fn run(args: &LatencyArgs) -> Result<Exit, Failure> {
    let looks = if args.prometheus.prometheus.is_some() {
        prometheus::looks(&args.prometheus, &args.connection)?
    } else {
        let source = args.source.as_deref().unwrap_or_default();
        looks(args, Source::of(source), args.second.as_deref().map(Source::of))?
    };
    let window = in_order(&looks)?;
    let report = server_latency(&window, &settings(args, looks.source.clone()));
    is_answer(&report, &window, &looks)?;
    are_labels(&args.by, &window)?;
    let is_missed = report
        .results
        .iter()
        .any(|result| result.attainment.values().any(|found| found.met == Some(false)));
    let document = document(report, looks.warnings);
    let format = if args.json { LatencyFormat::Json } else { args.format };
    let printed = print(&match format {
        LatencyFormat::Text => loadline_report::terminal(&document, &style()),
        LatencyFormat::Json => loadline_report::json(&document),
        LatencyFormat::Csv => loadline_report::csv(&document),
    });
    Ok(if printed == Exit::Ok && is_missed { Exit::SlaMissed } else { printed })
}

/// The window of the looks, unless two saved pages were given the wrong way round.
fn in_order(looks: &Looks) -> Result<MetricWindow, Failure> {
    let found = window(&looks.first, &looks.second);
    let fell = |window: &MetricWindow| {
        window.invalid.iter().any(|invalid| invalid.kind == InvalidKind::Decreased)
    };
    match &looks.pages {
        Some([first, second]) if fell(&found) && !fell(&window(&looks.second, &looks.first)) => {
            Err(Failure::usage(format!(
                "the pages are in the wrong order, since counts fall from {first} to {second}; the \
                 earlier page comes first: loadline latency {second} {first}"
            )))
        }
        _ => Ok(found),
    }
}

fn settings(args: &LatencyArgs, source: String) -> LatencySettings {
    LatencySettings {
        source,
        by: args.by.clone(),
        metric: args.metric.clone(),
        bounds: args.sla.clone(),
        ..LatencySettings::default()
    }
}

fn document(report: LatencyReport, mut warnings: Vec<Warning>) -> Document {
    // A page is compared with zero: there is no second process that could have answered.
    let is_one_page = warnings.iter().any(|warning| warning.code == "since_start");
    let is_told = |warning: &Warning| !(is_one_page && warning.code == "restart_unseen");
    warnings.extend(report.warnings.into_iter().filter(is_told));
    Document {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        latency: report.results,
        warnings,
        ..Document::default()
    }
}

fn looks(args: &LatencyArgs, first: Source, second: Option<Source>) -> Result<Looks, Failure> {
    match (first, second) {
        (Source::Url(url), None) => watched(args, &url),
        (Source::Url(_), Some(_)) | (_, Some(Source::Url(_))) => Err(Failure::usage(
            "two sources are two saved pages of one server; a server alone is looked at twice, \
             --for TIME apart",
        )),
        _ if args.window.is_some() => Err(Failure::usage(
            "--for is the time between two looks at a server; saved pages have their own",
        )),
        (Source::Stdin, Some(Source::Stdin)) => {
            Err(Failure::usage("both pages cannot be stdin: save one of them to a file"))
        }
        (first, None) => {
            let second = first.snapshot()?;
            Ok(Looks {
                source: first.name(),
                first: at_start(&second),
                second,
                warnings: vec![Warning::new(
                    "since_start",
                    "one page alone: this is everything since the server's start",
                    "give a second page, saved later, for what came in between",
                )],
                pages: None,
                is_live: false,
            })
        }
        (first, Some(second)) => Ok(Looks {
            source: format!("{} to {}", first.name(), second.name()),
            first: first.snapshot()?,
            second: second.snapshot()?,
            warnings: Vec::new(),
            pages: Some([first.name(), second.name()]),
            is_live: false,
        }),
    }
}

/// The page that a server had when it was started: every count at zero.
fn at_start(page: &Snapshot) -> Snapshot {
    let mut start = page.clone();
    for family in &mut start.histograms {
        for series in &mut family.series {
            series.value.count = 0.0;
            series.value.sum = series.value.sum.map(|_| 0.0);
            for bucket in &mut series.value.buckets {
                bucket.count = 0.0;
            }
        }
    }
    for family in &mut start.counters {
        for series in &mut family.series {
            series.value = 0.0;
        }
    }
    start
}

/// Looks at a server, waits, and looks again.
fn watched(args: &LatencyArgs, url: &str) -> Result<Looks, Failure> {
    let web = Web::new(url, &args.connection)?;
    let name = web.name();
    let (stop, stopped) = mpsc::sync_channel(1);
    let first = web.snapshot()?;
    let begin_ns = monotonic_ns();
    let so_far = server_latency(&window(&at_start(&first), &first), &settings(args, name.clone()));
    let is_told = |warning: &&Warning| warning.code != "restart_unseen";
    for warning in so_far.warnings.iter().filter(is_told).filter(|_| so_far.results.is_empty()) {
        say(&format!("loadline: so far {}", warning.message));
    }
    // A second Ctrl-C meets a closed channel, and ends the program.
    ctrlc::set_handler(move || {
        if stop.send(()).is_err() {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .expect("invariant: a process may end itself");
        }
    })
    .map_err(Failure::internal)?;
    let length = args.window.unwrap_or(DEFAULT_WINDOW);
    say(&format!("loadline: {name} was read; again in {length} (Ctrl-C: now)"));
    // Either the time is over, or the user has seen enough: the second look is due.
    let waited = stopped.recv_timeout(Duration::from_nanos(length.0));
    drop(stopped);
    let second = web.snapshot()?;
    let took_s = (monotonic_ns() - begin_ns) as f64 / 1e9;
    let mut warnings = Vec::new();
    if waited.is_ok() {
        warnings.push(Warning::new(
            "interrupted",
            format!("Ctrl-C ended the window after {took_s:.1} s of {length}"),
            "",
        ));
    }
    Ok(Looks {
        source: format!("{name} over {took_s:.1} s"),
        first,
        second,
        warnings,
        pages: None,
        is_live: true,
    })
}

/// Without a result, or with a bound on nothing, the question was wrong: why stands in the warnings.
fn is_answer(report: &LatencyReport, window: &MetricWindow, looks: &Looks) -> Result<(), Failure> {
    let refused: Vec<&Warning> = if report.results.is_empty() {
        let notes: BTreeSet<&str> = window.notes.iter().map(|note| note.code.as_str()).collect();
        let unused = |code: &str| code == "bound_unused";
        let warnings = report.warnings.iter();
        warnings.filter(|w| !notes.contains(w.code.as_str()) && !unused(&w.code)).collect()
    } else {
        let bounds = report.warnings.iter().filter(|warning| warning.code == "bound_unused");
        bounds.take(1).collect()
    };
    if refused.is_empty() && !report.results.is_empty() {
        return Ok(());
    }
    let sentences = refused.iter().map(|warning| match warning.advice.as_str() {
        "" => warning.message.clone(),
        advice => format!("{}; {advice}", warning.message),
    });
    let sentences: Vec<String> = sentences.collect();
    let exit = if window.is_invalid() && looks.is_live { Exit::Incomplete } else { Exit::Usage };
    Err(Failure { exit, message: format!("{}: {}", looks.source, sentences.join("\n  ")) })
}

/// A label that no series has would make one group of everything, silently.
fn are_labels(by: &[String], window: &MetricWindow) -> Result<(), Failure> {
    let series = window.histograms.iter().flat_map(|family| &family.series);
    let known: BTreeSet<&str> =
        series.flat_map(|series| series.labels.keys().map(String::as_str)).collect();
    match by.iter().find(|label| !known.contains(label.as_str())) {
        Some(label) => {
            let known: Vec<&str> = known.into_iter().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(Failure::usage(format!("no histogram has a label {label}; there are: {known}")))
        }
        None => Ok(()),
    }
}
