//! Moments as a user writes them.

use loadline_schema::units::DurationNs;

/// A moment, s since the Unix epoch: RFC 3339, a number of seconds, or before now, as in `-10m`.
pub(super) fn moment_s(text: &str, now_s: f64) -> Result<f64, String> {
    let wrong = || {
        format!(
            "`{text}` is no moment: write 2026-11-24T10:00:00Z, 1795514400 (s since the Unix epoch) \
             or -10m (before now)"
        )
    };
    let text = text.trim();
    if text == "now" {
        return Ok(now_s);
    }
    if let Some(before) = text.strip_prefix('-') {
        let before: DurationNs = before.parse().map_err(|_| wrong())?;
        return Ok(now_s - before.0 as f64 / 1e9);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return if seconds.is_finite() { Ok(seconds) } else { Err(wrong()) };
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(moment.as_millisecond() as f64 / 1e3)
}

/// A moment for people: RFC 3339 in UTC, to the second.
pub(super) fn in_words(moment_s: f64) -> String {
    let whole = jiff::Timestamp::from_second(moment_s.round() as i64);
    whole.map_or_else(|_| moment_s.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read() {
        assert_eq!(moment_s("1795514400.5", 0.0), Ok(1_795_514_400.5));
        assert_eq!(moment_s("2026-11-24T10:00:00Z", 0.0), Ok(1_795_514_400.0));
        assert_eq!(moment_s("2026-11-24T11:00:00+01:00", 0.0), Ok(1_795_514_400.0));
        assert_eq!(moment_s("-10m", 1_000.0), Ok(400.0));
        assert_eq!(moment_s("now", 1_000.0), Ok(1_000.0));
        assert_eq!(in_words(1_795_514_400.2), "2026-11-24T10:00:00Z");
        for text in ["", "yesterday", "-", "-10", "nan", "inf", "10:00"] {
            let error = moment_s(text, 0.0).expect_err(text);
            assert!(error.contains("-10m"), "{error}");
        }
    }
}
