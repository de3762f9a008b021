//! Energy and GPUs of a point: meters over its measure windows, with and without the idle power.

use std::collections::BTreeMap;

use loadline_schema::energy::{EnergyFigure, IdleBaseline};
use loadline_schema::gpu::{GpuField, GpuPart, GpuReading, GpuSummary};
use loadline_schema::observe::Meter;
use loadline_schema::observed::{MeterEnergy, PointEnergy};
use loadline_schema::server_metrics::{Meaning, known};

use super::{StageObservation, is_in};
use crate::energy::{
    CounterRules, CounterSample, EnergyWindow, PowerRules, PowerSample, bridged_ns, counter_energy,
    energy_sum, gross_net, idle_baseline, trapezoid_energy,
};
use crate::gpu::{gpu_energy, gpu_summaries};
use crate::trial::Rates;
use crate::window::Window;

/// RAPL renews its counters about each millisecond.
const RAPL_STEP_NS: u64 = 1_000_000;
/// More than any processor package takes, W: in how short a time a counter may begin anew.
const MOST_WATTS: f64 = 2_000.0;
/// Longest time between two samples of power that is bridged, ns.
const MOST_GAP_NS: u64 = 3_000_000_000;
/// A board's meter averages over about so long, ns.
const BOARD_AVERAGES_NS: u64 = 1_000_000_000;

fn by_gpu(readings: &[GpuReading]) -> BTreeMap<GpuPart<'_>, Vec<&GpuReading>> {
    let mut parts: BTreeMap<GpuPart<'_>, Vec<&GpuReading>> = BTreeMap::new();
    for reading in readings {
        parts.entry(reading.part()).or_default().push(reading);
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
        let part = (summary.host.as_str(), summary.source, summary.index, summary.mig);
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

/// The energy of several spans, one after the other. Where some have none it is of the others, and
/// cannot be used; `None` where none has any.
fn in_turn(
    spans: &[EnergyWindow],
    of: impl Fn(EnergyWindow) -> Option<EnergyFigure>,
) -> Option<EnergyFigure> {
    let figures: Vec<EnergyFigure> = spans.iter().filter_map(|span| of(*span)).collect();
    let sum = energy_sum(&figures)?;
    let over_ns = figures.iter().map(|figure| figure.over_ns).sum();
    if figures.len() < spans.len() {
        let reason =
            format!("no figure in {} of {} trials", spans.len() - figures.len(), spans.len());
        return Some(EnergyFigure { over_ns, valid: false, reason: Some(reason), ..sum });
    }
    Some(EnergyFigure { over_ns, ..sum })
}

/// All meters over some spans, and their sum: the whole machine's where there is such a meter.
struct Metered {
    meters: Vec<MeterEnergy>,
    sum: EnergyFigure,
    /// Names of the meters in the sum.
    added: Vec<String>,
    is_whole: bool,
}

/// A meter's name and its figure; `None` where it gave none.
type Metering = (String, Option<EnergyFigure>);

fn metered(stage: &StageObservation, spans: &[EnergyWindow]) -> Option<Metered> {
    let gpus = of_gpus(stage, spans);
    let others = stage.meters.iter().map(|(meter, samples)| {
        let energy = in_turn(spans, |span| of_meter(meter, samples, span));
        (meter, (meter.name.clone(), energy))
    });
    let others: Vec<(&Meter, Metering)> = others.collect();
    let counted = others.iter().filter(|(meter, _)| meter.counted).map(|(_, one)| one);
    let parts: Vec<&Metering> = gpus.iter().chain(counted).collect();
    let whole: Vec<&Metering> =
        others.iter().filter(|(meter, _)| meter.is_whole).map(|(_, one)| one).collect();
    let of_parts = sum_of(&parts);
    // Several of them are nested in ways that nobody tells, and one that shows less than the parts
    // is none of the whole.
    let least = of_parts.as_ref().map_or(0.0, |sum| sum.joules);
    let whole = match whole[..] {
        [(name, Some(energy))] if energy.valid && energy.joules > least.max(0.0) => {
            Some((vec![name.clone()], energy.clone()))
        }
        _ => None,
    };
    let is_whole = whole.is_some();
    let of_parts = of_parts.map(|sum| (parts.iter().map(|(name, _)| name.clone()).collect(), sum));
    let (added, sum) = whole.or(of_parts)?;
    let all = gpus.iter().chain(others.iter().map(|(_, one)| one));
    let meters = all.filter_map(|(name, energy)| {
        Some(MeterEnergy { name: name.clone(), energy: energy.clone()? })
    });
    Some(Metered { meters: meters.collect(), sum, added, is_whole })
}

/// Whole GPUs that told energy or power when they were opened; instances are parts of them.
fn of_gpus(stage: &StageObservation, spans: &[EnergyWindow]) -> Vec<Metering> {
    let by_gpu = by_gpu(&stage.gpus);
    let fields = [GpuField::EnergyJ, GpuField::PowerW];
    let has_meter = |gpu: &&GpuReading| fields.iter().any(|field| gpu.get(*field).is_some());
    let known = stage.observing.gpus.iter().filter(|gpu| gpu.mig.is_none()).filter(has_meter);
    let metering = known.map(|gpu| {
        let at = if gpu.host.is_empty() { String::new() } else { format!(" of {}", gpu.host) };
        let readings = by_gpu.get(&gpu.part()).map_or(&[][..], Vec::as_slice);
        let energy = in_turn(spans, |span| gpu_energy(readings, span));
        (format!("GPU {}{at}", gpu.label()), energy)
    });
    metering.collect()
}

/// The sum of meters; where one gave no figure it is of the others, and cannot be used.
fn sum_of(parts: &[&Metering]) -> Option<EnergyFigure> {
    let figures: Vec<EnergyFigure> = parts.iter().filter_map(|(_, one)| one.clone()).collect();
    let sum = energy_sum(&figures)?;
    Some(match parts.iter().find(|(_, energy)| energy.is_none()) {
        Some((name, _)) => EnergyFigure {
            valid: false,
            reason: Some(format!("{name} gave no figure for a part of the time")),
            ..sum
        },
        None => sum,
    })
}

fn of_meter(meter: &Meter, samples: &[(u64, f64)], span: EnergyWindow) -> Option<EnergyFigure> {
    if meter.is_counter {
        let counter =
            |(at_ns, joules): &(u64, f64)| CounterSample { at_ns: *at_ns, joules: *joules };
        let samples: Vec<CounterSample> = samples.iter().map(counter).collect();
        let rules = CounterRules {
            wraps_at_j: meter.wraps_at_j,
            most_watts: Some(MOST_WATTS),
            step_ns: Some(RAPL_STEP_NS),
        };
        return counter_energy(&samples, span, rules).ok();
    }
    let power = |(at_ns, watts): &(u64, f64)| PowerSample { at_ns: *at_ns, watts: *watts };
    let samples: Vec<PowerSample> = samples.iter().map(power).collect();
    let rules = PowerRules {
        most_gap_ns: bridged_ns(&samples, span, MOST_GAP_NS),
        averaged_over_ns: BOARD_AVERAGES_NS,
    };
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
        let metric = known(&family.name).map(|known| known.metric);
        let metric = metric.filter(|metric| metric.apart.is_empty());
        metric.is_some_and(|metric| metric.meaning == Meaning::Running)
            && family.series.iter().any(|one| one.value > 0.0)
    })
}

