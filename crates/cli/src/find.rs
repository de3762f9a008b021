//! Drives the search for the load line: judges the trials so far, asks which load comes next.

use std::collections::BTreeMap;

use loadline_analysis::{Look, Search, SearchOver, SearchSettings, Step, load_value};
use loadline_runner::{Asked, Choose};
use loadline_schema::plan::{Find, Load, Plan, ServingStage, Stage};
use loadline_schema::record::TrialId;
use loadline_store::StoreError;

use crate::document::Stored;

/// Slots of the closed loop that finds out roughly what the target carries.
const PROBE_SLOTS: u64 = 64;

/// The searches of a plan, by stage.
pub(crate) struct LoadLineSearch<'p> {
    plan: &'p Plan,
    searches: BTreeMap<u16, Searching>,
}

struct Searching {
    search: Search,
    /// Trials that the search has been told of.
    told: usize,
}

impl<'p> LoadLineSearch<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        Self { plan, searches: BTreeMap::new() }
    }

    fn names(&self) -> Vec<&'p str> {
        self.plan.sla.iter().map(|sla| sla.name.as_str()).collect()
    }
}

impl Choose for LoadLineSearch<'_> {
    fn next(&mut self, asked: &Asked<'_>) -> Result<Option<Load>, StoreError> {
        let names = self.names();
        let stage = self.plan.stages.get(usize::from(asked.stage)).and_then(Stage::serving);
        let Some(stage) = stage else { return Ok(None) };
        let Some(settings) = settings(stage, names.len(), asked.max_in_flight) else {
            return Ok(None);
        };
        let alpha = settings.alpha();
        let searching = self
            .searches
            .entry(asked.stage)
            .or_insert_with(|| Searching { search: Search::new(settings), told: 0 });
        if searching.told < asked.done.len() {
            let stored = Stored::open(asked.dir)?;
            for told in searching.told..asked.done.len() {
                let (id, load) = asked.done[told];
                let so_far: Vec<TrialId> = asked.done[..=told]
                    .iter()
                    .map(|(earlier, _)| *earlier)
                    .filter(|earlier| earlier.point == id.point)
                    .collect();
                let point = stored.point(stage, load, &so_far, alpha)?;
                if is_probe(stage, &load) {
                    searching.search.probed(point.requests_per_s.map_or(0.0, |rate| rate.value));
                } else if let Some(value) = load_value(&load) {
                    searching.search.add(value, Look::of(&point, &names));
                }
            }
            searching.told = asked.done.len();
        }
        Ok(match searching.search.next() {
            Step::Probe => {
                Some(Load::Closed { concurrency: PROBE_SLOTS.min(asked.max_in_flight.max(1)) })
            }
            Step::Look(value) => stage.find.map(|find| load(&find, value)),
            Step::Done => None,
        })
    }
}

/// What the stage's search goes by, within what this machine can have in flight.
fn settings(stage: &ServingStage, slas: usize, max_in_flight: u64) -> Option<SearchSettings> {
    let mut settings = SearchSettings::of_stage(stage, slas)?;
    if settings.over == SearchOver::Concurrency {
        let most = max_in_flight.max(1) as f64;
        settings.max = Some(settings.max.map_or(most, |max| max.min(most)));
    }
    Some(settings)
}

/// Whether this load is not one of the search's own, but the probe before it.
pub(crate) fn is_probe(stage: &ServingStage, load: &Load) -> bool {
    matches!((stage.find, load), (Some(Find::Rate { .. }), Load::Closed { .. }))
}

fn load(find: &Find, value: f64) -> Load {
    match *find {
        Find::Concurrency { .. } => Load::Closed { concurrency: value.round() as u64 },
        Find::Rate { arrival, .. } => Load::Open { rate_per_s: value, arrival },
    }
}
