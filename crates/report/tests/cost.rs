//! Costs as text that a person has looked at.

#[allow(dead_code, reason = "shared with tests that need more of it")]
mod documents;

use std::collections::BTreeMap;

use loadline_report::{Style, cost_terminal, csv, markdown, terminal};
use loadline_schema::document::{Document, Point, PointLoad};
use loadline_schema::event::Warning;
use loadline_schema::verdict::{
    Bill, BreakEven, CostReport, Figure, LoadLine, PointCost, Row, Sensitivity,
};
use unicode_width::UnicodeWidthStr;

const NARROW: Style = Style { width: 80, colour: false };

/// 0.30 EUR/kWh, 4,380 EUR over 5 years with 20 % left, 350 W, 100 W idle, PUE 1.2: 0.206 EUR/h under
/// load, 0.1385 at a quarter of the time.
fn price(point: &Point) -> PointCost {
    let requests = point.requests_per_s.expect("measured").value * 3_600.0;
    let output = point.output_tokens_per_s.expect("measured").value * 3.6e-3;
    let total = output + point.input_tokens_per_s.expect("measured").value * 3.6e-3;
    let (full, quarter) = (0.206, 0.1385);
    PointCost {
        currency: "EUR".into(),
        per_mtok_output: Some(full / output),
        per_mtok_total: Some(full / total),
        per_request: Some(full / requests),
        per_hour: Some(full),
        joules_per_output_token: Some(350.0 / (output / 3.6e-3)),
        joules_per_request: Some(350.0 * 3_600.0 / requests),
        watts: Some(350.0),
        power_source: Some("stated".into()),
        at_duty_cycle: Some(Bill {
            duty_cycle: 0.25,
            per_hour: quarter,
            per_request: Some(quarter / requests / 0.25),
            per_mtok_output: Some(quarter / output / 0.25),
            per_mtok_total: Some(quarter / total / 0.25),
        }),
    }
}

fn figure(name: &str, value: f64, unit: &str, is_default: bool) -> Figure {
    Figure { name: name.into(), value, low: None, high: None, unit: unit.into(), is_default }
}

fn report(at: &PointLoad, base: f64) -> CostReport {
    let sensitivity = |name: &str, minus: f64, plus: f64| Sensitivity {
        name: name.into(),
        at_minus_20: base * minus,
        at_plus_20: base * plus,
    };
    let api = |name: &str, api_per_hour, duty_cycle| BreakEven {
        name: name.into(),
        our_per_hour: 0.1385,
        api_per_hour,
        duty_cycle,
    };
    CostReport {
        currency: "EUR".into(),
        at: at.clone(),
        measured: vec![
            Figure {
                low: Some(4.95),
                high: Some(5.26),
                ..figure("requests_per_s", 5.1, "1/s", false)
            },
            figure("output_tokens_per_request", 64.0, "tokens", false),
        ],
        assumed: vec![
            figure("watts", 350.0, "W", false),
            figure("idle_watts", 350.0, "W", true),
            figure("electricity", 0.3, "EUR/kWh", false),
            figure("pue", 1.0, "", true),
            figure("hardware.price", 4_380.0, "EUR", false),
            figure("hardware.years", 5.0, "years", false),
            figure("hardware.residual", 0.2, "ratio", false),
            figure("duty_cycle", 0.25, "ratio", false),
            figure("some-api input", 0.15, "EUR/Mtok", false),
            figure("some-api output", 0.6, "EUR/Mtok", false),
        ],
        sensitivity: vec![
            sensitivity("duty_cycle", 1.22, 0.86),
            sensitivity("hardware.price", 0.88, 1.12),
            sensitivity("electricity", 0.92, 1.08),
        ],
        break_even: vec![
            api("some-api", 0.263, Some(0.113)),
            api("a free one\x1b[2J", 0.01, None),
            api("a dear one", 12.0, Some(0.0)),
        ],
    }
}

