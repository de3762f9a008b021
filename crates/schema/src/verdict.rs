//! The parts of the analysis document that judge: service-level results, the load line,
//! scalability, steady state, cost, rows of a table, comparison.
//!
//! Shapes and units as in [`crate::document`]: durations in ns, rates per second, ratios 0–1, money
//! in the stated currency; what could not be had is absent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::PointLoad;
use crate::event::Warning;
use crate::outcome::spelled;

spelled! {
    /// What can be said about a target, at 95 % confidence unless stated otherwise.
    Verdict {
        /// Certainly kept.
        Met = "met",
        /// Certainly missed.
        Missed = "missed",
        /// Too few observations to say.
        Open = "open",
    }
}

/// How a point stands to one SLA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlaResult {
    /// Of all terms together: missed when one is, met when all are.
    pub verdict: Verdict,
    /// Whether the estimates keep every term, certain or not.
    pub likely: bool,
    /// The term that is missed, or would be first: the one with the least room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// Each term by itself, in the SLA's order.
    pub terms: Vec<TermResult>,
}

/// How a point stands to one term.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TermResult {
    /// The term as text: `ttft_p99<=800ms`.
    pub term: String,
    /// The limit: ns, a ratio, or tokens/s.
    pub limit: f64,
    /// The limited figure of this point over *attempts* (one without a value counts as infinite), in
    /// the limit's unit. Absent when it lies among those or there are no attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// For a percentile: share of attempts that keep the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<f64>,
    /// Lower 95 % bound of `inside`, or of `value` where there is no share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper bound, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Attempts.
    pub n: u64,
    /// Independent observations that the attempts are worth (n ÷ autocorrelation time).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_effective: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the estimate keeps the limit.
    pub likely: bool,
}

/// The largest load that meets an SLA.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LoadLine {
    /// The load at `value`; absent when none is certainly inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<PointLoad>,
    /// The largest load certainly inside; the same as `low`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The largest load certainly inside; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// The smallest load certainly outside; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// The largest measured load whose estimates keep the SLA, certain or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely: Option<f64>,
    /// `concurrency` or `requests/s`.
    pub unit: String,
    /// The term that is missed at `high`, or has the least room at `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
    /// Zero-based index of the point at `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<usize>,
    /// Zero-based index of the point at `likely`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely_point: Option<usize>,
    /// A load above a certainly missed one is certainly inside: the line is below the first miss.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub non_monotone: bool,
    /// Loads whose trials are shorter than 50 autocorrelation times of E2E: their verdicts count
    /// for neither bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub too_short: Vec<f64>,
    /// Smallest load at which the target no longer kept up (achieved under 95 % of offered, or
    /// requests in flight growing).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturated_at: Option<f64>,
    /// Cost per million output tokens at `value` (or at `likely`, where nothing is certain).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<PointCost>,
}

/// The Universal Scalability Law fitted to requests/s over concurrency (N. J. Gunther, *Guerrilla
/// Capacity Planning*, 2007): X(N) = λN / (1 + σ(N − 1) + κN(N − 1)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scalability {
    /// Requests/s of one slot alone.
    pub lambda: f64,
    /// Contention.
    pub sigma: f64,
    /// Coherency; 0 is its bound: then there is no peak.
    pub kappa: f64,
    /// Concurrency of the most requests/s, √((1 − σ)/κ); absent without a peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_concurrency: Option<f64>,
    /// Requests/s that are approached where there is no peak, λ/σ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asymptote_per_s: Option<f64>,
    /// Largest |fitted − measured| / measured.
    pub residual_max: f64,
    /// Whether the points follow the law: `residual_max` is at most 10 %.
    pub follows: bool,
    /// Concurrency at the knee: where λN meets the asymptote (or the peak's requests/s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knee_concurrency: Option<f64>,
    /// Points that the fit rests on.
    pub n: usize,
}

/// Little's law over several points or rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Little {
    /// Largest |N − X·R| / N.
    pub residual_max: f64,
    /// Largest residual that rounding and stationarity allow at that row.
    pub allowed: f64,
    /// Whether every row keeps its allowance.
    pub holds: bool,
    /// X·R of each row, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub product: Vec<f64>,
}

spelled! {
    /// Whether a trial's figures moved around one level.
    Steadiness {
        /// Steady after the truncation.
        Steady = "steady",
        /// A trend, or more than half would have to be left out.
        NotSteady = "not_steady",
        /// Too few observations, or a window under 5 mean answers.
        TooShort = "too_short",
    }
}

/// Steady state of a point: the worst of its trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Steady {
    /// The verdict.
    pub verdict: Steadiness,
    /// Largest share of a trial that MSER-5 would leave out at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<f64>,
    /// Change of E2E over the window by its slope ÷ mean, of the trial where it is largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<f64>,
    /// Independent observations that the answers are worth (n ÷ autocorrelation time of E2E).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_effective: Option<f64>,
}

/// What a point costs while it runs at its load without a break, and at the duty cycle.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PointCost {
    /// Label of the currency.
    pub currency: String,
    /// Per million output tokens, under load all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mtok_output: Option<f64>,
    /// Per million tokens, prompt and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mtok_total: Option<f64>,
    /// Per request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request: Option<f64>,
    /// Per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<f64>,
    /// Energy of the machines per output token (without PUE), J.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_per_output_token: Option<f64>,
    /// Energy of the machines per request, J.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_per_request: Option<f64>,
    /// Power, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watts: Option<f64>,
    /// `stated`, or what measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_source: Option<String>,
    /// The same at the duty cycle, where one below 1 is stated: idle hours are paid, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_duty_cycle: Option<Bill>,
}

