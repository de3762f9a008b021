//! Tables measured elsewhere: every statement about the published one, and tables that say less.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use loadline_analysis::{THROUGHPUT, TableSettings, analyze_table};
use loadline_schema::cost::{CostPlan, Money};
use loadline_schema::document::Document;
use loadline_schema::sla::Sla;
use loadline_schema::table_file::TableFile;
use proptest::prelude::*;

const CHAPTER: &str = include_str!("../../../examples/chapter.csv");

fn analyzed(text: &str, slas: &[&str]) -> Document {
    let slas: Vec<Sla> = slas.iter().map(|sla| sla.parse().unwrap()).collect();
    let table = TableFile::parse(text.as_bytes()).unwrap();
    analyze_table(&table, &TableSettings { sla: &slas, ..TableSettings::default() })
}

fn codes(document: &Document) -> Vec<&str> {
    document.warnings.iter().map(|warning| warning.code.as_str()).collect()
}

/// 0.30 EUR/kWh at so many watts.
fn electricity(watts: &[f64]) -> CostPlan {
    let money: Money = "0.30 EUR/kWh".parse().unwrap();
    CostPlan {
        currency: money.currency,
        electricity_per_kwh: Some(money.amount),
        watts: watts.to_vec(),
        idle_watts: None,
        pue: 1.0,
        hardware: None,
        duty_cycle: None,
        other_per_hour: None,
        compare_with: Vec::new(),
    }
}

fn priced(text: &str, cost: &CostPlan, tokens: Option<f64>) -> Document {
    let table = TableFile::parse(text.as_bytes()).unwrap();
    let settings =
        TableSettings { cost: Some(cost), output_tokens: tokens, ..TableSettings::default() };
    analyze_table(&table, &settings)
}

#[test]
fn the_chapter_obeys_littles_law() {
    let document = analyzed(CHAPTER, &[]);
    let little = document.little.unwrap();
    let products: Vec<String> = little.product.iter().map(|n| format!("{n:.2}")).collect();
    assert_eq!(products, ["1.00", "3.99", "16.03", "64.04"]);
    assert!(little.holds);
    assert!(little.residual_max < 0.002, "{little:?}");
    // The second row: 2 %, 0.05 of 8.1 and half a millisecond of 493.
    assert!((little.allowed - (0.02 + 0.05 / 8.1 + 0.5 / 493.0)).abs() < 1e-12, "{little:?}");
    for (row, n) in document.rows.iter().zip([1.0, 4.0, 16.0, 64.0]) {
        let residual = (row.in_flight.unwrap() / n - 1.0).abs();
        assert!((row.little_residual.unwrap() - residual).abs() < 1e-12);
    }
    assert_eq!(document.warnings, []);
}

#[test]
fn the_chapter_has_diminishing_returns() {
    let document = analyzed(CHAPTER, &[]);
    let fit = document.scalability.unwrap();
    assert_eq!(format!("{:.2} {:.3} {}", fit.lambda, fit.sigma, fit.kappa), "2.34 0.066 0");
    assert_eq!(format!("{:.1}", fit.asymptote_per_s.unwrap()), "35.4");
    let marginal: Vec<f64> = document.rows.iter().map(|row| row.marginal.unwrap()).collect();
    // (8.1 − 2.3)/3, (18.4 − 8.1)/12 and (29.2 − 18.4)/48, each ÷ 2.3.
    for (got, wanted) in marginal.iter().zip([1.0, 0.8406, 0.3732, 0.0978]) {
        assert!((got - wanted).abs() < 1e-4, "{marginal:?}");
    }
    assert_eq!(document.pareto, [0, 1, 2, 3]);
    let fitted = document.rows[3].fitted_per_s.unwrap();
    assert!((fitted - 29.0).abs() < 0.01, "{fitted}");
}

