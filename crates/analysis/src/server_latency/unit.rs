//! The unit of a histogram's values.

use loadline_schema::latency::BoundValue;
use loadline_schema::metric_window::{Family, Histogram};
use loadline_schema::server_metrics::Known;

/// Units of time, and how many of each a second has.
const TIMES: [(&str, f64); 4] =
    [("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)];
/// What a name may end in, and the unit that it means.
const ENDINGS: [(&str, &str); 10] = [
    ("_seconds", "seconds"),
    ("_milliseconds", "milliseconds"),
    ("_microseconds", "microseconds"),
    ("_nanoseconds", "nanoseconds"),
    ("_ms", "milliseconds"),
    ("_us", "microseconds"),
    ("_ns", "nanoseconds"),
    ("_bytes", "bytes"),
    ("_tokens", "tokens"),
    ("_ratio", "ratio"),
];

/// The unit: as known, as the page states it, or as the name says; empty where nothing tells.
pub(super) fn of(family: &Family<Histogram>, known: Option<Known>) -> String {
    if let Some(known) = known {
        return known.metric.unit.to_owned();
    }
    if let Some(unit) = &family.unit {
        return unit.clone();
    }
    let ending = ENDINGS.iter().find(|(ending, _)| family.name.ends_with(ending));
    ending.map_or(String::new(), |(_, unit)| (*unit).to_owned())
}

/// Whether it is a unit of time.
pub(super) fn is_time(unit: &str) -> bool {
    TIMES.iter().any(|(name, _)| *name == unit)
}

/// A bound in this unit; `None` for a duration where the unit is none of time.
pub(super) fn in_unit(bound: BoundValue, unit: &str) -> Option<f64> {
    match bound {
        BoundValue::Number(number) => Some(number),
        BoundValue::Duration(duration) => {
            let (_, per_second) = TIMES.iter().find(|(name, _)| *name == unit)?;
            // One division of whole numbers: 300 ms is the same 0.3 that a page's "0.3" is.
            Some(duration.0 as f64 / (1e9 / per_second))
        }
    }
}
