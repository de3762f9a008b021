//! `[cost]`: one currency, no negative or impossible amounts.

use super::super::error::{Fault, PlanError};
use super::super::{ApiPriceFile, CostFile, HardwareFile};
use crate::cost::{ApiPrice, CostPlan, Hardware, Money};
use crate::units::Ratio;

impl CostFile {
    /// Checks prices that are not part of a plan, as flags give them, by the same rules. `points`:
    /// how many points there are; 0 where they are not known. `is_measured`: whether power may have
    /// been measured, so that electricity has a price without stated watts.
    ///
    /// # Errors
    /// What contradicts itself or cannot be; `key` names it.
    pub fn resolve(&self, points: usize, is_measured: bool) -> Result<CostPlan, PlanError> {
        cost(self, points, is_measured).map_err(|fault| fault.located(None))
    }
}

/// The plan's prices as they would be written, so that flags can replace some of them.
impl From<&CostPlan> for CostFile {
    fn from(plan: &CostPlan) -> Self {
        let money = |amount: f64, per: &str| Money {
            amount,
            currency: plan.currency.clone(),
            per: per.to_owned(),
        };
        let api = |api: &ApiPrice| ApiPriceFile {
            name: api.name.clone(),
            input: api.input_per_mtok.map(|price| money(price, "Mtok")),
            output: money(api.output_per_mtok, "Mtok"),
        };
        Self {
            electricity: plan.electricity_per_kwh.map(|price| money(price, "kWh")),
            watts: plan.watts.clone(),
            idle_watts: plan.idle_watts,
            pue: Some(plan.pue),
            hardware: plan.hardware.map(|hardware| HardwareFile {
                price: money(hardware.price, ""),
                years: hardware.years,
                residual: Some(Ratio(hardware.residual)),
            }),
            duty_cycle: plan.duty_cycle.map(Ratio),
            other: plan.other_per_hour.map(|price| money(price, "h")),
            compare_with: plan.compare_with.iter().map(api).collect(),
        }
    }
}

/// `points`: how many points the longest sweep of the plan has; 0 where they are found.
pub(super) fn cost(given: &CostFile, points: usize, is_measured: bool) -> Result<CostPlan, Fault> {
    let currency = one_currency(given)?;
    let most = points.max(1);
    if given.watts.len() > 1 && given.watts.len() != most {
        let message = format!("{} values of `watts` for {most} points", given.watts.len());
        return Err(Fault::at(&["watts"], message, "give one value, or one for each point"));
    }
    for (index, watts) in given.watts.iter().enumerate() {
        not_negative(&["watts", &index.to_string()], "watts", *watts)?;
    }
    if let Some(idle) = given.idle_watts {
        idle_fits(idle, &given.watts, is_measured)?;
    }
    let pue = given.pue.unwrap_or(1.0);
    if !(pue.is_finite() && pue >= 1.0) {
        let help = "power usage effectiveness is at least 1, as in `pue = 1.3`";
        return Err(Fault::at(&["pue"], format!("`pue` is {pue}"), help));
    }
    let duty_cycle = given.duty_cycle.map(|share| share.0);
    if let Some(duty_cycle) = duty_cycle.filter(|d| !(*d > 0.0 && *d <= 1.0)) {
        let help = "write a share above 0 and up to 1, as in `duty_cycle = 0.25`";
        return Err(Fault::at(&["duty_cycle"], format!("`duty_cycle` is {duty_cycle}"), help));
    }
    let is_unpowered = given.electricity.is_some() && given.watts.is_empty();
    if is_unpowered && !is_measured {
        let help = "add the power under load, as in `watts = 350` (or one value for each point)";
        return Err(Fault::at(&["electricity"], "a price of electricity and no `watts`", help));
    }
    if given.electricity.is_none() && given.hardware.is_none() && given.other.is_none() {
        let help = "add `electricity` and `watts`, `hardware` or `other`";
        let message = "only prices of others are given, and nothing of your own to compare";
        return Err(Fault::at(&["compare_with"], message, help));
    }
    Ok(CostPlan {
        currency,
        electricity_per_kwh: amount(&["electricity"], given.electricity.as_ref(), "kWh")?,
        watts: given.watts.clone(),
        idle_watts: given.idle_watts,
        pue,
        hardware: given.hardware.as_ref().map(hardware).transpose()?,
        duty_cycle,
        other_per_hour: amount(&["other"], given.other.as_ref(), "h")?,
        compare_with: given.compare_with.iter().map(api_price).collect::<Result<_, _>>()?,
    })
}

