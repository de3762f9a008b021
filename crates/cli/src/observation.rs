//! Samples of a stage as observers read them, put together again for the analysis.

use std::collections::BTreeMap;

use loadline_analysis::{Glance, PageObservation, StageObservation, TrialTime, edges};
use loadline_observe::prometheus::{Snapshot, stored_snapshot, window};
use loadline_observe::rows::{gpu_readings, host_reading};
use loadline_schema::observe::{ObserverEnd, ObserverKind, Observing};
use loadline_schema::sample::Sample;
use loadline_store::{RunReader, StoreError};

/// The row that tells a look at the edge of a trial.
const EDGE: &str = "scrape_edge";

/// The rows of one look.
type Rows = Vec<(Box<str>, f64)>;

/// Rows by source and time.
#[derive(Default)]
struct Looks(BTreeMap<Box<str>, BTreeMap<u64, Rows>>);

impl Looks {
    fn add(&mut self, sample: Sample) {
        let looks = self.0.entry(sample.source).or_default();
        looks.entry(sample.at_ns).or_default().push((sample.series, sample.value));
    }

    fn of(&self, kind: ObserverKind) -> impl Iterator<Item = (u64, &Rows)> {
        let looks = self.0.get(kind.as_str());
        looks.into_iter().flatten().map(|(at_ns, rows)| (*at_ns, rows))
    }
}

fn borrowed(rows: &Rows) -> impl Iterator<Item = (&str, f64)> {
    rows.iter().map(|(series, value)| (&**series, *value))
}

/// What the observers of a stage read. `trials` are those that ended.
///
/// # Errors
/// The samples cannot be read.
pub(crate) fn observation(
    run: &RunReader,
    stage: u16,
    observing: &Observing,
    ends: Vec<ObserverEnd>,
    trials: &[TrialTime],
) -> Result<StageObservation, StoreError> {
    let mut looks = Looks::default();
    run.each_sample(stage, &mut |sample| looks.add(sample))?;
    let gpus = looks
        .of(ObserverKind::Gpu)
        .flat_map(|(at_ns, rows)| gpu_readings(at_ns, borrowed(rows), &observing.gpus));
    let hosts = looks
        .of(ObserverKind::Host)
        .filter_map(|(at_ns, rows)| host_reading(at_ns, borrowed(rows)));
    let meters = observing.meters.iter().map(|meter| {
        let values = looks.of(ObserverKind::Power).filter_map(|(at_ns, rows)| {
            let found = borrowed(rows).find(|(series, _)| *series == meter.series)?;
            Some((at_ns, found.1))
        });
        (meter.clone(), values.collect())
    });
    let pages = observing.pages.iter().map(|source| page(source, &looks, trials));
    Ok(StageObservation {
        observing: observing.clone(),
        ends,
        gpus: gpus.collect(),
        hosts: hosts.collect(),
        meters: meters.collect(),
        pages: pages.collect(),
    })
}

fn page(source: &str, looks: &Looks, trials: &[TrialTime]) -> PageObservation {
    let mut glances = Vec::new();
    let mut snapshots: Vec<Snapshot> = Vec::new();
    for (at_ns, rows) in looks.0.get(source).into_iter().flatten() {
        // Rows of our own writing are a page that can be read; a damaged one is as good as none.
        let Ok(snapshot) = stored_snapshot(borrowed(rows)) else { continue };
        let at_edge = rows.iter().any(|(series, _)| &**series == EDGE);
        glances.push(Glance { at_ns: *at_ns, at_edge });
        snapshots.push(snapshot);
    }
    let around = edges(&glances, trials);
    let trials = around
        .into_iter()
        .map(|(id, (before, after))| (id, window(&snapshots[before], &snapshots[after])));
    let trials = trials.collect();
    let times = glances.iter().map(|glance| glance.at_ns);
    let gauges = times.zip(snapshots.into_iter().map(|snapshot| snapshot.gauges)).collect();
    PageObservation { source: source.to_owned(), gauges, trials }
}
