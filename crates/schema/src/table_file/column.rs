//! What a heading of a table means: the contract's own names, and those that people use.

use super::cell::Kind;
use crate::sla::{Latency, Statistic};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Concurrency,
    Rate,
    RequestsPerS,
    Latency(Latency, Statistic),
    OutputTokensPerS,
    OutputTokensPerSPerUser,
    ErrorRate,
    Watts,
}

impl Meaning {
    /// What its cells are.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Concurrency => Kind::Count,
            Self::Rate
            | Self::RequestsPerS
            | Self::OutputTokensPerS
            | Self::OutputTokensPerSPerUser => Kind::PerS,
            Self::Latency(..) => Kind::Duration,
            Self::ErrorRate => Kind::Ratio,
            Self::Watts => Kind::Watts,
        }
    }

    /// Whether it says the load.
    pub(super) const fn is_load(self) -> bool {
        matches!(self, Self::Concurrency | Self::Rate)
    }
}

/// A column that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    /// What it holds.
    pub(super) meaning: Meaning,
    /// Power of ten of the unit in its heading.
    pub(super) power: Option<i32>,
}

/// The names of everything but latencies, normalised.
const NAMES: &[(&str, Meaning)] = &[
    ("concurrency", Meaning::Concurrency),
    ("max_concurrency", Meaning::Concurrency),
    ("batch", Meaning::Concurrency),
    ("batch_size", Meaning::Concurrency),
    ("users", Meaning::Concurrency),
    ("concurrent_requests", Meaning::Concurrency),
    ("concurrent_users", Meaning::Concurrency),
    ("rate", Meaning::Rate),
    ("rate_per_s", Meaning::Rate),
    ("requests_rate", Meaning::Rate),
    ("offered_rate", Meaning::Rate),
    ("offered_requests_per_s", Meaning::Rate),
    ("requests_per_s", Meaning::RequestsPerS),
    ("requests_throughput", Meaning::RequestsPerS),
    ("output_tokens_per_s", Meaning::OutputTokensPerS),
    ("output_throughput", Meaning::OutputTokensPerS),
    ("output_tokens_throughput", Meaning::OutputTokensPerS),
    ("output_tokens_per_s_per_user", Meaning::OutputTokensPerSPerUser),
    ("output_tokens_throughput_per_user", Meaning::OutputTokensPerSPerUser),
    ("error_rate", Meaning::ErrorRate),
    ("watts", Meaning::Watts),
    ("power", Meaning::Watts),
];

/// The names of latencies without their statistic, normalised.
const LATENCIES: &[(&str, Latency)] = &[
    ("latency", Latency::E2e),
    ("e2e", Latency::E2e),
    ("e2e_latency", Latency::E2e),
    ("latency_e2e", Latency::E2e),
    ("end_to_end", Latency::E2e),
    ("end_to_end_latency", Latency::E2e),
    ("requests_latency", Latency::E2e),
    ("response_time", Latency::E2e),
    ("ttft", Latency::Ttft),
    ("time_to_first_tokens", Latency::Ttft),
    ("ttfo", Latency::Ttfo),
    ("itl", Latency::Itl),
    ("inter_tokens_latency", Latency::Itl),
    ("tpot", Latency::Tpot),
    ("time_per_output_tokens", Latency::Tpot),
    ("max_gap", Latency::MaxGap),
];

/// What a heading means; else what is wrong with it.
pub(super) fn understand(heading: &str) -> Result<Column, &'static str> {
    let (name, bracket) = without_bracket(heading);
    let words = words(&name);
    let named = |words: &[String]| {
        let key = words.join("_");
        NAMES.iter().find(|(name, _)| *name == key).map(|(_, meaning)| *meaning)
    };
    // "requests_per_s" ends in its name, "power_w" in its unit: the whole name comes first.
    if let Some(meaning) = named(&words) {
        return with_unit(meaning, bracket.as_deref());
    }
    if let Some((last, rest)) = words.split_last() {
        if let Some(meaning) = named(rest).filter(|m| m.kind().power(last).is_some()) {
            return with_unit(meaning, bracket.as_deref().or(Some(last.as_str())));
        }
        if let Some(meaning) = latency(rest).filter(|_| Kind::Duration.power(last).is_some()) {
            return with_unit(meaning, bracket.as_deref().or(Some(last.as_str())));
        }
        let metric = if Kind::Duration.power(last).is_some() { rest } else { &words[..] };
        if let Some(meaning) = latency(metric) {
            return with_unit(meaning, bracket.as_deref());
        }
        if LATENCIES.iter().any(|(name, _)| *name == metric.join("_")) {
            return Err("it names no statistic: _mean, _p50, _p90, _p95, _p99, _p999 or _max");
        }
    }
    Err("its name is not known")
}

/// The column with the unit of its heading.
fn with_unit(meaning: Meaning, unit: Option<&str>) -> Result<Column, &'static str> {
    let power = match unit {
        None => None,
        Some(unit) => {
            let power = meaning.kind().power(unit);
            Some(power.ok_or("the unit in its brackets is not known")?)
        }
    };
    Ok(Column { meaning, power })
}

/// A metric and a statistic in either order: "ttft_p99", "p99_ttft", "mean_latency".
fn latency(words: &[String]) -> Option<Meaning> {
    // The longest gap is a metric, not a maximum.
    let gap = words.windows(2).position(|pair| pair[0] == "max" && pair[1] == "gap");
    let is_statistic = |at: usize| gap != Some(at) && Statistic::from_text(&words[at]).is_some();
    let mut found = (0..words.len()).filter(|at| is_statistic(*at));
    let (at, None) = (found.next()?, found.next()) else { return None };
    let metric: Vec<&str> =
        (0..words.len()).filter(|index| *index != at).map(|index| words[index].as_str()).collect();
    let metric = metric.join("_");
    let latency = LATENCIES.iter().find(|(name, _)| *name == metric)?.1;
    Some(Meaning::Latency(latency, Statistic::from_text(&words[at])?))
}

/// The heading without what stands in brackets, and that, normalised as a unit.
fn without_bracket(heading: &str) -> (String, Option<String>) {
    let ends = heading.find(['(', '[']).zip(heading.rfind([')', ']']));
    match ends {
        Some((open, close)) if open < close => {
            let unit = unit_key(&heading[open + 1..close]);
            (format!("{} {}", &heading[..open], &heading[close + 1..]), Some(unit))
        }
        _ => (heading.to_owned(), None),
    }
}

/// A unit in the spelling of [`Kind`]: "requests/s" is "requests_per_s".
pub(super) fn unit_key(unit: &str) -> String {
    words(unit).join("_")
}

/// Lower-case words with one spelling for each thing.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace("99.9", "999").replace('/', " per ");
    let is_inside = |c: char| c.is_alphanumeric() || c == '%';
    let mut words = Vec::new();
    for word in text.split(|c: char| !is_inside(c)).filter(|word| !word.is_empty()) {
        let one = match word {
            "avg" | "average" => "mean",
            "median" => "p50",
            "maximum" => "max",
            "second" | "seconds" | "sec" | "secs" => "s",
            "request" | "req" | "reqs" => "requests",
            "token" | "tok" | "toks" => "tokens",
            "errors" => "error",
            "rps" | "qps" => {
                words.extend(["requests", "per", "s"].map(str::to_owned));
                continue;
            }
            other => other,
        };
        words.push(one.to_owned());
    }
    words
}
