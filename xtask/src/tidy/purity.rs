//! The crates that must stay pure: what they may not link, and what they may not name in their code.

use std::path::Path;

use super::Violation;
use super::code::code_only;
use crate::workspace::{CrateGraph, SourceFile, Use};

/// Crates of which the whole tree of normal dependencies stays free of [`IMPURE_CRATES`].
const PURE_TREES: &[&str] = &["loadline-schema", "loadline-analysis", "loadline-report"];

/// Async runtimes, and the crates through which a program reaches sockets, files and clocks.
const IMPURE_CRATES: &[&str] = &[
    "async-std",
    "futures",
    "hyper",
    "libc",
    "mio",
    "nix",
    "polling",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "ureq",
];

/// Folders whose code may not name [`IMPURE_PATHS`].
const PURE_FOLDERS: &[&str] =
    &["crates/schema/src/", "crates/analysis/src/", "crates/report/src/", "crates/load/src/"];

/// Paths of the standard library that read or change the world outside the function.
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env::var",
    "std::env::args",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// The names that `use std::{…}` or `use std::time::{…}` would bring in, by their parent.
const IMPURE_NAMES: &[(&str, &[&str])] = &[
    ("std", &["fs", "net", "process", "thread", "os"]),
    ("std::time", &["Instant", "SystemTime"]),
    ("std::io", &["stdin", "stdout"]),
];

/// Chains of normal dependencies that lead from a pure crate to an impure one.
pub(super) fn check_graph(graph: &CrateGraph, root: &Path) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (start, package) in graph.packages.iter().enumerate() {
        if !package.ours || !PURE_TREES.contains(&package.name.as_str()) {
            continue;
        }
        let folder = package.folder.strip_prefix(root).unwrap_or(&package.folder);
        for chain in impure_chains(graph, start) {
            violations.push(Violation {
                path: folder.join("Cargo.toml").display().to_string(),
                line: None,
                what: format!("{} is pure, but links {chain}", package.name),
                advice: "take the dependency out, or switch off its feature that pulls this in",
            });
        }
    }
    violations
}

/// For each impure crate that `start` reaches, one shortest chain of names to it.
fn impure_chains(graph: &CrateGraph, start: usize) -> Vec<String> {
    let mut reached_from: Vec<Option<usize>> = vec![None; graph.packages.len()];
    reached_from[start] = Some(start);
    let mut queue = std::collections::VecDeque::from([start]);
    let mut chains = Vec::new();
    while let Some(user) = queue.pop_front() {
        for (used, kind) in &graph.packages[user].uses {
            if *kind != Use::Normal || reached_from[*used].is_some() {
                continue;
            }
            reached_from[*used] = Some(user);
            queue.push_back(*used);
            if IMPURE_CRATES.contains(&graph.packages[*used].name.as_str()) {
                chains.push(chain_to(graph, &reached_from, start, *used));
            }
        }
    }
    chains
}

fn chain_to(
    graph: &CrateGraph,
    reached_from: &[Option<usize>],
    start: usize,
    end: usize,
) -> String {
    let mut names = vec![graph.packages[end].name.as_str()];
    let mut at = end;
    while let Some(previous) = reached_from[at].filter(|previous| *previous != start) {
        names.push(&graph.packages[previous].name);
        at = previous;
    }
    names.reverse();
    names.join(" → ")
}

/// Impure paths of the standard library that the code of a pure crate names.
pub(super) fn check_file(file: &SourceFile) -> Vec<Violation> {
    if !file.is_rust() || !PURE_FOLDERS.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let mut violations = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let named = IMPURE_PATHS.iter().find(|path| line.contains(**path));
        if let Some(path) = named {
            violations.push(impure(file, number + 1, path));
        }
    }
    for (at, _) in code.match_indices("use std::") {
        violations.extend(check_use(file, &code, at));
    }
    violations
}

