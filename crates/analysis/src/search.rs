//! The search for the load line: which load to look at next. A state machine without IO, clock or
//! chance: the same looks in the same order ask for the same steps, so that a resumed run goes on
//! where the stored trials end.
//!
//! A *look* is one more trial at a point, judged together with all trials of that point so far. The
//! search brackets by doubling, then bisects (geometrically) what is not yet certain. A point
//! stops as soon as it is certainly inside or outside. After its last look a point that is still
//! open is neither: the line runs near it, and the search narrows what lies below it and above it.
//!
//! Each line may be wrong with 5 %: that is shared evenly by all looks that could be taken
//! (Bonferroni), so stopping early costs nothing. A look below the line can only err by calling it
//! outside, one above only by calling it inside, hence one-sided.

mod target;

use loadline_schema::document::Point;
use loadline_schema::plan::{Find, ServingStage};
use loadline_schema::sla::Sla;
use loadline_schema::verdict::{SlaResult, Verdict};

use crate::attempt::Attempt;
use crate::autocorrelation::Correlation;
use crate::load_line::{Bounds, Judged, bounds, is_short, is_too_short};
use crate::sla::{Confidence, Judge, JudgedTrial};
use target::Target;

/// Most points for each SLA.
const POINTS: usize = 12;
/// Looks at a point, unless the plan says otherwise.
const LOOKS: u32 = 5;
/// high / low at which the line is known well enough.
const TOLERANCE: f64 = 1.05;
/// Probability that a line's bounds are wrong.
const FAMILY_ALPHA: f64 = 0.05;
/// In flight at most where the plan does not say; as the open loop's default.
const MAX_SLOTS: f64 = 10_000.0;
/// Looks in a row with too short trials after which a point is left alone. One could be chance.
const SHORT_LOOKS: u32 = 2;
/// The first rate, as a share of what a probe found the target to carry.
const OF_CAPACITY: f64 = 0.25;

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchOver {
    /// Slots of a closed loop: whole numbers.
    Concurrency,
    /// Offered rates, requests/s, to three digits.
    Rate,
}

/// How a search goes.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSettings {
    /// What is searched.
    pub over: SearchOver,
    /// Largest load to try; `None`: no limit.
    pub max: Option<f64>,
    /// First load; `None`: 1 slot, or a quarter of what a probe finds.
    pub start: Option<f64>,
    /// Number of SLAs. Each has its own line; points are shared.
    pub slas: usize,
    /// Most points for each SLA; those that one SLA leaves over are the others'.
    pub points: usize,
    /// Most looks at a point.
    pub looks: u32,
    /// high / low at which a line is narrow enough, above 1.
    pub tolerance: f64,
    /// Probability that a line's bounds are wrong, 0–1.
    pub family_alpha: f64,
}

impl SearchSettings {
    /// The defaults, for so many SLAs.
    pub fn new(over: SearchOver, slas: usize) -> Self {
        Self {
            over,
            max: None,
            start: None,
            slas,
            points: POINTS,
            looks: LOOKS,
            tolerance: TOLERANCE,
            family_alpha: FAMILY_ALPHA,
        }
    }

    /// What a stage asks for; `None` where it searches nothing.
    pub fn of_stage(stage: &ServingStage, slas: usize) -> Option<Self> {
        let find = stage.find.as_ref()?;
        let limit = stage.max_in_flight.map_or(MAX_SLOTS, |n| n as f64);
        let (over, max) = match *find {
            Find::Concurrency { max } => {
                (SearchOver::Concurrency, Some(max.map_or(limit, |n| n as f64)))
            }
            Find::Rate { max, .. } => (SearchOver::Rate, max),
        };
        Some(Self { max, looks: stage.trials.max(1), ..Self::new(over, slas) })
    }

    /// One-sided level of each look: the family's, over all looks that may be taken. A point that
    /// is measured for one SLA is judged by all, so each SLA's family is the points of all.
    pub fn alpha(&self) -> f64 {
        let looks = self.points * self.slas.max(1) * self.looks.max(1) as usize;
        self.family_alpha / looks.max(1) as f64
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Find out roughly how many requests/s the target carries (a short closed loop of many slots),
    /// and tell [`Search::probed`].
    Probe,
    /// One more trial at this load, then [`Search::add`].
    Look(f64),
    /// Nothing more to learn within the budget.
    Done,
}

/// What all trials of a point so far say about one SLA, judged at [`SearchSettings::alpha`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlaLook {
    /// Certain, or open.
    pub verdict: Verdict,
    /// Whether the estimates keep the SLA.
    pub likely: bool,
}

