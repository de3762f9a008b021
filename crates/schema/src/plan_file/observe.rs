//! `[observe]` as people write it.

use serde::{Deserialize, Serialize};

use super::value;
use crate::units::DurationNs;

/// `[observe]`: what is read beside the load.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserveFile {
    /// Pages of server metrics: URLs, `off`, or `auto` (default): `/metrics` of each endpoint.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "value::one_or_many"
    )]
    pub prometheus: Vec<String>,
    /// Environment variable with the bearer token of those pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    /// `auto` (default): this machine's GPUs where the target is on it; `off`; or the URL of a
    /// dcgm-exporter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Numbers of the GPUs that belong to the target; default: all.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "value::wholes")]
    pub gpus: Option<Vec<u64>>,
    /// `auto` (default): RAPL and hwmon of this machine where the target is on it; or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<String>,
    /// `auto` (default): this machine's processors, memory, disks and network; or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Time from one look to the next; default 1 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationNs>,
    /// Time without load before each stage, for the idle power; default 10 s where power can be
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<DurationNs>,
}
