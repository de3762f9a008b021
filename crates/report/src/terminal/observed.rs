//! What was observed beside the load: the server by its own metrics, GPUs, energy, the host, and how
//! the observers fared.

use loadline_schema::document::{Point, Serving};
use loadline_schema::energy::{EnergyClass, EnergyFigure};
use loadline_schema::gpu::{GpuStat, GpuSummary};
use loadline_schema::host_sample::NetworkRates;
use loadline_schema::latency::{LatencyResult, QuantileResult};
use loadline_schema::observe::ObserverKind;
use loadline_schema::observed::{
    HostObserved, Observed, PointEnergy, ServerObserved, StageObserved, TokenCheck,
};

use super::{Page, key_column};
use crate::quantity::{self, ABSENT};
use crate::style::Tone;
use crate::table::{Column, Table};
use crate::words::{counted, plain};

pub(super) fn sections(page: &mut Page, stage: &Serving) {
    let Some(observed) = &stage.observed else { return };
    let points = &stage.points;
    server(page, points);
    inside(page, points);
    gpus(page, points);
    energy(page, points, observed);
    host(page, points, observed);
    observers(page, observed);
}

/// A table of the columns that say anything, under a heading; nothing where none does.
fn table(page: &mut Page, title: &str, note: &str, points: &[Point], columns: Vec<Column>) {
    let mut kept = vec![key_column(points)];
    kept.extend(columns.into_iter().filter(|column| column.has_content(&[ABSENT])));
    if kept.len() > 1 {
        page.heading(title, note);
        page.table(&Table::new(kept));
    }
}

/// A column of one figure of each point.
fn column(
    points: &[Point],
    (group, label): (&str, &str),
    cell: impl Fn(&Observed) -> Option<String>,
) -> Column {
    let of = |point: &Point| point.observed.as_deref().and_then(&cell);
    let cells = points.iter().map(|point| of(point).unwrap_or_else(|| ABSENT.to_owned()));
    Column::numbers(group, label, cells.collect())
}

fn percent(ratio: f64) -> String {
    quantity::number(100.0 * ratio)
}

fn server(page: &mut Page, points: &[Point]) {
    let of = |title, cell: fn(&ServerObserved) -> Option<String>| {
        column(points, title, move |observed| cell(observed.server.as_ref()?))
    };
    let columns = vec![
        of(("requests, mean", "ours in flight"), |s| Some(quantity::number(s.in_flight?.mean))),
        of(("requests, mean", "running"), |s| Some(quantity::number(s.running?.mean))),
        of(("requests, mean", "waiting"), |s| Some(quantity::number(s.waiting?.mean))),
        of(("KV cache, %", "mean"), |s| Some(percent(s.kv_usage?.mean))),
        of(("KV cache, %", "max"), |s| Some(percent(s.kv_usage?.max?))),
        of(("", "preempted"), |s| Some(quantity::number(s.preemptions?))),
        of(("prefix", "hits, %"), |s| Some(percent(s.prefix_hit_ratio?))),
        of(("tokens against client", "output"), |s| Some(against(s.output_tokens?))),
        of(("tokens against client", "prompt"), |s| Some(against(s.prompt_tokens?))),
    ];
    let note = "by its own metrics; tokens, hits, preemptions over whole trials";
    table(page, "Server", note, points, columns);
}

/// "same", or by how much the server's count is off.
fn against(check: TokenCheck) -> String {
    if check.difference.abs() < 5e-4 {
        return "same".to_owned();
    }
    format!("{} %", quantity::signed_percent(check.difference).trim_end_matches(" %"))
}

/// What of TTFT happens in the server, and how long requests wait there.
fn inside(page: &mut Page, points: &[Point]) {
    let ms = |ns: f64| quantity::number(ns / 1e6);
    let split = |title, pick: fn(&loadline_schema::observed::TtftSplit) -> f64| {
        column(points, title, move |observed| {
            Some(ms(pick(observed.server.as_ref()?.outside_server.as_ref()?)))
        })
    };
    let quantile = |title, meaning: &'static str, q: f64| {
        column(points, title, move |observed| {
            let results = &observed.server.as_ref()?.latency;
            let result = results.iter().find(|one| one.meaning.as_deref() == Some(meaning))?;
            bucketed(result, result.quantiles.iter().find(|one| one.q.to_bits() == q.to_bits())?)
        })
    };
    let columns = vec![
        split(("mean TTFT", "client"), |split| split.client_mean_ns),
        split(("mean TTFT", "server"), |split| split.server_mean_ns),
        split(("mean TTFT", "outside"), |split| split.outside_ns),
        quantile(("TTFT by the server", "P50"), "ttft", 0.5),
        quantile(("TTFT by the server", "P99"), "ttft", 0.99),
        quantile(("in its queue", "P50"), "queue", 0.5),
        quantile(("in its queue", "P99"), "queue", 0.99),
    ];
    let note = "ms; whole trials; P50 and P99 as the bounds of their buckets; outside: network, \
                proxies, HTTP and client";
    table(page, "TTFT inside and outside the server", note, points, columns);
}

