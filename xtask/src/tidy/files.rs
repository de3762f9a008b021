//! Rules about a file as a whole: its length, its first line, its name and its modules' names.

use super::Violation;
use super::code::code_only;
use crate::workspace::SourceFile;

/// The house number for a file, in lines.
const MAX_LINES: usize = 500;

/// Files that may be longer, each with its reason: only tables of uniform entries qualify.
const LONGER: &[(&str, &str)] = &[];

/// Names that tell a reader nothing about what is inside.
const BANNED_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "manager", "handler", "data", "info", "misc"];

/// Every rule of this page for one file.
pub(super) fn check(file: &SourceFile) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(second_lint_configuration(file));
    if !file.is_rust() {
        return violations;
    }
    violations.extend(too_long(file, LONGER));
    violations.extend(no_first_line(file));
    violations.extend(banned_path(file));
    violations.extend(banned_modules(file));
    violations
}

fn too_long(file: &SourceFile, longer: &[(&str, &str)]) -> Option<Violation> {
    let lines = file.text.lines().count();
    let excused = longer.iter().any(|(path, _)| *path == file.path);
    (lines > MAX_LINES && !excused).then(|| Violation {
        path: file.path.clone(),
        line: Some(MAX_LINES + 1),
        what: format!("{lines} lines; a file has at most {MAX_LINES}"),
        advice: "move a part that has a name of its own into its own file",
    })
}

fn no_first_line(file: &SourceFile) -> Option<Violation> {
    let first = file.text.lines().next().unwrap_or_default();
    let said = first.strip_prefix("//!").is_some_and(|text| !text.trim().is_empty());
    (!said).then(|| Violation {
        path: file.path.clone(),
        line: Some(1),
        what: "the file does not begin with a `//!` line".to_owned(),
        advice: "say in its first line what the file is for",
    })
}

fn banned_path(file: &SourceFile) -> Option<Violation> {
    let named = file.path.strip_suffix(".rs").unwrap_or(&file.path);
    let part = named.split('/').find(|part| BANNED_NAMES.contains(part))?;
    Some(Violation {
        path: file.path.clone(),
        line: None,
        what: format!("the name \"{part}\" says nothing"),
        advice: "name the file after what is inside",
    })
}

fn banned_modules(file: &SourceFile) -> Vec<Violation> {
    let code = code_only(&file.text);
    let mut violations = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let name =
            line.split_once("mod ").filter(|(before, _)| is_visibility(before)).map(|found| {
                found.1.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next()
            });
        let Some(Some(name)) = name else {
            continue;
        };
        if BANNED_NAMES.contains(&name) {
            violations.push(Violation {
                path: file.path.clone(),
                line: Some(number + 1),
                what: format!("the module name \"{name}\" says nothing"),
                advice: "name the module after what is inside",
            });
        }
    }
    violations
}

/// Whether what stands before `mod` makes it a module declaration.
fn is_visibility(before: &str) -> bool {
    let before = before.trim();
    before.is_empty() || before == "pub" || (before.starts_with("pub(") && before.ends_with(')'))
}

/// Clippy reads the nearest clippy.toml only: one inside a crate would switch off the root's rules.
fn second_lint_configuration(file: &SourceFile) -> Option<Violation> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let inner = matches!(name, "clippy.toml" | ".clippy.toml") && file.path != "clippy.toml";
    inner.then(|| Violation {
        path: file.path.clone(),
        line: None,
        what: "a second clippy.toml replaces the one at the root".to_owned(),
        advice: "put the setting into the root's clippy.toml",
    })
}

#[cfg(test)]
mod tests {
    use super::{check, too_long};
    use crate::workspace::SourceFile;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    fn whats(path: &str, text: &str) -> Vec<String> {
        check(&file(path, text)).into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn a_long_file_is_reported_unless_it_is_excused() {
        let long = format!("//! Long.\n{}", "\n".repeat(500));
        assert_eq!(whats("a/long.rs", &long), ["501 lines; a file has at most 500"]);
        assert_eq!(whats("a/long.md", &long), Vec::<String>::new());
        assert!(too_long(&file("a/long.rs", &long), &[("a/long.rs", "a table")]).is_none());
        let fits = format!("//! Fits.\n{}", "\n".repeat(499));
        assert_eq!(whats("a/fits.rs", &fits), Vec::<String>::new());
    }

    #[test]
    fn the_first_line_must_say_something() {
        assert_eq!(whats("a.rs", "//! Reads.\n"), Vec::<String>::new());
        for silent in ["use std::fmt;\n", "//!\n", "", "// Reads.\n"] {
            assert_eq!(whats("a.rs", silent), ["the file does not begin with a `//!` line"]);
        }
    }

    #[test]
    fn names_that_say_nothing_are_reported() {
        let text = "//! Says.\n";
        assert_eq!(whats("src/utils.rs", text), ["the name \"utils\" says nothing"]);
        assert_eq!(whats("src/common/mod.rs", text), ["the name \"common\" says nothing"]);
        assert_eq!(whats("src/database.rs", text), Vec::<String>::new());
        let module = "//! Says.\npub(crate) mod helpers;\n// mod data;\nmod metadata;\n";
        assert_eq!(whats("src/a.rs", module), ["the module name \"helpers\" says nothing"]);
    }

    #[test]
    fn only_the_root_configures_clippy() {
        assert_eq!(whats("clippy.toml", ""), Vec::<String>::new());
        assert_eq!(whats("crates/a/clippy.toml", "").len(), 1);
    }
}
