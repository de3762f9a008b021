//! Which crate of the workspace may use which: one table, checked against what cargo resolves.

use std::path::Path;

use super::Violation;
use crate::workspace::{CrateGraph, Package, Use};

/// A crate and those of ours that it may link. Every member of the workspace has a row.
const ALLOWED: &[(&str, &[&str])] = &[
    // The contract: data only.
    ("loadline-schema", &[]),
    ("loadline-clock", &[]),
    // Load control without I/O; time comes in as an argument.
    ("loadline-load", &["loadline-schema"]),
    // A file format, and what hardware can do: of use to anybody.
    ("loadline-gguf", &[]),
    ("loadline-ceilings", &[]),
    // A process that answers in JSON lines.
    ("loadline-child", &[]),
    ("loadline-storage", &["loadline-child", "loadline-clock", "loadline-schema"]),
    ("loadline-engine", &["loadline-child", "loadline-schema"]),
    ("loadline-observe", &["loadline-clock", "loadline-schema"]),
    // The only crate that links C++; a build without it lacks one feature.
    ("loadline-embedded", &["loadline-schema", "loadline-gguf", "loadline-clock"]),
    // A driver knows nothing of storing, judging or showing, nor of another driver.
    ("loadline-serving", &["loadline-schema", "loadline-clock", "loadline-load"]),
    ("loadline-store", &["loadline-schema"]),
    (
        "loadline-runner",
        &[
            "loadline-schema",
            "loadline-clock",
            "loadline-load",
            "loadline-serving",
            "loadline-observe",
            "loadline-store",
        ],
    ),
    // Pure: a function of the run directory's records, whoever read them.
    ("loadline-analysis", &["loadline-schema"]),
    // Renders the analysis document, which is a type of the schema.
    ("loadline-report", &["loadline-schema"]),
    // The server with known timing: it must share no code with the client that it judges.
    ("loadline-truth", &["loadline-clock"]),
    ("loadline-testkit", &["loadline-truth", "loadline-clock", "loadline-schema"]),
    (
        "loadline-cli",
        &[
            "loadline-schema",
            "loadline-clock",
            "loadline-load",
            "loadline-serving",
            "loadline-store",
            "loadline-runner",
            "loadline-analysis",
            "loadline-report",
            "loadline-engine",
            "loadline-gguf",
            "loadline-ceilings",
            "loadline-storage",
            "loadline-observe",
            "loadline-embedded",
            // For `loadline selftest`.
            "loadline-truth",
        ],
    ),
    ("xtask", &["loadline-schema", "loadline-clock", "loadline-report", "loadline-truth"]),
];

/// What tests of any crate may link beyond its row: the testkit, and the one reader of clocks, for
/// deadlines of waits.
const ALLOWED_IN_TESTS: &[&str] = &["loadline-testkit", "loadline-clock"];

const ADVICE: &str = "take the dependency out of its Cargo.toml; where the design itself has \
                      changed, change ALLOWED in xtask/src/tidy/edges.rs and ARCHITECTURE.md";

/// Every edge between crates of ours that the table does not allow.
pub(super) fn check(graph: &CrateGraph, root: &Path) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in graph.packages.iter().filter(|package| package.ours) {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            violations.push(violation(
                package,
                root,
                format!("the crate {} has no row in the table of allowed edges", package.name),
                "add its row to ALLOWED in xtask/src/tidy/edges.rs and to ARCHITECTURE.md",
            ));
            continue;
        };
        for (used, kind) in &package.uses {
            let used = &graph.packages[*used];
            let in_tests = *kind == Use::Dev && ALLOWED_IN_TESTS.contains(&used.name.as_str());
            if used.ours && !in_tests && !allowed.contains(&used.name.as_str()) {
                violations.push(violation(
                    package,
                    root,
                    format!("{} must not use {} ({})", package.name, used.name, described(*kind)),
                    ADVICE,
                ));
            }
        }
    }
    violations
}

fn violation(package: &Package, root: &Path, what: String, advice: &'static str) -> Violation {
    let folder = package.folder.strip_prefix(root).unwrap_or(&package.folder);
    Violation { path: folder.join("Cargo.toml").display().to_string(), line: None, what, advice }
}

fn described(kind: Use) -> &'static str {
    match kind {
        Use::Normal => "a normal dependency",
        Use::Dev => "a dev-dependency",
        Use::Build => "a build-dependency",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check;
    use crate::tidy::purity::tests::graph;
    use crate::workspace::Use;

    fn messages(edges: &[(&str, &str, Use)]) -> Vec<String> {
        let ours = ["loadline-schema", "loadline-serving", "loadline-store", "loadline-testkit"];
        let violations = check(&graph(&ours, edges), Path::new("/root"));
        violations.into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn a_driver_may_use_the_schema_but_not_the_store() {
        let allowed = ("loadline-serving", "loadline-schema", Use::Normal);
        assert_eq!(messages(&[allowed]), Vec::<String>::new());
        let forbidden = ("loadline-serving", "loadline-store", Use::Normal);
        assert_eq!(
            messages(&[allowed, forbidden]),
            ["loadline-serving must not use loadline-store (a normal dependency)"]
        );
    }

    #[test]
    fn the_testkit_serves_tests_alone() {
        assert!(messages(&[("loadline-serving", "loadline-testkit", Use::Dev)]).is_empty());
        assert_eq!(messages(&[("loadline-serving", "loadline-testkit", Use::Normal)]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_reported() {
        let violations = check(&graph(&["loadline-new"], &[]), Path::new("/root"));
        assert!(violations[0].what.contains("no row"), "{violations:?}");
        assert_eq!(violations[0].path, "crates/loadline-new/Cargo.toml");
    }
}
