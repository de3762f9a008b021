//! Cost: examples worked by hand, and what must hold for any prices.

mod made;

use loadline_analysis::{
    CostBasis, StageInput, StageResult, Throughput, cost_report, cost_warnings, document,
    point_cost, serving_point,
};
use loadline_schema::cost::{ApiPrice, CostPlan, Hardware};
use loadline_schema::document::{PointLoad, RunSummary};
use loadline_schema::manifest::RunStatus;
use loadline_schema::plan::{Load, ServingStage};
use loadline_schema::verdict::{CostReport, Sensitivity};
use made::{input, ok, stage, trial};
use proptest::prelude::*;

#[track_caller]
fn assert_near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-9 * wanted.abs().max(1e-12), "{found} is not {wanted}");
}

fn nothing() -> CostPlan {
    CostPlan {
        currency: "EUR".to_owned(),
        electricity_per_kwh: None,
        watts: Vec::new(),
        idle_watts: None,
        pue: 1.0,
        hardware: None,
        duty_cycle: None,
        other_per_hour: None,
        compare_with: Vec::new(),
    }
}

/// 0.30 EUR/kWh, 350 W under load.
fn electricity() -> CostPlan {
    CostPlan { electricity_per_kwh: Some(0.3), watts: vec![350.0], ..nothing() }
}

/// Everything there is: 4,380 EUR over 5 years with 20 % left, 0.05 EUR/h, 100 W idle, PUE 1.2, under
/// load a quarter of the time.
fn whole() -> CostPlan {
    CostPlan {
        idle_watts: Some(100.0),
        pue: 1.2,
        hardware: Some(Hardware { price: 4_380.0, years: 5.0, residual: 0.2 }),
        duty_cycle: Some(0.25),
        other_per_hour: Some(0.05),
        ..electricity()
    }
}

/// 10 requests/s of 100 output and 400 prompt tokens.
fn ten() -> Throughput {
    Throughput {
        requests_per_s: 10.0,
        output_tokens_per_s: Some(1_000.0),
        total_tokens_per_s: Some(5_000.0),
    }
}

fn basis() -> CostBasis {
    let mut basis = CostBasis {
        load: PointLoad {
            concurrency: Some(16),
            arrival: "closed".to_owned(),
            ..PointLoad::default()
        },
        index: 0,
        throughput: ten(),
        input_tokens: Some(400.0),
        output_tokens: Some(100.0),
        tokens_are_stated: false,
        power: None,
        measured: Vec::new(),
    };
    basis.measured = basis.figures();
    basis
}

fn report(plan: &CostPlan) -> CostReport {
    cost_report(plan, &basis()).expect("priced")
}

#[test]
fn electricity_alone_by_hand() {
    let cost = point_cost(&electricity(), 0, &ten(), None).expect("priced");
    // 350 W for an hour are 0.35 kWh; · 0.30 EUR = 0.105 EUR.
    assert_near(cost.per_hour.expect("priced"), 0.105);
    // 1,000 tokens/s are 3.6 M in the hour: 0.105 / 3.6 = 0.0291666… EUR per million.
    assert_near(cost.per_mtok_output.expect("counted"), 0.105 / 3.6);
    // 5,000 tokens/s are 18 M.
    assert_near(cost.per_mtok_total.expect("counted"), 0.105 / 18.0);
    // 36,000 requests.
    assert_near(cost.per_request.expect("rate"), 0.105 / 36_000.0);
    // 350 J each second over 1,000 tokens and 10 requests.
    assert_near(cost.joules_per_output_token.expect("power"), 0.35);
    assert_near(cost.joules_per_request.expect("power"), 35.0);
    assert_eq!((cost.watts, cost.power_source.as_deref()), (Some(350.0), Some("stated")));
    assert_eq!(cost.currency, "EUR");
    assert_eq!(cost.at_duty_cycle, None, "no duty cycle was stated");
}

#[test]
fn a_row_of_the_chapter_by_hand() {
    // 18.4 requests/s of 256 tokens: 4,710.4 tokens/s; 700 W at 0.25 EUR/kWh: 0.175 EUR/h.
    let throughput = Throughput {
        requests_per_s: 18.4,
        output_tokens_per_s: Some(18.4 * 256.0),
        total_tokens_per_s: None,
    };
    let plan = CostPlan { electricity_per_kwh: Some(0.25), watts: vec![700.0], ..nothing() };
    let cost = point_cost(&plan, 2, &throughput, None).expect("priced");
    // 0.175 / (4,710.4 · 3,600) · 10⁶ = 0.010320…
    assert_near(cost.per_mtok_output.expect("counted"), 0.175 / 16.957_44);
    assert_eq!(cost.per_mtok_total, None, "prompt tokens are not known");
    assert_near(cost.joules_per_output_token.expect("power"), 700.0 / 4_710.4);
}

