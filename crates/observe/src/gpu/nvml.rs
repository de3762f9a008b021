//! NVIDIA GPUs through the driver's library, loaded at run time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use loadline_clock::RunClock;
use loadline_schema::gpu::{GpuField, GpuReading, GpuSource, Missing, MissingKind};
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{
    Clock, PcieUtilCounter, PerformancePolicy, TemperatureSensor,
};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;

use super::{GpuError, GpuReader};

mod calls;
mod energy_step;
mod gpm;
mod links;

use calls::{asked, missing};
use gpm::GpmSamples;
use links::LinkCounters;

/// Time that the measurement of the energy counters' steps takes at most, ns: five steps of the
/// slowest known counters (0.1 s).
const ENERGY_STEP_WITHIN_NS: u64 = 500_000_000;

/// A GPU, or a MIG instance on it.
type Part = (u32, Option<u32>);

/// How to read through NVML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NvmlSettings {
    /// Where neither GPM nor counters tell PCIe traffic, ask the driver for it, which makes each
    /// reading of each GPU wait twice 20 ms.
    pub blocking_pcie: bool,
    /// How long [`super::open`] may read the energy counters again and again to see how often they
    /// step, ns; 0: not at all.
    pub energy_step_within_ns: u64,
}

impl Default for NvmlSettings {
    fn default() -> Self {
        Self { blocking_pcie: false, energy_step_within_ns: ENERGY_STEP_WITHIN_NS }
    }
}

/// A process on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuProcess {
    /// The GPU.
    pub index: u32,
    /// Its process id, in the driver's view.
    pub pid: u32,
    /// Memory that it holds there, bytes; absent: not told.
    pub memory_bytes: Option<u64>,
}

/// An open NVML.
#[derive(Debug)]
pub struct Nvml {
    library: Arc<nvml_wrapper::Nvml>,
    settings: NvmlSettings,
    /// Product name and UUID.
    names: BTreeMap<Part, (String, String)>,
    gpm: GpmSamples,
    links: LinkCounters,
    /// Time between two steps of the energy counter of each GPU, where it was measured, ns.
    energy_steps: BTreeMap<u32, u64>,
}

impl Nvml {
    /// Name under which the dynamic linker finds the driver's library.
    pub const LIBRARY: &str = "libnvidia-ml.so.1";

    /// Loads the library and starts NVML.
    ///
    /// # Errors
    ///
    /// Where the library is not there, or has no driver to talk to; with what to do.
    pub fn open(library: &Path, settings: NvmlSettings) -> Result<Self, GpuError> {
        let failed = |error: &NvmlError| GpuError::Library {
            library: library.display().to_string(),
            reason: reason(error, library),
            remedy: remedy(error),
        };
        let nvml = nvml_wrapper::Nvml::builder().lib_path(library.as_os_str()).init();
        let nvml = nvml.map_err(|error| failed(&error))?;
        if nvml.lib().nvmlShutdown.is_err() {
            // Dropping it would panic; a process can live with one library that stays open.
            std::mem::forget(nvml);
            return Err(failed(&NvmlError::FailedToLoadSymbol("nvmlShutdown is missing".into())));
        }
        Ok(Self {
            library: Arc::new(nvml),
            settings,
            names: BTreeMap::new(),
            gpm: GpmSamples::default(),
            links: LinkCounters::default(),
            energy_steps: BTreeMap::new(),
        })
    }

    /// Whether SM, tensor and memory activity can be had by GPM from any GPU; otherwise why not.
    ///
    /// # Errors
    ///
    /// The reason of the first GPU.
    pub fn has_gpm(&self) -> Result<(), Missing> {
        let failed = |error: GpuError| Missing::new(MissingKind::Failed, error.to_string());
        let mut first = None;
        for index in 0..self.count().map_err(failed)? {
            let handle = self.library.device_by_index(index);
            let device = asked("nvmlDeviceGetHandleByIndex_v2", handle);
            match device.and_then(|device| gpm::allowed(&device)) {
                Ok(()) => return Ok(()),
                Err(missing) => first = first.or(Some(missing)),
            }
        }
        Err(first.unwrap_or_else(|| Missing::new(MissingKind::Unsupported, "there is no GPU")))
    }

    /// Measures how often the energy counters step, for as long as the settings allow or until all
    /// of them have shown it. What could not be measured stays unknown.
    pub fn measure_energy_steps(&mut self, clock: &RunClock) {
        let within_ns = self.settings.energy_step_within_ns;
        if within_ns > 0 {
            self.energy_steps = energy_step::measured(&self.library, clock, within_ns);
        }
    }

    /// GPUs.
    ///
    /// # Errors
    ///
    /// Where the driver does not say.
    pub fn count(&self) -> Result<u32, GpuError> {
        let function = "nvmlDeviceGetCount_v2";
        let failed = |error: NvmlError| GpuError::Call { function, reason: error.to_string() };
        self.library.device_count().map_err(failed)
    }

