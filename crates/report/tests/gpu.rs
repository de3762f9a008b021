//! GPUs as text that a person has looked at.

use std::collections::BTreeMap;

use loadline_report::{Style, gpu_check, gpu_terminal};
use loadline_schema::energy::{EnergyClass, EnergyFigure};
use loadline_schema::gpu::{
    GpuClocks, GpuField, GpuReading, GpuSource, GpuStat, GpuSummary, Missing, MissingKind,
    ThrottleReason,
};
use unicode_width::UnicodeWidthStr;

const NARROW: Style = Style { width: 80, colour: false };

#[expect(clippy::unnecessary_wraps, reason = "the fields that it fills may be absent")]
fn stat(mean: f64) -> Option<GpuStat> {
    Some(GpuStat { mean, p95: mean * 1.1, max: mean * 1.2, n: 600 })
}

fn h100(index: u32) -> GpuSummary {
    let busy = f64::from(index + 1) / 10.0;
    let wave = |top: f64| {
        (0..60).map(|at| (at % 7 != 6).then(|| top * f64::from(at % 10) / 10.0)).collect()
    };
    GpuSummary {
        host: String::new(),
        index,
        mig: None,
        uuid: None,
        name: "NVIDIA H100 80GB HBM3".into(),
        source: GpuSource::Nvml,
        samples: 600,
        over_ns: 60_000_000_000,
        sm_occupancy: stat(busy / 2.0),
        sm_active: stat(busy),
        dram_active: stat(busy * 0.9),
        tensor_active: stat(busy * 0.3),
        power_w: stat(350.0 + 10.0 * f64::from(index)),
        energy_j: Some(EnergyFigure {
            joules: 21_000.0,
            low: Some(20_900.0),
            high: Some(21_100.0),
            class: EnergyClass::Counter,
            over_ns: 60_000_000_000,
            valid: index != 1,
            reason: (index == 1)
                .then(|| "the counter went back: its driver was loaded anew".into()),
        }),
        temperature_c: stat(61.0),
        clocks: GpuClocks { sm_mhz: stat(1_700.0), mem_mhz: stat(2_600.0) },
        throttled_ratio: Some(if index == 0 { 0.25 } else { 0.0 }),
        throttled_by: (index == 0)
            .then_some((ThrottleReason::SwPowerCap, 0.25))
            .into_iter()
            .collect(),
        others: BTreeMap::from([
            (GpuField::TimeActive, stat(1.0).expect("a figure")),
            (GpuField::MemoryUsedBytes, stat(50.0 * 1_073_741_824.0).expect("a figure")),
            (
                GpuField::MemoryTotalBytes,
                GpuStat { mean: 8.5e10, p95: 8.5e10, max: 8.5e10, n: 600 },
            ),
        ]),
        timeline: BTreeMap::from([
            (GpuField::SmActive, wave(1.0)),
            (GpuField::PowerW, wave(400.0)),
        ]),
        missing: BTreeMap::from([(
            GpuField::ModulePowerW,
            Missing::new(MissingKind::Unsupported, "not this GPU's"),
        )]),
    }
}

fn geforce(index: u32) -> GpuSummary {
    let no_gpm = Missing::new(
        MissingKind::Unsupported,
        "GPM: only GPUs from Hopper on have it; GeForce 20 to 40 have no such counters at all",
    );
    let fields =
        [GpuField::SmOccupancy, GpuField::SmActive, GpuField::DramActive, GpuField::TensorActive];
    GpuSummary {
        name: "NVIDIA GeForce RTX 3090".into(),
        sm_occupancy: None,
        sm_active: None,
        dram_active: None,
        tensor_active: None,
        timeline: BTreeMap::new(),
        missing: fields.into_iter().map(|field| (field, no_gpm.clone())).collect(),
        ..h100(index)
    }
}

fn fits(text: &str) {
    for line in text.lines() {
        // A command must be copied in one piece.
        assert!(
            line.width() <= 80 || line.starts_with("  echo "),
            "{} columns: {line}",
            line.width()
        );
    }
}

#[test]
fn eight_h100_for_a_minute() {
    let gpus: Vec<GpuSummary> = (0..8).map(h100).collect();
    let text = gpu_terminal(&gpus, &NARROW);
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_look_has_no_statistics() {
    let look = |index| GpuSummary { samples: 2, ..h100(index) };
    let gpus: Vec<GpuSummary> = (0..8).map(look).collect();
    let text = gpu_terminal(&gpus, &NARROW);
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn two_3090_without_activity() {
    let gpus: Vec<GpuSummary> = (2..4).map(geforce).collect();
    let text = gpu_terminal(&gpus, &NARROW);
    fits(&text);
    assert!(!text.contains("SM active, %"), "time shares do not stand in: {text}");
    insta::assert_snapshot!(text);
}

#[test]
fn no_gpu_at_all() {
    assert!(gpu_terminal(&[], &NARROW).contains("No GPU was read"));
    let passed = [(GpuSource::Nvml, "libnvidia-ml.so.1: not there".to_owned())];
    let text = gpu_check(&[], &passed, &NARROW);
    assert!(text.contains("no GPU that can be read") && text.contains("libnvidia-ml"), "{text}");
}

#[test]
fn a_check_of_two_gpus_that_differ() {
    let mut readings: Vec<GpuReading> =
        (0..2).map(|index| GpuReading::new(GpuSource::Nvml, index, "X", 0)).collect();
    for reading in &mut readings {
        reading.put(GpuField::PowerW, Ok(350.5));
        reading.put(GpuField::TimeActive, Ok(1.0));
        reading.put(GpuField::Throttle, Ok(36.0));
        reading.put(GpuField::PcieTxBytesPerS, Ok(1.5e9));
        reading.put(GpuField::MemoryUsedBytes, Ok(3.2e9));
        reading.put(GpuField::PowerThrottledNs, Ok(7e6));
        let denied = Missing::denied(
            "nvmlGpmSampleGet: profiling counters are for administrators on this machine",
            "echo 'options nvidia NVreg_RestrictProfilingToAdminUsers=0' | sudo tee /etc/modprobe.d/nvidia-profiling.conf",
        );
        reading.put(GpuField::SmActive, Err(denied.clone()));
        reading.put(GpuField::DramActive, Err(denied));
    }
    let failed = Missing::new(MissingKind::Failed, "nvmlDeviceGetTotalEnergyConsumption: unknown");
    readings[0].put(GpuField::EnergyJ, Ok(5_070.0));
    readings[1].put(GpuField::EnergyJ, Err(failed));
    for reading in &mut readings {
        reading.excuse_rest(&Missing::new(MissingKind::Unsupported, "this GPU does not have it"));
    }
    let passed = [(GpuSource::Dcgmi, "cannot be started: no such file".to_owned())];
    let text = gpu_check(&readings, &passed, &NARROW);
    fits(&text);
    insta::assert_snapshot!(text);
}
