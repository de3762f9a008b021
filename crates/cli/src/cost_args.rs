//! Flags that say what a cost is made of, shared by every verb that prices something. They are
//! checked by the rules of `[cost]` in a plan, and replace single keys of it.

use clap::Args;
use loadline_schema::cost::{CostPlan, Money};
use loadline_schema::plan_file::{ApiPriceFile, CostFile, HardwareFile};
use loadline_schema::units::Ratio;

use crate::exit::Failure;

/// Prices and power.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CostArgs {
    /// Power under load, W: one value, or one for each point
    #[arg(
        long,
        value_name = "W,…",
        value_delimiter = ',',
        allow_negative_numbers = true,
        help_heading = "Cost"
    )]
    pub(crate) watts: Vec<f64>,
    /// Power without load, W [default: that under load]
    #[arg(long, value_name = "W", allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) idle_watts: Option<f64>,
    /// Price of electricity: "0.30 EUR/kWh"
    #[arg(long, value_name = "PRICE", allow_hyphen_values = true, help_heading = "Cost")]
    pub(crate) electricity: Option<Money>,
    /// Energy of the building ÷ energy of the machines [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) pue: Option<f64>,
    /// What the machines cost: "4200 EUR"
    #[arg(long, value_name = "PRICE", allow_hyphen_values = true, help_heading = "Cost")]
    pub(crate) hardware_price: Option<Money>,
    /// Years that they are in use
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) hardware_years: Option<f64>,
    /// Share of their price that is left then [default: 0]
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true, help_heading = "Cost")]
    pub(crate) residual: Option<Ratio>,
    /// Share of the hours under load [default: 1]
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true, help_heading = "Cost")]
    pub(crate) duty_cycle: Option<Ratio>,
    /// Other costs: "0.10 EUR/h"
    #[arg(long, value_name = "PRICE", allow_hyphen_values = true, help_heading = "Cost")]
    pub(crate) other: Option<Money>,
    /// Price of an API to compare with: "NAME=INPUT/OUTPUT EUR/Mtok", or "NAME=OUTPUT EUR/Mtok"
    /// where prompts cost nothing; may be given several times
    #[arg(long, value_name = "PRICE", value_parser = api_price, help_heading = "Cost")]
    pub(crate) api_price: Vec<ApiPriceFile>,
}

impl CostArgs {
    /// Whether any of the flags was given.
    pub(crate) fn is_given(&self) -> bool {
        let amounts = [&self.electricity, &self.hardware_price, &self.other];
        let numbers = [self.idle_watts, self.pue, self.hardware_years];
        !self.watts.is_empty()
            || !self.api_price.is_empty()
            || amounts.iter().any(|amount| amount.is_some())
            || numbers.iter().any(Option::is_some)
            || self.residual.or(self.duty_cycle).is_some()
    }

    /// The prices as `[cost]` would have them; `None` without flags.
    pub(crate) fn file(&self) -> Result<Option<CostFile>, Failure> {
        self.is_given().then(|| self.over(CostFile::default())).transpose()
    }

    /// Checked prices for so many points (0: not known); `None` without flags.
    pub(crate) fn plan(&self, points: usize) -> Result<Option<CostPlan>, Failure> {
        self.file()?.map(|file| checked(&file, points, false)).transpose()
    }

    /// The stored prices with those of the flags in their place; `None` where there are neither.
    /// `is_measured`: whether the run has meters of power, so that electricity needs no stated watts.
    pub(crate) fn plan_over(
        &self,
        stored: Option<&CostPlan>,
        points: usize,
        is_measured: bool,
    ) -> Result<Option<CostPlan>, Failure> {
        match stored {
            Some(stored) if self.is_given() => {
                checked(&self.over(CostFile::from(stored))?, points, is_measured).map(Some)
            }
            Some(stored) => Ok(Some(stored.clone())),
            None => self.file()?.map(|file| checked(&file, points, is_measured)).transpose(),
        }
    }

    /// `base` with every key replaced that a flag names.
    fn over(&self, base: CostFile) -> Result<CostFile, Failure> {
        Ok(CostFile {
            electricity: self.electricity.clone().or(base.electricity),
            watts: if self.watts.is_empty() { base.watts } else { self.watts.clone() },
            idle_watts: self.idle_watts.or(base.idle_watts),
            pue: self.pue.or(base.pue),
            hardware: self.hardware(base.hardware)?,
            duty_cycle: self.duty_cycle.or(base.duty_cycle),
            other: self.other.clone().or(base.other),
            compare_with: if self.api_price.is_empty() {
                base.compare_with
            } else {
                self.api_price.clone()
            },
        })
    }

