//! Machines made of files and texts: a server with eight H100, two RTX 3090, an MI300X, a bare
//! virtual machine.

mod dcgm;
mod trees;

pub use dcgm::{dmon_text, dmon_text_geforce, exporter_page, exporter_page_mig};
pub use trees::{amd_metrics_table, h100_host_tree, mi300x_tree, vm_tree};

/// Script of the fake NVML for a server with eight H100.
pub const H100_SCRIPT: &str = "gpus 8\nname NVIDIA H100 80GB HBM3\ngpm 1\ncounters 1\nthrottle 4\n";

/// Script of the fake NVML for two RTX 3090: no GPM, no counters of traffic, no violation times.
pub const RTX_3090_SCRIPT: &str = "gpus 2\nname NVIDIA GeForce RTX 3090\ngpm 0\ncounters 0\n\
                                   throttle 1\nfail nvmlDeviceGetViolationStatus 3\n";
