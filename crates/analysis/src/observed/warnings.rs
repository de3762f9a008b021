//! What observers saw that the reader of a point must know.

use loadline_schema::event::Warning;
use loadline_schema::gpu::GpuSummary;
use loadline_schema::observed::{Observed, ServerObserved, TokenCheck};

use super::StageObservation;
use super::client_side::ClientSide;

/// Share by which tokens of server and client may differ.
const TOKENS_AGREE: f64 = 0.01;
/// Share by which requests in the server may differ from ours in flight, of at least one request.
const REQUESTS_AGREE: f64 = 0.1;
/// Looks from which on a mean of them says something.
const ENOUGH_LOOKS: u64 = 5;
/// Share of time with clocks held down from which on it is told.
const THROTTLED: f64 = 0.05;
/// Share of time that the hypervisor took from which on it is told.
const STOLEN: f64 = 0.02;

pub(super) fn of(
    stage: &StageObservation,
    trials: &[ClientSide],
    observed: &Observed,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(server) = &observed.server {
        let tokens = [
            tokens("output", server.output_tokens),
            tokens("prompt", server.prompt_tokens),
            in_server(server),
            preempted(server),
        ];
        warnings.extend(tokens.into_iter().flatten());
    }
    warnings.extend(left_out(stage, trials));
    warnings.extend(notes(stage, trials));
    warnings.extend(energy(observed));
    warnings.extend(throttled(observed));
    warnings.extend(stolen(observed));
    warnings
}

fn tokens(which: &str, check: Option<TokenCheck>) -> Option<Warning> {
    let check = check.filter(|check| check.difference.abs() > TOKENS_AGREE)?;
    let side = if check.difference > 0.0 { "more" } else { "fewer" };
    let percent = 100.0 * check.difference.abs();
    let message = format!(
        "the server counted {percent:.1} % {side} {which} tokens than the client ({:.0} against \
         {:.0})",
        check.server, check.client_low
    );
    let advice = if check.difference > 0.0 {
        "other clients may use the server, or the client misses tokens (`per_chunk`)"
    } else {
        "the page may be that of one server of several: name them all (--metrics)"
    };
    Some(Warning::new("tokens_differ", message, advice))
}

fn in_server(server: &ServerObserved) -> Option<Warning> {
    let running = server.running.filter(|gauge| gauge.n >= ENOUGH_LOOKS)?;
    let ours = server.in_flight?;
    let there = running.mean + server.waiting.map_or(0.0, |waiting| waiting.mean);
    let apart = there - ours.mean;
    if apart.abs() <= (REQUESTS_AGREE * ours.mean).max(1.0) {
        return None;
    }
    let message = format!(
        "{there:.1} requests were in the server on average, and {:.1} of ours in flight",
        ours.mean
    );
    Some(if apart > 0.0 {
        let advice = "somebody else uses the server: the figures are of both loads together";
        Warning::new("server_shared", message, advice)
    } else {
        let advice = "something before the server holds requests back (a proxy, a router, a limit \
                      of connections), or the page is that of one server of several";
        Warning::new("requests_before_server", message, advice)
    })
}

fn preempted(server: &ServerObserved) -> Option<Warning> {
    let times = server.preemptions.filter(|times| *times > 0.0)?;
    let noun = if times > 1.0 { "times" } else { "time" };
    let message = format!("running requests lost their place {times:.0} {noun} (preemptions)");
    let advice = "the KV cache is too small for this load: fewer requests at once, shorter contexts, \
                  or more memory for the cache";
    Some(Warning::new("preempted", message, advice))
}

/// A restart of the server, or the first metric that says nothing.
fn left_out(stage: &StageObservation, trials: &[ClientSide]) -> Option<Warning> {
    let windows = || {
        stage.pages.iter().flat_map(|page| {
            let of_page = move |trial: &ClientSide| page.trials.get(&trial.id);
            trials.iter().filter_map(of_page).map(|window| (page.source.as_str(), window))
        })
    };
    let restart = windows().find_map(|(source, window)| {
        Some((source, window.invalid.iter().find(|invalid| invalid.metric.is_none())?))
    });
    if let Some((source, invalid)) = restart {
        let message = format!("{source}: {} while a trial went on", invalid.message);
        let advice = "its counters of that trial are left out";
        return Some(Warning::new("server_restarted", message, advice));
    }
    let (source, invalid) =
        windows().find_map(|(source, window)| Some((source, window.invalid.first()?)))?;
    let message = format!("{source}: {}", invalid.message);
    Some(Warning::new("server_metric_invalid", message, "the metric is left out"))
}

/// What spoils nothing and must be known. That a server tells no time of its start, and so could have
/// been restarted unseen, is true of every trial of some: the documents say it.
fn notes(stage: &StageObservation, trials: &[ClientSide]) -> Vec<Warning> {
    let windows = stage.pages.iter().flat_map(|page| {
        trials.iter().filter_map(|trial| Some((page.source.as_str(), page.trials.get(&trial.id)?)))
    });
    let notes = windows.flat_map(|(source, window)| {
        let notes = window.notes.iter().filter(|note| note.code != "restart_unseen");
        notes.map(move |note| {
            Warning::new(&note.code, format!("{source}: {}", note.message), note.advice.clone())
        })
    });
    let mut told: Vec<Warning> = Vec::new();
    for note in notes {
        if !told.iter().any(|known| known.code == note.code) {
            told.push(note);
        }
    }
    told
}

fn energy(observed: &Observed) -> Option<Warning> {
    let energy = observed.energy.as_ref().filter(|energy| !energy.gross.valid)?;
    let reason = energy.gross.reason.as_deref().unwrap_or("a meter gave no sound figure");
    let message = format!("the energy is not certain: {reason}");
    Some(Warning::new(
        "energy_uncertain",
        message,
        "longer trials, or looks more often (--observe-interval; of a dcgm-exporter its own -c)",
    ))
}

fn throttled(observed: &Observed) -> Option<Warning> {
    let held: Vec<&GpuSummary> =
        observed.gpu.iter().filter(|gpu| gpu.throttled_ratio.unwrap_or(0.0) > THROTTLED).collect();
    let most = |a: &&GpuSummary, b: &&GpuSummary| {
        a.throttled_ratio.partial_cmp(&b.throttled_ratio).unwrap_or(std::cmp::Ordering::Equal)
    };
    let gpu = held.iter().copied().max_by(most)?;
    let ratio = gpu.throttled_ratio?;
    let reasons: Vec<String> = gpu
        .throttled_by
        .iter()
        .filter(|(_, ratio)| **ratio > 0.0)
        .map(|(reason, _)| reason.to_string().replace('_', " "))
        .collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let which = match held.len() {
        1 => format!("the clocks of GPU {} were", gpu.label()),
        n => format!("the clocks of {n} GPUs were held down, most of all of GPU {},", gpu.label()),
    };
    let verb = if held.len() == 1 { " held down" } else { "" };
    let message = format!("{which}{verb} {:.0} % of the time{why}", 100.0 * ratio);
    Some(Warning::new("gpu_throttled", message, "see power limit, cooling and `loadline gpu`"))
}

fn stolen(observed: &Observed) -> Option<Warning> {
    let steal = observed.host.as_ref()?.cpu?.steal;
    let message = format!("the hypervisor took {:.1} % of the processors' time", 100.0 * steal);
    let advice =
        "other guests of the same host disturb this machine: measure again at another time";
    (steal > STOLEN).then(|| Warning::new("cpu_stolen", message, advice))
}
