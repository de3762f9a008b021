//! Whole trials.
use loadline_schema::storage::*;

/// A small load.
pub(super) fn load(rw: Rw) -> IoLoad {
    IoLoad {
        rw,
        read_share: if matches!(rw, Rw::Rw | Rw::RandRw) { 0.5 } else { 1.0 },
        bs_bytes: 4096,
        size_bytes: 1 << 20,
        numjobs: 1,
        iodepth: 4,
        engine: IoEngine::IoUring,
        direct: true,
        sync: SyncMode::None,
        fsync_every: 0,
        fdatasync_every: 0,
        end_fsync: false,
        rate_iops: None,
        rate_process: RateProcess::Linear,
        extent: IoExtent::Size { runtime_ns: None },
        ramp_ns: 0,
        data: DataShape::default(),
        verify: false,
        special_file: None,
    }
}
