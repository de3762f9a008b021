//! Readings of GPUs over a time as one summary for each GPU and MIG instance.

use std::collections::BTreeMap;

use loadline_schema::energy::EnergyFigure;
use loadline_schema::gpu::{
    GpuClocks, GpuField, GpuPart, GpuReading, GpuSource, GpuStat, GpuSummary, GpuUnit, Missing,
    ThrottleReason, ThrottleReasons,
};

use crate::energy::{
    CounterRules, CounterSample, EnergyWindow, PowerRules, PowerSample, best_energy, bridged_ns,
    counter_energy, cross_checked, trapezoid_energy,
};
use crate::quantile::nearest_rank;

/// Parts of the time in a summary's timeline.
pub const TIMELINE_PARTS: usize = 60;
/// Longest time between two samples of power that is bridged, ns.
const MOST_GAP_NS: u64 = 2_000_000_000;
/// NVML's power is an average over so long, ns (nvml.h: 1 s from Ampere on, except GA100).
const NVML_AVERAGES_NS: u64 = 1_000_000_000;

/// Fields with a place of their own in the summary, and those that say nothing as a mean.
const PLACED: [GpuField; 10] = [
    GpuField::SmOccupancy,
    GpuField::SmActive,
    GpuField::DramActive,
    GpuField::TensorActive,
    GpuField::PowerW,
    GpuField::EnergyJ,
    GpuField::TemperatureC,
    GpuField::SmClockMhz,
    GpuField::MemClockMhz,
    GpuField::Throttle,
];

/// Fields with a timeline.
const DRAWN: [GpuField; 5] = [
    GpuField::SmActive,
    GpuField::DramActive,
    GpuField::TensorActive,
    GpuField::PowerW,
    GpuField::TimeActive,
];

/// Summaries in the order of host, GPU and instance; the readings may be in any order.
pub fn gpu_summaries(readings: &[GpuReading]) -> Vec<GpuSummary> {
    let mut parts: BTreeMap<GpuPart<'_>, Vec<&GpuReading>> = BTreeMap::new();
    for reading in readings {
        parts.entry(reading.part()).or_default().push(reading);
    }
    parts.into_values().filter_map(summary).collect()
}

fn summary(mut readings: Vec<&GpuReading>) -> Option<GpuSummary> {
    readings.sort_by_key(|reading| reading.at_ns);
    let (first, last) = (*readings.first()?, *readings.last()?);
    let window = EnergyWindow { from_ns: first.at_ns, to_ns: last.at_ns };
    let stat = |field| statistic(&readings, field);
    let others =
        GpuField::ALL.iter().filter(|field| !PLACED.contains(field) && !field.is_counter());
    let (throttled_ratio, throttled_by) = throttling(&readings);
    Some(GpuSummary {
        host: first.host.clone(),
        index: first.index,
        mig: first.mig,
        uuid: last.uuid.clone(),
        name: last.name.clone(),
        source: first.source,
        samples: readings.len() as u64,
        over_ns: window.ns(),
        sm_occupancy: stat(GpuField::SmOccupancy),
        sm_active: stat(GpuField::SmActive),
        dram_active: stat(GpuField::DramActive),
        tensor_active: stat(GpuField::TensorActive),
        power_w: stat(GpuField::PowerW),
        energy_j: gpu_energy(&readings, window),
        temperature_c: stat(GpuField::TemperatureC),
        clocks: GpuClocks {
            sm_mhz: stat(GpuField::SmClockMhz),
            mem_mhz: stat(GpuField::MemClockMhz),
        },
        throttled_ratio,
        throttled_by,
        others: others.filter_map(|field| Some((*field, stat(*field)?))).collect(),
        timeline: DRAWN
            .into_iter()
            .filter_map(|f| Some((f, timeline(&readings, f, window)?)))
            .collect(),
        missing: missing(&readings, last),
    })
}

/// Mean, 95th percentile and maximum of a field; `None` where no reading has it.
fn statistic(readings: &[&GpuReading], field: GpuField) -> Option<GpuStat> {
    let averaged = matches!(field.unit(), GpuUnit::Ratio | GpuUnit::BytesPerSecond);
    let found: Vec<(f64, f64)> = readings
        .iter()
        .filter_map(|reading| {
            let weight = reading.over_ns.filter(|_| averaged).map_or(1.0, |ns| ns as f64);
            Some((reading.get(field)?, weight))
        })
        .collect();
    let weights: f64 = found.iter().map(|(_, weight)| weight).sum();
    if weights <= 0.0 {
        return None;
    }
    let mut values: Vec<f64> = found.iter().map(|(value, _)| *value).collect();
    values.sort_by(f64::total_cmp);
    let n = values.len() as u64;
    Some(GpuStat {
        mean: found.iter().map(|(value, weight)| value * weight).sum::<f64>() / weights,
        p95: values[nearest_rank(n, 950) as usize - 1],
        max: *values.last()?,
        n,
    })
}