#[test]
fn the_chapter_has_a_row_for_each_target() {
    let slas = ["fast:e2e_p99<=700ms", "slow:e2e_p99<=1.5s", "none:e2e_p99<=100ms"];
    let document = analyzed(CHAPTER, &slas);
    assert_eq!(document.choice.get("fast"), Some(&1), "batch 4");
    assert_eq!(document.choice.get("slow"), Some(&2), "batch 16");
    assert_eq!(document.choice.get("none"), None, "absent where no row fits");
    assert_eq!(document.choice.get(THROUGHPUT), Some(&3), "batch 64");
    let inside: Vec<bool> = document.rows.iter().map(|row| row.inside["fast"]).collect();
    assert_eq!(inside, [true, true, false, false]);
    let goodput: Vec<f64> = document.rows.iter().map(|row| row.goodput_per_s["fast"]).collect();
    assert_eq!(goodput, [2.3, 8.1, 0.0, 0.0]);
    assert_eq!(document.sla["slow"], ["e2e_p99<=1500ms"]);
}

#[test]
fn the_chapter_is_priced() {
    let document = priced(CHAPTER, &electricity(&[350.0]), Some(256.0));
    // 0.35 kW · 0.30 EUR/kWh = 0.105 EUR/h; 2.3 · 256 · 3,600 = 2,119,680 tokens/h.
    let costs: Vec<f64> = document
        .rows
        .iter()
        .map(|row| row.cost.as_ref().unwrap().per_mtok_output.unwrap())
        .collect();
    let wanted = [2.3, 8.1, 18.4, 29.2].map(|x| 0.105 / (x * 256.0 * 3_600.0) * 1e6);
    for (cost, wanted) in costs.iter().zip(wanted) {
        assert!((cost / wanted - 1.0).abs() < 1e-12, "{cost} {wanted}");
    }
    assert!((costs[0] - 0.049_535_8).abs() < 1e-7);
    let first = document.rows[0].cost.as_ref().unwrap();
    assert_eq!(first.power_source.as_deref(), Some("stated"));
    assert_eq!(first.per_mtok_total, first.per_mtok_output);
    assert_eq!(document.rows[0].output_tokens_per_s, Some(2.3 * 256.0));
    assert_eq!(document.cost.unwrap().at, document.rows[3].load);
}

#[test]
fn the_tables_own_power_wins_and_a_missing_one_is_no_free_row() {
    let text = "batch,rps,watts\n1,2,100\n4,8,\n16,20,400\n";
    let document = priced(text, &electricity(&[]), None);
    let watts = |at: usize| document.rows[at].cost.as_ref().and_then(|cost| cost.watts);
    assert_eq!((watts(0), watts(1), watts(2)), (Some(100.0), None, Some(400.0)));
    assert!(codes(&document).contains(&"no_power"));
    assert!(codes(&document).contains(&"no_tokens"));
    let source = document.rows[0].cost.as_ref().unwrap().power_source.clone();
    assert_eq!(source.as_deref(), Some("table"));
    let stated = priced(text, &electricity(&[1.0, 2.0, 3.0]), None);
    let watts: Vec<f64> =
        stated.rows.iter().map(|r| r.cost.as_ref().unwrap().watts.unwrap()).collect();
    assert_eq!(watts, [100.0, 2.0, 400.0]);
}

#[test]
fn tokens_that_contradict_the_table_are_told() {
    let document =
        priced("batch,rps,output_tokens_per_s\n1,2,200\n", &electricity(&[100.0]), Some(256.0));
    assert!(codes(&document).contains(&"tokens_differ"));
    assert_eq!(document.rows[0].output_tokens_per_s, Some(200.0), "the table's own figure");
}

#[test]
fn an_sla_of_a_figure_that_is_not_there_is_not_judged() {
    let document = analyzed(CHAPTER, &["ttft_p99<=800ms,e2e_p99<=1s"]);
    let warning = document.warnings.iter().find(|w| w.code == "sla_not_judged").unwrap();
    for part in ["ttft_p99", "only e2e_mean, e2e_p99"] {
        assert!(warning.message.contains(part), "{}", warning.message);
    }
    assert!(document.rows.iter().all(|row| row.inside.is_empty()));
    assert_eq!(document.choice.get("default"), None);
    assert_eq!(document.choice.get(THROUGHPUT), Some(&3));
}

#[test]
fn an_empty_cell_is_neither_inside_nor_outside() {
    let text = "batch,rps,ttft_p99_ms,error_rate\n1,2,100,0\n4,8,,0\n8,9,,0.5\n16,20,900,0\n";
    let document = analyzed(text, &["ttft_p99<=500ms,error_rate<=1%"]);
    let inside: Vec<Option<&bool>> =
        document.rows.iter().map(|row| row.inside.get("default")).collect();
    assert_eq!(inside, [Some(&true), None, Some(&false), Some(&false)]);
    assert!(codes(&document).contains(&"rows_not_judged"));
    assert_eq!(document.choice["default"], 0);
}

