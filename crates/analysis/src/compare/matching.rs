//! Which points of two runs belong together, and in what the runs differ.

use loadline_schema::document::{Document, Point, PointLoad, Serving};
use loadline_schema::gate::{MetricKind, TrialMetric};
use loadline_schema::plan::{Arrival, Extent, Find, Load, Output, Plan, Prompt, ServingStage};

use crate::compare::CompareSubject;
use crate::storage::{self, STORAGE};

/// Largest difference of mean token lengths, as a ratio, at which the work is still the same.
const TOKENS_APART: f64 = 0.02;

/// A point of both runs.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// The baseline's stage.
    pub(crate) stage: &'a str,
    /// Whether the runs have several stages, so that a load alone does not name a point.
    one_of_many: bool,
    /// The candidate's stage.
    other_stage: &'a str,
    pub(crate) baseline: &'a Point,
    pub(crate) candidate: &'a Point,
}

impl Pair<'_> {
    /// What kind of figures it has.
    pub(crate) fn kind(&self) -> MetricKind {
        match &self.baseline.load {
            load if load.setting.is_none() => MetricKind::Load,
            load if load.arrival == STORAGE => MetricKind::Storage,
            _ => MetricKind::Engine,
        }
    }

    /// Whether a trial of either side has this figure.
    pub(crate) fn has(&self, metric: TrialMetric) -> bool {
        let name = metric.to_string();
        let trials = self.baseline.per_trial.iter().chain(&self.candidate.per_trial);
        trials.into_iter().any(|trial| trial.contains_key(&name))
    }

    /// "concurrency 16", with the stage where there are several.
    pub(crate) fn name(&self) -> String {
        place(self.stage, self.one_of_many, &self.baseline.load)
    }
}

/// What two runs have in common, and what not.
#[derive(Default)]
pub(crate) struct Matched<'a> {
    pub(crate) pairs: Vec<Pair<'a>>,
    /// Points that only one side has.
    pub(crate) unmatched: Vec<String>,
    stages: Vec<(&'a Serving, &'a Serving)>,
}

/// Stages match by name, or, where no name is the same, by their place; points by their load.
pub(crate) fn matched<'a>(baseline: &'a Document, candidate: &'a Document) -> Matched<'a> {
    let mut found = Matched::default();
    let one_of_many = baseline.serving.len() > 1 || candidate.serving.len() > 1;
    let by_name =
        |stage: &Serving| candidate.serving.iter().position(|other| other.stage == stage.stage);
    let any_name = baseline.serving.iter().any(|stage| by_name(stage).is_some());
    let mut left: Vec<usize> = (0..candidate.serving.len()).collect();
    for (place, stage) in baseline.serving.iter().enumerate() {
        let partner = if any_name { by_name(stage) } else { Some(place) };
        let partner = partner.filter(|index| left.contains(index));
        let Some(index) = partner else {
            found.only_in("baseline", stage, &[], one_of_many);
            continue;
        };
        left.retain(|other| *other != index);
        found.stage(stage, &candidate.serving[index], one_of_many);
    }
    for index in left {
        found.only_in("candidate", &candidate.serving[index], &[], one_of_many);
    }
    found
}

impl<'a> Matched<'a> {
    fn stage(&mut self, baseline: &'a Serving, candidate: &'a Serving, one_of_many: bool) {
        self.stages.push((baseline, candidate));
        let mut taken = Vec::new();
        for point in &baseline.points {
            let same = |(index, other): &(usize, &Point)| {
                same_load(&point.load, &other.load) && !taken.contains(index)
            };
            if let Some((index, other)) = candidate.points.iter().enumerate().find(same) {
                taken.push(index);
                self.pairs.push(Pair {
                    stage: &baseline.stage,
                    one_of_many,
                    other_stage: &candidate.stage,
                    baseline: point,
                    candidate: other,
                });
            }
        }
        let partners: Vec<&PointLoad> = taken.iter().map(|i| &candidate.points[*i].load).collect();
        self.only_in("baseline", baseline, &partners, one_of_many);
        self.only_in("candidate", candidate, &partners, one_of_many);
    }

