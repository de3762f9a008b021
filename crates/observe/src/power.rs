//! Power and energy apart from GPUs: RAPL counters of processors, sensors of hwmon, and watts that
//! somebody stated.

mod hwmon;
mod rapl;

pub use hwmon::{Hwmon, PowerSensor, SensorFigure};
pub use rapl::{Rapl, RaplReading, RaplZone};

/// Watts that the owner stated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stated {
    /// Watts.
    pub watts: f64,
    /// By how much it may be off, as a share of it; absent: nobody said.
    pub tolerance: Option<f64>,
}

impl Stated {
    /// Watts that are finite and not negative, with a tolerance that is a share.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in words.
    pub fn new(watts: f64, tolerance: Option<f64>) -> Result<Self, String> {
        if !watts.is_finite() || watts < 0.0 {
            return Err(format!("{watts} W is no power: give a number of at least 0"));
        }
        if tolerance.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("a tolerance is a share between 0 and 1 of the stated watts".to_owned());
        }
        Ok(Self { watts, tolerance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_watts_are_checked() {
        assert!(Stated::new(450.0, Some(0.1)).is_ok());
        assert!(Stated::new(-1.0, None).is_err());
        assert!(Stated::new(f64::NAN, None).is_err());
        assert!(Stated::new(1.0, Some(1.5)).is_err());
    }
}
