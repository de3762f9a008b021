//! Energy and GPUs of a point: meters over its measure windows, with and without the idle power.

use std::collections::BTreeMap;

use loadline_schema::document::Point;
use loadline_schema::energy::{EnergyFigure, IdleBaseline};
use loadline_schema::gpu::{GpuReading, GpuSummary};
use loadline_schema::observe::Meter;
use loadline_schema::observed::{MeterEnergy, PointEnergy};
use loadline_schema::server_metrics::{Meaning, known};

use super::{StageObservation, is_in};
use crate::energy::{
    CounterRules, CounterSample, EnergyWindow, PowerRules, PowerSample, counter_energy, energy_sum,
    gross_net, idle_baseline, trapezoid_energy,
};
use crate::gpu::{gpu_energy, gpu_summaries};
use crate::window::Window;

/// RAPL renews its counters about each millisecond.
const RAPL_STEP_NS: u64 = 1_000_000;
/// Longest time between two samples of power that is bridged, ns.
const MOST_GAP_NS: u64 = 3_000_000_000;
/// A board's meter averages over about so long, ns.
const BOARD_AVERAGES_NS: u64 = 1_000_000_000;

/// A GPU by host, number and instance.
type Part<'a> = (&'a str, u32, Option<u32>);

fn by_gpu(readings: &[GpuReading]) -> BTreeMap<Part<'_>, Vec<&GpuReading>> {
    let mut parts: BTreeMap<Part<'_>, Vec<&GpuReading>> = BTreeMap::new();
    for reading in readings {
        let part = (reading.host.as_str(), reading.index, reading.mig);
        parts.entry(part).or_default().push(reading);
    }
    parts
}

/// Each GPU over the windows; its energy is of the windows alone.
pub(super) fn gpus(stage: &StageObservation, windows: &[Window]) -> Vec<GpuSummary> {
    let within: Vec<GpuReading> =
        stage.gpus.iter().filter(|reading| is_in(windows, reading.at_ns)).cloned().collect();
    let mut summaries = gpu_summaries(&within);
    let parts = by_gpu(&stage.gpus);
    for summary in &mut summaries {
        let part = (summary.host.as_str(), summary.index, summary.mig);
        summary.energy_j =
            parts.get(&part).and_then(|all| in_turn(&spans(windows), |span| gpu_energy(all, span)));
        summary.over_ns = windows.iter().map(Window::length_ns).sum();
    }
    summaries
}

fn spans(windows: &[Window]) -> Vec<EnergyWindow> {
    let span = |w: &Window| EnergyWindow { from_ns: w.from_ns, to_ns: w.to_ns };
    windows.iter().map(span).collect()
}

/// The energy of several spans, one after the other; `None` where one has none.
fn in_turn(
    spans: &[EnergyWindow],
    of: impl Fn(EnergyWindow) -> Option<EnergyFigure>,
) -> Option<EnergyFigure> {
    let figures = spans.iter().map(|span| of(*span)).collect::<Option<Vec<_>>>()?;
    let sum = energy_sum(&figures)?;
    Some(EnergyFigure { over_ns: spans.iter().map(|span| span.ns()).sum(), ..sum })
}

/// All meters over some spans, and their sum: the whole machine's where there is such a meter.
struct Metered {
    meters: Vec<MeterEnergy>,
    sum: EnergyFigure,
    /// Names of the meters in the sum.
    added: Vec<String>,
    is_whole: bool,
}

