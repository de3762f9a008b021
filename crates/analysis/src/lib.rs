//! Analysis: what the records of a run say. Pure functions of records, events and the plan: no
//! IO, no clock, no randomness, no text layout. The same input gives the same document bit for
//! bit, whatever the order of its rows.
//!
//! A point is analysed trial by trial ([`PointAnalysis`]), so that memory holds the rows of one
//! trial and the pooled values of one point.

mod binomial;
mod client;
mod flight;
mod gaps;
mod input;
mod limits;
mod point;
mod pool;
mod quantile;
mod stage;
mod student;
mod tally;
mod trial;
mod warnings;
mod window;

pub use binomial::order_statistic_ranks;
pub use input::{StageInput, TrialInput, latest_parts};
pub use point::{PointAnalysis, serving_point};
pub use quantile::{nearest_rank, select_ranks};
pub use stage::{StageResult, document};
pub use student::{mean_interval, t_quantile_975};