    fn hardware(&self, base: Option<HardwareFile>) -> Result<Option<HardwareFile>, Failure> {
        let residual = self.residual.or(base.as_ref().and_then(|base| base.residual));
        let years = self.hardware_years.or(base.as_ref().map(|base| base.years));
        let price = self.hardware_price.clone().or(base.map(|base| base.price));
        match (price, years) {
            (Some(price), Some(years)) => Ok(Some(HardwareFile { price, years, residual })),
            (Some(_), None) => Err(Failure::usage(
                "--hardware-price without --hardware-years: say over how many years it is paid \
                 off, as in --hardware-years 3",
            )),
            (None, Some(_)) => Err(Failure::usage(
                "--hardware-years without --hardware-price: add the price, as in \
                 --hardware-price \"4200 EUR\"",
            )),
            (None, None) if self.residual.is_some() => Err(Failure::usage(
                "--residual without --hardware-price: add the price and the years in use",
            )),
            (None, None) => Ok(None),
        }
    }
}

fn checked(file: &CostFile, points: usize, is_measured: bool) -> Result<CostPlan, Failure> {
    file.resolve(points, is_measured).map_err(|error| {
        let flag = flag(&error.key);
        let place = if flag.is_empty() { "cost".to_owned() } else { flag.to_owned() };
        Failure::usage(format!("{place}: {error}"))
    })
}

/// The flag that sets a key of `[cost]`; empty for what concerns several.
fn flag(key: &str) -> &'static str {
    let starts = [
        ("watts", "--watts"),
        ("idle_watts", "--idle-watts"),
        ("electricity", "--electricity"),
        ("pue", "--pue"),
        ("hardware.price", "--hardware-price"),
        ("hardware.years", "--hardware-years"),
        ("hardware.residual", "--residual"),
        ("duty_cycle", "--duty-cycle"),
        ("other", "--other"),
        ("compare_with", "--api-price"),
    ];
    starts.iter().find(|(start, _)| key.starts_with(start)).map_or("", |(_, flag)| flag)
}

