//! NVML against the fake library, which is really loaded: every function fails once.

use loadline_clock::RunClock;
use loadline_observe::gpu::{
    GPM_INTERVAL_NS, GpuError, GpuReader, GpuRoots, Nvml, NvmlSettings, check, open,
};
use loadline_schema::gpu::{GpuField, GpuReading, GpuSource, MissingKind, ThrottleReasons};
use loadline_testkit::{
    FAKE_NVML_FUNCTIONS, FakeNvml, H100_SCRIPT, RTX_3090_SCRIPT, exporter_page, vm_tree,
};
use tempfile::TempDir;

fn fake(script: &str) -> (TempDir, FakeNvml) {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeNvml::new(folder.path(), script).expect("a C compiler");
    (folder, fake)
}

fn opened(fake: &FakeNvml) -> Nvml {
    Nvml::open(fake.library(), NvmlSettings::default()).expect("opens")
}

/// The second of two looks, 200 ms apart: all fields have had their chance.
fn second_look(nvml: &mut Nvml) -> Vec<GpuReading> {
    nvml.read(0).expect("a first look");
    nvml.read(2 * GPM_INTERVAL_NS).expect("a second look")
}

fn complete(readings: &[GpuReading]) {
    for reading in readings {
        for field in GpuField::ALL {
            let there = reading.values.contains_key(field);
            let excused = reading.missing.contains_key(field);
            assert!(there != excused, "GPU {}: {field}: {there} {excused}", reading.label());
        }
    }
}

#[test]
fn eight_h100_tell_everything() {
    let (_folder, fake) = fake(H100_SCRIPT);
    let mut nvml = opened(&fake);
    let readings = second_look(&mut nvml);
    assert_eq!(readings.len(), 8);
    complete(&readings);
    let gpu = &readings[3];
    assert_eq!((gpu.index, gpu.mig, gpu.source), (3, None, GpuSource::Nvml));
    assert_eq!(gpu.name, "NVIDIA H100 80GB HBM3");
    assert_eq!(gpu.over_ns, Some(2 * GPM_INTERVAL_NS));
    let mib = 1_048_576.0;
    for (field, value) in [
        (GpuField::SmActive, 0.81),
        (GpuField::SmOccupancy, 0.425),
        (GpuField::TensorActive, 0.61),
        (GpuField::DramActive, 0.55),
        (GpuField::PcieTxBytesPerS, 1_000.0 * mib),
        (GpuField::PcieRxBytesPerS, 2_000.0 * mib),
        (GpuField::NvlinkRxBytesPerS, 30_000.0 * mib),
        (GpuField::NvlinkTxBytesPerS, 31_000.0 * mib),
        (GpuField::PowerW, 353.5),
        (GpuField::PowerInstantW, 402.0),
        (GpuField::MemoryTemperatureC, 77.0),
        (GpuField::SmClockMhz, 1_980.0),
        (GpuField::TimeActive, 1.0),
        (GpuField::MemoryTimeActive, 0.37),
    ] {
        let found = gpu.get(field).unwrap_or_else(|| panic!("{field}: {:?}", gpu.missing[&field]));
        assert!((found - value).abs() < 1e-9 * value, "{field}: {found} for {value}");
    }
    assert!(gpu.get(GpuField::EnergyJ).is_some_and(|joules| joules >= 5_000.0));
    assert!(gpu.throttle().is_some_and(ThrottleReasons::slows_work));
    assert_eq!(gpu.missing.keys().collect::<Vec<_>>(), [&GpuField::ModulePowerW]);
}

#[test]
fn gpm_needs_two_samples_100_ms_apart() {
    let (_folder, fake) = fake("gpus 1\n");
    let mut nvml = opened(&fake);
    let kinds = [0, 50_000_000, 99_999_999].map(|now| {
        let reading = nvml.read(now).expect("reads").remove(0);
        assert_eq!(reading.get(GpuField::SmActive), None, "at {now}");
        // Its counters are no second source for the same series.
        assert_eq!(reading.get(GpuField::PcieTxBytesPerS), None, "at {now}");
        reading.missing[&GpuField::SmActive].kind
    });
    assert_eq!(kinds, [MissingKind::Unavailable; 3]);
    let reading = nvml.read(100_000_000).expect("reads").remove(0);
    assert_eq!(reading.get(GpuField::SmActive), Some(0.81));
    assert_eq!(reading.over_ns, Some(100_000_000));
}

