//! The cells of storage as columns of a CSV table: base units, the same for every run.

use loadline_schema::document::{Estimate, StorageResult};
use loadline_schema::storage::{CheckpointResult, IoLatency};

/// A column: its name and the field of a cell.
type Column = (String, Box<dyn Fn(&StorageResult) -> Option<String>>);
/// A named estimate.
type Rate = (&'static str, fn(&StorageResult) -> Option<Estimate>);
/// A named latency.
type Latency = (&'static str, fn(&StorageResult) -> Option<&IoLatency>);
/// A named statistic of a latency.
type Statistic = (&'static str, fn(&IoLatency) -> Option<String>);
/// A named text or number.
type Text = (&'static str, fn(&StorageResult) -> Option<String>);
/// A named number of a checkpoint.
type OfCheckpoint = (&'static str, fn(&CheckpointResult) -> Option<f64>);

const SETTINGS: [Text; 14] = [
    ("stage", |r| Some(r.stage.clone())),
    ("path", |r| Some(r.path.clone())),
    ("filesystem", |r| Some(r.filesystem.clone())),
    ("workload", |r| Some(r.workload.to_string())),
    ("setting", |r| Some(r.setting.clone())),
    ("bs_bytes", |r| Some(r.bs_bytes.to_string())),
    ("iodepth", |r| Some(r.iodepth.to_string())),
    ("numjobs", |r| Some(r.numjobs.to_string())),
    ("engine", |r| Some(r.engine.clone())),
    ("direct", |r| Some(r.direct.to_string())),
    ("trials", |r| Some(r.trials.to_string())),
    ("trials_planned", |r| Some(r.trials_planned.to_string())),
    ("cached", |r| Some(r.cached.to_string())),
    ("steady", |r| r.steady.map(|steady| steady.to_string())),
];
const RATES: [Rate; 10] = [
    ("bytes_per_s", |r| r.bytes_per_s),
    ("iops", |r| r.iops),
    ("read_bytes_per_s", |r| r.directions.get("read")?.bytes_per_s),
    ("read_iops", |r| Some(r.directions.get("read")?.iops)),
    ("write_bytes_per_s", |r| r.directions.get("write")?.bytes_per_s),
    ("write_iops", |r| Some(r.directions.get("write")?.iops)),
    ("sync_iops", |r| Some(r.directions.get("sync")?.iops)),
    ("save_s", |r| r.checkpoint.as_ref()?.save_s),
    ("restore_s", |r| r.checkpoint.as_ref()?.restore_s),
    ("load_s", |r| r.model_load.as_ref()?.load_s),
];
const LATENCIES: [Latency; 6] = [
    ("slat", |r| r.slat_ns.as_ref()),
    ("clat", |r| r.clat_ns.as_ref()),
    ("lat", |r| r.lat_ns.as_ref()),
    ("read_clat", |r| r.directions.get("read")?.clat_ns.as_ref()),
    ("write_clat", |r| r.directions.get("write")?.clat_ns.as_ref()),
    ("sync_clat", |r| r.directions.get("sync")?.clat_ns.as_ref()),
];
const STATISTICS: [Statistic; 10] = [
    ("n", |l| Some(l.n.to_string())),
    ("mean_ns", |l| Some(l.mean.to_string())),
    ("min_ns", |l| Some(l.min.to_string())),
    ("p50_ns", |l| l.p50.map(|ns| ns.to_string())),
    ("p90_ns", |l| l.p90.map(|ns| ns.to_string())),
    ("p95_ns", |l| l.p95.map(|ns| ns.to_string())),
    ("p99_ns", |l| l.p99.map(|ns| ns.to_string())),
    ("p999_ns", |l| l.p999.map(|ns| ns.to_string())),
    ("p9999_ns", |l| l.p9999.map(|ns| ns.to_string())),
    ("max_ns", |l| Some(l.max.to_string())),
];
const CHECKPOINT: [OfCheckpoint; 8] = [
    ("fsync_share", |c| c.fsync_share),
    ("slowest_rank", |c| c.slowest_rank.map(f64::from)),
    ("slowest_ratio", |c| c.slowest_ratio),
    ("full_bytes", |c| Some(c.full_bytes as f64)),
    ("full_save_s", |c| c.full_save_s),
    ("interval_s", |c| c.interval_s),
    ("time_share", |c| c.time_share),
    ("optimum_s", |c| c.optimum_s),
];
const REST: [Text; 5] = [
    ("cpu_ns_per_io", |r| r.cpu_ns_per_io.map(|ns| ns.to_string())),
    ("target_bytes_per_s", |r| r.target.map(|target| target.bytes_per_s.to_string())),
    ("target_met", |r| r.target.map(|target| target.met.to_string())),
    ("failed", |r| r.failed.clone()),
    ("warnings", |r| {
        let codes: Vec<&str> = r.warnings.iter().map(|warning| warning.code.as_str()).collect();
        Some(codes.join(" "))
    }),
];

pub(crate) fn columns() -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |name: String, field: Box<dyn Fn(&StorageResult) -> Option<String>>| {
        columns.push((name, field));
    };
    for (name, of) in SETTINGS {
        add(name.to_owned(), Box::new(of));
    }
    for (name, of) in RATES {
        add(name.to_owned(), Box::new(move |r| of(r).map(|rate| rate.value.to_string())));
        add(format!("{name}_low"), Box::new(move |r| of(r)?.low.map(|low| low.to_string())));
        add(format!("{name}_high"), Box::new(move |r| of(r)?.high.map(|high| high.to_string())));
    }
    for (name, of) in LATENCIES {
        for (statistic, text) in STATISTICS {
            add(format!("{name}_{statistic}"), Box::new(move |r| of(r).and_then(text)));
        }
    }
    for (name, of) in CHECKPOINT {
        let field = move |r: &StorageResult| {
            r.checkpoint.as_ref().and_then(of).map(|number| number.to_string())
        };
        add(format!("checkpoint_{name}"), Box::new(field));
    }
    for (name, of) in REST {
        add(name.to_owned(), Box::new(of));
    }
    columns
}
