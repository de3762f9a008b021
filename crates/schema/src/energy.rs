//! Energy: a figure with its bounds, how it came about, and whether it may be used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::spelled;

spelled! {
    /// How an energy came about, best first.
    EnergyClass {
        /// The difference of a counter that the hardware keeps.
        Counter = "counter",
        /// Samples of power, integrated over time.
        AveragedPower = "averaged_power",
        /// Watts that somebody stated, times time.
        Stated = "stated",
    }
}

/// An energy over a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnergyFigure {
    /// Joules. Of a figure that is not valid: of the part that was seen.
    pub joules: f64,
    /// Lower bound, J; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper bound, J; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// How it came about. Of a sum: the worst of its parts.
    pub class: EnergyClass,
    /// The time that it is about, ns.
    pub over_ns: u64,
    /// Whether it may be used.
    pub valid: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl EnergyFigure {
    /// Mean power, W; `None` for no time.
    pub fn watts(&self) -> Option<f64> {
        (self.over_ns > 0).then(|| self.joules / (self.over_ns as f64 / 1e9))
    }
}

/// Power with nothing to do, W, from the same kind of source as the energy it is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdleBaseline {
    /// Watts.
    pub watts: f64,
    /// Lower bound, W.
    pub low: f64,
    /// Upper bound, W.
    pub high: f64,
}

/// An energy with everything, and without what an idle machine would have taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrossNet {
    /// As measured.
    pub gross: EnergyFigure,
    /// Less the idle power times the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<EnergyFigure>,
}
