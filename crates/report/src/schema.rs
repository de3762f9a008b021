//! The JSON Schema of the analysis document, generated from its types.

use loadline_schema::document::Document;
use serde_json::{Map, Value};

/// The JSON Schema (2020-12) of what `--json` prints: keys sorted, pretty-printed, with a trailing
/// newline. The same types give the same bytes.
pub fn analysis_schema_json() -> String {
    let schema = sorted(schemars::schema_for!(Document).to_value());
    let text = serde_json::to_string_pretty(&schema);
    text.expect("invariant: a schema has only string keys") + "\n"
}

/// Keys in order, whatever order the map type of this build keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let entries = entries.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}
