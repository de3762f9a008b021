//! What a cost rests on, how each assumption moves it, and from which duty cycle on it is below
//! what an API takes.

use loadline_schema::cost::{ApiPrice, CostPlan, Hardware};
use loadline_schema::document::PointLoad;
use loadline_schema::event::Warning;
use loadline_schema::verdict::{BreakEven, CostReport, Figure, Sensitivity};

use super::{Hourly, MeasuredPower, Power, SECONDS_PER_HOUR, TOKENS_PER_MTOK, Throughput, bill};

/// Where a cost is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct CostBasis {
    /// The load.
    pub load: PointLoad,
    /// Place of the point in the sweep, zero-based.
    pub index: usize,
    /// What it yields.
    pub throughput: Throughput,
    /// Mean prompt tokens of a request.
    pub input_tokens: Option<f64>,
    /// Mean output tokens of a request.
    pub output_tokens: Option<f64>,
    /// Tokens per request were stated and not counted; then tokens/s follow from them.
    pub tokens_are_stated: bool,
    /// Power that was measured there.
    pub power: Option<MeasuredPower>,
    /// Figures that were measured, with their intervals where there are any.
    pub measured: Vec<Figure>,
}

impl CostBasis {
    fn power(&self, plan: &CostPlan) -> Option<Power> {
        Power::of(plan, self.index, self.power.as_ref())
    }

    /// The power that was measured.
    pub(super) fn power_figures(&self) -> Vec<Figure> {
        let power = self.power.as_ref();
        let busy = power.map(|power| figure("watts", power.busy_watts, "W", false));
        let idle = power.and_then(|power| power.idle_watts);
        busy.into_iter().chain(idle.map(|watts| figure("idle_watts", watts, "W", false))).collect()
    }

    /// Measured figures without an interval, from what is known of the point.
    pub fn figures(&self) -> Vec<Figure> {
        let throughput = &self.throughput;
        let counted = |value: Option<f64>| value.filter(|_| !self.tokens_are_stated);
        let listed = [
            ("requests_per_s", Some(throughput.requests_per_s), "1/s"),
            ("output_tokens_per_s", counted(throughput.output_tokens_per_s), "tokens/s"),
            ("total_tokens_per_s", counted(throughput.total_tokens_per_s), "tokens/s"),
            ("input_tokens_per_request", counted(self.input_tokens), "tokens"),
            ("output_tokens_per_request", counted(self.output_tokens), "tokens"),
        ];
        let figure = |(name, value, unit): (&str, Option<f64>, &str)| {
            value.map(|value| figure(name, value, unit, false))
        };
        listed.into_iter().filter_map(figure).collect()
    }
}

/// What the cost at one point rests on. `None` where the plan prices nothing of the owner's own.
///
/// Sensitivity is that of the cost per million output tokens at the duty cycle; it is empty where
/// no output tokens were counted. A price of an API is left out where the tokens that it counts
/// are not known (see [`cost_warnings`]).
pub fn cost_report(plan: &CostPlan, basis: &CostBasis) -> Option<CostReport> {
    Hourly::of(plan, basis.power(plan).as_ref())?;
    Some(CostReport {
        currency: plan.currency.clone(),
        at: basis.load.clone(),
        measured: basis.measured.clone(),
        assumed: assumed(plan, basis),
        sensitivity: sensitivity(plan, basis),
        break_even: plan
            .compare_with
            .iter()
            .filter_map(|api| break_even(plan, basis, api))
            .collect(),
    })
}