#[test]
fn everything_at_a_duty_cycle_by_hand() {
    let cost = point_cost(&whole(), 0, &ten(), None).expect("priced");
    // Hardware: 4,380 · 0.8 / (5 · 8,760) = 0.08 EUR/h. Other: 0.05.
    // Under load all the time: 0.30 · 1.2 · 0.35 kW = 0.126. Together 0.256.
    assert_near(cost.per_hour.expect("priced"), 0.256);
    assert_near(cost.per_mtok_output.expect("counted"), 0.256 / 3.6);
    let bill = cost.at_duty_cycle.expect("a duty cycle is stated");
    // Power: 0.25 · 350 + 0.75 · 100 = 162.5 W: 0.30 · 1.2 · 0.1625 = 0.0585. Together 0.1885.
    assert_near(bill.duty_cycle, 0.25);
    assert_near(bill.per_hour, 0.1885);
    // A quarter of 3.6 M tokens, 18 M tokens and 36,000 requests.
    assert_near(bill.per_mtok_output.expect("counted"), 0.1885 / 0.9);
    assert_near(bill.per_mtok_total.expect("counted"), 0.1885 / 4.5);
    assert_near(bill.per_request.expect("rate"), 0.1885 / 9_000.0);
    // PUE is no energy of the machines.
    assert_near(cost.joules_per_request.expect("power"), 35.0);
}

#[test]
fn idle_hours_without_a_stated_power_are_not_free() {
    let plan = CostPlan { idle_watts: None, ..whole() };
    let bill =
        point_cost(&plan, 0, &ten(), None).and_then(|cost| cost.at_duty_cycle).expect("stated");
    // As under load: 0.08 + 0.05 + 0.126.
    assert_near(bill.per_hour, 0.256);
    let codes = |plan: &CostPlan| -> Vec<String> {
        cost_warnings(plan, &basis()).into_iter().map(|warning| warning.code).collect()
    };
    assert_eq!(codes(&plan), ["idle_power_assumed"]);
    assert_eq!(codes(&whole()), [""; 0]);
    assert_eq!(codes(&electricity()), [""; 0], "there are no idle hours");
    let assumed = report(&plan).assumed;
    let idle = assumed.iter().find(|figure| figure.name == "idle_watts").expect("listed");
    assert!(idle.is_default, "{idle:?}");
    assert_near(idle.value, 350.0);
}

#[test]
fn each_point_has_its_own_power() {
    let plan = CostPlan { watts: vec![200.0, 300.0], ..electricity() };
    let watts = |index| point_cost(&plan, index, &ten(), None).and_then(|cost| cost.watts);
    assert_eq!((watts(0), watts(1)), (Some(200.0), Some(300.0)));
    assert_eq!(point_cost(&plan, 2, &ten(), None), None, "no power is stated there");
}

#[test]
fn what_is_not_known_is_not_priced() {
    assert_eq!(point_cost(&nothing(), 0, &ten(), None), None);
    assert_eq!(cost_report(&nothing(), &basis()), None);
    // Only the price of an API: nothing of our own.
    let api = ApiPrice { name: "api".to_owned(), input_per_mtok: None, output_per_mtok: 1.0 };
    let plan = CostPlan { compare_with: vec![api], ..nothing() };
    assert_eq!(point_cost(&plan, 0, &ten(), None), None);
    // Nothing was served: no price of a token, but the hour is paid.
    let idle = Throughput { requests_per_s: 0.0, output_tokens_per_s: None, ..ten() };
    let cost = point_cost(&electricity(), 0, &idle, None).expect("priced");
    assert_eq!((cost.per_request, cost.per_mtok_output), (None, None));
    assert_eq!((cost.joules_per_request, cost.joules_per_output_token), (None, None));
    assert_near(cost.per_hour.expect("priced"), 0.105);
    // Power without a price of electricity gives energy, and no money.
    let plan = CostPlan { watts: vec![350.0], ..nothing() };
    let cost = point_cost(&plan, 0, &ten(), None).expect("energy");
    assert_eq!((cost.per_hour, cost.joules_per_request), (None, Some(35.0)));
}

fn api(input: Option<f64>, output: f64) -> CostPlan {
    let api = ApiPrice { name: "api".to_owned(), input_per_mtok: input, output_per_mtok: output };
    CostPlan { compare_with: vec![api], ..whole() }
}

