//! The log: records of finished answers, counters, and the figures made of them.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

use crate::known_answer::nearest_rank;
use crate::metrics::Metrics;
use crate::record::{Outcome, TruthRecord};
use crate::wire::{SECOND_NS, realtime_ns};

/// Lags kept for the percentiles of [`Stats`]; at 4 bytes each.
const MAX_LAGS: usize = 20_000_000;

/// CPU time of this process so far in user mode and in the kernel, ns.
pub(crate) fn cpu_user_and_system_ns() -> (u64, u64) {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return (0, 0) };
    let of = |time: nix::sys::time::TimeVal| {
        time.tv_sec() as u64 * SECOND_NS + time.tv_usec() as u64 * 1_000
    };
    (of(usage.user_time()), of(usage.system_time()))
}

fn cpu_ns() -> u64 {
    let (user, system) = cpu_user_and_system_ns();
    user + system
}

/// Everything counted since the last reset.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) records: Vec<TruthRecord>,
    /// Records beyond this many are counted in `unlogged` instead of kept.
    pub(crate) max_records: usize,
    pub(crate) unlogged: u64,
    pub(crate) next_id: u64,
    pub(crate) epoch: u64,
    pub(crate) accepted: u64,
    pub(crate) closed_mid: u64,
    pub(crate) other: u64,
    pub(crate) shed: u64,
    pub(crate) errors: u64,
    pub(crate) events: u64,
    pub(crate) writes: u64,
    pub(crate) blocked: u64,
    pub(crate) inflight: u64,
    pub(crate) max_inflight: u64,
    pub(crate) write_ns: u64,
    pub(crate) lags_ns: Vec<u32>,
    pub(crate) max_lag_ns: u64,
    cpu_start_ns: u64,
    reset_ns: u64,
    /// Goes on through a reset.
    pub(crate) metrics: Metrics,
}

/// The figures of `/stats`: names and units (ms) as scripts know them. A percentile without
/// samples is absent. Percentiles are nearest rank over completed answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Completed answers in the log.
    pub n: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections the client closed during an answer.
    pub closed_mid: u64,
    /// Requests that were not for an answer (`/stats` and `/dump` not counted).
    pub other: u64,
    /// Requests refused with 429.
    pub shed: u64,
    /// Requests answered with 503.
    pub errors: u64,
    /// Answers not kept because the log was full.
    pub unlogged: u64,
    /// Events with tokens.
    pub events: u64,
    /// System calls that wrote.
    pub writes: u64,
    /// Writes for which the socket had no room.
    pub eagain: u64,
    /// Requests in flight now, waiting ones included.
    pub inflight: u64,
    /// Most requests in flight at once.
    pub max_inflight: u64,
    /// First token after arrival.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_p50: Option<f64>,
    /// The same, P99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_p99: Option<f64>,
    /// End after arrival.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2e_p50: Option<f64>,
    /// The same, P99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2e_p99: Option<f64>,
    /// Time between writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itl_p50: Option<f64>,
    /// The same, P99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itl_p99: Option<f64>,
    /// Writes after their due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_p50: Option<f64>,
    /// The same, P99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_p99: Option<f64>,
    /// The same, largest.
    pub lag_max: f64,
    /// Reading a request after the kernel had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_delay_p50: Option<f64>,
    /// The same, P99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_delay_p99: Option<f64>,
    /// CPU seconds of the process since the reset.
    pub cpu_s: f64,
    /// Seconds since the reset.
    pub wall_s: f64,
    /// Mean time of a write, µs (only where writes are kept).
    pub write_us_mean: f64,
}

fn millis(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10_000.0
}

/// P50 and P99 in ms.
fn pair(mut ns: Vec<u64>) -> [Option<f64>; 2] {
    ns.sort_unstable();
    [0.5, 0.99].map(|share| nearest_rank(&ns, share).map(millis))
}

impl Book {
    pub(crate) fn new() -> Self {
        Self {
            records: Vec::new(),
            max_records: 1_000_000,
            unlogged: 0,
            next_id: 0,
            epoch: 0,
            accepted: 0,
            closed_mid: 0,
            other: 0,
            shed: 0,
            errors: 0,
            events: 0,
            writes: 0,
            blocked: 0,
            inflight: 0,
            max_inflight: 0,
            write_ns: 0,
            lags_ns: Vec::new(),
            max_lag_ns: 0,
            cpu_start_ns: cpu_ns(),
            reset_ns: realtime_ns(),
            metrics: Metrics::new(),
        }
    }