/// What a reader of the costs must know: power that had to be assumed, prices that could not be
/// compared.
pub fn cost_warnings(plan: &CostPlan, basis: &CostBasis) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let power = basis.power(plan);
    let has_energy = plan.electricity_per_kwh.is_some() && power.is_some();
    let has_idle_hours = plan.duty_cycle.is_some_and(|d| d < 1.0) || !plan.compare_with.is_empty();
    if has_energy && has_idle_hours && power.as_ref().is_some_and(|power| power.idle.is_none()) {
        warnings.push(Warning::new(
            "idle_power_assumed",
            "the power without load is not known: idle hours are priced with the power under load",
            "state it (--idle-watts, or idle_watts in [cost]); the cost then falls",
        ));
    }
    for api in &plan.compare_with {
        if Hourly::of(plan, basis.power(plan).as_ref()).is_some()
            && break_even(plan, basis, api).is_none()
        {
            let missing = if basis.output_tokens.is_none() { "output" } else { "prompt" };
            warnings.push(Warning::new(
                "no_break_even",
                format!(
                    "no comparison with {}: {missing} tokens per request are not known",
                    api.name
                ),
                "measure with a server that counts tokens (usage), or state them for a table",
            ));
        }
    }
    warnings
}

fn figure(name: &str, value: f64, unit: &str, is_default: bool) -> Figure {
    let (name, unit) = (name.to_owned(), unit.to_owned());
    Figure { name, value, low: None, high: None, unit, is_default }
}

/// Every figure that somebody stated or that stands in for a statement, named as in a plan.
fn assumed(plan: &CostPlan, basis: &CostBasis) -> Vec<Figure> {
    let money = |per: &str| format!("{}/{per}", plan.currency);
    let mut figures = Vec::new();
    if basis.tokens_are_stated {
        let tokens = [
            ("input_tokens_per_request", basis.input_tokens),
            ("output_tokens_per_request", basis.output_tokens),
        ];
        let known = tokens.into_iter().filter_map(|(name, value)| Some((name, value?)));
        figures.extend(known.map(|(name, value)| figure(name, value, "tokens", false)));
    }
    let power = basis.power(plan);
    let is_stated = super::stated_watts(plan, basis.index).is_some();
    let stated = power.as_ref().filter(|_| is_stated);
    figures.extend(stated.map(|power| figure("watts", power.busy, "W", false)));
    if let Some((kwh, power)) = plan.electricity_per_kwh.zip(power) {
        let is_measured = plan.idle_watts.is_none() && !is_stated && power.idle.is_some();
        if !is_measured {
            let is_default = plan.idle_watts.is_none();
            figures.push(figure("idle_watts", power.idle(), "W", is_default));
        }
        figures.push(figure("electricity", kwh, &money("kWh"), false));
        // 1 is what is taken where nothing is stated; stated or not, it means the same.
        figures.push(figure("pue", plan.pue, "", plan.pue <= 1.0));
    }
    if let Some(Hardware { price, years, residual }) = plan.hardware {
        figures.push(figure("hardware.price", price, &plan.currency, false));
        figures.push(figure("hardware.years", years, "years", false));
        figures.push(figure("hardware.residual", residual, "ratio", residual <= 0.0));
    }
    figures.extend(plan.other_per_hour.map(|price| figure("other", price, &money("h"), false)));
    let duty_cycle = plan.duty_cycle;
    figures.push(figure("duty_cycle", duty_cycle.unwrap_or(1.0), "ratio", duty_cycle.is_none()));
    for api in &plan.compare_with {
        let input = api.input_per_mtok.map(|price| (format!("{} input", api.name), price));
        let output = (format!("{} output", api.name), api.output_per_mtok);
        let prices = input.into_iter().chain([output]);
        figures.extend(prices.map(|(name, price)| figure(&name, price, &money("Mtok"), false)));
    }
    figures
}

