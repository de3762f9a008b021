//! Storage as text that a person has looked at.

mod stored;

use loadline_report::{Style, analysis_schema_json, csv, json, markdown, terminal};
use unicode_width::UnicodeWidthStr;

const NARROW: Style = Style { width: 80, colour: false };

#[test]
fn three_workloads_on_nfs() {
    insta::assert_snapshot!(terminal(&stored::on_nfs(), &NARROW));
}

#[test]
fn a_file_system_in_memory() {
    insta::assert_snapshot!(terminal(&stored::in_memory(), &NARROW));
}

#[test]
fn a_scaled_checkpoint() {
    insta::assert_snapshot!(terminal(&stored::scaled_checkpoint(), &NARROW));
}

#[test]
fn ways_to_load_a_model() {
    insta::assert_snapshot!(terminal(&stored::model_loads(), &NARROW));
}

#[test]
fn a_server_that_hung() {
    insta::assert_snapshot!(terminal(&stored::stalled(), &NARROW));
}

#[test]
fn figures_of_fio() {
    insta::assert_snapshot!(terminal(&stored::imported(), &NARROW));
}

#[test]
fn storage_in_markdown() {
    let texts: Vec<String> = stored::all().iter().map(markdown).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn storage_as_csv() {
    let text = csv(&stored::on_nfs());
    let mut rows = text.lines();
    let names: Vec<&str> = rows.next().expect("a head").split(',').collect();
    assert_eq!(rows.clone().count(), 3);
    let unique: std::collections::BTreeSet<&&str> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "a column stands twice");
    let first = rows.next().expect("a row").replace(&quoted(&stored::on_nfs()), "");
    let fields: Vec<&str> = first.split(',').collect();
    assert_eq!(fields.len(), names.len());
    let field =
        |name: &str| fields[names.iter().position(|known| *known == name).expect("a column")];
    assert_eq!((field("bytes_per_s"), field("bytes_per_s_low")), ("480000000", "470400000"));
    assert_eq!((field("clat_p99_ns"), field("target_met")), ("180000000", "false"));
    assert_eq!((field("load_s"), field("warnings")), ("", "tail"));
}

/// The setting of the first cell as a field with commas.
fn quoted(document: &loadline_schema::document::Document) -> String {
    format!("\"{}\"", document.storage[0].setting)
}

#[test]
fn no_line_is_wider_than_the_page() {
    for width in [40, 60, 80, 100, 132] {
        for document in stored::all() {
            for line in terminal(&document, &Style { width, colour: false }).lines() {
                let is_path = line.contains("./runs/");
                assert!(is_path || line.width() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn nothing_from_outside_steers_the_terminal() {
    let mut document = stored::on_nfs();
    let evil = "a\x1b]0;title\x07b".to_owned();
    let cell = &mut document.storage[0];
    for text in [&mut cell.path, &mut cell.engine, &mut cell.setting] {
        text.clone_from(&evil);
    }
    cell.failed = Some(evil.clone());
    cell.cached = true;
    cell.cache_reason = Some(evil.clone());
    cell.warnings[0].message.clone_from(&evil);
    let facts = &mut document.storage_stages[0].filesystems[0];
    for text in [&mut facts.path, &mut facts.kind, &mut facts.source, &mut facts.mount_point] {
        text.clone_from(&evil);
    }
    facts.options = vec![format!("rsize={evil}")];
    for text in [terminal(&document, &NARROW), markdown(&document)] {
        assert!(!text.contains(['\x1b', '\x07']), "{text}");
    }
}

#[test]
fn the_documents_are_valid() {
    let schema: serde_json::Value =
        serde_json::from_str(&analysis_schema_json()).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    for document in stored::all() {
        let mut instance = serde_json::from_str(&json(&document)).expect("the document is JSON");
        assert!(validator.is_valid(&instance));
        instance["storage"][0]["bytes_per_s"] = "fast".into();
        assert!(!validator.is_valid(&instance), "a schema that allows anything proves nothing");
    }
}
