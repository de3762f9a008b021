//! Service-level targets: named sets of limits, each a term such as `ttft_p99<=800ms`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::outcome::spelled;
use crate::units::{DurationNs, Ratio, UnitError};

/// Name of the targets that a flag gives without a name.
pub const DEFAULT_NAME: &str = "default";

/// What the owner of a service promises: all terms together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sla {
    /// Name, unique in a plan.
    pub name: String,
    /// Its terms, each of another quantity; at least one.
    pub terms: Vec<Term>,
}

spelled! {
    /// A latency that may be limited.
    Latency {
        /// Time to first token.
        Ttft = "ttft",
        /// Time to first non-reasoning content.
        Ttfo = "ttfo",
        /// Gaps between tokens.
        Itl = "itl",
        /// Mean time per output token of a request.
        Tpot = "tpot",
        /// End to end.
        E2e = "e2e",
        /// Longest gap of a request.
        MaxGap = "max_gap",
    }
}

spelled! {
    /// Which figure of a distribution is limited.
    Statistic {
        /// Median.
        P50 = "p50",
        /// 90th percentile.
        P90 = "p90",
        /// 95th percentile.
        P95 = "p95",
        /// 99th percentile.
        P99 = "p99",
        /// 99.9th percentile.
        P999 = "p999",
        /// Arithmetic mean.
        Mean = "mean",
        /// Largest value.
        Max = "max",
    }
}

impl Statistic {
    /// The percentile in thousandths; `None` for mean and maximum.
    pub const fn per_mille(self) -> Option<u32> {
        match self {
            Self::P50 => Some(500),
            Self::P90 => Some(900),
            Self::P95 => Some(950),
            Self::P99 => Some(990),
            Self::P999 => Some(999),
            Self::Mean | Self::Max => None,
        }
    }
}

/// What a term limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// A figure of a latency, ns: at most.
    Latency(Latency, Statistic),
    /// Share of attempts that are not ok, 0–1: at most.
    ErrorRate,
    /// 1 / mean TPOT, tokens/s: at least.
    OutputTokensPerSPerUser,
}

impl Quantity {
    /// Whether larger values are better.
    pub const fn is_floor(self) -> bool {
        matches!(self, Self::OutputTokensPerSPerUser)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(latency, statistic) => write!(f, "{latency}_{statistic}"),
            Self::ErrorRate => f.write_str("error_rate"),
            Self::OutputTokensPerSPerUser => f.write_str("output_tokens_per_s_per_user"),
        }
    }
}

impl FromStr for Quantity {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |what: String| {
            UnitError::new(
                text,
                "a term of an SLA",
                format!(
                    "{what}; write one of ttft, ttfo, itl, tpot, e2e, max_gap with _p50, _p90, _p95, _p99, \
                     _p999, _mean or _max, or error_rate, or output_tokens_per_s_per_user"
                ),
            )
        };
        match text {
            "error_rate" => return Ok(Self::ErrorRate),
            "output_tokens_per_s_per_user" => return Ok(Self::OutputTokensPerSPerUser),
            _ => {}
        }
        let (latency, statistic) =
            text.rsplit_once('_').ok_or_else(|| wrong("it names no statistic".into()))?;
        let known = Latency::from_text(latency)
            .ok_or_else(|| wrong(format!("`{latency}` is not a latency")))?;
        let statistic = Statistic::from_text(statistic)
            .ok_or_else(|| wrong(format!("`{statistic}` is not a statistic")))?;
        Ok(Self::Latency(known, statistic))
    }
}

/// One limit: the quantity must be at most `limit`, or at least where larger is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Term {
    /// What is limited.
    pub quantity: Quantity,
    /// The limit: ns, a ratio 0–1, or tokens/s.
    pub limit: f64,
}

