//! The cells of an engine stage: rates over trials, how much of the memory bandwidth generation
//! takes, what disturbed a cell, what it costs.

use std::collections::BTreeMap;

use loadline_schema::cost::CostPlan;
use loadline_schema::document::{EngineResult, EngineSummary, Estimate};
use loadline_schema::engine::{
    EngineCell, EngineDevice, EngineFacts, EngineStage, EngineTrial, MemoryBandwidth, ModelFacts,
};
use loadline_schema::event::Warning;
use loadline_schema::gate::TrialMetric;

use crate::cost::{Throughput, point_cost};
use crate::student::mean_interval;

mod serving_view;

pub(crate) use serving_view::with_engines;

const NS_PER_S: f64 = 1e9;
/// Standard deviation of a rate over trials, as a share of its mean, beyond which a cell is noisy.
const WIDE_SPREAD: f64 = 0.05;
/// Processors' worth of other work beyond which a cell is noisy.
const BUSY_OTHERS: f64 = 0.1;
/// Share of time taken by the hypervisor beyond which a cell is noisy.
const MUCH_STEAL: f64 = 0.01;
/// Share of the bandwidth beyond which figures come from a cache and not from memory.
const BEYOND_MEMORY: f64 = 1.05;

/// All that is known of an engine stage.
#[derive(Debug, Clone)]
pub struct EngineInput<'a> {
    /// The stage as planned.
    pub stage: &'a EngineStage,
    /// What the engine said; absent where it never started.
    pub facts: Option<&'a EngineFacts>,
    /// Memory bandwidth of the machine.
    pub bandwidth: Option<&'a MemoryBandwidth>,
    /// Trials by cell, in order.
    pub trials: BTreeMap<u16, Vec<EngineTrial>>,
    /// Cells that could not be measured, and why.
    pub failed: BTreeMap<u16, String>,
    /// Processors of the machine.
    pub cores: Option<u32>,
    /// What cells are priced with.
    pub cost: Option<&'a CostPlan>,
}

/// A stage and its cells in the order of the grid; cells without a trial and without a failure
/// (not reached) are left out.
pub fn engine_results(input: &EngineInput<'_>) -> (EngineSummary, Vec<EngineResult>) {
    let cells = (0..).zip(&input.stage.cells);
    let results = cells.filter_map(|(index, cell)| {
        let trials = input.trials.get(&index).map_or(&[][..], Vec::as_slice);
        let failed = input.failed.get(&index);
        let is_known = !trials.is_empty() || failed.is_some();
        is_known.then(|| result(input, usize::from(index), cell, trials, failed))
    });
    let results = results.collect::<Vec<_>>();
    let summary = EngineSummary {
        stage: input.stage.name.clone(),
        facts: input.facts.cloned(),
        memory_bandwidth: input.bandwidth.cloned(),
        cost: input.cost.and_then(|plan| serving_view::cost_of(plan, input.stage, &results)),
        imported: input.stage.imported.is_some(),
    };
    (summary, results)
}

