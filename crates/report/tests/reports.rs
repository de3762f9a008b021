//! Every output of every handmade document, as text that a person has looked at.

mod documents;

use loadline_report::{ListEntry, Style, csv, json, list, markdown, terminal};
use loadline_schema::document::Document;
use loadline_schema::manifest::RunStatus;
use unicode_width::UnicodeWidthStr;

const NARROW: Style = Style { width: 80, colour: false };

#[test]
fn a_good_run() {
    insta::assert_snapshot!(terminal(&documents::good(), &NARROW));
}

#[test]
fn a_run_with_errors_and_withheld_percentiles() {
    insta::assert_snapshot!(terminal(&documents::errors(), &NARROW));
}

#[test]
fn an_incomplete_run() {
    insta::assert_snapshot!(terminal(&documents::incomplete(), &NARROW));
}

#[test]
fn an_open_loop() {
    insta::assert_snapshot!(terminal(&documents::open_loop(), &NARROW));
}

#[test]
fn markdown_of_a_run_with_errors() {
    insta::assert_snapshot!(markdown(&documents::errors()));
}

fn all() -> [Document; 4] {
    [documents::good(), documents::errors(), documents::incomplete(), documents::open_loop()]
}

#[test]
fn no_line_is_wider_than_the_page() {
    for width in [40, 60, 80, 100, 132] {
        for document in all() {
            let text = terminal(&document, &Style { width, colour: false });
            for line in text.lines() {
                let is_path = line.contains("./runs/");
                assert!(is_path || line.width() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    for document in all() {
        let coloured = terminal(&document, &Style { width: 80, colour: true });
        assert!(coloured.contains("\x1b[1m"));
        let mut bare = String::new();
        for (index, part) in coloured.split("\x1b[").enumerate() {
            let part = if index == 0 { part } else { part.split_once('m').expect("a code").1 };
            bare.push_str(part);
        }
        let bare: Vec<&str> = bare.lines().map(str::trim_end).collect();
        let plain = terminal(&document, &NARROW);
        assert_eq!(bare, plain.lines().collect::<Vec<_>>());
    }
}

#[test]
fn nothing_from_outside_steers_the_terminal() {
    let mut document = documents::errors();
    document.run.as_mut().expect("a run").name = "a\x1b]0;title\x07b".into();
    document.serving[0].model = Some("m\x1b[2J".into());
    let outputs = [terminal(&document, &NARROW), markdown(&document)];
    for text in outputs {
        assert!(!text.contains(['\x1b', '\x07']), "{text}");
    }
}

#[test]
fn json_reads_back_as_the_same_document() {
    for document in all() {
        let text = json(&document);
        let back: Document = serde_json::from_str(&text).expect("the document's own JSON");
        assert!(back == document, "the document changed on its way through JSON");
        assert!(json(&back) == text, "the same document gave other bytes");
        assert!(!text.contains("null"), "absent keys are absent");
        assert!(text.ends_with("}\n"));
    }
}

#[test]
fn csv_has_a_row_for_each_point_and_the_same_columns_for_all() {
    let heads: Vec<String> = all()
        .iter()
        .map(|document| {
            let text = csv(document);
            let mut lines = text.lines();
            let head = lines.next().expect("a head").to_owned();
            let rows: Vec<&str> = lines.collect();
            assert_eq!(rows.len(), document.serving[0].points.len());
            for row in rows {
                assert_eq!(row.split(',').count(), head.split(',').count(), "{row}");
            }
            head
        })
        .collect();
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]));
    let text = csv(&documents::good());
    let field = |row: usize, name: &str| {
        let column = heads[0].split(',').position(|head| head == name).expect(name);
        text.lines().nth(row).and_then(|line| line.split(',').nth(column)).map(str::to_owned)
    };
    assert_eq!(field(1, "ttft_p50_ns").as_deref(), Some("12300000"));
    assert_eq!(field(1, "ttft_p99_high_ns").as_deref(), Some(""));
    assert_eq!(field(2, "concurrency").as_deref(), Some("4"));
    assert_eq!(field(2, "requests_ok").as_deref(), Some("459"));
}

#[test]
fn csv_quotes_what_needs_quotes() {
    let mut document = documents::good();
    document.serving[0].model = Some("a, \"b\"".into());
    assert!(csv(&document).contains(",\"a, \"\"b\"\"\","));
}

#[test]
fn the_list_of_runs() {
    let entry = |id: &str, status, is_live, requests| ListEntry {
        id: id.into(),
        name: format!("name of {id}"),
        started: "2026-11-24T10:15:00Z".into(),
        status,
        is_live,
        requests,
        directory: format!("20261124T101500Z-name-{id}"),
    };
    let entries = [
        entry("aaaaaaaa", Some(RunStatus::Sealed), false, Some(12_345)),
        entry("bbbbbbbb", Some(RunStatus::Running), true, Some(9)),
        entry("cccccccc", Some(RunStatus::Running), false, None),
        entry("dddddddd", Some(RunStatus::Interrupted), false, Some(0)),
        entry("eeeeeeee", None, false, None),
    ];
    insta::assert_snapshot!(list(&entries, &NARROW));
    assert_eq!(list(&[], &NARROW), "No runs here.\n");
}
