//! What goes before the measure window, as given: a number of requests or a duration.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use crate::plan::Warmup;
use crate::units::{Count, DurationNs, TextVisitor, UnitError};

/// Warm-up as given: `20` (requests) or `"5s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmupFile {
    /// So many requests; 0 for none.
    Requests(u64),
    /// This long.
    Duration(DurationNs),
}

impl WarmupFile {
    /// The same in a resolved plan.
    pub fn resolved(self) -> Warmup {
        match self {
            Self::Requests(requests) => Warmup::Requests { requests },
            Self::Duration(DurationNs(duration_ns)) => Warmup::Duration { duration_ns },
        }
    }
}

impl FromStr for WarmupFile {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if let Ok(Count(requests)) = text.parse() {
            return Ok(Self::Requests(requests));
        }
        text.parse().map(Self::Duration).map_err(|error: UnitError| UnitError {
            quantity: "a warm-up",
            reason: format!("{}; or a number of requests, as in `20`", error.reason),
            ..error
        })
    }
}

impl fmt::Display for WarmupFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(requests) => requests.fmt(f),
            Self::Duration(duration) => duration.fmt(f),
        }
    }
}

impl serde::Serialize for WarmupFile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Requests(requests) => Count(*requests).serialize(serializer),
            Self::Duration(duration) => duration.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for WarmupFile {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor(PhantomData))
    }
}
