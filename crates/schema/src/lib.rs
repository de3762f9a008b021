//! The contract between Loadline's crates and with everybody who reads a run directory: plans,
//! records, events, manifests, the analysis document and the definitions of metrics. Data only:
//! nothing here does IO, reads a clock or depends on another crate of the project.

pub mod cost;
pub mod document;
pub mod energy;
pub mod engine;
pub mod engine_protocol;
mod engine_result;
pub mod event;
pub mod gate;
pub mod gpu;
pub mod host_sample;
pub mod latency;
pub mod manifest;
pub mod metric;
pub mod metric_window;
pub mod observe;
pub mod observed;
pub mod outcome;
pub mod plan;
pub mod plan_file;
pub mod record;
pub mod sample;
pub mod server_metrics;
pub mod sla;
pub mod storage;
pub mod table_file;
pub mod units;
pub mod verdict;

/// Version of the stored formats (manifest, events, records) and of the analysis document.
/// It grows when a field changes its meaning or goes away; new fields do not change it.
pub const SCHEMA_VERSION: u32 = 1;
