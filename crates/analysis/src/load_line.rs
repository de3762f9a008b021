//! The load line: which loads of a sweep certainly keep an SLA, and which certainly do not.
//!
//! It reads the verdicts of the points and judges nothing itself, so that it holds for any sweep,
//! searched or planned. How sure a verdict is was decided where the point was judged.

use std::collections::{BTreeMap, BTreeSet};

use loadline_schema::document::Point;
use loadline_schema::plan::Load;
use loadline_schema::verdict::{LoadLine, Verdict};

/// Unit of a load line over slots.
const CONCURRENCY: &str = "concurrency";
/// Unit of a load line over offered rates.
const RATE: &str = "requests/s";

/// Autocorrelation times that a trial must be long. A queue's relaxation time is at most about one
/// of them (M/M/1: 0.6 at 50 % load, 0.94 at 90 %), so that a trial is at least 50 of those long:
/// only then does it forget how it began, and is its own estimate of the correlation worth anything.
const LEAST_MEMORIES: f64 = 50.0;

/// Whether a point's trials are shorter than [`LEAST_MEMORIES`] autocorrelation times of E2E: then
/// nothing is certain, whatever the verdict. The point tells that time as `steady.n_effective`.
pub(crate) fn is_too_short(point: &Point) -> bool {
    let answers = point.e2e_ns.as_ref().map(|e2e| e2e.n as f64);
    let worth = point.steady.as_ref().and_then(|steady| steady.n_effective);
    let Some((answers, worth)) = answers.zip(worth.filter(|worth| *worth > 0.0)) else {
        return false;
    };
    is_short(answers / f64::from(point.trials.max(1)), answers / worth)
}

/// The same of the answers of one trial and their autocorrelation time, in answers. Correlation over
/// less than two answers is none that could be told from chance in a short trial.
pub(crate) fn is_short(answers_per_trial: f64, autocorrelation_time: f64) -> bool {
    autocorrelation_time >= 2.0 && answers_per_trial < LEAST_MEMORIES * autocorrelation_time
}

/// How one load stands to an SLA.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Judged {
    /// The load.
    pub(crate) load: f64,
    /// Certain, or open.
    pub(crate) verdict: Verdict,
    /// Whether the estimates keep the SLA.
    pub(crate) likely: bool,
    /// Whether the target no longer kept up: then the load is outside, whatever else was seen.
    pub(crate) saturated: bool,
    /// Whether its trials are too short: then the verdict is not certain.
    pub(crate) too_short: bool,
}

impl Judged {
    pub(crate) fn is_outside(&self) -> bool {
        self.saturated || (self.verdict == Verdict::Missed && !self.too_short)
    }

    pub(crate) fn is_inside(&self) -> bool {
        self.verdict == Verdict::Met && !self.saturated && !self.too_short
    }

    fn is_likely_inside(&self) -> bool {
        self.is_inside() || (self.likely && !self.is_outside())
    }
}

/// Where the line runs: indices into what was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bounds {
    /// Largest load certainly inside below the first that is certainly outside.
    pub(crate) low: Option<usize>,
    /// Smallest load certainly outside.
    pub(crate) high: Option<usize>,
    /// Largest load below `high` whose estimates keep the SLA.
    pub(crate) likely: Option<usize>,
    /// Smallest load that saturated.
    pub(crate) saturated: Option<usize>,
    /// Whether a load at or above `high` is certainly inside.
    pub(crate) non_monotone: bool,
}

/// The bounds of some loads in any order; of equal loads the first one counts.
pub(crate) fn bounds(judged: &[Judged]) -> Bounds {
    let lowest = |holds: &dyn Fn(&Judged) -> bool| {
        let all = (0..judged.len()).filter(|i| holds(&judged[*i]));
        all.min_by(|a, b| judged[*a].load.total_cmp(&judged[*b].load))
    };
    let high = lowest(&Judged::is_outside);
    let below = |one: &Judged| high.is_none_or(|h| one.load < judged[h].load);
    let highest = |holds: &dyn Fn(&Judged) -> bool| {
        let all = (0..judged.len()).rev().filter(|i| holds(&judged[*i]) && below(&judged[*i]));
        all.max_by(|a, b| judged[*a].load.total_cmp(&judged[*b].load))
    };
    Bounds {
        low: highest(&Judged::is_inside),
        high,
        likely: highest(&Judged::is_likely_inside),
        saturated: lowest(&|one| one.saturated),
        non_monotone: judged.iter().any(|one| one.is_inside() && !below(one)),
    }
}

