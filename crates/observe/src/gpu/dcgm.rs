//! DCGM's fields: their numbers stay, their names changed in 4.6. Both names lead to the number, and
//! the number to our field.

use loadline_schema::gpu::{GpuField, GpuReading, Missing, MissingKind};

/// Field names without their prefix `DCGM_FI_`, by number: those before 4.6, then those since.
const NAMES: [(u16, &[&str]); 25] = [
    (100, &["DEV_SM_CLOCK"]),
    (101, &["DEV_MEM_CLOCK"]),
    (112, &["DEV_CLOCK_THROTTLE_REASONS", "DEV_CLOCKS_EVENT_REASONS"]),
    (140, &["DEV_MEMORY_TEMP", "DEV_MEMORY_TEMP_CELSIUS"]),
    (150, &["DEV_GPU_TEMP", "DEV_GPU_TEMP_CELSIUS"]),
    (155, &["DEV_POWER_USAGE", "DEV_BOARD_POWER_WATTS"]),
    (156, &["DEV_TOTAL_ENERGY_CONSUMPTION"]),
    (157, &["DEV_POWER_USAGE_INSTANT", "DEV_BOARD_POWER_RAW_WATTS"]),
    (164, &["DEV_ENFORCED_POWER_LIMIT", "DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS"]),
    (203, &["DEV_GPU_UTIL", "DEV_GPU_UTIL_RATIO"]),
    (204, &["DEV_MEM_COPY_UTIL"]),
    (237, &["DEV_PCIE_LINK_GEN"]),
    (238, &["DEV_PCIE_LINK_WIDTH"]),
    (240, &["DEV_POWER_VIOLATION"]),
    (241, &["DEV_THERMAL_VIOLATION"]),
    (250, &["DEV_FB_TOTAL"]),
    (252, &["DEV_FB_USED"]),
    (1002, &["PROF_SM_ACTIVE", "PROF_SM_UTIL_RATIO"]),
    (1003, &["PROF_SM_OCCUPANCY", "PROF_SM_OCCUPANCY_RATIO"]),
    (1004, &["PROF_PIPE_TENSOR_ACTIVE", "PROF_TENSOR_UTIL_RATIO"]),
    (1005, &["PROF_DRAM_ACTIVE", "PROF_DRAM_UTIL_RATIO"]),
    (1009, &["PROF_PCIE_TX_BYTES"]),
    (1010, &["PROF_PCIE_RX_BYTES"]),
    (1011, &["PROF_NVLINK_TX_BYTES"]),
    (1012, &["PROF_NVLINK_RX_BYTES"]),
];

/// From here on a number stands for "no value" (DCGM_FP64_BLANK); the next ones say why.
const BLANK: f64 = 140_737_488_355_328.0;
/// The same of whole numbers (DCGM_INT64_BLANK), as near as a float can be.
const INT_BLANK: f64 = 9.223_372_036_854_775e18;
/// Opens the profiling fields of GPUs before Hopper.
const PROFILING_GRANT: &str = "sudo nv-hostengine (DCGM as root), and in a container --cap-add \
                               SYS_ADMIN";

/// Whether the field belongs to the profiling module, which not every GPU and user has.
pub(crate) fn is_profiling(field: GpuField) -> bool {
    field.dcgm_id().is_some_and(|id| id >= 1001)
}

/// DCGM's names of a field, old and new, with their prefix.
pub fn dcgm_names(field: GpuField) -> Vec<String> {
    let id = field.dcgm_id();
    let names = NAMES.iter().find(|(number, _)| Some(*number) == id);
    names.map_or_else(Vec::new, |(_, names)| {
        names.iter().map(|name| format!("DCGM_FI_{name}")).collect()
    })
}

/// The field that DCGM calls so: by number ("1002"), by its old or new name ("DCGM_FI_PROF_SM_ACTIVE",
/// "PROF_SM_UTIL_RATIO"), or by the head of its column in `dcgmi dmon` ("SMACT").
pub fn dcgm_field(text: &str) -> Option<GpuField> {
    let bare = text.strip_prefix("DCGM_FI_").unwrap_or(text);
    let by_name = NAMES.iter().find(|(_, names)| names.contains(&bare)).map(|(id, _)| *id);
    let id = by_name.or_else(|| text.parse().ok());
    GpuField::ALL
        .iter()
        .copied()
        .find(|field| (id.is_some() && field.dcgm_id() == id) || field.dcgmi_word() == Some(text))
}

