//! The server's own figures of a point, held against the client's.

use loadline_schema::metric_window::{Family, Invalid, MetricWindow};
use loadline_schema::observed::{Gauge, ServerObserved, TokenCheck, TtftSplit};
use loadline_schema::server_metrics::{
    Meaning, MetricKind, ServerEngine, ServerMetric, known, server_metrics,
};

use super::PageObservation;
use super::client_side::{Bounds, ClientSide};
use crate::server_latency::{LatencySettings, server_latency};

/// Histograms that are shown beside a point.
const SHOWN: [Meaning; 7] = [
    Meaning::Ttft,
    Meaning::Itl,
    Meaning::Tpot,
    Meaning::E2e,
    Meaning::Queue,
    Meaning::Prefill,
    Meaning::Decode,
];

/// By how much the numbers of requests behind two means may differ.
const SAME_REQUESTS: f64 = 0.02;

/// What the server says of the point; `None` without any page.
pub(super) fn observed(pages: &[PageObservation], trials: &[ClientSide]) -> Option<ServerObserved> {
    if pages.is_empty() {
        return None;
    }
    let sound: Vec<&ClientSide> = trials.iter().filter(|trial| is_sound(pages, trial)).collect();
    let windows = sound.iter().flat_map(|trial| pages.iter().map(|page| &page.trials[&trial.id]));
    let all = together(windows);
    let gauge = |meaning, kind| gauge(pages, trials, meaning, kind);
    let mut server = ServerObserved {
        running: gauge(Meaning::Running, Over::Pages),
        waiting: gauge(Meaning::Waiting, Over::Pages),
        kv_usage: gauge(Meaning::KvUsage, Over::Shares),
        in_flight: in_flight(pages, trials),
        trials: sound.len() as u32,
        ..ServerObserved::default()
    };
    if !sound.is_empty() {
        server.preemptions = counter(&all, Meaning::Preemptions);
        server.prefix_hit_ratio = prefix_hits(&all);
        server.output_tokens =
            counter(&all, Meaning::OutputTokens).and_then(|n| check(n, &sound, |t| t.output));
        server.prompt_tokens = prompt_tokens(&all).and_then(|n| check(n, &sound, |t| t.prompt));
        let settings = LatencySettings { source: sources(pages), ..LatencySettings::default() };
        let mut latency = server_latency(&all, &settings).results;
        latency.retain(|result| {
            result.n > 0 && SHOWN.iter().any(|m| result.meaning.as_deref() == Some(m.as_str()))
        });
        server.outside_server = latency.iter().find_map(|result| split(result, &sound));
        server.latency = latency;
    }
    Some(server)
}

fn sources(pages: &[PageObservation]) -> String {
    let names: Vec<&str> = pages.iter().map(|page| page.source.as_str()).collect();
    names.join(", ")
}

/// Whether each page has a difference of this trial that can be used, and every request a record.
fn is_sound(pages: &[PageObservation], trial: &ClientSide) -> bool {
    // One metric that cannot be used takes the trial: sums of others would be over other trials.
    let spoils = |invalid: &Invalid| {
        let known = invalid.metric.as_deref().map(known);
        known.is_none_or(|known| known.is_some_and(|one| one.metric.kind != MetricKind::Gauge))
    };
    let is_valid = |page: &PageObservation| {
        page.trials.get(&trial.id).is_some_and(|window| !window.invalid.iter().any(spoils))
    };
    trial.is_whole && pages.iter().all(is_valid)
}

/// All series of all windows: they are added up before anything is made of them.
fn together<'a>(windows: impl Iterator<Item = &'a MetricWindow>) -> MetricWindow {
    fn add<V: Clone>(into: &mut Vec<Family<V>>, families: &[Family<V>]) {
        for family in families {
            match into.iter_mut().find(|known| known.name == family.name) {
                Some(known) => known.series.extend(family.series.iter().cloned()),
                None => into.push(family.clone()),
            }
        }
    }
    let mut all = MetricWindow::default();
    for window in windows {
        add(&mut all.histograms, &window.histograms);
        add(&mut all.counters, &window.counters);
    }
    all
}

/// The first metric with this meaning that is there, in the order in which they are preferred.
fn preferred<V>(
    families: &[Family<V>],
    kind: MetricKind,
    meaning: Meaning,
) -> Option<(&Family<V>, &'static ServerMetric)> {
    // Series that tell different things apart (limits among them) make no sum.
    let wanted =
        server_metrics().filter(|m| m.kind == kind && m.meaning == meaning && m.apart.is_empty());
    wanted.into_iter().find_map(|metric| {
        let is_it = |f: &&Family<V>| known(&f.name).is_some_and(|known| known.metric == metric);
        families.iter().find(is_it).map(|family| (family, metric))
    })
}

fn counter(all: &MetricWindow, meaning: Meaning) -> Option<f64> {
    let (family, _) = preferred(&all.counters, MetricKind::Counter, meaning)?;
    Some(family.series.iter().map(|series| series.value).sum())
}