/// Looks through a `use std::…{…};` that starts at byte `at`.
fn check_use(file: &SourceFile, code: &str, at: usize) -> Vec<Violation> {
    let tree = code[at..].split(';').next().unwrap_or_default().trim_start_matches("use ");
    let Some((parent, names)) = tree.split_once("::{") else {
        return Vec::new();
    };
    let forbidden = IMPURE_NAMES.iter().find(|(known, _)| *known == parent.trim());
    let Some((_, forbidden)) = forbidden else {
        return Vec::new();
    };
    let line = code[..at].matches('\n').count() + 1;
    top_level_names(names)
        .filter(|name| forbidden.contains(name))
        .map(|name| impure(file, line, &format!("{parent}::{name}")))
        .collect()
}

/// The first part of each entry of a use group: `fs, io::{Read}, time::Instant` → fs, io, time.
fn top_level_names(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    group
        .split(move |c: char| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(|entry| entry.split("::").next().unwrap_or_default().trim_matches(['}', ' ', '\n']))
}

fn impure(file: &SourceFile, line: usize, path: &str) -> Violation {
    Violation {
        path: file.path.clone(),
        line: Some(line),
        what: format!("this crate is pure, but its code names {path}"),
        advice: "take what it needs as an argument; reading and writing belong to store, runner \
                 or the binary, and tests that read files to the crate's tests/ folder",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::{Path, PathBuf};

    use super::{check_file, check_graph};
    use crate::workspace::{CrateGraph, Package, SourceFile, Use};

    /// A graph from edges between names; `ours` are the workspace's members.
    pub(in crate::tidy) fn graph(ours: &[&str], edges: &[(&str, &str, Use)]) -> CrateGraph {
        let mut graph = CrateGraph::default();
        let mut index_of = |name: &str| {
            let known = graph.packages.iter().position(|package| package.name == name);
            known.unwrap_or_else(|| {
                graph.packages.push(Package {
                    name: name.to_owned(),
                    ours: ours.contains(&name),
                    folder: PathBuf::from(format!("/root/crates/{name}")),
                    uses: Vec::new(),
                });
                graph.packages.len() - 1
            })
        };
        for name in ours {
            index_of(name);
        }
        let resolved: Vec<_> = edges
            .iter()
            .map(|(user, used, kind)| (index_of(user), index_of(used), *kind))
            .collect();
        for (user, used, kind) in resolved {
            graph.packages[user].uses.push((used, kind));
        }
        graph
    }

    fn lines(path: &str, text: &str) -> Vec<Option<usize>> {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        check_file(&file).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_runtime_deep_in_the_tree_is_found_with_its_chain() {
        let edges = [
            ("loadline-analysis", "innocent", Use::Normal),
            ("innocent", "deeper", Use::Normal),
            ("deeper", "tokio", Use::Normal),
        ];
        let violations = check_graph(&graph(&["loadline-analysis"], &edges), Path::new("/root"));
        assert_eq!(violations.len(), 1);
        assert_eq!(
            violations[0].what,
            "loadline-analysis is pure, but links innocent → deeper → tokio"
        );
    }

    #[test]
    fn what_only_tests_or_build_scripts_link_is_allowed() {
        let edges = [
            ("loadline-analysis", "rustix", Use::Dev),
            ("loadline-analysis", "mio", Use::Build),
            ("loadline-serving", "rustix", Use::Normal),
        ];
        let ours = ["loadline-analysis", "loadline-serving"];
        assert_eq!(check_graph(&graph(&ours, &edges), Path::new("/root")), []);
    }

    #[test]
    fn impure_paths_are_found_in_code_only() {
        let path = "crates/analysis/src/lib.rs";
        let text =
            "//! No std::fs here.\nlet t = std::time::Instant::now();\nlet s = \"std::net\";";
        assert_eq!(lines(path, text), [Some(2)]);
        assert_eq!(lines("crates/store/src/lib.rs", text), []);
    }

    #[test]
    fn grouped_imports_are_looked_through() {
        let path = "crates/report/src/lib.rs";
        assert_eq!(lines(path, "\nuse std::{fmt, fs, io::{self, Read}};"), [Some(2)]);
        assert_eq!(lines(path, "use std::time::{Duration, SystemTime};"), [Some(1)]);
        assert_eq!(lines(path, "use std::{fmt, collections::{BTreeMap, os}};"), []);
        assert_eq!(lines(path, "use std::time::Duration;"), []);
    }
}