/// The load line of one SLA over measured points `(load, point)`; `unit` names the load.
///
/// `low` (the same as `value`) is the largest load certainly inside below the first certain miss,
/// `high` the smallest load certainly outside: the line lies between them. A point that was not
/// judged by this SLA says nothing, unless it saturated; nor does one whose trials are too short for
/// what the target remembers (50 autocorrelation times of E2E). `likely` lies below `high`, too: what looks
/// fine above a certain miss is no line. `limited_by` is the term that binds at `high`; without a
/// `high`, the one with the least room at `low`.
pub fn load_line(points: &[(f64, &Point)], sla: &str, unit: &str) -> LoadLine {
    let judged: Vec<Judged> = points
        .iter()
        .map(|(load, point)| {
            let result = point.sla.get(sla);
            Judged {
                load: *load,
                verdict: result.map_or(Verdict::Open, |r| r.verdict),
                likely: result.is_some_and(|r| r.likely),
                saturated: point.saturated,
                too_short: is_too_short(point),
            }
        })
        .collect();
    let bounds = bounds(&judged);
    let load_at = |index: Option<usize>| index.map(|i| points[i].0);
    let binding_at = |index: Option<usize>| points[index?].1.sla.get(sla)?.binding.clone();
    let low = load_at(bounds.low);
    LoadLine {
        load: bounds.low.map(|i| points[i].1.load.clone()),
        value: low,
        low,
        high: load_at(bounds.high),
        likely: load_at(bounds.likely),
        unit: unit.to_owned(),
        limited_by: binding_at(bounds.high).or_else(|| binding_at(bounds.low)),
        point: bounds.low,
        likely_point: bounds.likely,
        non_monotone: bounds.non_monotone,
        too_short: judged.iter().filter(|j| j.too_short).map(|j| j.load).collect(),
        saturated_at: load_at(bounds.saturated),
        cost: None,
    }
}

/// The load lines of a stage, one for each SLA that judged a point. Where a stage has rates, the
/// line is over those alone (a search for rates has one closed-loop point, which is its probe), else
/// over slots. A burst is no load over time and has no line.
pub(crate) fn load_lines(points: &[Point]) -> BTreeMap<String, LoadLine> {
    let with = |load: &dyn Fn(&Point) -> Option<f64>| -> Vec<(usize, f64)> {
        let all = points.iter().enumerate();
        all.filter_map(|(index, point)| Some((index, load(point)?))).collect()
    };
    let rates = with(&|point| point.load.rate_per_s);
    let (loads, unit) = if rates.is_empty() {
        (with(&|point| point.load.concurrency.map(|slots| slots as f64)), CONCURRENCY)
    } else {
        (rates, RATE)
    };
    let measured: Vec<(f64, &Point)> = loads.iter().map(|(i, load)| (*load, &points[*i])).collect();
    let names: BTreeSet<&String> = measured.iter().flat_map(|(_, p)| p.sla.keys()).collect();
    let line = |name: &String| {
        let mut line = load_line(&measured, name, unit);
        line.point = line.point.map(|at| loads[at].0);
        line.likely_point = line.likely_point.map(|at| loads[at].0);
        (name.clone(), line)
    };
    names.into_iter().map(line).collect()
}