    /// Processes that compute on the GPUs, for watching those of one process alone.
    ///
    /// # Errors
    ///
    /// Where the driver does not tell, for any GPU.
    pub fn processes(&self) -> Result<Vec<GpuProcess>, GpuError> {
        let function = "nvmlDeviceGetComputeRunningProcesses_v3";
        let failed = |error: NvmlError| GpuError::Call { function, reason: error.to_string() };
        let mut found = Vec::new();
        for index in 0..self.count()? {
            let device = self.library.device_by_index(index).map_err(failed)?;
            for process in device.running_compute_processes().map_err(failed)? {
                let memory_bytes = match process.used_gpu_memory {
                    UsedGpuMemory::Used(bytes) => Some(bytes),
                    UsedGpuMemory::Unavailable => None,
                };
                found.push(GpuProcess { index, pid: process.pid, memory_bytes });
            }
        }
        Ok(found)
    }

    fn named(&mut self, part: Part, device: &Device<'_>, now_ns: u64) -> GpuReading {
        let mut reading = GpuReading::new(GpuSource::Nvml, part.0, "", now_ns);
        reading.mig = part.1;
        if let Some((name, uuid)) = self.names.get(&part) {
            reading.name.clone_from(name);
            reading.uuid = Some(uuid.clone());
            return reading;
        }
        match (asked("nvmlDeviceGetName", device.name()), device.uuid()) {
            (Ok(name), Ok(uuid)) => {
                self.names.insert(part, (name.clone(), uuid.clone()));
                (reading.name, reading.uuid) = (name, Some(uuid));
            }
            // Asked for anew the next time.
            (name, uuid) => {
                let unnamed = |missing: Missing| format!("unnamed ({})", missing.reason);
                reading.name = name.unwrap_or_else(unnamed);
                reading.uuid = uuid.ok();
            }
        }
        reading
    }

    /// A whole GPU.
    fn gpu(&mut self, index: u32, now_ns: u64) -> Vec<GpuReading> {
        let library = Arc::clone(&self.library);
        let device = match asked("nvmlDeviceGetHandleByIndex_v2", library.device_by_index(index)) {
            Ok(device) => device,
            Err(missing) => {
                let known = self.names.get(&(index, None));
                let (name, uuid) = known.cloned().unzip();
                let name = name.unwrap_or_else(|| "unreachable".to_owned());
                let mut reading = GpuReading::new(GpuSource::Nvml, index, name, now_ns);
                reading.uuid = uuid;
                reading.excuse_rest(&missing);
                return vec![reading];
            }
        };
        let mut reading = self.named((index, None), &device, now_ns);
        power(&mut reading, &device);
        reading.energy_step_ns = self.energy_steps.get(&index).copied();
        clocks(&mut reading, &device);
        memory_and_time(&mut reading, &device);
        self.gpm.read(&library, &device, (index, None), None, &mut reading);
        self.links.read(&device, index, &mut reading);
        if self.settings.blocking_pcie {
            blocking_pcie(&mut reading, &device);
        }
        let mut readings = vec![reading];
        readings.extend(self.instances(&library, &device, index, now_ns));
        readings
    }

    /// The MIG instances of a GPU. A GPU without MIG, or one that does not say, has none.
    fn instances(
        &mut self,
        library: &Arc<nvml_wrapper::Nvml>,
        device: &Device<'_>,
        index: u32,
        now_ns: u64,
    ) -> Vec<GpuReading> {
        if !device.mig_mode().is_ok_and(|mode| mode.current == 1) {
            return Vec::new();
        }
        let slots = match asked("nvmlDeviceGetMaxMigDeviceCount", device.mig_device_count()) {
            Ok(slots) => slots,
            Err(missing) => return vec![unknown_instance(index, 0, now_ns, &missing)],
        };
        let mut readings = Vec::new();
        for slot in 0..slots {
            let found = match device.mig_device_by_index(slot) {
                Ok(found) => found,
                // A slot without an instance.
                Err(NvmlError::NotFound) => continue,
                Err(error) => {
                    let missing = missing("nvmlDeviceGetMigDeviceHandleByIndex", &error);
                    readings.push(unknown_instance(index, slot, now_ns, &missing));
                    continue;
                }
            };
            let part = (index, Some(slot));
            let mut reading = self.named(part, &found, now_ns);
            memory(&mut reading, &found);
            let sm = asked("nvmlDeviceGetClockInfo", found.clock_info(Clock::SM));
            reading.put(GpuField::SmClockMhz, sm.map(f64::from));
            match calls::gpu_instance_id(&found) {
                Ok(id) => self.gpm.read(library, device, part, Some(id), &mut reading),
                Err(missing) => gpm::excuse(&mut reading, &missing),
            }
            reading.excuse_rest(&Missing::new(
                MissingKind::Unsupported,
                "a MIG instance has no such figure of its own: see the whole GPU's",
            ));
            readings.push(reading);
        }
        readings
    }
}

impl GpuReader for Nvml {
    fn source(&self) -> GpuSource {
        GpuSource::Nvml
    }

    fn read(&mut self, now_ns: u64) -> Result<Vec<GpuReading>, GpuError> {
        let count = self.count()?;
        Ok((0..count).flat_map(|index| self.gpu(index, now_ns)).collect())
    }
}