#[test]
fn two_3090_have_no_activity_and_time_shares_do_not_stand_in() {
    let (_folder, fake) = fake(RTX_3090_SCRIPT);
    let mut nvml = opened(&fake);
    let readings = second_look(&mut nvml);
    complete(&readings);
    let gpu = &readings[1];
    for field in [GpuField::SmActive, GpuField::SmOccupancy, GpuField::DramActive] {
        let missing = &gpu.missing[&field];
        assert_eq!(missing.kind, MissingKind::Unsupported);
        assert!(missing.reason.contains("GeForce"), "{}", missing.reason);
    }
    assert_eq!(gpu.get(GpuField::TimeActive), Some(1.0));
    assert!(gpu.get(GpuField::PowerW).is_some() && gpu.get(GpuField::EnergyJ).is_some());
    assert!(!gpu.throttle().expect("bits").slows_work(), "idle is no throttling");
    assert!(gpu.missing.contains_key(&GpuField::PcieTxBytesPerS));
    let settings = NvmlSettings { blocking_pcie: true, ..NvmlSettings::default() };
    let mut blocking = Nvml::open(fake.library(), settings).expect("opens");
    assert_eq!(second_look(&mut blocking)[0].get(GpuField::PcieTxBytesPerS), Some(2e6));
}

#[test]
fn without_gpm_counters_become_rates() {
    let (_folder, fake) = fake("gpus 1\ngpm 0\n");
    let mut nvml = opened(&fake);
    let readings = second_look(&mut nvml);
    // The fake's counter serves both directions and grows by 1 MB a call: 2 MB in 0.2 s.
    assert_eq!(readings[0].get(GpuField::PcieTxBytesPerS), Some(1e7));
    assert_eq!(readings[0].get(GpuField::NvlinkRxBytesPerS), Some(4_096.0 * 1_024.0 / 0.2));
}

#[test]
fn mig_instances_have_activity_and_no_power() {
    let (_folder, fake) = fake("gpus 2\nmig 2\n");
    let mut nvml = opened(&fake);
    let readings = second_look(&mut nvml);
    complete(&readings);
    let labels: Vec<String> = readings.iter().map(GpuReading::label).collect();
    assert_eq!(labels, ["0", "0:0", "0:1", "1"]);
    let instance = &readings[2];
    assert_eq!(instance.get(GpuField::SmOccupancy), Some(0.425));
    assert_eq!(instance.get(GpuField::MemoryTotalBytes), Some(10_737_418_240.0));
    assert!(instance.uuid.as_deref().is_some_and(|uuid| uuid.starts_with("MIG-")));
    for field in [GpuField::PowerW, GpuField::EnergyJ] {
        assert!(instance.missing[&field].reason.contains("whole GPU"));
    }
}

/// What is missing when a function fails, on two GPUs of which the first has a MIG instance; `None`:
/// nothing can be read at all, or nothing is lost.
fn lost_with(function: &str) -> Vec<GpuField> {
    const GPM: [GpuField; 4] =
        [GpuField::SmActive, GpuField::SmOccupancy, GpuField::TensorActive, GpuField::DramActive];
    match function {
        "nvmlDeviceGetPowerUsage" => vec![GpuField::PowerW],
        "nvmlDeviceGetEnforcedPowerLimit" => vec![GpuField::PowerLimitW],
        "nvmlDeviceGetTotalEnergyConsumption" => vec![GpuField::EnergyJ],
        "nvmlDeviceGetTemperature" => vec![GpuField::TemperatureC],
        "nvmlDeviceGetClockInfo" => vec![GpuField::SmClockMhz, GpuField::MemClockMhz],
        "nvmlDeviceGetCurrentClocksThrottleReasons" => vec![GpuField::Throttle],
        "nvmlDeviceGetViolationStatus" => {
            vec![GpuField::PowerThrottledNs, GpuField::ThermalThrottledNs]
        }
        "nvmlDeviceGetMemoryInfo_v2" => vec![GpuField::MemoryUsedBytes, GpuField::MemoryTotalBytes],
        "nvmlDeviceGetUtilizationRates" => vec![GpuField::TimeActive, GpuField::MemoryTimeActive],
        "nvmlDeviceGetCurrPcieLinkGeneration" => vec![GpuField::PcieGen],
        "nvmlDeviceGetCurrPcieLinkWidth" => vec![GpuField::PcieLanes],
        "nvmlDeviceGetFieldValues" => vec![GpuField::MemoryTemperatureC, GpuField::PowerInstantW],
        "nvmlGpmQueryDeviceSupport"
        | "nvmlGpmSampleAlloc"
        | "nvmlGpmSampleGet"
        | "nvmlGpmMetricsGet" => GPM.to_vec(),
        "nvmlDeviceGetHandleByIndex_v2" => GpuField::ALL.to_vec(),
        _ => Vec::new(),
    }
}

