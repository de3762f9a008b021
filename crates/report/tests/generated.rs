//! The generated files in the tree are what the definitions give; `METRICS_UPDATE=1` writes them.

mod documents;

use std::path::{Path, PathBuf};

use loadline_report::{analysis_schema_json, json, metrics_markdown};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a file of the tree with what it should be, or writes it when asked to.
fn check(path: &str, wanted: &str) {
    let path = root().join(path);
    if std::env::var_os("METRICS_UPDATE").is_some() {
        std::fs::write(&path, wanted).expect("the tree is writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is not what the definitions give: METRICS_UPDATE=1 cargo test -p loadline-report \
         --test generated",
        path.display()
    );
}

#[test]
fn metrics_md_is_generated() {
    check("METRICS.md", &metrics_markdown());
}

#[test]
fn the_schema_of_the_document_is_generated() {
    check("docs/analysis.schema.json", &analysis_schema_json());
}

#[test]
fn every_link_of_the_index_has_its_heading() {
    let text = metrics_markdown();
    let headings: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### `"))
        .map(|line| line.trim_end_matches('`').replace('.', ""))
        .collect();
    let links: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("](#")?.1.split_once(')'))
        .map(|l| l.0)
        .collect();
    assert!(links.len() > 50);
    assert_eq!(links, headings);
}

#[test]
fn the_documents_of_the_tests_are_valid() {
    let schema: serde_json::Value =
        serde_json::from_str(&analysis_schema_json()).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    for document in
        [documents::good(), documents::errors(), documents::incomplete(), documents::open_loop()]
    {
        let mut instance = serde_json::from_str(&json(&document)).expect("the document is JSON");
        assert!(validator.is_valid(&instance));
        instance["serving"][0]["points"][0]["ttft_ns"]["n"] = "many".into();
        assert!(!validator.is_valid(&instance), "a schema that allows anything proves nothing");
    }
}
