//! `loadline compare BASE CANDIDATE`: what changed between two stored runs, how sure that is, and
//! whether a gate lets the candidate pass.

use std::path::{Path, PathBuf};

use loadline_analysis::{CompareError, CompareOptions, CompareSubject, compare, trial_order};
use loadline_schema::document::Document;
use loadline_schema::gate::GateTerm;
use loadline_schema::plan_file::PlanFile;
use loadline_schema::verdict::{Comparison, Gate};

use crate::args::{CompareArgs, CompareFormat};
use crate::document::Stored;
use crate::exit::{Exit, Failure};
use crate::interleave::interleave;
use crate::measure::find_run;
use crate::output::{print, say, style};

pub(crate) fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    // Before the runs are read: a gate that cannot be meant is the quicker answer.
    let gate = gate_terms(args)?;
    if args.interleave {
        let [baseline, candidate] = measured(args)?;
        return compare_runs(&baseline, &candidate, &gate, args);
    }
    let baseline = find_run(&args.out, &args.baseline)?;
    let candidate = find_run(&args.out, &args.candidate)?;
    if same_folder(&baseline, &candidate) {
        return Err(Failure::usage(format!(
            "{} is both the baseline and the candidate: name two runs",
            baseline.display()
        )));
    }
    compare_runs(&baseline, &candidate, &gate, args)
}

/// Carries out both plans, their trials in turn; gives their directories.
fn measured(args: &CompareArgs) -> Result<[PathBuf; 2], Failure> {
    let read = |name: &str| {
        let text = std::fs::read_to_string(name).map_err(|error| {
            Failure::usage(format!(
                "cannot read the plan {name}: {error}; with --interleave both sides are plans"
            ))
        })?;
        PlanFile::parse(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))
    };
    let sides = interleave(&read(&args.baseline)?, &read(&args.candidate)?, args)?;
    Ok(sides.map(|side| side.dir))
}

/// The terms of every `--gate`.
pub(crate) fn gate_terms(args: &CompareArgs) -> Result<Vec<GateTerm>, Failure> {
    let texts = args.gate.iter().map(String::as_str);
    GateTerm::parse_all(texts).map_err(|error| Failure::usage(format!("--gate: {error}")))
}

/// Compares the runs in two folders and prints the result.
pub(crate) fn compare_runs(
    baseline: &Path,
    candidate: &Path,
    gate: &[GateTerm],
    args: &CompareArgs,
) -> Result<Exit, Failure> {
    let (baseline, candidate) = (Stored::open(baseline)?, Stored::open(candidate)?);
    let (base, mut document) = (baseline.analyse()?, candidate.analyse()?);
    let options = CompareOptions {
        gate,
        allow_differences: args.allow_differences,
        order: trial_order(&baseline.trial_starts(), &candidate.trial_starts()),
        relevant: args.relevant.0,
    };
    let comparison = compare(
        CompareSubject { document: &base, plan: &baseline.plan },
        CompareSubject { document: &document, plan: &candidate.plan },
        &options,
    )
    .map_err(refusal)?;
    let is_incomplete = [&base, &document].into_iter().any(has_incomplete);
    let exit = exit(&comparison, is_incomplete);
    let printed = match if args.json { CompareFormat::Json } else { args.format } {
        CompareFormat::Text => print(&loadline_report::compare_terminal(&comparison, &style())),
        CompareFormat::Md => {
            tell_gate(comparison.gate.as_ref());
            print(&loadline_report::compare_markdown(&comparison))
        }
        CompareFormat::Json => {
            tell_gate(comparison.gate.as_ref());
            document.compare = Some(comparison);
            print(&loadline_report::json(&document))
        }
    };
    if is_incomplete {
        say(
            "loadline: a run is incomplete: only its complete trials are compared (loadline report \
             tells why)",
        );
    }
    Ok(if printed == Exit::Ok { exit } else { printed })
}

fn refusal(error: CompareError) -> Failure {
    let advice = match error {
        CompareError::Different(_) => {
            "\ncompare runs of the same work, or say --allow-differences if the difference is what you \
             want to see"
        }
        CompareError::NothingInCommon(_) => "\nmeasure both sides at the same loads",
        CompareError::NoTrials(_) => "; loadline report tells why",
        CompareError::GateWithoutBaseline { .. } => {
            "; measure the baseline longer and on a quiet client, or leave the term out"
        }
    };
    Failure::usage(format!("{error}{advice}"))
}

fn exit(comparison: &Comparison, is_incomplete: bool) -> Exit {
    let has_failed = comparison.gate.as_ref().is_some_and(|gate| !gate.passed);
    match (is_incomplete, has_failed) {
        (true, _) => Exit::Incomplete,
        (false, true) => Exit::Regression,
        (false, false) => Exit::Ok,
    }
}

fn has_incomplete(document: &Document) -> bool {
    document.serving.iter().flat_map(|stage| &stage.points).any(|point| point.incomplete.is_some())
}

/// The gate in words on stderr, where stdout is for a machine or goes into a comment.
fn tell_gate(gate: Option<&Gate>) {
    let Some(gate) = gate else { return };
    for failure in &gate.failures {
        say(&format!("loadline: gate failed: {failure}"));
    }
    for undecided in &gate.undecided {
        say(&format!("loadline: gate undecided: {undecided}"));
    }
}

fn same_folder(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
