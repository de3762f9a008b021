//! The one place where quantities become text: unit, digits, interval, and what a missing value
//! or a missing bound looks like. Three significant digits, since no measurement here has more.

use loadline_schema::document::{Distribution, Estimate, Interval};

/// What stands where a value is absent.
pub const ABSENT: &str = "–";

/// A unit of time for a whole table column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DurationUnit {
    /// Its sign.
    pub name: &'static str,
    /// Its length, ns.
    pub ns: f64,
}

/// The units of time in use, from small to large.
pub const DURATION_UNITS: [DurationUnit; 4] = [
    DurationUnit { name: "ns", ns: 1.0 },
    DurationUnit { name: "µs", ns: 1e3 },
    DurationUnit { name: "ms", ns: 1e6 },
    DurationUnit { name: "s", ns: 1e9 },
];

impl DurationUnit {
    /// The unit in which this duration has one to three digits before the point, once rounded to
    /// three: 999.96 µs is 1.00 ms.
    pub fn of(ns: f64) -> Self {
        let fits = |unit: &&Self| ns.abs() / unit.ns < 999.5;
        *DURATION_UNITS.iter().find(fits).unwrap_or(&DURATION_UNITS[3])
    }

    /// One unit for a set of durations: that of the geometric middle between the smallest (zero
    /// apart) and the largest, so that neither is a long row of digits.
    pub fn fitting(durations_ns: impl IntoIterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for ns in durations_ns.into_iter().filter(|ns| ns.is_finite() && *ns > 0.0) {
            least = least.min(ns);
            most = most.max(ns);
        }
        if least > most { DURATION_UNITS[2] } else { Self::of(least.sqrt() * most.sqrt()) }
    }

    /// The number alone, in this unit.
    pub fn number(self, ns: f64) -> String {
        // Clocks count whole nanoseconds: decimals would be made up.
        if self.ns <= 1.0 && ns.fract() == 0.0 {
            return separated(&format!("{ns:.0}"));
        }
        number(ns / self.ns)
    }
}

/// A duration with its unit: "12.3 ms".
pub fn duration(ns: f64) -> String {
    let unit = DurationUnit::of(ns);
    format!("{} {}", unit.number(ns), unit.name)
}

/// Three significant digits, all digits before the point, thousands apart: "0.0123", "12.3",
/// "1,234". What is not finite is absent.
pub fn number(value: f64) -> String {
    digits(value, 3)
}

/// The same with so many significant digits, at least one: for what is to be checked by hand.
pub fn digits(value: f64, significant: usize) -> String {
    if !value.is_finite() {
        return ABSENT.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Through the exponent of the rounded value, so that 9.996 becomes 10.0 and not 10.00.
    let further = significant.max(1) - 1;
    let scientific = format!("{value:.further$e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let decimals = (further as i32 - exponent).clamp(0, 12) as usize;
    separated(&format!("{value:.decimals$}"))
}

/// A figure that its owner stated, with all the digits that were written: "0.3", "4,200".
pub fn stated(value: f64) -> String {
    if value.is_finite() { separated(&value.to_string()) } else { ABSENT.to_owned() }
}

/// A count with its thousands apart: "12,345".
pub fn count(n: u64) -> String {
    separated(&n.to_string())
}

/// A ratio as a percentage, without trailing zeros: "0.1 %".
pub fn percent(ratio: f64) -> String {
    let digits = number(ratio * 100.0);
    let digits = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        &digits
    };
    if digits == ABSENT { digits.to_owned() } else { format!("{digits} %") }
}

/// A bandwidth in decimal units: "480 MB/s", "1.23 GB/s".
pub fn bandwidth(bytes_per_s: f64) -> String {
    format!("{}/s", decimal_bytes(bytes_per_s))
}

/// An amount of data in decimal units: "98.0 MB", "1.20 TB".
pub fn decimal_bytes(bytes: f64) -> String {
    const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    // 999.6 MB would have three digits only as 1.00 GB.
    let unit = UNITS.into_iter().find(|(_, size)| bytes >= size * 0.9995);
    let (unit, size) = unit.unwrap_or(("B", 1.0));
    if size <= 1.0 && bytes.fract() == 0.0 {
        return format!("{} B", separated(&format!("{bytes:.0}")));
    }
    format!("{} {unit}", number(bytes / size))
}

/// A size that somebody chose, in binary units, exact where it is a whole number of them: "4 KiB".
pub fn binary_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.into_iter().find(|(_, size)| bytes >= *size);
    let (unit, size) = unit.unwrap_or(("B", 1));
    if bytes.is_multiple_of(size) {
        return format!("{} {unit}", count(bytes / size));
    }
    format!("{} {unit}", number(bytes as f64 / size as f64))
}

