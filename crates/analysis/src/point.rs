//! A point of a sweep: its trials one after the other, then the figures over all of them.

use loadline_schema::document::{Distribution, Estimate, Incomplete, Point, PointLoad};
use loadline_schema::plan::{Arrival, Load};

use crate::attempt::itl_limits;
use crate::client::{ClientTally, share};
use crate::input::{StageInput, TrialInput};
use crate::judged::{fill_goodput, gap_tau, judge_point};
use crate::limits::limits;
use crate::observed::{PointObservation, Yield};
use crate::per_trial;
use crate::pool::{Described, Pool};
use crate::rate::{Counted, rate};
use crate::sla::Confidence;
use crate::student::mean_interval;
use crate::tally::{Tally, attempts};
use crate::trial::{CountedRates, Rates, TrialFigures, Windowed, take};
use crate::warnings::{Evidence, Withheld, point_warnings};

/// The analysis of one point: trials are added one by one and may be let go after that.
pub struct PointAnalysis<'a> {
    input: StageInput<'a>,
    load: Load,
    tally: Tally,
    client: ClientTally,
    trials: Vec<TrialFigures>,
    observation: PointObservation,
    confidence: Confidence,
}

/// A point from its trials (see [`crate::latest_parts`] for those that count), in plan order.
pub fn serving_point(
    input: StageInput<'_>,
    load: Load,
    trials: impl IntoIterator<Item = TrialInput>,
) -> Point {
    let mut analysis = PointAnalysis::new(input, load);
    for trial in trials {
        analysis.add(&trial);
    }
    analysis.finish()
}

impl<'a> PointAnalysis<'a> {
    /// A point without trials yet.
    pub fn new(input: StageInput<'a>, load: Load) -> Self {
        let tally = Tally { itl_limits: itl_limits(input.sla), ..Tally::default() };
        let client = ClientTally::default();
        Self {
            input,
            load,
            tally,
            client,
            trials: Vec::new(),
            observation: PointObservation::default(),
            confidence: Confidence::REPORT,
        }
    }

    /// Judges its targets so that a wrong *met* and a wrong *missed* each have the probability
    /// `alpha` at most, instead of two-sided 95 %.
    #[must_use]
    pub fn with_confidence(mut self, alpha: f64) -> Self {
        self.confidence = Confidence::one_sided(alpha);
        self
    }

    /// Adds a trial.
    pub fn add(&mut self, trial: &TrialInput) {
        let figures = take(self.input.stage, &self.load, trial, &mut self.tally);
        if self.input.observed.is_some() {
            let window = figures.windowed.as_ref().map(|windowed| windowed.window);
            self.observation.add(self.input.stage, trial, window);
        }
        self.trials.push(figures);
        if let Some(end) = &trial.end {
            self.client.take(&end.client);
        }
    }

    /// The figures. Distributions and outcomes are of everything there is; rates are means over the
    /// complete trials, or, where none is complete, over those that have a window.
    pub fn finish(mut self) -> Point {
        self.trials.sort_by_key(|t| t.id);
        let mut withheld = Vec::new();
        let mut point = self.counts();
        let (slas, trials) = (self.input.sla, &self.trials);
        judge_point(&mut point, &self.load, slas, &self.tally, trials, self.confidence);
        fill_goodput(&mut point, slas, &self.chosen());
        self.distributions(&mut point, &mut withheld);
        self.rates(&mut point);
        let late_gaps = share(self.tally.gaps.flagged, self.tally.gaps.n());
        point.client =
            self.client.budget(&self.tally.sources, late_gaps, self.tally.late_first_tokens);
        point.read_lag_ns = self.client.read_lag.take();
        let own_lag = self.tally.pools.own_lag.distribution(0).map(|d| d.distribution);
        let evidence = Evidence {
            input: &self.input,
            load: &self.load,
            point: &point,
            tally: &self.tally,
            client: &self.client,
            trials: &self.trials,
            own_lag_p99_ns: own_lag.and_then(|lag| lag.p99),
            withheld: &withheld,
        };
        let limits = limits(&evidence);
        let mut warnings = point_warnings(&evidence, &limits);
        point.client.limited = !limits.is_empty();
        point.per_trial = self.trials.iter().filter(|t| t.complete).map(per_trial::all).collect();
        if let Some(stage) = self.input.observed {
            let chosen = self.chosen();
            let windowed = chosen.iter().filter_map(|trial| trial.windowed.as_ref());
            let yields: Vec<Yield> =
                windowed.map(|w| Yield { window: w.window, rates: w.rates }).collect();
            let (observed, found) = self.observation.finish(stage, &yields);
            point.observed = observed.map(Box::new);
            warnings.extend(found);
        }
        point.warnings = warnings;
        point
    }

