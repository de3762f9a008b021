//! What the reader must know about a window, and why something that was asked for is not there.

use loadline_schema::event::Warning;
use loadline_schema::metric_window::MetricWindow;
use loadline_schema::server_metrics::{ServerEngine, engine_of, known};

use super::{LatencyReport, LatencySettings, is_named};

/// Metrics that are named one by one; of more only the number is told.
const NAMED: usize = 8;

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

/// What could not be had from the window.
fn invalid(window: &MetricWindow) -> Vec<Warning> {
    let warning = |invalid: &loadline_schema::metric_window::Invalid| match &invalid.metric {
        None => Warning::new(
            "window_invalid",
            format!("the window says nothing: {}", invalid.message),
            "take two looks at one process, without a restart between them",
        ),
        Some(metric) => Warning::new(
            "metric_invalid",
            format!("{metric} was left out: {}", invalid.message),
            "take two new looks; what the page itself tells wrongly, the server must mend",
        ),
    };
    let mut warnings: Vec<Warning> = window.invalid.iter().take(NAMED).map(warning).collect();
    if let Some(more) = window.invalid.len().checked_sub(NAMED).filter(|more| *more > 0) {
        warnings.push(Warning::new(
            "metric_invalid",
            format!("{more} more metrics were left out for the like"),
            "",
        ));
    }
    warnings
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
            format!("there are {}", listed(&names)),
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

fn listed(names: &[&str]) -> String {
    let mut text = names.iter().take(2 * NAMED).copied().collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        "none".clone_into(&mut text);
    } else if names.len() > 2 * NAMED {
        text += &format!(" and {} more", names.len() - 2 * NAMED);
    }
    text
}
