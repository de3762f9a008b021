//! Both sides on a disk that the kernel throttles (cgroup v1, blkio): the limit is known.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Bench, Said};
use crate::paired::{in_turns, median};

const BLKIO: &str = "/sys/fs/cgroup/blkio";
const BYTES_PER_S: f64 = 40.0 * 1024.0 * 1024.0;
const IOPS: f64 = 400.0;

/// A cgroup of ours, gone when dropped.
struct Group(PathBuf);

impl Group {
    fn make(name: &str, limits: &[(&str, String)]) -> Result<Self> {
        let group = Self(Path::new(BLKIO).join(format!("{name}-{}", std::process::id())));
        fs::create_dir(&group.0)?;
        for (file, value) in limits {
            fs::write(group.0.join(format!("blkio.throttle.{file}")), value)?;
        }
        Ok(group)
    }

    /// A command that runs another one in it.
    fn through(&self) -> Vec<String> {
        let script = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", self.0.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

pub(super) fn rows(bench: &Bench, pairs: usize) -> Result<String> {
    if !Path::new(BLKIO).join("blkio.throttle.read_bps_device").exists() {
        return Ok("| throttled device | 0 | no cgroup v1 with blkio here | |\n".to_owned());
    }
    let device = fs::metadata(&bench.scratch)?.st_dev();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let bandwidth = format!("{device} {}", BYTES_PER_S as u64);
    let iops = format!("{device} {}", IOPS as u64);
    let mut rows = String::new();
    for (name, file, ours, fio, limit) in [
        (
            "write",
            "write_bps_device",
            "--rw write --bs 256k --size 64m --iodepth 8 --ramp-time 1",
            "--rw=write --bs=256k --size=64m --iodepth=8 --ramp_time=1 --direct=1 --unlink=1 --filename=DIR/fio-t",
            BYTES_PER_S,
        ),
        (
            "read",
            "read_bps_device",
            "--rw read --bs 256k --size 64m --iodepth 8 --ramp-time 1",
            "--rw=read --bs=256k --size=64m --iodepth=8 --ramp_time=1 --direct=1 --filename=DIR/fio-tr",
            BYTES_PER_S,
        ),
    ] {
        let group = Group::make("loadline-bytes", &[(file, bandwidth.clone())])?;
        let results = in_turns(
            pairs,
            || bench.ours_through(&group.through(), ours),
            || bench.fio_through(&group.through(), fio),
        )?;
        let of_limit = |pick: &dyn Fn(usize) -> f64| {
            let values: Vec<f64> = (0..results.len()).map(|i| pick(i) / limit).collect();
            median(&values).unwrap_or(f64::NAN)
        };
        let (ours, theirs) =
            (of_limit(&|i| results[i].0.bytes_per_s), of_limit(&|i| results[i].1.bytes_per_s));
        let ratio = |pick: fn(&Said) -> f64| ratio(&results, pick);
        let row = format!(
            "| {name}, throttled to 40 MiB/s: measured / limit | {pairs} | ours {ours:.3} | fio {theirs:.3} |\n\
             | the same: clat, ours / fio (medians) | {pairs} | P50 {:.4} | P99 {:.4} |\n",
            ratio(|said| said.p50_ns),
            ratio(|said| said.p99_ns)
        );
        eprint!("{row}");
        rows.push_str(&row);
    }
    let group = Group::make("loadline-iops", &[("read_iops_device", iops)])?;
    let results = in_turns(
        pairs,
        || {
            bench.ours_through(
                &group.through(),
                "--rw randread --bs 4k --size 64m --iodepth 4 --ramp-time 1",
            )
        },
        || {
            bench.fio_through(&group.through(), "--rw=randread --bs=4k --size=64m --iodepth=4 --ramp_time=1 --direct=1 --norandommap --filename=DIR/fio-tr")
        },
    )?;
    let ratio = |pick: fn(&Said) -> f64| ratio(&results, pick);
    let row = format!(
        "| clat on a disk throttled to 400 IOPS, iodepth 4: median ratio | {pairs} | P50 {:.4} | P99 {:.4} |\n",
        ratio(|said| said.p50_ns),
        ratio(|said| said.p99_ns)
    );
    eprint!("{row}");
    rows.push_str(&row);
    Ok(rows)
}

/// The median of the pairs' ratios of a figure.
fn ratio(results: &[(Said, Said)], pick: fn(&Said) -> f64) -> f64 {
    let ratios: Vec<f64> = results.iter().map(|(a, b)| pick(a) / pick(b)).collect();
    median(&ratios).unwrap_or(f64::NAN)
}