/// A bill at a duty cycle.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Bill {
    /// Share of hours under load.
    pub duty_cycle: f64,
    /// Per hour.
    pub per_hour: f64,
    /// Per request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request: Option<f64>,
    /// Per million output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mtok_output: Option<f64>,
    /// Per million tokens, prompt and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mtok_total: Option<f64>,
}

/// What a cost rests on, how it moves, and what others take.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CostReport {
    /// Label of the currency.
    pub currency: String,
    /// Where the rest is computed: the load line's point, else the point with most output tokens/s.
    pub at: PointLoad,
    /// Figures that were measured, by name, with their value and unit as text.
    pub measured: Vec<Figure>,
    /// Figures that were stated or assumed.
    pub assumed: Vec<Figure>,
    /// Cost per million output tokens at the duty cycle when one assumption is 20 % lower or higher;
    /// what moves it most comes first.
    pub sensitivity: Vec<Sensitivity>,
    /// Against the prices of others.
    pub break_even: Vec<BreakEven>,
}

/// A figure with its name and unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// Name.
    pub name: String,
    /// Value.
    pub value: f64,
    /// Lower 95 % bound, where it is an estimate with an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper bound, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Unit.
    pub unit: String,
    /// Whether it is a default and not the owner's own statement.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
}

/// How one assumption moves the cost per million output tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sensitivity {
    /// The assumption.
    pub name: String,
    /// Cost when it is 20 % lower.
    pub at_minus_20: f64,
    /// Cost when it is 20 % higher (bounds of the assumption are kept).
    pub at_plus_20: f64,
}

/// Our bill against an API's bill for the same requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BreakEven {
    /// Whose prices.
    pub name: String,
    /// Our bill per hour of the duty cycle.
    pub our_per_hour: f64,
    /// What the API takes for the same requests.
    pub api_per_hour: f64,
    /// Duty cycle from which our bill is smaller; absent when it never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty_cycle: Option<f64>,
}

/// A row of a table measured elsewhere, as understood.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Its load.
    pub load: PointLoad,
    /// Requests/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<f64>,
    /// Output tokens/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<f64>,
    /// Output tokens/s of one user, where both are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s_per_user: Option<f64>,
    /// Share of failed requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Power, W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watts: Option<f64>,
    /// Latencies by metric (`e2e`, `ttft`, …) and statistic (`mean`, `p99`, …), ns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latency_ns: BTreeMap<String, BTreeMap<String, f64>>,
    /// Requests/s × mean E2E (Little's law says: the requests in flight).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<f64>,
    /// |concurrency − in_flight| / concurrency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub little_residual: Option<f64>,
    /// Requests/s by the fitted law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted_per_s: Option<f64>,
    /// Additional requests/s per additional slot against the row below, ÷ that of the first row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marginal: Option<f64>,
    /// Whether the row keeps each SLA.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inside: BTreeMap<String, bool>,
    /// Requests/s inside each SLA: those of a row that keeps it, else 0. A table does not tell the
    /// share of requests inside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub goodput_per_s: BTreeMap<String, f64>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<PointCost>,
}

spelled! {
    /// What a comparison found.
    Change {
        /// Better, at 95 % over all metrics together.
        Improved = "improved",
        /// Worse, likewise.
        Regressed = "regressed",
        /// Not proven to be either, and the interval is within the smallest change that matters.
        NoChange = "no_change",
        /// The trials vary too much to say, or there are too few of them.
        Inconclusive = "inconclusive",
    }
}

/// A candidate beside its baseline.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Name and id of the baseline.
    pub baseline: String,
    /// Name and id of the candidate.
    pub candidate: String,
    /// One entry for each point that both have, and metric.
    pub metrics: Vec<MetricChange>,
    /// The gate, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Points that only one side has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<String>,
    /// In what the two runs differ, beyond what is compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Whether the trials of both sides took turns.
    pub interleaved: bool,
    /// What the reader must know about the comparison.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// One metric of one point on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricChange {
    /// Stage of the baseline.
    pub stage: String,
    /// The point's load.
    pub point: PointLoad,
    /// `ttft_p99`, `itl_p50`, `requests_per_s`, ….
    pub metric: String,
    /// Mean over the baseline's trials, in the metric's unit; geometric where the change is a ratio.
    pub baseline: f64,
    /// Mean over the candidate's trials.
    pub candidate: f64,
    /// candidate / baseline − 1; for a share candidate − baseline. Of trials in turns it is free of
    /// the drift over them.
    pub change: f64,
    /// Lower 95 % bound of the change; absent with fewer than two trials on a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Probability of so large a difference without a change, over all metrics (Holm).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Change that the baseline's own spread could hide: half width of the interval that an A/A
    /// comparison of as many trials would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<f64>,
    /// Whether larger is better.
    pub higher_is_better: bool,
    /// Whether the change is a difference and not a ratio.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absolute: bool,
    /// Trials on each side.
    pub trials: (u32, u32),
    /// The verdict.
    pub verdict: Change,
}

/// The outcome of `--gate`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// The terms as given.
    pub terms: Vec<String>,
    /// Whether no term failed.
    pub passed: bool,
    /// What failed, one sentence each.
    pub failures: Vec<String>,
    /// Terms that could not be decided, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
}
