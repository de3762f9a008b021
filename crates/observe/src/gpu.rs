//! Readers of GPUs: NVML, a page of dcgm-exporter, the text of `dcgmi dmon`, the kernel's files of
//! amdgpu; and the choice between them.

use loadline_schema::gpu::{GpuReading, GpuSource};

mod amd_metrics;
mod amdgpu;
mod choice;
mod dcgm;
mod dcgmi;
mod dmon;
mod exporter;
mod nvml;

pub use amdgpu::Amdgpu;
pub use choice::{GpuRoots, Opened, PassedOver, open};
pub use dcgm::{dcgm_field, dcgm_names};
pub use dcgmi::Dcgmi;
pub use dmon::{DmonParser, dmon_arguments};
pub use exporter::{DcgmExporter, Fetch, exporter_readings};
pub use nvml::{GpuProcess, Nvml, NvmlSettings};

/// Least time between two samples of GPM, ns: NVIDIA's counters need that much.
pub const GPM_INTERVAL_NS: u64 = 100_000_000;

/// A source of readings that could not be opened or read. Its text does not name the source: who shows
/// it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// The driver's library is not there or does not work.
    #[error("{library}: {reason}; {remedy}")]
    Library {
        /// Its path or name.
        library: String,
        /// What it said.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A call that everything else rests on failed.
    #[error("{function}: {reason}")]
    Call {
        /// The function.
        function: &'static str,
        /// What it said.
        reason: String,
    },
    /// The exporter's page could not be had or has no GPU on it.
    #[error("{reason}")]
    Page {
        /// Why.
        reason: String,
    },
    /// `dcgmi` could not be started or ended.
    #[error("{}{reason}", elsewhere(.program))]
    Dcgmi {
        /// What was started.
        program: String,
        /// What it said.
        reason: String,
    },
    /// There is no AMD GPU in the kernel's files.
    #[error("no AMD GPU under {folder}")]
    NoAmd {
        /// Where it was looked for.
        folder: String,
    },
}

/// The program, where it is not the usual one of the name.
fn elsewhere(program: &str) -> String {
    if program == "dcgmi" { String::new() } else { format!("{program}: ") }
}

/// Something that reads GPUs.
pub trait GpuReader: Send {
    /// What it is.
    fn source(&self) -> GpuSource;

    /// Time after which every GPU and field has had its chance, ns.
    fn settles_ns(&self) -> u64 {
        GPM_INTERVAL_NS + GPM_INTERVAL_NS / 5
    }

    /// A reading of each GPU and MIG instance at this moment, run-relative monotonic ns. Sources
    /// that publish now and then give nothing between, and several readings where several came.
    ///
    /// # Errors
    ///
    /// Where the source as a whole gives nothing more; what single fields lack is in the readings.
    fn read(&mut self, now_ns: u64) -> Result<Vec<GpuReading>, GpuError>;
}

/// Readings in which every field of every GPU has had its chance: two looks with the time between
/// them that GPM's samples, or a source that streams, need. What `gpu --check` shows.
///
/// # Errors
///
/// Where the source gives nothing at all.
pub fn check(
    reader: &mut dyn GpuReader,
    clock: &loadline_clock::RunClock,
) -> Result<Vec<GpuReading>, GpuError> {
    let first = reader.read(clock.now_ns())?;
    std::thread::sleep(std::time::Duration::from_nanos(reader.settles_ns()));
    let second = reader.read(clock.now_ns())?;
    // Sources that stream bring several of each GPU: the last one counts.
    let mut last: Vec<GpuReading> = Vec::new();
    for reading in first.into_iter().chain(second) {
        match last.iter_mut().find(|known| known.part() == reading.part()) {
            Some(known) => *known = reading,
            None => last.push(reading),
        }
    }
    last.sort_by(|a, b| a.part().cmp(&b.part()));
    Ok(last)
}