    /// Forgets everything but the requests in flight (which will not be logged) and what `/metrics` tells.
    pub(crate) fn reset(&mut self) {
        let fresh = Self::new();
        let metrics = std::mem::replace(&mut self.metrics, Metrics::new());
        *self = Self {
            max_records: self.max_records,
            epoch: self.epoch + 1,
            inflight: self.inflight,
            max_inflight: self.inflight,
            metrics,
            ..fresh
        };
    }

    /// Counts a request that begins.
    pub(crate) fn begin(&mut self) {
        self.inflight += 1;
        self.max_inflight = self.max_inflight.max(self.inflight);
        self.metrics.requests += 1;
    }

    /// Files the record of an answer that ended, which began in `epoch`.
    pub(crate) fn file(&mut self, record: TruthRecord, epoch: u64) {
        self.inflight -= 1;
        match record.outcome {
            Outcome::Completed => self.metrics.complete(&record),
            Outcome::ClientClosed => self.metrics.aborted += 1,
        }
        if epoch != self.epoch {
            return;
        }
        self.closed_mid += u64::from(record.outcome == Outcome::ClientClosed);
        if self.records.len() < self.max_records {
            self.records.push(record);
        } else {
            self.unlogged += 1;
        }
    }

    /// Counts how late a write was; `keep` is whether its law keeps every write.
    pub(crate) fn lag(&mut self, lag_ns: u64, keep: bool) {
        self.max_lag_ns = self.max_lag_ns.max(lag_ns);
        if keep && self.lags_ns.len() < MAX_LAGS {
            self.lags_ns.push(u32::try_from(lag_ns).unwrap_or(u32::MAX));
        }
    }

    fn completed(&self) -> impl Iterator<Item = &TruthRecord> {
        self.records.iter().filter(|record| record.outcome == Outcome::Completed)
    }

    pub(crate) fn stats(&self) -> Stats {
        let [ttft_p50, ttft_p99] =
            pair(self.completed().filter_map(TruthRecord::ttft_ns).collect());
        let [e2e_p50, e2e_p99] = pair(self.completed().map(TruthRecord::e2e_ns).collect());
        let [itl_p50, itl_p99] = pair(self.completed().flat_map(TruthRecord::gaps_ns).collect());
        let [lag_p50, lag_p99] = pair(self.lags_ns.iter().map(|lag| u64::from(*lag)).collect());
        let read_delays =
            self.completed().map(|r| r.arrival_user_ns.saturating_sub(r.arrival_kernel_ns));
        let [read_delay_p50, read_delay_p99] = pair(read_delays.collect());
        Stats {
            n: self.completed().count() as u64,
            accepted: self.accepted,
            closed_mid: self.closed_mid,
            other: self.other,
            shed: self.shed,
            errors: self.errors,
            unlogged: self.unlogged,
            events: self.events,
            writes: self.writes,
            eagain: self.blocked,
            inflight: self.inflight,
            max_inflight: self.max_inflight,
            ttft_p50,
            ttft_p99,
            e2e_p50,
            e2e_p99,
            itl_p50,
            itl_p99,
            lag_p50,
            lag_p99,
            lag_max: millis(self.max_lag_ns),
            read_delay_p50,
            read_delay_p99,
            cpu_s: cpu_ns().saturating_sub(self.cpu_start_ns) as f64 / 1e9,
            wall_s: realtime_ns().saturating_sub(self.reset_ns) as f64 / 1e9,
            write_us_mean: self.write_ns as f64 / 1e3 / self.events.max(1) as f64,
        }
    }

    /// Writes the log as CSV; with `all` also answers that the client left.
    pub(crate) fn dump(&self, path: &Path, all: bool) -> io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        writeln!(file, "{}", crate::dump::HEADER)?;
        for record in &self.records {
            if all || record.outcome == Outcome::Completed {
                crate::dump::write_line(&mut file, record)?;
            }
        }
        file.flush()
    }
}
