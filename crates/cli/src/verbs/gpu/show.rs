//! What `loadline gpu` tells, and where it goes.

use loadline_analysis::{energy_sum, gpu_summaries};
use loadline_report::{Style, quantity};
use loadline_schema::SCHEMA_VERSION;
use loadline_schema::document::Document;
use loadline_schema::event::Warning;
use loadline_schema::gpu::{GpuReading, GpuSummary};

use super::watch::unwritable;
use crate::exit::{Exit, Failure};
use crate::gpu_args::GpuArgs;
use crate::output::{print, say, style};

/// Where the result goes without `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Stdout,
    Stderr,
}

pub(super) fn document(readings: &[GpuReading], warnings: Vec<Warning>) -> Document {
    Document {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        gpu: gpu_summaries(readings),
        warnings,
        ..Document::default()
    }
}

pub(super) fn result(
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
    // Two looks are no time to speak of energy.
    let whole: Vec<&GpuSummary> =
        gpus.iter().filter(|gpu| gpu.mig.is_none() && gpu.samples > 2).collect();
    let figures: Vec<_> = whole.iter().filter_map(|gpu| gpu.energy_j.clone()).collect();
    if figures.len() < 2 || figures.len() < whole.len() {
        return None;
    }
    let sum = energy_sum(&figures)?;
    let (doubt, n) = (if sum.valid { "" } else { "?" }, figures.len());
    let bounds = match (sum.low, sum.high) {
        (Some(low), Some(high)) => {
            format!(" [{}, {}]", quantity::number(low), quantity::number(high))
        }
        _ => String::new(),
    };
    Some(format!("Energy of {n} GPUs: {doubt}{} J{bounds}", quantity::number(sum.joules)))
}

pub(super) fn page_style(args: &GpuArgs, place: Place) -> Style {
    if args.output.is_some() || place == Place::Stderr {
        return Style { width: 80, colour: false };
    }
    style()
}

pub(super) fn put(args: &GpuArgs, text: &str, place: Place) -> Result<Exit, Failure> {
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
