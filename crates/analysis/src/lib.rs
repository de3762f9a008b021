//! Analysis: what the records of a run say. Pure functions of records, events and the plan: no
//! IO, no clock, no randomness, no text layout. The same input gives the same document bit for
//! bit, whatever the order of its rows.
//!
//! A point is analysed trial by trial ([`PointAnalysis`]), so that memory holds the rows of one
//! trial and the pooled values of one point.

mod attempt;
mod autocorrelation;
mod binomial;
mod bootstrap;
mod client;
mod compare;
mod cost;
mod energy;
mod engine;
mod flight;
mod gaps;
mod gpu;
mod histogram_quantile;
mod input;
mod interval;
mod judged;
mod limits;
mod load_line;
#[cfg(test)]
mod noise;
mod observed;
mod pareto;
mod per_trial;
mod point;
mod pool;
mod quantile;
mod rate;
mod rows;
mod saturation;
mod scalability;
mod search;
mod server_latency;
mod sla;
mod stage;
mod steady;
mod storage;
mod student;
mod tally;
mod trade_off;
mod trend;
mod trial;
mod warnings;
mod window;

pub use attempt::Attempt;
pub use autocorrelation::{Correlation, correlation};
pub use binomial::order_statistic_ranks;
pub use compare::{
    CompareError, CompareOptions, CompareSubject, RELEVANT_RATIO, RELEVANT_SHARE,
    TRIALS_FOR_VERDICT, TrialOrder, TrialStart, compare, trial_order,
};
pub use cost::{CostBasis, MeasuredPower, Throughput, cost_report, cost_warnings, point_cost};
pub use energy::{
    AVERAGING_TIMES, COUNTER_STEPS, CounterRules, CounterSample, EnergyWindow, METERS_AGREE,
    PowerRules, PowerSample, best_energy, counter_energy, cross_checked, energy_sum, gross_net,
    idle_baseline, stated_energy, trapezoid_energy,
};
pub use engine::{EngineInput, engine_results};
pub use gpu::{TIMELINE_PARTS, gpu_summaries};
pub use histogram_quantile::{BucketQuantile, bucket_fraction, bucket_quantile};
pub use input::{StageInput, TrialInput, latest_parts};
pub use interval::{attempts_needed, proportion_bounds};
pub use load_line::{load_line, load_value};
pub use observed::{Glance, PageObservation, StageObservation, TrialTime, edges};
pub use pareto::pareto;
pub use point::{PointAnalysis, serving_point};
pub use quantile::{nearest_rank, select_ranks};
pub use rows::{THROUGHPUT, TableSettings, analyze_table};
pub use saturation::piles_up;
pub use scalability::{fitted_per_s, scalability};
pub use search::{Ended, FoundLine, Look, Search, SearchOver, SearchSettings, SlaLook, Step};
pub use server_latency::{LatencyReport, LatencySettings, QUANTILES, server_latency};
pub use sla::{Confidence, judge, requirements};
pub use stage::{StageResult, document};
pub use storage::{StorageInput, storage};
pub use student::{mean_interval, mean_interval_at, t_quantile, t_quantile_975};
