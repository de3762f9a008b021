//! One entry of fio's list of jobs, a job or the sum of a group, and its directions.

use loadline_schema::storage::{Direction, WorkerEnd};
use serde_json::Value;

use super::document::Object;
use super::latency::{Reading, whole};

/// No figure is larger: ten years in ns, and as many I/Os.
pub(super) const MOST: u64 = 315_360_000_000_000_000;

/// Names of fio's kinds of latency, and ours.
pub(super) const KINDS: [(&str, &str); 3] =
    [("slat_ns", "slat"), ("clat_ns", "clat"), ("lat_ns", "lat")];

/// One direction of one entry.
pub(super) struct Side<'a> {
    pub(super) direction: Direction,
    pub(super) object: Option<&'a Object>,
    pub(super) ios: u64,
    pub(super) bytes: u64,
    pub(super) short: u64,
    pub(super) run_ms: u64,
    /// In the order of [`KINDS`].
    pub(super) latencies: [Reading; 3],
}

impl<'a> Side<'a> {
    pub(super) fn of(entry: &'a Object, direction: Direction) -> Self {
        let mut side = Self::empty(direction);
        side.object = entry.get(direction.as_str()).and_then(Value::as_object);
        side.bytes = side.figure("io_bytes");
        // Without any bytes it is an I/O that failed.
        side.ios = if side.bytes > 0 { side.figure("total_ios") } else { 0 };
        side.short = side.figure("short_ios");
        side.run_ms = side.figure("runtime");
        side
    }

    pub(super) fn empty(direction: Direction) -> Self {
        let latencies = [Reading::Absent, Reading::Absent, Reading::Absent];
        Self { direction, object: None, ios: 0, bytes: 0, short: 0, run_ms: 0, latencies }
    }

    pub(super) fn figure(&self, name: &str) -> u64 {
        self.object.and_then(|side| side.get(name)).map_or(0, whole)
    }

    /// I/Os in its latency.
    pub(super) fn timed(&self) -> u64 {
        let latency = self.object.and_then(|side| side.get("lat_ns")).and_then(Value::as_object);
        latency.and_then(|lat| lat.get("N")).map_or(0, whole)
    }

    /// Reads its latencies, and takes those back that contradict each other.
    pub(super) fn read_latencies(&mut self, limit_ns: u64) {
        let Some(object) = self.object else { return };
        self.latencies = KINDS.map(|(key, _)| Reading::of(object, key, limit_ns));
        let [slat, clat, lat] = &mut self.latencies;
        if let (Some(part), Some(sum)) = (clat.stated(), lat.stated())
            && part.mean > sum.mean * 1.02 + 1000.0
        {
            // Seen with `sqthread_poll`, where the kernel takes I/Os and fio knows no time of it.
            let why = format!(
                "a mean of {:.0} ns is more than that of lat, {:.0} ns, which it is part of",
                part.mean, sum.mean
            );
            *clat = Reading::Wrong(why);
            *slat = Reading::Absent;
        }
    }
}

/// One entry: a job, or the sum of a group.
pub(super) struct Entry<'a> {
    pub(super) object: &'a Object,
    pub(super) sides: [Side<'a>; 3],
    pub(super) run_ns: u64,
}

impl<'a> Entry<'a> {
    /// # Errors
    /// What cannot be, as a phrase.
    pub(super) fn of(object: &'a Object) -> Result<Self, String> {
        let mut sides =
            [Direction::Read, Direction::Write, Direction::Sync].map(|side| Side::of(object, side));
        let run_ms = sides.iter().map(|side| side.run_ms).max().unwrap_or(0);
        let run_ns = run_ms.saturating_mul(1_000_000);
        let failed = object.get("error").and_then(Value::as_i64).unwrap_or(0) != 0;
        let [read, write, sync] = &mut sides;
        let total = sync.figure("total_ios");
        sync.ios = total.max(sync.timed());
        if total == 0 {
            // fio counts fdatasyncs in the latency, and by mistake as short reads: its array of
            // directions has no place for them, and the next one begins there.
            read.short = read.short.saturating_sub(sync.ios);
        }
        if failed {
            // The I/O that failed is counted, but not timed.
            for side in [read, write] {
                let timed = side.timed();
                side.ios = if timed > 0 { side.ios.min(timed) } else { side.ios };
            }
        }
        let figures = sides.iter().flat_map(|side| [side.ios, side.bytes, side.short]);
        if run_ns > MOST || figures.max().is_some_and(|most| most > MOST) {
            return Err("a figure of it is larger than can be".to_owned());
        }
        Ok(Self { object, sides, run_ns })
    }

    pub(super) fn figure(&self, name: &str) -> f64 {
        let number = self.object.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        if number.is_finite() { number.max(0.0) } else { 0.0 }
    }

    pub(super) fn error(&self) -> i64 {
        self.object.get("error").and_then(Value::as_i64).unwrap_or(0)
    }

    /// Time for which fio accounts CPU time: of all jobs in the entry together, ms.
    pub(super) fn job_runtime_ms(&self) -> f64 {
        let stated = self.figure("job_runtime");
        if stated > 0.0 { stated } else { self.run_ns as f64 / 1e6 }
    }

    /// CPU time in user and kernel, ns: fio states them as % of the jobs' time.
    pub(super) fn cpu_ns(&self) -> (u64, u64) {
        let part = |name| {
            let ns = self.figure(name) / 100.0 * self.job_runtime_ms() * 1e6;
            (ns.round() as u64).min(MOST)
        };
        (part("usr_cpu"), part("sys_cpu"))
    }

    pub(super) fn worker(&self, ramp_ns: u64) -> WorkerEnd {
        let [read, write, sync] = &self.sides;
        let (user, system) = self.cpu_ns();
        let failed = self.object.get("total_err").map_or(0, whole).min(MOST);
        WorkerEnd {
            first_ns: ramp_ns,
            last_ns: ramp_ns + self.run_ns,
            read_ios: read.ios,
            read_bytes: read.bytes,
            write_ios: write.ios,
            write_bytes: write.bytes,
            sync_ios: sync.ios,
            errors: failed.max(u64::from(self.error() != 0)) + read.short + write.short,
            unknown: 0,
            cpu_ns: user + system,
        }
    }
}