    fn only_in(&mut self, side: &str, stage: &Serving, but: &[&PointLoad], one_of_many: bool) {
        let points = stage.points.iter().map(|point| &point.load);
        let alone = points.filter(|load| !but.iter().any(|other| same_load(load, other)));
        self.unmatched.extend(
            alone.map(|load| format!("{side}: {}", place(&stage.stage, one_of_many, load))),
        );
    }
}

/// The same amount of load; the law of arrivals is a setting, and compared as such.
fn same_load(a: &PointLoad, b: &PointLoad) -> bool {
    (a.concurrency, a.rate_per_s, a.burst, &a.setting)
        == (b.concurrency, b.rate_per_s, b.burst, &b.setting)
}

fn place(stage: &str, one_of_many: bool, load: &PointLoad) -> String {
    let load = match (load.concurrency, load.rate_per_s, load.burst) {
        _ if load.setting.is_some() => load.setting.clone().unwrap_or_default(),
        (Some(n), _, _) => format!("concurrency {n}"),
        (None, Some(rate), _) => format!("{rate} requests/s"),
        (None, None, Some(n)) => format!("a burst of {n}"),
        (None, None, None) => "an unknown load".to_owned(),
    };
    if one_of_many { format!("{stage}, {load}") } else { load }
}

/// In what two runs differ, one sentence each.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    /// What makes their figures mean different things: no comparison without the user's word.
    pub(crate) grave: Vec<String>,
    /// What a reader wants to know.
    pub(crate) told: Vec<String>,
}

/// Every difference that is known.
pub(crate) fn differences(
    baseline: CompareSubject<'_>,
    candidate: CompareSubject<'_>,
    found: &Matched<'_>,
    with_paths: bool,
) -> Differences {
    let mut all = Differences::default();
    for (a, b) in &found.stages {
        all.of_targets(a, b);
        if let (Some(a), Some(b)) = (stage(baseline.plan, a), stage(candidate.plan, b)) {
            all.grave.extend(settings(a, b));
        }
    }
    for pair in &found.pairs {
        all.of_tokens(pair);
        let sides = ((baseline.document, pair.stage), (candidate.document, pair.other_stage));
        let of_cells = storage::differences(sides.0, sides.1, &pair.baseline.load, with_paths);
        let (grave, told) = of_cells.unwrap_or_default();
        all.grave.extend(grave);
        all.told.extend(told);
    }
    let limited = |side: &dyn Fn(&Pair<'_>) -> bool| -> String {
        let places = found.pairs.iter().filter(|pair| side(pair)).map(Pair::name);
        places.collect::<Vec<_>>().join(", ")
    };
    for (side, places) in [
        ("baseline", limited(&|pair| pair.baseline.client.limited)),
        ("candidate", limited(&|pair| pair.candidate.client.limited)),
    ] {
        if !places.is_empty() {
            all.told.push(format!("the client itself was a limit of the {side} at {places}"));
        }
    }
    let machine = |document: &Document| {
        let hosts = document.run.as_ref().map(|run| run.hosts.as_slice()).unwrap_or_default();
        let named = hosts.iter().map(|h| format!("{} ({} cores)", h.name, h.cores));
        named.collect::<Vec<_>>().join(", ")
    };
    all.tell("client", &machine(baseline.document), &machine(candidate.document));
    let versions = (&baseline.document.tool_version, &candidate.document.tool_version);
    all.tell("version of Loadline", versions.0, versions.1);
    all
}

fn stage<'a>(plan: &'a Plan, of: &Serving) -> Option<&'a ServingStage> {
    let mut stages = plan.serving().map(|(_, stage)| stage);
    stages.find(|stage| stage.name == of.stage)
}

impl Differences {
    fn tell(&mut self, what: &str, baseline: &str, candidate: &str) {
        if baseline != candidate {
            self.told.push(sentence(what, baseline, candidate));
        }
    }

