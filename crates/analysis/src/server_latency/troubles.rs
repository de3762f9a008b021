//! What the reader must know about a window, and why something that was asked for is not there.

use loadline_schema::event::Warning;
use loadline_schema::metric_window::{Invalid, InvalidKind, MetricWindow};
use loadline_schema::server_metrics::{ServerEngine, engine_of, known};

use super::{LatencyReport, LatencySettings, is_named};

/// Names that are told one by one; of more only the number is told.
const NAMED: usize = 16;
/// Likeness (Jaro-Winkler, 0–1) from which on a name may be what was meant.
const ALIKE: f64 = 0.85;

pub(super) fn of(
    window: &MetricWindow,
    settings: &LatencySettings,
    report: &LatencyReport,
) -> Vec<Warning> {
    let mut warnings = invalid(window);
    if window.is_invalid() {
        return warnings;
    }
    warnings.extend(window.notes.iter().cloned());
    if let Some(warning) = missing(window, settings, report) {
        warnings.push(warning);
    } else if !report.results.is_empty() && report.results.iter().all(|result| result.n == 0) {
        warnings.push(Warning::new(
            "no_traffic",
            "no value came into any of these histograms in the window",
            "send requests meanwhile, or take a window in which there were some",
        ));
    }
    for bound in &settings.bounds {
        let is_judged =
            report.results.iter().any(|r| is_named(&bound.of, &r.metric, known(&r.metric)));
        if !is_judged {
            let names: Vec<&str> = report
                .results
                .iter()
                .map(|result| result.meaning.as_deref().unwrap_or(&result.metric))
                .collect();
            warnings.push(Warning::new(
                "bound_unused",
                format!("{bound} was not judged: there is no histogram of {}", bound.of),
                format!("there are {}", listed(&names)),
            ));
        }
    }
    warnings
}

/// What could not be had from the window: each kind of reason once, with the first metric that has
/// it.
fn invalid(window: &MetricWindow) -> Vec<Warning> {
    let mut kinds: Vec<(&Invalid, Vec<&str>)> = Vec::new();
    let mut warnings = Vec::new();
    for invalid in &window.invalid {
        let Some(metric) = &invalid.metric else {
            warnings.push(Warning::new(
                "window_invalid",
                format!("the window says nothing: {}", invalid.message),
                "take two looks at one process, without a restart between them",
            ));
            continue;
        };
        match kinds.iter_mut().find(|(first, _)| first.kind == invalid.kind) {
            Some((_, metrics)) => metrics.push(metric),
            None => kinds.push((invalid, vec![metric])),
        }
    }
    let told = |(first, metrics): (&Invalid, Vec<&str>)| {
        // A reason about a series names the metric itself.
        let why = match metrics.first() {
            Some(metric) if !first.message.starts_with(metric) => {
                format!("{metric}: {}", first.message)
            }
            _ => first.message.clone(),
        };
        let message = match metrics.len() {
            1 => format!("a metric was left out: {why}"),
            n => format!("{n} metrics were left out, the first of them: {why}"),
        };
        Warning::new("metric_invalid", message, advice(first.kind))
    };
    warnings.extend(kinds.into_iter().map(told));
    warnings
}

const fn advice(kind: InvalidKind) -> &'static str {
    match kind {
        InvalidKind::Decreased => "take two new looks; of saved pages give the earlier one first",
        InvalidKind::Vanished => {
            "take two new looks at one server; saved pages must be of the same one, the earlier first"
        }
        InvalidKind::BadSeries => "the page itself is wrong: the server must mend that",
        InvalidKind::Restarted
        | InvalidKind::Recreated
        | InvalidKind::BoundsChanged
        | InvalidKind::TypeChanged => "take two looks without a restart between them",
    }
}

/// Why there is no result.
fn missing(
    window: &MetricWindow,
    settings: &LatencySettings,
    report: &LatencyReport,
) -> Option<Warning> {
    if !report.results.is_empty() {
        return None;
    }
    let names: Vec<&str> = window.histograms.iter().map(|family| family.name.as_str()).collect();
    let gauges = window.gauges.iter().map(|family| family.name.as_str());
    let counters = window.counters.iter().map(|family| family.name.as_str());
    let engine = gauges.chain(counters).find_map(engine_of);
    let invalid = || window.invalid.iter().filter_map(|invalid| invalid.metric.as_deref());
    Some(match &settings.metric {
        Some(wanted) if invalid().any(|name| is_named(wanted, name, known(name))) => return None,
        Some(wanted) if !names.is_empty() => Warning::new(
            "metric_not_found",
            format!("there is no histogram {wanted} on the page"),
            format!("{}there are {}", near(wanted, &names), listed(&names)),
        ),
        _ if names.is_empty() && engine == Some(ServerEngine::LlamaCpp) => Warning::new(
            "no_histograms",
            "llama.cpp has counters and gauges only: no latency can be told from its page",
            "measure from outside with loadline serving",
        ),
        _ if names.is_empty() && invalid().next().is_some() => return None,
        _ if names.is_empty() => Warning::new(
            "no_histograms",
            "there is no histogram on the page, so no latency can be told",
            "SGLang shows its own with --enable-metrics, TensorRT-LLM at /prometheus/metrics",
        ),
        None => Warning::new(
            "no_latencies",
            "no histogram on the page is a time by its unit or its name",
            format!("name one with --metric; there are {}", listed(&names)),
        ),
        Some(_) => return None,
    })
}

/// "did you mean ttft (vllm:time_to_first_token_seconds)? "
fn near(wanted: &str, names: &[&str]) -> String {
    let wanted = wanted.to_lowercase();
    let likeness = |text: &str| {
        let is_part = wanted.len() > 2 && text.contains(&wanted);
        if is_part { 1.0 } else { strsim::jaro_winkler(&wanted, text) }
    };
    let candidate = |name: &&str| {
        let meaning = known(name).map(|known| known.metric.meaning.as_str());
        let alone = name.rsplit(':').next().unwrap_or(name);
        let texts = [Some(*name), Some(alone), meaning];
        let best = texts.into_iter().flatten().map(likeness).fold(0.0, f64::max);
        let words = meaning.map_or_else(|| (*name).to_owned(), |m| format!("{m} ({name})"));
        (best >= ALIKE).then_some((best, words))
    };
    let mut found: Vec<(f64, String)> = names.iter().filter_map(candidate).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let words: Vec<String> = found.into_iter().take(3).map(|(_, words)| words).collect();
    if words.is_empty() { String::new() } else { format!("did you mean {}? ", words.join(" or ")) }
}

fn listed(names: &[&str]) -> String {
    let mut text = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        "none".clone_into(&mut text);
    } else if names.len() > NAMED {
        text += &format!(" and {} more", names.len() - NAMED);
    }
    text
}
