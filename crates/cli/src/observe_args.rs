//! Flags that say what is observed beside the load, and where the hardware's files are.

use std::path::PathBuf;

use clap::Args;
use loadline_observe::gpu::Nvml;
use loadline_observe::host::Roots;
use loadline_runner::Hardware;
use loadline_schema::plan_file::ObserveFile;
use loadline_schema::units::DurationNs;

/// What is read while the load goes on.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ObserveArgs {
    /// Pages of server metrics, or off [default: /metrics of each endpoint that has one]
    #[arg(long, value_name = "URL,…", value_delimiter = ',', help_heading = "Observers")]
    pub(crate) metrics: Vec<String>,
    /// Environment variable with the bearer token of those pages
    #[arg(long, value_name = "NAME", requires = "metrics", help_heading = "Observers")]
    pub(crate) metrics_token_env: Option<String>,
    /// GPUs: off, or the URL of the target's dcgm-exporter [default: this machine's, where the
    /// target is on it]
    #[arg(long, value_name = "URL|off", help_heading = "Observers")]
    pub(crate) gpu: Option<String>,
    /// Numbers of the GPUs that belong to the target [default: all]
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = "Observers")]
    pub(crate) gpus: Option<Vec<u64>>,
    /// Time from one look to the next [default: 1s]
    #[arg(long, value_name = "TIME", help_heading = "Observers")]
    pub(crate) observe_interval: Option<DurationNs>,
    /// Time without load before the first trial, for the idle power [default: 10s where there is a
    /// meter of power]; 0s for none
    #[arg(long, value_name = "TIME", help_heading = "Observers")]
    pub(crate) idle: Option<DurationNs>,
    /// Observe nothing: no metrics, GPUs, power and host
    #[arg(
        long,
        help_heading = "Observers",
        conflicts_with_all = ["metrics", "gpu", "gpus", "observe_interval", "idle"]
    )]
    pub(crate) no_observe: bool,
}

impl ObserveArgs {
    /// As `[observe]` would have it; `None` without flags.
    pub(crate) fn file(&self) -> Option<ObserveFile> {
        let off = || Some("off".to_owned());
        if self.no_observe {
            return Some(ObserveFile {
                prometheus: vec!["off".to_owned()],
                gpu: off(),
                power: off(),
                host: off(),
                ..ObserveFile::default()
            });
        }
        let file = ObserveFile {
            prometheus: self.metrics.clone(),
            token_env: self.metrics_token_env.clone(),
            gpu: self.gpu.clone(),
            gpus: self.gpus.clone(),
            interval: self.observe_interval,
            idle: self.idle,
            ..ObserveFile::default()
        };
        (file != ObserveFile::default()).then_some(file)
    }
}

/// Where the hardware's library and the kernel's files are.
#[derive(Debug, Clone, Args)]
pub(crate) struct HardwareArgs {
    /// Internal: the driver's library
    #[arg(long, value_name = "PATH", default_value = Nvml::LIBRARY, hide = true)]
    pub(crate) nvml: PathBuf,
    /// Internal: the kernel's files of devices
    #[arg(long, value_name = "DIR", default_value = "/sys", hide = true)]
    pub(crate) sys: PathBuf,
    /// Internal: the kernel's files of processes
    #[arg(long, value_name = "DIR", default_value = "/proc", hide = true)]
    pub(crate) proc: PathBuf,
}

impl HardwareArgs {
    /// The same for a run.
    pub(crate) fn hardware(&self) -> Hardware {
        let roots = Roots {
            proc: self.proc.clone(),
            sys: self.sys.clone(),
            cgroup: self.sys.join("fs/cgroup"),
        };
        Hardware { nvml: self.nvml.clone(), roots, ..Hardware::default() }
    }
}
