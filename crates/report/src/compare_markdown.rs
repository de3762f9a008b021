//! A comparison as Markdown, to stand as a comment under a change.

use std::fmt::Write as _;

use loadline_schema::verdict::{Change, Comparison, Gate, MetricChange};

use crate::compare_words as said;
use crate::markdown::escaped;
use crate::words::plain;

/// The gate and the answer first, then a table for each point, folded away where nothing in it
/// asks for a look.
pub fn compare_markdown(comparison: &Comparison) -> String {
    let Comparison { baseline, candidate, .. } = comparison;
    let title = format!("{} against {}", plain(candidate), plain(baseline));
    let mut text = format!("## {}\n\n", escaped(&title));
    if let Some(gate) = &comparison.gate {
        print_gate(&mut text, gate);
    }
    let _ = writeln!(text, "{}", escaped(&said::answer(comparison)));
    for (label, verdict) in [("Worse", Change::Regressed), ("Better", Change::Improved)] {
        let found = said::findings(comparison, verdict);
        if !found.is_empty() {
            let _ = writeln!(text, "\n**{label}**\n");
            for finding in found {
                let _ = writeln!(text, "- {}", escaped(&finding));
            }
        }
    }
    for warning in &comparison.warnings {
        let line = format!("{} → {}", plain(&warning.message), plain(&warning.advice));
        let _ = writeln!(text, "\n> **Warning.** {}", escaped(line.trim_end_matches(" → ")));
    }
    let several = said::has_several_stages(comparison);
    for metrics in said::points(comparison) {
        point(&mut text, metrics, several);
    }
    list(&mut text, "Only on one side", &comparison.unmatched);
    list(&mut text, "What else differs", &comparison.differences);
    let _ = writeln!(text, "\n{}", escaped(&said::explanation(comparison)));
    text
}

fn print_gate(text: &mut String, gate: &Gate) {
    let word = match (gate.passed, gate.undecided.is_empty()) {
        (false, _) => "Gate failed",
        (true, true) => "Gate passed",
        (true, false) => "Gate not failed, but not decided",
    };
    let terms: Vec<String> = gate.terms.iter().map(|term| format!("`{term}`")).collect();
    let _ = writeln!(text, "**{word}:** {}\n", terms.join(", "));
    for failure in &gate.failures {
        let _ = writeln!(text, "- failed: {}", escaped(&plain(failure)));
    }
    for undecided in &gate.undecided {
        let _ = writeln!(text, "- undecided: {}", escaped(&plain(undecided)));
    }
    if !gate.failures.is_empty() || !gate.undecided.is_empty() {
        text.push('\n');
    }
}

fn point(text: &mut String, metrics: &[MetricChange], several: bool) {
    let Some(first) = metrics.first() else { return };
    let place = escaped(&said::place(first, several));
    let is_quiet = metrics.iter().all(|m| m.verdict == Change::NoChange);
    let head = format!("At {place}, {}", said::trials(metrics));
    if is_quiet {
        let _ = writeln!(text, "\n<details><summary>{head}: no change</summary>\n");
    } else {
        let _ = writeln!(text, "\n### {head}\n");
    }
    text.push_str(
        "| figure | baseline | candidate | change | 95 % interval | noise floor | verdict |\n",
    );
    text.push_str("|:--|--:|--:|--:|--:|--:|:--|\n");
    for metric in metrics {
        text.push_str(&row(metric));
    }
    if is_quiet {
        text.push_str("\n</details>\n");
    }
}

fn row(metric: &MetricChange) -> String {
    let unit = if metric.absolute { "pp" } else { "%" };
    let with_unit = |number: String| format!("{number} {unit}");
    let interval = match (metric.low, metric.high) {
        (Some(low), Some(high)) => {
            let (low, high) = (said::percents(Some(low)), said::percents(Some(high)));
            with_unit(format!("{low} to {high}"))
        }
        _ => crate::quantity::ABSENT.to_owned(),
    };
    let floor = metric.noise_floor.map_or_else(
        || crate::quantity::ABSENT.to_owned(),
        |floor| with_unit(format!("± {}", crate::quantity::unsigned_percent(floor))),
    );
    let verdict = said::verdict(metric.verdict);
    let verdict = match metric.verdict {
        Change::Improved | Change::Regressed => format!("**{verdict}**"),
        Change::NoChange | Change::Inconclusive => verdict.to_owned(),
    };
    format!(
        "| {} | {} | {} | {} | {interval} | {floor} | {verdict} |\n",
        escaped(&metric.metric),
        said::value(metric, metric.baseline),
        said::value(metric, metric.candidate),
        with_unit(said::percents(Some(metric.change))),
    )
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n**{title}**\n");
    for line in lines {
        let _ = writeln!(text, "- {}", escaped(&plain(line)));
    }
}
