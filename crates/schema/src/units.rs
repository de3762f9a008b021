//! Quantities as people write them: "500ms", "1MiB", "2.5/s", "0.1%", "uniform:100-200". Each has
//! a type that reads the text, writes it back in a form that reads the same, and says in words
//! for people what it did not understand.

use std::fmt;
use std::str::FromStr;

use crate::plan::{Arrival, Length};

mod decimal;
mod law;

pub(crate) use decimal::{Decimal, split_number};

/// Longest duration that a plan may name: 366 days, far below the end of u64 ns.
pub const DURATION_MAX_NS: u64 = 366 * 24 * 3_600 * 1_000_000_000;
/// Shape of gamma arrivals where none is given: burstier than Poisson (the coefficient of variation
/// of the gaps is 1/√shape = 1.41).
pub const GAMMA_SHAPE_DEFAULT: f64 = 0.5;

/// A text that is not the quantity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {quantity}: {reason}")]
pub struct UnitError {
    /// What was given.
    pub text: String,
    /// What it should have been, with its article: `a duration`.
    pub quantity: &'static str,
    /// What is wrong and what to write instead.
    pub reason: String,
}

impl UnitError {
    pub(crate) fn new(text: &str, quantity: &'static str, reason: impl Into<String>) -> Self {
        let text = if text.chars().count() > 60 {
            text.chars().take(60).chain(['…']).collect()
        } else {
            text.to_owned()
        };
        Self { text, quantity, reason: reason.into() }
    }
}

/// A kind of quantity: its name for people, its units with their size in the base unit, and how
/// the accepted spellings are told.
struct Kind {
    quantity: &'static str,
    units: &'static [(&'static str, u64)],
    accepted: &'static str,
}

impl Kind {
    fn error(&self, text: &str, what: &str) -> UnitError {
        UnitError::new(text, self.quantity, format!("{what}; {}", self.accepted))
    }

    /// The number at the start of `text` and the unit that follows it.
    fn split<'a>(&self, text: &'a str) -> Result<(Decimal, &'a str), UnitError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(self.error(text, "it is empty"));
        }
        if let Some(rest) = trimmed.strip_prefix(['-', '−'])
            && rest.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        {
            return Err(self.error(text, "it is negative"));
        }
        let (number, unit) = split_number(trimmed);
        let number =
            Decimal::parse(number).ok_or_else(|| self.error(text, "it has no plain number"))?;
        Ok((number, unit.trim_start()))
    }

    fn unit(&self, text: &str, unit: &str) -> Result<u64, UnitError> {
        let found = self.units.iter().find(|(name, _)| *name == unit);
        found.map(|(_, size)| *size).ok_or_else(|| {
            let what = if unit.is_empty() {
                "it has no unit".into()
            } else {
                format!("unknown unit `{unit}`")
            };
            self.error(text, &what)
        })
    }

    /// `number × size`, whole and at most `most`.
    fn whole(&self, text: &str, number: Decimal, size: u64, most: u64) -> Result<u64, UnitError> {
        let value = number.times(size).filter(|value| *value <= most);
        value.ok_or_else(|| self.error(text, "it is too large"))
    }
}

const NS: u64 = 1;
const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

const DURATION: Kind = Kind {
    quantity: "a duration",
    units: &[
        ("ns", NS),
        ("us", US),
        ("µs", US),
        ("μs", US),
        ("ms", MS),
        ("s", S),
        ("m", 60 * S),
        ("min", 60 * S),
        ("h", 3_600 * S),
        ("d", 86_400 * S),
    ],
    accepted: "write a number and a unit of ns, us, ms, s, m, h or d, as in `500ms`, `1.5s`, `2m`",
};

const SIZE: Kind = Kind {
    quantity: "a size",
    units: &[
        ("", 1),
        ("B", 1),
        ("k", 1 << 10),
        ("K", 1 << 10),
        ("m", 1 << 20),
        ("M", 1 << 20),
        ("g", 1 << 30),
        ("G", 1 << 30),
        ("t", 1 << 40),
        ("T", 1 << 40),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ],
    accepted: "write bytes, or a number and a unit: KiB, MiB, GiB, TiB (k, m, g, t mean the same, \
               as in fio) or kB, MB, GB, TB",
};

const RATE: Kind = Kind {
    quantity: "a rate",
    units: &[("", 1), ("/s", 1), ("/m", 60), ("/min", 60), ("/h", 3_600)],
    accepted: "write a number per second, as in `2.5/s`, `2.5` or `30/min`",
};