fn result(
    input: &EngineInput<'_>,
    index: usize,
    cell: &EngineCell,
    trials: &[EngineTrial],
    failed: Option<&String>,
) -> EngineResult {
    let prompt: Vec<f64> = rates(trials, |t| (t.prompt_tokens, t.prompt_ns));
    let decode: Vec<f64> = rates(trials, |t| (t.decode_tokens, t.decode_ns));
    let (prompt_rate, decode_rate) = (estimate(&prompt), estimate(&decode));
    let model = input.facts.map(|facts| &facts.model);
    let on_cpu = input.facts.is_some_and(|facts| is_on_cpu(facts, cell));
    let bytes = model
        .filter(|_| on_cpu)
        .zip(decode_rate)
        .and_then(|(model, rate)| bytes_per_s(model, cell, rate.value));
    let read = input.bandwidth.map(|b| b.read_bytes_per_s.max(b.triad_bytes_per_s));
    let mbu = bytes.zip(read.filter(|read| *read > 0.0)).map(|(bytes, read)| bytes / read);
    let mut warnings = disturbances(trials, &prompt, &decode);
    let noisy = !warnings.is_empty();
    warnings.extend(cautions(input, cell, mbu));
    EngineResult {
        stage: input.stage.name.clone(),
        model: model.map_or_else(|| input.stage.model.to_string(), |model| model.name.clone()),
        parameters: model.and_then(|model| model.parameters),
        quantization: model.and_then(|model| model.quantization.clone()),
        cell: cell.clone(),
        trials: trials.len() as u32,
        trials_planned: input.stage.trials,
        decode_tokens_per_s_per_user: decode_rate.map(|rate| rate.value / f64::from(cell.batch)),
        cost: input.cost.and_then(|plan| {
            let throughput = throughput(cell, prompt_rate, decode_rate);
            point_cost(plan, index, &throughput, None).filter(|_| decode_rate.is_some())
        }),
        prompt_tokens_per_s: prompt_rate,
        decode_tokens_per_s: decode_rate,
        memory_bytes: trials.iter().filter_map(|trial| trial.memory_bytes).max(),
        decode_bytes_per_s: bytes,
        per_trial: trials.iter().map(figures).collect(),
        mbu,
        noisy,
        failed: failed.cloned(),
        warnings,
    }
}

/// Tokens/s of the trials that timed this part.
fn rates(trials: &[EngineTrial], part: impl Fn(&EngineTrial) -> (u64, Option<u64>)) -> Vec<f64> {
    let rate = |trial: &EngineTrial| {
        let (tokens, ns) = part(trial);
        let ns = ns.filter(|ns| *ns > 0 && tokens > 0)?;
        Some(tokens as f64 * NS_PER_S / ns as f64)
    };
    trials.iter().filter_map(rate).collect()
}

/// Figures of one trial by metric.
fn figures(trial: &EngineTrial) -> BTreeMap<String, f64> {
    let one = std::slice::from_ref(trial);
    let prompt = rates(one, |t| (t.prompt_tokens, t.prompt_ns));
    let decode = rates(one, |t| (t.decode_tokens, t.decode_ns));
    let of = |metric: TrialMetric, rates: Vec<f64>| {
        rates.into_iter().next().map(|rate| (metric.to_string(), rate))
    };
    let both =
        [of(TrialMetric::PromptTokensPerS, prompt), of(TrialMetric::DecodeTokensPerS, decode)];
    both.into_iter().flatten().collect()
}

/// Mean of the trials' rates, as llama-bench has it, with its t-interval, which ends at 0.
fn estimate(rates: &[f64]) -> Option<Estimate> {
    let (value, half) = mean_interval(rates)?;
    let n = rates.len() as u64;
    Some(Estimate {
        value,
        low: half.map(|h| (value - h).max(0.0)),
        high: half.map(|h| value + h),
        n,
    })
}

/// What a cell yields: it answers no requests.
fn throughput(cell: &EngineCell, prompt: Option<Estimate>, decode: Option<Estimate>) -> Throughput {
    Throughput {
        requests_per_s: 0.0,
        output_tokens_per_s: decode.map(|rate| rate.value),
        total_tokens_per_s: total_rate(cell, prompt, decode),
    }
}

/// Prompt and generated tokens of whole answers per second: (p + n) / (p / pp + n / tg).
fn total_rate(
    cell: &EngineCell,
    prompt: Option<Estimate>,
    decode: Option<Estimate>,
) -> Option<f64> {
    let (p, n) = (f64::from(cell.prompt_tokens), f64::from(cell.output_tokens));
    Some((p + n) / (p / prompt?.value + n / decode?.value))
}

