//! The document: the points of every stage, with what is known about the stage and the run.

use loadline_schema::SCHEMA_VERSION;
use loadline_schema::document::{
    Document, Engine, EngineResult, EngineSummary, Point, RunSummary, Selftest, Serving,
    StorageResult, StorageSummary,
};
use loadline_schema::event::Warning;
use loadline_schema::plan::{Find, Load, ServingStage};
use loadline_schema::sla::Sla;

use crate::cost::price_serving;
use crate::input::{StageInput, without_repeats};
use crate::load_line::load_lines;
use crate::observed::{observer_warnings, stage_observed};
use crate::trade_off::relate;

/// A stage with its analysed points.
pub struct StageResult<'a> {
    /// What is known about it.
    pub input: StageInput<'a>,
    /// Its points in plan order.
    pub points: Vec<Point>,
}

/// The whole document. `warnings` are those of the run's events; those of the stages go before.
pub fn document(
    run: RunSummary,
    engines: Vec<(EngineSummary, Vec<EngineResult>)>,
    storages: Vec<(StorageSummary, Vec<StorageResult>)>,
    stages: Vec<StageResult<'_>>,
    selftest: Option<Selftest>,
    warnings: Vec<Warning>,
) -> Document {
    let mut all: Vec<Warning> = stages.iter().flat_map(|s| stage_warnings(s.input.stage)).collect();
    let targets = stages.iter().flat_map(|s| s.input.sla);
    let texts = |sla: &Sla| sla.terms.iter().map(ToString::to_string).collect();
    let sla = targets.map(|sla| (sla.name.clone(), texts(sla))).collect();
    let mut priced = Vec::with_capacity(stages.len());
    for result in stages {
        let StageInput { stage, cost, .. } = result.input;
        let mut serving = serving(result);
        relate(&mut serving);
        all.extend(serving.observed.iter().flat_map(observer_warnings));
        if let Some(plan) = cost {
            all.extend(price_serving(&mut serving, plan, &stage.points));
        }
        priced.push(serving);
    }
    let warnings = without_repeats(all.into_iter().chain(warnings).collect());
    let (engine_stages, cells): (Vec<_>, Vec<_>) = engines.into_iter().unzip();
    let (storage_stages, storage_cells): (Vec<_>, Vec<_>) = storages.into_iter().unzip();
    Document {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: Some(run),
        sla,
        serving: priced,
        engine: cells.into_iter().flatten().collect(),
        engine_stages,
        storage: storage_cells.into_iter().flatten().collect(),
        storage_stages,
        selftest,
        warnings,
        ..Document::default()
    }
}

fn serving(result: StageResult<'_>) -> Serving {
    let StageInput { stage, facts, calibration, observed, .. } = result.input;
    let engine =
        facts.and_then(|f| Some(Engine { name: f.engine.clone()?, version: f.version.clone() }));
    Serving {
        stage: stage.name.clone(),
        endpoint: stage.endpoints.iter().map(|url| masked(url)).collect(),
        api: stage.api.to_string(),
        engine,
        model: facts.and_then(|f| f.model.clone()).or_else(|| stage.model.clone()),
        template_tokens: calibration.and_then(|c| c.template_tokens),
        insecure: stage.insecure,
        searched: stage.find.is_some(),
        load_line: load_lines(&result.points),
        points: result.points,
        observed: observed.map(stage_observed),
        ..Serving::default()
    }
}

/// What holds for every point of a stage.
fn stage_warnings(stage: &ServingStage) -> Vec<Warning> {
    let name = &stage.name;
    let mut warnings = Vec::new();
    let closed = stage.points.iter().any(|p| matches!(p, Load::Closed { .. }));
    if closed || matches!(stage.find, Some(Find::Concurrency { .. })) {
        warnings.push(Warning::new(
            "closed_loop_hides_queueing",
            format!(
                "{name}: a closed loop sends when an answer has ended, so it cannot show the \
                     wait of users who do not hold back"
            ),
            "offer a rate (--rate) to see latency with queueing",
        ));
    }
    if stage.insecure {
        warnings.push(Warning::new(
            "insecure_tls",
            format!("{name}: certificates were not checked"),
            "give the certificate authority's file instead",
        ));
    }
    if stage.endpoints.iter().any(|url| is_loopback(url)) {
        warnings.push(Warning::new(
            "target_shares_machine",
            format!("{name}: the client and the target share this machine"),
            "the client takes cores and memory bandwidth from the target: \
             pin them to different cores, or run the client elsewhere",
        ));
    }
    warnings
}

/// The address without user, password and query, which may hold keys.
fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(s, r)| (s, r));
    let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_at);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = path.split(['?', '#']).next().unwrap_or("");
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}")
}

fn is_loopback(url: &str) -> bool {
    let url = masked(url);
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or("");
    host.starts_with("127.")
        || host.starts_with("[::1]")
        || host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().starts_with("localhost:")
        || url.starts_with("unix:")
        || url.starts_with("embedded:")
}
