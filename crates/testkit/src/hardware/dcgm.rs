//! What dcgm-exporter and `dcgmi dmon` show of such machines.

use std::fmt::Write as _;

/// Fields of a page: old name, new name, and the value of GPU `n`.
type Field = (&'static str, &'static str, fn(usize) -> String);

const PAGE: [Field; 12] = [
    ("DEV_SM_CLOCK", "DEV_SM_CLOCK", |_| "1980".into()),
    ("DEV_GPU_TEMP", "DEV_GPU_TEMP_CELSIUS", |_| "61".into()),
    ("DEV_POWER_USAGE", "DEV_BOARD_POWER_WATTS", |n| format!("{}.500000", 350 + n)),
    ("DEV_TOTAL_ENERGY_CONSUMPTION", "DEV_TOTAL_ENERGY_CONSUMPTION", |n| {
        (5_000_000 + 1_000 * n).to_string()
    }),
    ("DEV_GPU_UTIL", "DEV_GPU_UTIL_RATIO", |_| "100".into()),
    ("DEV_FB_USED", "DEV_FB_USED", |_| "3072".into()),
    ("DEV_XID_ERRORS", "DEV_XID_ERROR", |_| "0".into()),
    ("PROF_SM_ACTIVE", "PROF_SM_UTIL_RATIO", |_| "0.810000".into()),
    ("PROF_SM_OCCUPANCY", "PROF_SM_OCCUPANCY_RATIO", |_| "0.425000".into()),
    ("PROF_PIPE_TENSOR_ACTIVE", "PROF_TENSOR_UTIL_RATIO", |_| "0.610000".into()),
    ("PROF_DRAM_ACTIVE", "PROF_DRAM_UTIL_RATIO", |_| "0.550000".into()),
    ("PROF_PCIE_TX_BYTES", "PROF_PCIE_TX_BYTES", |_| "1500000000".into()),
];

/// A page of dcgm-exporter on a machine with so many H100, with field names before or since 4.6.
pub fn exporter_page(gpus: usize, new_names: bool) -> String {
    let mut page = String::new();
    for (old, new, value) in PAGE {
        let name = if new_names { new } else { old };
        let _ = writeln!(page, "# HELP DCGM_FI_{name} of the \"GPU\" {{in some unit}}.");
        let _ = writeln!(page, "# TYPE DCGM_FI_{name} gauge");
        for gpu in 0..gpus {
            let _ = writeln!(
                page,
                "DCGM_FI_{name}{{gpu=\"{gpu}\",UUID=\"GPU-0000000{gpu}\",device=\"nvidia{gpu}\",\
                 modelName=\"NVIDIA H100 80GB HBM3\",Hostname=\"node1\"}} {}",
                value(gpu)
            );
        }
    }
    page
}

/// A page of a GPU with two MIG instances: what belongs to the GPU stands with each of them.
pub fn exporter_page_mig() -> String {
    let mut page = String::new();
    for (name, values) in [
        ("DEV_POWER_USAGE", ["350.5", "350.5"]),
        ("PROF_SM_ACTIVE", ["0.3", "0.4"]),
        ("DEV_FB_USED", ["100", "200"]),
    ] {
        for (instance, value) in [3, 4].into_iter().zip(values) {
            let _ = writeln!(
                page,
                "DCGM_FI_{name}{{gpu=\"0\",UUID=\"GPU-1\",modelName=\"NVIDIA A30\",\
                 GPU_I_PROFILE=\"1g.6gb\",GPU_I_ID=\"{instance}\",Hostname=\"node1\"}} {value}"
            );
        }
    }
    page
}

const COLUMNS: &str = "#Entity   SMACT  SMOCC  TENSO  DRAMA  PCITX       PCIRX       NVLTX        \
                       NVLRX        POWER    TOTEC    TMPTR  SMCLK  DVCCTR  GPUTL\n\
                       ID                                                                     \
                                   W        mJ       C\n";

/// `dcgmi dmon` on a machine with so many H100, so many rounds of it, heads before each.
pub fn dmon_text(gpus: usize, rounds: usize) -> String {
    let mut text = String::new();
    for round in 0..rounds {
        text.push_str(COLUMNS);
        for gpu in 0..gpus {
            let energy = 5_000_000 + 35_000 * round + 1_000 * gpu;
            let _ = writeln!(
                text,
                "GPU {gpu}     0.810  0.425  0.610  0.550  1500000000  2500000000  31000000000  \
                 30000000000  {}.500  {energy}  61  1980  4  100",
                350 + gpu
            );
        }
    }
    text
}

/// The same on two RTX 3090, which have no profiling counters.
pub fn dmon_text_geforce() -> String {
    let mut text = COLUMNS.to_owned();
    for gpu in 0..2 {
        let _ = writeln!(
            text,
            "GPU {gpu}     N/A  N/A  N/A  N/A  N/A  N/A  N/A  N/A  {}.000  700000  72  1695  0  98",
            340 + gpu
        );
    }
    text
}