fn metered(stage: &StageObservation, spans: &[EnergyWindow]) -> Option<Metered> {
    let (mut meters, mut added, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for ((host, index, mig), readings) in by_gpu(&stage.gpus) {
        // Instances are parts of their GPU.
        let energy = in_turn(spans, |span| gpu_energy(&readings, span)).filter(|_| mig.is_none());
        if let Some(energy) = energy {
            let at = if host.is_empty() { String::new() } else { format!(" of {host}") };
            let name = format!("GPU {index}{at}");
            added.push((name.clone(), energy.clone()));
            meters.push(MeterEnergy { name, energy });
        }
    }
    for (meter, samples) in &stage.meters {
        let Some(energy) = in_turn(spans, |span| of_meter(meter, samples, span)) else { continue };
        if meter.is_whole {
            whole.push((meter.name.clone(), energy.clone()));
        } else if meter.counted {
            added.push((meter.name.clone(), energy.clone()));
        }
        meters.push(MeterEnergy { name: meter.name.clone(), energy });
    }
    let is_whole = !whole.is_empty() && whole.iter().all(|(_, energy)| energy.valid);
    let (added, figures): (Vec<_>, Vec<_>) =
        if is_whole { whole } else { added }.into_iter().unzip();
    Some(Metered { meters, sum: energy_sum(&figures)?, added, is_whole })
}

fn of_meter(meter: &Meter, samples: &[(u64, f64)], span: EnergyWindow) -> Option<EnergyFigure> {
    if meter.is_counter {
        let counter =
            |(at_ns, joules): &(u64, f64)| CounterSample { at_ns: *at_ns, joules: *joules };
        let samples: Vec<CounterSample> = samples.iter().map(counter).collect();
        let rules = CounterRules {
            wraps_at_j: meter.wraps_at_j,
            step_ns: Some(RAPL_STEP_NS),
            ..CounterRules::default()
        };
        return counter_energy(&samples, span, rules).ok();
    }
    let power = |(at_ns, watts): &(u64, f64)| PowerSample { at_ns: *at_ns, watts: *watts };
    let samples: Vec<PowerSample> = samples.iter().map(power).collect();
    let rules = PowerRules { most_gap_ns: MOST_GAP_NS, averaged_over_ns: BOARD_AVERAGES_NS };
    trapezoid_energy(&samples, span, rules).ok()
}

/// The power without load; `None` where it was not measured, or the server was at work.
pub(super) fn idle(stage: &StageObservation) -> Option<IdleBaseline> {
    idle_baseline(&idle_metered(stage)?.sum)
}

fn idle_metered(stage: &StageObservation) -> Option<Metered> {
    let (from_ns, to_ns) = stage.observing.idle.filter(|_| !was_busy(stage))?;
    metered(stage, &[EnergyWindow { from_ns, to_ns }])
}

/// Whether the server had requests while the idle power was taken: somebody else's.
pub(super) fn was_busy(stage: &StageObservation) -> bool {
    let Some((from_ns, to_ns)) = stage.observing.idle else { return false };
    let looks = stage.pages.iter().flat_map(|page| &page.gauges);
    let mut families = looks
        .filter(|(at_ns, _)| (from_ns..to_ns).contains(at_ns))
        .flat_map(|(_, families)| families);
    families.any(|family| {
        let meaning = known(&family.name).map(|known| known.metric.meaning);
        meaning == Some(Meaning::Running) && family.series.iter().any(|one| one.value > 0.0)
    })
}

/// Energy over the windows, and what it comes to for each token and request at the point's rates.
pub(super) fn energy(
    stage: &StageObservation,
    windows: &[Window],
    point: &Point,
) -> Option<PointEnergy> {
    if windows.is_empty() {
        return None;
    }
    let Metered { meters, sum, added, is_whole } = metered(stage, &spans(windows))?;
    // Other meters would be another machine.
    let idle = idle_metered(stage).filter(|idle| idle.added == added);
    let idle = idle.and_then(|idle| idle_baseline(&idle.sum));
    let both = gross_net(sum, idle);
    let watts = both.gross.watts()?;
    // What cannot be told apart from nothing is no figure.
    let is_clear = |net: &&EnergyFigure| net.valid && net.low.is_none_or(|low| low > 0.0);
    let net_watts = both.net.as_ref().filter(is_clear).and_then(EnergyFigure::watts);
    let output = point.output_tokens_per_s.map(|rate| rate.value);
    let input = point.input_tokens_per_s.map(|rate| rate.value);
    let total = output.zip(input).map(|(output, input)| output + input);
    let requests = point.requests_per_s.map(|rate| rate.value);
    let each = |watts: f64, rate: Option<f64>| rate.filter(|rate| *rate > 0.0).map(|r| watts / r);
    Some(PointEnergy {
        watts,
        idle_watts: idle.map(|idle| idle.watts),
        meters,
        added,
        is_whole,
        joules_per_output_token: each(watts, output),
        joules_per_total_token: each(watts, total),
        joules_per_request: each(watts, requests),
        net_joules_per_output_token: net_watts.and_then(|watts| each(watts, output)),
        net_joules_per_request: net_watts.and_then(|watts| each(watts, requests)),
        gross: both.gross,
        net: both.net,
    })
}