    fn of_targets(&mut self, a: &Serving, b: &Serving) {
        let model = |stage: &Serving| stage.model.clone().unwrap_or_else(|| "unnamed".to_owned());
        if model(a) != model(b) {
            self.grave.push(sentence("model", &model(a), &model(b)));
        }
        let engine = |stage: &Serving| match &stage.engine {
            Some(engine) => {
                format!("{} {}", engine.name, engine.version.as_deref().unwrap_or_default())
                    .trim_end()
                    .to_owned()
            }
            None => "unknown".to_owned(),
        };
        self.tell("engine", &engine(a), &engine(b));
        self.tell("endpoint", &a.endpoint.join(", "), &b.endpoint.join(", "));
    }

    fn of_tokens(&mut self, pair: &Pair<'_>) {
        let mean = |point: &Point, input: bool| {
            let tokens = point.tokens.as_ref()?;
            if input { tokens.input } else { tokens.output }
        };
        for (what, input) in [("prompt", true), ("output", false)] {
            let lengths = (mean(pair.baseline, input), mean(pair.candidate, input));
            let (Some(a), Some(b)) = lengths else { continue };
            if (b - a).abs() > TOKENS_APART * a.min(b) {
                let what = format!("mean {what} length at {}", pair.name());
                let tokens = |n: f64| format!("{n:.1} tokens");
                self.grave.push(sentence(&what, &tokens(a), &tokens(b)));
            }
        }
    }
}

/// Settings of the plan that decide what is measured.
fn settings(a: &ServingStage, b: &ServingStage) -> Vec<String> {
    let of = |stage: &ServingStage| {
        [
            ("API", stage.api.to_string()),
            ("prompt", prompt(&stage.prompt)),
            ("output", output(stage.output)),
            ("extent", extent(stage.extent).to_owned()),
            ("arrival", arrival(stage)),
            ("think time", format!("{} ns", stage.think_time_ns)),
            ("retries", stage.retries.to_string()),
            ("extra body", extra_body(stage)),
        ]
    };
    of(a)
        .into_iter()
        .zip(of(b))
        .filter(|((_, of_a), (_, of_b))| of_a != of_b)
        .map(|((what, of_a), (_, of_b))| sentence(what, &of_a, &of_b))
        .collect()
}

fn prompt(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Synthetic { tokens, shared_prefix } => {
            format!("{tokens} tokens, {shared_prefix} of them shared")
        }
        Prompt::File { path } => path.clone(),
    }
}

fn output(output: Output) -> String {
    let Output { tokens, ignore_eos } = output;
    format!("{tokens} tokens{}", if ignore_eos { ", held" } else { "" })
}

/// Members in the order of their names, whatever order the plan has them in.
fn extra_body(stage: &ServingStage) -> String {
    let Some(members) = &stage.extra_body else { return "none".to_owned() };
    let mut told: Vec<String> = members.iter().map(|(name, v)| format!("{name} = {v}")).collect();
    told.sort_unstable();
    told.join(", ")
}

fn extent(extent: Extent) -> &'static str {
    match extent {
        Extent::Requests { .. } => "a number of requests",
        Extent::Duration { .. } => "a duration",
    }
}

/// The law of the times at which requests are due.
fn arrival(stage: &ServingStage) -> String {
    let law = |arrival: Arrival| match arrival {
        Arrival::Constant => "constant".to_owned(),
        Arrival::Poisson => "poisson".to_owned(),
        Arrival::Gamma { shape } => format!("gamma of shape {shape}"),
    };
    let of_points = stage.points.first().map(|load| match load {
        Load::Closed { .. } => "closed loop".to_owned(),
        Load::Open { arrival, .. } => law(*arrival),
        Load::Burst { .. } => "bursts".to_owned(),
    });
    of_points.unwrap_or_else(|| match stage.find {
        Some(Find::Rate { arrival, .. }) => law(arrival),
        Some(Find::Concurrency { .. }) | None => "closed loop".to_owned(),
    })
}

fn sentence(what: &str, baseline: &str, candidate: &str) -> String {
    format!("{what}: {} in the baseline, {} in the candidate", told(baseline), told(candidate))
}

/// A setting short enough for a sentence.
fn told(text: &str) -> String {
    if text.is_empty() {
        return "none".to_owned();
    }
    if text.chars().count() <= 120 {
        return text.to_owned();
    }
    text.chars().take(119).chain(['…']).collect()
}