/// One assumption: its name and how it is scaled, bounds kept.
type Assumption = (&'static str, fn(&mut CostPlan, &mut CostBasis, f64));

const ASSUMPTIONS: [Assumption; 10] = [
    ("output_tokens_per_request", scale_tokens),
    ("watts", |plan, _, factor| plan.watts.iter_mut().for_each(|watts| *watts *= factor)),
    ("idle_watts", |plan, basis, factor| {
        let Some(power) = basis.power(plan) else { return };
        // A machine without load takes no more than one under load. What was measured is no
        // assumption.
        let is_assumed = plan.idle_watts.is_some() || power.idle.is_none();
        plan.idle_watts = is_assumed.then(|| (power.idle() * factor).min(power.busy));
    }),
    ("electricity", |plan, _, factor| {
        plan.electricity_per_kwh = plan.electricity_per_kwh.map(|price| price * factor);
    }),
    ("pue", |plan, _, factor| plan.pue = (plan.pue * factor).max(1.0)),
    ("hardware.price", |plan, _, factor| scale_hardware(plan, |h| h.price *= factor)),
    ("hardware.years", |plan, _, factor| scale_hardware(plan, |h| h.years *= factor)),
    ("hardware.residual", |plan, _, factor| {
        scale_hardware(plan, |h| h.residual = (h.residual * factor).min(1.0));
    }),
    ("other", |plan, _, factor| {
        plan.other_per_hour = plan.other_per_hour.map(|price| price * factor);
    }),
    ("duty_cycle", |plan, _, factor| {
        plan.duty_cycle = Some((plan.duty_cycle.unwrap_or(1.0) * factor).min(1.0));
    }),
];

/// Stated tokens are what tokens/s were computed with; counted ones are no assumption.
fn scale_tokens(_: &mut CostPlan, basis: &mut CostBasis, factor: f64) {
    if basis.tokens_are_stated {
        let rate = &mut basis.throughput.output_tokens_per_s;
        *rate = rate.map(|tokens| tokens * factor);
    }
}

fn scale_hardware(plan: &mut CostPlan, change: impl FnOnce(&mut Hardware)) {
    if let Some(hardware) = &mut plan.hardware {
        change(hardware);
    }
}

fn sensitivity(plan: &CostPlan, basis: &CostBasis) -> Vec<Sensitivity> {
    let Some(base) = per_mtok_output(plan, basis) else { return Vec::new() };
    let scaled = |change: fn(&mut CostPlan, &mut CostBasis, f64), factor| {
        let (mut plan, mut basis) = (plan.clone(), basis.clone());
        change(&mut plan, &mut basis, factor);
        per_mtok_output(&plan, &basis)
    };
    let mut found: Vec<Sensitivity> = Vec::new();
    for (name, change) in ASSUMPTIONS {
        let Some((minus, plus)) = scaled(change, 0.8).zip(scaled(change, 1.2)) else { continue };
        // What has no share in the cost, or is 0, moves nothing.
        let moves = |value: f64| (value - base).abs() > base.abs() * 1e-12;
        if moves(minus) || moves(plus) {
            let name = name.to_owned();
            found.push(Sensitivity { name, at_minus_20: minus, at_plus_20: plus });
        }
    }
    let width = |s: &Sensitivity| (s.at_plus_20 - s.at_minus_20).abs();
    // Stable: equal ones keep the order of the list.
    found.sort_by(|a, b| width(b).total_cmp(&width(a)));
    found
}

/// Cost per million output tokens at the duty cycle.
fn per_mtok_output(plan: &CostPlan, basis: &CostBasis) -> Option<f64> {
    let hourly = Hourly::of(plan, basis.power(plan).as_ref())?;
    bill(hourly, &basis.throughput, plan.duty_cycle.unwrap_or(1.0)).per_mtok_output
}

/// Our bill of an hour is `fixed` + d · `per_duty`, that of the API d · `api`; they are equal at
/// d = `fixed` / (`api` − `per_duty`).
fn break_even(plan: &CostPlan, basis: &CostBasis, api: &ApiPrice) -> Option<BreakEven> {
    let hourly = Hourly::of(plan, basis.power(plan).as_ref())?;
    let input = match api.input_per_mtok {
        Some(price) if price > 0.0 => basis.input_tokens? * price,
        _ => 0.0,
    };
    let per_request = (input + basis.output_tokens? * api.output_per_mtok) / TOKENS_PER_MTOK;
    let api_full = basis.throughput.requests_per_s * SECONDS_PER_HOUR * per_request;
    let duty_cycle = plan.duty_cycle.unwrap_or(1.0);
    let saved = api_full - hourly.per_duty;
    let equal = (saved > 0.0).then(|| hourly.fixed / saved).filter(|d| *d <= 1.0);
    Some(BreakEven {
        name: api.name.clone(),
        our_per_hour: hourly.at(duty_cycle),
        api_per_hour: api_full * duty_cycle,
        duty_cycle: equal,
    })
}