#[test]
fn break_even_by_hand() {
    let found = &report(&api(Some(0.01), 0.1)).break_even[0];
    // A request: 400 · 0.01 + 100 · 0.1 = 14 millionths of a EUR; 36,000 an hour are 0.504 EUR, a
    // quarter of them 0.126.
    assert_near(found.api_per_hour, 0.126);
    assert_near(found.our_per_hour, 0.1885);
    // Idle hour: 0.08 + 0.05 + 0.036 · 1 = 0.166; load adds 0.36 · 0.25 kW = 0.09.
    // d = 0.166 / (0.504 − 0.09) = 0.40096…
    assert_near(found.duty_cycle.expect("there is one"), 0.166 / 0.414);
    // Nothing is taken for prompts: 0.36 EUR/h, d = 0.166 / 0.27.
    let found = &report(&api(None, 0.1)).break_even[0];
    assert_near(found.duty_cycle.expect("there is one"), 0.166 / 0.27);
    // 0.18 EUR/h under load are under our 0.256: never.
    assert_eq!(report(&api(None, 0.05)).break_even[0].duty_cycle, None);
    // What load adds costs more than the API takes: never, and no negative duty cycle.
    assert_eq!(report(&api(None, 0.02)).break_even[0].duty_cycle, None);
}

#[test]
fn a_comparison_needs_the_tokens_that_are_priced() {
    let no_input = CostBasis { input_tokens: None, ..basis() };
    let plan = api(Some(0.01), 0.1);
    assert_eq!(cost_report(&plan, &no_input).expect("priced").break_even, []);
    let warnings = cost_warnings(&plan, &no_input);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.contains("prompt tokens"), "{warnings:?}");
    let no_tokens = CostBasis { output_tokens: None, ..no_input };
    assert!(cost_warnings(&plan, &no_tokens)[0].message.contains("output tokens"));
    let free_prompts = CostBasis { input_tokens: None, ..basis() };
    assert_eq!(cost_report(&api(None, 0.1), &free_prompts).expect("priced").break_even.len(), 1);
}

#[test]
fn measured_and_assumed_stand_apart() {
    let found = report(&electricity());
    let names = |figures: &[loadline_schema::verdict::Figure]| -> Vec<(String, bool)> {
        figures.iter().map(|figure| (figure.name.clone(), figure.is_default)).collect()
    };
    let measured: Vec<String> = names(&found.measured).into_iter().map(|(name, _)| name).collect();
    let wanted = [
        "requests_per_s",
        "output_tokens_per_s",
        "total_tokens_per_s",
        "input_tokens_per_request",
        "output_tokens_per_request",
    ];
    assert_eq!(measured, wanted);
    let wanted = [
        ("watts", false),
        ("idle_watts", true),
        ("electricity", false),
        ("pue", true),
        ("duty_cycle", true),
    ];
    assert_eq!(names(&found.assumed), wanted.map(|(name, d)| (name.to_owned(), d)));
    // Stated tokens are no measurement, and neither are the rates that follow from them.
    let mut stated = CostBasis { tokens_are_stated: true, input_tokens: None, ..basis() };
    stated.measured = stated.figures();
    let found = cost_report(&electricity(), &stated).expect("priced");
    assert_eq!(names(&found.measured), [("requests_per_s".to_owned(), false)]);
    assert_eq!(names(&found.assumed)[0], ("output_tokens_per_request".to_owned(), false));
    assert_eq!(found.sensitivity[0].name, "output_tokens_per_request");
}

#[test]
fn sensitivity_by_hand() {
    let found = report(&whole()).sensitivity;
    let of = |name: &str| found.iter().find(|s| s.name == name).expect(name);
    // Hardware 0.08 EUR/h ± 20 %: 0.1885 ∓ 0.016, over 0.9 M tokens.
    assert_near(of("hardware.price").at_minus_20, 0.1725 / 0.9);
    assert_near(of("hardware.price").at_plus_20, 0.2045 / 0.9);
    // Duty cycle 0.2 and 0.3: 0.13 + 0.36 · 0.15 = 0.184 and 0.13 + 0.36 · 0.175 = 0.193.
    assert_near(of("duty_cycle").at_minus_20, 0.184 / 0.72);
    assert_near(of("duty_cycle").at_plus_20, 0.193 / 1.08);
    // PUE 1 (not 0.96) and 1.44, on 0.30 · 0.1625 = 0.04875.
    assert_near(of("pue").at_minus_20, (0.13 + 0.04875) / 0.9);
    assert_near(of("pue").at_plus_20, (0.13 + 0.0702) / 0.9);
    assert_eq!(found[0].name, "duty_cycle", "what moves it most comes first");
    assert_eq!(found.len(), 9, "each assumption but tokens, which were counted");
    // Without output tokens there is no price to move.
    let mut none = basis();
    none.throughput.output_tokens_per_s = None;
    assert_eq!(cost_report(&whole(), &none).expect("priced").sensitivity, []);
}

