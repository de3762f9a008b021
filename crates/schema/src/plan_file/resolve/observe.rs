//! `[observe]`: words and addresses told apart, times that can be.

use super::super::ObserveFile;
use super::super::error::Fault;
use crate::observe::{DEFAULT_IDLE_NS, DEFAULT_INTERVAL_NS, GpuChoice, MetricsPages, ObservePlan};
use crate::plan::KeySource;

/// Shortest time between two looks, ns.
const LEAST_INTERVAL_NS: u64 = 100_000_000;
/// Longest, ns: beyond it a window would hold next to nothing.
const MOST_INTERVAL_NS: u64 = 3_600_000_000_000;

pub(super) fn observe(given: &ObserveFile) -> Result<ObservePlan, Fault> {
    let metrics = metrics(&given.prometheus)?;
    if given.token_env.is_some() && !matches!(metrics, MetricsPages::Urls(_)) {
        let help = "name the pages in `prometheus`; an endpoint's own page is asked with its key";
        return Err(Fault::at(&["token_env"], "`token_env` and no page that it is for", help));
    }
    let gpu = gpu(given.gpu.as_deref())?;
    let gpus = given.gpus.clone().unwrap_or_default();
    if !gpus.is_empty() && gpu == GpuChoice::Off {
        let help = "remove one of the two";
        return Err(Fault::at(&["gpus"], "`gpus` are named and `gpu` is off", help));
    }
    let gpus = gpus.into_iter().map(|index| {
        let help = "write the numbers that `loadline gpu` shows, as in `gpus = [0, 1]`";
        u32::try_from(index)
            .map_err(|_| Fault::at(&["gpus"], format!("`{index}` is no number of a GPU"), help))
    });
    let interval_ns = given.interval.map_or(DEFAULT_INTERVAL_NS, |interval| interval.0);
    if !(LEAST_INTERVAL_NS..=MOST_INTERVAL_NS).contains(&interval_ns) {
        let help = "write a duration from 100ms to 1h, as in `interval = \"1s\"`";
        let message = format!("`interval` is {}", crate::units::DurationNs(interval_ns));
        return Err(Fault::at(&["interval"], message, help));
    }
    Ok(ObservePlan {
        metrics,
        metrics_token: given.token_env.clone().map(KeySource::Env),
        gpu,
        gpus: gpus.collect::<Result<_, _>>()?,
        power: is_on("power", given.power.as_deref())?,
        host: is_on("host", given.host.as_deref())?,
        interval_ns,
        idle_ns: given.idle.map_or(DEFAULT_IDLE_NS, |idle| idle.0),
    })
}

fn is_on(key: &str, given: Option<&str>) -> Result<bool, Fault> {
    match given {
        None | Some("auto") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => {
            let help = "write `auto` or `off`; watts are stated in [cost]";
            Err(Fault::at(&[key], format!("`{key}` is `{other}`"), help))
        }
    }
}

fn gpu(given: Option<&str>) -> Result<GpuChoice, Fault> {
    match given {
        None | Some("auto") => Ok(GpuChoice::Auto),
        Some("off") => Ok(GpuChoice::Off),
        Some(url) if is_address(url) => Ok(GpuChoice::Exporter(url.to_owned())),
        Some(other) => {
            let help = "write `auto`, `off`, or the URL of a dcgm-exporter, as in \
                        `http://gpu1:9400/metrics`";
            Err(Fault::at(&["gpu"], format!("`gpu` is `{other}`"), help))
        }
    }
}

fn metrics(given: &[String]) -> Result<MetricsPages, Fault> {
    let words: Vec<&str> = given.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["auto"] => return Ok(MetricsPages::Auto),
        ["off"] => return Ok(MetricsPages::Off),
        _ => {}
    }
    if let Some(index) = given.iter().position(|url| !is_address(url)) {
        let help = "write URLs, as in `prometheus = [\"http://gpu1:8000/metrics\"]`, or `auto` or \
                    `off` alone";
        let message = format!("`{}` is no address of a page of metrics", given[index]);
        return Err(Fault::at(&["prometheus", &index.to_string()], message, help));
    }
    Ok(MetricsPages::Urls(given.to_vec()))
}

/// Whether it may be meant as a URL: what is wrong with one is told when it is asked.
fn is_address(text: &str) -> bool {
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    plain && (text.contains("://") || text.starts_with("unix:") || text.contains(':'))
}
