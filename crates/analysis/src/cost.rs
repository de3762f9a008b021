//! Cost: what a point costs per hour, token and request, from the owner's own figures.
//!
//! Per hour: price · (1 − residual) / (years · 8,760) + other + price of a kWh · PUE ·
//! (d · P_busy + (1 − d) · P_idle) / 1,000, with d the duty cycle, the share of hours under load.
//! Tokens per hour: tokens/s · 3,600 · d. What was not stated has no share in the bill; a bill in
//! which nothing was stated is absent. Currencies are labels.

mod report;
mod stage;

use loadline_schema::cost::{CostPlan, HOURS_PER_YEAR};
use loadline_schema::verdict::{Bill, PointCost};

pub use report::{CostBasis, cost_report, cost_warnings};
pub(crate) use stage::price_serving;

const SECONDS_PER_HOUR: f64 = 3_600.0;
const WATTS_PER_KILOWATT: f64 = 1_000.0;
const TOKENS_PER_MTOK: f64 = 1e6;

/// What a point yields while it is under load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Ok answers, 1/s.
    pub requests_per_s: f64,
    /// Output tokens/s, where they were counted.
    pub output_tokens_per_s: Option<f64>,
    /// Prompt and output tokens/s, where both were counted.
    pub total_tokens_per_s: Option<f64>,
}

/// The price of an hour as a straight line over the duty cycle: `fixed` + d · `per_duty`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Hourly {
    /// Paid in every hour, idle or not.
    fixed: f64,
    /// Paid on top for an hour under load.
    per_duty: f64,
}

/// Power that was measured at a point.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredPower {
    /// Under load, W.
    pub busy_watts: f64,
    /// Without load, W.
    pub idle_watts: Option<f64>,
    /// What measured it.
    pub meters: String,
}

/// The power that a price rests on: stated, or measured where nothing is stated.
#[derive(Debug, Clone, PartialEq)]
struct Power {
    busy: f64,
    idle: Option<f64>,
    source: String,
}

impl Power {
    fn of(plan: &CostPlan, index: usize, measured: Option<&MeasuredPower>) -> Option<Self> {
        let stated = stated_watts(plan, index);
        let idle = plan.idle_watts;
        match (stated, measured) {
            (Some(busy), _) => Some(Self { busy, idle, source: "stated".to_owned() }),
            (None, Some(power)) => Some(Self {
                busy: power.busy_watts,
                idle: idle.or(power.idle_watts).map(|idle| idle.min(power.busy_watts)),
                source: format!("measured ({})", power.meters),
            }),
            (None, None) => None,
        }
    }

    /// Power without load, W. Where it is not known it is that under load: the careful side, since
    /// nothing would make idle hours look free.
    fn idle(&self) -> f64 {
        self.idle.unwrap_or(self.busy)
    }
}

impl Hourly {
    /// `None` where the plan prices nothing of the owner's own.
    fn of(plan: &CostPlan, power: Option<&Power>) -> Option<Self> {
        let hardware =
            plan.hardware.map(|h| h.price * (1.0 - h.residual) / (h.years * HOURS_PER_YEAR));
        let energy = plan.electricity_per_kwh.zip(power).map(|(kwh, power)| {
            let per_watt = kwh * plan.pue / WATTS_PER_KILOWATT;
            (per_watt * power.idle(), per_watt * (power.busy - power.idle()))
        });
        if hardware.is_none() && plan.other_per_hour.is_none() && energy.is_none() {
            return None;
        }
        let (idle, per_duty) = energy.unwrap_or((0.0, 0.0));
        let standing = hardware.unwrap_or(0.0) + plan.other_per_hour.unwrap_or(0.0);
        Some(Self { fixed: standing + idle, per_duty })
    }

    fn at(self, duty_cycle: f64) -> f64 {
        self.fixed + duty_cycle * self.per_duty
    }
}

/// Stated power under load at a point, W: its own value, or the one for all.
fn stated_watts(plan: &CostPlan, index: usize) -> Option<f64> {
    match plan.watts[..] {
        [one] => Some(one),
        _ => plan.watts.get(index).copied(),
    }
}

/// A bill spread over what is produced in the hour; `None` where nothing is.
fn spread(per_hour: f64, per_s: Option<f64>, duty_cycle: f64) -> Option<f64> {
    let per_s = per_s.filter(|rate| *rate > 0.0)?;
    Some(per_hour / (per_s * SECONDS_PER_HOUR * duty_cycle))
}

fn bill(hourly: Hourly, throughput: &Throughput, duty_cycle: f64) -> Bill {
    let per_hour = hourly.at(duty_cycle);
    let per_mtok = |rate| spread(per_hour, rate, duty_cycle).map(|price| price * TOKENS_PER_MTOK);
    Bill {
        duty_cycle,
        per_hour,
        per_request: spread(per_hour, Some(throughput.requests_per_s), duty_cycle),
        per_mtok_output: per_mtok(throughput.output_tokens_per_s),
        per_mtok_total: per_mtok(throughput.total_tokens_per_s),
    }
}

/// What a point costs under load all the time, and at the duty cycle where one below 1 is stated.
/// `index` is its place in the sweep: it picks its power where one is stated for each point. `None`
/// where neither money nor power is known for it.
pub fn point_cost(
    plan: &CostPlan,
    index: usize,
    throughput: &Throughput,
    measured: Option<&MeasuredPower>,
) -> Option<PointCost> {
    let power = Power::of(plan, index, measured);
    let watts = power.as_ref().map(|power| power.busy);
    let hourly = Hourly::of(plan, power.as_ref());
    if watts.is_none() && hourly.is_none() {
        return None;
    }
    let joules = |per_s: Option<f64>| Some(watts? / per_s.filter(|rate| *rate > 0.0)?);
    let full = hourly.map(|hourly| bill(hourly, throughput, 1.0));
    let duty_cycle = plan.duty_cycle.filter(|share| *share < 1.0);
    Some(PointCost {
        currency: plan.currency.clone(),
        per_mtok_output: full.as_ref().and_then(|bill| bill.per_mtok_output),
        per_mtok_total: full.as_ref().and_then(|bill| bill.per_mtok_total),
        per_request: full.as_ref().and_then(|bill| bill.per_request),
        per_hour: full.as_ref().map(|bill| bill.per_hour),
        joules_per_output_token: joules(throughput.output_tokens_per_s),
        joules_per_request: joules(Some(throughput.requests_per_s)),
        watts,
        power_source: power.map(|power| power.source),
        at_duty_cycle: hourly.zip(duty_cycle).map(|(hourly, d)| bill(hourly, throughput, d)),
    })
}
