//! A comparison of two runs: the answer, the gate, what to beware of, then figure by figure.

use loadline_schema::verdict::{Change, Comparison, Gate, MetricChange};

use super::Page;
use crate::compare_words as said;
use crate::quantity::ABSENT;
use crate::style::{Style, Tone};
use crate::table::{Column, Table};
use crate::words::{self, plain};

/// The whole comparison as text.
pub fn compare_terminal(comparison: &Comparison, style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    let Comparison { baseline, candidate, .. } = comparison;
    let title = format!("{} against {}", plain(candidate), plain(baseline));
    page.hanging("", "", &title, Tone::Strong);
    page.blank();
    answer(&mut page, comparison);
    if let Some(gate) = &comparison.gate {
        page.blank();
        print_gate(&mut page, gate);
    }
    warnings(&mut page, comparison);
    let several = said::has_several_stages(comparison);
    for metrics in said::points(comparison) {
        point(&mut page, metrics, several);
    }
    noise_floors(&mut page, comparison);
    list(&mut page, "Only on one side", &comparison.unmatched);
    list(&mut page, "What else differs", &comparison.differences);
    page.blank();
    page.paragraph(&said::explanation(comparison), 0, Tone::Faint);
    page.text
}

fn answer(page: &mut Page, comparison: &Comparison) {
    page.paragraph(&said::answer(comparison), 0, Tone::Strong);
    for (label, verdict, tone) in
        [("Worse", Change::Regressed, Tone::Bad), ("Better", Change::Improved, Tone::Plain)]
    {
        let found = said::findings(comparison, verdict);
        if !found.is_empty() {
            page.line(&page.style.paint(&format!("{label}:"), tone));
            for finding in found {
                page.hanging("  ", "    ", &finding, tone);
            }
        }
    }
}

fn print_gate(page: &mut Page, gate: &Gate) {
    let terms = gate.terms.join(", ");
    let (text, tone) = match (gate.passed, gate.undecided.is_empty()) {
        (false, _) => (format!("Gate failed: {terms}"), Tone::Bad),
        (true, true) => (format!("Gate passed: {terms}"), Tone::Strong),
        (true, false) => (format!("Gate not failed, but not decided: {terms}"), Tone::Warning),
    };
    page.paragraph(&text, 0, tone);
    for failure in &gate.failures {
        page.hanging("  ✗ ", "    ", &plain(failure), Tone::Bad);
    }
    for undecided in &gate.undecided {
        page.hanging("  ? ", "    ", &plain(undecided), Tone::Warning);
    }
}

fn warnings(page: &mut Page, comparison: &Comparison) {
    if comparison.warnings.is_empty() {
        return;
    }
    page.blank();
    for warning in &comparison.warnings {
        page.hanging("! ", "  ", &plain(&warning.message), Tone::Warning);
        if !warning.advice.is_empty() {
            page.hanging("  → ", "    ", &plain(&warning.advice), Tone::Plain);
        }
    }
}

fn point(page: &mut Page, metrics: &[MetricChange], several: bool) {
    let Some(first) = metrics.first() else { return };
    page.heading(&capitalised(&said::place(first, several)), &said::trials(metrics));
    let cells = |render: &dyn Fn(&MetricChange) -> String| metrics.iter().map(render).collect();
    let change = "change, %";
    page.table(&Table::new(vec![
        Column::words("figure", cells(&|m| m.metric.clone())),
        Column::numbers("", "baseline", cells(&|m| said::value(m, m.baseline))),
        Column::numbers("", "candidate", cells(&|m| said::value(m, m.candidate))),
        Column::numbers(change, "", cells(&|m| said::percents(Some(m.change)))),
        Column::numbers(change, "from", cells(&|m| said::percents(m.low))),
        Column::numbers(change, "to", cells(&|m| said::percents(m.high))),
        Column::words("verdict", cells(&|m| said::verdict(m.verdict).to_owned())),
    ]));
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// How large a change must be to stand out: a row for each point, a column for each figure.
fn noise_floors(page: &mut Page, comparison: &Comparison) {
    let floor = |metric: &MetricChange| metric.noise_floor.map(crate::quantity::unsigned_percent);
    let mut names: Vec<&str> = Vec::new();
    for metric in comparison.metrics.iter().filter(|metric| metric.noise_floor.is_some()) {
        if !names.contains(&metric.metric.as_str()) {
            names.push(&metric.metric);
        }
    }
    if names.is_empty() {
        return;
    }
    page.heading(
        "Noise floor, ± %",
        "what an A/A comparison with the baseline's spread could show",
    );
    let several = said::has_several_stages(comparison);
    let mut columns =
        vec![Column::words("figure", names.iter().map(|n| (*n).to_owned()).collect())];
    columns.extend(said::points(comparison).map(|metrics| {
        let cell = |name: &&str| {
            let metric = metrics.iter().find(|metric| metric.metric == *name);
            metric.and_then(floor).unwrap_or_else(|| ABSENT.to_owned())
        };
        let head = metrics.first().map(|metric| said::place(metric, several)).unwrap_or_default();
        Column::numbers("", &head, names.iter().map(cell).collect())
    }));
    page.table(&Table::new(columns));
}

fn list(page: &mut Page, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    page.heading(title, "");
    for line in lines {
        page.hanging("- ", "  ", &words::plain(line), Tone::Plain);
    }
}
