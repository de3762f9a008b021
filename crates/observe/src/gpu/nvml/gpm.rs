//! GPM: the profiling counters of Hopper and newer GPUs, as the difference of two samples. Ratios
//! come in percent and traffic in MiB/s (nvml.h says so; the wrapper's text says bytes).

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use loadline_schema::gpu::{GpuField, GpuReading, Missing, MissingKind};
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::{Device, GpmSample};
use nvml_wrapper_sys::bindings::nvmlGpmSample_t;

use super::Part;
use super::calls::asked;
use crate::gpu::GPM_INTERVAL_NS;

const MIB: f64 = 1_048_576.0;

/// The metrics in use: ours, theirs, and what one of their units is in ours.
const METRICS: [(GpuField, GpmMetricId, f64); 8] = [
    (GpuField::SmActive, GpmMetricId::SmUtil, 0.01),
    (GpuField::SmOccupancy, GpmMetricId::SmOccupancy, 0.01),
    (GpuField::TensorActive, GpmMetricId::AnyTensorUtil, 0.01),
    (GpuField::DramActive, GpmMetricId::DramBwUtil, 0.01),
    (GpuField::PcieTxBytesPerS, GpmMetricId::PcieTxPerSec, MIB),
    (GpuField::PcieRxBytesPerS, GpmMetricId::PcieRxPerSec, MIB),
    (GpuField::NvlinkTxBytesPerS, GpmMetricId::NvlinkTotalTxPerSec, MIB),
    (GpuField::NvlinkRxBytesPerS, GpmMetricId::NvlinkTotalRxPerSec, MIB),
];

/// A sample that outlives the borrow of the library that the wrapper's type insists on.
#[derive(Debug)]
struct Kept {
    raw: nvmlGpmSample_t,
    library: Arc<nvml_wrapper::Nvml>,
    at_ns: u64,
}

#[expect(unsafe_code, reason = "a raw pointer is not Send by itself")]
// SAFETY: the pointer is owned by this value alone; NVML asks only that a sample is not used by two
// threads at once, and `Kept` is not Sync.
unsafe impl Send for Kept {}

impl Kept {
    fn new(sample: GpmSample<'_>, library: &Arc<nvml_wrapper::Nvml>, at_ns: u64) -> Self {
        Self { raw: sample.into_handle(), library: Arc::clone(library), at_ns }
    }

    /// The sample as the wrapper's type, which must not free it.
    fn sample(&self) -> ManuallyDrop<GpmSample<'_>> {
        #[expect(
            unsafe_code,
            reason = "the wrapper's type borrows the library, so it cannot be kept"
        )]
        // SAFETY: `raw` came from `into_handle` of a sample of this very library, and is freed in
        // `drop` alone, since what is given out is never dropped.
        let sample = unsafe { GpmSample::from_handle(&self.library, self.raw) };
        ManuallyDrop::new(sample)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(ManuallyDrop::into_inner(self.sample()));
    }
}

/// The last sample of each GPU and instance.
#[derive(Debug, Default)]
pub(super) struct GpmSamples {
    last: BTreeMap<Part, Kept>,
    supported: BTreeMap<u32, Result<(), Missing>>,
}

/// Whether a GPU has GPM.
pub(super) fn supported(device: &Device<'_>) -> Result<(), Missing> {
    const FUNCTION: &str = "nvmlGpmQueryDeviceSupport";
    if !asked(FUNCTION, device.gpm_support())? {
        return Err(Missing::new(
            MissingKind::Unsupported,
            "GPM: only GPUs from Hopper on have it; older ones need DCGM's profiling module, and \
             GeForce 20 to 40 have no such counters at all",
        ));
    }
    // The wrapper frees samples without asking whether it can.
    if device.nvml().lib().nvmlGpmSampleFree.is_err() {
        let reason = "nvmlGpmSampleFree: the driver's library does not have it";
        return Err(Missing::new(MissingKind::Unsupported, reason));
    }
    Ok(())
}

/// Whether a GPU has GPM and this user may sample it.
pub(super) fn allowed(device: &Device<'_>) -> Result<(), Missing> {
    supported(device)?;
    match asked("nvmlGpmSampleGet", device.gpm_sample()) {
        Err(missing) if missing.kind == MissingKind::Denied => Err(missing),
        // A GPU that is split up can refuse as a whole, and its instances answer.
        _ => Ok(()),
    }
}

/// Says of every field of GPM why it is missing.
pub(super) fn excuse(reading: &mut GpuReading, missing: &Missing) {
    for (field, _, _) in METRICS {
        reading.put(field, Err(missing.clone()));
    }
}

impl GpmSamples {
    /// Puts in what happened since the last sample of this part of the GPU `device`; `instance` is
    /// the MIG instance's id.
    pub(super) fn read(
        &mut self,
        library: &Arc<nvml_wrapper::Nvml>,
        device: &Device<'_>,
        part: Part,
        instance: Option<u32>,
        reading: &mut GpuReading,
    ) {
        let supported = self.supported.entry(part.0).or_insert_with(|| supported(device));
        if let Err(missing) = supported {
            let missing = missing.clone();
            // Only what the hardware lacks stays so.
            if missing.kind != MissingKind::Unsupported {
                self.supported.remove(&part.0);
            }
            return excuse(reading, &missing);
        }
        let since = self.last.get(&part).map(|last| reading.at_ns.saturating_sub(last.at_ns));
        if since.is_some_and(|ns| ns < GPM_INTERVAL_NS) {
            let reason = "GPM: the next sample is due 100 ms after the last";
            return excuse(reading, &Missing::new(MissingKind::Unavailable, reason));
        }
        let sample = match instance {
            None => asked("nvmlGpmSampleGet", device.gpm_sample()),
            Some(id) => asked("nvmlGpmMigSampleGet", device.gpm_mig_sample(id)),
        };
        let sample = match sample {
            Ok(sample) => Kept::new(sample, library, reading.at_ns),
            Err(missing) => return excuse(reading, &missing),
        };
        let Some(last) = self.last.insert(part, sample) else {
            let reason = "GPM: figures begin with the second sample, 100 ms after the first";
            return excuse(reading, &Missing::new(MissingKind::Unavailable, reason));
        };
        reading.over_ns = since;
        metrics(library, &last, &self.last[&part], reading);
    }
}

fn metrics(library: &nvml_wrapper::Nvml, first: &Kept, second: &Kept, reading: &mut GpuReading) {
    const FUNCTION: &str = "nvmlGpmMetricsGet";
    let wanted = METRICS.map(|(_, id, _)| id);
    let got = gpm_metrics_get(library, &first.sample(), &second.sample(), &wanted);
    match asked(FUNCTION, got) {
        Err(missing) => excuse(reading, &missing),
        Ok(results) => {
            for ((field, id, unit), result) in METRICS.into_iter().zip(results) {
                let name = format!("{FUNCTION}({id:?})");
                reading.put(field, asked(&name, result).map(|metric| metric.value * unit));
            }
        }
    }
}