impl Term {
    /// A term from the quantity's name and the limit as people write it (`800ms`, `0.1%`, `20`).
    ///
    /// # Errors
    /// An unknown quantity, or a limit that is no positive amount of its unit.
    pub fn new(quantity: &str, limit: &str) -> Result<Self, UnitError> {
        let quantity: Quantity = quantity.trim().parse()?;
        let limit = limit.trim();
        let value = match quantity {
            Quantity::Latency(..) => limit.parse::<DurationNs>()?.0 as f64,
            Quantity::ErrorRate => limit.parse::<Ratio>()?.0,
            Quantity::OutputTokensPerSPerUser => tokens_per_s(limit)?,
        };
        if value <= 0.0 && quantity != Quantity::ErrorRate {
            let reason = format!("a limit of 0 for {quantity} can never be held or says nothing");
            return Err(UnitError::new(limit, "a limit", reason));
        }
        Ok(Self { quantity, limit: value })
    }

    /// Whether a value keeps the limit.
    pub fn is_kept_by(&self, value: f64) -> bool {
        if self.quantity.is_floor() { value >= self.limit } else { value <= self.limit }
    }

    /// The limit as text: `800ms`, `0.001`, `20`.
    pub fn limit_text(&self) -> String {
        match self.quantity {
            Quantity::Latency(..) => DurationNs(self.limit as u64).to_string(),
            Quantity::ErrorRate => {
                // 0.1 % rather than 0.001: rounded, since 0.001 × 100 is not exactly 0.1.
                format!("{}%", (self.limit * 1e10).round() / 1e8)
            }
            Quantity::OutputTokensPerSPerUser => self.limit.to_string(),
        }
    }
}

fn tokens_per_s(text: &str) -> Result<f64, UnitError> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim();
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite() && *value > 0.0);
    value.ok_or_else(|| {
        UnitError::new(text, "a number of tokens/s", "write a number above 0, as in `20`")
    })
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.quantity.is_floor() { ">=" } else { "<=" };
        write!(f, "{}{sign}{}", self.quantity, self.limit_text())
    }
}

impl FromStr for Term {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |what: &str| UnitError::new(text, "a term of an SLA", what);
        let found = ["<=", ">=", "≤", "≥"]
            .into_iter()
            .filter_map(|sign| Some((text.find(sign)?, sign)))
            .min();
        let Some((at, sign)) = found else {
            return Err(wrong("it has no `<=`, as in `ttft_p99<=800ms`"));
        };
        let term = Self::new(&text[..at], &text[at + sign.len()..])?;
        let is_floor = matches!(sign, ">=" | "≥");
        if is_floor != term.quantity.is_floor() {
            let right = if is_floor { "<=" } else { ">=" };
            let reason = format!("`{}` is limited with `{right}`", term.quantity);
            return Err(wrong(&reason));
        }
        Ok(term)
    }
}

impl From<Term> for String {
    fn from(term: Term) -> Self {
        term.to_string()
    }
}

impl TryFrom<String> for Term {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl Sla {
    /// Checks terms that belong together.
    ///
    /// # Errors
    /// No term, one quantity limited twice, or a lower percentile with a laxer limit than a higher
    /// one of the same latency, which would say nothing.
    pub fn new(name: &str, terms: Vec<Term>) -> Result<Self, UnitError> {
        let name = name.trim();
        let wrong = |what: String| Err(UnitError::new(name, "an SLA", what));
        if name.is_empty() || name.chars().any(|c| c.is_control() || "<>=,:".contains(c)) {
            return wrong("its name is empty or has one of `<>=,:` in it".into());
        }
        if terms.is_empty() {
            return wrong("it has no terms; write some, as in `ttft_p99<=800ms`".into());
        }
        for (index, term) in terms.iter().enumerate() {
            for earlier in &terms[..index] {
                if earlier.quantity == term.quantity {
                    return wrong(format!(
                        "`{earlier}` and `{term}` limit the same quantity: remove one of them"
                    ));
                }
                if let Some((low, high)) = out_of_order(earlier, term) {
                    return wrong(format!(
                        "`{high}` already implies `{low}`: tighten the lower percentile or remove it"
                    ));
                }
            }
        }
        Ok(Self { name: name.to_owned(), terms })
    }

