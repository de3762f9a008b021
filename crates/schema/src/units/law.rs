//! Laws as people write them: lengths ("512", "uniform:100-200", "normal:512,64",
//! "lognormal:400,0.5") and arrivals ("constant", "poisson", "gamma:0.5").

use super::{Arrival, Count, Decimal, FromStr, GAMMA_SHAPE_DEFAULT, Length, UnitError, fmt};

/// Most tokens that a length may name.
const TOKENS_MAX: u64 = 100_000_000;

const LENGTH: &str = "a token length";
const LENGTH_ACCEPTED: &str = "write `512`, `uniform:100-200` (least-most), `normal:512,64` (mean, \
                               standard deviation) or `lognormal:400,0.5` (median, sigma)";

fn length_error(text: &str, what: impl fmt::Display) -> UnitError {
    UnitError::new(text, LENGTH, format!("{what}; {LENGTH_ACCEPTED}"))
}

fn tokens(text: &str, part: &str) -> Result<u32, UnitError> {
    let count: Count = part.parse().map_err(|error: UnitError| {
        let what = error.reason.split(';').next().unwrap_or_default().to_owned();
        length_error(text, format!("in `{}` {what}", part.trim()))
    })?;
    match u32::try_from(count.0) {
        Ok(0) => Err(length_error(text, "a length is at least 1 token")),
        Ok(tokens) if count.0 <= TOKENS_MAX => Ok(tokens),
        _ => Err(length_error(text, "it is more than 100 million tokens")),
    }
}

fn number(text: &str, part: &str) -> Result<f64, UnitError> {
    let decimal = Decimal::parse(part.trim());
    let value = decimal.map(Decimal::to_f64).filter(|value| value.is_finite());
    value.ok_or_else(|| length_error(text, format!("`{}` is not a plain number", part.trim())))
}

fn pair<'a>(text: &str, parameters: &'a str, by: char) -> Result<(&'a str, &'a str), UnitError> {
    parameters
        .split_once(by)
        .ok_or_else(|| length_error(text, format!("this law has two numbers with `{by}` between")))
}

impl FromStr for Length {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let Some((law, parameters)) = text.trim().split_once(':') else {
            return Ok(Self::Fixed { tokens: tokens(text, text)? });
        };
        match law.trim() {
            "fixed" => Ok(Self::Fixed { tokens: tokens(text, parameters)? }),
            "uniform" => {
                let (min, max) = pair(text, parameters, '-')?;
                let (min, max) = (tokens(text, min)?, tokens(text, max)?);
                if min > max {
                    return Err(length_error(text, "the least length is more than the most"));
                }
                Ok(Self::Uniform { min, max })
            }
            "normal" => {
                let (mean, sd) = pair(text, parameters, ',')?;
                let (mean, sd) = (number(text, mean)?, number(text, sd)?);
                check_centre(text, mean)?;
                Ok(Self::Normal { mean, sd })
            }
            "lognormal" => {
                let (median, sigma) = pair(text, parameters, ',')?;
                let (median, sigma) = (number(text, median)?, number(text, sigma)?);
                check_centre(text, median)?;
                if sigma > 5.0 {
                    return Err(length_error(text, "sigma is more than 5"));
                }
                Ok(Self::LogNormal { median, sigma })
            }
            other => Err(length_error(text, format!("unknown law `{other}`"))),
        }
    }
}

fn check_centre(text: &str, centre: f64) -> Result<(), UnitError> {
    if (1.0..=TOKENS_MAX as f64).contains(&centre) {
        return Ok(());
    }
    Err(length_error(text, "the mean or median lies outside 1 to 100 million tokens"))
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { tokens } => write!(f, "{tokens}"),
            Self::Uniform { min, max } => write!(f, "uniform:{min}-{max}"),
            Self::Normal { mean, sd } => write!(f, "normal:{mean},{sd}"),
            Self::LogNormal { median, sigma } => write!(f, "lognormal:{median},{sigma}"),
        }
    }
}

impl FromStr for Arrival {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refuse = |what: String| {
            let accepted = "write `poisson`, `constant`, `gamma` or `gamma:0.5` (its shape)";
            UnitError::new(text, "a law of arrivals", format!("{what}; {accepted}"))
        };
        let (law, shape) = match text.trim().split_once(':') {
            Some((law, shape)) => (law.trim(), Some(shape.trim())),
            None => (text.trim(), None),
        };
        match (law, shape) {
            ("constant", None) => Ok(Self::Constant),
            ("poisson", None) => Ok(Self::Poisson),
            ("gamma", None) => Ok(Self::Gamma { shape: GAMMA_SHAPE_DEFAULT }),
            ("gamma", Some(shape)) => {
                let value = Decimal::parse(shape).map(Decimal::to_f64);
                let value = value.filter(|shape| (0.001..=1_000.0).contains(shape));
                let shape = value
                    .ok_or_else(|| refuse("the shape is a number from 0.001 to 1000".into()))?;
                Ok(Self::Gamma { shape })
            }
            ("constant" | "poisson", Some(_)) => Err(refuse(format!("`{law}` has no parameter"))),
            _ => Err(refuse(format!("unknown law `{law}`"))),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Poisson => f.write_str("poisson"),
            Self::Gamma { shape } => write!(f, "gamma:{shape}"),
        }
    }
}
