//! Runs made up for comparisons: a server whose trials vary as those of real ones do.

use std::collections::BTreeMap;

use loadline_analysis::CompareSubject;
use loadline_schema::document::{Document, Point, PointLoad, RunSummary, Serving, Tokens};
use loadline_schema::manifest::RunStatus;
use loadline_schema::observe::ObservePlan;
use loadline_schema::plan::{Load, Plan, ServingStage, Stage};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution as _, StandardNormal, Uniform};

/// Figures of the trials of one point, by metric.
pub(crate) type PerTrial = Vec<BTreeMap<String, f64>>;

/// A run: its document and the plan that it followed.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) document: Document,
    pub(crate) plan: Plan,
}

impl Run {
    /// A run of the stage with these points, by concurrency.
    pub(crate) fn new(stage: &ServingStage, id: &str, points: Vec<(u64, PerTrial)>) -> Self {
        let loads =
            points.iter().map(|(concurrency, _)| Load::Closed { concurrency: *concurrency });
        let stage = ServingStage { points: loads.collect(), ..stage.clone() };
        let serving = Serving {
            stage: stage.name.clone(),
            model: Some("llama".into()),
            endpoint: stage.endpoints.clone(),
            api: stage.api.to_string(),
            points: points.into_iter().map(point).collect(),
            ..Serving::default()
        };
        let run = RunSummary {
            id: id.into(),
            name: "made".into(),
            directory: format!("runs/{id}"),
            started: "2026-11-24T10:15:00Z".into(),
            status: RunStatus::Sealed,
            seed: 1,
            hosts: Vec::new(),
        };
        let document = Document { run: Some(run), serving: vec![serving], ..Document::default() };
        let stages = vec![Stage::Serving(Box::new(stage))];
        let plan = Plan {
            name: "made".into(),
            seed: 1,
            sla: Vec::new(),
            cost: None,
            observe: ObservePlan::off(),
            stages,
        };
        Self { document, plan }
    }

    pub(crate) fn subject(&self) -> CompareSubject<'_> {
        CompareSubject { document: &self.document, plan: &self.plan }
    }

    pub(crate) fn point(&mut self, index: usize) -> &mut Point {
        &mut self.document.serving[0].points[index]
    }

    pub(crate) fn stage(&mut self) -> &mut ServingStage {
        let Stage::Serving(stage) = &mut self.plan.stages[0] else {
            unreachable!("the plan was made with a serving stage")
        };
        stage
    }
}

fn point((concurrency, per_trial): (u64, PerTrial)) -> Point {
    Point {
        load: PointLoad {
            concurrency: Some(concurrency),
            arrival: "closed".into(),
            ..PointLoad::default()
        },
        trials: per_trial.len() as u32,
        trials_planned: per_trial.len() as u32,
        tokens: Some(Tokens {
            input: Some(512.0),
            output: Some(64.0),
            reasoning: None,
            cached: None,
            output_total: 64_000,
            input_total: None,
            source: "usage".into(),
            per_chunk: None,
        }),
        per_trial,
        ..Point::default()
    }
}

/// How the trials of a server vary.
#[derive(Clone, Copy)]
pub(crate) struct Noise {
    /// Each trial by itself, standard deviation of the logarithm of its speed.
    pub(crate) trial: f64,
    /// Step of a random walk from each trial to the next, which neighbours share.
    pub(crate) step: f64,
}

/// A server: half its time is the prompt's, half the tokens'.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    pub(crate) ttft_ns: f64,
    pub(crate) itl_ns: f64,
}

pub(crate) const SERVER: Server = Server { ttft_ns: 4e8, itl_ns: 2e7 };

const REQUESTS: usize = 200;
const GAPS: usize = 1_000;
const TOKENS: f64 = 64.0;

/// One after the other, trials of the servers named by `order`; each trial of 200 requests.
pub(crate) fn measured(
    seed: u64,
    servers: &[Server],
    order: &[usize],
    concurrency: u64,
    noise: Noise,
) -> Vec<PerTrial> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drift = 0.0;
    let mut sides: Vec<PerTrial> = vec![Vec::new(); servers.len()];
    for side in order {
        drift += noise.step * normal(&mut rng);
        let slow = (drift + noise.trial * normal(&mut rng)).exp();
        sides[*side].push(trial(&mut rng, servers[*side], slow, concurrency));
    }
    sides
}

fn trial(rng: &mut ChaCha8Rng, server: Server, slow: f64, load: u64) -> BTreeMap<String, f64> {
    let around = |rng: &mut ChaCha8Rng, median: f64, sigma: f64| {
        (median * slow * (sigma * normal(rng)).exp()).round()
    };
    let mut ttft: Vec<f64> = (0..REQUESTS).map(|_| around(rng, server.ttft_ns, 0.3)).collect();
    let mut itl: Vec<f64> = (0..GAPS).map(|_| around(rng, server.itl_ns, 0.1)).collect();
    let mut e2e: Vec<f64> =
        ttft.iter().map(|first| first + TOKENS * around(rng, server.itl_ns, 0.02)).collect();
    let mean = e2e.iter().sum::<f64>() / e2e.len() as f64;
    let per_s = load as f64 * 1e9 / mean;
    let share = Uniform::new(0.0, 1.0).expect("a range");
    let failed = (0..REQUESTS).filter(|_| share.sample(rng) < 0.002).count();
    let mut figures = BTreeMap::from([
        ("attempts".to_owned(), REQUESTS as f64),
        ("requests_per_s".to_owned(), per_s),
        ("output_tokens_per_s".to_owned(), per_s * TOKENS),
        ("error_rate".to_owned(), failed as f64 / REQUESTS as f64),
    ]);
    for (name, values) in [("ttft", &mut ttft), ("itl", &mut itl), ("e2e", &mut e2e)] {
        values.sort_by(f64::total_cmp);
        for (statistic, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let rank = (values.len() as f64 * share).ceil() as usize;
            figures.insert(format!("{name}_{statistic}"), values[rank - 1]);
        }
    }
    figures
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}