/// A look at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// One entry for each SLA, in the order of the settings' count.
    pub slas: Vec<SlaLook>,
    /// The target no longer kept up: certainly outside, and nothing above is tried.
    pub saturated: bool,
    /// The trials are too short for how long the target remembers: nothing is certain, and more
    /// trials of this length will hardly change that.
    pub too_short: bool,
}

impl Look {
    /// What a point says about the SLAs of these names, judged at the level of the search. An SLA
    /// by which the point was not judged is open.
    pub fn of(point: &Point, slas: &[&str]) -> Self {
        let look = |name: &&str| {
            let result = point.sla.get(*name);
            SlaLook {
                verdict: result.map_or(Verdict::Open, |r| r.verdict),
                likely: result.is_some_and(|r| r.likely),
            }
        };
        Self {
            slas: slas.iter().map(look).collect(),
            saturated: point.saturated,
            too_short: is_too_short(point),
        }
    }

    /// The same of attempts themselves, trial by trial in order of their intended times: what a
    /// search sees without a run around it.
    pub fn of_attempts(slas: &[Sla], trials: &[&[Attempt]], alpha: f64, saturated: bool) -> Self {
        let judged = trials.iter().map(|attempts| JudgedTrial { attempts, gaps: None }).collect();
        let judge = Judge::new(judged, &[], &|_| false, Confidence::one_sided(alpha));
        let look = |sla: &Sla| {
            let SlaResult { verdict, likely, .. } = judge.sla(sla);
            SlaLook { verdict, likely }
        };
        let too_short = |memory: Correlation| {
            is_short(memory.n as f64 / trials.len().max(1) as f64, memory.tau)
        };
        Self {
            slas: slas.iter().map(look).collect(),
            saturated,
            too_short: judge.e2e().is_some_and(too_short),
        }
    }
}

/// Why a line is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Not yet.
    Searching,
    /// Both bounds are known, within the tolerance (or neighbouring numbers of slots).
    Narrow,
    /// The least load that is worth trying is certainly outside.
    NothingInside,
    /// The largest load to try is certainly inside.
    AllInside,
    /// Trials at loads near the line are too short to be certain.
    TooShort,
    /// All looks at the loads near the line, or all points, are spent.
    Spent,
    /// The probe found nothing, so there is no rate to begin with.
    NoCapacity,
}

/// The line of one SLA, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundLine {
    /// Largest load certainly inside.
    pub low: Option<f64>,
    /// Smallest load certainly outside.
    pub high: Option<f64>,
    /// Largest load below `high` whose estimates keep the SLA.
    pub likely: Option<f64>,
    /// A load above `high` is certainly inside.
    pub non_monotone: bool,
    /// Smallest load that saturated.
    pub saturated_at: Option<f64>,
    /// Why it is as it is.
    pub ended: Ended,
}

/// A point with its looks.
#[derive(Debug, Clone)]
struct Seen {
    load: f64,
    looks: u32,
    /// Looks in a row that were too short.
    short: u32,
    last: Look,
}

/// The probe of a search for rates.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Probe {
    /// Still to be made.
    Due,
    /// Not needed, or made.
    Done,
    /// Made, and found nothing.
    Failed,
}

/// The search.
#[derive(Debug, Clone)]
pub struct Search {
    settings: SearchSettings,
    probe: Probe,
    start: f64,
    /// By load.
    seen: Vec<Seen>,
}

impl Search {
    /// A search that has seen nothing.
    pub fn new(settings: SearchSettings) -> Self {
        let is_rate = settings.over == SearchOver::Rate;
        let probe = if is_rate && settings.start.is_none() { Probe::Due } else { Probe::Done };
        let mut search = Self { probe, start: 1.0, seen: Vec::new(), settings };
        search.start = search.first(search.settings.start.unwrap_or(1.0));
        search
    }

    /// One-sided level at which the looks are to be judged.
    pub fn alpha(&self) -> f64 {
        self.settings.alpha()
    }