/// What the library or its loader says. The loader names the library, and so do we.
fn reason(error: &NvmlError, library: &Path) -> String {
    let text = match error {
        NvmlError::LibloadingError(error) => error.to_string(),
        other => other.to_string(),
    };
    let named = format!("{}: ", library.display());
    text.strip_prefix(&named).map(str::to_owned).unwrap_or(text)
}

fn remedy(error: &NvmlError) -> &'static str {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "install NVIDIA's driver, or name the library's path; in a container, start it with GPUs"
        }
        NvmlError::DriverNotLoaded => "load the kernel module: sudo modprobe nvidia",
        NvmlError::LibRmVersionMismatch => {
            "library and kernel module are of different versions: restart the machine"
        }
        NvmlError::NoPermission => "run it as root, or allow this user to open /dev/nvidia*",
        _ => "see what nvidia-smi says",
    }
}

fn unknown_instance(index: u32, slot: u32, now_ns: u64, missing: &Missing) -> GpuReading {
    let mut reading = GpuReading::new(GpuSource::Nvml, index, "MIG instance", now_ns);
    reading.mig = Some(slot);
    reading.excuse_rest(missing);
    reading
}

fn power(reading: &mut GpuReading, device: &Device<'_>) {
    let milliwatts = |mw: u32| f64::from(mw) / 1e3;
    let usage = asked("nvmlDeviceGetPowerUsage", device.power_usage());
    reading.put(GpuField::PowerW, usage.map(milliwatts));
    let limit = asked("nvmlDeviceGetEnforcedPowerLimit", device.enforced_power_limit());
    reading.put(GpuField::PowerLimitW, limit.map(milliwatts));
    let energy = device.total_energy_consumption();
    let energy = asked("nvmlDeviceGetTotalEnergyConsumption", energy);
    reading.put(GpuField::EnergyJ, energy.map(|mj| mj as f64 / 1e3));
}

fn clocks(reading: &mut GpuReading, device: &Device<'_>) {
    let temperature = device.temperature(TemperatureSensor::Gpu);
    let temperature = asked("nvmlDeviceGetTemperature", temperature);
    reading.put(GpuField::TemperatureC, temperature.map(f64::from));
    for (field, clock) in
        [(GpuField::SmClockMhz, Clock::SM), (GpuField::MemClockMhz, Clock::Memory)]
    {
        let mhz = asked("nvmlDeviceGetClockInfo", device.clock_info(clock));
        reading.put(field, mhz.map(f64::from));
    }
    let bits = asked("nvmlDeviceGetCurrentClocksThrottleReasons", calls::throttle_bits(device));
    reading.put(GpuField::Throttle, bits.map(|bits| bits as f64));
    for (field, policy) in [
        (GpuField::PowerThrottledNs, PerformancePolicy::Power),
        (GpuField::ThermalThrottledNs, PerformancePolicy::Thermal),
    ] {
        let time = asked("nvmlDeviceGetViolationStatus", device.violation_status(policy));
        reading.put(field, time.map(|time| time.violation_time as f64));
    }
    let generation = device.current_pcie_link_gen();
    let generation = asked("nvmlDeviceGetCurrPcieLinkGeneration", generation);
    reading.put(GpuField::PcieGen, generation.map(f64::from));
    let lanes = asked("nvmlDeviceGetCurrPcieLinkWidth", device.current_pcie_link_width());
    reading.put(GpuField::PcieLanes, lanes.map(f64::from));
}

fn memory(reading: &mut GpuReading, device: &Device<'_>) {
    let memory = asked("nvmlDeviceGetMemoryInfo_v2", device.memory_info());
    let used = memory.as_ref().map(|memory| memory.used as f64).map_err(Clone::clone);
    reading.put(GpuField::MemoryUsedBytes, used);
    reading.put(GpuField::MemoryTotalBytes, memory.map(|memory| memory.total as f64));
}

fn memory_and_time(reading: &mut GpuReading, device: &Device<'_>) {
    memory(reading, device);
    let shares = asked("nvmlDeviceGetUtilizationRates", device.utilization_rates());
    let share = |percent: u32| f64::from(percent) / 100.0;
    let gpu = shares.as_ref().map(|shares| share(shares.gpu)).map_err(Clone::clone);
    reading.put(GpuField::TimeActive, gpu);
    reading.put(GpuField::MemoryTimeActive, shares.map(|shares| share(shares.memory)));
}

/// The driver's own measurement: KB/s, taken as 1,000 bytes, over 20 ms.
fn blocking_pcie(reading: &mut GpuReading, device: &Device<'_>) {
    for (field, counter) in [
        (GpuField::PcieTxBytesPerS, PcieUtilCounter::Send),
        (GpuField::PcieRxBytesPerS, PcieUtilCounter::Receive),
    ] {
        if reading.missing.get(&field).is_some_and(|why| why.kind != MissingKind::Unavailable) {
            let rate = asked("nvmlDeviceGetPcieThroughput", device.pcie_throughput(counter));
            reading.put(field, rate.map(|kb| f64::from(kb) * 1e3));
        }
    }
}