#[test]
fn every_function_fails_once_and_the_rest_is_read() {
    let (_folder, fake) = fake("gpus 2\nmig 1\n");
    let whole = second_look(&mut opened(&fake));
    for function in FAKE_NVML_FUNCTIONS {
        for (code, kind) in [
            (3, MissingKind::Unsupported),
            (4, MissingKind::Denied),
            (15, MissingKind::Failed),
            (999, MissingKind::Failed),
            (12_345, MissingKind::Failed),
        ] {
            fake.script(&format!("gpus 2\nmig 1\nfail {function} {code}\n")).expect("writes");
            let nvml = Nvml::open(fake.library(), NvmlSettings::default());
            let looked = nvml.and_then(|mut nvml| {
                nvml.read(0)?;
                nvml.read(2 * GPM_INTERVAL_NS)
            });
            let readings = match looked {
                Ok(readings) => readings,
                Err(error) => {
                    let all = matches!(function, "nvmlInit_v2" | "nvmlDeviceGetCount_v2");
                    assert!(all, "{function} {code}: {error}");
                    assert!(error.to_string().len() > 20, "{error}");
                    continue;
                }
            };
            complete(&readings);
            let gpu = readings.iter().find(|r| (r.index, r.mig) == (1, None)).expect("GPU 1");
            let lost = lost_with(function);
            for field in &lost {
                let missing = gpu.missing.get(field);
                let missing = missing.unwrap_or_else(|| panic!("{function} {code}: {field}"));
                assert_eq!(missing.kind, kind, "{function} {code}: {}", missing.reason);
                // Samples are allocated on behalf of the call that fills them.
                let named = function.replace("Alloc", "Get");
                assert!(missing.reason.contains(&named), "{function}: {}", missing.reason);
                assert_eq!(missing.grant.is_some(), kind == MissingKind::Denied);
            }
            let whole_gpu = whole.iter().find(|r| (r.index, r.mig) == (1, None)).expect("GPU 1");
            for field in whole_gpu.values.keys().filter(|field| !lost.contains(field)) {
                assert!(gpu.values.contains_key(field), "{function} {code} must not cost {field}");
            }
        }
    }
}

#[test]
fn a_failing_mig_call_is_said_in_the_instance() {
    let (_folder, fake) = fake("mig 1\n");
    for (function, field) in [
        ("nvmlDeviceGetMigDeviceHandleByIndex", GpuField::MemoryUsedBytes),
        ("nvmlDeviceGetMaxMigDeviceCount", GpuField::SmActive),
        ("nvmlDeviceGetGpuInstanceId", GpuField::SmActive),
        ("nvmlGpmMigSampleGet", GpuField::SmActive),
    ] {
        fake.script(&format!("mig 1\nfail {function} 999\n")).expect("writes");
        let readings = second_look(&mut opened(&fake));
        let instance = readings.iter().find(|r| r.mig.is_some()).expect("an instance");
        let missing = &instance.missing[&field];
        assert!(missing.reason.contains(function), "{function}: {}", missing.reason);
    }
}