/// The load of a point as a number: slots or requests/s; a burst has none.
pub fn load_value(load: &Load) -> Option<f64> {
    match *load {
        Load::Closed { concurrency } => Some(concurrency as f64),
        Load::Open { rate_per_s, .. } => Some(rate_per_s),
        Load::Burst { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use loadline_schema::document::PointLoad;
    use loadline_schema::verdict::SlaResult;

    use super::*;

    fn point(load: f64, verdict: Verdict, likely: bool, binding: &str) -> Point {
        let result =
            SlaResult { verdict, likely, binding: Some(binding.to_owned()), terms: Vec::new() };
        Point {
            load: PointLoad { rate_per_s: Some(load), ..PointLoad::default() },
            sla: [("a".to_owned(), result)].into(),
            ..Point::default()
        }
    }

    fn line(points: &[Point]) -> LoadLine {
        load_lines(points).remove("a").expect("judged by a")
    }

    #[test]
    fn the_line_lies_between_the_certain_verdicts() {
        let points = [
            point(8.0, Verdict::Missed, false, "itl_p99"),
            point(1.0, Verdict::Met, true, "ttft_p99"),
            point(4.0, Verdict::Open, true, "ttft_p99"),
            point(2.0, Verdict::Met, true, "ttft_p99"),
            point(6.0, Verdict::Open, false, "itl_p99"),
        ];
        let found = line(&points);
        assert_eq!((found.low, found.value, found.high), (Some(2.0), Some(2.0), Some(8.0)));
        assert_eq!((found.point, found.likely, found.likely_point), (Some(3), Some(4.0), Some(2)));
        assert_eq!(found.limited_by.as_deref(), Some("itl_p99"));
        assert_eq!(found.load, Some(points[3].load.clone()));
        assert_eq!((found.unit.as_str(), found.non_monotone), ("requests/s", false));
        assert_eq!(found.saturated_at, None);
    }

    #[test]
    fn what_is_inside_above_a_certain_miss_is_flagged_and_not_the_line() {
        let found = line(&[
            point(1.0, Verdict::Met, true, "t"),
            point(2.0, Verdict::Missed, false, "t"),
            point(4.0, Verdict::Met, true, "t"),
            point(8.0, Verdict::Open, true, "t"),
        ]);
        assert_eq!((found.low, found.high, found.likely), (Some(1.0), Some(2.0), Some(1.0)));
        assert!(found.non_monotone);
        // The same load both ways: there is no line between a load and itself.
        let found =
            line(&[point(2.0, Verdict::Met, true, "t"), point(2.0, Verdict::Missed, false, "t")]);
        assert_eq!((found.low, found.high, found.non_monotone), (None, Some(2.0), true));
    }

    #[test]
    fn a_saturated_point_is_outside_whatever_its_latencies() {
        let mut saturated = point(4.0, Verdict::Met, true, "t");
        saturated.saturated = true;
        let found = line(&[point(1.0, Verdict::Met, true, "t"), saturated]);
        assert_eq!((found.low, found.high), (Some(1.0), Some(4.0)));
        assert_eq!((found.saturated_at, found.likely), (Some(4.0), Some(1.0)));
        assert!(!found.non_monotone);
    }

    #[test]
    fn trials_too_short_for_the_targets_memory_make_nothing_certain() {
        use loadline_schema::document::Distribution;
        use loadline_schema::verdict::{Steadiness, Steady};
        let of = |answers: u64, worth: f64| {
            let mut point = point(1.0, Verdict::Met, true, "t");
            point.trials = 2;
            point.e2e_ns = Some(Distribution { n: answers, ..Distribution::default() });
            point.steady = Some(Steady {
                verdict: Steadiness::Steady,
                truncate: None,
                drift: None,
                n_effective: Some(worth),
            });
            line(&[point])
        };
        // Two trials of 500 answers: 50 times an autocorrelation time of 10 answers, not of 11.
        assert_eq!(of(1_000, 100.0).low, Some(1.0));
        assert_eq!((of(1_000, 90.0).low, of(1_000, 90.0).likely), (None, Some(1.0)));
        // Next to no correlation: any length will do.
        assert_eq!(of(20, 15.0).low, Some(1.0));
    }

    #[test]
    fn without_certainty_a_side_is_absent() {
        let inside =
            line(&[point(1.0, Verdict::Met, true, "t"), point(2.0, Verdict::Met, true, "u")]);
        assert_eq!((inside.low, inside.high), (Some(2.0), None));
        assert_eq!(inside.limited_by.as_deref(), Some("u"));
        let outside = line(&[point(1.0, Verdict::Missed, false, "t")]);
        assert_eq!((outside.low, outside.high, outside.likely), (None, Some(1.0), None));
        let open = line(&[point(1.0, Verdict::Open, true, "t")]);
        assert_eq!((open.low, open.high, open.likely), (None, None, Some(1.0)));
        assert_eq!((open.load, open.limited_by), (None, None));
    }

    #[test]
    fn bursts_have_no_line_and_the_probe_of_rates_is_not_in_it() {
        let mut burst = point(1.0, Verdict::Met, true, "t");
        burst.load = PointLoad { burst: Some(100), ..PointLoad::default() };
        assert!(load_lines(&[burst.clone()]).is_empty());
        assert!(load_lines(&[]).is_empty());
        let mut probe = burst;
        probe.load = PointLoad { concurrency: Some(64), ..PointLoad::default() };
        let found = line(&[probe, point(2.0, Verdict::Met, true, "t")]);
        assert_eq!((found.low, found.unit.as_str()), (Some(2.0), "requests/s"));
        assert_eq!((found.point, found.likely_point), (Some(1), Some(1)));
    }

    #[test]
    fn slots_are_told_from_rates() {
        let mut closed = point(0.0, Verdict::Met, true, "t");
        closed.load = PointLoad { concurrency: Some(16), ..PointLoad::default() };
        let found = line(&[closed]);
        assert_eq!((found.value, found.unit.as_str()), (Some(16.0), "concurrency"));
    }
}
