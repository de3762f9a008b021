//! `cargo xtask bench-storage DIR [PAIRS] [--only WORD]`: `loadline storage` beside fio on the storage of
//! DIR, in turns: bandwidth and IOPS, CPU time of an I/O, and (as root, on a disk, with cgroup v1) the
//! rate and the percentiles on a device that the kernel throttles.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::paired::{LEAST_PAIRS, in_turns, interval, median};
use crate::workspace;

mod throttled;

/// A figure: its name, what is compared, fio's flags and ours.
struct Figure {
    name: &'static str,
    what: What,
    fio: &'static str,
    ours: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Bytes/s.
    Bandwidth,
    /// I/Os per second.
    Iops,
    /// User and kernel time of an I/O, ns.
    Cpu,
}

/// fio's flags of all figures: fixed buffers and registered files, as ours.
const FIO: &str = "--ioengine=io_uring --fixedbufs=1 --registerfiles=1 --time_based --runtime=2 \
                   --output-format=json --name=x";
const OURS: &str =
    "--runtime 2 --trials 1 --ioengine io_uring --max-write 200GiB --reserve 0 --quiet --json";

const FIGURES: [Figure; 7] = [
    Figure {
        name: "sequential write, 1 MiB, iodepth 8",
        what: What::Bandwidth,
        fio: "--rw=write --bs=1m --size=512m --iodepth=8 --direct=1 --end_fsync=1 --unlink=1 --filename=DIR/fio-w",
        ours: "--rw write --bs 1m --size 512m --iodepth 8",
    },
    Figure {
        name: "sequential read, 1 MiB, iodepth 8",
        what: What::Bandwidth,
        fio: "--rw=read --bs=1m --size=512m --iodepth=8 --direct=1 --filename=DIR/fio-r",
        ours: "--rw read --bs 1m --size 512m --iodepth 8",
    },
    Figure {
        name: "random read, 4 KiB, iodepth 1",
        what: What::Iops,
        fio: "--rw=randread --bs=4k --size=512m --iodepth=1 --direct=1 --norandommap --filename=DIR/fio-r",
        ours: "--rw randread --bs 4k --size 512m --iodepth 1",
    },
    Figure {
        name: "random read, 4 KiB, iodepth 32",
        what: What::Iops,
        fio: "--rw=randread --bs=4k --size=512m --iodepth=32 --direct=1 --norandommap --filename=DIR/fio-r",
        ours: "--rw randread --bs 4k --size 512m --iodepth 32",
    },
    Figure {
        name: "CPU: /dev/zero, 4 KiB, iodepth 32",
        what: What::Cpu,
        fio: "--rw=randread --bs=4k --size=1g --iodepth=32 --direct=0 --norandommap --filename=/dev/zero",
        ours: "--rw randread --bs 4k --size 1g --iodepth 32 --direct 0 --special-file /dev/zero",
    },
    Figure {
        name: "CPU: page cache, 4 KiB, iodepth 1",
        what: What::Cpu,
        fio: "--rw=randread --bs=4k --size=128m --iodepth=1 --direct=0 --invalidate=0 --norandommap --filename=DIR/fio-c",
        ours: "--rw randread --bs 4k --size 128m --iodepth 1 --direct 0 --ramp-time 1s",
    },
    Figure {
        name: "CPU: page cache, 4 KiB, iodepth 32",
        what: What::Cpu,
        fio: "--rw=randread --bs=4k --size=128m --iodepth=32 --direct=0 --invalidate=0 --norandommap --filename=DIR/fio-c",
        ours: "--rw randread --bs 4k --size 128m --iodepth 32 --direct 0 --ramp-time 1s",
    },
];

/// From the words after `bench-storage`.
pub(crate) fn run_with(words: &[&str]) -> Option<Result<String>> {
    let (words, only) = match words {
        [rest @ .., "--only", only] => (rest, *only),
        rest => (rest, ""),
    };
    let (dir, pairs) = match words {
        [dir] => (dir, LEAST_PAIRS),
        [dir, pairs] => (dir, pairs.parse().ok()?),
        _ => return None,
    };
    (pairs >= 2).then(|| run(Path::new(dir), pairs, only))
}

fn run(dir: &Path, pairs: usize, only: &str) -> Result<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--quiet", "-p", "loadline-cli"]);
    ensure!(cargo.current_dir(workspace::root()).status()?.success(), "the release build failed");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace::root().join("target"), PathBuf::from);
    let scratch = fs::canonicalize(dir)?.join(format!("bench-storage-{}", std::process::id()));
    fs::create_dir(&scratch)?;
    let bench = Bench { loadline: target.join("release/loadline"), scratch: scratch.clone() };
    let table = bench.table(pairs, only);
    fs::remove_dir_all(&scratch)?;
    table
}

