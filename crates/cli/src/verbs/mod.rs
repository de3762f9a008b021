//! One file for each verb.

pub(crate) mod analyze;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod cost;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
pub(crate) mod engine;
pub(crate) mod export;
pub(crate) mod gpu;
pub(crate) mod import;
pub(crate) mod latency;
pub(crate) mod list;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod selftest;
pub(crate) mod serving;
pub(crate) mod storage;
pub(crate) mod tied;
