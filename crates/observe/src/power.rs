//! Power and energy apart from GPUs: RAPL counters of processors, sensors of hwmon.

mod hwmon;
mod rapl;

pub use hwmon::{Hwmon, PowerSensor, SensorFigure};
pub use rapl::{Rapl, RaplReading, RaplZone};