fn priced() -> Document {
    let mut document = documents::good();
    let stage = &mut document.serving[0];
    for point in &mut stage.points {
        point.cost = Some(price(point));
    }
    let at = stage.points.len() - 1;
    let base = stage.points[at].cost.as_ref().and_then(|cost| cost.at_duty_cycle.as_ref());
    let base = base.and_then(|bill| bill.per_mtok_output).expect("priced");
    stage.cost = Some(report(&stage.points[at].load, base));
    document.warnings.push(Warning::new(
        "idle_power_assumed",
        "the power without load is not stated: idle hours are priced with the power under load",
        "state it (--idle-watts, or idle_watts in [cost]); the cost then falls",
    ));
    document
}

/// Rows of a table: no tokens in, no duty cycle.
fn table() -> Document {
    let rows = [(1, 2.3), (4, 8.1)].map(|(slots, rate)| Row {
        load: PointLoad { concurrency: Some(slots), ..PointLoad::default() },
        requests_per_s: Some(rate),
        cost: Some(PointCost {
            currency: "$".into(),
            per_request: Some(0.105 / (rate * 3_600.0)),
            per_hour: Some(0.105),
            joules_per_request: Some(350.0 / rate),
            watts: Some(350.0),
            power_source: Some("stated".into()),
            ..PointCost::default()
        }),
        ..Row::default()
    });
    let mut report = report(&rows[1].load, 0.0);
    report.currency = "$".into();
    report.assumed.truncate(2);
    report.sensitivity.clear();
    report.break_even.clear();
    Document { rows: rows.to_vec(), cost: Some(report), ..Document::default() }
}

#[test]
fn the_prices_of_a_run() {
    insta::assert_snapshot!(cost_terminal(&priced(), &NARROW));
}

#[test]
fn the_prices_of_a_table() {
    insta::assert_snapshot!(cost_terminal(&table(), &NARROW));
}

#[test]
fn the_report_of_a_run_tells_its_costs() {
    let text = terminal(&priced(), &NARROW);
    let from = text.find("\nCost  ").expect("a section");
    let alone = cost_terminal(&priced(), &NARROW);
    let end = alone.find("\nRun directory").expect("a last line");
    let section = &alone[alone.find("\nCost  ").expect("the same")..end];
    assert!(text[from..].starts_with(section.trim_end()), "one text for both:\n{text}");
    assert!(!terminal(&documents::good(), &NARROW).contains("\nCost  "), "nothing is priced");
}

#[test]
fn the_answer_is_that_of_the_load_line() {
    let mut document = priced();
    let stage = &mut document.serving[0];
    let first = stage.points[0].load.clone();
    stage.load_line = BTreeMap::from([("default".to_owned(), LoadLine::default())]);
    stage.cost.as_mut().expect("priced").at = first;
    let text = cost_terminal(&document, &NARROW);
    assert!(text.contains("at concurrency 1,"), "{text}");
}

#[test]
fn costs_fit_the_page_and_steer_no_terminal() {
    for document in [priced(), table()] {
        for width in [40, 60, 80, 120] {
            let text = cost_terminal(&document, &Style { width, colour: false });
            assert!(!text.contains('\x1b'));
            for line in text.lines() {
                let is_path = line.contains("./runs/");
                assert!(is_path || line.width() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn markdown_has_the_cost_of_a_token() {
    let text = markdown(&priced());
    assert!(text.contains("| EUR per Mtok output |") && text.contains("| 0.387 |"), "{text}");
    assert!(!markdown(&documents::good()).contains("Mtok"), "nothing is priced");
}

#[test]
fn csv_has_the_costs() {
    let text = csv(&priced());
    let head: Vec<&str> = text.lines().next().expect("a head").split(',').collect();
    let field = |name: &str| {
        let column = head.iter().position(|head| *head == name).expect(name);
        text.lines().nth(1).and_then(|line| line.split(',').nth(column)).map(str::to_owned)
    };
    assert_eq!(field("cost_currency").as_deref(), Some("EUR"));
    assert_eq!(field("cost_per_hour").as_deref(), Some("0.206"));
    assert_eq!(field("cost_at_duty_per_hour").as_deref(), Some("0.1385"));
    assert_eq!(field("duty_cycle").as_deref(), Some("0.25"));
}
