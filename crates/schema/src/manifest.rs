//! `manifest.json`: what a run is, where it ran, and whether it was closed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Selftest;

/// State of a run directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Being written; or killed, when no process of its writer lives any more.
    Running,
    /// Closed, everything planned was carried out.
    Sealed,
    /// Closed before the plan was fulfilled.
    Interrupted,
}

/// The run's identity card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the stored formats ([`crate::SCHEMA_VERSION`]).
    pub schema_version: u32,
    /// Version of the program that wrote it.
    pub tool_version: String,
    /// Eight base-32 letters.
    pub id: String,
    /// The plan's name.
    pub name: String,
    /// Start in UTC, RFC 3339.
    pub started: String,
    /// Start on the realtime clock, ns since the epoch: the run's origin.
    pub origin_unix_ns: u64,
    /// End in UTC, RFC 3339, once closed.
    pub ended: Option<String>,
    /// SHA-256 of the resolved plan, hexadecimal.
    pub plan_sha256: String,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// State.
    pub status: RunStatus,
    /// Number of parts (1, and one more for each resume).
    pub parts: u16,
    /// Facts of the machines that took part.
    pub hosts: Vec<HostFacts>,
    /// The client's selftest on this machine, as known at the start.
    pub selftest: Option<Selftest>,
}

/// Facts of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostFacts {
    /// Host name.
    pub name: String,
    /// Operating system and kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Processor model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Cores this process may use.
    pub cores: u32,
    /// Memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Process id of the writer, to tell a killed run from a running one.
    pub pid: u32,
    /// Start time of that process in clock ticks after boot, since pids come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_start_ticks: Option<u64>,
    /// The kernel's boot id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
}