/// A change in percent with its sign and without a unit: "+5.1", "-0.84", "+123". A change has less
/// certain digits than what changed.
pub fn signed_percent(ratio: f64) -> String {
    let digits = unsigned_percent(ratio.abs());
    if digits == ABSENT {
        return digits;
    }
    let is_nothing = digits.chars().all(|c| matches!(c, '0' | '.'));
    let sign = if is_nothing || ratio > 0.0 { '+' } else { '-' };
    format!("{sign}{digits}")
}

/// The same without a sign.
pub fn unsigned_percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if !percent.is_finite() {
        return ABSENT.to_owned();
    }
    let decimals = match percent {
        p if p < 0.995 => 2,
        p if p < 99.95 => 1,
        _ => 0,
    };
    separated(&format!("{percent:.decimals$}"))
}

fn separated(digits: &str) -> String {
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// An estimate by `render`, with its interval where it has one: "11.3 (10.9–11.6)".
pub fn estimate(estimate: &Estimate, render: impl Fn(f64) -> String) -> String {
    let interval = Interval { low: estimate.low, high: estimate.high };
    with_interval(estimate.value, interval, render)
}

/// A value with its interval where both bounds are there.
fn with_interval(value: f64, interval: Interval, render: impl Fn(f64) -> String) -> String {
    match (interval.low, interval.high) {
        (Some(low), Some(high)) => format!("{} ({}–{})", render(value), render(low), render(high)),
        _ => render(value),
    }
}

/// A statistic of a distribution as analysis gave it: a percentile or the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistic {
    /// Its value.
    pub value: f64,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Whether the sample is too small to bound it from above: read it as "≥".
    pub is_open: bool,
}

impl Statistic {
    /// The statistic called `name` (`mean`, `p50`, `p90`, `p95`, `p99`, `p999`, `max`); `None`
    /// where the distribution does not have it.
    pub fn of(distribution: &Distribution, name: &str) -> Option<Self> {
        let value = match name {
            "mean" => distribution.mean?,
            "p50" => distribution.p50? as f64,
            "p90" => distribution.p90? as f64,
            "p95" => distribution.p95? as f64,
            "p99" => distribution.p99? as f64,
            "p999" => distribution.p999? as f64,
            "max" => distribution.max? as f64,
            _ => return None,
        };
        let interval = distribution.intervals.get(name).copied();
        // A percentile of raw values always has an interval; none at all means that a few values
        // bound it on neither side. Buckets have none, and neither has a mean of one trial.
        let has_bounds = name.starts_with('p') && !distribution.bucketed;
        let is_open = has_bounds && interval.and_then(|interval| interval.high).is_none();
        Some(Self { value, interval, is_open })
    }

    /// The number without its interval; "≥" where it has no upper bound.
    pub fn short(&self, unit: DurationUnit) -> String {
        let digits = unit.number(self.value);
        if self.is_open { format!("≥ {digits}") } else { digits }
    }

    /// The number with its interval.
    pub fn full(&self, unit: DurationUnit) -> String {
        self.told(|ns| unit.number(ns))
    }

    fn told(&self, render: impl Fn(f64) -> String) -> String {
        match self.interval {
            _ if self.is_open => format!("≥ {}", render(self.value)),
            Some(interval) => with_interval(self.value, interval, render),
            None => render(self.value),
        }
    }