/// Whether no layer can be on a GPU: none was asked for, or there is none.
fn is_on_cpu(facts: &EngineFacts, cell: &EngineCell) -> bool {
    let is_cpu = |device: &EngineDevice| device.name.starts_with("CPU");
    let has_none = !facts.devices.is_empty() && facts.devices.iter().all(is_cpu);
    cell.gpu_layers == 0 || has_none
}

/// Bytes that generation reads per second. A step reads the weights once, and the keys and values of
/// all tokens that each sequence holds by then: context + half of what is generated, on average.
/// Nothing is said of weights on a GPU: their memory is another.
fn bytes_per_s(model: &ModelFacts, cell: &EngineCell, decode_per_s: f64) -> Option<f64> {
    let per_element = f64::midpoint(element_bytes(&cell.type_k)?, element_bytes(&cell.type_v)?);
    let held = f64::from(cell.context) + f64::from(cell.output_tokens) / 2.0;
    let kv = model.kv_elements_per_token? as f64 * per_element * held * f64::from(cell.batch);
    let steps_per_s = decode_per_s / f64::from(cell.batch);
    Some((model.step_bytes? as f64 + kv) * steps_per_s)
}

/// Bytes of an element of a KV cache: ggml's blocks of 32 with their scales.
fn element_bytes(kv_type: &str) -> Option<f64> {
    Some(match kv_type {
        "f32" => 4.0,
        "f16" | "bf16" => 2.0,
        "q8_0" => 34.0 / 32.0,
        "q4_0" | "iq4_nl" => 18.0 / 32.0,
        "q4_1" => 20.0 / 32.0,
        "q5_0" => 22.0 / 32.0,
        "q5_1" => 24.0 / 32.0,
        _ => return None,
    })
}

/// Standard deviation ÷ mean of three values or more.
fn spread(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (values.len() >= 3).then(|| (squares / (n - 1.0)).sqrt() / mean)
}

fn disturbances(trials: &[EngineTrial], prompt: &[f64], decode: &[f64]) -> Vec<Warning> {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let most = |of: fn(&EngineTrial) -> Option<f64>| {
        trials.iter().filter_map(of).max_by(f64::total_cmp).unwrap_or(0.0)
    };
    let mut warnings = Vec::new();
    for (what, rates) in [("prompt processing", prompt), ("generation", decode)] {
        if let Some(spread) = spread(rates).filter(|spread| *spread > WIDE_SPREAD) {
            warnings.push(Warning::new(
                "noisy_spread",
                format!(
                    "{what} varies by {} (standard deviation) from trial to trial",
                    percent(spread)
                ),
                "let nothing else run, fix the clock rate, and measure more trials",
            ));
        }
    }
    let others = most(|trial| trial.others_cpu);
    if others > BUSY_OTHERS {
        warnings.push(Warning::new(
            "noisy_others",
            format!("other processes kept {others:.1} processors busy meanwhile"),
            "stop them, or measure again when the machine is quiet",
        ));
    }
    let steal = most(|trial| trial.steal);
    if steal > MUCH_STEAL {
        warnings.push(Warning::new(
            "noisy_steal",
            format!("the hypervisor took {} of the processors' time", percent(steal)),
            "ask for processors of its own, or repeat at another time",
        ));
    }
    warnings
}