/// By the counter, checked against the samples of power; by the samples alone where there is none.
pub(crate) fn gpu_energy(readings: &[&GpuReading], window: EnergyWindow) -> Option<EnergyFigure> {
    if window.ns() == 0 {
        return None;
    }
    let samples = |field| readings.iter().filter_map(move |r| Some((r.at_ns, r.get(field)?)));
    let counter: Vec<CounterSample> =
        samples(GpuField::EnergyJ).map(|(at_ns, joules)| CounterSample { at_ns, joules }).collect();
    let power: Vec<PowerSample> =
        samples(GpuField::PowerW).map(|(at_ns, watts)| PowerSample { at_ns, watts }).collect();
    let averages = readings.first().is_some_and(|reading| reading.source != GpuSource::Amdgpu);
    let rules = PowerRules {
        most_gap_ns: bridged_ns(&power, window, MOST_GAP_NS),
        averaged_over_ns: if averages { NVML_AVERAGES_NS } else { 0 },
    };
    let power = trapezoid_energy(&power, window, rules).ok();
    // The slowest that was seen of it: a driver may have been loaded anew.
    let step_ns = readings.iter().filter_map(|reading| reading.energy_step_ns).max();
    let rules = CounterRules { step_ns, ..CounterRules::default() };
    let counter = counter_energy(&counter, window, rules).ok();
    match (counter, power) {
        // Two meters that contradict each other leave no figure to believe, so that the samples do
        // not step in for a counter that they have proved wrong, nor the other way round.
        (Some(counter), Some(power)) if counter.valid => Some(cross_checked(counter, &power)),
        (counter, power) => best_energy(counter.into_iter().chain(power)),
    }
}

fn throttling(readings: &[&GpuReading]) -> (Option<f64>, BTreeMap<ThrottleReason, f64>) {
    let seen: Vec<ThrottleReasons> = readings.iter().filter_map(|r| r.throttle()).collect();
    if seen.is_empty() {
        return (None, BTreeMap::new());
    }
    let share = |is_so: &dyn Fn(&ThrottleReasons) -> bool| {
        seen.iter().filter(|reasons| is_so(reasons)).count() as f64 / seen.len() as f64
    };
    let by = ThrottleReason::ALL
        .iter()
        .filter(|reason| reason.slows_work())
        .map(|reason| (*reason, share(&|reasons| reasons.0 & reason.bit() != 0)))
        .filter(|(_, ratio)| *ratio > 0.0)
        .collect();
    (Some(share(&|reasons| reasons.slows_work())), by)
}

fn timeline(
    readings: &[&GpuReading],
    field: GpuField,
    window: EnergyWindow,
) -> Option<Vec<Option<f64>>> {
    let mut sums = vec![(0.0, 0_u32); TIMELINE_PARTS];
    let length = window.ns().max(1);
    for reading in readings {
        let Some(value) = reading.get(field) else { continue };
        let at = u128::from(reading.at_ns - window.from_ns) * TIMELINE_PARTS as u128;
        let part = (at / u128::from(length)) as usize;
        let (sum, n) = &mut sums[part.min(TIMELINE_PARTS - 1)];
        *sum += value;
        *n += 1;
    }
    let drawn = sums.iter().any(|(_, n)| *n > 0);
    let mean = |(sum, n): (f64, u32)| (n > 0).then(|| sum / f64::from(n));
    drawn.then(|| sums.into_iter().map(mean).collect())
}

