//! The quick look: what `loadline run` does without a plan. The embedded engine on a model made on
//! the spot, the storage of the current directory, then the model served over loopback under load: no
//! server, no network, no download.

use loadline_runner::Launch;
use loadline_schema::plan::Stage;
use loadline_schema::plan_file::PlanFile;

use crate::launch::Launcher;
use crate::measure::resolve;

/// Its plan, for people to copy: `loadline run --dry-run` shows it.
pub(crate) const PLAN: &str = r#"# The quick look of `loadline run`: copy it, and put your own model or server in.
name = "quick-look"

# What answers must keep, for 9 of 10 requests.
[sla.interactive]
ttft_p90 = "2s"
itl_p90 = "200ms"

# An assumption: a small machine, and a price of electricity.
[cost]
watts = 65
electricity = "0.30 EUR/kWh"

[[engine]]
model = "made:smollm2-135m:q8_0"
batch = [1, 4, 16]
context = [0, 512]
prompt_tokens = 64
output_tokens = 16
trials = 3

# The storage below the current directory.
[[storage]]
path = "."
workload = ["seq-write", "seq-read", "rand-read"]
size = "256MiB"
runtime = "3s"
trials = 1
max_write = "4GiB"

[[serving]]
embedded = "made:smollm2-135m:q8_0"
prompt = { tokens = 64 }
output = { tokens = 16 }
load = { concurrency = [1, 4, 16] }
duration = "15s"
trials = 1
"#;

/// The plan of the quick look.
pub(crate) fn plan() -> PlanFile {
    PlanFile::parse(PLAN).expect("invariant: the plan of the quick look is valid")
}

/// Why the storage of the current directory is not measured, if it is refused: the rest of the quick
/// look needs none.
pub(crate) fn storage_refusal(file: &PlanFile, launcher: &Launcher) -> Option<String> {
    let plan = resolve(file, 1).ok()?;
    plan.stages.iter().find_map(|stage| {
        let Stage::Storage(stage) = stage else { return None };
        let looked = launcher.storage(stage, 1).and_then(|mut storage| {
            let path = stage.paths().first().copied().unwrap_or(".").to_owned();
            storage.look(&path).map_err(loadline_runner::RunError::Storage)
        });
        looked.err().map(|why| why.to_string())
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_a_valid_plan() {
        assert!(super::plan().on_cores(2).resolve(1).is_ok());
    }
}
