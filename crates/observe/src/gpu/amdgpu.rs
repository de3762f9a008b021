//! AMD GPUs through the kernel's files: `/sys/class/drm/cardN/device` with its hwmon and its binary
//! `gpu_metrics`. They tell power, energy, clocks and time shares; occupancy and tensor activity need
//! AMD's profiler.

use std::path::{Path, PathBuf};

use loadline_schema::gpu::{GpuField, GpuReading, GpuSource, Missing, MissingKind};

use super::amd_metrics::AmdMetrics;
use super::{GpuError, GpuReader};
use crate::sys_file::{self, numbered};

/// AMD's number as a PCI vendor.
const VENDOR: &str = "0x1002";

/// The AMD GPUs of this host.
#[derive(Debug, Clone)]
pub struct Amdgpu {
    cards: Vec<Card>,
}

#[derive(Debug, Clone)]
struct Card {
    device: PathBuf,
    hwmon: Option<PathBuf>,
    name: String,
    uuid: Option<String>,
}

impl Amdgpu {
    /// Looks for cards under `sys` (usually `/sys`).
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn open(sys: &Path) -> Result<Self, GpuError> {
        let folder = sys.join("class/drm");
        let cards: Vec<Card> = numbered(&folder, "card")
            .into_iter()
            .map(|(_, card)| card.join("device"))
            .filter(|device| sys_file::text(&device.join("vendor")).is_ok_and(|v| v == VENDOR))
            .map(Card::new)
            .collect();
        if cards.is_empty() {
            return Err(GpuError::NoAmd { folder: folder.display().to_string() });
        }
        Ok(Self { cards })
    }
}

impl GpuReader for Amdgpu {
    fn source(&self) -> GpuSource {
        GpuSource::Amdgpu
    }

    fn read(&mut self, now_ns: u64) -> Result<Vec<GpuReading>, GpuError> {
        let read = |(index, card): (usize, &Card)| card.read(index as u32, now_ns);
        Ok(self.cards.iter().enumerate().map(read).collect())
    }
}