    fn counts(&self) -> Point {
        let (errors, error_examples) = self.tally.errors_by_name();
        Point {
            load: point_load(&self.load),
            trials: self.trials.iter().filter(|t| t.ended).count() as u32,
            trials_planned: self.planned(),
            incomplete: self.incomplete(),
            requests: self.tally.requests,
            outside_cohort: self.tally.outside,
            errors,
            error_examples,
            finish_reasons: self.tally.finish_reasons.clone(),
            tokens: self.tally.tokens.block(),
            ..Point::default()
        }
    }

    /// Trials that the plan means; a search takes as many looks at a point as it needs.
    fn planned(&self) -> u32 {
        let looks = self.trials.len() as u32;
        if self.input.stage.find.is_some() { looks } else { self.input.stage.trials }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        let complete = self.trials.iter().filter(|t| t.complete).count() as u32;
        let planned = self.planned().max(self.trials.len() as u32);
        (complete < planned).then(|| Incomplete {
            trials: planned - complete,
            reason: self.trials.iter().find_map(|t| t.ended_early),
        })
    }

    fn distributions(&mut self, point: &mut Point, withheld: &mut Vec<Withheld>) {
        let attempts = attempts(&point.requests);
        let failed = attempts - point.requests.ok;
        let operations = attempts + point.requests.cancelled;
        let later_output = self.tally.later_output > 0;
        let tau = gap_tau(&self.trials);
        let pools = &mut self.tally.pools;
        // Every attempt should have one of these: an answer without any token counts as left out.
        let of_all = |pool: &mut Pool, all: u64| {
            let left_out = all.saturating_sub(pool.n());
            pool.distribution(left_out)
        };
        let found = [
            ("TTFT", of_all(&mut pools.ttft, attempts), &mut point.ttft_ns),
            (
                "TTFT from sent",
                of_all(&mut pools.ttft_service, attempts),
                &mut point.ttft_service_ns,
            ),
            ("TTFC", of_all(&mut pools.ttfc, attempts), &mut point.ttfc_ns),
            ("E2E", of_all(&mut pools.e2e, attempts), &mut point.e2e_ns),
            ("send lag", of_all(&mut pools.send_lag, operations), &mut point.send_lag_ns),
            (
                "TTFO",
                of_all(&mut pools.ttfo, attempts).filter(|_| later_output),
                &mut point.ttfo_ns,
            ),
            ("TPOT", pools.tpot.distribution(failed), &mut point.tpot_ns),
            ("longest gap", pools.max_gap.distribution(failed), &mut point.max_gap_ns),
            ("ITL", self.tally.gaps.token_gaps(failed, attempts, tau), &mut point.itl_ns),
            (
                "chunk gap",
                self.tally.gaps.chunk_gaps(failed, attempts, tau),
                &mut point.chunk_gap_ns,
            ),
        ];
        for (metric, described, slot) in found {
            *slot = keep(metric, described, withheld);
        }
    }

