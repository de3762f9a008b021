//! `gpu_metrics` of amdgpu: a binary table whose layout depends on the version in its header (kernel,
//! `kgd_pp_interface.h`). Read here: 1.1 to 1.5 of discrete GPUs. All ones in a number mean that the
//! GPU does not have it.

use loadline_schema::gpu::{Missing, MissingKind, ThrottleReason};

/// Joules of one step of the energy counter: 2⁻¹⁶ J.
const ENERGY_STEP_J: f64 = 1.0 / 65_536.0;

/// What of the table is in use.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct AmdMetrics {
    pub(super) energy_j: Option<f64>,
    pub(super) socket_power_w: Option<f64>,
    pub(super) gfx_active: Option<f64>,
    pub(super) umc_active: Option<f64>,
    pub(super) gfx_mhz: Option<f64>,
    pub(super) memory_mhz: Option<f64>,
    /// In NVML's bits.
    pub(super) throttle: Option<u64>,
}

/// Offsets in bytes; absent: the version does not have it.
struct Layout {
    least: usize,
    power: usize,
    gfx: usize,
    umc: usize,
    energy: usize,
    gfx_mhz: Option<usize>,
    memory_mhz: Option<usize>,
    throttle: Option<usize>,
}

const V1_1: Layout = Layout {
    least: 72,
    gfx: 16,
    umc: 18,
    power: 22,
    energy: 24,
    gfx_mhz: Some(54),
    memory_mhz: Some(58),
    throttle: None,
};
const V1_3: Layout = Layout { least: 120, throttle: Some(112), ..V1_1 };
const V1_4: Layout = Layout {
    least: 48,
    power: 10,
    gfx: 12,
    umc: 14,
    energy: 24,
    gfx_mhz: None,
    memory_mhz: None,
    throttle: None,
};
const V1_5: Layout = Layout { least: 112, energy: 88, ..V1_4 };

impl AmdMetrics {
    /// Reads a table.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Missing> {
        let failed = |reason: String| Missing::new(MissingKind::Failed, reason);
        let Some([_, _, format, content]) = bytes.first_chunk::<4>() else {
            return Err(failed("gpu_metrics: shorter than its header".into()));
        };
        let layout = match (format, content) {
            (1, 1 | 2) => V1_1,
            (1, 3) => V1_3,
            (1, 4) => V1_4,
            (1, 5) => V1_5,
            _ => {
                let reason = format!("gpu_metrics: version {format}.{content} is not read here");
                return Err(Missing::new(MissingKind::Unsupported, reason));
            }
        };
        if bytes.len() < layout.least {
            let reason = format!(
                "gpu_metrics: {} bytes are too few for version {format}.{content}",
                bytes.len()
            );
            return Err(failed(reason));
        }
        let small = |at: usize| {
            let value = u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
            (value != u16::MAX).then(|| f64::from(value))
        };
        let large = |at: usize| {
            let value = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
            (value != u64::MAX).then_some(value)
        };
        Ok(Self {
            energy_j: large(layout.energy).map(|steps| steps as f64 * ENERGY_STEP_J),
            socket_power_w: small(layout.power),
            gfx_active: small(layout.gfx).map(|percent| percent / 100.0),
            umc_active: small(layout.umc).map(|percent| percent / 100.0),
            gfx_mhz: layout.gfx_mhz.and_then(small),
            memory_mhz: layout.memory_mhz.and_then(small),
            throttle: layout.throttle.and_then(large).map(reasons),
        })
    }
}

/// The kernel's bits that are the same for every GPU (`SMU_THROTTLER_…`), in NVML's: 0–15 are limits
/// of power, 16–31 of current, 32–47 of temperature, from 56 on reliability and fit.
fn reasons(bits: u64) -> u64 {
    [
        (0xffff, ThrottleReason::SwPowerCap),
        (0xffff_0000, ThrottleReason::BoardLimit),
        (0xffff_0000_0000, ThrottleReason::SwThermal),
        (0xff00_0000_0000_0000, ThrottleReason::Reliability),
    ]
    .into_iter()
    .filter(|(mask, _)| bits & mask != 0)
    .fold(0, |found, (_, reason)| found | reason.bit())
}

#[cfg(test)]
mod tests {
    use loadline_testkit::amd_metrics_table;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tables_of_two_layouts() {
        let table = AmdMetrics::parse(&amd_metrics_table(3)).expect("1.3");
        assert_eq!(table.socket_power_w, Some(512.0));
        assert_eq!((table.gfx_active, table.umc_active), (Some(0.97), Some(0.41)));
        assert_eq!(table.energy_j, Some(1_000.0));
        assert_eq!((table.gfx_mhz, table.memory_mhz), (Some(2_100.0), Some(1_300.0)));
        let bits = ThrottleReason::SwPowerCap.bit() | ThrottleReason::SwThermal.bit();
        assert_eq!(table.throttle, Some(bits));
        for content in [4, 5] {
            let table = AmdMetrics::parse(&amd_metrics_table(content)).expect("1.4 or 1.5");
            assert_eq!(table.socket_power_w, Some(512.0), "{content}");
            assert_eq!(table.energy_j, Some(1_000.0), "{content}");
            assert_eq!(table.umc_active, Some(0.41), "{content}");
            assert_eq!(table.throttle, None);
        }
    }

    #[test]
    fn all_ones_are_no_value_and_other_versions_are_named() {
        let mut table = amd_metrics_table(3);
        table[22..24].fill(0xff);
        table[24..32].fill(0xff);
        let read = AmdMetrics::parse(&table).expect("1.3");
        assert_eq!((read.socket_power_w, read.energy_j), (None, None));
        table[2..4].copy_from_slice(&[2, 1]);
        let error = AmdMetrics::parse(&table).expect_err("an APU's");
        assert_eq!(error.kind, MissingKind::Unsupported);
        assert!(error.reason.contains("2.1"), "{}", error.reason);
        assert!(AmdMetrics::parse(&amd_metrics_table(3)[..60]).is_err());
        assert!(AmdMetrics::parse(&[]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), content in 0_u8..8) {
            if bytes.len() > 3 {
                bytes[2..4].copy_from_slice(&[1, content]);
            }
            let _ = AmdMetrics::parse(&bytes);
        }
    }
}