    /// For running text, with unit, and with n where the sample is too small to bound it:
    /// "11.3 ms (10.9 ms–11.6 ms)", "≥ 52 ms (n = 48)".
    pub fn sentence(&self, n: u64) -> String {
        let text = self.told(duration);
        if self.is_open { format!("{text} (n = {})", count(n)) } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (0.999_6, "1.00"),
            (1.0, "1.00"),
            (9.996, "10.0"),
            (12.345, "12.3"),
            (99.96, "100"),
            (123.4, "123"),
            (1_234.5, "1,234"),
            (-1_234_567.0, "-1,234,567"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn durations_choose_their_unit() {
        for (ns, text) in [
            (0.0, "0 ns"),
            (7.0, "7 ns"),
            (999_960.0, "1.00 ms"),
            (12_345_678.0, "12.3 ms"),
            (1.5e9, "1.50 s"),
            (3.6e12, "3,600 s"),
        ] {
            assert_eq!(duration(ns), text, "{ns}");
        }
        assert_eq!(DurationUnit::fitting([12e6, 3e9]).name, "ms");
        assert_eq!(DurationUnit::fitting([433e6, 31e9]).name, "s");
        assert_eq!(DurationUnit::fitting([0.0, 3e9]).name, "s");
        assert_eq!(DurationUnit::fitting([310.0, 41e3]).name, "µs");
        assert_eq!(DurationUnit::fitting([]).name, "ms");
    }

    #[test]
    fn amounts_of_data() {
        for (bytes, text) in [
            (0.0, "0 B"),
            (512.0, "512 B"),
            (999.6, "1.00 kB"),
            (479.6e6, "480 MB"),
            (999.6e6, "1.00 GB"),
            (1.2e12, "1.20 TB"),
        ] {
            assert_eq!(decimal_bytes(bytes), text, "{bytes}");
        }
        assert_eq!(bandwidth(1.234e9), "1.23 GB/s");
        for (bytes, text) in
            [(512, "512 B"), (4096, "4 KiB"), (1 << 20, "1 MiB"), (1_500_000_000, "1.40 GiB")]
        {
            assert_eq!(binary_bytes(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn shares_and_counts() {
        assert_eq!(stated(0.3), "0.3");
        assert_eq!(stated(4_200.0), "4,200");
        assert_eq!(percent(0.001), "0.1 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.051_23), "5.12 %");
        assert_eq!(percent(f64::NAN), "–");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
    }

    #[test]
    fn changes_have_a_sign_and_few_digits() {
        for (ratio, text) in [
            (0.0, "+0.00"),
            (-0.000_01, "+0.00"),
            (0.0084, "+0.84"),
            (-0.009_96, "-1.0"),
            (0.0512, "+5.1"),
            (-0.4, "-40.0"),
            (0.9996, "+100"),
            (12.345, "+1,234"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(signed_percent(ratio), text, "{ratio}");
        }
    }

    #[test]
    fn intervals_and_lower_bounds() {
        let value = Estimate { value: 11.3, low: Some(10.9), high: Some(11.6), n: 3 };
        assert_eq!(estimate(&value, number), "11.3 (10.9–11.6)");
        assert_eq!(estimate(&Estimate { low: None, high: None, ..value }, number), "11.3");
        let mut distribution = Distribution { n: 48, p99: Some(52_000_000), ..Default::default() };
        distribution.intervals.insert("p99".into(), Interval { low: Some(4e7), high: None });
        let p99 = Statistic::of(&distribution, "p99").expect("there");
        assert_eq!(p99.sentence(distribution.n), "≥ 52.0 ms (n = 48)");
        assert_eq!(p99.short(DurationUnit::of(p99.value)), "≥ 52.0");
        assert_eq!(Statistic::of(&distribution, "p50"), None);
        distribution.p50 = Some(7_000_000);
        let p50 = Statistic::of(&distribution, "p50").expect("there");
        assert!(p50.is_open, "no interval at all is no certainty");
        distribution.bucketed = true;
        assert!(!Statistic::of(&distribution, "p50").expect("there").is_open);
    }

    proptest::proptest! {
        #[test]
        fn three_digits_are_within_half_a_percent(value in 1e-9..1e15_f64) {
            let back: f64 = number(value).replace(',', "").parse().unwrap();
            proptest::prop_assert!((back - value).abs() <= value * 0.005_001, "{}", number(value));
        }
    }
}