/// "60–80": the bucket that a quantile lies in, ms.
fn bucketed(result: &LatencyResult, quantile: &QuantileResult) -> Option<String> {
    let ms = match result.unit.as_str() {
        "seconds" => 1e3,
        "milliseconds" => 1.0,
        "microseconds" => 1e-3,
        _ => return None,
    };
    let low = quantile.low.map(|low| quantity::number(low * ms));
    match (low, quantile.high.map(|high| quantity::number(high * ms))) {
        (Some(low), Some(high)) => Some(format!("{low}–{high}")),
        (Some(low), None) => Some(format!("> {low}")),
        (None, Some(high)) => Some(format!("≤ {high}")),
        (None, None) => None,
    }
}

/// GPUs together, one row for each load.
fn gpus(page: &mut Page, points: &[Point]) {
    let whole = |observed: &Observed| -> Vec<GpuSummary> {
        observed.gpu.iter().filter(|gpu| gpu.mig.is_none()).cloned().collect()
    };
    let mean = |title, pick: fn(&GpuSummary) -> Option<GpuStat>| {
        column(points, title, move |observed| {
            let values: Vec<f64> = observed.gpu.iter().filter_map(pick).map(|s| s.mean).collect();
            let n = values.len() as f64;
            (n > 0.0).then(|| percent(values.iter().sum::<f64>() / n))
        })
    };
    let columns = vec![
        mean(("mean, %", "SM occup."), |gpu| gpu.sm_occupancy),
        mean(("mean, %", "SM active"), |gpu| gpu.sm_active),
        mean(("mean, %", "tensor"), |gpu| gpu.tensor_active),
        mean(("mean, %", "DRAM"), |gpu| gpu.dram_active),
        column(points, ("power, W", "sum"), |observed| {
            let all = whole(observed);
            let watts: Option<f64> = all.iter().map(|gpu| Some(gpu.power_w?.mean)).sum();
            watts.filter(|_| !all.is_empty()).map(quantity::number)
        }),
        column(points, ("°C", "max"), |observed| {
            let all = observed.gpu.iter().filter_map(|gpu| gpu.temperature_c);
            all.map(|stat| stat.max).reduce(f64::max).map(quantity::number)
        }),
        column(points, ("SM clock", "MHz"), |observed| {
            let all: Vec<f64> =
                observed.gpu.iter().filter_map(|gpu| gpu.clocks.sm_mhz).map(|s| s.mean).collect();
            let n = all.len() as f64;
            (n > 0.0).then(|| quantity::number(all.iter().sum::<f64>() / n))
        }),
        column(points, ("held down", "% of time"), |observed| {
            let all = observed.gpu.iter().filter_map(|gpu| gpu.throttled_ratio);
            all.reduce(f64::max).map(percent)
        }),
    ];
    let first = points.iter().find_map(|point| point.observed.as_ref());
    let n = first.map_or(0, |observed| whole(observed).len());
    let note = format!("{} in the measure windows", counted(n as u64, "GPU", "GPUs"));
    table(page, "GPUs under load", &note, points, columns);
}