/// The stage's document with its points priced.
fn priced(
    plan: &CostPlan,
    planned: &[u64],
    measured: &[u64],
) -> loadline_schema::document::Serving {
    let points = planned.iter().map(|n| Load::Closed { concurrency: *n }).collect();
    let stage = ServingStage { points, ..stage() };
    let input = StageInput { cost: Some(plan), ..input(&stage) };
    let points = measured.iter().map(|n| {
        let load = Load::Closed { concurrency: *n };
        // As many answers as slots: more load yields more.
        serving_point(input, load, [trial(0, (0..*n).map(|op| ok(op, op * 100, 50)).collect())])
    });
    let result = StageResult { input, points: points.collect() };
    let run = RunSummary {
        id: "abcdefgh".to_owned(),
        name: "made".to_owned(),
        directory: "runs/made".to_owned(),
        started: "2026-11-24T10:15:00Z".to_owned(),
        status: RunStatus::Sealed,
        seed: 1,
        hosts: Vec::new(),
    };
    let mut found = document(run, Vec::new(), Vec::new(), vec![result], None, Vec::new());
    let codes: Vec<&str> = found.warnings.iter().map(|w| w.code.as_str()).collect();
    let warned = codes.contains(&"idle_power_assumed");
    assert_eq!(warned, plan.duty_cycle.is_some() && plan.idle_watts.is_none(), "{codes:?}");
    found.serving.remove(0)
}

#[test]
fn the_points_of_a_stage_are_priced_at_their_own_power() {
    let plan = CostPlan { watts: vec![100.0, 200.0, 300.0], ..electricity() };
    // No trial reached the second point: the third keeps the third power.
    let found = priced(&plan, &[1, 4, 16], &[1, 16]);
    let watts: Vec<_> =
        found.points.iter().map(|p| p.cost.as_ref().and_then(|c| c.watts)).collect();
    assert_eq!(watts, [Some(100.0), Some(300.0)]);
    let report = found.cost.expect("priced");
    assert_eq!(report.at.concurrency, Some(16), "most output tokens/s");
    let point = &found.points[1];
    let rate = point.output_tokens_per_s.expect("counted").value;
    let cost = point.cost.as_ref().and_then(|cost| cost.per_mtok_output).expect("priced");
    assert_near(cost, 0.3 * 0.3 / (rate * 3_600.0) * 1e6);
    // A search has no planned points.
    let one = CostPlan { duty_cycle: Some(0.5), ..electricity() };
    assert!(priced(&one, &[], &[2]).points[0].cost.is_some());
}

fn plans() -> impl Strategy<Value = CostPlan> {
    let money = || 0.001..10.0_f64;
    let optional = || proptest::option::of(0.001..10.0_f64);
    let hardware = proptest::option::of((1.0..1e5_f64, 0.5..10.0_f64, 0.0..1.0_f64));
    let duty = proptest::option::of(0.01..1.0_f64);
    let idle = proptest::option::of(0.0..1.0_f64);
    (money(), 1.0..5_000.0_f64, idle, 1.0..2.0_f64, hardware, duty, optional()).prop_map(
        |(kwh, busy, idle, pue, hardware, duty_cycle, other_per_hour)| CostPlan {
            electricity_per_kwh: Some(kwh),
            watts: vec![busy],
            idle_watts: idle.map(|share| share * busy),
            pue,
            hardware: hardware.map(|(price, years, residual)| Hardware { price, years, residual }),
            duty_cycle,
            other_per_hour,
            ..nothing()
        },
    )
}

fn throughputs() -> impl Strategy<Value = Throughput> {
    (0.01..1e3_f64, 1.0..1e3_f64, 1.0..1e4_f64).prop_map(|(requests_per_s, output, input)| {
        Throughput {
            requests_per_s,
            output_tokens_per_s: Some(requests_per_s * output),
            total_tokens_per_s: Some(requests_per_s * (output + input)),
        }
    })
}