impl Card {
    fn new(device: PathBuf) -> Self {
        let hwmon = numbered(&device.join("hwmon"), "hwmon").into_iter().next();
        let name =
            sys_file::text(&device.join("product_name")).ok().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| {
            let id = sys_file::text(&device.join("device")).unwrap_or_else(|_| "unknown".into());
            format!("AMD GPU {id}")
        });
        let uuid = sys_file::text(&device.join("unique_id")).ok().filter(|id| !id.is_empty());
        Self { device, hwmon: hwmon.map(|(_, path)| path), name, uuid }
    }

    fn read(&self, index: u32, now_ns: u64) -> GpuReading {
        let mut reading = GpuReading::new(GpuSource::Amdgpu, index, self.name.clone(), now_ns);
        reading.uuid.clone_from(&self.uuid);
        let metrics = self.metrics();
        self.power(&mut reading, &metrics);
        self.clocks(&mut reading, &metrics);
        let share = |name: &str, from_table: fn(&AmdMetrics) -> Option<f64>| {
            let percent = sys_file::number::<f64>(&self.device.join(name)).map(|p| p / 100.0);
            percent.or_else(|why| from(&metrics, from_table).map_err(|also| both(why, &also)))
        };
        reading.put(GpuField::TimeActive, share("gpu_busy_percent", |m| m.gfx_active));
        reading.put(GpuField::MemoryTimeActive, share("mem_busy_percent", |m| m.umc_active));
        let bytes = |name: &str| sys_file::number::<f64>(&self.device.join(name));
        reading.put(GpuField::MemoryUsedBytes, bytes("mem_info_vram_used"));
        reading.put(GpuField::MemoryTotalBytes, bytes("mem_info_vram_total"));
        reading.put(GpuField::PcieGen, self.pcie_generation());
        reading.put(GpuField::PcieLanes, bytes("current_link_width"));
        reading.put(GpuField::Throttle, from(&metrics, |m| m.throttle.map(|bits| bits as f64)));
        excuse_rest(&mut reading);
        reading
    }

    fn metrics(&self) -> Result<AmdMetrics, Missing> {
        let path = self.device.join("gpu_metrics");
        let bytes = std::fs::read(&path).map_err(|error| sys_file::missing(&path, &error))?;
        AmdMetrics::parse(&bytes)
    }

    /// A number of hwmon; a GPU that sleeps answers with an error, which is said.
    fn sensor(&self, name: &str) -> Result<f64, Missing> {
        let Some(hwmon) = &self.hwmon else {
            let reason = format!("{}/hwmon: not there", self.device.display());
            return Err(Missing::new(MissingKind::Unsupported, reason));
        };
        sys_file::number(&hwmon.join(name))
    }

    /// A temperature by its label, m°C to °C.
    fn temperature(&self, labels: &[&str]) -> Result<f64, Missing> {
        let labelled = (1..=8).find(|number| {
            let path = self.hwmon.as_ref().map(|hwmon| hwmon.join(format!("temp{number}_label")));
            let label = path.and_then(|path| sys_file::text(&path).ok());
            label.is_some_and(|label| labels.contains(&label.as_str()))
        });
        let Some(number) = labelled else {
            let reason = format!("hwmon: no temperature labelled {}", labels.join(" or "));
            return Err(Missing::new(MissingKind::Unsupported, reason));
        };
        self.sensor(&format!("temp{number}_input")).map(|milli| milli / 1e3)
    }

    fn power(&self, reading: &mut GpuReading, metrics: &Result<AmdMetrics, Missing>) {
        let watts = |name| self.sensor(name).map(|microwatts| microwatts / 1e6);
        let instant = watts("power1_input");
        let average = watts("power1_average")
            .or_else(|why| from(metrics, |m| m.socket_power_w).map_err(|also| both(why, &also)));
        // Newer chips have the one name only, for the same figure.
        reading.put(GpuField::PowerW, average.or_else(|why| instant.clone().map_err(|_| why)));
        reading.put(GpuField::PowerInstantW, instant);
        reading.put(GpuField::PowerLimitW, watts("power1_cap"));
        reading.put(GpuField::EnergyJ, from(metrics, |m| m.energy_j));
    }

    fn clocks(&self, reading: &mut GpuReading, metrics: &Result<AmdMetrics, Missing>) {
        let megahertz = |name, from_table: fn(&AmdMetrics) -> Option<f64>| {
            let hertz = self.sensor(name).map(|hertz| hertz / 1e6);
            hertz.or_else(|why| from(metrics, from_table).map_err(|also| both(why, &also)))
        };
        reading.put(GpuField::SmClockMhz, megahertz("freq1_input", |m| m.gfx_mhz));
        reading.put(GpuField::MemClockMhz, megahertz("freq2_input", |m| m.memory_mhz));
        reading.put(GpuField::TemperatureC, self.temperature(&["edge", "junction"]));
        reading.put(GpuField::MemoryTemperatureC, self.temperature(&["mem"]));
    }

    /// "32.0 GT/s PCIe" is generation 5.
    fn pcie_generation(&self) -> Result<f64, Missing> {
        let speed: f64 = sys_file::number(&self.device.join("current_link_speed"))?;
        let generation = [2.5, 5.0, 8.0, 16.0, 32.0, 64.0].iter().position(|gts| *gts >= speed);
        generation.map(|at| (at + 1) as f64).ok_or_else(|| {
            let reason = format!("{speed} GT/s is no known generation of PCIe");
            Missing::new(MissingKind::Failed, reason)
        })
    }
}

fn from(
    metrics: &Result<AmdMetrics, Missing>,
    field: fn(&AmdMetrics) -> Option<f64>,
) -> Result<f64, Missing> {
    let metrics = metrics.as_ref().map_err(Clone::clone)?;
    field(metrics).ok_or_else(|| {
        Missing::new(MissingKind::Unsupported, "gpu_metrics: this GPU or version does not have it")
    })
}

