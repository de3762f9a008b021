//! A cell of a table: a number as written, with its unit and the rounding of its digits.

/// What cells that hold nothing say.
const ABSENT: [&str; 6] = ["", "-", "–", "—", "n/a", "na"];

/// Largest number that counts as one: what is above would only overflow later.
const MOST: f64 = 1e18;

/// What a column's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// ns.
    Duration,
    /// Events per second.
    PerS,
    /// 0–1.
    Ratio,
    /// W.
    Watts,
    /// A whole number.
    Count,
}

impl Kind {
    /// The units of headings and cells, normalised by [`super::column`], with the power of ten that
    /// leads to the base unit.
    const fn units(self) -> &'static [(&'static str, i32)] {
        match self {
            Self::Duration => &[
                ("ns", 0),
                ("nanoseconds", 0),
                ("us", 3),
                ("µs", 3),
                ("μs", 3),
                ("microseconds", 3),
                ("ms", 6),
                ("msec", 6),
                ("milliseconds", 6),
                ("s", 9),
            ],
            Self::PerS => &[
                ("per_s", 0),
                ("1_per_s", 0),
                ("requests_per_s", 0),
                ("tokens_per_s", 0),
                ("hz", 0),
            ],
            Self::Ratio => &[("%", -2), ("percent", -2), ("pct", -2)],
            Self::Watts => &[("w", 0), ("watts", 0), ("watt", 0), ("kw", 3)],
            Self::Count => &[],
        }
    }

    /// The power of ten of a unit.
    pub(super) fn power(self, unit: &str) -> Option<i32> {
        self.units().iter().find(|(name, _)| *name == unit).map(|(_, power)| *power)
    }

    /// Whether a number without a unit has a meaning.
    const fn has_plain_numbers(self) -> bool {
        !matches!(self, Self::Duration)
    }

    /// What to write, for people.
    const fn accepted(self) -> &'static str {
        match self {
            Self::Duration => {
                "write a number with ns, us, ms or s, as in `435ms`, or the unit in the heading, \
                 as in `e2e_p99_ms` or `P99 Latency (ms)`"
            }
            Self::PerS => "write a number per second, as in `18.4`",
            Self::Ratio => "write a number from 0 to 1 or a percentage, as in `0.001` or `0.1%`",
            Self::Watts => "write watts, as in `350` or `350 W`",
            Self::Count => "write a whole number from 1, as in `16`",
        }
    }
}

/// Which sign a cell puts before its decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecimalSign {
    Point,
    Comma,
}

/// A cell as understood, in the base unit of its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    /// Its value.
    pub(super) value: f64,
    /// Half a unit of its last digit.
    pub(super) rounding: f64,
    /// The sign before its decimals, where it has decimals.
    pub(super) sign: Option<DecimalSign>,
}

/// Whether the cell holds nothing.
pub(super) fn is_absent(text: &str) -> bool {
    ABSENT.contains(&text.trim().to_lowercase().as_str())
}

/// Reads a cell. `heading` is the power of ten of the unit in the heading, where it has one.
/// The error says what is wrong and what to write.
pub(super) fn read(
    text: &str,
    kind: Kind,
    heading: Option<i32>,
) -> Result<Cell, (String, &'static str)> {
    let wrong = |what: &str| (format!("{} {what}", super::quoted(text)), kind.accepted());
    let written = Written::parse(text.trim()).map_err(wrong)?;
    let power = match (super::column::unit_key(written.rest).as_str(), heading) {
        ("", Some(power)) => power,
        ("", None) if kind.has_plain_numbers() => 0,
        ("", None) => return Err(wrong("has no unit")),
        (unit, heading) => {
            let power = kind.power(unit).ok_or_else(|| wrong("has a unit that is not known"))?;
            if heading.is_some_and(|heading| heading != power) {
                return Err(wrong("has another unit than the heading"));
            }
            power
        }
    };
    let cell = written.cell(power).ok_or_else(|| wrong("is too large"))?;
    match kind {
        Kind::Ratio if cell.value > 1.0 => Err(wrong("is more than 1")),
        Kind::Count if cell.value.fract() != 0.0 || cell.value < 1.0 => {
            Err(wrong("is no number of requests at once"))
        }
        _ => Ok(cell),
    }
}

/// The digits of a number, and what follows them.
struct Written<'a> {
    whole: &'a str,
    fraction: &'a str,
    exponent: i32,
    sign: Option<DecimalSign>,
    rest: &'a str,
}

impl<'a> Written<'a> {
    fn parse(text: &'a str) -> Result<Self, &'static str> {
        const THOUSANDS: &str = "has signs between thousands: write it without them";
        if text.strip_prefix(['-', '−']).is_some_and(|rest| rest.starts_with(is_digit)) {
            return Err("is negative");
        }
        let end = text.find(|c: char| !is_digit(c) && c != '.' && c != ',').unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (exponent, rest) = exponent(rest).ok_or("is too large")?;
        let rest = rest.trim();
        let found = number.find(['.', ',']);
        let Some(at) = found else {
            if number.is_empty() {
                return Err("is no number");
            }
            return Ok(Self { whole: number, fraction: "", exponent, sign: None, rest });
        };
        let (whole, fraction) = (&number[..at], &number[at + 1..]);
        if fraction.contains(['.', ',']) {
            return Err(THOUSANDS);
        }
        if fraction.is_empty() {
            return Err("is no number");
        }
        let sign = if number.contains(',') { DecimalSign::Comma } else { DecimalSign::Point };
        if sign == DecimalSign::Comma {
            // "0,435" can only be a decimal comma, "1,435" may be either.
            let may_be_thousands = fraction.len() == 3 && !whole.is_empty() && whole != "0";
            if may_be_thousands {
                return Err("may have a decimal comma or a sign between thousands: write it \
                            without either");
            }
        }
        Ok(Self { whole, fraction, exponent, sign: Some(sign), rest })
    }

    /// The number times `10^power`, correctly rounded; `None` beyond [`MOST`].
    fn cell(&self, power: i32) -> Option<Cell> {
        let Self { whole, fraction, .. } = self;
        let exponent = self.exponent + power;
        let value: f64 = format!("0{whole}.{fraction}0e{exponent}").parse().ok()?;
        let last = exponent - i32::try_from(fraction.len()).ok()?;
        let rounding: f64 = format!("0.5e{last}").parse().ok()?;
        let fits = value <= MOST && rounding <= MOST;
        fits.then_some(Cell { value, rounding, sign: self.sign })
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// A leading `e-3`, and what follows; `None` when it is out of all proportion.
fn exponent(text: &str) -> Option<(i32, &str)> {
    let Some(tail) = text.strip_prefix(['e', 'E']) else { return Some((0, text)) };
    let digits = tail.strip_prefix(['+', '-']).unwrap_or(tail);
    let count = digits.find(|c: char| !is_digit(c)).unwrap_or(digits.len());
    if count == 0 {
        return Some((0, text));
    }
    let end = tail.len() - digits.len() + count;
    let value: i32 = tail[..end].parse().ok()?;
    (value.abs() <= 300).then_some((value, &tail[end..]))
}