#[test]
fn every_metric_and_field_value_fails_alone() {
    let (_folder, fake) = fake("");
    for (line, field) in [
        ("fail_metric 2 3", GpuField::SmActive),
        ("fail_metric 3 3", GpuField::SmOccupancy),
        ("fail_metric 5 3", GpuField::TensorActive),
        ("fail_metric 10 3", GpuField::DramActive),
        ("fail_field 82 3", GpuField::MemoryTemperatureC),
        ("fail_field 186 3", GpuField::PowerInstantW),
    ] {
        fake.script(&format!("{line}\n")).expect("writes");
        let readings = second_look(&mut opened(&fake));
        complete(&readings);
        let missing: Vec<_> = readings[0].missing.keys().copied().collect();
        assert!(missing.contains(&field) && missing.len() <= 2, "{line}: {missing:?}");
    }
    // Without GPM's figure of traffic, the counter's serves.
    fake.script("fail_metric 20 3\n").expect("writes");
    let readings = second_look(&mut opened(&fake));
    assert_eq!(readings[0].get(GpuField::PcieTxBytesPerS), Some(1e7));
}

#[test]
fn functions_that_an_old_library_lacks() {
    for hidden in [
        "nvmlGpmSampleFree",
        "nvmlGpmSampleAlloc",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let fake = FakeNvml::without(folder.path(), &[hidden], "").expect("a C compiler");
        let readings = second_look(&mut opened(&fake));
        complete(&readings);
        let named = hidden.replace("SampleAlloc", "SampleGet");
        let why = readings[0].missing.values().find(|missing| missing.reason.contains(&named));
        let why = why.unwrap_or_else(|| panic!("{hidden}: {:?}", readings[0].missing));
        assert_eq!(why.kind, MissingKind::Unsupported, "{hidden}: {}", why.reason);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeNvml::without(folder.path(), &["nvmlShutdown"], "").expect("a C compiler");
    let error = Nvml::open(fake.library(), NvmlSettings::default()).expect_err("no shutdown");
    assert!(error.to_string().contains("nvmlShutdown"), "{error}");
}

#[test]
fn a_gpu_that_is_lost_under_way_is_named_and_comes_back() {
    let (_folder, fake) = fake("gpus 1\n");
    let mut nvml = opened(&fake);
    nvml.read(0).expect("reads");
    fake.script("gpus 1\nfail nvmlDeviceGetHandleByIndex_v2 15\n").expect("writes");
    let lost = nvml.read(GPM_INTERVAL_NS).expect("reads").remove(0);
    assert_eq!(lost.values.len(), 0);
    assert!(lost.missing[&GpuField::PowerW].reason.contains("fell off the bus"));
    fake.script("gpus 1\n").expect("writes");
    let back = nvml.read(2 * GPM_INTERVAL_NS).expect("reads").remove(0);
    assert_eq!(back.get(GpuField::SmActive), Some(0.81));
    assert_eq!(back.over_ns, Some(2 * GPM_INTERVAL_NS));
}

#[test]
fn no_library_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("libnvidia-ml.so.1");
    let error = Nvml::open(&path, NvmlSettings::default()).expect_err("not there");
    let text = error.to_string();
    assert!(text.contains("libnvidia-ml.so.1") && text.contains("driver"), "{text}");
    std::fs::write(&path, "no library").expect("writes");
    let error = Nvml::open(&path, NvmlSettings::default()).expect_err("no library");
    assert!(matches!(error, GpuError::Library { .. }));
}

#[test]
fn a_name_that_was_not_told_is_asked_for_again() {
    let (_folder, fake) = fake("gpus 1\nfail nvmlDeviceGetName 999\n");
    let mut nvml = opened(&fake);
    let name = nvml.read(0).expect("reads").remove(0).name;
    assert!(name.contains("nvmlDeviceGetName"), "{name}");
    fake.script("gpus 1\nname X\nfail nvmlDeviceGetUUID 999\n").expect("writes");
    let reading = nvml.read(1).expect("reads").remove(0);
    assert_eq!((reading.name.as_str(), reading.uuid), ("X", None));
}