    /// What to do next; the same until something is told.
    pub fn next(&self) -> Step {
        match self.probe {
            Probe::Due => return Step::Probe,
            Probe::Failed => return Step::Done,
            Probe::Done => {}
        }
        let wanted = (0..self.settings.slas).find_map(|sla| self.wanted(sla));
        wanted.map_or(Step::Done, Step::Look)
    }

    /// The probe's answer: requests/s that the target carried.
    pub fn probed(&mut self, requests_per_s: f64) {
        let is_rate = requests_per_s.is_finite() && requests_per_s > 0.0;
        self.probe = if is_rate { Probe::Done } else { Probe::Failed };
        if is_rate {
            self.start = self.first(OF_CAPACITY * requests_per_s);
        }
    }

    /// What is known of the point at `load` after one more trial. It replaces what was known.
    ///
    /// # Panics
    /// When the look has not one entry for each SLA: the caller mixed up its searches.
    pub fn add(&mut self, load: f64, look: Look) {
        assert_eq!(look.slas.len(), self.settings.slas, "invariant: one entry for each SLA");
        match self.seen.binary_search_by(|seen| seen.load.total_cmp(&load)) {
            Ok(at) => {
                let seen = &mut self.seen[at];
                seen.looks += 1;
                seen.short = if look.too_short { seen.short + 1 } else { 0 };
                seen.last = look;
            }
            Err(at) => {
                let short = u32::from(look.too_short);
                self.seen.insert(at, Seen { load, looks: 1, short, last: look });
            }
        }
    }

    /// Points so far.
    pub fn points(&self) -> usize {
        self.seen.len()
    }

    /// The line of the SLA at this index, as far as it is known.
    pub fn line(&self, sla: usize) -> FoundLine {
        let Bounds { low, high, likely, saturated, non_monotone } = bounds(&self.judged(sla));
        let load = |index: Option<usize>| index.map(|i| self.seen[i].load);
        FoundLine {
            low: load(low),
            high: load(high),
            likely: load(likely),
            non_monotone,
            saturated_at: load(saturated),
            ended: self.ended(sla),
        }
    }

    fn first(&self, load: f64) -> f64 {
        let load = target::rounded(self.settings.over, load);
        self.settings.max.map_or(load, |max| load.min(max))
    }

    fn judged(&self, sla: usize) -> Vec<Judged> {
        let judged = |seen: &Seen| {
            let SlaLook { verdict, likely } = seen.last.slas[sla];
            let Look { saturated, too_short, .. } = seen.last;
            Judged { load: seen.load, verdict, likely, saturated, too_short }
        };
        self.seen.iter().map(judged).collect()
    }

    fn target(&self, sla: usize) -> Target<'_> {
        Target::new(&self.settings, self.start, &self.judged(sla))
    }

    /// The load to look at for the sake of one SLA; `None` when its line is as good as it gets.
    fn wanted(&self, sla: usize) -> Option<f64> {
        let target = self.target(sla);
        let unfinished: Vec<f64> = target
            .open()
            .iter()
            .filter_map(|one| self.seen.iter().find(|seen| seen.load.total_cmp(&one.load).is_eq()))
            .filter(|seen| seen.looks < self.settings.looks && seen.short < SHORT_LOOKS)
            .map(|seen| seen.load)
            .collect();
        // Several only where another SLA chose the points: bisect those first, they are cheaper.
        if let Some(load) = unfinished.get(unfinished.len() / 2) {
            return Some(*load);
        }
        let budget = self.settings.points * self.settings.slas;
        target.next().filter(|_| self.seen.len() < budget)
    }

    fn ended(&self, sla: usize) -> Ended {
        if self.probe == Probe::Failed {
            return Ended::NoCapacity;
        }
        if self.probe == Probe::Due || self.wanted(sla).is_some() {
            return Ended::Searching;
        }
        let target = self.target(sla);
        if target.is_narrow() {
            return Ended::Narrow;
        }
        let near = target.open();
        if near.iter().any(|one| one.too_short) {
            return Ended::TooShort;
        }
        if target.next().is_some() || !near.is_empty() {
            return Ended::Spent;
        }
        if target.low.is_none() { Ended::NothingInside } else { Ended::AllInside }
    }
}
