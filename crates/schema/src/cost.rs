//! Prices as the owner states them: money, electricity, hardware, and what a cost is computed from.
//! Currencies are labels and are never converted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::{Decimal, UnitError, split_number};

/// Hours of a year of 365 days.
pub const HOURS_PER_YEAR: f64 = 8_760.0;

/// Everything that a price of a token is made of; what was not stated has no share in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostPlan {
    /// The label that all amounts share.
    pub currency: String,
    /// Price of a kWh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub electricity_per_kwh: Option<f64>,
    /// Stated power under load, W: one value for every point, or one for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watts: Vec<f64>,
    /// Stated power without load, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_watts: Option<f64>,
    /// Power usage effectiveness: energy of the building ÷ energy of the machines, at least 1.
    pub pue: f64,
    /// What the machines cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<Hardware>,
    /// Share of the hours under load, above 0 and up to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty_cycle: Option<f64>,
    /// Other costs per hour (rent, staff).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_per_hour: Option<f64>,
    /// Prices to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compare_with: Vec<ApiPrice>,
}

/// Machines that lose their value over the years.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hardware {
    /// Price when bought.
    pub price: f64,
    /// Years in use.
    pub years: f64,
    /// Share of the price that is left after them, 0–1.
    pub residual: f64,
}

/// What an API takes for tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiPrice {
    /// Its name.
    pub name: String,
    /// Price of a million prompt tokens; absent: nothing is taken for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_per_mtok: Option<f64>,
    /// Price of a million output tokens.
    pub output_per_mtok: f64,
}

/// An amount of money for a unit of something: `0.30 EUR/kWh`, `4200 EUR`, `0.60 EUR/Mtok`.
#[derive(Debug, Clone, PartialEq)]
pub struct Money {
    /// How much; finite and not negative.
    pub amount: f64,
    /// Label of the currency, as written.
    pub currency: String,
    /// What it is for (`kWh`, `h`, `Mtok`), empty for a price as such.
    pub per: String,
}

impl Money {
    /// The amount, where it is for what it should be for.
    ///
    /// # Errors
    /// It is for something else.
    pub fn per(&self, unit: &str) -> Result<f64, UnitError> {
        if self.per == unit {
            return Ok(self.amount);
        }
        let example =
            if unit.is_empty() { "`4200 EUR`".to_owned() } else { format!("`0.30 EUR/{unit}`") };
        let reason = format!("write it as in {example}");
        Err(UnitError::new(&self.to_string(), "a price of the right kind", reason))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)?;
        if self.per.is_empty() { Ok(()) } else { write!(f, "/{}", self.per) }
    }
}

impl FromStr for Money {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |what: &str| {
            let reason = format!("{what}; write an amount and a currency, as in `0.30 EUR/kWh`");
            UnitError::new(text, "a price", reason)
        };
        let trimmed = text.trim();
        if trimmed.starts_with(['-', '−']) {
            return Err(wrong("it is negative"));
        }
        let (number, rest) = split_number(trimmed);
        let amount = Decimal::parse(number).ok_or_else(|| wrong("it has no plain number"))?;
        let (currency, per) = rest.split_once('/').unwrap_or((rest, ""));
        let (currency, per) = (currency.trim(), per.trim());
        let is_label = |c: char| c.is_alphabetic() || "€$£¥₹".contains(c);
        if currency.is_empty() || !currency.chars().all(is_label) {
            return Err(wrong("it names no currency"));
        }
        Ok(Self { amount: amount.to_f64(), currency: currency.to_owned(), per: per.to_owned() })
    }
}

impl Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_and_written_back() {
        for (text, amount, currency, per) in [
            ("0.30 EUR/kWh", 0.3, "EUR", "kWh"),
            ("4200 EUR", 4200.0, "EUR", ""),
            ("0.6$/Mtok", 0.6, "$", "Mtok"),
        ] {
            let money: Money = text.parse().expect(text);
            assert_eq!((money.amount, &*money.currency, &*money.per), (amount, currency, per));
            assert_eq!(money.to_string().parse::<Money>().expect("again"), money);
        }
    }

    #[test]
    fn a_price_that_is_none_is_refused() {
        for (text, told) in [
            ("-1 EUR", "it is negative"),
            ("EUR 3", "no plain number"),
            ("3", "names no currency"),
            ("3 EUR2", "names no currency"),
        ] {
            let error = text.parse::<Money>().expect_err(text).to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        let rent: Money = "1 EUR/h".parse().expect("price");
        assert!(rent.per("kWh").expect_err("other").to_string().contains("EUR/kWh"));
    }
}
