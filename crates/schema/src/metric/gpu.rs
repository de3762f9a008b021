//! GPUs over a time, as `loadline gpu` tells them.

use super::{BLANK, Metric, Section};

const GPU: Metric =
    Metric { section: Section::Gpu, shape: "mean, p95, max, n", unit: "0–1", ..BLANK };
const ACTIVITY: &str = "mean over readings, each weighted with the time that it is an average of (`over_ns`); P95 (nearest rank) and maximum of the readings";
const STAT: &str = "mean, P95 (nearest rank) and maximum of the readings";

pub(super) const GPUS: &[Metric] = &[
    Metric {
        key: "gpu.samples",
        name: "Readings",
        unit: "readings",
        shape: "count",
        formula: "readings of this GPU, those in which single fields were missing included; a field's own number is its `n`",
        ..GPU
    },
    Metric {
        key: "gpu.over_ns",
        name: "Time",
        unit: "ns",
        shape: "number",
        formula: "time of the last reading − time of the first",
        ..GPU
    },
    Metric {
        key: "gpu.sm_occupancy",
        name: "SM occupancy",
        formula: ACTIVITY,
        from: &["sm_occupancy"],
        notes: "Warps that are resident ÷ warps that could be, averaged over SMs and cycles. DCGM: `DCGM_FI_PROF_SM_OCCUPANCY` (1003, SMOCC); NVML: GPM metric 3. High occupancy is no goal by itself: a kernel bound by memory or by tensor cores may be best at a low one.",
        ..GPU
    },
    Metric {
        key: "gpu.sm_active",
        name: "SM activity",
        formula: ACTIVITY,
        from: &["sm_active"],
        notes: "Cycles in which an SM had at least one warp, averaged over SMs; a warp that waits for memory counts. DCGM: `DCGM_FI_PROF_SM_ACTIVE` (1002, SMACT); NVML: GPM metric 2. No other figure stands in for it: `utilization.gpu` of nvidia-smi is the share of *time* in which any kernel ran, on however few SMs.",
        ..GPU
    },
    Metric {
        key: "gpu.tensor_active",
        name: "Tensor core activity",
        formula: ACTIVITY,
        from: &["tensor_active"],
        notes: "Cycles in which the tensor pipe was at work. DCGM: `DCGM_FI_PROF_PIPE_TENSOR_ACTIVE` (1004, TENSO); NVML: GPM metric 5 (any tensor).",
        ..GPU
    },
    Metric {
        key: "gpu.dram_active",
        name: "DRAM activity",
        formula: ACTIVITY,
        from: &["dram_active"],
        notes: "Share of the memory bandwidth in use. DCGM: `DCGM_FI_PROF_DRAM_ACTIVE` (1005, DRAMA), of cycles; NVML: GPM metric 10. About 0.8 is the most that is reached in practice. `utilization.memory` of nvidia-smi is a share of time, and not this.",
        ..GPU
    },
    Metric {
        key: "gpu.power_w",
        name: "Power",
        unit: "W",
        formula: STAT,
        from: &["power_w"],
        notes: "The driver's own average over 1 s on most GPUs from Ampere on: shorter peaks do not show. nvidia-smi: `power.draw`; DCGM: field 155 (POWER). Of the board, not of the machine.",
        ..GPU
    },
    Metric {
        key: "gpu.energy_j",
        name: "Energy",
        unit: "J",
        shape: "figure with bounds",
        formula: "difference of the counter from the first reading to the last; where there is no counter, trapezoids between samples of power. `low` and `high`: what lies surely inside and around, and one step of the counter more. `valid` is false, with the reason, where the time has fewer than 100 steps of the counter, where it went back, where over 1 % of the time was not read, where samples of power are over 2 s apart or span less than 10 averaging times, and where counter and samples are over 25 % apart",
        from: &["energy_j", "power_w", "energy_step_ns"],
        notes: "The counter's own step (10 to 100 ms, by the GPU) is measured by reading it again and again for up to 0.5 s before the first look; where that gave nothing, the time between looks that differ stands in, which needs longer times. nvidia-smi has no such figure; DCGM: field 156 (TOTEC, mJ). Zeus takes the same difference.",
        source: "nvml.h (`nvmlDeviceGetTotalEnergyConsumption`); zeus#181 (counter and samples 75 % apart)",
        ..GPU
    },
    Metric {
        key: "gpu.temperature_c",
        name: "Temperature",
        unit: "°C",
        formula: STAT,
        from: &["temperature_c"],
        notes: "Of the chip. DCGM: field 150 (TMPTR).",
        ..GPU
    },
    Metric {
        key: "gpu.clocks",
        name: "Clocks of SMs and memory",
        unit: "MHz",
        formula: STAT,
        from: &["sm_clock_mhz", "mem_clock_mhz"],
        notes: "At the moment of the reading. DCGM: fields 100 and 101.",
        ..GPU
    },
    Metric {
        key: "gpu.throttled_ratio",
        name: "Throttled",
        shape: "number",
        formula: "readings in which a reason slowed the clocks down ÷ readings that tell reasons; idle, clocks that somebody set and display settings are no such reasons",
        from: &["throttle"],
        notes: "A share of looks, not of time: short throttling between two looks is not seen. nvidia-smi: `clocks_event_reasons.*`; DCGM: field 112.",
        ..GPU
    },
    Metric {
        key: "gpu.throttled_by",
        name: "Throttled, by reason",
        shape: "map of numbers",
        formula: "the same for each reason; several may hold at once",
        from: &["throttle"],
        ..GPU
    },
    Metric {
        key: "gpu.others",
        name: "Other fields",
        unit: "as the field's name says",
        shape: "map of mean, p95, max, n",
        formula: "the same statistics of every other field that was read: `power_instant_w`, `module_power_w`, `power_limit_w`, `memory_temperature_c`, `pcie_tx_bytes_per_s`, `pcie_rx_bytes_per_s`, `nvlink_tx_bytes_per_s`, `nvlink_rx_bytes_per_s`, `memory_used_bytes`, `memory_total_bytes`, `time_active`, `memory_time_active`, `pcie_gen`, `pcie_lanes`",
        notes: "`time_active` and `memory_time_active` are nvidia-smi's `utilization.gpu` and `utilization.memory`: shares of time in which anything at all ran, no measures of load. Rates of PCIe and NVLink come from GPM or are differences of counters. `memory_used_bytes` is what processes hold, which an inference server takes at its start and keeps.",
        ..GPU
    },
    Metric {
        key: "gpu.timeline",
        name: "Timeline",
        unit: "as the field",
        shape: "map of lists",
        formula: "means over 60 equal parts of the time; a part without a reading is null",
        ..GPU
    },
    Metric {
        key: "gpu.missing",
        name: "What could not be had",
        unit: "–",
        shape: "map of reasons",
        formula: "of each field that no reading has: unsupported, denied, unavailable or failed, the call that said so, and the command that would grant it",
        ..GPU
    },
];
