//! `cargo xtask bench-observers`: load with observers beside the same load without, in turns, at 256
//! streams on the server with known timing; and what the observers themselves take.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench_judge::{Programs, Server};
use crate::paired::{LEAST_PAIRS, in_turns, interval, median};

/// Streams at once.
const STREAMS: &str = "256";

/// Laws of the server: what the row is called, and the law.
const LAWS: [(&str, &[&str]); 2] = [
    ("100 tokens/s a stream", &["ttft_us=50000", "itl_us=10000", "tokens=100"]),
    ("500 tokens/s a stream", &["ttft_us=50000", "itl_us=2000", "tokens=100"]),
];

/// From the words after `bench-observers`: pairs.
pub(crate) fn run_with(words: &[&str]) -> Option<Result<String>> {
    let pairs = match words {
        [] => LEAST_PAIRS,
        [pairs] => pairs.parse().ok()?,
        _ => return None,
    };
    Some(run(pairs))
}

/// One run.
struct Figures {
    requests_per_s: f64,
    gap_p99_ns: f64,
    /// CPU time of all observers ÷ time: share of a core.
    cpu_ratio: f64,
}

fn run(pairs: usize) -> Result<String> {
    let programs = Programs::build()?;
    let mut table = String::from(
        "| 256 streams | requests/s, on ÷ off | P99 gap, on ÷ off | CPU of the observers |\n\
         |---|---|---|---|\n",
    );
    for (name, law) in LAWS {
        let results = in_turns(
            pairs,
            || figures(&programs, law, &[]),
            || figures(&programs, law, &["--no-observe"]),
        )?;
        let ratio = |of: fn(&Figures) -> f64| {
            let ratios: Vec<f64> = results.iter().map(|(on, off)| of(on) / of(off)).collect();
            let found = interval(&ratios);
            found
                .map_or("–".into(), |(mean, low, high)| format!("{mean:.4} ({low:.4}–{high:.4})"))
        };
        let cpu: Vec<f64> = results.iter().map(|(on, _)| on.cpu_ratio).collect();
        let cpu =
            median(&cpu).map_or("–".into(), |cpu| format!("{:.2} % of a core", 100.0 * cpu));
        let row = format!(
            "| {name} | {} | {} | {cpu} |\n",
            ratio(|f| f.requests_per_s),
            ratio(|f| f.gap_p99_ns)
        );
        // Each row took minutes: it is shown as soon as it is there.
        eprint!("{row}");
        table.push_str(&row);
    }
    let _ = fs::remove_dir_all(programs.scratch());
    Ok(table)
}

fn figures(programs: &Programs, law: &[&str], more: &[&str]) -> Result<Figures> {
    let server = Server::start(programs, law)?;
    let load = ["--concurrency", STREAMS, "--duration", "5s", "--trials", "1", "--warmup", "2s"];
    let tokens = ["--prompt-tokens", "64", "--output-tokens", "100"];
    let arguments = [&["serving", server.url()][..], &load, &tokens, more].concat();
    let document = programs.document(&arguments)?;
    let point = &document["serving"][0]["points"][0];
    let number = |value: &Value, what: &str| {
        value.as_f64().with_context(|| format!("{what} is missing: {}", point["warnings"]))
    };
    let observers = document["serving"][0]["observed"]["observers"].as_array();
    let cpu = observers.into_iter().flatten().filter_map(|one| one["cpu_ratio"].as_f64());
    Ok(Figures {
        requests_per_s: number(&point["requests_per_s"]["value"], "requests/s")?,
        gap_p99_ns: number(&point["itl_ns"]["p99"], "the P99 gap")?,
        cpu_ratio: cpu.sum(),
    })
}
