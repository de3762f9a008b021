//! Columns of the table of GPUs.

use loadline_schema::energy::EnergyClass;
use loadline_schema::gpu::{GpuField, GpuStat, GpuSummary};

use super::key;
use crate::quantity::{self, ABSENT};
use crate::table::Column;

const GIB: f64 = 1_073_741_824.0;

/// A named statistic of a GPU.
struct Named {
    /// With its unit.
    name: &'static str,
    /// The same in two lines.
    short: (&'static str, &'static str),
    /// What one unit of the figure is in the table's.
    factor: f64,
    of: fn(&GpuSummary) -> Option<GpuStat>,
}

const STATISTICS: [Named; 7] = [
    Named {
        name: "SM occupancy, %",
        short: ("occupancy", "%"),
        factor: 100.0,
        of: |gpu| gpu.sm_occupancy,
    },
    Named {
        name: "SM active, %",
        short: ("active, %", "SM"),
        factor: 100.0,
        of: |gpu| gpu.sm_active,
    },
    Named {
        name: "tensor active, %",
        short: ("active, %", "tensor"),
        factor: 100.0,
        of: |gpu| gpu.tensor_active,
    },
    Named {
        name: "DRAM active, %",
        short: ("active, %", "DRAM"),
        factor: 100.0,
        of: |gpu| gpu.dram_active,
    },
    Named { name: "power, W", short: ("power", "W"), factor: 1.0, of: |gpu| gpu.power_w },
    Named {
        name: "temperature, °C",
        short: ("temp.", "°C"),
        factor: 1.0,
        of: |gpu| gpu.temperature_c,
    },
    Named {
        name: "SM clock, MHz",
        short: ("clock", "MHz"),
        factor: 1.0,
        of: |gpu| gpu.clocks.sm_mhz,
    },
];

/// Mean, 95th percentile and largest value of each figure; of a look or two alone the mean.
pub(super) fn of(gpus: &[GpuSummary], is_short: bool) -> Vec<Column> {
    let mut columns = vec![Column::numbers("", "GPU", gpus.iter().map(key).collect())];
    for named in &STATISTICS {
        columns.extend(if is_short { one(gpus, named) } else { three(gpus, named) });
    }
    columns.extend(memory(gpus));
    if !is_short {
        columns.extend(energy(gpus));
    }
    let throttled = |gpu: &GpuSummary| Some(quantity::number(gpu.throttled_ratio? * 100.0));
    columns.push(Column::numbers(
        "throttled",
        if is_short { "%" } else { "% of time" },
        cells(gpus, throttled),
    ));
    if gpus.iter().all(|gpu| gpu.sm_active.is_none()) {
        let time = |gpu: &GpuSummary| {
            Some(quantity::number(other(gpu, GpuField::TimeActive)?.mean * 100.0))
        };
        columns.push(Column::numbers("a kernel ran", "% of time", cells(gpus, time)));
    }
    columns.into_iter().filter(|column| column.has_content(&[ABSENT])).collect()
}

fn cells(gpus: &[GpuSummary], of: impl Fn(&GpuSummary) -> Option<String>) -> Vec<String> {
    gpus.iter().map(|gpu| of(gpu).unwrap_or_else(|| ABSENT.to_owned())).collect()
}

fn other(gpu: &GpuSummary, field: GpuField) -> Option<GpuStat> {
    gpu.others.get(&field).copied()
}

fn three(gpus: &[GpuSummary], named: &Named) -> Vec<Column> {
    let parts: [(&str, fn(GpuStat) -> f64); 3] =
        [("mean", |s| s.mean), ("p95", |s| s.p95), ("max", |s| s.max)];
    let column = |(label, part): (&str, fn(GpuStat) -> f64)| {
        let text = |gpu: &GpuSummary| Some(quantity::number(part((named.of)(gpu)?) * named.factor));
        Column::numbers(named.name, label, cells(gpus, text))
    };
    parts.map(column).into()
}

/// Short, so that a look fits into one table.
fn one(gpus: &[GpuSummary], named: &Named) -> Vec<Column> {
    let text = |gpu: &GpuSummary| Some(quantity::number((named.of)(gpu)?.mean * named.factor));
    vec![Column::numbers(named.short.0, named.short.1, cells(gpus, text))]
}

/// The most that was in use, and what there is.
fn memory(gpus: &[GpuSummary]) -> [Column; 2] {
    let gib = |field| move |gpu: &GpuSummary| Some(quantity::number(other(gpu, field)?.max / GIB));
    let (used, total) = (gib(GpuField::MemoryUsedBytes), gib(GpuField::MemoryTotalBytes));
    let name = "memory, GiB";
    [
        Column::numbers(name, "used", cells(gpus, used)),
        Column::numbers(name, "of", cells(gpus, total)),
    ]
}

/// With its bounds, and what it was read from.
fn energy(gpus: &[GpuSummary]) -> [Column; 4] {
    const NAME: &str = "energy, J";
    let figure = |gpu: &GpuSummary| {
        let energy = gpu.energy_j.as_ref()?;
        let doubt = if energy.valid { "" } else { "?" };
        Some(format!("{doubt}{}", quantity::number(energy.joules)))
    };
    let low = |gpu: &GpuSummary| Some(quantity::number(gpu.energy_j.as_ref()?.low?));
    let high = |gpu: &GpuSummary| Some(quantity::number(gpu.energy_j.as_ref()?.high?));
    let by = |gpu: &GpuSummary| {
        let by = match gpu.energy_j.as_ref()?.class {
            EnergyClass::Counter => "counter",
            EnergyClass::AveragedPower => "power",
            EnergyClass::Stated => "stated",
        };
        Some(by.to_owned())
    };
    [
        Column::numbers(NAME, "spent", cells(gpus, figure)),
        Column::numbers(NAME, "low", cells(gpus, low)),
        Column::numbers(NAME, "high", cells(gpus, high)),
        Column::words("by", cells(gpus, by)).in_group(NAME),
    ]
}
