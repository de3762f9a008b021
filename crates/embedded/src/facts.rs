//! What the engine says about itself and its model.

use std::path::Path;

use loadline_schema::engine::{EngineFacts, ModelFacts};

use crate::llama::{self, Model};
use crate::machine;

/// The crate whose build of llama.cpp this is.
const BUILT_BY: &str = "llama-cpp-sys-2 0.1.161";

/// The engine and the open model. Where the model came from is the caller's to add.
pub(crate) fn facts(model: &Model, path: &Path, proc_root: &Path) -> EngineFacts {
    EngineFacts {
        name: "llama.cpp".to_owned(),
        version: Some(match llama::version() {
            Some(version) => format!("{version} ({BUILT_BY})"),
            None => BUILT_BY.to_owned(),
        }),
        build: llama::system_text().map(|text| shortened(&text)),
        devices: llama::devices(),
        measured_by: "embedded".to_owned(),
        cpus: machine::allowed_cpus(proc_root),
        model: model_facts(model, path),
    }
}

/// What llama.cpp knows of the model, and beyond it what only its file says.
fn model_facts(model: &Model, path: &Path) -> ModelFacts {
    let file = || path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let told = |count: u64| (count > 0).then_some(count);
    // llama.cpp has loaded the file: whatever the other reader refuses is only not told.
    let summary = loadline_gguf::Model::open(path).ok().map(|file| file.summary());
    let summary = summary.as_ref();
    let quantization = summary.and_then(|summary| summary.quantization);
    ModelFacts {
        name: model.metadata("general.name").filter(|name| !name.is_empty()).unwrap_or_else(file),
        source: String::new(),
        architecture: model.metadata("general.architecture"),
        parameters: told(model.parameters()),
        quantization: match quantization {
            Some(quantization) => Some(quantization.name.to_owned()),
            None => model.quantization(),
        },
        weight_bytes: told(model.weight_bytes()),
        step_bytes: summary.and_then(|summary| summary.step_bytes),
        kv_elements_per_token: summary.and_then(|summary| summary.kv_elements_per_token),
        context: told(model.trained_context()),
        layers: told(model.layers()),
        random_weights: summary.is_some_and(|summary| summary.made),
    }
}

/// The text without its empty last entry and doubled spaces.
fn shortened(text: &str) -> String {
    let entries: Vec<String> = text
        .split('|')
        .map(|entry| entry.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|entry| !entry.is_empty())
        .collect();
    entries.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_that_is_named_is_the_one_that_is_built() {
        let manifest = include_str!("../Cargo.toml");
        let (name, version) = BUILT_BY.split_once(' ').expect("a name and a version");
        assert!(manifest.contains(&format!("{name} = {{ version = \"={version}\"")));
    }

    #[test]
    fn build_text_loses_its_rest() {
        assert_eq!(shortened("CPU :  SSE3 = 1 | AVX2 = 1 | "), "CPU : SSE3 = 1 | AVX2 = 1");
    }
}