fn both(mut why: Missing, also: &Missing) -> Missing {
    why.reason = format!("{}; {}", why.reason, also.reason);
    why.grant = why.grant.or_else(|| also.grant.clone());
    why
}

fn excuse_rest(reading: &mut GpuReading) {
    let dram = "amdgpu tells how long the memory controller was busy (memory_time_active), not how \
                much of the bandwidth was in use";
    reading.put(GpuField::DramActive, Err(Missing::new(MissingKind::Unsupported, dram)));
    reading.excuse_rest(&Missing::new(
        MissingKind::Unsupported,
        "amdgpu's files do not have it; AMD's profiler (rocprofiler) may",
    ));
}

#[cfg(test)]
mod tests {
    use loadline_testkit::{mi300x_tree, vm_tree};

    use super::*;

    #[test]
    fn an_mi300x() {
        let folder = tempfile::tempdir().expect("a folder");
        mi300x_tree(folder.path()).expect("a tree");
        let mut reader = Amdgpu::open(&folder.path().join("sys")).expect("a card");
        let readings = reader.read(9).expect("readings");
        assert_eq!(readings.len(), 1);
        let reading = &readings[0];
        assert_eq!(reading.name, "AMD Instinct MI300X");
        for (field, value) in [
            (GpuField::PowerW, 512.0),
            (GpuField::PowerLimitW, 750.0),
            (GpuField::EnergyJ, 1_000.0),
            (GpuField::TimeActive, 0.97),
            (GpuField::MemoryTimeActive, 0.41),
            (GpuField::TemperatureC, 55.0),
            (GpuField::MemoryTemperatureC, 48.0),
            (GpuField::SmClockMhz, 2_100.0),
            (GpuField::PcieGen, 5.0),
            (GpuField::PcieLanes, 16.0),
            (GpuField::MemoryTotalBytes, 206_141_652_992.0),
        ] {
            assert_eq!(
                reading.get(field),
                Some(value),
                "{field}: {:?}",
                reading.missing.get(&field)
            );
        }
        assert_eq!(reading.get(GpuField::DramActive), None, "a time share is no bandwidth");
        assert!(reading.missing[&GpuField::SmOccupancy].reason.contains("rocprofiler"));
        assert_eq!(reading.values.len() + reading.missing.len(), GpuField::ALL.len());
    }

    #[test]
    fn each_file_may_be_missing_or_odd() {
        let files = [
            ("gpu_metrics", GpuField::EnergyJ),
            ("mem_info_vram_used", GpuField::MemoryUsedBytes),
            ("current_link_speed", GpuField::PcieGen),
            ("hwmon/hwmon3/power1_cap", GpuField::PowerLimitW),
            ("hwmon/hwmon3/temp2_label", GpuField::TemperatureC),
        ];
        for (file, field) in files {
            for odd in [false, true] {
                let folder = tempfile::tempdir().expect("a folder");
                mi300x_tree(folder.path()).expect("a tree");
                let path = folder.path().join("sys/class/drm/card1/device").join(file);
                if odd {
                    std::fs::write(&path, "?").expect("writes");
                } else {
                    std::fs::remove_file(&path).expect("removes");
                }
                let mut reader = Amdgpu::open(&folder.path().join("sys")).expect("a card");
                let reading = &reader.read(0).expect("readings")[0];
                assert!(reading.missing.contains_key(&field), "{file} odd {odd}");
                assert!(reading.values.len() > 8, "the rest is still there: {file}");
            }
        }
    }

    #[test]
    fn a_vm_has_no_amd_gpu() {
        let folder = tempfile::tempdir().expect("a folder");
        vm_tree(folder.path()).expect("a tree");
        let error = Amdgpu::open(&folder.path().join("sys")).expect_err("none");
        assert!(error.to_string().contains("class/drm"), "{error}");
    }
}
