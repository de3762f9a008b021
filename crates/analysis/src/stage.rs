//! The document: the points of every stage, with what is known about the stage and the run.

use loadline_schema::SCHEMA_VERSION;
use loadline_schema::document::{Document, Engine, Point, RunSummary, Selftest, Serving};
use loadline_schema::event::Warning;
use loadline_schema::plan::{Load, ServingStage};

use crate::input::{StageInput, without_repeats};

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
    stages: Vec<StageResult<'_>>,
    selftest: Option<Selftest>,
    warnings: Vec<Warning>,
) -> Document {
    let of_stages = stages.iter().flat_map(|s| stage_warnings(s.input.stage));
    let warnings = without_repeats(of_stages.chain(warnings).collect());
    Document {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run,
        serving: stages.into_iter().map(serving).collect(),
        selftest,
        warnings,
    }
}

fn serving(result: StageResult<'_>) -> Serving {
    let StageInput { stage, facts, calibration, .. } = result.input;
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
        points: result.points,
    }
}

/// What holds for every point of a stage.
fn stage_warnings(stage: &ServingStage) -> Vec<Warning> {
    let name = &stage.name;
    let mut warnings = Vec::new();
    if stage.points.iter().any(|p| matches!(p, Load::Closed { .. })) {
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
}
