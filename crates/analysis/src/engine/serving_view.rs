//! Cells of an engine seen as points of a stage, for what is the same for both: comparing runs, and
//! what a cost rests on.

use loadline_schema::cost::CostPlan;
use loadline_schema::document::{
    Document, Engine, EngineResult, EngineSummary, Point, PointLoad, Serving,
};
use loadline_schema::engine::{EngineCell, EngineStage};
use loadline_schema::verdict::{CostReport, Figure};

use super::throughput;
use crate::cost::{CostBasis, cost_report};

/// The document with a serving stage for each engine stage, whose points are its cells.
pub(crate) fn with_engines(document: &Document) -> Document {
    let mut document = document.clone();
    let views: Vec<Serving> =
        document.engine_stages.iter().map(|stage| view(stage, &document.engine)).collect();
    document.serving.splice(0..0, views);
    document
}

fn view(stage: &EngineSummary, all: &[EngineResult]) -> Serving {
    let cells: Vec<&EngineResult> = all.iter().filter(|cell| cell.stage == stage.stage).collect();
    let settings: Vec<&EngineCell> = cells.iter().map(|cell| &cell.cell).collect();
    let points = cells.iter().filter(|cell| cell.trials > 0).map(|cell| Point {
        load: load(&cell.cell, &settings),
        trials: cell.trials,
        trials_planned: cell.trials_planned,
        per_trial: cell.per_trial.clone(),
        ..Point::default()
    });
    let facts = stage.facts.as_ref();
    Serving {
        stage: stage.stage.clone(),
        engine: facts.map(|f| Engine { name: f.name.clone(), version: f.version.clone() }),
        model: facts.map(|facts| {
            let quantization = facts.model.quantization.as_deref().unwrap_or_default();
            format!("{} {quantization}", facts.model.name).trim_end().to_owned()
        }),
        points: points.collect(),
        ..Serving::default()
    }
}

/// A cell by its work, and by the settings that vary among its neighbours: what is the same for a
/// whole run (threads, layers on the GPU) is the configuration that a comparison is about.
fn load(cell: &EngineCell, all: &[&EngineCell]) -> PointLoad {
    let place = cell.place(all.iter().copied());
    let work = format!("prompt {}, output {}", cell.prompt_tokens, cell.output_tokens);
    setting(if place.contains("prompt") && place.contains("output") {
        place
    } else {
        format!("{place}, {work}")
    })
}

fn setting(words: String) -> PointLoad {
    PointLoad { setting: Some(words), arrival: "engine".to_owned(), ..PointLoad::default() }
}

/// What the cost rests on at the cell with the most generated tokens/s.
pub(super) fn cost_of(
    plan: &CostPlan,
    stage: &EngineStage,
    results: &[EngineResult],
) -> Option<CostReport> {
    let settings: Vec<&EngineCell> = results.iter().map(|result| &result.cell).collect();
    let rated = results.iter().filter_map(|result| Some((result.decode_tokens_per_s?, result)));
    let (rate, best) = rated.reduce(|a, b| if b.0.value > a.0.value { b } else { a })?;
    let index = stage.cells.iter().position(|cell| *cell == best.cell)?;
    let (prompt, output) = (f64::from(best.cell.prompt_tokens), f64::from(best.cell.output_tokens));
    let mut yields = throughput(&best.cell, best.prompt_tokens_per_s, Some(rate));
    // An API is paid for whole answers: prompt and generation one after the other.
    yields.requests_per_s = yields.total_tokens_per_s.map_or(0.0, |t| t / (prompt + output));
    let mut basis = CostBasis {
        load: setting(best.cell.place(settings.iter().copied())),
        index,
        throughput: yields,
        input_tokens: Some(prompt),
        output_tokens: Some(output),
        tokens_are_stated: false,
        power: None,
        measured: Vec::new(),
    };
    let is_rate = |figure: &Figure| figure.name.ends_with("tokens_per_s");
    let figures = basis.figures().into_iter().filter(is_rate);
    basis.measured = figures
        .map(|figure| match figure.name.as_str() {
            "output_tokens_per_s" => Figure { low: rate.low, high: rate.high, ..figure },
            _ => figure,
        })
        .collect();
    cost_report(plan, &basis)
}