fn energy(page: &mut Page, points: &[Point], stage: &StageObserved) {
    let of = |title, cell: fn(&PointEnergy) -> Option<f64>| {
        column(points, title, move |observed| {
            let energy = observed.energy.as_ref()?;
            Some(doubted(&energy.gross, quantity::number(cell(energy)?)))
        })
    };
    let columns = vec![
        of(("power", "W"), |e| Some(e.watts)),
        of(("J per", "output token"), |e| e.joules_per_output_token),
        of(("J per", "token"), |e| e.joules_per_total_token),
        of(("J per", "request"), |e| e.joules_per_request),
        of(("J above idle per", "output token"), |e| e.net_joules_per_output_token),
        of(("J above idle per", "request"), |e| e.net_joules_per_request),
    ];
    let Some(first) = points.iter().find_map(|p| p.observed.as_ref()?.energy.as_ref()) else {
        return;
    };
    let class = match first.gross.class {
        EnergyClass::Counter => "energy counters",
        EnergyClass::AveragedPower => "samples of power",
        EnergyClass::Stated => "by stated watts, and no meter",
    };
    let idle = stage
        .idle
        .map_or(String::new(), |idle| format!("; idle {} W", quantity::number(idle.watts)));
    let note = match first.gross.class {
        EnergyClass::Stated => class.to_owned(),
        _ => format!("{} by {class}{idle}", plain(&first.added.join(", "))),
    };
    table(page, "Energy", &note, points, columns);
    let reason = points.iter().find_map(|point| {
        let gross = &point.observed.as_ref()?.energy.as_ref()?.gross;
        gross.reason.as_deref().filter(|_| !gross.valid)
    });
    if let Some(reason) = reason {
        page.hanging("? ", "  ", &plain(reason), Tone::Warning);
    }
}

fn doubted(figure: &EnergyFigure, text: String) -> String {
    if figure.valid { text } else { format!("?{text}") }
}

fn host(page: &mut Page, points: &[Point], stage: &StageObserved) {
    let of = |title, cell: fn(&HostObserved) -> Option<String>| {
        column(points, title, move |observed| cell(observed.host.as_ref()?))
    };
    let columns = vec![
        of(("CPU, %", "busy"), |h| Some(percent(h.cpu?.busy))),
        of(("CPU, %", "busiest core"), |h| Some(percent(h.busiest_core?.1))),
        of(("CPU, %", "steal"), |h| Some(percent(h.cpu?.steal))),
        of(("stalled, %", "CPU"), |h| Some(percent(*h.pressure_some.get("cpu")?))),
        of(("stalled, %", "memory"), |h| Some(percent(*h.pressure_some.get("memory")?))),
        of(("stalled, %", "I/O"), |h| Some(percent(*h.pressure_some.get("io")?))),
        of(("least memory", "available"), |h| {
            h.memory_available_min_bytes.map(quantity::binary_bytes)
        }),
        of(("network, MB/s", "in"), |h| network(h, true)),
        of(("network, MB/s", "out"), |h| network(h, false)),
    ];
    let whose = if stage.is_here { "the target and this client" } else { "this client" };
    table(page, "Host", &format!("of {whose}, in the measure windows"), points, columns);
}

/// All interfaces together; `None` for a network that carried next to nothing.
fn network(host: &HostObserved, is_in: bool) -> Option<String> {
    const LEAST_BYTES_PER_S: f64 = 1e4;
    let sum = |of: fn(&NetworkRates) -> f64| -> f64 { host.networks.values().map(of).sum() };
    let (rx, tx) = (sum(|rates| rates.rx_bytes_per_s), sum(|rates| rates.tx_bytes_per_s));
    let bytes = if is_in { rx } else { tx };
    (rx + tx >= LEAST_BYTES_PER_S).then(|| quantity::number(bytes / 1e6))
}

fn observers(page: &mut Page, stage: &StageObserved) {
    let words = stage.observers.iter().map(|one| {
        let source = match one.kind {
            ObserverKind::Metrics => plain(&one.source),
            kind => kind.to_string(),
        };
        let each = quantity::duration(one.interval_ns as f64);
        let mut text = format!("{source} each {each} ({} of a core", share(one.cpu_ratio));
        if one.failed > 0 {
            text += &format!(", {} of {} looks failed", one.failed, one.failed + one.looks);
        }
        if one.overflowed > 0 {
            text += &format!(", {} samples lost", one.overflowed);
        }
        text + ")"
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() && stage.missing.is_empty() {
        return;
    }
    page.blank();
    if !words.is_empty() {
        page.hanging("Observed: ", "  ", &words.join("; "), Tone::Faint);
    }
    for missing in &stage.missing {
        let text = format!("{}: {}", missing.observer, plain(&missing.missing.reason));
        let grant = missing.missing.grant.as_ref();
        let grant = grant.map_or(String::new(), |grant| format!("; grant it: {}", plain(grant)));
        page.hanging("Not observed: ", "  ", &format!("{text}{grant}"), Tone::Faint);
    }
}

/// A share of a core, small ones in full.
fn share(ratio: f64) -> String {
    format!("{} %", quantity::digits(100.0 * ratio, 2))
}
