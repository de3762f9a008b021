//! A decimal number without rounding: "1.5s" is 1,500,000,000 ns, not what a float makes of it.

/// `digits / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    digits: u128,
    scale: u32,
}

/// More digits than this (u64 has 20, and nine decimals of a nanosecond's unit) are no quantity.
const DIGITS_MAX: usize = 29;

impl Decimal {
    /// Digits with at most one point between or before them; `_` between digits is skipped.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.starts_with('_') || (text.contains('.') && fraction.is_empty()) {
            return None;
        }
        let plain: String = whole.chars().chain(fraction.chars()).filter(|c| *c != '_').collect();
        // A float written out ("0.30000000000000004") may have more decimals than count: cut them.
        let decimals = fraction.chars().filter(|c| *c != '_').count();
        let surplus = plain.len().saturating_sub(DIGITS_MAX).min(decimals);
        let kept = plain.get(..plain.len() - surplus)?;
        if kept.is_empty() || kept.len() > DIGITS_MAX || !plain.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        Some(Self { digits: kept.parse().ok()?, scale: (decimals - surplus) as u32 })
    }

    /// The number times `size`, rounded to the nearest whole; `None` when it does not fit in u64.
    pub(crate) fn times(self, size: u64) -> Option<u64> {
        let product = self.digits.checked_mul(u128::from(size))?;
        let divisor = 10_u128.checked_pow(self.scale)?;
        let half_up = u128::from(product % divisor >= divisor.div_ceil(2) && divisor > 1);
        u64::try_from(product / divisor + half_up).ok()
    }

    /// Whether the number times `size` has no fraction.
    pub(crate) fn is_whole_times(self, size: u64) -> bool {
        let product = self.digits.checked_mul(u128::from(size));
        let divisor = 10_u128.checked_pow(self.scale);
        matches!((product, divisor), (Some(p), Some(d)) if p.is_multiple_of(d))
    }

    /// The nearest float.
    pub(crate) fn to_f64(self) -> f64 {
        // Through the text, since dividing by a power of ten would round twice.
        format!("{}e-{}", self.digits, self.scale).parse().unwrap_or(f64::NAN)
    }
}

/// The leading digits, points and underscores of `text`, and what follows them.
pub(crate) fn split_number(text: &str) -> (&str, &str) {
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    text.split_at(end)
}
