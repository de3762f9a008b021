//! `loadline engine MODEL`: a plan of one stage from flags, carried out like any other.

use loadline_runner::Launch;
use loadline_schema::plan::Stage;

use crate::engine_args::EngineArgs;
use crate::exit::{Exit, Failure};
use crate::launch::Launcher;
use crate::measure::{measure, resolve};
use crate::output::print;

/// The smallest model that can be made: it is loaded to ask for devices.
const SMALLEST: &str = "made:30m:q4_0";

pub(crate) fn run(args: &EngineArgs) -> Result<Exit, Failure> {
    let mut file = args.plan_file()?;
    if !args.list_devices {
        return measure(&file, None, &args.options);
    }
    for stage in &mut file.engine {
        stage.model.get_or_insert_with(|| SMALLEST.to_owned());
    }
    let plan = resolve(&file, 1).map_err(|error| Failure::usage(error.to_string()))?;
    let Some(Stage::Engine(stage)) = plan.stages.first() else { return Ok(Exit::Ok) };
    let facts = Launcher::default().engine(stage)?.facts();
    let mut page = String::new();
    for device in &facts.devices {
        let memory = device.memory_bytes.map(|bytes| format!(", {:.1} GB", bytes as f64 / 1e9));
        let (name, description) = (&device.name, &device.description);
        page += &format!("{name}: {description}{}\n", memory.unwrap_or_default());
    }
    if facts.devices.is_empty() {
        page += "the engine names no device\n";
    }
    Ok(print(&page))
}
