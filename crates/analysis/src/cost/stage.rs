//! The points of a serving stage priced, and the stage's cost report at its load line.

use loadline_schema::cost::CostPlan;
use loadline_schema::document::{Estimate, Point, Serving};
use loadline_schema::energy::{EnergyClass, EnergyFigure, IdleBaseline};
use loadline_schema::event::Warning;
use loadline_schema::observed::PointEnergy;
use loadline_schema::plan::Load;
use loadline_schema::verdict::Figure;

use super::{
    CostBasis, MeasuredPower, Throughput, cost_report, cost_warnings, point_cost, stated_watts,
};
use crate::energy::{gross_net, stated_energy};
use crate::point::point_load;

/// Prices a stage whose points, load lines and best point are there. `planned` are the loads of its
/// sweep, empty where a search chose them.
pub(crate) fn price_serving(
    serving: &mut Serving,
    plan: &CostPlan,
    planned: &[Load],
) -> Vec<Warning> {
    let places = places(&serving.points, planned);
    for (point, place) in serving.points.iter_mut().zip(&places) {
        let throughput = throughput(point);
        let power = measured_power(point);
        let price = |found| point_cost(plan, *place, &found, power.as_ref());
        point.cost = throughput.and_then(price);
        if power.is_none() && serving.observed.is_some() {
            let stated = throughput.and_then(|found| stated(plan, *place, point, &found));
            if stated.is_some() {
                point.observed.get_or_insert_default().energy = stated;
            }
        }
    }
    for line in serving.load_line.values_mut() {
        let point = line.point.or(line.likely_point).and_then(|at| serving.points.get(at));
        line.cost = point.and_then(|point| point.cost.clone());
    }
    let Some(at) = chosen(serving) else { return Vec::new() };
    let Some(mut basis) = basis(&serving.points[at], places[at]) else { return Vec::new() };
    // What was measured and is not used is told with the point's energy.
    basis.power = measured_power(&serving.points[at]).filter(|_| plan.watts.is_empty());
    basis.measured.extend(basis.power_figures());
    serving.cost = cost_report(plan, &basis);
    let mut warnings = cost_warnings(plan, &basis);
    if plan.electricity_per_kwh.is_some() && plan.watts.is_empty() {
        warnings.extend(power_warning(&serving.points[at]));
    }
    warnings
}

/// The energy by stated watts, where no meter gave a sound one: the least certain kind.
fn stated(
    plan: &CostPlan,
    place: usize,
    point: &Point,
    throughput: &Throughput,
) -> Option<PointEnergy> {
    let watts = stated_watts(plan, place)?;
    let idle = plan.idle_watts.map(|watts| IdleBaseline { watts, low: watts, high: watts });
    let both = gross_net(stated_energy(watts, None, point.window_ns?), idle);
    let net = both.net.as_ref().and_then(EnergyFigure::watts);
    let each =
        |watts: Option<f64>, per_s: Option<f64>| Some(watts? / per_s.filter(|rate| *rate > 0.0)?);
    let (output, total) = (throughput.output_tokens_per_s, throughput.total_tokens_per_s);
    let requests = Some(throughput.requests_per_s);
    Some(PointEnergy {
        watts,
        idle_watts: plan.idle_watts,
        meters: Vec::new(),
        added: vec!["as stated".to_owned()],
        is_whole: true,
        joules_per_output_token: each(Some(watts), output),
        joules_per_total_token: each(Some(watts), total),
        joules_per_request: each(Some(watts), requests),
        net_joules_per_output_token: each(net, output),
        net_joules_per_request: each(net, requests),
        gross: both.gross,
        net: both.net,
    })
}

/// The power that meters showed at a point, where that is sound.
fn measured_power(point: &Point) -> Option<MeasuredPower> {
    let is_measured =
        |energy: &&PointEnergy| energy.gross.valid && energy.gross.class != EnergyClass::Stated;
    let energy = point.observed.as_ref()?.energy.as_ref().filter(is_measured)?;
    Some(MeasuredPower {
        busy_watts: energy.watts,
        idle_watts: energy.idle_watts,
        meters: meters(energy),
    })
}

