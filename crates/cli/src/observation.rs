//! Samples of a stage as observers read them, put together again for the analysis: look by look, so
//! that memory holds what the analysis asks for and no more.

use std::collections::BTreeMap;

use loadline_analysis::{Glance, PageObservation, StageObservation, TrialTime, edges};
use loadline_observe::prometheus::{Snapshot, stored_snapshot, window};
use loadline_observe::rows::{gpu_readings, host_reading};
use loadline_schema::gpu::GpuReading;
use loadline_schema::host_sample::{CpuFrequency, HostReading};
use loadline_schema::observe::{ObserverEnd, ObserverKind, Observing};
use loadline_schema::sample::Sample;
use loadline_store::{RunReader, StoreError};

/// The row that tells a look at the edge of a trial.
const EDGE: &str = "scrape_edge";

/// The trials of a stage in time.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) trials: Vec<TrialTime>,
    /// When trials began that never ended, ns.
    pub(crate) killed: Vec<u64>,
    /// Their measure windows, ns.
    pub(crate) windows: Vec<(u64, u64)>,
}

/// What the observers of a stage read. `parts` ascend by time and are not empty.
///
/// # Errors
/// The samples cannot be read.
pub(crate) fn observation(
    run: &RunReader,
    stage: u16,
    parts: &[Observing],
    ends: Vec<ObserverEnd>,
    times: &Times,
) -> Result<StageObservation, StoreError> {
    let mut puzzle = Puzzle { parts, times, ..Puzzle::new() };
    run.each_sample(stage, &mut |sample| puzzle.take(sample))?;
    Ok(puzzle.finish(ends))
}

/// A look at a page: its gauges, and everything where it was one at an edge.
struct PageLook {
    glance: Glance,
    snapshot: Snapshot,
}

/// What is found so far.
struct Puzzle<'a> {
    parts: &'a [Observing],
    times: &'a Times,
    /// The look under construction: rows of one source and time come together.
    source: Box<str>,
    at_ns: u64,
    rows: Vec<(Box<str>, f64)>,
    pages: BTreeMap<Box<str>, Vec<PageLook>>,
    found: StageObservation,
}