/// What one run of either side says.
#[derive(Debug, Clone, Copy)]
struct Said {
    bytes_per_s: f64,
    iops: f64,
    cpu_ns: f64,
    p50_ns: f64,
    p99_ns: f64,
}

struct Bench {
    loadline: PathBuf,
    scratch: PathBuf,
}

impl Bench {
    fn table(&self, pairs: usize, only: &str) -> Result<String> {
        let mut table = String::from("| figure | pairs | ours / fio | 95 % |\n|---|---|---|---|\n");
        for figure in FIGURES.iter().filter(|figure| figure.name.contains(only)) {
            let results = in_turns(pairs, || self.ours(figure.ours), || self.fio(figure.fio))?;
            let of = |said: &Said| match figure.what {
                What::Bandwidth => said.bytes_per_s,
                What::Iops => said.iops,
                What::Cpu => said.cpu_ns,
            };
            let ratios: Vec<f64> = results.iter().map(|(a, b)| of(a) / of(b)).collect();
            let (mean, low, high) = interval(&ratios).context("too few pairs")?;
            let row = if figure.what == What::Cpu {
                let side = |pick: fn(&(Said, Said)) -> Said| {
                    let values: Vec<f64> = results.iter().map(|pair| of(&pick(pair))).collect();
                    median(&values).unwrap_or(f64::NAN)
                };
                let (ours, theirs) = (side(|pair| pair.0), side(|pair| pair.1));
                format!(
                    "median {:.3} ({ours:.0} / {theirs:.0} ns) | mean {mean:.3}, {low:.3}–{high:.3}",
                    median(&ratios).unwrap_or(f64::NAN)
                )
            } else {
                format!("{mean:.3} | {low:.3}–{high:.3}")
            };
            let row = format!("| {} | {pairs} | {row} |\n", figure.name);
            eprint!("{row}");
            table.push_str(&row);
        }
        if "throttled".contains(only) || only.is_empty() {
            table.push_str(&throttled::rows(self, pairs)?);
        }
        Ok(table)
    }

    fn ours(&self, flags: &str) -> Result<Said> {
        self.ours_through(&[], flags)
    }

    fn fio(&self, flags: &str) -> Result<Said> {
        self.fio_through(&[], flags)
    }

    fn ours_through(&self, through: &[String], flags: &str) -> Result<Said> {
        let out = self.scratch.join("runs");
        let mut words: Vec<String> = through.to_vec();
        words.push(self.loadline.display().to_string());
        words.push("storage".to_owned());
        words.push(self.scratch.display().to_string());
        words.extend(flags.split_whitespace().chain(OURS.split_whitespace()).map(str::to_owned));
        words.extend(["--out".to_owned(), out.display().to_string()]);
        let document = json(&words)?;
        let cell = &document["storage"][0];
        let number = |value: &Value| value.as_f64().with_context(|| format!("no figure in {cell}"));
        Ok(Said {
            bytes_per_s: number(&cell["bytes_per_s"]["value"])?,
            iops: number(&cell["iops"]["value"])?,
            cpu_ns: number(&cell["cpu_ns_per_io"])?,
            p50_ns: number(&cell["clat_ns"]["p50"])?,
            p99_ns: number(&cell["clat_ns"]["p99"]).or_else(|_| number(&cell["clat_ns"]["max"]))?,
        })
    }

    fn fio_through(&self, through: &[String], flags: &str) -> Result<Said> {
        let flags = flags.replace("DIR", &self.scratch.display().to_string());
        let mut words: Vec<String> = through.to_vec();
        words.push("fio".to_owned());
        words.extend(FIO.split_whitespace().chain(flags.split_whitespace()).map(str::to_owned));
        let document = json(&words)?;
        let job = &document["jobs"][0];
        let number = |value: &Value| value.as_f64().unwrap_or(0.0);
        let side =
            if number(&job["read"]["total_ios"]) > 0.0 { &job["read"] } else { &job["write"] };
        let cpu_share = (number(&job["usr_cpu"]) + number(&job["sys_cpu"])) / 100.0;
        let latencies = &side["clat_ns"]["percentile"];
        Ok(Said {
            bytes_per_s: number(&side["bw_bytes"]),
            iops: number(&side["iops"]),
            cpu_ns: cpu_share * number(&job["job_runtime"]) * 1e6 / number(&side["total_ios"]),
            p50_ns: number(&latencies["50.000000"]),
            p99_ns: number(&latencies["99.000000"]),
        })
    }
}

/// What a command prints as JSON; lines before it are passed over.
fn json(words: &[String]) -> Result<Value> {
    let output = Command::new(&words[0]).args(&words[1..]).stderr(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let at = text.find('{').unwrap_or(0);
    serde_json::from_str(&text[at..]).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{words:?} ended with {}: {said}", output.status)
    })
}