/// Prompt tokens, those from a cache included: llama.cpp counts only what it computed.
fn prompt_tokens(all: &MetricWindow) -> Option<f64> {
    let (_, metric) = preferred(&all.counters, MetricKind::Counter, Meaning::PromptTokens)?;
    let counted = counter(all, Meaning::PromptTokens)?;
    if metric.engine != ServerEngine::LlamaCpp {
        return Some(counted);
    }
    counter(all, Meaning::CachedTokens).map(|cached| counted + cached)
}

fn prefix_hits(all: &MetricWindow) -> Option<f64> {
    let queries = counter(all, Meaning::PrefixQueries);
    let hits = counter(all, Meaning::PrefixHits);
    let (hits, of) = match hits.zip(queries) {
        Some(both) => both,
        None => (counter(all, Meaning::CachedTokens)?, prompt_tokens(all)?),
    };
    (of > 0.0).then(|| hits / of)
}

/// The server's count against the bounds of the client's.
fn check(
    server: f64,
    trials: &[&ClientSide],
    of: impl Fn(&ClientSide) -> Option<Bounds>,
) -> Option<TokenCheck> {
    let mut sum = Bounds { low: 0.0, high: 0.0 };
    for trial in trials {
        let bounds = of(trial)?;
        (sum.low, sum.high) = (sum.low + bounds.low, sum.high + bounds.high);
    }
    if sum.high <= 0.0 {
        return None;
    }
    let difference = if server > sum.high {
        server / sum.high - 1.0
    } else if server < sum.low {
        server / sum.low - 1.0
    } else {
        0.0
    };
    Some(TokenCheck { server, client_low: sum.low, client_high: sum.high, difference })
}

/// The client's mean TTFT less the server's, where both are over the same requests.
fn split(
    result: &loadline_schema::latency::LatencyResult,
    trials: &[&ClientSide],
) -> Option<TtftSplit> {
    if result.meaning.as_deref() != Some(Meaning::Ttft.as_str()) {
        return None;
    }
    let ns = match result.unit.as_str() {
        "seconds" => 1e9,
        "milliseconds" => 1e6,
        "microseconds" => 1e3,
        _ => return None,
    };
    let server_mean_ns = result.mean? * ns;
    let (sum, n) = trials.iter().fold((0.0, 0), |(sum, n), t| (sum + t.ttft.0, n + t.ttft.1));
    let apart = (n as f64 - result.n as f64).abs();
    if n == 0 || apart > SAME_REQUESTS * n as f64 {
        return None;
    }
    let client_mean_ns = sum / n as f64;
    Some(TtftSplit {
        client_mean_ns,
        server_mean_ns,
        outside_ns: client_mean_ns - server_mean_ns,
        client_n: n,
        server_n: result.n,
    })
}

/// How gauges of several pages, or of several engines on one, come together.
#[derive(Clone, Copy, PartialEq)]
enum Over {
    /// They add up.
    Pages,
    /// They are shares of different things.
    Shares,
}

fn gauge(
    pages: &[PageObservation],
    trials: &[ClientSide],
    meaning: Meaning,
    over: Over,
) -> Option<Gauge> {
    let mut means = Vec::with_capacity(pages.len());
    let (mut most, mut n) = (f64::NEG_INFINITY, 0);
    for page in pages {
        let looks: Vec<f64> = page
            .gauges
            .iter()
            .filter(|(at_ns, _)| trial_at(trials, *at_ns).is_some())
            .filter_map(|(_, families)| {
                let (family, _) = preferred(families, MetricKind::Gauge, meaning)?;
                let values = || family.series.iter().map(|series| series.value);
                let sum: f64 = values().sum();
                if over == Over::Shares {
                    most = values().fold(most, f64::max);
                    return Some(sum / family.series.len().max(1) as f64);
                }
                most = most.max(sum);
                Some(sum)
            })
            .collect();
        if looks.is_empty() {
            return None;
        }
        n += looks.len() as u64;
        means.push(looks.iter().sum::<f64>() / looks.len() as f64);
    }
    let sum: f64 = means.iter().sum();
    let mean = if over == Over::Shares { sum / means.len() as f64 } else { sum };
    let is_one = over == Over::Shares || pages.len() == 1;
    Some(Gauge { mean, max: is_one.then_some(most), n })
}

/// The trial in whose measure window a moment lies.
fn trial_at(trials: &[ClientSide], at_ns: u64) -> Option<&ClientSide> {
    trials.iter().find(|trial| trial.window.is_some_and(|window| window.contains(at_ns)))
}

/// Our requests in flight at the moments of the looks.
fn in_flight(pages: &[PageObservation], trials: &[ClientSide]) -> Option<Gauge> {
    let looks = pages.iter().flat_map(|page| page.gauges.iter().map(|(at_ns, _)| *at_ns));
    let flights: Vec<f64> = looks
        .filter_map(|at_ns| trial_at(trials, at_ns).map(|trial| trial.in_flight(at_ns) as f64))
        .collect();
    let n = flights.len() as u64;
    let max = flights.iter().copied().reduce(f64::max)?;
    Some(Gauge { mean: flights.iter().sum::<f64>() / n as f64, max: Some(max), n })
}