#[test]
fn one_row_is_an_answer_without_a_fit() {
    let document = analyzed("batch,rps,avg latency\n4,8.1,493ms\n", &["e2e_mean<=1s"]);
    assert_eq!(document.scalability, None);
    let warning = &document.warnings[0];
    assert!(warning.message.starts_with("1 row: nothing to fit"), "{}", warning.message);
    assert_eq!((document.choice["default"], document.choice[THROUGHPUT]), (0, 0));
    assert!(document.little.unwrap().holds);
}

#[test]
fn rows_that_break_littles_law_are_told() {
    let text = CHAPTER.replace("871ms", "700ms");
    let document = analyzed(&text, &[]);
    let little = document.little.as_ref().unwrap();
    assert!(!little.holds);
    assert!((little.residual_max - (1.0 - 18.4 * 0.7 / 16.0)).abs() < 1e-12);
    let warning = document.warnings.iter().find(|w| w.code == "little_broken").unwrap();
    assert!(warning.message.contains("concurrency 16"), "{}", warning.message);
}

#[test]
fn rounding_of_few_digits_is_no_broken_law() {
    // 0.3 requests/s may be 0.25 to 0.35: 4 slots × 1/16 s … the product is 3.6, 10 % off.
    let document = analyzed("batch,rps,e2e_mean_s\n4,0.3,12.0\n", &[]);
    let little = document.little.unwrap();
    assert!(little.residual_max > 0.09 && little.holds, "{little:?}");
    assert!(!analyzed("batch,rps,e2e_mean_s\n4,0.30,12.0\n", &[]).little.unwrap().holds);
}

#[test]
fn offered_rates_have_no_fit_and_show_saturation() {
    let document = analyzed("rate,rps,avg latency\n2,2.0,1s\n4,3.9,1.5s\n8,5,9s\n", &[]);
    assert_eq!((document.scalability.as_ref(), document.little.as_ref()), (None, None));
    assert_eq!(document.rows[0].in_flight, Some(2.0));
    assert_eq!(document.rows[0].marginal, None);
    assert_eq!(codes(&document), ["saturated"]);
    assert!(document.warnings[0].message.contains("8 requests/s offered"));
}

#[test]
fn figures_that_cannot_be_true_and_laws_that_do_not_hold_are_told() {
    let text = "batch,rps,e2e_p50_ms,e2e_p99_ms\n1,2,500,400\n2,9,1,2\n4,9.5,1,2\n8,30,1,2\n";
    let document = analyzed(text, &[]);
    let codes = codes(&document);
    for code in ["percentiles_out_of_order", "no_mean_latency", "does_not_follow_the_law"] {
        assert!(codes.contains(&code), "{codes:?}");
    }
}

#[test]
fn zero_requests_are_not_fitted() {
    let document = analyzed("batch,rps\n1,2\n2,3\n4,0\n", &[]);
    assert_eq!(document.scalability, None);
    assert!(document.warnings.iter().any(|w| w.message.contains("0 requests/s")));
    assert_eq!(document.choice[THROUGHPUT], 1);
}

proptest! {
    /// The order of the lines changes places, nothing else.
    #[test]
    fn the_order_of_rows_does_not_matter(turn in 0_usize..4, swap in 0_usize..4) {
        let (head, rows) = CHAPTER.split_once('\n').unwrap();
        let mut lines: Vec<&str> = rows.lines().collect();
        lines.rotate_left(turn);
        lines.swap(0, swap);
        let turned = analyzed(&format!("{head}\n{}\n", lines.join("\n")), &["e2e_p99<=700ms"]);
        let plain = analyzed(CHAPTER, &["e2e_p99<=700ms"]);
        prop_assert_eq!(&turned.scalability, &plain.scalability);
        for row in &plain.rows {
            prop_assert!(turned.rows.contains(row));
        }
        for (name, at) in &plain.choice {
            prop_assert_eq!(&turned.rows[turned.choice[name]], &plain.rows[*at]);
        }
    }
}
