//! Why a GPU's clocks are held down: the bits of NVML's clock event reasons by name.

use crate::outcome::spelled;

spelled! {
    /// A reason for clocks that are lower than they could be.
    ThrottleReason {
        /// Nothing to do.
        Idle = "idle",
        /// Clocks set by a user.
        ApplicationClocks = "application_clocks",
        /// The limit of power, by software.
        SwPowerCap = "sw_power_cap",
        /// Hardware slows down (heat, power brake or a fast rise of power).
        HwSlowdown = "hw_slowdown",
        /// Clocks kept equal with other GPUs.
        SyncBoost = "sync_boost",
        /// Heat, by software.
        SwThermal = "sw_thermal",
        /// Heat, by hardware.
        HwThermal = "hw_thermal",
        /// The power supply asks for less.
        HwPowerBrake = "hw_power_brake",
        /// Clocks set for a display.
        DisplayClocks = "display_clocks",
        /// The board's own limit.
        BoardLimit = "board_limit",
        /// Reliability (voltage).
        Reliability = "reliability",
    }
}

impl ThrottleReason {
    /// Its bit in NVML's and DCGM's mask.
    pub const fn bit(self) -> u64 {
        match self {
            Self::Idle => 0x1,
            Self::ApplicationClocks => 0x2,
            Self::SwPowerCap => 0x4,
            Self::HwSlowdown => 0x8,
            Self::SyncBoost => 0x10,
            Self::SwThermal => 0x20,
            Self::HwThermal => 0x40,
            Self::HwPowerBrake => 0x80,
            Self::DisplayClocks => 0x100,
            Self::BoardLimit => 0x200,
            Self::Reliability => 0x400,
        }
    }

    /// Whether work is slowed down by it: an idle GPU and clocks that somebody chose are not
    /// throttled.
    pub const fn slows_work(self) -> bool {
        !matches!(self, Self::Idle | Self::ApplicationClocks | Self::DisplayClocks)
    }
}

/// A set of reasons, as NVML's and DCGM's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThrottleReasons(pub u64);

impl ThrottleReasons {
    /// The reasons with a name. Bits without one are in no list, but count in [`Self::slows_work`].
    pub fn named(self) -> impl Iterator<Item = ThrottleReason> {
        ThrottleReason::ALL.iter().copied().filter(move |reason| self.0 & reason.bit() != 0)
    }

    /// Whether any of them slows work down; an unknown bit does.
    pub fn slows_work(self) -> bool {
        let harmless = ThrottleReason::ALL
            .iter()
            .filter(|reason| !reason.slows_work())
            .fold(0, |bits, reason| bits | reason.bit());
        self.0 & !harmless != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_names_and_idle_is_no_throttling() {
        let reasons = ThrottleReasons(0x4 | 0x20);
        let names: Vec<_> = reasons.named().collect();
        assert_eq!(names, [ThrottleReason::SwPowerCap, ThrottleReason::SwThermal]);
        assert!(reasons.slows_work());
        assert!(!ThrottleReasons(0x1 | 0x2 | 0x100).slows_work());
        assert!(!ThrottleReasons(0).slows_work());
        assert!(ThrottleReasons(1 << 40).slows_work(), "a bit without a name");
    }
}
