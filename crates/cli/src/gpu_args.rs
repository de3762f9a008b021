//! Flags of `loadline gpu`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use loadline_schema::units::DurationNs;

use crate::observe_args::HardwareArgs;
use crate::storage_args::seconds;

/// Watches GPUs.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct GpuArgs {
    /// Watch so long; a plain number means seconds [default: two looks 200 ms apart]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, help_heading = "Time")]
    pub(crate) duration: Option<DurationNs>,
    /// From one look to the next, at least 10ms
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "1s", help_heading = "Time")]
    pub(crate) interval: DurationNs,
    /// Watch until this process ends, and show the GPUs that it and its children compute on
    #[arg(long, value_name = "PID", help_heading = "Time")]
    pub(crate) pid: Option<u32>,

    /// Say of each field whether it can be read, why not, and which command would grant it
    #[arg(long, conflicts_with_all = ["duration", "pid", "csv", "command"])]
    pub(crate) check: bool,

    /// Read this dcgm-exporter alone, as in http://host:9400
    #[arg(long, value_name = "URL", help_heading = "Source")]
    pub(crate) exporter: Option<String>,
    /// Do not start dcgmi, which on GPUs before Hopper keeps the profiling counters to itself
    #[arg(long, help_heading = "Source")]
    pub(crate) no_dcgmi: bool,

    /// Print the analysis as JSON on stdout
    #[arg(long, help_heading = "Result")]
    pub(crate) json: bool,
    /// Write the result, text or JSON, to this file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) output: Option<PathBuf>,
    /// Write each reading to this file as well, with the column words and units of dcgmi dmon
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) csv: Option<PathBuf>,
    /// No progress on stderr
    #[arg(short, long, help_heading = "Result")]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) hardware: HardwareArgs,

    /// Watch while this command runs
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["duration", "pid"])]
    pub(crate) command: Vec<OsString>,
}

impl GpuArgs {
    /// Two looks alone: neither a time, nor a process, nor a command.
    pub(crate) fn is_once(&self) -> bool {
        self.duration.is_none() && self.pid.is_none() && self.command.is_empty()
    }
}

const AFTER_HELP: &str = "\
Ctrl-C ends the watching and shows what was seen (exit code 6 if --for was not
over). Without a GPU that can be read the exit code is 2.

Around a command its own stdin, stdout and stderr are left alone; the report
goes to stderr, with --json to stdout after the command's output, with --output
to a file. The exit code is the command's, 128 + n where signal n ended it, and
125 where loadline itself fails: the command cannot be started, a file cannot be
written. Without a GPU the command still runs, and stderr says so. Ctrl-C goes
to the command as well, and loadline ends when the command does.

Sources, the best first: NVML with GPM (Hopper and later), dcgmi dmon (data
centre GPUs before Hopper), NVML alone (power, clocks and memory), and amdgpu's
files. Nothing has to be started for them. dcgmi has no `profile --start`: its
counters run while `dcgmi dmon -e 1002,1003,1004,1005` does; `dcgmi profile
--pause` and `--resume` hand them to Nsight and back.

Energy needs a time of 100 steps of the GPU's counter, which is some 10 s; how
often the counter steps is measured first, for at most 0.5 s.

Examples:
  loadline gpu
  loadline gpu --check
  loadline gpu --for 60s --csv gpu.csv
  loadline gpu --interval 100ms -- python train.py --steps 100
  loadline gpu --json --output gpu.json -- ./bench.sh
  loadline gpu --pid 4242 --for 5m
  loadline gpu --exporter http://node1:9400 --for 5m --interval 15s";