/// `NAME=0.15/0.60 EUR/Mtok` or `NAME=0.60 EUR/Mtok`.
fn api_price(text: &str) -> Result<ApiPriceFile, String> {
    const HELP: &str = "write NAME=INPUT/OUTPUT and a price, as in \"some-api=0.15/0.60 EUR/Mtok\"";
    let (name, price) = text.split_once('=').ok_or_else(|| format!("no `=` in it; {HELP}"))?;
    let (name, price) = (name.trim(), price.trim());
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(format!("no name before the `=`; {HELP}"));
    }
    let is_amount = |c: char| c.is_ascii_digit() || "./_ ".contains(c);
    let end = price.find(|c| !is_amount(c)).unwrap_or(price.len());
    let (amounts, unit) = price.split_at(end);
    let money = |amount: &str| {
        let text = format!("{} {unit}", amount.trim());
        text.trim().parse::<Money>().map_err(|error| error.to_string())
    };
    let (input, output) = match amounts.split_once('/') {
        Some((input, output)) => (Some(money(input)?), money(output)?),
        None => (None, money(amounts)?),
    };
    Ok(ApiPriceFile { name: name.to_owned(), input, output })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        cost: CostArgs,
    }

    fn given(flags: &[&str]) -> CostArgs {
        let line = std::iter::once("x").chain(flags.iter().copied());
        Line::try_parse_from(line).expect("flags").cost
    }

    /// What is said to flags that cannot be priced, by whoever notices it.
    fn refusal(flags: &[&str]) -> String {
        let line = std::iter::once("x").chain(flags.iter().copied());
        match Line::try_parse_from(line) {
            Err(error) => error.to_string(),
            Ok(line) => line.cost.plan(2).expect_err("refused").message,
        }
    }

    #[test]
    fn flags_mean_what_the_keys_of_a_plan_mean() {
        let args = given(&[
            "--watts=300,350",
            "--idle-watts=60",
            "--electricity=0.30 EUR/kWh",
            "--pue=1.2",
            "--hardware-price=4200 EUR",
            "--hardware-years=3",
            "--residual=20%",
            "--duty-cycle=0.25",
            "--other=0.10 EUR/h",
            "--api-price=one=0.15/0.60 EUR/Mtok",
            "--api-price=two=0.70EUR/Mtok",
        ]);
        let text = r#"
            watts = [300, 350]
            idle_watts = 60
            electricity = "0.30 EUR/kWh"
            pue = 1.2
            hardware = { price = "4200 EUR", years = 3, residual = 0.2 }
            duty_cycle = 0.25
            other = "0.10 EUR/h"
            compare_with = [
                { name = "one", input = "0.15 EUR/Mtok", output = "0.60 EUR/Mtok" },
                { name = "two", output = "0.70 EUR/Mtok" },
            ]
        "#;
        let file: CostFile = toml::from_str(text).expect("a plan's [cost]");
        let plan = file.resolve(2, false).expect("valid");
        assert_eq!(args.plan(2).expect("valid"), Some(plan.clone()));
        assert_eq!(given(&[]).plan(2).expect("nothing is no mistake"), None);
        assert_eq!(CostFile::from(&plan).resolve(2, false).expect("the same again"), plan);
    }

    #[test]
    fn flags_replace_single_keys_of_the_stored_prices() {
        let stored = given(&["--watts=300", "--electricity=0.30 EUR/kWh"]).plan(1).expect("valid");
        let over = given(&["--duty-cycle=25%", "--electricity=0.40 EUR/kWh"]);
        let plan = over.plan_over(stored.as_ref(), 1, false).expect("valid").expect("priced");
        assert_eq!(plan.watts, [300.0]);
        assert_eq!((plan.duty_cycle, plan.electricity_per_kwh), (Some(0.25), Some(0.4)));
        assert_eq!(given(&[]).plan_over(stored.as_ref(), 1, false).expect("valid"), stored);
        assert_eq!(given(&[]).plan_over(None, 1, false).expect("valid"), None);
    }

    #[test]
    fn contradictions_are_refused_in_words() {
        let kwh = "--electricity=0.30 EUR/kWh";
        for (flags, parts) in [
            (&["--electricity=-0.30 EUR/kWh"][..], &["--electricity", "it is negative"][..]),
            (&["--electricity", "-0.30 EUR/kWh"], &["--electricity", "it is negative"]),
            (&["--electricity=0.30", "--watts=1"], &["names no currency"]),
            (&["--electricity=0.30 EUR", "--watts=1"], &["--electricity", "EUR/kWh"]),
            (&[kwh], &["--electricity", "no `watts`"]),
            (&[kwh, "--watts=1", "--other=1 USD/h"], &["EUR", "USD", "never converted"]),
            (&[kwh, "--watts", "-5"], &["--watts", "`watts` is -5"]),
            (&[kwh, "--watts=1,2,3"], &["--watts", "3 values", "2 points"]),
            (&[kwh, "--watts=nan"], &["--watts", "0 or more"]),
            (&[kwh, "--watts=100", "--idle-watts=200"], &["--idle-watts", "more than the 100"]),
            (&["--other=1 EUR/h", "--idle-watts=2"], &["--idle-watts", "no `watts`"]),
            (&[kwh, "--watts=1", "--pue=0.9"], &["--pue", "at least 1"]),
            (&[kwh, "--watts=1", "--duty-cycle=0"], &["--duty-cycle", "above 0"]),
            (&[kwh, "--watts=1", "--duty-cycle=1.5"], &["--duty-cycle", "more than 1"]),
            (&["--hardware-price=1 EUR"], &["--hardware-years"]),
            (&["--hardware-years=3"], &["--hardware-price"]),
            (&["--residual=0.1", "--other=1 EUR/h"], &["--residual", "--hardware-price"]),
            (&["--residual=120%"], &["--residual", "more than 1"]),
            (&["--hardware-price=1 EUR", "--hardware-years=0"], &["--hardware-years", "above 0"]),
            (&["--watts=1"], &["no amount of money"]),
            (&["--api-price=a=1 EUR/Mtok"], &["--api-price", "nothing of your own"]),
            (&["--api-price=1 EUR/Mtok"], &["--api-price", "no `=`"]),
            (&["--api-price==1 EUR/Mtok"], &["--api-price", "no name"]),
            (&["--api-price=a=-1 EUR/Mtok"], &["--api-price", "negative"]),
            (&["--other=1 EUR/h", "--api-price=a=1/2 EUR"], &["--api-price", "EUR/Mtok"]),
        ] {
            let told = refusal(flags);
            for part in parts {
                assert!(told.contains(part), "{flags:?}: '{part}' is missing in: {told}");
            }
        }
    }
}
