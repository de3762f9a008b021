//! Sensors of hwmon: power (µW, averaged or now) and energy (µJ, a counter) by chip and label.

use std::path::{Path, PathBuf};

use loadline_schema::gpu::{Missing, MissingKind};

use crate::sys_file::{number, numbered, text};

/// What a sensor tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SensorFigure {
    /// Power, averaged by the chip.
    AveragePower,
    /// Power now.
    Power,
    /// Energy since some begin: a counter.
    Energy,
}

/// A sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerSensor {
    /// Name of the chip: `amdgpu`, `xe`, `power_meter`, `ina3221`.
    pub chip: String,
    /// Label of the sensor, what ACPI says that it measures, or its file's name. With the chip's name
    /// and the figure it tells every sensor of a host apart.
    pub label: String,
    /// What it tells.
    pub figure: SensorFigure,
    /// Whether it is a GPU's: then its power belongs to the GPUs, which are read elsewhere.
    pub is_gpu: bool,
    path: PathBuf,
}

impl PowerSensor {
    /// Watts, or joules of a counter.
    ///
    /// # Errors
    ///
    /// Why it could not be read.
    pub fn read(&self) -> Result<f64, Missing> {
        number::<f64>(&self.path).map(|micro| micro / 1e6)
    }
}

/// The sensors of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hwmon {
    sensors: Vec<PowerSensor>,
}

impl Hwmon {
    /// Looks for sensors under `sys` (usually `/sys`).
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn open(sys: &Path) -> Result<Self, Missing> {
        let folder = sys.join("class/hwmon");
        let mut sensors: Vec<PowerSensor> = Vec::new();
        for (number, path) in numbered(&folder, "hwmon") {
            for mut sensor in of_chip(&path) {
                tell_apart(&mut sensor, &sensors, number);
                sensors.push(sensor);
            }
        }
        if sensors.is_empty() {
            let reason = format!("{}: no sensor of power or energy", folder.display());
            return Err(Missing::new(MissingKind::Unsupported, reason));
        }
        Ok(Self { sensors })
    }

    /// The sensors, in the order of chips.
    pub fn sensors(&self) -> &[PowerSensor] {
        &self.sensors
    }
}

/// Makes the label one that no known sensor of such a chip has: by the kernel's number of the chip,
/// and by the sensor's file where one chip has the label twice.
fn tell_apart(sensor: &mut PowerSensor, known: &[PowerSensor], number: u32) {
    let is_taken = |label: &str| {
        let same = |one: &PowerSensor| (&one.chip, one.figure) == (&sensor.chip, sensor.figure);
        known.iter().any(|one| same(one) && one.label == label)
    };
    if !is_taken(&sensor.label) {
        return;
    }
    let of_chip = format!("{} of hwmon{number}", sensor.label);
    sensor.label = if is_taken(&of_chip) {
        let file = sensor.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{} ({file}) of hwmon{number}", sensor.label)
    } else {
        of_chip
    };
}

fn of_chip(folder: &Path) -> Vec<PowerSensor> {
    let chip = text(&folder.join("name")).unwrap_or_else(|_| "unnamed".to_owned());
    let is_gpu = matches!(chip.as_str(), "amdgpu" | "radeon" | "nouveau" | "i915" | "xe");
    let mut found = Vec::new();
    for at in 1..=16 {
        let kinds = [
            (format!("power{at}_average"), SensorFigure::AveragePower),
            (format!("power{at}_input"), SensorFigure::Power),
            (format!("energy{at}_input"), SensorFigure::Energy),
        ];
        for (file, figure) in kinds {
            let path = folder.join(&file);
            if !path.exists() {
                continue;
            }
            let kind = if figure == SensorFigure::Energy { "energy" } else { "power" };
            // ACPI's meters say in oem_info what they measure (Grace has several).
            let label = text(&folder.join(format!("{kind}{at}_label")))
                .or_else(|_| text(&folder.join(format!("{kind}{at}_oem_info"))))
                .unwrap_or(file);
            found.push(PowerSensor { chip: chip.clone(), label, figure, is_gpu, path });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use loadline_testkit::{h100_host_tree, vm_tree};

    use super::*;

    #[test]
    fn a_power_meter_and_a_card() {
        let folder = tempfile::tempdir().expect("a folder");
        h100_host_tree(folder.path()).expect("a tree");
        let hwmon = Hwmon::open(&folder.path().join("sys")).expect("sensors");
        let found: Vec<_> = hwmon
            .sensors()
            .iter()
            .map(|sensor| (sensor.chip.as_str(), sensor.figure, sensor.is_gpu, sensor.read()))
            .collect();
        assert_eq!(
            found,
            [
                ("power_meter", SensorFigure::AveragePower, false, Ok(4_200.0)),
                ("xe", SensorFigure::Energy, true, Ok(12.5)),
            ]
        );
        assert_eq!(hwmon.sensors()[0].label, "chassis");
    }

    #[test]
    fn a_vm_has_none() {
        let folder = tempfile::tempdir().expect("a folder");
        vm_tree(folder.path()).expect("a tree");
        let why = Hwmon::open(&folder.path().join("sys")).expect_err("none");
        assert!(why.reason.contains("class/hwmon"), "{}", why.reason);
    }

    #[test]
    fn meters_of_one_kind_are_told_apart() {
        let tree = tempfile::tempdir().expect("a folder");
        for (number, told) in [
            (0, Some("Module Power Socket 0")),
            (1, Some("CPU Power Socket 0")),
            (2, None),
            (3, None),
        ] {
            let chip = tree.path().join(format!("class/hwmon/hwmon{number}"));
            std::fs::create_dir_all(&chip).expect("makes");
            std::fs::write(chip.join("name"), "power_meter\n").expect("writes");
            std::fs::write(chip.join("power1_average"), "1000000\n").expect("writes");
            if let Some(told) = told {
                std::fs::write(chip.join("power1_oem_info"), format!("{told}\n")).expect("writes");
            }
        }
        let hwmon = Hwmon::open(tree.path()).expect("sensors");
        let labels: Vec<&str> = hwmon.sensors().iter().map(|one| one.label.as_str()).collect();
        let plain = ["power1_average", "power1_average of hwmon3"];
        assert_eq!(labels, [&["Module Power Socket 0", "CPU Power Socket 0"][..], &plain].concat());
    }

    #[test]
    fn one_label_on_many_sensors_of_a_chip() {
        let tree = tempfile::tempdir().expect("a folder");
        let chip = tree.path().join("class/hwmon/hwmon4");
        std::fs::create_dir_all(&chip).expect("makes");
        std::fs::write(chip.join("name"), "ina3221\n").expect("writes");
        for at in 1..=3 {
            std::fs::write(chip.join(format!("power{at}_input")), "1000000\n").expect("writes");
            std::fs::write(chip.join(format!("power{at}_label")), "VDD\n").expect("writes");
        }
        let hwmon = Hwmon::open(tree.path()).expect("sensors");
        let labels: Vec<&str> = hwmon.sensors().iter().map(|one| one.label.as_str()).collect();
        assert_eq!(labels, ["VDD", "VDD of hwmon4", "VDD (power3_input) of hwmon4"]);
    }
}
