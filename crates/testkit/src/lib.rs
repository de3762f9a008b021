//! For tests only: a server that tells the truth, and one that misbehaves on command.
//!
//! - [`TruthThread`] answers by a [`Law`] and logs when it sent every token; [`known_answer`]
//!   turns a client's rows and that log into per-request errors.
//! - [`FaultServer`] plays a [`Script`] of [`Action`]s on every connection (TCP, unix, TLS) and
//!   keeps every request it read.
//! - [`FaultyFs`] is a mounted file system whose I/O fails, hangs or is slow on command.
//! - [`FakeNvml`] is a driver's library without a driver; the machines' files and texts
//!   ([`h100_host_tree`] and its like) go with it.
//! - [`cases`] has ready-made scripts with what a client must make of each.

pub mod cases;
mod fake_nvml;
mod fault;
mod faulty_fs;
mod hardware;
mod sse;
mod tls;

pub use fake_nvml::{FAKE_NVML_FUNCTIONS, FakeNvml};
pub use fault::{Action, FaultBuilder, FaultServer, ReceivedRequest, Script};
pub use faulty_fs::{FaultyFs, FsFault, FsSpace};
pub use hardware::{
    H100_SCRIPT, RTX_3090_SCRIPT, amd_metrics_table, dmon_text, dmon_text_geforce, exporter_page,
    exporter_page_mig, h100_host_tree, mi300x_tree, vm_tree,
};
pub use loadline_truth::{
    Delay, Law, Length, Listen, MetricsPage, Outcome, ReasoningField, RoleChunk, Stall, Stats,
    Told, TruthError, TruthRecord, TruthThread, Usage, UsagePlace, known_answer,
};
pub use sse::{Framing, Reply, chat_event, json_reply};
pub use tls::{ServerCert, TestCa};
