//! `cargo xtask docs [--check]`: the documents that are generated from code.

use std::path::Path;

use anyhow::{Context, Result, bail};
use loadline_report::{analysis_schema_json, metrics_markdown};

use crate::workspace::root;

/// A document of which the whole text comes from code.
struct Document {
    /// Path from the root.
    path: &'static str,
    /// What it must say.
    text: String,
}

fn documents() -> [Document; 2] {
    [
        Document { path: "METRICS.md", text: metrics_markdown() },
        Document { path: "docs/analysis.schema.json", text: analysis_schema_json() },
    ]
}

/// Writes the documents that are out of date anew, and says which.
pub(crate) fn write() -> Result<()> {
    for document in out_of_date(root(), documents()) {
        let path = root().join(document.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{} could not be made", folder.display()))?;
        }
        std::fs::write(&path, document.text)
            .with_context(|| format!("{} could not be written", document.path))?;
        println!("docs: {} written", document.path);
    }
    Ok(())
}

/// Fails when a document is out of date, and says which.
pub(crate) fn check() -> Result<()> {
    let stale: Vec<&str> =
        out_of_date(root(), documents()).iter().map(|document| document.path).collect();
    if !stale.is_empty() {
        bail!("{} out of date; `cargo xtask docs` writes anew what code defines", stale.join(", "));
    }
    println!("docs: what is generated from code is up to date");
    Ok(())
}

/// Those whose file under `root` is missing or says something else.
fn out_of_date<const N: usize>(root: &Path, documents: [Document; N]) -> Vec<Document> {
    let stale = |document: &Document| {
        std::fs::read_to_string(root.join(document.path)).ok().as_ref() != Some(&document.text)
    };
    documents.into_iter().filter(stale).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Document, out_of_date};

    #[test]
    fn changed_and_missing_documents_are_out_of_date_and_equal_ones_are_not() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let now = std::fs::read_to_string(here.join("Cargo.toml")).unwrap();
        let documents = [
            Document { path: "Cargo.toml", text: now.clone() },
            Document { path: "Cargo.toml", text: now + "#" },
            Document { path: "absent.md", text: String::new() },
        ];
        let stale = out_of_date(here, documents);
        let paths: Vec<&str> = stale.iter().map(|document| document.path).collect();
        assert_eq!(paths, ["Cargo.toml", "absent.md"]);
    }
}
