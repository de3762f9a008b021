//! The report of a table measured elsewhere, in every form, as text that a person has looked at.

use std::collections::BTreeMap;

use loadline_report::{Style, csv, json, markdown, terminal};
use loadline_schema::document::{Document, PointLoad};
use loadline_schema::event::Warning;
use loadline_schema::table_file::TableFile;
use loadline_schema::verdict::{Little, PointCost, Row, Scalability};
use unicode_width::UnicodeWidthStr;

const NARROW: Style = Style { width: 80, colour: false };

fn row(concurrency: u64, requests: f64, mean_ms: f64, p99_ms: f64) -> Row {
    let e2e = [("mean", mean_ms), ("p99", p99_ms)];
    let e2e: BTreeMap<String, f64> = e2e.map(|(name, ms)| (name.to_owned(), ms * 1e6)).into();
    let in_flight = requests * mean_ms / 1e3;
    Row {
        load: PointLoad {
            concurrency: Some(concurrency),
            arrival: "closed".into(),
            ..PointLoad::default()
        },
        requests_per_s: Some(requests),
        latency_ns: BTreeMap::from([("e2e".to_owned(), e2e)]),
        in_flight: Some(in_flight),
        little_residual: Some((1.0 - in_flight / concurrency as f64).abs()),
        ..Row::default()
    }
}

/// A table whose last row breaks the law, with an SLA that one row keeps and one that none does.
fn document() -> Document {
    let mut rows = vec![
        row(1, 2.0, 500.0, 600.0),
        row(8, 10.0, 800.0, 1_500.0),
        row(16, 9.0, 2_000.0, 3_000.0),
    ];
    for (row, (inside, marginal)) in
        rows.iter_mut().zip([(true, 1.0), (false, 0.571), (false, -0.0625)])
    {
        row.inside = BTreeMap::from([("chat".to_owned(), inside), ("voice".to_owned(), false)]);
        row.marginal = Some(marginal);
        row.fitted_per_s = Some(row.requests_per_s.expect("given") * 1.02);
        row.cost = Some(PointCost {
            currency: "EUR".into(),
            per_mtok_output: Some(0.0123),
            per_hour: Some(0.105),
            watts: Some(350.0),
            ..PointCost::default()
        });
    }
    Document {
        sla: BTreeMap::from([
            ("chat".to_owned(), vec!["e2e_p99<=700ms".to_owned()]),
            ("voice".to_owned(), vec!["e2e_p99<=100ms".to_owned()]),
        ]),
        choice: BTreeMap::from([("chat".to_owned(), 0), ("throughput".to_owned(), 1)]),
        scalability: Some(Scalability {
            lambda: 2.05,
            sigma: 0.02,
            kappa: 0.004,
            peak_concurrency: Some(15.65),
            asymptote_per_s: None,
            residual_max: 0.12,
            follows: false,
            knee_concurrency: Some(6.9),
            n: 3,
        }),
        little: Some(Little {
            residual_max: 0.125,
            allowed: 0.026,
            holds: false,
            product: vec![1.0, 8.0, 18.0],
        }),
        pareto: vec![0, 1],
        rows,
        warnings: vec![Warning::new("little_broken", "the rows do not obey", "check them")],
        ..Document::default()
    }
}

#[test]
fn a_table_with_trouble() {
    insta::assert_snapshot!(terminal(&document(), &NARROW));
}

#[test]
fn a_table_in_markdown() {
    insta::assert_snapshot!(markdown(&document()));
}

#[test]
fn no_line_is_wider_than_the_page() {
    for width in [40, 60, 80, 132] {
        let text = terminal(&document(), &Style { width, colour: false });
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn names_from_outside_do_not_steer_the_terminal() {
    let mut document = document();
    document.sla.insert("a\x1b[2J".into(), vec!["e2e_p99<=1s".into()]);
    for text in [terminal(&document, &NARROW), markdown(&document)] {
        assert!(!text.contains('\x1b'), "{text}");
    }
}

#[test]
fn csv_of_a_table_reads_back_as_the_same_figures() {
    let document = document();
    let text = csv(&document);
    let table = TableFile::parse(text.as_bytes()).expect("our own table");
    assert_eq!(table.rows.len(), document.rows.len());
    for (read, written) in table.rows.iter().zip(&document.rows) {
        assert_eq!(read.row.load, written.load);
        assert_eq!(read.row.requests_per_s, written.requests_per_s);
        assert_eq!(read.row.latency_ns, written.latency_ns);
    }
    let fields = text.lines().map(|line| line.split(',').count());
    assert_eq!(fields.collect::<std::collections::BTreeSet<_>>().len(), 1);
    assert!(text.lines().nth(1).expect("a row").contains(",EUR,0.0123,"), "{text}");
}

#[test]
fn json_of_a_table_reads_back_as_the_same_document() {
    let document = document();
    let text = json(&document);
    let back: Document = serde_json::from_str(&text).expect("the document's own JSON");
    assert!(back == document);
    assert!(!text.contains("null") && !text.contains("\"run\""));
}
