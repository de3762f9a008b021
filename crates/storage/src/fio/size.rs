//! Sizes and times as fio's options state them: `4k`, `1mib`, `90`, `2m`, `500ms`.

/// Bytes of a size. With `kb_base` 1024 (fio's default) `k`, `kb` and `ki` are 1024 and `kib` is
/// 1000; with 1000 the other way round (fio's `__get_mult_bytes`). `None` for percentages and what is
/// no size.
pub(super) fn bytes(text: &str, kb_base: u64) -> Option<u64> {
    let (number, unit) = split(text)?;
    let other = if kb_base == 1024 { 1000_u64 } else { 1024 };
    let base = if unit.get(1..3) == Some("ib") { other } else { kb_base };
    let power = match unit.chars().next() {
        None | Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    whole(number * (base as f64).powi(power))
}

/// Nanoseconds of a time; without a unit it is in seconds.
pub(super) fn time_ns(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let ns = match unit.as_str() {
        "us" | "usec" => 1e3,
        "ms" | "msec" => 1e6,
        "" | "s" | "sec" => 1e9,
        "m" | "min" => 60e9,
        "h" | "hours" => 3600e9,
        "d" | "days" => 86_400e9,
        _ => return None,
    };
    whole(number * ns)
}

/// The number and the lower-case unit.
fn split(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    if let Some(digits) = text.strip_prefix("0x") {
        return Some((u64::from_str_radix(digits, 16).ok()? as f64, String::new()));
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim().to_ascii_lowercase()))
}

/// A number that fits.
fn whole(number: f64) -> Option<u64> {
    (number.is_finite() && (0.0..=u64::MAX as f64).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_fios() {
        // The first four were seen in the figures of fio 3.33.
        for (text, wanted) in [
            ("4ki", Some(4096)),
            ("1mi", Some(1 << 20)),
            ("1mib", Some(1_000_000)),
            ("4kb", Some(4096)),
            ("1M", Some(1 << 20)),
            ("1.5g", Some(3 << 29)),
            ("512", Some(512)),
            ("0x1000", Some(4096)),
            ("10%", None),
            ("", None),
            ("k", None),
            ("99999999999t", None),
        ] {
            assert_eq!(bytes(text, 1024), wanted, "{text}");
        }
        assert_eq!((bytes("4k", 1000), bytes("4kib", 1000)), (Some(4000), Some(4096)));
    }

    #[test]
    fn times_are_in_seconds_without_a_unit() {
        for (text, wanted) in [
            ("4", Some(4_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("2m", Some(120_000_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("10us", Some(10_000)),
            ("soon", None),
            ("1y", None),
        ] {
            assert_eq!(time_ns(text), wanted, "{text}");
        }
    }
}