/// The label that every amount has.
fn one_currency(given: &CostFile) -> Result<String, Fault> {
    let of_apis = given.compare_with.iter().flat_map(|api| [api.input.as_ref(), Some(&api.output)]);
    let mut amounts = [
        given.electricity.as_ref(),
        given.hardware.as_ref().map(|hardware| &hardware.price),
        given.other.as_ref(),
    ]
    .into_iter()
    .chain(of_apis)
    .flatten();
    let help = "currencies are labels and are never converted: write all amounts in one";
    let Some(first) = amounts.next() else {
        let help = "add a price: `electricity` with `watts`, `hardware` or `other`";
        return Err(Fault::at(&[], "no amount of money is given", help));
    };
    match amounts.find(|money| money.currency != first.currency) {
        Some(other) => {
            let message = format!("amounts in {} and in {}", first.currency, other.currency);
            Err(Fault::at(&[], message, help))
        }
        None => Ok(first.currency.clone()),
    }
}

fn amount(keys: &[&str], money: Option<&Money>, unit: &str) -> Result<Option<f64>, Fault> {
    money
        .map(|money| money.per(unit).map_err(|error| Fault::at(keys, error.to_string(), "")))
        .transpose()
}

fn not_negative(keys: &[&str], name: &str, value: f64) -> Result<(), Fault> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Fault::at(keys, format!("`{name}` is {value}"), "write watts, 0 or more"))
}

fn idle_fits(idle: f64, watts: &[f64], is_measured: bool) -> Result<(), Fault> {
    not_negative(&["idle_watts"], "idle_watts", idle)?;
    let least = watts.iter().copied().min_by(f64::total_cmp);
    let what = match least {
        Some(least) if idle > least => {
            format!("`idle_watts` is {idle}, more than the {least} under load")
        }
        Some(_) => return Ok(()),
        None if is_measured => return Ok(()),
        None => "`idle_watts` and no `watts`".to_owned(),
    };
    Err(Fault::at(
        &["idle_watts"],
        what,
        "`watts` is the power under load, `idle_watts` that without",
    ))
}

fn hardware(given: &HardwareFile) -> Result<Hardware, Fault> {
    let price = amount(&["hardware", "price"], Some(&given.price), "")?.unwrap_or(0.0);
    if !(given.years.is_finite() && given.years > 0.0) {
        let message = format!("`years` is {}", given.years);
        return Err(Fault::at(&["hardware", "years"], message, "write years above 0, as in `3`"));
    }
    let residual = given.residual.map_or(0.0, |share| share.0);
    if !(0.0..=1.0).contains(&residual) {
        let message = format!("`residual` is {residual}");
        let help = "write the share of the price that is left, 0 to 1, as in `20%`";
        return Err(Fault::at(&["hardware", "residual"], message, help));
    }
    Ok(Hardware { price, years: given.years, residual })
}

fn api_price(given: &ApiPriceFile) -> Result<ApiPrice, Fault> {
    Ok(ApiPrice {
        name: given.name.clone(),
        input_per_mtok: amount(&["compare_with", "input"], given.input.as_ref(), "Mtok")?,
        output_per_mtok: amount(&["compare_with", "output"], Some(&given.output), "Mtok")?
            .unwrap_or(0.0),
    })
}
