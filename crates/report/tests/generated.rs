//! What the generated documents say holds together; `cargo xtask docs --check` compares the files.

mod documents;

use loadline_report::{analysis_schema_json, json, metrics_markdown};

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
