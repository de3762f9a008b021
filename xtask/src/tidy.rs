//! `cargo xtask tidy`: the project's rules that neither the compiler nor clippy checks.
//!
//! Each rule is a pure function from files or from the crate graph to violations, so that its tests
//! need no checkout. The whole check also runs as a test of this crate.

mod code;
mod edges;
mod files;
mod manifests;
mod purity;
mod text;

use std::fmt;

use anyhow::{Result, bail};

use crate::workspace::{CrateGraph, SourceFile, root, source_files};

/// One broken rule: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    /// Path from the root.
    path: String,
    /// Line, from 1; absent where the file as a whole is meant.
    line: Option<usize>,
    /// What is wrong.
    what: String,
    /// What to do.
    advice: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.path)?;
        if let Some(line) = self.line {
            write!(out, "{line}:")?;
        }
        write!(out, " {}\n    {}", self.what, self.advice)
    }
}

/// Checks the whole checkout and prints what it finds.
pub(crate) fn run() -> Result<()> {
    let (files, violations) = check()?;
    if violations.is_empty() {
        println!("tidy: {files} files, no rule broken");
        return Ok(());
    }
    for violation in &violations {
        println!("{violation}");
    }
    bail!("tidy: rules are broken in {} places, listed above", violations.len())
}

/// The number of files looked at, and every violation, in order of rule and path.
fn check() -> Result<(usize, Vec<Violation>)> {
    let files = source_files(root())?;
    let graph = CrateGraph::load(root())?;
    let mut violations = edges::check(&graph, root());
    violations.extend(purity::check_graph(&graph, root()));
    violations.extend(manifests::check(&files));
    for file in &files {
        violations.extend(check_file(file));
    }
    Ok((files.len(), violations))
}

/// Every rule about one file.
fn check_file(file: &SourceFile) -> Vec<Violation> {
    let mut violations = files::check(file);
    violations.extend(text::check(file));
    violations.extend(purity::check_file(file));
    violations
}

#[cfg(test)]
mod tests {
    use super::{Violation, check};

    #[test]
    fn the_checkout_breaks_no_rule() {
        let (files, violations) = check().unwrap();
        assert!(files > 20, "only {files} files were looked at");
        let listing: Vec<String> = violations.iter().map(Violation::to_string).collect();
        assert!(listing.is_empty(), "rules are broken:\n{}", listing.join("\n"));
    }

    #[test]
    fn a_violation_names_place_reason_and_remedy() {
        let violation = Violation {
            path: "a/b.rs".to_owned(),
            line: Some(7),
            what: "this is wrong".to_owned(),
            advice: "do it right",
        };
        assert_eq!(violation.to_string(), "a/b.rs:7: this is wrong\n    do it right");
    }
}