fn cautions(input: &EngineInput<'_>, cell: &EngineCell, mbu: Option<f64>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(cores) = input.cores.filter(|cores| cell.threads > *cores) {
        warnings.push(Warning::new(
            "oversubscribed",
            format!("{} threads on {cores} processors wait for each other", cell.threads),
            "use at most one thread for each processor",
        ));
    }
    let is_cpu = |device: &EngineDevice| device.name.starts_with("CPU");
    let devices = input.facts.map_or(&[][..], |facts| &facts.devices);
    let wanted = cell.gpu_layers > 0 && cell.gpu_layers != EngineCell::AUTO;
    if wanted && !devices.is_empty() && devices.iter().all(is_cpu) {
        warnings.push(Warning::new(
            "no_gpu",
            format!("{} layers were to be on a GPU, and the engine has none", cell.gpu_layers),
            "the CPU computed all of them: build with --features cuda, vulkan, metal or rocm",
        ));
    }
    let weights = input.facts.and_then(|facts| facts.model.step_bytes);
    let cache = input.bandwidth.and_then(|bandwidth| bandwidth.cache_bytes);
    let fit = weights.zip(cache).is_some_and(|(weights, cache)| weights <= cache);
    if mbu.is_some_and(|mbu| mbu > BEYOND_MEMORY || fit) {
        warnings.push(Warning::new(
            "weights_in_cache",
            "the weights fit in the last-level cache, so that they may not come from memory",
            "utilisation of memory bandwidth means something for models larger than the caches",
        ));
    }
    if input.cost.is_some_and(|cost| cost.electricity_per_kwh.is_some() && cost.watts.is_empty()) {
        warnings.push(Warning::new(
            "power_unknown",
            "electricity has no share in the cost of an engine: its power is not measured",
            "state the watts under load (--watts, or watts in [cost])",
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use loadline_schema::engine::{FlashAttention, ModelSource};

    use super::*;

    fn cell(batch: u32, context: u32) -> EngineCell {
        EngineCell {
            batch,
            context,
            prompt_tokens: 100,
            output_tokens: 20,
            threads: 2,
            gpu_layers: 0,
            n_batch: 2048,
            n_ubatch: 512,
            flash_attention: FlashAttention::Auto,
            type_k: "f16".into(),
            type_v: "f16".into(),
        }
    }

    fn stage(cells: Vec<EngineCell>) -> EngineStage {
        EngineStage {
            name: "engine".into(),
            model: ModelSource::from_text("m.gguf"),
            with: None,
            cells,
            trials: 3,
            memory_bandwidth: true,
            imported: None,
        }
    }

    fn trial(prompt_ms: u64, decode_ms: u64, batch: u64) -> EngineTrial {
        EngineTrial {
            prompt_tokens: 100 * batch,
            prompt_ns: Some(prompt_ms * 1_000_000),
            decode_tokens: 20 * batch,
            decode_ns: Some(decode_ms * 1_000_000),
            memory_bytes: Some(prompt_ms),
            ..EngineTrial::default()
        }
    }

    fn facts() -> EngineFacts {
        let model = ModelFacts {
            name: "m".into(),
            step_bytes: Some(1_000_000_000),
            kv_elements_per_token: Some(1_000_000),
            ..ModelFacts::default()
        };
        EngineFacts { model, ..EngineFacts::default() }
    }

    fn one(stage: &EngineStage, trials: Vec<EngineTrial>) -> EngineResult {
        let facts = facts();
        let bandwidth = MemoryBandwidth {
            threads: 2,
            working_set_bytes: 1,
            cache_bytes: Some(1_000_000),
            triad_bytes_per_s: 8e9,
            read_bytes_per_s: 10e9,
        };
        let input = EngineInput {
            stage,
            facts: Some(&facts),
            bandwidth: Some(&bandwidth),
            trials: [(0, trials)].into(),
            failed: BTreeMap::new(),
            cores: Some(2),
            cost: None,
        };
        let (_, mut results) = engine_results(&input);
        results.remove(0)
    }

    #[test]
    fn rates_are_means_over_trials_with_their_interval() {
        let stage = stage(vec![cell(1, 0)]);
        let result = one(&stage, vec![trial(100, 400, 1), trial(125, 400, 1), trial(100, 400, 1)]);
        let prompt = result.prompt_tokens_per_s.expect("timed");
        // 1,000, 800 and 1,000 tokens/s.
        assert!((prompt.value - 933.333_333).abs() < 1e-3);
        // t(2) = 4.3027, s/√3 = 66.67.
        assert!((prompt.value - prompt.low.expect("three") - 286.84).abs() < 0.1);
        let decode = result.decode_tokens_per_s.expect("timed");
        assert_eq!((decode.value, decode.low, decode.n), (50.0, Some(50.0), 3));
        assert_eq!(result.memory_bytes, Some(125));
        assert!(result.noisy);
        assert_eq!(result.warnings[0].code, "noisy_spread");
    }

    #[test]
    fn a_step_reads_the_weights_once_and_the_cache_of_every_sequence() {
        // 20 steps in 4 s: 5 steps/s. 1 GB of weights, and 4 · 110 tokens · 2 MB.
        let stage = stage(vec![cell(4, 100)]);
        let result = one(&stage, vec![trial(100, 4_000, 4)]);
        let bytes = result.decode_bytes_per_s.expect("dense");
        assert!((bytes - 5.0 * (1e9 + 4.0 * 110.0 * 2e6)).abs() < 1.0, "{bytes}");
        assert!((result.mbu.expect("bandwidth") - bytes / 10e9).abs() < 1e-12);
        assert_eq!(result.decode_tokens_per_s_per_user, Some(5.0));
        assert!(!result.noisy && result.warnings.is_empty());
        let on_gpu = EngineCell { gpu_layers: 1, ..cell(4, 100) };
        assert_eq!(one(&self::stage(vec![on_gpu]), vec![trial(100, 4_000, 4)]).mbu, None);
    }

    #[test]
    fn what_disturbed_a_cell_is_named() {
        let busy = EngineTrial { others_cpu: Some(0.6), steal: Some(0.04), ..trial(100, 400, 1) };
        let stage = stage(vec![EngineCell { threads: 8, ..cell(1, 0) }]);
        let result = one(&stage, vec![EngineTrial { decode_ns: None, ..busy }]);
        let codes: Vec<&str> = result.warnings.iter().map(|w| w.code.as_str()).collect();
        assert_eq!(codes, ["noisy_others", "noisy_steal", "oversubscribed"]);
        assert!(result.noisy);
    }

    #[test]
    fn cells_that_were_not_reached_are_absent_and_failures_are_told() {
        let stage = stage(vec![cell(1, 0), cell(4, 0), cell(16, 0)]);
        let input = EngineInput {
            stage: &stage,
            facts: None,
            bandwidth: None,
            trials: [(0, vec![trial(100, 400, 1)])].into(),
            failed: [(1, "no memory".to_owned())].into(),
            cores: None,
            cost: None,
        };
        let (summary, results) = engine_results(&input);
        assert_eq!((summary.stage.as_str(), results.len()), ("engine", 2));
        assert_eq!(results[1].failed.as_deref(), Some("no memory"));
        assert_eq!((results[1].prompt_tokens_per_s, results[1].trials), (None, 0));
        assert_eq!(results[0].model, "m.gguf");
    }

    #[test]
    fn whole_answers_cost_their_prompt_and_their_generation() {
        let plan = CostPlan {
            currency: "EUR".into(),
            electricity_per_kwh: Some(0.36),
            watts: vec![100.0],
            pue: 1.0,
            idle_watts: None,
            hardware: None,
            duty_cycle: None,
            other_per_hour: None,
            compare_with: Vec::new(),
        };
        let stage = stage(vec![cell(1, 0)]);
        let input = EngineInput {
            stage: &stage,
            facts: None,
            bandwidth: None,
            trials: [(0, vec![trial(100, 400, 1)])].into(),
            failed: BTreeMap::new(),
            cores: None,
            cost: Some(&plan),
        };
        let cost = engine_results(&input).1[0].cost.clone().expect("priced");
        // 0.036 EUR an hour; 50 tokens/s are 180,000 an hour; 120 tokens in half a second 864,000.
        assert!((cost.per_mtok_output.expect("output") - 0.2).abs() < 1e-12);
        assert!((cost.per_mtok_total.expect("total") - 0.036 / 0.864).abs() < 1e-12);
        assert_eq!(cost.per_request, None);
        assert_eq!(cost.joules_per_output_token, Some(2.0));
    }
}
