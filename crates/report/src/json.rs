//! The document as JSON, as `--json` prints it and `analysis.json` holds it.

use loadline_schema::document::Document;

/// Pretty-printed JSON with a trailing newline. The same document gives the same bytes.
pub fn json(document: &Document) -> String {
    // Fields have a fixed order and maps are sorted; floats that are not finite cannot be told in
    // JSON and never come from analysis (they would read as null, which the contract forbids).
    let text = serde_json::to_string_pretty(document);
    text.expect("invariant: a document has only string keys") + "\n"
}
