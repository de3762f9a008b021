//! Looks at GPUs again and again, and keeps the readings.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use loadline_clock::RunClock;
use loadline_observe::gpu::GpuReader;
use loadline_schema::event::Warning;
use loadline_schema::gpu::{GpuField, GpuReading, GpuSource};

use crate::exit::Failure;
use crate::signals::{Heard, Signals};

/// When looks happen.
#[expect(clippy::struct_field_names, reason = "each name ends with its unit")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From one look to the next, ns.
    pub(super) interval_ns: u64,
    /// The longest time in which nobody asks whether it is over, ns.
    pub(super) most_wait_ns: u64,
    /// The last look happens then, in time of the clock, ns.
    pub(super) end_ns: Option<u64>,
}

/// Looks that gave nothing: of a source, or of one GPU.
#[derive(Debug, Default)]
struct Failed {
    looks: u64,
    first: String,
}

impl Failed {
    fn note(&mut self, reason: impl std::fmt::Display) {
        self.looks += 1;
        if self.first.is_empty() {
            self.first = reason.to_string();
        }
    }
}

/// Host, source, GPU, MIG instance.
type Part = (String, GpuSource, u32, Option<u32>);

pub(super) struct Watch {
    pub(super) clock: RunClock,
    pub(super) readings: Vec<GpuReading>,
    readers: Vec<Box<dyn GpuReader>>,
    csv: Option<Csv>,
    looks: u64,
    failed: BTreeMap<GpuSource, Failed>,
    /// GPUs of which nothing could be read at some looks: fallen off the bus, say.
    gone: BTreeMap<Part, Failed>,
    /// Place of the last reading of each GPU and instance.
    last: BTreeMap<Part, usize>,
}

impl Watch {
    /// Makes the file of readings, where there is to be one.
    pub(super) fn new(
        clock: RunClock,
        readers: Vec<Box<dyn GpuReader>>,
        csv: Option<&Path>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            clock,
            readings: Vec::new(),
            readers,
            csv: csv.map(Csv::create).transpose()?,
            looks: 0,
            failed: BTreeMap::new(),
            gone: BTreeMap::new(),
            last: BTreeMap::new(),
        })
    }

    /// One look by every source.
    pub(super) fn look(&mut self) {
        self.looks += 1;
        let mut found = Vec::new();
        for reader in &mut self.readers {
            match reader.read(self.clock.now_ns()) {
                Ok(readings) => found.extend(readings),
                Err(error) => self.failed.entry(reader.source()).or_default().note(error),
            }
        }
        if let Some(csv) = &mut self.csv {
            csv.write(&found);
        }
        for reading in found {
            let part = (reading.host.clone(), reading.source, reading.index, reading.mig);
            if reading.values.is_empty() {
                let why = reading.missing.get(&GpuField::PowerW);
                let why = why.map_or("no reason is told", |why| why.reason.as_str());
                self.gone.entry(part.clone()).or_default().note(why);
            }
            if let Some(before) = self.last.insert(part, self.readings.len()) {
                // Only the last reading's reasons are told; hours of them would fill the memory.
                self.readings[before].missing.clear();
            }
            self.readings.push(reading);
        }
    }

    /// Looks again each interval, and once more when `is_over` says so or the end has come.
    pub(super) fn run(
        &mut self,
        pace: Pace,
        signals: &Signals,
        mut is_over: impl FnMut(&Self, Option<Heard>) -> bool,
    ) {
        let interval_ns = pace.interval_ns.max(1);
        let mut next = self.clock.now_ns().saturating_add(interval_ns);
        let mut heard = None;
        loop {
            let is_last = is_over(self, heard);
            let now = self.clock.now_ns();
            if is_last || pace.end_ns.is_some_and(|end| now >= end) {
                break;
            }
            if now >= next {
                self.look();
                // Looks that took too long are left out, not made up for.
                let now = self.clock.now_ns().max(next);
                next += interval_ns.saturating_mul((now - next) / interval_ns + 1);
            }
            let until = pace.end_ns.map_or(next, |end| end.min(next));
            let wait = until.saturating_sub(self.clock.now_ns()).min(pace.most_wait_ns);
            heard = signals.wait(wait);
        }
        self.look();
    }

    /// Since the first look that gave something, ns.
    pub(super) fn since_first_ns(&self) -> u64 {
        let first = self.readings.first().map(|reading| reading.at_ns);
        first.map_or(0, |first| self.clock.now_ns().saturating_sub(first))
    }

    /// The last reading of each GPU and instance.
    pub(super) fn latest(&self) -> impl Iterator<Item = &GpuReading> {
        self.last.values().filter_map(|at| self.readings.get(*at))
    }

    /// Sources that gave nothing at some looks.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let told = |(source, failed): (&GpuSource, &Failed)| {
            let message = format!(
                "{} gave nothing at {} of {} looks; first: {}",
                source.in_words(),
                failed.looks,
                self.looks,
                failed.first
            );
            Warning::new("gpu_source_failed", message, "`loadline gpu --check` looks again")
        };
        let gone = |((host, source, index, mig), failed): (&Part, &Failed)| {
            let host = if host.is_empty() { String::new() } else { format!("{host} ") };
            let mut gpu = GpuReading::new(*source, *index, "", 0);
            gpu.mig = *mig;
            let label = gpu.label();
            let message = format!(
                "nothing could be read of GPU {host}{label} at {} of {} looks; first: {}",
                failed.looks, self.looks, failed.first
            );
            let advice = "its figures are of the other looks alone; dmesg may have an Xid for it";
            Warning::new("gpu_gone", message, advice)
        };
        self.failed.iter().map(told).chain(self.gone.iter().map(gone)).collect()
    }

    /// Ends the file of readings.
    pub(super) fn finish_csv(&mut self) -> Result<(), Failure> {
        self.csv.take().map_or(Ok(()), |csv| csv.failure.map_or(Ok(()), Err))
    }
}

/// The file of readings, written as they come.
struct Csv {
    path: PathBuf,
    file: File,
    failure: Option<Failure>,
}

impl Csv {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| unwritable(path, &error))?;
        let mut csv = Self { path: path.to_owned(), file, failure: None };
        csv.put(&loadline_report::gpu_csv(&[]));
        Ok(csv)
    }

    fn write(&mut self, readings: &[GpuReading]) {
        let text = loadline_report::gpu_csv(readings);
        // The heads are there already.
        self.put(text.split_once('\n').map_or("", |(_, rows)| rows));
    }

    fn put(&mut self, text: &str) {
        if self.failure.is_none()
            && let Err(error) = self.file.write_all(text.as_bytes())
        {
            self.failure = Some(unwritable(&self.path, &error));
        }
    }
}

/// A file that was named and cannot be written.
pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}
