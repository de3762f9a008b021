//! The fake `libnvidia-ml.so.1`: built with the C compiler, once for each process, and copied for
//! each test beside a script of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Every function of the fake library that answers something; each can be made to fail by a line
/// `fail NAME CODE` of the script.
pub const FAKE_NVML_FUNCTIONS: [&str; 31] = [
    "nvmlInit_v2",
    "nvmlShutdown",
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetViolationStatus",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetCurrPcieLinkGeneration",
    "nvmlDeviceGetCurrPcieLinkWidth",
    "nvmlDeviceGetPcieThroughput",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceGetGpuInstanceId",
    "nvmlGpmQueryDeviceSupport",
    "nvmlGpmSampleAlloc",
    "nvmlGpmSampleFree",
    "nvmlGpmSampleGet",
    "nvmlGpmMigSampleGet",
    "nvmlGpmMetricsGet",
    "nvmlDeviceGetComputeRunningProcesses_v3",
];

const SOURCE: &str = include_str!("../fake-nvml/fake_nvml.c");

/// A fake library in a folder.
#[derive(Debug)]
pub struct FakeNvml {
    library: PathBuf,
}

impl FakeNvml {
    /// Puts the library with this script (see `fake_nvml.c`) into `folder`, which must be its own.
    ///
    /// # Errors
    ///
    /// Where there is no C compiler (`$CC`, or `cc`), or it fails.
    pub fn new(folder: &Path, script: &str) -> io::Result<Self> {
        static BUILT: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| {
            let scratch = folder.join("build");
            let bytes = build(&scratch, &[]).map_err(|error| error.to_string());
            let _ = std::fs::remove_dir_all(&scratch);
            bytes
        });
        let bytes = built.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        Self::place(folder, bytes, script)
    }

    /// The same without some functions, like the library of an older driver.
    pub fn without(folder: &Path, functions: &[&str], script: &str) -> io::Result<Self> {
        let scratch = folder.join("build");
        let bytes = build(&scratch, functions)?;
        std::fs::remove_dir_all(&scratch)?;
        Self::place(folder, &bytes, script)
    }

    fn place(folder: &Path, bytes: &[u8], script: &str) -> io::Result<Self> {
        let library = folder.join("libnvidia-ml.so.1");
        std::fs::write(&library, bytes)?;
        let fake = Self { library };
        fake.script(script)?;
        Ok(fake)
    }

    /// Path of the library.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Replaces the script; it holds from the next call on.
    pub fn script(&self, script: &str) -> io::Result<()> {
        std::fs::write(self.library.with_file_name("fake_nvml.conf"), script)
    }
}

fn build(scratch: &Path, hidden: &[&str]) -> io::Result<Vec<u8>> {
    std::fs::create_dir_all(scratch)?;
    let (source, library) = (scratch.join("fake_nvml.c"), scratch.join("fake.so"));
    std::fs::write(&source, SOURCE)?;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&compiler);
    command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source);
    command.args(hidden.iter().map(|name| format!("-D{name}=hidden_{name}")));
    let output = command.output().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot run {}: {error}", compiler.display()))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("the fake NVML does not compile: {said}")));
    }
    std::fs::read(&library)
}