/// What a trial yielded in its measure window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Yield {
    pub(crate) window: Window,
    pub(crate) rates: Rates,
}

/// Energy over the windows of these trials, and what it comes to for each token and request that came
/// in them.
pub(super) fn energy(stage: &StageObservation, trials: &[Yield]) -> Option<PointEnergy> {
    if trials.is_empty() {
        return None;
    }
    let windows: Vec<Window> = trials.iter().map(|trial| trial.window).collect();
    let Metered { meters, sum, added, is_whole } = metered(stage, &spans(&windows))?;
    // Other meters would be another machine.
    let idle = idle_metered(stage).filter(|idle| idle.added == added);
    let idle = idle.and_then(|idle| idle_baseline(&idle.sum));
    let both = gross_net(sum, idle);
    let watts = both.gross.watts()?;
    // What cannot be told apart from nothing is no figure.
    let is_clear = |net: &&EnergyFigure| net.valid && net.low.is_none_or(|low| low > 0.0);
    let seconds: f64 = windows.iter().map(|window| window.length_ns() as f64 / 1e9).sum();
    let net = both.net.as_ref().filter(is_clear).and_then(EnergyFigure::watts);
    let (gross, net) = (watts * seconds, net.map(|watts| watts * seconds));
    let yielded = |rate: fn(&Rates) -> Option<f64>| -> Option<f64> {
        let each = trials
            .iter()
            .map(|one| Some(rate(&one.rates)? * (one.window.length_ns() as f64 / 1e9)));
        each.sum::<Option<f64>>().filter(|sum| *sum > 0.0)
    };
    let output = yielded(|rates| Some(rates.output_tokens));
    let total = yielded(|rates| Some(rates.output_tokens + rates.input_tokens?));
    let requests = yielded(|rates| Some(rates.requests));
    Some(PointEnergy {
        watts,
        idle_watts: idle.map(|idle| idle.watts),
        meters,
        added,
        is_whole,
        joules_per_output_token: output.map(|tokens| gross / tokens),
        joules_per_total_token: total.map(|tokens| gross / tokens),
        joules_per_request: requests.map(|requests| gross / requests),
        net_joules_per_output_token: net.zip(output).map(|(net, tokens)| net / tokens),
        net_joules_per_request: net.zip(requests).map(|(net, requests)| net / requests),
        gross: both.gross,
        net: both.net,
    })
}