/// `GPU 0, GPU 1, package-0`: what the sum is made of.
fn meters(energy: &PointEnergy) -> String {
    let names: Vec<&str> = energy.added.iter().map(String::as_str).collect();
    names.join(", ")
}

/// Electricity has a price, and its power is not known, or of a part of the machine.
fn power_warning(point: &Point) -> Option<Warning> {
    let energy = point.observed.as_ref().and_then(|observed| observed.energy.as_ref());
    let advice = "state the watts at the wall (--watts, or watts in [cost])";
    let Some(energy) = energy.filter(|energy| energy.gross.valid) else {
        let why = energy.and_then(|energy| energy.gross.reason.as_deref());
        let why = why.unwrap_or("no meter of power could be read");
        let message = format!("electricity has no share in the cost: {why}");
        return Some(Warning::new("power_unknown", message, advice));
    };
    if energy.is_whole {
        return None;
    }
    let message = format!(
        "the measured power is that of {}: other parts of the machine and the losses of its power \
         supply are not in it",
        meters(energy)
    );
    Some(Warning::new("power_partial", message, advice))
}

/// Place of each point in the sweep. Points keep the sweep's order, but those that no trial reached
/// are missing.
fn places(points: &[Point], planned: &[Load]) -> Vec<usize> {
    let mut next = 0;
    let place = |(index, point): (usize, &Point)| {
        let is_it = |load: &Load| point_load(load) == point.load;
        let found = planned.iter().skip(next).position(is_it).map(|ahead| next + ahead);
        next = found.map_or(next, |place| place + 1);
        found.unwrap_or(index)
    };
    points.iter().enumerate().map(place).collect()
}

/// The point of the load line; of several SLAs that of the smallest load, where all of them hold.
/// Without one the point with the most output tokens/s, else with the most requests/s.
fn chosen(serving: &Serving) -> Option<usize> {
    let line = serving.load_line.values().filter_map(|line| {
        let at = line.point.or(line.likely_point)?;
        let load = &serving.points.get(at)?.load;
        let size = load.rate_per_s.or(load.concurrency.map(|slots| slots as f64))?;
        Some((size, at))
    });
    let of_line = line.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at);
    let most = |rate: fn(&Point) -> Option<Estimate>| {
        let rates = serving.points.iter().enumerate().filter_map(|(at, p)| Some((rate(p)?, at)));
        // Of equal ones the first: the smaller load.
        let best = rates.reduce(|best, next| if next.0.value > best.0.value { next } else { best });
        best.map(|(_, at)| at)
    };
    of_line
        .or_else(|| most(|point| point.output_tokens_per_s))
        .or_else(|| most(|point| point.requests_per_s))
}

fn throughput(point: &Point) -> Option<Throughput> {
    let output = point.output_tokens_per_s.map(|rate| rate.value);
    let input = point.input_tokens_per_s.map(|rate| rate.value);
    Some(Throughput {
        requests_per_s: point.requests_per_s?.value,
        output_tokens_per_s: output,
        total_tokens_per_s: output.zip(input).map(|(output, input)| output + input),
    })
}

fn basis(point: &Point, index: usize) -> Option<CostBasis> {
    let tokens = point.tokens.as_ref();
    let mut basis = CostBasis {
        load: point.load.clone(),
        index,
        throughput: throughput(point)?,
        input_tokens: tokens.and_then(|tokens| tokens.input),
        output_tokens: tokens.and_then(|tokens| tokens.output),
        tokens_are_stated: false,
        power: None,
        measured: Vec::new(),
    };
    let with_interval = |figure: Figure| {
        let rate = match figure.name.as_str() {
            "requests_per_s" => point.requests_per_s,
            "output_tokens_per_s" => point.output_tokens_per_s,
            _ => None,
        };
        let (low, high) = rate.map_or((None, None), |rate| (rate.low, rate.high));
        Figure { low, high, ..figure }
    };
    basis.measured = basis.figures().into_iter().map(with_interval).collect();
    Some(basis)
}
