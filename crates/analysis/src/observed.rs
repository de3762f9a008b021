//! What observers read beside the load, joined with it: the server's own metrics, GPUs, host and
//! energy of each point.

use std::collections::BTreeMap;

use loadline_schema::document::{Observed, StageObserved};
use loadline_schema::event::Warning;
use loadline_schema::gpu::GpuReading;
use loadline_schema::host_sample::HostReading;
use loadline_schema::metric_window::{Family, MetricWindow};
use loadline_schema::observe::{Meter, ObserverEnd, ObserverKind, Observing};
use loadline_schema::observed::{ObserverMissing, ObserverResult};
use loadline_schema::plan::ServingStage;
use loadline_schema::record::TrialId;

use crate::input::TrialInput;
use crate::window::Window;

mod client_side;
mod edges;
mod host;
mod power;
mod server;
mod warnings;

pub(crate) use client_side::ClientSide;
pub use edges::{Glance, TrialTime, edges};
pub(crate) use power::Yield;

/// What observers read over a stage.
#[derive(Debug, Clone, Default)]
pub struct StageObservation {
    /// What they had in front of them.
    pub observing: Observing,
    /// How they fared.
    pub ends: Vec<ObserverEnd>,
    /// Pages of server metrics.
    pub pages: Vec<PageObservation>,
    /// Readings of GPUs, ascending by time.
    pub gpus: Vec<GpuReading>,
    /// Meters of energy (J) or power (W) with their time (ns) and value, ascending.
    pub meters: Vec<(Meter, Vec<(u64, f64)>)>,
    /// Readings of the host, ascending by time.
    pub hosts: Vec<HostReading>,
}

/// What a page of metrics said over a stage.
#[derive(Debug, Clone, Default)]
pub struct PageObservation {
    /// Its URL, without secrets.
    pub source: String,
    /// Gauges at each look, with its time (ns), ascending.
    pub gauges: Vec<(u64, Vec<Family<f64>>)>,
    /// What came between the looks around each trial (see [`edges`]).
    pub trials: BTreeMap<TrialId, MetricWindow>,
}

/// The trials of a point as the client saw them, for what observers saw at the same time.
#[derive(Debug, Default)]
pub(crate) struct PointObservation(Vec<ClientSide>);

impl PointObservation {
    /// Adds a trial.
    pub(crate) fn add(&mut self, stage: &ServingStage, trial: &TrialInput, window: Option<Window>) {
        self.0.push(ClientSide::of(stage, trial, window));
    }

    /// What was observed, and what a reader must know about it. `yields` are of the trials that the
    /// point's rates are taken from.
    pub(crate) fn finish(
        &self,
        stage: &StageObservation,
        yields: &[Yield],
    ) -> (Option<Observed>, Vec<Warning>) {
        let windows: Vec<Window> = yields.iter().map(|one| one.window).collect();
        let server = server::observed(&stage.pages, &self.0);
        let observed = Observed {
            gpu: power::gpus(stage, &windows),
            host: host::observed(&stage.hosts, &windows),
            energy: power::energy(stage, yields),
            server,
        };
        let warnings = warnings::of(stage, &self.0, &observed);
        let is_empty = observed == Observed::default();
        ((!is_empty).then_some(observed), warnings)
    }
}

/// What the observers of a stage had in front of them, and how they fared.
pub(crate) fn stage_observed(stage: &StageObservation) -> StageObserved {
    let ends = merged(&stage.ends);
    let observers = ends.into_iter().map(|end| ObserverResult {
        kind: end.kind,
        cpu_ratio: if end.wall_ns > 0 { end.cpu_ns as f64 / end.wall_ns as f64 } else { 0.0 },
        source: end.source,
        looks: end.looks,
        failed: end.failed,
        first_failure: end.first_failure,
        longest_ns: end.longest_ns,
        interval_ns: end.interval_ns,
        overflowed: end.overflowed,
    });
    let missing = stage.observing.missing.iter();
    let missing = missing
        .map(|(kind, missing)| ObserverMissing { observer: *kind, missing: missing.clone() });
    StageObserved {
        observers: observers.collect(),
        missing: missing.collect(),
        idle: power::idle(stage),
        is_here: stage.observing.is_here,
    }
}

/// Observers that did not see everything.
pub(crate) fn observer_warnings(stage: &StageObserved) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for one in &stage.observers {
        if one.failed > 0 {
            let why = one.first_failure.as_deref().unwrap_or("no reason was kept");
            let all = one.looks + one.failed;
            let message =
                format!("{}: {} of {all} looks failed; first: {why}", one.source, one.failed);
            let advice = "the figures rest on the looks that did not";
            warnings.push(Warning::new("observer_failed", message, advice));
        }
        if one.overflowed > 0 {
            let message = format!("{}: {} samples were lost", one.source, one.overflowed);
            let advice = "the disk was too slow: a longer --observe-interval, or another --out";
            warnings.push(Warning::new("samples_lost", message, advice));
        }
    }
    warnings
}

/// Those of several parts of a run as one each.
fn merged(ends: &[ObserverEnd]) -> Vec<ObserverEnd> {
    let mut all: BTreeMap<(ObserverKind, &str), ObserverEnd> = BTreeMap::new();
    for end in ends {
        let Some(sum) = all.get_mut(&(end.kind, end.source.as_str())) else {
            all.insert((end.kind, &end.source), end.clone());
            continue;
        };
        sum.looks += end.looks;
        sum.failed += end.failed;
        sum.overflowed += end.overflowed;
        sum.longest_ns = sum.longest_ns.max(end.longest_ns);
        sum.interval_ns = sum.interval_ns.max(end.interval_ns);
        sum.cpu_ns += end.cpu_ns;
        sum.wall_ns += end.wall_ns;
        if sum.first_failure.is_none() {
            sum.first_failure.clone_from(&end.first_failure);
        }
    }
    all.into_values().collect()
}

/// Whether a moment lies in one of the windows.
fn is_in(windows: &[Window], at_ns: u64) -> bool {
    windows.iter().any(|window| window.contains(at_ns))
}
