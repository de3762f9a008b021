//! Which source to read: the best that is there, with the reason why each better one was not taken.

use std::path::PathBuf;

use loadline_clock::RunClock;
use loadline_schema::gpu::{GpuSource, MissingKind};

use super::{Amdgpu, DcgmExporter, Dcgmi, Fetch, GpuReader, Nvml, NvmlSettings};

/// Where to look.
pub struct GpuRoots {
    /// The driver's library ([`Nvml::LIBRARY`] lets the dynamic linker find it).
    pub nvml: PathBuf,
    /// How to read it.
    pub nvml_settings: NvmlSettings,
    /// A dcgm-exporter's page, where there is one.
    pub exporter: Option<Fetch>,
    /// `dcgmi`, where it may be started; a bare name is looked up in PATH. On GPUs before Hopper it
    /// holds the profiling counters for itself while it runs: Nsight and the like cannot have them.
    pub dcgmi: Option<PathBuf>,
    /// The interval of `dcgmi dmon`, ms.
    pub interval_ms: u32,
    /// Usually `/sys`.
    pub sys: PathBuf,
}

impl Default for GpuRoots {
    fn default() -> Self {
        Self {
            nvml: Nvml::LIBRARY.into(),
            nvml_settings: NvmlSettings::default(),
            exporter: None,
            dcgmi: Some("dcgmi".into()),
            interval_ms: 100,
            sys: "/sys".into(),
        }
    }
}

/// A source that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Which.
    pub source: GpuSource,
    /// Why.
    pub reason: String,
}

/// What was opened.
pub struct Opened {
    /// One source for NVIDIA GPUs, one for AMD's; none where there is nothing.
    pub readers: Vec<Box<dyn GpuReader>>,
    /// The sources that come before the taken one, and those that have nothing.
    pub passed_over: Vec<PassedOver>,
}

impl Opened {
    fn pass(&mut self, source: GpuSource, reason: String) {
        self.passed_over.push(PassedOver { source, reason });
    }
}

/// Opens the best source of each vendor. For NVIDIA: NVML with GPM (in our own process, at our own
/// pace, in nobody's way), then a dcgm-exporter, then `dcgmi dmon` (both have the profiling counters
/// of GPUs before Hopper), then NVML without GPM (power, clocks and memory alone).
pub fn open(roots: GpuRoots, clock: RunClock) -> Opened {
    let mut opened = Opened { readers: Vec::new(), passed_over: Vec::new() };
    let sys = roots.sys.clone();
    nvidia(&mut opened, roots, clock);
    match Amdgpu::open(&sys) {
        Ok(reader) => opened.readers.push(Box::new(reader)),
        Err(error) => opened.pass(GpuSource::Amdgpu, error.to_string()),
    }
    opened
}

fn nvidia(opened: &mut Opened, roots: GpuRoots, clock: RunClock) {
    let without_gpm = match Nvml::open(&roots.nvml, roots.nvml_settings) {
        Err(error) => {
            opened.pass(GpuSource::Nvml, error.to_string());
            None
        }
        Ok(mut nvml) => match nvml.has_gpm() {
            Ok(()) => {
                nvml.measure_energy_steps(&clock);
                opened.readers.push(Box::new(nvml));
                return;
            }
            // Where there is no GPU at all, nothing else will find one.
            Err(_) if nvml.count().is_ok_and(|count| count == 0) => {
                opened.pass(GpuSource::Nvml, "the driver knows of no GPU".into());
                return;
            }
            Err(missing) => Some((nvml, missing)),
        },
    };
    if let Some((_, missing)) = &without_gpm {
        let word = if missing.kind == MissingKind::Denied { "denied" } else { "no GPM" };
        opened.pass(GpuSource::Nvml, format!("{word}: {}", missing.reason));
    }
    // What NVML has alone, it has better.
    let activity = without_gpm.is_some();
    let better = exporter(opened, roots.exporter, activity)
        .or_else(|| dcgmi(opened, roots.dcgmi, roots.interval_ms, clock, activity));
    match (better, without_gpm) {
        (Some(better), _) => opened.readers.push(better),
        // It was passed over for what it lacks; it is still the best that there is.
        (None, Some((mut nvml, _))) => {
            nvml.measure_energy_steps(&clock);
            opened.readers.push(Box::new(nvml));
        }
        (None, None) => {}
    }
}

fn exporter(
    opened: &mut Opened,
    fetch: Option<Fetch>,
    activity: bool,
) -> Option<Box<dyn GpuReader>> {
    let Some(fetch) = fetch else {
        opened.pass(GpuSource::DcgmExporter, "no address of an exporter was given".into());
        return None;
    };
    let mut reader = DcgmExporter::new(fetch);
    match reader.probe(activity) {
        Ok(()) => Some(Box::new(reader)),
        Err(reason) => {
            opened.pass(GpuSource::DcgmExporter, reason);
            None
        }
    }
}

fn dcgmi(
    opened: &mut Opened,
    program: Option<PathBuf>,
    interval_ms: u32,
    clock: RunClock,
    activity: bool,
) -> Option<Box<dyn GpuReader>> {
    let Some(program) = program else {
        opened.pass(GpuSource::Dcgmi, "not to be started".into());
        return None;
    };
    match Dcgmi::start(&program, interval_ms, clock).and_then(|dcgmi| dcgmi.first_reading(activity))
    {
        Ok(reader) => Some(Box::new(reader)),
        Err(error) => {
            opened.pass(GpuSource::Dcgmi, error.to_string());
            None
        }
    }
}