impl Puzzle<'_> {
    fn new() -> Self {
        const NO_TIMES: &Times =
            &Times { trials: Vec::new(), killed: Vec::new(), windows: Vec::new() };
        Self {
            parts: &[],
            times: NO_TIMES,
            source: "".into(),
            at_ns: 0,
            rows: Vec::new(),
            pages: BTreeMap::new(),
            found: StageObservation::default(),
        }
    }

    fn take(&mut self, sample: Sample) {
        if sample.at_ns != self.at_ns || sample.source != self.source {
            self.look();
            (self.source, self.at_ns) = (sample.source, sample.at_ns);
        }
        self.rows.push((sample.series, sample.value));
    }

    /// Takes the look that is complete.
    fn look(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let part = self.parts.iter().rfind(|part| part.from_ns <= self.at_ns);
        let Some(part) = part.filter(|_| !rows.is_empty()) else { return };
        let borrowed = || rows.iter().map(|(series, value)| (&**series, *value));
        let kinds = [ObserverKind::Gpu, ObserverKind::Power, ObserverKind::Host];
        match kinds.into_iter().find(|kind| kind.as_str() == &*self.source) {
            Some(ObserverKind::Gpu) => {
                let readings = gpu_readings(self.at_ns, borrowed(), &part.gpus);
                // What a GPU lacks is told once, with its last reading.
                let plain = |reading| GpuReading { missing: BTreeMap::new(), ..reading };
                self.found.gpus.extend(readings.into_iter().map(plain));
            }
            Some(ObserverKind::Power) => {
                for meter in &part.meters {
                    let value = borrowed().find(|(series, _)| *series == meter.series);
                    let Some((_, value)) = value else { continue };
                    let known = self.found.meters.iter_mut().find(|(known, _)| known == meter);
                    match known {
                        Some((_, values)) => values.push((self.at_ns, value)),
                        None => self.found.meters.push((meter.clone(), vec![(self.at_ns, value)])),
                    }
                }
            }
            Some(_) => {
                if let Some(reading) = host_reading(self.at_ns, borrowed()) {
                    self.host(reading);
                }
            }
            None => {
                // Rows of our own writing are a page that can be read; a damaged one is none.
                let Ok(mut snapshot) = stored_snapshot(borrowed()) else { return };
                let at_edge = rows.iter().any(|(series, _)| &**series == EDGE);
                if !at_edge {
                    let gauges = std::mem::take(&mut snapshot.gauges);
                    snapshot = Snapshot { gauges, ..Snapshot::default() };
                }
                let glance = Glance { at_ns: self.at_ns, at_edge };
                self.pages
                    .entry(self.source.clone())
                    .or_default()
                    .push(PageLook { glance, snapshot });
            }
        }
    }

    /// Only looks inside measure windows count, and of each core only the first and the last one.
    fn host(&mut self, reading: HostReading) {
        let window = |at_ns: u64| {
            self.times.windows.iter().position(|(from, to)| (*from..=*to).contains(&at_ns))
        };
        let Some(here) = window(reading.at_ns) else { return };
        let hosts = &mut self.found.hosts;
        if let [.., before, last] = hosts.as_mut_slice()
            && window(before.at_ns) == Some(here)
            && window(last.at_ns) == Some(here)
        {
            last.cores.clear();
            last.numa.clear();
        }
        hosts.push(with_mean_clock(reading));
    }

    fn finish(mut self, ends: Vec<ObserverEnd>) -> StageObservation {
        self.look();
        self.found.gpus.sort_by_key(|reading| reading.at_ns);
        for part in self.parts {
            for known in &part.gpus {
                let is_it = |reading: &&mut GpuReading| reading.part() == known.part();
                if let Some(last) = self.found.gpus.iter_mut().rev().find(is_it) {
                    last.missing.clone_from(&known.missing);
                }
            }
        }
        let mut last = self.parts.last().cloned().unwrap_or_default();
        let mut before = self.parts.iter().rev();
        // A resume that finds the idle power already taken, or no meter any more.
        last.idle = last.idle.or_else(|| before.find_map(|part| part.idle));
        for part in self.parts {
            for gpu in &part.gpus {
                if !last.gpus.iter().any(|known| known.part() == gpu.part()) {
                    last.gpus.push(gpu.clone());
                }
            }
            let new = part.meters.iter().filter(|meter| !last.meters.contains(meter));
            let new: Vec<_> = new.cloned().collect();
            last.meters.extend(new);
        }
        let times = self.times;
        let pages = self.pages.into_iter().map(|(source, looks)| page(&source, looks, times));
        StageObservation { observing: last, ends, pages: pages.collect(), ..self.found }
    }
}

/// The clocks of all cores as their mean, under the number 0.
fn with_mean_clock(mut reading: HostReading) -> HostReading {
    let clocks: Vec<u64> = reading.frequency_khz.values().filter_map(|one| one.now_khz).collect();
    reading.frequency_khz.clear();
    if let Some(mean) = clocks.iter().sum::<u64>().checked_div(clocks.len() as u64) {
        let now_khz = Some(mean);
        reading.frequency_khz.insert(0, CpuFrequency { now_khz, ..CpuFrequency::default() });
    }
    reading
}

fn page(source: &str, looks: Vec<PageLook>, times: &Times) -> PageObservation {
    let glances: Vec<Glance> = looks.iter().map(|look| look.glance).collect();
    let around = edges(&glances, &times.trials, &times.killed);
    let trials =
        around.into_iter().map(|(id, (a, b))| (id, window(&looks[a].snapshot, &looks[b].snapshot)));
    let trials = trials.collect();
    let gauges = looks.into_iter().map(|look| (look.glance.at_ns, look.snapshot.gauges));
    PageObservation { source: source.to_owned(), gauges: gauges.collect(), trials }
}