/// A value of DCGM in our unit, or what its blank says.
pub(crate) fn dcgm_value(field: GpuField, value: f64) -> Result<f64, Missing> {
    // Bytes and millijoules may be large; what is a ratio or rate of less is told by the blanks of
    // floats.
    let whole = matches!(
        field,
        GpuField::EnergyJ
            | GpuField::PowerThrottledNs
            | GpuField::ThermalThrottledNs
            | GpuField::Throttle
            | GpuField::PcieTxBytesPerS
            | GpuField::PcieRxBytesPerS
            | GpuField::NvlinkTxBytesPerS
            | GpuField::NvlinkRxBytesPerS
    );
    let id = field.dcgm_id().unwrap_or_default();
    if value >= INT_BLANK || (!whole && value >= BLANK) {
        return Err(match value - BLANK {
            2.0 => Missing::new(
                MissingKind::Unsupported,
                format!("DCGM field {id}: this GPU or driver does not support it"),
            ),
            3.0 => Missing::denied(format!("DCGM field {id}: not permitted"), PROFILING_GRANT),
            _ => Missing::new(MissingKind::Unavailable, format!("DCGM field {id}: no value yet")),
        });
    }
    Ok(value * field.per_dcgm_unit())
}

/// Says of every field that the source did not bring why.
pub(crate) fn excuse_rest(reading: &mut GpuReading, source: &str) {
    for field in GpuField::ALL {
        if reading.values.contains_key(field) || reading.missing.contains_key(field) {
            continue;
        }
        let missing = match field.dcgm_id() {
            None => Missing::new(MissingKind::Unsupported, "DCGM has no such field"),
            Some(id) if is_profiling(*field) => Missing::new(
                MissingKind::Unavailable,
                format!(
                    "{source} does not have DCGM field {id}: it is not in its list, or the GPU has \
                     no profiling counters (GeForce 20 to 40 have none), or DCGM may not read them"
                ),
            ),
            Some(id) => Missing::new(
                MissingKind::Unavailable,
                format!("{source} does not have DCGM field {id}: it is not in its list"),
            ),
        };
        reading.put(*field, Err(missing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_names_number_and_column_lead_to_one_field() {
        for name in [
            "1002",
            "DCGM_FI_PROF_SM_ACTIVE",
            "DCGM_FI_PROF_SM_UTIL_RATIO",
            "PROF_SM_ACTIVE",
            "SMACT",
        ] {
            assert_eq!(dcgm_field(name), Some(GpuField::SmActive), "{name}");
        }
        for name in ["155", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS", "POWER"] {
            assert_eq!(dcgm_field(name), Some(GpuField::PowerW), "{name}");
        }
        for name in ["", "DCGM_FI_", "1001", "DCGM_FI_DEV_XID_ERRORS", "POWERS"] {
            assert_eq!(dcgm_field(name), None, "{name}");
        }
    }

    #[test]
    fn every_field_with_a_number_has_names() {
        for field in GpuField::ALL {
            let names = dcgm_names(*field);
            assert_eq!(names.is_empty(), field.dcgm_id().is_none(), "{field}");
            for name in names {
                assert_eq!(dcgm_field(&name), Some(*field), "{name}");
            }
        }
    }

    #[test]
    fn blanks_say_why() {
        let kind = |field, value| dcgm_value(field, value).expect_err("a blank").kind;
        assert_eq!(kind(GpuField::SmActive, BLANK), MissingKind::Unavailable);
        assert_eq!(kind(GpuField::SmActive, BLANK + 2.0), MissingKind::Unsupported);
        assert_eq!(kind(GpuField::SmActive, BLANK + 3.0), MissingKind::Denied);
        assert_eq!(kind(GpuField::EnergyJ, 9.223_372_036_854_776e18), MissingKind::Unavailable);
        // A big machine's energy in mJ is no blank.
        assert_eq!(dcgm_value(GpuField::EnergyJ, 2e14), Ok(2e11));
        assert_eq!(dcgm_value(GpuField::TimeActive, 50.0), Ok(0.5));
        assert_eq!(dcgm_value(GpuField::MemoryUsedBytes, 2.0), Ok(2_097_152.0));
    }
}