    /// The limit that a single request must keep, for each latency that has one (the laxest of its
    /// terms): attainment and goodput are shares of attempts that keep them all.
    pub fn request_limits(&self) -> Vec<(Latency, f64)> {
        let mut limits: Vec<(Latency, f64)> = Vec::new();
        let mut add = |latency: Latency, limit: f64| match limits
            .iter_mut()
            .find(|(known, _)| *known == latency)
        {
            Some((_, known)) => *known = known.max(limit),
            None => limits.push((latency, limit)),
        };
        for term in &self.terms {
            match term.quantity {
                Quantity::Latency(latency, _) => add(latency, term.limit),
                Quantity::OutputTokensPerSPerUser => add(Latency::Tpot, 1e9 / term.limit),
                Quantity::ErrorRate => {}
            }
        }
        limits
    }
}

/// Two percentiles of one latency whose limits make the lower one's superfluous: (lower, higher).
fn out_of_order<'a>(a: &'a Term, b: &'a Term) -> Option<(&'a Term, &'a Term)> {
    let level = |term: &Term| match term.quantity {
        Quantity::Latency(latency, Statistic::Max) => Some((latency, 1_000)),
        Quantity::Latency(latency, statistic) => Some((latency, statistic.per_mille()?)),
        _ => None,
    };
    let ((of_a, level_a), (of_b, level_b)) = (level(a)?, level(b)?);
    let (low, high) = if level_a < level_b { (a, b) } else { (b, a) };
    (of_a == of_b && low.limit > high.limit).then_some((low, high))
}

/// Reads `ttft_p99<=800ms,error_rate<=0.1%`, with or without `NAME:` before it.
impl FromStr for Sla {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (name, terms) = match text.split_once(':') {
            Some((name, terms)) if !name.contains(['<', '>', '≤', '≥', '=']) => (name, terms),
            _ => (DEFAULT_NAME, text),
        };
        let terms = terms.split(',').map(str::trim).filter(|term| !term.is_empty());
        Self::new(name, terms.map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl fmt::Display for Sla {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.terms.iter().map(Term::to_string).collect();
        write!(f, "{}: {}", self.name, terms.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sla(text: &str) -> Sla {
        text.parse().expect(text)
    }

    fn refused(text: &str) -> String {
        text.parse::<Sla>().expect_err(text).to_string()
    }

    #[test]
    fn terms_are_read_and_written_back() {
        let read = sla("ttft_p99<=800ms, itl_p99<=60ms,error_rate<=0.1%");
        assert_eq!(read.name, "default");
        let again: Vec<String> = read.terms.iter().map(Term::to_string).collect();
        assert_eq!(again, ["ttft_p99<=800ms", "itl_p99<=60ms", "error_rate<=0.1%"]);
        assert_eq!(read.terms[0].limit, 8e8);
        assert_eq!(read.terms[2].limit, 0.001);
        let named = sla("batch:e2e_p99≤60s,output_tokens_per_s_per_user>=20");
        assert_eq!(named.to_string(), "batch: e2e_p99<=1m, output_tokens_per_s_per_user>=20");
        for term in named.terms {
            let json = serde_json::to_string(&term).expect("text");
            assert_eq!(serde_json::from_str::<Term>(&json).expect("term"), term);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        for (text, told) in [
            ("ttft_p99", "it has no `<=`"),
            ("ttft_p98<=1s", "`p98` is not a statistic"),
            ("tfft_p99<=1s", "`tfft` is not a latency"),
            ("ttft_p99<=1", "it has no unit"),
            ("ttft_p99>=1s", "is limited with `<=`"),
            ("output_tokens_per_s_per_user<=20", "is limited with `>=`"),
            ("error_rate<=-1%", "it is negative"),
            ("error_rate<=200%", "more than 1"),
            ("ttft_p99<=0", "can never be held"),
            ("ttft_p99<=1s,ttft_p99<=2s", "limit the same quantity"),
            ("ttft_p50<=2s,ttft_p99<=1s", "already implies"),
            ("", "it has no terms"),
            ("fast:", "it has no terms"),
        ] {
            assert!(refused(text).contains(told), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn a_request_must_keep_the_laxest_limit_of_each_latency() {
        let sla =
            sla("ttft_p50<=200ms,ttft_p99<=800ms,error_rate<=1%,output_tokens_per_s_per_user>=20");
        assert_eq!(sla.request_limits(), [(Latency::Ttft, 8e8), (Latency::Tpot, 5e7)]);
    }
}