    fn rates(&self, point: &mut Point) {
        let chosen = self.chosen();
        let windows: Vec<&Windowed> = chosen.iter().filter_map(|t| t.windowed.as_ref()).collect();
        let of = |value: &dyn Fn(&Rates) -> Option<f64>| {
            estimate(windows.iter().filter_map(|w| value(&w.rates)))
        };
        let all_input = windows.iter().all(|w| w.rates.input_tokens.is_some());
        let counted = |of: fn(&CountedRates) -> &Counted| {
            let trials: Vec<Counted> = windows.iter().map(|w| of(&w.counted).clone()).collect();
            rate(&trials)
        };
        point.requests_per_s = counted(|c| &c.requests);
        point.output_tokens_per_s = counted(|c| &c.output_tokens);
        point.input_tokens_per_s = of(&|r| r.input_tokens.filter(|_| all_input));
        let tails = || windows.iter().filter_map(|w| w.without_tail);
        point.requests_per_s_without_tail = estimate(tails().map(|r| r.requests));
        point.output_tokens_per_s_without_tail = estimate(tails().map(|r| r.output_tokens));
        point.achieved_rate_per_s = estimate(windows.iter().filter_map(|w| w.achieved_per_s));
        let per_user = chosen.iter().filter_map(|t| t.tpot_mean_ns).filter(|ns| *ns > 0.0);
        point.output_tokens_per_s_per_user = estimate(per_user.map(|ns| 1e9 / ns));
        let length: u64 = windows.iter().map(|w| w.window.length_ns()).sum();
        point.window_ns = (length > 0).then_some(length);
        let area: u128 = windows.iter().map(|w| w.flight.area).sum();
        point.in_flight_mean = (length > 0).then(|| area as f64 / length as f64);
        point.little_residual = largest(windows.iter().filter_map(|w| w.flight.little_residual));
        let residuals = windows.iter().filter_map(|w| w.stationarity.map(|(r, _)| r));
        point.stationarity_residual = largest(residuals);
    }

    /// The trials that rates are taken from.
    fn chosen(&self) -> Vec<&TrialFigures> {
        let complete: Vec<_> = self.trials.iter().filter(|t| t.complete).collect();
        if complete.is_empty() { self.trials.iter().collect() } else { complete }
    }
}

/// Keeps a distribution, and notes what is withheld from it.
fn keep(
    metric: &'static str,
    described: Option<Described>,
    withheld: &mut Vec<Withheld>,
) -> Option<Distribution> {
    let Described { distribution, censored, uncertain } = described?;
    if !censored.is_empty() || !uncertain.is_empty() {
        withheld.push(Withheld { metric, censored, uncertain });
    }
    Some(distribution)
}

/// Mean over trials with its t-interval; `None` without trials. Rates cannot be negative, so
/// neither can the lower bound.
fn estimate(values: impl Iterator<Item = f64>) -> Option<Estimate> {
    let values: Vec<f64> = values.collect();
    let (value, half) = mean_interval(&values)?;
    Some(Estimate {
        value,
        low: half.map(|h| (value - h).max(0.0)),
        high: half.map(|h| value + h),
        n: values.len() as u64,
    })
}

fn largest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(f64::max)
}

pub(crate) fn point_load(load: &Load) -> PointLoad {
    let none = PointLoad::default();
    match *load {
        Load::Closed { concurrency } => {
            PointLoad { concurrency: Some(concurrency), arrival: "closed".to_owned(), ..none }
        }
        Load::Open { rate_per_s, arrival } => {
            let arrival = match arrival {
                Arrival::Constant => "constant",
                Arrival::Poisson => "poisson",
                Arrival::Gamma { .. } => "gamma",
            };
            PointLoad { rate_per_s: Some(rate_per_s), arrival: arrival.to_owned(), ..none }
        }
        Load::Burst { requests } => {
            PointLoad { burst: Some(requests), arrival: "burst".to_owned(), ..none }
        }
    }
}