const RATIO: Kind = Kind {
    quantity: "a ratio",
    units: &[("", 1), ("%", 100)],
    accepted: "write a number from 0 to 1 or a percentage, as in `0.001` or `0.1%`",
};

const COUNT: Kind = Kind {
    quantity: "a count",
    units: &[
        ("", 1),
        ("k", 1_000),
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
    ],
    accepted: "write a whole number, as in `4096`, `4k` (4,000), `4Ki` (4,096) or `2M`",
};

/// A duration in ns, written as `500ms`, `1.5s` or `1m30s`. `0` needs no unit; every other number
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DurationNs(pub u64);

impl FromStr for DurationNs {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self(0));
        }
        let mut total = 0_u64;
        loop {
            let (number, tail) = DURATION.split(rest).map_err(|error| retold(error, text))?;
            let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
            let size = DURATION.unit(text, &tail[..end])?;
            let part = DURATION.whole(text, number, size, DURATION_MAX_NS)?;
            total = total.saturating_add(part);
            rest = tail[end..].trim_start();
            if rest.is_empty() {
                break;
            }
        }
        if total > DURATION_MAX_NS {
            return Err(DURATION.error(text, "it is longer than 366 days"));
        }
        Ok(Self(total))
    }
}

/// The same error about the whole text instead of a part of it.
fn retold(error: UnitError, text: &str) -> UnitError {
    UnitError { text: UnitError::new(text, error.quantity, "").text, ..error }
}

impl fmt::Display for DurationNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("h", 3_600 * S), ("m", 60 * S), ("s", S), ("ms", MS), ("us", US)];
        match units.iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None if self.0 == 0 => f.write_str("0s"),
            None => write!(f, "{}ns", self.0),
        }
    }
}

/// A size in bytes, written as `1MiB`, `1m` (the same, as in fio), `500MB` or `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = SIZE.split(text)?;
        let size = SIZE.unit(text, unit)?;
        SIZE.whole(text, number, size, u64::MAX).map(Self)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A rate of bytes in bytes/s, written as `500MB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BytesPerS(pub u64);

impl FromStr for BytesPerS {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let size = text.trim().strip_suffix("/s").ok_or_else(|| {
            UnitError::new(text, "a rate of bytes", "it does not end in `/s`, as in `500MB/s`")
        })?;
        let bytes = size.parse::<Bytes>().map_err(|error| retold(error, text))?;
        Ok(Self(bytes.0))
    }
}

impl fmt::Display for BytesPerS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

/// A rate per second, written as `2.5/s`, `2.5` or `30/min`. Finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct RatePerS(pub f64);

impl FromStr for RatePerS {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = RATE.split(text)?;
        let unit: String = unit.split_whitespace().collect();
        Ok(Self(number.to_f64() / RATE.unit(text, &unit)? as f64))
    }
}

impl fmt::Display for RatePerS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// A share from 0 to 1, written as `0.001` or `0.1%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Ratio(pub f64);

impl FromStr for Ratio {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = RATIO.split(text)?;
        let ratio = number.to_f64() / RATIO.unit(text, unit)? as f64;
        if ratio > 1.0 {
            return Err(RATIO.error(text, "it is more than 1"));
        }
        Ok(Self(ratio))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A whole number of things (tokens, requests), written as `4096`, `4k` (4,000) or `4Ki` (4,096).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Count(pub u64);

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = COUNT.split(text)?;
        let size = COUNT.unit(text, unit)?;
        if !number.is_whole_times(size) {
            return Err(COUNT.error(text, "it is not a whole number"));
        }
        COUNT.whole(text, number, size, u64::MAX).map(Self)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Reads from a TOML or JSON string or number, writes a string.
macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(TextVisitor(std::marker::PhantomData))
            }
        }
    )+};
}
as_text!(DurationNs, Bytes, BytesPerS, RatePerS, Ratio);

impl serde::Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // TOML's integers end at i64: what lies above goes as text, which reads the same.
        match i64::try_from(self.0) {
            Ok(value) => serializer.serialize_i64(value),
            Err(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor(std::marker::PhantomData))
    }
}

/// Reads any scalar through the text form of `T`, so that every quantity has one grammar and one
/// set of messages.
pub(crate) struct TextVisitor<T>(pub(crate) std::marker::PhantomData<T>);

impl<T: FromStr<Err = UnitError>> serde::de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity as text or number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests;
