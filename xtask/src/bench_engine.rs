//! `cargo xtask bench-engine TOOLS Q4_1 Q8_0 [PAIRS]`: the embedded engine against llama-bench and
//! llama-batched-bench (in the folder TOOLS) on the same model, and made models against real ones of
//! the same shape (SmolLM2-135M in two types of weights); in turns, so that a drift of the machine
//! meets both sides.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::paired::{LEAST_PAIRS, in_turns, interval};
use crate::workspace;

/// A cell that is compared: its flags for `loadline engine`, and its name.
const CELLS: [(&str, &[&str]); 5] = [
    ("batch 1, context 0", &["--batch", "1", "-d", "0", "-p", "128", "-n", "64"]),
    ("batch 1, context 512", &["--batch", "1", "-d", "512", "-p", "128", "-n", "64"]),
    ("batch 4, context 0", &["--batch", "4", "-d", "0", "-p", "64", "-n", "0"]),
    ("batch 4, context 128", &["--batch", "4", "-d", "128", "-p", "0", "-n", "64"]),
    ("batch 16, context 128", &["--batch", "16", "-d", "128", "-p", "0", "-n", "32"]),
];

/// From the words after `bench-engine`.
pub(crate) fn run_with(words: &[&str]) -> Option<Result<String>> {
    let (tools, models, pairs) = match words {
        [tools, q4_1, q8_0] => (tools, [*q4_1, *q8_0], LEAST_PAIRS),
        [tools, q4_1, q8_0, pairs] => (tools, [*q4_1, *q8_0], pairs.parse().ok()?),
        _ => return None,
    };
    (pairs >= LEAST_PAIRS).then(|| run(tools, models, pairs))
}

fn run(tools: &str, models: [&str; 2], pairs: usize) -> Result<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--quiet", "-p", "loadline-cli"]);
    ensure!(cargo.current_dir(workspace::root()).status()?.success(), "the release build failed");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace::root().join("target"), PathBuf::from);
    let scratch = std::env::temp_dir().join(format!("loadline-engine-{}", std::process::id()));
    let bench = Bench { loadline: target.join("release/loadline"), scratch };
    let mut table = String::from("| figure | pairs | ratio of means | 95 % |\n|---|---|---|---|\n");
    for (name, cell) in CELLS {
        let ours = [&models[..1], cell].concat();
        let theirs = [&models[..1], cell, &["--with", tools]].concat();
        bench.rows(&mut table, &format!("embedded / tools: {name}"), &ours, &theirs, pairs)?;
    }
    for (real, weights) in models.iter().zip(["q4_1", "q8_0"]) {
        let made = format!("made:smollm2-135m:{weights}");
        let cell = CELLS[0].1;
        let (a, b) = ([&[made.as_str()], cell].concat(), [&[*real], cell].concat());
        bench.rows(&mut table, &format!("made / real, {weights}"), &a, &b, pairs)?;
    }
    let _ = fs::remove_dir_all(&bench.scratch);
    Ok(table)
}

struct Bench {
    loadline: PathBuf,
    scratch: PathBuf,
}

impl Bench {
    /// Rows of a table: ratios of both rates over so many pairs.
    fn rows(
        &self,
        table: &mut String,
        name: &str,
        a: &[&str],
        b: &[&str],
        pairs: usize,
    ) -> Result<()> {
        let (mut prompt, mut decode) = (Vec::new(), Vec::new());
        for (mine, theirs) in in_turns(pairs, || self.rates(a), || self.rates(b))? {
            prompt.extend(mine.0.zip(theirs.0).map(|(a, b)| a / b));
            decode.extend(mine.1.zip(theirs.1).map(|(a, b)| a / b));
        }
        for (what, ratios) in [("prompts", prompt), ("generation", decode)] {
            if let Some((mean, low, high)) = interval(&ratios) {
                let n = ratios.len();
                table.push_str(&format!(
                    "| {name}, {what} | {n} | {mean:.3} | {low:.3}–{high:.3} |\n"
                ));
                eprintln!("{name}, {what}: {mean:.3} ({low:.3}–{high:.3})");
            }
        }
        Ok(())
    }

    /// Prompt and generated tokens/s of one trial.
    fn rates(&self, arguments: &[&str]) -> Result<(Option<f64>, Option<f64>)> {
        let output = Command::new(&self.loadline)
            .arg("engine")
            .args(arguments)
            .args(["-r", "1", "--no-memory-bandwidth", "--json", "--out"])
            .arg(&self.scratch)
            .stderr(Stdio::null())
            .output()?;
        let document: Value = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("loadline engine {arguments:?} ended with {}", output.status)
        })?;
        let rate = |name: &str| document["engine"][0][name]["value"].as_f64();
        Ok((rate("prompt_tokens_per_s"), rate("decode_tokens_per_s")))
    }
}
