//! The answer of a stage in a few lines: the load line, the point for throughput, the cost.

use loadline_schema::document::{Document, Point, PointLoad, Serving};
use loadline_schema::verdict::LoadLine;

use super::Page;
use crate::quantity;
use crate::style::Tone;
use crate::words::{self, plain};

/// Columns of the names on the left.
const NAMES: usize = 12;

pub(super) fn section(page: &mut Page, document: &Document, stage: &Serving) {
    page.blank();
    if document.sla.is_empty() {
        let text =
            "no SLA was given: --sla 'ttft_p99<=800ms,itl_p99<=60ms' says how much load fits one";
        line(page, "Load line", text, Tone::Faint);
    }
    for name in document.sla.keys() {
        let text = match stage.load_line.get(name) {
            Some(line) => load_line(stage, line),
            None => "cannot be told for this kind of load".to_owned(),
        };
        let text = if document.sla.len() > 1 { format!("{}: {text}", plain(name)) } else { text };
        line(page, "Load line", &text, Tone::Strong);
    }
    if let Some(point) = stage.throughput_point.and_then(|index| stage.points.get(index)) {
        line(page, "Throughput", &throughput(point), Tone::Plain);
    }
    if let Some(text) = cost(stage) {
        line(page, "Cost", &text, Tone::Plain);
    }
}

/// A line of the answer: its name on the left.
pub(super) fn line(page: &mut Page, name: &str, text: &str, tone: Tone) {
    let blanks = " ".repeat(NAMES);
    page.hanging(&format!("{name:NAMES$}"), &blanks, text, tone);
}

/// The largest load inside, how sure that is, and what limits it.
fn load_line(stage: &Serving, line: &LoadLine) -> String {
    let load = |value: f64| of_unit(value, &line.unit);
    let limited = |before: &str| {
        line.limited_by
            .as_deref()
            .map(|term| format!("{before}{}", plain(term)))
            .unwrap_or_default()
    };
    let mut text = match (line.low, line.high, line.likely) {
        (Some(low), Some(high), _) => {
            let rate = requests_per_s(stage, line.point).filter(|_| line.unit == "concurrency");
            let rate = rate.map(|rate| format!(" = {rate} requests/s")).unwrap_or_default();
            format!(
                "{}{rate} (95 %: {}–{}){}",
                load(low),
                bare(low, &line.unit),
                bare(high, &line.unit),
                limited(", limited by ")
            )
        }
        (Some(low), None, _) => format!(
            "{} or more: no load that was tried certainly misses it{}",
            load(low),
            if line.too_short.is_empty() { "; offer more to find the limit" } else { "" }
        ),
        (None, Some(high), Some(likely)) => format!(
            "likely {}, but not certain with so few requests; certainly missed at {}{}",
            load(likely),
            load(high),
            limited(" by ")
        ),
        (None, Some(high), None) => {
            format!("none: {} already misses it{}", load(high), limited(" by "))
        }
        (None, None, Some(likely)) => format!(
            "likely {} or more, but too few requests to be certain (`loadline check` says how many)",
            load(likely)
        ),
        (None, None, None) => {
            format!("likely none, but too few requests to be certain{}", limited("; closest: "))
        }
    };
    if let Some(at) = line.saturated_at {
        text.push_str(&format!("; the target no longer kept up at {}", load(at)));
    }
    if !line.too_short.is_empty() {
        let loads: Vec<String> = line.too_short.iter().map(|l| bare(*l, &line.unit)).collect();
        text.push_str(&format!(
            "; the trials at {} are too short for how long the target remembers, so they count for \
             neither side: warm up and measure longer",
            loads.join(", ")
        ));
    }
    if line.non_monotone {
        text.push_str("; a larger load kept it again: more load is not always worse here");
    }
    text
}

/// A load without its unit: slots are counted.
fn bare(value: f64, unit: &str) -> String {
    if unit == "concurrency" { quantity::count(value as u64) } else { quantity::number(value) }
}

/// A load with its unit: "concurrency 16", "11.3 requests/s".
pub(super) fn of_unit(value: f64, unit: &str) -> String {
    let bare = bare(value, unit);
    if unit == "concurrency" { format!("{unit} {bare}") } else { format!("{bare} {unit}") }
}

fn requests_per_s(stage: &Serving, point: Option<usize>) -> Option<String> {
    let rate = stage.points.get(point?)?.requests_per_s.as_ref()?;
    Some(quantity::estimate(rate, quantity::number))
}

fn throughput(point: &Point) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = &point.output_tokens_per_s {
        let rate = quantity::estimate(rate, quantity::number);
        parts.push(format!("{rate} output tokens/s at {}", load_words(&point.load)));
    }
    if let Some(rate) = &point.requests_per_s {
        parts.push(format!("{} requests/s", quantity::number(rate.value)));
    }
    if let Some(rate) = &point.output_tokens_per_s_per_user {
        parts.push(format!("{} tokens/s for each user", quantity::number(rate.value)));
    }
    parts.join(", ")
}

fn load_words(load: &PointLoad) -> String {
    let short = words::load_short(load);
    if load.concurrency.is_some() {
        format!("concurrency {short}")
    } else if load.rate_per_s.is_some() {
        format!("{short} requests/s")
    } else {
        format!("a burst of {short}")
    }
}

/// The cost of a million output tokens at the load line, and at the point for throughput where
/// that is another.
fn cost(stage: &Serving) -> Option<String> {
    let at_line = stage.load_line.values().find_map(|line| line.point.or(line.likely_point));
    let priced = |index: usize| {
        let point = stage.points.get(index)?;
        let cost = point.cost.as_ref()?;
        let amount = quantity::number(cost.per_mtok_output?);
        Some(format!("{amount} {} at {}", plain(&cost.currency), load_words(&point.load)))
    };
    let mut places = Vec::new();
    for index in [at_line, stage.throughput_point].into_iter().flatten() {
        if !places.contains(&index) {
            places.push(index);
        }
    }
    let texts: Vec<String> = places.into_iter().filter_map(priced).collect();
    if texts.is_empty() {
        return None;
    }
    Some(format!("{} per million output tokens", texts.join(", ")))
}