/// The last reading's reason of every field that no reading has.
fn missing(readings: &[&GpuReading], last: &GpuReading) -> BTreeMap<GpuField, Missing> {
    last.missing
        .iter()
        .filter(|(field, _)| readings.iter().all(|reading| reading.get(**field).is_none()))
        .map(|(field, missing)| (*field, missing.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use loadline_schema::energy::EnergyClass;
    use loadline_schema::gpu::MissingKind;

    use super::*;

    const TENTH: u64 = 100_000_000;

    fn readings(n: u64) -> Vec<GpuReading> {
        let reading = |at: u64| {
            let mut reading = GpuReading::new(GpuSource::Nvml, 1, "X", at * TENTH);
            reading.put(GpuField::PowerW, Ok(300.0));
            reading.put(GpuField::EnergyJ, Ok(7_000.0 + 30.0 * at as f64));
            reading.put(GpuField::Throttle, Ok(if at.is_multiple_of(4) { 4.0 } else { 1.0 }));
            reading.put(GpuField::TimeActive, Ok(1.0));
            if at > 0 {
                reading.over_ns = Some(TENTH);
                reading.put(GpuField::SmActive, Ok(0.5));
            }
            reading.excuse_rest(&Missing::new(MissingKind::Unsupported, "not here"));
            reading
        };
        (0..=n).map(reading).collect()
    }

    #[test]
    fn a_minute_of_readings() {
        let mut given = readings(600);
        given.reverse();
        let all = gpu_summaries(&given);
        assert_eq!(all.len(), 1);
        let gpu = &all[0];
        assert_eq!((gpu.index, gpu.samples, gpu.over_ns), (1, 601, 600 * TENTH));
        let active = gpu.sm_active.expect("activity");
        assert_eq!((active.mean, active.p95, active.max, active.n), (0.5, 0.5, 0.5, 600));
        let energy = gpu.energy_j.as_ref().expect("energy");
        assert_eq!((energy.class, energy.valid), (EnergyClass::Counter, true));
        assert!((energy.joules - 18_000.0).abs() < 1e-6);
        assert!((gpu.throttled_ratio.expect("bits") - 151.0 / 601.0).abs() < 1e-12);
        assert_eq!(gpu.throttled_by.keys().collect::<Vec<_>>(), [&ThrottleReason::SwPowerCap]);
        assert_eq!(gpu.timeline[&GpuField::PowerW], vec![Some(300.0); TIMELINE_PARTS]);
        assert!(gpu.missing.contains_key(&GpuField::DramActive));
        assert!(!gpu.missing.contains_key(&GpuField::SmActive), "later readings have it");
        // Time shares stay under their own name.
        assert_eq!(gpu.dram_active, None);
        assert!(gpu.others.contains_key(&GpuField::TimeActive));
    }

    #[test]
    fn means_are_weighted_with_the_time_they_stand_for() {
        let mut given = readings(2);
        given[1].put(GpuField::SmActive, Ok(0.0));
        given[1].over_ns = Some(9 * TENTH);
        given[2].put(GpuField::SmActive, Ok(1.0));
        let mean = gpu_summaries(&given)[0].sm_active.expect("activity").mean;
        assert!((mean - 0.1).abs() < 1e-12, "{mean}");
    }

    #[test]
    fn energy_falls_back_to_power_and_says_what_contradicts() {
        let mut without_counter = readings(300);
        for reading in &mut without_counter {
            reading.values.remove(&GpuField::EnergyJ);
        }
        let energy = gpu_summaries(&without_counter)[0].energy_j.clone().expect("energy");
        assert_eq!((energy.class, energy.valid), (EnergyClass::AveragedPower, true));
        let mut contradicting = readings(300);
        for reading in &mut contradicting {
            reading.put(GpuField::PowerW, Ok(100.0));
        }
        let energy = gpu_summaries(&contradicting)[0].energy_j.clone().expect("energy");
        assert!(!energy.valid && energy.reason.is_some_and(|why| why.contains("same meter")));
    }

    #[test]
    fn the_counters_own_step_decides_and_not_the_time_between_looks() {
        let minute = |step_ns: Option<u64>| {
            let mut looks: Vec<GpuReading> = readings(600).into_iter().step_by(10).collect();
            for reading in &mut looks {
                reading.energy_step_ns = step_ns;
                // Without samples of power nothing can step in.
                reading.values.remove(&GpuField::PowerW);
            }
            gpu_summaries(&looks)[0].energy_j.clone().expect("energy")
        };
        let measured = minute(Some(TENTH));
        assert_eq!((measured.class, measured.valid), (EnergyClass::Counter, true));
        let unknown = minute(None);
        assert!(!unknown.valid && unknown.reason.is_some_and(|why| why.contains("not known")));
        assert!(!minute(Some(10 * TENTH)).valid, "60 steps are too few");
    }

    #[test]
    fn one_reading_has_figures_and_no_energy() {
        let gpu = &gpu_summaries(&readings(0))[0];
        assert_eq!(gpu.power_w.expect("power").n, 1);
        assert_eq!(gpu.energy_j, None);
        assert!(gpu_summaries(&[]).is_empty());
    }

    #[test]
    fn instances_and_hosts_stand_apart_in_order() {
        let mut given = readings(1);
        given[0].mig = Some(2);
        given.extend(readings(1).into_iter().map(|r| GpuReading { host: "b".into(), ..r }));
        let labels: Vec<_> = gpu_summaries(&given)
            .iter()
            .map(|gpu| format!("{}{}", gpu.host, gpu.label()))
            .collect();
        assert_eq!(labels, ["1", "1:2", "b1"]);
    }
}