/// Cost per million output tokens at the duty cycle.
fn price(plan: &CostPlan, throughput: &Throughput) -> f64 {
    let cost = point_cost(plan, 0, throughput, None).expect("priced");
    match cost.at_duty_cycle {
        Some(bill) => bill.per_mtok_output.expect("counted"),
        None => cost.per_mtok_output.expect("counted"),
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn scaled(plan: &CostPlan, name: &str, factor: f64) -> CostPlan {
    let mut plan = plan.clone();
    match name {
        "watts" => plan.watts[0] *= factor,
        "idle_watts" => {
            let busy = plan.watts[0];
            plan.idle_watts = Some((plan.idle_watts.unwrap_or(busy) * factor).min(busy));
        }
        "electricity" => plan.electricity_per_kwh = plan.electricity_per_kwh.map(|p| p * factor),
        "pue" => plan.pue = (plan.pue * factor).max(1.0),
        "hardware.price" => plan.hardware.as_mut().expect("stated").price *= factor,
        "hardware.years" => plan.hardware.as_mut().expect("stated").years *= factor,
        "hardware.residual" => {
            let hardware = plan.hardware.as_mut().expect("stated");
            hardware.residual = (hardware.residual * factor).min(1.0);
        }
        "other" => plan.other_per_hour = plan.other_per_hour.map(|price| price * factor),
        "duty_cycle" => {
            plan.duty_cycle = Some((plan.duty_cycle.unwrap_or(1.0) * factor).min(1.0));
        }
        other => panic!("{other} is no assumption of these plans"),
    }
    plan
}

proptest! {
    #[test]
    fn a_token_costs_less_the_more_there_are(plan in plans(), t in throughputs(), more in 1.01..5.0_f64) {
        let faster = Throughput {
            requests_per_s: t.requests_per_s * more,
            output_tokens_per_s: t.output_tokens_per_s.map(|rate| rate * more),
            total_tokens_per_s: t.total_tokens_per_s.map(|rate| rate * more),
        };
        prop_assert!(near(price(&plan, &t), price(&plan, &faster) * more));
    }

    #[test]
    fn the_cost_is_linear_in_its_prices(plan in plans(), t in throughputs(), factor in 0.1..10.0_f64) {
        let dearer = CostPlan {
            electricity_per_kwh: plan.electricity_per_kwh.map(|price| price * factor),
            other_per_hour: plan.other_per_hour.map(|price| price * factor),
            hardware: plan.hardware.map(|h| Hardware { price: h.price * factor, ..h }),
            ..plan.clone()
        };
        prop_assert!(near(price(&dearer, &t), price(&plan, &t) * factor));
    }

    #[test]
    fn fewer_hours_under_load_never_make_a_token_cheaper(plan in plans(), t in throughputs(), d in 0.01..0.99_f64) {
        let less = CostPlan { duty_cycle: Some(d), ..plan.clone() };
        let all = CostPlan { duty_cycle: None, ..plan };
        prop_assert!(price(&less, &t) >= price(&all, &t) * (1.0 - 1e-12));
    }

    #[test]
    fn sensitivity_is_a_recomputation(plan in plans(), t in throughputs()) {
        let basis = CostBasis { throughput: t, ..basis() };
        let found = cost_report(&plan, &basis).expect("priced").sensitivity;
        for Sensitivity { name, at_minus_20, at_plus_20 } in &found {
            prop_assert!(near(*at_minus_20, price(&scaled(&plan, name, 0.8), &t)), "{name}");
            prop_assert!(near(*at_plus_20, price(&scaled(&plan, name, 1.2), &t)), "{name}");
        }
        let widths = found.iter().map(|s| -(s.at_plus_20 - s.at_minus_20).abs());
        prop_assert!(widths.is_sorted());
        prop_assert!(found.iter().any(|s| s.name == "electricity"));
    }

    #[test]
    fn at_the_break_even_both_bills_are_equal(plan in plans(), output in 0.001..100.0_f64) {
        let api = ApiPrice { name: "api".to_owned(), input_per_mtok: Some(output / 4.0), output_per_mtok: output };
        let plan = CostPlan { compare_with: vec![api], ..plan };
        let at = |d: f64| {
            let plan = CostPlan { duty_cycle: Some(d), ..plan.clone() };
            report(&plan).break_even.remove(0)
        };
        if let Some(d) = report(&plan).break_even[0].duty_cycle {
            let equal = at(d);
            prop_assert!(near(equal.our_per_hour, equal.api_per_hour), "{equal:?}");
            let before = at(d * 0.9);
            prop_assert!(before.our_per_hour > before.api_per_hour, "{before:?}");
        } else {
            let never = at(1.0);
            prop_assert!(never.our_per_hour > never.api_per_hour, "{never:?}");
        }
    }
}