#[test]
fn processes_by_gpu() {
    let (_folder, fake) = fake("gpus 2\n");
    let found: Vec<_> = opened(&fake)
        .processes()
        .expect("told")
        .iter()
        .map(|p| (p.index, p.pid, p.memory_bytes))
        .collect();
    let gib = Some(1 << 30);
    assert_eq!(found, [(0, 4242, gib), (1, 4242, gib), (1, 4243, gib)]);
}

#[test]
fn a_check_gives_every_field_its_chance() {
    let (_folder, fake) = fake("gpus 1\n");
    let readings = check(&mut opened(&fake), &RunClock::start()).expect("reads");
    assert_eq!(readings[0].get(GpuField::DramActive), Some(0.55));
}

fn roots(fake: &FakeNvml, folder: &TempDir) -> GpuRoots {
    vm_tree(folder.path()).expect("a tree");
    GpuRoots {
        nvml: fake.library().to_owned(),
        dcgmi: Some(folder.path().join("dcgmi")),
        sys: folder.path().join("sys"),
        ..GpuRoots::default()
    }
}

fn chosen(roots: GpuRoots) -> (Vec<GpuSource>, Vec<String>) {
    let opened = open(roots, RunClock::start());
    let readers = opened.readers.iter().map(|reader| reader.source()).collect();
    let passed = opened.passed_over.iter().map(|p| format!("{}: {}", p.source, p.reason)).collect();
    (readers, passed)
}

#[test]
fn the_choice_says_why_a_better_source_was_not_taken() {
    let (folder, fake) = fake(H100_SCRIPT);
    let (readers, passed) = chosen(roots(&fake, &folder));
    assert_eq!(readers, [GpuSource::Nvml]);
    assert_eq!(passed.len(), 1, "amdgpu alone: {passed:?}");

    fake.script(RTX_3090_SCRIPT).expect("writes");
    let (readers, passed) = chosen(roots(&fake, &folder));
    assert_eq!(readers, [GpuSource::Nvml], "the best that there is");
    assert!(passed[0].starts_with("nvml: no GPM"), "{passed:?}");
    assert!(passed[1].starts_with("dcgm_exporter: no address"), "{passed:?}");
    assert!(passed[2].starts_with("dcgmi: ") && passed[2].contains("started"), "{passed:?}");

    let mut with_exporter = roots(&fake, &folder);
    with_exporter.exporter = Some(Box::new(|| Ok(exporter_page(2, true).into_bytes())));
    let (readers, _) = chosen(with_exporter);
    assert_eq!(readers, [GpuSource::DcgmExporter]);

    fake.script("fail nvmlGpmSampleGet 4\n").expect("writes");
    let (readers, passed) = chosen(roots(&fake, &folder));
    assert_eq!(readers, [GpuSource::Nvml]);
    assert!(passed[0].starts_with("nvml: denied"), "{passed:?}");

    fake.script("gpus 0\n").expect("writes");
    let (readers, passed) = chosen(roots(&fake, &folder));
    assert!(readers.is_empty());
    assert!(passed[0].contains("no GPU"), "{passed:?}");
}

#[test]
fn the_energy_counters_step_is_measured() {
    let (_folder, fake) = fake("gpus 2\nenergy_step_ms 20\n");
    let clock = RunClock::start();
    let mut nvml = opened(&fake);
    assert_eq!(nvml.read(0).expect("reads")[0].energy_step_ns, None, "not before it was asked for");
    nvml.measure_energy_steps(&clock);
    let step_ns = nvml.read(1).expect("reads")[1].energy_step_ns.expect("measured");
    // The fake steps each 20 ms; a busy machine sees a step late, never early.
    assert!((15_000_000..500_000_000).contains(&step_ns), "{step_ns}");

    // A counter that stands still, and one that may not be read.
    for script in ["energy_step_ms 0\n", "fail nvmlDeviceGetTotalEnergyConsumption 4\n"] {
        fake.script(script).expect("writes");
        let mut nvml = opened(&fake);
        nvml.measure_energy_steps(&clock);
        assert_eq!(nvml.read(2).expect("reads")[0].energy_step_ns, None, "{script}");
    }
}
